"""A photo in a grid of poses: ``headwarp edit --grid``, one labelled sheet or one picture a cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..flame.model import HeadModel
from ..flame.params import HeadFit, Pose
from ..flame.posing import apply_pose
from ..geom.errors import HeadwarpError
from ..geom.guidance import Driving
from ..training.data.atomic import write_json
from ..training.data.portrait import Frame, Portrait
from ..training.data.provenance import Provenance
from ..warping.animators import Animation, Animator
from ..warping.animators.geometry import GeometryAnimator
from ..warping.animators.pwm import PwmAnimator
from .frame_files import Written, in_little
from .heads import ready_head
from .inputs import check_folder
from .landmark_motion import with_landmarks_of
from .motion import Motion, check_poses
from .performance import (
    PICTURES,
    check_device,
    check_output,
    check_window,
    drivings,
    encoded,
    open_animator,
    windows,
)
from .portrait import as_frames, open_portrait
from .posed_drivings import posed_drivings

AXES = ("yaw", "pitch", "roll", "jaw", "blink", "gaze_x", "gaze_y")
_OF_GAZE = ("gaze_x", "gaze_y")
CELLS = 400  # of a grid at most: a sheet of 20 x 20 is 5,120 pixels wide
TILE = 256  # pixels, the longer side of a cell of the sheet at most
ACROSS = 8  # cells of a grid of one axis in a row of the sheet
BATCH = 4  # the quickest on a CPU: docs/benchmarks.md
IN_BATCHES = (GeometryAnimator, PwmAnimator)  # those whose batches are tested
_DIGITS = 4  # decimals of a number of a pose, so that the label says all of it


@dataclass(frozen=True)
class Axis:
    """One number of a pose, and the values that it takes.

    Attributes:
        name: of `AXES`, or an expression of the head, see `flame.posing.expression_names`.
        values: at least one, distinct, in the unit of `Pose`.
    """

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Grid:
    """Poses in rows: the first axis runs across, the second down.

    Attributes:
        axes: one or two.
    """

    axes: tuple[Axis, ...]

    @property
    def columns(self) -> int:
        """Cells in a row of the sheet."""
        across = len(self.axes[0].values)
        return across if len(self.axes) > 1 else min(across, ACROSS)

    def cells(self) -> list[dict[str, float]]:
        """Values of every cell by axis, row by row."""
        found: list[dict[str, float]] = [{}]
        for axis in reversed(self.axes):
            found = [{axis.name: value, **cell} for cell in found for value in axis.values]
        return found

    def poses(self, base: Pose) -> list[Pose]:
        """The pose of every cell: ``base`` with the values of the axes in place of its own."""
        return [_with(base, cell) for cell in self.cells()]

    def labels(self) -> list[str]:
        """What a cell of the sheet says, such as ``yaw -30  pitch +15``."""
        return ["  ".join(f"{name} {_signed(value)}" for name, value in c.items()) for c in self.cells()]

    def names(self) -> list[str]:
        """A plain name for every cell, such as ``yaw-30_pitch+15``."""
        return ["_".join(f"{name}{_signed(value)}" for name, value in cell.items()) for cell in self.cells()]


def parse_grid(words: Sequence[str], *, expressions: Sequence[str] = ()) -> Grid:
    """``["yaw=-30:30:5", "pitch=-15:15:3"]``, each NAME=FIRST:LAST:COUNT, to a grid.

    Args:
        words: one or two.
        expressions: names beside `AXES`: those of the head, `flame.posing.expression_names`. A name of both
            is that of `AXES`.

    Raises:
        HeadwarpError: another spelling, a name that is nowhere or there twice, more than two axes, or more
            than `CELLS` cells.

    Example:
        >>> parse_grid(["yaw=-30:30:3", "jaw=0:1:2"]).names()[:3]
        ['yaw-30_jaw+0', 'yaw+0_jaw+0', 'yaw+30_jaw+0']
    """
    if not 1 <= len(words) <= 2:
        raise HeadwarpError(f"--grid: expected one or two axes, got {len(words)}; make a grid of each pair")
    ranges = [_range(word, expressions) for word in words]
    if len({name for name, *_ in ranges}) < len(ranges):
        raise HeadwarpError(f"--grid: expected two different axes, got {ranges[0][0]} twice")
    cells = math.prod(count for *_, count in ranges)
    if cells > CELLS:
        raise HeadwarpError(f"--grid: expected {CELLS} cells at most, got {cells}; make several grids")
    return Grid(tuple(_axis(*each) for each in ranges))


def _range(word: str, expressions: Sequence[str]) -> tuple[str, float, float, int]:
    name, _, text = word.partition("=")
    try:
        first, last, count = text.split(":")
        made = name, float(first), float(last), int(count)
    except ValueError:
        made = name, math.nan, math.nan, 0
    if not (math.isfinite(made[1]) and math.isfinite(made[2]) and made[3] > 0):
        raise HeadwarpError(f"--grid: expected NAME=FIRST:LAST:COUNT such as yaw=-30:30:5, got {word!r}")
    if name not in (*AXES, *expressions):
        known = [*AXES, *(each for each in expressions if not each.isdigit())]
        raise HeadwarpError(f"--grid: expected one of {', '.join(known)}, got {name!r}")
    return made


def _axis(name: str, first: float, last: float, count: int) -> Axis:
    step = (last - first) / max(count - 1, 1)
    values = tuple(round(first + step * index, _DIGITS) + 0.0 for index in range(count))  # no -0.0
    if len(set(values)) < count or (count == 1 and first != last):
        raise HeadwarpError(
            f"--grid: {name}: {count} value(s) from {first:g} to {last:g} are not that many different ones "
            f"of {_DIGITS} decimals; widen the range or change the count"
        )
    return Axis(name, values)


def _signed(value: float) -> str:
    return f"{value:+.{_DIGITS}f}".rstrip("0").rstrip(".")


def _with(base: Pose, cell: Mapping[str, float]) -> Pose:
    """A pose with some of its numbers replaced."""
    gaze = (cell.get("gaze_x", base.gaze[0]), cell.get("gaze_y", base.gaze[1]))
    numbers: dict[str, Any] = {name: cell[name] for name in cell if name in AXES and name not in _OF_GAZE}
    named = {name: value for name, value in cell.items() if name not in AXES}
    return dataclasses.replace(base, gaze=gaze, expressions={**base.expressions, **named}, **numbers)


def field_names(grid: Grid | None) -> tuple[str, ...]:
    """The options of `edit` in whose place the axes stand."""
    if grid is None:
        return ()
    names = ("gaze" if axis.name in _OF_GAZE else axis.name for axis in grid.axes)
    return tuple(name if name in (*AXES, "gaze") else "expression" for name in names)


def is_folder(output: Path) -> bool:
    """Whether an output means a folder of cells: one that is there, or a name without a suffix."""
    return output.is_dir() or not output.suffix


def check_grid_output(output: Path) -> None:
    """Refuse what is neither a picture's name nor a folder's, before the work is done.

    Raises:
        HeadwarpError: see `check_output` and `check_folder`.
    """
    if is_folder(output):
        check_folder(output)
    else:
        check_output(output, PICTURES, what="a sheet (a folder: no suffix)")


def batch_size(asked: int | None, animator: Animator, *, name: str) -> int:
    """How many cells the animator makes at once.

    Args:
        asked: None: `BATCH` where the animator takes several, else 1.
        animator: `IN_BATCHES`, or any other for one at a time.
        name: of it.

    Raises:
        HeadwarpError: fewer than 1, or several for an animator that is not known to take them.
    """
    able = isinstance(animator, IN_BATCHES)
    if asked is None:
        return BATCH if able else 1
    if not 1 <= asked <= CELLS:
        raise HeadwarpError(f"--grid-batch: expected 1 to {CELLS}, got {asked}")
    if asked > 1 and not able:
        raise HeadwarpError(
            f"--grid-batch: {name} is tested with one pose at a time in this guidance, got {asked}; "
            "leave it out"
        )
    return asked


def edit_grid(
    photo: Any,
    grid: Grid,
    base: Pose | None = None,
    *,
    animator: str | Animator = "geometry",
    head: str | Path | HeadModel | None = None,
    size: int = 512,
    face: int | None = None,
    motion: Motion | None = None,
    batch: int | None = None,
    device: str = "cpu",
) -> Iterator[Frame]:
    """One photo in every pose of a grid, row by row, each made when its batch is asked for.

    Args:
        photo: as in `edit`.
        grid: of `parse_grid`, or made of axes.
        base: what the axes leave as it is; None: the photo's own pose.
        animator, head, size, face, motion: as in `edit`.
        batch: cells made at once; see `batch_size`.
        device: where the animator works.

    Returns:
        uint8 (size, size, 3) windows, one for every cell.

    Raises:
        HeadwarpError: what `edit` raises, or what `batch_size` raises.
    """
    place = check_device(device)
    maker = open_animator(animator, device=place) if isinstance(animator, str) else animator
    name = animator if isinstance(animator, str) else type(maker).__name__
    count = batch_size(batch, maker, name=name)
    check_window(maker, size, name=name)
    model = ready_head(head)
    opened = open_portrait(next(iter(as_frames(photo))), head=model, size=size, face=face)
    portrait = with_landmarks_of(opened, maker)
    taken = (motion or Motion()).held_by(maker, name)
    check_poses(taken)
    fit = taken.applied(model, portrait.fit, apply_pose(model, portrait.fit, grid.poses(base or Pose())))
    return windows(perform_in_batches(portrait, fit, maker, batch=count, device=place))


def perform_in_batches(
    portrait: Portrait,
    fit: HeadFit,
    animator: Animator,
    *,
    batch: int,
    device: torch.device | str = "cpu",
) -> Iterator[Animation]:
    """`performance.perform` of one portrait, several frames of the fit at once; yields them one by one.

    Meshes are posed one by one, because a product of several matrices rounds differently: so the pictures of
    `geometry` keep their bits, whatever the batch. A network's convolutions round differently too: up to 1 of
    255 in single pixels.

    Args:
        portrait: of the source.
        fit: T frames in the portrait's window.
        animator: any.
        batch: frames at once.
        device: where the animator works.
    """
    cache = encoded([portrait], animator, device=device)
    frames = posed_drivings(animator, cache, portrait, fit, drivings(portrait, fit, device=device))
    yield from animated_in_batches(animator, cache, frames, batch)


@torch.no_grad()
def animated_in_batches(
    animator: Animator, cache: Any, frames: Iterable[Driving], batch: int
) -> Iterator[Animation]:
    """The picture of every driving frame, ``batch`` of them made at once; see `perform_in_batches`.

    Args:
        animator: any.
        cache: what it made of the sources.
        frames: one by one.
        batch: frames at once.
    """
    rest = iter(frames)
    while several := list(islice(rest, batch)):
        made = animator.animate(cache, _joined(several))
        for index in range(len(several)):
            yield Animation(made.image[[index]], _row(made.flow, index), _row(made.occlusion, index))


def _row(maps: Tensor | None, index: int) -> Tensor | None:
    return None if maps is None else maps[[index]]


def _joined(several: Sequence[Driving]) -> Driving:
    """Driving frames as one batch; they hold tensors of the same fields."""
    if len(several) == 1:
        return several[0]
    joined: dict[str, Any] = {}
    for field in dataclasses.fields(Driving):
        values = [getattr(each, field.name) for each in several]
        joined[field.name] = None if values[0] is None else torch.cat(values)
    return Driving(**joined)


def write_grid(
    output: Path, frames: Iterator[Frame], grid: Grid, *, provenance: Provenance | None = None
) -> Written:
    """The labelled sheet, or a folder with a picture a cell and ``grid.json``, which says what is where.

    Args:
        output: see `is_folder`.
        frames: of the cells, row by row.
        grid: what they show.
        provenance: what to say about the making.

    Returns:
        How many cells; height and width of the sheet, or of a cell of the folder.
    """
    from ..training.data.media import write_image
    from .demo import labelled_sheet

    names = grid.names()
    if not is_folder(output):
        tiles = [in_little(frame, TILE) for frame in frames]
        sheet = labelled_sheet(tiles, grid.labels(), columns=grid.columns)
        write_image(output, sheet, provenance=provenance)
        return Written(len(names), sheet.shape[0], sheet.shape[1])
    for name, frame in zip(names, frames, strict=True):
        write_image(output / f"{name}.png", frame, provenance=provenance)
    cells = [{"file": f"{n}.png", **cell} for n, cell in zip(names, grid.cells(), strict=True)]
    axes = {axis.name: axis.values for axis in grid.axes}
    write_json(output / "grid.json", {"axes": axes, "cells": cells, "columns": grid.columns})
    return Written(len(names), frame.shape[0], frame.shape[1])
