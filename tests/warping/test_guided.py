"""Animators guided by any geometry source: what comes out is as good as the guidance, whatever made it."""

import dataclasses

import pytest
import torch
from toy_scene import CAMERA, SIZE, driving, person, source

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.flow import warp
from headwarp.geom.guidance import Driving, Guidance, Source
from headwarp.geom.sources.codes import CodesSource
from headwarp.geom.sources.depth import DepthSource
from headwarp.geom.sources.keypoints import KeypointsSource
from headwarp.geom.sources.landmarks import LandmarksSource
from headwarp.geom.sources.mesh import MeshSource
from headwarp.warping.animators import load_animator, registration
from headwarp.warping.guided import GuidedAnimator, Observer
from headwarp.warping.guided_layers import head_radius, with_guidance
from headwarp.warping.inference import InferenceConfig, prepare_animator_
from headwarp.warping.pwm import CodesConfig, PwmConfig
from headwarp.warping.residual import ResidualConfig

SOURCES = {
    "mesh": MeshSource,
    "codes": CodesSource,
    "depth": DepthSource,
    "keypoints": KeypointsSource,
    "landmarks": LandmarksSource,
}
SHIFTS = torch.tensor([[0.0, 0], [3, -1], [-6, 4], [500, 0]])
CASES = [(name, kind) for name in ("geometry", "pwm") for kind in SOURCES]


def bare(animator):
    """Source and driver with what the animator says it needs, and a mask."""
    src = {need: getattr(source(), need) for need in animator.needs_source}
    return Source(mask=person(), **src)


def driven(animator, shifts):
    full = driving(shifts)
    return Driving(**{need: getattr(full, need) for need in animator.needs_driving})


def guided(name, kind):
    """The network untrained, not the one that comes with the package."""
    return GuidedAnimator(load_animator(name, config=registration(name).config()), SOURCES[kind]())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_is_declared_suffices_and_moves_the_face(name, kind):
    animator = guided(name, kind)
    scene = bare(animator)
    made = animator.animate(animator.encode([scene]), driven(animator, SHIFTS))
    assert made.image.shape == (4, 3, *SIZE)
    assert made.image.min() >= 0
    assert made.image.max() <= 1
    assert made.flow.shape == (4, 2, *SIZE)
    assert made.occlusion.shape == (4, 1, *SIZE)
    assert (made.image[0] - scene.image[0]).abs().mean() < 1 / 255  # the source's own pose
    face = made.image[1, :, 20:36, 34:50]
    assert (face - scene.image[0, :, 21:37, 31:47]).abs().mean() < 0.02
    corner = (..., slice(0, 8), slice(0, 8))
    torch.testing.assert_close(made.image[1][corner], scene.image[0][corner], rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("masked", [True, False])
def test_the_untrained_network_is_geometry_bit_for_bit_with_every_source(kind, masked):
    made = []
    for name in ("geometry", "pwm"):
        animator = guided(name, kind)
        scene = bare(animator) if masked else dataclasses.replace(bare(animator), mask=None)
        made.append(animator.animate(animator.encode([scene]), driven(animator, SHIFTS)))
    assert torch.equal(made[0].image, made[1].image)
    assert torch.equal(made[0].flow, made[1].flow)
    assert torch.equal(made[0].occlusion, made[1].occlusion)


@pytest.mark.parametrize(("name", "kind"), [("geometry", "depth"), ("pwm", "keypoints")])
def test_a_batch_is_its_frames_and_explain_names_its_maps(name, kind):
    animator = guided(name, kind)
    cache = animator.encode([bare(animator)])
    together = animator.animate(cache, driven(animator, SHIFTS))
    for n in range(len(SHIFTS)):
        alone = animator.animate(cache, driven(animator, SHIFTS[[n]]))
        torch.testing.assert_close(together.image[n], alone.image[0], rtol=1e-5, atol=1e-5)
    maps = animator.explain(cache, driven(animator, SHIFTS[:2]))
    assert {"animated", "covered", "known", "flow"} <= set(maps)
    assert all(torch.isfinite(value).all() for value in maps.values())


def test_without_a_mask_the_picture_is_warped_by_the_guidance():
    animator = load_animator("geometry")
    cache = animator.encode_guided([Source(image=source().image)])
    flow = 3 * torch.randn(1, 2, *SIZE, generator=torch.Generator().manual_seed(0))
    known = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(1)).round()
    made = animator.animate(cache, Driving(guidance=Guidance(flow, known, known)))
    torch.testing.assert_close(made.image, warp(source().image, flow))
    assert torch.equal(made.occlusion, known)


def test_guidance_replaces_what_moved_layers_and_nothing_else():
    animator = load_animator("geometry")
    layers = animator.layers(animator.encode([source()]), driving(SHIFTS[1:2]))
    flow, known = torch.full((1, 2, *SIZE), 2.0), torch.full((1, 1, *SIZE), 0.5)
    made = with_guidance(layers, Guidance(flow, known, torch.zeros_like(known)))
    for field in ("matte", "colours", "residual", "background", "dark", "reach", "torso_line"):
        assert torch.equal(getattr(made, field), getattr(layers, field))
    assert torch.equal(made.displacement, flow / 2)
    assert not made.known.any()
    assert not made.hollow.any()


def test_the_radius_of_a_head_is_much_the_same_from_all_that_tells():
    by_mesh = head_radius(source())
    by_landmarks = head_radius(source(posed_vertices=None))
    by_mask = head_radius(source(posed_vertices=None, landmarks=None))
    by_frame = head_radius(Source(image=source().image))
    assert all(0.5 < radius / by_mesh < 2 for radius in (by_landmarks, by_mask, by_frame))


class Seen:
    """An observer that knows the scene."""

    produces_source = ("depth",)
    produces_driving = ("relative_pose",)

    def source(self, source):
        return dataclasses.replace(source, depth=torch.ones(1, 1, *SIZE))

    def driving(self, source, driving):
        assert source.depth is not None
        pose = torch.cat([torch.eye(3), torch.tensor([[3 / 80], [0.0], [0.0]])], 1)[None]
        return dataclasses.replace(driving, relative_pose=pose)

    def reference(self, source, driving):
        return driving

    def referred(self, source, reference, driving, *, adapt_scale):
        return dataclasses.replace(driving, relative_pose=torch.eye(3, 4)[None] * (2 if adapt_scale else 1))


def test_an_observer_makes_what_pictures_tell():
    assert isinstance(Seen(), Observer)
    animator = GuidedAnimator(load_animator("geometry"), DepthSource(), Seen())
    assert animator.needs_source == ("image",)
    assert animator.needs_driving == ("image", "intrinsics")
    cache = animator.encode([Source(image=source().image, mask=person())])
    made = animator.animate(cache, Driving(image=source().image, intrinsics=CAMERA))
    torch.testing.assert_close(made.flow[0, :, 30, 37], torch.tensor([-3.0, 0.0]), rtol=0, atol=1e-3)


def test_animators_that_take_no_guidance_and_networks_of_codes_are_refused():
    with pytest.raises(
        HeadwarpError, match=r"expected an animator that a geometry source can guide.*CopyAnim"
    ):
        GuidedAnimator(load_animator("copy"), DepthSource())
    network = ResidualConfig(channels=(4, 4, 4, 4), detail=4, guidance="codes", code_channels=2)
    coded = load_animator("pwm", config=PwmConfig(network, codes=CodesConfig(count=81)))
    animator = GuidedAnimator(coded, DepthSource())
    with pytest.raises(HeadwarpError, match="expected a posed mesh, on which the network's codes lie"):
        animator.encode([bare(animator)])
    plain = load_animator("geometry")
    cache = plain.encode_guided([source()])
    with pytest.raises(HeadwarpError, match=r"geometry: Driving\.guidance: expected a tensor, got None"):
        plain.animate(cache, Driving())


def test_its_network_is_prepared_and_its_frame_multiple_is_known():
    animator = guided("pwm", "depth")
    assert animator.frame_multiple == 1
    assert prepare_animator_(animator, InferenceConfig()) is animator
    scene = bare(animator)
    image = animator.animate(animator.encode([scene]), driven(animator, SHIFTS[:1])).image
    assert (image - scene.image).abs().mean() < 1 / 255
