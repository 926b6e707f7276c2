"""Looking at a run: sheets of pictures, and held-out samples against what needs no network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...warping.posed_layers import PosedLayers, compose
from ..data.batch import Batch
from ..data.sheets import contact_sheet
from ..recipes import GENERATED, Recipe

MOST_ROWS = 8


@dataclass(frozen=True)
class HeldOut:
    """Mean absolute difference of RGB in [0, 1] from the driving frame, over all samples and pixels.

    Attributes:
        l1: of the network's picture.
        geometry_l1: of the picture that the `geometry` animator makes of the same pairs; None where there is
            no geometry.
        pairs: how many samples.
        copy_l1: of the source frame as it is; None in reports of old.
    """

    l1: float
    geometry_l1: float | None
    pairs: int
    copy_l1: float | None = None

    @property
    def text(self) -> str:
        """The numbers as a person reads them."""
        rival = "copy" if self.geometry_l1 is None else "geometry"
        other = self.copy_l1 if self.geometry_l1 is None else self.geometry_l1
        change = 100 * (self.l1 / other - 1) if other else 0.0
        return f"L1 {self.l1:.5f}, {rival} {other or 0.0:.5f} ({change:+.1f} %) on {self.pairs} pairs"


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
    recipe: Recipe, networks: Mapping[str, nn.Module], batches: Iterable[Batch], device: torch.device
) -> HeldOut | None:
    """L1 of the networks, of geometry where there is any, and of the source, on held-out samples; None where
    there are none.

    What is made, of what and in place of what, are the recipe's pictures ``generated``, ``source`` and
    ``driving``; for the last two the batch's do where the recipe shows none.

    Args:
        recipe: what is trained.
        networks: its networks, the moving average in place of the first where there is one.
        batches: held-out samples.
        device: where they are measured.

    Raises:
        HeadwarpError: the recipe's pictures lack ``generated``.
    """
    sums = dict.fromkeys(("l1", "geometry_l1", "copy_l1"), 0.0)
    samples, known = 0, True
    with looking(networks):
        for batch in batches:
            placed = batch.map(lambda tensor: tensor.to(device))
            made = recipe.pictures(networks, placed)
            if GENERATED not in made:
                raise HeadwarpError(
                    f"recipe {recipe.name}: expected {GENERATED!r} among its pictures, got {', '.join(made)}"
                )
            truth = made.get("driving", placed.driving)
            pictures = {"l1": made[GENERATED], "copy_l1": made.get("source", placed.source)}
            layers = getattr(placed, "layers", None)
            known = isinstance(layers, PosedLayers)
            if isinstance(layers, PosedLayers):
                pictures["geometry_l1"] = compose(layers).image.clamp(0, 1)
            for name, picture in pictures.items():
                sums[name] += float((picture - truth).abs().mean((1, 2, 3)).sum())
            samples += len(truth)
    if not samples:
        return None
    means = {name: total / samples for name, total in sums.items()}
    geometry = means["geometry_l1"] if known else None
    return HeldOut(means["l1"], geometry, samples, means["copy_l1"])


def sheet_of(recipe: Recipe, networks: Mapping[str, nn.Module], batch: Batch) -> NDArray[np.uint8]:
    """The recipe's pictures of a batch: a column each, a row a pair, at most `MOST_ROWS`.

    Args:
        recipe: what is trained.
        networks: its networks.
        batch: on their device.
    """
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
