"""A trained network made fast: norms folded, layouts and weights prepared, or compiled.

`prepare_` costs a second and gives what a CPU can do in float32. `Compiled` and what is made of it cost half
a minute at their first frame; on a CPU they gain little over `prepare_` in float32, in bfloat16 they take
about half the time. What is here is for every network; progressive warping's own decoders are here too, those
of keypoint networks in `keypoint_inference`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.nets.folding import fold_norms_
from ..geom.nets.packing import pack_convolutions_
from .posed_layers import PosedLayers
from .progressive import ProgressiveFeatures, ProgressiveOutput, ProgressiveWarping
from .residual import ResidualOutput, ResidualWarping

Network = ProgressiveWarping | ResidualWarping
Made = TypeVar("Made")
Prepared = TypeVar("Prepared", bound=nn.Module)
_LOG = logging.getLogger("headwarp")


def prepare_(network: Prepared, *, pack: bool = True) -> Prepared:
    """Make a network of `geom.nets` ready to animate, in place: it cannot be trained or saved afterwards.

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


@dataclass(frozen=True)
class InferenceConfig:
    """How an animator computes once it is trained.

    Attributes:
        compile: its decoder through ``torch.compile``, for every size of frame at the first one.
        bfloat16: convolutions in bfloat16, where the device has it; only together with ``compile``.
    """

    compile: bool = False
    bfloat16: bool = False


def prepare_animator_(animator: Made, config: InferenceConfig | None = None) -> Made:
    """Make an animator ready to animate and for nothing else, in place, on the device where it is.

    Networks are prepared by `prepare_`: pictures are the same, in less time (progressive ones in half of it
    on a CPU), and the weights lie in memory once. Afterwards the animator cannot be saved, trained or moved;
    load its checkpoint again for that. An animator without a network stays as it is.

    Args:
        animator: of `load_animator`, moved to its device.
        config: how; the default compiles nothing.

    Returns:
        The same animator.

    Raises:
        HeadwarpError: nothing in it can be compiled, bfloat16 without ``compile``, or a device that does not
            compute in bfloat16.

    Example:
        >>> from headwarp import load_animator
        >>> animator = prepare_animator_(load_animator("pwm"))
    """
    config = config or InferenceConfig()
    prepare = getattr(animator, "prepare_", None)
    if prepare is not None:
        prepare(config)
    elif config.compile or config.bfloat16:
        raise HeadwarpError(
            f"compile: expected an animator with a network, such as pwm, got {type(animator).__name__}"
        )
    return animator


def preparable(animator: object) -> bool:
    """Whether an animator has a network that `prepare_animator_` can compile."""
    return hasattr(animator, "prepare_")


def prepare_network_(network: Network, config: InferenceConfig) -> CompiledDecoder | CompiledResidual | None:
    """A network of `PwmNetwork` made ready in place, see `prepare_animator_`.

    Args:
        network: changed in place.
        config: how it is prepared.

    Returns:
        What decodes in its place; None: itself.
    """
    check_inference(config, network)
    if isinstance(network, ResidualWarping):
        network.eval().requires_grad_(False)
        return CompiledResidual(network, bfloat16=config.bfloat16) if config.compile else None
    prepare_(network, pack=not config.compile)
    return CompiledDecoder(network, bfloat16=config.bfloat16) if config.compile else None


def check_inference(config: InferenceConfig, network: nn.Module) -> None:
    """Refuse what a network's device cannot do; before it is prepared.

    Raises:
        HeadwarpError: bfloat16 without ``compile``, or on a device that does not compute in it.
    """
    if not config.bfloat16:
        return
    device = next(network.parameters()).device
    if not config.compile:
        raise HeadwarpError(
            "bfloat16: expected compile with it; alone, weights are converted anew for every frame"
        )
    has = torch.cuda.is_bf16_supported() if device.type == "cuda" else bfloat16_pays()
    if not has:
        raise HeadwarpError(
            f"bfloat16: this {device.type} has no instructions for it (a CPU needs avx512_bf16 or amx), and "
            "would be slower than in float32; leave it out"
        )


class Compiled:
    """A function of a network through ``torch.compile``, its weights frozen into the program.

    The first call for every new shape compiles, for about half a minute, and says so in the log.

    Args:
        network: of `prepare_` with ``pack=False``; its weights must not change any more.
        function: a method of it.
        bfloat16: convolutions in bfloat16; what the network keeps in float32 stays there.
        frozen: weights become constants of the program, laid out beforehand; False is for comparisons.

    Raises:
        HeadwarpError: the network holds packed weights, or is in training.
    """

    def __init__(
        self, network: nn.Module, function: Callable[..., Any], *, bfloat16: bool, frozen: bool = True
    ) -> None:
        if network.training or any(parameter.requires_grad for parameter in network.parameters()):
            raise HeadwarpError("network: expected one made ready for inference; call prepare_ first")
        if not any(True for _ in network.parameters()):
            raise HeadwarpError(
                "network: expected plain weights, got packed ones; prepare_ it with pack=False"
            )
        self.bfloat16, self.frozen = bfloat16, frozen
        self.function: Any = torch.compile(function, dynamic=False)
        self._sizes: set[tuple[int, ...]] = set()

    @contextlib.contextmanager
    def context(self, like: Tensor) -> Iterator[None]:
        """For calls with frames like this one: no gradients, the weights frozen while it compiles unless that
        is unwanted, bfloat16 where it was asked for.
        """
        from torch._inductor import config as inductor

        batch, _, height, width = like.shape
        if (batch, height, width) not in self._sizes:
            self._sizes.add((batch, height, width))
            _LOG.warning(
                "compiling for %d frame(s) of %d x %d: the first one takes a minute or so",
                *(batch, width, height),
            )
        half = torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)
        with torch.no_grad(), inductor.patch(freezing=self.frozen), half:
            yield


class CompiledDecoder(Compiled):
    """`ProgressiveWarping.decode` through ``torch.compile``, its weights frozen into the program.

    The first call for every new shape compiles, for about half a minute, and says so in the log: `warm` does
    that beforehand. After eight shapes the last ones run as they are written.

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
        super().__init__(network, network.decode, bfloat16=bfloat16)
        self.network = network

    def __call__(
        self,
        features: ProgressiveFeatures,
        guidance: Float[Tensor, "#B G H W"],
        flow: Float[Tensor, "#B 2 H W"] | None = None,
    ) -> ProgressiveOutput:
        """As `ProgressiveWarping.decode`, without gradients."""
        with self.context(guidance):
            return self.function(features, guidance, flow)

    def warm(self, size: tuple[int, int], *, batch: int = 1) -> CompiledDecoder:
        """Compile for frames of a size (H, W) and so many frames a call; returns itself.

        Args:
            size: (H, W) of the frames.
            batch: frames a call.
        """
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


class CompiledResidual(Compiled):
    """`ResidualWarping.decode` through ``torch.compile``, as `CompiledDecoder`.

    Args:
        network: in evaluation mode, without gradients; its weights must not change any more.
        bfloat16: convolutions in bfloat16; the heads of flow, matte and paint stay in float32.
    """

    def __init__(self, network: ResidualWarping, *, bfloat16: bool = False) -> None:
        super().__init__(network, network.decode, bfloat16=bfloat16)

    def __call__(
        self,
        features: tuple[Tensor, ...],
        layers: PosedLayers,
        codes: Float[Tensor, "B C H W"] | None = None,
    ) -> ResidualOutput:
        """As `ResidualWarping.decode`, without gradients."""
        with self.context(layers.flow):
            return self.function(features, layers, codes)
