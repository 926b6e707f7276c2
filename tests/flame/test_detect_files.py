"""Landmarks from files and from the package face-alignment (by a stand-in)."""

from __future__ import annotations

import sys
import urllib.error
import warnings
from pathlib import Path

import fake_face_alignment
import numpy as np
import pytest
from face_pictures import blank

from headwarp.flame.detect import detect_faces, get_detector, read_landmarks, track_clip
from headwarp.flame.detect.arrays import track_from_array
from headwarp.geom.errors import HeadwarpError, MissingDependencyError, ShapeError


def some_landmarks(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 100, shape)


def write(folder: Path, landmarks: np.ndarray, kind: str) -> Path:
    path = folder / f"points.{kind}"
    if kind == "npy":
        np.save(path, landmarks)
    elif kind == "npz":
        np.savez(path, landmarks=landmarks, fps=np.array(25.0))
    else:
        rows = [",".join("" if np.isnan(v) else repr(float(v)) for v in row.ravel()) for row in landmarks]
        path.write_text("\n".join(["a,header" + ",x" * (landmarks[0].size - 2), *rows]) + "\n")
    return path


def white(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (120, 200)) -> np.ndarray:
    image = blank(*size, 0)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = 255
    return image


# --- files ---


@pytest.mark.parametrize("kind", ["npy", "npz", "csv"])
@pytest.mark.parametrize("shape", [(3, 68, 2), (3, 68, 3), (3, 468, 3), (3, 478, 2)])
def test_files_are_read_as_they_were_written(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    landmarks = some_landmarks(*shape)
    landmarks[1] = np.nan
    path = write(tmp_path, landmarks, kind)
    np.testing.assert_array_equal(read_landmarks(path), landmarks)
    (track,) = track_clip([blank(40, 50)] * 3, detector=path)
    assert track.present.tolist() == [True, False, True]
    assert track.score.tolist() == [1.0, 0.0, 1.0]
    assert track.size == (40, 50)
    assert track.landmarks.shape == (3, 68 if shape[1] == 68 else 478, 3)
    np.testing.assert_array_equal(
        track.landmarks[0, : min(shape[1], 468), :2], landmarks[0, :468, :2].astype("f4")
    )
    assert track.has_depth == (shape[2] == 3)
    if shape[2] == 2:
        assert (track.landmarks[0, :468, 2] == 0).all()


def test_468_points_have_no_irises() -> None:
    track = track_from_array(some_landmarks(2, 468, 3))
    assert track.present.all()
    assert np.isnan(track.landmarks[:, 468:]).all()
    assert track.family == "mediapipe"
    assert np.isfinite(track.extent)


def test_one_missing_point_makes_the_frame_missing() -> None:
    landmarks = some_landmarks(2, 68, 2)
    landmarks[1, 5, 0] = np.inf
    track = track_from_array(landmarks, score=np.array([0.5, 0.7]))
    assert track.present.tolist() == [True, False]
    assert track.score.tolist() == [0.5, 0.0]
    assert np.isnan(track.landmarks[1]).all()


def test_file_of_one_row_answers_for_a_photo(tmp_path: Path) -> None:
    path = write(tmp_path, some_landmarks(1, 478, 3), "npy")
    (face,) = detect_faces(blank(30, 30), detector=path)
    assert face.landmarks.shape == (478, 3)
    assert face.size == pytest.approx(100, abs=5)
    np.save(path, np.full((68, 2), np.nan))
    assert detect_faces(blank(30, 30), detector=path) == []
    assert track_clip([blank(30, 30)], detector=path) == []


def test_rows_must_match_the_frames(tmp_path: Path) -> None:
    path = write(tmp_path, some_landmarks(3, 68, 2), "npy")
    with pytest.raises(HeadwarpError, match=r"points.npy has 3 rows, the clip 2 frames"):
        track_clip([blank(9, 9)] * 2, detector=path)
    with pytest.raises(HeadwarpError, match=r"has 3 rows, the clip more than 3 frames"):
        track_clip([blank(9, 9)] * 5, detector=path)
    with pytest.raises(HeadwarpError, match="3 rows for one picture"):
        detect_faces(blank(9, 9), detector=path)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadwarpError, match="no file"):
        read_landmarks(tmp_path / "none.npy")
    with pytest.raises(ShapeError, match=r"expected \(T, L, 2 or 3\).*got \(3, 70, 2\)"):
        read_landmarks(write(tmp_path, some_landmarks(3, 70, 2), "npy"))
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(HeadwarpError, match="cannot be read as numbers"):
        read_landmarks(tmp_path / "pickled.npy")
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(HeadwarpError, match="expected a key 'landmarks' or a single array, got a, b"):
        read_landmarks(tmp_path / "two.npz")
    (tmp_path / "ragged.csv").write_text("1,2,3\n1,2\n")
    with pytest.raises(ShapeError, match="got rows of 2, 3 cells"):
        read_landmarks(tmp_path / "ragged.csv")
    (tmp_path / "words.csv").write_text(",".join(["1"] * 136) + "\n" + ",".join(["x"] * 136) + "\n")
    with pytest.raises(HeadwarpError, match="cannot be read as numbers"):
        read_landmarks(tmp_path / "words.csv")
    for name in ("empty.csv", "empty.npy", "junk.npz"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(HeadwarpError, match=name):
            read_landmarks(tmp_path / name)
    (tmp_path / "points.txt").write_text("1")
    with pytest.raises(HeadwarpError, match=r"expected .npy, .npz or .csv, got points.txt"):
        read_landmarks(tmp_path / "points.txt")
    with pytest.raises(ShapeError, match=r"score: expected \(2,\), got \(3,\)"):
        track_from_array(some_landmarks(2, 68, 2), score=np.ones(3))


# --- face-alignment ---


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", fake_face_alignment)


@pytest.mark.usefixtures("stand_in")
def test_face_alignment_points_are_passed_through() -> None:
    large, small = detect_faces(white((10, 20, 50, 90), (120, 30, 150, 60)), detector="face-alignment")
    assert large.landmarks.shape == (68, 3)
    np.testing.assert_allclose(large.box, [10, 20, 50, 90], atol=0.1)
    np.testing.assert_allclose(small.box, [120, 30, 150, 60], atol=0.1)
    assert large.confirmed
    assert large.score == pytest.approx(0.9)
    assert (large.landmarks[:, 2] == 0).all()
    assert len(detect_faces(white((0, 0, 9, 9), (20, 0, 40, 9)), max_faces=1, detector="face-alignment")) == 1


@pytest.mark.usefixtures("stand_in")
def test_face_alignment_is_asked_for_the_visible_contour_on_the_device() -> None:
    network = get_detector("face-alignment")._network
    assert network.arguments == (fake_face_alignment.LandmarksType.TWO_D, "cpu", False)


@pytest.mark.usefixtures("stand_in")
def test_face_alignment_tracks_by_overlap_without_warnings() -> None:
    frames = [white((10 + 4 * t, 20, 60 + 4 * t, 90), (140, 10 + t, 170, 60 + t)) for t in range(6)]
    frames[2] = blank(120, 200, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracks = track_clip(frames, detector="face-alignment")
    assert [track.present.tolist() for track in tracks] == [[True, True, False, True, True, True]] * 2
    assert tracks[0].extent > tracks[1].extent
    assert not tracks[0].has_depth
    assert tracks[0].family == "ibug68"
    np.testing.assert_allclose(tracks[0].boxes[5], [30, 20, 80, 90], atol=0.2)


@pytest.mark.usefixtures("stand_in")
def test_face_alignment_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_face_alignment.FaceAlignment, "points", 98)
    with pytest.raises(ShapeError, match=r"expected \(68, 2\|3\) points, got \(98, 2\)"):
        detect_faces(white((10, 20, 50, 90)), detector="face-alignment")


@pytest.mark.usefixtures("stand_in")
def test_face_alignment_without_its_networks_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(fake_face_alignment, "FaceAlignment", no_network)
    with pytest.raises(MissingDependencyError, match=r"fetches its networks.*not known.*use --landmarks"):
        get_detector("face-alignment")


def test_missing_face_alignment_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'face-alignment>=1.4'"):
        get_detector("face-alignment")
