"""What networks see in pictures, in pixels of the frame whatever size they see it in."""

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.sources.keypoints import KeypointsSource
from headwarp.warping.animators import load_animator, registration
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.guided import GuidedAnimator, Observer
from headwarp.warping.keypoint_network import KeypointNetwork, fomm, fomm_official, tiny
from headwarp.warping.observers import KeypointsObserver, load_keypoints_observer, seen_picture

SIZE = (64, 96)


def picture(seed=0, size=SIZE):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[fomm, fomm_official], ids=["own", "official"])
def network(request):
    torch.manual_seed(0)
    made = KeypointNetwork(tiny(request.param())).eval()
    for layer in (made.kp_detector.jacobian, made.generator.dense_motion_network.mask):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return made


def test_a_picture_is_shown_in_whole_multiples_of_the_asked_size():
    same = picture()
    assert seen_picture(same, None, 32) is same
    assert seen_picture(picture(size=(70, 130)), None, 32).shape[2:] == (64, 128)
    assert seen_picture(picture(size=(512, 256)), 256, 32).shape[2:] == (256, 128)
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
    other = registration("copy")
    file = save_checkpoint(tmp_path / "copy.safetensors", {}, config=other.config(), name="copy")
    with pytest.raises(HeadwarpError, match=r"expected a network of keypoints \(fomm, dagan\), got .*'copy'"):
        load_keypoints_observer(file)
