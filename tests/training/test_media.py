"""Photos and clips in and out: exact where they can be, clear where they cannot."""

from __future__ import annotations

import collections
import csv
import json
import os
import struct
import tracemalloc
import zlib
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
    write_photo,
    write_sound,
)
from PIL import Image, ImageCms

from headwarp.geom.errors import HeadwarpError, MediaError
from headwarp.training.data import _video_writer
from headwarp.training.data.atomic import atomic_path, write_json
from headwarp.training.data.media import (
    MediaInfo,
    VideoReader,
    VideoWriter,
    exact_fps,
    list_images,
    probe,
    read_image,
    read_image_limited,
    write_image,
)
from headwarp.training.data.provenance import Provenance


def visible_and_hidden(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# ---- photos ----


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp", "a.ppm"])
def test_lossless_photo_is_read_exactly(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    path = write_photo(tmp_path / name, picture(), **options)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(image, picture())
    assert probe(path) == MediaInfo("photo", 128, 96, None, 1, None, 0, False)


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"),
    [(1, 0, 0), (2, 0, 1), (3, 2, 0), (4, 2, 1), (5, 1, 1), (6, 3, 0), (7, 3, 1), (8, 1, 0)],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, turns: int, mirrored: int) -> None:
    stored = picture()
    path = write_photo(tmp_path / "a.png", stored, orientation=orientation)
    upright = np.rot90(stored[:, ::-1] if mirrored else stored, turns)  # counter-clockwise
    np.testing.assert_array_equal(read_image(path), upright)
    info = probe(path)
    assert (info.height, info.width) == upright.shape[:2]
    assert info.rotation == (360 - 90 * turns) % 360


def test_grey_palette_and_wide_modes(tmp_path: Path) -> None:
    grey = picture()[..., 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "i16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "i16.tiff")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "f.tiff")
    for name in ("l.png", "i16.png", "i16.tiff", "f.tiff"):
        np.testing.assert_array_equal(read_image(tmp_path / name), grey[..., None].repeat(3, axis=2), name)
    Image.fromarray(picture()).quantize(8).save(tmp_path / "p.png")
    expected = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), expected)
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert mean_error(read_image(tmp_path / "cmyk.jpg"), picture()) < 4
    Image.fromarray(grey > 128).save(tmp_path / "1.png")
    assert set(np.unique(read_image(tmp_path / "1.png"))) == {0, 255}


def test_transparency_shows_mid_grey(tmp_path: Path) -> None:
    rgba = np.dstack([picture(), np.full((96, 128), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image[:10] == 128).all()
    np.testing.assert_array_equal(image[10:], picture()[10:])
    palette = Image.fromarray(np.zeros((4, 4), np.uint8), mode="P")
    palette.save(tmp_path / "p.png", transparency=0)
    assert (read_image(tmp_path / "p.png") == 128).all()


def test_colour_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    lab_free = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_photo(tmp_path / "srgb.png", picture(), icc_profile=lab_free)
    np.testing.assert_array_equal(read_image(tmp_path / "srgb.png"), picture())
    write_photo(tmp_path / "bad.png", picture(), icc_profile=b"x" * 16 + b"RGB " + b"y" * 200)
    np.testing.assert_array_equal(read_image(tmp_path / "bad.png"), picture())


def test_twelve_megapixels_and_reduction(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(picture(750, 1000)).resize((4000, 3000)))
    path = write_photo(tmp_path / "large.jpg", large, quality=90, orientation=6)
    result = read_image_limited(path, max_side=1000)
    assert result.image.shape == (1000, 750, 3)
    assert result.scale == pytest.approx(0.25)
    assert result.full_size == (4000, 3000)
    assert mean_error(result.image, np.rot90(picture(750, 1000), -1)) < 1.0
    assert read_image(path).shape == (4000, 3000, 3)


def test_reduction_averages_areas_and_leaves_small_photos(tmp_path: Path) -> None:
    path = write_photo(
        tmp_path / "a.png", (np.indices((8, 8)).sum(0) % 2 * 200)[..., None].repeat(3, 2).astype(np.uint8)
    )
    assert (read_image_limited(path, max_side=4).image == 100).all()
    small = read_image_limited(path, max_side=100)
    assert (small.scale, small.image.shape) == (1.0, (8, 8, 3))
    with pytest.raises(MediaError, match="max_side: expected at least 1 pixel, got 0"):
        read_image_limited(path, max_side=0)


def giant_png(path: Path) -> Path:
    """A file of 100 bytes that claims 60000 x 60000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )
    return path


def test_bad_photos_are_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture at all\n" * 40)
    for name, options in (("whole.png", {}), ("whole.jpg", {"quality": 95})):
        data = write_photo(tmp_path / name, picture(), **options).read_bytes()
        (tmp_path / name.replace("whole", "cut")).write_bytes(data[: len(data) // 2])
    giant_png(tmp_path / "giant.png")
    cases = {
        "missing.png": "no such file",
        "empty.png": r"is empty \(0 bytes\)",
        "text.png": "is not a picture that can be read",
        "cut.png": "is a damaged or truncated picture",
        "cut.jpg": "is a damaged or truncated picture",
        "giant.png": "has more than 178 megapixels",
        "": "is a folder",
    }
    for name, text in cases.items():
        with pytest.raises(MediaError, match=text) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value), name
        assert str(tmp_path / name) in str(caught.value)


# ---- what a file is ----


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
    assert probe(path) == MediaInfo("video", 128, 96, Fraction(25), 10, pytest.approx(0.4), 0, True)


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


# ---- reading ----


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
    assert reader.damaged > 0
    assert 30 < count <= 60


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


# ---- writing ----


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
    monkeypatch.setattr(_video_writer, "_encoder", lambda: "mpeg4")
    with VideoWriter(tmp_path / "a.mp4", Fraction(24000, 1001)) as writer:
        for frame in moving_frames(10):
            writer.write(frame)
    with VideoReader(tmp_path / "a.mp4") as reader:
        frames = list(reader)
    assert (reader.info.fps, len(frames)) == (Fraction(24000, 1001), 10)
    assert mean_error(frames[5], moving_frames(10)[5]) < 10


# ---- sound ----


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


def test_sound_stays_in_step(tmp_path: Path) -> None:
    """A click at 1.0 s of the source is at 0.6 s of a clip that begins at 0.4 s, to a few samples."""
    samples = np.zeros(44100 * 2, np.int16)
    samples[44100 : 44100 + 200] = 20000
    with av.open(str(tmp_path / "click.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
    for start in (0.0, 0.4):
        with VideoWriter(
            tmp_path / "out.mp4", 25, audio_from=tmp_path / "click.wav", audio_start=start
        ) as writer:
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


# ---- files ----


def test_atomic_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_path(tmp_path / "new" / "a.txt") as temporary:
        assert temporary.parent == tmp_path / "new"
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "new" / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    (tmp_path / "link.txt").symlink_to(tmp_path / "new" / "a.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("through")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "new" / "a.txt").read_text() == "through"
    with pytest.raises(HeadwarpError, match="is a folder, not a file"), atomic_path(tmp_path):
        pass
    with (
        pytest.raises(HeadwarpError, match="cannot be written there"),
        atomic_path(tmp_path / "link.txt" / "a"),
    ):
        pass

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    text = r"a.txt: cannot be written there \(permission denied\)\."
    with pytest.raises(HeadwarpError, match=text), atomic_path(tmp_path / "a.txt"):
        pass


def test_full_disk_is_a_sentence(tmp_path: Path) -> None:
    text = r"writing failed \(no space left on device\)"
    with pytest.raises(HeadwarpError, match=text), atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert visible_and_hidden(tmp_path) == []
    # the block's own trouble stays its own
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()


def test_write_json(tmp_path: Path) -> None:
    content = {
        "nan": float("nan"),
        "array": np.arange(2),
        "scalar": np.float32(0.5),
        "tensor": torch.ones(1),
        "fps": Fraction(24000, 1001),
        "path": Path("a/b"),
        "info": exact_fps(25),
        "tuple": (1, True, None, "ü"),
    }
    write_json(tmp_path / "a.json", content)
    read = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert read == {
        "nan": None,
        "array": [0, 1],
        "scalar": 0.5,
        "tensor": [1.0],
        "fps": "24000/1001",
        "path": "a/b",
        "info": "25",
        "tuple": [1, True, None, "ü"],
    }
    assert list(read) == list(content)
    with pytest.raises(TypeError, match=r"content\['a'\]\[0\]: expected what JSON can hold, got set"):
        write_json(tmp_path / "b.json", {"a": [set()]})
    with pytest.raises(TypeError, match="expected string keys"):
        write_json(tmp_path / "b.json", {1: 2})
    assert visible_and_hidden(tmp_path) == ["a.json"]


# ---- real footage ----


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
