"""Checkpoints of [FOMM]: what is read off them, the import, and equal keypoints, motion and pictures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fomm_file import blur, detector_shapes, discriminator_shapes, drawn, generator_shapes, unwritten
from fomm_reference import detect, generate
from keypoint_cases import dagan_checkpoint, fomm_checkpoint, smooth_pictures

from headwarp.geom.errors import ModelFileError
from headwarp.warping.importers.fomm import import_fomm
from headwarp.warping.keypoint_network import KeypointNetwork, fomm_official


def parity(content, sampling, size=(128, 128)):
    """The imported network against the restatement."""
    imported = import_fomm(content, name="x.pth", sampling=sampling)
    assert imported.report.complete
    network = KeypointNetwork(imported.config).eval()
    network.load_state_dict(imported.weights, strict=True)
    source, driving = smooth_pictures(4, size).split(2)
    with torch.no_grad():
        points = [detect(content["kp_detector"], picture) for picture in (source, driving)]
        corners = sampling != "centres"
        expected = generate(content["generator"], source, *points, corners=corners)
        made = network(source, driving)
    pairs = [
        (made.keypoints_source.points, points[0].value),
        (made.keypoints_driving.points, points[1].value),
        (made.masks, expected.motion.mask),
        (made.occlusion, expected.motion.occlusion),
        (made.image, expected.image),
    ]
    if points[0].jacobian is not None:
        pairs.append((made.keypoints_driving.jacobians, points[1].jacobian))
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    # warped pictures fall to 0 within a pixel of the frame's border, where rounding of positions shows
    torch.testing.assert_close(made.deformed, expected.deformed, rtol=0, atol=5e-4)
    torch.testing.assert_close(made.sparse_deformed, expected.motion.deformed, rtol=0, atol=5e-4)
    assert expected.image.std() > 0.05
    assert (expected.deformed - source).abs().mean() > 0.05
    return made


@pytest.mark.parametrize("sampling", ["corners", "centres"])
@pytest.mark.parametrize(("maps", "size"), [(10, (128, 128)), (1, (128, 256)), (0, (128, 128))])
def test_pictures_equal_the_public_codes(maps, size, sampling):
    parity(fomm_checkpoint(maps=maps), sampling, size)


@pytest.mark.slow
def test_pictures_equal_the_public_codes_at_full_width():
    content = {"generator": drawn(generator_shapes()), "kp_detector": drawn(detector_shapes())}
    parity(content, "trained")


def test_the_sampling_matters():
    content = fomm_checkpoint()
    made = [parity(content, sampling).image for sampling in ("trained", "centres")]
    assert (made[0] - made[1]).abs().max() > 1e-3


def published(**changes):
    """Names and shapes of ``vox-cpk``, in no memory but for the blurs."""
    parts = {
        "generator": generator_shapes(),
        "kp_detector": detector_shapes(),
        "discriminator": discriminator_shapes(),
    }
    parts |= changes
    content = {part: unwritten(shapes) for part, shapes in parts.items()}
    for weights in content.values():
        for key in weights:
            if key.endswith("down.weight"):
                weights[key] = blur(weights[key].shape[-1]).expand(weights[key].shape)
    return content


def test_published_sizes_are_the_official_config():
    imported = import_fomm(published(), name="vox-cpk.pth.tar")
    assert imported.report.complete
    assert len(imported.report.loaded) == 196 + 75
    assert imported.config == fomm_official()
    assert imported.layout == "vox-cpk"
    adversarial = discriminator_shapes(heatmaps=10, spectral=False)
    imported = import_fomm(published(discriminator=adversarial), name="vox-adv-cpk.pth.tar")
    assert (imported.config, imported.layout) == (fomm_official(), "vox-adv-cpk")


def test_what_is_read_off_the_file():
    imported = import_fomm(fomm_checkpoint(adversarial=True, count=5, maps=1), name="x", sampling="centres")
    config = imported.config
    assert (config.keypoints.count, config.keypoints.channels, config.keypoints.jacobians) == (5, 3, "single")
    assert (config.keypoints.padding, config.keypoints.align_corners) == (0, True)
    assert (config.motion.hourglass.width, config.motion.hourglass.max_channels) == (4, 24)
    assert (config.motion.sample_align_corners, config.motion.condition_guard) == (False, None)
    assert (config.generator.width, config.generator.max_channels, config.generator.bottleneck) == (8, 24, 2)
    assert (imported.step, imported.layout) == (700, "vox-adv-cpk")
    assert imported.discriminator["discs.1.down_blocks.0.conv.weight"].shape == (4, 8, 4, 4)
    dropped = dict(imported.report.dropped)
    assert dropped["discriminator"] == "not an animator's"
    assert dropped["optimizer_kp_detector"] == dropped["epoch"] == "state of its training"
    assert "trained for 100 epochs" in imported.notes
    assert imported.notes[-1].endswith("(torch 1.3 and later), as asked")


def test_other_scales_and_no_occlusion():
    content = fomm_checkpoint()
    for part, key in (("kp_detector", "down"), ("generator", "dense_motion_network.down")):
        del content[part][f"{key}.weight"]
    for leaf in ("weight", "bias"):
        del content["generator"][f"dense_motion_network.occlusion.{leaf}"]
    imported = import_fomm(content, name="x")
    assert imported.report.complete
    assert (imported.config.keypoints.scale, imported.config.motion.scale) == (1.0, 1.0)
    assert not imported.config.motion.occlusion
    for part, key in (("kp_detector", "down"), ("generator", "dense_motion_network.down")):
        content[part][f"{key}.weight"] = blur(29, sigma=3.5).expand(3, 1, -1, -1)
    assert import_fomm(content, name="x").config.motion.scale == 0.125


def test_discriminator_and_training_may_be_missing_and_names_parallel():
    content = {part: fomm_checkpoint()[part] for part in ("generator", "kp_detector")}
    content["generator"] = {f"module.{key}": value for key, value in content["generator"].items()}
    imported = import_fomm(content, name="x")
    assert imported.report.complete
    assert (imported.layout, imported.discriminator, imported.step) == ("no discriminator", None, 0)
    assert imported.report.loaded[-1][0].startswith("generator.module.")


def test_counters_may_be_missing():
    content = fomm_checkpoint()
    content["kp_detector"] = {k: v for k, v in content["kp_detector"].items() if "num_batches" not in k}
    imported = import_fomm(content, name="x")
    assert imported.report.complete
    assert len(imported.report.supplied) == 10
    KeypointNetwork(imported.config).load_state_dict(imported.weights, strict=True)


def set_to(part, key, value):
    return lambda content: content[part].update({key: value})


@pytest.mark.parametrize(
    ("change", "field", "entry"),
    [
        (lambda c: c["generator"].pop("final.bias"), "missing", "generator.final.bias"),
        (set_to("kp_detector", "extra", torch.ones(1)), "unexpected", "kp_detector.extra"),
        (set_to("generator", "version", 2), "unexpected", "generator.version"),
        (lambda c: c.update(bg_predictor={}), "unexpected", "bg_predictor"),
        (
            set_to("generator", "final.bias", torch.ones(4)),
            "mismatched",
            ("generator.final.bias", "(3,)", "(4,)"),
        ),
        (
            set_to("kp_detector", "kp.bias", torch.full((10,), torch.nan)),
            "mismatched",
            ("kp_detector.kp.bias", "finite numbers", "NaN or infinity among them"),
        ),
    ],
)
def test_what_is_amiss_is_named(change, field, entry):
    content = fomm_checkpoint()
    change(content)
    report = import_fomm(content, name="x").report
    assert not report.complete
    empty = dict.fromkeys(("missing", "unexpected", "mismatched"), ())
    found = {name: value for name, value in dataclasses.asdict(report).items() if name in empty}
    assert found == {**empty, field: (entry,)}


def test_a_number_in_a_name_makes_no_network_large():
    content = fomm_checkpoint()
    far = f"bottleneck.r{10**12}.conv1.bias"
    content["generator"][far] = content["generator"].pop("bottleneck.r1.conv1.bias")
    report = import_fomm(content, name="x").report
    assert "generator.bottleneck.r1.conv1.bias" in report.missing
    assert report.unexpected == (f"generator.{far}",)
    assert len(report.missing) < 20


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            set_to("kp_detector", "down.weight", torch.full((3, 1, 13, 13), 1 / 169)),
            "down.weight: expected the public code's Gaussian, .* other pictures",
        ),
        (
            set_to("kp_detector", "jacobian.weight", torch.ones(8, 7, 7, 7)),
            "jacobian.weight: expected 40 maps for 10 keypoints, or 4 for all of them, got 8",
        ),
        (
            set_to("kp_detector", "kp.weight", torch.ones(9, 7, 7, 7)),
            "jacobian.weight: expected 36 maps for 9 keypoints",
        ),
        (
            set_to("generator", "dense_motion_network.mask.weight", torch.ones(9, 48, 7, 7)),
            "expected 9 heat maps and as many pictures of the same channels, got 44 channels",
        ),
        (
            set_to("generator", "down_blocks.0.conv.weight", torch.ones(9, 8, 3, 3)),
            r"down_blocks: expected channels that double .* got \[9, 24\]",
        ),
        (
            lambda c: c["generator"].pop("dense_motion_network.hourglass.encoder.down_blocks.2.conv.weight"),
            "down_blocks.2.conv.weight: expected the weight of a convolution, got none",
        ),
        (
            lambda c: c.update(kp_detector=fomm_checkpoint(count=7)["kp_detector"]),
            "count: expected the same of keypoints and motion, got 7 and 10",
        ),
        (lambda c: c.pop("kp_detector"), "expected a checkpoint of .FOMM., got something else .it holds"),
        (
            lambda c: c.update(dagan_checkpoint()),
            "expected a checkpoint of .FOMM., got a checkpoint of .DaGAN.",
        ),
    ],
)
def test_networks_that_ours_is_not(change, text):
    content = fomm_checkpoint()
    change(content)
    with pytest.raises(ModelFileError, match=f"^x.pth: {text}|^x.pth: .*{text}"):
        import_fomm(content, name="x.pth")
