"""Looking at a run: sheets of pictures, and held-out pairs against what geometry alone makes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...warping.posed_layers import compose
from ..data.pairs.batch import PairBatch
from ..data.sheets import contact_sheet
from ..recipes import GENERATED, Recipe

MOST_ROWS = 8


@dataclass(frozen=True)
class HeldOut:
    """Mean absolute difference of RGB in [0, 1] from the driving frame, over all pairs and pixels.

    Attributes:
        l1: of the network's picture.
        geometry_l1: of the picture that the `geometry` animator makes of the same pairs.
        pairs: how many.
    """

    l1: float
    geometry_l1: float
    pairs: int

    @property
    def text(self) -> str:
        """The numbers as a person reads them."""
        change = 100 * (self.l1 / self.geometry_l1 - 1) if self.geometry_l1 else 0.0
        return f"L1 {self.l1:.5f}, geometry {self.geometry_l1:.5f} ({change:+.1f} %) on {self.pairs} pairs"


@contextlib.contextmanager
def looking(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Evaluation mode without gradients; the modes are put back afterwards."""
    modes = {module: module.training for network in networks.values() for module in network.modules()}
    for network in networks.values():
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def measure(
    recipe: Recipe, networks: Mapping[str, nn.Module], batches: Iterable[PairBatch], device: torch.device
) -> HeldOut | None:
    """L1 of the networks and of geometry on held-out pairs; None where there are none.

    Raises:
        HeadwarpError: the recipe's pictures lack ``generated``.
    """
    sums, geometry_sums, pairs = 0.0, 0.0, 0
    with looking(networks):
        for batch in batches:
            placed = batch.map(lambda tensor: tensor.to(device))
            made = recipe.pictures(networks, placed)
            if GENERATED not in made:
                raise HeadwarpError(
                    f"recipe {recipe.name}: expected {GENERATED!r} among its pictures, got {', '.join(made)}"
                )
            known = compose(placed.layers).image.clamp(0, 1)
            sums += float((made[GENERATED] - placed.driving).abs().mean((1, 2, 3)).sum())
            geometry_sums += float((known - placed.driving).abs().mean((1, 2, 3)).sum())
            pairs += len(placed.driving)
    return HeldOut(sums / pairs, geometry_sums / pairs, pairs) if pairs else None


def sheet_of(recipe: Recipe, networks: Mapping[str, nn.Module], batch: PairBatch) -> NDArray[np.uint8]:
    """The recipe's pictures of a batch: a column each, a row a pair, at most `MOST_ROWS`."""
    with looking(networks):
        columns = {
            name: _frames(value[:MOST_ROWS]) for name, value in recipe.pictures(networks, batch).items()
        }
    rows = list(zip(*columns.values(), strict=True))
    return contact_sheet(rows, list(columns))


def _frames(pictures: Tensor) -> list[NDArray[np.uint8]]:
    """``(B, 3, H, W)`` in [0, 1] as arrays ``(H, W, 3)``; what is not finite is black."""
    whole = (pictures.detach().float().nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    return list(whole.permute(0, 2, 3, 1).cpu().numpy())  # (B, H, W, 3)
