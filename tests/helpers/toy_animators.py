"""Every registered animator, ready to use in tests: those that need weights as small untrained networks."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from headwarp.geom.keypoints import KeypointConfig
from headwarp.geom.nets.hourglass import HourglassConfig
from headwarp.geom.nets.mobilenet import MobileNetConfig
from headwarp.geom.nets.resnext import ResNextConfig
from headwarp.warping.animators import Animator, animator_names, frame_multiple, load_animator, registration
from headwarp.warping.generators import GeneratorConfig
from headwarp.warping.heser_aligner import HeserAlignerConfig
from headwarp.warping.heser_generator import GeneratorSize
from headwarp.warping.keypoint_network import KeypointNetworkConfig, fomm, tiny, with_attention
from headwarp.warping.sparse2dense import Sparse2DenseConfig
from headwarp.warping.sparse2dense_motion import MotionNetworkConfig

Network = TypeVar("Network", bound=nn.Module)
LEARNED = tuple(n for n in animator_names() if getattr(registration(n).build, "needs_weights", False))
"""Animators that show nothing before they have learned."""
NETWORKS = {"dagan": lambda: with_attention(fomm(), "self"), "fomm": fomm}
"""DaGAN's without depth, whose network takes multiples of 32 pixels alone."""


SPARSE = Sparse2DenseConfig(
    whole=MotionNetworkConfig((4, 8, 8), (8, 8, 4), 2, 8),
    part=MotionNetworkConfig((4, 8), (8, 4), 1, 8),
    patch=8,
    generator=GeneratorConfig(width=4, max_channels=16, bottleneck=1),
)
"""Few channels and blocks: 68 landmarks, any multiple of 8 pixels."""

ALIGNER = HeserAlignerConfig(
    portrait=ResNextConfig((1, 1, 1, 1), width=8, groups=2, group_width=32, outputs=12),
    identity="trained",
    identity_outputs=10,
    pose=MobileNetConfig(0.2, outputs=6, dropout=0.0),
    generator=GeneratorSize(32, channels=4, most_channels=8, blocks=1, hidden=16, gain="unit"),
)
"""HeSer's of 32 pixels with few channels; frames of any size."""


def shallow(config: KeypointNetworkConfig) -> KeypointNetworkConfig:
    """A keypoint network with few channels for any multiple of 8 pixels, ten keypoints."""
    config, glass = tiny(config), HourglassConfig(4, 1, 8)
    return replace(
        config,
        keypoints=replace(config.keypoints, hourglass=glass, count=10),
        motion=replace(config.motion, hourglass=glass, count=10),
        generator=replace(config.generator, bottleneck=1),
    )


def loaded(name: str) -> Animator:
    """As `load_animator`, but with a small untrained network, the same every time, where it needs weights."""
    if name not in LEARNED:
        return load_animator(name)
    torch.manual_seed(0)
    if name == "sparse2dense":
        return shaken(load_animator(name, config=SPARSE), by=0.03)
    if name == "heser":
        return shaken(load_animator(name, config=ALIGNER))
    return load_animator(name, config=shallow(NETWORKS[name]()))


def shaken(network: Network, *, by: float = 0.1) -> Network:
    """With every parameter off its start: heads and norms begin at 0, and would hide what stands before."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return network.eval()


__all__ = [
    "ALIGNER",
    "LEARNED",
    "NETWORKS",
    "SPARSE",
    "KeypointConfig",
    "frame_multiple",
    "loaded",
    "shaken",
    "shallow",
]
