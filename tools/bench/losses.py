"""Losses as a training step pays for them: forward and backward of one pair of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .suites import Case

_SIZE = 256


def loss_cases() -> list[Case]:
    """The structure loss, against autograd's gradient of it; those of pretrained networks beside it."""
    from ...geom.nets.vgg import Vgg19
    from ...training import discriminators
    from ...training.losses import perceptual
    from ...training.losses.adversarial import OFFICIAL as SQUARES
    from ...training.losses.adversarial import generator_loss
    from ...training.losses.structure import structure_loss
    from .suites import Case

    target, network = _picture(1), Vgg19().requires_grad_(False)  # random: times do not hang on weights
    judge = discriminators.Discriminator(discriminators.OFFICIAL).requires_grad_(False)

    def perceptual_loss(image: Tensor) -> Tensor:
        config = perceptual.OFFICIAL
        return perceptual.perceptual_loss(image, target, lambda x: network.taps(x, config.taps), config)

    def fast(image: Tensor) -> Tensor:
        return structure_loss(image, target)

    def slow(image: Tensor) -> Tensor:
        return structure_by_autograd(image, target)

    def agreement() -> Mapping[str, float]:
        image = _picture(0)
        return {"difference": float((fast(image) - slow(image)).abs())}

    return [
        Case("losses/structure", _SIZE, 1, _step(fast), ("autograd", _step(slow)), agreement),
        Case("losses/perceptual_official", _SIZE, 1, _step(perceptual_loss)),
        Case(
            "losses/adversarial_official", _SIZE, 1, _step(lambda x: generator_loss(judge(x).logits, SQUARES))
        ),
    ]


def structure_by_autograd(image: Tensor, target: Tensor) -> Tensor:
    """`structure_loss` with its defaults, its SSIM by the same windows and autograd's gradient."""
    from ...training.losses import _ssim
    from ...training.losses.structure import StructureConfig, structure_loss

    edges = structure_loss(image, target, StructureConfig(ssim_weight=0.0))
    terms = []
    for level in range(StructureConfig().levels):
        if level:
            image, target = (torch.nn.functional.avg_pool2d(x, 2) for x in (image, target))
        maps = torch.cat([image, target, image**2 + target**2, image * target], dim=1)
        x, y, square, product = _ssim.window_mean(maps).chunk(4, dim=1)
        luminance = (2 * x * y + _ssim.C1) / (x**2 + y**2 + _ssim.C1)
        contrast = (2 * (product - x * y) + _ssim.C2) / (square - x**2 - y**2 + _ssim.C2)
        terms.append(1 - (luminance * contrast).mean())
    return edges + torch.stack(terms).mean()


def _step(loss: Callable[[Tensor], Tensor]) -> Callable[[], object]:
    image = _picture(0).requires_grad_()
    return lambda: torch.autograd.grad(loss(image), image)


def _picture(seed: int) -> Tensor:
    """Smooth with grain, as photographs are."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(
        coarse, size=(_SIZE, _SIZE), mode="bilinear", align_corners=False
    )
    return smooth * 0.9 + 0.1 * torch.rand(1, 3, _SIZE, _SIZE, generator=generator)
