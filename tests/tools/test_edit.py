"""``headwarp edit``: the head turns as asked, nothing else moves, files say how they were made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from face_pictures import blank, frames_of, needs_mediapipe, portrait, read_photo
from media_files import mean_error, write_photo
from toy_animators import LEARNED

import headwarp
from headwarp.flame.io import load_head
from headwarp.flame.params import Pose
from headwarp.flame.pose_track import write_pose_track
from headwarp.flame.posing import head_pose
from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.tools import cli, performance
from headwarp.tools.edit import Edit, describe, edit, edit_track, poses_of, run
from headwarp.tools.faces import fit_frames
from headwarp.tools.motion_options import parse_amounts
from headwarp.tools.portrait import open_portrait
from headwarp.training.data.portrait import to_frame
from headwarp.training.data.provenance import ENHANCED, read_provenance, sidecar_path
from headwarp.warping.animators import animator_names, load_animator, registration

SIZE = 64


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    return write_photo(tmp_path_factory.mktemp("photo") / "a.png", portrait())


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def window(head):
    """What is edited."""
    return to_frame(open_portrait(portrait(), head=head, size=SIZE).image)


@needs_mediapipe
@pytest.mark.parametrize("name", [name for name in animator_names() if name not in LEARNED])
def test_every_animator_makes_an_edited_window(photo, head, window, name):
    poses = [Pose(), Pose(yaw=20, jaw=0.5)]
    untrained = load_animator(name, config=registration(name).config())  # shipped weights know 256 px alone
    still, turned = edit_track(photo, poses, animator=untrained, head=head, size=SIZE)
    assert (still.dtype, still.shape) == (np.uint8, (SIZE, SIZE, 3))
    assert mean_error(still, window) < 1.5
    assert (mean_error(turned, still) > 2) == (name != "copy")


@needs_mediapipe
def test_the_head_turns_as_asked(photo, head):
    asked = torch.tensor([[0, 0, 0], [20, 0, 0], [-20, 0, 0], [0, -12, 0], [0, 0, 15.0]])
    poses = [Pose(*angles) for angles in asked.tolist()]
    frames = list(edit_track(photo, [*poses, Pose(roll=12, relative=False)], head=head, size=256))
    found = torch.stack([head_pose(fit_frames([frame], head).params)[0] for frame in frames])
    assert (found[:5] - found[0] - asked).abs().max() < 8
    assert found[5, 2] == pytest.approx(12, abs=4)  # absolute: the photo's own roll is gone


@needs_mediapipe
def test_the_full_frame_is_the_photo_but_for_the_head(photo, head):
    made = edit(photo, Pose(yaw=20), head=head, size=128, full_frame=True)
    own = portrait()
    assert made.shape == own.shape
    changed = (made != own).any(-1)
    assert 0.02 < changed.mean() < 0.6
    assert not changed[:60, :40].any()
    assert not changed[:150, -40:].any()
    assert not changed[-20:].any()


@needs_mediapipe
def test_a_track_is_made_frame_by_frame(photo, head):
    animator = load_animator("copy")
    frames = edit_track(photo, [Pose()] * 3, animator=Counting(animator), head=head, size=SIZE)
    assert Counting.frames == 0
    next(frames)
    assert Counting.frames == 1
    assert len(list(frames)) == 2


class Counting:
    """An animator that counts what is asked of it."""

    needs_source, needs_driving, frames = ("image",), (), 0

    def __init__(self, animator):
        self.inner = animator

    def encode(self, sources):
        return self.inner.encode(sources)

    def animate(self, cache, driving):
        Counting.frames += 1
        return self.inner.animate(cache, driving)

    def explain(self, cache, driving):
        return {}


@needs_mediapipe
def test_the_command_writes_a_picture_that_says_how_it_was_made(photo, tmp_path, capsys):
    output, report = tmp_path / "deep" / "e.png", tmp_path / "r.json"
    words = ["edit", str(photo), "--yaw", "-10", "--gaze", "-5", "3", "--expression", "smile=0.7"]
    words += [
        "--expression=brows_up=0.2",
        "--size",
        str(SIZE),
        "--output",
        str(output),
        "--json",
        str(report),
    ]
    assert cli.main(words) == 0
    assert read_photo(output).shape == (SIZE, SIZE, 3)
    known = read_provenance(output)
    assert (known.animator, known.digital_source_type, len(known.inputs)) == ("geometry", ENHANCED, 1)
    assert sidecar_path(output).is_file()
    said = json.loads(report.read_text())
    assert {"output", "frames", "width", "height", "animator", "head_pose", "provenance", "seconds"} <= set(
        said
    )
    assert said["head_pose"]["last"][0] - said["head_pose"]["photo"][0] == pytest.approx(-10, abs=0.5)
    assert f"{SIZE} x {SIZE}, 1 frame(s)" in capsys.readouterr().out


@needs_mediapipe
def test_no_provenance_is_kept_to_and_reported(photo, tmp_path):
    output = tmp_path / "e.jpg"
    report = run(Edit(photo, output, yaw=5, size=SIZE, provenance=False))
    assert read_provenance(output) is None
    assert not sidecar_path(output).exists()
    assert report["provenance"] == "none, as asked"
    assert "provenance: none, as asked" in describe(report)


@needs_mediapipe
@pytest.mark.parametrize("full_frame", [False, True])
def test_a_track_becomes_a_clip_at_its_rate(photo, tmp_path, full_frame):
    track = write_pose_track(tmp_path / "t.csv", [Pose(yaw=5.0 * i) for i in range(4)], 12)
    output = tmp_path / "o.mp4"
    whole = Edit(photo, output, track=track, fps=12, size=SIZE, full_frame=full_frame, preview=full_frame)
    report = run(whole)
    side = 300 if full_frame else SIZE
    assert (report["frames"], report["width"], report["height"]) == (4, side, side)
    assert [frame.shape for frame in frames_of(output)] == [(side, side, 3)] * 4
    assert read_provenance(output).animator == "geometry"
    little = tmp_path / "o.preview.mp4"
    assert report["preview"] == (str(little) if full_frame else None)
    assert little.exists() == full_frame
    if full_frame:
        assert len(frames_of(little)) == 4


@needs_mediapipe
def test_what_cannot_be_edited(tmp_path, head):
    with pytest.raises(NoFaceError, match="expected a face, found none"):
        edit(blank(80, 80), Pose(), head=head, size=SIZE)
    with pytest.raises(HeadwarpError, match=r"expected one of .*, got 'magic'"):
        edit(portrait(), Pose(), animator="magic", head=head)
    with pytest.raises(HeadwarpError, match=r"expected one of .*smile.*, got 'grin'"):
        edit(portrait(), Pose(expressions={"grin": 1}), head=head, size=SIZE)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"track": Path("t.csv"), "yaw": 3.0}, r"expected a track or a pose, got both \(--yaw\)"),
        ({"track": Path("t.csv"), "gaze": (1, 0), "expression": ("smile=1",)}, r"\(--gaze, --expression\)"),
        ({"track": Path("t.csv")}, r"--output: expected a name in \.mp4.* for a track, got o.png"),
        ({"output": Path("o.mp4")}, r"--output: expected a name in \.png.* for one picture, got o.mp4"),
        ({"output": Path()}, "--output: expected a file, got the folder"),
        ({"size": 8}, "--size: expected 16 pixels or more, got 8"),
        ({"device": "abacus"}, "--device abacus: not available here"),
        ({"expression": ("smile",)}, "--expression: expected NAME=AMOUNT.*'smile'"),
        ({"expression": ("grin=1",)}, "--expression: no grin; head builtin-.* has .*smile"),
        ({"yaw": float("nan")}, "Pose.yaw: expected a finite number"),
        ({"yaw": 200.0}, "Pose.yaw: expected degrees within"),
        ({"photo": Path("nowhere.jpg")}, "nowhere.jpg: no such file"),
        ({"head": "nowhere.pkl"}, "nowhere.pkl"),
    ],
)
def test_wrong_options_are_a_sentence_and_leave_no_file(tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    given = {"photo": Path("a.png"), "output": Path("o.png")} | options
    with pytest.raises(HeadwarpError, match=text):
        run(Edit(**given))
    assert not list(tmp_path.iterdir())


def test_every_option_reaches_its_field(head, tmp_path):
    said = {"yaw": 1.0, "pitch": 2.0, "roll": 3.0, "jaw": 0.4, "gaze": (5.0, 6.0), "blink": 0.7}
    config = Edit(Path("a"), Path("b"), expression=("smile=0.8",), absolute=True, **said)
    assert poses_of(config, head) == [Pose(**said, expressions={"smile": 0.8}, relative=False)]
    assert poses_of(Edit(Path("a"), Path("b")), head) == [Pose()]
    track = write_pose_track(tmp_path / "t.csv", [Pose(yaw=1)] * 3, 10)
    whole = Edit(Path("a"), Path("b"), track=track, fps=20.0, absolute=True)
    assert [(pose.yaw, pose.relative) for pose in poses_of(whole, head)] == [(1, False)] * 5


@pytest.mark.parametrize("word", ["smile", "=1", "smile=", "smile=big", ""])
def test_malformed_expressions(word):
    with pytest.raises(HeadwarpError, match="expected NAME=AMOUNT"):
        parse_amounts([word], option="--expression")
    with pytest.raises(HeadwarpError, match="each name once, got 'smile=2'"):
        parse_amounts(["smile=1", "smile=2"], option="--expression")


def test_a_device_that_is_not_there_is_a_sentence():
    assert performance.check_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(HeadwarpError, match="--device cuda: not available here; cpu always is"):
            performance.check_device("cuda")


def test_the_library_names_are_the_tools():
    assert headwarp.edit is edit
    assert headwarp.edit_track is edit_track
