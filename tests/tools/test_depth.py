"""`headwarp depth`: the files it writes, and clouds of points."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from headwarp.geom.depth import DepthConfig
from headwarp.geom.depth_pose import DepthPoseConfig, DepthPoseNetwork
from headwarp.geom.relative_pose import PoseConfig
from headwarp.geom.view_synthesis import intrinsics_matrix
from headwarp.tools.cli import main
from headwarp.tools.clouds import views_of, write_ply
from headwarp.warping.checkpoints import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    depth = DepthConfig(width=4, mapping="relief")
    config = DepthPoseConfig(depth, PoseConfig(width=4, form="head", focal=1.5))
    path = tmp_path_factory.mktemp("depth") / "depth.safetensors"
    return save_checkpoint(path, DepthPoseNetwork(config), config=config, name="depth", kind="depth")


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "me.png")
    return tmp_path / "me.png"


def test_everything_of_a_photo(checkpoint, photo, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["depth", str(photo), "--checkpoint", str(checkpoint), "--output", str(out), "--size", "64"]
    assert main([*words, "--focal", "2.5", "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["size"] == [64, 64]  # 48 is nearer to 64 than to 32: the nearest multiples of 32
    assert report["focal_widths"] == pytest.approx(2.5)
    assert report["points"] == 64 * 64
    numbers = np.load(out / "me.npz", allow_pickle=False)
    assert set(numbers) == {"disparity", "depth", "intrinsics"}
    levels = np.asarray(Image.open(out / "me_depth.png"))
    assert levels.dtype == np.uint16 or levels.dtype == np.int32
    expected = numbers["depth"] / np.median(numbers["depth"])
    assert np.abs(levels * 1e-4 - expected).max() < 2e-4
    assert Image.open(out / "me_disparity.png").size == (64, 64)
    assert Image.open(out / "me_sheet.png").size[0] == 5 * 64
    cloud = trimesh.load(out / "me.ply")
    assert len(cloud.vertices) == 64 * 64
    assert (cloud.vertices[:, 2] < 0).all()  # before a viewer who looks along -z
    assert "focal length 2.50 widths" in capsys.readouterr().out


def test_points_that_lie_behind_are_left_out(checkpoint, photo, tmp_path):
    words = ["depth", str(photo), "--checkpoint", str(checkpoint), "--size", "32", "--json"]
    report = tmp_path / "r.json"
    out = ["--output", str(tmp_path)]
    assert main([*words, str(report), *out, "--cloud-above", "0.5"]) == 0
    assert 0 < json.loads(report.read_text())["points"] < 32 * 32
    assert main([*words, str(report), *out, "--cloud-above", "0.999"]) == 1


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("--size", "16"), "--size: expected 32 px or more"),
        (("--focal", "-1"), "--focal: expected picture widths above 0"),
        (("--cloud-above", "1.5"), r"--cloud-above: expected a disparity in [0, 1)"),
    ],
)
def test_options_that_make_no_sense(checkpoint, photo, tmp_path, capsys, option, text):
    words = ["depth", str(photo), "--checkpoint", str(checkpoint), "--output", str(tmp_path)]
    assert main([*words, *option]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (31, 400)])
def test_a_photo_smaller_than_what_the_network_can_see_is_refused(checkpoint, tmp_path, capsys, size):
    small = tmp_path / "small.png"
    Image.new("RGB", size).save(small)
    words = ["depth", str(small), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main(words) == 1
    told = f"small.png: expected a photo of 32 x 32 px or more, got {size[0]} x {size[1]}; take a larger one"
    assert told in capsys.readouterr().err


def test_a_missing_checkpoint_is_named(photo, tmp_path, capsys):
    words = ["depth", str(photo), "--checkpoint", str(tmp_path / "no.safetensors"), "--output", str(tmp_path)]
    assert main(words) == 1
    assert "no such checkpoint" in capsys.readouterr().err


def test_a_cloud_is_drawn_near_points_first_and_turned():
    K = intrinsics_matrix(torch.full((1, 2), 20.0), torch.full((1, 2), 10.0))[0]
    points = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0], [0.0, 0.0, 2.0]])
    colours = torch.eye(3)
    front, side = views_of(points, colours, K, (20, 20), views=[(0.0, 0.0), (30.0, 0.0)])
    assert front[10, 10].tolist() == [255, 0, 0]
    near, far = (np.argwhere((side == c).all(-1)).mean(0) for c in ([255, 0, 0], [0, 255, 0]))
    assert near[1] < 10 < far[1]  # yaw above 0: what is near moves to the left


def test_a_cloud_file_holds_colours(tmp_path):
    path = write_ply(tmp_path / "c.ply", torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.5, 0.0]]))
    cloud = trimesh.load(path)
    assert cloud.vertices.tolist() == [[1.0, -2.0, -3.0]]
    assert cloud.colors[0, :3].tolist() == [255, 128, 0]
