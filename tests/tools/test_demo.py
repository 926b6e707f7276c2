"""``headwarp demo``: everything it promises is there, small and quick."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from face_pictures import blank, frames_of, needs_mediapipe, portrait, read_photo
from media_files import write_photo
from toy_head import toy_head

from headwarp.flame.io import load_head
from headwarp.flame.params import HeadFit, Pose
from headwarp.flame.pose_track import read_pose_track
from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.tools import cli
from headwarp.tools.demo import (
    COLUMNS,
    FPS,
    LABEL,
    NAMES,
    SWEEP,
    TILES,
    Demo,
    known_expressions,
    labelled_sheet,
    run,
    sweep,
)
from headwarp.training.data.provenance import read_provenance

SIZE = 48


@needs_mediapipe
def test_the_demo_writes_all_it_names(tmp_path, capsys):
    output = tmp_path / "deep" / "demo"
    assert cli.main(["demo", "--output", str(output), "--size", str(SIZE), "--seconds", "0.2"]) == 0
    shown = capsys.readouterr().out
    assert {path.name for path in output.iterdir()} >= set(NAMES.values())
    assert all(str(output / name) in shown for name in NAMES.values())
    frames = frames_of(output / "reenactment.mp4")
    assert [frame.shape for frame in frames] == [(SIZE, 3 * SIZE, 3)] * 6
    rows = -(-(len(TILES) + 1) // COLUMNS)
    assert read_photo(output / "contact_sheet.png").shape == (rows * (SIZE + LABEL), COLUMNS * SIZE, 3)
    assert read_photo(output / "fit.png").shape == (SIZE, SIZE, 3)
    assert HeadFit.load(output / "fit.npz").size == (SIZE, SIZE)
    assert len(read_pose_track(output / "track.csv", FPS)) == 6
    for name in ("reenactment.mp4", "contact_sheet.png", "fit.png"):
        assert read_provenance(output / name).animator == "geometry"
    report = json.loads((output / "report.json").read_text())
    assert {"load", "fit", "sheet", "clip", "clip_per_frame", "total"} <= set(report["seconds"])
    assert report["reprojection_percent_iod"] < 2
    assert report["frames"] == 6


@needs_mediapipe
def test_a_photo_of_ones_own_and_no_provenance(tmp_path):
    photo = write_photo(tmp_path / "a.png", portrait())
    report = run(Demo(photo, tmp_path / "o", size=SIZE, seconds=0.05, animator="tps", provenance=False))
    assert report["provenance"] == "none, as asked"
    assert read_provenance(tmp_path / "o" / "reenactment.mp4") is None
    assert not list((tmp_path / "o").glob("*.png.json"))
    with pytest.raises(NoFaceError):
        run(Demo(write_photo(tmp_path / "b.png", blank(64, 64)), tmp_path / "o", size=SIZE))


def test_the_sweep_is_smooth_and_comes_back():
    poses = sweep(load_head("builtin"), 8.0)
    assert len(poses) == 8 * FPS + 1
    assert poses[0] == dataclasses.replace(poses[-1]) == Pose(expressions={"smile": 0.0, "brows_up": 0.0})
    for name in ("yaw", "pitch", "jaw", "blink"):
        values = [getattr(pose, name) for pose in poses]
        keyed = [getattr(pose, name) for _, pose in SWEEP]
        assert (min(values), max(values)) == pytest.approx((min(keyed), max(keyed)), abs=0.3)
    assert max(abs(b.yaw - a.yaw) for a, b in itertools.pairwise(poses)) < 3.5


def test_expressions_that_a_head_does_not_know_are_left_out():
    pose = Pose(yaw=3, expressions={"smile": 1.0, "no such": 1.0})
    assert known_expressions(load_head("builtin"), pose).expressions == {"smile": 1.0}
    toy = toy_head()
    assert set(known_expressions(toy, pose).expressions) <= set(toy.named_expressions)
    named = {name for _, tile in TILES for name in tile.expressions}
    assert named <= set(load_head("builtin").named_expressions)


def test_tiles_stand_over_their_labels():
    sheet = labelled_sheet([blank(20, 30, 10 * i) for i in range(5)], list("abcde"))
    assert sheet.shape == (2 * (20 + LABEL), 4 * 30, 3)
    assert (sheet[:20, 30:60] == 10).all()
    assert (sheet[20 + LABEL : 40 + LABEL, :30] == 40).all()
    assert sheet[20 : 20 + LABEL, :30].min() < 100  # the letter


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 3}, "--size: expected 16"),
        ({"seconds": 0.0}, "--seconds: expected more than 0"),
        ({"seconds": 1e9}, "--seconds: expected more than 0 and at most 600"),
        ({"photo": Path("nowhere.png")}, "nowhere.png: no such file"),
        ({"animator": "magic"}, "got 'magic'"),
    ],
)
def test_wrong_options_are_a_sentence(tmp_path, options, text):
    with pytest.raises(HeadwarpError, match=text):
        run(Demo(output=tmp_path / "o", **options))


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "o").write_text("")
    with pytest.raises(HeadwarpError, match="--output: expected a folder, got the file"):
        run(Demo(output=tmp_path / "o"))
