"""Masks of a clip: steady where the head rests, carried where it moves, no ghosts behind it."""

from __future__ import annotations

import math

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.geom.mask_smoothing import head_motion, steadied_mask

STILL = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])


def steadied(masks, motions, **share):
    """The masks of a clip, each steadied by the one before it."""
    out = [masks[0]]
    for mask, motion in zip(masks[1:], motions[1:], strict=True):
        out.append(steadied_mask(mask, out[-1], motion, **share))
    return out


def shifted(dx, dy):
    return STILL + torch.tensor([[[0, 0, dx], [0, 0, dy]]])


def test_a_steady_clip_stays_as_it_is():
    mask = torch.rand(1, 1, 6, 9)
    out = steadied([mask] * 4, [STILL] * 4)
    assert all(torch.allclose(one, mask) for one in out)


def test_flicker_is_damped_as_an_exponential_mean_says():
    masks = [torch.full((1, 1, 2, 2), float(number % 2)) for number in range(40)]
    out = torch.cat(steadied(masks, [STILL] * 40, share=0.6))[:, 0, 0, 0]
    swing = float(out[-2:].max() - out[-2:].min())
    assert swing == pytest.approx((1 - 0.6) / (1 + 0.6), abs=1e-3)


def test_a_moving_mask_keeps_its_edge():
    """A square that moves by 3 px a frame is exact: its past moves with it."""
    masks, motions = [], []
    for step in range(4):
        mask = torch.zeros(1, 1, 12, 24)
        mask[..., 4:8, 3 + 3 * step : 8 + 3 * step] = 1
        masks.append(mask)
        motions.append(shifted(-3.0, 0.0))
    assert torch.equal((steadied(masks, motions))[-1], masks[-1])
    ghosts = (steadied(masks, [STILL] * 4))[-1]
    assert float((ghosts - masks[-1]).abs().max()) > 0.2


def test_what_enters_the_frame_is_new():
    old, new = torch.ones(1, 1, 4, 6), torch.zeros(1, 1, 4, 6)
    out = steadied_mask(new, old, shifted(2.0, 0.0), share=0.5)
    assert out[0, 0, 0].tolist() == [0.5, 0.5, 0.5, 0.5, 0, 0]


def test_gradients_reach_both_masks():
    old = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    new = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    motion = shifted(0.3, -0.6).double()
    assert torch.autograd.gradcheck(lambda a, b: steadied_mask(a, b, motion), (new, old))


def test_motion_of_a_head_is_the_similarity_of_its_points():
    now = torch.randn(9, 2, generator=torch.Generator().manual_seed(3))
    angle, scale = 0.3, 1.2
    turn = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    before = now @ turn.T + torch.tensor([4.0, -2.0])
    motion = head_motion(now, before)[0]
    torch.testing.assert_close(motion, torch.cat([turn, torch.tensor([[4.0], [-2.0]])], 1), atol=1e-5, rtol=0)
    now[4] = torch.nan
    torch.testing.assert_close(head_motion(now, before)[0], motion, atol=1e-5, rtol=0)


@pytest.mark.parametrize("points", [torch.full((3, 2), torch.nan), torch.ones(3, 2), torch.zeros(0, 2)])
def test_motion_of_nothing_is_rest(points):
    assert torch.equal(head_motion(points, points), STILL)


def test_what_does_not_fit_is_said():
    mask = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ShapeError, match="expected two"):
        steadied_mask(mask, torch.zeros(1, 1, 2, 3), STILL)
    with pytest.raises(ShapeError, match="share in"):
        steadied_mask(mask, mask, STILL, share=1.0)
    with pytest.raises(ShapeError, match="twice"):
        head_motion(torch.zeros(2, 2), torch.zeros(3, 2))
