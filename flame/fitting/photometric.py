"""Photometric refinement: a landmark fit moved until the picture agrees, never at the landmarks' cost.

Pixels of the drawn face are surface points. Their appearance (`appearance`: albedo under distant light) is
solved linearly; then pose, jaw, expression and eyelids of each frame take Gauss-Newton steps on

    sum_pixels w |I(x_p) - albedo_p irradiance_p|^2 / noise^2 + landmark term + pull to the landmark fit

with I sampled where the point projects, image gradient times the points' derivatives as Jacobian. A step
is taken only if the energy falls and the mean reprojection does not rise above that of the landmark fit; a
frame whose photometric error would not have fallen in the end is given back as it was.

Differs from analysis by synthesis with a differentiable renderer ([DECA], VHAP): second order in the points,
normals held fixed in a step, no gradient across outlines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective, project
from ...geom.crops import Crop, crop_image, head_crop
from ...geom.errors import HeadwarpError, ShapeError
from ...geom.flow import sample
from ...geom.mesh import vertex_normals
from ...geom.rasterizer import interpolate, rasterize
from ..model import HeadModel, LandmarkModel, pose_vertices
from ..params import MISSING, Camera, HeadFit, HeadParams, check_model
from ..posing import pixels_per_metre, posed_vertices, project_head, window_fit
from .appearance import (
    COLOUR_NOISE,
    AlbedoSpace,
    Appearance,
    Pixels,
    free_albedo,
    robust_weights,
    smooth_albedo,
    solve_appearance,
)

_EFFECTIVE_PIXELS = 600.0  # the data term counts so many independent pixels, however large the face
_MOST_PIXELS = 5000  # of a frame that take part in solving; errors are measured on all
_FACING = 0.2  # least cosine between a pixel's normal and the view
_WINDOW = 1.25  # side of the working window in face sizes
# How far a step may take the parameters from the landmark fit: standard deviations.
_DEVIATIONS = {"rotation": 0.05, "place": 0.02, "jaw": 0.1, "expression": 0.5, "eyelids": 0.25}
_LANDMARK_LOADS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_STEP_LENGTHS = (1.0, 0.4)


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


@dataclass(frozen=True)
class _View:
    """One frame in its window: picture, blurred picture with its slopes, crop, fit in window pixels."""

    frame: int
    image: Tensor
    slopes: Tensor
    crop: Crop
    fit: HeadFit


@dataclass(frozen=True)
class _Region:
    """What of the head is compared: its faces, vertices, and the landmarks' corners and weights."""

    faces: Tensor
    vertices: Tensor
    corners: Tensor
    bary: Tensor
    fitted: Tensor


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
        region = _region(head, fit)
        space = space or smooth_albedo(head, region.vertices)
        views = [_view(fit, images, t, config.size) for t in seen]
        return _refined(head, fit, views, region=region, space=space, config=config)


def _refined(
    head: HeadModel,
    fit: HeadFit,
    views: Sequence[_View],
    *,
    region: _Region,
    space: AlbedoSpace,
    config: PhotometricConfig,
) -> PhotometricFit:
    """Appearance and steps in turn, then every frame judged."""
    before, _ = _judge(head, views, region, space, config)
    moved = list(views)
    for _ in range(config.steps):
        appearance, pixels = _appearance(head, moved, region, space, config)
        stepped = [
            _step(
                head,
                start,
                here,
                _thinned(pixels[n]),
                region=region,
                appearance=appearance,
                number=n,
                config=config,
            )
            for n, (start, here) in enumerate(zip(views, moved, strict=True))
        ]
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


def _region(head: HeadModel, fit: HeadFit) -> _Region:
    """The face's skin, without eyeballs and the inside of the mouth, and the fit's landmarks."""
    family = str(fit.report.get("family", "mediapipe"))
    embedding = head.landmarks[family]
    device = head.template.device
    face = head.region_masks.get("face")
    if face is None:  # what expressions move
        reach = head.expression_basis.square().sum((1, 2))
        face = reach > 0.02 * reach.max()
    face = face.clone()
    for name in ("left_eyeball", "right_eyeball", "mouth_interior"):
        if name in head.region_masks:
            face &= ~head.region_masks[name]
    row = {int(index): k for k, index in enumerate(embedding.indices)}
    rows = torch.tensor([row[int(index)] for index in fit.landmark_indices], device=device)
    fitted = fit.landmark_indices < 468 if family == "mediapipe" else torch.ones(len(rows), dtype=torch.bool)
    return _Region(
        faces=head.faces[face[head.faces].all(1)],
        vertices=face.nonzero()[:, 0],
        corners=head.faces[embedding.faces[rows]],
        bary=embedding.bary[rows],
        fitted=fitted.to(device),
    )


def _view(fit: HeadFit, images: Tensor, frame: int, size: int) -> _View:
    """A frame drawn in the window around its face, no larger than it is."""
    crop = head_crop(fit.landmarks[frame], scale=_WINDOW, lift=0.0)
    side = min(size, max(32, round(crop.side)))
    image = crop_image(images[frame][None], crop, side)
    kernel = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    soft = F.pad(image, (2, 2, 2, 2), mode="replicate")
    soft = F.conv2d(soft, kernel.view(1, 1, 1, 5).expand(3, -1, -1, -1), groups=3)
    soft = F.conv2d(soft, kernel.view(1, 1, 5, 1).expand(3, -1, -1, -1), groups=3)
    padded = F.pad(soft, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    slopes = torch.cat([soft, along_x, along_y], 1)
    return _View(frame, image, slopes, crop, _to_device(window_fit(fit.select([frame]), crop, side), image))


def _to_device(fit: HeadFit, like: Tensor) -> HeadFit:
    """Parameters, camera and landmarks of a fit where the pictures are."""
    moved = {f.name: getattr(fit.params, f.name).to(like) for f in dataclasses.fields(fit.params)}
    camera = type(fit.camera)(*(getattr(fit.camera, f.name).to(like) for f in dataclasses.fields(fit.camera)))
    return dataclasses.replace(
        fit, params=HeadParams(**moved), camera=camera, landmarks=fit.landmarks.to(like)
    )


def _thinned(pixels: Pixels) -> Pixels:
    """Evenly chosen pixels, no more than `_MOST_PIXELS`."""
    every = -(-len(pixels.bary) // _MOST_PIXELS)
    return Pixels(*(getattr(pixels, f.name)[::every] for f in dataclasses.fields(pixels)))


def _pixels(head: HeadModel, view: _View, region: _Region) -> Pixels:
    """The visible face pixels of a frame with what they show in the softened picture."""
    verts = posed_vertices(head, view.fit)
    normals = vertex_normals(verts, head.faces)
    drawn = rasterize(verts, head.faces, view.fit.size, cull=True)
    mask = torch.zeros(len(head.template), 1, device=verts.device)
    mask[region.vertices] = 1
    carried = interpolate(drawn, torch.cat([normals, mask[None]], -1), head.faces)[0]  # (4, H, W)
    towards = -F.normalize(carried[:3], dim=0)[2]
    visible = (drawn.face[0] >= 0) & (carried[3] > 0.999) & (towards > _FACING)
    rows, columns = visible.nonzero(as_tuple=True)
    corners = head.faces[drawn.face[0][rows, columns].long()]
    bary = drawn.bary[0][rows, columns]
    place = torch.stack([columns + 0.5, rows + 0.5], 1).to(verts)
    at = F.normalize(carried[:3, rows, columns].T, dim=1)
    return Pixels(corners, bary, at, _colours(view.slopes[:, :3], place))


def _colours(image: Tensor, place: Tensor) -> Tensor:
    """Channels of a picture ``(1, C, H, W)`` at places ``(N, 2)``: ``(N, C)``."""
    return sample(image, place.T[None, :, :, None])[0, :, :, 0].T


def _appearance(
    head: HeadModel, views: Sequence[_View], region: _Region, space: AlbedoSpace, config: PhotometricConfig
) -> tuple[Appearance, list[Pixels]]:
    """What suits the frames best, solved from a part of their pixels, and all of those."""
    everything = [_pixels(head, view, region) for view in views]
    part = [_thinned(pixels) for pixels in everything]
    appearance = solve_appearance(part, space)
    return (free_albedo(everything, appearance) if config.albedo == "free" else appearance), everything


def _judge(
    head: HeadModel, views: Sequence[_View], region: _Region, space: AlbedoSpace, config: PhotometricConfig
) -> tuple[list[float], Appearance]:
    """Photometric error of every frame with the appearance that suits the frames best."""
    appearance, pixels = _appearance(head, views, region, space, config)
    errors = [
        float((p.colours - appearance.colours(p, n).clamp(0, 1)).abs().mean()) for n, p in enumerate(pixels)
    ]
    return errors, appearance


@dataclass(frozen=True)
class _Motion:
    """How the region's points of one frame depend on its free parameters ``theta (P,)``, one flat vector."""

    start: Tensor
    deviation: Tensor
    points: Callable[[Tensor], Tensor]
    fit_of: Callable[[Tensor], HeadFit]


def _motion(head: HeadModel, view: _View, rows: Tensor, unit: float) -> _Motion:
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

    return _Motion(start, torch.cat(own), points, fit_of)


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


def _step(
    head: HeadModel,
    start: _View,
    view: _View,
    pixels: Pixels,
    *,
    region: _Region,
    appearance: Appearance,
    number: int,
    config: PhotometricConfig,
) -> _View:
    """A Gauss-Newton step that lowers the energy and keeps the reprojection; the view itself if none does."""
    from torch.func import jacfwd

    rows, inverse = torch.cat([region.vertices, region.corners.flatten()]).unique(return_inverse=True)
    place_of = torch.full((len(head.template),), -1, device=rows.device)
    place_of[rows] = torch.arange(len(rows), device=rows.device)
    corners = inverse[len(region.vertices) :].view(-1, 3)
    unit = _eye_distance(head, view.fit, region)
    motion, origin = _motion(head, view, rows, unit), _motion(head, start, rows, unit)
    target, seen = view.fit.landmarks[0], view.fit.landmarks[0].isfinite().all(1)
    load = (seen & region.fitted).to(target)
    modelled = appearance.colours(pixels, number)
    sigma = config.landmark_noise / 100 * unit

    def landmarks(points: Tensor) -> Tensor:
        return torch.einsum("lkc,lk->lc", points[corners], region.bary) - target.nan_to_num()

    def spots(points: Tensor) -> Tensor:
        return torch.einsum("nkc,nk->nc", points[place_of[pixels.corners]], pixels.bary)

    def reprojection(points: Tensor) -> float:
        return float((landmarks(points).norm(dim=1) * load).sum() / load.sum())

    scale = _EFFECTIVE_PIXELS / len(pixels.bary) / COLOUR_NOISE**2
    limit = reprojection(origin.points(origin.start)) * (1 - 1e-5)  # not above it after rounding either

    def energy(theta: Tensor) -> tuple[float, float]:
        points = motion.points(theta)
        off = _colours(view.slopes[:, :3], spots(points)) - modelled
        squared = off.square().mean(1) / (2 * COLOUR_NOISE) ** 2
        photometric = 4 * COLOUR_NOISE**2 * scale * float((3 * squared / (1 + squared)).sum())
        strain = float(((theta - origin.start) / motion.deviation).square().sum())
        return photometric + strain, reprojection(points)

    theta = motion.start
    points = motion.points(theta)
    jacobian = jacfwd(motion.points)(theta)  # (R, 2, P)
    looked = _colours(view.slopes, spots(points))  # (N, 9): colours, slopes along x, along y
    off = looked[:, :3] - modelled
    slopes = looked[:, 3:].unflatten(1, (2, 3)).transpose(1, 2)  # (N, 3, 2)
    of_spots = torch.einsum("nkcp,nk->ncp", jacobian[place_of[pixels.corners]], pixels.bary)
    seen_change = (slopes @ of_spots).flatten(0, 1)  # (3 N, P)
    weight = (scale * robust_weights(off)).repeat_interleave(3)
    of_landmarks = torch.einsum("lkcp,lk->lcp", jacobian[corners], region.bary)
    own = motion.deviation**-2
    data = seen_change.T @ (weight[:, None] * seen_change)
    pull = seen_change.T @ (weight * off.flatten()) + own * (theta - origin.start)
    held = (load[:, None, None] * of_landmarks).flatten(0, 1) / sigma**2
    hold = held.T @ of_landmarks.flatten(0, 1)
    hold_pull = held.T @ landmarks(points).flatten()
    here = energy(theta)[0]
    for heavier in _LANDMARK_LOADS:
        step = torch.linalg.solve(data + heavier * hold + torch.diag(own), -(pull + heavier * hold_pull))
        for length in _STEP_LENGTHS:
            trial = theta + length * step
            value, distance = energy(trial)
            if value < here * (1 - 1e-5) and distance <= limit:
                return dataclasses.replace(view, fit=motion.fit_of(trial))
    return view


def _eye_distance(head: HeadModel, fit: HeadFit, region: _Region) -> float:
    """Root mean square spread of the landmarks on the resting head, in pixels: the eye distance within a
    fifth, for any family.
    """
    rest = torch.einsum("lkc,lk->lc", head.template[region.corners], region.bary)
    spread = float((rest - rest.mean(0)).square().sum(1).mean().sqrt())
    return 1.6 * spread * float(pixels_per_metre(fit.params, fit.camera)[0])


def _result(
    head: HeadModel,
    fit: HeadFit,
    views: Sequence[_View],
    kept: Sequence[_View],
    *,
    region: _Region,
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
    residual = _residual(head, moved, region)
    frames = [view.frame for view in views]
    numbers = {name: torch.full((fit.frames,), math.nan) for name in ("before", "after")}
    numbers["before"][frames], numbers["after"][frames] = (torch.tensor(e) for e in errors)
    before, after = _reprojection(_residual(head, fit, region), region), _reprojection(residual, region)
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
    result = dataclasses.replace(moved, residual=residual, report={**fit.report, "photometric": report})
    return PhotometricFit(
        fit=result,
        appearance=Appearance(light, appearance.albedo.cpu()),
        error_before=numbers["before"],
        error_after=numbers["after"],
        reprojection_before=before,
        reprojection_after=after,
    )


def _residual(head: HeadModel, fit: HeadFit, region: _Region) -> Tensor:
    """Detected minus projected landmarks ``(T, L, 2)``, 0 where nothing was detected."""
    model = head.template
    verts = project_head(head, _to_device(fit, model).params, _to_device(fit, model).camera)[..., :2]
    points = torch.einsum("tlkc,lk->tlc", verts[:, region.corners], region.bary).cpu()
    return (fit.landmarks - points).nan_to_num()


def _reprojection(residual: Tensor, region: _Region) -> Tensor:
    """Mean length over the fitted landmarks ``(T,)``; NaN without any."""
    length = residual[:, region.fitted.cpu()].norm(dim=-1).mean(1)
    return torch.where(length > 0, length, torch.nan)
