"""Outline correspondence: where the skull's silhouette was, for what lies around it.

Hair follows the silhouette of the skull, not the cheek in front of it: when a head turns, its outline in the image
hardly moves while the face slides across it. The outline of a posed skull is taken as a radius by angle about the
skull's centre in the image, turned with the head's roll; a point on the driving outline comes from the point of the
source outline in the same direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

BINS = 96


@dataclass(frozen=True)
class Outline:
    """Radius by direction of a posed skull: centre ``(B, 2)``, radius ``(B, BINS)``, and its points ``(B, N, 2)``."""

    centre: Float[Tensor, "B 2"]
    radius: Float[Tensor, "B bins"]
    points: Float[Tensor, "B N 2"]


def skull_outline(verts: Float[Tensor, "B V 3"], skull: Bool[Tensor, "V"]) -> Outline:
    """The outline of the skull vertices, in pixels."""
    points = verts[:, skull, :2]
    centre = (points.amin(1) + points.amax(1)) / 2
    offset = points - centre[:, None]
    bins = _position(torch.atan2(offset[..., 1], offset[..., 0])).floor().long() % BINS
    radius = torch.zeros(len(verts), BINS, dtype=verts.dtype, device=verts.device)
    radius = radius.scatter_reduce(1, bins, offset.norm(dim=-1), "amax")
    around = torch.cat([radius[:, -2:], radius, radius[:, :2]], dim=1)[:, None]
    lifted = F.max_pool1d(around, 3, stride=1)  # a bin between two vertices is not a notch
    return Outline(centre, F.avg_pool1d(lifted, 3, stride=1)[:, 0], points)


def _position(angle: Tensor) -> Tensor:
    """Direction in radians to a bin coordinate, bin k spanning [k, k + 1)."""
    return (angle / (2 * math.pi) + 0.5) * BINS


def _radius_at(outline: Outline, angle: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    place = _position(angle) - 0.5
    low = place.floor()
    share = place - low
    first = outline.radius.gather(1, low.long() % BINS)
    second = outline.radius.gather(1, (low.long() + 1) % BINS)
    return first * (1 - share) + second * share


def in_plane_turn(source: Outline, driving: Outline) -> Float[Tensor, "B"]:
    """Angle by which the skull turned in the image, least squares over its points."""
    a = source.points - source.points.mean(1, keepdim=True)
    b = driving.points - driving.points.mean(1, keepdim=True)
    sine = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1)
    cosine = (a * b).sum((1, 2))
    return torch.atan2(sine, cosine)


def outline_flow(
    source: Outline, driving: Outline, points: Float[Tensor, "B N 2"], *, tolerance: float
) -> tuple[Float[Tensor, "B N 2"], Bool[Tensor, "B N"]]:
    """Backward displacement at points near the driving outline, and which of them lie on it.

    Args:
        source, driving: outlines of the same skull; a source of batch 1 broadcasts.
        points: in pixels of the driving frame.
        tolerance: greatest distance from the outline, as a share of its radius there.
    """
    offset = points - driving.centre[:, None]
    distance, angle = offset.norm(dim=-1), torch.atan2(offset[..., 1], offset[..., 0])
    radius = _radius_at(driving, angle).clamp(min=1e-3)
    turned = angle - in_plane_turn(source, driving)[:, None]
    turned = torch.atan2(torch.sin(turned), torch.cos(turned))
    outline = Outline(source.centre, source.radius.expand(len(points), -1), source.points)
    reach = distance / radius * _radius_at(outline, turned)
    origin = source.centre[:, None] + reach[..., None] * torch.stack([torch.cos(turned), torch.sin(turned)], dim=-1)
    return origin - points, (distance / radius - 1).abs() < tolerance
