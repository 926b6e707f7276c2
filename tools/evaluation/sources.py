"""Geometry sources side by side on synthetic people: flow and head pose of each against the exact truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...flame.model import HeadModel
from ...geom.errors import HeadwarpError
from ...geom.head_pose import pose_error
from ...training.data.synthetic import Material, true_flow, truth_of
from ...training.data.synthetic.motions import true_pose
from ...training.metrics.motion import flow_epe
from .clips import ClipTrial
from .flows import known_clip
from .source_rows import ROWS, Row, Scene, Told

OF_HEAD = (Material.SKIN, Material.EYE, Material.MOUTH, Material.TEETH)
Errors = Mapping[str, Mapping[str, float]]
"""By source and metric."""


@torch.no_grad()
def compare_sources(
    scene: Scene, frames: Sequence[int], rows: Mapping[str, Row] | None = None
) -> dict[str, dict[str, float]]:
    """Errors of every source, means over frames; see `DEFINITIONS` for what they are.

    Args:
        scene: a source frame of a synthetic clip.
        frames: the driving frames.
        rows: what is compared; `ROWS` by default.
    """
    rows = ROWS if rows is None else rows
    values: dict[str, dict[str, list[float]]] = {name: {} for name in rows}
    for frame in frames:
        for name, row in rows.items():
            for metric, value in _errors(scene, frame, row(scene, frame)).items():
                values[name].setdefault(metric, []).append(value)
    return {
        name: {metric: _mean(found) for metric, found in metrics.items()} for name, metrics in values.items()
    }


DEFINITIONS: Mapping[str, str] = {
    "flow_epe": "mean distance of flow vectors in pixels, over the person's pixels that the source shows",
    "head_epe": "the same over skin, eyes and mouth",
    "known_epe": "the same over the person's pixels that the source says it knows",
    "known_share": "share of the person's pixels that the source shows and the guidance says it knows",
    "pose_error_deg": "angle of the turn between the found and the true head pose",
    "roll_error_deg": "of the roll alone, which keypoints tell too",
}


def _errors(scene: Scene, frame: int, told: Told) -> dict[str, float]:
    source, target = scene.clip.view(scene.first), scene.clip.view(frame)
    truth, label = true_flow(source, target), truth_of(target).label
    seen = (truth.person > 0.5) & (truth.visible > 0.5)
    head = seen & torch.isin(label, torch.tensor([int(kind) for kind in OF_HEAD]))[None, None]
    known = seen & (told.guidance.known > 0.5)
    flow, true_deg = told.guidance.flow, true_pose(scene.clip, frame)
    turn = (told.pose_deg - true_deg + 180) % 360 - 180
    return {
        "flow_epe": float(flow_epe(flow, truth.flow, seen)),
        "head_epe": float(flow_epe(flow, truth.flow, head)),
        "known_epe": float(flow_epe(flow, truth.flow, known)),
        "known_share": float(known.sum()) / max(1, int(seen.sum())),
        "pose_error_deg": float(pose_error(told.pose_deg, true_deg)),
        "roll_error_deg": float(turn[0, 2].abs()),
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def compared_sources(path: Path, trial: ClipTrial, model: HeadModel, rows: Mapping[str, Row]) -> Errors:
    """The sources of an evaluated clip; nothing where it is no clip of `headwarp synth`.

    Args:
        path: the clip.
        trial: the same, with its fit.
        model: the head.
        rows: of trained networks, beside `ROWS`.
    """
    known = known_clip(path, model)
    if known is None:
        return {}
    return compare_sources(Scene(known, trial.first, trial.fit), trial.measured, {**ROWS, **rows})


def sources_report(compared: Mapping[str, Errors]) -> dict[str, Any]:
    """``sources`` of a report: ``errors`` by source, means over clips, ``definitions``, ``clips`` so many.

    Raises:
        HeadwarpError: no clip has a truth beside it.
    """
    found = [errors for errors in compared.values() if errors]
    if not found:
        raise HeadwarpError(
            "--sources: expected clips of headwarp synth with their truth beside them, of this head, got none"
        )
    errors = mean_over_scenes(found)
    return {"sources": {"clips": len(found), "errors": errors, "definitions": dict(DEFINITIONS)}}


def mean_over_scenes(found: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Means of several scenes' errors, each as much as the others."""
    names = list(dict.fromkeys(name for scene in found for name in scene))
    return {
        name: {
            metric: _mean([scene[name].get(metric, math.nan) for scene in found if name in scene])
            for metric in DEFINITIONS
        }
        for name in names
    }


def describe_sources(compared: Mapping[str, Any] | None) -> list[str]:
    """Lines of `sources_report` for a person; none without it."""
    if compared is None:
        return []
    said = [f"  {name}: {text}" for name, text in compared["definitions"].items()]
    return ["", f"geometry sources, {compared['clips']} clip(s):", *table_of(compared["errors"]), *said]


def table_of(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines for a person: one a source, a dash where it cannot tell."""
    columns = list(DEFINITIONS)
    width = max(len(name) for name in errors)
    lines = ["  ".join([" " * width, *columns])]
    for name, row in errors.items():
        cells = ["-" if math.isnan(row[key]) else f"{row[key]:.2f}" for key in columns]
        lines.append(
            "  ".join([name.ljust(width), *(c.rjust(len(k)) for c, k in zip(cells, columns, strict=True))])
        )
    return lines
