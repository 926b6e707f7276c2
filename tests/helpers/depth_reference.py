"""What the public code of [DaGAN]'s face depth network computes from state dicts, restated step by step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fomm_reference import Weights, batch_norm, conv, count_of, doubled
from torch import Tensor


@dataclass(frozen=True)
class Pose:
    """Axis-angle and translation ``(B, 3)`` of each of two frames, ``(B, 2, 3)``; intrinsics of 256 px."""

    axis_angle: Tensor
    translation: Tensor
    focal: Tensor
    centre: Tensor


def encoder_levels(weights: Weights, picture: Tensor) -> list[Tensor]:
    """Five levels of features, finest first, by ``encoder.pth``."""
    out = strided(weights, "encoder.conv1", (picture - 0.45) / 0.225, 2)
    levels = [torch.relu(batch_norm(weights, "encoder.bn1", out))]
    out = F.max_pool2d(levels[0], 3, stride=2, padding=1)
    for stage in range(1, 5):
        for number in range(count_of(weights, f"encoder.layer{stage}")):
            out = residual(
                weights, f"encoder.layer{stage}.{number}", out, 2 if stage > 1 and not number else 1
            )
        levels.append(out)
    return levels


def residual(weights: Weights, name: str, picture: Tensor, stride: int) -> Tensor:
    """A block of two 3 x 3 convolutions, or of 1 x 1, 3 x 3, 1 x 1; the first 3 x 3 takes the step."""
    parts = 3 if f"{name}.conv3.weight" in weights else 2
    taking = 2 if parts == 3 else 1
    out = picture
    for part in range(1, parts + 1):
        out = strided(weights, f"{name}.conv{part}", out, stride if part == taking else 1)
        out = batch_norm(weights, f"{name}.bn{part}", out)
        out = torch.relu(out) if part < parts else out
    if f"{name}.downsample.0.weight" in weights:
        picture = strided(weights, f"{name}.downsample.0", picture, stride)
        picture = batch_norm(weights, f"{name}.downsample.1", picture)
    return torch.relu(out + picture)


def disparities(weights: Weights, levels: list[Tensor]) -> list[Tensor]:
    """Sigmoid disparities of four sizes, finest first, by ``depth.pth``."""
    out, found = levels[-1], {}
    for step, level in enumerate(reversed(range(5))):
        out = doubled(elu(reflected(weights, f"decoder.{2 * step}.conv.conv", out)))
        out = torch.cat([out, levels[level - 1]], 1) if level else out
        out = elu(reflected(weights, f"decoder.{2 * step + 1}.conv.conv", out))
        if level < 4:
            found[level] = torch.sigmoid(reflected(weights, f"decoder.{10 + level}.conv", out))
    return [found[level] for level in range(4)]


def pose(weights: Weights, features: Tensor) -> Pose:
    """From the last level of an encoder of two frames, by ``pose.pth``."""
    out = torch.relu(conv(weights, "net.0", features))
    out = torch.relu(conv(weights, "net.1", out))
    out = torch.relu(conv(weights, "net.2", out))
    moved = 0.01 * conv(weights, "net.3", out).mean((2, 3)).reshape(-1, 2, 6)
    focal = 256 * F.softplus(conv(weights, "net.4", out)).mean((2, 3))
    centre = 256 * (F.softplus(conv(weights, "net.5", out)).mean((2, 3)) + 0.5)
    return Pose(moved[..., :3], moved[..., 3:], focal, centre)


def strided(weights: Weights, name: str, picture: Tensor, stride: int) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.conv2d(picture, weight, stride=stride, padding=weight.shape[-1] // 2)


def reflected(weights: Weights, name: str, picture: Tensor) -> Tensor:
    """A 3 x 3 convolution of the picture continued as in a mirror."""
    return conv(weights, name, F.pad(picture, (1, 1, 1, 1), mode="reflect"), 0)


def elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.exp(x.clamp(max=0)) - 1)
