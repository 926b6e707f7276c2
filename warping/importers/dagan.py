"""Weights of the public code of [DaGAN], either generator, joined with its face depth network.

Its checkpoint holds detector and generator as [FOMM]'s does; the depth network lies in files of its own,
``encoder.pth`` and ``depth.pth``, without which neither keypoints nor attention can be computed. The public
training fed a ResNet-50's depth, its demo a ResNet-18's: the weights belong to the one that they were trained
with, and both are taken. The code was trained under torch 1.9: grids of corners are sampled half a pixel off
(``sampling``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...geom.depth import DepthConfig
from ...geom.errors import ModelFileError
from .depth import ImportedDepth
from .key_table import joined, prefixed
from .keypoint_files import ImportedKeypoints, Sampling, import_keypoints, sampling_note
from .kinds import DAGAN, TITLES, described, kind_of

_NO_DEPTH = (
    "its face depth network is missing, which keypoints or attention look at: give encoder.pth and depth.pth "
    "of the folder depth/models that it was trained with beside the checkpoint"
)


def import_dagan(
    content: Mapping[str, Any], depth: ImportedDepth | None, *, name: str, sampling: Sampling = "trained"
) -> ImportedKeypoints:
    """Detector, generator and depth network as weights of `KeypointNetwork`.

    Args:
        content: of the checkpoint (`torch_files.read_torch_file`).
        depth: of its two files (`depth.import_depth`); None: the report says that they are missing.
        name: of the checkpoint, for messages.
        sampling: ``trained`` is ``centres`` here.

    Raises:
        ModelFileError: of another kind, of sizes that no config has, or made for another blur.
    """
    if kind_of(content) != DAGAN:
        raise ModelFileError(f"{name}: expected {TITLES[DAGAN]}, got {described(content)}")
    corners = sampling == "corners"
    config = DepthConfig() if depth is None else depth.config
    imported = import_keypoints(content, name=name, sample_align_corners=corners, depth=config)
    known = "as under the torch 1.9 of its public training"
    notes = (*imported.notes, sampling_note(sampling, corners=corners, known=known))
    if depth is None:
        report = dataclasses.replace(
            imported.report, missing=(*imported.report.missing, "depth.encoder", "depth.decoder")
        )
        return dataclasses.replace(imported, report=report, notes=(*notes, _NO_DEPTH))
    weights = {f"depth.{key}": value for key, value in depth.weights.items()}
    report = joined(imported.report, prefixed(depth.report, own="depth."))
    return dataclasses.replace(
        imported,
        weights={**imported.weights, **weights},
        report=report,
        notes=(*notes, *depth.notes),
    )
