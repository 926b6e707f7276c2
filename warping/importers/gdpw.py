"""Weights of the public code of [PWM] (``PWM_displacement``, ``neural_codes`` and ``both``: GDPW files).

A file is ``{generator, discriminator, global_step}``; the generator's state dict alone will do. Its layers
have our names already, spectral norms excepted. Which of the three guidances it is, and how many channels it
has, is read off its shapes.

Left out, and said in the report: the blurs, which are no weights (compared with ours, so that a network of
another blur is refused), FLAME's triangles, and the shortcut block at the coarsest level, which the public
code never calls. The discriminator is not an animator's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError, ModelFileError
from ...geom.pyramid import blur_kernel
from ..progressive import GuidanceKind, ProgressiveConfig, ProgressiveWarping, official
from ..pwm import CodesConfig, PwmConfig
from .key_table import SPECTRAL_NORM, Drop, KeyReport, match_keys
from .kinds import GDPW, TITLES, described, kind_of, tensors_of

NAMES: Mapping[GuidanceKind, str] = {
    "displacement": "geom_disp",
    "codes": "neural_codes",
    "both": "both",
}
"""Our guidance -> the public code's word for it."""

_BLUR_TOLERANCE = 1e-6
_CODES = "embeds"
_ENCODER = re.compile(r"down_layers\.x(\d+)\.conv\.weight_orig")
_HEAD = re.compile(r"_(flow|out)\.weight$")
"""Convolutions without a spectral norm."""


@dataclass(frozen=True)
class ImportedProgressive:
    """What a file held.

    Attributes:
        config: the `ProgressiveConfig` that computes the same.
        weights: of `ProgressiveWarping`, by its keys; incomplete if the report is.
        codes: neural codes of FLAME's vertices, ``(V, C)``; None where the guidance has none.
        step: training steps done, 0 where the file does not say.
        report: on every key of the generator.
        notes: what a person should know.
    """

    config: ProgressiveConfig
    weights: Mapping[str, Tensor]
    codes: Float[Tensor, "V C"] | None
    step: int
    report: KeyReport
    notes: tuple[str, ...]

    def animator_config(self) -> PwmConfig:
        """The config of the animator `pwm` that holds this network and its codes."""
        codes = None if self.codes is None else CodesConfig(kind="vertex", count=len(self.codes))
        return PwmConfig(network=self.config, codes=codes)

    def animator_weights(self) -> dict[str, Tensor]:
        """Network and codes under the keys of the animator `pwm`."""
        weights = {f"network.network.{key}": value for key, value in self.weights.items()}
        return weights if self.codes is None else {**weights, "network.codes.codes": self.codes}


def import_gdpw(content: Mapping[str, Any], *, name: str) -> ImportedProgressive:
    """The generator of a GDPW checkpoint as weights of `ProgressiveWarping`.

    Args:
        content: of the file (`torch_files.read_torch_file`).
        name: of the file, for messages.

    Raises:
        ModelFileError: of another kind, of channels that no config has, or made for another blur.
    """
    if kind_of(content) != GDPW:
        raise ModelFileError(
            f"{name}: expected {TITLES[GDPW]}: {', '.join(NAMES.values())}; got {described(content)}"
        )
    tensors = tensors_of(content.get("generator", content))
    config = _config(tensors, name)
    _check_blurs(tensors, name)
    expected = expected_tensors(config)
    if config.guidance != "displacement":
        expected[_CODES] = tensors[_CODES]
    coarsest = f"x{config.multiple}"
    report, taken = match_keys(
        tensors,
        expected,
        renames=SPECTRAL_NORM,
        drops=[
            Drop(r"downsamples\.x\d+\.weight", "blurs, equal to ours"),
            Drop(r"mesh_renderer\.tri", "triangles of the head model"),
            Drop(rf"shortcut_layers\.{coarsest}\..+", "never called by the public code"),
        ],
    )
    codes = taken.pop(_CODES, None)
    step = content.get("global_step", 0)
    notes = ["the discriminator is left out: it is not an animator's"] * ("discriminator" in content)
    if codes is not None:
        notes.append(
            f"its codes lie on {len(codes)} vertices: pose the head model that has them (FLAME: 5023)"
        )
    return ImportedProgressive(
        config=config,
        weights=taken,
        codes=codes,
        step=step if isinstance(step, int) and step >= 0 else 0,
        report=report,
        notes=tuple(notes),
    )


def expected_tensors(config: ProgressiveConfig) -> dict[str, Tensor]:
    """The state dict of a `ProgressiveWarping` without values, on device ``meta``.

    From a network without spectral norms: making one with them takes seconds even there.
    """
    with torch.device("meta"):
        plain = ProgressiveWarping(dataclasses.replace(config, spectral_norm=False)).state_dict()
    expected: dict[str, Tensor] = {}
    for key, value in plain.items():
        if value.ndim != 4 or not config.spectral_norm or _HEAD.search(key):
            expected[key] = value
            continue
        stem = key.removesuffix("weight") + "parametrizations.weight."
        expected[f"{stem}original"] = value
        expected[f"{stem}0._u"] = value.new_empty(len(value))
        expected[f"{stem}0._v"] = value.new_empty(value[0].numel())
    return expected


def _config(tensors: Mapping[str, Tensor], name: str) -> ProgressiveConfig:
    """The config that has these channels, levels and guidance."""
    found = sorted(int(match[1]) for key in tensors if (match := _ENCODER.fullmatch(key)))
    strides = [1 << level for level in range(len(found))]
    if found != strides or len(strides) < 2:
        raise ModelFileError(f"{name}: expected levels x1, x2, x4, .., got {found}")
    channels = [len(tensors[f"down_layers.x{stride}.conv.weight_orig"]) for stride in strides]
    codes = tensors.get(_CODES)
    code_channels = official().code_channels if codes is None or codes.ndim != 2 else codes.shape[1]
    guidance = _guidance(tensors, strides[-1], 0 if codes is None else code_channels, name)
    base = dataclasses.replace(official(guidance), levels=len(strides), code_channels=code_channels)
    for width in (base.width, *(count // stride for stride, count in zip(strides, channels, strict=True))):
        limits = (
            (base.min_channels, base.max_channels) if width == base.width else (channels[0], channels[-1])
        )
        try:
            config = dataclasses.replace(base, width=width, min_channels=limits[0], max_channels=limits[1])
        except HeadwarpError:
            continue
        if [config.channels(stride) for stride in strides] == channels:
            return config
    raise ModelFileError(f"{name}: expected channels that double from level to level, got {channels}")


def _guidance(tensors: Mapping[str, Tensor], stride: int, codes: int, name: str) -> GuidanceKind:
    key = f"up_layers.x{stride}_spade.spade1.shared_conv.0.weight_orig"
    first = tensors.get(key)
    if first is None or first.ndim != 4:
        raise ModelFileError(f"{name}: {key}: expected a convolution of the guidance, found none")
    kinds: dict[tuple[bool, int], GuidanceKind] = {
        (False, 2): "displacement",
        (True, codes): "codes",
        (True, codes + 2): "both",
    }
    kind = kinds.get((codes > 0, first.shape[1]))
    if kind is None:
        raise ModelFileError(
            f"{name}: {key}: expected guidance of 2 channels without {_CODES}, or of {codes} or {codes + 2} "
            f"with it, got {first.shape[1]}"
        )
    return kind


def _check_blurs(tensors: Mapping[str, Tensor], name: str) -> None:
    """The file's blurs are those of `geom.pyramid`; the one of x1 is 0 / 0 in the public code, and unused."""
    for key, value in tensors.items():
        match = re.fullmatch(r"downsamples\.x(\d+)\.weight", key)
        if match is None or match[1] == "1":
            continue
        kernel = blur_kernel(int(match[1]))
        square = (kernel[:, None] * kernel).expand(len(value), 1, -1, -1)
        if value.shape != square.shape or not torch.allclose(
            value.float(), square, rtol=0, atol=_BLUR_TOLERANCE
        ):
            raise ModelFileError(
                f"{name}: {key}: expected a Gaussian of {len(kernel)} x {len(kernel)} taps as in the public "
                f"code, got another blur of {tuple(value.shape)}; this network sees other guidance"
            )
