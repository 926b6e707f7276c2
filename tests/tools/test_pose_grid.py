"""``headwarp edit --grid``: cells are single edits, labels say what they show, nonsense is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from face_pictures import needs_mediapipe, portrait, read_photo
from media_files import write_photo

from headwarp.flame.io import load_head
from headwarp.flame.params import Pose
from headwarp.flame.posing import expression_names
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import cli, demo, pose_grid
from headwarp.tools.bench.pose_grid import BATCHES, compare
from headwarp.tools.edit import Edit, edit_track, run
from headwarp.tools.portrait import open_portrait
from headwarp.tools.pose_grid import batch_size, edit_grid, field_names, parse_grid
from headwarp.training.data.provenance import read_provenance
from headwarp.warping.animators import load_animator, registration
from headwarp.warping.animators.geometry import GeometryAnimator
from headwarp.warping.inference import prepare_animator_

SIZE = 64
WORDS = ("yaw=-20:20:3", "gaze_x=-8:7.5:2")
NAMES = [f"yaw{yaw}_gaze_x{gaze}" for gaze in ("-8", "+7.5") for yaw in ("-20", "+0", "+20")]
POSES = [Pose(yaw=yaw, gaze=(gaze, 3.0)) for gaze in (-8.0, 7.5) for yaw in (-20.0, 0.0, 20.0)]


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    return write_photo(tmp_path_factory.mktemp("photo") / "a.png", portrait())


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def singles(photo, head):
    """The cells as edits of one pose each, by the photo's one fit."""
    return [np.array(frame) for frame in edit_track(photo, POSES, head=head, size=SIZE)]


def test_a_grid_runs_across_and_then_down():
    grid = parse_grid(WORDS)
    assert grid.names() == NAMES
    assert grid.poses(Pose(gaze=(1.0, 3.0))) == POSES
    assert (grid.columns, parse_grid(["jaw=0:1:20"]).columns) == (3, pose_grid.ACROSS)
    assert parse_grid(["roll=5:5:1"]).poses(Pose(blink=0.5)) == [Pose(roll=5, blink=0.5)]
    assert parse_grid(["yaw=0:1:4"]).names()[1] == "yaw+0.3333"
    assert parse_grid(["yaw=0:1:4"]).poses(Pose())[1].yaw == 0.3333  # what the name says


def test_an_axis_may_be_an_expression():
    grid = parse_grid(["smile=0:1:2", "3=-1:1:2"], expressions=("frown", "smile", "0", "3"))
    poses = grid.poses(Pose(yaw=5, expressions={"frown": 0.5, "3": 9.0}))
    assert [dict(pose.expressions) for pose in poses[:2]] == [
        {"frown": 0.5, "3": -1, "smile": 0},
        {"frown": 0.5, "3": -1, "smile": 1},
    ]
    assert {pose.yaw for pose in poses} == {5}
    assert grid.names()[3] == "smile+1_3+1"
    assert field_names(parse_grid(["gaze_x=0:1:2", "jaw=0:1:2"])) == ("gaze", "jaw")
    assert field_names(grid) == ("expression", "expression")
    with pytest.raises(HeadwarpError, match="gaze_y, frown, smile, got 'grin'"):
        parse_grid(["grin=0:1:2"], expressions=("frown", "smile", "0"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["yaw"], r"expected NAME=FIRST:LAST:COUNT such as yaw=-30:30:5, got 'yaw'"),
        (["yaw=-30:30"], "expected NAME=FIRST:LAST:COUNT"),
        (["yaw=-30:nan:3"], "expected NAME=FIRST:LAST:COUNT"),
        (["yaw=-30:30:0"], "expected NAME=FIRST:LAST:COUNT"),
        (["yaw=-30:30:2.5"], "expected NAME=FIRST:LAST:COUNT"),
        (["nose=0:1:2"], "expected one of yaw, pitch, .*, got 'nose'"),
        (["yaw=0:1:2", "yaw=0:9:2"], "two different axes, got yaw twice"),
        (["yaw=0:1:2", "jaw=0:1:2", "roll=0:1:2"], "expected one or two axes, got 3"),
        (["yaw=0:9:1"], r"yaw: 1 value\(s\) from 0 to 9 are not that many different ones"),
        (["jaw=0:0.001:30"], "widen the range or change the count"),
        (["yaw=0:90:21", "pitch=0:9:20"], "expected 400 cells at most, got 420"),
        (["yaw=0:90:999999999999"], "expected 400 cells at most"),
    ],
)
def test_nonsense_is_a_sentence(words, text):
    with pytest.raises(HeadwarpError, match=text):
        parse_grid(words)


def test_the_bound_itself_is_allowed():
    assert len(parse_grid(["yaw=0:19:20", "pitch=0:19:20"]).cells()) == pose_grid.CELLS


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"yaw": 3.0}, "expected yaw once, got an axis and --yaw"),
        ({"track": Path("t.csv")}, "without an order in time, got --track too"),
        ({"output": Path("o.mp4")}, r"--output: expected a name in \.png.* for a sheet"),
        ({"grid_batch": 0}, "--grid-batch: expected 1 to 400, got 0"),
        ({"grid_batch": 4, "animator": "tps"}, "--grid-batch: tps is tested with one pose at a time"),
        ({"grid": (), "grid_batch": 4}, "--grid-batch: belongs to --grid"),
        ({"grid": ("smile=0:1:2",), "expression": ("smile=1",)}, "expected smile once, got an axis and"),
        ({"preview": True}, "--preview: belongs to the clip of a --track"),
        ({"grid": ("yaw=0:200:2",)}, "Pose.yaw: expected degrees within"),
    ],
)
def test_contradictions_are_a_sentence_and_leave_no_file(tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    given = {"photo": Path("a.png"), "output": Path("o.png"), "grid": WORDS} | options
    with pytest.raises(HeadwarpError, match=text):
        run(Edit(**given))
    assert not list(tmp_path.iterdir())


@needs_mediapipe
def test_expressions_across_and_down_are_single_edits(photo, head, monkeypatch):
    poses = [Pose(jaw=jaw, expressions={"smile": smile}) for jaw in (0.0, 0.6) for smile in (-0.5, 1.0)]
    singles = [np.array(frame) for frame in edit_track(photo, poses, head=head, size=SIZE)]
    asked = []
    animate = GeometryAnimator.animate

    def counted(self, cache, driving):
        asked.append(len(driving.posed_vertices))
        return animate(self, cache, driving)

    monkeypatch.setattr(GeometryAnimator, "animate", counted)
    grid = parse_grid(["smile=-0.5:1:2", "jaw=0:0.6:2"], expressions=expression_names(head))
    made = list(edit_grid(photo, grid, head=head, size=SIZE))
    assert asked == [4]  # one batch
    assert np.array_equal(np.stack(made), np.stack(singles))
    assert (made[0] != made[1]).any()
    assert (made[0] != made[2]).any()


@needs_mediapipe
@pytest.mark.parametrize("batch", [1, None])
def test_cells_are_single_edits_bit_for_bit(photo, head, singles, batch):
    made = edit_grid(photo, parse_grid(WORDS), Pose(gaze=(0, 3.0)), head=head, size=SIZE, batch=batch)
    assert np.array_equal(np.stack(list(made)), np.stack(singles))


def test_a_device_that_is_not_there_is_told_before_the_photo_is_opened():
    with pytest.raises(HeadwarpError, match="--device nowhere: not available here"):
        edit_grid("no such photo", parse_grid(WORDS), device="nowhere")


@needs_mediapipe
def test_a_network_in_batches_is_within_one_level(photo, head):
    animator = prepare_animator_(load_animator("pwm", config=registration("pwm").config()))
    assert batch_size(None, animator, name="pwm") == pose_grid.BATCH
    base = Pose(gaze=(0, 3.0))
    alone = [np.array(frame) for frame in edit_track(photo, POSES, animator=animator, head=head, size=SIZE)]
    for batch, most in ((1, 0), (4, 1)):
        made = edit_grid(photo, parse_grid(WORDS), base, animator=animator, head=head, size=SIZE, batch=batch)
        assert np.abs(np.stack(list(made)).astype(int) - np.stack(alone)).max() <= most


@needs_mediapipe
def test_a_folder_holds_a_picture_a_cell_and_what_is_where(photo, tmp_path, singles):
    words = ["edit", str(photo), "--grid", *WORDS, "--gaze", "0", "3", "--size", str(SIZE)]
    assert cli.main([*words, "--output", str(tmp_path / "cells")]) == 0
    assert sorted(path.stem for path in (tmp_path / "cells").glob("*.png")) == sorted(NAMES)
    said = json.loads((tmp_path / "cells" / "grid.json").read_text())
    assert said["axes"] == {"yaw": [-20, 0, 20], "gaze_x": [-8, 7.5]}
    assert [cell["file"] for cell in said["cells"]] == [f"{name}.png" for name in NAMES]
    assert (said["columns"], said["cells"][3]["yaw"], said["cells"][3]["gaze_x"]) == (3, -20, 7.5)
    for name, single in zip(NAMES, singles, strict=True):
        assert np.array_equal(read_photo(tmp_path / "cells" / f"{name}.png"), single)
    assert read_provenance(tmp_path / "cells" / f"{NAMES[0]}.png").animator == "geometry"


@needs_mediapipe
def test_a_sheet_has_a_label_under_every_cell(photo, tmp_path, singles):
    output = tmp_path / "g.png"
    report = run(Edit(photo, output, grid=WORDS, gaze=(0, 3.0), size=SIZE))
    sheet, step = read_photo(output), SIZE + demo.LABEL
    assert sheet.shape == (report["height"], report["width"], 3) == (2 * step, 3 * SIZE, 3)
    assert report["frames"] == 6
    blank = demo.labelled_sheet(singles, [""] * 6, columns=3)
    for index, single in enumerate(singles):
        y, x = index // 3 * step, index % 3 * SIZE
        assert np.array_equal(sheet[y : y + SIZE, x : x + SIZE], single)
        strip = (slice(y + SIZE, y + step), slice(x, x + SIZE))
        assert (sheet[strip] != blank[strip]).any()
    assert parse_grid(WORDS).labels()[5] == "yaw +20  gaze_x +7.5"
    assert read_provenance(output).animator == "geometry"


@needs_mediapipe
def test_the_measurement_names_every_batch(head):
    opened = open_portrait(portrait(), head=head, size=SIZE)
    records = compare(opened, ("geometry",), rounds=2)
    assert [record["batch"] for record in records] == list(BATCHES)
    assert all(0 < record["p10_ms"] <= record["median_ms"] for record in records)
