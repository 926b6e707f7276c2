"""The part of a swap's window that a network of training clips knows: tighter around the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.guidance import Driving, Source, require

Seen = TypeVar("Seen", Source, Driving)


@dataclass(frozen=True)
class Framing:
    """A square within a square window.

    Clips of VoxCeleb's kind show a head larger than a swap's window, which has room for hair: the window of
    such a clip's frame has 1.5 times its side, and its middle lies higher by 0.03 windows (measured on one).

    Attributes:
        zoom: sides of the window over those of the square, 1 or more.
        lowered: how far the square's middle lies below the window's, in windows.
    """

    zoom: float = 1.5
    lowered: float = 0.03

    def box(self, side: int) -> tuple[int, int, int]:
        """Left, top and side of the square, in pixels of a window of a side."""
        inner = min(side, max(1, round(side / self.zoom)))
        left = (side - inner) // 2
        top = min(side - inner, left + round(self.lowered * side))
        return left, top, inner

    def cut(self, seen: Seen) -> Seen:
        """A source or a driver as seen in the square: picture, mask and mesh; its other fields are dropped.

        Raises:
            HeadwarpError: it has no picture.
        """
        require(seen, ("image",), by="swap")
        assert seen.image is not None
        left, top, inner = self.box(seen.image.shape[3])
        fields: dict[str, Any] = {}
        for name in ("image", "mask"):
            value = getattr(seen, name)
            fields[name] = None if value is None else value[..., top : top + inner, left : left + inner]
        if seen.posed_vertices is not None:
            fields["posed_vertices"] = seen.posed_vertices - seen.posed_vertices.new_tensor([left, top, 0])
        if isinstance(seen, Source):
            fields["faces"] = seen.faces
        return type(seen)(**fields)

    def put_back(self, image: Float[Tensor, "1 3 s s"], side: int) -> Float[Tensor, "1 3 S S"]:
        """A picture of the square in the whole window, continued by its border."""
        return F.pad(image, self._margins(side), mode="replicate")

    def inside(self, side: int, *, like: Tensor) -> Float[Tensor, "1 1 S S"]:
        """1 in the square, 0 outside."""
        inner = self.box(side)[2]
        return F.pad(torch.ones(1, 1, inner, inner).to(like), self._margins(side))

    def _margins(self, side: int) -> tuple[int, int, int, int]:
        left, top, inner = self.box(side)
        return left, side - inner - left, top, side - inner - top
