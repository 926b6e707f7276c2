"""Geometry sources beside each other on a synthetic person."""

from __future__ import annotations

import dataclasses
import math
import shutil

import pytest
import torch
from guide_files import depth_network, guide_file

from headwarp.flame.io import load_head
from headwarp.geom.depth_pose import DepthPoseNetwork
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Source
from headwarp.geom.head_pose import pose_error
from headwarp.tools.evaluate import Evaluate, evaluate, run
from headwarp.tools.evaluation.source_networks import checkpoint_rows, depth_at, network_rows
from headwarp.tools.evaluation.source_rows import ROWS, Scene
from headwarp.tools.evaluation.sources import (
    compare_sources,
    compared_sources,
    describe_sources,
    mean_over_scenes,
    sources_report,
)
from headwarp.tools.guidance import GuidanceOptions, guide_animator
from headwarp.training.data.synthetic import Recipe, synthesise
from headwarp.training.data.synthetic.motions import true_pose, true_relative_pose
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.observers import DepthObserver


@pytest.fixture(scope="module")
def scene():
    """Somebody who turns by some 20 degrees between the two frames that are looked at."""
    return Scene(synthesise(load_head("builtin"), Recipe(seed=5, number=2, frames=9, size=64, occluders=0.0)))


@pytest.fixture(scope="module")
def errors(scene):
    return compare_sources(scene, [8])


def test_the_relative_pose_is_the_change_of_the_heads_angles(scene):
    pose = true_relative_pose(scene.clip, 0, 8)
    from headwarp.geom.head_pose import pose_of_relative

    found = pose_of_relative(pose, true_pose(scene.clip, 0))
    assert pose_error(found, true_pose(scene.clip, 8)) < 0.5
    assert pose_error(true_pose(scene.clip, 0), true_pose(scene.clip, 8)) > 5


def test_every_source_beats_standing_still_and_the_exact_ones_are_nearly_exact(errors):
    rest = errors["rest"]
    assert set(errors) == set(ROWS)
    for name, row in errors.items():
        if name != "rest":
            assert row["head_epe"] < 0.5 * rest["head_epe"]
    assert errors["mesh, truth"]["head_epe"] < 0.15 * rest["head_epe"]
    assert errors["depth, truth"]["head_epe"] < 0.2 * rest["head_epe"]
    assert errors["depth, truth"]["pose_error_deg"] < 0.5
    assert errors["mesh, truth"]["pose_error_deg"] < 1e-3
    assert errors["keypoints with depth"]["pose_error_deg"] < 0.5 * rest["pose_error_deg"]
    for name in ("keypoints, projected", "keypoints with Jacobians"):
        assert math.isnan(errors[name]["pose_error_deg"])  # what they cannot tell is not made up
        assert errors[name]["roll_error_deg"] < 10


def test_networks_that_guide_animators_have_rows(scene, tmp_path):
    animators = {}
    for kind in ("depth", "keypoints"):
        options = GuidanceOptions(kind, **{f"{kind}_checkpoint": guide_file(tmp_path, kind)})
        animators[kind] = guide_animator(load_animator("geometry"), options, name="geometry")
    rows = network_rows({"copy": load_animator("copy"), **animators})
    assert set(rows) == {"depth, network", "keypoints, network"}
    made = compare_sources(scene, [8], rows)
    assert math.isfinite(made["depth, network"]["pose_error_deg"])
    assert math.isnan(made["keypoints, network"]["pose_error_deg"])
    assert math.isfinite(made["keypoints, network"]["flow_epe"])


def test_checkpoints_have_rows_called_after_what_they_are(scene, tmp_path):
    torch.manual_seed(0)
    network = DepthPoseNetwork(depth_network(principal=0.0).config)  # its guesses are near rest, not wild
    fomm = guide_file(tmp_path, "keypoints")
    depth = save_checkpoint(
        tmp_path / "d.safetensors", network, config=network.config, name="depth", kind="depth"
    )
    rows = checkpoint_rows([fomm, depth], side=None)
    assert list(rows) == [
        "keypoints, fomm",
        "depth, network",
        "depth, network unaligned",
        "keypoints, fomm with depth",
    ]
    made = compare_sources(scene, [8], rows)
    alone, deep = made["keypoints, fomm"], made["keypoints, fomm with depth"]
    assert alone["flow_epe"] == deep["flow_epe"]
    assert math.isnan(alone["pose_error_deg"])
    assert math.isfinite(deep["pose_error_deg"])
    aligned, said = made["depth, network"], made["depth, network unaligned"]
    assert aligned["pose_error_deg"] < said["pose_error_deg"]
    options = GuidanceOptions("depth", depth_checkpoint=depth)
    guiding = network_rows({"geometry": guide_animator(load_animator("geometry"), options, name="geometry")})
    assert compare_sources(scene, [8], guiding)["depth, network"] == aligned


def test_several_checkpoints_of_one_name_are_told_apart_by_their_files(tmp_path):
    first = guide_file(tmp_path, "keypoints")
    second = shutil.copy(first, tmp_path / "other.safetensors")
    assert list(checkpoint_rows([first, second], side=64)) == [
        "keypoints, fomm:fomm",
        "keypoints, fomm:other",
    ]
    with pytest.raises(HeadwarpError, match="another one is called keypoints, fomm:fomm too; rename one"):
        checkpoint_rows([first, first], side=64)


def test_depth_at_points_is_in_pixels(scene):
    observer = DepthObserver(depth_network())
    bare = Source(image=scene.source.image)
    grid = torch.tensor([[[8.5, 20.5], [40.5, 31.5], [8.5, 20.5]]])
    found = depth_at(observer, bare, grid)
    depth = observer.source(bare).depth[0, 0]
    true = torch.stack([depth[20, 8], depth[31, 40], depth[20, 8]])
    focal = observer.camera(bare)[0, 0, 0]
    torch.testing.assert_close(found, true * focal / true.mean())


def test_files_of_sources_that_nothing_asks_for_are_refused(tmp_path):
    file = guide_file(tmp_path, "depth")
    alone = Evaluate(clips=tmp_path, source_checkpoint=(file,), guide_side=64)
    with pytest.raises(HeadwarpError, match="--source-checkpoint: belongs to --sources; add that"):
        run(alone)
    with pytest.raises(HeadwarpError, match="--source-checkpoint: belongs to --clips"):
        run(dataclasses.replace(alone, clips=None, pairs=tmp_path / "a.csv"))
    with pytest.raises(HeadwarpError, match="--source-checkpoint: says nothing with --no-faces"):
        run(dataclasses.replace(alone, faces=False))


def test_the_function_takes_guides_with_their_files(tmp_path):
    with pytest.raises(HeadwarpError, match="guides: expected no file for mesh, got a; give None"):
        evaluate(tmp_path, guides={"mesh": "a"})
    with pytest.raises(HeadwarpError, match="--guidance depth: expected --depth-checkpoint FILE, got none"):
        evaluate(tmp_path, guides={"depth": None})
    with pytest.raises(HeadwarpError, match="--clips: expected clips"):  # the guide was taken
        evaluate(tmp_path, guides={"mesh": None, "depth": guide_file(tmp_path, "depth")})


def test_the_report_holds_means_and_their_definitions(errors, tmp_path):
    report = sources_report({"a": errors, "b": errors, "not synthetic": {}})["sources"]
    assert report["clips"] == 2
    assert report["errors"] == mean_over_scenes([errors])
    assert set(report["errors"]["rest"]) == set(report["definitions"])
    text = "\n".join(describe_sources(report))
    assert "geometry sources, 2 clip(s):" in text
    assert "depth, truth" in text
    assert " - " in text
    assert describe_sources(None) == []
    assert compared_sources(tmp_path / "test" / "a.mp4", None, None, {}) == {}
    with pytest.raises(HeadwarpError, match="--sources: expected clips of headwarp synth"):
        sources_report({"a": {}})


def test_frames_count_alike(scene, errors):
    both = compare_sources(scene, [4, 8], {"rest": ROWS["rest"]})["rest"]["flow_epe"]
    first = compare_sources(scene, [4], {"rest": ROWS["rest"]})["rest"]["flow_epe"]
    assert both == pytest.approx((first + errors["rest"]["flow_epe"]) / 2)
    assert torch.is_tensor(scene.vertices)
