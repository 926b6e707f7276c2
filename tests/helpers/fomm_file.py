"""Checkpoints with the names and shapes of the public code of [FOMM], and values by chance.

Every function gives names and shapes of one state dict in the public code's order; its defaults are the
published sizes. ``channels`` of a convolution block are its inputs and outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]


def detector_shapes(
    *, width: int = 32, cap: int = 1024, blocks: int = 5, count: int = 10, channels: int = 3, maps: int = 10
) -> Shapes:
    """Of a keypoint detector; ``maps`` of Jacobians: as many as keypoints, 1 or none."""
    features = width + channels
    shapes = hourglass("predictor", channels, width, cap, blocks) | conv("kp", features, count, 7)
    if maps:
        shapes |= conv("jacobian", features, 4 * maps, 7)
    return shapes | {"down.weight": (channels, 1, 13, 13)}


def motion_shapes(
    *, width: int = 64, cap: int = 1024, blocks: int = 5, count: int = 10, channels: int = 3
) -> Shapes:
    """Of a dense motion network, under its name in the generator."""
    name, inputs = "dense_motion_network", (count + 1) * (channels + 1)
    shapes = hourglass(f"{name}.hourglass", inputs, width, cap, blocks)
    shapes |= conv(f"{name}.mask", width + inputs, count + 1, 7)
    shapes |= conv(f"{name}.occlusion", width + inputs, 1, 7)
    return shapes | {f"{name}.down.weight": (channels, 1, 13, 13)}


def generator_shapes(
    *,
    width: int = 64,
    cap: int = 512,
    downs: int = 2,
    bottleneck: int = 6,
    channels: int = 3,
    motion: Shapes | None = None,
) -> Shapes:
    """Of a generator with its dense motion network."""
    sizes = [min(cap, width << level) for level in range(downs + 1)]
    shapes = dict(motion_shapes() if motion is None else motion)
    shapes |= encoder_shapes("", channels, sizes)
    for level in range(downs):
        shapes |= block(f"up_blocks.{level}", sizes[downs - level], sizes[downs - level - 1])
    for number in range(bottleneck):
        name = f"bottleneck.r{number}"
        shapes |= conv(f"{name}.conv1", sizes[-1], sizes[-1], 3) | conv(
            f"{name}.conv2", sizes[-1], sizes[-1], 3
        )
        shapes |= norm(f"{name}.norm1", sizes[-1]) | norm(f"{name}.norm2", sizes[-1])
    return shapes | conv("final", width, channels, 7)


def discriminator_shapes(
    *,
    width: int = 32,
    cap: int = 512,
    blocks: int = 4,
    channels: int = 3,
    heatmaps: int = 0,
    spectral: bool = True,
) -> Shapes:
    """Of a discriminator: ``vox-cpk`` has spectral norms, ``vox-adv-cpk`` 10 heat maps and none."""
    sizes = [channels + heatmaps] + [min(cap, width << level + 1) for level in range(blocks)]
    one = spectral_conv if spectral else conv
    shapes: Shapes = {}
    for level in range(blocks):
        name = f"discs.1.down_blocks.{level}"
        shapes |= one(f"{name}.conv", sizes[level], sizes[level + 1], 4)
        if level:
            shapes |= {f"{name}.norm.weight": (sizes[level + 1],), f"{name}.norm.bias": (sizes[level + 1],)}
    return shapes | one("discs.1.conv", sizes[-1], 1, 1)


def hourglass(name: str, inputs: int, width: int, cap: int, blocks: int) -> Shapes:
    sizes = [min(cap, width << level) for level in range(blocks + 1)]
    shapes: Shapes = {}
    for level in range(blocks):
        before = sizes[level] if level else inputs
        shapes |= block(f"{name}.encoder.down_blocks.{level}", before, sizes[level + 1])
    for level in range(blocks):
        before = sizes[blocks - level] * (2 if level else 1)
        shapes |= block(f"{name}.decoder.up_blocks.{level}", before, sizes[blocks - level - 1])
    return shapes


def encoder_shapes(prefix: str, channels: int, sizes: list[int]) -> Shapes:
    """First block and blocks that halve; the names begin with a prefix."""
    shapes = block(f"{prefix}first", channels, sizes[0], 7)
    for level in range(len(sizes) - 1):
        shapes |= block(f"{prefix}down_blocks.{level}", sizes[level], sizes[level + 1])
    return shapes


def block(name: str, inputs: int, outputs: int, taps: int = 3) -> Shapes:
    return conv(f"{name}.conv", inputs, outputs, taps) | norm(f"{name}.norm", outputs)


def conv(name: str, inputs: int, outputs: int, taps: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, taps, taps), f"{name}.bias": (outputs,)}


def spectral_conv(name: str, inputs: int, outputs: int, taps: int, *, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.bias": (outputs,)} if bias else {}
    return shapes | {
        f"{name}.weight_orig": (outputs, inputs, taps, taps),
        f"{name}.weight_u": (outputs,),
        f"{name}.weight_v": (inputs * taps * taps,),
    }


def norm(name: str, channels: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def drawn(shapes: Shapes, *, seed: int = 0) -> Weights:
    """A state dict with values by chance: keypoints apart, Jacobians near the identity."""
    torch.manual_seed(seed)
    weights = {name: _value(name, shape) for name, shape in shapes.items()}
    for name in [name for name in weights if name.endswith("weight_orig")]:
        matrix, stem = weights[name].flatten(1), name.removesuffix("orig")
        for _ in range(3):
            weights[f"{stem}v"] = normalize(matrix.T @ weights[f"{stem}u"], dim=0)
            weights[f"{stem}u"] = normalize(matrix @ weights[f"{stem}v"], dim=0)
    return weights


def unwritten(shapes: Shapes) -> Weights:
    """A state dict of these shapes in no memory, every value 0: for questions of names and shapes alone."""
    zero = {True: torch.zeros((), dtype=torch.int64), False: torch.zeros(())}
    return {key: zero[key.endswith("num_batches_tracked")].expand(shape) for key, shape in shapes.items()}


def _value(name: str, shape: tuple[int, ...]) -> Tensor:
    head, _, leaf = name.rpartition(".")
    if leaf == "num_batches_tracked":
        return torch.tensor(1000)
    if name.endswith("down.weight"):
        return blur(shape[-1]).expand(shape).clone()
    if leaf in ("weight_u", "weight_v"):
        return normalize(torch.rand(shape), dim=0)
    if leaf in ("weight", "running_var") and len(shape) == 1:
        return torch.rand(shape) + 0.5
    if leaf == "gamma":
        return torch.full(shape, 0.7)
    if head == "jacobian" and leaf == "bias":
        return torch.eye(2).flatten().repeat(shape[0] // 4) + 0.1 * torch.randn(shape)
    if leaf in ("weight", "weight_orig"):
        scale = 0.2 if head == "jacobian" else 1.2
        return scale * torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
    return 0.3 * torch.randn(shape)


def blur(taps: int, *, sigma: float = 1.5) -> Tensor:
    """The public code's Gaussian before it takes every fourth pixel."""
    squares = (torch.arange(taps, dtype=torch.float32) - (taps - 1) / 2) ** 2
    weight = torch.exp(-(squares[:, None] + squares) / (2 * sigma**2))
    return weight / weight.sum()
