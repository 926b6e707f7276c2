"""Head swap engines: a source head once, then its picture in place of the target's head in every frame.

One file an engine. A file registers a frozen config dataclass and its class with `register`; the name is the
file's. An engine that has learned names the files of its weights (``checkpoints``) and reads them with a
class method ``open_checkpoint``, a path for each. What an engine is given and returns are windows of equal
size, so that the tools need not know which one works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...geom.colour_transfer import ColourStatistics
from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, Source
from .._registry import Registration, Registry, file_names

Checkpoints: TypeAlias = str | Path | Sequence[str | Path] | None

NAMES = ("geometry", "heser", "aligner")
"""Every engine that ``headwarp swap`` offers."""


@dataclass(frozen=True)
class SwapSource:
    """One picture of the head that is put in.

    Attributes:
        source: the window, with ``mask`` (person), ``posed_vertices``, ``faces``, ``skull``, ``body`` and
            ``cavity``; ``region_map`` for engines that read labels.
        head: the head alone, hair included, neck left out, soft in [0, 1], ``(1, 1, H, W)``.
        skin: True for vertices on skin whose colour counts, ``(V,)``.
        surface: 1 for vertices of the head, falling to 0 down the neck, ``(V,)``.
        mouth: True for vertices between the lips, ``(V,)``.
    """

    source: Source
    head: Float[Tensor, "1 1 H W"]
    skin: Bool[Tensor, "V"]
    surface: Float[Tensor, "V"]
    mouth: Bool[Tensor, "V"]


@dataclass(frozen=True)
class HeadRegions:
    """What a segmenter tells of a window.

    Attributes:
        head: the head, hair included, neck left out, soft in [0, 1].
        labels: `geom.face_regions.FaceRegion` of every pixel.
    """

    head: Float[Tensor, "1 1 H W"]
    labels: Int[Tensor, "1 H W"]


Segment = Callable[[Float[Tensor, "1 3 H W"]], HeadRegions]
"""Tells the regions of a window in which the source's head is held as in the target's frame."""


@dataclass(frozen=True)
class SwapTarget:
    """One frame of the picture or clip whose head is replaced.

    Attributes:
        image: the window, RGB in [0, 1], ``(1, 3, H, W)``.
        head: the head that goes, hair included, soft in [0, 1], ``(1, 1, H, W)``.
        posed_vertices: its own mesh, with the topology of the source's, ``(1, V, 3)``.
        driving: the source's head in this frame's pose, in the same window; ``image`` and ``region_map``
            where known.
        person: where a person is, soft in [0, 1]; None where it is not known.
        colours: of its skin, smoothed in time; None: taken from this frame.
        segment: for engines that make a picture anew and have to know where its head is; None: they refuse.
    """

    image: Float[Tensor, "1 3 H W"]
    head: Float[Tensor, "1 1 H W"]
    posed_vertices: Float[Tensor, "1 V 3"]
    driving: Driving
    person: Float[Tensor, "1 1 H W"] | None = None
    colours: ColourStatistics | None = None
    segment: Segment | None = None


@dataclass(frozen=True)
class Swapped:
    """What an engine makes of one frame; all ``(1, C, H, W)``.

    Attributes:
        image: RGB in [0, 1].
        changed: where the window may differ from the target's, soft in [0, 1]; 0 means equal.
        head: opacity of the new head.
    """

    image: Float[Tensor, "1 3 H W"]
    changed: Float[Tensor, "1 1 H W"]
    head: Float[Tensor, "1 1 H W"]


class SwapEngine(Protocol):
    """``checkpoints`` names the files of its weights in their order, none where it has not learned; sides of
    the windows are multiples of ``window_multiple``.
    """

    @property
    def checkpoints(self) -> tuple[str, ...]: ...

    @property
    def window_multiple(self) -> int: ...

    def encode(self, sources: Sequence[SwapSource]) -> Any:
        """Everything that depends on the sources alone; called once. The first source is the main one.

        Args:
            sources: of one person.
        """

    def swap(self, cache: Any, target: SwapTarget) -> Swapped:
        """The source's head in place of the target's.

        Args:
            cache: what `encode` returned.
            target: one frame.
        """


_REGISTRY: Registry[SwapEngine] = Registry(__name__)
register = _REGISTRY.register


def engine_names() -> tuple[str, ...]:
    """Engines that are here: the files of this folder."""
    return file_names(__path__)


def engine_registration(name: str) -> Registration[SwapEngine]:
    """The registration behind a name; imports its file.

    Raises:
        HeadwarpError: an unknown name.
    """
    if name not in NAMES:
        raise HeadwarpError(f"--engine: expected one of {', '.join(NAMES)}, got {name!r}")
    return _REGISTRY.registration(name)


def load_engine(name: str = "geometry", checkpoint: Checkpoints = None, *, config: Any = None) -> SwapEngine:
    """An engine by name, ready to `encode`.

    Args:
        name: one of `NAMES`.
        checkpoint: the file of weights and config of an engine that has learned; a sequence of them where it
            puts several networks together.
        config: an instance of the engine's config class, for an untrained one; its defaults otherwise.

    Raises:
        HeadwarpError: an unknown name, checkpoints that are missing or not wanted, or a foreign config.
        ModelFileError: a file that is missing, or a checkpoint of another kind.

    Example:
        >>> load_engine("geometry").checkpoints
        ()
    """
    entry = engine_registration(name)
    paths = _paths(checkpoint)
    wanted: tuple[str, ...] = entry.build.checkpoints  # type: ignore[attr-defined]
    if paths and not wanted:
        raise HeadwarpError(f"--checkpoint: --engine {name} has no weights; leave it out")
    if len(paths) != len(wanted) and (paths or config is None):
        raise HeadwarpError(
            f"--engine {name}: expected --checkpoint {' '.join(wanted)}, got {len(paths) or 'none'}: it "
            "shows nothing before it has learned; take --engine geometry, which needs no weights"
        )
    if paths:
        engine: SwapEngine = entry.build.open_checkpoint(*paths)  # type: ignore[attr-defined]
        return engine
    return entry.made(config, what=f"engine {name!r}")


def _paths(checkpoint: Checkpoints) -> tuple[str | Path, ...]:
    if checkpoint is None:
        return ()
    return (checkpoint,) if isinstance(checkpoint, (str, Path)) else tuple(checkpoint)
