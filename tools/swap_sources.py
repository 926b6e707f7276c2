"""Sources of a head swap: photos and clips of one person, fitted with one shape, the best view first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..flame.detect import Track
from ..flame.fitting import fit_views
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit
from ..flame.posing import head_pose, pixels_per_metre
from ..geom.errors import HeadwarpError, NoFaceError
from ..training.data.portrait import Frame
from .faces import find_face
from .fit_identity import shape_points
from .portrait import as_frames
from .swap_windows import SourceHead, Stencil, head_windows

VIEWS_OF_CLIP = 6
STRANGERS_MM = 4.0
"""Shapes further apart, root mean square over the landmarks at rest, are said to be two persons'. Of one
person, photos 85 degrees of yaw apart were fitted up to 3.6 mm apart; many pairs of persons are nearer."""


@dataclass(frozen=True)
class View:
    """One picture of the source.

    Attributes:
        frame: uint8 (H, W, 3).
        points: landmarks in its pixels, ``(L, 2)``.
        score: of the detector.
        family: of the landmarks.
        item: number of the photo or clip it comes from.
    """

    frame: Frame
    points: np.ndarray
    score: float
    family: str
    item: int


@dataclass(frozen=True)
class Sources:
    """The source's heads.

    Attributes:
        heads: the main one first.
        main: number of the photo or clip that the main one comes from.
        views: pictures that were fitted.
        apart_mm: of each photo or clip, how far its own shape lies from that of the others (median); empty
            for one.
        notes: warnings.
    """

    heads: tuple[SourceHead, ...]
    main: int
    views: int
    apart_mm: tuple[float, ...]
    notes: tuple[str, ...]


def open_sources(
    source: Any,
    target: HeadFit,
    model: HeadModel,
    *,
    size: int,
    landmarks: str | Path = "mediapipe",
    face: int | None = None,
) -> Sources:
    """Read, detect and fit the pictures of one person.

    Args:
        source: a photo, a clip, or a list of them; clips give up to six views, spread over their poses.
        target: fit of the frames that the head is put into: which view is the main one hangs on it.
        model: the head.
        size: side of the windows.
        landmarks: a detector's name.
        face: which face of each photo or clip, by rank; None: the largest.

    Raises:
        NoFaceError: a source shows no face; it says which.
    """
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    if not items:
        raise HeadwarpError("--source: expected at least one photo or clip, got none")
    views = [view for n, item in enumerate(items) for view in _views(item, n, landmarks, face)]
    if len({view.family for view in views}) > 1:
        raise HeadwarpError("--source: expected landmarks of one kind, got several; take one detector")
    fits = _fitted(views, model)
    order = _by_merit(fits, target)
    apart = _apart(views, model, len(items))
    notes = [
        f"source {number + 1}: its face is {mm:.1f} mm from that of the others, as far as two persons are; "
        "are all sources of one person?"
        for number, mm in enumerate(apart)
        if mm > STRANGERS_MM
    ]
    stencil = Stencil.of(model, fits[0], size)
    heads = tuple(
        SourceHead(stencil, stencil.pictured(views[v].frame, fits[v], head_windows(model, fits[v])[0]))
        for v in order
    )
    return Sources(heads, views[order[0]].item, len(views), tuple(apart), tuple(notes))


def _views(item: Any, number: int, landmarks: str | Path, face: int | None) -> Iterator[View]:
    frames = list(item) if isinstance(item, Iterator) else item
    try:
        track = find_face(as_frames(frames), landmarks=landmarks, face=face).track
    except NoFaceError as error:
        raise NoFaceError(f"--source: {_named(item, number)}: {error}") from error
    chosen = _spread(track)
    last = max(chosen)
    for index, frame in enumerate(itertools.islice(as_frames(frames), last + 1)):
        if index in chosen:
            points = track.landmarks[index, :, :2]
            yield View(frame.copy(), points, float(track.score[index]), track.family, number)


def _named(item: Any, number: int) -> str:
    return str(item) if isinstance(item, (str, Path)) else f"picture {number + 1}"


def _spread(track: Track) -> set[int]:
    """Frames that differ most in the shape of their landmarks: the middle one, then always the furthest."""
    seen = np.flatnonzero(track.present)
    seen = seen[np.unique(np.linspace(0, len(seen) - 1, 120).round().astype(int))]
    points = track.landmarks[seen, :, :2]
    points = points - points.mean(1, keepdims=True)
    points = (points / np.sqrt(np.square(points).sum((1, 2), keepdims=True))).reshape(len(seen), -1)
    chosen = [int(np.square(points - np.median(points, axis=0)).sum(1).argmin())]
    nearest = np.full(len(seen), np.inf)
    while len(chosen) < min(VIEWS_OF_CLIP, len(seen)):
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(1))
        chosen.append(int(nearest.argmax()))
    return {int(seen[index]) for index in chosen}


def _fitted(views: Sequence[View], model: HeadModel) -> list[HeadFit]:
    return fit_views(
        model,
        [view.points for view in views],
        [(view.frame.shape[0], view.frame.shape[1]) for view in views],
        scores=[view.score for view in views],
        family=views[0].family,
    )


def _by_merit(fits: Sequence[HeadFit], target: HeadFit) -> list[int]:
    """Views by how well they suit: turned as the target mostly is, eyes open, large."""
    seen = target.status == DETECTED
    pose = head_pose(target.params)[seen].median(0).values
    lids = float(target.params.eyelids[seen].median())
    sizes = [float(pixels_per_metre(fit.params, fit.camera)[0]) for fit in fits]
    costs = []
    for fit, size in zip(fits, sizes, strict=True):
        turned = float((head_pose(fit.params)[0] - pose)[:2].norm()) / 15
        closed = max(0.0, float(fit.params.eyelids.mean()) - lids)
        small = np.log2(max(sizes) / size)
        costs.append(turned + 2 * closed + 0.5 * small)
    return np.argsort(costs, kind="stable").tolist()


def _apart(views: Sequence[View], model: HeadModel, items: int) -> list[float]:
    """Millimetres between the shape of each photo or clip and that of the others, the median of them."""
    if items < 2:
        return []
    own = [_fitted([view for view in views if view.item == n], model)[0] for n in range(items)]
    points = shape_points(model, [fit.params.shape.double().numpy() for fit in own], own[0])  # (N, L, 3)
    distance = np.sqrt(np.square(points[:, None] - points[None]).sum(-1).mean(-1))
    others = ~np.eye(items, dtype=bool)
    return [1000 * float(np.median(row[kept])) for row, kept in zip(distance, others, strict=True)]
