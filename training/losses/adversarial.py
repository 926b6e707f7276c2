"""Adversarial losses of patch logits: hinge ([PWM] Eq. 2-3) and least squares, of both players.

Logits come as one tensor a scale of the discriminator; scales are summed, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError, ShapeError
from ._terms import Reduction, reduced, wide


@dataclass(frozen=True)
class AdversarialConfig:
    """Which game is played; the defaults are the paper's.

    Attributes:
        kind: ``"hinge"`` ([PWM] Eq. 2-3) or ``"least_squares"`` (the public code).
        reduction: of the patches of a scale: ``"sum"`` ([PWM] Eq. 2-3) or ``"mean"`` (the public code).
        weight: of the generator's and of the discriminator's term; 1 in both.
    """

    kind: Literal["hinge", "least_squares"] = "hinge"
    reduction: Reduction = "sum"
    weight: float = 1.0


PAPER = AdversarialConfig()
OFFICIAL = AdversarialConfig(kind="least_squares", reduction="mean")


def generator_loss(
    fake: Sequence[Float[Tensor, "B 1 _ _"]], config: AdversarialConfig = PAPER
) -> Float[Tensor, ""]:
    """What the generator descends: the kind of ``config``, times its weight.

    Args:
        fake: logits of the made pictures, one tensor a scale.
        config: the game.

    Raises:
        HeadwarpError: no such kind or reduction.
        ShapeError: no scales.

    Example:
        >>> import torch
        >>> game = AdversarialConfig(kind="least_squares", weight=2.0, reduction="mean")
        >>> float(generator_loss([torch.zeros(1, 1, 4, 4)], game))
        2.0
    """
    losses = {"hinge": hinge_generator, "least_squares": least_squares_generator}
    return config.weight * _of_kind(losses, config.kind)(fake, reduction=config.reduction)


def discriminator_loss(
    real: Sequence[Float[Tensor, "B 1 _ _"]],
    fake: Sequence[Float[Tensor, "B 1 _ _"]],
    config: AdversarialConfig = PAPER,
) -> Float[Tensor, ""]:
    """What the discriminator descends: the kind of ``config``, times its weight.

    Args:
        real: logits of true pictures, one tensor a scale.
        fake: logits of made pictures, which the caller detached from the generator.
        config: the game.

    Raises:
        HeadwarpError: no such kind or reduction.
        ShapeError: no scales, or not as many real as fake ones.
    """
    losses = {"hinge": hinge_discriminator, "least_squares": least_squares_discriminator}
    return config.weight * _of_kind(losses, config.kind)(real, fake, reduction=config.reduction)


def hinge_generator(
    fake: Sequence[Float[Tensor, "B 1 _ _"]], *, reduction: Reduction = "mean"
) -> Float[Tensor, ""]:
    """``-D(fake)``, [PWM] Eq. 2; unbounded below, its gradient is the same everywhere.

    Args:
        fake: logits of the made pictures, one tensor a scale.
        reduction: ``"mean"`` or ``"sum"`` over each scale.

    Example:
        >>> import torch
        >>> float(hinge_generator([torch.full((1, 1, 2, 2), 3.0)]))
        -3.0
    """
    return _over_scales(lambda logits: -logits, fake, reduction)


def hinge_discriminator(
    real: Sequence[Float[Tensor, "B 1 _ _"]],
    fake: Sequence[Float[Tensor, "B 1 _ _"]],
    *,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """``max(0, 1 + D(fake)) + max(0, 1 - D(real))``, [PWM] Eq. 3; 0 beyond the margins, 2 for no idea.

    Args:
        real: logits of true pictures, one tensor a scale.
        fake: logits of made pictures, which the caller detached from the generator.
        reduction: ``"mean"`` or ``"sum"`` over each scale.

    Example:
        >>> import torch
        >>> float(hinge_discriminator([torch.zeros(1, 1, 2, 2)], [torch.zeros(1, 1, 2, 2)]))
        2.0
    """
    _check_scales(real, fake)
    return _over_scales(lambda logits: F.relu(1 - logits), real, reduction) + _over_scales(
        lambda logits: F.relu(1 + logits), fake, reduction
    )


def least_squares_generator(
    fake: Sequence[Float[Tensor, "B 1 _ _"]], *, reduction: Reduction = "mean"
) -> Float[Tensor, ""]:
    """``(1 - D(fake))^2``, [LSGAN] with labels 0 and 1, without its factor 1/2, as in the public code.

    Args:
        fake: logits of the made pictures, one tensor a scale.
        reduction: ``"mean"`` or ``"sum"`` over each scale.

    Example:
        >>> import torch
        >>> float(least_squares_generator([torch.ones(1, 1, 2, 2)]))
        0.0
    """
    return _over_scales(lambda logits: (1 - logits).square(), fake, reduction)


def least_squares_discriminator(
    real: Sequence[Float[Tensor, "B 1 _ _"]],
    fake: Sequence[Float[Tensor, "B 1 _ _"]],
    *,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """``(1 - D(real))^2 + D(fake)^2``, [LSGAN], without its factor 1/2; 0 for the labels, 1/2 for no idea.

    Args:
        real: logits of true pictures, one tensor a scale.
        fake: logits of made pictures, which the caller detached from the generator.
        reduction: ``"mean"`` or ``"sum"`` over each scale.

    Example:
        >>> import torch
        >>> float(least_squares_discriminator([torch.ones(1, 1, 2, 2)], [torch.zeros(1, 1, 2, 2)]))
        0.0
    """
    _check_scales(real, fake)
    return _over_scales(lambda logits: (1 - logits).square(), real, reduction) + _over_scales(
        lambda logits: logits.square(), fake, reduction
    )


def _over_scales(
    term: Callable[[Tensor], Tensor], logits: Sequence[Tensor], reduction: Reduction
) -> Float[Tensor, ""]:
    if isinstance(logits, Tensor) or not logits:
        got = "a tensor" if isinstance(logits, Tensor) else "no scale"
        raise ShapeError(f"logits: expected a sequence of one tensor a scale, got {got}")
    terms = [reduced(term(values.to(wide(values.dtype))), reduction) for values in logits]
    total = terms[0]
    for value in terms[1:]:
        total = total + value
    return total


def _check_scales(real: Sequence[Tensor], fake: Sequence[Tensor]) -> None:
    if len(real) != len(fake):
        raise ShapeError(f"real, fake: expected as many scales, got {len(real)} and {len(fake)}")


def _of_kind(losses: dict[str, Callable[..., Tensor]], kind: str) -> Callable[..., Tensor]:
    if kind not in losses:
        raise HeadwarpError(f"kind: expected {' or '.join(losses)}, got {kind!r}")
    return losses[kind]
