"""The two halves of a pair in few bytes: as a block on disk holds them, or as they were computed.

What a block holds are bytes, 16 bit steps and bits; what was computed are floats, but for the two masks. Both
come through the same fields, so that a batch may be made of either.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

SHARES = 36  # means of nine, six and four zeros and ones are whole multiples of a 36th


@dataclass(frozen=True)
class StoredSource:
    """What belongs to the source frame; a batch of B.

    Attributes:
        matte: of the source's layers, bytes (255 for 1) or floats, ``(B, 1, H, W)``.
        colours, background: of the same, ``(B, 3, H, W)``; the background in the source.
        verts: posed mesh, ``(B, V, 3)``.
        dark, reach, torso_line: as in `PosedLayers`.
    """

    matte: Shaped[Tensor, "B 1 H W"]
    colours: Shaped[Tensor, "B 3 H W"]
    background: Shaped[Tensor, "B 3 H W"]
    verts: Float[Tensor, "B V 3"]
    dark: Float[Tensor, "B 3 1 1"]
    reach: Float[Tensor, "B 1 1 1"]
    torso_line: Float[Tensor, "B 1 1 1"]

    def in_floats(self) -> StoredSource:
        """The same without bytes."""
        parts = {name: unit(getattr(self, name)) for name in ("matte", "colours", "background")}
        return dataclasses.replace(self, **parts)


@dataclass(frozen=True)
class StoredPose:
    """What belongs to a pair besides its source; a batch of B.

    Attributes:
        flow: of the person layer, 16 bit steps or pixels, ``(B, 2, H, W)``.
        step: pixels of a step, ``(B, 1, 1, 1)``.
        mesh_only: the mesh's own flow where it is covered and not known, in ``flow``'s type: x of all such
            pixels of a pair in the order of reading, then y; the pairs one after another. Where it is known
            it is ``flow``, where it is not covered 0.
        covered, known: bits of the pixels in the order of reading, ``(B, P)``.
        person, hollow: shares of 36, or floats, ``(B, 1, H, W)``.
        verts: posed mesh of the driving frame, ``(B, V, 3)``.
        motion: of the camera, see `geom.guidance.Driving`; NaN while it stands, ``(B, 2, 3)``.
    """

    flow: Shaped[Tensor, "B 2 H W"]
    step: Float[Tensor, "B 1 1 1"]
    mesh_only: Shaped[Tensor, "N"]
    covered: UInt8[Tensor, "B P"]
    known: UInt8[Tensor, "B P"]
    person: Shaped[Tensor, "B 1 H W"]
    hollow: Shaped[Tensor, "B 1 H W"]
    verts: Float[Tensor, "B V 3"]
    motion: Float[Tensor, "B 2 3"]

    def in_floats(self) -> StoredPose:
        """Of a single pair: the same without bytes and steps."""
        return dataclasses.replace(
            self,
            flow=self.flow.float() * self.step,
            mesh_only=self.mesh_only.float() * self.step.flatten(),
            step=torch.ones_like(self.step),
            person=share(self.person),
            hollow=share(self.hollow),
        )


def unit(part: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Bytes as 0..1; floats as they are."""
    return part.float() / 255 if part.dtype == torch.uint8 else part


def share(part: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Shares of 36 as 0..1; floats as they are."""
    return part.float() / SHARES if part.dtype == torch.uint8 else part


def packed_bits(mask: Bool[Tensor, "B 1 H W"]) -> UInt8[Tensor, "B P"]:
    """Eight pixels a byte in the order of reading, the first one the highest bit; as ``numpy.packbits``."""
    import numpy as np

    return torch.from_numpy(np.packbits(mask.flatten(1).numpy(), axis=1))


def unpacked_bits(bits: UInt8[Tensor, "B P"], size: tuple[int, int]) -> Bool[Tensor, "B 1 H W"]:
    """What `packed_bits` packed, on any device."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    flat = ((bits[:, :, None] >> places) & 1).bool().flatten(1)  # (B, 8 P)
    return flat[:, : size[0] * size[1]].reshape(-1, 1, *size)
