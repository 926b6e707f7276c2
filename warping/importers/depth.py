"""Weights of [DaGAN]'s face depth network: ``encoder.pth`` and ``depth.pth``, and of its pose network.

``encoder.pth`` is torchvision's ResNet-18 or -50 under ``encoder.``, its classifier included, which nothing
uses, and the size of the pictures of its training; ``depth.pth`` is the decoder. ``pose_encoder.pth`` and
``pose.pth`` are what training needs beside. The networks are those of [Monodepth2].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...geom.depth import DepthConfig, DepthNetwork
from ...geom.errors import ModelFileError
from ...geom.relative_pose import PoseConfig, PoseNetwork
from .key_table import COUNTERS, Drop, KeyReport, joined, match_keys, prefixed
from .kinds import (
    DEPTH_DECODER,
    DEPTH_ENCODER,
    POSE_DECODER,
    POSE_ENCODER,
    TITLES,
    described,
    kind_of,
    tensors_of,
)

_LEFT_OUT = (
    Drop(r"encoder\.fc\.(weight|bias)", "ImageNet's classifier, never called"),
    Drop(r"height|width|use_stereo", "of the training's pictures"),
)


@dataclass(frozen=True)
class ImportedDepth:
    """What the two files of a depth network held.

    Attributes:
        config: of `geom.depth.DepthNetwork`.
        weights: by its keys; incomplete if the report is.
        report: on every key of both files.
        notes: what a person should know.
    """

    config: DepthConfig
    weights: Mapping[str, Tensor]
    report: KeyReport
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ImportedPose:
    """What the two files of a pose network held, as `ImportedDepth`, of `geom.relative_pose.PoseNetwork`."""

    config: PoseConfig
    weights: Mapping[str, Tensor]
    report: KeyReport


def import_depth(
    encoder: Mapping[str, Any], decoder: Mapping[str, Any], *, names: tuple[str, str]
) -> ImportedDepth:
    """``encoder.pth`` and ``depth.pth`` as weights of `DepthNetwork`.

    Args:
        encoder, decoder: contents (`torch_files.read_torch_file`).
        names: of the two files, for messages.

    Raises:
        ModelFileError: of another kind.
    """
    _check(encoder, DEPTH_ENCODER, names[0])
    _check(decoder, DEPTH_DECODER, names[1])
    layers, stem = _resnet(tensors_of(encoder))
    config = DepthConfig(layers=layers, width=stem)
    report, weights = _both(encoder, decoder, _expected(DepthNetwork, config), names)
    notes = [f"its depth network is a ResNet-{layers} of width {stem}"]
    height, width = encoder.get("height"), encoder.get("width")
    if isinstance(height, int) and isinstance(width, int):
        notes.append(f"depth was trained on pictures of {width} x {height} px (width x height)")
    return ImportedDepth(config, weights, report, tuple(notes))


def import_pose(
    encoder: Mapping[str, Any], decoder: Mapping[str, Any], *, names: tuple[str, str]
) -> ImportedPose:
    """``pose_encoder.pth`` and ``pose.pth`` as weights of `PoseNetwork`.

    Args:
        encoder, decoder: contents.
        names: of the two files, for messages.

    Raises:
        ModelFileError: of another kind.
    """
    _check(encoder, POSE_ENCODER, names[0])
    _check(decoder, POSE_DECODER, names[1])
    layers, width = _resnet(tensors_of(encoder))
    config = PoseConfig(layers=layers, width=width, form="official")
    report, weights = _both(encoder, decoder, _expected(PoseNetwork, config), names)
    return ImportedPose(config, weights, report)


def _check(content: Mapping[str, Any], kind: str, name: str) -> None:
    if kind_of(content) != kind:
        raise ModelFileError(f"{name}: expected {TITLES[kind]}, got {described(content)}")


def _resnet(tensors: Mapping[str, Tensor]) -> tuple[Literal[18, 50], int]:
    """Layers and width."""
    layers: Literal[18, 50] = 50 if "encoder.layer1.0.conv3.weight" in tensors else 18
    return layers, len(tensors["encoder.conv1.weight"])


def _expected(network: type[nn.Module], config: DepthConfig | PoseConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        return network(config).state_dict()


def _both(
    encoder: Mapping[str, Any],
    decoder: Mapping[str, Any],
    expected: Mapping[str, Tensor],
    names: tuple[str, str],
) -> tuple[KeyReport, dict[str, Tensor]]:
    """Report and weights of two files."""
    reports, weights = [], dict[str, Tensor]()
    for content, name, own in ((encoder, names[0], True), (decoder, names[1], False)):
        half = {key: value for key, value in expected.items() if key.startswith("encoder.") == own}
        report, taken = match_keys(content, half, drops=_LEFT_OUT, optional=COUNTERS)
        reports.append(prefixed(report, file=f"{name}: "))
        weights |= taken
    return joined(*reports), weights
