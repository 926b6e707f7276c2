"""The square crops of DECA, EMOCA and SMIRK and the ``tform`` that leads to them from the original image.

``tform`` (3, 3) maps pixels of the original to pixels of the crop, as scikit-image's
``estimate_transform(...).params``. Whose pixel (0, 0) is a corner's middle and whose its outer edge differs:
DECA's ``transform_points`` puts projected points through it as they are (edges), SMIRK warps its rendered
image with it (middles). Here a crop is the place of its outer edges in the original.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ModelFileError

CROP = 224
"""Pixels a side that these networks see."""
_MARGIN = 1.25  # DECA's crop around its box of landmarks
_LEAST_SIDE = 8.0


def crop_of_tform(
    tform: np.ndarray, *, middles: bool
) -> tuple[Float[np.ndarray, "B 2"], Float[np.ndarray, " B"]]:
    """Outer corner and side, in the original's pixels, of crops.

    Args:
        tform: (B, 3, 3); that which DECA's demo makes of it, inverted and transposed, is told by its last
            column and taken as well.
        middles: whole numbers are pixels' middles.

    Raises:
        ModelFileError: not a scale and a shift (rotated, stretched, mirrored or projective).
    """
    matrix = _forward(tform)
    scale = matrix[:, 0, 0]
    rest = np.abs(np.stack([matrix[:, 1, 1] - scale, matrix[:, 0, 1], matrix[:, 1, 0]], 1))
    if (scale <= 1e-6).any() or (rest > 1e-3 * np.abs(scale)[:, None]).any():
        raise ModelFileError(
            f"tform: expected a scale and a shift of the original to the crop, got {matrix[0].tolist()}; "
            "rotated and stretched crops are not read"
        )
    half = 0.5 if middles else 0.0
    origin = (-half - matrix[:, :2, 2]) / scale[:, None] + half
    return origin, CROP / scale


def _forward(tform: np.ndarray) -> np.ndarray:
    last_row, last_column = tform[:, 2], tform[:, :, 2]
    unit = np.array([0.0, 0.0, 1.0])
    if np.allclose(last_row, unit, atol=1e-4):
        return tform
    if not np.allclose(last_column, unit, atol=1e-4):
        raise ModelFileError(f"tform: expected an affine map, got {tform[0].tolist()}")
    try:
        return np.linalg.inv(np.swapaxes(tform, 1, 2))
    except np.linalg.LinAlgError as error:
        raise ModelFileError("tform: expected an invertible map, got a singular one") from error


def tform_of_crop(
    origin: Float[np.ndarray, "B 2"], side: Float[np.ndarray, " B"], *, middles: bool
) -> Float[np.ndarray, "B 3 3"]:
    """Inverse of `crop_of_tform`, float32 as these tools keep it."""
    scale = CROP / side
    half = 0.5 if middles else 0.0
    tform = np.zeros((len(side), 3, 3))
    tform[:, 0, 0], tform[:, 1, 1], tform[:, 2, 2] = scale, scale, 1
    tform[:, :2, 2] = (half - origin) * scale[:, None] - half
    return tform.astype(np.float32)


def crop_around(pixels: Float[Tensor, "T V 2"]) -> tuple[Float[Tensor, "T 2"], Float[Tensor, " T"]]:
    """A square around points, its side 1.25 times the mean of their extents, as DECA cuts it."""
    low, high = pixels.amin(1), pixels.amax(1)
    side = ((high - low).mean(1) * _MARGIN).clamp(min=_LEAST_SIDE)
    return (low + high) / 2 - side[:, None] / 2, side


def crops_end(origin: Float[np.ndarray, "B 2"], side: Float[np.ndarray, " B"]) -> tuple[int, int]:
    """(H, W) of the smallest frame that ends where the crops end."""
    right, bottom = (origin + side[:, None]).max(0)
    return max(1, int(np.ceil(bottom))), max(1, int(np.ceil(right)))


def stacked(origin: Tensor, side: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """As float64 arrays."""
    return origin.to(torch.float64).numpy(), side.to(torch.float64).numpy()
