"""A trained [HeSer] blender from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..geom.errors import HeadwarpError, ModelFileError
from ._config_json import config_from_json
from .checkpoints import load_checkpoint, load_weights
from .heser_blender import HeserBlender, HeserBlenderConfig

BLENDER, KIND = "heser_blender", "blender"


def load_heser_blender(path: str | Path, *, device: str | torch.device = "cpu") -> HeserBlender:
    """The blender of a checkpoint, in evaluation mode, without gradients; all its weights are in the file.

    Args:
        path: of the checkpoint.
        device: where it works.

    Raises:
        ModelFileError: not a blender's checkpoint, or one that does not fit its config.
    """
    found = load_checkpoint(path, BLENDER, kind=KIND)
    try:
        config: Any = config_from_json(HeserBlenderConfig, found.config)
    except HeadwarpError as error:
        raise ModelFileError(f"{path}: {error}; the file is of another version or was altered") from error
    network = HeserBlender(config)
    load_weights(network, found.tensors, name=str(path))
    return network.to(device).eval().requires_grad_(False)
