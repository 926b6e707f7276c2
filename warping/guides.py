"""Geometry sources in place of the mesh, with the trained networks that make what they read: `load_guide`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from ..geom.aligned_pose import ALIGNMENT
from ..geom.errors import HeadwarpError
from ..geom.guidance import Driving, GeometrySource, Guidance, Source
from ..geom.sources.keypoints import KeypointsSource
from .guide_record import OF_NETWORKS
from .guided import Observer

GuideKind = Literal["depth", "keypoints", "landmarks"]
GUIDE_KINDS: tuple[str, ...] = get_args(GuideKind)
NETWORK_KINDS: tuple[str, ...] = OF_NETWORKS
"""Those whose network has to be given; landmarks come with the fit of a head."""
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class GuideConfig:
    """What moves pictures in place of a mesh, and which trained network tells it.

    Attributes:
        kind: the geometry source.
        checkpoint: of the network: of a training of `depth`; of `fomm`, `dagan` for ``keypoints``; None for
            ``landmarks``, which need none.
        side: longer side in pixels of the pictures that it sees at most, best that of its training; None: as
            they are. Says nothing for ``landmarks``.
        aligned: whether what a depth network says of a motion is made better by the pictures
            (`geom.aligned_pose`); networks of the published forms are taken at their word all the same.
    """

    kind: GuideKind = "depth"
    checkpoint: Path | None = None
    side: int | None = 256
    aligned: bool = True

    def __post_init__(self) -> None:
        if self.kind not in GUIDE_KINDS:
            raise HeadwarpError(f"kind: expected one of {', '.join(GUIDE_KINDS)}, got {self.kind!r}")
        if (self.checkpoint is None) == (self.kind in NETWORK_KINDS):
            wanted, remedy = (
                ("a file of its network", "give the checkpoint of a training")
                if self.checkpoint is None
                else ("none", "leave it out")
            )
            raise HeadwarpError(
                f"checkpoint: expected {wanted} for {self.kind}, got {self.checkpoint}; {remedy}"
            )
        if self.side is not None and self.side < 32:
            raise HeadwarpError(f"side: expected 32 pixels or more, got {self.side}")
        if not self.aligned and self.kind != "depth":
            raise HeadwarpError(
                f"aligned: expected True for {self.kind}, whose motion nothing aligns, got False"
            )


class Guide(nn.Module):
    """A geometry source and the observer that feeds it; nothing in it is trained.

    Attributes:
        source: the geometry source.
        observer: makes what it reads of pictures; None: that is given.
    """

    def __init__(self, source: GeometrySource, observer: Observer | None = None) -> None:
        super().__init__()
        self.source, self.observer = source, observer
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def pairs(self, source: Source, driving: Driving) -> Guidance:
        """Guidance of a batch of pairs, a source of its own for each.

        Args:
            source: with ``image``, ``(B, 3, H, W)``, ``mask`` where there is one, and what the geometry
                source reads and no observer makes.
            driving: with ``image`` and the same.
        """
        seen = source if self.observer is None else self.observer.source(source)
        moved = driving if self.observer is None else self.observer.driving(seen, driving)
        if isinstance(self.source, KeypointsSource):
            return self.source.guide(self.source.prepare(seen), moved)
        made = []
        for row in range(moved.batch):
            one, other = _row(seen, row), _row(moved, row)
            made.append(self.source.guide(self.source.prepare(one), other))
        parts = ("flow", "known", "visible")
        return Guidance(**{name: torch.cat([getattr(g, name) for g in made]) for name in parts})


def load_guide(config: GuideConfig) -> Guide:
    """The guide of a config, its network loaded.

    Raises:
        ModelFileError: no such file, or none of ours.
        HeadwarpError: a network of another kind.
    """
    from .observers import load_depth_observer, load_keypoints_observer

    if config.kind == "landmarks":
        from ..geom.sources.landmarks import LandmarksSource

        return Guide(LandmarksSource())
    if config.kind == "depth":
        from ..geom.sources.depth import DepthSource

        alignment = ALIGNMENT if config.aligned else None
        observed = load_depth_observer(config.checkpoint, side=config.side, alignment=alignment)
        return Guide(DepthSource(), observed)
    observer = load_keypoints_observer(config.checkpoint, side=config.side)
    return Guide(KeypointsSource(dense_motion=observer.dense_motion), observer)


def _row(observation: Kept, row: int) -> Kept:
    """One of a batch of observations; what has a batch of one serves all."""
    chosen: dict[str, Any] = {}
    for field in dataclasses.fields(observation):  # type: ignore[arg-type]
        value = getattr(observation, field.name)
        if isinstance(value, Tensor) and field.name not in ("faces", "skull", "body", "cavity"):
            chosen[field.name] = value if len(value) == 1 else value[[row]]
    return dataclasses.replace(observation, **chosen)  # type: ignore[type-var]
