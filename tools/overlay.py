"""The picture beside a fit by which a person judges it: mesh, landmarks and the numbers of the faces."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ..flame.landmarks import MEDIAPIPE_68
from ..flame.model import HeadModel
from ..flame.params import HeadFit
from ..flame.posing import posed_vertices, window_fit
from ..geom.crops import Crop
from ..training.data.portrait import to_frame, to_image
from .draw import Frame, blend, mark_boxes, mark_points, shaded, view_of
from .faces import FaceChoice

LONGEST_SIDE = 1280
OPACITY = 0.6
FOUND = (60, 230, 90)  # detected points


def scaled_fit(fit: HeadFit, longest_side: int) -> HeadFit:
    """The same fit in a frame of another size, of the same aspect."""
    longest = max(fit.size)
    height, width = (max(1, round(extent * longest_side / longest)) for extent in fit.size)
    scaled = window_fit(fit, Crop(0.0, 0.0, float(longest)), longest_side)
    return dataclasses.replace(scaled, size=(height, width))


def scaled_frame(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame drawn at (H, W)."""
    from PIL import Image

    if frame.shape[:2] == tuple(size):
        return frame
    return np.array(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def fit_overlay(frame: Frame, model: HeadModel, fit: HeadFit, choice: FaceChoice, index: int) -> Frame:
    """The parametric mesh (before the 2D residual) over its frame, detected points in green, faces boxed.

    Args:
        frame: the frame of the fit.
        model: the head of the fit.
        fit: one frame.
        choice: all faces of the input.
        index: number of the frame in the input.
    """
    factor = min(1.0, LONGEST_SIDE / max(fit.size))
    if factor < 1:
        fit = scaled_fit(fit, LONGEST_SIDE)
        frame = scaled_frame(frame, fit.size)
    picture = meshed(frame, model, fit)
    picture = mark_points(picture, fit.landmarks[0, shown_points(fit)].numpy(), colour=FOUND)
    boxes = {rank: track.boxes[index] * factor for rank, track in enumerate(choice.tracks)}
    boxes = {rank: box for rank, box in boxes.items() if np.isfinite(box).all()}
    if len(choice.tracks) == 1:
        return picture
    return mark_boxes(picture, list(boxes.values()), [f"--face {rank}" for rank in boxes])


def meshed(frame: Frame, model: HeadModel, fit: HeadFit) -> Frame:
    """The parametric mesh (before the 2D residual) of a fit of one frame over its frame.

    Args:
        frame: RGB.
        model: the head of the fit.
        fit: of this frame.
    """
    view = view_of(model, posed_vertices(model, fit), fit.size)
    return to_frame(blend(to_image(frame)[0], shaded(view), view.covered, opacity=OPACITY))


def shown_points(fit: HeadFit) -> Bool[Tensor, " L"]:
    """Which landmarks are drawn: the 68 of those that the fit has."""
    shown = set(MEDIAPIPE_68) if fit.report.get("family", "mediapipe") == "mediapipe" else set(range(68))
    return torch.tensor([int(i) in shown for i in fit.landmark_indices])


def write_overlay(path: Path, picture: Frame, source: Path | None) -> None:
    """Write the PNG; with ``source``, the file it was drawn over, provenance goes with it.

    Args:
        path: of the PNG.
        picture: RGB.
        source: the file that was drawn over, or None.
    """
    from ..training.data.media import write_image
    from ..training.data.provenance import ENHANCED, Provenance

    made = None
    if source is not None:
        inputs = [source] if source.is_file() else []
        made = Provenance.now("fit overlay", inputs=inputs, digital_source_type=ENHANCED)
    write_image(path, picture, provenance=made)
