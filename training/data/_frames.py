"""What both pictures and clips ask of a frame in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import MediaError

if TYPE_CHECKING:
    from torch import Tensor

_EXPECTED = "frame: expected uint8 (H, W, 3) array or (3, H, W) tensor"


def to_uint8_frame(image: NDArray[np.uint8] | Tensor) -> NDArray[np.uint8]:
    """Contiguous (H, W, 3) uint8 RGB of an array or a tensor.

    Args:
        image: (H, W, 3) uint8 array, or (3, H, W) tensor: uint8, or floats in [0, 1], clipped and rounded to
            nearest.

    Raises:
        MediaError: another shape or dtype, no pixels, or NaN.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise MediaError(f"{_EXPECTED}, got {image.dtype} array {image.shape}.")
        return np.ascontiguousarray(image)
    import torch

    if not isinstance(image, torch.Tensor):
        raise MediaError(f"{_EXPECTED}, got {type(image).__name__}.")
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        raise MediaError(f"{_EXPECTED}, got tensor {tuple(image.shape)}.")
    if image.is_floating_point():
        if bool(image.isnan().any()):
            raise MediaError("frame: holds NaN; a picture needs numbers in [0, 1].")
        image = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    elif image.dtype != torch.uint8:
        raise MediaError(f"{_EXPECTED}, uint8 or floats in [0, 1], got {image.dtype} tensor.")
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())  # (H, W, 3)
