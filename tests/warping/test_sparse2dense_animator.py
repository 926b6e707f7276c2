"""`sparse2dense`: numbers alone drive a cached source; prepared networks, checkpoints."""

from __future__ import annotations

import pytest
import torch
from toy_animators import SPARSE, shaken
from toy_scene import LANDMARKS, SIZE, driving, source

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.keypoints import to_normalised
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import load_checkpoint, save_checkpoint
from headwarp.warping.inference import prepare_animator_
from headwarp.warping.landmark_motion import SmoothingConfig, TrackConfig

SHIFTS = torch.tensor([[0.0, 0.0], [3.0, -2.0], [-4.0, 1.0]])


def toy():
    """Small and untrained, off its start."""
    torch.manual_seed(0)
    return shaken(load_animator("sparse2dense", config=SPARSE))


def vectors():
    """136 floats a frame."""
    return (LANDMARKS + SHIFTS[:, None]).flatten(1)


def test_136_numbers_a_frame_are_enough():
    animator = toy()
    cache = animator.encode([Source(image=source().image, landmarks=LANDMARKS)])
    assert vectors().shape == (3, 136)
    made = list(animator.drive(cache, vectors()))
    assert len(made) == 3
    for animation, shift in zip(made, SHIFTS, strict=True):
        expected = animator.animate(cache, driving(shift[None]))
        torch.testing.assert_close(animation.image, expected.image, rtol=0, atol=1e-4)
    assert (made[1].image - made[0].image).abs().max() > 1e-3


def test_relative_motion_begins_at_the_source_whatever_drives():
    animator = toy()
    cache = animator.encode([source()])
    own = animator.animate(cache, Driving(landmarks=LANDMARKS)).image
    stranger = 3 * vectors() + 100
    first = next(animator.drive(cache, stranger))
    torch.testing.assert_close(first.image, own, rtol=0, atol=1e-4)
    taken = next(animator.drive(cache, vectors()[1:], TrackConfig(relative=False)))
    expected = animator.animate(cache, driving(SHIFTS[1:2])).image
    torch.testing.assert_close(taken.image, expected, rtol=0, atol=1e-4)


def test_a_smoothed_track_is_steadier():
    animator = toy()
    cache = animator.encode([source()])
    shaking = vectors() + torch.tensor([-1.0, 1.0, -1.0])[:, None]
    rough, steady = (
        list(animator.drive(cache, shaking, TrackConfig(smoothing=smoothing)))
        for smoothing in (None, SmoothingConfig())
    )
    changes = [(clip[1].flow - clip[0].flow).abs().mean() for clip in (rough, steady)]
    assert changes[1] < changes[0]


def test_the_cache_holds_the_landmarks_of_the_frame():
    cache = toy().encode([source()])
    torch.testing.assert_close(cache.landmarks, to_normalised(LANDMARKS, SIZE))


def test_maps():
    animator = toy()
    cache = animator.encode([source()])
    maps = animator.explain(cache, driving(SHIFTS[1:2]))
    assert {name: tuple(each.shape[1:]) for name, each in maps.items()} == {
        "animated": (3, *SIZE),
        "deformed": (3, *SIZE),
        "flow": (2, *SIZE),
        "occlusion": (1, *SIZE),
        "masks": (5, *SIZE),
        "sparse_flows": (10, *SIZE),
    }
    assert torch.equal(maps["animated"], animator.animate(cache, driving(SHIFTS[1:2])).image)


def test_prepared_pictures_are_the_same():
    animator = toy()
    expected = animator.animate(animator.encode([source()]), driving(SHIFTS))
    assert prepare_animator_(animator) is animator
    made = animator.animate(animator.encode([source()]), driving(SHIFTS))
    torch.testing.assert_close(made.image, expected.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(made.flow, expected.flow, rtol=1e-4, atol=1e-3)
    with pytest.raises(HeadwarpError, match="was prepared to animate and cannot be saved"):
        animator.state_dict()


def test_a_checkpoint_gives_the_same_picture(tmp_path):
    animator = toy()
    path = save_checkpoint(tmp_path / "a.safetensors", animator, config=SPARSE, name="sparse2dense", step=3)
    again = load_animator("sparse2dense", path)
    assert (again.config, load_checkpoint(path).step) == (SPARSE, 3)
    one, other = (each.animate(each.encode([source()]), driving(SHIFTS)).image for each in (animator, again))
    assert torch.equal(one, other)


def test_landmarks_that_do_not_fit():
    animator = toy()
    cache = animator.encode([source()])
    with pytest.raises(ShapeError, match=r"landmarks: expected \(B, 68, 2\), got \(1, 5, 2\)"):
        animator.encode([source(landmarks=LANDMARKS[:, :5])])
    with pytest.raises(HeadwarpError, match="expected finite source landmarks"):
        animator.encode([source(landmarks=LANDMARKS / 0)])
    with pytest.raises(HeadwarpError, match="expected finite driving landmarks"):
        animator.animate(cache, driving(landmarks=LANDMARKS * torch.nan))
    with pytest.raises(ShapeError, match=r"track: expected \(T, 68, 2\)"):
        animator.drive(cache, torch.zeros(2, 10))
