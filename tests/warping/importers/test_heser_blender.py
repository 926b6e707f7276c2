"""A blender's file of the unofficial code: every key told, pictures as the code's own steps give them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import ModelFileError
from headwarp.geom.nets.vgg import layer_names
from headwarp.tools.convert_checkpoint import convert_checkpoint, describe
from headwarp.warping.checkpoints import load_weights
from headwarp.warping.colorvid_unet import ColorVidUNet
from headwarp.warping.heser_blender import HeserBlender, LabelledPicture
from headwarp.warping.heser_files import load_heser_blender
from headwarp.warping.importers.heser_blender import import_heser_blender

WIDTH, SIDE = 8, 64


def content():
    """A file as the code saves it, with a narrow blending network."""
    torch.manual_seed(0)
    tensors, inputs = {}, 3
    for block, (width, count) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)), start=1):
        for place in range(1, count + 1):
            scale = (2 / (9 * inputs)) ** 0.5
            tensors[f"feature_ext.conv{block}_{place}.weight"] = torch.randn(width, inputs, 3, 3) * scale
            tensors[f"feature_ext.conv{block}_{place}.bias"] = torch.randn(width) * 0.1
            inputs = width
    for name in ("phi", "theta"):
        tensors[f"{name}.weight"] = torch.randn(16, 512, 1, 1) * 0.05
        tensors[f"{name}.bias"] = torch.zeros(16)
    decoder = ColorVidUNet(12, 3, WIDTH).state_dict()
    tensors |= {f"decoder.{key}": value for key, value in decoder.items()}
    return {"G": tensors, "D": {"a": torch.zeros(1)}, "g_optim": {}, "args": 3}


def picture(shift):
    labels = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    labels[:, 12:52, 16:48] = 1
    labels[:, 12:24, 16:48] = 17
    draw = torch.Generator().manual_seed(shift)
    return LabelledPicture(torch.rand(1, 3, SIDE, SIDE, generator=draw), labels.roll(shift, 2))


def vgg_by_hand(tensors, image):
    """The code's own feature extractor: colours in [-1, 1], no normalisation."""
    values = 2 * image - 1
    for name in layer_names():
        if name.startswith("conv"):
            weight, bias = (tensors[f"feature_ext.{name}.{part}"] for part in ("weight", "bias"))
            values = F.conv2d(values, weight, bias, padding=1)
        else:
            values = F.relu(values) if name.startswith("relu") else F.max_pool2d(values, 2)
        if name == "relu4_4":
            return values
    raise AssertionError


def test_every_key_is_loaded_or_left_out_and_features_are_those_of_the_code():
    file = content()
    imported = import_heser_blender(file, name="blend.pth")
    report = imported.report
    assert not report.missing
    assert not report.unexpected
    assert not report.mismatched
    assert len(report.dropped) == 8 + 3
    assert len(report.loaded) == len(file["G"]) - 8
    network = HeserBlender(imported.config).eval()
    load_weights(network, imported.weights, name="blend.pth")
    assert network.unet.conv1_2.weight.shape == (WIDTH, WIDTH, 3, 3)
    animated, target = picture(0), picture(4)
    with torch.no_grad():
        blend = network(animated, target)
        raw = F.conv2d(vgg_by_hand(file["G"], animated.image), file["G"]["phi.weight"])
        query = (raw - raw.mean(1, keepdim=True)) / raw.norm(dim=1, keepdim=True)
    torch.testing.assert_close(blend.query, query, atol=1e-4, rtol=1e-3)
    assert blend.image.shape == (1, 3, SIDE, SIDE)


def test_the_head_reference_is_that_of_the_codes_own_steps():
    file = content()
    imported = import_heser_blender(file, name="blend.pth")
    network = HeserBlender(imported.config).eval()
    load_weights(network, imported.weights, name="blend.pth")
    animated, target = picture(0), picture(4)
    with torch.no_grad():
        blend, key = network(animated, target), network.encode(target).key
        small = F.interpolate(2 * target.image - 1, (8, 8), mode="bilinear", align_corners=True)
        reference = torch.zeros(1, 3, 8, 8)
        for label in (1, 17):
            ours, theirs = (p.labels[0, 4::8, 4::8] == label for p in (animated, target))
            weights = (blend.query[0][:, ours].T @ key[0][:, theirs] / 1e-3).softmax(1)
            reference[0][:, ours] = (weights @ small[0][:, theirs].T).T
        drawn = F.interpolate(reference, (SIDE, SIDE), mode="bilinear", align_corners=True)
    torch.testing.assert_close(blend.head_colours, (drawn + 1) / 2 * blend.head, atol=1e-4, rtol=1e-3)


def test_other_files_are_told():
    with pytest.raises(ModelFileError, match=r"x\.pth: expected a blender of the public code of \[HeSer\]"):
        import_heser_blender({"G": {"phi.weight": torch.zeros(1)}}, name="x.pth")
    file = content()
    del file["G"]["decoder.conv8_2.bias"]
    file["more"] = 1
    report = import_heser_blender(file, name="x.pth").report
    assert report.missing == ("unet.conv8_2.bias",)
    assert report.unexpected == ("more",)
    file["G"]["phi.weight"] = torch.zeros(16, 100, 1, 1)
    with pytest.raises(ModelFileError, match="expected projections of 512 channels"):
        import_heser_blender(file, name="x.pth")


def test_the_command_writes_a_blender(tmp_path):
    torch.save({**content(), "g_optim": {"step": 1}}, tmp_path / "blend.pth")
    report = convert_checkpoint(tmp_path / "blend.pth", tmp_path / "b.safetensors")
    assert (report["ok"], report["name"]) == (True, "heser_blender")
    assert "16 channels correlated, 8 of the first stage" in describe(report)
    assert load_heser_blender(tmp_path / "b.safetensors").config.form == "unofficial"
