"""What networks see in pictures, in pixels of the frame whatever size they see it in."""

import dataclasses
from pathlib import Path

import pytest
import torch
from guide_files import depth_network, guide_file, keypoint_network
from turned_surface import DEPTH, SIDE, SOURCE, TARGET, error_deg, guess

from headwarp.geom.aligned_pose import ALIGNMENT
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.relative_pose import HeadPoseNetwork
from headwarp.geom.sources.depth import DepthSource
from headwarp.geom.sources.keypoints import KeypointsSource
from headwarp.geom.sources.landmarks import LandmarksSource
from headwarp.geom.transforms import axis_angle_to_matrix
from headwarp.warping.animators import load_animator, registration
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.guided import GuidedAnimator, Observer, Referring, refers
from headwarp.warping.guides import GuideConfig, load_guide
from headwarp.warping.keypoint_network import fomm, fomm_official, tiny
from headwarp.warping.observers import (
    DepthObserver,
    KeypointsObserver,
    load_depth_observer,
    load_keypoints_observer,
    seen_picture,
)

SIZE = (64, 96)


def save_copy(folder):
    """A checkpoint of another kind."""
    return save_checkpoint(folder / "copy.safetensors", {}, config=registration("copy").config(), name="copy")


def picture(seed=0, size=SIZE):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[fomm, fomm_official], ids=["own", "official"])
def network(request):
    return keypoint_network(tiny(request.param()))


def test_a_picture_is_shown_in_whole_multiples_of_the_asked_size():
    same = picture()
    assert seen_picture(same, None, 32) is same
    assert seen_picture(picture(size=(70, 130)), None, 32).shape[2:] == (64, 128)
    assert seen_picture(picture(size=(512, 256)), 256, 32).shape[2:] == (256, 128)
    assert seen_picture(same, 256, 32) is same  # never enlarged
    assert seen_picture(picture(size=(8, 200)), 64, 32).shape[2:] == (32, 64)


def test_the_guidance_is_the_networks_own_motion(network):
    observer = KeypointsObserver(network)
    assert isinstance(observer, Observer)
    source, driving = Source(image=picture(0)), Driving(image=picture(1))
    seen = observer.source(source)
    moved = observer.driving(seen, driving)
    maker = KeypointsSource(dense_motion=observer.dense_motion)
    made = maker.guide(maker.prepare(seen), moved)
    with torch.no_grad():
        direct = network(source.image, driving.image)
    resampled = 2.0 if network.config.keypoints.align_corners else 1e-3  # the public code's whole frame lags
    torch.testing.assert_close(made.flow, direct.flow, rtol=0, atol=resampled)
    assert (made.known <= 1).all()
    assert made.known.std() > 0


def test_fields_that_are_given_are_left_alone(network):
    observer = KeypointsObserver(network)
    points = torch.zeros(1, 10, 2)
    assert observer.source(Source(image=picture(), keypoints=points)).keypoints is points
    assert observer.driving(Source(image=picture()), Driving(keypoints=points)).keypoints is points


def test_another_size_of_frame_moves_the_same(network):
    observer = KeypointsObserver(network, side=64)
    large = torch.nn.functional.interpolate(picture(), scale_factor=4, mode="nearest")
    small = observer.source(Source(image=torch.nn.functional.avg_pool2d(large, 4)))
    seen = observer.source(Source(image=large))
    scale = torch.tensor([large.shape[3] / SIZE[1], large.shape[2] / SIZE[0]])
    torch.testing.assert_close(seen.keypoints, small.keypoints * scale, rtol=0.05, atol=2.0)


def test_relative_motion_leaves_the_source_at_rest_in_the_reference_frame(network):
    animator = GuidedAnimator(
        load_animator("geometry"),
        KeypointsSource(dense_motion=KeypointsObserver(network).dense_motion),
        KeypointsObserver(network),
    )
    cache = animator.encode([Source(image=picture(0))])
    absolute = animator.animate(cache, Driving(image=picture(1)))
    relative = animator.refer(cache, Driving(image=picture(1)))
    still = animator.animate(relative, Driving(image=picture(1)))
    assert absolute.flow.abs().max() > 0.1
    assert still.flow.abs().max() < 0.02
    assert animator.animate(relative, Driving(image=picture(2))).flow.abs().max() > 0.1
    with pytest.raises(HeadwarpError, match="refer: expected an observer"):
        GuidedAnimator(load_animator("geometry"), KeypointsSource()).refer(cache, Driving(image=picture(1)))


def test_a_network_is_loaded_from_an_animators_checkpoint(tmp_path):
    config = tiny(fomm())
    animator = registration("fomm").build(config)
    file = save_checkpoint(tmp_path / "fomm.safetensors", animator, config=config, name="fomm")
    observer = load_keypoints_observer(file, side=64)
    for key, value in animator.network.state_dict().items():
        assert torch.equal(observer.network.state_dict()[key], value)
    assert not any(p.requires_grad for p in observer.parameters())
    with pytest.raises(HeadwarpError, match=r"expected a network of keypoints \(fomm, dagan\), got .*'copy'"):
        load_keypoints_observer(save_copy(tmp_path))


# Depth


@pytest.fixture(scope="module", params=["head", "pair"])
def depth_observer(request):
    return DepthObserver(depth_network(request.param))


def test_depth_and_motion_are_the_networks_own(depth_observer):
    assert isinstance(depth_observer, Observer)
    source = depth_observer.source(Source(image=picture(0)))
    driving = depth_observer.driving(source, Driving(image=picture(1)))
    network = depth_observer.network
    with torch.no_grad():
        torch.testing.assert_close(source.depth, network.scene(picture(0)).depth)
        pose = network.pose(torch.cat([picture(0), picture(1)], 1))
    turn = axis_angle_to_matrix(pose.rotation)
    torch.testing.assert_close(driving.relative_pose[:, :, :3], turn, rtol=0, atol=1e-5)
    assert driving.relative_pose[0, :, :3].sub(torch.eye(3)).abs().max() > 1e-3
    camera = depth_observer.camera(source)
    if isinstance(network.pose, HeadPoseNetwork):  # a clip's camera does not zoom
        torch.testing.assert_close(driving.intrinsics, camera)
    else:
        torch.testing.assert_close(driving.intrinsics, pose.intrinsics)
    again = depth_observer.driving(source, Driving(image=picture(0)))
    if isinstance(network.pose, HeadPoseNetwork):
        torch.testing.assert_close(again.relative_pose, torch.eye(3, 4)[None], rtol=0, atol=1e-4)


def test_depth_and_motion_that_are_given_stay(depth_observer):
    depth, pose = torch.ones(1, 1, *SIZE), torch.eye(3, 4)[None]
    source = Source(image=picture(), depth=depth)
    assert depth_observer.source(source) is source
    given = depth_observer.driving(source, Driving(relative_pose=pose))
    assert given.relative_pose is pose
    torch.testing.assert_close(given.intrinsics, depth_observer.camera(source))
    whole = Driving(relative_pose=pose, intrinsics=given.intrinsics)
    assert depth_observer.driving(source, whole) is whole


def test_the_camera_is_in_pixels_of_the_frame_whatever_size_is_seen():
    source = Source(image=picture(size=(192, 288)))
    small = DepthObserver(depth_network(), side=96)
    seen = Source(image=seen_picture(source.image, 96, 32))
    torch.testing.assert_close(small.camera(source), small.camera(seen) * torch.tensor([3.0, 3, 1])[:, None])
    assert small.source(source).depth.shape == (1, 1, 192, 288)


def test_a_head_rests_in_its_drivers_reference_frame_and_turns_from_there():
    observer = DepthObserver(depth_network())
    animator = GuidedAnimator(load_animator("geometry"), DepthSource(), observer)
    assert animator.needs_source == animator.needs_driving == ("image",)
    cache = animator.encode([Source(image=picture(0))])
    relative = animator.refer(cache, Driving(image=picture(1)))
    assert animator.animate(relative, Driving(image=picture(1))).flow.abs().max() < 1e-2
    turned = animator.guided(relative, Driving(image=picture(2)))
    with torch.no_grad():
        between = observer.network.pose(torch.cat([picture(1), picture(2)], 1))
    turn = axis_angle_to_matrix(between.rotation)
    torch.testing.assert_close(turned.relative_pose[:, :, :3], turn, rtol=0, atol=1e-5)


def guessing(monkeypatch, **options):
    """An observer whose network is some degrees off."""
    network = depth_network(principal=0.0)
    monkeypatch.setattr(network.pose, "between", lambda *_: guess())
    return DepthObserver(network, **options)


def test_a_networks_guess_is_made_better_by_the_pictures(monkeypatch):
    source, driving = Source(image=TARGET, depth=DEPTH), Driving(image=SOURCE)
    alone = guessing(monkeypatch, alignment=None).driving(source, driving)
    aligned = guessing(monkeypatch).driving(source, driving)
    turns = [error_deg(moved.relative_pose[:, :, :3]).item() for moved in (alone, aligned)]
    assert turns[1] < 0.7 < 5 < turns[0]
    torch.testing.assert_close(aligned.intrinsics, alone.intrinsics)
    metres = guessing(monkeypatch).driving(dataclasses.replace(source, depth=3 * DEPTH), driving)
    torch.testing.assert_close(metres.relative_pose[..., 3], 3 * aligned.relative_pose[..., 3])


def test_what_the_mask_leaves_out_does_not_hold_the_head(monkeypatch):
    resting, mask = TARGET.clone(), torch.ones(1, 1, SIDE, SIDE)
    resting[..., :36, :], mask[..., :40, :] = SOURCE[..., :36, :], 0
    observer, source = guessing(monkeypatch), Source(image=resting, depth=DEPTH)
    held = observer.driving(source, Driving(image=SOURCE))
    free = observer.driving(dataclasses.replace(source, mask=mask), Driving(image=SOURCE))
    errors = [error_deg(moved.relative_pose[:, :, :3]).item() for moved in (held, free)]
    assert errors[1] < 1 < 5 < errors[0]


def test_pictures_may_be_larger_than_what_the_network_sees_and_depth_unknown_in_places(monkeypatch):
    large = [torch.nn.functional.interpolate(v, scale_factor=3) for v in (TARGET, SOURCE, DEPTH)]
    large[2][..., :60, :80] = 0
    observer = guessing(monkeypatch, side=SIDE)
    moved = observer.driving(Source(image=large[0], depth=large[2]), Driving(image=large[1]))
    assert error_deg(moved.relative_pose[:, :, :3]).item() < 1


def test_motion_since_a_reference_frame_is_aligned_by_that_frames_depth(monkeypatch):
    observer, source = guessing(monkeypatch), Source(image=picture(5, (SIDE, SIDE)))
    then = Driving(image=TARGET, depth=DEPTH)
    assert observer.reference(source, then) is then
    moved = observer.referred(source, then, Driving(image=SOURCE), adapt_scale=True)
    assert error_deg(moved.relative_pose[:, :, :3]).item() < 0.7
    seen = observer.reference(source, Driving(image=TARGET))
    focal = observer.camera(source)[:, 0, 0] / SIDE
    expected = observer.network.scene(TARGET, focal=focal).depth
    torch.testing.assert_close(seen.depth, expected)
    plain = guessing(monkeypatch, alignment=None)
    assert plain.reference(source, Driving(image=TARGET)).depth is None


def test_only_networks_that_can_be_aligned_are(depth_observer):
    assert depth_observer.alignment is None  # its axis may leave the middle, or it is of pairs
    assert DepthObserver(depth_network(principal=0.0)).alignment is ALIGNMENT
    assert DepthObserver(depth_network("pair", principal=0.0)).alignment is None


def test_depth_networks_are_loaded_from_their_trainings_checkpoint(tmp_path):
    network = depth_network()
    file = save_checkpoint(
        tmp_path / "depth.safetensors", network, config=network.config, name="depth", kind="depth"
    )
    observer = load_depth_observer(file, side=64, alignment=None)
    assert observer.alignment is None
    for key, value in network.state_dict().items():
        assert torch.equal(observer.network.state_dict()[key], value)
    told = "expected a checkpoint of name 'depth', got 'copy'; give a file that a training of depth wrote"
    with pytest.raises(ModelFileError, match=told):
        load_depth_observer(save_copy(tmp_path))


# Guides of training


def test_a_guide_of_depth_is_aligned_or_not(tmp_path):
    network = depth_network(principal=0.0)
    path = tmp_path / "depth.safetensors"
    file = save_checkpoint(path, network, config=network.config, name="depth", kind="depth")
    assert load_guide(GuideConfig("depth", file)).observer.alignment == ALIGNMENT
    assert load_guide(GuideConfig("depth", file, aligned=False)).observer.alignment is None


@pytest.mark.parametrize("kind", ["depth", "keypoints"])
def test_pairs_are_guided_each_by_its_own_source(tmp_path, kind):
    file = guide_file(tmp_path, kind)
    guide = load_guide(GuideConfig(kind, file, side=None))
    sources, drivers = (torch.cat([picture(n), picture(n + 1)]) for n in (0, 4))
    masks = torch.ones(2, 1, *SIZE)
    both = guide.pairs(Source(image=sources, mask=masks), Driving(image=drivers))
    assert both.flow.shape == (2, 2, *SIZE)
    for n in range(2):
        alone = guide.pairs(Source(image=sources[[n]], mask=masks[[n]]), Driving(image=drivers[[n]]))
        torch.testing.assert_close(both.flow[[n]], alone.flow, rtol=0, atol=1e-2)
        torch.testing.assert_close(both.known[[n]], alone.known, rtol=0, atol=1e-3)


def test_a_guide_that_makes_no_sense_is_refused():
    with pytest.raises(HeadwarpError, match="kind: expected one of depth, keypoints, landmarks, got 'mesh'"):
        GuideConfig("mesh")
    with pytest.raises(HeadwarpError, match="side: expected 32 pixels or more, got 8"):
        GuideConfig(checkpoint=Path("a"), side=8)
    with pytest.raises(HeadwarpError, match="checkpoint: expected a file of its network for depth, got None"):
        GuideConfig()
    with pytest.raises(HeadwarpError, match="checkpoint: expected none for landmarks, got a; leave it out"):
        GuideConfig("landmarks", Path("a"))
    with pytest.raises(HeadwarpError, match="aligned: expected True for keypoints"):
        GuideConfig("keypoints", Path("a"), aligned=False)
    with pytest.raises(ModelFileError, match="no such checkpoint"):
        load_guide(GuideConfig(checkpoint=Path("gone.safetensors")))


def test_landmarks_guide_pairs_without_a_network():
    guide = load_guide(GuideConfig("landmarks", side=None))
    assert guide.observer is None
    points = torch.rand(2, 20, 2, generator=torch.Generator().manual_seed(0)) * 20 + 5
    source = Source(image=torch.cat([picture(0), picture(1)]), landmarks=points)
    both = guide.pairs(source, Driving(landmarks=points + 2))
    for n in range(2):
        alone = LandmarksSource()
        state = alone.prepare(Source(image=picture(n), landmarks=points[[n]]))
        torch.testing.assert_close(
            both.flow[[n]], alone.guide(state, Driving(landmarks=points[[n]] + 2)).flow
        )
    animator = GuidedAnimator(load_animator("geometry"), guide.source, guide.observer)
    assert animator.needs_driving == ("landmarks",)
    assert isinstance(animator, Referring)
    assert not refers(animator)  # whoever gives landmarks makes them relative
    assert not refers(load_animator("copy"))
    seen = KeypointsObserver(keypoint_network())
    assert refers(GuidedAnimator(load_animator("geometry"), KeypointsSource(), seen))
