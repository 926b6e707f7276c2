"""What a clip is and how it is read: whole, in part, damaged, or not a clip at all."""

from __future__ import annotations

import base64
import csv
import os
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import Colorspace
from media_files import (
    decode_clip,
    mean_error,
    moving_frames,
    picture,
    tone,
    write_clip,
    write_photo,
    write_sound,
)
from PIL import Image

from headwarp.geom.errors import MediaError
from headwarp.training.data.media import (
    MediaInfo,
    VideoReader,
    VideoWriter,
    exact_fps,
    list_images,
    probe,
)


@pytest.mark.parametrize(
    "fps", [Fraction(24000, 1001), Fraction(10), Fraction(2997, 100), Fraction(30000, 1001)]
)
def test_frame_rate_is_exact_in_both_directions(tmp_path: Path, fps: Fraction) -> None:
    assert probe(write_clip(tmp_path / "in.mp4", moving_frames(12), fps=fps)).fps == fps
    with VideoWriter(tmp_path / "out.mp4", fps) as writer:
        for frame in moving_frames(12):
            writer.write(frame)
    info = probe(tmp_path / "out.mp4")
    assert (info.fps, info.frames) == (fps, 12)
    assert info.duration == pytest.approx(float(12 / fps), abs=1e-3)


def test_frames_of_an_animation_are_due_when_those_before_have_been_shown(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture(32, 40, seed=seed)) for seed in range(4)]
    durations = [100, 40, 400, 100]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=durations)
    for start, due in ((0, [0.0, 0.1, 0.14, 0.54]), (2, [0.14, 0.54])):
        with VideoReader(tmp_path / "a.gif", start=start) as reader:
            assert [reader.time for _ in reader] == pytest.approx(due)


def test_exact_fps() -> None:
    assert exact_fps(24000 / 1001) == Fraction(24000, 1001)
    assert exact_fps(29.97) == Fraction(2997, 100)
    assert exact_fps(10) == Fraction(10)
    assert exact_fps(Fraction(640000, 33813)) == Fraction(640000, 33813)
    for bad in (0, -1, float("nan"), float("inf"), 2000.0):
        with pytest.raises(MediaError, match="fps: expected a number above 0"):
            exact_fps(bad)


def test_probe_of_a_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(10), audio_seconds=0.4)
    assert probe(path) == MediaInfo("video", 128, 96, Fraction(25), 10, 0.4, 0, True)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("flip", [False, True])
def test_rotation_and_mirroring_are_applied(tmp_path: Path, rotation: int, flip: bool) -> None:
    path = write_clip(tmp_path / "a.mp4", [picture()] * 3, rotation=rotation, flip=flip)
    expected = np.rot90(picture(), rotation // 90)  # counter-clockwise
    expected = expected[:, ::-1] if flip else expected
    with VideoReader(path) as reader:
        frames = list(reader)
    assert (reader.info.height, reader.info.width) == expected.shape[:2] == frames[0].shape[:2]
    assert mean_error(frames[0], expected) < 3
    if not flip:
        assert reader.info.rotation == -rotation % 360


def test_non_square_pixels_are_displayed_square(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert next(iter(reader)).shape == (96, 192, 3)
    assert probe(tmp_path / "a.mp4").width == 192


def test_frames_match_a_plain_decoder_and_can_be_read_twice(tmp_path: Path) -> None:
    frames = moving_frames(20)
    path = write_clip(tmp_path / "a.mp4", frames)
    with VideoReader(path) as reader:
        first, second = list(reader), list(reader)
        assert (reader.damaged, reader.truncated) == (0, None)
    assert len(first) == 20
    np.testing.assert_array_equal(first, second)
    for ours, plain, truth in zip(first, decode_clip(path), frames, strict=True):
        assert mean_error(ours, plain) < 2.5
        assert mean_error(ours, truth) <= mean_error(plain, truth)
        assert abs((ours.astype(float) - truth).mean()) < 0.3  # the plain decoder is darker by 1


def test_start_stop_stride_with_and_without_seeking(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(90), key_every=20)
    with VideoReader(path) as reader:
        whole = list(reader)
    for start, stop, stride in (
        (0, 5, 1),
        (3, None, 7),
        (10, 40, 3),
        (60, 80, 1),
        (61, None, 2),
        (89, 500, 1),
    ):
        with VideoReader(path, start=start, stop=stop, stride=stride) as reader:
            np.testing.assert_array_equal(list(reader), whole[start:stop:stride])


def test_range_errors(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(5))
    for arguments in ({"start": -1}, {"stride": 0}, {"start": 3, "stop": 3}):
        with pytest.raises(MediaError, match="expected 0 <= start < stop and stride >= 1"):
            VideoReader(path, **arguments)
    for start in (5, 60):
        with pytest.raises(MediaError, match=f"ends before frame {start}"):
            list(VideoReader(path, start=start))


@pytest.mark.parametrize(("size", "matrix"), [((96, 128), "ITU601"), ((720, 1280), "ITU709")])
def test_untagged_colours_are_taken_as_players_do(tmp_path: Path, size: tuple[int, int], matrix: str) -> None:
    truth = picture(*size)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        frame = av.VideoFrame.from_ndarray(truth, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace[matrix])
        frame.colorspace = 2  # unspecified
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / "a.mp4") as reader:
        (read,) = reader
    assert mean_error(read, truth) < 2  # the other matrix: above 5


def test_variable_frame_rate(tmp_path: Path) -> None:
    times = np.cumsum([20, 33, 70, 100] * 5)
    path = write_clip(tmp_path / "a.mp4", moving_frames(20), pts_ms=times.tolist())
    with VideoReader(path) as reader:
        frames = list(reader)
    assert len(frames) == 20
    assert reader.truncated is None
    assert float(reader.info.fps) == pytest.approx(20 / reader.info.duration, rel=0.01)
    with VideoWriter(tmp_path / "b.mp4", reader.info.fps) as writer:
        for frame in frames:
            writer.write(frame)
    assert probe(tmp_path / "b.mp4").duration == pytest.approx(reader.info.duration, rel=0.01)


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_rate_that_a_recording_does_not_keep_is_counted(tmp_path: Path, suffix: str) -> None:
    """Matroska and WebM of a browser state one rate and hold another."""
    codec = {"mkv": "libx264", "webm": "libvpx"}[suffix]
    kept, slower = tmp_path / f"kept.{suffix}", tmp_path / f"slower.{suffix}"
    write_clip(kept, moving_frames(12), codec=codec, pts_ms=[round(1000 * n / 25) for n in range(12)])
    write_clip(slower, moving_frames(12), codec=codec, pts_ms=np.cumsum([60, 190] * 6).tolist())
    assert probe(kept).fps == 25
    with VideoReader(slower) as reader:
        assert float(reader.info.fps) == pytest.approx(11 / 1.44, rel=0.01)
        assert len(list(reader)) == 12


def test_reader_holds_one_frame_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25) as writer:
        for index in range(300):
            writer.write(np.full((64, 64, 3), index % 256, np.uint8))
    tracemalloc.start()
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 300
    assert peak < 20 * 64 * 64 * 3 + 500_000  # all frames would be 3.7 MB


def test_leaving_early_closes_the_file(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(30))
    with VideoReader(path) as reader:
        frames = iter(reader)
        next(frames)
    assert next(frames, None) is None
    descriptors = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(path) not in descriptors


def test_truncated_clip_gives_what_is_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(60))
    data = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 7 // 10])
    with VideoReader(tmp_path / "cut.mp4") as reader:
        count = len(list(reader))
    assert 5 < count < 60
    assert reader.info.frames == 60
    assert reader.truncated.startswith("The clip ends after ")
    assert reader.truncated.endswith("its header states 2.40 s.")
    (tmp_path / "stump.mp4").write_bytes(data[: data.index(b"mdat") + 40])
    with pytest.raises(MediaError, match="no frame of the clip can be decoded"):
        VideoReader(tmp_path / "stump.mp4")
    (tmp_path / "header.mp4").write_bytes(data[:60])
    with pytest.raises(MediaError, match="is not a photo or clip"):
        VideoReader(tmp_path / "header.mp4")


def test_truncated_matroska(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "a.mkv", moving_frames(60)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 7 // 10])
    with VideoReader(tmp_path / "cut.mkv") as reader:
        assert 5 < len(list(reader)) < 60
    assert reader.truncated is not None


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(60), key_every=10)
    data = bytearray(path.read_bytes())
    for share in (0.4, 0.6):
        at = int(len(data) * share)
        data[at : at + 600] = bytes(600)
    (tmp_path / "bad.mp4").write_bytes(data)
    with VideoReader(tmp_path / "bad.mp4") as reader:
        count = len(list(reader))
        damaged = reader.damaged
        list(reader)
        assert reader.damaged == damaged  # of one pass, not of all
    assert damaged > 0
    assert 30 < count <= 60


def test_noise_in_place_of_packets(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "a.mp4", moving_frames(60)).read_bytes())
    half = len(data) // 2
    data[half:] = np.random.default_rng(0).integers(0, 256, len(data) - half, dtype=np.uint8).tobytes()
    (tmp_path / "bad.mp4").write_bytes(data)
    with VideoReader(tmp_path / "bad.mp4") as reader:
        count = len(list(reader))
    assert 5 < count < 55
    assert reader.damaged >= 55 - count


def test_files_that_are_no_clips(tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 500)
    (tmp_path / "text.txt").write_text("hello " * 500)  # a demuxer would draw it as a terminal
    write_clip(tmp_path / "real.mp4", moving_frames(3))
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile real.mp4\n")
    write_sound(tmp_path / "sound.m4a", 0.5)
    write_sound(tmp_path / "sound.wav", 0.5, codec="pcm_s16le")
    cases = {
        "zero.mp4": "is empty",
        "text.mp4": "is not a photo or clip",
        "text.txt": "is not a photo or clip",
        "list.m3u8": "is not a photo or clip",
        "concat.mp4": "is not a photo or clip",
        "sound.m4a": r"has no video stream \(sound only\)",
        "sound.wav": r"has no video stream \(sound only\)",
        "missing.mp4": "no such file",
        "none/*.png": "holds no pictures",
    }
    for name, text in cases.items():
        for action in (probe, VideoReader):
            with pytest.raises(MediaError, match=text):
                action(tmp_path / name)


def test_cover_picture_of_a_sound_file_is_no_clip(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 96, 128, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(frame))
        samples = av.AudioFrame.from_ndarray(tone(0.5)[None], format="fltp", layout="mono")
        samples.sample_rate = 44100
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    with pytest.raises(MediaError, match=r"has no video stream \(sound only\)"):
        probe(tmp_path / "a.m4a")


# Two squares of 64 x 64 in one HEIC file, as telephones keep the tiles of a photo; nothing here writes such.
TILES = (
    "c-muNV30{GsVvAy%}izhg51nBLl8SRGck>Ufw3hwwIq=N0u(b+a*CjAhJwuG5(YG2l9`haHpIn&fr)_;#9~|lp@BdWC<YQa2p5q6"
    "VvEeoyfiQmBr6K!q(YQ2Fl3Y^8#15>G9d){3NlM_8K5c|?q(Jg6#(h&nFY!DK)M2`%$boHBs2l6NbUo}pT9qTFfi~lCjfOwI56@s"
    "{{IhBzzkBs3_^0dm>d#;lG;v;jA$|o6dGBlz4Fvtm&YW<!vPXH0U|gYl7Q;jT^J7*ZBTLmS|gmCpHq~VoKpc5=4D`O01Am@78j&K"
    "J?sF*0tJ~BnIHjX4h{~G>oN;+VWA8RIF?2xW)=n}2*to)nVXUb3Tsgf#`W9@zm6Te{{L6t?yoZ(FKv2j4f3K0T;kus{Tp5C4UTVl"
    "djJ4+iCxh"
)


def test_a_picture_in_tiles_is_not_taken_for_its_first(tmp_path: Path) -> None:
    path = tmp_path / "phone.heic"
    path.write_bytes(zlib.decompress(base64.b85decode(TILES)))
    with pytest.raises(MediaError, match=r"phone\.heic: is an HEIC picture in tiles.*save it as JPEG"):
        probe(path)


def test_folder_and_pattern_of_pictures(tmp_path: Path) -> None:
    frames = moving_frames(12)
    for index, frame in enumerate(frames):
        write_photo(tmp_path / f"frame{index}.png", frame)
    (tmp_path / ".hidden.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in list_images(tmp_path)][:3] == ["frame0.png", "frame1.png", "frame2.png"]
    for source in (tmp_path, tmp_path / "frame*.png"):
        with VideoReader(source, start=1, stride=2) as reader:
            np.testing.assert_array_equal(list(reader), frames[1::2])
        assert reader.info == MediaInfo("video", 128, 96, None, 12, None, 0, False)
    (tmp_path / "frame0.png").write_bytes(b"broken")
    (tmp_path / "frame5.png").write_bytes((tmp_path / "frame6.png").read_bytes()[:200])
    with VideoReader(tmp_path) as reader:
        assert len(list(reader)) == 10
    assert reader.damaged == 2
    write_photo(tmp_path / "frame7.png", picture(64, 64))
    with pytest.raises(
        MediaError, match=r"frame7\.png: expected 128 x 96 like the first picture, got 64 x 64"
    ):
        list(VideoReader(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds no pictures"):
        VideoReader(tmp_path / "empty")


def test_photo_and_animation_as_clips(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.png", picture(), orientation=6)
    with VideoReader(photo) as reader:
        (frame,) = reader
    assert frame.shape == (128, 96, 3)
    assert reader.info.kind == "photo"
    frames = [Image.fromarray(frame) for frame in moving_frames(5)]
    for name in ("a.gif", "a.webp", "b.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40, **options)
        with VideoReader(tmp_path / name, stop=4) as reader:
            read = list(reader)
        assert (len(read), reader.info.frames, reader.info.fps) == (4, 5, 25)
        assert mean_error(read[3], moving_frames(5)[3]) < 8


def test_size_that_changes_midway_is_scaled_to_the_first(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.h264", moving_frames(5)).read_bytes()
    large = write_clip(tmp_path / "b.h264", moving_frames(5, 192, 256)).read_bytes()
    (tmp_path / "c.h264").write_bytes(small + large)
    with VideoReader(tmp_path / "c.h264") as reader:
        assert {frame.shape for frame in reader} == {(96, 128, 3)}


def test_all_test_clips_and_photos_probe() -> None:
    root = os.environ.get("HEADWARP_TEST_DATA")
    if not root or not Path(root, "dev", "clips").is_dir():
        pytest.skip("HEADWARP_TEST_DATA is not set, or has no dev/clips")
    with open(Path(root, "dev", "MANIFEST.csv"), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 50
    for row in rows:
        info = probe(Path(root, "dev", row["name"]))
        assert f"{info.width}x{info.height}" == row["size"], row["name"]
        assert info.kind == ("video" if row["kind"] == "clip" else "photo")
        if info.kind == "video":
            assert info.frames == int(row["frames"])
            assert float(info.fps) == pytest.approx(float(row["fps"]), abs=0.01)
            assert info.has_audio == (row["audio"] == "1")
