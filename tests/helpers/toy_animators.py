"""Every registered animator, ready to use in tests: those that need weights as small untrained networks."""

from __future__ import annotations

from dataclasses import replace

import torch

from headwarp.geom.keypoints import KeypointConfig
from headwarp.geom.nets.hourglass import HourglassConfig
from headwarp.warping.animators import Animator, animator_names, frame_multiple, load_animator, registration
from headwarp.warping.keypoint_network import KeypointNetworkConfig, fomm, tiny, with_attention

LEARNED = tuple(n for n in animator_names() if getattr(registration(n).build, "needs_weights", False))
"""Animators that show nothing before they have learned."""
NETWORKS = {"dagan": lambda: with_attention(fomm(), "self"), "fomm": fomm}
"""DaGAN's without depth, whose network takes multiples of 32 pixels alone."""


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
    return load_animator(name, config=shallow(NETWORKS[name]()))


__all__ = ["LEARNED", "NETWORKS", "KeypointConfig", "frame_multiple", "loaded", "shallow"]
