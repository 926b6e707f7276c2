"""Region maps that the user brings: pictures whose pixels are class numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from ...geom.errors import HeadwarpError, MediaError, ShapeError
from ...geom.face_regions import FaceRegion
from ..params import HeadFit
from .regions import RegionMap, check_inputs, soft_head

SUFFIX = ".png"
_BLUR = 0.004  # of the picture's shorter side: softens the outline


@dataclass
class ClassMaps:
    """Class maps from a file, or from a folder with one for every frame.

    A map is a PNG of 8 bits with one channel (grey, or a palette whose numbers count and colours do not) and
    the numbers of `FaceRegion`. The files of a folder are taken in the order of the number that ends their
    names: the first is frame 0; numbers that leave a gap are refused.

    Attributes:
        path: a file, which stands for every frame, or a folder.

    Raises:
        MediaError: no such file, no maps in the folder, or numbers missing.
    """

    path: Path

    def __post_init__(self) -> None:
        if self.path.is_dir():
            self._files = _numbered(self.path)
        elif self.path.is_file():
            self._files = [self.path]
        else:
            raise MediaError(f"{self.path}: no such class map; name a {SUFFIX} or a folder of them")

    def segment(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        *,
        fit: HeadFit | None = None,
        frame: int = 0,
        person: Float[np.ndarray, "H W"] | None = None,
    ) -> RegionMap:
        """As `RegionSegmenter.segment`, from the file of this frame; the fit and the mask are not looked at.

        Raises:
            HeadwarpError: no file for this frame.
            MediaError: a file that is no class map.
            ShapeError: one of another size than the picture.
        """
        check_inputs(image, None, frame, person)
        files = self._files
        if self.path.is_dir() and not 0 <= frame < len(files):
            raise HeadwarpError(
                f"{self.path}: expected a class map for frame {frame}, got {len(files)} files"
            )
        path = files[frame] if self.path.is_dir() else files[0]
        labels = read_class_map(path)
        if labels.shape != image.shape[:2]:
            expected = f"{image.shape[1]} x {image.shape[0]}"
            raise ShapeError(
                f"{path}: expected the picture's size, {expected}, got "
                f"{labels.shape[1]} x {labels.shape[0]}; resize it without blending (nearest neighbour)"
            )
        soft = soft_head(labels, sigma=max(0.7, _BLUR * min(labels.shape)))
        return RegionMap(labels, soft, f"class map {path.name}")


def read_class_map(path: Path) -> UInt8[np.ndarray, "H W"]:
    """The numbers of a class map.

    Raises:
        MediaError: unreadable, of other than 8 bits and one channel, or with numbers above 18.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            mode = picture.mode
            values = np.array(picture) if mode in ("L", "P", "1") else None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path}: cannot be read as a class map: {error}") from error
    if values is None:
        raise MediaError(
            f"{path}: expected one channel of 8 bits with class numbers, got a picture of mode {mode}; "
            "colours are not class numbers"
        )
    labels = values.astype(np.uint8)
    if labels.size and labels.max() > max(FaceRegion):
        raise MediaError(
            f"{path}: expected class numbers 0 to {max(FaceRegion):d} of the 19 face regions, got "
            f"{int(labels.max())}; a mask of 0 and 255 is no class map"
        )
    return labels


def _numbered(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and path.is_file()]
    if not files:
        raise MediaError(f"{folder}: expected class maps ({SUFFIX}), one a frame, got none")
    numbers: dict[int, Path] = {}
    for path in sorted(files):
        found = re.search(r"(\d+)$", path.stem)
        if found is None:
            raise MediaError(
                f"{path}: expected a name that ends in the frame's number, such as 00012{SUFFIX}"
            )
        if int(found[1]) in numbers:
            raise MediaError(f"{path}: the frame of {numbers[int(found[1])].name} too; one map a frame")
        numbers[int(found[1])] = path
    first, last = min(numbers), max(numbers)
    absent = [number for number in range(first, last + 1) if number not in numbers][:5]
    if absent:
        raise MediaError(f"{folder}: expected class maps numbered {first} to {last}, got none of {absent}")
    return [numbers[number] for number in range(first, last + 1)]
