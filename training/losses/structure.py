"""Structure: a fixed loss of gradients and structural similarity at several scales; nothing in it is learned.

It is what training uses where no pretrained network is given, and it is named for what it is: unlike a
perceptual loss it knows nothing of what pictures show. It asks for edges in the right place and of the right
strength (Charbonnier on the difference of image gradients) and for local contrast and structure
(1 - SSIM, [Wang 2004]), at full size and at halves of it, so that a misplaced edge has a gradient from afar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError, ShapeError
from ._ssim import WINDOW, MeanSsim, mean_ssim_ref
from ._terms import checked_pair


@dataclass(frozen=True)
class StructureConfig:
    """Settings of the structure loss.

    Attributes:
        levels: sizes at which pictures are compared, each half the one before (means of 2 x 2 pixels; an odd
            last row or column is left out). Levels below the window's 11 px are left out.
        gradient_weight: of the Charbonnier difference of gradients, along x plus along y.
        ssim_weight: of 1 - SSIM.
        epsilon: where the Charbonnier function turns from square to linear, in RGB units a pixel.
    """

    levels: int = 4
    gradient_weight: float = 1.0
    ssim_weight: float = 1.0
    epsilon: float = 1e-3


def structure_loss(
    image: Float[Tensor, "B C H W"],
    target: Float[Tensor, "B C H W"],
    config: StructureConfig | None = None,
) -> Float[Tensor, ""]:
    """Mean over levels of the weighted gradient and structure terms; see the module.

    Forward and backward of a 256 px pair take about 10 ms on one thread. Inside autocast it computes in
    float32 all the same. `structure_loss_ref` is its plain twin.

    Args:
        image: the picture made, RGB in [0, 1], at least 11 px on each side.
        target: the truth; not differentiated.
        config: levels and weights; `StructureConfig()` if None.

    Returns:
        A scalar in float32 (float64 for float64): 0 at the truth, where its gradient is 0, positive off it;
        differentiable once, in ``image``.

    Raises:
        ShapeError: shapes differ, are not (B, C, H, W), a side is below 11 px, or the values are not floats.
        HeadwarpError: a level count or an epsilon that is not positive.

    Example:
        >>> picture = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)
        >>> float(structure_loss(picture, picture)), float(structure_loss(picture, 1 - picture)) > 0.5
        (0.0, True)
    """
    config = config or StructureConfig()
    image, target = _checked(image, target, config)
    with torch.autocast(device_type=image.device.type, enabled=False):
        terms = [
            config.ssim_weight * (1 - MeanSsim.apply(made, wanted))
            + config.gradient_weight * _charbonnier_gradients(made - wanted, config.epsilon)
            for made, wanted in _levels(image, target.detach(), config.levels)
        ]
        return torch.stack(terms).mean()


def structure_loss_ref(
    image: Float[Tensor, "B C H W"],
    target: Float[Tensor, "B C H W"],
    config: StructureConfig | None = None,
) -> Float[Tensor, ""]:
    """Plain twin of `structure_loss`: windows unfolded, gradients by autograd, levels by reshaping.

    Args:
        image, target, config: as for `structure_loss`.
    """
    config = config or StructureConfig()
    image, target = _checked(image, target, config)
    target = target.detach()
    terms: list[Tensor] = []
    while len(terms) < config.levels and min(image.shape[2:]) >= WINDOW:
        steps = [(image - target).diff(dim=dim) for dim in (2, 3)]
        edges = sum(((s**2 + config.epsilon**2) ** 0.5 - config.epsilon).mean() for s in steps)
        terms.append(config.ssim_weight * (1 - mean_ssim_ref(image, target)) + config.gradient_weight * edges)
        image, target = _halved_ref(image), _halved_ref(target)
    return torch.stack(terms).mean()


def _levels(image: Tensor, target: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    for level in range(count):
        if min(image.shape[2:]) < WINDOW:
            return
        yield image, target
        if level + 1 < count:
            image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)


def _halved_ref(image: Tensor) -> Tensor:
    height, width = (size // 2 for size in image.shape[2:])
    whole = image[:, :, : 2 * height, : 2 * width]
    return whole.unflatten(3, (width, 2)).unflatten(2, (height, 2)).mean((3, 5))  # (B, C, H/2, W/2)


def _charbonnier_gradients(difference: Float[Tensor, "B C H W"], epsilon: float) -> Float[Tensor, ""]:
    """Gradients are linear: the difference of gradients is the gradient of the difference."""
    square = difference.new_full((), epsilon**2)
    along_x = difference[..., 1:] - difference[..., :-1]
    along_y = difference[..., 1:, :] - difference[..., :-1, :]
    lengths = (torch.addcmul(square, step, step).sqrt().mean() for step in (along_x, along_y))
    return sum(lengths, start=difference.new_full((), -2 * epsilon))


def _checked(image: Tensor, target: Tensor, config: StructureConfig) -> tuple[Tensor, Tensor]:
    if config.levels < 1 or not config.epsilon > 0:
        got = f"levels={config.levels}, epsilon={config.epsilon}"
        raise HeadwarpError(f"structure_loss: expected levels >= 1 and epsilon > 0, got {got}")
    image, target = checked_pair(image, target, by="structure_loss")
    if min(image.shape[2:]) < WINDOW:
        got = f"{image.shape[2]} x {image.shape[3]}"
        raise ShapeError(f"structure_loss: image: expected at least {WINDOW} px a side, got {got}")
    return image, target
