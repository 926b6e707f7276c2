"""``headwarp learn-head``: identity and expression measured on a user's clips, into a head of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from tyro.conf import Positional

from ..geom.errors import HeadwarpError

LEAST_FRAMES = 10  # of a clip, to tell a person from a moment
LEAST_PERSONS = 3


@dataclass(frozen=True)
class LearnHead:
    """Measure identity and expression on clips, one person a clip, and write a head file for --head."""

    clips: Positional[tuple[Path, ...]]
    """Clips, or folders of clips; each clip counts as one person."""
    output: Path
    """Name of the .npz to write."""
    shape_count: int = 40
    """Identity components; at most twice the number of clips."""
    expression_count: int = 40
    """Expression components."""
    frames: int = 60
    """Frames measured of each clip, spread over it."""


def run(config: LearnHead) -> dict[str, Any]:
    """The command: see :func:`learn_head`."""
    return learn_head(
        config.clips,
        config.output,
        shape_count=config.shape_count,
        expression_count=config.expression_count,
        frames=config.frames,
    )


def learn_head(
    clips: Iterable[str | Path],
    output: str | Path,
    *,
    shape_count: int = 40,
    expression_count: int = 40,
    frames: int = 60,
) -> dict[str, Any]:
    """Measure head statistics on clips and write them as a head file.

    The result describes the persons measured: treat the file as theirs.

    Args:
        clips: clips or folders of clips, one person each.
        output: name of the ``.npz``.
        shape_count: identity components; at most twice the number of usable clips.
        expression_count: expression components.
        frames: frames measured of each clip.

    Returns:
        ``output``, ``model_id``, ``persons``, ``frames``, ``shape``, ``expression`` (components found),
        ``failed`` (clip -> reason), ``ok`` (whether every clip could be used).

    Raises:
        HeadwarpError: fewer than three usable clips, or counts that they do not carry.
    """
    from tqdm import tqdm

    from ..flame.builtin.load import load_builtin
    from ..flame.builtin.statistics import learn_basis
    from ..flame.io import save_head_npz
    from .inputs import expand

    tracks: list[Float[np.ndarray, "T L 3"]] = []
    failed: dict[str, str] = {}
    for path in tqdm(expand(map(Path, clips)), desc="measure", unit="clip", disable=None):
        try:
            tracks.append(measured_landmarks(path, frames))
        except HeadwarpError as error:
            failed[str(path)] = str(error)
    _check_counts(tracks, failed, shape_count, expression_count)
    head = learn_basis(tracks, load_builtin(), shape_count=shape_count, expression_count=expression_count)
    save_head_npz(head, Path(output))
    return {
        "ok": not failed,
        "output": str(output),
        "model_id": head.model_id,
        "persons": len(tracks),
        "frames": sum(map(len, tracks)),
        "shape": head.shape_basis.shape[2],
        "expression": head.expression_basis.shape[2],
        "failed": failed,
    }


def measured_landmarks(path: Path, frames: int) -> Float[np.ndarray, "T 478 3"]:
    """Face-mesh landmarks of the largest face on frames spread over a clip.

    Raises:
        HeadwarpError: the clip cannot be read, or shows the face in too few frames.
    """
    from ..flame.detect import track_clip
    from .portrait import as_frames

    tracks = track_clip(_spread(as_frames(path), frames), max_faces=1)
    seen = [track.points for track in tracks[:1]]
    if not seen or len(seen[0]) < LEAST_FRAMES:
        found = len(seen[0]) if seen else 0
        raise HeadwarpError(f"{path.name}: expected a face in at least {LEAST_FRAMES} frames, found {found}")
    keep = np.unique(np.linspace(0, len(seen[0]) - 1, frames).astype(int))
    return seen[0][keep]


def _spread(pictures: Iterable[np.ndarray], frames: int) -> Iterator[np.ndarray]:
    """The first ten times as many frames as are measured: enough of a clip, and never the whole of a film."""
    for index, picture in enumerate(pictures):
        if index >= 10 * frames:
            return
        yield picture


def _check_counts(
    tracks: Sequence[np.ndarray], failed: Mapping[str, str], shape_count: int, expression_count: int
) -> None:
    reasons = "".join(f"; {reason}" for reason in list(failed.values())[:3])
    if len(tracks) < LEAST_PERSONS:
        raise HeadwarpError(
            f"expected at least {LEAST_PERSONS} usable clips, one person each, got {len(tracks)}{reasons}"
        )
    if not 1 <= shape_count <= 2 * len(tracks):
        raise HeadwarpError(
            f"--shape-count: expected 1 to {2 * len(tracks)} (twice the {len(tracks)} usable clips), "
            f"got {shape_count}"
        )
    most = sum(map(len, tracks)) - len(tracks)
    if not 1 <= expression_count <= most:
        raise HeadwarpError(
            f"--expression-count: expected 1 to {most} (frames less persons), got {expression_count}"
        )


def describe(report: Mapping[str, Any]) -> str:
    """What was measured and written; clips that could not be used."""
    lines = [
        f"{report['output']}: head {report['model_id']}, {report['shape']} identity and "
        f"{report['expression']} expression components from {report['frames']} frames of "
        f"{report['persons']} clips"
    ]
    lines += [f"not used: {reason}" for reason in report["failed"].values()]
    return "\n".join(lines)
