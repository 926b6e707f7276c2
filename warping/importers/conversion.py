"""Files of other projects, in any order, as one checkpoint of ours; names and shapes tell which is what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...geom.errors import ModelFileError
from .dagan import import_dagan
from .depth import ImportedDepth, import_depth
from .fomm import import_fomm
from .gdpw import import_gdpw
from .key_table import KeyReport
from .keypoint_files import ImportedKeypoints, Sampling
from .kinds import DAGAN, DEPTH_DECODER, DEPTH_ENCODER, FOMM, GDPW, TITLES, described, kind_of

_COMPANIONS = {GDPW: (), FOMM: (), DAGAN: (DEPTH_ENCODER, DEPTH_DECODER)}
"""An animator's file -> kinds of the files that may lie beside it."""


@dataclass(frozen=True)
class Conversion:
    """One checkpoint of ours, not yet written.

    Attributes:
        animator: its registered name: ``pwm``, ``fomm`` or ``dagan``.
        main: name of the file that holds it.
        config: of the animator, for the checkpoint's header.
        network: config of its network.
        weights: by the animator's keys; incomplete if the report is.
        step: training steps done, 0 where no file says.
        report: on every key of every file.
        notes: what a person should know.
    """

    animator: str
    main: str
    config: Any
    network: Any
    weights: Mapping[str, Tensor]
    step: int
    report: KeyReport
    notes: tuple[str, ...]


def convert(contents: Mapping[str, Mapping[str, Any]], *, sampling: Sampling = "trained") -> Conversion:
    """Import an animator from its files.

    Args:
        contents: name of a file, for messages -> its content (`torch_files.read_torch_file`).
        sampling: of the grids of keypoint animators.

    Raises:
        ModelFileError: a file of no known kind, two of one kind, files that do not belong together, none that
            holds an animator, or a sampling where no grid of corners is sampled.
    """
    files = _by_kind(contents)
    main = next((kind for kind in _COMPANIONS if kind in files), None)
    if main is None:
        raise ModelFileError(
            f"{', '.join(contents)}: expected a checkpoint of an animator ({', '.join(_COMPANIONS)}), got "
            f"{' and '.join(TITLES[kind] for kind in files) or 'no file'}"
        )
    for kind, name in files.items():
        if kind != main and kind not in _COMPANIONS[main]:
            raise ModelFileError(f"{name}: {TITLES[kind]} is no part of {TITLES[main]}; leave it out")
    name = files[main]
    content = contents[name]
    if main == GDPW:
        return _progressive(content, name, sampling)
    if main == FOMM:
        return _keypoints("fomm", name, import_fomm(content, name=name, sampling=sampling))
    depth = _depth(contents, files)
    return _keypoints("dagan", name, import_dagan(content, depth, name=name, sampling=sampling))


def _by_kind(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Kind -> name of its file."""
    files: dict[str, str] = {}
    for name, content in contents.items():
        kind = kind_of(content)
        if kind is None:
            known = "; ".join(TITLES.values())
            raise ModelFileError(f"{name}: expected one of: {known}; got {described(content)}")
        if kind in files:
            raise ModelFileError(f"{name}: a second file with {TITLES[kind]}, after {files[kind]}")
        files[kind] = name
    return files


def _progressive(content: Mapping[str, Any], name: str, sampling: Sampling) -> Conversion:
    if sampling != "trained":
        raise ModelFileError(f"{name}: sampling: expected 'trained' for weights of [PWM], got {sampling!r}")
    imported = import_gdpw(content, name=name)
    return Conversion(
        animator="pwm",
        main=name,
        config=imported.animator_config(),
        network=imported.config,
        weights=imported.animator_weights(),
        step=imported.step,
        report=imported.report,
        notes=imported.notes,
    )


def _keypoints(animator: str, name: str, imported: ImportedKeypoints) -> Conversion:
    return Conversion(
        animator=animator,
        main=name,
        config=imported.config,
        network=imported.config,
        weights={f"network.{key}": value for key, value in imported.weights.items()},
        step=imported.step,
        report=imported.report,
        notes=imported.notes,
    )


def _depth(contents: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]) -> ImportedDepth | None:
    """The depth network of its two files; None where there is neither."""
    names = [files.get(kind) for kind in (DEPTH_ENCODER, DEPTH_DECODER)]
    encoder, decoder = names
    if encoder is None and decoder is None:
        return None
    if encoder is None or decoder is None:
        lacking = DEPTH_ENCODER if encoder is None else DEPTH_DECODER
        raise ModelFileError(f"{encoder or decoder}: expected {TITLES[lacking]} beside it; give both files")
    return import_depth(contents[encoder], contents[decoder], names=(encoder, decoder))
