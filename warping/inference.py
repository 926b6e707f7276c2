"""A trained progressive-warping network made fast: norms folded, layouts and weights prepared, or compiled.

`prepare_` costs a second and gives what a CPU can do in float32. `CompiledDecoder` costs half a minute at its
first frame; in float32 it gains nothing over `prepare_` on a CPU, in bfloat16 it takes about half the time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.nets.folding import fold_norms_
from ..geom.nets.packing import pack_convolutions_
from .progressive import ProgressiveFeatures, ProgressiveOutput, ProgressiveWarping


def prepare_(network: ProgressiveWarping, *, pack: bool = True) -> ProgressiveWarping:
    """Make a network ready to animate, in place: it cannot be trained or saved afterwards.

    Args:
        network: with its trained weights, on its device.
        pack: keep weights in the CPU's own blocks where torch can (`geom.nets.packing`). False for a network
            that is to be compiled.

    Returns:
        The same network, in evaluation mode, without gradients, channels last.
    """
    fold_norms_(network).requires_grad_(False)
    if pack:
        pack_convolutions_(network)
    lay_channels_last_(network)  # what is not packed
    return network


def lay_channels_last_(network: nn.Module) -> None:
    """Weights of convolutions in the layout that convolutions compute with, in place, one after the other."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def bfloat16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    operations: Any = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and bool(operations._is_mkldnn_bf16_supported())


class CompiledDecoder:
    """`ProgressiveWarping.decode` through ``torch.compile``, its weights frozen into the program.

    The first call for every new shape compiles, for about half a minute: `warm` does that beforehand.

    Args:
        network: of `prepare_` with ``pack=False``; its weights must not change any more.
        bfloat16: convolutions in bfloat16; displacements, warps and the guidance pyramid stay in float32.

    Raises:
        HeadwarpError: the network holds packed weights, or is in training.

    Example:
        >>> from headwarp.warping.progressive import tiny
        >>> network = prepare_(ProgressiveWarping(tiny()), pack=False)
        >>> decoder = CompiledDecoder(network).warm((256, 256))  # doctest: +SKIP
    """

    def __init__(self, network: ProgressiveWarping, *, bfloat16: bool = False) -> None:
        if network.training or any(parameter.requires_grad for parameter in network.parameters()):
            raise HeadwarpError("network: expected one made ready for inference; call prepare_ first")
        if not any(True for _ in network.parameters()):
            raise HeadwarpError(
                "network: expected plain weights, got packed ones; prepare_ it with pack=False"
            )
        self.network, self.bfloat16 = network, bfloat16
        self._decode = torch.compile(network.decode, dynamic=False)

    def __call__(
        self,
        features: ProgressiveFeatures,
        guidance: Float[Tensor, "#B G H W"],
        flow: Float[Tensor, "#B 2 H W"] | None = None,
    ) -> ProgressiveOutput:
        """As `ProgressiveWarping.decode`, without gradients."""
        with self._context(guidance.device.type):
            return self._decode(features, guidance, flow)

    def warm(self, size: tuple[int, int], *, batch: int = 1) -> CompiledDecoder:
        """Compile for frames of a size (H, W) and so many frames a call; returns itself."""
        config = self.network.config
        like = next(self.network.parameters())
        source = like.new_zeros(1, config.source_channels, *size)
        guidance = like.new_zeros(batch, config.guidance_channels, *size)
        with torch.no_grad():
            features = self.network.encode(source.contiguous(memory_format=torch.channels_last))
        flow = None if config.guidance == "codes" else like.new_zeros(batch, 2, *size)
        for _ in range(2):  # the first frames may compile once more
            self(features, guidance, flow)
        return self

    @contextlib.contextmanager
    def _context(self, device: str) -> Iterator[None]:
        """No gradients, the weights frozen while it compiles, bfloat16 if asked for."""
        from torch._inductor import config as inductor

        half = torch.autocast(device, dtype=torch.bfloat16, enabled=self.bfloat16)
        with torch.no_grad(), inductor.patch(freezing=True), half:
            yield
