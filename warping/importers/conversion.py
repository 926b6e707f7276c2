"""Files of other projects, in any order, as one checkpoint of ours; names and shapes tell which is what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...geom.depth_pose import DepthPoseConfig
from ...geom.errors import ModelFileError
from ...geom.relative_pose import PoseConfig
from ..checkpoints import ANIMATOR
from ..heser_files import BLENDER, KIND
from .dagan import import_dagan
from .depth import ImportedDepth, ImportedPose, import_depth, import_pose
from .fomm import import_fomm
from .gdpw import import_gdpw
from .heser import import_heser
from .heser_blender import import_heser_blender
from .key_table import KeyReport, joined, prefixed
from .keypoint_files import ImportedKeypoints, Sampling
from .kinds import (
    DAGAN,
    DEPTH_DECODER,
    DEPTH_ENCODER,
    FOMM,
    GDPW,
    HESER,
    HESER_BLENDER,
    POSE_DECODER,
    POSE_ENCODER,
    TITLES,
    described,
    heser_without,
    kind_of,
)

DEPTH = "depth"
"""Name and kind of a checkpoint with depth and pose networks, as ``headwarp train depth`` leaves it."""
_COMPANIONS = {
    GDPW: (),
    HESER: (),
    HESER_BLENDER: (),
    FOMM: (),
    DAGAN: (DEPTH_ENCODER, DEPTH_DECODER),
    DEPTH_ENCODER: (DEPTH_DECODER, POSE_ENCODER, POSE_DECODER),
}
"""The file that a conversion is about -> kinds of the files that may lie beside it."""
_NO_POSE = (
    "its pose network is missing, which says motion and intrinsics: give pose_encoder.pth and pose.pth of "
    "the same training beside it"
)


@dataclass(frozen=True)
class Conversion:
    """One checkpoint of ours, not yet written.

    Attributes:
        name: an animator's registered one, ``pwm``, ``fomm``, ``dagan`` or ``heser``, `DEPTH` or `BLENDER`.
        kind: of the checkpoint: ``animator``, `DEPTH` or that of blenders.
        main: name of the file that it is about.
        config: for the checkpoint's header.
        network: config of its network.
        weights: by the keys of animator or network; incomplete if the report is.
        step: training steps done, 0 where no file says.
        report: on every key of every file.
        notes: what a person should know.
    """

    name: str
    kind: str
    main: str
    config: Any
    network: Any
    weights: Mapping[str, Tensor]
    step: int
    report: KeyReport
    notes: tuple[str, ...]


def convert(contents: Mapping[str, Mapping[str, Any]], *, sampling: Sampling = "trained") -> Conversion:
    """Import an animator, or depth and pose networks, from their files.

    Args:
        contents: name of a file, for messages -> its content (`torch_files.read_torch_file`).
        sampling: of the grids of keypoint animators.

    Raises:
        ModelFileError: a file of no known kind, two of one kind, files that do not belong together, half of a
            network, or a sampling where no grid of corners is sampled.
    """
    files = _by_kind(contents)
    main = next((kind for kind in _COMPANIONS if kind in files), None)
    if main is None:
        found = " and ".join(TITLES[kind] for kind in files) or "none"
        wanted = ", ".join(_COMPANIONS)
        raise ModelFileError(
            f"{', '.join(contents) or 'input'}: expected one of {wanted} among the files, got {found}"
        )
    for kind, name in files.items():
        if kind != main and kind not in _COMPANIONS[main]:
            raise ModelFileError(f"{name}: {TITLES[kind]} is no part of {TITLES[main]}; leave it out")
    name = files[main]
    content = contents[name]
    if main in (GDPW, HESER, HESER_BLENDER, DEPTH_ENCODER) and sampling != "trained":
        raise ModelFileError(f"{name}: sampling: expected 'trained' for {TITLES[main]}, got {sampling!r}")
    if main == GDPW:
        return _progressive(content, name)
    if main == HESER:
        return _aligner(content, name)
    if main == HESER_BLENDER:
        return _blender(content, name)
    if main == DEPTH_ENCODER:
        return _depth_and_pose(contents, files)
    if main == FOMM:
        return _keypoints("fomm", name, import_fomm(content, name=name, sampling=sampling))
    depth = _depth(contents, files)
    return _keypoints("dagan", name, import_dagan(content, depth, name=name, sampling=sampling))


def _by_kind(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Kind -> name of its file."""
    files: dict[str, str] = {}
    for name, content in contents.items():
        kind = kind_of(content)
        if (half := heser_without(content)) is not None:
            raise ModelFileError(f"{name}: {half}; give the whole file, as its training saved it")
        if kind is None:
            known = "; ".join(TITLES.values())
            raise ModelFileError(f"{name}: expected one of: {known}; got {described(content)}")
        if kind in files:
            raise ModelFileError(f"{name}: a second file with {TITLES[kind]}, after {files[kind]}")
        files[kind] = name
    return files


def _progressive(content: Mapping[str, Any], name: str) -> Conversion:
    imported = import_gdpw(content, name=name)
    return Conversion(
        name="pwm",
        kind=ANIMATOR,
        main=name,
        config=imported.animator_config(),
        network=imported.config,
        weights=imported.animator_weights(),
        step=imported.step,
        report=imported.report,
        notes=imported.notes,
    )


def _aligner(content: Mapping[str, Any], name: str) -> Conversion:
    imported = import_heser(content, name=name)
    return Conversion(
        name="heser",
        kind=ANIMATOR,
        main=name,
        config=imported.config,
        network=imported.config,
        weights={f"network.{key}": value for key, value in imported.weights.items()},
        step=0,
        report=imported.report,
        notes=imported.notes,
    )


def _blender(content: Mapping[str, Any], name: str) -> Conversion:
    imported = import_heser_blender(content, name=name)
    return Conversion(
        name=BLENDER,
        kind=KIND,
        main=name,
        config=imported.config,
        network=imported.config,
        weights=imported.weights,
        step=0,
        report=imported.report,
        notes=imported.notes,
    )


def _keypoints(animator: str, name: str, imported: ImportedKeypoints) -> Conversion:
    return Conversion(
        name=animator,
        kind=ANIMATOR,
        main=name,
        config=imported.config,
        network=imported.config,
        weights={f"network.{key}": value for key, value in imported.weights.items()},
        step=imported.step,
        report=imported.report,
        notes=imported.notes,
    )


def _depth_and_pose(contents: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]) -> Conversion:
    depth = _depth(contents, files)
    assert depth is not None  # its encoder is what brought us here
    pose = _pose(contents, files)
    reports = [prefixed(depth.report, own="depth.")]
    weights = {f"depth.{key}": value for key, value in depth.weights.items()}
    notes = depth.notes
    if pose is None:
        reports.append(KeyReport((), ("pose.encoder", "pose.decoder"), (), (), ()))
        notes = (*notes, _NO_POSE)
    else:
        reports.append(prefixed(pose.report, own="pose."))
        weights |= {f"pose.{key}": value for key, value in pose.weights.items()}
    config = DepthPoseConfig(depth.config, PoseConfig(form="official") if pose is None else pose.config)
    return Conversion(
        name=DEPTH,
        kind=DEPTH,
        main=files[DEPTH_ENCODER],
        config=config,
        network=config,
        weights=weights,
        step=0,
        report=joined(*reports),
        notes=notes,
    )


def _depth(contents: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]) -> ImportedDepth | None:
    """The depth network of its two files; None where there is neither."""
    names = _pair(files, DEPTH_ENCODER, DEPTH_DECODER)
    return None if names is None else import_depth(contents[names[0]], contents[names[1]], names=names)


def _pose(contents: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]) -> ImportedPose | None:
    """The pose network of its two files; None where there is neither."""
    names = _pair(files, POSE_ENCODER, POSE_DECODER)
    return None if names is None else import_pose(contents[names[0]], contents[names[1]], names=names)


def _pair(files: Mapping[str, str], encoder: str, decoder: str) -> tuple[str, str] | None:
    """Names of a network's two files; None where there is neither."""
    first, second = files.get(encoder), files.get(decoder)
    if first is None and second is None:
        return None
    if first is None or second is None:
        lacking = encoder if first is None else decoder
        raise ModelFileError(f"{first or second}: expected {TITLES[lacking]} beside it; give both files")
    return first, second
