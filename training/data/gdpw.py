"""Clips as the authors of [PWM] prepared them: pictures with FLAME's vertices already posed in them.

``ROOT/PERSON/VIDEO/START#END/NNNNNNN_img.jpg`` and beside it ``NNNNNNN_posed_vertx.lz4``: an LZ4 frame of the
type and the shape of an array in numpy's numbers (int32) and of its values, ``(V, 3)``. Nothing in it is run.

Their vertices are in pixels whose centres are whole numbers, and their depth is in halves of the crop that
DECA saw, 1.25 face sizes, while the picture is 1.35. Read, they are in our convention: centres at +0.5, depth
in pixels. (Their network took the numbers as if corners were whole: half a pixel beside the picture.)
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...geom.errors import MediaError
from ...geom.guidance import Driving, Source
from ._lz4 import decompress
from .media import read_image
from .portrait import to_image

FLAME_VERTICES = 5023
DECA_CROP, PICTURE_CROP = 1.25, 1.35  # face sizes that DECA and the picture see
_LIMIT = 4 << 20  # bytes of an array; FLAME's takes 60 kB
_IMAGE, _VERTICES = "_img.jpg", "_posed_vertx.lz4"
_TYPES = {np.dtype(name).num: np.dtype(f"<{name}") for name in ("f2", "i2", "f4")}  # of what they write


@dataclass(frozen=True)
class GdpwClip:
    """A clip of the tree.

    Attributes:
        path: its folder.
        person: clips of one person may be paired in training.
        video: the video it was cut from.
        start, end: frames of that video; None where the folder's name does not say.
        frames: the numbers of its frames as their names have them, sorted.
    """

    path: Path
    person: str
    video: str
    start: int | None
    end: int | None
    frames: tuple[str, ...]


@dataclass(frozen=True)
class GdpwFrame:
    """A picture and the mesh in it.

    Attributes:
        image: RGB.
        verts: posed vertices in pixels, depth in pixel units (smaller is nearer), ``(1, V, 3)``.
    """

    image: UInt8[NDArray[np.uint8], "H W 3"]
    verts: Float[Tensor, "1 V 3"]

    def source(self, faces: Int[Tensor, "F 3"]) -> Source:
        """What animators take; ``faces`` are those of the head that was fitted."""
        return Source(image=to_image(self.image), posed_vertices=self.verts, faces=faces)

    def driving(self) -> Driving:
        """What animators take of a driving frame."""
        return Driving(image=to_image(self.image), posed_vertices=self.verts)


def list_gdpw(root: str | os.PathLike[str]) -> tuple[GdpwClip, ...]:
    """The clips of a tree, sorted; folders without pictures are no clips.

    Raises:
        MediaError: no such folder, no clip in it, or a picture without vertices or the other way round.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder (sought in {folder.absolute().parent})")
    places = sorted(path for path in folder.glob("*/*/*") if path.is_dir())
    clips = tuple(clip for clip in map(_clip, places) if clip.frames)
    if not clips:
        raise MediaError(
            f"{folder}: expected PERSON/VIDEO/START#END/NNNNNNN{_IMAGE} in it, found none; "
            "name the folder that holds the persons"
        )
    return clips


def read_frame(clip: GdpwClip, frame: str, *, vertices: int | None = FLAME_VERTICES) -> GdpwFrame:
    """One frame of a clip.

    Args:
        clip: of `list_gdpw`.
        frame: one of ``clip.frames``.
        vertices: how many the mesh must have; None for any.

    Raises:
        MediaError: a file is missing, damaged, or of another kind.
    """
    image = read_image(clip.path / f"{frame}{_IMAGE}")
    path = clip.path / f"{frame}{_VERTICES}"
    values = read_vertices(path)
    if vertices not in (None, len(values)):
        raise MediaError(f"{path}: expected {vertices} vertices, got {len(values)}; they are of another head")
    verts = torch.from_numpy(values)
    depth = verts[:, 2:] * (image.shape[1] / 2 * DECA_CROP / PICTURE_CROP)
    return GdpwFrame(image, torch.cat([verts[:, :2] + 0.5, depth], dim=1)[None])


def read_frames(clip: GdpwClip, *, vertices: int | None = FLAME_VERTICES) -> Iterator[GdpwFrame]:
    """The frames of a clip in order; see `read_frame`."""
    return (read_frame(clip, frame, vertices=vertices) for frame in clip.frames)


def read_vertices(path: str | os.PathLike[str]) -> Float[np.ndarray, "V 3"]:
    """The array of a file as it was written, in float32.

    Raises:
        MediaError: missing, not LZ4, damaged, or no finite array ``(V, 3)``.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _LIMIT else b""
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if size > _LIMIT:
        raise MediaError(f"{path}: expected posed vertices in at most {_LIMIT} bytes, got {size}")
    try:
        array = _array(decompress(data, limit=_LIMIT))
    except MediaError as error:
        raise MediaError(f"{path}: expected posed vertices; {error}") from error
    if not np.isfinite(array).all():
        raise MediaError(f"{path}: expected finite numbers, got NaN or infinity")
    return array


def _array(content: bytes) -> np.ndarray:
    if len(content) < 8:
        raise MediaError(f"expected an array, got {len(content)} bytes")
    code, axes = struct.unpack_from("<2i", content)
    if code not in _TYPES or axes != 2 or len(content) < 16:
        known = ", ".join(kind.name for kind in _TYPES.values())
        raise MediaError(f"expected two axes of {known}, got numpy type number {code} with {axes} axes")
    shape = struct.unpack_from("<2i", content, 8)
    size = len(content) - 16
    if shape[1] != 3 or shape[0] < 1 or math.prod(shape) * _TYPES[code].itemsize != size:
        raise MediaError(f"expected (V, 3), got {shape} with {size} bytes of values")
    return np.frombuffer(content, _TYPES[code], offset=16).reshape(shape).astype(np.float32)


def _clip(path: Path) -> GdpwClip:
    names = [entry.name for entry in path.iterdir()]
    pictures, meshes = (
        {match[1] for name in names if (match := re.fullmatch(rf"(\d+){re.escape(ending)}", name))}
        for ending in (_IMAGE, _VERTICES)
    )
    alone = sorted(pictures ^ meshes)
    if alone:
        missing = _VERTICES if alone[0] in pictures else _IMAGE
        raise MediaError(
            f"{path}: expected {alone[0]}{missing} beside its twin, found none ({len(alone)} such frames); "
            "remove the frame, or copy the clip again"
        )
    numbers = re.fullmatch(r"(\d+)#(\d+)", path.name)
    start, end = (int(numbers[1]), int(numbers[2])) if numbers else (None, None)
    ordered = tuple(sorted(pictures, key=lambda frame: (int(frame), frame)))
    return GdpwClip(path, path.parent.parent.name, path.parent.name, start, end, ordered)
