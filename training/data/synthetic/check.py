"""Whether a face detector takes synthetic people for people: how often it finds them, and how well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ....flame.landmarks import FACE_MESH_COUNT, MEDIAPIPE_68
from ....flame.posing import head_pose, pixels_per_metre, posed_points, project_head
from .anatomy import face_mesh_points
from .clip import SyntheticClip

MOST_YAW_DEG = 40.0
LEAST_FOUND, MOST_PERCENT = 0.95, 3.0
_ANOTHER_PERCENT = 20.0  # farther off on average, what was found is not this face
DEFINITION = (
    "found: share of frames at |yaw| <= 40 degrees in which the face mesh, given each by itself, finds this "
    "face (its points lie within 20 % on average); "
    "percent_68, percent_468: mean distance of its points from the projected ones of the head's embedding, "
    "in % of the 3D outer-canthal distance scaled by the camera, over the frames found"
)


@dataclass(frozen=True)
class FrameCheck:
    """One frame: degrees of yaw, whether a face was found, and the mean errors (NaN if not) in %."""

    yaw_deg: float
    found: bool
    percent_68: float
    percent_468: float


def check_clip(clip: SyntheticClip, frames: Iterable[int]) -> list[FrameCheck]:
    """Detect the face in frames of a clip, as if each were seen for the first time.

    Raises:
        MissingDependencyError: mediapipe is not installed.
    """
    from ....flame.detect import redetect

    head, motion = clip.person.head, clip.motion
    yaws = head_pose(motion.params)[:, 0].tolist()
    points = (
        face_mesh_points(head, project_head(head, motion.params, motion.camera))[..., :2].double().numpy()
    )
    in_space = face_mesh_points(head, posed_points(head, motion.params)).double().numpy()
    scale = pixels_per_metre(motion.params, motion.camera).double().numpy()
    canthal = np.linalg.norm(in_space[:, 33] - in_space[:, 263], axis=1) * scale
    checks = []
    for frame in frames:
        found = redetect(clip.picture(frame))
        if found is None:
            checks.append(FrameCheck(yaws[frame], False, float("nan"), float("nan")))
            continue
        error = _errors(found.landmarks[:, :2], points[frame]) * 100 / canthal[frame]
        if np.nanmean(error) > _ANOTHER_PERCENT:
            checks.append(FrameCheck(yaws[frame], False, float("nan"), float("nan")))
            continue
        checks.append(
            FrameCheck(
                yaws[frame],
                True,
                float(np.nanmean(error[list(MEDIAPIPE_68)])),
                float(np.nanmean(error[:FACE_MESH_COUNT])),
            )
        )
    return checks


def _errors(found: Float[np.ndarray, "478 2"], true: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, " 478"]:
    return np.linalg.norm(found.astype(np.float64) - true, axis=1)


def summary(checks: Mapping[str, list[FrameCheck]]) -> dict[str, Any]:
    """The numbers over all frames at |yaw| <= 40 degrees, and those of each clip."""
    every = [check for clip in checks.values() for check in clip]
    facing = [check for check in every if abs(check.yaw_deg) <= MOST_YAW_DEG]
    return {
        **_numbers(facing),
        "clips": {name: _numbers(clip) for name, clip in checks.items()},
        "frames_all": len(every),
        "definition": DEFINITION,
    }


def _numbers(checks: list[FrameCheck]) -> dict[str, Any]:
    found = [check for check in checks if check.found]
    mean = lambda values: float(np.mean(values)) if values else None  # noqa: E731
    return {
        "frames": len(checks),
        "found": len(found) / len(checks) if checks else None,
        "percent_68": mean([check.percent_68 for check in found]),
        "percent_468": mean([check.percent_468 for check in found]),
        "within_3_percent": mean([float(check.percent_68 <= MOST_PERCENT) for check in found]),
    }
