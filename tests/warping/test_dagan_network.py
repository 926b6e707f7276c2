"""DaGAN's parts in the whole network: the public code restated, plug-and-play depth and attention."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from dagan_file import dagan_detector_shapes, depth_aware_shapes, spade_shapes
from dagan_reference import attention_rows, generate_with_depth
from fomm_file import drawn, motion_shapes
from fomm_reference import detect, encode, moved_features

from headwarp.geom.depth import disparity_to_depth
from headwarp.geom.errors import HeadwarpError
from headwarp.warping.attention import OFFICIAL, PAPER
from headwarp.warping.importers.key_table import SPECTRAL_NORM, match_keys, renamed
from headwarp.warping.keypoint_network import (
    KeypointNetwork,
    KeypointNetworkConfig,
    baseline,
    dagan,
    dagan_official,
    dagan_paper,
    fomm,
    tiny,
    with_attention,
    with_depth_keypoints,
)

BASES = {"fomm": fomm, "baseline": baseline}
TABLE_4 = [
    (base, attention, keypoints)
    for base, attention, keypoints in itertools.product(BASES, ("none", "depth", "self"), (False, True))
]


def plugged(base: str, attention: str, keypoints: bool) -> KeypointNetworkConfig:
    config = BASES[base]()
    config = with_depth_keypoints(config) if keypoints else config
    return with_attention(config, attention)


def network(config: KeypointNetworkConfig) -> KeypointNetwork:
    torch.manual_seed(0)
    made = KeypointNetwork(config).eval()
    with torch.no_grad():
        if made.kp_detector.jacobian is not None:
            made.kp_detector.jacobian.weight.normal_(0, 0.05)
        if hasattr(made.generator, "AttnModule") and made.config.attention_form.residual:
            made.generator.AttnModule.gamma.fill_(0.7)
    return made


@pytest.mark.parametrize(
    ("decoder", "shapes", "parameters"),
    [("johnson", depth_aware_shapes, 46_096_917), ("spade", spade_shapes, 67_545_305)],
)
def test_published_names_and_shapes(decoder, shapes, parameters):
    config = dagan_official()
    with torch.device("meta"):
        made = KeypointNetwork(replace(config, generator=replace(config.generator, decoder=decoder)))
    expected = {renamed(key, SPECTRAL_NORM): shape for key, shape in shapes().items()}
    assert {name: tuple(value.shape) for name, value in made.generator.state_dict().items()} == expected
    assert sum(each.numel() for each in made.generator.parameters()) == parameters
    found = {name: tuple(value.shape) for name, value in made.kp_detector.state_dict().items()}
    assert found == dagan_detector_shapes()
    assert sum(each.numel() for each in made.kp_detector.parameters()) == 14_262_519
    assert sum(each.numel() for each in made.depth.parameters()) == 14_329_236


@pytest.mark.parametrize("decoder", ["johnson", "spade"])
@torch.no_grad()
def test_public_code_restated(decoder):
    config = tiny(dagan_official())
    config = replace(config, generator=replace(config.generator, decoder=decoder))
    made, motion = network(config), motion_shapes(width=4, cap=16, blocks=3, count=15)
    if decoder == "spade":
        weights = drawn(spade_shapes(width=4, hidden=8, motion=motion))
    else:
        weights = drawn(depth_aware_shapes(width=4, cap=16, bottleneck=2, motion=motion))
    finder = drawn(dagan_detector_shapes(width=4, cap=16, blocks=3), seed=1)
    report, state = match_keys(weights, made.generator.state_dict(), renames=SPECTRAL_NORM)
    assert report.complete, report.table()
    made.generator.load_state_dict(state)
    made.kp_detector.load_state_dict(finder)
    source, driving = torch.rand(2, 2, 3, 64, 96).unbind(0)
    depths = [made.disparity(picture) for picture in (source, driving)]
    found = [detect(finder, torch.cat([p, d], 1)) for p, d in zip((source, driving), depths, strict=True)]
    theirs = generate_with_depth(weights, source, depths[0], *found, corners=True)
    ours = made(source, driving)
    torch.testing.assert_close(ours.image, theirs.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.deformed, theirs.deformed, rtol=0, atol=1e-4)
    row = made.attention_map(made.encode(source), made.detect(driving), torch.tensor([[[-0.99, 0.99]]]))
    warped = moved_features(encode(weights, source), theirs.motion, corners=True)
    rows = attention_rows(weights, encode(weights, depths[0], "src_"), warped).unflatten(1, (16, 24))
    torch.testing.assert_close(row[:, 0].flatten(1), rows[:, -1, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("base", "attention", "keypoints"), TABLE_4)
def test_every_row_of_the_paper_s_table_trains(base, attention, keypoints):
    """Depth keypoints and attention go with either base; all but the depth network learns."""
    made = network(tiny(plugged(base, attention, keypoints))).train()
    assert (made.depth is not None) == (keypoints or attention == "depth")
    output = made(*torch.rand(2, 2, 3, 32, 64).unbind(0))
    (output.image.square().mean() + output.deformed.square().mean()).backward()
    learned = {name for name, each in made.named_parameters() if each.grad is not None}
    assert learned == {name for name, _ in made.named_parameters() if not name.startswith("depth.")}
    assert hasattr(made.generator, "AttnModule") == (attention != "none")
    assert hasattr(made.generator, "src_first") == (attention == "depth")


def test_depth_is_fixed_while_the_rest_trains():
    made = network(tiny(dagan())).train()
    before = {name: value.clone() for name, value in made.depth.state_dict().items()}
    made(*torch.rand(2, 2, 3, 32, 32).unbind(0))
    assert made.kp_detector.training
    assert not made.depth.training
    assert all(torch.equal(value, before[name]) for name, value in made.depth.state_dict().items())
    assert not any(each.requires_grad for each in made.depth.parameters())


def test_depth_of_a_driving_frame_is_computed_only_where_keypoints_need_it(monkeypatch):
    for config, expected in ((dagan(), 2), (with_attention(fomm()), 1), (with_attention(fomm(), "self"), 0)):
        made, calls = network(tiny(config)), []
        if made.depth is not None:
            made.depth.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        made.decode(made.encode(torch.rand(1, 3, 32, 32)), made.detect(torch.rand(1, 3, 32, 32)))
        assert len(calls) == expected


def test_a_cached_source_gives_the_same_picture():
    made = network(tiny(dagan()))
    source, driving = torch.rand(1, 3, 64, 32), torch.rand(2, 3, 64, 32)
    together = made.decode(made.encode(source), made.detect(driving))
    for index in range(2):
        alone = made(source, driving[index : index + 1])
        torch.testing.assert_close(together.image[index], alone.image[0])


def test_depth_matters_to_keypoints_and_to_attention():
    source = torch.rand(1, 3, 32, 32)
    for config in (with_depth_keypoints(fomm()), with_depth_keypoints(fomm(), alone=True)):
        made = network(tiny(config))
        flat = made.detect(source, disparity=torch.full((1, 1, 32, 32), 0.5))
        assert not torch.allclose(flat.points, made.detect(source).points, atol=1e-4)
    made = network(tiny(with_attention(fomm())))
    queries = [made.generator.encode(source, depth).queries for depth in torch.rand(2, 1, 1, 32, 32)]
    assert not torch.allclose(*queries, atol=1e-3)
    torch.testing.assert_close(
        made.encode(source).encoded.queries, made.generator.encode(source, made.disparity(source)).queries
    )


def test_the_paper_sees_depth_and_the_public_code_disparity():
    """The same numbers come out where disparity is given as what would be seen."""
    source, disparity = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    made = network(tiny(dagan_paper()))
    public = KeypointNetwork(replace(made.config, depth_map="disparity")).eval()
    public.load_state_dict(made.state_dict())
    depth = disparity_to_depth(disparity, made.config.depth)
    torch.testing.assert_close(
        made.detect(source, disparity=disparity).points, public.detect(source, disparity=depth).points
    )
    assert not torch.allclose(
        made.detect(source, disparity=disparity).points, public.detect(source, disparity=disparity).points
    )


def test_modes_differ_by_named_fields():
    assert dagan_official().attention_form == OFFICIAL == dagan().attention_form
    assert dagan_paper().attention_form == PAPER
    assert [config().keypoints.jacobians for config in (dagan, dagan_official, dagan_paper, baseline)] == [
        "per_keypoint",
        "per_keypoint",
        "none",
        "none",
    ]
    assert dagan_official().motion.condition_guard is None
    assert (dagan().depth_map, dagan_official().depth_map, dagan_paper().depth_map) == (
        "disparity",
        "disparity",
        "depth",
    )
    assert {config().keypoints.count for config in (dagan, dagan_official, dagan_paper, baseline)} == {15}
    assert with_attention(with_attention(fomm()), "none") == fomm()
    assert with_attention(dagan(), "self").depth_keypoints


def test_a_network_without_attention_has_no_map():
    made = network(tiny(fomm()))
    found = made.detect(torch.rand(1, 3, 32, 32))
    with pytest.raises(HeadwarpError, match="attention_map: this network has no attention"):
        made.attention_map(made.encode(torch.rand(1, 3, 32, 32)), found, torch.zeros(1, 1, 2))
    with pytest.raises(HeadwarpError, match="depth_map: expected 'disparity' or 'depth', got 'metres'"):
        replace(dagan(), depth_map="metres")
    made = network(tiny(dagan()))
    with pytest.raises(HeadwarpError, match="depth_map: depth attention needs the source's"):
        made.generator.encode(torch.rand(1, 3, 32, 32))
