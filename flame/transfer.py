"""A fit carried over to another head model: the parameters whose surface is nearest to the fitted one's.

Parameters of different models (FLAME 2020 and 2023, ICT-FaceKit, the built-in head) are not interchangeable;
surfaces are. The identity is found on the resting faces, then every frame's pose and expression on the posed
ones, all by least squares over corresponding points.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.cameras import MODEL_TO_CAMERA, WeakPerspective
from ..geom.errors import HeadwarpError
from ..geom.transforms import axis_angle_to_matrix, skew
from ._transfer_frames import TransferConfig, posed, solve_frames
from .correspondence import Correspondence, corresponding_points, distances
from .model import HeadModel, restrict
from .params import DETECTED, Camera, HeadFit, HeadParams, check_model
from .posing import pixels_per_metre, project_head

__all__ = ["TransferConfig", "transfer_fit"]
OUTER_CANTHI = (33, 263)


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
        aim = posed(points.source, params)
        found = solve_frames(points.target, shape, params, aim, config=config)
        rms = distances(posed(points.target, found), aim).square().mean(1).sqrt()
        found, camera = _standard(found, fit.camera)
        report = _report(fit, points, identity_rms, rms)
        return _as_fit(fit, source_head, target_head, found, camera, report)


def _to_double(params: HeadParams) -> HeadParams:
    return HeadParams(**{f.name: getattr(params, f.name).double() for f in dataclasses.fields(params)})


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
