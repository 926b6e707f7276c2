"""How far eyes and lips are open, measured on the head, and set: by the eyelids and the jaw alone.

Openness is a distance over a width, both along the head whatever way it looks: of the lids (mean of three
points of the upper to three of the lower: 159-145, 158-153, 160-144 and 386-374, 385-380, 387-373) over the
eye's (33-133, 263-362), of the inner lips (13-14) over the mouth's (78-308). Heads with iBUG's 68 alone:
37-41, 38-40 over 36-39, 43-47, 44-46 over 42-45, 62-66 over 60-64. What the landmarks' residual adds counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.errors import HeadwarpError
from .model import HeadModel, LandmarkModel, restrict
from .params import HeadFit, check_model
from .posing import camera_rotation, project_head

LID_RANGE = (-0.5, 1.3)
JAW_RANGE = (-0.15, 0.7)  # radians
_STEPS = 12


@dataclass(frozen=True)
class Openness:
    """Distances over widths, 0 shut, negative where lids or lips overlap; NaN where a width is nothing.

    Attributes:
        eyes: left and right, ``(T, 2)``.
        lips: ``(T,)``.
    """

    eyes: Float[Tensor, "T 2"]
    lips: Float[Tensor, "T"]


@dataclass(frozen=True)
class _Opening:
    """Points above and below, and the ends of the width."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    ends: tuple[int, int]

    @property
    def points(self) -> tuple[int, ...]:
        return (*self.upper, *self.lower, *self.ends)


_OPENINGS = {
    "mediapipe": (
        _Opening((386, 385, 387), (374, 380, 373), (263, 362)),
        _Opening((159, 158, 160), (145, 153, 144), (33, 133)),
        _Opening((13,), (14,), (78, 308)),
    ),
    "ibug68": (
        _Opening((43, 44), (47, 46), (42, 45)),
        _Opening((37, 38), (41, 40), (36, 39)),
        _Opening((62,), (66,), (60, 64)),
    ),
}


def openness(model: HeadModel, fit: HeadFit) -> Openness:
    """How far the eyes and lips of every frame are open. Differentiable.

    Args:
        model: the head of the fit.
        fit: T frames.

    Raises:
        ModelFileError: the fit belongs to another head model.
        HeadwarpError: a head without the landmarks of eyes and lips.
    """
    check_model(fit, model.model_id)
    return _Gauge.of(model, fit).measured(fit)


def with_openness(
    model: HeadModel,
    fit: HeadFit,
    *,
    eyes: Float[Tensor, "#T 2"] | None = None,
    lips: Float[Tensor, "#T"] | None = None,
) -> HeadFit:
    """The fit with its eyes and lips so far open.

    Each lid's coefficient and the jaw's angle are solved for in every frame, bracketed, since openness is
    monotone in them; where the wanted openness lies beyond the range of lids or jaw, the end of the range is
    taken. Frames with a wanted or measured openness that is no number stay as they are. All else stays.

    Args:
        model: the head of the fit.
        fit: T frames.
        eyes: left and right; None leaves the lids.
        lips: None leaves the jaw.

    Raises:
        ModelFileError: the fit belongs to another head model.
        HeadwarpError: a head without the landmarks, or whose lids or jaw move nothing.
    """
    check_model(fit, model.model_id)
    gauge = _Gauge.of(model, fit)
    if eyes is not None:

        def lids(values: Tensor) -> Tensor:
            return gauge.measured(_with(fit, eyelids=values)).eyes

        wanted = eyes.to(fit.params.eyelids).expand(fit.frames, 2)
        found = _solved(lids, wanted, fit.params.eyelids, LID_RANGE, what="eyelids")
        fit = _with(fit, eyelids=found)
    if lips is not None:
        others = fit.params.jaw[:, 1:]

        def jaw(values: Tensor) -> Tensor:
            return gauge.measured(_with(fit, jaw=torch.cat([values, others], dim=1))).lips[:, None]

        wanted = lips.to(others).expand(fit.frames)[:, None]
        found = _solved(jaw, wanted, fit.params.jaw[:, :1], JAW_RANGE, what="jaw")
        fit = _with(fit, jaw=torch.cat([found, others], dim=1))
    return fit


def driven_eyes(
    own: Float[Tensor, "1 2"], driver: Float[Tensor, "T 2"], *, shut: float = 0.15
) -> Float[Tensor, "T 2"]:
    """The source's eyes as far open, of what they are, as the driver's are of what these usually are.

    So eyes of any size shut when the driver's shut. Usual: the driver's 90th percentile. What is less than
    ``shut`` of it counts as shut: on real clips a blink is seldom detected as shut altogether.

    Args:
        own: the source's.
        driver: the driver's, frame by frame.
        shut: share of the usual openness at which the source's eyes are closed.
    """
    usual = torch.nanquantile(driver, 0.9, dim=0).clamp(min=1e-3)
    return own * ((driver / usual - shut) / (1 - shut)).clamp(min=0.0)


def _with(fit: HeadFit, **changed: Tensor) -> HeadFit:
    return dataclasses.replace(fit, params=dataclasses.replace(fit.params, **changed))


@dataclass(frozen=True)
class _Gauge:
    """The head at the points of eyes and lips, and where in a fit their residuals are."""

    face: LandmarkModel
    openings: tuple[_Opening, ...]
    residual_rows: Tensor  # (N,), -1 where the fit has no such landmark

    @staticmethod
    def of(model: HeadModel, fit: HeadFit) -> _Gauge:
        named = str(fit.report.get("family", "mediapipe"))
        for family in (named, *(name for name in _OPENINGS if name != named)):
            if family not in _OPENINGS or family not in model.landmarks:
                continue
            openings = _OPENINGS[family]
            wanted = [point for opening in openings for point in opening.points]
            known = model.landmarks[family].indices.tolist()
            if not set(wanted) <= set(known):
                continue
            whole = restrict(model, family)
            face = _rows_of(whole, [known.index(point) for point in wanted])
            there = {int(index): row for row, index in enumerate(fit.landmark_indices)}
            rows = [there.get(point, -1) if family == named else -1 for point in wanted]
            return _Gauge(face, openings, torch.tensor(rows))
        raise HeadwarpError(
            f"head {model.model_id}: expected landmarks of eyes and lips, mediapipe's or ibug68's, "
            "found none; headwarp convert landmarks finds some for it"
        )

    def measured(self, fit: HeadFit) -> Openness:
        points = project_head(self.face, fit.params, fit.camera)  # (T, N, 3) pixels
        known = self.residual_rows >= 0
        residual = fit.residual[:, self.residual_rows.clamp(min=0)] * known[:, None]
        points = torch.cat([points[..., :2] + residual, points[..., 2:]], dim=-1)
        up = camera_rotation(fit.params)[:, :, 1]
        ratios, first = [], 0
        for opening in self.openings:
            count = len(opening.upper)
            upper, lower, ends = points[:, first : first + len(opening.points)].split(
                [count, count, 2], dim=1
            )
            gap = ((upper - lower).mean(1) * up).sum(-1)
            width = (ends[:, 0] - ends[:, 1]).norm(dim=-1)
            ratios.append(torch.where(width > 1e-6, gap / width.clamp(min=1e-6), torch.nan))
            first += len(opening.points)
        return Openness(torch.stack(ratios[:2], dim=1), ratios[2])


def _rows_of(face: LandmarkModel, rows: Sequence[int]) -> LandmarkModel:
    names = ("mean", "shape_basis", "expression_basis", "eyelid_basis", "pose_basis", "weights", "indices")
    return dataclasses.replace(face, **{name: getattr(face, name)[list(rows)] for name in names})


def _solved(
    measure: Callable[[Tensor], Tensor],
    wanted: Tensor,
    own: Tensor,
    limits: tuple[float, float],
    *,
    what: str,
) -> Tensor:
    """Values ``(T, N)`` within the limits at which ``measure`` is as wanted: regula falsi, Illinois' way."""
    low, high = torch.full_like(own, limits[0]), torch.full_like(own, limits[1])
    below, above = measure(low) - wanted, measure(high) - wanted
    solvable = torch.isfinite(below) & torch.isfinite(above)
    if bool(solvable.any()) and float((below - above).abs()[solvable].max()) < 1e-4:
        raise HeadwarpError(f"openness: expected a head whose {what} open and shut, this one's move nothing")
    outside = below * above > 0
    nearest = torch.where(below.abs() < above.abs(), low, high)
    for _ in range(_STEPS):
        span = above - below
        step = torch.where(span.abs() > 1e-12, above / span, torch.full_like(span, 0.5))
        middle = torch.where(outside | ~solvable, high, high - step * (high - low))
        value = measure(middle) - wanted
        crossed = value * above <= 0
        low, below = torch.where(crossed, high, low), torch.where(crossed, above, below / 2)
        high, above = middle, value
    found = torch.where(outside, nearest, high)
    return torch.where(solvable, found, own)
