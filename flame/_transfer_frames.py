"""Pose and expression of a head whose points lie nearest to given ones, frame by frame."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.errors import HeadwarpError
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle, skew
from .model import LandmarkModel, pose_vertices
from .params import HeadParams

FRAMES_AT_ONCE = 64
_STEP = 1e-5  # radians, of the differences by the jaw
_FREE = 1e-9  # weight of what has no prior: turn and shift


@dataclass(frozen=True)
class TransferConfig:
    """How a fit is carried over.

    Attributes:
        noise: metres; how closely surfaces should agree, against coefficients of unit variance.
        exact_noise: the same for heads of one mesh.
        jaw_deviation: radians; of the jaw about the source's.
        eyelid_deviation: of the eyelids about the source's.
        iterations: most steps for a frame.
        tolerance: metres; stop when no point moves further in a step.
    """

    noise: float = 2e-3
    exact_noise: float = 5e-6
    jaw_deviation: float = 0.1
    eyelid_deviation: float = 0.5
    iterations: int = 30
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("noise", "exact_noise", "jaw_deviation", "eyelid_deviation", "iterations"):
            if not 0 < getattr(self, name) < float("inf"):
                raise HeadwarpError(f"{name}: expected a number above 0, got {getattr(self, name)}")


def posed(head: LandmarkModel, params: HeadParams) -> Float[Tensor, "T N 3"]:
    """A head's points in the model frame, metres."""
    given = {f.name: getattr(params, f.name) for f in dataclasses.fields(params)}
    return pose_vertices(head, **given)


def solve_frames(
    head: LandmarkModel,
    shape: Float[Tensor, " S"],
    start: HeadParams,
    aim: Float[Tensor, "T N 3"],
    *,
    config: TransferConfig,
) -> HeadParams:
    """Parameters of a head of known identity whose points are nearest to the aim; neck and eyes as given.

    Args:
        head: at N points, float64.
        shape: its identity.
        start: T frames: rotation and jaw to start from, the jaw's and the eyelids' priors, neck and eyes.
        aim: where the points should be, model frame, metres.
        config: weights and when to stop.
    """
    goal = _Goal.of(head, shape, config)
    parts = [
        goal.solve(aim[t : t + FRAMES_AT_ONCE], start.select(slice(t, t + FRAMES_AT_ONCE)))
        for t in range(0, start.frames, FRAMES_AT_ONCE)
    ]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return HeadParams(shape=shape, **joined)


@dataclass(frozen=True)
class _State:
    """Of B frames: ``turn (B, 3, 3)`` about the root, ``shift (B, 3)``, ``inner (B, 5 + E)`` (jaw, eyelids,
    expression).
    """

    turn: Tensor
    shift: Tensor
    inner: Tensor

    def moved(self, step: Float[Tensor, "B P"]) -> _State:
        """After a step whose turn and shift are in the head's own axes."""
        return _State(
            self.turn @ axis_angle_to_matrix(step[:, :3]),
            self.shift + (self.turn @ step[:, 3:6, None])[..., 0],
            self.inner + step[:, 6:],
        )

    def kept(self, other: _State, where: Tensor) -> _State:
        """The other's frames where true, else these."""
        column = where[:, None]
        return _State(
            torch.where(column[..., None], other.turn, self.turn),
            torch.where(column, other.shift, self.shift),
            torch.where(column, other.inner, self.inner),
        )


@dataclass(frozen=True)
class _Goal:
    """A head with a fixed identity, and the normal equations of its resting face.

    Gauss-Newton with that one matrix, factored once: it depends on a frame only through the jaw and the neck,
    and the gradient is exact, so that the steps end where they should.

    Attributes:
        head: without identity columns.
        columns: how its resting points move with turn, shift, jaw, eyelids and expression, ``(N, 3, P)``.
        prior: weights of the unknowns, ``(P,)``.
        factor: Cholesky factor of the normal matrix, ``(P, P)``.
        config: weights and when to stop.
    """

    head: LandmarkModel
    columns: Tensor
    prior: Tensor
    factor: Tensor
    config: TransferConfig

    @staticmethod
    def of(head: LandmarkModel, shape: Float[Tensor, " S"], config: TransferConfig) -> _Goal:
        fixed = dataclasses.replace(
            head,
            mean=head.mean + head.shape_basis @ shape,
            shape_basis=head.shape_basis[..., :0],
            joint_template=head.joint_template + head.joint_shape_basis @ shape,
            joint_shape_basis=head.joint_shape_basis[..., :0],
        )
        columns = _columns(fixed)
        weights = [
            torch.full((6,), _FREE),
            torch.full((3,), config.jaw_deviation**-2),
            torch.full((2,), config.eyelid_deviation**-2),
            torch.ones(head.expression_basis.shape[2]),
        ]
        prior = torch.cat(weights).to(head.mean)
        design = columns.flatten(0, 1) / config.noise
        factor = torch.linalg.cholesky(design.T @ design + torch.diag(prior))
        return _Goal(fixed, columns, prior, factor, config)

    def solve(self, aim: Float[Tensor, "B N 3"], start: HeadParams) -> dict[str, Tensor]:
        """The per-frame parameters, by name."""
        rest = start.jaw.new_zeros(len(aim), self.head.expression_basis.shape[2])
        own = torch.cat([start.jaw, start.eyelids, rest], dim=1)
        here = _State(axis_angle_to_matrix(start.rotation), torch.zeros_like(start.translation), own)
        here = dataclasses.replace(here, shift=(aim - self.points(here, start)).mean(1))
        best, gain = self.energy(aim, here, own, start), torch.ones_like(own[:, :1])
        for _ in range(self.config.iterations):
            step = self.step(aim, here, own, start)
            trial = here.moved(gain * step)
            energy = self.energy(aim, trial, own, start)
            better = energy <= best
            here, best = here.kept(trial, better), torch.where(better, energy, best)
            gain = torch.where(better[:, None], (2 * gain).clamp(max=1), gain / 2)
            if float((self.columns.flatten(0, 1) @ step.T).abs().max()) < self.config.tolerance:
                break
        lids = here.inner[:, 3:5] if bool(self.head.eyelid_basis.any()) else 0 * here.inner[:, 3:5]
        found = {"rotation": matrix_to_axis_angle(here.turn), "translation": here.shift}
        found |= {"jaw": here.inner[:, :3], "eyelids": lids, "expression": here.inner[:, 5:]}
        return found | {"neck": start.neck, "eyes": start.eyes}

    def root(self, inner: Float[Tensor, "B K"]) -> Float[Tensor, "B 3"]:
        number = self.head.joint_names.index("root")
        return self.head.joint_template[number] + inner[:, 5:] @ self.head.joint_expression_basis[number].T

    def points(self, state: _State, start: HeadParams) -> Float[Tensor, "B N 3"]:
        inner = state.inner
        still = pose_vertices(
            self.head,
            inner.new_zeros(0),
            inner[:, 5:],
            neck=start.neck,
            jaw=inner[:, :3],
            eyes=start.eyes,
            eyelids=inner[:, 3:5],
        )
        root = self.root(inner)
        return (still - root[:, None]) @ state.turn.mT + (root + state.shift)[:, None]

    def energy(self, aim: Tensor, state: _State, own: Tensor, start: HeadParams) -> Float[Tensor, " B"]:
        gap = (aim - self.points(state, start)) / self.config.noise
        return gap.square().sum((1, 2)) + (self.prior[6:] * (state.inner - own).square()).sum(1)

    def step(self, aim: Tensor, state: _State, own: Tensor, start: HeadParams) -> Float[Tensor, "B P"]:
        """A Gauss-Newton step in the order of `columns`."""
        free = dataclasses.replace(state, inner=state.inner.detach().requires_grad_())
        with torch.enable_grad():
            points = self.points(free, start)
            energy = (aim - points).square().sum() / (2 * self.config.noise**2)
            (slope,) = torch.autograd.grad(energy, free.inner)
        points = points.detach()
        arm = (points - (self.root(state.inner) + state.shift)[:, None]) @ state.turn
        gap = (aim - points) @ state.turn / self.config.noise**2
        inner = -slope - self.prior[6:] * (state.inner - own)
        pull = torch.cat([torch.linalg.cross(arm, gap).sum(1), gap.sum(1), inner], dim=1)
        return torch.cholesky_solve(pull.T, self.factor).T


def _columns(head: LandmarkModel) -> Float[Tensor, "N 3 P"]:
    root = head.joint_template[head.joint_names.index("root")]
    turns = -skew(head.mean - root)
    shifts = torch.eye(3).to(turns).expand_as(turns)
    jaws = torch.zeros_like(turns)
    if "jaw" in head.joint_names:
        axes, none = _STEP * torch.eye(3).to(turns), turns.new_zeros(1, 0)
        moved = pose_vertices(head, none, none, jaw=torch.cat([axes, -axes]))
        jaws = ((moved[:3] - moved[3:]) / (2 * _STEP)).permute(1, 2, 0)  # (N, 3, 3)
    return torch.cat([turns, shifts, jaws, head.eyelid_basis, head.expression_basis], dim=-1)
