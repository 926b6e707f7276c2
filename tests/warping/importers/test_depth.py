"""Files of a face depth network: their import, and equal disparities, poses and intrinsics."""

from __future__ import annotations

import pytest
import torch
from depth_file import decoder_shapes, encoder_channels, pose_shapes, resnet_shapes
from depth_reference import disparities, encoder_levels, pose
from fomm_file import drawn, unwritten

from headwarp.geom.depth import DepthConfig, DepthNetwork
from headwarp.geom.errors import ModelFileError
from headwarp.geom.relative_pose import PoseConfig, PoseNetwork
from headwarp.warping.importers.depth import import_depth, import_pose

NAMES = ("encoder.pth", "depth.pth")
SIZES = {"height": 256, "width": 192, "use_stereo": False}


def small_files(layers: int = 18):
    """Both files, an eighth as wide."""
    encoder = resnet_shapes(layers, width=8, classes=3)
    decoder = decoder_shapes(encoder_channels(layers, width=8), (2, 4, 8, 16, 32))
    return drawn(encoder, seed=1) | SIZES, drawn(decoder, seed=2)


@pytest.mark.parametrize("layers", [18, 50])
def test_disparities_equal_the_public_codes(layers):
    encoder, decoder = small_files(layers)
    imported = import_depth(encoder, decoder, names=NAMES)
    assert imported.config == DepthConfig(layers=layers, width=8)
    network = DepthNetwork(imported.config).eval()
    network.load_state_dict(imported.weights)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = disparities(decoder, encoder_levels(encoder, image))
        made = network(image)
    assert expected[0].std() > 0.05
    for ours, theirs in zip(made, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_poses_and_intrinsics_equal_the_public_codes():
    encoder = drawn(resnet_shapes(width=8, channels=6, classes=0), seed=3)
    decoder = drawn(pose_shapes(64, 32), seed=4)
    imported = import_pose(encoder, decoder, names=("pose_encoder.pth", "pose.pth"))
    assert imported.report.complete
    assert imported.config == PoseConfig(width=8, form="official")
    network = PoseNetwork(imported.config).eval()
    network.load_state_dict(imported.weights)
    pair = torch.rand(2, 6, 256, 256)
    with torch.no_grad():
        expected = pose(decoder, encoder_levels(encoder, pair)[-1])
        made = network(pair)
    torch.testing.assert_close(made.rotation, expected.axis_angle[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(made.translation, expected.translation[:, 0], rtol=0, atol=1e-6)
    focal = made.intrinsics.diagonal(dim1=1, dim2=2)[:, :2]
    torch.testing.assert_close(focal, expected.focal, rtol=1e-5, atol=0)
    torch.testing.assert_close(made.intrinsics[:, :2, 2], expected.centre, rtol=1e-5, atol=0)


@pytest.mark.parametrize("layers", [18, 50])
def test_published_sizes(layers):
    decoder = unwritten(decoder_shapes(encoder_channels(layers)))
    imported = import_depth(unwritten(resnet_shapes(layers)), decoder, names=NAMES)
    assert imported.report.complete
    assert imported.config == DepthConfig(layers=layers)
    pose_encoder = unwritten(resnet_shapes(layers, channels=6))
    moved = import_pose(pose_encoder, unwritten(pose_shapes(512 if layers == 18 else 2048)), names=NAMES)
    assert moved.report.complete


def test_every_key_is_accounted_for():
    encoder, decoder = small_files()
    imported = import_depth(
        encoder | {"stray": 3}, decoder | {"decoder.14.conv.bias": torch.ones(1)}, names=NAMES
    )
    dropped = dict(imported.report.dropped)
    assert set(dropped) == {f"encoder.pth: {key}" for key in ("encoder.fc.weight", "encoder.fc.bias", *SIZES)}
    assert imported.report.unexpected == ("encoder.pth: stray", "depth.pth: decoder.14.conv.bias")
    assert imported.report.loaded[0] == ("encoder.pth: encoder.conv1.weight", "encoder.conv1.weight")
    assert imported.notes[1] == "depth was trained on pictures of 192 x 256 px (width x height)"


def test_what_is_amiss_is_named():
    encoder, decoder = small_files()
    del decoder["decoder.3.conv.conv.bias"]
    encoder["encoder.layer1.0.bn1.weight"] = torch.full((8,), torch.nan)
    encoder["encoder.bn1.bias"] = torch.ones(9)
    report = import_depth(encoder, decoder, names=NAMES).report
    assert report.missing == ("decoder.3.conv.conv.bias",)
    assert report.mismatched == (
        ("encoder.pth: encoder.bn1.bias", "(8,)", "(9,)"),
        ("encoder.pth: encoder.layer1.0.bn1.weight", "finite numbers", "NaN or infinity among them"),
    )


def test_files_without_counters_and_with_data_parallel_names():
    encoder, decoder = small_files()
    encoder = {
        f"module.{k}": v for k, v in encoder.items() if "num_batches" not in k and k not in SIZES
    } | SIZES
    imported = import_depth(encoder, {f"module.{k}": v for k, v in decoder.items()}, names=NAMES)
    assert imported.report.complete
    assert len(imported.report.supplied) == 20
    DepthNetwork(imported.config).load_state_dict(imported.weights)


@pytest.mark.parametrize(
    ("swap", "text"),
    [
        (True, r"encoder.pth: expected the encoder of a depth network .encoder.pth., got the decoder of a"),
        (False, r"depth.pth: expected the decoder of a depth network .depth.pth., got something else"),
    ],
)
def test_files_of_another_kind(swap, text):
    encoder, decoder = small_files()
    files = (decoder, encoder) if swap else (encoder, {"a": torch.ones(1)})
    with pytest.raises(ModelFileError, match=text):
        import_depth(*files, names=NAMES)
