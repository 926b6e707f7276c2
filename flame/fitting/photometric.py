"""Photometric refinement: a landmark fit moved until the picture agrees, never at the landmarks' cost.

Pixels of the drawn face are surface points. Their appearance (`appearance`: albedo under distant light) is
solved linearly; then pose, jaw, expression and eyelids of each frame take Gauss-Newton steps on

    sum_pixels w |I(x_p) - albedo_p irradiance_p|^2 / noise^2 + landmark term + pull to the landmark fit

with I sampled where the point projects, image gradient times the points' derivatives as Jacobian. A step
is taken only if the energy falls (the landmark term left out) and the mean reprojection does not rise above
that of the landmark fit; a frame whose photometric error would not have fallen in the end is given back as
it was.

Differs from analysis by synthesis with a differentiable renderer ([DECA], VHAP): second order in the points,
normals held fixed in a step, no gradient across outlines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.cameras import Perspective, WeakPerspective
from ...geom.errors import HeadwarpError, ShapeError
from ..model import HeadModel
from ..params import MISSING, Camera, HeadFit, HeadParams, check_model
from ..posing import pixels_per_metre, project_head
from ._photometric_step import frame_problem, step
from ._photometric_view import Region, View, pixels_of, region_of, thinned, to_device, view_of
from .appearance import AlbedoSpace, Appearance, Pixels, free_albedo, smooth_albedo, solve_appearance


@dataclass(frozen=True)
class PhotometricConfig:
    """How a fit is refined.

    Attributes:
        size: side of the window around the face in which pixels are compared.
        steps: most Gauss-Newton steps of a frame.
        albedo: ``low_rank`` (a space of smooth albedos, or the one given) or ``free`` (each vertex its own;
            several frames only).
        landmark_noise: in percent of the eye distance; smaller holds on to the landmarks more tightly.
    """

    size: int = 256
    steps: int = 6
    albedo: Literal["low_rank", "free"] = "low_rank"
    landmark_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 32 or self.steps < 1 or not 0 < self.landmark_noise < math.inf:
            raise HeadwarpError(
                f"photometric: expected size >= 32, steps >= 1, landmark_noise > 0, got {self}"
            )
        if self.albedo not in ("low_rank", "free"):
            raise HeadwarpError(f"photometric: albedo: expected low_rank or free, got {self.albedo!r}")


@dataclass(frozen=True)
class PhotometricFit:
    """What a refinement gives.

    Attributes:
        fit: the refined head; ``report["photometric"]`` holds the means of the numbers below.
        appearance: light of every frame (of frames without a face: from everywhere) and the albedo.
        error_before, error_after: mean absolute difference of RGB in [0, 1] over the visible face, each with
            the appearance that suits it best, ``(T,)``; NaN without a face.
        reprojection_before, reprojection_after: mean landmark distance in pixels of the frames, ``(T,)``.
    """

    fit: HeadFit
    appearance: Appearance
    error_before: Float[Tensor, "T"]
    error_after: Float[Tensor, "T"]
    reprojection_before: Float[Tensor, "T"]
    reprojection_after: Float[Tensor, "T"]


def refine_photometric(
    head: HeadModel,
    fit: HeadFit,
    images: Float[Tensor, "T 3 H W"],
    *,
    config: PhotometricConfig | None = None,
    space: AlbedoSpace | None = None,
) -> PhotometricFit:
    """Refine a landmark fit by the pictures it was made from.

    Identity stays; pose, place, jaw, expression and eyelids of each frame move. All work is done on the
    device of ``images`` (give a head on the same device).

    Args:
        head: the head of the fit.
        fit: T frames, as `fit_landmarks` gives them.
        images: the frames, RGB in [0, 1], of the fit's size.
        config: see `PhotometricConfig`.
        space: albedos to choose from; None for smooth ones on the head's face.

    Raises:
        ModelFileError: the fit belongs to another head.
        ShapeError: the pictures are not those of the fit.
        HeadwarpError: no frame has a face, or a free albedo is asked of a single one.
    """
    config = config or PhotometricConfig()
    check_model(fit, head.model_id)
    if tuple(images.shape) != (fit.frames, 3, *fit.size):
        raise ShapeError(
            f"images: expected {(fit.frames, 3, *fit.size)} as the fit's frames, got {tuple(images.shape)}"
        )
    seen = [t for t in range(fit.frames) if fit.status[t] != MISSING and fit.landmarks[t].isfinite().any()]
    if not seen:
        raise HeadwarpError("photometric: expected a face in at least one frame, the fit has none")
    if config.albedo == "free" and len(seen) < 2:
        raise HeadwarpError(
            "photometric: expected several frames for a free albedo (one explains itself), got "
            f"{len(seen)}; use low_rank"
        )
    with torch.no_grad():
        region = region_of(head, fit)
        space = space or smooth_albedo(head, region.vertices)
        views = [view_of(fit, images, t, config.size) for t in seen]
        return _refined(head, fit, views, region=region, space=space, config=config)


def _refined(
    head: HeadModel,
    fit: HeadFit,
    views: Sequence[View],
    *,
    region: Region,
    space: AlbedoSpace,
    config: PhotometricConfig,
) -> PhotometricFit:
    """Appearance and steps in turn, then every frame judged."""
    before, _ = _judge(head, views, region, space, config)
    moved = list(views)
    for _ in range(config.steps):
        appearance, pixels = _appearance(head, moved, region, space, config)
        stepped = []
        for number, (start, here) in enumerate(zip(views, moved, strict=True)):
            part = thinned(pixels[number])
            modelled = appearance.colours(part, number)
            noise = config.landmark_noise
            problem = frame_problem(
                head, start, here, region=region, pixels=part, modelled=modelled, landmark_noise=noise
            )
            stepped.append(step(problem))
        if all(a is b for a, b in zip(stepped, moved, strict=True)):
            break
        moved = stepped
    after, appearance = _judge(head, moved, region, space, config)
    kept = [
        new if after[n] < before[n] else old for n, (old, new) in enumerate(zip(views, moved, strict=True))
    ]
    if any(new is old for new, old in zip(kept, views, strict=True)):
        after, appearance = _judge(head, kept, region, space, config)
        if not all(a <= b for a, b in zip(after, before, strict=True)):  # the others' albedo was at stake
            kept, (after, appearance) = list(views), _judge(head, views, region, space, config)
    return _result(head, fit, views, kept, region=region, appearance=appearance, errors=(before, after))


def _appearance(
    head: HeadModel, views: Sequence[View], region: Region, space: AlbedoSpace, config: PhotometricConfig
) -> tuple[Appearance, list[Pixels]]:
    """What suits the frames best, solved from a part of their pixels, and all of those."""
    everything = [pixels_of(head, view, region) for view in views]
    part = [thinned(pixels) for pixels in everything]
    appearance = solve_appearance(part, space)
    return (free_albedo(everything, appearance) if config.albedo == "free" else appearance), everything


def _judge(
    head: HeadModel, views: Sequence[View], region: Region, space: AlbedoSpace, config: PhotometricConfig
) -> tuple[list[float], Appearance]:
    """Photometric error of every frame with the appearance that suits the frames best."""
    appearance, pixels = _appearance(head, views, region, space, config)
    errors = [
        float((p.colours - appearance.colours(p, n).clamp(0, 1)).abs().mean()) for n, p in enumerate(pixels)
    ]
    return errors, appearance


def _result(
    head: HeadModel,
    fit: HeadFit,
    views: Sequence[View],
    kept: Sequence[View],
    *,
    region: Region,
    appearance: Appearance,
    errors: tuple[list[float], list[float]],
) -> PhotometricFit:
    """The refined frames put back among the others, in pixels of the picture."""
    params = {f.name: getattr(fit.params, f.name).clone() for f in dataclasses.fields(fit.params)}
    lens = {f.name: getattr(fit.camera, f.name).clone() for f in dataclasses.fields(fit.camera)}
    for view in kept:
        for name, values in params.items():
            if name != "shape":
                values[view.frame] = getattr(view.fit.params, name)[0].cpu()
        if isinstance(view.fit.camera, WeakPerspective):
            ratio = view.crop.scale(view.fit.size[0])
            lens["scale"][view.frame] = view.fit.camera.scale[0].cpu() / ratio
            corner = torch.tensor([view.crop.x, view.crop.y])
            lens["center"][view.frame] = view.fit.camera.center[0].cpu() / ratio + corner
    camera: Camera = (
        WeakPerspective(**lens) if isinstance(fit.camera, WeakPerspective) else Perspective(**lens)
    )
    moved = dataclasses.replace(fit, params=HeadParams(**params), camera=camera)
    change = _projected(head, moved, region) - _projected(head, fit, region)  # where landmarks slide, nearly
    residual = torch.where(fit.landmarks.isfinite(), fit.residual - change, 0.0)
    frames = [view.frame for view in views]
    numbers = {name: torch.full((fit.frames,), math.nan) for name in ("before", "after")}
    numbers["before"][frames], numbers["after"][frames] = (torch.tensor(e) for e in errors)
    before, after = _reprojection(fit.residual, region), _reprojection(residual, region)
    light = torch.zeros(fit.frames, 9, 3)
    light[:, 0] = math.sqrt(4 * math.pi)
    light[frames] = appearance.light.cpu()
    report = {
        "error_before": float(numbers["before"].nanmean()),
        "error_after": float(numbers["after"].nanmean()),
        "reprojection_px_before": float(before.nanmean()),
        "reprojection_px_after": float(after.nanmean()),
        "frames": len(frames),
    }
    per_metre = [pixels_per_metre(f.params, f.camera) for f in (fit, moved)]
    shares = [(px / scale).nanmean() for px, scale in zip((before, after), per_metre, strict=True)]
    percent = fit.report.get("reprojection_percent_iod")
    told = {} if percent is None else {"reprojection_percent_iod": percent * float(shares[1] / shares[0])}
    result = dataclasses.replace(
        moved, residual=residual, report={**fit.report, **told, "photometric": report}
    )
    return PhotometricFit(
        fit=result,
        appearance=Appearance(light, appearance.albedo.cpu()),
        error_before=numbers["before"],
        error_after=numbers["after"],
        reprojection_before=before,
        reprojection_after=after,
    )


def _projected(head: HeadModel, fit: HeadFit, region: Region) -> Tensor:
    """Landmarks of the parametric mesh in pixels ``(T, L, 2)``."""
    there = to_device(fit, head.template)
    verts = project_head(head, there.params, there.camera)[..., :2]
    return torch.einsum("tlkc,lk->tlc", verts[:, region.corners], region.bary).cpu()


def _reprojection(residual: Tensor, region: Region) -> Tensor:
    """Mean length over the fitted landmarks ``(T,)``; NaN without any."""
    length = residual[:, region.fitted.cpu()].norm(dim=-1).mean(1)
    return torch.where(length > 0, length, torch.nan)
