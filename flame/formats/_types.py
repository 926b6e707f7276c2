"""What every format is made of, and what reading and writing return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from ..model import HeadModel
from ..params import HeadFit
from ._content import Content
from ._source import Source


@dataclass(frozen=True)
class ReadOptions:
    """What a file may leave unsaid.

    Attributes:
        size: (H, W) of the original frames; None: what the file says, else where its crops end.
    """

    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class WriteOptions:
    """Choices that a format leaves to the writer.

    Attributes:
        focal: pixels; the camera that a weak-perspective fit gets in a format with a perspective one. None:
            as long as it takes to keep every vertex within ``tolerance_px``.
        tolerance_px: of that; 0.1 is a tenth of what detectors leave.
        masks: whether masks of the person will lie beside the pictures of a dataset.
    """

    focal: float | None = None
    tolerance_px: float = 0.1
    masks: bool = False


@dataclass(frozen=True)
class Reading:
    """A fit from another tracker's file.

    Attributes:
        fit: without landmarks (``L = 0``); its covariance is NaN: unknown.
        shapes: identity coefficients as the file has them for every frame, ``(T, S)``; the fit's are their
            mean over the frames that are there.
        notes: what the file does not say, or what a fit cannot hold; a sentence each.
    """

    fit: HeadFit
    shapes: Float[Tensor, "T S"]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Writing:
    """What was written.

    Attributes:
        path: the file or folder.
        frames: records in it.
        notes: what the format cannot hold, or what was chosen; a sentence each.
    """

    path: Path
    frames: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """A tracker's format.

    Attributes:
        name: on the command line.
        title: for people.
        output: suffixes that an output may have; "" is a folder.
        matches: whether a file's content is of this format.
        summary: what `describe` says about it: ``frames``, ``shape``, ``expression``, ``camera``, and so on.
        read: from a source, for a FLAME head.
        write: a fit of a FLAME head to a path.
    """

    name: str
    title: str
    output: tuple[str, ...]
    matches: Callable[[Source, Content], bool]
    summary: Callable[[Source, Content], Mapping[str, object]]
    read: Callable[[Source, HeadModel, ReadOptions], Reading]
    write: Callable[[HeadFit, HeadModel, Path, WriteOptions], Writing]
