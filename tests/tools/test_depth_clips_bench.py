"""Noses on clips: what stands out of a face and what does not, on a drawn clip whose depth is known."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import islice

import numpy as np
import pytest
import torch
from guide_files import guide_file

import headwarp.flame.detect
from headwarp.flame.detect import Detection
from headwarp.flame.io import load_head
from headwarp.geom.errors import NoFaceError
from headwarp.tools.bench.depth_clips import (
    SAID,
    DepthClipsBench,
    Faces,
    compared,
    faces_of,
    new_network,
    run,
    summary,
    told,
)
from headwarp.tools.portrait import as_frames
from headwarp.training.data.synthetic import Recipe, synthesise, true_fit, truth_of, write_clip
from headwarp.warping.observers import DepthObserver, load_depth_observer


@pytest.fixture(scope="module")
def clip():
    return synthesise(load_head("builtin"), Recipe(3, 1, frames=4, size=96, fps=4.0))


def detections(clip):
    """The true landmarks of every frame as a detector's."""
    fit = true_fit(clip)
    for points in fit.landmarks:
        found = np.full((478, 3), np.nan, np.float32)
        found[fit.landmark_indices.numpy(), :2] = points.numpy()
        box = np.array([*np.nanmin(found[:, :2], 0), *np.nanmax(found[:, :2], 0)], np.float32)
        yield [Detection(found, 1.0, box, True)]


def detecting(monkeypatch, clip, blind=()):
    """Frames are seen in their order; of those with the numbers of ``blind`` no face is found."""
    coming = iter(detections(clip))
    numbers = iter(range(99))

    def detect(frame, *, max_faces):
        assert (frame.shape, max_faces) == ((96, 96, 3), 1)
        return [] if next(numbers) in blind else next(coming)

    monkeypatch.setattr(headwarp.flame.detect, "detect_faces", detect)


class Told:
    """Tells depth maps in their order."""

    def __init__(self, maps):
        self.maps = iter(maps)

    def source(self, source):
        return dataclasses.replace(source, depth=next(self.maps))


def true_depth(clip, frame):
    depth = truth_of(clip.view(frame)).depth[None, None]
    return torch.where(depth > 0, depth, 2 * depth.max())


@pytest.mark.parametrize(
    ("seen_as", "expected"),
    [(lambda depth: depth, 1.0), (lambda depth: 1 / depth, 0.0), (torch.ones_like, 0.0)],
    ids=["true", "hollow", "plane"],
)
def test_noses_stand_out_of_true_depth_and_of_nothing_else(monkeypatch, clip, seen_as, expected):
    detecting(monkeypatch, clip)
    faces = faces_of([clip.picture(frame) for frame in range(4)], load_head("builtin"))
    assert len(faces.frames) == 4
    assert faces.seen[:, 0].all()
    further = compared(Told(seen_as(true_depth(clip, frame)) for frame in range(4)), faces)
    found = summary([(faces, further)])["all"]
    assert (found["share"], found["cheeks"], found["ears"]) == (expected,) * 3
    assert (found["frames"], found["ordered"]) == (4, expected)
    assert summary([(faces, faces.further)])["all"]["share"] == 1.0
    assert torch.equal(compared(Told(true_depth(clip, n) for n in range(4)), faces) > 0, faces.further > 0)


def test_a_head_that_turns_hides_an_ear_and_not_the_nearer_one(monkeypatch, clip):
    detecting(monkeypatch, clip)
    faces = faces_of([clip.picture(frame) for frame in range(4)], load_head("builtin"))
    turn = faces.yaw_deg.abs().argmax()
    assert faces.yaw_deg[turn].abs() > 12
    near, far = (4, 3) if faces.yaw_deg[turn] > 0 else (3, 4)
    assert faces.seen[turn, near]
    assert not faces.seen[turn, far]


def faces(yaw, seen, further=(0.0, 1.0, 1.0, 1.0, 1.0)):
    count = len(yaw)
    frames, truth = [np.zeros((8, 8, 3), np.uint8)] * count, torch.tensor(further).expand(count, 5)
    return Faces(frames, torch.full((count, 5, 2), 4.0), torch.tensor(seen).bool(), truth, torch.tensor(yaw))


def test_what_is_hidden_is_not_compared_and_frames_pool_over_clips():
    one = faces([0.0, 25.0, -30.0], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 1], [0, 1, 1, 1, 1]])
    other = faces([-21.0], [[1, 0, 0, 1, 0]])
    further = torch.tensor([[0.0, 1, 1, 1, 1], [0, 1, 1, -1, 1], [0, -1, -1, -1, -1]])
    found = summary([(one, further), (other, torch.tensor([[0.0, -1, -1, -1, -1]]))])
    shares = {"share": 2 / 3, "cheeks": 1.0, "ears": 2 / 3, "ordered": 2 / 3, "frames": 3}
    assert found["all"] == pytest.approx(shares)
    assert found["turned"] == {"share": 0.5, "cheeks": 1.0, "ears": 0.5, "ordered": 0.5, "frames": 2}
    nothing = summary([(faces([0.0], [[0] * 5]), torch.ones(1, 5))])
    assert math.isnan(nothing["all"]["share"])
    assert nothing["turned"]["frames"] == 0


def test_a_cheek_that_is_nearer_on_the_head_itself_is_right_where_it_is_nearer():
    side = faces([50.0], [[1, 1, 0, 1, 0]], further=(0.0, -1.0, 2.0, 1.0, 2.0))
    found = summary([(side, torch.tensor([[0.0, -3, 1, 1, 1]]))])["turned"]
    assert (found["share"], found["ordered"]) == (0.0, 1.0)
    assert summary([(side, torch.ones(1, 5))])["turned"]["ordered"] == 0.0


def test_depth_is_compared_as_medians_even_at_the_border():
    scene = faces([0.0], [[1] * 5])
    scene.points[0] = torch.tensor([[4.0, 4], [-3, 2], [7.9, 7.9], [9, 4], [2, 20]])
    depth = torch.full((1, 1, 8, 8), 2.0)
    depth[..., 4, 4] = 100.0  # one pixel is wrong
    depth[..., 7, 7] = depth[..., 7, 6] = depth[..., 6, 7] = 3.0
    found = compared(Told([depth]), scene)
    assert found.tolist() == [[0.0, 0.0, 1.0, 0.0, 0.0]]


def test_clips_are_measured_beside_a_new_network(monkeypatch, clip, tmp_path):
    write_clip(clip, tmp_path, partition="clips", kind="mp4")
    (name,) = [path.stem for path in (tmp_path / "clips").glob("*.mp4")]
    (tmp_path / "clips" / "a_wall.mp4").write_bytes((tmp_path / "clips" / f"{name}.mp4").read_bytes())
    detecting(monkeypatch, clip, blind=(0, 1))  # the first two are of the first clip
    checkpoint, file = guide_file(tmp_path, "depth"), tmp_path / "r.json"
    report = run(DepthClipsBench(checkpoint, tmp_path / "clips", stride=2, json=file))
    assert report["failed"] == {"a_wall": "a_wall.mp4: no face found"}
    assert list(report["clips"]) == [name]
    assert report["clips"][name] == {key: report[key] for key in SAID}
    trained = load_depth_observer(checkpoint)
    networks = {"trained": trained, "new": DepthObserver(new_network(trained.network.config, 0))}
    detecting(monkeypatch, clip)
    frames = islice(as_frames(tmp_path / "clips" / f"{name}.mp4"), 0, None, 2)
    scene = faces_of(frames, load_head("builtin"))
    for key, network in networks.items():
        assert report[key]["all"] == summary([(scene, compared(network, scene))])["all"]
        assert report[key]["all"]["frames"] == 2
    assert json.loads(file.read_text())["new"]["all"] == report["new"]["all"]
    share = 100 * report["new"]["all"]["share"]
    assert f"new, all: nose nearest in {share:.1f} % of 2 frames" in told(report)
    assert "a_wall: a_wall.mp4: no face found" in told(report)


def test_clips_without_faces_are_refused(monkeypatch, clip, tmp_path):
    write_clip(clip, tmp_path, partition="clips", kind="mp4")
    detecting(monkeypatch, clip, blind=range(99))
    with pytest.raises(NoFaceError, match="expected a face in one of 1 clips, found none"):
        run(DepthClipsBench(guide_file(tmp_path, "depth"), tmp_path / "clips"))
