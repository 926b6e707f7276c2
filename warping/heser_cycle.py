"""[HeSer]'s blender as it is trained: beside the picture, colours carried there and back again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .heser_blender import Blend, EncodedTarget, HeserBlender, HeserBlenderConfig, LabelledPicture
from .heser_regions import NONE, SCENE


@dataclass(frozen=True)
class Cycled:
    """Colours of a target that went to the animated head and came back.

    Attributes:
        colours: what came back, of the target's cells.
        truth: what they are.
        counted: cells of the head or the ring that something came back to.
    """

    colours: Float[Tensor, "B 3 h w"]
    truth: Float[Tensor, "B 3 h w"]
    counted: Bool[Tensor, "B 1 h w"]

    def error(self) -> Float[Tensor, ""]:
        """Mean absolute difference over counted cells ([HeSer] Eq. 8, 9 without their weight); 0 if none."""
        difference = (self.colours - self.truth).abs() * self.counted
        return difference.sum() / (3 * self.counted.sum()).clamp_min(1)


@dataclass(frozen=True)
class TrainedBlend:
    """What one forward pass gives.

    Attributes:
        blend: the picture.
        cycled: of its reference ([HeSer] Eq. 8); None where no cycle is asked for.
        other: of another person's picture ([HeSer] Eq. 9); None where there is none.
    """

    blend: Blend
    cycled: Cycled | None = None
    other: Cycled | None = None


class HeserBlenderTraining(nn.Module):
    """The network, called through ``forward`` alone, as the engine wants it.

    Args:
        config: of the network.
        cycle: carry colours back, too.
        limit_mb: in place of the config's while it is trained, where memory is plenty.
    """

    def __init__(self, config: HeserBlenderConfig, *, cycle: bool, limit_mb: float) -> None:
        super().__init__()
        self.network = HeserBlender(config)
        self.network.limit_mb = limit_mb
        self._cycle = cycle

    def forward(
        self, animated: LabelledPicture, reference: LabelledPicture, scene: Float[Tensor, "B 3 H W"]
    ) -> TrainedBlend:
        """The picture, and the cycles. The other picture of [HeSer] Eq. 9 is the reference of the next
        sample of the batch; a batch of one has none.
        """
        network = self.network
        target = network.encode(reference)
        blend = network.blend(animated, target, scene=scene)
        if not self._cycle:
            return TrainedBlend(blend)
        if len(scene) == 1:
            return TrainedBlend(blend, self._back(blend, target, blend.exemplar.values))
        key, colours, labels = (value.roll(1, 0) for value in (target.key, target.colours, target.labels))
        other = EncodedTarget(target.picture, target.head, key, labels, colours)
        there = network.carried(blend.query, key, colours, blend.labels, labels)
        return TrainedBlend(
            blend,
            self._back(blend, target, blend.exemplar.values),
            self._back(blend, other, there.values),
        )

    def _back(self, blend: Blend, target: EncodedTarget, carried: Float[Tensor, "B 3 h w"]) -> Cycled:
        asked = torch.where(target.labels == SCENE, NONE, target.labels)
        found = self.network.carried(target.key, blend.query, carried, asked, blend.labels)
        return Cycled(found.values, target.colours, found.known > 0)
