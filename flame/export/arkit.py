"""ARKit's 52 blendshapes of a fit, as a CSV in the layout of the Live Link Face app.

eyeLook* come from the eye joints, eyeBlink and eyeWide from how far the lids are apart, and what a head has
itself under ARKit's names (an ICT-FaceKit head's expressions) from its coefficients. All else is found by
bounded least squares: the displacements of the face-mesh landmarks that jaw, eyelids and expression make
(shape and head pose removed) are explained by those that ARKit's blendshapes make on this head; jawOpen,
jawLeft and jawRight by turning its jaw joint.

Limits: 1.0 is a full natural movement by our tables, not Apple's calibration. tongueOut and cheekPuff are
always 0. mouthRoll*, mouthShrug* and mouthPress* are seen by the outlines of the lips alone. Depth counts
little, because a single view hardly shows it: mouthPucker and mouthFunnel are told apart by the opening of
the lips. Whatever of a person's resting face the shape did not take up shows as a constant.
"""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.transforms import axis_angle_to_matrix, matrix_to_euler
from .._files import replacing
from ..expressions import rigid_fields
from ..model import HeadModel
from ..params import HeadFit, HeadParams, check_model
from ._arkit_basis import ArkitBasis, arkit_basis, displacements, native_columns
from ._arkit_lids import lid_weights, without_resting_lids
from ._arkit_tables import ARKIT_NAMES, SECONDARY
from ._frames import check_finite, frame_rate, not_detected

LOOK_SIDEWAYS, LOOK_UPDOWN = math.radians(30.0), math.radians(25.0)  # eyeLook* at 1
ROTATIONS = (
    *("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll"),
    *("RightEyeYaw", "RightEyePitch", "RightEyeRoll"),
)
DEPTH_WEIGHT = 0.2  # of what goes towards the camera: a single view hardly shows it, and a fit leaves it out
RIDGE = 0.001  # metres over all landmarks together: movements that hardly differ share
EVIDENCE, SECONDARY_EVIDENCE = (
    5e-4,
    2e-3,
)  # metres that the landmarks, all together, must move for a blendshape


@dataclass(frozen=True)
class ArkitTrack:
    """ARKit's numbers of T frames.

    Attributes:
        weights: ``(T, 52)`` in 0..1, in the order of `ARKIT_NAMES`.
        rotations: ``(T, 9)`` radians: head, left eye, right eye; yaw, pitch, roll about the head model's
            y, x, z (yaw > 0 to the subject's left, pitch > 0 down, roll > 0 the left ear up), ``Ry Rx
            Rz``; eyes against the head.
        residual: displacement of the landmarks that the blendshapes do not explain, root mean square,
            ``(T,)`` metres.
        moved: displacement that was to be explained, likewise.
        unseen: blendshapes that this head cannot show; their columns are 0.
    """

    weights: np.ndarray
    rotations: np.ndarray
    residual: np.ndarray
    moved: np.ndarray
    unseen: tuple[str, ...]


def arkit_track(model: HeadModel, fit: HeadFit) -> ArkitTrack:
    """ARKit's 52 blendshapes and the rotations of head and eyes.

    Args:
        model: the head of the fit, with landmarks ``"mediapipe"``, all or some.
        fit: T frames.

    Raises:
        ShapeError: the head has no such landmarks.
    """
    params = fit.params
    basis = arkit_basis(model, params.shape)
    moved = displacements(
        basis.reduced, params.shape, expression=params.expression, jaw=params.jaw, eyelids=params.eyelids
    )
    lids = lid_weights(basis.reduced, fit, moved)
    own, explained = _own_blendshapes(model, basis, params.expression.double())
    moved = without_resting_lids(basis.reduced, fit, moved - explained).reshape(params.frames, -1)
    columns, moved = (_seen(basis, values) for values in (basis.columns.T, moved))
    asked = np.array([SECONDARY_EVIDENCE if name.startswith(SECONDARY) else EVIDENCE for name in basis.names])
    found = bounded_least_squares(columns.T, moved, ridge=RIDGE, least=asked)
    measured = {**dict(zip(basis.names, found.T, strict=True)), **own, **lids, **_looks(params.eyes)}
    still = np.zeros(params.frames)
    count = len(basis.reduced.mean)
    return ArkitTrack(
        weights=np.stack([measured.get(name, still) for name in ARKIT_NAMES], axis=1),
        rotations=_rotations(params),
        residual=np.sqrt(np.square(moved - found @ columns).sum(1) / count),
        moved=np.sqrt(np.square(moved).sum(1) / count),
        unseen=tuple(name for name in ARKIT_NAMES if name not in measured),
    )


def _own_blendshapes(
    model: HeadModel, basis: ArkitBasis, expression: Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Blendshapes that the head has itself, read off its coefficients, and the displacements ``(T, L,
    3)`` that they make; what a negative coefficient makes is left for others to explain."""
    positive = np.maximum(expression.numpy(), 0.0)
    weights, used = {}, np.zeros(expression.shape[1], bool)
    for name, columns in native_columns(model).items():
        weights[name] = np.clip(positive[:, list(columns)].mean(axis=1), 0, 1)
        used[list(columns)] = True
    shapes = basis.reduced.expression_basis[..., : len(used)].double().numpy()
    return weights, np.einsum("lcs,ts->tlc", shapes[..., used], positive[:, used])


def _seen(basis: ArkitBasis, rows: np.ndarray) -> np.ndarray:
    """Displacements ``(N, 3 L)`` less the small rigid motion of the whole face that is in them, depth
    counting less.
    """
    rigid = rigid_fields(basis.reduced.mean.double().numpy())  # (L, 3, 6)
    weight = np.broadcast_to([[1.0], [1.0], [DEPTH_WEIGHT]], (len(rigid), 3, 1))
    orthonormal, _ = np.linalg.qr((rigid * weight).reshape(-1, 6))
    weighted = rows * weight.reshape(-1)
    return weighted - weighted @ orthonormal @ orthonormal.T


def bounded_least_squares(
    columns: np.ndarray, targets: np.ndarray, *, ridge: float, least: np.ndarray
) -> np.ndarray:
    """``(T, K)`` in [0, 1] that minimise ``|C w - target|^2 + ridge^2 |w|^2 + 2 sum(least |C_k| w_k)``.

    Args:
        columns: C, ``(N, K)``.
        targets: ``(T, N)``.
        ridge: in the unit of the columns' norms; above 0, so that the answer is unique.
        least: ``(K,)``; a column whose product with the target is smaller than this, for a unit column,
            stays 0.
    """
    from scipy.optimize import lsq_linear, nnls

    gram = columns.T @ columns + ridge**2 * np.eye(columns.shape[1])
    factor = np.linalg.cholesky(gram).T  # upper
    pull = columns.T @ targets.T - (least * np.linalg.norm(columns, axis=0))[:, None]  # (K, T)
    aims = np.linalg.solve(factor.T, pull).T  # (T, K)
    found = np.array([nnls(factor, aim)[0] for aim in aims]).reshape(len(aims), columns.shape[1])
    for row in np.flatnonzero((found > 1).any(axis=1)):
        found[row] = lsq_linear(factor, aims[row], bounds=(0, 1), method="bvls").x
    return np.clip(found, 0, 1)


def _looks(eyes: Tensor) -> dict[str, np.ndarray]:
    """eyeLook* from the eye joints (T, 6): in is towards the nose."""
    angles = _eye_angles(eyes)  # (T, 2, 3)
    yaw, pitch = angles[..., 0] / LOOK_SIDEWAYS, angles[..., 1] / LOOK_UPDOWN
    looks = {}
    for eye, (side, outwards) in enumerate((("Left", 1.0), ("Right", -1.0))):
        looks[f"eyeLookOut{side}"] = outwards * yaw[:, eye]
        looks[f"eyeLookIn{side}"] = -outwards * yaw[:, eye]
        looks[f"eyeLookDown{side}"] = pitch[:, eye]
        looks[f"eyeLookUp{side}"] = -pitch[:, eye]
    return {name: np.clip(value, 0, 1) for name, value in looks.items()}


def _eye_angles(eyes: Tensor) -> np.ndarray:
    """Yaw, pitch, roll of left and right eye, (T, 2, 3) radians, about the head model's y, x, z."""
    turns = axis_angle_to_matrix(eyes.double().reshape(-1, 2, 3))
    return torch.stack(list(matrix_to_euler(turns)), dim=-1).numpy()


def _rotations(params: HeadParams) -> np.ndarray:
    head = axis_angle_to_matrix(params.rotation.double()) @ axis_angle_to_matrix(params.neck.double())
    angles = torch.stack(list(matrix_to_euler(head)), dim=-1).numpy()
    return np.concatenate([angles, _eye_angles(params.eyes).reshape(-1, 6)], axis=1)


@dataclass(frozen=True)
class ArkitReport:
    """What was written.

    Attributes:
        file: the CSV.
        frames: rows.
        fps: rows a second.
        residual_mm: mean over frames of what the blendshapes leave unexplained, root mean square over
            landmarks.
        moved_mm: mean of what was to be explained.
        unseen: columns that are 0 because this head, or any camera, does not show them.
        not_detected: frames whose face was not seen; their rows are the fit's guess.
    """

    file: Path
    frames: int
    fps: float
    residual_mm: float
    moved_mm: float
    unseen: tuple[str, ...]
    not_detected: tuple[int, ...]


def write_arkit_csv(
    model: HeadModel,
    fit: HeadFit,
    path: str | os.PathLike[str],
    *,
    fps: Fraction | float | None = None,
) -> ArkitReport:
    """Write `arkit_track` of a fit in the layout of Live Link Face: one row a frame, the file whole or
    not at all.

    Columns: ``Timecode`` (``HH:MM:SS:FF.000`` from zero, non-drop), ``BlendshapeCount`` (61), the 52,
        then nine
    rotations in radians (see `ArkitTrack`).

    Args:
        model: the head of the fit.
        fit: T frames.
        path: ends in .csv.
        fps: frames a second; None for the fit's own, else 25.

    Raises:
        ModelFileError: the fit belongs to another head model, or the file cannot be written.
        HeadwarpError: unknown suffix or rate; a head without face-mesh landmarks.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise HeadwarpError(f"{path}: expected a name ending in .csv, got {path.suffix or 'no suffix'}")
    check_model(fit, model.model_id)
    check_finite(fit.params)
    rate = frame_rate(fit, fps)
    track = arkit_track(model, fit)
    with replacing(path) as temporary:
        temporary.write_text(_csv_text(track, rate), encoding="ascii")
    return ArkitReport(
        file=path,
        frames=fit.frames,
        fps=float(rate),
        residual_mm=float(1000 * track.residual.mean()),
        moved_mm=float(1000 * track.moved.mean()),
        unseen=track.unseen,
        not_detected=not_detected(fit),
    )


def _csv_text(track: ArkitTrack, rate: Fraction) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name[0].upper() + name[1:] for name in ARKIT_NAMES]
    writer.writerow(["Timecode", "BlendshapeCount", *names, *ROTATIONS])
    numbers = np.concatenate([track.weights, track.rotations], axis=1)
    for frame, row in enumerate(numbers):
        writer.writerow([timecode(frame, rate), len(row), *(f"{value:.6f}" for value in row)])
    return text.getvalue()


def timecode(frame: int, rate: Fraction) -> str:
    """Non-drop timecode: frames of the nearest whole rate.

    Example:
        >>> timecode(61, Fraction(30000, 1001))
        '00:00:02:01.000'
    """
    nominal = max(1, round(rate))
    seconds, frames = divmod(frame, nominal)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}.000"
