"""Depth of a trained network on real clips, whose true depth nobody knows: whether noses stand out of faces.

``python -m headwarp.tools.bench.depth_clips --checkpoint DEPTH --clips FOLDER --json R.json``. A new network,
whose depth is a dome that looks at nothing, is measured beside it, and the fitted heads themselves: of one
that looks far to the side a cheek is nearer than the nose.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...flame.model import HeadModel
from ...flame.params import DETECTED
from ...flame.posing import head_pose, posed_vertices
from ...geom.depth_pose import DepthPoseConfig, DepthPoseNetwork
from ...geom.displacement import DisplacementConfig, source_visibility
from ...geom.errors import NoFaceError
from ...geom.guidance import Source, take
from ...training.data.portrait import Frame, to_image
from ..evaluation.footage import clip_paths, footage
from ..evaluation.measure import HEADS
from ..portrait import as_frames

TURNED_DEG = 20.0
NOSE, CHEEKS, EARS = 1, (50, 280), (234, 454)
"""Face-mesh points: the nose's tip, the middle of the cheeks, and the contour before the ears."""
POINTS = (NOSE, *CHEEKS, *EARS)
SAID = ("trained", "new", "fit")
_PARTS = {"share": slice(1, 5), "cheeks": slice(1, 3), "ears": slice(3, 5)}
# of a face that looks at the camera the points before the ears are its outline, where a pixel has many depths
_SHOWN = DisplacementConfig(normal_threshold=-0.15, depth_tolerance=0.25)
DEFINITIONS = {
    "share": "frames in which the tip of the nose is nearer than both cheeks and both ears (the face's "
    "contour before them); cheeks, ears: than these alone; ordered: in which each of these is nearer or "
    "further than the nose as it is on the fitted head",
    "frames": "those that count: the fitted head shows the nose and one of the others, within the picture; "
    "what it hides is not compared",
    "turned": f"of frames whose fitted yaw is more than {TURNED_DEG:g} degrees to either side",
    "depth": "median over a square about the detected point, of a side of a 64th of the picture's width",
    "new": "the same of a new network of the same config: a dome in the middle of the frame",
    "fit": "the same of the fitted head's own depth: the share that can be reached",
}


@dataclass(frozen=True)
class DepthClipsBench:
    """What is measured.

    Attributes:
        checkpoint: of a training of depth.
        clips: a clip, or a folder of clips.
        stride: every how many frames are measured.
        side: longer side of the pictures that the network sees at most, best that of its training.
        seed: of the new network.
        json: the report's file.
    """

    checkpoint: Path
    clips: Path
    stride: int = 10
    side: int = 256
    seed: int = 0
    json: Path | None = None


class Seer(Protocol):
    """What tells the depth of a picture, such as `warping.observers.DepthObserver`."""

    def source(self, source: Source) -> Source:
        """With ``depth``."""


@dataclass(frozen=True)
class Faces:
    """N frames of a clip with what is known of their faces.

    Attributes:
        frames: (H, W, 3) uint8.
        points: detected, of `POINTS`, in pixels.
        seen: which of them the fitted head shows, within the picture.
        further: depth on the fitted head less that of the nose, in pixels.
        yaw_deg: of the fitted head.
    """

    frames: Sequence[Frame]
    points: Float[Tensor, "N 5 2"]
    seen: Bool[Tensor, "N 5"]
    further: Float[Tensor, "N 5"]
    yaw_deg: Float[Tensor, " N"]


def run(config: DepthClipsBench) -> dict[str, Any]:
    """Measure, write the report, and return it.

    Returns:
        ``trained``, ``new`` and ``fit``, see `summary`; ``clips``: the same of each; ``failed``: reasons by
        clip; ``definitions``.

    Raises:
        HeadwarpError: no clips, or a file that does not fit.
        NoFaceError: none of them shows a face.
    """
    from ...flame.io import load_head
    from ...training.data.atomic import write_json
    from ...warping.observers import DepthObserver, load_depth_observer

    head, trained = load_head("builtin"), load_depth_observer(config.checkpoint, side=config.side)
    blank = DepthObserver(new_network(trained.network.config, config.seed), side=config.side)
    seers: dict[str, Seer] = {"trained": trained, "new": blank}
    found: dict[str, tuple[Faces, dict[str, Tensor]]] = {}
    failed: dict[str, str] = {}
    for path in clip_paths(config.clips):
        try:
            faces = faces_of(islice(as_frames(footage(path)), 0, None, config.stride), head, name=path.name)
        except NoFaceError as error:
            failed[path.stem] = str(error)
            continue
        said = {name: compared(seer, faces) for name, seer in seers.items()}
        found[path.stem] = (faces, {**said, "fit": faces.further})
    if not found:
        raise NoFaceError(f"{config.clips}: expected a face in one of {len(failed)} clips, found none")
    report = {
        **{name: summary([(faces, said[name]) for faces, said in found.values()]) for name in SAID},
        "clips": {
            clip: {name: summary([(faces, said[name])]) for name in SAID}
            for clip, (faces, said) in found.items()
        },
        "failed": failed,
        "checkpoint": str(config.checkpoint),
        "stride": config.stride,
        "definitions": DEFINITIONS,
    }
    if config.json is not None:
        write_json(config.json, report)
    return report


def new_network(config: DepthPoseConfig, seed: int) -> DepthPoseNetwork:
    """A network that learned nothing yet; the state of the process's draws stays."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DepthPoseNetwork(config)


def faces_of(frames: Iterable[Frame], head: HeadModel, *, name: str = "clip") -> Faces:
    """The largest face of every frame, detected and fitted, one identity and every frame by itself.

    Args:
        frames: of one person; those without a face are left out.
        head: what is fitted.
        name: of the clip in messages.

    Raises:
        NoFaceError: no frame shows a face.
    """
    from ...flame.detect import detect_faces
    from ...flame.fitting import fit_landmarks

    shown, found = [], []
    for frame in frames:
        for detection in detect_faces(frame, max_faces=1):
            shown.append(frame)
            found.append(detection.landmarks)
    if not shown:
        raise NoFaceError(f"{name}: no face found")
    points, size = np.stack(found), (shown[0].shape[0], shown[0].shape[1])
    fit = fit_landmarks(head, points[..., :2], size, config=HEADS)
    places = torch.from_numpy(points[:, POINTS, :2]).float()
    inside = ((places >= 0) & (places < torch.tensor([size[1], size[0]]))).all(2)
    verts = posed_vertices(head, fit).float()
    visible = source_visibility(verts, head.faces, size, config=_SHOWN)  # (N, V)
    kept = fit.status == DETECTED
    seen = (_at_points(head, visible) >= 0.5) & inside
    depth = _at_points(head, verts[..., 2])
    chosen = [frame for frame, keep in zip(shown, kept.tolist(), strict=True) if keep]
    yaw = head_pose(fit.params)[:, 0].float()
    return Faces(chosen, places[kept], seen[kept], (depth - depth[:, :1])[kept], yaw[kept])


def _at_points(head: HeadModel, values: Float[Tensor, "N V"]) -> Float[Tensor, "N 5"]:
    """Values of vertices at `POINTS`."""
    embedding = head.landmarks["mediapipe"]
    order = {index: row for row, index in enumerate(embedding.indices.tolist())}
    rows = [order[point] for point in POINTS]
    corners = head.faces[embedding.faces[rows]]  # (5, 3)
    return (values[:, corners] * embedding.bary[rows].to(values)).sum(2)


@torch.no_grad()
def compared(seer: Seer, faces: Faces) -> Float[Tensor, "N 5"]:
    """Depth at every point less that at the nose: above 0 where the nose is nearer."""
    rows = []
    for frame, points in zip(faces.frames, faces.points, strict=True):
        (depth,) = take(seer.source(Source(image=to_image(frame))), ("depth",), by="depth clips")
        values = torch.stack([_median(depth[0, 0], point) for point in points])
        rows.append(values - values[0])
    return torch.stack(rows)


def _median(depth: Float[Tensor, "H W"], point: Float[Tensor, "2"]) -> Float[Tensor, ""]:
    """About a point, which may lie beyond the border: then of what is nearest."""
    height, width = depth.shape
    reach = max(1, round(width / 128))
    x, y = (min(max(int(v), 0), size - 1) for v, size in zip(point.tolist(), (width, height), strict=True))
    near = depth[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return near.median()


def summary(clips: Sequence[tuple[Faces, Float[Tensor, "N 5"]]]) -> dict[str, Any]:
    """Shares over the frames of all clips together; NaN where no frame counts.

    Args:
        clips: faces of each, and what `compared` says of them.

    Returns:
        ``all`` and ``turned``, each with ``share``, ``cheeks``, ``ears``, ``ordered`` and ``frames``; see
        `DEFINITIONS`.
    """
    further = torch.cat([said for _, said in clips])
    seen = torch.cat([faces.seen for faces, _ in clips])
    truth = torch.cat([faces.further for faces, _ in clips])
    turned = torch.cat([faces.yaw_deg for faces, _ in clips]).abs() > TURNED_DEG
    return {
        "all": _shares(further, seen, truth),
        "turned": _shares(further[turned], seen[turned], truth[turned]),
    }


def _shares(
    further: Float[Tensor, "N 5"], seen: Bool[Tensor, "N 5"], truth: Float[Tensor, "N 5"]
) -> dict[str, float | int]:
    counted = seen & seen[:, :1]
    nearest, ordered = further > 0, (further > 0) == (truth > 0)
    return {
        **{name: _share(nearest[:, part], counted[:, part]) for name, part in _PARTS.items()},
        "ordered": _share(ordered[:, 1:], counted[:, 1:]),
        "frames": int(counted[:, 1:].any(1).sum()),
    }


def _share(good: Bool[Tensor, "N P"], counted: Bool[Tensor, "N P"]) -> float:
    """Of the rows in which something counts, those in which all that counts is good."""
    rows = (good | ~counted).all(1)[counted.any(1)]
    return float(rows.double().mean()) if len(rows) else math.nan


def told(report: Mapping[str, Any]) -> str:
    """What a person reads."""
    lines = []
    for name in SAID:
        for which, said in report[name].items():
            lines.append(
                f"{name}, {which}: nose nearest in {100 * said['share']:.1f} % of {said['frames']} frames; "
                f"than cheeks {100 * said['cheeks']:.1f} %, than ears {100 * said['ears']:.1f} %; "
                f"ordered as the fit {100 * said['ordered']:.1f} %"
            )
    lines += [f"{clip}: {reason}" for clip, reason in report["failed"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    import tyro

    torch.set_num_threads(1)
    sys.stdout.write(told(run(tyro.cli(DepthClipsBench))) + "\n")
