"""Batches whose layers another geometry source moves than the mesh that they were packed with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

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
        points_of: the source's landmarks, below which depth lets shoulders rest; None: persons are rigid.
    """
    if guide is None:
        return batch
    guide.to(batch.source.device)  # a no-op from the second step on
    points = None if points_of is None else points_of(batch.source_verts)
    source = Source(image=batch.source, mask=batch.layers.matte, landmarks=points)
    guidance = guide.pairs(source, Driving(image=batch.driving))
    return dataclasses.replace(batch, layers=with_guidance(batch.layers, guidance))
