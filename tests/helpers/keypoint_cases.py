"""Small checkpoints of the public keypoint animators, and pictures to compare networks on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from dagan_file import (
    KEYPOINTS,
    dagan_detector_shapes,
    dagan_discriminator_shapes,
    depth_aware_shapes,
    spade_shapes,
)
from depth_file import decoder_shapes, encoder_channels, pose_shapes, resnet_shapes
from fomm_file import detector_shapes, discriminator_shapes, drawn, generator_shapes, motion_shapes
from torch import Tensor

HOURGLASS = {"width": 4, "cap": 24}
"""Sizes of small hourglasses, which reach their limit."""


def fomm_checkpoint(
    *, adversarial: bool = False, count: int = 10, maps: int | None = None, width: int = 4
) -> dict[str, object]:
    """As `vox-cpk` or `vox-adv-cpk`, a sixteenth as wide."""
    hourglass = {"width": width, "cap": 6 * width}
    detector = detector_shapes(**hourglass, count=count, maps=count if maps is None else maps)
    motion = motion_shapes(**hourglass, count=count)
    heatmaps = count if adversarial else 0
    return {
        "generator": drawn(
            generator_shapes(width=2 * width, cap=6 * width, bottleneck=2, motion=motion), seed=1
        ),
        "discriminator": drawn(
            discriminator_shapes(width=2, heatmaps=heatmaps, spectral=not adversarial), seed=2
        ),
        "kp_detector": drawn(detector, seed=3),
        "optimizer_generator": {"state": {0: {"step": 700, "exp_avg": torch.zeros(2)}}, "param_groups": []},
        "optimizer_discriminator": {"state": {}, "param_groups": []},
        "optimizer_kp_detector": {"state": {}, "param_groups": []},
        "epoch": 99,
    }


def dagan_checkpoint(*, spade: bool = False, channels: int = 4) -> dict[str, object]:
    """With either generator; names as data parallelism writes them."""
    motion = motion_shapes(**HOURGLASS, count=KEYPOINTS)
    generator = (
        spade_shapes(width=8, hidden=16, motion=motion)
        if spade
        else depth_aware_shapes(width=8, bottleneck=2, motion=motion)
    )
    parts = {
        "generator": drawn(generator, seed=1),
        "kp_detector": drawn(dagan_detector_shapes(**HOURGLASS, channels=channels), seed=3),
        "discriminator": drawn(dagan_discriminator_shapes(width=2), seed=2),
    }
    parallel = {
        part: {f"module.{key}": value for key, value in weights.items()} for part, weights in parts.items()
    }
    return {**parallel, "epoch": 9}


def depth_files(layers: int = 18) -> tuple[dict[str, object], dict[str, Tensor]]:
    """``encoder.pth`` and ``depth.pth``, an eighth as wide."""
    encoder = resnet_shapes(layers, width=8, classes=3)
    decoder = decoder_shapes(encoder_channels(layers, width=8), (2, 4, 8, 16, 32))
    sizes = {"height": 256, "width": 192, "use_stereo": False}
    return {**drawn(encoder, seed=5), **sizes}, drawn(decoder, seed=6)


def pose_files() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """``pose_encoder.pth`` and ``pose.pth``, an eighth as wide."""
    encoder = resnet_shapes(width=8, channels=6, classes=0)
    return drawn(encoder, seed=7), drawn(pose_shapes(64, 32), seed=8)


def smooth_pictures(count: int, size: tuple[int, int] = (128, 128)) -> Tensor:
    """Of few, large spots, so that a warp's rounding stays small."""
    torch.manual_seed(11)
    spots = torch.rand(count, 3, 6, 6)
    return F.interpolate(spots, size, mode="bicubic", align_corners=False).clamp(0, 1)
