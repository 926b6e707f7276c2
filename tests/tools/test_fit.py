"""``headwarp fit``: names and records of inputs, the report, and the library function."""

from __future__ import annotations

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe, portrait, sway
from media_files import moving_frames, write_clip, write_photo
from PIL import Image
from posed_fits import detected_points, posed_fit

import headwarp
from headwarp.flame.io import load_head
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING, HeadFit
from headwarp.flame.posing import head_pose
from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.tools.cli import main
from headwarp.tools.fit import fit
from headwarp.tools.fit_report import jitter
from headwarp.training.data.provenance import ENHANCED, read_provenance


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def posed(head):
    """Six frames that turn from 0 to 25 degrees, and the points of a perfect detector."""
    return posed_fit(head, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0])


def landmark_file(folder: Path, points: np.ndarray) -> Path:
    np.save(folder / "points.npy", points)
    return folder / "points.npy"


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


# the command, with a perfect detector


def test_every_frame_has_a_record_and_the_pose_is_found(tmp_path, posed, capsys):
    clip = write_clip(tmp_path / "turn.mp4", moving_frames(6, *posed.size), fps=10)
    points = landmark_file(tmp_path, detected_points(posed))
    out = tmp_path / "out"
    assert main(["fit", str(clip), "--output", str(out), "--landmarks", str(points), "--smooth", "0"]) == 0
    found = HeadFit.load(out / "turn.npz")
    assert found.frames == 6
    turned = head_pose(found.params)[:, 0] - head_pose(found.params)[0, 0]
    assert torch.allclose(turned, torch.tensor([0.0, 5, 10, 15, 20, 25]), atol=1.0)
    assert found.report["fps"] == "10"
    assert found.report["kind"] == "video"
    shown = capsys.readouterr()
    assert "turn.npz: face in 6 of 6 frame(s); residual 0." in shown.out
    assert shown.err == ""


def test_frames_without_a_face_are_interpolated_or_missing_never_left_out(tmp_path, posed):
    clip = write_clip(tmp_path / "c.mp4", moving_frames(6, *posed.size))
    points = detected_points(posed)
    points[[0, 3]] = np.nan
    out = tmp_path / "out"
    words = ["fit", str(clip), "--output", str(out), "--landmarks", str(landmark_file(tmp_path, points))]
    assert main(words) == 0
    status = HeadFit.load(out / "c.npz").status.tolist()
    assert status == [MISSING, DETECTED, DETECTED, INTERPOLATED, DETECTED, DETECTED]
    report = report_of(out)
    counts = {key: report[key] for key in ("frames", "detected", "interpolated", "missing")}
    assert counts == {"frames": 6, "detected": 4, "interpolated": 1, "missing": 1}


def test_the_report_has_the_promised_keys_and_is_the_one_of_json(tmp_path, posed):
    clip = write_clip(tmp_path / "c.mp4", moving_frames(6, *posed.size))
    points = landmark_file(tmp_path, detected_points(posed))
    out, copy = tmp_path / "out", tmp_path / "r.json"
    words = ["--output", str(out), "--landmarks", str(points), "--json", str(copy), "--no-provenance"]
    assert main(["fit", str(clip), *words]) == 0
    report = report_of(out)
    assert report == json.loads(copy.read_text())
    assert report["ok"] is True
    assert set(report["seconds_per_frame"]) == {"decode", "detect", "fit", "total", "report"}
    assert all(seconds > 0 for seconds in report["seconds_per_frame"].values())
    assert set(report["jitter"]) == {"detected", "fitted", "rotation_deg"}
    assert report["reprojection_percent_iod"] < 0.5
    assert {"reprojection_percent_iod", "jitter", "seconds_per_frame", "identity"} <= set(
        report["definitions"]
    )
    assert next(iter(report["licences"].values())) == "Apache-2.0"
    assert report["protocol"]["provenance"] is False
    (entry,) = report["clips"]
    assert {"name", "input", "output", "overlay", "size", "fps", "faces", "messages"} <= set(entry)
    (face,) = entry["faces"]
    assert 0 < face.pop("size") < 128
    assert face == {"face": 0, "track": 0, "confirmed": True, "span": [0, 6], "frames": 6}
    assert (entry["face"], entry["track"], entry["span"]) == (0, 0, [0, 6])
    written = sorted(p.name for p in out.iterdir())
    assert written == [
        "c.npz",
        "curves",
        "manifest.jsonl",
        "overlays",
        "report.html",
        "report.json",
        "sheet.png",
    ]
    assert [p.name for p in (out / "overlays").iterdir()] == ["c.png"]
    assert [p.name for p in (out / "curves").iterdir()] == ["c.png"]


def test_the_same_input_gives_the_same_bytes(tmp_path, posed):
    clip = write_clip(tmp_path / "c.mp4", moving_frames(6, *posed.size))
    points = str(landmark_file(tmp_path, detected_points(posed)))
    for name in ("a", "b"):
        words = ["--landmarks", points, "--no-overlay"]
        assert main(["fit", str(clip), "--output", str(tmp_path / name), *words]) == 0
    assert (tmp_path / "a" / "c.npz").read_bytes() == (tmp_path / "b" / "c.npz").read_bytes()
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"c.npz", "manifest.jsonl", "report.json"}


def test_numbered_pictures_become_a_clip_when_asked(tmp_path, posed):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(moving_frames(6, *posed.size)):
        write_photo(folder / f"frame_{number}.png", frame)
    points = landmark_file(tmp_path, detected_points(posed))
    words = ["--sequence", "--output", str(tmp_path / "out"), "--landmarks", str(points)]
    assert main(["fit", str(folder), *words]) == 0
    assert HeadFit.load(tmp_path / "out" / "frames.npz").frames == 6


def test_a_perspective_fit_on_request(tmp_path, posed):
    clip = write_clip(tmp_path / "c.mp4", moving_frames(6, *posed.size))
    points = landmark_file(tmp_path, detected_points(posed))
    words = ["--output", str(tmp_path), "--landmarks", str(points), "--focal", "1200", "--no-overlay"]
    assert main(["fit", str(clip), *words]) == 0
    found = HeadFit.load(tmp_path / "c.npz")
    assert type(found.camera).__name__ == "Perspective"
    assert float(found.camera.focal[0, 0]) == 1200


def test_photometric_refinement_on_request(tmp_path, head):
    posed = posed_fit(head, [0.0, 10.0])
    clip = write_clip(tmp_path / "turn.mp4", moving_frames(2, *posed.size), fps=10)
    points = landmark_file(tmp_path, detected_points(posed))
    words = ["fit", str(clip), "--output", str(tmp_path), "--landmarks", str(points), "--no-overlay"]
    assert main([*words, "--photometric"]) == 0
    found = HeadFit.load(tmp_path / "turn.npz").report
    gained = found["photometric"]
    assert gained["frames"] == 2
    assert gained["error_after"] <= gained["error_before"]
    assert gained["reprojection_px_after"] <= gained["reprojection_px_before"]
    assert report_of(tmp_path)["protocol"]["photometric"] is True
    assert report_of(tmp_path)["reprojection_percent_iod"] == found["reprojection_percent_iod"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--sigma", "0"], "--sigma: expected a number above 0, got 0"),
        (["--focal", "-1"], "--focal: expected a number above 0, got -1"),
        (["--smooth", "nan"], "--smooth: expected 0 or more, got nan"),
        (["--face", "-1"], "--face: expected 0 or more, got -1"),
        (["--landmarks", "dlib"], "landmarks: expected one of face-alignment, mediapipe or a .npy"),
        (["--landmarks", "none.npy"], "landmarks: no file none.npy"),
        (["--head", "none.pkl"], "none.pkl"),
    ],
)
def test_options_that_make_no_sense_stop_before_the_work(tmp_path, words, text, capsys):
    out = tmp_path / "out"
    assert main(["fit", "a.png", "b.png", "--output", str(out), *words]) == 1
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not (out / "report.json").exists()


def test_a_landmark_file_belongs_to_one_input(tmp_path, posed, capsys):
    points = landmark_file(tmp_path, detected_points(posed))
    assert main(["fit", "a.png", "b.png", "--output", str(tmp_path / "o"), "--landmarks", str(points)]) == 1
    assert "belongs to one input, got 2" in capsys.readouterr().err


def test_a_landmark_file_of_another_length_is_refused(tmp_path, posed, capsys):
    clip = write_clip(tmp_path / "c.mp4", moving_frames(4, *posed.size))
    points = landmark_file(tmp_path, detected_points(posed))
    assert main(["fit", str(clip), "--output", str(tmp_path / "o"), "--landmarks", str(points)]) == 1
    assert "has 6 rows, the clip 4 frames" in capsys.readouterr().err


# the library


def test_frames_pass_by_and_are_not_kept(tmp_path, posed, head):
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    class Seen(np.ndarray):
        """A frame that can be watched."""

    def frames():
        nonlocal most
        for _ in range(6):
            frame = np.zeros((*posed.size, 3), np.uint8).view(Seen)
            key = type("Key", (), {})()
            frame.key = key
            alive.add(key)
            most = max(most, len(alive))
            yield frame

    fit(frames(), head=head, landmarks=landmark_file(tmp_path, detected_points(posed)))
    assert most <= 2


def test_fit_is_exported(posed):
    assert headwarp.fit is fit


def test_an_unknown_face_or_none_is_an_error(tmp_path, posed, head):
    points = landmark_file(tmp_path, detected_points(posed))
    frames = np.stack(moving_frames(6, *posed.size))
    with pytest.raises(NoFaceError, match=r"--face 3: the input has 1 face\(s\)"):
        fit(frames, head=head, landmarks=points, face=3)
    with pytest.raises(HeadwarpError, match="expected a path, PIL, numpy or torch"):
        fit(5, head=head)


def test_jitter_is_zero_for_even_motion_and_the_bend_otherwise(head):
    even = posed_fit(head, [0.0] * 5, size=(256, 256), shift=[(2.0 * t, 0.0) for t in range(5)])
    assert jitter(even)["detected"] == pytest.approx(0, abs=1e-4)
    assert jitter(even)["rotation_deg"] == pytest.approx(0, abs=1e-4)
    bent = posed_fit(head, [0.0] * 3, size=(256, 256), shift=[(0.0, 0.0), (3.0, 0.0), (0.0, 0.0)])
    assert jitter(bent)["detected"] == pytest.approx(6, abs=1e-3)
    assert jitter(bent)["fitted"] == pytest.approx(6, abs=1e-3)
    assert jitter(bent.select([0, 1])) == {"detected": None, "fitted": None, "rotation_deg": None}


# with the real detector


@needs_mediapipe
def test_path_pil_numpy_and_torch_are_the_same(tmp_path, head):
    image = portrait()
    path = write_photo(tmp_path / "p.png", image)
    floats = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    found = [
        fit(source, head=head).landmarks
        for source in (path, str(path), Image.fromarray(image), image, image / 255.0, floats, [image])
    ]
    assert all(torch.equal(found[0], other) for other in found[1:])


@needs_mediapipe
def test_one_that_fails_is_recorded_and_the_others_go_on(tmp_path, capsys):
    photo = write_photo(tmp_path / "p.png", portrait())
    clip = write_clip(tmp_path / "p.mp4", sway(4))
    blank = write_photo(tmp_path / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    out = tmp_path / "out"
    assert main(["fit", str(photo), str(blank), str(clip), "--output", str(out)]) == 1
    report = report_of(out)
    assert report["ok"] is False
    assert [clip["ok"] for clip in report["clips"]] == [True, False, True]
    assert (report["frames"], report["detected"]) == (5, 5)
    assert list(report["failed"]) == ["grey"]
    shown = capsys.readouterr()
    assert shown.err == f"headwarp fit: {report['failed']['grey']}\n"
    assert str(blank) in shown.err
    assert "2 of 3 input(s), 5 frame(s)" in shown.out
    made = [
        "curves",
        "manifest.jsonl",
        "overlays",
        "p_mp4.npz",
        "p_png.npz",
        "report.html",
        "report.json",
        "sheet.png",
    ]
    assert sorted(p.name for p in out.iterdir()) == made


@needs_mediapipe
def test_the_overlay_shows_the_mesh_and_says_how_it_was_made(tmp_path):
    image = np.kron(portrait(), np.ones((5, 5, 1), np.uint8))  # 1500 px: larger than an overlay
    photo = write_photo(tmp_path / "p.jpg", image, quality=95)
    assert main(["fit", str(photo), "--output", str(tmp_path)]) == 0
    path = tmp_path / "overlays" / "p.png"
    drawn = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert drawn.shape == (1280, 1280, 3)
    plain = np.asarray(Image.open(photo).convert("RGB").resize((1280, 1280))).astype(int)
    changed = np.abs(drawn - plain).max(-1) > 20
    assert changed[400:700, 500:800].mean() > 0.8  # the face
    assert changed[:, :100].mean() < 0.05
    made = read_provenance(path)
    assert made is not None
    assert (made.animator, made.digital_source_type) == ("fit overlay", ENHANCED)
