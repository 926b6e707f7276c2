"""Perceptual loss: L1 of a frozen network's features over a pyramid of sizes, [PWM] Eq. 1.

The network is a function that the caller gives, such as `geom.nets.vgg.Vgg19.taps` with weights from a file.
Its weights must be pretrained (`geom.nets.weights.require_pretrained`): features of a random network are no
measure of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError
from ...geom.pyramid import guidance_pyramid
from ._terms import Reduction, checked_pair
from .matching import features_l1

Features = Callable[[Tensor], Sequence[Tensor]]
"""A picture ``(B, 3, h, w)``, RGB in [0, 1], to its features by layer; it normalises the picture itself."""


@dataclass(frozen=True)
class PerceptualConfig:
    """What is compared; the defaults are the paper's.

    Attributes:
        taps: layers by name, for `geom.nets.vgg`. The paper compares "the convolutional outputs (instead of
            the pooling outputs) of the first five blocks" of VGG-19. Its public code has a class with that
            very switch, whose blocks end after the last convolution's ReLU: so we read it. (Taken before the
            ReLU they would be ``conv1_2``, ``conv2_2``, ``conv3_4``, ``conv4_4``, ``conv5_4``.) The public
            training uses another class, which ends blocks after the ReLU of their first convolution.
        strides: sizes of the pyramid: ``(1, 2, 4)`` is 256, 128 and 64 px ([PWM] Eq. 1); the public code
            adds 8.
        reduction: of a layer: ``"sum"`` ([PWM] Eq. 1) or ``"mean"`` (the public code).
        weight: of the sum over layers and scales: 1 in the paper, 10 in the public code.
    """

    taps: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")
    strides: tuple[int, ...] = (1, 2, 4)
    reduction: Reduction = "sum"
    weight: float = 1.0


PAPER = PerceptualConfig()
OFFICIAL = PerceptualConfig(
    taps=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    strides=(1, 2, 4, 8),
    reduction="mean",
    weight=10.0,
)


def perceptual_loss(
    image: Float[Tensor, "B 3 H W"],
    target: Float[Tensor, "B 3 H W"],
    features: Features,
    config: PerceptualConfig = PAPER,
) -> Float[Tensor, ""]:
    """Difference of the features of two pictures over the pyramid of ``config``.

    Smaller sizes are made by `geom.pyramid.guidance_pyramid`, the public code's Gaussian; the paper does not
    say how it makes them.

    Args:
        image: the picture made, RGB in [0, 1]; its sides are multiples of every stride.
        target: the truth; its features are taken without a gradient.
        features: of the network, by layer.
        config: sizes, sum and weight; ``taps`` is for the maker of ``features``.

    Returns:
        A scalar in float32 at least: 0 at the truth, differentiable in ``image``. Pictures are handed on in
        float32 at least; what ``features`` makes of them, inside autocast too, is compared in float32.

    Raises:
        ShapeError: shapes differ, are not (B, 3, H, W), a side is not a multiple of a stride, or the network
            gives features of another shape for one of the two.

    Example:
        >>> picture = torch.rand(1, 3, 8, 8)
        >>> float(perceptual_loss(picture, picture, lambda x: (x, x[..., ::2, ::2].square())))
        0.0
    """
    image, target = checked_pair(image, target, by="perceptual_loss")
    images = guidance_pyramid(image, config.strides)
    targets = guidance_pyramid(target.detach(), config.strides)
    return perceptual_levels(images, targets, features, config)


def perceptual_levels(
    images: Sequence[Float[Tensor, "B 3 _ _"]],
    targets: Sequence[Float[Tensor, "B 3 _ _"]],
    features: Features,
    config: PerceptualConfig = PAPER,
) -> Float[Tensor, ""]:
    """The same over pictures of sizes that the caller made, such as `warped.warped_levels`.

    Args:
        images: pictures made, one a size.
        targets: the truth in the same sizes.
        features: as `perceptual_loss`.
        config: sum and weight; ``strides`` is not read.

    Raises:
        ShapeError: as `perceptual_loss`, or not as many pictures as truths.
    """
    if len(images) != len(targets) or not images:
        raise ShapeError(f"perceptual: expected as many levels, got {len(images)} and {len(targets)}")
    pairs = [checked_pair(*pair, by="perceptual") for pair in zip(images, targets, strict=True)]
    with torch.no_grad():
        wanted = [features(target) for _, target in pairs]
    made = [features(image) for image, _ in pairs]
    return config.weight * features_l1(made, wanted, reduction=config.reduction)
