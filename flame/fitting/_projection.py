"""From a state to image points: the maps of a frame, residuals, the plain Jacobian."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ._problem import LandmarkHead, LandmarkProblem, State
from ._rotations import Array, cross_matrix, left_jacobian, rotation_exp

POSE_COLUMNS = 9  # log scale, centre x y, rotation xyz, jaw xyz
CHUNK = 64  # frames handled together: a few megabytes
LEAST_DEPTH = 0.1  # relative to the head's centre: nothing is nearer the camera


def pose_maps(state: State) -> tuple[Array, Array]:
    """How the 7 channels (rest, jaw arm, 1) of a landmark become its point in camera axes, and how it moves.

    Returns:
        ``projection`` (T, 3, 7): y + (centre, 0) = projection @ channels. ``motion`` (T, 9, 3, 7): its
        derivatives by log scale, centre x y, head rotation (left perturbation) and jaw axis-angle.
    """
    frames = state.frames
    scaled = np.exp(state.camera[:, 0])[:, None, None] * state.rotation  # (T, 3, 3)
    jaw = rotation_exp(state.jaw)
    projection = np.zeros((frames, 3, 7))
    projection[..., :3] = scaled
    projection[..., 3:6] = scaled @ (jaw - np.eye(3))
    projection[:, :2, 6] = state.camera[:, 1:]
    turned = projection[..., :6]
    motion = np.zeros((frames, POSE_COLUMNS, 3, 7))
    motion[:, 0, :, :6] = turned
    motion[:, 1, 0, 6] = motion[:, 2, 1, 6] = 1.0
    motion[:, 3, 1, :6], motion[:, 3, 2, :6] = -turned[:, 2], turned[:, 1]
    motion[:, 4, 0, :6], motion[:, 4, 2, :6] = turned[:, 2], -turned[:, 0]
    motion[:, 5, 0, :6], motion[:, 5, 1, :6] = -turned[:, 1], turned[:, 0]
    axes = cross_matrix(np.swapaxes(left_jacobian(state.jaw), 1, 2))  # (T, 3 parameters, 3, 3)
    motion[:, 6:, :, 3:6] = scaled[:, None] @ axes @ jaw[:, None]
    return projection, motion


def corrective_slopes(jaw: Array) -> Array:
    """(T, 3, 9): derivatives of vec(R_jaw - I) by the jaw's axis-angle."""
    axes = cross_matrix(np.swapaxes(left_jacobian(jaw), 1, 2))
    return (axes @ rotation_exp(jaw)[:, None]).reshape(len(jaw), 3, 9)


@dataclass(frozen=True)
class Points:
    """Landmarks of some frames at a state.

    Attributes:
        channels: (T, 6, L).
        projection, motion: of `pose_maps`.
        placed: (T, 3, L) in camera axes.
        depth: (T, 1, L) relative to the head's; None for weak perspective.
        image: (T, 2, L).
        strength: (T, 1, 1) of the perspective: lens times unit; None for weak perspective.
    """

    channels: Array
    projection: Array
    motion: Array
    placed: Array
    depth: Array | None
    image: Array
    strength: Array | None

    def forces(self, weighted: Array) -> Array:
        """What weighted residuals (T, 2, L) pull at the points in camera axes, (T, 2 or 3, L)."""
        if self.depth is None or self.strength is None:
            return weighted
        along = -self.strength * (weighted * self.image).sum(1, keepdims=True)
        return np.concatenate([weighted, along], axis=1) / self.depth


def all_points(head: LandmarkHead, state: State, projection: Array, person: Array | None = None) -> Array:
    """Channels (T, 6, M) of all points of a head; ``person`` is `LandmarkHead.person` of the shape."""
    person = head.person(state.shape) if person is None else person
    own = head.own_coefficients(state) @ head.columns[1 : 1 + head.own_count]
    own += person
    return own.reshape(len(projection), 6, head.landmarks)


def points_at(problem: LandmarkProblem, state: State, person: Array | None = None) -> Points:
    """The landmarks of a problem at a state of the same frames."""
    projection, motion = pose_maps(state)
    channels = all_points(problem.head, state, projection, person)
    if problem.sliding is not None:
        rows = np.maximum(problem.sliding.rows, 0)
        channels = np.take_along_axis(channels, rows[:, None], axis=2)
    flat = problem.unit is None or state.lens == 0
    part = projection[:, : 2 if flat else 3]
    placed = part[..., :6] @ channels + part[..., 6:]
    if flat or problem.unit is None:
        return Points(channels, projection, motion, placed, None, placed, None)
    strength = (state.lens * problem.unit)[:, None, None]
    depth = np.maximum(1 + strength * placed[:, 2:], LEAST_DEPTH)
    return Points(channels, projection, motion, placed, depth, placed[:, :2] / depth, strength)


def residual(problem: LandmarkProblem, state: State) -> Array:
    """Projected minus seen (T, L, 2)."""
    return np.swapaxes(points_at(problem, state).image - problem.target, 1, 2)


def choose_again(problem: LandmarkProblem, state: State) -> LandmarkProblem:
    """The problem with sliding landmarks where they are at a state."""
    if problem.sliding is None:
        return problem
    rows, person = np.empty_like(problem.sliding.rows), problem.head.person(state.shape)
    for start in range(0, problem.frames, CHUNK):
        part = slice(start, start + CHUNK)
        here = state.select(part)
        projection, _ = pose_maps(here)
        placed = (
            projection[..., :6] @ all_points(problem.head, here, projection, person) + projection[..., 6:]
        )
        rows[part] = problem.sliding.choose(np.ascontiguousarray(np.swapaxes(placed, 1, 2)))
    sliding = dataclasses.replace(problem.sliding, rows=rows)
    return dataclasses.replace(problem, sliding=sliding, confidence=sliding.certain * (rows >= 0))


def jacobian(problem: LandmarkProblem, state: State, points: Points) -> Array:
    """(T, 2, L, 9 + E + S + 1): derivatives of the image points by pose, coefficients, shape and lens.

    The lens's column is zero where the problem has no units.
    """
    head = problem.head
    rows = points.placed.shape[1]
    channels = (
        head.channels if problem.sliding is None else head.channels[np.maximum(problem.sliding.rows, 0)]
    )
    values = np.concatenate([points.channels, np.ones_like(points.channels[:, :1])], axis=1)  # (T, 7, L)
    pose = np.einsum("tpac,tcl->talp", points.motion[:, :, :rows], values)
    maps = points.projection[:, :rows, :6]
    letters = "lck" if problem.sliding is None else "tlck"
    linear = np.einsum(f"tac,{letters}->talk", maps, channels[..., 1:], optimize=True)
    own, shape = linear[..., : head.frame_count], linear[..., head.own_count :]
    if head.correctives is not None:
        inner = linear[..., head.frame_count : head.own_count]
        pose[..., 6:] += np.einsum("talc,tkc->talk", inner, corrective_slopes(state.jaw))
    return through_lens(np.concatenate([pose, own, shape], axis=3), problem, points)


def through_lens(slopes: Array, problem: LandmarkProblem, points: Points) -> Array:
    """Slopes in camera axes (T, 2 or 3, L, N) to those of the image, the lens's last (T, 2, L, N + 1)."""
    column = np.zeros((*points.image.shape, 1))
    if problem.unit is not None:
        ahead = points.projection[:, 2:, :6] @ points.channels  # (T, 1, L)
        column[..., 0] = -points.image * ahead * problem.unit[:, None, None]
    if points.depth is None or points.strength is None:
        return np.concatenate([slopes, column], axis=3)
    bend = (points.strength * points.image)[..., None]
    flat = np.concatenate([slopes[:, :2] - bend * slopes[:, 2:], column], axis=3)
    return flat / points.depth[..., None]
