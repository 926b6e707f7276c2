"""Networks of progressive warping: a frame of the prepared and the compiled one, and a step of training.

Weights are drawn by chance: times do not hang on them. The size is that of the public code, whose own figures
stand in docs/benchmarks.md. Every network is made when its case runs and is gone with the next one, so that
memory never holds two.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._memory import peak_memory_mb

if TYPE_CHECKING:
    from ...training.data.pairs.batch import PairBatch
    from ...warping.progressive import ProgressiveConfig, ProgressiveOutput, ProgressiveWarping
    from ...warping.residual import ResidualOutput
    from .suites import Case

_SIZE = 256
_TRAINED = 2
"""Pictures in a step of training."""


@dataclass(frozen=True)
class Inputs:
    """Source, guidance and flow of one frame or a batch."""

    source: Tensor
    guidance: Tensor
    flow: Tensor


def network_cases() -> list[Case]:
    """The public code's network ready to animate, beside itself as it is trained, which encodes the source
    for every frame as the public demo does; compiled, beside the prepared one; the small one; the guidance
    pyramid beside dense blurs; a step of training with the public code's losses.
    """
    from ...geom.pyramid import guidance_pyramid, guidance_pyramid_ref
    from ...warping.inference import bfloat16_pays
    from ...warping.progressive import official, tiny
    from .suites import Case

    guidance, strides = _inputs(official("both")).guidance, official().strides[1:]
    prepared = lazy(lambda: _prepared(official("both")))
    cases = [
        Case(
            "networks/pyramid",
            _SIZE,
            1,
            lambda: guidance_pyramid(guidance, strides),
            ("dense blurs", lambda: guidance_pyramid_ref(guidance, strides)),
        ),
        Case(
            "networks/pwm_residual_tiny",
            _SIZE,
            1,
            lazy(_residual),
            ("geometry's own picture of the same layers", lazy(_composed)),
        ),
        Case("networks/pwm_tiny", _SIZE, 1, lazy(lambda: _prepared(tiny("both")))),
        Case(
            "networks/pwm_official",
            _SIZE,
            1,
            prepared,
            ("as trained, source encoded again", lazy(lambda: _as_trained(official("both")))),
            _peak_memory,
        ),
    ]
    for half in (False, True)[: 1 + bfloat16_pays()]:
        name = "networks/pwm_official_compiled" + "_bf16" * half
        compiled = lazy(functools.partial(_compiled, official("both"), bfloat16=half))
        cases.append(Case(name, _SIZE, 1, compiled, ("prepared", prepared)))
    step = lazy(lambda: _training_step(official("both")))
    cases.append(Case("networks/pwm_official_step", _SIZE, _TRAINED, step))
    return cases


_Run = Callable[[], object]


@functools.lru_cache(maxsize=1)
def _made(make: Callable[[], _Run]) -> _Run:
    return make()


def lazy(make: Callable[[], _Run]) -> _Run:
    """What is made when it is called first, and again if another one was in between."""
    return lambda: _made(make)()


def _inputs(config: ProgressiveConfig, batch: int = 1) -> Inputs:
    random = torch.Generator().manual_seed(0)

    def draw(channels: int) -> Tensor:
        return torch.rand(batch, channels, _SIZE, _SIZE, generator=random)

    source = draw(config.source_channels).contiguous(memory_format=torch.channels_last)
    return Inputs(source, draw(config.guidance_channels), 10 * draw(2))


def _network(config: ProgressiveConfig) -> ProgressiveWarping:
    from ...warping.progressive import ProgressiveWarping

    torch.manual_seed(0)
    return ProgressiveWarping(config).eval()


def _prepared(config: ProgressiveConfig) -> _Run:
    from ...warping.inference import prepare_

    network, inputs = prepare_(_network(config)), _inputs(config)
    with torch.inference_mode():
        features = network.encode(inputs.source)

    @torch.inference_mode()
    def frame() -> ProgressiveOutput:
        return network.decode(features, inputs.guidance, inputs.flow)

    return frame


def _as_trained(config: ProgressiveConfig) -> _Run:
    network, inputs = _network(config), _inputs(config)

    @torch.inference_mode()
    def frame() -> ProgressiveOutput:
        return network(inputs.source, inputs.guidance, inputs.flow)

    return frame


def _blank() -> PairBatch:
    from ...flame.io import load_head
    from ...training.data.pairs.blank import blank_pair

    return blank_pair(load_head("builtin"), _SIZE)


def _residual() -> _Run:
    """A driving frame of ``pwm/residual`` tiny: layers in, picture out."""
    from ...warping.inference import lay_channels_last_
    from ...warping.residual import ResidualConfig, ResidualWarping

    torch.manual_seed(0)
    network, pair = ResidualWarping(ResidualConfig()).eval(), _blank()
    lay_channels_last_(network)
    with torch.no_grad():
        features = network.encode(pair.source, pair.layers.matte)

    @torch.no_grad()
    def frame() -> ResidualOutput:
        return network.decode(features, pair.layers)

    return frame


def _composed() -> _Run:
    from ...warping.posed_layers import compose

    pair = _blank()
    return lambda: compose(pair.layers)


def _compiled(config: ProgressiveConfig, *, bfloat16: bool) -> _Run:
    from ...warping.inference import CompiledDecoder, prepare_

    network, inputs = prepare_(_network(config), pack=False), _inputs(config)
    decoder = CompiledDecoder(network, bfloat16=bfloat16).warm((_SIZE, _SIZE))
    with torch.no_grad():
        features = network.encode(inputs.source)
    return lambda: decoder(features, inputs.guidance, inputs.flow)


def _training_step(config: ProgressiveConfig) -> _Run:
    """The generator's turn with the public code's losses: forward, backward, no step of the optimiser."""
    from ...geom.nets.vgg import Vgg19
    from ...training import discriminators
    from ...training.losses import adversarial, matching, perceptual
    from ...training.losses.pixel import pixel_l1
    from ...training.losses.warped import warped_levels
    from ...warping.inference import lay_channels_last_

    network, vgg = _network(config).train(), Vgg19().requires_grad_(False)
    judge = discriminators.Discriminator(discriminators.OFFICIAL)
    for module in (network, vgg, judge):
        lay_channels_last_(module)
    inputs, target = _inputs(config, _TRAINED), torch.rand(_TRAINED, 3, _SIZE, _SIZE)
    likeness = perceptual.OFFICIAL

    def features(image: Tensor) -> tuple[Tensor, ...]:
        return vgg.taps(image, likeness.taps)

    def step() -> Tensor:
        made = network(inputs.source, inputs.guidance, inputs.flow)
        levels = warped_levels(inputs.source[:, :3], target, made.flows)
        images, targets = [level.image for level in levels], [level.target for level in levels]
        loss = perceptual.perceptual_loss(made.image, target, features, likeness)
        loss = loss + perceptual.perceptual_levels(images, targets, features, likeness)
        with torch.no_grad():
            real = judge(target)
        for image in (made.image, made.warped):
            fake = judge(image)
            loss = loss + 10 * pixel_l1(image, target)
            loss = loss + adversarial.generator_loss(fake.logits, adversarial.OFFICIAL)
            loss = loss + matching.feature_matching(real.features, fake.features, matching.OFFICIAL)
        network.zero_grad()
        loss.backward()
        return loss.detach()

    return step


def _peak_memory() -> Mapping[str, float]:
    """Of a process that makes the network, makes it ready and animates with it, and of one that reads it from
    its checkpoint; 10^6 bytes.
    """
    threads = torch.get_num_threads()
    peak = _in_a_process(_animate_alone, threads)
    if peak is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = _in_a_process(_save_alone, folder)
        loaded = _in_a_process(_animate_loaded, checkpoint, threads)
    return {"peak_memory_mb": peak, "peak_memory_loaded_mb": loaded}


def _in_a_process(call: Callable[..., Any], *given: object) -> Any:
    """What a function returns in a process that did nothing before."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, given)


def _animate_alone(threads: int) -> float | None:
    from ...warping.progressive import official

    torch.set_num_threads(threads)
    frame = _prepared(official("both"))
    for _ in range(3):
        frame()
    return peak_memory_mb()


def _save_alone(folder: str) -> str:
    from ...warping.animators.pwm import PwmAnimator
    from ...warping.checkpoints import save_checkpoint
    from ...warping.progressive import official
    from ...warping.pwm import PwmConfig

    config = PwmConfig(network=official())
    return str(save_checkpoint(f"{folder}/pwm.safetensors", PwmAnimator(config), config=config, name="pwm"))


def _animate_loaded(checkpoint: str, threads: int) -> float | None:
    from ...warping.animators import load_animator
    from ...warping.inference import prepare_animator_

    torch.set_num_threads(threads)
    animator: Any = prepare_animator_(load_animator("pwm", checkpoint))
    network = animator.network.network
    inputs = _inputs(network.config)
    with torch.inference_mode():
        features = network.encode(inputs.source)
        for _ in range(3):
            network.decode(features, inputs.guidance, inputs.flow)
    return peak_memory_mb()
