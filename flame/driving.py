"""One head driven by another: reference frame, place in the source's window, gaps in the driver."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.crops import Crop
from ..geom.errors import HeadwarpError, NoFaceError
from .model import HeadModel, LandmarkModel, pose_vertices, restrict
from .params import DETECTED, HeadFit, HeadParams, check_model
from .posing import neck_pixels, pixels_per_metre, retarget, window_fit

_BATCH = 256  # frames posed at a time


@dataclass(frozen=True)
class Transfer:
    """How a driver's motion becomes the source's.

    Attributes:
        relative: the driver's change against its reference frame is added to the source's own pose and
            expression; False: the driver's pose and expression themselves; None: relative, except for a
            driver of one frame.
        adapt_scale: relative shifts are measured in sizes of the head; False: in shares of the driver's
            frame.
        best_frame: the reference frame; None: the first one with a face.
        find_best_frame: take the frame nearest to the source's pose and expression as the reference.
    """

    relative: bool | None = None
    adapt_scale: bool = True
    best_frame: int | None = None
    find_best_frame: bool = False


@dataclass(frozen=True)
class Driven:
    """The source's head in every driving frame.

    Attributes:
        fit: in the source's frame, one record per driving frame.
        reference: number of the reference frame.
        relative: whether the motion is relative.
        crop: the square of the driver's frame that lies over the source's window.
    """

    fit: HeadFit
    reference: int
    relative: bool
    crop: Crop


def transfer_motion(
    model: HeadModel, source: HeadFit, driving: HeadFit, transfer: Transfer | None = None
) -> Driven:
    """The source driven by another fit, in the source's square window.

    Absolute motion keeps the source's scale and place: in the reference frame the driver's head is as large
    as the source's and its neck joint lies on the source's; from there on the driver moves as it did.

    Args:
        model: the head of both fits.
        source: one frame, in pixels of a square window (`flame.posing.window_fit`).
        driving: T frames, in pixels of the driver's frames; frames without a face repeat what is known around
            them.
        transfer: what of the motion is taken over, and from which frame it is counted; None: the defaults.

    Raises:
        ModelFileError: the fits belong to different head models.
        NoFaceError: no frame of the driver has a face, or the chosen reference has none.
        HeadwarpError: contradictory options, or a reference beyond the clip.
    """
    transfer = transfer or Transfer()
    check_model(source, model.model_id)
    check_model(driving, model.model_id)
    relative = driving.frames > 1 if transfer.relative is None else transfer.relative
    if relative and driving.frames == 1:
        raise HeadwarpError(
            "relative: expected a driver of several frames, got one; use --absolute for a photo"
        )
    driving = bridged(driving)
    reference = reference_frame(model, source, driving, transfer)
    crop = head_place(model, source, driving, reference)
    if relative and not transfer.adapt_scale:
        crop = centre_square(driving.size)
    fit = retarget(
        model,
        source,
        window_fit(driving, crop, source.size[0]),
        relative=relative,
        adapt_scale=transfer.adapt_scale,
        reference=reference,
    )
    return Driven(fit, reference, relative, crop)


def reference_frame(model: HeadModel, source: HeadFit, driving: HeadFit, transfer: Transfer) -> int:
    """Number of the driving frame that corresponds to the source picture; see `Transfer`.

    Args:
        model: the head of both fits.
        source: one frame.
        driving: T frames.
        transfer: what was asked for.

    Raises:
        NoFaceError: no frame of the driver has a face, or the chosen one has none.
        HeadwarpError: contradictory options, or a frame beyond the clip.
    """
    if transfer.find_best_frame and transfer.best_frame is not None:
        raise HeadwarpError("best frame: expected --best-frame N or --find-best-frame, got both")
    if transfer.find_best_frame:
        return nearest_frame(model, source, driving)
    if transfer.best_frame is None:
        return int(_seen(driving)[0])
    if not 0 <= transfer.best_frame < driving.frames:
        raise HeadwarpError(f"best frame: expected 0 to {driving.frames - 1}, got {transfer.best_frame}")
    if int(driving.status[transfer.best_frame]) != DETECTED:
        raise NoFaceError(f"best frame {transfer.best_frame}: the driver has no face there; choose another")
    return transfer.best_frame


def nearest_frame(model: HeadModel, source: HeadFit, driving: HeadFit) -> int:
    """The detected driving frame whose head, with the source's shape, is nearest to the source's.

    Nearest: least root mean square distance of the face landmarks in metres, place and size aside, rotation,
    jaw, lids and expression together.

    Args:
        model: the head of both fits.
        source: one frame.
        driving: T frames, at least one of them detected.
    """
    reduced = restrict(model, "mediapipe" if "mediapipe" in model.landmarks else next(iter(model.landmarks)))
    own = _centred(reduced, source.params, source.params.shape)
    seen = torch.from_numpy(_seen(driving))
    distances = [
        (_centred(reduced, driving.params.select(part), source.params.shape) - own).square().sum(-1).mean(1)
        for part in seen.split(_BATCH)
    ]
    return int(seen[torch.cat(distances).argmin()])


def _centred(model: LandmarkModel, params: HeadParams, shape: Tensor) -> Float[Tensor, "T L 3"]:
    points = pose_vertices(
        model,
        shape,
        params.expression,
        rotation=params.rotation,
        neck=params.neck,
        jaw=params.jaw,
        eyelids=params.eyelids,
    )
    return points - points.mean(1, keepdim=True)


def _seen(fit: HeadFit) -> np.ndarray:
    seen = np.flatnonzero((fit.status == DETECTED).numpy())
    if not len(seen):
        raise NoFaceError("driver: expected a face in at least one frame, found none")
    return seen


def bridged(fit: HeadFit) -> HeadFit:
    """The fit with residuals for frames without a face: interpolated in time, held at both ends.

    Parameters and camera of such frames are the solver's own; a residual of 0 there would make the face
    twitch.
    """
    seen = _seen(fit)
    if len(seen) == fit.frames:
        return fit
    every = np.arange(fit.frames)
    after = np.searchsorted(seen, every).clip(0, len(seen) - 1)
    before = (np.searchsorted(seen, every, side="right") - 1).clip(0)
    span = np.maximum(seen[after] - seen[before], 1)
    share = torch.from_numpy(np.clip((every - seen[before]) / span, 0, 1)).to(fit.residual)[:, None, None]
    residual = (1 - share) * fit.residual[seen[before]] + share * fit.residual[seen[after]]
    return dataclasses.replace(fit, residual=residual)


def head_place(model: HeadModel, source: HeadFit, driving: HeadFit, reference: int) -> Crop:
    """The square of the driver's frame that lays its reference head over the source's: same size, same neck.

    Sizes are compared through the camera's scale, so that a turned head is not taken for a small one.

    Args:
        model: the head of both fits.
        source: one frame.
        driving: T frames.
        reference: number of the driving frame that corresponds to the source.

    Returns:
        A window of the driver's frame, in its pixels.
    """
    there = driving.select([reference])
    ratio = pixels_per_metre(source.params, source.camera) / pixels_per_metre(there.params, there.camera)
    params = dataclasses.replace(there.params, shape=source.params.shape)
    neck = neck_pixels(model, params, there.camera)[0]
    corner = neck - neck_pixels(model, source.params, source.camera)[0] / ratio
    return Crop(float(corner[0]), float(corner[1]), source.size[0] / float(ratio))


def centre_square(size: tuple[int, int]) -> Crop:
    """The largest centred square of a frame."""
    side = min(size)
    return Crop((size[1] - side) / 2, (size[0] - side) / 2, side)
