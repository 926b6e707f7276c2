"""Depth, focal length and rotation of a trained network on synthetic people, beside what knows nothing.

``python -m headwarp.tools.bench.depth --checkpoint DEPTH --data SYNTH --json R.json``: SYNTH is a folder of
`headwarp synth`, its ``test`` people are measured, and the mean depth map is that of its ``train`` people.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...flame.model import HeadModel
from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, Source, take
from ...geom.transforms import axis_angle_to_matrix
from ...training.data.portrait import to_image
from ...training.data.synthetic import SyntheticClip, load_clip, truth_of
from ...training.data.synthetic.files import TRUTH
from ...training.data.synthetic.heads import FACE, head_pixels
from ...training.data.synthetic.motions import true_intrinsics, true_relative_pose
from ...training.metrics.depth import (
    best_constant,
    log_ratio,
    mean_depth_map,
    rank_correlation,
    rotation_error_deg,
    scale_invariant_error,
)
from ...warping.observers import DepthObserver, load_depth_observer

LEAST_PIXELS = 200
"""Of a head, for its frame to count."""
TURNS = ("network", "aligned", "identity")
DEFINITIONS = {
    "error": "standard deviation of log depth less true log depth over the head's pixels, hair included",
    "plane": "the same of a plane, mean_map: of the training people's mean log depth map",
    "ratio": "plane over error, of the means over frames",
    "rank": "Spearman's correlation of depth and true depth over the head's pixels",
    "focal": "mean |log(focal / true)| over frames; start: of the constant at which training begins; best "
    "constant: of the test people's median, which no method knows; clip_: the same, mean over clips, of "
    "the median focal length of a clip's frames against that of its true ones",
    "rotation": "median angle in degrees between found and true relative rotation, over pairs of frames of a "
    "clip whose heads are turned by 5 to 20 degrees; network: as the pose network says it, aligned: as the "
    "observer gives it, which sees to it that the pictures fit; identity: of no rotation",
}


@dataclass(frozen=True)
class DepthBench:
    """What is measured.

    Attributes:
        checkpoint: of a training of depth.
        data: folder of `headwarp synth`, with people to test.
        frames: of every test clip whose depth is measured, evenly spaced.
        pairs: of frames of every test clip whose rotation is measured.
        people: of the training set, for its mean map: at most so many, four frames each.
        seed: of the pairs.
        json: the report's file.
    """

    checkpoint: Path
    data: Path
    frames: int = 8
    pairs: int = 20
    people: int = 100
    seed: int = 0
    json: Path | None = None


@dataclass(frozen=True)
class Rows:
    """Numbers of one clip; those of depth one a frame, of rotation one a pair.

    Attributes:
        depth: by name: ``error``, ``plane``, ``mean_map``, ``rank``, ``rank_mean_map``, ``face_error``,
            ``face_plane``.
        focal, true_focal: in widths, one a frame.
        network, aligned, identity: what is left of the true rotation, degrees.
    """

    depth: Mapping[str, Float[Tensor, " F"]]
    focal: Float[Tensor, " N"]
    true_focal: Float[Tensor, " N"]
    network: Float[Tensor, " P"]
    aligned: Float[Tensor, " P"]
    identity: Float[Tensor, " P"]


def run(config: DepthBench) -> dict[str, Any]:
    """Measure, write the report, and return it.

    Raises:
        HeadwarpError: no people to test, or a file that does not fit.
    """
    from ...flame.io import load_head
    from ...training.data.atomic import write_json

    head = load_head("builtin")
    tested = _truths(config.data, "test")
    observer = load_depth_observer(config.checkpoint)
    start = observer.network.config.pose.focal
    mean_map = mean_depth_map(_training_heads(config, head))
    rows = [measured(observer, load_clip(path, head), mean_map, config) for path in tested]
    report = {
        **summary(rows, start=start),
        "checkpoint": str(config.checkpoint),
        "data": str(config.data),
        "people": len(rows),
        "definitions": DEFINITIONS,
    }
    if config.json is not None:
        write_json(config.json, report)
    return report


@torch.no_grad()
def measured(
    observer: DepthObserver, clip: SyntheticClip, mean_map: Float[Tensor, "1 1 H W"], config: DepthBench
) -> Rows:
    """One test clip; pictures are drawn anew, without a clip's compression.

    Args:
        observer: trained networks.
        clip: a synthetic one.
        mean_map: the training people's mean log depth map.
        config: of the measurement.
    """
    count = clip.recipe.frames
    chosen = torch.linspace(0, count - 1, min(config.frames, count)).round().long().unique().tolist()
    images = torch.cat([to_image(clip.picture(frame)) for frame in chosen])
    scene = observer.network.scene(images)
    truth = torch.cat([truth_of(clip.view(frame)).depth[None, None] for frame in chosen])
    counted = torch.cat([head_pixels(clip, frame) for frame in chosen])
    face = torch.cat([head_pixels(clip, frame, materials=FACE) for frame in chosen])
    kept = counted.sum((1, 2, 3)) >= LEAST_PIXELS
    plane = torch.ones_like(truth)
    learned = mean_map.to(truth.dtype).expand_as(truth)
    depth = {
        "error": scale_invariant_error(scene.depth, truth, counted),
        "plane": scale_invariant_error(plane, truth, counted),
        "mean_map": scale_invariant_error(learned, truth, counted),
        "rank": rank_correlation(scene.depth, truth, counted),
        "rank_mean_map": rank_correlation(learned, truth, counted),
        "face_error": scale_invariant_error(scene.depth, truth, face),
        "face_plane": scale_invariant_error(plane, truth, face),
    }
    width = images.shape[3]
    true_focal = torch.stack([true_intrinsics(clip, frame)[0, 0, 0] / width for frame in chosen])
    return Rows(
        {name: values[kept] for name, values in depth.items()},
        scene.intrinsics[:, 0, 0] / width,
        true_focal,
        **_rotations(observer, clip, config),
    )


def summary(rows: Sequence[Rows], *, start: float) -> dict[str, Any]:
    """Means over all frames, medians over all pairs; see `DEFINITIONS`.

    Args:
        rows: one a clip.
        start: focal length at which training began, in widths.
    """
    depth = {name: float(torch.cat([row.depth[name] for row in rows]).nanmean()) for name in rows[0].depth}
    focal, true_focal = (torch.cat([getattr(row, n) for row in rows]) for n in ("focal", "true_focal"))
    turns = {name: torch.cat([getattr(row, name) for row in rows]) for name in TURNS}
    clip_focal, clip_true = (
        torch.tensor([best_constant(getattr(row, n)) for row in rows]) for n in ("focal", "true_focal")
    )
    logs = torch.stack([focal.double().log(), true_focal.double().log()])
    return {
        "depth": {
            **depth,
            "ratio": depth["plane"] / depth["error"],
            "mean_map_ratio": depth["plane"] / depth["mean_map"],
            "face_ratio": depth["face_plane"] / depth["face_error"],
        },
        "focal": {
            **_focal_errors(focal, true_focal, start),
            **{f"clip_{k}": v for k, v in _focal_errors(clip_focal, clip_true, start).items()},
            "median": float(focal.median()),
            "true_median": best_constant(true_focal),
            "correlation_of_logs": float(torch.corrcoef(logs)[0, 1]),
        },
        "rotation": {
            **{f"{name}_deg": float(values.nanmedian()) for name, values in turns.items()},
            "pairs": len(turns["identity"]),
        },
    }


def _focal_errors(found: Float[Tensor, " N"], true: Float[Tensor, " N"], start: float) -> dict[str, float]:
    """Of what was found, of the start, and of the best constant."""
    constants = {"start": start, "best_constant": best_constant(true)}
    said = {"error": found, **{name: torch.full_like(true, value) for name, value in constants.items()}}
    return {name: float(log_ratio(value, true).mean()) for name, value in said.items()}


def _rotations(
    observer: DepthObserver, clip: SyntheticClip, config: DepthBench
) -> dict[str, Float[Tensor, " P"]]:
    """Of pairs 5 to 20 degrees apart, by the names of `TURNS`."""
    draw = torch.Generator().manual_seed(config.seed + clip.recipe.number)
    errors: dict[str, list[Tensor]] = {name: [] for name in TURNS}
    for _ in range(20 * config.pairs):
        one, other = torch.randint(clip.recipe.frames, (2,), generator=draw).tolist()
        truth = true_relative_pose(clip, one, other)[:, :, :3]
        angle = rotation_error_deg(torch.eye(3)[None].to(truth), truth)
        if not 5 <= float(angle) <= 20:
            continue
        source, driving = (to_image(clip.picture(frame)) for frame in (one, other))
        said = observer.network.pose(torch.cat([source, driving], dim=1)).rotation
        seen = observer.driving(observer.source(Source(image=source)), Driving(image=driving))
        (given,) = take(seen, ("relative_pose",), by="depth")
        errors["network"].append(rotation_error_deg(axis_angle_to_matrix(said), truth))
        errors["aligned"].append(rotation_error_deg(given[:, :, :3], truth))
        errors["identity"].append(angle)
        if len(errors["identity"]) == config.pairs:
            break
    nothing = torch.zeros(0, dtype=torch.float64)
    return {name: torch.cat([nothing, *values]) for name, values in errors.items()}


def _training_heads(
    config: DepthBench, head: HeadModel
) -> Iterator[tuple[Float[Tensor, "_ 1 H W"], Bool[Tensor, "_ 1 H W"]]]:
    """Depth and head of four frames of every training clip."""
    paths = _truths(config.data, "train")
    for path in paths[:: max(1, math.ceil(len(paths) / config.people))]:
        clip = load_clip(path, head)
        for frame in range(0, clip.recipe.frames, max(1, clip.recipe.frames // 4)):
            yield truth_of(clip.view(frame)).depth[None, None], head_pixels(clip, frame)


def _truths(folder: Path, partition: str) -> list[Path]:
    """Truth files of a partition's clips."""
    names = sorted(path.stem for path in (folder / partition).glob("*.npz"))
    if not names:
        raise HeadwarpError(
            f"{folder / partition}: expected clips of `headwarp synth` with their fits, found none"
        )
    return [folder / TRUTH / f"{name}.npz" for name in names]


def told(report: Mapping[str, Any]) -> str:
    """What a person reads."""
    depth, focal, rotation = report["depth"], report["focal"], report["rotation"]
    return "\n".join(
        [
            f"depth: error {depth['error']:.4f}, plane {depth['plane']:.4f} ({depth['ratio']:.2f} x), "
            f"mean map {depth['mean_map']:.4f} ({depth['mean_map_ratio']:.2f} x); "
            f"face {depth['face_ratio']:.2f} x; "
            f"rank {depth['rank']:.3f} (mean map {depth['rank_mean_map']:.3f})",
            f"focal length: |log| {focal['error']:.3f}, start {focal['start']:.3f}, best constant "
            f"{focal['best_constant']:.3f}; of clips {focal['clip_error']:.3f}, "
            f"{focal['clip_start']:.3f} and {focal['clip_best_constant']:.3f}; "
            f"correlation of logs {focal['correlation_of_logs']:.2f}",
            f"rotation: {rotation['aligned_deg']:.2f} degrees aligned, {rotation['network_deg']:.2f} as the "
            f"network says it, identity {rotation['identity_deg']:.2f}, {rotation['pairs']} pairs",
        ]
    )


if __name__ == "__main__":
    import tyro

    torch.set_num_threads(1)
    sys.stdout.write(told(run(tyro.cli(DepthBench))) + "\n")
