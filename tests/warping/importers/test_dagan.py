"""Checkpoints of [DaGAN] and their depth network: the import, and equal keypoints and pictures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from dagan_file import dagan_detector_shapes, depth_aware_shapes, spade_shapes
from dagan_reference import generate_with_depth
from depth_file import decoder_shapes, encoder_channels, resnet_shapes
from depth_reference import disparities, encoder_levels
from fomm_file import blur, drawn, unwritten
from fomm_reference import detect
from keypoint_cases import dagan_checkpoint, depth_files, fomm_checkpoint, smooth_pictures

from headwarp.geom.errors import ModelFileError
from headwarp.warping.importers.dagan import import_dagan
from headwarp.warping.importers.depth import import_depth
from headwarp.warping.keypoint_network import KeypointNetwork, dagan_official

NAMES = ("encoder.pth", "depth.pth")


def bare(weights):
    return {key.removeprefix("module."): value for key, value in weights.items()}


def parity(content, files, sampling):
    """The imported network against the restatement."""
    imported = import_dagan(content, import_depth(*files, names=NAMES), name="x.pth", sampling=sampling)
    assert imported.report.complete
    network = KeypointNetwork(imported.config).eval()
    network.load_state_dict(imported.weights, strict=True)
    source, driving = smooth_pictures(4).split(2)
    detector, generator = bare(content["kp_detector"]), bare(content["generator"])
    with torch.no_grad():
        found = [disparities(files[1], encoder_levels(files[0], picture))[0] for picture in (source, driving)]
        seen = [
            torch.cat([picture, disparity], 1)
            for picture, disparity in zip((source, driving), found, strict=True)
        ]
        points = [detect(detector, picture) for picture in seen]
        expected = generate_with_depth(
            generator, source, found[0], *points, corners=imported.config.motion.sample_align_corners
        )
        made = network(source, driving)
    for ours, theirs in (
        (network.disparity(source), found[0]),
        (made.keypoints_driving.points, points[1].value),
        (made.keypoints_driving.jacobians, points[1].jacobian),
        (made.masks, expected.motion.mask),
        (made.image, expected.image),
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert expected.image.std() > 0.05
    assert found[0].std() > 0.05
    return made


@pytest.mark.parametrize("sampling", ["corners", "centres"])
@pytest.mark.parametrize(("spade", "layers"), [(False, 18), (False, 50), (True, 18)])
def test_pictures_equal_the_public_codes(spade, layers, sampling):
    parity(dagan_checkpoint(spade=spade), depth_files(layers), sampling)


@pytest.mark.slow
def test_pictures_equal_the_public_codes_at_full_width():
    """Of the wider generator; the other's blocks are those of FOMM, which is tried at its width too."""
    content = {"generator": drawn(spade_shapes()), "kp_detector": drawn(dagan_detector_shapes())}
    parity(content, (drawn(resnet_shapes()), drawn(decoder_shapes())), "trained")


def test_attention_and_depth_matter():
    content, files = dagan_checkpoint(), depth_files()
    first = parity(content, files, "trained").image
    content["generator"]["module.AttnModule.gamma"] = torch.zeros(1)
    assert (parity(content, files, "trained").image - first).abs().max() > 1e-3


def published(shapes):
    weights = unwritten(shapes)
    for key in weights:
        if key.endswith("down.weight"):
            weights[key] = blur(13).expand(weights[key].shape)
    return weights


@pytest.mark.parametrize(("spade", "layers"), [(False, 18), (True, 50)])
def test_published_sizes_are_the_official_config(spade, layers):
    files = unwritten(resnet_shapes(layers)), unwritten(decoder_shapes(encoder_channels(layers)))
    content = {
        "generator": published(spade_shapes() if spade else depth_aware_shapes()),
        "kp_detector": published(dagan_detector_shapes()),
    }
    imported = import_dagan(content, import_depth(*files, names=NAMES), name="x.pth", sampling="corners")
    assert imported.report.complete
    official = dagan_official()
    wanted = dataclasses.replace(
        official,
        generator=dataclasses.replace(official.generator, decoder="spade" if spade else "johnson"),
        depth=dataclasses.replace(official.depth, layers=layers),
    )
    assert imported.config == wanted


def test_it_was_trained_with_centres():
    imported = import_dagan(dagan_checkpoint(), import_depth(*depth_files(), names=NAMES), name="x")
    assert not imported.config.motion.sample_align_corners
    assert imported.config.motion.align_corners
    assert any("torch 1.9" in note for note in imported.notes)
    assert "its depth network is a ResNet-18 of width 8" in imported.notes
    assert imported.layout == "vox-adv-cpk"


def test_missing_depth_files_are_said():
    imported = import_dagan(dagan_checkpoint(), None, name="x")
    assert imported.report.missing == ("depth.encoder", "depth.decoder")
    assert not imported.report.complete
    assert "give encoder.pth and depth.pth" in imported.notes[-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_keypoints_of_other_channels(channels):
    content = dagan_checkpoint(channels=channels)
    imported = import_dagan(content, import_depth(*depth_files(), names=NAMES), name="x")
    assert imported.report.complete
    config = imported.config
    assert (config.keypoints.channels, config.depth_keypoints) == (channels, channels == 1)
    assert config.attention == "depth"


def test_a_key_inside_a_name_keeps_its_module():
    content = dagan_checkpoint()
    content["generator"]["module.final.module.bias"] = content["generator"].pop("module.final.bias")
    report = import_dagan(content, import_depth(*depth_files(), names=NAMES), name="x").report
    assert report.missing == ("generator.final.bias",)
    assert report.unexpected == ("generator.module.final.module.bias",)


def test_another_model():
    with pytest.raises(
        ModelFileError, match=r"x: expected a checkpoint of \[DaGAN\], got a checkpoint of \[F"
    ):
        import_dagan(fomm_checkpoint(), None, name="x")
