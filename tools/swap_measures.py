"""What a swapped head is measured by: the pose, expression and shape that its picture is fitted with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..flame.model import HeadModel, pose_vertices
from ..flame.params import HeadParams
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from .fit_identity import shape_points


@dataclass(frozen=True)
class SwapErrors:
    """How far a swapped head is from what it should be.

    Attributes:
        shape_ratio: distance of its shape to the source's over that to the target's; the source's is 0.
        pose_deg: mean angle between its rotation and the target's.
        expression_percent: root mean square vertex distance of its expression (jaw and lids too) to the
            target's, over that of the target's to rest.
    """

    shape_ratio: float
    pose_deg: float
    expression_percent: float


GOALS = SwapErrors(shape_ratio=0.5, pose_deg=3.0, expression_percent=10.0)


@dataclass(frozen=True)
class Deviation:
    """What a swapped head's fits lack of what they should be, number by number.

    Attributes:
        shape: from the source's shape, millimetres over the root of the landmarks' number: its norm is a root
            mean square distance, ``(3 L,)``.
        expression: from the target's, likewise over the vertices, ``(T, 3 V)``.
        turn: axis-angle from the target's rotation, degrees, ``(T, 3)``.
    """

    shape: Float[np.ndarray, "N"]
    expression: Float[np.ndarray, "T M"]
    turn: Float[np.ndarray, "T 3"]


def swap_errors(
    model: HeadModel,
    free: HeadParams,
    known: HeadParams,
    target: HeadParams,
    source_shape: Float[Tensor, "S"],
) -> SwapErrors:
    """Errors of T frames; arguments as in `deviation`."""
    return errors_of(model, deviation(model, free, known, target, source_shape), free.shape, target)


def errors_of(
    model: HeadModel, lacking: Deviation, shape: Float[Tensor, "S"], target: HeadParams
) -> SwapErrors:
    """Errors of what T frames lack.

    Args:
        model: the head.
        lacking: of `deviation`.
        shape: of the swapped head, fitted as anyone's.
        target: of the target.
    """
    to_target, size = apart_mm(model, shape, target.shape), expression_mm(model, target)
    error = float(np.square(lacking.expression).sum(1).mean() ** 0.5)
    return SwapErrors(
        shape_ratio=float(np.linalg.norm(lacking.shape)) / to_target if to_target > 0 else math.inf,
        pose_deg=float(np.linalg.norm(lacking.turn, axis=1).mean()),
        expression_percent=100 * error / size if size > 0 else math.inf,
    )


def deviation(
    model: HeadModel,
    free: HeadParams,
    known: HeadParams,
    target: HeadParams,
    source_shape: Float[Tensor, "S"],
) -> Deviation:
    """What T frames lack.

    Args:
        model: the head.
        free: of the swapped head, fitted as anyone's.
        known: the same, fitted with the source's shape: where a shape is also looked for, it takes a part of
            the expression and the other way round.
        target: of the target.
        source_shape: of the source.
    """
    ends = shape_points(model, [shape.double().numpy() for shape in (source_shape, free.shape)])
    found, wanted = (expression_vertices(model, params) for params in (known, target))
    turn = axis_angle_to_matrix(target.rotation).mT @ axis_angle_to_matrix(free.rotation)
    moved = (found - wanted).double().numpy()
    return Deviation(
        shape=1000 * (ends[1] - ends[0]).ravel() / len(ends[0]) ** 0.5,
        expression=1000 * moved.reshape(len(moved), -1) / moved.shape[1] ** 0.5,
        turn=torch.rad2deg(matrix_to_axis_angle(turn)).double().numpy(),
    )


def apart_mm(model: HeadModel, one: Float[Tensor, "S"], other: Float[Tensor, "S"]) -> float:
    """Root mean square distance of two shapes at rest, over the landmarks.

    Args:
        model: the head.
        one, other: coefficients.

    Returns:
        Millimetres.
    """
    points = shape_points(model, [shape.double().numpy() for shape in (one, other)])
    return 1000 * float(np.square(points[0] - points[1]).sum(-1).mean() ** 0.5)


def expression_mm(model: HeadModel, params: HeadParams) -> float:
    """Root mean square distance of the vertices of T frames' expressions, jaw and lids too, to rest."""
    rest = params.neutral(len(params.shape), params.expression.shape[1])
    moved = expression_vertices(model, params) - expression_vertices(model, rest)
    return 1000 * float(moved.square().sum(-1).mean().sqrt())


def expression_vertices(model: HeadModel, params: HeadParams) -> Float[Tensor, "T V 3"]:
    """Vertices of the mean head with an expression, jaw and lids."""
    shape = torch.zeros_like(params.shape)
    return pose_vertices(model, shape, params.expression, jaw=params.jaw, eyelids=params.eyelids)
