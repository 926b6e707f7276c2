"""How far the colour of skin is from what it should be, in CIELAB under D65."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.errors import ShapeError

_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)
_BEND = 216 / 24389
DEFINITIONS = {
    "mean_colour": "distance of the mean colours of the skin's pixels in CIELAB (delta E of 1976), mean over "
    "pictures",
    "pixel": "mean distance of the skin's pixels in CIELAB (delta E of 1976), mean over pictures",
}


@dataclass(frozen=True)
class SkinColourError:
    """Of every picture; NaN where it shows no skin.

    Attributes:
        mean_colour, pixel: see `DEFINITIONS`.
    """

    mean_colour: Float[Tensor, "B"]
    pixel: Float[Tensor, "B"]


def rgb_to_lab(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """sRGB in [0, 1] to CIELAB, L in 0..100.

    Example:
        >>> white = rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten()
        >>> [round(abs(value), 2) for value in white.tolist()]
        [100.0, 0.0, 0.0]
    """
    image = image.clamp(0, 1)
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    matrix, white = image.new_tensor(_TO_XYZ), image.new_tensor(_WHITE)[:, None, None]
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear) / white
    bent = torch.where(xyz > _BEND, xyz.clamp_min(_BEND) ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)  # (B, 3, H, W)


def skin_colour_error(
    image: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"], skin: Bool[Tensor, "B 1 H W"]
) -> SkinColourError:
    """How far a picture's skin is from the truth's.

    Args:
        image, truth: RGB in [0, 1].
        skin: the skin's pixels in both.

    Raises:
        ShapeError: shapes that do not go together.
    """
    if image.shape != truth.shape or skin.shape != image[:, :1].shape:
        got = ", ".join(str(tuple(tensor.shape)) for tensor in (image, truth, skin))
        raise ShapeError(f"skin_colour_error: expected (B, 3, H, W) twice and (B, 1, H, W), got {got}")
    difference = (rgb_to_lab(image) - rgb_to_lab(truth)) * skin
    count = skin.sum((2, 3)).to(image)  # (B, 1)
    mean = (difference.sum((2, 3)) / count).norm(dim=1)
    pixel = difference.norm(dim=1).sum((1, 2)) / count[:, 0]
    return SkinColourError(mean, pixel)
