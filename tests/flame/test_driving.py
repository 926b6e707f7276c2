"""One head driven by another: the reference is met, the place is kept, gaps do not twitch."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_head import toy_head

from headwarp.flame.driving import (
    Transfer,
    bridged,
    centre_square,
    head_place,
    nearest_frame,
    transfer_motion,
)
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING, HeadFit, HeadParams
from headwarp.flame.posing import neck_pixels, pixels_per_metre, posed_vertices
from headwarp.geom.cameras import WeakPerspective
from headwarp.geom.crops import Crop
from headwarp.geom.errors import HeadwarpError, ModelFileError, NoFaceError

MODEL = toy_head()
SIZE = 128


def a_fit(frames=1, *, size=(SIZE, SIZE), seed=0, scale=400.0, centre=(64.0, 60.0), still=False) -> HeadFit:
    """A head in smooth motion, a bit different for every seed."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng)  # noqa: E731
    along = torch.zeros(frames, 1) if still else torch.linspace(0, 1, frames)[:, None]
    params = HeadParams(
        shape=draw(6) * 0.5,
        expression=draw(1, 5) * 0.3 + along * draw(1, 5) * 0.5,
        rotation=draw(1, 3) * 0.1 + along * draw(1, 3) * 0.3,
        translation=torch.zeros(frames, 3),
        neck=torch.zeros(frames, 3),
        jaw=torch.cat([0.1 + 0.2 * along, torch.zeros(frames, 2)], 1),
        eyes=torch.zeros(frames, 6),
        eyelids=torch.zeros(frames, 2),
    )
    camera = WeakPerspective(
        scale * (1 + 0.1 * along[:, 0]), torch.tensor([centre]) + along * torch.tensor([[9.0, -4.0]])
    )
    count = len(MODEL.landmarks["mediapipe"].indices)
    return HeadFit(
        params=params,
        camera=camera,
        size=size,
        model_id=MODEL.model_id,
        landmark_indices=MODEL.landmarks["mediapipe"].indices.clone(),
        landmarks=torch.zeros(frames, count, 2),
        residual=draw(1, count, 2) + along[..., None] * draw(1, count, 2),
        status=torch.full((frames,), DETECTED, dtype=torch.int8),
        confidence=torch.ones(frames),
        covariance=torch.zeros(frames, 6, 6),
    )


SOURCE = a_fit(seed=5)


def test_relative_motion_leaves_the_source_as_it_is_at_the_reference():
    driven = transfer_motion(MODEL, SOURCE, a_fit(6, seed=1, size=(300, 500)), Transfer(best_frame=2))
    assert driven.relative
    assert driven.reference == 2
    assert driven.fit.size == SOURCE.size
    at = posed_vertices(MODEL, driven.fit.select([2]))
    torch.testing.assert_close(at, posed_vertices(MODEL, SOURCE), atol=1e-3, rtol=0)
    torch.testing.assert_close(driven.fit.residual[2:3], SOURCE.residual, atol=1e-4, rtol=0)


@pytest.mark.parametrize("adapt_scale", [True, False])
def test_relative_motion_does_not_depend_on_the_drivers_resolution(adapt_scale):
    small = a_fit(4, seed=1, size=(200, 200), scale=300.0, centre=(90.0, 80.0))
    camera = WeakPerspective(small.camera.scale * 3, small.camera.center * 3)
    large = dataclasses.replace(small, camera=camera, size=(600, 600), residual=small.residual * 3)
    made = [transfer_motion(MODEL, SOURCE, d, Transfer(adapt_scale=adapt_scale)).fit for d in (small, large)]
    torch.testing.assert_close(
        posed_vertices(MODEL, made[0]), posed_vertices(MODEL, made[1]), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(made[0].residual, made[1].residual, atol=1e-3, rtol=0)


def test_shifts_are_in_heads_or_in_shares_of_the_frame():
    driver = a_fit(
        5, seed=1, size=(512, 512), scale=100.0, centre=(250.0, 250.0)
    )  # a small head in a large frame
    necks = {}
    for adapt in (True, False):
        fit = transfer_motion(MODEL, SOURCE, driver, Transfer(adapt_scale=adapt)).fit
        neck = neck_pixels(MODEL, fit.params, fit.camera)
        necks[adapt] = float((neck[4] - neck[0]).norm())
    own = neck_pixels(MODEL, driver.params, driver.camera)
    moved = float((own[4] - own[0]).norm())
    assert necks[True] == pytest.approx(moved * 400 / 100, rel=1e-3)
    assert necks[False] == pytest.approx(moved * SIZE / 512, rel=1e-3)


def test_absolute_motion_keeps_size_and_place_at_the_reference_and_takes_the_pose():
    driver = a_fit(5, seed=1, size=(480, 640), scale=900.0, centre=(400.0, 200.0))
    driven = transfer_motion(MODEL, SOURCE, driver, Transfer(relative=False, best_frame=3))
    there = driven.fit.select([3])
    neck = neck_pixels(MODEL, SOURCE.params, SOURCE.camera)
    torch.testing.assert_close(neck_pixels(MODEL, there.params, there.camera), neck, atol=1e-2, rtol=0)
    scale = pixels_per_metre(SOURCE.params, SOURCE.camera)
    torch.testing.assert_close(pixels_per_metre(there.params, there.camera), scale)
    assert torch.equal(driven.fit.params.rotation, driver.params.rotation)
    assert torch.equal(driven.fit.params.expression, driver.params.expression)
    assert torch.equal(driven.fit.params.shape, SOURCE.params.shape)
    growth = driven.fit.camera.scale / driven.fit.camera.scale[3]
    torch.testing.assert_close(growth, driver.camera.scale / driver.camera.scale[3])


def test_one_frame_is_taken_absolutely_unless_asked_otherwise():
    assert not transfer_motion(MODEL, SOURCE, a_fit(1, seed=1)).relative
    assert transfer_motion(MODEL, SOURCE, a_fit(2, seed=1)).relative
    with pytest.raises(HeadwarpError, match="driver of several frames, got one; use --absolute"):
        transfer_motion(MODEL, SOURCE, a_fit(1, seed=1), Transfer(relative=True))


def test_the_driven_by_itself_is_itself():
    clip = a_fit(5, seed=3)
    driven = transfer_motion(MODEL, clip.select([0]), clip)
    torch.testing.assert_close(
        posed_vertices(MODEL, driven.fit), posed_vertices(MODEL, clip), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(driven.fit.residual, clip.residual, atol=1e-4, rtol=0)


def test_the_nearest_frame_is_the_one_with_the_same_pose_whatever_the_person_place_and_size():
    driver = a_fit(300, seed=1, size=(900, 900), scale=2000.0)
    for wanted in (0, 137, 299):
        params = dataclasses.replace(driver.params.select([wanted]), shape=SOURCE.params.shape)
        source = dataclasses.replace(SOURCE, params=params)
        assert nearest_frame(MODEL, source, driver) == wanted
        assert transfer_motion(MODEL, source, driver, Transfer(find_best_frame=True)).reference == wanted


def test_the_nearest_frame_and_the_default_one_have_a_face():
    status = torch.tensor([MISSING, MISSING, DETECTED, INTERPOLATED, DETECTED], dtype=torch.int8)
    driver = dataclasses.replace(a_fit(5, seed=1), status=status)
    assert transfer_motion(MODEL, SOURCE, driver).reference == 2
    source = dataclasses.replace(SOURCE, params=driver.params.select([3]))
    assert nearest_frame(MODEL, source, driver) in (2, 4)
    with pytest.raises(NoFaceError, match="best frame 3: the driver has no face there"):
        transfer_motion(MODEL, SOURCE, driver, Transfer(best_frame=3))
    none = dataclasses.replace(driver, status=torch.zeros(5, dtype=torch.int8))
    with pytest.raises(NoFaceError, match="a face in at least one frame"):
        transfer_motion(MODEL, SOURCE, none)


def test_residuals_are_bridged_in_time_and_held_outside():
    status = torch.tensor([MISSING, DETECTED, MISSING, INTERPOLATED, DETECTED, MISSING], dtype=torch.int8)
    fit = dataclasses.replace(a_fit(6, seed=2), status=status)
    residual = fit.residual * (status == DETECTED)[:, None, None]
    made = bridged(dataclasses.replace(fit, residual=residual)).residual
    first, last = residual[1], residual[4]
    expected = torch.stack([first, first, (2 * first + last) / 3, (first + 2 * last) / 3, last, last])
    torch.testing.assert_close(made, expected)
    whole = a_fit(3)
    assert bridged(whole) is whole
    gap = dataclasses.replace(fit, residual=residual)
    driven = transfer_motion(MODEL, fit.select([1]), gap, Transfer(relative=False)).fit
    torch.testing.assert_close(driven.residual, expected, atol=1e-4, rtol=1e-4)


def test_head_place_of_oneself_is_the_whole_window():
    crop = head_place(MODEL, SOURCE, SOURCE, 0)
    assert (crop.x, crop.y, crop.side) == pytest.approx((0, 0, SIZE), abs=1e-3)
    assert centre_square((100, 180)) == Crop(40, 0, 100)


@pytest.mark.parametrize(
    ("transfer", "text"),
    [
        (Transfer(best_frame=5), "best frame: expected 0 to 4, got 5"),
        (Transfer(best_frame=-1), "best frame: expected 0 to 4, got -1"),
        (
            Transfer(best_frame=1, find_best_frame=True),
            "expected --best-frame N or --find-best-frame, got both",
        ),
    ],
)
def test_contradictions(transfer, text):
    with pytest.raises(HeadwarpError, match=text):
        transfer_motion(MODEL, SOURCE, a_fit(5, seed=1), transfer)


def test_fits_of_two_heads_do_not_mix():
    other = dataclasses.replace(a_fit(5, seed=1), model_id="other-000000000000")
    with pytest.raises(ModelFileError, match="expected coefficients of head"):
        transfer_motion(MODEL, SOURCE, other)
