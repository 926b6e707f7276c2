"""What is kept of a source and of a pair: geometry's part as a block of bytes, and back.

Colours become bytes (half a 255th off at most). Flow becomes 16 bit steps of its own size, 32,767 of which
are its largest component: finer than half floats, a thousandth of a pixel for a motion of 64. Maps that are
means of nine, six or four zeros and ones are kept exactly. What follows from the rest is not kept: the
residual of the layers from the picture, the mesh's flow from the filled one where they agree, the background
in the target from the camera's motion.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ....geom.alignment import affine_flow
from ....geom.errors import ModelFileError
from ....geom.flow import warp
from ....warping.layers import Layers
from ....warping.posed_layers import PosedLayers
from .stored import SHARES, StoredPose, StoredSource, packed_bits, share, unit

VERSION = 1
STEPS = 32767
LARGEST = 1 << 28  # bytes of an array
_TYPES = ("u1", "<i2", "<f4")
_PACKED, _PLAIN = 1, 0
_SOURCE = (
    ("matte", "u1", (1, 1, None, None)),
    ("colours", "u1", (1, 3, None, None)),
    ("background", "u1", (1, 3, None, None)),
    ("verts", "<f4", (None, 3)),
    ("dark, reach and torso_line", "<f4", (5,)),
)
_POSE = (
    ("flow", "<i2", (2, None, None)),
    ("mesh_only", "<i2", (2, None)),
    ("covered", "u1", (None,)),
    ("known", "u1", (None,)),
    ("person", "u1", (1, 1, None, None)),
    ("hollow", "u1", (1, 1, None, None)),
    ("verts", "<f4", (None, 3)),
    ("motion and step", "<f4", (7,)),
)


@dataclass(frozen=True)
class KeptSource:
    """What is kept of a source frame.

    Attributes:
        layers: of the source; the residual is what its picture leaves.
        verts: posed mesh, ``(1, V, 3)``.
        dark, reach, torso_line: as in `PosedLayers`.
    """

    layers: Layers
    verts: Float[Tensor, "1 V 3"]
    dark: Float[Tensor, "1 3 1 1"]
    reach: Float[Tensor, "1 1 1 1"]
    torso_line: Float[Tensor, "1 1 1 1"]


@dataclass(frozen=True)
class KeptPose:
    """What is kept of a pair besides its source; maps as in `PosedLayers`.

    Attributes:
        verts: posed mesh of the driving frame.
        motion: of the camera, see `geom.guidance.Driving`; None while it stands.
    """

    flow: Float[Tensor, "1 2 H W"]
    displacement: Float[Tensor, "1 2 H W"]
    covered: Float[Tensor, "1 1 H W"]
    known: Float[Tensor, "1 1 H W"]
    person: Float[Tensor, "1 1 H W"]
    hollow: Float[Tensor, "1 1 H W"]
    verts: Float[Tensor, "1 V 3"]
    motion: Float[Tensor, "1 2 3"] | None


def assembled(source: KeptSource, pose: KeptPose) -> PosedLayers:
    """What the `geometry` animator makes of the two."""
    layers, background = source.layers, source.layers.background
    if pose.motion is not None:
        height, width = background.shape[2:]
        background = warp(background, affine_flow(pose.motion, (height, width)))
    return PosedLayers(
        matte=layers.matte,
        colours=layers.colours,
        residual=layers.residual,
        background=background,
        flow=pose.flow,
        displacement=pose.displacement,
        covered=pose.covered,
        known=pose.known,
        person=pose.person,
        hollow=pose.hollow,
        dark=source.dark,
        reach=source.reach,
        torso_line=source.torso_line,
    )


def pose_of(made: PosedLayers, verts: Float[Tensor, "1 V 3"], motion: Tensor | None) -> KeptPose:
    """The part of a pair's layers that is kept with the pair.

    Args:
        made: layers of the pair.
        verts: the driving mesh in pixels with depth.
        motion: of the camera, ``(1, 2, 3)``, or None.
    """
    names = ("flow", "displacement", "covered", "known", "person", "hollow")
    return KeptPose(**{name: getattr(made, name) for name in names}, verts=verts, motion=motion)


def computed_source(kept: KeptSource) -> StoredSource:
    """The same in floats, its residual left out."""
    layers = kept.layers
    return StoredSource(
        matte=layers.matte,
        colours=layers.colours,
        background=layers.background,
        verts=kept.verts,
        dark=kept.dark,
        reach=kept.reach,
        torso_line=kept.torso_line,
    )


def computed_pose(kept: KeptPose) -> StoredPose:
    """The same in floats."""
    covered, known = kept.covered > 0.5, kept.known > 0.5
    return StoredPose(
        flow=kept.flow,
        step=kept.flow.new_ones(1, 1, 1, 1),
        mesh_only=kept.displacement[0][:, (covered & ~known)[0, 0]].flatten(),
        covered=packed_bits(covered),
        known=packed_bits(known),
        person=kept.person,
        hollow=kept.hollow,
        verts=kept.verts,
        motion=kept.flow.new_full((1, 2, 3), math.nan) if kept.motion is None else kept.motion,
    )


def write_source(kept: KeptSource) -> bytes:
    """As bytes."""
    numbers = torch.cat([kept.dark.flatten(), kept.reach.flatten(), kept.torso_line.flatten()])
    return _block(
        [
            (_bytes(kept.layers.matte), _PACKED),
            (_bytes(kept.layers.colours), _PLAIN),
            (_bytes(kept.layers.background), _PLAIN),
            (kept.verts[0].numpy(), _PLAIN),
            (numbers.numpy(), _PLAIN),
        ]
    )


def stored_source(block: bytes) -> StoredSource:
    """What `write_source` wrote, as it stands in the block.

    Raises:
        ModelFileError: it is something else.
    """
    arrays = _arrays(block, _SOURCE)
    matte, colours, background, verts, numbers = (torch.from_numpy(array) for array in arrays)
    return StoredSource(
        matte=matte,
        colours=colours,
        background=background,
        verts=verts[None],
        dark=numbers[:3].reshape(1, 3, 1, 1),
        reach=numbers[3].reshape(1, 1, 1, 1),
        torso_line=numbers[4].reshape(1, 1, 1, 1),
    )


def read_source(stored: StoredSource, image: Float[Tensor, "1 3 H W"]) -> KeptSource:
    """What was kept of a source with this picture."""
    matte, colours, background = (unit(part) for part in (stored.matte, stored.colours, stored.background))
    residual = image - (matte * colours + (1 - matte) * background)
    layers = Layers(matte, colours, background, residual)
    return KeptSource(layers, stored.verts, stored.dark, stored.reach, stored.torso_line)


def write_pose(kept: KeptPose) -> bytes:
    """As bytes."""
    covered, known = (part[0, 0] > 0.5 for part in (kept.covered, kept.known))
    elsewhere = covered & ~known
    mesh_only = kept.displacement[0][:, elsewhere]
    largest = max(float(kept.flow.abs().max()), float(mesh_only.abs().max()) if mesh_only.numel() else 0.0)
    step = np.float32(largest / STEPS if largest else 1.0)
    motion = np.full(6, np.nan, np.float32) if kept.motion is None else kept.motion.flatten().numpy()
    return _block(
        [
            (_steps(kept.flow[0], step), _PLAIN),
            (_steps(mesh_only, step), _PLAIN),
            (packed_bits(covered[None, None])[0].numpy(), _PACKED),
            (packed_bits(known[None, None])[0].numpy(), _PACKED),
            (_shares(kept.person), _PACKED),
            (_shares(kept.hollow), _PACKED),
            (kept.verts[0].numpy(), _PLAIN),
            (np.concatenate([motion, [step]]).astype(np.float32), _PLAIN),
        ]
    )


def stored_pose(block: bytes) -> StoredPose:
    """What `write_pose` wrote, as it stands in the block.

    Raises:
        ModelFileError: it is something else.
    """
    parts = [torch.from_numpy(array) for array in _arrays(block, _POSE)]
    flow, mesh_only, covered, known, person, hollow, verts, numbers = parts
    return StoredPose(
        flow=flow[None],
        step=numbers[6].reshape(1, 1, 1, 1),
        mesh_only=mesh_only.flatten(),
        covered=covered[None],
        known=known[None],
        person=person,
        hollow=hollow,
        verts=verts[None],
        motion=numbers[:6].reshape(1, 2, 3),
    )


def read_pose(stored: StoredPose) -> KeptPose:
    """What was kept of a pair; `compact.expanded` does it for a batch."""
    size, step = stored.flow.shape[2:], float(stored.step)
    covered, known = (_unpacked(bits[0], size) for bits in (stored.covered, stored.known))
    flow = stored.flow[0].float() * step
    displacement = flow * known
    mesh_only = stored.mesh_only.view(2, len(stored.mesh_only) // 2)
    displacement[:, covered & ~known] = mesh_only.float() * step
    return KeptPose(
        flow=flow[None],
        displacement=displacement[None],
        covered=covered.float()[None, None],
        known=known.float()[None, None],
        person=share(stored.person),
        hollow=share(stored.hollow),
        verts=stored.verts,
        motion=None if bool(stored.motion.isnan().any()) else stored.motion,
    )


def _bytes(part: Float[Tensor, "1 C H W"]) -> np.ndarray:
    return (part.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _steps(flow: Tensor, step: np.float32) -> np.ndarray:
    return (flow / float(step)).round().clamp(-STEPS, STEPS).to(torch.int16).numpy()


def _unpacked(bits: UInt8[Tensor, "P"], size: tuple[int, ...]) -> Bool[Tensor, "H W"]:
    """`stored.unpacked_bits` of a single mask, faster on a CPU."""
    count = size[0] * size[1]
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count).astype(bool).reshape(size))


def _shares(part: Float[Tensor, "1 1 H W"]) -> np.ndarray:
    return (part * SHARES).round().to(torch.uint8).numpy()


def _block(parts: Sequence[tuple[np.ndarray, int]]) -> bytes:
    """Arrays one after another, each behind its type, shape and length."""
    pieces = []
    for array, packed in parts:
        kind = next(number for number, name in enumerate(_TYPES) if np.dtype(name) == array.dtype)
        data = np.ascontiguousarray(array).tobytes()
        data = zlib.compress(data, 1) if packed else data
        shape = array.shape
        pieces.append(struct.pack(f"<BBBI{len(shape)}I", kind, packed, len(shape), len(data), *shape))
        pieces.append(data)
    return b"".join(pieces)


_Layout = Sequence[tuple[str, str, tuple[int | None, ...]]]  # of a block: name, type, sides; None: any


def _arrays(block: bytes, layout: _Layout) -> list[np.ndarray]:
    try:
        found, at = [], 0
        while at < len(block):
            kind, packed, dimensions, length = struct.unpack_from("<BBBI", block, at)
            shape = struct.unpack_from(f"<{dimensions}I", block, at + 7)
            at += 7 + 4 * dimensions
            data = block[at : at + length]
            if packed:
                data = _inflated(data, math.prod(shape) * np.dtype(_TYPES[kind]).itemsize)
            found.append(np.frombuffer(bytearray(data), _TYPES[kind]).reshape(shape))
            at += length
        if len(found) != len(layout):
            raise ValueError(f"expected {len(layout)} arrays, got {len(found)}")
        for (name, kind, sides), array in zip(layout, found, strict=True):
            fits = len(sides) == array.ndim and all(
                side in (None, length) for side, length in zip(sides, array.shape, strict=True)
            )
            if array.dtype != np.dtype(kind) or not fits:
                shape = tuple("*" if side is None else side for side in sides)
                raise ValueError(
                    f"{name}: expected {kind} of shape {shape}, got {array.dtype.str} of {array.shape}"
                )
    except (struct.error, zlib.error, ValueError, IndexError) as error:
        raise ModelFileError(f"guidance: expected a block of this layout ({error}); remove it") from error
    return found


def _inflated(data: bytes, length: int) -> bytes:
    """At most as much as the shape says is ever written."""
    if length > LARGEST:
        raise ValueError(f"an array of {length} bytes")
    return zlib.decompressobj().decompress(data, max(length, 1))
