"""What the public code of [FOMM] computes from state dicts, restated step by step with plain functions.

Everything as that code does it: batch norms in evaluation, grids whose corners are pixel centres, spectral
norms from the stored vectors. ``corners`` is ``align_corners`` of every ``grid_sample``: the code leaves it
to the default, which was True when its checkpoints were trained and is False since. Coordinates are x and y.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Points:
    """Keypoints ``(B, K, 2)``, their Jacobians ``(B, K, 2, 2)``, and the heat maps they are means of."""

    value: Tensor
    jacobian: Tensor | None
    heatmap: Tensor


@dataclass(frozen=True)
class Motion:
    """Dense motion: a grid ``(B, h, w, 2)``, masks, occlusion, grids and pictures of every keypoint."""

    grid: Tensor
    mask: Tensor
    occlusion: Tensor
    sparse: Tensor
    deformed: Tensor


@dataclass(frozen=True)
class Picture:
    """What a generator makes: its picture, the warped source in full size, and the motion."""

    image: Tensor
    deformed: Tensor
    motion: Motion


def detect(weights: Weights, picture: Tensor) -> Points:
    """Keypoints of a picture by a detector's state dict."""
    features = hourglass(weights, "predictor", reduced(weights["down.weight"], picture))
    heat = torch.softmax(conv(weights, "kp", features, 0).flatten(2) / 0.1, dim=2)
    batch, count = heat.shape[:2]
    height, width = (side - 6 for side in features.shape[2:])
    grid = corner_grid(height, width).to(heat).flatten(0, 1)
    value = torch.einsum("bkn,nd->bkd", heat, grid)
    jacobian = None
    if "jacobian.weight" in weights:
        maps = conv(weights, "jacobian", features, 0)
        maps = maps.reshape(batch, -1, 4, height * width).expand(-1, count, -1, -1)
        jacobian = torch.einsum("bkn,bkjn->bkj", heat, maps).reshape(batch, count, 2, 2)
    return Points(value, jacobian, heat.reshape(batch, count, height, width))


def dense_motion(
    weights: Weights, source: Tensor, of_source: Points, of_driving: Points, *, corners: bool
) -> Motion:
    """From a generator's state dict."""
    name = "dense_motion_network"
    small = reduced(weights[f"{name}.down.weight"], source)
    batch, channels, height, width = small.shape
    grid = corner_grid(height, width).to(small)
    offset = grid[None, None] - of_driving.value[:, :, None, None]
    if of_driving.jacobian is not None:
        turn = of_source.jacobian @ torch.inverse(of_driving.jacobian)
        offset = torch.einsum("bkij,bkhwj->bkhwi", turn, offset)
    moved = offset + of_source.value[:, :, None, None]
    sparse = torch.cat([grid.expand(batch, 1, -1, -1, -1), moved], 1)
    count = sparse.shape[1]
    copies = small[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)
    deformed = sampled(copies, sparse.flatten(0, 1), corners).reshape(batch, count, channels, height, width)
    heat = gaussians(of_driving.value, height, width) - gaussians(of_source.value, height, width)
    heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], 1)[:, :, None]
    features = hourglass(weights, f"{name}.hourglass", torch.cat([heat, deformed], 2).flatten(1, 2))
    mask = torch.softmax(conv(weights, f"{name}.mask", features), 1)
    occlusion = torch.sigmoid(conv(weights, f"{name}.occlusion", features))
    return Motion(torch.einsum("bkhw,bkhwd->bhwd", mask, sparse), mask, occlusion, sparse, deformed)


def generate(
    weights: Weights, source: Tensor, of_source: Points, of_driving: Points, *, corners: bool
) -> Picture:
    """A generator's forward pass."""
    motion = dense_motion(weights, source, of_source, of_driving, corners=corners)
    features = moved_features(encode(weights, source), motion, corners)
    return Picture(johnson(weights, features), deform(source, motion.grid, corners), motion)


def discriminate(weights: Weights, picture: Tensor, points: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """Features of every block and the logits, by a discriminator's state dict."""
    if points is not None:
        picture = torch.cat([picture, gaussians(points, *picture.shape[2:])], 1)
    names = sorted({key.rpartition(".conv")[0] for key in weights if "down_blocks" in key and ".conv" in key})
    features, out = [], picture
    for number, name in enumerate(names):
        out = conv(weights, f"{name}.conv", out, 0)
        if f"{name}.norm.weight" in weights:
            out = scaled(weights, f"{name}.norm", instance_norm(out))
        out = torch.where(out > 0, out, 0.2 * out)
        out = out if number == len(names) - 1 else F.avg_pool2d(out, 2)
        features.append(out)
    return features, conv(weights, "discs.1.conv", out, 0)


def encode(weights: Weights, picture: Tensor, prefix: str = "") -> Tensor:
    """A generator's features; DaGAN's of the depth have the prefix ``src_``."""
    out = block(weights, f"{prefix}first", picture)
    for level in range(count_of(weights, f"{prefix}down_blocks")):
        out = F.avg_pool2d(block(weights, f"{prefix}down_blocks.{level}", out), 2)
    return out


def moved_features(features: Tensor, motion: Motion, corners: bool) -> Tensor:
    """Warped, and faded where the source does not show it."""
    return deform(features, motion.grid, corners) * resized(motion.occlusion, features.shape[2:])


def johnson(weights: Weights, out: Tensor) -> Tensor:
    """Residual blocks, blocks that double, and the picture."""
    for number in range(count_of(weights, "bottleneck")):
        name = f"bottleneck.r{number}"
        inner = conv(weights, f"{name}.conv1", torch.relu(batch_norm(weights, f"{name}.norm1", out)))
        inner = conv(weights, f"{name}.conv2", torch.relu(batch_norm(weights, f"{name}.norm2", inner)))
        out = out + inner
    for level in range(count_of(weights, "up_blocks")):
        out = block(weights, f"up_blocks.{level}", doubled(out))
    return torch.sigmoid(conv(weights, "final", out))


def hourglass(weights: Weights, name: str, picture: Tensor) -> Tensor:
    levels = count_of(weights, f"{name}.encoder.down_blocks")
    kept = [picture]
    for level in range(levels):
        kept.append(F.avg_pool2d(block(weights, f"{name}.encoder.down_blocks.{level}", kept[-1]), 2))
    out = kept[-1]
    for level in range(levels):
        out = block(weights, f"{name}.decoder.up_blocks.{level}", doubled(out))
        out = torch.cat([out, kept[levels - 1 - level]], 1)
    return out


def block(weights: Weights, name: str, picture: Tensor) -> Tensor:
    return torch.relu(batch_norm(weights, f"{name}.norm", conv(weights, f"{name}.conv", picture)))


def conv(weights: Weights, name: str, picture: Tensor, padding: int | None = None) -> Tensor:
    """With zeros around that keep the size, if not told otherwise."""
    weight = weights.get(f"{name}.weight")
    if weight is None:
        weight = weights[f"{name}.weight_orig"]
        matrix = weight.reshape(len(weight), -1)
        weight = weight / (weights[f"{name}.weight_u"] @ matrix @ weights[f"{name}.weight_v"])
    padding = weight.shape[-1] // 2 if padding is None else padding
    return F.conv2d(picture, weight, weights.get(f"{name}.bias"), padding=padding)


def batch_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return scaled(weights, name, (x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + 1e-5))


def scaled(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def instance_norm(x: Tensor) -> Tensor:
    centred = x - x.mean((2, 3), keepdim=True)
    return centred / torch.sqrt((centred**2).mean((2, 3), keepdim=True) + 1e-5)


def corner_grid(height: int, width: int) -> Tensor:
    """x and y of every pixel, -1 and 1 at the centres of the outermost."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], -1)


def gaussians(points: Tensor, height: int, width: int) -> Tensor:
    """A heat map for every keypoint, of variance 0.01."""
    squares = (corner_grid(height, width).to(points) - points[:, :, None, None]) ** 2
    return torch.exp(squares.sum(-1) / -0.02)


def reduced(kernel: Tensor, picture: Tensor) -> Tensor:
    """Blurred by the stored kernel, then every fourth pixel."""
    blurred = F.conv2d(picture, kernel, padding=kernel.shape[-1] // 2, groups=len(kernel))
    return blurred[:, :, ::4, ::4]


def deform(picture: Tensor, grid: Tensor, corners: bool) -> Tensor:
    """Sampled by a grid that is first brought to the picture's size."""
    return sampled(picture, resized(grid.permute(0, 3, 1, 2), picture.shape[2:]).permute(0, 2, 3, 1), corners)


def sampled(picture: Tensor, grid: Tensor, corners: bool) -> Tensor:
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=corners)


def resized(picture: Tensor, size: torch.Size) -> Tensor:
    if picture.shape[2:] == size:
        return picture
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False)


def doubled(picture: Tensor) -> Tensor:
    return picture.repeat_interleave(2, 2).repeat_interleave(2, 3)


def count_of(weights: Weights, name: str) -> int:
    """How many parts a list of modules has."""
    return len({key[len(name) + 1 :].split(".")[0] for key in weights if key.startswith(f"{name}.")})
