"""VHAP's tracking, ``tracked_flame_params_N.npz``: a clip in one file, seen by a fixed pinhole camera.

``rotation (T, 3)``, ``translation (T, 3)``, ``neck_pose (T, 3)``, ``jaw_pose (T, 3)``, ``eyes_pose (T, 6)``,
axis-angle; ``shape (300,)``, ``expr (T, 100)``, ``timestep_id (T,)``, ``focal_length (1,)`` in units of the
longer side (where the camera is not calibrated), ``lights (9, 3)``, ``static_offset (1, 5143, 3)``,
``image_size`` (H, W). The camera stands at (0, 0, 1) and looks back along z (OpenGL axes), its axis through
the middle of the frame [VHAP ``model/tracker.py: fill_cam_params_into_sample``].

VHAP's mesh is FLAME's 5,023 vertices and 120 of teeth, hence 5,143; parameters are FLAME's. Its layer adds
``static_offset`` before posing and lets expressions and jaw not move the torso
(``disable_deformation_on_torso``): there its vertices differ from FLAME's. It has no eyelids.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ...geom.cameras import Perspective
from ...geom.errors import ModelFileError
from ..model import HeadModel
from ..params import HeadFit, HeadParams
from ._bridge import (
    Decoded,
    as_perspective,
    columns,
    perspective_note,
    ready_to_write,
    to_reading,
    zeroed_note,
)
from ._codes import neutral_light
from ._content import Content, Tree
from ._extras import as_keys, assumed, extras_of_fit, from_keys
from ._files import packed, write_bytes
from ._source import TRACKED, Source
from ._tree import array, frame_count, holds, rows
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing

SHAPE, EXPRESSION, TEXTURE, TEETH = 300, 100, 100, 120
AHEAD = np.array([0.0, 0.0, 1.0])
"""Where the camera stands."""
POSES = {"rotation": 3, "translation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6}
NAME = "tracked_flame_params_30.npz"


def is_flame_param(tree: Tree) -> bool:
    """Whether a tree holds VHAP's parameters, of a clip or of a frame."""
    return holds(tree, *POSES, "shape", "expr")


def matches(source: Source, content: Content) -> bool:
    """A file with its names."""
    return not source.per_frame and is_flame_param(content.tree)


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    tree = content.tree
    focal = "one focal length" if "focal_length" in tree else "calibrated, not in this file"
    facts: dict[str, object] = {
        "frames": len(rows(tree, "rotation", 3)),
        "shape": rows(tree, "shape", None).shape[1],
        "expression": rows(tree, "expr", None).shape[1],
        "camera": f"perspective, fixed, OpenGL; {focal}",
    }
    if holds(tree, "image_size"):
        height, width = rows(tree, "image_size", 2)[0]
        facts["size"] = f"{width:.0f} x {height:.0f}"
    return facts


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """A tracking of an uncalibrated camera.

    Raises:
        ModelFileError: something is missing, has another shape or is not finite; there is no focal length.
    """
    tree = source.content().tree
    if not holds(tree, "focal_length"):
        raise ModelFileError(
            f"{source.path}: expected a focal_length, got none: the camera was calibrated, or this is one "
            "frame of an exported dataset; give the folder with transforms.json instead"
        )
    size = options.size or _size(tree, source)
    poses = flame_poses(tree)
    frames = frame_count(poses)
    focal = float(rows(tree, "focal_length", 1)[0, 0]) * max(size)
    if not focal > 0:
        raise ModelFileError(f"focal_length: expected a positive number, got {focal:g}")
    middle = torch.tensor([[size[1] / 2, size[0] / 2]], dtype=torch.float64)
    everyone = np.arange(frames)
    extras = from_keys(tree, frames) or assumed(frames, everyone)
    decoded = Decoded(
        **decoded_poses(poses),
        camera=Perspective(torch.full((1, 2), focal, dtype=torch.float64), middle),
        translation=poses["translation"] - AHEAD,
        size=size,
        present=everyone,
        extras=extras,
        notes=offset_notes(tree),
    )
    return to_reading(decoded, head, source=source.path.name)


def _size(tree: Tree, source: Source) -> tuple[int, int]:
    if not holds(tree, "image_size"):
        raise ModelFileError(f"{source.path}: expected image_size (H, W), got none; give --size")
    height, width = rows(tree, "image_size", 2)[0]
    if not (1 <= height < 1e6 and 1 <= width < 1e6):
        raise ModelFileError(f"{source.path}: image_size: expected (H, W) in pixels, got {height}, {width}")
    return int(height), int(width)


def flame_poses(tree: Tree) -> dict[str, np.ndarray]:
    """VHAP's parameters in a tree, (B, .) each, the shape (1, S)."""
    return {
        **{name: rows(tree, name, width) for name, width in POSES.items()},
        "shape": rows(tree, "shape", None),
        "expr": rows(tree, "expr", None),
    }


def decoded_poses(poses: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By our names, all but the translation."""
    ours = {
        "shape": "shape",
        "expr": "expression",
        "rotation": "rotation",
        "neck_pose": "neck",
        "jaw_pose": "jaw",
        "eyes_pose": "eyes",
    }
    return {ours[name]: value for name, value in poses.items() if name in ours}


def offset_notes(tree: Tree) -> tuple[str, ...]:
    """That vertex offsets and textures stay behind, where they are not zero."""
    notes = []
    for name in ("static_offset", "dynamic_offset"):
        largest = float(np.abs(array(tree, name)).max()) if holds(tree, name) and tree[name].size else 0.0  # type: ignore[attr-defined]
        if largest > 0:
            notes.append(f"not carried over: {name}, up to {1000 * largest:.2g} mm")
    left = [name for name in ("tex", "tex_extra", "lights") if holds(tree, name)]
    return (*notes, f"not carried over: {', '.join(left)}") if left else tuple(notes)


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """One ``.npz``; offsets and texture zero, light neutral.

    Args:
        fit, head: a matching pair.
        path: name of the file, or a folder that gets ``tracked_flame_params_30.npz``.
        options: the camera of a weak-perspective fit.

    Raises:
        ModelFileError: the fit is not of this head, the head no FLAME, the focal length varies, or the
            camera's axis is not in the middle of the frame: ``--format vhap-dataset`` holds such cameras.
    """
    params, camera, notes = perspective(fit, head, options)
    focal = _one_focal(fit, camera)
    arrays = pose_arrays(params)
    arrays["translation"] = arrays["translation"] + AHEAD
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    arrays |= {
        "timestep_id": np.array([f"{t:05d}" for t in range(fit.frames)]),
        "n_processed_frames": np.array(fit.frames),
        "focal_length": np.array([focal / max(fit.size)], dtype=np.float32),
        "lights": neutral_light().astype(np.float32),
        "tex": np.zeros(TEXTURE, dtype=np.float32),
        "static_offset": no_offset(head),
        "image_size": np.array(fit.size, dtype=np.int64),
    }
    target = path if path.suffix == ".npz" else path / NAME
    if path.suffix not in ("", ".npz"):
        raise ModelFileError(f"{path}: expected a folder, or a name that ends in .npz")
    write_bytes(target, packed({**arrays, **as_keys(extras_of_fit(fit))}, ".npz"))
    if not TRACKED.fullmatch(target.name):
        notes = (*notes, f"VHAP's exporter looks for names like {NAME}")
    return Writing(target, fit.frames, notes)


def perspective(
    fit: HeadFit, head: HeadModel, options: WriteOptions
) -> tuple[HeadParams, Perspective, tuple[str, ...]]:
    """The head under a pinhole, without eyelids; and what that cost.

    Args:
        fit: of the head.
        head: a FLAME head.
        options: focal length and tolerance.

    Returns:
        Parameters, camera, and notes for people.
    """
    ready_to_write(fit, head)
    params, camera, worst = as_perspective(head, fit, focal=options.focal, tolerance_px=options.tolerance_px)
    return params, camera, (*zeroed_note(fit, "VHAP", "eyelids"), *perspective_note(fit, camera, worst))


def pose_arrays(params: HeadParams) -> dict[str, np.ndarray]:
    """VHAP's arrays, (T, .) each, the shape (300,), float64, the translation in our camera's place.

    Raises:
        ModelFileError: more coefficients than FLAME's.
    """
    shape, cut = columns(params.shape[None].double().numpy(), SHAPE, "shape")
    expression, cut_too = columns(params.expression.double().numpy(), EXPRESSION, "expression")
    if cut or cut_too:
        raise ModelFileError(f"fit: expected {SHAPE} shape and {EXPRESSION} expression columns as FLAME's")
    return {
        "rotation": params.rotation.double().numpy(),
        "translation": params.translation.double().numpy(),
        "neck_pose": params.neck.double().numpy(),
        "jaw_pose": params.jaw.double().numpy(),
        "eyes_pose": params.eyes.double().numpy(),
        "shape": shape[0],
        "expr": expression,
    }


def no_offset(head: HeadModel) -> np.ndarray:
    """A ``static_offset`` of zeros for FLAME's vertices and VHAP's teeth."""
    return np.zeros((1, len(head.template) + TEETH, 3), dtype=np.float32)


def _one_focal(fit: HeadFit, camera: Perspective) -> float:
    focal, middle = camera.focal.double(), torch.tensor([fit.size[1] / 2, fit.size[0] / 2]).double()
    off = float((camera.principal.double() - middle).abs().max())
    spread = float((focal - focal[0, 0]).abs().max() / focal[0, 0])
    if spread > 1e-5 or off > 1e-2:
        raise ModelFileError(
            f"fit: expected one focal length and the camera's axis in the middle of the frame, as a VHAP "
            f"tracking has, got lengths that differ by {100 * spread:.2g} % and an axis {off:.2g} px off; "
            "write the dataset with --format vhap-dataset"
        )
    return float(focal[0, 0])


FORMAT = Format("vhap", "VHAP tracking", (".npz", ""), matches, summary, read, write)
