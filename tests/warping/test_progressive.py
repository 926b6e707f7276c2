"""The progressive-warping network: sizes, modes, its warps and displacements, training, refusals."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.flow import warp
from headwarp.geom.nets.folding import fold_norms_
from headwarp.geom.nets.packing import pack_convolutions_
from headwarp.geom.pyramid import guidance_pyramid
from headwarp.warping._config_json import config_from_json, config_to_json
from headwarp.warping.progressive import (
    ProgressiveConfig,
    ProgressiveWarping,
    guidance_maps,
    legacy_flow,
    official,
    paper,
    tiny,
)

KINDS = ("displacement", "codes", "both")
SMALL = {"width": 2, "min_channels": 4, "max_channels": 12, "code_channels": 5}


def small(config: ProgressiveConfig) -> ProgressiveConfig:
    return dataclasses.replace(config, **SMALL)


def network(config: ProgressiveConfig, seed: int = 0) -> ProgressiveWarping:
    torch.manual_seed(seed)
    made = ProgressiveWarping(config)
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    for name, layer in made.up_layers.items():
        if name.endswith("_flow"):
            nn.init.normal_(layer.weight, 0, 0.2)
            nn.init.normal_(layer.bias)
    return made.eval()


def inputs(config: ProgressiveConfig, size=(64, 96), batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def draw(channels):
        return torch.rand(batch, channels, *size, generator=generator)

    flow = 10 * draw(2) - 5
    codes = None if config.guidance == "displacement" else draw(config.code_channels)
    return draw(config.source_channels), guidance_maps(config, flow, codes), flow


@pytest.mark.parametrize("mode", [paper, official, tiny])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 96), (128, 64)])
def test_shapes_ranges_and_flows_coarse_to_fine(mode, kind, size):
    config = small(mode(kind))
    with torch.no_grad():
        output = network(config)(*inputs(config, size))
    assert output.image.shape == output.warped.shape == (2, 3, *size)
    assert 0 < output.image.min() < output.image.max() < 1
    assert [tuple(flow.shape[2:]) for flow in output.flows] == [
        (size[0] // stride, size[1] // stride) for stride in (16, 8, 4, 2, 1)
    ]
    assert (output.alpha is None) == (config.alpha == "none")


@pytest.mark.parametrize(("mode", "kind"), [(paper, "displacement"), (official, "both")])
def test_the_warped_source_is_the_source_warped_by_the_last_flow(mode, kind):
    config = small(mode(kind))
    source, guidance, flow = inputs(config)
    with torch.no_grad():
        output = network(config)(source, guidance, flow)
        again = warp(source[:, :3], output.flows[-1], padding_mode=config.padding_mode)
    assert torch.equal(output.warped, again)
    assert (output.warped - source[:, :3]).abs().max() > 0.05


def test_parameters_of_the_published_sizes():
    with torch.device("meta"):
        counts = {kind: sum(p.numel() for p in _plain(official(kind)).parameters()) for kind in KINDS}
    unused, embedding = 1024 * 1024 * 9 + 3 * 1024, 5023 * 16  # the block never called; the codes themselves
    published = {"codes": 141.81e6, "displacement": 141.23e6, "both": 141.88e6}
    for kind, count in counts.items():
        own = count + unused + (0 if kind == "displacement" else embedding)
        assert own == pytest.approx(published[kind], abs=0.011e6), kind


def _plain(config: ProgressiveConfig) -> ProgressiveWarping:
    return ProgressiveWarping(dataclasses.replace(config, spectral_norm=False))


def test_tiny_fits_in_ten_megabytes():
    assert 4 * sum(p.numel() for p in ProgressiveWarping(tiny()).parameters()) < 10e6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [paper, official])
def test_encode_once_decode_often_equals_forward(mode, kind):
    config = small(mode(kind))
    net = network(config)
    source, guidance, flow = inputs(config, batch=3)
    with torch.no_grad():
        features = net.encode(source[:1])
        batch = net.decode(features, guidance, flow)
        for frame in range(3):
            single = net(source[:1], guidance[frame : frame + 1], flow[frame : frame + 1])
            torch.testing.assert_close(single.image, batch.image[frame : frame + 1], rtol=0, atol=1e-5)
            torch.testing.assert_close(
                single.flows[-1], batch.flows[-1][frame : frame + 1], rtol=0, atol=1e-4
            )


def test_codes_alone_need_no_flow_and_start_with_an_identity():
    config = small(paper("codes"))
    net = network(config)
    source, guidance, flow = inputs(config)
    seen = []
    net.up_layers["x32_spade"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        without = net(source, guidance)
        features = net.encode(source)
        assert torch.equal(without.image, net(source, guidance, flow).image)
    assert torch.equal(seen[0], torch.cat([features.bottleneck, features.bottleneck], 1))


@pytest.mark.parametrize("kind", ["displacement", "both"])
def test_the_first_warp_follows_geometry(kind):
    config = small(paper(kind))
    net = network(config)
    source, guidance, flow = inputs(config)
    seen = []
    net.up_layers["x32_spade"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        net(source, guidance, flow)
        bottleneck = net.encode(source).bottleneck
        (coarse,) = guidance_pyramid(flow, (32,))
        expected = torch.cat([bottleneck, warp(bottleneck, coarse / 32)], 1)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
def test_legacy_grid_equals_grid_sample_on_the_public_codes_grid(align_corners):
    torch.manual_seed(0)
    height, width = 6, 10
    picture, offset = torch.rand(2, 3, height, width), 3 * torch.randn(2, 2, height, width)
    x = 2 * torch.arange(width) / (width - 1) - 1
    y = 2 * torch.arange(height) / (height - 1) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    added = 2 * offset / torch.tensor([width - 1, height - 1])[:, None, None]
    theirs = F.grid_sample(
        picture, grid + added.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=align_corners
    )
    ours = warp(picture, legacy_flow(offset, align_corners=align_corners), padding_mode="zeros")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_an_alpha_of_zero_shows_the_warped_source_where_it_is_blended():
    config = dataclasses.replace(small(official()), alpha="blended")
    net = network(config)
    nn.init.zeros_(net.up_layers["x1_out"].weight)
    nn.init.constant_(net.up_layers["x1_out"].bias, -200.0)
    with torch.no_grad():
        output = net(*inputs(config))
    torch.testing.assert_close(output.image, output.warped, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", [paper, official])
@pytest.mark.parametrize("kind", KINDS)
def test_folded_and_packed_network_computes_the_same(mode, kind):
    config = small(mode(kind))
    net = network(config)
    given = inputs(config)
    with torch.no_grad():
        expected = net(*given)
        folded = fold_norms_(copy.deepcopy(net))
        outputs = [folded(*given), pack_convolutions_(folded.to(memory_format=torch.channels_last))(*given)]
    for output in outputs:
        torch.testing.assert_close(output.image, expected.image, rtol=0, atol=1e-5)
        torch.testing.assert_close(output.flows[-1], expected.flows[-1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_trained_by_picture_and_warped_source(kind):
    config = small(dataclasses.replace(official(kind), alpha="blended"))
    net = network(config).train()
    source, guidance, flow = inputs(config)
    flow.requires_grad_()
    output = net(source, guidance.requires_grad_(), flow)
    (output.image.sum() + output.warped.square().sum()).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if not key.endswith("conv.bias"):  # a batch norm takes the mean out again
            assert parameter.grad.abs().max() > 0, key
    assert guidance.grad.abs().max() > 0
    assert (flow.grad is not None) == (kind != "codes")


def test_channels_last_and_bfloat16_stay_near():
    config = small(paper("both"))
    net = network(config)
    given = inputs(config)
    with torch.no_grad():
        expected = net(*given)
        last = copy.deepcopy(net).to(memory_format=torch.channels_last)
        laid = last(*(each.to(memory_format=torch.channels_last) for each in given))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = net(*given)
    torch.testing.assert_close(laid.image, expected.image, rtol=0, atol=1e-5)
    assert half.image.dtype == half.flows[-1].dtype == torch.float32
    assert (half.image - expected.image).abs().mean() < 0.02


@pytest.mark.parametrize("mode", [paper, official, tiny])
def test_configs_come_back_from_json(mode):
    config = mode("both")
    assert config_from_json(ProgressiveConfig, config_to_json(config)) == config


def test_guidance_is_codes_then_displacement_in_half_frames():
    config = small(paper("both"))
    displacement = torch.ones(1, 2, 64, 128) * torch.tensor([32.0, 16.0])[:, None, None]
    codes = torch.rand(3, 5, 64, 128)
    maps = guidance_maps(config, displacement, codes)
    assert torch.equal(maps[:, :5], codes)
    assert torch.equal(maps[:, 5:], torch.full((3, 2, 64, 128), 0.5))


@pytest.mark.parametrize(
    ("size", "mode", "text"),
    [
        ((64, 80), paper, "source: expected sides that are multiples of 32, got 64 x 80; pad or resize"),
        ((32, 32), official, "source: expected at least 64 px a side with legacy_grid, got 32 x 32"),
    ],
)
def test_sizes_that_do_not_fit(size, mode, text):
    config = small(mode())
    with pytest.raises(ShapeError, match=text):
        network(config).encode(torch.zeros(1, 3, *size))


def test_smallest_frame():
    config = small(paper("both"))
    with torch.no_grad():
        output = network(config)(*inputs(config, (32, 32)))
    assert output.image.isfinite().all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"guidance": torch.zeros(1, 3, 64, 64)}, ShapeError, r"guidance: expected \(B, 2, H, W\) with guid"),
        ({"guidance": torch.zeros(1, 2, 64, 96)}, ShapeError, r"guidance: expected the source's \(64, 64\)"),
        (
            {"guidance": torch.zeros(3, 2, 64, 64)},
            ShapeError,
            "guidance: expected a batch of 2 .* or 1, got 3",
        ),
        ({"flow": torch.zeros(1, 2, 96, 64)}, ShapeError, r"flow: expected the source's \(64, 64\)"),
        ({"flow": None}, HeadwarpError, "flow: guidance 'displacement' needs it for the first warp"),
    ],
)
def test_refused_guidance(change, error, text):
    net = network(small(paper()))
    given = {"guidance": torch.zeros(1, 2, 64, 64), "flow": torch.zeros(1, 2, 64, 64)} | change
    with torch.no_grad(), pytest.raises(error, match=text):
        net.decode(net.encode(torch.zeros(2, 3, 64, 64)), given["guidance"], given["flow"])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"guidance": "flow"}, "guidance: expected 'displacement', 'codes' or 'both', got 'flow'"),
        ({"levels": 1}, "expected at least 2, 1, 1, 1, got"),
        ({"max_channels": 4}, "max_channels: expected at least min_channels 16, got 4"),
    ],
)
def test_refused_configs(fields, text):
    with pytest.raises(HeadwarpError, match=text):
        ProgressiveConfig(**fields)


def test_guidance_maps_say_what_is_missing():
    with pytest.raises(HeadwarpError, match="codes: guidance 'both' needs them"):
        guidance_maps(paper("both"), torch.zeros(1, 2, 4, 4))
    with pytest.raises(HeadwarpError, match="displacement: guidance 'displacement' needs it"):
        guidance_maps(paper())
    with pytest.raises(ShapeError, match="codes: expected 16 channels"):
        guidance_maps(paper("codes"), codes=torch.zeros(1, 3, 4, 4))
