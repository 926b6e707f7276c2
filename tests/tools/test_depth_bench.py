"""Measures of a depth network on synthetic people: what is summed, and the whole on a tiny set."""

from __future__ import annotations

import json
import math

import pytest
import torch

from headwarp.flame.io import load_head
from headwarp.geom.depth import DepthConfig
from headwarp.geom.depth_pose import DepthPoseConfig, DepthPoseNetwork
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.relative_pose import PoseConfig
from headwarp.tools.bench.depth import DepthBench, Rows, run, summary, told
from headwarp.training.data.synthetic import Material, Recipe, synthesise, truth_of, write_clip
from headwarp.training.data.synthetic.heads import FACE, head_pixels
from headwarp.warping.checkpoints import save_checkpoint


def row(error, focal, true_focal):
    depth = dict.fromkeys(("error", "plane", "mean_map", "rank", "rank_mean_map", "face_error", "face_plane"))
    depth = {name: torch.tensor([0.1, 0.1]).double() for name in depth}
    depth["error"] = torch.tensor(error).double()
    turns = (torch.tensor([value]) for value in (5.0, 2.0, 8.0))
    return Rows(depth, torch.tensor(focal), torch.tensor(true_focal), *turns)


def test_what_is_summed():
    rows = [row([0.02, 0.06], [1.0], [1.0]), row([0.04, 0.08], [4.0], [2.0]), row([0.05, 0.05], [3.0], [3.0])]
    found = summary(rows, start=4.0)
    assert found["depth"]["error"] == pytest.approx(0.05)
    assert found["depth"]["ratio"] == pytest.approx(2.0)
    assert found["focal"]["error"] == pytest.approx(math.log(2) / 3)
    assert found["focal"]["best_constant"] == pytest.approx((math.log(2) + math.log(1.5)) / 3)
    assert found["focal"]["start"] == pytest.approx((math.log(4) + math.log(2) + math.log(4 / 3)) / 3)
    turns = {"network_deg": 5.0, "aligned_deg": 2.0, "identity_deg": 8.0, "pairs": 3}
    assert found["rotation"] == turns
    assert "2.00 x" in told(found)
    assert "2.00 degrees aligned, 5.00 as the network says it, identity 8.00, 3 pairs" in told(found)


def test_the_focal_length_of_a_clip_is_its_frames_median():
    rows = [row([0.1, 0.1], [1.0, 2.0, 90.0], [4.0, 4.0, 4.0]), row([0.1, 0.1], [3.0] * 3, [6.0] * 3)]
    found = summary(rows, start=1.0)["focal"]
    assert found["clip_error"] == pytest.approx(math.log(2))
    assert found["clip_start"] == pytest.approx((math.log(4) + math.log(6)) / 2)
    assert found["clip_best_constant"] == pytest.approx(math.log(6 / 4) / 2)
    frames = (math.log(4) + math.log(2) + math.log(90 / 4) + 3 * math.log(2)) / 6
    assert found["error"] == pytest.approx(frames)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    for number, partition in ((0, "train"), (1, "test")):
        clip = synthesise(load_head("builtin"), Recipe(3, number, frames=4, size=32, fps=4.0))
        write_clip(clip, folder, partition=partition, kind="png")
    return folder


@pytest.mark.parametrize("principal", [0.0, 0.1])
def test_a_new_network_is_measured(people, tmp_path, principal):
    pose = PoseConfig(width=4, form="head", focal=4.0, principal=principal)
    config = DepthPoseConfig(DepthConfig(width=4, mapping="relief", dome=0.0), pose)
    torch.manual_seed(0)
    path = save_checkpoint(
        tmp_path / "d.safetensors", DepthPoseNetwork(config), config=config, name="depth", kind="depth"
    )
    report = run(DepthBench(path, people, frames=2, pairs=2, json=tmp_path / "r.json"))
    assert json.loads((tmp_path / "r.json").read_text())["rotation"] == pytest.approx(report["rotation"])
    assert math.isnan(report["depth"]["rank_mean_map"])  # too few people: it is a plane
    assert report["focal"]["error"] == pytest.approx(report["focal"]["start"], abs=0.3)
    assert 0.5 < report["depth"]["ratio"] < 1.5
    assert math.isfinite(report["depth"]["mean_map"])
    turns = report["rotation"]
    assert (turns["network_deg"] == pytest.approx(turns["aligned_deg"], abs=1e-3)) == (principal > 0)


def test_pixels_of_the_head():
    clip = synthesise(load_head("builtin"), Recipe(3, 1, frames=1, size=32))
    label, head, face = (
        truth_of(clip.view(0)).label,
        head_pixels(clip, 0)[0, 0],
        head_pixels(clip, 0, materials=FACE)[0, 0],
    )
    assert 0 < face.sum() < head.sum()
    assert not head[label == int(Material.CLOTH)].any()
    assert not face[label == int(Material.HAIR)].any()
    assert not head[0, 0]


def test_a_folder_without_people_is_refused(tmp_path):
    with pytest.raises(HeadwarpError, match=r"expected clips of `headwarp synth`"):
        list(run(DepthBench(tmp_path / "none.safetensors", tmp_path)))
