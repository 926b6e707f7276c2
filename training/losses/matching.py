"""L1 of features: those of a discriminator ([PWM] Eq. 4), and the sum that the perceptual loss shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError
from ._terms import Reduction, reduced, wide


@dataclass(frozen=True)
class MatchingConfig:
    """How features are compared; the defaults are the paper's.

    Attributes:
        reduction: of a layer: ``"sum"`` ([PWM] Eq. 4) or ``"mean"`` (the public code).
        weight: of the sum over layers and scales; 1 in the paper, 10 in the public code.
    """

    reduction: Reduction = "sum"
    weight: float = 1.0


PAPER = MatchingConfig()
OFFICIAL = MatchingConfig(reduction="mean", weight=10.0)


def feature_matching(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]], config: MatchingConfig = PAPER
) -> Float[Tensor, ""]:
    """Difference of the discriminator's features of the true and the made picture, [PWM] Eq. 4.

    Args:
        real: features of the true picture by scale and layer; detached here, so the term trains the
            generator alone. (The public code leaves them attached, which changes gradients of the
            discriminator only, and those are dropped in the generator's turn.)
        fake: features of the made picture.
        config: the sum and its weight.

    Returns:
        A scalar in float32 at least, 0 where all features agree.

    Raises:
        ShapeError: numbers of scales or layers, or shapes of features, differ.

    Example:
        >>> import torch
        >>> a, b = torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)
        >>> float(feature_matching([[a]], [[b]])), float(feature_matching([[a]], [[b]], OFFICIAL))
        (18.0, 10.0)
    """
    return config.weight * features_l1(fake, real, reduction=config.reduction)


def features_l1(
    made: Sequence[Sequence[Tensor]], wanted: Sequence[Sequence[Tensor]], *, reduction: Reduction
) -> Float[Tensor, ""]:
    """Sum over scales and layers of ``|made - wanted|``, each layer reduced; ``wanted`` is detached.

    Args:
        made: features of the made picture: scales, and their layers.
        wanted: features of the true one.
        reduction: of each layer.

    Raises:
        ShapeError: nothing to compare, or numbers of scales or layers, or shapes, differ.
    """
    if len(made) != len(wanted) or not made:
        raise ShapeError(f"features: expected as many scales, got {len(made)} and {len(wanted)}")
    terms = []
    for scale, (layers, targets) in enumerate(zip(made, wanted, strict=True)):
        if len(layers) != len(targets) or not layers:
            got = f"{len(layers)} and {len(targets)}"
            raise ShapeError(f"features: expected as many layers at scale {scale}, got {got}")
        pairs = zip(layers, targets, strict=True)
        terms += [_layer(*pair, reduction, f"{scale}.{j}") for j, pair in enumerate(pairs)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _layer(made: Tensor, wanted: Tensor, reduction: Reduction, name: str) -> Float[Tensor, ""]:
    if made.shape != wanted.shape:
        got = f"{tuple(made.shape)} and {tuple(wanted.shape)}"
        raise ShapeError(f"features {name}: expected one shape, got {got}")
    dtype = wide(made.dtype, wanted.dtype)
    return reduced((made.to(dtype) - wanted.detach().to(dtype)).abs(), reduction)
