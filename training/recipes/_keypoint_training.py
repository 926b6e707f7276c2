"""A keypoint network as a recipe calls it: one forward pass for all that the losses look at."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ...geom.keypoints import Keypoints
from ...warping.keypoint_network import KeypointNetwork, KeypointNetworkConfig, KeypointOutput


@dataclass(frozen=True)
class TrainingOutput:
    """What one forward pass gives.

    Attributes:
        pair: of source and driving frame.
        moved: keypoints of the moved driving frame; None where none is given.
        made: keypoints found in the picture made; None unless asked for.
        disparities: of the picture made and of the driving frame, ``(B, 1, H, W)`` each; None unless asked
            for.
    """

    pair: KeypointOutput
    moved: Keypoints | None = None
    made: Keypoints | None = None
    disparities: tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "B 1 H W"]] | None = None


class KeypointTraining(nn.Module):
    """The network, called through ``forward`` alone, as the engine wants it.

    Args:
        config: of the network.
        keypoints_made: look for keypoints in the picture made, too.
        depth_made: look at its disparity, too, with gradients through the frozen depth network.
    """

    def __init__(
        self, config: KeypointNetworkConfig, *, keypoints_made: bool = False, depth_made: bool = False
    ) -> None:
        super().__init__()
        self.network = KeypointNetwork(config)
        self._keypoints_made, self._depth_made = keypoints_made, depth_made

    def forward(
        self,
        source: Float[Tensor, "B 3 H W"],
        driving: Float[Tensor, "B 3 H W"],
        moved: Float[Tensor, "B 3 H W"] | None = None,
    ) -> TrainingOutput:
        """The pair, and what the losses look at beside it.

        As in the public code, the detector sees source, driving frame and moved frame one after the other:
        its batch norms take the statistics of each.
        """
        network = self.network
        pair = network(source, driving)
        found = None if moved is None else network.detect(moved)
        seen = None
        if self._depth_made or (self._keypoints_made and network.config.depth_keypoints):
            assert network.depth is not None
            seen = network.depth(pair.image)[0]
        made = network.detect(pair.image, disparity=seen) if self._keypoints_made else None
        if seen is None or not self._depth_made:
            return TrainingOutput(pair, found, made)
        return TrainingOutput(pair, found, made, (seen, network.disparity(driving)))
