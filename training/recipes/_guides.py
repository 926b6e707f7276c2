"""Batches whose layers another geometry source moves than the mesh that they were packed with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, Source
from ...warping.guided_layers import with_guidance
from ...warping.guides import Guide
from ..data.pairs.batch import PairBatch

PointsOf = Callable[[Tensor], Tensor | None]
"""Landmarks ``(B, 68, 2)`` of posed vertices; see `training.data.portrait.face_points`."""


def guided_batch(guide: Guide | None, batch: PairBatch, points_of: PointsOf | None = None) -> PairBatch:
    """The batch with layers that the guide moves; None leaves it as it is.

    Guidance is computed from the pictures of the batch as they are, changed colours and mirroring included.

    Args:
        guide: source and network.
        batch: of pairs.
        points_of: landmarks of the head, below which depth lets shoulders rest; None: persons are rigid.

    Raises:
        HeadwarpError: a guide by landmarks, and none are known.
    """
    if guide is None:
        return batch
    guide.to(batch.source.device)  # a no-op from the second step on
    points, moved = (
        None if points_of is None else points_of(verts) for verts in (batch.source_verts, batch.driving_verts)
    )
    if points is None and "landmarks" in guide.source.needs_source:
        raise HeadwarpError(
            "guide: expected the 68 landmarks of a head to guide by, got none; take a head whose landmarks "
            "hold them, such as builtin, or another guidance"
        )
    source = Source(image=batch.source, mask=batch.layers.matte, landmarks=points)
    guidance = guide.pairs(source, Driving(image=batch.driving, landmarks=moved))
    return dataclasses.replace(batch, layers=with_guidance(batch.layers, guidance))
