"""Pose, expression and named units of fitted heads."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headwarp.flame.io import load_head
from headwarp.flame.params import HeadParams
from headwarp.geom.errors import ShapeError
from headwarp.training.metrics import aed_exp_l1, apd, aucon, aucon_active, prmse, unit_activations
from headwarp.training.metrics.head import UNIT_ON

ANGLES = torch.tensor([[10.0, -5.0, 2.0], [0.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


def params_with(head, **changes) -> HeadParams:
    neutral = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2])
    return dataclasses.replace(neutral, **changes)


def test_known_answers_in_degrees() -> None:
    moved = ANGLES + torch.tensor([3.0, -4.0, 0.0])
    assert apd(moved, ANGLES).tolist() == pytest.approx([7 / 3, 7 / 3])
    assert prmse(moved, ANGLES).tolist() == pytest.approx([(25 / 3) ** 0.5] * 2)
    assert apd(ANGLES, ANGLES).tolist() == [0, 0]
    assert prmse(ANGLES, ANGLES).tolist() == [0, 0]


def test_angles_go_around_the_circle() -> None:
    turned = ANGLES + torch.tensor([359.0, 0.0, -361.0])
    assert apd(turned, ANGLES).tolist() == pytest.approx([2 / 3] * 2, abs=1e-4)
    assert prmse(ANGLES, turned).tolist() == pytest.approx([(2 / 3) ** 0.5] * 2, abs=1e-4)


def test_expression_distance_is_a_mean_and_symmetric() -> None:
    first, second = torch.randn(4, 20), torch.randn(4, 20)
    expected = (first - second).abs().mean(1).double()
    torch.testing.assert_close(aed_exp_l1(first, second), expected)
    torch.testing.assert_close(aed_exp_l1(second, first), expected)


@pytest.mark.parametrize("metric", [apd, prmse, aed_exp_l1])
def test_shapes_and_numbers_are_checked(metric) -> None:
    with pytest.raises(ShapeError, match="of one shape"):
        metric(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ShapeError, match="expected finite numbers"):
        metric(torch.full((2, 3), torch.nan), torch.zeros(2, 3))
    if metric is not aed_exp_l1:
        with pytest.raises(ShapeError, match="yaw, pitch and roll"):
            metric(torch.zeros(2, 4), torch.zeros(2, 4))


def test_units_are_read_off_as_they_were_put_on(head) -> None:
    wanted = {"smile": 0.8, "brows_up": 0.6, "pucker": 0.0}
    mixed = sum(amount * head.named_expressions[name] for name, amount in wanted.items())
    found = unit_activations(head, params_with(head, expression=mixed[None]))
    for name, amount in wanted.items():
        assert found[name].item() == pytest.approx(amount, abs=0.08), name
    others = [value.item() for name, value in found.items() if name not in wanted]
    assert max(map(abs, others)) < 0.15
    assert list(found) == sorted(found)


def test_jaw_and_lids_are_parameters(head) -> None:
    from headwarp.flame.posing import JAW_OPEN_RADIANS

    jaw = torch.tensor([[JAW_OPEN_RADIANS * 0.7, 0.0, 0.0]])
    found = unit_activations(head, params_with(head, jaw=jaw, eyelids=torch.tensor([[0.9, 0.1]])))
    assert found["jaw"].item() == pytest.approx(0.7, abs=1e-6)
    assert found["blink_left"].item() == pytest.approx(0.9)
    assert found["blink_right"].item() == pytest.approx(0.1)


def test_every_unit_at_rest_is_off(head) -> None:
    found = unit_activations(head, params_with(head))
    assert all(value.abs().item() < 1e-9 for value in found.values())


def test_coefficients_of_another_head_are_an_error(head) -> None:
    neutral = HeadParams.neutral(3, 2)
    with pytest.raises(ShapeError, match=r"expected \d+ coefficients of head builtin-"):
        unit_activations(head, neutral)


def test_agreement_counts_units() -> None:
    on, off = torch.ones(2), torch.zeros(2)
    first = {"a": on, "b": off, "c": on, "d": off}
    second = {"a": on, "b": off, "c": off, "d": off}
    assert aucon(first, second).tolist() == [0.75, 0.75]
    assert aucon_active(first, second).tolist() == [0.5, 0.5]
    assert aucon(first, first).tolist() == [1, 1]
    still = dict.fromkeys("abcd", off)
    assert aucon(still, still).tolist() == [1, 1]
    assert bool(aucon_active(still, still).isnan().all())
    half = dict.fromkeys("abcd", torch.full((2,), UNIT_ON))
    assert aucon(half, dict.fromkeys("abcd", on)).tolist() == [1, 1]
    assert aucon({"a": -on}, {"a": off}).tolist() == [1, 1]  # the opposite is off


def test_units_must_agree() -> None:
    with pytest.raises(ShapeError, match="expected the same units and frames"):
        aucon({"a": torch.ones(2)}, {"b": torch.ones(2)})
    with pytest.raises(ShapeError, match="expected the same units and frames"):
        aucon_active({"a": torch.ones(2)}, {"a": torch.ones(3)})
