"""One head in another's place: source's shape, target's pose and expression, same size, same place."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.head_surface import head_surface
from headwarp.flame.io import load_head
from headwarp.flame.model import restrict
from headwarp.flame.posing import pixels_per_metre, project_head
from headwarp.flame.replacement import Amendment, replaced_head, size_ratio, turned_residual
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.transforms import axis_angle_to_matrix

HEAD = toy_head()
SOURCE = toy_fit(HEAD, residual=2.0, **varied(HEAD, 1, seed=5))
TARGET = toy_fit(HEAD, 4, scale=500.0, centre=(90.0, 130.0), **varied(HEAD, 4, seed=6))


def points(fit):
    return project_head(restrict(HEAD, "mediapipe"), fit.params, fit.camera)[..., :2]


def test_a_head_in_its_own_place_is_itself():
    one = TARGET.select([2])
    put = replaced_head(HEAD, one, one)
    assert torch.allclose(points(put), points(one), atol=1e-3)
    assert torch.allclose(put.residual, one.residual, atol=1e-4)


def test_shape_is_the_sources_and_all_else_the_targets():
    put = replaced_head(HEAD, SOURCE, TARGET)
    assert torch.equal(put.params.shape, SOURCE.params.shape)
    for name in ("expression", "rotation", "neck", "jaw", "eyes", "eyelids"):
        assert torch.equal(getattr(put.params, name), getattr(TARGET.params, name))
    assert put.size == TARGET.size
    assert torch.equal(put.status, TARGET.status)


def test_the_head_is_as_large_and_where_the_target_is():
    put = replaced_head(HEAD, SOURCE, TARGET)
    centres = [points(fit).mean(1) for fit in (put, TARGET)]
    assert torch.allclose(*centres, atol=1e-3)
    ratio = put.camera.scale / TARGET.camera.scale
    assert torch.allclose(ratio, ratio[:1].expand(4))  # one size for the clip: it does not breathe


def test_an_amended_face_moves_and_the_head_stays():
    count = TARGET.params.expression.shape[1]
    amended = dataclasses.replace(
        Amendment.none(TARGET.params),
        expression=torch.full((count,), 0.3),
        jaw=torch.tensor([0.1, 0.0, 0.0]),
    )
    plain, none, put = (
        replaced_head(HEAD, SOURCE, TARGET, amended=each)
        for each in (None, Amendment.none(TARGET.params), amended)
    )
    assert torch.allclose(points(plain), points(none), atol=1e-3)
    for name in ("expression", "jaw"):
        added = getattr(put.params, name) - getattr(TARGET.params, name)
        assert torch.allclose(added, getattr(amended, name).expand_as(added), atol=1e-6)
    assert torch.allclose(put.params.rotation, TARGET.params.rotation, atol=1e-5)
    assert torch.allclose(points(put).mean(1), points(TARGET).mean(1), atol=1e-3)


def test_a_turn_is_in_the_heads_own_axes_about_where_it_is():
    turn = torch.tensor([0.0, 0.2, 0.0])
    amended = dataclasses.replace(Amendment.none(TARGET.params), turn=turn)
    put, turned = (replaced_head(HEAD, SOURCE, TARGET, amended=each) for each in (None, amended))
    made = axis_angle_to_matrix(put.params.rotation).mT @ axis_angle_to_matrix(turned.params.rotation)
    assert torch.allclose(made, axis_angle_to_matrix(turn).expand(4, 3, 3), atol=1e-5)
    assert torch.allclose(points(put).mean(1), points(turned).mean(1), atol=1e-3)
    assert not torch.allclose(put.residual, turned.residual, atol=1e-3)  # it turns along


def test_the_size_is_the_least_squares_one():
    face = restrict(HEAD, "mediapipe")
    best = size_ratio(face, SOURCE.params.shape, TARGET.params.shape)

    def miss(size):
        rest = [toy_fit(HEAD, shape=shape).params for shape in (SOURCE.params.shape, TARGET.params.shape)]
        first, second = (
            project_head(face, each, TARGET.camera.__class__(torch.ones(1), torch.zeros(1, 2)))
            for each in rest
        )
        first, second = (each - each.mean(1, keepdim=True) for each in (first, second))
        return float((size * first - second).square().sum())

    assert miss(best) < min(miss(best * 1.02), miss(best * 0.98))


def test_the_residual_turns_and_grows_with_the_head():
    quarter = torch.tensor([[0.0, 0.0, torch.pi / 2]])  # in the image's plane
    still = toy_fit(HEAD, residual=2.0)
    turned = toy_fit(HEAD, scale=1600.0, rotation=quarter)
    found = turned_residual(still, turned)[0]
    x, y = still.residual[0].unbind(-1)
    expected = 2 * torch.stack([y, -x], -1)
    assert torch.allclose(found, expected, atol=1e-4)
    assert pixels_per_metre(turned.params, turned.camera)[0] == 1600


def test_wrong_fits_are_told():
    with pytest.raises(HeadwarpError, match=r"source: expected a fit of one frame, got 4"):
        replaced_head(HEAD, TARGET, TARGET)
    with pytest.raises(ModelFileError):
        replaced_head(HEAD, dataclasses.replace(SOURCE, model_id="other"), TARGET)
    with pytest.raises(HeadwarpError, match=r"perspective"):
        replaced_head(HEAD, SOURCE, toy_fit(HEAD, perspective=True))


def test_parts_of_the_packaged_head():
    model = load_head("builtin")
    surface = head_surface(model)
    masks = model.region_masks
    assert 0.1 < surface.skin.float().mean() < 0.5
    assert not bool((surface.skin & (masks["lips"] | masks["left_eyeball"] | masks["neck"])).any())
    assert bool((surface.head[masks["nose"]] == 1).all())
    assert bool((surface.head[masks["body"]] == 0).all())
    ramp = surface.head[masks["neck"]]
    assert 0 < float(((ramp > 0) & (ramp < 1)).float().mean()) < 0.5


def test_a_head_without_regions_has_parts_too():
    surface = head_surface(HEAD)
    assert bool(surface.skin.any())
    assert surface.head.min() >= 0
    assert surface.head.max() == 1
