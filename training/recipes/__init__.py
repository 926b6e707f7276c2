"""Recipes: one file a paper, one frozen dataclass a mode; what a training does, but not how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from ..data.pairs.batch import PairBatch


class Recipe(Protocol):
    """What `training.engine` runs.

    Attributes:
        name: such as ``pwm/residual``; with what stands in for a missing pretrained network, such as
            ``pwm/paper+structure``.
        stand_ins: a sentence for each such thing; empty where nothing stands in.
        turns: the networks that are stepped, in order, such as ``("generator", "discriminator")``.
    """

    name: str
    stand_ins: tuple[str, ...]
    turns: tuple[str, ...]

    def networks(self) -> Mapping[str, nn.Module]:
        """Fresh trainable networks by name, among them every name in ``turns``; seeded by the caller."""

    def optimizer(self, turn: str, network: nn.Module) -> Optimizer:
        """The optimizer of one network."""

    def generate(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> Any:
        """The forward pass, once a step, with gradients of the first turn's network."""

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: PairBatch, made: Any
    ) -> Mapping[str, Tensor]:
        """Named, weighted, scalar terms of one turn; their sum is descended. Later turns detach ``made``."""

    def pictures(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> Mapping[str, Tensor]:
        """Named pictures ``(B, 3, H, W)`` in [0, 1]: the columns of the sheet, a row a pair."""

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """Registered animator, its config and the module whose weights are its checkpoint."""
