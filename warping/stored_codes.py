"""The neural codes that a checkpoint holds among its weights, whatever network they were learned with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..geom.codes import NeuralCodes, TexelCodes, vertex_codes
from ..geom.errors import ModelFileError
from .checkpoints import Checkpoint, load_checkpoint


def load_codes(path: str | Path) -> NeuralCodes:
    """Codes learned with a network, without gradients; see `codes_of`.

    Raises:
        ModelFileError: no checkpoint of ours, or not one set of codes in it.
    """
    return codes_of(load_checkpoint(path))


def codes_of(checkpoint: Checkpoint) -> NeuralCodes:
    """The one `VertexCodes` or `TexelCodes` among the weights of a checkpoint.

    Vertex codes are a tensor ``(V, C)`` whose key ends in ``codes``; texel codes three tensors ``texture``,
    ``faces`` and ``corners`` of one module.

    Raises:
        ModelFileError: none, or several.
    """
    found: dict[str, NeuralCodes] = {}
    for key, value in checkpoint.tensors.items():
        prefix, _, last = key.rpartition(".")
        made: NeuralCodes | None = None
        if last == "codes" and value.ndim == 2:
            made = vertex_codes(value)
        elif last == "texture" and value.ndim == 3:
            made = _texel_codes(value, checkpoint, prefix)
        if made is not None:
            found[key] = made
    if len(found) != 1:
        held = ", ".join(found) or "none"
        raise ModelFileError(
            f"{checkpoint.path}: expected one set of neural codes among the weights of {checkpoint.name}, "
            f"got {held}; take a network that is guided by codes"
        )
    return next(iter(found.values()))


def _texel_codes(texture: Tensor, checkpoint: Checkpoint, prefix: str) -> TexelCodes | None:
    dot = f"{prefix}." if prefix else ""
    faces, corners = (checkpoint.tensors.get(f"{dot}{name}") for name in ("faces", "corners"))
    if faces is None or corners is None or corners.shape != (*faces.shape, 2) or faces.shape[1:] != (3,):
        return None
    own = torch.arange(faces.numel()).view(-1, 3)
    module = TexelCodes(
        corners.flatten(0, 1),
        own,
        faces=faces,
        channels=texture.shape[0],
        resolution=texture.shape[1],
    )
    module.texture = torch.nn.Parameter(texture.clone())
    return module.requires_grad_(False)
