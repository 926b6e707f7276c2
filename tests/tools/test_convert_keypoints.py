"""``headwarp convert checkpoint`` with files of keypoint animators, as a user calls it."""

from __future__ import annotations

import json

import pytest
import torch
from depth_reference import disparities, encoder_levels
from gdpw_file import generator
from keypoint_cases import dagan_checkpoint, depth_files, fomm_checkpoint, pose_files, smooth_pictures

from headwarp.geom.depth_pose import DepthPoseConfig, DepthPoseNetwork
from headwarp.geom.guidance import Driving, Source
from headwarp.tools import cli
from headwarp.warping._config_json import config_from_json
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import load_checkpoint


def saved(folder, **contents):
    """Files by stem; returns their paths as words."""
    paths = []
    for stem, content in contents.items():
        path = folder / f"{stem}.pth"
        torch.save(content, path)
        paths.append(str(path))
    return paths


def convert(folder, files, *words):
    output = ["--output", str(folder / "out.safetensors"), "--json", str(folder / "r.json")]
    return cli.main(["convert", "checkpoint", *files, *output, *words])


def animated(name, path):
    animator = load_animator(name, path)
    source, driving = smooth_pictures(2).split(1)
    with torch.no_grad():
        return animator, animator.animate(
            animator.encode([Source(image=source)]), Driving(image=driving)
        ).image


@pytest.mark.parametrize(("words", "corners"), [((), True), (("--sampling", "centres"), False)])
def test_fomm_becomes_an_animator(tmp_path, capsys, words, corners):
    files = saved(tmp_path, vox=fomm_checkpoint())
    assert convert(tmp_path, files, *words) == 0
    said = capsys.readouterr().out
    assert "missing 0, unexpected 0, of another shape 0" in said
    assert "dropped discriminator: 1 (not an animator's)" in said
    assert "note: its layout is that of vox-cpk" in said
    assert (
        "out.safetensors: fomm, 10 keypoints of 3 channels, johnson generator of 8 channels, step 700" in said
    )
    checkpoint = load_checkpoint(tmp_path / "out.safetensors", name="fomm", kind="animator")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["ok"]
    assert len(report["loaded"]) == len(checkpoint.tensors)
    animator, image = animated("fomm", tmp_path / "out.safetensors")
    assert animator.config.motion.sample_align_corners == corners
    assert image.shape == (1, 3, 128, 128)
    assert image.isfinite().all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_dagan_and_its_depth_become_one_file(tmp_path, capsys, order):
    encoder, decoder = depth_files()
    files = saved(tmp_path, dagan=dagan_checkpoint(), encoder=encoder, depth=decoder)
    assert convert(tmp_path, [files[index] for index in order]) == 0
    said = capsys.readouterr().out
    assert "note: its depth network is a ResNet-18 of width 8" in said
    assert "dagan, 15 keypoints of 4 channels, johnson generator of 8 channels, attention to depth" in said
    _, image = animated("dagan", tmp_path / "out.safetensors")
    assert image.isfinite().all()


def test_without_depth_nothing_is_written(tmp_path, capsys):
    assert convert(tmp_path, saved(tmp_path, dagan=dagan_checkpoint())) == 1
    said = capsys.readouterr().out
    assert "  missing depth.encoder\n  missing depth.decoder" in said
    assert "note: its face depth network is missing" in said
    assert "nothing was written" in said
    assert not (tmp_path / "out.safetensors").exists()
    assert json.loads((tmp_path / "r.json").read_text())["missing"] == ["depth.encoder", "depth.decoder"]


def test_depth_and_pose_become_one_file(tmp_path, capsys):
    encoder, decoder = depth_files()
    pose_encoder, pose_decoder = pose_files()
    files = saved(tmp_path, pose=pose_decoder, encoder=encoder, pose_encoder=pose_encoder, depth=decoder)
    assert convert(tmp_path, files) == 0
    assert "out.safetensors: depth, ResNet-18 of width 8, pose of ResNet-18" in capsys.readouterr().out
    checkpoint = load_checkpoint(tmp_path / "out.safetensors", name="depth", kind="depth")
    network = DepthPoseNetwork(config_from_json(DepthPoseConfig, checkpoint.config)).eval()
    network.load_state_dict(checkpoint.tensors)
    picture = smooth_pictures(1)
    with torch.no_grad():
        found = network.scene(picture)
        expected = disparities(decoder, encoder_levels(encoder, picture))[0]
    torch.testing.assert_close(found.disparity, expected, rtol=0, atol=1e-4)


def test_depth_without_pose(tmp_path, capsys):
    encoder, decoder = depth_files()
    assert convert(tmp_path, saved(tmp_path, encoder=encoder, depth=decoder)) == 1
    said = capsys.readouterr().out
    assert "  missing pose.encoder\n  missing pose.decoder" in said
    assert "give pose_encoder.pth and pose.pth" in said


class Runs:
    """An object whose unpickling runs code."""

    def __reduce__(self):
        return (print, ("ran",))


def cut(path):
    torch.save(fomm_checkpoint(), path)
    path.write_bytes(path.read_bytes()[:50000])


def not_finite(path):
    content = fomm_checkpoint()
    content["generator"]["final.bias"][:] = torch.nan
    torch.save(content, path)


BAD = {
    "code": (lambda path: torch.save({**fomm_checkpoint(), "x": Runs()}, path), "the file asks to run code"),
    "old code": (
        lambda path: torch.save({"generator": Runs()}, path, _use_new_zipfile_serialization=False),
        "the file asks to run code",
    ),
    "cut": (cut, "expected a checkpoint of torch.save"),
    "a zip that is none": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(90)), "of torch.save"),
    "another model": (lambda path: torch.save({"kp_detector": {}}, path), "expected one of: weights of"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, capsys, kind):
    make, text = BAD[kind]
    make(tmp_path / "in.pth")
    assert convert(tmp_path, [str(tmp_path / "in.pth")]) == 1
    said = capsys.readouterr()
    assert text in said.err
    assert said.err.count("\n") == 1
    assert "ran" not in said.out
    assert "weights_only" not in said.err  # torch's advice to read it all the same
    assert "add_safe_globals" not in said.err
    assert not (tmp_path / "out.safetensors").exists()


def test_weights_that_are_no_numbers_are_refused(tmp_path, capsys):
    not_finite(tmp_path / "in.pth")
    assert convert(tmp_path, [str(tmp_path / "in.pth")]) == 1
    said = capsys.readouterr().out
    assert "of another shape generator.final.bias: expected finite numbers, got NaN or infinity" in said
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("stems", "words", "text"),
    [
        (
            ("fomm", "encoder"),
            (),
            "encoder.pth: the encoder of a depth network (encoder.pth) is no part of a",
        ),
        (("fomm", "dagan"), (), "is no part of"),
        (("depth",), (), "HeSer blender, FOMM, DaGAN, depth encoder among the files, got the decoder"),
        (("encoder", "depth"), ("--sampling", "centres"), "sampling: expected 'trained' for the encoder of"),
        (
            ("dagan", "encoder"),
            (),
            "encoder.pth: expected the decoder of a depth network (depth.pth) beside it",
        ),
        (("fomm", "again"), (), "again.pth: a second file with a checkpoint of [FOMM], after"),
        (("gdpw",), ("--sampling", "corners"), "sampling: expected 'trained' for weights of the"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, capsys, stems, words, text):
    encoder, decoder = depth_files()
    contents = {
        "fomm": fomm_checkpoint,
        "again": fomm_checkpoint,
        "dagan": dagan_checkpoint,
        "encoder": lambda: encoder,
        "depth": lambda: decoder,
        "gdpw": lambda: generator("geom_disp", width=4, cap=24),
    }
    files = saved(tmp_path, **{stem: contents[stem]() for stem in stems})
    assert convert(tmp_path, files, *words) == 1
    assert text in capsys.readouterr().err
