"""Pairs in the few bytes that they are kept in, and the batch that is made of them where the device is.

Made in a worker, a pair is 25 maps of floats: most of the worker's time goes into writing and copying them. A
worker that hands on bytes leaves that to the device, which does it for the whole batch at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ....geom.alignment import affine_flow
from ....geom.flow import warp
from ....warping.posed_layers import PosedLayers
from .batch import PairBatch, one_head
from .stored import StoredPose, StoredSource, share, unit, unpacked_bits

_PICTURES = ("source", "driving", "driving_mask")
_OWN = tuple(field.name for field in dataclasses.fields(StoredSource))
_POSE = tuple(field.name for field in dataclasses.fields(StoredPose))


@dataclass(frozen=True)
class CompactPairs:
    """What a `PairBatch` is made of.

    Attributes:
        source, driving: frames, ``(B, H, W, 3)``.
        driving_mask: 255 for certainly a person, ``(B, H, W)``.
        own: the source's half.
        pose: the pair's half.
        faces: triangles of the posed meshes, ``(F, 3)``.
        names: of the pairs, as in `PairBatch`.
    """

    source: UInt8[Tensor, "B H W 3"]
    driving: UInt8[Tensor, "B H W 3"]
    driving_mask: UInt8[Tensor, "B H W"]
    own: StoredSource
    pose: StoredPose
    faces: Int[Tensor, "F 3"]
    names: tuple[str, ...]


def compact_columns(pairs: Sequence[CompactPairs]) -> list[list[Tensor]]:
    """Pieces of every tensor of a batch of single pairs, for `flat.flat_columns`; `compact_of` takes them.

    Where one pair is stored in bytes and another one in floats, both are floats.

    Raises:
        ShapeError: their meshes are not of one head.
    """
    own: list[Any] = _alike([pair.own for pair in pairs], _OWN)
    pose: list[Any] = _alike([pair.pose for pair in pairs], _POSE)
    columns = [[getattr(pair, name) for pair in pairs] for name in _PICTURES]
    columns.append([one_head([pair.faces for pair in pairs])])
    columns += [[getattr(half, name) for half in own] for name in _OWN]
    return columns + [[getattr(half, name) for half in pose] for name in _POSE]


COLUMNS = len(_PICTURES) + 1 + len(_OWN) + len(_POSE)


def compact_of(tensors: Sequence[Tensor], names: tuple[str, ...]) -> CompactPairs:
    """A batch of the `COLUMNS` tensors that `compact_columns` names."""
    pictures, (faces, *halves) = tensors[: len(_PICTURES)], tensors[len(_PICTURES) :]
    return CompactPairs(
        **dict(zip(_PICTURES, pictures, strict=True)),
        own=StoredSource(**dict(zip(_OWN, halves[: len(_OWN)], strict=True))),
        pose=StoredPose(**dict(zip(_POSE, halves[len(_OWN) :], strict=True))),
        faces=faces,
        names=names,
    )


def expanded(pairs: CompactPairs) -> PairBatch:
    """The batch, where its bytes are; no number is looked at that a device would be waited for.

    Its plain twin is `PairMaker.make`. Values are those of every pair alone, to rounding in the background
    that a camera's motion moves.
    """
    own, pose = pairs.own, pairs.pose
    source, driving = _picture(pairs.source), _picture(pairs.driving)
    size = (source.shape[2], source.shape[3])
    matte, colours, background = unit(own.matte), unit(own.colours), unit(own.background)
    covered, known = unpacked_bits(pose.covered, size), unpacked_bits(pose.known, size)
    elsewhere = (covered & ~known).expand_as(pose.flow)
    displacement = (pose.flow * known).masked_scatter_(elsewhere, pose.mesh_only)
    layers = PosedLayers(
        matte=matte,
        colours=colours,
        residual=source - (matte * colours + (1 - matte) * background),
        background=_moved(background, pose.motion),
        flow=pose.flow.float() * pose.step,
        displacement=displacement.float() * pose.step,
        covered=covered.float(),
        known=known.float(),
        person=share(pose.person),
        hollow=share(pose.hollow),
        dark=own.dark,
        reach=own.reach,
        torso_line=own.torso_line,
    )
    return PairBatch(
        source=source,
        driving=driving,
        driving_mask=unit(pairs.driving_mask)[:, None],
        layers=layers,
        source_verts=own.verts,
        driving_verts=pose.verts,
        faces=pairs.faces,
        names=pairs.names,
    )


def _picture(frames: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    channels = frames.permute(0, 3, 1, 2)  # (B, 3, H, W)
    return channels.to(torch.float32, memory_format=torch.contiguous_format) / 255


def _moved(background: Float[Tensor, "B 3 H W"], motion: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 3 H W"]:
    """Moved by the camera; bit for bit itself where that stands."""
    still = motion.isnan().flatten(1).any(1)[:, None, None]  # (B, 1, 1)
    flow = affine_flow(motion.masked_fill(still, 0), (background.shape[2], background.shape[3]))
    return warp(background, flow.masked_fill(still[..., None], 0))


def _alike(halves: Sequence[Any], names: Sequence[str]) -> list[Any]:
    types = {tuple(getattr(half, name).dtype for name in names) for half in halves}
    return list(halves) if len(types) == 1 else [half.in_floats() for half in halves]
