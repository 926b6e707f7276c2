"""How well a fit knows whose face it is: one person's shape from either half of a clip, against other
persons'.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..flame.fitting import FitConfig, fit_landmarks
from ..flame.model import HeadModel, restrict
from ..flame.params import DETECTED, HeadFit
from ..geom.errors import HeadwarpError, NoFaceError

FEWEST_FRAMES = 20  # detected, for a clip to be halved
FRAMES_A_HALF = 24  # fitted, evenly taken
MOST_CLIPS = 256  # compared with each other
_ID = re.compile(r"id\d{4,}")


def halves_apart(model: HeadModel, fit: HeadFit, config: FitConfig | None = None) -> float | None:
    """Millimetres, root mean square over the landmarks, between the shapes of the two halves of a clip.

    Either half is fitted anew to at most 24 of its frames, without smoothing. None for a clip of less than 20
    detected frames.

    Args:
        model: the head of the fit.
        fit: of a clip.
        config: that it was fitted with.
    """
    seen = np.flatnonzero((fit.status == DETECTED).numpy())
    if len(seen) < FEWEST_FRAMES:
        return None
    config = config or FitConfig()
    solver = dataclasses.replace(config.solver, smooth=0.0)
    alone = dataclasses.replace(config, solver=solver, mode="auto", shape=None)
    shapes = []
    for part in (seen[: len(seen) // 2], seen[len(seen) // 2 :]):
        taken = part[np.unique(np.linspace(0, len(part) - 1, FRAMES_A_HALF).round().astype(int))]
        family = str(fit.report.get("family", "mediapipe"))
        try:
            found = fit_landmarks(model, _points(fit, taken, family), fit.size, family=family, config=alone)
        except NoFaceError:
            return None
        shapes.append(found.params.shape.double().numpy())
    return 1000 * _apart(shape_points(model, shapes, fit))[0]


def _points(fit: HeadFit, frames: NDArray[np.int_], family: str) -> NDArray[np.float64]:
    """The fit's landmarks in their family's numbering, NaN where the head has none."""
    count = 68 if family == "ibug68" else 478
    points = np.full((len(frames), count, 2), np.nan)
    points[:, fit.landmark_indices.numpy()] = fit.landmarks[frames].double().numpy()
    return points


def shape_points(
    model: HeadModel, shapes: Sequence[NDArray[np.floating]], fit: HeadFit | None = None
) -> np.ndarray:
    """Where the landmarks of persons at rest lie, (N, L, 3) metres, without the mean; for comparison only.

    Args:
        model: the head.
        shapes: coefficients of N persons.
        fit: whose landmarks count; None: those of the face mesh.
    """
    family = "mediapipe" if fit is None else str(fit.report.get("family", "mediapipe"))
    if family not in model.landmarks:
        family = next(iter(model.landmarks))
    basis = restrict(model, family).shape_basis.double().numpy()
    return np.einsum("lcs,ns->nlc", basis[..., : len(shapes[0])], np.stack(shapes))


def _apart(points: np.ndarray) -> list[float]:
    """Root mean square distance of every pair, by the products of all with all."""
    flat = points.reshape(len(points), -1)
    products = flat @ flat.T
    squares = np.diag(products)
    apart = np.maximum(squares[:, None] + squares - 2 * products, 0.0) / points.shape[1]
    return np.sqrt(apart[np.triu_indices(len(points), 1)]).tolist()


def person_of(name: str) -> str:
    """Whose clip it is, as far as its name says: ``id#video#..``, a folder such as ``id10283``, else the
    clip itself.

    Example:
        >>> person_of("id1#abc#0#9"), person_of("test/id10283/x/1"), person_of("talk")
        ('id1', 'id10283', 'talk')
    """
    if "#" in name:
        return name.rpartition("/")[2].partition("#")[0]
    found = [part for part in name.split("/") if _ID.fullmatch(part)]
    return found[0] if found else name


def identity_spread(model: HeadModel, clips: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Spread of one person's shape against that between persons.

    Args:
        model: the head.
        clips: entries of the report, with ``name``, ``output`` and ``identity_halves_mm``; all are passed
            over once, and of at most 256, evenly taken, the shapes are read.

    Returns:
        ``within_mm``: mean over clips of `halves_apart`; ``between_mm``: mean over pairs of clips of
        different persons (`person_of`); ``ratio``; ``clips`` that were halved, ``compared``. None where
        there are none.
    """
    total, halved = 0.0, 0
    kept: list[tuple[str, Path]] = []
    step = 1
    for number, clip in enumerate(clip for clip in clips if clip["ok"]):
        if clip.get("identity_halves_mm") is not None:
            total, halved = total + clip["identity_halves_mm"], halved + 1
        if number % step == 0:
            kept.append((clip["name"], Path(clip["output"])))
        if len(kept) == 2 * MOST_CLIPS:
            kept, step = kept[::2], 2 * step
    between = _between(model, kept[:: max(1, -(-len(kept) // MOST_CLIPS))])
    within = total / halved if halved else None
    return {
        "within_mm": within,
        "between_mm": between,
        "ratio": within / between if within is not None and between else None,
        "clips": halved,
        "compared": min(len(kept), MOST_CLIPS),
    }


def _between(model: HeadModel, clips: Sequence[tuple[str, Path]]) -> float | None:
    persons, shapes = [], []
    for name, path in clips:
        shape = _stored_shape(path)
        if shape is not None and len(shape) == model.shape_basis.shape[2]:
            persons.append(person_of(name))
            shapes.append(shape)
    if len(set(persons)) < 2 or not model.landmarks:
        return None
    first, second = np.triu_indices(len(persons), 1)
    other = np.array(persons)[first] != np.array(persons)[second]
    return 1000 * float(np.mean(np.array(_apart(shape_points(model, shapes)))[other]))


def _stored_shape(path: Path) -> NDArray[np.float64] | None:
    """The shape in a fit file, alone read of it; None if it is gone."""
    from ..flame._npz_stream import read_member

    try:
        return read_member(path, "shape").astype(np.float64)
    except HeadwarpError:
        return None
