"""Faces of clips: tracks that cuts end, faces that come and go, the tracker by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from face_pictures import blank, moved, needs_mediapipe, portrait, sway

from headwarp.flame.detect import Detection, Track, detect_faces, track_clip
from headwarp.flame.detect.tracking import FaceTracker, TrackerConfig, collect_tracks, difference
from headwarp.geom.errors import HeadwarpError, NoFaceError, ShapeError

NOSE = 1


def mean_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first[:468, :2] - second[:468, :2], axis=1).mean())


@needs_mediapipe
def test_moving_face_is_one_track() -> None:
    (track,) = track_clip(iter(sway(20)))
    assert track.landmarks.shape == (20, 478, 3)
    assert track.present.all()
    assert track.confirmed
    assert (track.size, track.span, track.family) == ((300, 300), (0, 20), "mediapipe")
    nose = track.landmarks[:, NOSE, 0] - track.landmarks[0, NOSE, 0]
    assert np.abs(nose - 3 * np.arange(20)).max() < 1.5
    single = detect_faces(sway(20)[15])[0]
    assert mean_distance(track.landmarks[15], single.landmarks) < 0.02 * single.size


@needs_mediapipe
def test_same_clip_gives_identical_bits_in_any_order() -> None:
    clip, other = sway(6), [moved(frame, -20, 0) for frame in sway(6, step=-4)]
    first = track_clip(clip)[0].landmarks
    track_clip(other)
    np.testing.assert_array_equal(track_clip(clip)[0].landmarks, first)
    one, two = FaceTracker(), FaceTracker()
    mixed = []
    for frame, strange in zip(clip, other, strict=True):
        mixed.append(one.step(frame)[0].landmarks)
        two.step(strange)
    np.testing.assert_array_equal(np.stack(mixed), first)


@needs_mediapipe
def test_two_people_are_two_tracks() -> None:
    frames = [np.concatenate([moved(portrait(), 2 * t, 0), portrait()], axis=1) for t in range(8)]
    tracks = track_clip(frames)
    assert len(tracks) == 2
    assert all(track.present.all() and track.confirmed for track in tracks)
    assert tracks[0].extent >= tracks[1].extent
    centres = sorted(float(track.landmarks[-1, NOSE, 0]) for track in tracks)
    assert centres[0] < 300 < centres[1]
    assert len(track_clip(frames, max_faces=1)) == 1
    assert track_clip(frames, face=1)[0].extent == tracks[1].extent


@needs_mediapipe
def test_quick_nod_leaves_no_lag() -> None:
    frames = [moved(portrait(), 0, 14 * abs((t + 3) % 6 - 3)) for t in range(13)]
    (track,) = track_clip(frames)
    base = detect_faces(frames[0])[0]
    for t, frame in enumerate(track.landmarks):
        still = frame - np.float32([0, 14 * abs((t + 3) % 6 - 3), 0])
        assert mean_distance(still, base.landmarks) < 0.015 * base.size


@needs_mediapipe
def test_face_that_comes_back_continues_its_track() -> None:
    clip = sway(12, step=1)
    for frame in clip[4:8]:
        frame[30:230, 70:240] = 120
    (track,) = track_clip(clip)
    assert track.present.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    assert np.isnan(track.landmarks[5]).all()
    assert track.score[5] == 0


@needs_mediapipe
def test_face_that_comes_late_is_found_at_once() -> None:
    (track,) = track_clip([blank(300, 300)] * 7 + sway(5))
    assert track.span == (7, 12)


@needs_mediapipe
def test_camera_cut_ends_the_track() -> None:
    after = np.ascontiguousarray(255 - portrait()[::-1])
    after[60:210, 100:250] = portrait()[::2, ::2]
    tracks = track_clip(sway(6) + [after] * 6)
    assert sorted(track.span for track in tracks) == [(0, 6), (6, 12)]


@needs_mediapipe
def test_flash_is_no_cut() -> None:
    clip = sway(8)
    clip[4] = np.clip(clip[4].astype(int) + 60, 0, 255).astype(np.uint8)
    (track,) = track_clip(clip)
    assert track.present.all()


@needs_mediapipe
def test_clip_without_a_face() -> None:
    assert track_clip([blank(64, 64)] * 3) == []
    assert track_clip([]) == []
    with pytest.raises(NoFaceError, match="face 0: the clip has 0 face track"):
        track_clip([blank(64, 64)], face=0)
    with pytest.raises(NoFaceError, match="numbered 0 to 0"):
        track_clip(sway(2), face=3)


@needs_mediapipe
def test_tracker_keeps_no_frame_and_refuses_misuse() -> None:
    with FaceTracker(TrackerConfig(max_faces=1)) as tracker:
        (face,) = tracker.step(portrait())
        assert face.track == 0
        with pytest.raises(ShapeError, match=r"expected \(H, W\) \(300, 300\) as the clip's first frame"):
            tracker.step(blank(64, 64))
    with pytest.raises(HeadwarpError, match="closed"):
        tracker.step(portrait())


def test_difference_tells_cuts_from_light() -> None:
    picture = np.random.default_rng(1).uniform(0, 255, (16, 16)).astype(np.float32)
    other = np.random.default_rng(2).uniform(0, 255, (16, 16)).astype(np.float32)
    assert difference(picture, picture) == 0
    assert difference(picture, picture + 30) == pytest.approx(0, abs=1e-6)
    assert difference(picture, other) > 0.7
    assert difference(np.zeros_like(picture), np.full_like(picture, 90)) == 0


def test_track_properties() -> None:
    points = np.linspace(0, 10, 68, dtype=np.float32)[None, :, None].repeat(3, axis=2)  # (1, 68, 3)
    track = Track(np.array([1]), points, np.array([0.9], np.float32), 3, True, (20, 30))
    assert (track.family, track.span, track.extent) == ("ibug68", (1, 2), 10.0)
    assert track.present.tolist() == [False, True, False]
    np.testing.assert_array_equal(track.landmarks[1], points[0])
    assert np.isnan(track.landmarks[[0, 2]]).all()
    np.testing.assert_array_equal(track.score, np.array([0, 0.9, 0], np.float32))
    np.testing.assert_array_equal(track.boxes[1], [0, 0, 10, 10])
    empty = replace(track, frames=np.zeros(0, int), points=points[:0], scores=track.scores[:0])
    assert (empty.span, empty.extent) == ((0, 0), 0.0)


def test_a_part_of_a_track_is_a_clip_of_its_own() -> None:
    points = np.arange(3 * 68 * 3, dtype=np.float32).reshape(3, 68, 3)
    track = Track(np.array([4, 5, 9]), points, np.ones(3, np.float32), 20, True, (20, 30), number=3)
    part = track.cut(*track.span)
    assert (part.length, part.frames.tolist(), part.number) == (6, [0, 1, 5], 3)
    np.testing.assert_array_equal(part.landmarks, track.landmarks[4:10])
    assert track.cut(6, 9).span == (0, 0)


def test_tracks_of_any_length_are_gathered_whole_with_gaps_and_in_order() -> None:
    class Tracker:
        """Face 7 in all frames but 100, face 3 in the last two."""

        time = -1

        def step(self, frame: np.ndarray) -> list[Detection]:
            self.time += 1
            numbers = [7] * (self.time != 100) + [3] * (self.time >= 148)
            return [
                Detection(np.full((68, 3), self.time + number, np.float32), 0.5, np.zeros(4), False, number)
                for number in numbers
            ]

    short, long = sorted(collect_tracks(Tracker(), [blank(8, 9)] * 150), key=lambda track: track.number)
    assert (short.number, short.frames.tolist(), short.length) == (3, [148, 149], 150)
    assert (long.number, long.span, len(long.frames), long.size) == (7, (0, 150), 149, (8, 9))
    np.testing.assert_array_equal(long.points[:, 0, 0], np.delete(np.arange(150), 100) + 7)
    np.testing.assert_array_equal(short.points[:, 5, 2], [151, 152])
