"""Photos are read exactly where they can be, with a clear sentence where they cannot."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from media_files import (
    mean_error,
    picture,
    write_photo,
)
from PIL import Image, ImageCms

from headwarp.geom.errors import MediaError
from headwarp.training.data.media import (
    MediaInfo,
    probe,
    read_image,
    read_image_limited,
)


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


def linear_profile() -> bytes:
    """An ICC profile with the primaries of sRGB and values in proportion to light."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, 0x0100, 0)  # gamma 1.0
    tags = {
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    header = bytearray(128)
    header[8:40] = struct.pack(">I4s4s4s12x4s", 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    header[68:80] = xyz(0.9642, 1.0, 0.8249)[8:]
    return bytes(header) + table + body


def test_colour_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    image = read_image(write_photo(tmp_path / "linear.png", grey, icc_profile=linear_profile()))
    assert np.abs(image.astype(int) - 188).max() <= 1  # 1.055 * 0.502 ** (1 / 2.4) - 0.055 = 0.737
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_photo(tmp_path / "srgb.png", picture(), icc_profile=srgb)
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
