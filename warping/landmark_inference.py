"""Networks that landmarks drive made fast, as `inference` makes others: prepared, or the decoder compiled."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from .inference import Compiled, InferenceConfig, check_inference, prepare_
from .sparse2dense import SourceParts, Sparse2DenseNetwork, Sparse2DenseOutput


def prepare_landmarks_(network: Sparse2DenseNetwork, config: InferenceConfig) -> CompiledLandmarks | None:
    """A network made ready in place; see `inference.prepare_animator_`.

    Returns:
        What decodes in its place; None: itself.

    Raises:
        HeadwarpError: what `inference.check_inference` raises.
    """
    check_inference(config, network)
    prepare_(network, pack=not config.compile)
    return CompiledLandmarks(network, bfloat16=config.bfloat16) if config.compile else None


class CompiledLandmarks(Compiled):
    """`Sparse2DenseNetwork.decode` through ``torch.compile``; the spline that motion may begin with is a
    system of equations in double precision and stays outside.

    Args:
        network: of `inference.prepare_` with ``pack=False``; its weights must not change any more.
        bfloat16: convolutions in bfloat16; landmarks, masks, motion and warps stay in float32.

    Raises:
        HeadwarpError: the network holds packed weights, or is in training.
    """

    def __init__(self, network: Sparse2DenseNetwork, *, bfloat16: bool = False) -> None:
        super().__init__(network, network.decode, bfloat16=bfloat16)
        self.network = network

    def __call__(self, source: SourceParts, landmarks: Float[Tensor, "B L 2"]) -> Sparse2DenseOutput:
        """As `Sparse2DenseNetwork.decode`, without gradients."""
        spline = self.network.spline(source, landmarks)
        with self.context(source.encoded.image.expand(len(landmarks), -1, -1, -1)):
            return self.function(source, landmarks, spline=spline)
