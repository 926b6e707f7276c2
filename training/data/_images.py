"""Photos: decoding into upright 8-bit RGB, and encoding."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import MediaError
from ._frames import to_uint8_frame
from .atomic import atomic_path
from .provenance import Provenance, jpeg_metadata, png_metadata, write_sidecar

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

# Named, so that no decoder which runs another program (EPS) or only sniffs a header (MPEG) is ever tried.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
    struct.error,
    zlib.error,
    MemoryError,
    OverflowError,
)
_ORIENTATION = 0x0112  # EXIF tag
_CLOCKWISE_DEG = {3: 180, 4: 180, 5: 270, 6: 90, 7: 90, 8: 270}
_TRANSPOSE = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF value -> PIL.Image.Transpose
_LARGE_READ = 1 << 20  # bytes
_GREY = 128  # what shows through transparent pixels


@dataclass(frozen=True)
class ScaledImage:
    """A photo and how much it was reduced.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        scale: longer side of ``image`` over the longer side of the upright photo, at most 1.
        full_size: (height, width) of the upright photo, in pixels.
    """

    image: NDArray[np.uint8]
    scale: float
    full_size: tuple[int, int]


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a photo as upright 8-bit RGB.

    PNG, JPEG, WebP, BMP, TIFF, GIF, PPM and AVIF (of an animation or a multi-page file, the first picture).
    The EXIF orientation is applied, grey and palette pictures become RGB, transparency shows mid-grey (128),
    16-bit values are scaled to 8, floats are taken as [0, 1], an embedded colour profile is converted to
    sRGB.

    Args:
        path: the file.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        MediaError: missing, empty, truncated, no picture, a folder, or over 178 megapixels; one sentence.
    """
    return read_image_limited(path).image


def read_image_limited(path: str | os.PathLike[str], *, max_side: int | None = None) -> ScaledImage:
    """:func:`read_image`, reduced so that the longer side is at most ``max_side`` pixels.

    The reduction averages areas (no aliasing, no ringing); a JPEG is already decoded at a half, quarter or
    eighth where that is enough. A smaller photo is left as it is.

    Args:
        path: the file.
        max_side: longest side of the result in pixels; None keeps the photo's size.

    Returns:
        The picture, the scale and the size before.

    Raises:
        MediaError: as :func:`read_image`; or ``max_side`` is below 1.
    """
    if max_side is not None and max_side < 1:
        raise MediaError(f"max_side: expected at least 1 pixel, got {max_side}.")
    from PIL.Image import Resampling

    with open_image(path) as image:
        width, height = upright_size(image)
        if max_side is not None and max_side < max(width, height):
            image.draft(None, _reduced_size(image.size, max_side))
        image.load()
        rgb = _srgb(_flatten(_upright(image)), image.info.get("icc_profile"))
        if max_side is not None and max_side < max(width, height):
            rgb = rgb.resize(_reduced_size((width, height), max_side), Resampling.BOX)
        scale = max(rgb.size) / max(width, height)
        return ScaledImage(np.array(rgb, dtype=np.uint8), scale, (height, width))


def _reduced_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    factor = max_side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


class _SizedFile(io.BufferedReader):
    """A file of which no more can be asked than there is: a read allocates what it is asked for."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < _LARGE_READ:
            return super().read(size)
        return super().read(min(size, max(0, self._size - self.tell())))


@contextlib.contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """The opened picture; what goes wrong with it inside the block becomes a MediaError of one sentence."""
    from PIL import Image, UnidentifiedImageError

    check_file(path)
    name = os.fspath(path)
    try:
        Image.init()
        formats = [name for name in _FORMATS if name in Image.OPEN]
        with _SizedFile(path) as file:
            with warnings.catch_warnings():
                # 89 to 178 megapixels: a large photo
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(file, formats=formats)
            with image:
                yield image
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise MediaError(f"{name}: has more than {limit} megapixels; reduce it first.") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name}: is not a picture that can be read (PNG, JPEG, WebP, BMP, TIFF)."
        ) from error
    except _DECODE_ERRORS as error:
        raise MediaError(f"{name}: is a damaged or truncated picture ({error}).") from error


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise MediaError unless ``path`` is a readable file that is not empty."""
    name = os.fspath(path)
    try:
        if os.path.isdir(path):
            raise MediaError(f"{name}: is a folder; name a file in it.")
        with open(path, "rb") as file:
            if not file.read(1):
                raise MediaError(f"{name}: is empty (0 bytes).")
    except FileNotFoundError as error:
        raise MediaError(f"{name}: no such file (sought in {Path(path).absolute().parent}).") from error
    except (OSError, ValueError) as error:
        raise MediaError(
            f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error})."
        ) from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) once the EXIF orientation is applied."""
    width, height = image.size
    return (height, width) if rotation_deg(image) in (90, 270) else (width, height)


def rotation_deg(image: Image.Image) -> int:
    """Clockwise turn that EXIF asks for: 0, 90, 180 or 270 (mirrored orientations by their turn)."""
    return _CLOCKWISE_DEG.get(_orientation(image), 0)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _DECODE_ERRORS:  # damaged EXIF: the pixels are still good
        return 1


def to_rgb_array(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of an opened picture's current frame, without EXIF rotation or colour profile."""
    return np.array(_flatten(image), dtype=np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    from PIL import Image

    method = _TRANSPOSE.get(_orientation(image))
    return image if method is None else image.transpose(Image.Transpose(method))


def _flatten(image: Image.Image) -> Image.Image:
    """RGB of any mode: wide integers and floats scaled, transparency over mid-grey."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        values = values * 255 if image.mode == "F" else values / 257  # 16 bits: 65535 / 257 = 255
        return Image.fromarray((values.clip(0, 255) + 0.5).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (_GREY, _GREY, _GREY, 255))
        return Image.alpha_composite(backdrop, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _srgb(rgb: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from the embedded RGB profile (a phone's Display P3, Adobe RGB) to sRGB."""
    if not profile or profile[16:20] != b"RGB " or b"sRGB" in profile or b"s\0R\0G\0B" in profile:
        return rgb
    import io

    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(rgb, source, ImageCms.createProfile("sRGB")) or rgb
    except (ImageCms.PyCMSError, OSError):  # a broken profile: the pixels are still good
        return rgb


def write_image(
    path: str | os.PathLike[str],
    image: NDArray[np.uint8] | Tensor,
    *,
    provenance: Provenance | None = None,
) -> None:
    """Write a picture as PNG (lossless) or JPEG (quality 95, full colour resolution), whole or not at all.

    Args:
        path: ends in ``.png``, ``.jpg`` or ``.jpeg``; missing parent folders are made.
        image: (H, W, 3) uint8 RGB array, or (3, H, W) tensor: uint8, or floats in [0, 1] (clipped, rounded).
        provenance: what to say about the making: inside the file and in ``NAME.ext.json``. None says nothing.

    Raises:
        MediaError: unknown suffix, or ``image`` is not as described or holds NaN.
        HeadwarpError: the file cannot be written.
    """
    from PIL import Image

    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise MediaError(
            f"{os.fspath(path)}: expected a name in .png, .jpg or .jpeg, got {suffix or 'no suffix'!r}."
        )
    picture = Image.fromarray(to_uint8_frame(image))
    with atomic_path(path) as temporary:
        if suffix == ".png":
            info = png_metadata(provenance) if provenance else None
            picture.save(temporary, format="PNG", compress_level=4, pnginfo=info)
        else:
            extra = jpeg_metadata(provenance) if provenance else {}
            picture.save(temporary, format="JPEG", quality=95, subsampling=0, **extra)
    if provenance:
        write_sidecar(path, provenance)
