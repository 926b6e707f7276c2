"""Clips and pictures are written faithfully, with sound in step, whole or not at all."""

from __future__ import annotations

import collections
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media_files import (
    decode_clip,
    mean_error,
    moving_frames,
    picture,
    sound_of,
    tone,
    write_clip,
    write_sound,
)

from headwarp.geom.errors import MediaError
from headwarp.training.data import _video_writer
from headwarp.training.data.media import (
    VideoReader,
    VideoWriter,
    probe,
    read_image,
    write_image,
)
from headwarp.training.data.provenance import Provenance


def visible_and_hidden(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("size", [(96, 128), (720, 1280)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_written_frames_are_read_back_nearly_the_same(
    tmp_path: Path, size: tuple[int, int], suffix: str
) -> None:
    truth = picture(*size)
    with VideoWriter(tmp_path / f"a{suffix}", 25) as writer:
        for _ in range(3):
            writer.write(truth)
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        frames = list(reader)
    assert len(frames) == 3
    assert mean_error(frames[1], truth) < 1.6
    assert np.abs((frames[1].astype(float) - truth).mean(axis=(0, 1))).max() < 0.3


@pytest.mark.parametrize(("size", "matrix"), [((96, 128), 6), ((720, 1280), 1)])
def test_clip_is_tagged_as_players_assume(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(picture(*size))
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (matrix, matrix, matrix)
        assert context.color_range == 1


@pytest.mark.parametrize("size", [(95, 127), (1, 1), (64, 33)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_odd_sizes_are_padded_and_cropped_again(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    truth = picture(*size)
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 25, provenance=Provenance.now("geometry") if size == (1, 1) else None) as writer:
        writer.write(truth)
    (plain,) = decode_clip(path)
    assert plain.shape[:2] == tuple(side + side % 2 for side in size)
    with VideoReader(path) as reader:
        (frame,) = reader
    assert frame.shape == truth.shape
    assert (reader.info.height, reader.info.width) == size
    assert mean_error(frame, truth) < 4


@pytest.mark.parametrize("size", [(96, 144), (96, 192), (96, 128)])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    wall = picture(height, width)
    frames = [np.roll(wall, (3 * k + 40 * (k // 8), 5 * k), (0, 1)) for k in range(16)]
    draw = np.random.default_rng(0)
    made = set()
    for _ in range(12):
        used = [np.full(length, 255, np.uint8) for length in draw.integers(1000, 300000, 20)]
        del used  # memory is not the same each time
        with VideoWriter(tmp_path / "a.mp4", 25) as writer:
            for frame in frames:
                writer.write(frame)
        made.add((tmp_path / "a.mp4").read_bytes())
    assert len(made) == 1


def test_tensors_are_written_like_arrays(tmp_path: Path) -> None:
    image = picture()
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for name, value in (
        ("a", image),
        ("b", tensor),
        ("c", tensor.float() / 255),
        ("d", tensor.double() / 255),
    ):
        write_image(tmp_path / f"{name}.png", value)
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png"), image)
    write_image(tmp_path / "e.png", torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1).requires_grad_())
    assert read_image(tmp_path / "e.png").tolist() == [[[0, 128, 255]]]
    write_image(tmp_path / "f.jpg", tensor)
    assert mean_error(read_image(tmp_path / "f.jpg"), image) < 1


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        torch.zeros(4, 4, 3),
        torch.zeros(1, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.int64),
        torch.full((3, 4, 4), float("nan")),
        [[0]],
    ],
    ids=str,
)
def test_wrong_frames_are_refused(tmp_path: Path, frame: object) -> None:
    with pytest.raises(MediaError, match="frame: "):
        write_image(tmp_path / "a.png", frame)
    with pytest.raises(MediaError, match="frame: "), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(frame)
    assert visible_and_hidden(tmp_path) == []


def test_writer_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    silent = write_clip(tmp_path / "silent.mp4", moving_frames(3))
    cases = (
        ({"path": tmp_path / "a.gif"}, "expected a name in .mp4, .m4v, .mov, .mkv, got '.gif'"),
        ({"path": tmp_path / "a"}, "got no suffix"),
        ({"crf": 60}, "crf: expected 0 to 51, got 60"),
        ({"fps": 0}, "fps: expected a number above 0"),
        ({"audio_from": silent}, "has no sound"),
        ({"audio_from": tmp_path / "missing.wav"}, "no such file"),
        ({"audio_from": silent, "audio_start": -1.0}, "audio_start: expected 0 or more seconds"),
    )
    for change, text in cases:
        arguments = {"path": tmp_path / "a.mp4", "fps": 25, **change}
        with pytest.raises(MediaError, match=text):
            VideoWriter(arguments.pop("path"), arguments.pop("fps"), **arguments)
    with pytest.raises(MediaError, match=r"expected a name in \.png, \.jpg or \.jpeg, got '.webp'"):
        write_image(tmp_path / "a.webp", picture())
    with pytest.raises(MediaError, match="needs the writer's with block"):
        VideoWriter(tmp_path / "a.mp4", 25).write(picture())
    sizes = "expected 128 x 96 like the first one, got 64 x 64"
    with pytest.raises(MediaError, match=sizes), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        collections.deque(map(writer.write, (picture(), picture(64, 64))), maxlen=0)
    assert visible_and_hidden(tmp_path) == ["silent.mp4"]


def test_exception_in_mid_write_leaves_the_older_file(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(3))
    before = path.read_bytes()

    def write_some(error: BaseException) -> None:
        with VideoWriter(path, 25, provenance=Provenance.now("geometry")) as writer:
            for frame in moving_frames(60):
                writer.write(frame)
            assert len(visible_and_hidden(tmp_path)) == 2  # the hidden one is beside
            raise error

    for error in (RuntimeError("stop"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_some(error)
        assert visible_and_hidden(tmp_path) == ["a.mp4"]
        assert path.read_bytes() == before


def test_no_frames_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame was written"), VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert visible_and_hidden(tmp_path) == []


def test_fallback_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_video_writer, "check_encoder", lambda: "mpeg4")
    with VideoWriter(tmp_path / "a.mp4", Fraction(24000, 1001)) as writer:
        for frame in moving_frames(10):
            writer.write(frame)
    with VideoReader(tmp_path / "a.mp4") as reader:
        frames = list(reader)
    assert (reader.info.fps, len(frames)) == (Fraction(24000, 1001), 10)
    assert mean_error(frames[5], moving_frames(10)[5]) < 10


@pytest.mark.parametrize(
    ("name", "start", "expected"),
    [
        ("clip.mp4", 0.0, 1.2),
        ("clip.mp4", 0.5, 1.2),
        ("a.wav", 0.0, 1.2),
        ("a.wav", 1.5, 0.5),
        ("a.m4a", 0.0, 1.2),
    ],
)
def test_sound_is_kept_and_trimmed(tmp_path: Path, name: str, start: float, expected: float) -> None:
    write_clip(tmp_path / "clip.mp4", moving_frames(50), audio_seconds=2.0)
    write_sound(tmp_path / "a.wav", 2.0, codec="pcm_s16le")
    write_sound(tmp_path / "a.m4a", 2.0)
    with VideoWriter(tmp_path / "out.mp4", 25, audio_from=tmp_path / name, audio_start=start) as writer:
        for frame in moving_frames(30):
            writer.write(frame)
    assert probe(tmp_path / "out.mp4").has_audio
    samples, rate = sound_of(tmp_path / "out.mp4")
    assert len(samples) / rate == pytest.approx(expected, abs=0.06)
    middle = slice(round(0.1 * rate), round(0.4 * rate))
    reference = tone(0.3 + 1, rate=rate)
    shifts = range(round(rate / 440) + 1)  # the phase depends on the start
    matches = [
        np.corrcoef(samples[middle], reference[s : s + middle.stop - middle.start])[0, 1] for s in shifts
    ]
    assert max(matches) > 0.98
    assert np.abs(samples[middle]).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("name", "codec"), [("click.wav", "pcm_s16le"), ("click.m4a", "aac")])
def test_sound_stays_in_step(tmp_path: Path, name: str, codec: str) -> None:
    """A click at 1.0 s of the source is at 0.6 s of a clip that begins at 0.4 s, to a few samples."""
    samples = np.zeros(44100 * 2, np.int16)
    samples[44100 : 44100 + 200] = 20000
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for start in (0.0, 0.4):
        with VideoWriter(tmp_path / "out.mp4", 25, audio_from=tmp_path / name, audio_start=start) as writer:
            for frame in moving_frames(40):
                writer.write(frame)
        heard, rate = sound_of(tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as container:
            first = next(container.decode(audio=0)).time
        onset = np.flatnonzero(np.abs(heard) > 0.3)[0] / rate + first
        assert onset == pytest.approx(1.0 - start, abs=0.002)


def test_sound_shorter_than_the_clip(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", 0.5, codec="pcm_s16le")
    with VideoWriter(tmp_path / "out.mp4", 25, audio_from=tmp_path / "a.wav") as writer:
        for frame in moving_frames(50):
            writer.write(frame)
    samples, rate = sound_of(tmp_path / "out.mp4")
    assert len(samples) / rate == pytest.approx(0.5, abs=0.06)
    assert probe(tmp_path / "out.mp4").frames == 50
