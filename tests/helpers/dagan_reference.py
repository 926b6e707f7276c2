"""What the public code of [DaGAN] computes from state dicts, restated as `fomm_reference` restates [FOMM].

Its detector is `fomm_reference.detect` of colours and disparity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fomm_reference import (
    Picture,
    Points,
    Weights,
    conv,
    deform,
    dense_motion,
    doubled,
    encode,
    instance_norm,
    johnson,
    moved_features,
    resized,
)
from torch import Tensor


def generate_with_depth(
    weights: Weights,
    source: Tensor,
    disparity: Tensor,
    of_source: Points,
    of_driving: Points,
    *,
    corners: bool,
) -> Picture:
    """A forward pass of either generator; which one, its names tell. The disparity is the source's."""
    motion = dense_motion(weights, source, of_source, of_driving, corners=corners)
    features = moved_features(encode(weights, source), motion, corners)
    features = attend(weights, encode(weights, disparity, "src_"), features)
    warped = deform(source, motion.grid, corners)
    if "decoder.fc.weight" not in weights:
        return Picture(johnson(weights, features), warped, motion)
    occlusion = resized(motion.occlusion, features.shape[2:])
    shown = warped * resized(occlusion, source.shape[2:])
    return Picture(spade_decoder(weights, features, shown), warped, motion)


def attention_rows(weights: Weights, depth: Tensor, features: Tensor) -> Tensor:
    """The whole matrix, ``(B, queries, keys)``; no division by the root of the channels."""
    query = torch.relu(conv(weights, "AttnModule.query_conv", depth)).flatten(2)
    key = torch.relu(conv(weights, "AttnModule.key_conv", features)).flatten(2)
    return torch.softmax(torch.einsum("bcq,bck->bqk", query, key), -1)


def attend(weights: Weights, depth: Tensor, features: Tensor) -> Tensor:
    value = torch.relu(conv(weights, "AttnModule.value_conv", features)).flatten(2)
    attended = torch.einsum("bqk,bck->bcq", attention_rows(weights, depth, features), value)
    return weights["AttnModule.gamma"] * attended.reshape(features.shape) + features


def spade_decoder(weights: Weights, features: Tensor, shown: Tensor) -> Tensor:
    """The picture from features and what the source shows of it."""
    compressed = F.interpolate(conv(weights, "decoder.compress", features), size=shown.shape[2:])
    layout = torch.cat([compressed, shown], 1)
    out = conv(weights, "decoder.fc", features)
    for number in range(3):
        out = spade_block(weights, f"decoder.G_middle_{number}", out, layout)
    for number in range(2):
        out = spade_block(weights, f"decoder.up_{number}", doubled(out), layout)
    return torch.sigmoid(conv(weights, "decoder.conv_img", leaky(out)))


def spade_block(weights: Weights, name: str, x: Tensor, layout: Tensor) -> Tensor:
    inner = conv(weights, f"{name}.conv_0", leaky(spade(weights, f"{name}.norm_0", x, layout)))
    inner = conv(weights, f"{name}.conv_1", leaky(spade(weights, f"{name}.norm_1", inner, layout)))
    if f"{name}.conv_s.weight_orig" not in weights:
        return x + inner
    return conv(weights, f"{name}.conv_s", spade(weights, f"{name}.norm_s", x, layout)) + inner


def spade(weights: Weights, name: str, x: Tensor, layout: Tensor) -> Tensor:
    layout = F.interpolate(layout, size=x.shape[2:], mode="nearest")
    hidden = torch.relu(conv(weights, f"{name}.mlp_shared.0", layout))
    gain, shift = conv(weights, f"{name}.mlp_gamma", hidden), conv(weights, f"{name}.mlp_beta", hidden)
    return instance_norm(x) * (1 + gain) + shift


def leaky(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.2 * x)
