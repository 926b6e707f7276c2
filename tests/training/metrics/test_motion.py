"""Flow and visibility against the truth."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.training.metrics import flow_epe, visibility_iou

FLOW = torch.randn(2, 2, 6, 7, generator=torch.Generator().manual_seed(0))


def test_known_answers() -> None:
    step = torch.tensor([3.0, 4.0])[None, :, None, None]
    assert flow_epe(FLOW + step, FLOW).tolist() == pytest.approx([5, 5], abs=1e-6)
    assert flow_epe(FLOW, FLOW).tolist() == [0, 0]
    assert flow_epe(FLOW, FLOW).dtype == torch.float64


def test_only_counted_pixels_count_and_the_truth_elsewhere_may_be_anything() -> None:
    counted = torch.zeros(2, 1, 6, 7, dtype=torch.bool)
    counted[0, 0, :2] = True
    truth = torch.full_like(FLOW, torch.nan)
    truth[0, :, :2] = FLOW[0, :, :2] + torch.tensor([0.0, 2.0])[:, None, None]
    error = flow_epe(FLOW, truth, counted)
    assert error[0].item() == pytest.approx(2, abs=1e-6)
    assert bool(error[1].isnan())


def test_gradient_points_to_the_truth() -> None:
    flow = (FLOW + 1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: flow_epe(x, FLOW.double()), (flow,))


def test_iou_is_of_the_hidden_pixels() -> None:
    truth = torch.ones(3, 1, 4, 4)
    truth[:2, 0, 0] = 0  # four hidden
    mine = torch.ones(3, 1, 4, 4)
    mine[:2, 0, 0, :2] = 0.2  # two of them
    mine[1, 0, 3, :2] = 0.4  # and two that are not
    assert visibility_iou(mine, truth).tolist() == pytest.approx([2 / 4, 2 / 6, 1])
    assert visibility_iou(truth, mine).tolist() == pytest.approx([2 / 4, 2 / 6, 1])
    counted = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    counted[:, :, :, :2] = True
    assert visibility_iou(mine, truth, counted).tolist() == pytest.approx([1, 2 / 4, 1])


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"expected two \(B, 2, H, W\)"):
        flow_epe(FLOW, FLOW[:1])
    with pytest.raises(ShapeError, match=r"expected two \(B, 1, H, W\)"):
        visibility_iou(FLOW, FLOW)
    with pytest.raises(ShapeError, match="counted: expected"):
        flow_epe(FLOW, FLOW, torch.ones(2, 1, 6, 7))
