"""Geometry sources beside each other on a synthetic person."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from guide_files import guide_file

from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.head_pose import pose_error
from headwarp.tools.evaluation.source_rows import ROWS, Scene, network_rows
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
    elsewhere = SimpleNamespace(model=None)
    assert compared_sources(tmp_path / "test" / "a.mp4", None, elsewhere) == {}
    with pytest.raises(HeadwarpError, match="--sources: expected clips of headwarp synth"):
        sources_report({"a": {}})


def test_frames_count_alike(scene, errors):
    both = compare_sources(scene, [4, 8], {"rest": ROWS["rest"]})["rest"]["flow_epe"]
    first = compare_sources(scene, [4], {"rest": ROWS["rest"]})["rest"]["flow_epe"]
    assert both == pytest.approx((first + errors["rest"]["flow_epe"]) / 2)
    assert torch.is_tensor(scene.vertices)
