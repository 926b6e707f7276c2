"""Two pictures of one rigid surface, aligned directly: pose, distance and, if asked for, perspective.

A target picture with its relief is moved until it shows what a source picture shows, by Gauss-Newton steps on
the difference of the pictures, coarse to fine. A network that guesses poses from pictures is off by some
degrees; from such a guess this finds the pose that the pictures themselves say. Nothing is learned here.

Everything is in the widths of the frame *at the mean surface*, so that a weak perspective is the plain case
and not the limit of a camera that goes to infinity: a pixel u (from the frame's middle) with relief r is the
point ``P = (u (1 + r p), r)``, where the perspective ``p`` is one over the focal length in widths. It moves
to ``Q = R P + (shift, 0)`` and is seen at ``Q_xy / (exp(distance) + p Q_z)``. To first order the pictures of
a turned surface say only products, angle times relief and angle times perspective; given the relief, both
follow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import HeadwarpError, ShapeError
from .flow import pixel_grid, sample
from .relative_pose import RelativePose
from .transforms import axis_angle_to_matrix, matrix_to_axis_angle
from .view_synthesis import intrinsics_matrix

PERSPECTIVES = (-0.3, 2.0)
"""Bounds of what is found: below zero nothing looks like this, but noise is as often below as above."""
_NEAREST = 0.05
_FARTHEST = 1.5  # of the logarithm of the factor on the distance, either way
_WIDEST = 2.0  # of the shift, in widths
_CONTRAST = 0.03  # standard deviation of luminance that counts as half of one
_DAMPING, _RISE, _FALL = 1e-2, 6.0, 0.4
_FLOOR = 1e-4  # of the damping, as a share of the mean diagonal


@dataclass(frozen=True)
class SurfaceMotion:
    """How a surface moved between two pictures; see the module.

    Attributes:
        rotation: ``(B, 3, 3)``.
        shift: in widths, x then y, ``(B, 2)``.
        distance: logarithm of the factor on the distance, ``(B,)``.
        perspective: one over the focal length in widths, ``(B,)``; 0 is a weak perspective.
    """

    rotation: Float[Tensor, "B 3 3"]
    shift: Float[Tensor, "B 2"]
    distance: Float[Tensor, " B"]
    perspective: Float[Tensor, " B"]


@dataclass(frozen=True)
class AlignmentConfig:
    """How two pictures are aligned.

    Attributes:
        sides: widths of the pictures that are compared, in pixels, coarse to fine.
        steps: Gauss-Newton steps at each of them.
        perspective_steps: steps at the last of them in which the perspective is free too; 0: it stays.
        softness: difference, in standard deviations of the neighbourhood, at which a pixel counts half.
    """

    sides: tuple[int, ...] = (16, 32, 64)
    steps: int = 3
    perspective_steps: int = 0
    softness: float = 0.7


@dataclass(frozen=True)
class Aligned:
    """What was found.

    Attributes:
        motion: with the perspective that was given.
        perspective: with the others free beside it; the given one where it was not asked for.
        cost: robust mean difference at ``motion``, ``(B,)``; of pictures that share nothing it is about 0.9.
    """

    motion: SurfaceMotion
    perspective: Float[Tensor, " B"]
    cost: Float[Tensor, " B"]


@torch.no_grad()
def align_surfaces(
    target: Float[Tensor, "B 3 H W"],
    source: Float[Tensor, "B 3 H W"],
    relief: Float[Tensor, "B 1 H W"],
    start: SurfaceMotion,
    *,
    weight: Float[Tensor, "#B 1 H W"] | None = None,
    config: AlignmentConfig | None = None,
) -> Aligned:
    """The motion that makes the target's surface show the source picture; not differentiable.

    Pictures are compared as luminance less its local mean, over its local deviation: light that changes
    slowly over the surface does not matter. A step that makes the difference larger is not taken.

    Args:
        target, source: RGB in [0, 1].
        relief: of the target, away from the camera, in widths at the mean surface.
        start: a guess, within some fifteen degrees.
        weight: of the target's pixels, not negative; all alike by default.
        config: sizes and steps.

    Raises:
        ShapeError: shapes disagree.
        HeadwarpError: no sizes, or no steps.
    """
    config = config or AlignmentConfig()
    _check(target, source, relief, config)
    weight = torch.ones_like(relief[:1]) if weight is None else weight
    weight = weight.expand(len(target), -1, -1, -1)
    motion, problem = start, None
    for side in config.sides:
        size = (max(1, round(side * target.shape[2] / target.shape[3])), side)
        problem = _Problem.of(target, source, relief, weight, size=size, softness=config.softness)
        motion = _descended(problem, motion, config.steps, free=False)
    assert problem is not None
    cost = problem.at(motion).cost
    if not config.perspective_steps:
        return Aligned(motion, motion.perspective, cost)
    freed = _descended(problem, motion, config.perspective_steps, free=True)
    return Aligned(motion, freed.perspective, cost)


@torch.no_grad()
def likeliest_start(
    target: Float[Tensor, "B 3 H W"],
    source: Float[Tensor, "B 3 H W"],
    relief: Float[Tensor, "B 1 H W"],
    starts: Sequence[SurfaceMotion],
    *,
    weight: Float[Tensor, "#B 1 H W"] | None = None,
    config: AlignmentConfig | None = None,
) -> SurfaceMotion:
    """Of several guesses, for every pair the one that leads to the least difference at the smallest size.

    A guess that is far off leads astray, and a network that learns from where it was led keeps guessing so;
    that nothing moved (`at_rest`) is a guess that no network can spoil.

    Args:
        target, source, relief: as for `align_surfaces`.
        starts: at least one.
        weight, config: as for `align_surfaces`; the first size alone is looked at.

    Raises:
        ShapeError: shapes disagree.
        HeadwarpError: no guesses, no sizes, or no steps.
    """
    config = config or AlignmentConfig()
    first = dataclasses.replace(config, sides=config.sides[:1], perspective_steps=0)
    if not starts:
        raise HeadwarpError("likeliest_start: starts: expected at least one guess, got none")
    best, *others = (
        align_surfaces(target, source, relief, start, weight=weight, config=first) for start in starts
    )
    for other in others:
        better = other.cost < best.cost
        best = Aligned(
            _chosen(better, other.motion, best.motion),
            torch.where(better, other.perspective, best.perspective),
            torch.where(better, other.cost, best.cost),
        )
    return best.motion


def at_rest(perspective: Float[Tensor, " B"]) -> SurfaceMotion:
    """No motion, before cameras of these perspectives."""
    nothing = torch.zeros_like(perspective)
    turn = torch.eye(3).to(perspective).expand(len(perspective), 3, 3)
    return SurfaceMotion(turn, nothing[:, None].expand(-1, 2), nothing, perspective)


def seen_at(relief: Float[Tensor, "B 1 H W"], motion: SurfaceMotion) -> Float[Tensor, "B 2 H W"]:
    """Where the target's pixels lie in the source, in pixels; differentiable in everything.

    Args:
        relief: of the target's pixels.
        motion: from the target to the source.
    """
    height, width = int(relief.shape[2]), int(relief.shape[3])
    moved = _moved(relief.flatten(2)[:, 0], _middled(relief), motion)
    middle = relief.new_tensor([width / 2, height / 2])[:, None]
    return (moved.place * width + middle).unflatten(2, (height, width))


def relief_after(relief: Float[Tensor, "B 1 H W"], motion: SurfaceMotion) -> Float[Tensor, "B 1 H W"]:
    """Relief of the target's pixels in the source picture, where `seen_at` puts them; differentiable.

    It counts from where the target's mean surface has come, in widths there; from the source's own mean
    surface it differs by a constant, to first order.

    Args:
        relief: of the target's pixels.
        motion: from the target to the source.
    """
    moved = _moved(relief.flatten(2)[:, 0], _middled(relief), motion)
    return (moved.turned[:, 2] / motion.distance.exp()[:, None]).view_as(relief)


def pose_of_surface(motion: SurfaceMotion, size: tuple[int, int]) -> RelativePose:
    """The motion as a camera's, in the unit of the target's mean depth; K is for frames of (H, W).

    The perspective must be above zero: without any there is no camera.

    Args:
        motion: from the target to the source.
        size: (H, W) of the frames.
    """
    p = motion.perspective
    axis = torch.stack([torch.zeros_like(p), torch.zeros_like(p), torch.ones_like(p)], dim=1)
    moved = torch.cat([motion.shift * p[:, None], motion.distance.expm1()[:, None]], dim=1)
    translation = axis - motion.rotation[:, :, 2] + moved
    focal = (size[1] / p)[:, None].expand(-1, 2)
    middle = p.new_tensor([size[1] / 2, size[0] / 2]).expand(len(p), -1)
    return RelativePose(matrix_to_axis_angle(motion.rotation), translation, intrinsics_matrix(focal, middle))


def surface_of_pose(pose: RelativePose, width: int) -> SurfaceMotion:
    """The motion of a camera with square pixels and its axis in the frame's middle; see `pose_of_surface`.

    What such a motion would bring behind the camera, or far away, is held at 1/4.5 and 4.5 times its
    distance, and shifts at two widths: it is a start that others are found from.

    Args:
        pose: its translation in the unit of the target's mean depth.
        width: of the frames that K is for, in pixels.

    Raises:
        HeadwarpError: K has two focal lengths.
    """
    focal = pose.intrinsics[:, 0, 0]
    if not torch.allclose(focal, pose.intrinsics[:, 1, 1], rtol=1e-3):
        raise HeadwarpError("surface_of_pose: expected one focal length, square pixels; got two")
    rotation = axis_angle_to_matrix(pose.rotation)
    perspective = width / focal
    off = pose.translation + rotation[:, :, 2]
    shift = (off[:, :2] / perspective[:, None]).clamp(-_WIDEST, _WIDEST)
    distance = off[:, 2].clamp_min(_NEAREST).log().clamp(-_FARTHEST, _FARTHEST)
    return SurfaceMotion(rotation, shift, distance, perspective)


def normalised(image: Float[Tensor, "B 3 H W"], size: tuple[int, int]) -> Float[Tensor, "B 1 h w"]:
    """Luminance of a smaller picture less its local mean, over its local deviation.

    Args:
        image: RGB in [0, 1].
        size: (H, W) of the result.
    """
    grey = F.interpolate(image.mean(1, keepdim=True), size=size, mode="area")
    reach = max(1, size[1] // 16)

    def local(values: Tensor) -> Tensor:
        padded = F.pad(values, (reach,) * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * reach + 1, 1)

    off = grey - local(grey)
    return off / (local(off.square()).sqrt() + _CONTRAST)


@dataclass(frozen=True)
class _Moved:
    """Points of N pixels: turned (B, 3, N), their w (B, N), and where they are seen (B, 2, N), in widths."""

    turned: Tensor
    scale: Tensor
    place: Tensor


@dataclass(frozen=True)
class _State:
    """Everything at one motion that a step needs; all (B, N) but the cost (B,)."""

    moved: _Moved
    slope_x: Tensor
    slope_y: Tensor
    error: Tensor
    pull: Tensor
    cost: Tensor


@dataclass(frozen=True)
class _Problem:
    """One size: what is compared with what."""

    wanted: Tensor
    seen: Tensor
    relief: Tensor
    pixels: Tensor
    weight: Tensor
    size: tuple[int, int]
    softness: float

    @classmethod
    def of(
        cls,
        target: Tensor,
        source: Tensor,
        relief: Tensor,
        weight: Tensor,
        *,
        size: tuple[int, int],
        softness: float,
    ) -> _Problem:
        seen = normalised(source, size)
        across = F.pad((seen[..., 2:] - seen[..., :-2]) * size[1] / 2, (1, 1, 0, 0), mode="replicate")
        along = F.pad((seen[..., 2:, :] - seen[..., :-2, :]) * size[1] / 2, (0, 0, 1, 1), mode="replicate")
        smaller = F.interpolate(relief, size=size, mode="area")
        weights = F.interpolate(weight, size=size, mode="area").flatten(1)
        total = weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        return cls(
            normalised(target, size).flatten(1),
            torch.cat([seen, across, along], dim=1),
            smaller.flatten(1),
            _middled(smaller),
            weights / total,
            size,
            softness,
        )

    def at(self, motion: SurfaceMotion) -> _State:
        height, width = self.size
        moved = _moved(self.relief, self.pixels, motion)
        positions = moved.place * width + moved.place.new_tensor([width / 2, height / 2])[:, None]
        found = sample(self.seen, positions[:, :, None], padding_mode="border", mode="bilinear")[:, :, 0]
        inside = (positions > 0) & (positions < positions.new_tensor([width, height])[:, None])
        weight = self.weight * inside.all(1)
        error = found[:, 0] - self.wanted
        square = (error / self.softness).square()
        # what has left the frame counts as badly as what fits badly: or all of it would leave
        cost = (weight * torch.log1p(square)).sum(1) + (self.weight - weight).sum(1)
        pull = weight / (1 + square) / self.softness**2
        return _State(moved, found[:, 1], found[:, 2], error, pull, cost)


def _moved(relief: Tensor, pixels: Tensor, motion: SurfaceMotion) -> _Moved:
    perspective = motion.perspective[:, None]
    points = torch.cat([pixels * (1 + relief * perspective)[:, None], relief[:, None]], dim=1)
    turned = motion.rotation @ points
    scale = (motion.distance.exp()[:, None] + perspective * turned[:, 2]).clamp_min(_NEAREST)
    return _Moved(turned, scale, (turned[:, :2] + motion.shift[:, :, None]) / scale[:, None])


def _descended(problem: _Problem, motion: SurfaceMotion, steps: int, *, free: bool) -> SurfaceMotion:
    """Levenberg's steps, each pair by itself."""
    state = problem.at(motion)
    damping = torch.full_like(motion.distance, _DAMPING)
    for _ in range(steps):
        step = _step(problem, motion, state, damping, free=free)
        tried = _stepped(motion, step)
        found = problem.at(tried)
        better = found.cost < state.cost
        damping = torch.where(better, damping * _FALL, damping * _RISE)
        motion, state = _chosen(better, tried, motion), _chosen(better, found, state)
    return motion


def _step(
    problem: _Problem, motion: SurfaceMotion, state: _State, damping: Tensor, *, free: bool
) -> Float[Tensor, "B S"]:
    """Turn (3), shift (2), distance and, where it is free, perspective."""
    moved, perspective = state.moved, motion.perspective[:, None]
    by_x, by_y = state.slope_x / moved.scale, state.slope_y / moved.scale
    by_scale = -(by_x * moved.place[:, 0] + by_y * moved.place[:, 1])
    by_point = torch.stack([by_x, by_y, by_scale * perspective], dim=1)  # (B, 3, N)
    columns = [
        *torch.linalg.cross(moved.turned, by_point, dim=1).unbind(1),
        by_x,
        by_y,
        by_scale * motion.distance.exp()[:, None],
    ]
    if free:
        spread = torch.cat(
            [problem.pixels * problem.relief[:, None], torch.zeros_like(problem.relief)[:, None]], dim=1
        )
        columns.append(((motion.rotation @ spread) * by_point).sum(1) + by_scale * moved.turned[:, 2])
    jacobian = torch.stack(columns, dim=2)  # (B, N, S)
    weighted = jacobian * state.pull[:, :, None]
    normal = weighted.transpose(1, 2) @ jacobian
    slope = (weighted.transpose(1, 2) @ state.error[:, :, None])[:, :, 0]
    diagonal = normal.diagonal(dim1=1, dim2=2)
    floor = _FLOOR * diagonal.mean(1, keepdim=True) + torch.finfo(normal.dtype).eps
    damped = normal + torch.diag_embed(diagonal * damping[:, None] + floor)
    step, _ = torch.linalg.solve_ex(damped, slope[:, :, None])  # unchecked: what it makes worse is not taken
    return -step[:, :, 0]


def _stepped(motion: SurfaceMotion, step: Tensor) -> SurfaceMotion:
    moved = SurfaceMotion(
        axis_angle_to_matrix(step[:, :3]) @ motion.rotation,
        (motion.shift + step[:, 3:5]).clamp(-_WIDEST, _WIDEST),
        (motion.distance + step[:, 5]).clamp(-_FARTHEST, _FARTHEST),
        motion.perspective,
    )
    if step.shape[1] == 6:
        return moved
    return dataclasses.replace(moved, perspective=(motion.perspective + step[:, 6]).clamp(*PERSPECTIVES))


Parts = TypeVar("Parts", SurfaceMotion, _State, _Moved)


def _chosen(first: Tensor, one: Parts, other: Parts) -> Parts:
    """Pair by pair the tensors of one where ``first`` says so, else those of the other."""
    found: dict[str, Any] = {}
    for part in dataclasses.fields(one):
        mine, theirs = getattr(one, part.name), getattr(other, part.name)
        if isinstance(mine, Tensor):
            mask = first.view(-1, *[1] * (mine.ndim - 1))
            found[part.name] = torch.where(mask, mine, theirs)
        else:
            found[part.name] = _chosen(first, mine, theirs)
    return type(one)(**found)


def _middled(like: Tensor) -> Float[Tensor, "1 2 N"]:
    """Pixel centres from the frame's middle, in its widths."""
    height, width = int(like.shape[2]), int(like.shape[3])
    grid = pixel_grid((height, width), device=like.device, dtype=like.dtype).flatten(2)
    return (grid - grid.new_tensor([width / 2, height / 2])[:, None]) / width


def _check(target: Tensor, source: Tensor, relief: Tensor, config: AlignmentConfig) -> None:
    if target.shape != source.shape or target.ndim != 4 or target.shape[1] != 3:
        got = f"{tuple(target.shape)} and {tuple(source.shape)}"
        raise ShapeError(f"target, source: expected two (B, 3, H, W) of one shape, got {got}")
    if relief.shape != (len(target), 1, *target.shape[2:]):
        raise ShapeError(f"relief: expected (B, 1, H, W) of the pictures' size, got {tuple(relief.shape)}")
    if not config.sides or min(config.sides) < 4 or config.steps < 1 or not config.softness > 0:
        raise HeadwarpError(f"align_surfaces: expected sides from 4 px on, steps and softness, got {config}")
