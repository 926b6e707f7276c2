"""Flow and visibility of animators against the truth of synthetic clips."""

import pytest
import torch
from face_pictures import needs_mediapipe

from headwarp.flame.io import load_head
from headwarp.tools.evaluate import evaluate
from headwarp.tools.evaluation.flows import motion_scores, true_motion
from headwarp.training.data.synthetic import Recipe, TrueFlow, synthesise, write_clip
from headwarp.warping.animators import Animation

SHAPE = (1, 1, 4, 4)


def truth():
    """The upper half is the person; its first row moved by (3, 4) and is hidden in two pixels."""
    flow, person, visible = torch.zeros(1, 2, 4, 4), torch.zeros(SHAPE), torch.ones(SHAPE)
    flow[0, 0, 0], flow[0, 1, 0] = 3.0, 4.0
    person[..., :2, :] = 1
    visible[..., 0, :2] = 0
    return TrueFlow(flow, visible, person)


def still():
    return Animation(torch.zeros(1, 3, 4, 4), flow=torch.zeros(1, 2, 4, 4))


def test_flow_counts_where_the_source_shows_the_person():
    assert motion_scores(still(), {}, truth()) == {"flow_epe": pytest.approx(2 * 5 / 6)}
    exact = Animation(torch.zeros(1, 3, 4, 4), flow=truth().flow)
    assert motion_scores(exact, {}, truth())["flow_epe"] == 0
    assert motion_scores(Animation(torch.zeros(1, 3, 4, 4)), {}, truth()) == {}


def test_visibility_counts_where_the_mesh_covers_the_person():
    known, covered = truth().visible.clone(), torch.ones(SHAPE)
    assert motion_scores(still(), {"known": known, "covered": covered}, truth())["visibility_iou"] == 1
    known[..., 0, 2] = 0
    known[..., 3, :] = 0  # nobody there
    assert motion_scores(still(), {"known": known, "covered": covered}, truth())["visibility_iou"] == (
        pytest.approx(2 / 3)
    )
    covered[..., 0, 2] = 0
    assert motion_scores(still(), {"known": known, "covered": covered}, truth())["visibility_iou"] == 1
    maps = {"occlusion": truth().visible, "known": known * 0, "covered": covered}
    assert motion_scores(still(), maps, truth())["visibility_iou"] == 1  # the animator's own word first
    assert "visibility_iou" not in motion_scores(still(), {"known": known}, truth())


def test_without_a_truth_of_this_head_there_is_none(tmp_path):
    head = load_head("builtin")
    clip = tmp_path / "train" / "a.mp4"
    assert true_motion(clip, head) is None
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.npz").write_bytes(b"no archive")
    assert true_motion(clip, head) is None


@pytest.mark.slow
@needs_mediapipe
def test_a_synthetic_clip_is_measured_against_its_own_flow(tmp_path):
    recipe = Recipe(seed=5, number=2, frames=9, size=128)  # who turns: by 8 px, against a detector's half
    name = write_clip(synthesise(load_head("builtin"), recipe), tmp_path, partition="test")
    report = evaluate(tmp_path / "test" / f"{name}.mp4", stride=8)
    numbers = report["metrics"]
    assert numbers["geometry"]["flow_epe"] < 0.3 * numbers["copy"]["flow_epe"]
    assert 0 <= numbers["geometry"]["visibility_iou"] <= 1
    assert report["definition_ids"]["flow_epe"] == "flow_epe"
    assert "flow_epe" not in report["absent"]
