"""Outline correspondence: the hair around a head follows the skull's silhouette, not the cheek before it.

When a head turns, its outline in the image hardly moves while the face slides across it. The silhouette of a
posed skull is a radius by direction about the skull's centre in the image. The source's *hairline* is how
much further the person mask reaches in each direction, in units of that radius. In another pose the hairline
is expected as far outside the driving silhouette, direction by direction (turned with the head's roll): these
points are anchors of the flow, and the hair between them and the face is interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .errors import ShapeError
from .flow import sample

BINS = 96
HARMONICS = 8
MAX_REACH = 1.8  # a mask that goes on further in some direction has no hairline there
LOWEST = math.radians(120.0)  # directions further from upwards belong to neck and shoulders
SAMPLES = 1024
INSET = 0.06  # anchors lie inside the mask's edge, which is then drawn unstretched outside of them
STEPS = 128


@dataclass(frozen=True)
class Outline:
    """A posed skull's silhouette in pixels.

    Attributes:
        centre: of the skull's box, ``(B, 2)``.
        radius: by direction from -pi to pi (image x towards y), ``(B, BINS)``.
        points: the skull's vertices, ``(B, N, 2)``.
    """

    centre: Float[Tensor, "B 2"]
    radius: Float[Tensor, "B bins"]
    points: Float[Tensor, "B N 2"]


@dataclass(frozen=True)
class Hairline:
    """How far the hair reaches beyond a source's outline.

    Attributes:
        outline: of the source.
        reach: of the mask by direction, in units of the outline's radius, ``(1, BINS)``.
        known: 1 in directions where the mask ends inside the frame and above the shoulders.
    """

    outline: Outline
    reach: Float[Tensor, "1 bins"]
    known: Float[Tensor, "1 bins"]


def skull_outline(
    verts: Float[Tensor, "B V 3"], skull: Bool[Tensor, "V"], covered: Float[Tensor, "B 1 H W"]
) -> Outline:
    """The silhouette about the centre of the skull's box, smoothed to 8 circular harmonics.

    Args:
        verts: posed mesh in pixels.
        skull: its skull vertices: where the centre is, and how far to look.
        covered: 1 where the rasterised mesh lies.

    Raises:
        ShapeError: no vertex of the mesh is a skull vertex.
    """
    if not bool(skull.any()):
        raise ShapeError("skull: expected at least one vertex, got none; leave Source.skull out")
    points = verts[:, skull, :2]
    centre = (points.amin(1) + points.amax(1)) / 2
    furthest = (points - centre[:, None]).norm(dim=-1).amax(1)  # (B,)
    share = torch.linspace(0, 1.05, STEPS, dtype=verts.dtype, device=verts.device)
    along = furthest[:, None, None] * share  # (B, 1, STEPS)
    rays = along[..., None] * _direction(_angles(verts))[None, :, None]
    at = centre[:, None, None] + rays  # (B, bins, STEPS, 2)
    inside = sample(covered, at.permute(0, 3, 1, 2), padding_mode="zeros")[:, 0]  # (B, bins, STEPS)
    last = torch.where(inside > 0.5, torch.arange(STEPS, device=verts.device), 0).amax(-1)
    first_out = (last + 1).clamp(max=STEPS - 1)
    here = inside.gather(-1, last[..., None])[..., 0]
    there = inside.gather(-1, first_out[..., None])[..., 0]
    part = ((here - 0.5) / (here - there).clamp(min=1e-3)).clamp(0, 1)
    radius = (last + part) * share[1] * furthest[:, None]
    return Outline(centre, _smooth(radius).clamp(min=1.0), points)


def _angles(like: Tensor, count: int = BINS) -> Float[Tensor, "bins"]:
    """Centre direction of every bin, radians from -pi to pi."""
    place = torch.arange(count, dtype=like.dtype, device=like.device) + 0.5
    return place / count * 2 * math.pi - math.pi


def hairline(outline: Outline, mask: Float[Tensor, "1 1 H W"]) -> Hairline:
    """How far the person mask reaches beyond a source's silhouette in every direction above the shoulders.

    Args:
        outline: of the source.
        mask: person probability in the source.
    """
    steps = torch.linspace(0.8, MAX_REACH, 64, dtype=mask.dtype, device=mask.device)
    angle = _angles(mask)
    direction = _direction(angle)  # (bins, 2)
    along = outline.radius[0][:, None] * steps  # (bins, steps)
    at = outline.centre[0] + along[..., None] * direction[:, None]
    inside = sample(mask, at.permute(2, 0, 1)[None], padding_mode="border")[0, 0] > 0.5
    ended = (~inside).to(torch.int8).argmax(1)  # first step outside
    height, width = mask.shape[2:]
    edge = at[torch.arange(BINS), ended]
    within = (edge >= 1).all(-1) & (edge <= edge.new_tensor([width - 1.0, height - 1.0])).all(-1)
    upwards = (_wrap(angle + math.pi / 2)).abs() < LOWEST
    known = (~inside).any(1) & within & upwards
    reach = _bridged(steps[ended], known)
    return Hairline(outline, _smooth(reach[None]).clamp(0.8, MAX_REACH), known.to(mask.dtype)[None])


def _bridged(values: Float[Tensor, "bins"], known: Bool[Tensor, "bins"]) -> Float[Tensor, "bins"]:
    """Unknown directions interpolated between their known neighbours around the circle; 1 if none is
    known.
    """
    index = known.nonzero()[:, 0]
    if not len(index):
        return torch.ones_like(values)
    low = torch.searchsorted(index, torch.arange(len(values), device=values.device), right=True) - 1
    before, after = index[low % len(index)], index[(low + 1) % len(index)]
    here = torch.arange(len(values), device=values.device)
    gap = (after - before) % len(values)
    share = ((here - before) % len(values)) / gap.clamp(min=1)
    return values[before] * (1 - share) + values[after] * share


def hairline_anchors(
    line: Hairline, driving: Outline
) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K 2"], Bool[Tensor, "B K"]]:
    """Points of the hairline in the driving frame, where they come from, and which of them are known.

    Args:
        line: of the source.
        driving: outlines of B frames.

    Returns:
        Points in the driving frame, where they lie in the source, both in pixels, and which are known.
    """
    like = driving.centre
    angle = _angles(like, SAMPLES).expand(len(like), -1)
    own = _wrap(angle - in_plane_turn(line.outline, driving)[:, None])  # the same direction in the source
    reach = _at(line.reach, own)
    source_radius, radius = _at(line.outline.radius, own), _at(driving.radius, angle)
    size = driving.radius.mean(1, keepdim=True) / line.outline.radius.mean(1, keepdim=True)
    hair = (reach - INSET - 1) * source_radius  # thickness in 3D: it does not grow with the outline
    here = driving.centre[:, None] + (radius + size * hair)[..., None] * _direction(angle)
    there = line.outline.centre[:, None] + (source_radius + hair)[..., None] * _direction(own)
    return here, there, _at(line.known, own) > 0.99


def in_plane_turn(source: Outline, driving: Outline) -> Float[Tensor, "B"]:
    """Angle by which the skull turned in the image, least squares over its points.

    Args:
        source, driving: outlines of the same vertices.

    Returns:
        Radians, above 0 clockwise in the image.
    """
    a = source.points - source.points.mean(1, keepdim=True)
    b = driving.points - driving.points.mean(1, keepdim=True)
    sine = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1)
    cosine = (a * b).sum((1, 2))
    return torch.atan2(sine, cosine)


def _direction(angle: Tensor) -> Tensor:
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)


def _wrap(angle: Tensor) -> Tensor:
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _position(angle: Tensor) -> Tensor:
    """Direction in radians to a bin coordinate, bin k spanning [k, k + 1)."""
    return (angle / (2 * math.pi) + 0.5) * BINS


def _smooth(values: Float[Tensor, "B bins"]) -> Float[Tensor, "B bins"]:
    spectrum = torch.fft.rfft(values)
    spectrum = spectrum * (torch.arange(spectrum.shape[1], device=values.device) <= HARMONICS)
    return torch.fft.irfft(spectrum, n=BINS)


def _at(values: Float[Tensor, "#B bins"], angle: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Linear interpolation around the circle."""
    place = _position(angle) - 0.5
    low = place.floor()
    share = place - low
    table = values.expand(len(angle), -1)
    first = table.gather(1, low.long() % BINS)
    second = table.gather(1, (low.long() + 1) % BINS)
    return first * (1 - share) + second * share
