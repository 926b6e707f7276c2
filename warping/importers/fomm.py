"""Weights of the public code of [FOMM]: ``vox-cpk``, ``vox-adv-cpk`` and those of its other data sets.

Number of keypoints, Jacobians (one a keypoint, one map, none), channels and sizes are read off the shapes.
How the grids are sampled no shape tells: the published checkpoints were trained under torch 1.0, whose
``grid_sample`` read the code's grids as the lattice of corners that they are. A training under torch 1.3 or
later reads the same grids half a pixel off, and its weights want that too (``sampling="centres"``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...geom.errors import ModelFileError
from .keypoint_files import ImportedKeypoints, Sampling, import_keypoints, sampling_note
from .kinds import FOMM, TITLES, described, kind_of


def import_fomm(
    content: Mapping[str, Any], *, name: str, sampling: Sampling = "trained"
) -> ImportedKeypoints:
    """Detector and generator of a checkpoint of [FOMM] as weights of `KeypointNetwork`.

    Args:
        content: of the file (`torch_files.read_torch_file`).
        name: of the file, for messages.
        sampling: ``trained`` is ``corners`` here.

    Raises:
        ModelFileError: of another kind, of sizes that no config has, or made for another blur.
    """
    if kind_of(content) != FOMM:
        raise ModelFileError(f"{name}: expected {TITLES[FOMM]}, got {described(content)}")
    corners = sampling != "centres"
    imported = import_keypoints(content, name=name, sample_align_corners=corners)
    known = "as the published checkpoints were trained"
    note = sampling_note(sampling, corners=corners, known=known)
    return dataclasses.replace(imported, notes=(*imported.notes, note))
