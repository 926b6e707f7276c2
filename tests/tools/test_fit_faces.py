"""Several faces in one input: a fit each, solved on its own frames, a record for every frame of the input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from face_pictures import blank, needs_mediapipe, portrait
from media_files import moving_frames, write_clip, write_photo
from PIL import Image
from posed_fits import detected_points, posed_fit

import headwarp
from headwarp.flame import detect
from headwarp.flame.detect import Track
from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING, HeadFit
from headwarp.geom.errors import NoFaceError
from headwarp.tools.cli import main
from headwarp.tools.faces import placed
from headwarp.tools.fit import fit, fit_all

SIZE = (96, 128)
LENGTH = 12


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


def track_of(points: np.ndarray, frames: Iterable[int], *, number: int, confirmed: bool = True) -> Track:
    """A track that shows ``points`` (N, 478, 2) in those frames of a clip."""
    full = np.zeros((*points.shape[:2], 3), np.float32)
    full[..., :2] = points
    score = np.full(len(full), 0.9, np.float32)
    return Track(np.array(list(frames)), full, score, LENGTH, confirmed, SIZE, number=number)


@pytest.fixture(scope="module")
def tracks(head) -> list[Track]:
    """One face throughout, one in frames 3, 4, 6, 7, and one that is no face, in the order of their ranks."""
    first = detected_points(posed_fit(head, np.linspace(-10, 10, LENGTH).tolist()))
    second = detected_points(posed_fit(head, [20.0, 21.0, 23.0, 24.0]))
    third = np.random.default_rng(0).uniform(10, 80, (2, 478, 2))
    return [
        track_of(first, range(LENGTH), number=1),
        track_of(second, (3, 4, 6, 7), number=0),
        track_of(third, (9, 10), number=2, confirmed=False),
    ]


class Fixed:
    """A detector that finds the same whatever it sees."""

    def __init__(self, tracks: list[Track]) -> None:
        self._tracks = tracks

    def track(self, frames, *, max_faces):
        assert len(list(frames)) == LENGTH
        return self._tracks


@pytest.fixture
def detector(monkeypatch, tracks) -> str:
    """The name of a detector that finds these tracks."""

    monkeypatch.setitem(detect._DETECTORS, "fixed", lambda: Fixed(tracks))
    return "fixed"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "two.mp4", moving_frames(LENGTH, *SIZE))


def test_every_face_gets_a_file_with_a_record_for_every_frame(tmp_path, clip, detector, capsys):
    assert main(["fit", str(clip), "--output", str(tmp_path), "--landmarks", detector, "--all-faces"]) == 0
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("two*.???")) == [
        "curves/two.face1.png",
        "curves/two.png",
        "overlays/two.face1.png",
        "overlays/two.png",
        "two.face1.npz",
        "two.npz",
    ]
    first, second = HeadFit.load(tmp_path / "two.npz"), HeadFit.load(tmp_path / "two.face1.npz")
    assert first.status.tolist() == [DETECTED] * LENGTH
    seen = [MISSING] * 3 + [DETECTED, DETECTED, INTERPOLATED, DETECTED, DETECTED] + [MISSING] * 4
    assert second.status.tolist() == seen
    keys = ("face", "faces", "track", "span", "frames", "detected", "interpolated", "missing")
    assert [first.report[key] for key in keys] == [0, 3, 1, [0, 12], 12, 12, 0, 0]
    assert [second.report[key] for key in keys] == [1, 3, 0, [3, 8], 12, 4, 1, 7]
    entry = json.loads((tmp_path / "report.json").read_text())["clips"][0]
    (other,) = entry["others"]
    assert (other["name"], Path(other["output"]).name, other["span"]) == (
        "two.face1",
        "two.face1.npz",
        [3, 8],
    )
    assert (entry["name"], entry["track"]) == ("two", 1)
    told = capsys.readouterr().out
    assert "note: two: face 2 left out: expected a human face" in told
    assert "two.face1.npz: face in 4 of 12 frame(s), 1 interpolated, 7 missing" in told
    assert "--face N takes another" not in told


def test_one_face_by_rank_is_the_same_file(tmp_path, clip, detector):
    words = ["fit", str(clip), "--landmarks", detector, "--no-overlay", "--output"]
    assert main([*words, str(tmp_path / "all"), "--all-faces"]) == 0
    assert main([*words, str(tmp_path / "one"), "--face", "1"]) == 0
    assert (tmp_path / "all/two.face1.npz").read_bytes() == (tmp_path / "one/two.npz").read_bytes()


def test_only_the_span_is_solved(clip, detector, tracks, head):
    found = fit(clip, head=head, landmarks=detector, face=1)
    shown = tracks[1].cut(3, 8)
    alone = fit_landmarks(head, shown.landmarks, SIZE, scores=shown.score)
    assert torch.equal(found.params.shape, alone.params.shape)
    assert torch.equal(found.params.rotation[3:8], alone.params.rotation)
    assert torch.equal(found.camera.center[3:8], alone.camera.center)
    assert torch.equal(found.covariance[3:8], alone.covariance)


def test_the_library_returns_one_fit_for_each_face(clip, detector, head):
    assert headwarp.fit_all is fit_all
    found = fit_all(clip, head=head, landmarks=detector)
    assert [fit.report["span"] for fit in found] == [[0, 12], [3, 8]]
    assert all(fit.frames == LENGTH for fit in found)


def test_where_nothing_is_a_face_it_says_so(clip, detector, tracks, head, monkeypatch):
    monkeypatch.setitem(
        detect._DETECTORS, "fixed", lambda: type("D", (), {"track": lambda *_, **__: tracks[2:]})
    )
    with pytest.raises(NoFaceError, match="expected a human face"):
        fit_all(clip, head=head, landmarks=detector)


def test_outside_its_span_a_fit_is_missing_and_holds_still(head):
    part = posed_fit(head, [5.0, 10.0])
    part = dataclasses.replace(part, deviation=torch.ones(2, 5 + part.params.expression.shape[1]))
    whole = placed(part, 2, 6)
    assert whole.status.tolist() == [MISSING, MISSING, DETECTED, DETECTED, MISSING, MISSING]
    assert whole.confidence.tolist() == [0, 0, 1, 1, 0, 0]
    expected = part.params.rotation[[0, 0, 0, 1, 1, 1]]
    assert torch.equal(whole.params.rotation, expected)
    for values in (whole.landmarks, whole.covariance, whole.deviation):
        assert torch.isnan(values).flatten(1).all(1).tolist() == [True, True, False, False, True, True]
    assert torch.equal(whole.landmarks[2:4], part.landmarks)
    assert placed(part, 0, 2) is part


def test_one_face_and_all_exclude_each_other(tmp_path, capsys):
    assert main(["fit", "a.png", "--output", str(tmp_path), "--face", "1", "--all-faces"]) == 1
    assert "--face 1 and --all-faces exclude each other" in capsys.readouterr().err


@needs_mediapipe
def test_two_people_in_a_photo(tmp_path):
    small = np.asarray(Image.fromarray(portrait()).resize((180, 180)))
    both = blank(300, 500)
    both[60:240, 10:190], both[:, 200:] = small, portrait()
    photo = write_photo(tmp_path / "two.png", both)
    assert main(["fit", str(photo), "--output", str(tmp_path / "out"), "--all-faces"]) == 0
    large, other = (HeadFit.load(tmp_path / "out" / name) for name in ("two.npz", "two.face1.npz"))
    assert float(large.landmarks[..., 0].mean()) > 250
    assert float(other.landmarks[..., 0].mean()) < 200


@needs_mediapipe
@pytest.mark.slow
def test_a_clip_with_cuts_has_a_track_a_shot(test_data):
    found = fit_all(test_data / "dev/clips/c24_cuts_crowd_noface.mp4")
    shots = [(0, 20), (20, 82), (82, 211), (211, 275)]
    assert all(fit.frames == 275 for fit in found)
    for one in found:
        start, stop = one.report["span"]
        assert any(first <= start and stop <= last for first, last in shots)
        seen = torch.nonzero(one.status == DETECTED).flatten()
        assert (int(seen[0]), int(seen[-1]) + 1) == (start, stop)
        assert bool((one.status[:start] == MISSING).all() and (one.status[stop:] == MISSING).all())
    assert len({one.report["track"] for one in found}) == len(found)
