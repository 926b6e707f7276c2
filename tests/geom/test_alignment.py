"""The camera's motion: recovered where it can be seen, refused where it cannot."""

import math

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom import alignment
from headwarp.geom.alignment import (
    AlignmentConfig,
    _compose_inverse,
    affine_flow,
    align_similarity,
    motion_matrix,
    prepare_alignment,
    similarity_matrix,
)
from headwarp.geom.errors import ShapeError
from headwarp.geom.flow import pixel_grid, warp

SIZE = (150, 200)
MOTIONS = [
    (0.0, 0.0, 0.03, -0.02),
    (0.05, 0.0, 0.0, 0.0),
    (0.0, math.radians(4), 0.0, 0.0),
    (-0.04, math.radians(-3), -0.05, 0.04),
]


def scene(size=SIZE, seed=0):
    """A smooth coloured texture."""
    noise = torch.rand(1, 3, size[0] // 8, size[1] // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=size, mode="bicubic", align_corners=False).clamp(0, 1)


def everywhere(size=SIZE):
    return torch.ones(1, 1, *size)


def seen_after(image, motion):
    """The picture of a camera that moved: its pixel q shows the reference at ``motion_matrix q``."""
    return warp(image, affine_flow(motion_matrix(torch.tensor(motion), SIZE)[None], SIZE))


def disc(x, y, radius, size=SIZE):
    offset = pixel_grid(size) - torch.tensor([x, y])[:, None, None]
    return (offset.square().sum(1, keepdim=True) < radius**2).float()


def pixel_error(found, motion, size=SIZE):
    """How far the found motion misplaces the frame's corners, in pixels."""
    height, width = size
    corners = torch.tensor([[0.0, 0], [width, 0], [0, height], [width, height]])
    a, b = motion_matrix(found, size), motion_matrix(torch.tensor(motion), size)
    return (corners @ (a - b)[:, :2].T + (a - b)[:, 2]).norm(dim=1).max()


@pytest.mark.parametrize("motion", MOTIONS)
def test_recovers_a_known_motion(motion):
    reference = scene()
    template = prepare_alignment(reference, everywhere())
    found = align_similarity(template, seen_after(reference, motion))
    assert pixel_error(found, motion) < 0.7
    assert (found - torch.tensor(motion)).abs().max() < 0.004


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_person_who_moves_otherwise_drops_out(motion):
    reference, person = scene(), scene(seed=1)
    before, after = disc(95.0, 90.0, 35.0), disc(120.0, 90.0, 35.0)
    shown = reference * (1 - before) + person * before
    moved = seen_after(reference, motion) * (1 - after) + person.roll(25, 3) * after
    found = align_similarity(prepare_alignment(shown, 1 - before), moved)
    assert pixel_error(found, motion) < 1.0


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_stranger_in_the_background_drops_out(motion):
    reference = scene()
    before, after = disc(60.0, 60.0, 30.0), disc(60.0, 72.0, 30.0)  # a tenth of the frame, unmasked
    bright = torch.tensor([1.0, 1.0, 0.9])[None, :, None, None]
    shown = reference * (1 - before) + bright * before
    moved = seen_after(reference, motion) * (1 - after) + bright * after
    assert pixel_error(align_similarity(prepare_alignment(shown, everywhere()), moved), motion) < 1.5


def test_the_same_picture_has_not_moved():
    reference = scene()
    template = prepare_alignment(reference, everywhere())
    assert torch.equal(align_similarity(template, reference), torch.zeros(4))
    assert torch.equal(
        align_similarity(template, reference, torch.tensor([0.1, 0.1, 0.1, 0.1])), torch.zeros(4)
    )


@pytest.mark.parametrize("what", ["flat", "other", "noise", "nan", "masked"])
def test_what_shows_no_motion_stands_still(what):
    reference = torch.full((1, 3, *SIZE), 0.5) if what == "flat" else scene()
    image = {
        "flat": torch.full((1, 3, *SIZE), 0.6),
        "other": scene(seed=7),
        "noise": torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(3)),
        "nan": torch.full((1, 3, *SIZE), float("nan")),
        "masked": seen_after(reference, MOTIONS[0]),
    }[what]
    weight = torch.zeros(1, 1, *SIZE) if what == "masked" else everywhere()
    assert torch.equal(align_similarity(prepare_alignment(reference, weight), image), torch.zeros(4))


def test_motion_of_the_masked_person_alone_is_not_the_camera():
    background, person = scene(), scene(seed=1)
    before, after = disc(90.0, 75.0, 40.0), disc(110.0, 75.0, 40.0)
    first, second = (background * (1 - d) + person * d for d in (before, after))
    assert torch.equal(align_similarity(prepare_alignment(first, 1 - before), second), torch.zeros(4))


def test_a_start_reaches_what_standing_still_does_not_and_a_stale_one_does_no_harm():
    reference, far = scene(), (0.0, 0.0, 0.22, 0.0)
    template = prepare_alignment(reference, everywhere())
    image = seen_after(reference, far)
    near = align_similarity(template, image, torch.tensor([0.0, 0.0, 0.2, 0.0]))
    assert pixel_error(near, far) < 1.0
    after_a_cut = align_similarity(
        template, seen_after(reference, MOTIONS[0]), torch.tensor([0.2, 0.5, -0.3, 0.3])
    )
    assert pixel_error(after_a_cut, MOTIONS[0]) < 0.7


def test_motion_and_flow_agree_where_the_reference_is_seen():
    reference, motion = scene(), torch.tensor(MOTIONS[3])
    place = torch.tensor([0.1, -0.05])  # frame widths from the centre
    height, width = SIZE
    seen = (similarity_matrix(motion) @ place + motion[2:]) * width + torch.tensor([width / 2, height / 2])
    back = motion_matrix(motion, SIZE)
    expected = place * width + torch.tensor([width / 2, height / 2])
    torch.testing.assert_close(back[:, :2] @ seen + back[:, 2], expected, rtol=0, atol=1e-4)
    assert warp(reference, affine_flow(back[None], SIZE)).shape == reference.shape


def test_no_motion_is_the_identity_bit_for_bit():
    matrix = motion_matrix(torch.zeros(4), SIZE)
    assert torch.equal(matrix, torch.eye(2, 3))
    assert torch.equal(affine_flow(matrix[None], SIZE), torch.zeros(1, 2, *SIZE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_affine_flow_is_the_map_less_the_place(dtype):
    matrix = torch.tensor([[[0.9, 0.2, 3.0], [-0.1, 1.1, -2.0]], [[1.0, 0, 4], [0, 1, 0]]], dtype=dtype)
    flow = affine_flow(matrix, (5, 7))
    assert flow.dtype == dtype
    x, y = 6.5, 2.5
    expected = torch.tensor([0.9 * x + 0.2 * y + 3 - x, -0.1 * x + 1.1 * y - 2 - y], dtype=dtype)
    torch.testing.assert_close(flow[0, :, 2, 6], expected)
    assert torch.equal(flow[1], torch.tensor([4, 0], dtype=dtype)[:, None, None].expand(2, 5, 7))


def test_affine_flow_is_differentiable():
    matrix = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: affine_flow(m, (3, 4)), (matrix,))


def test_the_jacobian_is_the_derivative_of_the_picture_by_the_motion():
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    smooth = lambda x, y: 0.5 + 0.2 * torch.sin(x / 9) * torch.cos(y / 11)  # noqa: E731
    config = AlignmentConfig(sides=(64,))
    template = prepare_alignment(smooth(x, y).expand(1, 3, 64, 64), everywhere((64, 64)), config)
    for column in range(4):
        motion = torch.zeros(4)
        motion[column] = 1e-3
        moved = (template.points[0] @ similarity_matrix(motion).T + motion[2:]) * 64 + 32
        change = (smooth(moved[:, 0], moved[:, 1]) - smooth(x, y).flatten()) / 1e-3
        inner = (template.points[0].abs() < 0.45).all(1)
        torch.testing.assert_close(template.jacobian[0][inner, column], change[inner], rtol=0, atol=0.03)
        assert change[inner].abs().max() > 0.3


def test_a_step_is_undone_by_itself():
    motion = torch.tensor([0.2, -0.4, 0.1, 0.3])
    torch.testing.assert_close(_compose_inverse(motion, motion), torch.zeros(4), rtol=0, atol=1e-6)
    torch.testing.assert_close(_compose_inverse(motion, torch.zeros(4)), motion)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (40, 500)])
def test_tiny_and_long_frames_work(size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    found = align_similarity(prepare_alignment(image, everywhere(size)), image)
    assert torch.equal(found, torch.zeros(4))


@pytest.mark.parametrize(
    ("reference", "weight"),
    [
        ((2, 3, 8, 8), (2, 1, 8, 8)),
        ((1, 3, 8, 8), (1, 1, 8, 9)),
        ((3, 8, 8), (1, 8, 8)),
        ((1, 3, 8, 8), (2, 1, 8, 8)),
    ],
)
def test_a_reference_that_is_not_one_picture_with_its_weight_is_refused(reference, weight):
    with pytest.raises(ShapeError, match=r"expected reference \(1, 3, H, W\) and weight \(1, 1, H, W\), got"):
        prepare_alignment(torch.zeros(reference), torch.ones(weight))


@pytest.mark.parametrize("shape", [(1, 3, 16, 17), (2, 3, 16, 16), (3, 16, 16)])
def test_a_picture_of_another_size_is_refused(shape):
    template = prepare_alignment(scene((16, 16)), everywhere((16, 16)))
    with pytest.raises(ShapeError, match=r"image: expected \(1, 3, 16, 16\) as the reference, got"):
        align_similarity(template, torch.zeros(shape))


@pytest.mark.parametrize("motion", MOTIONS)
def test_compiled_steps_are_those_of_the_plain_twin(motion, monkeypatch):
    reference = scene()
    masked = 1 - disc(95.0, 90.0, 35.0)
    template, image = prepare_alignment(reference, masked), seen_after(reference, motion)
    compiled = align_similarity(template, image)
    monkeypatch.setattr(alignment, "_compiled", lambda like: False)
    torch.testing.assert_close(compiled, align_similarity(template, image), rtol=0, atol=2e-5)
    for level, grey in enumerate(alignment._greys(image, template.config.sides)):
        plain = alignment._robust_error(template, grey, compiled, level)
        monkeypatch.setattr(alignment, "_compiled", lambda like: True)
        assert alignment._robust_error(template, grey, compiled, level) == pytest.approx(plain, abs=1e-5)
        monkeypatch.setattr(alignment, "_compiled", lambda like: False)
