"""Weights of the public code of [HeSer]'s aligner (not its authors': LeslieZhoa/HeSer.Pytorch).

A file is ``{G, D, Eexp, Eid, Epor, Epose, g_optim, d_optim, args}``: four encoders and the generator are an
animator's, whose sizes are read off their shapes. The encoders have torchvision's and insightface's names
already, below one word (``por_encoder``, ``facenet``, ..) that is taken off. ``args`` is an object of the
code's own class; it is read as `torch_files.Inert` and left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...geom.errors import HeadwarpError, ModelFileError
from ...geom.nets.arcface import IrSe50
from ...geom.nets.mobilenet import MobileNetConfig, MobileNetV2
from ...geom.nets.resnext import ResNext, ResNextConfig
from ..heser_aligner import HeserAlignerConfig
from ..heser_generator import START, GeneratorSize
from .key_table import COUNTERS, SPECTRAL_NORM, KeyReport, Rename, beside, joined, match_keys, prefixed
from .kinds import HESER, HESER_PARTS, HESER_TRAINING, TITLES, described, kind_of, tensors_of

_LEFT_OUT = {"D": "the discriminator is not an animator's", **HESER_TRAINING}
_RENAMES = (
    Rename(r"^constant\.constant$", "constant"),
    Rename(r"^decoder_blocks\.(\d+)\.block\.[34]\.", r"blocks.\1.conv1."),
    Rename(r"^decoder_blocks\.(\d+)\.block\.[78]\.", r"blocks.\1.conv2."),
    Rename(r"^decoder_blocks\.(\d+)\.skip\.1\.", r"blocks.\1.skip."),
    Rename(r"^decoder_blocks\.\d+\.(weight_|bias)", r"last.\1"),
    Rename(r"^affine_params_projector\.0\.", "first_layer."),
    Rename(r"^affine_params_projector\.2\.", "second_layer."),
    *SPECTRAL_NORM,
)
_FIRST_WORD = (
    Rename(r"^\w+?\.(?=(conv1|bn1|layer\d|fc|features|classifier|input_layer|body|output_layer)\.)", ""),
)


@dataclass(frozen=True)
class ImportedAligner:
    """What a file held.

    Attributes:
        config: of the animator `heser` that computes the same.
        weights: of `HeserAligner`, by its keys; incomplete if the report is.
        report: on every key of the file.
        notes: what a person should know.
    """

    config: HeserAlignerConfig
    weights: Mapping[str, Tensor]
    report: KeyReport
    notes: tuple[str, ...]


def import_heser(content: Mapping[str, Any], *, name: str) -> ImportedAligner:
    """An aligner's checkpoint as weights of `HeserAligner`.

    Args:
        content: of the file (`torch_files.read_torch_file`).
        name: of the file, for messages.

    Raises:
        ModelFileError: of another kind, or of channels that no config has.
    """
    if kind_of(content) != HESER:
        raise ModelFileError(f"{name}: expected {TITLES[HESER]}, got {described(content)}")
    tensors = {part: tensors_of(content.get(part)) for part in HESER_PARTS}
    config = _config(tensors, name)
    expected = _expected(config)
    reports: list[KeyReport] = []
    weights: dict[str, Tensor] = {}
    for part, own in HESER_PARTS.items():
        renames = _RENAMES if part == "G" else _FIRST_WORD
        report, taken = match_keys(tensors[part], expected[own], renames=renames, optional=COUNTERS)
        reports.append(prefixed(report, file=f"{part}.", own=f"{own}."))
        weights |= {f"{own}.{key}": value for key, value in taken.items()}
    reports.append(beside(content, HESER_PARTS, left_out=_LEFT_OUT))
    return ImportedAligner(config, weights, joined(*reports), _notes(content))


def generator_shapes(config: GeneratorSize, inputs: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a `CodeGenerator`'s weights; making one, even of no values, takes seconds."""
    widths = config.widths()
    shapes: dict[str, tuple[int, ...]] = {"constant": (1, widths[0], START, START)}
    pairs = [(widths[0], widths[0])] * config.blocks + list(itertools.pairwise(widths))
    norms = widths[-1]
    for place, (before, after) in enumerate(pairs):
        norms += before + after
        shapes |= _normalised(f"blocks.{place}.conv1", (after, before, 3, 3), bias=False)
        shapes |= _normalised(f"blocks.{place}.conv2", (after, after, 3, 3), bias=False)
        if place >= config.blocks:
            shapes |= _normalised(f"blocks.{place}.skip", (after, before, 1, 1))
    shapes |= _normalised("last", (3, widths[-1], 3, 3))
    shapes |= _normalised("first_layer", (config.hidden, inputs))
    return shapes | _normalised("second_layer", (2 * norms, config.hidden))


def _normalised(name: str, shape: tuple[int, ...], *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """A layer with a spectral norm."""
    stem = f"{name}.parametrizations.weight."
    rest = shape[1] * (shape[2] * shape[3] if len(shape) == 4 else 1)
    shapes = {f"{stem}original": shape, f"{stem}0._u": (shape[0],), f"{stem}0._v": (rest,)}
    return {**shapes, f"{name}.bias": (shape[0],)} if bias else shapes


def _expected(config: HeserAlignerConfig) -> dict[str, dict[str, Tensor]]:
    """State dicts without values, by our part."""
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            "portrait": ResNext(config.portrait),
            "identity": IrSe50(),
            "pose": MobileNetV2(config.pose),
            "expression": MobileNetV2(config.pose),
        }
        shapes = generator_shapes(config.generator, config.source_numbers + 2 * config.pose.outputs)
        generator = {key: torch.empty(shape) for key, shape in shapes.items()}
    return {"generator": generator, **{name: dict(part.state_dict()) for name, part in parts.items()}}


def _config(tensors: Mapping[str, Mapping[str, Tensor]], name: str) -> HeserAlignerConfig:
    """The config that has these channels; encoders are torchvision's, but for what comes out."""
    found = tensors["G"]
    matches = [re.fullmatch(r"decoder_blocks\.(\d+)\.block\.([34])\.weight_orig", key) for key in found]
    blocks = {int(match[1]): match[2] == "4" for match in matches if match}
    last = found.get(f"decoder_blocks.{len(blocks) + 2}.weight_orig")
    hidden = found.get("affine_params_projector.0.weight_orig")
    constant = found.get("constant.constant")
    if not blocks or last is None or hidden is None or constant is None or last.ndim != 4:
        raise ModelFileError(
            f"{name}: G: expected constant, decoder_blocks and affine_params_projector of a generator, got "
            f"{', '.join(list(found)[:5]) or 'nothing'}"
        )
    doublings = sum(blocks.values())
    try:
        generator = GeneratorSize(
            size=START << doublings,
            channels=last.shape[1],
            most_channels=constant.shape[1],
            blocks=len(blocks) - doublings,
            hidden=len(hidden),
        )
        portrait = ResNextConfig(outputs=_outputs(tensors, "Epor", "fc"))
        pose = MobileNetConfig(outputs=_outputs(tensors, "Epose", "classifier.1"))
    except HeadwarpError as error:
        raise ModelFileError(f"{name}: {error}") from error
    return HeserAlignerConfig(portrait=portrait, pose=pose, generator=generator)


def _outputs(tensors: Mapping[str, Mapping[str, Tensor]], part: str, layer: str) -> int:
    """Numbers that the last layer of an encoder gives."""
    ends = f"{layer}.bias"
    found = next((value for key, value in tensors[part].items() if key.endswith(ends)), None)
    if found is None:
        raise ModelFileError(f"{part}: expected an encoder with a last layer {layer}, found none")
    return len(found)


def _notes(content: Mapping[str, Any]) -> tuple[str, ...]:
    said = (
        "E_id is an IR-SE-50 trained as [ArcFace] on MS-Celeb-1M: non-commercial research",
        "it was trained on squares of the landmarks' box times 1.8, eyes level, at 512 px",
    )
    return said if "args" not in content else (*said, "the object args was not run and is left out")
