"""How far from its source an animator turns a head well: ``python -m headwarp.tools.bench.pose_range``.

One JSON on the standard output. Synthetic people look into the camera and turn the neck alone, in known
steps, and every animator moves the first picture by the known heads; with ``--clips`` the most frontal frame
of every clip is moved by the clip's own fit as well. What is made is compared with what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...flame.detect.mediapipe import landmarks_in_roi
from ...flame.landmarks import MEDIAPIPE_68
from ...flame.model import HeadModel
from ...flame.params import DETECTED, HeadFit
from ...flame.pose_limit import limited_pose
from ...flame.posing import camera_rotation, posed_vertices, skull_vertices
from ...flame.residual import corrected
from ...geom.cameras import MODEL_TO_CAMERA, Perspective
from ...geom.displacement import mesh_flow, source_visibility
from ...geom.pose_range import PoseRange, limited_turn, swing
from ...geom.transforms import axis_angle_to_matrix, euler_to_matrix, matrix_to_axis_angle
from ...training.data.portrait import Frame, Portrait, portrait_of
from ...warping.animators import Animator
from ..faces import fit_frames
from ..heads import ready_head
from ..performance import open_animator, perform, windows
from ..portrait import as_frames

NAMES = ("geometry", "pwm", "tps")
PERSONS = 12
SIZE = 256
SEED = 7
PRESENT = 0.5  # presence of a face, from here on it is found
YAWS = (10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 70)
PITCHES = (10, 15, 20, 25, 30, 35, 40, 45, 50)
STEP_DEG = 5
STRIDE = 5  # frames of a clip that are looked at: every fifth
MOST_FRAMES = 60  # of a clip


@dataclass(frozen=True)
class Seen:
    """One picture that an animator made.

    Attributes:
        name: of the animator.
        yaw_deg, pitch_deg: the swing from the source; pitch > 0 looks down.
        akd: mean distance of 68 points found in it and in the true picture, in pixels of 256; NaN: no face is
            found in it; infinite: none in the true one.
        hidden: share of the head's picture that the source does not show.
        l1: mean difference of colours where the true head is, of 1.
    """

    name: str
    yaw_deg: float
    pitch_deg: float
    akd: float
    hidden: float
    l1: float


@dataclass(frozen=True)
class Footage:
    """Fitted frames of one person of which one is the source.

    Attributes:
        fit: of every frame, in its pixels.
        frames: the pictures.
        source: number of the source's.
    """

    fit: HeadFit
    frames: Sequence[Frame]
    source: int


def synthetic(head: HeadModel, number: int, *, size: int = SIZE) -> Footage:
    """A person who turns the neck to `YAWS` on both sides and to `PITCHES` up and down; frontal first.

    Args:
        head: the head model.
        number: of the person.
        size: side of the frames in pixels.
    """
    from ...training.data.synthetic import Recipe, synthesise, true_fit

    clip = synthesise(head, Recipe(seed=SEED, number=number, frames=1, size=size, occluders=0.0))
    sides = [(side * yaw, 0.0) for yaw in YAWS for side in (-1, 1)]
    turns = [(0.0, 0.0), *sides, *((0.0, side * pitch) for pitch in PITCHES for side in (-1, 1))]
    yaw, pitch = torch.deg2rad(torch.tensor(turns)).unbind(1)
    neck = MODEL_TO_CAMERA @ euler_to_matrix(yaw, pitch, 0 * yaw) @ MODEL_TO_CAMERA
    same = [0] * len(turns)
    params = clip.motion.params.select(same)
    still = {name: torch.zeros_like(getattr(params, name)) for name in ("rotation", "eyes", "eyelids", "jaw")}
    motion = dataclasses.replace(
        clip.motion,
        params=dataclasses.replace(params, **still, neck=matrix_to_axis_angle(neck)),
        camera=Perspective(clip.motion.camera.focal[same], clip.motion.camera.principal[same]),
        window=clip.motion.window[same],
    )
    recipe = dataclasses.replace(clip.recipe, frames=len(turns))
    turned = dataclasses.replace(clip, motion=motion, recipe=recipe)
    return Footage(true_fit(turned), [turned.picture(frame) for frame in range(len(turns))], 0)


def filmed(head: HeadModel, path: Path) -> Footage:
    """Frames of a clip that show its face, up to `MOST_FRAMES`; the most frontal is the source."""
    frames = list(as_frames(path))
    fit = fit_frames(frames, head)
    seen = (fit.status == DETECTED).nonzero()[:, 0].tolist()
    seen = seen[:: max(STRIDE, -(-len(seen) // MOST_FRAMES))]
    kept = fit.select(seen)
    frontal = int(swing(head_rotation(kept))[:, 0].argmin())
    return Footage(kept, [frames[frame] for frame in seen], frontal)


def head_rotation(fit: HeadFit) -> Float[Tensor, "T 3 3"]:
    """Head to camera, as a turn away from looking into the camera."""
    head = camera_rotation(fit.params) @ axis_angle_to_matrix(fit.params.neck)
    return head @ MODEL_TO_CAMERA.to(head)


def judged(
    footage: Footage, head: HeadModel, name: str, animator: Animator, *, within: PoseRange | None = None
) -> list[Seen]:
    """Every frame but the source as an animator makes it of the source, compared with what it is.

    ``within`` a range, only those beyond it, stopped there, each with the turn that was asked for.

    Args:
        footage: frames with their fits.
        head: the head of the fits.
        name: of the animator.
        animator: any.
        within: a range: only turns beyond it, stopped there; None: all.
    """
    others = [number for number in range(footage.fit.frames) if number != footage.source]
    own = footage.fit.select([footage.source])
    if within:
        turned = footage.fit.select(others)
        limited = limited_turn(head_rotation(turned) @ head_rotation(own).mT, within)
        others = [n for n, over in zip(others, limited.angle_deg > limited.limit_deg, strict=True) if over]
        if not others:
            return []
    driven = footage.fit.select(others)
    made_of = limited_pose(head, own, driven, within).fit if within else driven
    portrait = portrait_of(footage.frames[footage.source], head, own)
    turns = swing(head_rotation(driven) @ head_rotation(own).mT)
    degrees = torch.rad2deg(turns[:, :1]) * turns[:, 1:]
    hidden, place = _hidden(portrait, driven)
    rows = []
    for index, made in enumerate(windows(perform([portrait], made_of, animator))):
        true = footage.frames[others[index]]
        near = driven.landmarks[index].numpy()
        covered = place[index, 0].numpy()
        error = np.abs(made.astype(float) - true)[covered].mean() / 255
        pitch, yaw = degrees[index].tolist()
        distance = _distance(made, true, near) * SIZE / max(true.shape[:2])
        rows.append(Seen(name, yaw, pitch, distance, float(hidden[index]), float(error)))
    return rows


def _clamped(footage: Footage, head: HeadModel, name: str, animator: Animator) -> list[Seen]:
    holds = getattr(animator, "holds", None)
    return judged(footage, head, f"{name} --clamp", animator, within=holds) if holds else []


def _hidden(portrait: Portrait, driven: HeadFit) -> tuple[Float[Tensor, "T"], Bool[Tensor, "T 1 H W"]]:
    """The share of the driven head that the source does not show, and where the head is."""
    head, field = portrait.head, portrait.field
    own = corrected(posed_vertices(head, portrait.fit), portrait.fit, field)
    skull = skull_vertices(head)
    visibility = source_visibility(own, head.faces, driven.size)
    shares, places = [], []
    for frame in range(driven.frames):
        one = driven.select([frame])
        verts = corrected(posed_vertices(head, one), one, field)
        flow = mesh_flow(own, verts, head.faces, size=driven.size, visibility=visibility, skull=skull)
        place = flow.person > 0  # of the skull, the neck left out, away from the outline
        shares.append(1 - (flow.known * place).sum() / place.sum())
        places.append(place)
    return torch.stack(shares), torch.cat(places)


def _distance(made: Frame, true: Frame, near: NDArray[np.float32]) -> float:
    """Mean distance of the 68 points in two pictures; NaN where the made one shows no face."""
    found, presence = landmarks_in_roi(made, near)
    known, there = landmarks_in_roi(true, near)
    if presence < PRESENT or there < PRESENT:
        return float("nan") if there >= PRESENT else float("inf")
    rows = list(MEDIAPIPE_68)
    return float(np.linalg.norm(found[rows, :2] - known[rows, :2], axis=1).mean())


def table(rows: Sequence[Seen]) -> list[dict[str, Any]]:
    """Medians of the rows in steps of `STEP_DEG`, turns in between left out, by animator and direction."""
    bins: dict[tuple[str, str, int], list[Seen]] = {}
    for row in rows:
        across = abs(row.yaw_deg) >= abs(row.pitch_deg)
        degrees = abs(row.yaw_deg) if across else abs(row.pitch_deg)
        way = "yaw" if across else ("down" if row.pitch_deg > 0 else "up")
        if not np.isinf(row.akd):  # the detector does not find the true face: nothing to compare with
            bins.setdefault((row.name, way, STEP_DEG * round(degrees / STEP_DEG)), []).append(row)
    return [
        {
            "name": name,
            "way": way,
            "degrees": degrees,
            "frames": len(some),
            "akd": float(np.nanmedian([row.akd for row in some])) if any(map(_found, some)) else None,
            "lost": 1 - sum(map(_found, some)) / len(some),
            "hidden": float(np.median([row.hidden for row in some])),
            "l1": float(np.median([row.l1 for row in some])),
        }
        for (name, way, degrees), some in sorted(bins.items())
    ]


def _found(row: Seen) -> bool:
    return not np.isnan(row.akd)


def main(words: Sequence[str] | None = None) -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, help="folder of clips of one person each, 256 x 256")
    parser.add_argument("--persons", type=int, default=PERSONS, help="synthetic people")
    parser.add_argument("--animators", nargs="+", default=list(NAMES))
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    head = ready_head("builtin")
    makers = {name: open_animator(name) for name in asked.animators}
    opened: dict[str, list[Callable[[], Footage]]] = {
        "synthetic": [partial(synthetic, head, number) for number in range(asked.persons)],
        "clips": [partial(filmed, head, path) for path in sorted(asked.clips.glob("*.mp4"))]
        if asked.clips
        else [],
    }
    results = {}
    for what, several in opened.items():
        rows = [
            row
            for open_footage in tqdm(several, desc=what)
            for footage in [open_footage()]
            for name, maker in makers.items()
            for row in (*judged(footage, head, name, maker), *_clamped(footage, head, name, maker))
        ]
        results[what] = {"table": table(rows), "frames": [dataclasses.asdict(row) for row in rows]}
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
