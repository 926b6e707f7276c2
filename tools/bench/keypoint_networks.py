"""Keypoint networks: a driving frame from picture to picture, the source encoded before.

Weights are drawn by chance: times do not hang on them. Sizes are those of the public code, whose demos' times
stand in docs/benchmarks.md; like those, a frame is detector, dense motion and generator, and with [DaGAN] the
driver's depth. Every network is made when its case runs and is gone with the next one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .landmark_networks import landmark_network_cases
from .networks import lazy

if TYPE_CHECKING:
    from ...warping.inference import InferenceConfig
    from ...warping.keypoint_network import KeypointNetwork, KeypointNetworkConfig, KeypointOutput
    from .suites import Case

_SIZE = 256


def keypoint_network_cases() -> list[Case]:
    """FOMM and DaGAN ready to animate, beside themselves as trained, the source encoded for every frame as in
    the public demos; compiled, beside the prepared ones. Sparse-to-Dense, which landmarks drive, comes last.
    """
    from ...warping.inference import InferenceConfig, bfloat16_pays
    from ...warping.keypoint_network import dagan, fomm
    from .suites import Case

    cases = []
    for name, config in (("fomm", fomm()), ("dagan", dagan())):
        prepared = lazy(functools.partial(_frame, config, InferenceConfig()))
        trained = ("as trained, source encoded again", lazy(functools.partial(_as_trained, config)))
        cases.append(Case(f"keypoints/{name}", _SIZE, 1, prepared, trained))
        for half in (False, True)[: 1 + bfloat16_pays()]:
            chosen = InferenceConfig(compile=True, bfloat16=half)
            compiled = lazy(functools.partial(_frame, config, chosen))
            label = f"keypoints/{name}_compiled" + "_bf16" * half
            cases.append(Case(label, _SIZE, 1, compiled, ("prepared", prepared)))
    return [*cases, *landmark_network_cases()]


def _network(config: KeypointNetworkConfig) -> KeypointNetwork:
    from ...warping.keypoint_network import KeypointNetwork

    torch.manual_seed(0)
    return KeypointNetwork(config).eval().requires_grad_(False)


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    source, driving = torch.rand(2, 1, 3, _SIZE, _SIZE, generator=random).unbind(0)
    return source, driving


def _frame(config: KeypointNetworkConfig, inference: InferenceConfig) -> Callable[[], KeypointOutput]:
    from ...warping.keypoint_inference import prepare_keypoints_

    network, (source, driving) = _network(config), _pair()
    compiled = prepare_keypoints_(network, inference)
    runner = network if compiled is None else compiled.warm((_SIZE, _SIZE))
    with torch.no_grad():
        features = runner.encode(source)

    @torch.no_grad()
    def frame() -> KeypointOutput:
        return runner.decode(features, runner.detect(driving))

    return frame


def _as_trained(config: KeypointNetworkConfig) -> Callable[[], KeypointOutput]:
    network, (source, driving) = _network(config), _pair()

    @torch.no_grad()
    def frame() -> KeypointOutput:
        return network(source, driving)

    return frame
