"""Keypoint detectors: where they find things, names, Jacobians and their guarded quotient, errors."""

import pytest
import torch
from fomm_file import detector_shapes, drawn
from fomm_reference import detect

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.keypoints import (
    KeypointConfig,
    KeypointDetector,
    jacobian_quotient,
    jacobian_quotient_ref,
    to_normalised,
    to_pixels,
)
from headwarp.geom.nets.hourglass import HourglassConfig

SMALL = HourglassConfig(width=4, blocks=2, max_channels=8)


def small(**options: object) -> KeypointDetector:
    torch.manual_seed(0)
    return KeypointDetector(KeypointConfig(count=3, hourglass=SMALL, **options)).eval()


@torch.no_grad()
def test_public_detector_restated():
    """[FOMM]'s detector as plain functions of a state dict, with the names of its checkpoints."""
    weights = drawn(detector_shapes(width=4, cap=8, blocks=2, count=3, maps=3))
    detector = small(padding=0, align_corners=True)
    detector.load_state_dict(weights)
    picture = torch.rand(2, 3, 64, 48)
    found, expected = detector(picture), detect(weights, picture)
    torch.testing.assert_close(found.points, expected.value, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.jacobians, expected.jacobian, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.heatmaps, expected.heatmap, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding", [0, 2, 3])
def test_keypoints_lie_where_the_heat_is(padding):
    """One pixel of a heat map has all the weight: the keypoint is its middle, whatever the padding."""
    detector = small(padding=padding, scale=1, temperature=1e-4)
    with torch.no_grad():
        detector.kp.weight.zero_()
        detector.kp.weight[:, -3, 3, 3] = 1  # the red of the picture itself
        picture = torch.zeros(1, 3, 16, 24)
        picture[0, 0, 6, 9] = 1
        found = detector(picture)
    torch.testing.assert_close(to_pixels(found.points, (16, 24)), torch.tensor([9.5, 6.5]).expand(1, 3, 2))


@torch.no_grad()
def test_a_moved_picture_moves_its_keypoints_as_much():
    detector = small(temperature=0.01)
    wide = torch.rand(1, 3, 128, 128)
    shift = 16  # the picture at which the hourglass works is moved by its stride, blocks are 4 of its pixels
    first, second = (detector(wide[..., 16 - at : 112 - at, 16:112]) for at in (0, shift))
    inner = first.heatmaps[..., 6:-10, :], second.heatmaps[..., 10:-6, :]
    inner = [heat / heat.sum((2, 3), keepdim=True) for heat in inner]
    assert (inner[0][..., 2:-2, 6:-6] - inner[1][..., 2:-2, 6:-6]).abs().max() < 0.02


@pytest.mark.parametrize(("kind", "maps"), [("per_keypoint", 3), ("single", 1), ("none", 0)])
def test_jacobians_start_at_the_identity(kind, maps):
    detector = small(jacobians=kind)
    found = detector(torch.rand(2, 3, 32, 32))
    assert (0 if detector.jacobian is None else len(detector.jacobian.weight)) == 4 * maps
    if kind == "none":
        assert found.jacobians is None
    else:
        torch.testing.assert_close(found.jacobians, torch.eye(2).expand(2, 3, 2, 2))


def test_coordinates_there_and_back():
    points = torch.rand(2, 5, 2) * 2 - 1
    for corners in (False, True):
        pixels = to_pixels(points, (48, 64), align_corners=corners)
        back = to_normalised(pixels, (48, 64), align_corners=corners)
        torch.testing.assert_close(back, points)
    ends = torch.tensor([[[-1.0, -1], [1, 1]]])
    assert to_pixels(ends, (48, 64)).tolist() == [[[0, 0], [64, 48]]]
    assert to_pixels(ends, (48, 64), align_corners=True).tolist() == [[[0.5, 0.5], [63.5, 47.5]]]


def test_quotient_is_a_linear_solve():
    a, b = torch.randn(2, 50, 3, 2, 2, dtype=torch.float64).unbind(0)
    expected = jacobian_quotient_ref(a, b)
    torch.testing.assert_close(jacobian_quotient(a, b), expected)
    good = torch.linalg.cond(b) < 90
    guarded = jacobian_quotient(a, b, condition_guard=100)
    torch.testing.assert_close(guarded[good], expected[good])
    assert torch.autograd.gradcheck(
        lambda a, b: jacobian_quotient(a, b, condition_guard=100),
        (a[:4].requires_grad_(), b[:4].requires_grad_()),
    )


def test_quotient_of_equals_is_exactly_the_identity():
    b = torch.randn(1000, 2, 2)
    assert torch.equal(jacobian_quotient(b, b), torch.eye(2).expand(1000, 2, 2))


@pytest.mark.parametrize(
    "matrix", [[[1, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 0], [0, 1e-9]], [[1, 0], [0, -1e-9]]]
)
def test_guard_bounds_singular_jacobians(matrix):
    b = torch.tensor(matrix, dtype=torch.float32, requires_grad=True)
    guarded = jacobian_quotient(torch.eye(2), b, condition_guard=50)
    norm = torch.linalg.matrix_norm(b.detach())
    assert torch.linalg.matrix_norm(guarded) * norm <= 50 + 1 / 50 + 1e-3
    guarded.sum().backward()
    assert b.grad.abs().max() < 1e7  # the gradient's norm is finite too
    if norm:
        assert b.grad.abs().max() > 0
    if matrix[0][0] == matrix[1][0]:
        assert not torch.isfinite(jacobian_quotient(torch.eye(2), b)).all()


def test_guard_keeps_the_sign():
    mirrored = torch.tensor([[1.0, 0], [0, -1e-6]])
    assert jacobian_quotient(torch.eye(2), mirrored, condition_guard=10)[1, 1] < 0


def test_every_multiple_is_taken_and_others_are_refused():
    detector = small()
    assert detector.config.multiple == 16
    assert detector(torch.rand(1, 3, 48, 16)).heatmaps.shape == (1, 3, 12, 4)
    with pytest.raises(ShapeError, match="multiples of 16, got 40 x 32; pad or resize the frame"):
        detector(torch.rand(1, 3, 40, 32))
    with pytest.raises(ShapeError, match=r"expected floats \(B, 3, H, W\), got .* add a batch axis"):
        detector(torch.rand(3, 32, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.3}, "scale: expected 1 / s of a whole number"),
        ({"padding": 4}, "padding: expected 0 to 3, got 4"),
        ({"jacobians": "many"}, "jacobians: expected 'per_keypoint'"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(HeadwarpError, match=message):
        KeypointConfig(**options)


def test_guard_below_one():
    with pytest.raises(HeadwarpError, match="condition_guard: expected at least 1 or None, got 0"):
        jacobian_quotient(torch.eye(2), torch.eye(2), condition_guard=0)
