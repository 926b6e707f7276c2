"""A Gauss-Newton step of photometric refinement: how points move, what they should show, what holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, WeakPerspective, project
from ..model import HeadModel, LandmarkModel, pose_vertices
from ..params import Camera, HeadFit
from ..posing import pixels_per_metre
from ._photometric_view import Region, View, colours_at, eye_distance
from .appearance import COLOUR_NOISE, Pixels, robust_weights

_EFFECTIVE_PIXELS = 600.0  # the data term counts so many independent pixels, however large the face
# How far a step may take the parameters from the landmark fit: standard deviations.
_DEVIATIONS = {"rotation": 0.05, "place": 0.02, "jaw": 0.1, "expression": 0.5, "eyelids": 0.25}
_LANDMARK_LOADS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_STEP_LENGTHS = (1.0, 0.4)


@dataclass(frozen=True)
class Motion:
    """How the region's points of one frame depend on its free parameters ``theta (P,)``, one flat vector."""

    start: Tensor
    deviation: Tensor
    points: Callable[[Tensor], Tensor]
    fit_of: Callable[[Tensor], HeadFit]


def motion_of(head: HeadModel, view: View, rows: Tensor, unit: float) -> Motion:
    """Free parameters of a frame: rotation, place, jaw, expression, eyelids.

    ``points`` projects the vertices ``rows``; the place is (log scale, centre) of a weak-perspective camera,
    the translation of a perspective one. ``unit``: eye distance in pixels.
    """
    params, camera = view.fit.params, view.fit.camera
    reduced = _frozen_shape(head, params.shape, rows)
    count = params.expression.shape[1]
    sizes = {"rotation": 3, "place": 3, "jaw": 3, "expression": count, "eyelids": 2}
    weak = isinstance(camera, WeakPerspective)
    if isinstance(camera, WeakPerspective):
        place = torch.cat([camera.scale.log(), camera.center[0]])
        reach = place.new_tensor([_DEVIATIONS["place"], *(_DEVIATIONS["place"] * unit,) * 2])
    else:
        place = params.translation[0]
        reach = torch.full_like(place, _DEVIATIONS["place"] * unit) / pixels_per_metre(params, camera)[0]
    start = torch.cat([params.rotation[0], place, params.jaw[0], params.expression[0], params.eyelids[0]])
    own = [reach if name == "place" else reach.new_full((n,), _DEVIATIONS[name]) for name, n in sizes.items()]

    def fit_of(theta: Tensor) -> HeadFit:
        rotation, moved, jaw, expression, eyelids = theta.split(list(sizes.values()))
        changed = dataclasses.replace(
            params,
            rotation=rotation[None],
            jaw=jaw[None],
            expression=expression[None],
            eyelids=eyelids[None],
            translation=params.translation if weak else moved[None],
        )
        lens: Camera = WeakPerspective(moved[:1].exp(), moved[None, 1:]) if weak else camera
        return dataclasses.replace(view.fit, params=changed, camera=lens)

    def points(theta: Tensor) -> Tensor:
        moved = fit_of(theta)
        p = moved.params
        posed = pose_vertices(
            reduced,
            p.expression.new_zeros(0),
            p.expression,
            rotation=p.rotation,
            translation=p.translation,
            neck=p.neck,
            jaw=p.jaw,
            eyelids=p.eyelids,
        )
        return project(posed @ MODEL_TO_CAMERA.to(posed).T, moved.camera)[0, :, :2]

    return Motion(start, torch.cat(own), points, fit_of)


def _frozen_shape(head: HeadModel, shape: Tensor, rows: Tensor) -> LandmarkModel:
    """The head at some vertices with the person's shape in the template."""
    used = len(shape)
    return LandmarkModel(
        mean=head.template[rows] + head.shape_basis[rows][..., :used] @ shape,
        shape_basis=head.shape_basis[rows][..., :0],
        expression_basis=head.expression_basis[rows],
        eyelid_basis=head.eyelid_basis[rows],
        pose_basis=head.pose_basis[rows],
        weights=head.weights[rows],
        joint_template=head.joint_template + head.joint_shape_basis[..., :used] @ shape,
        joint_shape_basis=head.joint_shape_basis[..., :0],
        joint_expression_basis=head.joint_expression_basis,
        indices=rows,
        parents=head.parents,
        joint_names=head.joint_names,
    )


@dataclass(frozen=True)
class FrameProblem:
    """What a frame's points should show and meet.

    Attributes:
        view: the frame with its present parameters.
        motion: how its points follow them.
        rest: the landmark fit's parameters, to which the prior pulls ``(P,)``.
        pixels: the surface points compared; ``modelled (N, 3)`` the colours they should show.
        spot_rows, landmark_rows: corners of both among the motion's points, ``(N, 3)`` and ``(L, 3)``.
        landmark_bary: ``(L, 3)``; ``target (L, 2)`` pixels, ``load (L,)`` 1 where detected and fitted.
        limit: mean landmark distance that no step may exceed, pixels.
        sigma: landmark noise in pixels.
    """

    view: View
    motion: Motion
    rest: Tensor
    pixels: Pixels
    modelled: Tensor
    spot_rows: Tensor
    landmark_rows: Tensor
    landmark_bary: Tensor
    target: Tensor
    load: Tensor
    limit: float
    sigma: float

    @property
    def scale(self) -> float:
        """Weight of a pixel's squared colour difference."""
        return _EFFECTIVE_PIXELS / len(self.pixels.bary) / COLOUR_NOISE**2

    def landmark_errors(self, points: Tensor) -> Tensor:
        """Projected minus detected ``(L, 2)``."""
        return _mixed(points, self.landmark_rows, self.landmark_bary) - self.target

    def spots(self, points: Tensor) -> Tensor:
        """Where the compared surface points project ``(N, 2)``."""
        return _mixed(points, self.spot_rows, self.pixels.bary)

    def reprojection(self, points: Tensor) -> float:
        """Mean landmark distance in pixels."""
        return float((self.landmark_errors(points).norm(dim=1) * self.load).sum() / self.load.sum())

    def energy(self, theta: Tensor) -> tuple[float, float]:
        """Photometric term and prior (the landmarks are a limit, no term), and the reprojection."""
        points = self.motion.points(theta)
        off = colours_at(self.view.slopes[:, :3], self.spots(points)) - self.modelled
        squared = off.square().mean(1) / (2 * COLOUR_NOISE) ** 2
        photometric = 12 * COLOUR_NOISE**2 * self.scale * float((squared / (1 + squared)).sum())
        strain = float(((theta - self.rest) / self.motion.deviation).square().sum())
        return photometric + strain, self.reprojection(points)


def frame_problem(
    head: HeadModel,
    start: View,
    view: View,
    *,
    region: Region,
    pixels: Pixels,
    modelled: Tensor,
    landmark_noise: float,
) -> FrameProblem:
    """Set up a frame; ``start`` is the landmark fit, ``landmark_noise`` in percent of the eye distance."""
    rows = torch.cat([region.vertices, region.corners.flatten()]).unique()
    place_of = torch.full((len(head.template),), -1, device=rows.device)
    place_of[rows] = torch.arange(len(rows), device=rows.device)
    unit = eye_distance(head, view.fit, region)
    origin = motion_of(head, start, rows, unit)
    target = view.fit.landmarks[0]
    problem = FrameProblem(
        view=view,
        motion=motion_of(head, view, rows, unit),
        rest=origin.start,
        pixels=pixels,
        modelled=modelled,
        spot_rows=place_of[pixels.corners],
        landmark_rows=place_of[region.corners],
        landmark_bary=region.bary,
        target=target.nan_to_num(),
        load=(target.isfinite().all(1) & region.fitted).to(target),
        limit=0.0,
        sigma=landmark_noise / 100 * unit,
    )
    # below the landmark fit's, so that rounding cannot lift the result above it
    return dataclasses.replace(problem, limit=problem.reprojection(origin.points(origin.start)) * (1 - 1e-5))


def step(problem: FrameProblem) -> View:
    """A Gauss-Newton step that lowers the energy and keeps the reprojection; the view itself if none does.

    The landmarks enter the linear system with rising weight until the step meets the limit.
    """
    from torch.func import jacfwd

    motion, theta = problem.motion, problem.motion.start
    points, jacobian = motion.points(theta), jacfwd(motion.points)(theta)  # (R, 2), (R, 2, P)
    looked = colours_at(problem.view.slopes, problem.spots(points))  # (N, 9): colours, slopes along x, y
    off = looked[:, :3] - problem.modelled
    slopes = looked[:, 3:].unflatten(1, (2, 3)).transpose(1, 2)  # (N, 3, 2)
    change = (slopes @ _mixed(jacobian, problem.spot_rows, problem.pixels.bary)).flatten(0, 1)  # (3 N, P)
    weighted = change * (problem.scale * robust_weights(off)).repeat_interleave(3)[:, None]
    own = motion.deviation**-2
    data = weighted.T @ change + torch.diag(own)
    pull = weighted.T @ off.flatten() + own * (theta - problem.rest)
    moved = _mixed(jacobian, problem.landmark_rows, problem.landmark_bary)  # (L, 2, P)
    held = (moved * problem.load[:, None, None] / problem.sigma**2).flatten(0, 1)
    hold, hold_pull = held.T @ moved.flatten(0, 1), held.T @ problem.landmark_errors(points).flatten()
    here = problem.energy(theta)[0]
    for load in _LANDMARK_LOADS:
        whole = torch.linalg.solve(data + load * hold, -(pull + load * hold_pull))
        for length in _STEP_LENGTHS:
            trial = theta + length * whole
            value, distance = problem.energy(trial)
            if value < here * (1 - 1e-5) and distance <= problem.limit:
                return dataclasses.replace(problem.view, fit=motion.fit_of(trial))
    return problem.view


def _mixed(values: Tensor, rows: Tensor, bary: Tensor) -> Tensor:
    """Values of points ``(R, ...)`` at barycentric mixtures of three of them: ``(N, ...)``."""
    return torch.einsum("nk...,nk->n...", values[rows], bary)
