"""A head that moves over a body that rests, as in a window that is pasted back into a whole picture."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.cameras import Perspective, WeakPerspective
from .model import HeadModel
from .params import Camera, HeadFit
from .posing import neck_pixels, pixels_per_metre

NECK_METRES = 0.025  # how far the neck joint goes from a body that rests
NECK_GROWTH = 0.08  # how much nearer or further, as the logarithm of its size


def over_still_body(model: HeadModel, source: HeadFit, fit: HeadFit) -> HeadFit:
    """A driven head whose neck joint stays near the source's.

    Rotation and expression are the fit's. The shift of the neck joint in the picture, and the head's change
    of size, are followed where they are small and end at `NECK_METRES` and `NECK_GROWTH`, as those of a
    person do who does not move the shoulders.

    Args:
        model: the head.
        source: one frame, of the picture whose body rests.
        fit: T frames in the same pixels.

    Returns:
        The fit with its camera moved.
    """
    own = pixels_per_metre(source.params, source.camera)[0]
    growth = (pixels_per_metre(fit.params, fit.camera) / own).log()
    rescaled = _scaled(fit.camera, (_limited(growth.abs(), NECK_GROWTH) * growth.sign() - growth).exp())
    rest = neck_pixels(model, source.params, source.camera)[0]
    shift = neck_pixels(model, fit.params, fit.camera) - rest
    length = shift.norm(dim=1, keepdim=True).clamp(min=1e-6)
    wanted = rest + shift / length * _limited(length, NECK_METRES * float(own))
    moved = wanted - neck_pixels(model, fit.params, rescaled)
    return dataclasses.replace(fit, camera=_shifted(rescaled, moved))


def _limited(amount: Tensor, limit: float) -> Tensor:
    """As it is where small, below the limit everywhere, smooth between."""
    return limit * torch.tanh(amount / limit)


def _scaled(camera: Camera, ratio: Float[Tensor, "T"]) -> Camera:
    if isinstance(camera, WeakPerspective):
        return WeakPerspective(camera.scale * ratio, camera.center)
    return Perspective(camera.focal * ratio[:, None], camera.principal)


def _shifted(camera: Camera, shift: Float[Tensor, "T 2"]) -> Camera:
    if isinstance(camera, WeakPerspective):
        return WeakPerspective(camera.scale, camera.center + shift)
    return Perspective(camera.focal, camera.principal + shift)
