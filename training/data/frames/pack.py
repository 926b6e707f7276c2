"""Clips as packs of frames: what training reads that needs no face, made once and checked when opened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch.nn.functional as F
from jaxtyping import UInt8

from ....geom.crops import Crop, crop_image
from ....geom.errors import HeadwarpError, MediaError, ModelFileError
from ..atomic import atomic_folder, write_json
from ..pairs.frame_store import FRAMES, WITH_MASKS, check_codec, check_frames, read_frame, write_frames
from ..pairs.index import FILE
from ..pairs.pack import LEAST_FRAMES, ClipLabel
from ..portrait import Frame, to_frame, to_image
from .index import FrameIndex, frame_index_json, read_frame_index

Shape = Literal["crop", "pad", "stretch"]
SHAPES = ("crop", "pad", "stretch")


@dataclass(frozen=True)
class FramePackConfig:
    """How clips are packed.

    Attributes:
        size: side of the frames in pixels.
        codec: ``raw`` or ``jpeg``.
        shape: what becomes of a frame that is no square: its middle square (``crop``), a square around it
            whose rest repeats its border (``pad``), or the whole of it out of proportion (``stretch``, as
            [FOMM]'s code resizes).
    """

    size: int = 256
    codec: str = "raw"
    shape: Shape = "crop"

    def __post_init__(self) -> None:
        check_codec(self.codec)
        if self.shape not in SHAPES:
            raise HeadwarpError(f"shape: expected one of {', '.join(SHAPES)}, got {self.shape!r}")
        if self.size < 32 or self.size % 2:
            raise HeadwarpError(f"size: expected an even number of pixels, 32 or more, got {self.size}")


@dataclass(frozen=True)
class FramePack:
    """One clip to train on; pictures are read when asked for.

    Attributes:
        folder: its files.
        index: what it says of itself.
        places: where each of the index's frames lies in the files; None: they are all of them.
    """

    folder: Path
    index: FrameIndex
    places: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.index.frames)

    def frame(self, position: int) -> UInt8[np.ndarray, "S S 3"]:
        """RGB of the frame at this position.

        Raises:
            ModelFileError: damaged, or not of this pack.
        """
        place = position if self.places is None else self.places[position]
        return read_frame(self.folder, self.index.codec, place, self.index.size)

    def thinned(self, positions: Sequence[int]) -> FramePack:
        """A view of the pack with these positions alone; nothing is copied.

        Raises:
            HeadwarpError: positions that are not there, or do not rise.
        """
        kept = tuple(positions)
        if not kept or sorted(set(kept)) != list(kept) or kept[0] < 0 or kept[-1] >= len(self):
            raise HeadwarpError(f"thinned: expected rising positions of {len(self)} frames, got {kept[:8]}")
        frames = tuple(self.index.frames[position] for position in kept)
        places = kept if self.places is None else tuple(self.places[position] for position in kept)
        return FramePack(self.folder, dataclasses.replace(self.index, frames=frames), places)


def pack_frames(
    frames: Iterable[Frame],
    *,
    folder: str | os.PathLike[str],
    label: ClipLabel,
    config: FramePackConfig | None = None,
) -> FramePack:
    """Write the frames of a clip as ``folder/CLIP``, whole or not at all.

    Args:
        frames: of the clip; read once, one in memory.
        folder: of all packs.
        label: whose clip it is, and its name.
        config: size, codec, and how frames become squares.

    Raises:
        MediaError: fewer than two frames.
        HeadwarpError: nothing can be written there.
    """
    config = config or FramePackConfig()
    target = Path(folder) / label.clip
    with atomic_folder(target) as hidden:
        pictures = ([squared(frame, config)] for frame in frames)
        count = write_frames(hidden, pictures, codec=config.codec, kinds=(FRAMES,))
        if count < LEAST_FRAMES:
            raise MediaError(f"{label.clip}: expected a clip of two frames or more, got {count}")
        index = FrameIndex(
            size=config.size,
            codec=config.codec,
            person=label.person,
            clip=label.clip,
            source=label.source,
            frames=tuple(range(count)),
            clip_frames=count,
            made_of=label.made_of,
        )
        write_json(hidden / FILE, frame_index_json(index))
    return FramePack(target, index)


def squared(frame: Frame, config: FramePackConfig) -> UInt8[np.ndarray, "S S 3"]:
    """A frame as a square of the config's size; one that is so already is not touched."""
    (height, width), size = frame.shape[:2], config.size
    if (height, width) == (size, size):
        return frame
    image = to_image(frame)
    if config.shape == "stretch":
        drawn = F.interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)
    else:
        side = min(height, width) if config.shape == "crop" else max(height, width)
        drawn = crop_image(image, Crop((width - side) // 2, (height - side) // 2, side), size)
    return to_frame(drawn)


def open_frames(folder: str | os.PathLike[str]) -> FramePack:
    """A pack of frames, or one of pairs as such; its files are all there and as large as they should be.

    Raises:
        ModelFileError: no pack, or a damaged one.
    """
    place = Path(folder)
    index = read_frame_index(place)
    kinds = WITH_MASKS if index.masks else (FRAMES,)
    check_frames(place, index.codec, len(index.frames), index.size, kinds=kinds)
    return FramePack(place, index)


def open_frame_packs(folder: str | os.PathLike[str]) -> list[FramePack]:
    """Every pack of a folder, of frames or of pairs, sorted by name.

    Raises:
        HeadwarpError: no packs there.
        ModelFileError: a pack is damaged, or of another size than the others.
    """
    place = Path(folder)
    packs = [open_frames(found) for found in _pack_folders(place)]
    if not packs:
        raise HeadwarpError(f"{place}: expected packs of clips, found none; make them with `headwarp train`")
    check_sizes(packs)
    return packs


def _pack_folders(place: Path) -> Iterator[Path]:
    for path in sorted(place.glob(f"*/{FILE}")):
        if not path.parent.name.startswith("."):
            yield path.parent


def check_sizes(packs: Sequence[FramePack]) -> None:
    """One size for all.

    Raises:
        ModelFileError: otherwise; the text names the pack.
    """
    for pack in packs:
        if pack.index.size != packs[0].index.size:
            raise ModelFileError(
                f"{pack.folder}: expected frames of {packs[0].index.size} pixels as in {packs[0].folder}, "
                f"got {pack.index.size}; pack each size into a folder of its own"
            )
