"""The game of a generator and a discriminator of one scale or several, from both sides."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..discriminators import Judgement
from ..losses import adversarial
from ..losses.adversarial import AdversarialConfig
from ..losses.matching import MatchingConfig, feature_matching


def turns_of(game: AdversarialConfig | None) -> tuple[str, ...]:
    """Who takes a turn in every step; without a game the generator alone."""
    return ("generator",) if game is None else ("generator", "discriminator")


def played(
    discriminator: nn.Module,
    true: Float[Tensor, "B 3 H W"],
    made: Float[Tensor, "B 3 H W"],
    told: tuple[Tensor, ...] = (),
    *,
    game: AdversarialConfig,
    matching: MatchingConfig,
) -> dict[str, Tensor]:
    """The game from the generator's side, and the discriminator's features as a measure.

    Args:
        discriminator: judges pictures.
        true, made: pictures.
        told: what it is told beside either.
        game: which is played.
        matching: of its features.
    """
    with torch.no_grad():
        real: Judgement = discriminator(true, *told)
    fake: Judgement = discriminator(made, *told)
    return {
        "adversarial": adversarial.generator_loss(fake.logits, game),
        "matching": feature_matching(real.features, fake.features, matching),
    }


def judged(
    discriminator: nn.Module,
    true: Float[Tensor, "B 3 H W"],
    made: Float[Tensor, "B 3 H W"],
    told: tuple[Tensor, ...] = (),
    *,
    game: AdversarialConfig,
) -> dict[str, Tensor]:
    """The game from the discriminator's side; the made picture is detached here."""
    real, fake = (discriminator(image, *told) for image in (true, made.detach()))
    return {"judged": adversarial.discriminator_loss(real.logits, fake.logits, game)}
