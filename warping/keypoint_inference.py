"""Keypoint networks made fast, as `inference` makes others: prepared, or detector and decoder compiled."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.keypoints import Keypoints
from .inference import Compiled, InferenceConfig, check_inference, prepare_
from .keypoint_network import KeypointNetwork, KeypointOutput, SourceFeatures


def prepare_keypoints_(network: KeypointNetwork, config: InferenceConfig) -> CompiledKeypoints | None:
    """A network made ready in place; see `inference.prepare_animator_`.

    Returns:
        What works in its place; None: itself.

    Raises:
        HeadwarpError: what `inference.check_inference` raises.
    """
    check_inference(config, network)
    prepare_(network, pack=not config.compile)
    return CompiledKeypoints(network, bfloat16=config.bfloat16) if config.compile else None


class CompiledKeypoints:
    """`detect` and `decode` of a `KeypointNetwork` through ``torch.compile``; `encode` runs as it is.

    Args:
        network: of `inference.prepare_` with ``pack=False``; its weights must not change any more.
        bfloat16: convolutions in bfloat16. Heat maps, keypoints, masks, motion and warps stay in float32:
            half a pixel is beyond bfloat16 in a frame of 256.

    Raises:
        HeadwarpError: the network holds packed weights, or is in training.
    """

    def __init__(self, network: KeypointNetwork, *, bfloat16: bool = False) -> None:
        self.network = network
        self._detect = Compiled(network, network.detect, bfloat16=bfloat16)
        self._decode = Compiled(network, network.decode, bfloat16=bfloat16)

    def encode(
        self, source: Float[Tensor, "B 3 H W"], *, keypoints: Keypoints | None = None
    ) -> SourceFeatures:
        """As `KeypointNetwork.encode`, with keypoints of the same precision as the driver's."""
        found = self.detect(source) if keypoints is None else keypoints
        with torch.no_grad():
            return self.network.encode(source, keypoints=found)

    def detect(self, image: Float[Tensor, "B 3 H W"]) -> Keypoints:
        """As `KeypointNetwork.detect`, without gradients."""
        with self._detect.context(image):
            return self._detect.function(image)

    def decode(self, features: SourceFeatures, keypoints_driving: Keypoints) -> KeypointOutput:
        """As `KeypointNetwork.decode`, without gradients."""
        frames = features.encoded.image.expand(len(keypoints_driving.points), -1, -1, -1)
        with self._decode.context(frames):
            return self._decode.function(features, keypoints_driving)

    def warm(self, size: tuple[int, int], *, batch: int = 1) -> CompiledKeypoints:
        """Compile for frames of a size (H, W) and so many frames a call; returns itself."""
        like = next(self.network.parameters())
        source = like.new_zeros(1, 3, *size)
        features = self.encode(source)
        for _ in range(2):  # the first frames may compile once more
            self.decode(features, self.detect(source.expand(batch, -1, -1, -1)))
        return self
