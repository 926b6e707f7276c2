"""Faces of pictures: the mesh on given regions, the search, detectors by name; tracks: test_detect_tracks."""

from __future__ import annotations

import importlib
import math
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from face_pictures import (
    astronaut,
    blank,
    moved,
    needs_mediapipe,
    noise,
    portrait,
)

from headwarp.flame import detect
from headwarp.flame.detect import detect_faces, get_detector
from headwarp.flame.detect import mediapipe as faces
from headwarp.flame.detect._graphs import (
    Roi,
    _mends,
    block_mean,
    crop_to_roi,
    engine,
    landmark_points,
    load_mediapipe,
    turn,
)
from headwarp.geom.errors import HeadwarpError, MissingDependencyError, ShapeError

NOSE, RIGHT_EYE, LEFT_EYE, CHIN = 1, 33, 263, 152
ASTRONAUT_EYES = ((204, 104), (246, 106))  # subject's right and left, px


def mean_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first[:468, :2] - second[:468, :2], axis=1).mean())


# --- regions ---


def test_block_mean_is_the_rounded_mean() -> None:
    image = noise(25, 34)
    for block in (1, 2, 3, 17):
        rows, columns = 25 // block, 34 // block
        whole = image[: rows * block, : columns * block].reshape(rows, block, columns, block, 3)
        expected = np.floor(whole.astype(np.float64).mean(axis=(1, 3)) + 0.5)
        np.testing.assert_array_equal(block_mean(image, block), expected)


def test_turn_is_clockwise_in_the_picture() -> None:
    np.testing.assert_allclose(turn(np.array([[1.0, 0.0]]), math.pi / 2), [[0.0, 1.0]], atol=1e-12)


@pytest.mark.parametrize("roi", [Roi(50, 40, 30), Roi(5, 5, 40, 0.7), Roi(-500, 40, 30), Roi(50, 40, 5000)])
def test_crop_keeps_the_region_in_place(roi: Roi) -> None:
    image = noise(80, 100)
    crop, local, offset, block = crop_to_roi(image, roi, resolution=256)
    assert crop.flags["C_CONTIGUOUS"]
    assert min(crop.shape[:2]) >= 1
    np.testing.assert_allclose(np.array([local.x, local.y]) * block + offset, [roi.x, roi.y])
    assert local.side * block == pytest.approx(roi.side)


def test_tiles_cover_the_picture() -> None:
    covered = np.zeros((70, 130), int)
    for tile in faces.tiles(blank(70, 130), share=0.5):
        x0, y0, x1, y1 = (round(edge) for edge in tile.bounds())
        assert min(x0, y0) >= 0
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1


def test_same_face_takes_overlap_and_containment() -> None:
    box = np.array([0.0, 0.0, 10.0, 10.0])
    assert faces.iou(box, box) == pytest.approx(1.0)
    assert faces.iou(box, box + 20) == 0.0
    assert faces.same_face(box, box + 2)
    assert faces.same_face(box, np.array([3.0, 3.0, 6.0, 6.0]))
    assert not faces.same_face(box, box + 8)


# --- one picture ---


@needs_mediapipe
def test_astronaut_is_found_where_she_is() -> None:
    (face,) = detect_faces(astronaut())
    assert face.landmarks.shape == (478, 3)
    assert face.landmarks.dtype == np.float32
    assert face.confirmed
    assert face.score > 0.99
    for index, eye in zip((RIGHT_EYE, LEFT_EYE), ASTRONAUT_EYES, strict=True):
        assert np.linalg.norm(face.landmarks[index, :2] - eye) < 15
    assert face.landmarks[CHIN, 1] > face.landmarks[NOSE, 1]
    assert face.landmarks[NOSE, 2] < face.landmarks[CHIN, 2]  # the nose is nearer
    np.testing.assert_array_equal(face.box[:2], face.landmarks[:, :2].min(axis=0))


@needs_mediapipe
@pytest.mark.filterwarnings("ignore")
def test_mesh_equals_mediapipes_own_solution() -> None:
    import mediapipe

    image = astronaut()
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as solution:
        points = solution.process(image).multi_face_landmarks[0].landmark
    expected = np.array([(p.x * 512, p.y * 512, p.z * 512) for p in points])
    box = engine().boxes(image, faces.whole(image), short_range=True)[0]
    landmarks, score = engine().mesh(image, faces.roi_from_box(box), smooth=False)
    np.testing.assert_allclose(landmarks, expected, atol=0.02)
    assert score > 0.99


@needs_mediapipe
def test_answers_are_identical_whatever_came_before() -> None:
    first = detect_faces(astronaut())[0]
    detect_faces(noise(200, 300))
    detect_faces(moved(portrait(), 40, 0))
    second = detect_faces(astronaut())[0]
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    assert first.score == second.score


@needs_mediapipe
def test_landmarks_move_with_the_picture_and_scale_with_it() -> None:
    image = portrait()
    base = detect_faces(image)[0].landmarks
    shifted = detect_faces(moved(image, 20, 10))[0].landmarks
    assert mean_distance(shifted - np.float32([20, 10, 0]), base) < 1.0
    double = detect_faces(np.repeat(np.repeat(image, 2, axis=0), 2, axis=1))[0].landmarks
    assert mean_distance(double / 2, base) < 1.0
    assert np.abs(double[:, 2] / 2 - base[:, 2]).max() < 6


@needs_mediapipe
def test_two_faces_come_largest_first_and_once_each() -> None:
    import skimage.transform

    small = skimage.transform.resize(portrait(), (220, 220), anti_aliasing=True, preserve_range=True)
    image = blank(300, 620)
    image[:, 320:] = portrait()
    image[40:260, 40:260] = small.astype(np.uint8)
    large, little = detect_faces(image)
    assert large.confirmed
    assert little.confirmed
    assert large.box[0] > 310 > little.box[2]
    assert large.size > little.size
    assert len(detect_faces(image, max_faces=1)) == 1


@needs_mediapipe
def test_small_face_in_a_large_picture_is_found_on_tiles() -> None:
    image = blank(900, 1600, 90)
    image[500:650, 1200:1350] = portrait()[::2, ::2]
    assert not engine().boxes(image, Roi(800, 450, 6000))
    (face,) = detect_faces(image)
    assert face.confirmed
    assert 1200 < face.box[0] < face.box[2] < 1350


@needs_mediapipe
def test_turned_face_is_found() -> None:
    import skimage.transform

    image = skimage.transform.rotate(portrait(), 35, preserve_range=True, mode="edge").astype(np.uint8)
    (face,) = detect_faces(image)
    right, left = face.landmarks[RIGHT_EYE], face.landmarks[LEFT_EYE]
    assert math.degrees(math.atan2(left[1] - right[1], left[0] - right[0])) == pytest.approx(-33, abs=6)


@needs_mediapipe
@pytest.mark.parametrize("image", [blank(240, 320), blank(240, 320, 0), noise(240, 320)])
def test_pictures_without_a_face(image: np.ndarray) -> None:
    assert detect_faces(image) == []
    assert detect.redetect(image) is None


@needs_mediapipe
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (1, 400), (400, 1), (33, 1001)])
def test_tiny_and_odd_pictures_are_survived(size: tuple[int, int]) -> None:
    assert detect_faces(noise(*size)) == []
    assert detect.segment_person(noise(*size)).shape == size


@needs_mediapipe
def test_views_and_read_only_pictures_are_taken() -> None:
    image = portrait()
    image.flags.writeable = False
    (mirrored,) = detect_faces(image[:, ::-1])
    (plain,) = detect_faces(image)
    assert mirrored.landmarks[NOSE, 0] == pytest.approx(300 - plain.landmarks[NOSE, 0], abs=3)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"expected uint8 \(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ],
)
def test_wrong_pictures_are_refused(image: np.ndarray, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        detect.check_image(image)


@needs_mediapipe
def test_redetection_near_a_known_place() -> None:
    image = portrait()
    known = detect_faces(image)[0]
    shifted = moved(image, 8, -5)
    for place in (known.landmarks, known.landmarks[:, :2], known.box):
        landmarks, score = detect.landmarks_in_roi(shifted, place)
        assert score > 0.9
        assert mean_distance(landmarks - np.float32([8, -5, 0]), known.landmarks) < 1.0
    assert detect.landmarks_in_roi(blank(300, 300), known.landmarks)[1] < 0.5
    assert mean_distance(detect.redetect(image).landmarks, known.landmarks) == 0.0


@needs_mediapipe
def test_redetection_refuses_other_places() -> None:
    with pytest.raises(ShapeError, match=r"expected \(478, 2\|3\) or \(4,\), got \(68, 2\)"):
        detect.landmarks_in_roi(portrait(), np.zeros((68, 2)))
    with pytest.raises(ShapeError, match="skip frames without a face"):
        detect.landmarks_in_roi(portrait(), np.full(4, np.nan))


@needs_mediapipe
def test_real_faces_are_stable_and_confirmed() -> None:
    landmarks = detect_faces(portrait())[0].landmarks
    assert detect.instability(portrait(), landmarks) < 0.05
    assert faces.is_confirmed(portrait(), landmarks)
    assert detect.instability(noise(300, 300), landmarks) == 1.0
    assert not faces.is_confirmed(blank(300, 300), landmarks)


@needs_mediapipe
def test_nothing_is_written_to_stderr() -> None:
    code = (
        "from headwarp.flame.detect import detect_faces, segment_person; import os, skimage.data; "
        "image = skimage.data.astronaut(); detect_faces(image); "
        "segment_person(image); os.write(2, b'kept')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "kept"


@needs_mediapipe
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_process_says_so_instead_of_hanging() -> None:
    code = (
        "import os, skimage.data; from headwarp.flame.detect import detect_faces; "
        "from headwarp.geom.errors import HeadwarpError\n"
        "image = skimage.data.astronaut(); detect_faces(image); child = os.fork()\n"
        "if child:\n    os.waitpid(child, 0)\n"
        "else:\n    try:\n        detect_faces(image)\n"
        "    except HeadwarpError as error:\n        print(error, flush=True)\n    os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "'spawn' method" in done.stdout


@needs_mediapipe
def test_threads_share_the_graphs_safely() -> None:
    pictures = [portrait(), moved(portrait(), 30, 0)] * 4
    alone = [detect_faces(picture)[0].landmarks for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = [found[0].landmarks for found in pool.map(detect_faces, pictures)]
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first, second)


class Message:
    """Stands for a landmark list of protobuf: points (x, y, z) and, where given, a visibility."""

    def __init__(self, points: np.ndarray, visibility: float | None = None) -> None:
        self.landmark = [SimpleNamespace(x=x, y=y, z=z) for x, y, z in points.tolist()]
        self._rows = [struct.pack("<BfBfBf", 0x0D, x, 0x15, y, 0x1D, z) for x, y, z in points.tolist()]
        if visibility is not None:
            self._rows = [row + struct.pack("<Bf", 0x25, visibility) for row in self._rows]

    def SerializeToString(self) -> bytes:
        return b"".join(bytes([0x0A, len(row)]) + row for row in self._rows)


@pytest.mark.parametrize("visibility", [None, 0.5])
def test_landmarks_are_read_from_their_wire_form_or_one_by_one(visibility) -> None:
    points = np.random.default_rng(0).normal(size=(17, 3)).astype(np.float32)
    np.testing.assert_array_equal(landmark_points(Message(points, visibility)), points)
    assert landmark_points(Message(points[:0])).shape == (0, 3)


@needs_mediapipe
def test_the_wire_form_is_what_mediapipe_writes() -> None:
    from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList

    points = np.random.default_rng(0).normal(size=(17, 3)).astype(np.float32)
    message = NormalizedLandmarkList()
    for x, y, z in points.tolist():
        message.landmark.add(x=x, y=y, z=z)
    assert message.SerializeToString() == Message(points).SerializeToString()
    np.testing.assert_array_equal(landmark_points(message), points)


# --- registry, other detectors ---


def test_registry_names_and_refusals() -> None:
    assert {"mediapipe", "face-alignment"} <= set(detect.detector_names())
    with pytest.raises(HeadwarpError, match=r"expected one of .*mediapipe.* got 'dlib'"):
        get_detector("dlib")
    with pytest.raises(HeadwarpError, match="already registered"):
        detect.register_detector("mediapipe", lambda: None)
    assert all(hasattr(detect, name) for name in detect.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = detect.nonsense


def test_import_is_light() -> None:
    code = "import sys, headwarp.flame.detect as d; print(*sorted({'mediapipe', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mediapipe" not in done.stdout


def test_missing_mediapipe_says_how_to_get_it(monkeypatch) -> None:
    def absent(name):
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingDependencyError, match=r"libGL\.so\.1.*`headwarp doctor` says what mends it"):
        load_mediapipe.__wrapped__()
    nowhere = ModuleNotFoundError("No module named 'mediapipe'")
    assert _mends(nowhere, (3, 12)) == "pip install 'mediapipe==0.10.21'"
    assert "pip" not in _mends(nowhere, (3, 13))
