"""The whole network: published names and shapes, the public code restated, exact warps, cached sources."""

from dataclasses import replace

import pytest
import torch
from fomm_file import detector_shapes, drawn, generator_shapes, motion_shapes
from fomm_reference import detect, generate

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.keypoints import Keypoints
from headwarp.warping.keypoint_network import (
    KeypointNetwork,
    KeypointNetworkConfig,
    baseline,
    fomm,
    fomm_official,
    fomm_paper,
    tiny,
)

CONFIGS = {"own": fomm, "official": fomm_official, "paper": fomm_paper, "baseline": baseline}


def network(config: KeypointNetworkConfig) -> KeypointNetwork:
    torch.manual_seed(0)
    made = KeypointNetwork(config).eval()
    with torch.no_grad():
        if made.kp_detector.jacobian is not None:
            made.kp_detector.jacobian.weight.normal_(0, 0.05)
    return made


def test_published_names_and_shapes():
    """`vox-cpk` and `vox-adv-cpk` entry by entry: 45,575,391 and 14,215,368 parameters."""
    with torch.device("meta"):
        made = KeypointNetwork(fomm_official())
    parts = {
        made.generator: (generator_shapes(), 45_575_391),
        made.kp_detector: (detector_shapes(), 14_215_368),
    }
    for part, (shapes, parameters) in parts.items():
        assert {name: tuple(value.shape) for name, value in part.state_dict().items()} == shapes
        assert sum(parameter.numel() for parameter in part.parameters()) == parameters


@pytest.mark.parametrize("corners", [True, False])
@torch.no_grad()
def test_public_code_restated(corners):
    config = tiny(fomm_official())
    config = replace(config, motion=replace(config.motion, sample_align_corners=corners))
    made = network(config)
    motion = motion_shapes(width=4, cap=16, blocks=3)
    weights = drawn(generator_shapes(width=4, cap=16, bottleneck=2, motion=motion))
    finder = drawn(detector_shapes(width=4, cap=16, blocks=3), seed=1)
    made.generator.load_state_dict(weights)
    made.kp_detector.load_state_dict(finder)
    source, driving = torch.rand(2, 2, 3, 64, 96).unbind(0)
    ours = made(source, driving)
    theirs = generate(weights, source, detect(finder, source), detect(finder, driving), corners=corners)
    torch.testing.assert_close(ours.image, theirs.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.deformed, theirs.deformed, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.occlusion, theirs.motion.occlusion, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.masks, theirs.motion.mask, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["own", "paper", "baseline"])
@pytest.mark.parametrize("size", [(64, 64), (96, 32)])
def test_equal_keypoints_leave_the_source_exactly(name, size):
    made, source = network(tiny(CONFIGS[name]())), torch.rand(1, 3, *size)
    found = made.detect(source)
    output = made.decode(made.encode(source), found)
    assert torch.equal(output.deformed, source)
    assert torch.equal(output.flow, torch.zeros(1, 2, *size))


def test_whole_pixels_are_exact():
    """All keypoints moved by eight pixels: the picture is, bit for bit, whatever the masks are."""
    made, source = network(tiny(baseline())), torch.rand(1, 3, 64, 64)
    torch.manual_seed(1)
    found = Keypoints((torch.randint(-8, 8, (1, 15, 2)) / 32).float())
    features = made.encode(source, keypoints=found)
    with torch.no_grad():  # no background, which would stand still
        made.generator.dense_motion_network.mask.bias[0] = -1e4
    output = made.decode(features, Keypoints(found.points - torch.tensor([8 / 32, -4 / 32])))
    torch.testing.assert_close(output.flow, torch.tensor([8.0, -4.0])[:, None, None].expand(1, 2, 64, 64))
    torch.testing.assert_close(output.deformed[..., 4:, :-8], source[..., :-4, 8:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cached_source_gives_the_same_picture(name):
    made = network(tiny(CONFIGS[name]()))
    source, driving = torch.rand(1, 3, 64, 32), torch.rand(3, 3, 64, 32)
    features = made.encode(source)
    together = made.decode(features, made.detect(driving))
    for index in range(3):
        alone = made(source, driving[index : index + 1])
        torch.testing.assert_close(together.image[index], alone.image[0])
        torch.testing.assert_close(together.flow[index], alone.flow[0])
    assert together.image.min() >= 0
    assert together.image.max() <= 1
    assert together.sparse_flows.shape[:3] == (3, made.config.motion.count + 1, 2)


def test_gradients_reach_every_parameter():
    made = network(tiny(fomm())).train()
    output = made(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    (output.image.square().mean() + output.deformed.square().mean()).backward()
    assert not [name for name, each in made.named_parameters() if each.grad is None]
    assert made.kp_detector.kp.weight.grad.abs().max() > 0
    assert made.kp_detector.jacobian.weight.grad.abs().max() > 0


def test_other_sizes_are_refused():
    made = network(tiny(fomm()))
    assert made.config.multiple == 32
    assert fomm().multiple == 128
    with pytest.raises(ShapeError, match="image: expected sides that are multiples of 32, got 48 x 64"):
        made.detect(torch.rand(1, 3, 48, 64))
    with pytest.raises(ShapeError, match="multiples of 32"):
        made.encode(torch.rand(1, 3, 64, 40))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "all"}, "attention: expected 'none', 'depth' or 'self'"),
        ({"attention": "depth"}, "depth: expected a DepthConfig, got None"),
        ({"depth_keypoints": True}, "keypoints.channels: expected 1 or 4"),
        (
            {"motion": replace(fomm().motion, count=9)},
            "count: expected the same of keypoints and motion, got 10",
        ),
        ({"motion": replace(fomm().motion, align_corners=True)}, "align_corners: expected the same"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(HeadwarpError, match=message):
        KeypointNetworkConfig(**options)


def test_no_depth_to_ask_for():
    with pytest.raises(HeadwarpError, match="this network has no depth network"):
        network(tiny(fomm())).disparity(torch.rand(1, 3, 32, 32))
