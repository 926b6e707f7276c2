"""A driven head over a body that rests: small ways are followed, long ones end, the rest is the fit's."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.posing import neck_pixels, pixels_per_metre
from headwarp.flame.still_body import NECK_GROWTH, NECK_METRES, over_still_body
from headwarp.geom.cameras import WeakPerspective

LENGTH = NECK_METRES * 800.0  # pixels, at the scale of `toy_fit`


@pytest.fixture(scope="module")
def head():
    return toy_head()


def shifted(fit, x, y, ratio=1.0):
    """The fit with its head elsewhere in the picture and larger, the neck joint's way known."""
    camera = WeakPerspective(fit.camera.scale * ratio, fit.camera.center)
    return dataclasses.replace(
        fit, camera=WeakPerspective(camera.scale, camera.center + torch.tensor([x, y]))
    )


def way(head, source, fit):
    return neck_pixels(head, fit.params, fit.camera) - neck_pixels(head, source.params, source.camera)


@pytest.mark.parametrize("perspective", [False, True])
def test_a_head_that_stays_stays_to_the_pixel(head, perspective):
    source = toy_fit(head, perspective=perspective)
    made = over_still_body(head, source, source)
    torch.testing.assert_close(way(head, source, made), torch.zeros(1, 2), atol=1e-3, rtol=0)
    sizes = [pixels_per_metre(each.params, each.camera) for each in (source, made)]
    torch.testing.assert_close(*sizes)


@pytest.mark.parametrize(("x", "y"), [(1.0, 0.0), (-12.0, 16.0), (0.0, -400.0)])
def test_the_neck_goes_the_same_way_less_far(head, x, y):
    source = toy_fit(head)
    made = way(head, source, over_still_body(head, source, shifted(source, x, y)))[0]
    asked = math.hypot(x, y)
    wanted = LENGTH * math.tanh(asked / LENGTH)  # 1 px: all of it; 20: 0.76 of it; 400: the limit of 20
    torch.testing.assert_close(made, torch.tensor([x, y]) / asked * wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("ratio", [0.2, 0.99, 1.01, 5.0])
def test_the_head_grows_and_shrinks_up_to_a_limit(head, ratio, perspective):
    source = toy_fit(head, perspective=perspective)
    camera = source.camera
    changed = {"focal": camera.focal * ratio} if perspective else {"scale": camera.scale * ratio}
    nearer = dataclasses.replace(source, camera=dataclasses.replace(camera, **changed))
    made = over_still_body(head, source, nearer)
    growth = float(
        pixels_per_metre(made.params, made.camera) / pixels_per_metre(source.params, source.camera)
    )
    assert math.log(growth) == pytest.approx(NECK_GROWTH * math.tanh(math.log(ratio) / NECK_GROWTH), abs=1e-4)


def test_rotation_and_expression_are_the_fits_and_frames_do_not_hang_on_each_other(head):
    source = toy_fit(head)
    fit = shifted(toy_fit(head, 3, **varied(head, 3)), 30.0, -7.0, 1.3)
    made = over_still_body(head, source, fit)
    for field in dataclasses.fields(fit.params):
        assert torch.equal(getattr(made.params, field.name), getattr(fit.params, field.name))
    assert (way(head, source, made).norm(dim=1) <= LENGTH + 1e-3).all()
    for frame in range(3):
        alone = over_still_body(head, source, fit.select([frame])).camera
        torch.testing.assert_close(alone.center[0], made.camera.center[frame], atol=1e-3, rtol=1e-6)
        torch.testing.assert_close(alone.scale[0], made.camera.scale[frame])
