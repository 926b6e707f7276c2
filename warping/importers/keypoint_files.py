"""What checkpoints of keypoint animators share, [FOMM]'s and [DaGAN]'s: their parts, and one import of them.

A file is ``{generator, kp_detector, discriminator, optimizer_.., epoch}``; only the first two are the
animator's. Their keys are ours already, spectral norms excepted, so that nothing is renamed but those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...geom.depth import DepthConfig
from ...geom.errors import HeadwarpError, ModelFileError
from ..keypoint_network import KeypointNetwork, KeypointNetworkConfig
from .key_table import COUNTERS, SPECTRAL_NORM, KeyReport, beside, joined, match_keys, prefixed
from .keypoint_shapes import attention_of, detector_config, generator_config, motion_config
from .kinds import tensors_of

PARTS = ("kp_detector", "generator")
Sampling = Literal["trained", "corners", "centres"]
"""How the public code's corner grids are sampled: as the checkpoint was trained as far as is known, or as
``grid_sample`` did under torch 1.0 to 1.2 (corners) or does since 1.3 (centres)."""

_LEFT_OUT = {
    "optimizer_generator": "state of its training",
    "optimizer_discriminator": "state of its training",
    "optimizer_kp_detector": "state of its training",
    "epoch": "state of its training",
    "discriminator": "not an animator's",
}


@dataclass(frozen=True)
class ImportedKeypoints:
    """What a checkpoint of a keypoint animator held.

    Attributes:
        config: that computes the same.
        weights: of `KeypointNetwork`, by its keys; incomplete if the report is.
        layout: by its discriminator: ``vox-cpk`` (spectral norms), ``vox-adv-cpk`` (keypoints are its input,
            trained against it), or ``no discriminator``.
        discriminator: its state dict under the public names, for a training that goes on; None if absent.
        step: training steps done, 0 where the file does not say.
        report: on every key of the animator's parts and every other entry of the file.
        notes: what a person should know.
    """

    config: KeypointNetworkConfig
    weights: Mapping[str, Tensor]
    layout: str
    discriminator: Mapping[str, Tensor] | None
    step: int
    report: KeyReport
    notes: tuple[str, ...]


def import_keypoints(
    content: Mapping[str, Any], *, name: str, sample_align_corners: bool, depth: DepthConfig | None = None
) -> ImportedKeypoints:
    """Detector and generator of a checkpoint as weights of `KeypointNetwork`; those of depth are added by
    `dagan`.

    Args:
        content: of the file, of kind FOMM or DaGAN (`kinds.kind_of`).
        name: of the file, for messages.
        sample_align_corners: how grids are sampled.
        depth: of the depth network, where the network looks at depth.

    Raises:
        ModelFileError: sizes that no config has, parts that do not belong together, or another blur.
    """
    parts = {part: tensors_of(content[part]) for part in PARTS}
    config = network_config(parts, name, sample_align_corners=sample_align_corners, depth=depth)
    report, weights = import_parts(content, config)
    discriminator = tensors_of(content.get("discriminator")) or None
    layout = layout_of(discriminator)
    notes = [f"its layout is that of {layout}"] if discriminator else ["it has no discriminator"]
    if isinstance(content.get("epoch"), int):
        notes.append(f"trained for {content['epoch'] + 1} epochs")
    return ImportedKeypoints(
        config=config,
        weights=weights,
        layout=layout,
        discriminator=discriminator,
        step=steps_of(content),
        report=report,
        notes=tuple(notes),
    )


def network_config(
    parts: Mapping[str, Mapping[str, Tensor]],
    name: str,
    *,
    sample_align_corners: bool,
    depth: DepthConfig | None,
) -> KeypointNetworkConfig:
    """The config of these parts.

    Args:
        parts: weights of each network in the file, by its name and key.
        name: of the file, for messages.
        sample_align_corners: how the network was trained to sample grids.
        depth: of the depth network, for animators that have one.

    Raises:
        ModelFileError: parts that do not belong together, or sizes that no config gives.
    """
    detector, generator = parts["kp_detector"], parts["generator"]
    attention, form = attention_of(generator, name)
    keypoints = detector_config(detector, name)
    try:
        return KeypointNetworkConfig(
            keypoints=keypoints,
            motion=motion_config(generator, name, sample_align_corners=sample_align_corners),
            generator=generator_config(generator, name),
            attention=attention,
            attention_form=form,
            depth_keypoints=keypoints.channels != 3,
            depth=depth,
        )
    except ModelFileError:
        raise
    except HeadwarpError as error:
        raise ModelFileError(f"{name}: {error}") from error


def import_parts(
    content: Mapping[str, Any], config: KeypointNetworkConfig
) -> tuple[KeyReport, dict[str, Tensor]]:
    """Detector and generator brought to the keys of `KeypointNetwork`, and a report on the whole file.

    Keys of the depth network are neither expected nor looked for.
    """
    expected = _expected(config)
    reports, weights = [], dict[str, Tensor]()
    for part in PARTS:
        stem = f"{part}."
        own = {key.removeprefix(stem): value for key, value in expected.items() if key.startswith(stem)}
        report, taken = match_keys(content[part], own, renames=SPECTRAL_NORM, optional=COUNTERS)
        reports.append(prefixed(report, file=stem, own=stem))
        weights |= {stem + key: value for key, value in taken.items()}
    return joined(*reports, beside(content, PARTS, left_out=_LEFT_OUT)), weights


def layout_of(discriminator: Mapping[str, Tensor] | None) -> str:
    """Which of the published layouts: see `ImportedKeypoints`.

    Example:
        >>> layout_of({"discs.1.down_blocks.0.conv.weight": torch.zeros(64, 13, 4, 4)})
        'vox-adv-cpk'
    """
    if discriminator is None:
        return "no discriminator"
    spectral = any(key.endswith(".weight_orig") for key in discriminator)
    return "vox-cpk" if spectral else "vox-adv-cpk"


def steps_of(content: Mapping[str, Any]) -> int:
    """Steps that the generator's optimiser did; 0 where the file does not tell."""
    optimizer = content.get("optimizer_generator")
    state = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    entries = state.values() if isinstance(state, Mapping) else ()
    steps = [entry["step"] for entry in entries if isinstance(entry, Mapping) and "step" in entry]
    return max((int(step) for step in steps if isinstance(step, int | float | Tensor)), default=0)


def sampling_note(sampling: Sampling, *, corners: bool, known: str) -> str:
    """How grids are sampled, and why.

    Args:
        sampling: what was asked for.
        corners: what was chosen.
        known: why, for a person.
    """
    chosen = "align_corners=True (torch 1.0)" if corners else "align_corners=False (torch 1.3 and later)"
    why = f"{known}; --sampling says otherwise" if sampling == "trained" else "as asked"
    return f"grids are sampled with {chosen}, {why}"


def _expected(config: KeypointNetworkConfig) -> dict[str, Tensor]:
    """The state dict of a `KeypointNetwork` without values, on device ``meta``."""
    with torch.device("meta"):
        return KeypointNetwork(config).state_dict()
