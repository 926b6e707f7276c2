"""Sparse-to-Dense as a geometry source: its own motion, in any size of frame, guides other animators."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from toy_animators import loaded
from toy_scene import LANDMARKS, driving, source

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.sources.landmarks import LandmarksSource
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.guided import GuidedAnimator
from headwarp.warping.landmark_guide import LandmarkGuide, load_landmark_guide

SHIFTS = torch.tensor([[3.0, -1.0], [-2.0, 2.0]])


def test_the_guidance_is_the_networks_own_motion_and_its_source_is_encoded_once(monkeypatch):
    animator = loaded("sparse2dense")
    maker = LandmarksSource(dense_motion=LandmarkGuide(animator.network, side=None))
    cache, drive = animator.encode([source()]), driving(SHIFTS)
    shown = animator.explain(cache, drive)
    encoded, encode = [], animator.network.encode
    monkeypatch.setattr(animator.network, "encode", lambda *given: encoded.append(1) or encode(*given))
    state = maker.prepare(source())
    made = maker.guide(state, drive)
    torch.testing.assert_close(made.flow, shown["flow"], rtol=0, atol=1e-5)
    assert shown["flow"].abs().max() > 0.01
    assert (made.known <= shown["occlusion"] + 1e-6).all()
    assert made.known.max() > 0.1
    maker.guide(state, driving(SHIFTS[:1]))
    assert len(encoded) == 1


def test_another_size_of_frame_moves_alike():
    guide = LandmarkGuide(loaded("sparse2dense").network, side=64)
    image, points = source().image, LANDMARKS
    large = F.interpolate(image, scale_factor=2, mode="nearest")
    small = guide(Source(image=image, landmarks=points), Driving(landmarks=points + SHIFTS[0]))
    twice = guide(Source(image=large, landmarks=2 * points), Driving(landmarks=2 * (points + SHIFTS[0])))
    assert twice.flow.shape[2:] == large.shape[2:]
    pooled = F.avg_pool2d(twice.flow, 2) / 2
    assert (pooled - small.flow).abs().mean() < 0.1 * small.flow.abs().mean()


@pytest.mark.parametrize("name", ["geometry", "pwm"])
def test_it_guides_other_animators(name):
    guide = LandmarkGuide(loaded("sparse2dense").network)
    guided = GuidedAnimator(load_animator(name), LandmarksSource(dense_motion=guide))
    assert guided.needs_driving == ("landmarks",)
    cache = guided.encode([Source(image=source().image, landmarks=LANDMARKS)])
    moved, still = (
        guided.animate(cache, Driving(landmarks=LANDMARKS + by)).image for by in (SHIFTS[0], 0 * SHIFTS[0])
    )
    assert moved.shape == source().image.shape
    assert not torch.equal(moved, still)


def test_weights_are_loaded_and_others_refused(tmp_path):
    animator = loaded("sparse2dense")
    file = save_checkpoint(tmp_path / "a.safetensors", animator, config=animator.config, name="sparse2dense")
    pair = source(), driving(SHIFTS[:1])
    torch.testing.assert_close(
        load_landmark_guide(file)(*pair).flow, LandmarkGuide(animator.network)(*pair).flow
    )
    with pytest.raises(HeadwarpError, match="expected finite landmarks"):
        load_landmark_guide(file)(pair[0], Driving(landmarks=LANDMARKS * torch.nan))
    other = loaded("fomm")
    wrong = save_checkpoint(tmp_path / "b.safetensors", other, config=other.config, name="fomm")
    with pytest.raises(HeadwarpError, match="expected weights of 'sparse2dense', got those of 'fomm'"):
        load_landmark_guide(wrong)
