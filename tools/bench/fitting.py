"""Suites of the fitter: its speed on clips made from the built-in head, its accuracy where pose is known."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...flame.model import HeadModel
    from .suites import Case
    from .synthetic_faces import PosedFaces

_FRAMES = (1, 60, 250)
_STREAMED = 100
ICT_FOLDER = "ict_facekit"


def fit_cases() -> Sequence[Case]:
    """A whole fit, from landmarks to `HeadFit`, of a photo, a short and a long clip of the built-in head."""
    from ...flame.io import load_head
    from .suites import Case

    head = load_head("builtin")
    whole = [Case("fit/landmarks", 468, frames, *_fit(head, frames)) for frames in _FRAMES]
    return [*whole, Case("fit/stream", 468, _STREAMED, _steps(head, _STREAMED))]


def _steps(head: HeadModel, frames: int) -> Callable[[], object]:
    """So many frames, one by one, after the warm-up: each becomes a `HeadFit`."""
    from ...flame.fitting import StreamFitter
    from .synthetic_faces import SIDE, head_track

    stream = StreamFitter(head, (SIDE, SIDE))
    track = head_track(head, stream.config.warm_up + frames // 2)
    for points in track[: stream.config.warm_up]:
        stream.step(points)
    onwards = track[stream.config.warm_up :]
    there_and_back = [*onwards, *onwards[::-1]]  # ends where it begins, so that no call starts with a jump
    return lambda: [stream.step(points) for points in there_and_back]


def _fit(
    head: HeadModel, frames: int
) -> tuple[Callable[[], object], None, Callable[[], Mapping[str, float]]]:
    from ...flame.fitting import fit_landmarks
    from .synthetic_faces import SIDE, head_track

    track = head_track(head, frames)

    def facts() -> Mapping[str, float]:
        iterations = fit_landmarks(head, track, (SIDE, SIDE)).report["iterations"]
        return {"iterations": iterations, "mflop_per_frame": fit_mflop(head, iterations, frames=frames)}

    return lambda: fit_landmarks(head, track, (SIDE, SIDE)), None, facts


def fit_mflop(head: HeadModel, iterations: int, *, frames: int, landmarks: int = 468) -> float:
    """Multiplications and additions that a fit takes per frame, in millions: the large products only.

    Per step the landmarks and the forces on them, the products of their channels, the frame's rows, its
    inverse, that times coupling and neighbours, and the shape's block; the energy after the last step and the
    covariances once.

    Args:
        head: that is fitted.
        iterations: of the solver.
        frames: of the clip.
        landmarks: of a frame.
    """
    from ...flame.fitting._stiffness import FAST

    shape, linear = head.shape_basis.shape[2], head.expression_basis.shape[2] + 2
    unknowns, count, shared = 9 + linear, 1 + linear + shape, shape + 1
    posing = 2 * 6 * landmarks * linear
    step = posing + 2 * 2 * landmarks * 6 * linear + 2 * 42 * linear * count + 2 * 9 * 42 * count
    step += 2 * 21 * unknowns * (unknowns + shared)
    step += unknowns**3 + 2 * unknowns**2 * shared + 2 * unknowns * shape * shared
    spread = 2 * unknowns * shape**2 + 2 * unknowns**2 * shape + 2 * unknowns**2 * (unknowns - 6)
    if frames > 1:
        fast = min(9 + FAST, unknowns)
        step += 2 * unknowns * fast * (2 * unknowns + shared)
        spread += 4 * unknowns**3 + 2 * unknowns**2 * shape
    return (posing + iterations * step + spread) / 1e6


def pose_cases() -> Sequence[Case]:
    """The packaged head fitted to ten persons in 16 poses each; the facts tell how far off the rotations are.

    Persons are smooth random deformations of the mean face and, if ``$HEADWARP_TEST_DATA`` has a folder
    ``ict_facekit``, of ICT-FaceKit too.
    """
    from ...flame.io import load_head
    from .synthetic_faces import smooth_faces

    head = load_head("builtin")
    cases = [_pose_case("pose/smooth_faces", head, smooth_faces(head))]
    folder = Path(os.environ.get("HEADWARP_TEST_DATA", "")) / ICT_FOLDER
    if folder.is_dir():
        from .ict_faces import ict_posed_faces, load_ict_faces

        cases.append(_pose_case("pose/ict_facekit", head, ict_posed_faces(load_ict_faces(folder, head))))
    return cases


def _pose_case(name: str, head: HeadModel, faces: PosedFaces) -> Case:
    from .suites import Case
    from .synthetic_faces import pose_accuracy

    def facts() -> Mapping[str, float]:
        return dataclasses.asdict(pose_accuracy(head, faces))

    persons, poses = faces.landmarks.shape[:2]
    return Case(
        name, faces.landmarks.shape[2], persons * poses, lambda: pose_accuracy(head, faces), None, facts
    )
