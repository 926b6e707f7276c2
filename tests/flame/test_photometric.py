"""Photometric refinement: the picture agrees better, the landmarks no worse, and the head comes nearer."""

import dataclasses

import pytest
import torch
from lit_heads import biased_landmarks, draw, lit_head

from headwarp.flame.fitting import FitConfig, fit_landmarks
from headwarp.flame.fitting.appearance import (
    UNIT_LIGHT,
    Pixels,
    free_albedo,
    irradiance,
    robust_weights,
    smooth_albedo,
    solve_appearance,
)
from headwarp.flame.fitting.photometric import PhotometricConfig, refine_photometric
from headwarp.flame.io import load_head
from headwarp.flame.params import MISSING
from headwarp.flame.posing import posed_vertices
from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError

YAWS = (-18.0, 2.0, 15.0)


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def lit(head):
    return lit_head(head, YAWS)


@pytest.fixture(scope="module")
def fit(head, lit):
    return fit_landmarks(head, biased_landmarks(head, lit.truth, percent=2.0), lit.truth.size)


@pytest.fixture(scope="module")
def refined(head, lit, fit):
    return refine_photometric(head, fit, lit.images, config=PhotometricConfig(albedo="free"))


def distance(head, one, other):
    """Mean distance of the face's vertices in pixels."""
    face = head.region_masks["face"]
    return float((posed_vertices(head, one) - posed_vertices(head, other))[:, face, :2].norm(dim=-1).mean())


def region(head):
    return head.region_masks["face"].nonzero()[:, 0]


def sphere_pixels(head, albedo, light, count=600, seed=0):
    """Random points of the face with random normals, seen without noise."""
    generator = torch.Generator().manual_seed(seed)
    inside = head.region_masks["face"][head.faces].all(1)
    corners = head.faces[inside][torch.randint(int(inside.sum()), (count,), generator=generator)]
    bary = torch.rand(count, 3, generator=generator)
    bary = bary / bary.sum(1, keepdim=True)
    normals = torch.nn.functional.normalize(
        torch.randn(count, 3, generator=generator) - torch.tensor([0.0, 0.0, 2.0]), dim=1
    )
    pixels = Pixels(corners, bary, normals, torch.zeros(count, 3))
    return dataclasses.replace(pixels, colours=pixels.at(albedo) * irradiance(normals, light))


class TestRefinement:
    def test_error_falls_in_every_frame(self, refined):
        assert bool((refined.error_after <= refined.error_before).all())
        assert float(refined.error_after.mean() / refined.error_before.mean()) < 0.97

    def test_reprojection_does_not_rise(self, refined):
        assert bool((refined.reprojection_after <= refined.reprojection_before + 1e-5).all())

    def test_the_head_comes_nearer_to_the_truth(self, head, lit, fit, refined):
        assert distance(head, refined.fit, lit.truth) < 0.95 * distance(head, fit, lit.truth)

    def test_identity_and_camera_kind_stay(self, fit, refined):
        assert torch.equal(refined.fit.params.shape, fit.params.shape)
        assert type(refined.fit.camera) is type(fit.camera)
        assert refined.fit.size == fit.size

    def test_residual_belongs_to_the_new_parameters(self, head, refined):
        fit = refined.fit
        from headwarp.flame.model import landmark_points

        points = landmark_points(head, posed_vertices(head, fit), "mediapipe")[..., :2]
        torch.testing.assert_close(points + fit.residual, fit.landmarks, rtol=1e-5, atol=1e-3)

    def test_report(self, refined):
        report = refined.fit.report["photometric"]
        assert report["frames"] == len(YAWS)
        assert report["error_after"] == pytest.approx(float(refined.error_after.mean()), rel=1e-5)

    def test_same_bytes_again(self, head, lit, fit):
        quick = PhotometricConfig(albedo="free", steps=2)
        once, again = (refine_photometric(head, fit, lit.images, config=quick).fit.params for _ in range(2))
        assert not torch.equal(once.expression, fit.params.expression)
        assert torch.equal(again.expression, once.expression)


def test_one_photo_with_smooth_albedo(head, lit, fit):
    one = refine_photometric(head, fit.select([1]), lit.images[1:2], config=PhotometricConfig(steps=3))
    assert float(one.error_after) <= float(one.error_before)
    assert float(one.reprojection_after) <= float(one.reprojection_before) + 1e-5


def test_the_truth_is_left_nearly_alone(head, lit):
    """The pull to the fit and the landmarks hold a fit that is right already."""
    result = refine_photometric(head, lit.truth, lit.images, config=PhotometricConfig(albedo="free", steps=2))
    assert distance(head, result.fit, lit.truth) < 0.05


def test_perspective_and_a_frame_without_a_face(head, lit):
    found = biased_landmarks(head, lit.truth, percent=2.0)
    found[1] = float("nan")
    fit = fit_landmarks(head, found, lit.truth.size, config=FitConfig(focal=400.0, max_gap=0))
    assert fit.status[1] == MISSING
    result = refine_photometric(head, fit, lit.images, config=PhotometricConfig(albedo="free", steps=2))
    assert result.error_after.isnan().tolist() == [False, True, False]
    assert torch.equal(result.fit.params.rotation[1], fit.params.rotation[1])
    assert not torch.equal(result.fit.params.translation[0], fit.params.translation[0])
    seen = [0, 2]
    assert bool((result.error_after[seen] <= result.error_before[seen]).all())
    assert bool((result.reprojection_after[seen] <= result.reprojection_before[seen] + 1e-5).all())


def test_something_before_the_face_does_not_pull(head, lit, fit):
    """A hand over the chin: the others' pixels decide."""
    covered = lit.images.clone()
    covered[:, :, 105:135, 57:107] = torch.tensor([0.1, 0.5, 0.1])[None, :, None, None]
    result = refine_photometric(head, fit, covered, config=PhotometricConfig(albedo="free", steps=4))
    assert distance(head, result.fit, lit.truth) < 1.05 * distance(head, fit, lit.truth)


class TestAppearance:
    def test_light_and_albedo_of_the_space_are_found(self, head):
        space = smooth_albedo(head, region(head), count=6)
        generator = torch.Generator().manual_seed(3)
        albedo = space.mean + space.basis @ (0.3 * space.deviation * torch.randn(18, generator=generator))
        light = torch.zeros(1, 9, 3)
        light[:, 0], light[:, 3], light[:, 2] = UNIT_LIGHT, 0.6, -0.5
        pixels = sphere_pixels(head, albedo, light[0])
        found = solve_appearance([pixels], space)
        error = (found.colours(pixels, 0) - pixels.colours).abs().mean()
        flat = (pixels.colours - pixels.colours.mean(0)).abs().mean()
        assert float(error) < 0.06 * float(flat)

    def test_free_albedo_beats_the_space(self, head):
        albedo = torch.rand(len(head.template), 3, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.3
        light = torch.zeros(1, 9, 3)
        light[:, 0] = UNIT_LIGHT
        frames = [sphere_pixels(head, albedo, light[0], count=6000, seed=s) for s in range(3)]
        low = solve_appearance(frames, smooth_albedo(head, region(head), count=6))
        free = free_albedo(frames, low)
        errors = [float((a.colours(frames[0], 0) - frames[0].colours).abs().mean()) for a in (low, free)]
        assert errors[1] < 0.4 * errors[0]

    def test_smooth_albedo_lives_on_the_region(self, head):
        space = smooth_albedo(head, region(head), count=5)
        outside = ~head.region_masks["face"]
        assert space.basis.shape == (len(head.template), 3, 15)
        assert not space.basis[outside].any()
        gram = torch.einsum("vk,vl->kl", space.basis[:, 0], space.basis[:, 0])[:5, :5]
        torch.testing.assert_close(gram, len(region(head)) * torch.eye(5), rtol=1e-3, atol=1.0)

    def test_weights_fall_with_the_difference(self):
        weights = robust_weights(torch.tensor([[0.0, 0, 0], [0.1, 0.1, 0.1], [0.8, 0.8, 0.8]]))
        assert weights[0] == 1
        assert 0.001 > float(weights[2]) < float(weights[1]) < 1

    def test_drawing_helper_agrees_with_the_model(self, head, lit):
        """What the tests draw is what the module believes: albedo times irradiance."""
        ratio = draw(head, lit.truth, lit.albedo * 0.5, lit.light) / draw(
            head, lit.truth, lit.albedo, lit.light
        )
        assert float(ratio.min()) == pytest.approx(0.5, abs=0.01)

    def test_refusals(self, head):
        space = smooth_albedo(head, region(head), count=5)
        with pytest.raises(ShapeError, match="expected pixels in every frame"):
            solve_appearance([], space)
        with pytest.raises(ShapeError, match="expected more than 5, one a harmonic, got 3"):
            smooth_albedo(head, region(head)[:3], count=5)


class TestRefusals:
    def test_free_albedo_of_one_frame(self, head, lit, fit):
        with pytest.raises(HeadwarpError, match=r"several frames for a free albedo .* use low_rank"):
            refine_photometric(head, fit.select([0]), lit.images[:1], config=PhotometricConfig(albedo="free"))

    def test_other_pictures(self, head, lit, fit):
        with pytest.raises(ShapeError, match=r"images: expected \(3, 3, 160, 160\)"):
            refine_photometric(head, fit, lit.images[:2])

    def test_other_head(self, head, lit, fit):
        with pytest.raises(ModelFileError, match="coefficients of head"):
            refine_photometric(head, dataclasses.replace(fit, model_id="flame-0"), lit.images)

    def test_no_face(self, head, lit, fit):
        blind = dataclasses.replace(fit, status=torch.full_like(fit.status, MISSING))
        with pytest.raises(HeadwarpError, match="expected a face in at least one frame"):
            refine_photometric(head, blind, lit.images)

    @pytest.mark.parametrize("wrong", [{"size": 8}, {"steps": 0}, {"landmark_noise": 0.0}])
    def test_config(self, wrong):
        with pytest.raises(HeadwarpError, match="size >= 32, steps >= 1"):
            PhotometricConfig(**wrong)

    def test_albedo_name(self):
        with pytest.raises(HeadwarpError, match="expected low_rank or free, got 'full'"):
            PhotometricConfig(albedo="full")
