"""Faces that are hard to find or to follow: tiny, huge, turned, in profile, in a crowd; private footage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from face_pictures import (
    astronaut,
    blank,
    frames_of,
    moved,
    needs_mediapipe,
    noise,
    portrait,
    read_photo,
    sway,
)
from PIL import Image

from headwarp.flame.detect import Detection, detect_faces, track_clip
from headwarp.flame.detect import mediapipe as faces
from headwarp.flame.detect._graphs import Roi, enlarged
from headwarp.flame.detect.tracking import FaceTracker, TrackerConfig, collect_tracks
from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.posing import head_pose

pytestmark = needs_mediapipe
PROFILES = ["c14_profile_to_front_glasses", "c17_strong_yaw", "c22_stage_small_face_profile"]


def mean_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first[:468, :2] - second[:468, :2], axis=1).mean())


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


# --- sizes ---


@pytest.mark.parametrize(("size", "percent"), [(25, 2.5), (48, 1.2), (3000, 0.5)])
def test_faces_of_25_and_of_3000_pixels(size: int, percent: float) -> None:
    image = np.ascontiguousarray(astronaut()[10:190, 140:310])  # the head, so that 3,000 px fit into memory
    (native,) = detect_faces(image)
    factor = size / native.size
    (found,) = detect_faces(scaled(image, factor))
    assert found.confirmed
    assert found.size == pytest.approx(size, rel=0.1)
    assert mean_distance(found.landmarks / factor, native.landmarks) < percent / 100 * native.size


def test_a_tiny_face_in_a_large_picture() -> None:
    small = scaled(portrait(), 30 / detect_faces(portrait())[0].size)
    image = blank(720, 1280)
    height, width = small.shape[:2]
    image[500 : 500 + height, 900 : 900 + width] = small
    (found,) = detect_faces(image)
    inside = detect_faces(small)[0].landmarks + np.float32([900, 500, 0])
    assert mean_distance(found.landmarks, inside) < 0.05 * 30


def test_a_tiny_face_is_followed() -> None:
    factor = 25 / detect_faces(portrait())[0].size
    (track,) = track_clip([scaled(frame, factor) for frame in sway(8)])
    (native,) = track_clip(sway(8))
    assert track.present.all()
    assert mean_distance(track.points[-1] / factor, native.points[-1]) < 0.03 * 25 / factor


def test_enlarging_keeps_the_region_in_place() -> None:
    ramp = np.tile(np.arange(40, dtype=np.uint8)[:, None, None] * 5, (1, 40, 3))  # grey 5 y
    larger, roi = enlarged(ramp, Roi(20, 10, 30, 0.3), resolution=192)
    factor = len(larger) // len(ramp)
    assert factor == 7
    assert (roi.x, roi.y, roi.side, roi.angle) == (20 * factor, 10 * factor, 30 * factor, 0.3)
    rows = np.arange(70, 210)
    at = (rows + 0.5) / factor - 0.5  # pixel centres at + 0.5
    np.testing.assert_allclose(larger[rows, 100, 0], 5 * at, atol=1.0)
    assert enlarged(ramp, Roi(20, 10, 130), resolution=192)[0] is ramp
    assert len(enlarged(ramp, Roi(20, 10, 0.5), resolution=192)[0]) == 40 * 16


# --- the other way up ---


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_faces_that_lie_or_stand_on_their_heads(quarters: int) -> None:
    image = portrait()
    base = detect_faces(image)[0]
    (found,) = detect_faces(np.ascontiguousarray(np.rot90(image, quarters)))
    x, y = base.landmarks[:, 0], base.landmarks[:, 1]
    turned = {1: (y, 300 - x), 2: (300 - x, 300 - y), 3: (300 - y, x)}[quarters]
    assert mean_distance(found.landmarks, np.stack(turned, axis=1)) < 0.02 * base.size
    assert found.confirmed


def test_a_clip_that_lies_on_its_side_is_one_track() -> None:
    (track,) = track_clip([np.ascontiguousarray(np.rot90(frame)) for frame in sway(6)])
    assert track.present.all()


def test_an_upright_face_is_left_alone() -> None:
    image = portrait()
    landmarks, score = faces.mesh_at_box(image, faces.find_boxes(image)[0])
    np.testing.assert_array_equal(faces.upright(image, landmarks, score)[0], landmarks)
    absent = (landmarks, 0.1)
    assert faces.upright(image, *absent) == absent


def test_noise_has_no_face_whichever_way_it_is_turned() -> None:
    assert faces.find_turned(noise(200, 300)) == []


# --- nothing crosses from clip to clip ---


def test_interleaved_trackers_answer_as_if_alone() -> None:
    clips = [
        sway(5),
        [moved(frame, -20, 0) for frame in sway(5, step=-4)],
        [np.concatenate([frame, frame[:, ::-1]], axis=1) for frame in sway(5)],
        [blank(90, 90)] * 5,
    ]
    alone = [track_clip(clip) for clip in clips]
    trackers = [FaceTracker() for _ in clips]
    for time in range(5):
        for tracker, clip, tracks in zip(trackers, clips, alone, strict=True):
            found = {face.track: face.landmarks for face in tracker.step(clip[time])}
            expected = {track.number: track.landmarks[time] for track in tracks if track.present[time]}
            assert found.keys() == expected.keys()
            assert all(np.array_equal(found[number], expected[number]) for number in expected)


@pytest.mark.slow
def test_the_order_of_clips_does_not_matter(test_data: Path) -> None:
    clips = {name: frames_of(test_data / f"dev/clips/{name}.mp4")[:30] for name in PROFILES}
    first = {name: track_clip(clip) for name, clip in clips.items()}
    for name in reversed(PROFILES):
        for again, track in zip(track_clip(clips[name]), first[name], strict=True):
            assert (again.number, again.span) == (track.number, track.span)
            np.testing.assert_array_equal(again.points, track.points)


# --- private pictures ---


@pytest.mark.parametrize(
    ("name", "count", "confirmed"),
    [
        ("dev/photos/p08_full_profile.jpg", 1, 1),
        ("dev/photos/p16_two_small_faces.jpg", 2, 2),
        ("dev/photos/p17_cut_face.jpg", 1, 1),
        ("dev/photos/p18_group_six.jpg", 6, 6),
        ("dev/photos/p19_stage_small_face.png", 1, 1),
        ("dev/photos/p20_no_face_grass.jpg", 0, 0),
        ("ood/o03_terracotta.jpg", 1, 1),
        ("ood/o08_dog.jpg", 1, 0),
        ("ood/o10_cat.jpg", 0, 0),
    ],
)
def test_hard_photos(test_data: Path, name: str, count: int, confirmed: int) -> None:
    found: list[Detection] = detect_faces(read_photo(test_data / name))
    assert (len(found), sum(face.confirmed for face in found)) == (count, confirmed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c08_fullbody_small_face", "c23_taichi_tiny_face", *PROFILES])
@pytest.mark.parametrize("max_faces", [1, 4])
def test_hard_clips_are_one_track_throughout(test_data: Path, name: str, max_faces: int) -> None:
    frames = frames_of(test_data / f"dev/clips/{name}.mp4")
    (track,) = collect_tracks(FaceTracker(TrackerConfig(max_faces=max_faces)), frames)
    assert track.confirmed
    assert track.present.all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "low", "high"),
    list(zip(PROFILES, (-50, 20, -20), (0, 50, 54), strict=True)),
)
def test_profiles_are_fitted_as_turned_as_they_are(test_data: Path, name: str, low: int, high: int) -> None:
    head, clip = load_head("builtin"), test_data / f"dev/clips/{name}.mp4"
    (track,) = track_clip(frames_of(clip))
    fit = fit_landmarks(head, track.landmarks, track.size, scores=track.score)
    yaw = head_pose(fit.params)[:, 0]
    assert float(yaw.min()) == pytest.approx(low, abs=8)
    assert float(yaw.max()) == pytest.approx(high, abs=8)
    assert fit.report["reprojection_percent_iod"] < 1.6


@pytest.mark.slow
def test_no_track_crosses_a_cut(test_data: Path) -> None:
    tracks = track_clip(frames_of(test_data / "dev/clips/c24_cuts_crowd_noface.mp4"))
    for cut in (20, 82, 211):
        assert not any(track.span[0] < cut < track.span[1] for track in tracks)
