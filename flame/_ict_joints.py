"""Joints, skinning and the jaw's corrective of an ICT-FaceKit head, which has none of its own.

The model's lower teeth turn rigidly with ``jawOpen`` (25.3 degrees about an axis across the head), which
gives the jaw's pivot; what the rotation does not explain of ``jawOpen`` becomes a pose corrective, so that
the open mouth is the model's own and every opening before it is a rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._ict_tables import RANGES

JAW_PIVOT = np.array([0.0, -0.00547, 0.01819])  # metres, of the released model
JAW_ANGLE = np.radians(25.33)
_TO_NECK = np.array([0.0, -0.09, -0.05])  # from the jaw, as in the built-in head
_TO_ROOT = np.array([0.0, -0.17, -0.055])
_NECK_RAMP = (-0.16, -0.105)  # metres: heights between which the neck passes from the torso to the head
_QUIET = 0.001  # metres that no expression moves a vertex which holds a joint
_HOLDERS = 0.05  # metres from a joint within which, in height and depth, vertices hold it
_FAINT = 0.01  # jaw weights below are noise
ROOT, NECK, JAW, LEFT_EYE, RIGHT_EYE = range(5)


@dataclass(frozen=True)
class IctJoints:
    """What makes a mesh a posable head.

    Attributes:
        regressor: joints from vertices, ``(5, V)``.
        weights: skinning, ``(V, 5)``.
        pose_basis: ``(V, 3, 36)``, that of the jaw's columns alone.
    """

    regressor: Float[np.ndarray, "5 V"]
    weights: Float[np.ndarray, "V 5"]
    pose_basis: Float[np.ndarray, "V 3 36"]


def ict_joints(
    neutral: Float[np.ndarray, "V 3"],
    jaw_open: Float[np.ndarray, "V 3"] | None,
    moved: Float[np.ndarray, " V"],
) -> IctJoints:
    """Joints and skinning for a neutral mesh in metres.

    Args:
        neutral: vertices in the order of the released model.
        jaw_open: displacement of ``jawOpen``; None: the jaw is a wedge below the line of the mouth.
        moved: how far any expression moves a vertex, metres.
    """
    pivot, angle = _hinge(neutral, jaw_open)
    places = np.stack([pivot + _TO_ROOT, pivot + _TO_NECK, pivot, *(_eye_centre(neutral, s) for s in _SIDES)])
    if jaw_open is None:
        jaw, left_over = _wedge(neutral, pivot), np.zeros_like(neutral)
    else:
        jaw, left_over = _jaw_weights(neutral, jaw_open, pivot=pivot, angle=angle)
    weights = _weights(neutral, jaw)
    pose_basis = np.zeros((*neutral.shape, 36))
    pose_basis[..., 9 * (JAW - 1) : 9 * JAW] = left_over[..., None] * _opening(angle)
    return IctJoints(_regressor(neutral, places, moved), weights, pose_basis)


def rotation_about_x(angle: float) -> Float[np.ndarray, "3 3"]:
    """What the jaw's axis-angle (angle, 0, 0) turns by: +angle opens."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


_SIDES = ("left", "right")


def _hinge(neutral: np.ndarray, jaw_open: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Pivot and angle of the rotation about x that the lower teeth make; the released model's without."""
    if jaw_open is None:
        return JAW_PIVOT, JAW_ANGLE
    first, last = RANGES["lower_teeth"]
    rest, there = neutral[first:last, 1:], (neutral + jaw_open)[first:last, 1:]
    a, b = rest - rest.mean(0), there - there.mean(0)
    sine, cosine = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum()
    angle = float(np.arctan2(sine, cosine))
    if not np.radians(5) < angle < np.radians(60):
        return JAW_PIVOT, JAW_ANGLE
    turn = rotation_about_x(angle)[1:, 1:]
    place = np.linalg.solve(np.eye(2) - turn, there.mean(0) - turn @ rest.mean(0))
    return np.array([0.0, *place]), angle


def _jaw_weights(
    neutral: np.ndarray, jaw_open: np.ndarray, *, pivot: np.ndarray, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """The share of the rotation in every vertex's displacement, and what must be added to it before skinning
    so that the whole is the displacement, (V,) and (V, 3).
    """
    turn = rotation_about_x(angle)
    arm = neutral - pivot
    turned = arm @ turn.T - arm
    share = (jaw_open * turned).sum(1) / np.maximum(np.square(turned).sum(1), 1e-12)
    share = np.where(np.linalg.norm(jaw_open, axis=1) > 0, share.clip(0, 1), 0.0)
    share[share < _FAINT] = 0.0
    left_over = jaw_open - share[:, None] * turned
    blended = np.eye(3) + share[:, None, None] * (turn - np.eye(3))  # what skinning turns it by
    return share, np.linalg.solve(blended, left_over[..., None])[..., 0]


def _opening(angle: float) -> Float[np.ndarray, " 9"]:
    """Weights of vec(R - I) that give 0 at rest, 1 at this angle about x, and half at half of it.

    Only the sines: they are odd, and the same in both places.
    """
    weights = np.zeros((3, 3))
    weights[2, 1], weights[1, 2] = 0.5 / np.sin(angle), -0.5 / np.sin(angle)
    return weights.reshape(9)


def _wedge(neutral: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Jaw weights without ``jawOpen``: what lies below the line from the hinge to the middle of the mouth."""
    first, last = RANGES["lower_teeth"]
    upper_first, _ = RANGES["teeth"]
    bite = (neutral[upper_first:first].mean(0) + neutral[first:last].mean(0)) / 2
    slope = np.arctan2(bite[1] - pivot[1], bite[2] - pivot[2])
    below = slope - np.arctan2(neutral[:, 1] - pivot[1], neutral[:, 2] - pivot[2])
    ahead = _smooth((neutral[:, 2] - pivot[2]) / 0.03)
    weights = _smooth(below / np.radians(6)) * ahead * _smooth((neutral[:, 1] - pivot[1] + 0.11) / 0.03)
    weights[upper_first:first], weights[first:last] = 0.0, 1.0
    return weights


def _weights(neutral: np.ndarray, jaw: np.ndarray) -> Float[np.ndarray, "V 5"]:
    low, high = _NECK_RAMP
    root = 1 - _smooth((neutral[:, 1] - low) / (high - low))
    weights = np.zeros((len(neutral), 5))
    weights[:, JAW] = jaw
    weights[:, ROOT] = root * (1 - jaw)
    for joint, side in ((LEFT_EYE, "left"), (RIGHT_EYE, "right")):
        first, last = RANGES[f"{side}_eyeball"]
        weights[first:last] = 0.0
        weights[first:last, joint] = 1.0
    weights[:, NECK] = 1 - weights.sum(1)
    return weights


def _smooth(share: np.ndarray) -> np.ndarray:
    share = share.clip(0, 1)
    return share * share * (3 - 2 * share)


def _eye_centre(neutral: np.ndarray, side: str) -> np.ndarray:
    """Centre of the sphere that most of the sclera lies on; the cornea bulges and is left out."""
    first, last = RANGES[f"{side}_sclera"]
    points = neutral[first:last]
    for _ in range(8):
        system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
        solution = np.linalg.lstsq(system, np.square(points).sum(1), rcond=None)[0]
        radius = np.sqrt(max(solution[3] + solution[:3] @ solution[:3], 0.0))
        off = np.abs(np.linalg.norm(neutral[first:last] - solution[:3], axis=1) - radius)
        points = neutral[first:last][off <= np.quantile(off, 0.8)]
    return solution[:3]


def _regressor(neutral: np.ndarray, places: np.ndarray, moved: np.ndarray) -> Float[np.ndarray, "5 V"]:
    """Weights that sum to 1 and give the joint exactly, the smallest of their kind, so that it moves as the
    vertices around it do: skin that no expression moves, or the eyeball.
    """
    regressor = np.zeros((5, len(neutral)))
    skin = np.arange(len(neutral)) < RANGES["head_and_neck"][1]
    quiet = np.flatnonzero(skin & (moved < _QUIET))
    for joint in (ROOT, NECK, JAW):
        near = quiet[(np.abs(neutral[quiet, 1:] - places[joint, 1:]) < _HOLDERS).all(1)]
        if len(near) < 8:
            near = quiet if len(quiet) >= 8 else np.flatnonzero(skin)
        regressor[joint, near] = _affine(neutral[near], places[joint])
    for joint, side in ((LEFT_EYE, "left"), (RIGHT_EYE, "right")):
        first, last = RANGES[f"{side}_eyeball"]
        regressor[joint, first:last] = _affine(neutral[first:last], places[joint])
    return regressor


def _affine(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    system = np.concatenate([points.T, np.ones((1, len(points)))])
    return np.linalg.pinv(system) @ np.array([*place, 1.0])
