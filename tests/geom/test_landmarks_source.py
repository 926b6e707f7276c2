"""Landmarks as a source of guidance: exact at the landmarks, at rest, and where landmarks tell little."""

import pytest
import torch

from headwarp.geom.alignment import affine_flow
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.guidance import PRODUCERS, Driving, Source
from headwarp.geom.sources.landmarks import LandmarksSource, LandmarksSourceConfig, source_area
from headwarp.geom.spline import SplineConfig

SIZE = (48, 64)


def points():
    """20 pixel centres over the middle of the frame, ``(1, L, 2)``."""
    y, x = torch.meshgrid(
        torch.tensor([10.5, 19.5, 28.5, 37.5]), torch.tensor([13.5, 22.5, 31.5, 40.5, 49.5]), indexing="ij"
    )
    return torch.stack([x, y], -1).reshape(1, -1, 2)


def wobble(amount=2.0, seed=0):
    return amount * torch.randn(1, 20, 2, generator=torch.Generator().manual_seed(seed)).clamp(-1.5, 1.5)


def photo(landmarks=None, **fields):
    landmarks = points() if landmarks is None else landmarks
    return Source(image=torch.zeros(1, 3, *SIZE), landmarks=landmarks, **fields)


def guided(source, landmarks, config=None, **fields):
    maker = LandmarksSource(config)
    return maker.guide(maker.prepare(source), Driving(landmarks=landmarks, **fields))


def at(field, places):
    """Values at pixel centres."""
    x, y = places[0].long().unbind(-1)
    return field[0, :, y, x].T


def test_every_landmark_comes_from_its_source_exactly():
    source = points() + wobble()
    made = guided(photo(source), points())
    torch.testing.assert_close(at(made.flow, points()), (source - points())[0], rtol=0, atol=1e-3)
    assert (source - points()).abs().max() > 2.5
    assert at(made.known, points()).all()
    assert at(made.visible, points()).all()


def test_at_rest_nothing_moves_and_the_border_rests_or_follows_the_camera():
    made = guided(photo(), points())
    assert not made.flow.any()
    assert torch.equal(made.known, made.visible)
    moved = guided(photo(points() + 3), points())
    assert moved.flow[..., 0, :].abs().max() < 1.5
    pan = torch.tensor([[[1.0, 0, -4], [0, 1, 2]]])
    panned = guided(photo(points() + pan[:, :, 2]), points(), camera_motion=pan)
    torch.testing.assert_close(panned.flow, affine_flow(pan, SIZE), rtol=0, atol=1e-4)


def test_a_batch_is_its_frames():
    there = torch.cat([points(), points() + wobble(seed=1), points() - 4])
    motion = torch.eye(2, 3).repeat(3, 1, 1)
    motion[2, :, 2] = 1.0
    together = guided(photo(), there, camera_motion=motion)
    for row in range(3):
        alone = guided(photo(), there[[row]], camera_motion=motion[[row]])
        for name in ("flow", "known", "visible"):
            torch.testing.assert_close(getattr(together, name)[row], getattr(alone, name)[0])


def test_the_mask_and_the_reach_limit_what_is_known():
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :32] = 1
    whole, part = guided(photo(), points() + 2), guided(photo(mask=mask), points() + 2)
    assert torch.equal(whole.flow, part.flow)
    assert 0 < part.known.sum() < whole.known.sum()
    assert not part.known[..., 40:].any()
    short = guided(photo(), points() + 2, LandmarksSourceConfig(reach=0.8))
    assert short.known[..., 12:38, 15:50].all()
    assert not short.known[..., :4, :4].any()  # far from all landmarks: a fill


def test_what_comes_from_beyond_the_frame_is_not_known():
    source = points() + torch.tensor([24.0, 0.0])
    made = guided(photo(source), points())
    assert at(made.known, points())[:, 0].tolist() == (source[0, :, 0] <= SIZE[1]).tolist()


def test_what_turns_to_the_front_or_round_is_hidden_in_the_source():
    """The right half of the landmarks lay close together in the source, or in the opposite order."""
    squeezed, crossed = points(), points()
    right = points()[0, :, 0] > 31
    squeezed[0, right, 0] = 32 + 0.05 * (points()[0, right, 0] - 32)
    crossed[0, right, 0] = 41 - (points()[0, right, 0] - 32)
    for source in (squeezed, crossed):
        made = guided(photo(source), points())
        shown = guided(photo(source), points(), LandmarksSourceConfig(least_area=-1e9))
        assert made.known[0, 0, 12:36, 16:24].all()
        assert not made.known[0, 0, 16:32, 42:46].any()
        assert shown.known[0, 0, 16:32, 42:46].all()
    larger = (points() - 32) * 3 + 32  # a driver three times as large hides nothing
    assert at(guided(photo(), points()).known, points()).all()
    middle = guided(photo(), larger).known[..., 16:32, 20:44]
    assert middle.all()


def test_area_of_the_source_under_a_pixel():
    flow = affine_flow(torch.tensor([[[0.5, 0.4, 3.0], [0.25, 0.8, 1.0]]]), SIZE)
    torch.testing.assert_close(source_area(flow), torch.full((1, 1, *SIZE), 0.3), rtol=0, atol=1e-4)
    mirrored = affine_flow(torch.tensor([[[-1.0, 0.0, 64.0], [0.0, 1.0, 0.0]]]), SIZE)
    torch.testing.assert_close(source_area(mirrored), torch.full((1, 1, *SIZE), -1.0), rtol=0, atol=1e-4)
    assert source_area(torch.zeros(1, 2, 1, 1)).eq(1).all()


@pytest.mark.parametrize("where", ["driving", "source", "in one place", "on a line", "one", "far away"])
def test_degenerate_landmarks_make_finite_guidance(where):
    source, there = points() + wobble(), points()
    if where == "driving":
        there[:, 1] = there[:, 0]
    elif where == "source":
        source[:, 1] = source[:, 0]
    elif where == "in one place":
        there[:] = 30.0
    elif where == "on a line":
        there[..., 1] = 20.0
        source[..., 1] = 24.0
    elif where == "one":
        source, there = source[:, :1], there[:, :1]
    else:
        there = there + 1e5
    made = guided(photo(source), there)
    for field in (made.flow, made.known, made.visible):
        assert torch.isfinite(field).all()
    assert made.known.min() >= 0
    assert made.known.max() <= 1
    if where == "far away":
        assert not made.known.any()
    if where == "one":
        torch.testing.assert_close(at(made.flow, there), (source - there)[0], rtol=0, atol=1e-3)


def test_landmarks_that_are_missing_in_either_frame_are_left_out():
    source, there = points() + wobble(), points()
    there[0, 3] = torch.nan
    source[0, 7, 1] = torch.inf
    kept = [n for n in range(20) if n not in (3, 7)]
    made, plain = guided(photo(source), there), guided(photo(source[:, kept]), there[:, kept])
    for name in ("flow", "known", "visible"):
        assert torch.equal(getattr(made, name), getattr(plain, name))
    nothing = guided(photo(source), torch.full_like(there, torch.nan))
    assert not nothing.flow.any()
    assert not nothing.known.any()


def test_a_coarser_spline_is_nearly_the_same():
    source = points() + wobble()
    fine, coarse = (
        guided(photo(source), points(), LandmarksSourceConfig(spline=SplineConfig(step=step)))
        for step in (1, 4)
    )
    assert (fine.flow - coarse.flow)[..., 4:-4, 4:-4].abs().max() < 0.9
    assert (fine.flow - coarse.flow).abs().mean() < 0.15


def test_missing_needs_and_other_counts_are_named():
    with pytest.raises(HeadwarpError) as caught:
        guided(photo(), None)
    assert str(caught.value) == (
        "landmarks source: Driving.landmarks: expected a tensor, got None; it is made by "
        + PRODUCERS["landmarks"]
    )
    with pytest.raises(
        ShapeError, match=r"expected \(20, 2\) in the driving frame as in the source, got \(19"
    ):
        guided(photo(), points()[:, 1:])
    with pytest.raises(
        ShapeError, match=r"expected \(1, L, 2\) with at least one of the source, got \(1, 0, 2"
    ):
        guided(photo(points()[:, :0]), points())
    with pytest.raises(
        ShapeError, match=r"expected \(1, L, 2\) with at least one of the source, got \(2, 20, 2"
    ):
        guided(
            Source(image=torch.zeros(2, 3, *SIZE), landmarks=points().expand(2, -1, -1)),
            points().expand(2, -1, -1),
        )


def test_gradients_reach_the_landmarks():
    there = points().requires_grad_()
    guided(photo(points() + wobble()), there).flow[0, :, 20:24, 30:34].sum().backward()
    assert torch.isfinite(there.grad).all()
    assert there.grad.abs().max() > 0
