"""The configs of keypoint networks read off names and shapes of the public code's state dicts.

What no shape tells is as in every published config: temperature 0.1, variance 0.01, heat maps without
padding. The grids are the public code's corners; how they are sampled no file tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ...geom.errors import HeadwarpError, ModelFileError
from ...geom.keypoints import KeypointConfig
from ...geom.nets.antialias import reduction_kernel
from ...geom.nets.hourglass import HourglassConfig
from ..attention import AttentionConfig
from ..dense_motion import DenseMotionConfig
from ..generators import AttentionKind, GeneratorConfig

MOTION = "dense_motion_network"
_HOURGLASS_LIMIT, _GENERATOR_LIMIT = 1024, 512
"""Limits of channels in every published config, for files of networks too narrow to reach one."""
_KERNEL_TOLERANCE = 1e-6


def detector_config(tensors: Mapping[str, Tensor], name: str) -> KeypointConfig:
    """Of a ``kp_detector``: number of keypoints, channels of its picture, Jacobians, sizes.

    Args:
        tensors: its state dict.
        name: of the file, for messages.

    Raises:
        ModelFileError: a part is missing, or has sizes that no config gives.
    """
    count = _convolution(tensors, "kp.weight", name)[0]
    channels = _convolution(tensors, "predictor.encoder.down_blocks.0.conv.weight", name)[1]
    kind: Literal["per_keypoint", "single", "none"] = "none"
    if "jacobian.weight" in tensors:
        maps = _convolution(tensors, "jacobian.weight", name)[0]
        if maps not in (4 * count, 4):
            raise ModelFileError(
                f"{name}: jacobian.weight: expected {4 * count} maps for {count} keypoints, or 4 for all of "
                f"them, got {maps}"
            )
        kind = "per_keypoint" if maps == 4 * count else "single"
    return KeypointConfig(
        count=count,
        channels=channels,
        hourglass=_hourglass(tensors, "predictor", name),
        padding=0,
        scale=_scale(tensors, "down.weight", name),
        jacobians=kind,
        align_corners=True,
    )


def motion_config(
    tensors: Mapping[str, Tensor], name: str, *, sample_align_corners: bool
) -> DenseMotionConfig:
    """Of a generator's dense motion network.

    Args:
        tensors: state dict of the generator.
        name: of the file, for messages.
        sample_align_corners: how grids are sampled; see `geom.grids`.

    Raises:
        ModelFileError: as `detector_config`.
    """
    motions = _convolution(tensors, f"{MOTION}.mask.weight", name)[0]
    first = f"{MOTION}.hourglass.encoder.down_blocks.0.conv.weight"
    inputs = _convolution(tensors, first, name)[1]
    if motions < 2 or inputs % motions or inputs == motions:
        raise ModelFileError(
            f"{name}: {first}: expected {motions} heat maps and as many pictures of the same channels, got "
            f"{inputs} channels in all"
        )
    return DenseMotionConfig(
        count=motions - 1,
        channels=inputs // motions - 1,
        hourglass=_hourglass(tensors, f"{MOTION}.hourglass", name),
        scale=_scale(tensors, f"{MOTION}.down.weight", name),
        occlusion=f"{MOTION}.occlusion.weight" in tensors,
        condition_guard=None,
        align_corners=True,
        sample_align_corners=sample_align_corners,
        padding_mode="zeros",
    )


def generator_config(tensors: Mapping[str, Tensor], name: str) -> GeneratorConfig:
    """Of a generator: [FOMM]'s, or one of [DaGAN]'s two.

    Raises:
        ModelFileError: as `detector_config`.
    """
    width = _convolution(tensors, "first.conv.weight", name)[0]
    blocks = _count(tensors, "down_blocks")
    found = [_convolution(tensors, f"down_blocks.{i}.conv.weight", name)[0] for i in range(blocks)]
    limit = _limit(found, width, _GENERATOR_LIMIT)
    spade = "decoder.fc.weight" in tensors
    try:
        config = GeneratorConfig(
            width=width,
            max_channels=limit,
            down_blocks=blocks,
            bottleneck=GeneratorConfig.bottleneck if spade else _count(tensors, "bottleneck", "r"),
            decoder="spade" if spade else "johnson",
        )
    except HeadwarpError as error:
        raise ModelFileError(f"{name}: generator: {error}") from error
    _check_channels(found, [config.channels(level + 1) for level in range(blocks)], "down_blocks", name)
    return config


def attention_of(tensors: Mapping[str, Tensor], name: str) -> tuple[AttentionKind, AttentionConfig | None]:
    """What a generator's warped features attend to, and the attention's form.

    Raises:
        ModelFileError: as `detector_config`.
    """
    if not any(key.startswith("AttnModule.") for key in tensors):
        return "none", None
    keys, channels = _convolution(tensors, "AttnModule.query_conv.weight", name)[:2]
    form = AttentionConfig(
        reduction=max(1, channels // keys), activation=True, residual="AttnModule.gamma" in tensors
    )
    return ("depth" if "src_first.conv.weight" in tensors else "self"), form


def _convolution(tensors: Mapping[str, Tensor], key: str, name: str) -> tuple[int, ...]:
    """Shape of a convolution's weight."""
    value = tensors.get(key)
    if value is None or value.ndim != 4 or not value.numel():
        got = "none" if value is None else tuple(value.shape)
        raise ModelFileError(f"{name}: {key}: expected the weight of a convolution, got {got}")
    return tuple(value.shape)


def _count(tensors: Mapping[str, Tensor], stem: str, prefix: str = "") -> int:
    """How many parts a list of modules has. Not its highest number plus one, which a name can make any."""
    pattern = re.compile(rf"{re.escape(stem)}\.{prefix}(\d+)\.")
    return len({match[1] for key in tensors if (match := pattern.match(key))})


def _hourglass(tensors: Mapping[str, Tensor], stem: str, name: str) -> HourglassConfig:
    blocks = _count(tensors, f"{stem}.encoder.down_blocks")
    keys = [f"{stem}.encoder.down_blocks.{level}.conv.weight" for level in range(blocks)]
    found = [_convolution(tensors, key, name)[0] for key in keys]
    width = _convolution(tensors, f"{stem}.decoder.up_blocks.{blocks - 1}.conv.weight", name)[0]
    config = HourglassConfig(width, blocks, _limit(found, width, _HOURGLASS_LIMIT))
    wanted = [config.channels(level + 1) for level in range(blocks)]
    _check_channels(found, wanted, f"{stem}.encoder.down_blocks", name)
    return config


def _limit(found: list[int], width: int, usual: int) -> int:
    """The limit of channels that these reach, or the usual one where they reach none."""
    reached = bool(found) and found[-1] < width << len(found)
    return max(found) if reached else max([usual, *found])


def _check_channels(found: list[int], wanted: list[int], stem: str, name: str) -> None:
    if not found or found != wanted:
        raise ModelFileError(
            f"{name}: {stem}: expected channels that double from block to block up to a limit, got {found}"
        )


def _scale(tensors: Mapping[str, Tensor], key: str, name: str) -> float:
    """Of the picture that a network sees; its blur must be ours, which the taps then tell from others."""
    kernel = tensors.get(key)
    if kernel is None:
        return 1.0
    stride, rest = divmod(kernel.shape[-1] - 1, 4) if kernel.ndim == 4 else (0, 1)
    line = reduction_kernel(stride + 1, centred=False)
    square = (line[:, None] * line).expand(len(kernel), 1, -1, -1)
    if rest or kernel.shape != square.shape or not _equal(kernel, square):
        raise ModelFileError(
            f"{name}: {key}: expected the public code's Gaussian, 4 (s - 1) + 1 taps a side for every s-th "
            f"pixel, got another blur of {tuple(kernel.shape)}; this network sees other pictures"
        )
    return 1 / (stride + 1)


def _equal(kernel: Tensor, square: Tensor) -> bool:
    return torch.allclose(kernel.float(), square, rtol=0, atol=_KERNEL_TOLERANCE)
