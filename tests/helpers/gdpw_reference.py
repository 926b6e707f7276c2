"""What the public code of [PWM] computes from a state dict, restated step by step with plain functions.

Everything as that code does it: dense blurs, spectral norms from the stored vectors, batch norms in
evaluation, grids whose corners are pixel centres read by ``grid_sample`` with its flag left to the default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Reference:
    """Picture, alpha, flows in the public code's own units (grid units), coarse to fine, and I_w."""

    image: Tensor
    alpha: Tensor
    flows: list[Tensor]
    warped: Tensor


def reference(
    weights: Weights, kind: str, image: Tensor, flow: Tensor, codes: tuple[Tensor, Tensor] | None
) -> Reference:
    """A forward pass.

    Args:
        weights: a generator's state dict.
        kind: ``neural_codes``, ``geom_disp`` or ``both``.
        image: the source, ``(B, 3, H, W)``.
        flow: rendered displacement of normalised coordinates (-1..1 is the frame), ``(B, 2, H, W)``.
        codes: rendered codes in the driving and in the source pose.
    """
    strides = [2**level for level in range(sum(k.startswith("downsamples.") for k in weights))]
    features, x = {}, image if codes is None else torch.cat([image, codes[1]], 1)
    for stride in strides:
        x = block(weights, f"down_layers.x{stride}", x)
        x = x if stride == 1 else F.avg_pool2d(x, 2)
        features[stride] = x
    guidance = {"geom_disp": [flow], "neural_codes": [], "both": [flow]}[kind]
    guidance = torch.cat(([codes[0]] if codes else []) + guidance, 1)
    coarsest = strides[-1]
    first = torch.zeros_like(guidance[:, :2]) if kind == "neural_codes" else guidance[:, -2:]
    blurred = downsample(first, blur_of(weights, coarsest)[:2], coarsest)
    x = torch.cat([x, backward_warp(x, blurred)], 1)
    flows = []
    for stride in reversed(strides[1:]):
        level = downsample(guidance, blur_of(weights, stride), stride)
        x = spade_block(weights, f"up_layers.x{stride}_spade", x, level)
        name = f"up_layers.x{stride}_flow"
        estimate = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
        estimate = F.interpolate(estimate, scale_factor=2, mode="bilinear")
        height, width = estimate.shape[2:]
        estimate = 2 * torch.stack([estimate[:, 0] / (width - 1), estimate[:, 1] / (height - 1)], 1)
        x = block(weights, f"up_layers.x{stride}_up", x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        finer = stride // 2
        beside = block(weights, f"shortcut_layers.x{finer}", features[finer])
        x = torch.cat([x, backward_warp(beside, estimate)], 1)
        flows.append(estimate)
    out = F.conv2d(x, weights["up_layers.x1_out.weight"], weights["up_layers.x1_out.bias"], padding=1)
    out = 1 / (1 + torch.exp(-out))
    return Reference(out[:, :3], out[:, 3:], flows, backward_warp(image, flows[-1]))


def conv(weights: Weights, name: str, x: Tensor) -> Tensor:
    weight = weights[f"{name}.weight_orig"]
    matrix = weight.reshape(len(weight), -1)
    sigma = weights[f"{name}.weight_u"] @ matrix @ weights[f"{name}.weight_v"]
    return F.conv2d(x, weight / sigma, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)


def normalise(weights: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return (x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + 1e-5)


def leaky(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.1 * x)


def block(weights: Weights, name: str, x: Tensor) -> Tensor:
    x = normalise(weights, f"{name}.norm", conv(weights, f"{name}.conv", x))
    return leaky(
        x * weights[f"{name}.norm.weight"][:, None, None] + weights[f"{name}.norm.bias"][:, None, None]
    )


def spade(weights: Weights, name: str, x: Tensor, guidance: Tensor) -> Tensor:
    hidden = leaky(conv(weights, f"{name}.shared_conv.0", guidance))
    gamma, beta = conv(weights, f"{name}.gamma_conv", hidden), conv(weights, f"{name}.beta_conv", hidden)
    return normalise(weights, f"{name}.norm", x) * (1 + gamma) + beta


def spade_block(weights: Weights, name: str, x: Tensor, guidance: Tensor) -> Tensor:
    inner = conv(weights, f"{name}.conv1", leaky(spade(weights, f"{name}.spade1", x, guidance)))
    inner = conv(weights, f"{name}.conv2", leaky(spade(weights, f"{name}.spade2", inner, guidance)))
    return inner + conv(weights, f"{name}.non_identity_shortcut", x)


def blur_of(weights: Weights, stride: int) -> Tensor:
    return weights[f"downsamples.x{stride}.weight"]


def downsample(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    blurred = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=len(kernel))
    return blurred[:, :, ::stride, ::stride]


def backward_warp(x: Tensor, flow: Tensor) -> Tensor:
    height, width = x.shape[2:]
    rows = (2 * torch.arange(height) / (height - 1) - 1)[:, None].expand(height, width)
    columns = (2 * torch.arange(width) / (width - 1) - 1).expand(height, width)
    grid = torch.stack([columns, rows], -1) + flow.permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
