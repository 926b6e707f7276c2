"""Frames that are converted where they are looked at: bit for bit the parts of the whole frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from face_pictures import needs_mediapipe, sway
from media_files import moving_frames, write_clip, write_photo

from headwarp.flame.detect import reads_parts, track_clip
from headwarp.flame.detect._picture import LazyPicture
from headwarp.geom.errors import MediaError
from headwarp.training.data import _video_reader
from headwarp.training.data._partial_frame import PartialFrame
from headwarp.training.data.media import VideoReader


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch):
    monkeypatch.setattr(_video_reader, "_LARGEST_WHOLE", 0)


def encoded(path: Path, frames: list[np.ndarray], *, codec: str = "ffv1", form: str = "yuv420p") -> Path:
    """A clip in a pixel format, at a quality that keeps its noise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = form
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def both(path: Path) -> tuple[np.ndarray, PartialFrame | np.ndarray]:
    with VideoReader(path) as reader:
        return next(iter(reader)), next(reader.in_parts())


def assert_parts_equal(whole: np.ndarray, frame: PartialFrame) -> None:
    rng = np.random.default_rng(0)
    height, width = whole.shape[:2]
    boxes = [(0, 20, 0, 30), (height - 31, height, width - 27, width), (5, 6, 7, 8)]
    for _ in range(12):
        top, left = rng.integers(0, height - 2), rng.integers(0, width - 2)
        boxes.append((top, rng.integers(top + 1, height), left, rng.integers(left + 1, width)))
    for top, bottom, left, right in boxes:
        part = frame[top:bottom, left:right]
        assert part.dtype == np.uint8
        np.testing.assert_array_equal(part, whole[top:bottom, left:right])


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_parts_are_those_of_the_whole_frame(tmp_path, form):
    whole, frame = both(encoded(tmp_path / "c.mkv", moving_frames(2, 96, 134), form=form))
    assert isinstance(frame, PartialFrame)
    assert isinstance(frame, LazyPicture)
    assert frame.shape == whole.shape
    assert_parts_equal(whole, frame)
    np.testing.assert_array_equal(np.asarray(frame), whole)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_parts_of_turned_and_mirrored_frames(tmp_path, rotation, flip):
    clip = write_clip(tmp_path / "c.mp4", moving_frames(1, 96, 134), rotation=rotation, flip=flip)
    whole, frame = both(clip)
    assert isinstance(frame, PartialFrame)
    assert_parts_equal(whole, frame)


def test_frames_that_cannot_be_cut_come_whole(tmp_path):
    odd = encoded(tmp_path / "odd.mkv", moving_frames(1, 95, 133))
    rgb = encoded(tmp_path / "rgb.mkv", moving_frames(1), form="bgr0")
    photo = write_photo(tmp_path / "p.png", moving_frames(1)[0])
    for path in (odd, rgb, photo):
        whole, frame = both(path)
        assert isinstance(frame, np.ndarray)
        np.testing.assert_array_equal(frame, whole)


def test_small_frames_come_whole(tmp_path, monkeypatch):
    monkeypatch.undo()
    _, frame = both(write_clip(tmp_path / "c.mp4", moving_frames(1)))
    assert isinstance(frame, np.ndarray)


def test_slices_are_those_of_an_array(tmp_path):
    whole, frame = both(write_clip(tmp_path / "c.mp4", moving_frames(1)))
    np.testing.assert_array_equal(frame[-20:, :30], whole[-20:, :30])
    np.testing.assert_array_equal(frame[10:500, 100:500], whole[10:500, 100:500])
    assert frame[50:40, 0:10].shape == (0, 10, 3)
    with pytest.raises(IndexError, match="expected slices with step 1, got 2 and 1"):
        frame[::2, :]


def test_sampling_is_about_every_nth_pixel(tmp_path):
    smooth = [np.kron(moving_frames(1, 12, 16)[0], np.ones((8, 8, 1), np.uint8))]
    whole, frame = both(encoded(tmp_path / "c.mkv", smooth, form="yuv444p"))
    small = frame.sampled(8)
    assert small.shape == (12, 16, 3)
    assert np.abs(small.astype(int) - whole[4::8, 4::8]).max() <= 3


def test_a_pass_in_parts_tells_of_damage_as_a_plain_one(tmp_path):
    path = write_clip(tmp_path / "c.mp4", moving_frames(30), key_every=5)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(bytes(data[: int(0.8 * len(data))]))
    with VideoReader(path) as reader:
        plain = [(frame, reader.time) for frame in reader]
        told = (reader.damaged, reader.truncated)
        assert all(told)
        parts = [(np.asarray(frame), reader.time) for frame in reader.in_parts()]
        assert (reader.damaged, reader.truncated) == told
    assert [time for _, time in parts] == [time for _, time in plain]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(parts, plain, strict=True))
    with VideoReader(path, start=500) as reader, pytest.raises(MediaError, match="ends before frame 500"):
        next(reader.in_parts())


def test_which_detectors_read_parts(tmp_path):
    np.save(tmp_path / "points.npy", np.zeros((1, 68, 2)))
    assert reads_parts("mediapipe")
    assert reads_parts(tmp_path / "points.npy")
    assert not reads_parts("face-alignment")


@needs_mediapipe
def test_faces_are_followed_in_parts_as_in_whole_frames(tmp_path):
    wide = [np.pad(frame, ((0, 100), (200, 100), (0, 0)), mode="edge") for frame in sway(6)]
    path = write_clip(tmp_path / "c.mp4", wide)
    with VideoReader(path) as reader:
        (whole,) = track_clip(reader)
        (parts,) = track_clip(reader.in_parts())
    np.testing.assert_array_equal(parts.points, whole.points)
