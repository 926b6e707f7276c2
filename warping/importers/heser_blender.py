"""Weights of the unofficial code of [HeSer]'s blender (not its authors': LeslieZhoa/HeSer.Pytorch).

A file is ``{G, D, g_optim, d_optim, args}``; ``G`` holds a VGG-19 that was trained with the rest
(``feature_ext``), two projections (``phi``, ``theta``) and the blending network (``decoder``). Its fifth
block is never run and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...geom.errors import ModelFileError
from ...geom.nets.vgg import layer_names
from ..blending_unet import ResidualUNetConfig
from ..heser_blender import TAP_CHANNELS, HeserBlender, HeserBlenderConfig
from .key_table import Drop, KeyReport, Rename, beside, joined, match_keys, prefixed
from .kinds import HESER_BLENDER, HESER_TRAINING, TITLES, described, kind_of, tensors_of

_LEFT_OUT = {"D": "the discriminator blends nothing", **HESER_TRAINING}
_DROPS = (Drop(r"feature_ext\.conv5_\d\.(weight|bias)", "the code never runs VGG-19's fifth block"),)
_RENAMES = (
    *(
        Rename(rf"^feature_ext\.{name}\.", f"backbone.features.{place}.")
        for place, name in enumerate(layer_names())
        if name.startswith("conv")
    ),
    Rename(r"^phi\.", "of_animated."),
    Rename(r"^theta\.", "of_target."),
    Rename(r"^decoder\.", "unet."),
)


@dataclass(frozen=True)
class ImportedBlender:
    """What a file held.

    Attributes:
        config: of the `HeserBlender` that computes the same.
        weights: by its keys; incomplete if the report is.
        report: on every key of the file.
        notes: what a person should know.
    """

    config: HeserBlenderConfig
    weights: Mapping[str, Tensor]
    report: KeyReport
    notes: tuple[str, ...]


def import_heser_blender(content: Mapping[str, Any], *, name: str) -> ImportedBlender:
    """A blender's checkpoint as weights of `HeserBlender`.

    What differs from the unofficial code, and has no weights: an empty region of the target falls back to a
    merged one, ears and brows are regions.

    Args:
        content: of the file (`torch_files.read_torch_file`).
        name: of the file, for messages.

    Raises:
        ModelFileError: of another kind, or of sizes that no config has.
    """
    if kind_of(content) != HESER_BLENDER:
        raise ModelFileError(f"{name}: expected {TITLES[HESER_BLENDER]}, got {described(content)}")
    tensors = tensors_of(content["G"])
    phi, first = tensors["phi.weight"], tensors.get("decoder.conv1_2.weight")
    width = 0 if first is None or first.ndim != 4 else int(first.shape[0])
    if phi.ndim != 4 or phi.shape[1] != TAP_CHANNELS or width < 8 or width % 8:
        raise ModelFileError(
            f"{name}: expected projections of {TAP_CHANNELS} channels and a first stage of a multiple of 8, "
            f"got {tuple(phi.shape)} and {width}"
        )
    config = HeserBlenderConfig(
        form="unofficial",
        features="vgg",
        channels=int(phi.shape[0]),
        temperature=1e-3,
        regions="unofficial",
        dilation=17,
        unet=ResidualUNetConfig((width, 2 * width)),
        anchored=False,
        pasted=False,
    )
    with torch.device("meta"):
        expected = HeserBlender(config).state_dict()
    report, weights = match_keys(tensors, expected, renames=_RENAMES, drops=_DROPS)
    rest = beside(content, ("G",), left_out=_LEFT_OUT)
    notes = ("its VGG-19 was trained from random weights together with the rest; it is part of the file",)
    return ImportedBlender(config, weights, joined(prefixed(report, file="G."), rest), notes)
