"""A pack of which only some frames are used: views, nothing is copied."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ....flame.params import HeadFit
from ....geom.errors import HeadwarpError
from ..shares import frames_of_share
from .pack import Pack
from .sampler import Timed


@dataclass(frozen=True)
class ThinPack(Pack):
    """Some frames of a pack, as a pack.

    Attributes:
        whole: the pack.
        kept: positions in it, rising.
    """

    whole: Pack
    kept: tuple[int, ...]

    @property
    def file(self) -> Path:
        """Of the whole pack's index."""
        return self.whole.file

    def frame(self, position: int) -> UInt8[np.ndarray, "S S 3"]:
        """RGB of the kept frame at this position."""
        return self.whole.frame(self.kept[position])

    def mask(self, position: int) -> UInt8[np.ndarray, "S S"]:
        """Its person mask."""
        return self.whole.mask(self.kept[position])

    def fit(self) -> HeadFit:
        """Of the kept frames."""
        return self.whole.fit().select(list(self.kept))


def thinned(pack: Pack, positions: Sequence[int]) -> ThinPack:
    """The pack with these positions alone.

    Raises:
        HeadwarpError: positions that are not there, or do not rise.
    """
    kept = tuple(positions)
    if not kept or sorted(set(kept)) != list(kept) or kept[0] < 0 or kept[-1] >= len(pack):
        raise HeadwarpError(f"thinned: expected rising positions of {len(pack)} frames, got {kept[:8]}")
    index = pack.index
    own: dict[str, Any] = {
        name: tuple(getattr(index, name)[k] for k in kept) for name in ("frames", "scale", "centre")
    }
    digest = hashlib.sha256(repr(kept).encode()).hexdigest()[:12]
    folder = pack.folder / f"thin-{digest}"  # what is kept of its pairs goes by positions, which are its own
    return ThinPack(folder, dataclasses.replace(index, **own), whole=pack, kept=kept)


def spread(index: Timed, share: tuple[float, float], count: int | None) -> list[int]:
    """Positions within a part of the clip: all of them, or ``count`` evenly spread ones.

    Args:
        index: of the pack whose positions are meant.
        share: START and END in 0..1 of the clip's frames, as `headwarp evaluate --frames` counts them.
        count: at most so many; None for all.
    """
    numbers, part = np.asarray(index.frames), frames_of_share(share, index.clip_frames)
    inside = np.flatnonzero((numbers >= part.start) & (numbers < part.stop))
    if count is None or count >= len(inside):
        return [int(place) for place in inside]
    places = np.unique(np.linspace(0, len(inside) - 1, count).round().astype(int))
    return [int(inside[place]) for place in places]
