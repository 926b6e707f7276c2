"""A fit carried over to another head model: the parameters whose surface is nearest to the fitted one's.

Parameters of different models (FLAME 2020 and 2023, ICT-FaceKit, the built-in head) are not interchangeable;
surfaces are. The identity is found on the resting faces, then every frame's pose and expression on the posed
ones, all by least squares over corresponding points.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.cameras import MODEL_TO_CAMERA, WeakPerspective
from ..geom.errors import HeadwarpError
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle, skew
from .correspondence import Correspondence, corresponding_points, distances
from .model import HeadModel, LandmarkModel, pose_vertices, restrict
from .params import DETECTED, Camera, HeadFit, HeadParams, check_model
from .posing import pixels_per_metre, project_head

FRAMES_AT_ONCE = 64
OUTER_CANTHI = (33, 263)


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


def transfer_fit(
    fit: HeadFit, source_head: HeadModel, target_head: HeadModel, *, config: TransferConfig | None = None
) -> HeadFit:
    """The same face with the parameters of another head model.

    Scale and focal length are kept; neck and eyes are taken over as they are (both models turn them about the
    same joints); identity, rotation, translation, jaw, expression and eyelids are found anew. Under a
    weak-perspective camera the translation is put into the centre, as fits have it.

    Args:
        fit: made with ``source_head``, T frames.
        source_head, target_head: with face-mesh landmarks (`headwarp.tools.heads.ready_head` makes them), or
            of one mesh.
        config: see `TransferConfig`.

    Returns:
        A fit of ``target_head`` with one record a frame: residuals are those of the new surface; standard
        deviations are not carried over (None). ``report["transfer"]`` holds ``from`` (model id), ``points``,
        ``exact`` (whether the meshes are one), ``identity_rms_mm`` (resting face), ``rms_mm`` (posed, mean of
        the detected frames) and, where both heads have the fit's landmarks, ``projected_px`` and
        ``projected_percent_iod``: mean distance of the two heads' projected landmarks.

    Raises:
        ModelFileError: the fit belongs to another head than ``source_head``.
        HeadwarpError: the heads have no points in common, or the target lacks the fit's landmarks.
    """
    config = config or TransferConfig()
    check_model(fit, source_head.model_id)
    points = corresponding_points(source_head, target_head)
    if points.exact:
        config = dataclasses.replace(config, noise=config.exact_noise)
    with torch.no_grad():
        params = _to_double(fit.params)
        shape, identity_rms = _identity(points, params.shape, config)
        goal = _Goal(points.target, shape, params, config)
        aim = _posed(points.source, params)
        parts = [
            goal.solve(aim[chunk], chunk)
            for chunk in (slice(t, t + FRAMES_AT_ONCE) for t in range(0, fit.frames, FRAMES_AT_ONCE))
        ]
        found = _joined(parts, shape)
        rms = distances(_posed(points.target, found), aim).square().mean(1).sqrt()
        found, camera = _standard(found, fit.camera)
        report = _report(fit, points, identity_rms, rms)
        return _as_fit(fit, source_head, target_head, found, camera, report)


def _to_double(params: HeadParams) -> HeadParams:
    return HeadParams(**{f.name: getattr(params, f.name).double() for f in dataclasses.fields(params)})


def _posed(head: LandmarkModel, params: HeadParams) -> Float[Tensor, "T N 3"]:
    given = {f.name: getattr(params, f.name) for f in dataclasses.fields(params)}
    return pose_vertices(head, **given)


def _identity(
    points: Correspondence, shape: Float[Tensor, " s"], config: TransferConfig
) -> tuple[Float[Tensor, " S"], float]:
    """Coefficients of the target whose resting face is nearest to the source's, and what is left, metres."""
    aim = points.source.mean + points.source.shape_basis @ shape
    target = points.target
    count = target.shape_basis.shape[2]
    found, turn, shift = aim.new_zeros(count), torch.eye(3, dtype=aim.dtype), aim.new_zeros(3)
    for _ in range(10):
        rest = (target.mean + target.shape_basis @ found) @ turn.T
        now = rest + shift
        columns = [turn @ target.shape_basis, -skew(rest), torch.eye(3).to(aim).expand(len(aim), 3, 3)]
        design = torch.cat(columns, dim=-1).flatten(0, 1) / config.noise  # (3 N, S + 6)
        prior = torch.cat([torch.ones(count), torch.zeros(6)]).to(aim)
        system = design.T @ design + torch.diag(prior + 1e-9)
        pull = design.T @ ((aim - now) / config.noise).flatten() - prior * torch.cat(
            [found, aim.new_zeros(6)]
        )
        step = torch.linalg.solve(system, pull)
        found, shift = found + step[:count], shift + step[count + 3 :]
        turn = axis_angle_to_matrix(step[None, count : count + 3])[0] @ turn
        if float((design @ step).abs().max()) * config.noise < config.tolerance:
            break
    left = aim - ((target.mean + target.shape_basis @ found) @ turn.T + shift)
    return found, float(left.square().sum(1).mean().sqrt())


class _Goal:
    """The target at the points, its identity fixed; finds pose and expression of frames.

    Gauss-Newton with the normal matrix of the resting face, which is factored once: it depends on a frame
    only through the jaw and the neck, and the gradient is exact, so that the steps end where they should.
    """

    def __init__(
        self, head: LandmarkModel, shape: Float[Tensor, " S"], params: HeadParams, config: TransferConfig
    ) -> None:
        self.head = dataclasses.replace(
            head,
            mean=head.mean + head.shape_basis @ shape,
            shape_basis=head.shape_basis[..., :0],
            joint_template=head.joint_template + head.joint_shape_basis @ shape,
            joint_shape_basis=head.joint_shape_basis[..., :0],
        )
        self.params, self.config = params, config
        self.expressions = head.expression_basis.shape[2]
        self.columns = self._columns()  # (N, 3, P)
        lids = torch.full((2,), config.eyelid_deviation**-2)
        jaw = torch.full((3,), config.jaw_deviation**-2)
        prior = torch.cat([torch.full((6,), 1e-9), jaw, lids, torch.ones(self.expressions)])
        self.prior = prior.to(head.mean)
        design = self.columns.flatten(0, 1) / config.noise
        self.factor = torch.linalg.cholesky(design.T @ design + torch.diag(self.prior))

    def _columns(self) -> Float[Tensor, "N 3 P"]:
        """How the resting points move with turn, shift, jaw, eyelids and expression."""
        head, step = self.head, 1e-5
        root = head.joint_template[head.joint_names.index("root")]
        turns = -skew(head.mean - root)
        shifts = torch.eye(3).to(turns).expand_as(turns)
        jaws = torch.zeros_like(turns)
        if "jaw" in head.joint_names:
            axes = step * torch.eye(3).to(turns)
            none = turns.new_zeros(1, 0)
            moved = pose_vertices(head, none, none, jaw=torch.cat([axes, -axes]))
            jaws = ((moved[:3] - moved[3:]) / (2 * step)).permute(1, 2, 0)  # (N, 3, 3)
        return torch.cat([turns, shifts, jaws, head.eyelid_basis, head.expression_basis], dim=-1)

    def solve(self, aim: Float[Tensor, "B N 3"], frames: slice) -> dict[str, Tensor]:
        """Pose and expression of the frames whose points are nearest to the aim."""
        start = self.params.select(frames)
        own = torch.cat([start.jaw, start.eyelids, start.jaw.new_zeros(len(aim), self.expressions)], dim=1)
        turn = axis_angle_to_matrix(start.rotation)
        inner, shift = own, torch.zeros_like(start.translation)
        shift = (aim - self._points(turn, shift, inner, start)).mean(1)
        best = self._energy(aim, turn, shift, inner, own, start)
        gain = torch.ones(len(aim), 1).to(aim)
        for _ in range(self.config.iterations):
            whole = self._step(aim, turn, shift, inner, own, start)
            step = gain * whole
            trial = (
                turn @ axis_angle_to_matrix(step[:, :3]),
                shift + (turn @ step[:, 3:6, None])[..., 0],
                inner + step[:, 6:],
            )
            energy = self._energy(aim, *trial, own, start)
            better = energy <= best
            keep = better[:, None]
            turn = torch.where(keep[..., None], trial[0], turn)
            shift, inner = torch.where(keep, trial[1], shift), torch.where(keep, trial[2], inner)
            best = torch.where(better, energy, best)
            gain = torch.where(keep, (2 * gain).clamp(max=1), gain / 2)
            moved = (self.columns.flatten(0, 1) @ whole.T).abs().max()
            if float(moved) < self.config.tolerance:
                break
        return {
            "rotation": matrix_to_axis_angle(turn),
            "translation": shift,
            "jaw": inner[:, :3],
            "eyelids": inner[:, 3:5] if bool(self.head.eyelid_basis.any()) else 0 * inner[:, 3:5],
            "expression": inner[:, 5:],
            "neck": start.neck,
            "eyes": start.eyes,
        }

    def _points(self, turn: Tensor, shift: Tensor, inner: Tensor, start: HeadParams) -> Tensor:
        """Posed points (B, N, 3); ``inner`` is jaw, eyelids, expression."""
        head, number = self.head, self.head.joint_names.index("root")
        none = inner.new_zeros(0)
        still = pose_vertices(
            head,
            none,
            inner[:, 5:],
            neck=start.neck,
            jaw=inner[:, :3],
            eyes=start.eyes,
            eyelids=inner[:, 3:5],
        )
        root = head.joint_template[number] + inner[:, 5:] @ head.joint_expression_basis[number].T  # (B, 3)
        return (still - root[:, None]) @ turn.mT + (root + shift)[:, None]

    def _energy(
        self, aim: Tensor, turn: Tensor, shift: Tensor, inner: Tensor, own: Tensor, start: HeadParams
    ) -> Float[Tensor, " B"]:
        gap = (aim - self._points(turn, shift, inner, start)) / self.config.noise
        return gap.square().sum((1, 2)) + (self.prior[6:] * (inner - own).square()).sum(1)

    def _step(
        self, aim: Tensor, turn: Tensor, shift: Tensor, inner: Tensor, own: Tensor, start: HeadParams
    ) -> Float[Tensor, "B P"]:
        """Turn (of the head's own axes), shift (likewise), jaw, eyelids, expression."""
        free = inner.detach().requires_grad_()
        with torch.enable_grad():
            points = self._points(turn, shift, free, start)
            energy = (aim - points).square().sum() / (2 * self.config.noise**2)
            (slope,) = torch.autograd.grad(energy, free)
        number = self.head.joint_names.index("root")
        root = self.head.joint_template[number] + inner[:, 5:] @ self.head.joint_expression_basis[number].T
        arm = (points.detach() - (root + shift)[:, None]) @ turn
        gap = (aim - points.detach()) @ turn / self.config.noise**2
        pull = torch.cat(
            [
                torch.linalg.cross(arm, gap).sum(1),
                gap.sum(1),
                -slope - self.prior[6:] * (inner - own),
            ],
            dim=1,
        )
        return torch.cholesky_solve(pull.T, self.factor).T


def _joined(parts: list[dict[str, Tensor]], shape: Tensor) -> HeadParams:
    return HeadParams(shape=shape, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _standard(params: HeadParams, camera: Camera) -> tuple[HeadParams, Camera]:
    """Under a weak-perspective camera the translation belongs into the centre."""
    if not isinstance(camera, WeakPerspective):
        return params, camera
    moved = camera.scale[:, None] * (params.translation @ MODEL_TO_CAMERA.to(params.translation).T)[:, :2].to(
        camera.center
    )
    resting = dataclasses.replace(params, translation=torch.zeros_like(params.translation))
    return resting, WeakPerspective(camera.scale, camera.center + moved)


def _report(
    fit: HeadFit, points: Correspondence, identity: float, rms: Float[Tensor, " T"]
) -> dict[str, Any]:
    seen = fit.status == DETECTED
    return {
        "from": fit.model_id,
        "points": len(points.target.mean),
        "exact": points.exact,
        "identity_rms_mm": 1000 * identity,
        "rms_mm": 1000 * float((rms[seen] if bool(seen.any()) else rms).mean()),
    }


def _as_fit(
    fit: HeadFit,
    source: HeadModel,
    target: HeadModel,
    params: HeadParams,
    camera: Camera,
    report: dict[str, Any],
) -> HeadFit:
    """The record of the transferred parameters, residuals against the target's own landmarks."""
    single = HeadParams(**{f.name: getattr(params, f.name).float() for f in dataclasses.fields(params)})
    if len(fit.landmark_indices) == 0:  # a fit of another tracker: no points, no residual
        report = {**fit.report, "transfer": report}
        return dataclasses.replace(
            fit, params=single, camera=camera, model_id=target.model_id, report=report, deviation=None
        )
    family = str(fit.report.get("family", "mediapipe"))
    if family not in target.landmarks:
        raise HeadwarpError(
            f"transfer: expected {family!r} landmarks on {target.model_id}, it has "
            f"{', '.join(sorted(target.landmarks)) or 'none'}; make them with `headwarp convert landmarks`"
        )
    keep, rows = _kept(fit.landmark_indices, target, family)
    projected = project_head(restrict(target, family), single, camera)[:, rows, :2]
    landmarks = fit.landmarks[:, keep]
    there = torch.isfinite(landmarks).all(-1, keepdim=True)
    report |= _projected_gap(fit, source, projected, keep, family)
    return dataclasses.replace(
        fit,
        params=single,
        camera=camera,
        model_id=target.model_id,
        landmark_indices=fit.landmark_indices[keep],
        landmarks=landmarks,
        residual=torch.where(there, landmarks - projected, torch.zeros_like(landmarks)),
        report={**fit.report, "transfer": report},
        deviation=None,
    )


def _projected_gap(
    fit: HeadFit, source: HeadModel, projected: Float[Tensor, "T L 2"], keep: Tensor, family: str
) -> dict[str, float]:
    """How far the projected landmarks of the two heads lie apart, mean of the detected frames."""
    seen = fit.status == DETECTED
    if family not in source.landmarks or not bool(seen.any()):
        return {}
    own, rows = _kept(fit.landmark_indices[keep], source, family)
    before = project_head(restrict(source, family), fit.params, fit.camera)[:, rows, :2]
    gap = (projected[:, own] - before).square().sum(-1).sqrt().mean(1)  # (T,)
    found = {"projected_px": float(gap[seen].mean())}
    length = _canthal_px(source, fit)
    share = {} if length is None else {"projected_percent_iod": 100 * float((gap / length)[seen].mean())}
    return found | share


def _kept(indices: Tensor, target: HeadModel, family: str) -> tuple[Tensor, Tensor]:
    """Places in the fit's landmarks, and rows of the target's embedding, of the landmarks that both have."""
    row = {int(index): place for place, index in enumerate(target.landmarks[family].indices)}
    pairs = [(place, row[int(index)]) for place, index in enumerate(indices) if int(index) in row]
    keep, rows = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return keep, rows


def _canthal_px(head: HeadModel, fit: HeadFit) -> Float[Tensor, " T"] | None:
    """Outer-canthal distance of the resting face in pixels, per frame; None without those landmarks."""
    if "mediapipe" not in head.landmarks:
        return None
    face = restrict(head, "mediapipe")
    order = {int(index): place for place, index in enumerate(face.indices)}
    if not all(index in order for index in OUTER_CANTHI):
        return None
    mean = face.mean + face.shape_basis[..., : len(fit.params.shape)] @ fit.params.shape
    length = (mean[order[OUTER_CANTHI[0]]] - mean[order[OUTER_CANTHI[1]]]).square().sum().sqrt()
    return length * pixels_per_metre(fit.params, fit.camera)
