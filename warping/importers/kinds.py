"""Whose weights a file holds, told from its names and a few shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .key_table import without_module
from .torch_files import state_dict

GDPW = "PWM"
FOMM = "FOMM"
DAGAN = "DaGAN"
DEPTH_ENCODER = "depth encoder"
DEPTH_DECODER = "depth decoder"
POSE_ENCODER = "pose encoder"
POSE_DECODER = "pose decoder"
HESER = "HeSer aligner"
HESER_BLENDER = "HeSer blender"

TITLES: Mapping[str, str] = {
    GDPW: "weights of the public code of [PWM] (GDPW)",
    FOMM: "a checkpoint of [FOMM]",
    DAGAN: "a checkpoint of [DaGAN]",
    DEPTH_ENCODER: "the encoder of a depth network (encoder.pth)",
    DEPTH_DECODER: "the decoder of a depth network (depth.pth)",
    POSE_ENCODER: "the encoder of a pose network (pose_encoder.pth)",
    POSE_DECODER: "the decoder of a pose network (pose.pth)",
    HESER: "an aligner of the public code of [HeSer]",
    HESER_BLENDER: "a blender of the public code of [HeSer]",
}
"""What is read, by its name here."""

HESER_PARTS: Mapping[str, str] = {
    "Epor": "portrait",
    "Eid": "identity",
    "Epose": "pose",
    "Eexp": "expression",
    "G": "generator",
}
"""Networks of an aligner of the public code of [HeSer] -> ours."""
HESER_TRAINING: Mapping[str, str] = {
    "g_optim": "the optimizer's state",
    "d_optim": "the optimizer's state",
    "args": "settings of the training, an object of its own code",
}
"""What lies beside the networks of that code's files and is left out, and why."""

_ALIGNER_MARK = "affine_params_projector.0.weight_orig"
_BLENDER_MARKS = {"feature_ext.conv1_1.weight", "phi.weight", "theta.weight", "decoder.conv10_ab.weight"}
_OTHERS = {
    "inpainting_network": "a checkpoint of TPSMM",
    "he_estimator": "a checkpoint of one-shot free-view (face-vid2vid)",
    "kp_detector": "a keypoint animator of another project",
    "down_layers.x1.conv.weight": "a generator without spectral norms",
}


def kind_of(content: Mapping[str, Any]) -> str | None:
    """One of `TITLES`, or None for anything else."""
    if any(mark in content for mark in ("inpainting_network", "he_estimator")):
        return None
    if "Epor" in content and _ALIGNER_MARK in tensors_of(content.get("G")):
        return HESER
    if tensors_of(content.get("G")).keys() >= _BLENDER_MARKS:
        return HESER_BLENDER
    detector, generator = tensors_of(content.get("kp_detector")), tensors_of(content.get("generator"))
    if "kp.weight" in detector and "first.conv.weight" in generator:
        seen = detector.get("predictor.encoder.down_blocks.0.conv.weight")
        colours_alone = seen is None or seen.ndim != 4 or seen.shape[1] == 3
        return FOMM if colours_alone and "src_first.conv.weight" not in generator else DAGAN
    flat = generator or tensors_of(content)
    if {"down_layers.x1.conv.weight_orig", "up_layers.x1_out.weight"} <= flat.keys():
        return GDPW
    return _depth_part(tensors_of(content))


def described(content: Mapping[str, Any]) -> str:
    """What a file seems to hold, for messages.

    Example:
        >>> described({"state_dict": 1})
        'something else (it holds state_dict)'
    """
    kind = kind_of(content)
    names = ", ".join(sorted(map(str, content))[:5]) or "nothing"
    if kind is not None:
        return TITLES[kind]
    told = next((text for mark, text in _OTHERS.items() if mark in content), "something else")
    return f"{heser_without(content) or told} (it holds {names})"


def heser_without(content: Mapping[str, Any]) -> str | None:
    """What a file of the public code of [HeSer] lacks, as ``a checkpoint of HeSer's aligner without G``; None
    for a whole one and for any other file.
    """
    generator = tensors_of(content.get("G"))
    if _ALIGNER_MARK in generator or (HESER_PARTS.keys() - {"G"}) & content.keys():
        lost = [part for part in HESER_PARTS if part not in content]
        if "G" in content and _ALIGNER_MARK not in generator:
            lost.append(f"{_ALIGNER_MARK} in its G")
        return f"a checkpoint of HeSer's aligner without {', '.join(lost)}" if lost else None
    marks = sorted(_BLENDER_MARKS - generator.keys())
    if not 0 < len(marks) < len(_BLENDER_MARKS):
        return None
    return f"a checkpoint of HeSer's blender without {', '.join(marks)} in its G"


def tensors_of(content: object) -> dict[str, Tensor]:
    """The tensors of a mapping without ``module.``; none where it is no mapping, or where others lie among
    them that are more than a number or a text.
    """
    if not isinstance(content, Mapping):
        return {}
    plain = {key: value for key, value in content.items() if not isinstance(value, int | float | str)}
    found = state_dict(plain)
    return {} if found is None else without_module(found)


def _depth_part(tensors: Mapping[str, Tensor]) -> str | None:
    first = tensors.get("encoder.conv1.weight")
    if first is not None and first.ndim == 4:
        return POSE_ENCODER if first.shape[1] == 6 else DEPTH_ENCODER
    if "decoder.0.conv.conv.weight" in tensors:
        return DEPTH_DECODER
    return POSE_DECODER if {"net.0.weight", "net.3.weight"} <= tensors.keys() else None
