"""VHAP's exported dataset, which GaussianAvatars and its followers read.

``frames[]`` of ``transforms.json``: ``timestep_index``, ``timestep_index_original``, ``timestep_id``,
``camera_index``, ``camera_id``, ``cx``, ``cy``, ``fl_x``, ``fl_y``, ``h``, ``w``, ``camera_angle_x``,
``camera_angle_y``, ``transform_matrix`` (camera to world, OpenGL axes), ``file_path``, ``fg_mask_path``,
``flame_param_path``. ``flame_param/00000.npz``: VHAP's arrays of one frame, ``canonical_flame_param.npz`` the
open-mouthed template. ``transforms_train.json``, ``_val``, ``_test``: the first seven tenths of the
timesteps, nothing (there is one camera), the rest. Translations are centred on their mean, and the camera
moved with them [VHAP ``export_as_nerf_dataset.py``].

Timesteps are numbered without gaps, as GaussianAvatars needs them: frames that are missing are left out and
named under ``headwarp`` in ``transforms.json``. GaussianAvatars looks at ``camera_angle_x`` alone: it takes
the camera's axis to be in the middle of the frame and pixels to be square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from ...geom.cameras import Perspective
from ...geom.errors import ModelFileError
from ...geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from ..model import HeadModel
from ..params import MISSING, HeadFit
from ._bridge import Decoded, to_reading
from ._content import Content, Tree
from ._extras import Extras, as_json, assumed, extras_of_fit, from_json, json_bytes
from ._files import packed, whole_folder, write_bytes
from ._source import DATASET, Source, read_content
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing
from .metrical import pivots
from .vhap import (
    decoded_poses,
    flame_poses,
    is_flame_param,
    no_offset,
    offset_notes,
    perspective,
    pose_arrays,
)

TRAIN_SHARE = 0.7
CANONICAL = "canonical_flame_param.npz"
CANONICAL_JAW = 0.3
_PARAMS = "flame_param/{:05d}.npz"
_IMAGE = "images/{:05d}_00.png"
_MASK = "fg_masks/{:05d}_00.png"
_SHARED = ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")


def matches(source: Source, content: Content) -> bool:
    """A ``transforms.json`` whose frames have FLAME parameters."""
    frames = content.tree.get("frames")
    first = frames[0] if isinstance(frames, list) and frames else None
    return isinstance(first, Mapping) and "flame_param_path" in first


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    frames = _entries(content.tree)
    times, cameras = ({_number(f, key, 0) for f in frames} for key in ("timestep_index", "camera_index"))
    first = frames[0]
    return {
        "frames": len(times),
        "cameras": len(cameras),
        "size": f"{_number(first, 'w'):.0f} x {_number(first, 'h'):.0f}",
        "camera": "perspective, OpenGL camera-to-world",
    }


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """The dataset as seen by its first camera.

    Raises:
        ModelFileError: something is missing, has another shape, or is not finite; a path leads out of the
            folder.
    """
    tree = source.content().tree
    folder = source.parts[0].parent
    entries, notes = _of_one_camera(_entries(tree))
    poses, offsets = _poses(folder, entries)
    said = from_json(tree["headwarp"]) if "headwarp" in tree else None
    present, extras = _frames(entries, said)
    camera_to_world = torch.from_numpy(np.stack([_matrix(entry) for entry in entries]))
    turn, place = camera_to_world[:, :3, :3].mT, camera_to_world[:, :3, 3]
    pivot = pivots(head, poses["shape"], poses["expr"])
    seen = (turn @ (pivot + torch.from_numpy(poses["translation"]) - place)[..., None])[..., 0]
    rotation = turn @ axis_angle_to_matrix(torch.from_numpy(poses["rotation"]))
    sizes = {(int(_number(e, "h")), int(_number(e, "w"))) for e in entries}
    if len(sizes) > 1:
        raise ModelFileError(f"{source.path}: expected frames of one size, got {sorted(sizes)[:3]}")
    ours = {**decoded_poses(poses), "rotation": matrix_to_axis_angle(rotation).numpy()}
    decoded = Decoded(
        **ours,
        translation=(seen - pivot).numpy(),
        camera=_pinhole(entries),
        size=sizes.pop(),
        present=present,
        extras=extras,
        notes=(*notes, *offsets),
    )
    return to_reading(decoded, head, source=source.path.name)


def _entries(tree: Tree) -> list[Mapping[str, object]]:
    frames = tree.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(f, Mapping) for f in frames):
        raise ModelFileError("frames: expected a list of objects")
    return frames


def _of_one_camera(
    entries: Sequence[Mapping[str, object]],
) -> tuple[list[Mapping[str, object]], tuple[str, ...]]:
    cameras = sorted({_number(entry, "camera_index", 0) for entry in entries})
    chosen = [e for e in entries if _number(e, "camera_index", 0) == cameras[0]]
    chosen.sort(key=lambda e: _number(e, "timestep_index"))
    times = [_number(e, "timestep_index") for e in chosen]
    if len(set(times)) < len(times) or times[0] < 0 or times[-1] > 10_000_000:
        raise ModelFileError("timestep_index: expected a number of its own for every frame of a camera")
    if len(cameras) == 1:
        return chosen, ()
    return chosen, (f"{len(cameras)} cameras: the first (camera_index {cameras[0]:.0f}) was read",)


def _frames(entries: Sequence[Mapping[str, object]], said: Extras | None) -> tuple[np.ndarray, Extras]:
    times = np.array([int(_number(e, "timestep_index")) for e in entries])
    if said is None:
        return times - times[0], assumed(int(times[-1] - times[0]) + 1, times - times[0])
    there = np.flatnonzero(said.status != MISSING)
    if len(there) != len(times):
        raise ModelFileError(f"headwarp: expected {len(there)} frames that are not missing, got {len(times)}")
    return there, said


def _poses(
    folder: Path, entries: Sequence[Mapping[str, object]]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The parameters of all frames, (B, .) each; notes about the first frame's offsets."""
    found: dict[str, list[np.ndarray]] = {}
    notes: tuple[str, ...] = ()
    for index, entry in enumerate(entries):
        path = _inside(folder, entry.get("flame_param_path"))
        content = read_content(path)
        if not is_flame_param(content.tree):
            raise ModelFileError(f"{path}: expected VHAP's parameters, got {', '.join(content.tree)[:80]}")
        try:
            poses = flame_poses(content.tree)
            notes = offset_notes(content.tree) if index == 0 else notes
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error
        for name, value in poses.items():
            found.setdefault(name, []).append(value)
    for name, values in found.items():
        if any(v.shape != (1, values[0].shape[1]) for v in values):
            raise ModelFileError(f"{folder}: {name}: expected one row of the same width in every frame")
    return {name: np.concatenate(values) for name, values in found.items()}, notes


def _inside(folder: Path, name: object) -> Path:
    """A path of the dataset, which must not lead out of it."""
    parts = PurePosixPath(str(name)).parts if isinstance(name, str) else ()
    if not parts or ".." in parts or PurePosixPath(str(name)).is_absolute() or "\0" in str(name):
        raise ModelFileError(f"flame_param_path: expected a path inside the dataset, got {str(name)[:80]!r}")
    return folder.joinpath(*parts)


def _number(entry: Mapping[str, object], key: str, default: float | None = None) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e9:
        raise ModelFileError(f"{key}: expected a number in every frame, got {str(value)[:40]!r}")
    return float(value)


def _matrix(entry: Mapping[str, object]) -> np.ndarray:
    value = entry.get("transform_matrix")
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFileError("transform_matrix: expected 4 x 4 numbers") from error
    rigid = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all())
    if not rigid or np.abs(matrix[:3, :3].T @ matrix[:3, :3] - np.eye(3)).max() > 1e-3:
        raise ModelFileError("transform_matrix: expected a rotation and a place, 4 x 4 numbers")
    return matrix


def _pinhole(entries: Sequence[Mapping[str, object]]) -> Perspective:
    focal, principal = [], []
    for entry in entries:
        width, height = _number(entry, "w"), _number(entry, "h")
        if not (1 <= width < 1e6 and 1 <= height < 1e6):
            raise ModelFileError(f"w, h: expected pixels, got {width:g} x {height:g}")
        angle = _number(entry, "camera_angle_x") if "fl_x" not in entry else 1.0
        across = _number(entry, "fl_x", width / 2 / math.tan(angle / 2) if 0 < angle < math.pi else -1)
        focal.append((across, _number(entry, "fl_y", across)))
        principal.append((_number(entry, "cx", width / 2), _number(entry, "cy", height / 2)))
    if min(map(min, focal)) <= 0:
        raise ModelFileError("fl_x, fl_y, camera_angle_x: expected positive focal lengths")
    return Perspective(torch.tensor(focal).double(), torch.tensor(principal).double())


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """A folder, without the pictures; `tools.convert_fit` adds them where it is given the clip.

    Raises:
        ModelFileError: the fit is not of this head, the head no FLAME, every frame is missing, or the folder
            is not empty.
    """
    if path.suffix:
        raise ModelFileError(f"{path}: expected a folder, not a name with a suffix")
    params, camera, notes = perspective(fit, head, options)
    there = np.flatnonzero(fit.status.numpy() != MISSING)
    if len(there) == 0:
        raise ModelFileError("fit: expected at least one frame with a face, all are missing")
    arrays = pose_arrays(params)
    centre = arrays["translation"][there].mean(0)
    arrays["translation"] = arrays["translation"] - centre
    offset = no_offset(head)
    with whole_folder(path) as folder:
        for index, frame in enumerate(there):
            write_bytes(folder / _PARAMS.format(index), packed(_of_frame(arrays, frame, offset), ".npz"))
        write_bytes(folder / CANONICAL, packed(_canonical(arrays, offset), ".npz"))
        for name, content in _divisions(fit, camera, there, -centre, masks=options.masks).items():
            write_bytes(folder / name, json_bytes(content))
    missing = fit.frames - len(there)
    gaps = (f"{missing} missing frames are left out, timesteps numbered without them",) if missing else ()
    return Writing(path, len(there), (*notes, *gaps, *_centre_note(fit, camera)))


def image_paths(folder: Path, count: int) -> list[tuple[Path, Path]]:
    """Where a dataset's picture and mask of every timestep belong."""
    return [(folder / _IMAGE.format(t), folder / _MASK.format(t)) for t in range(count)]


def _of_frame(arrays: Mapping[str, np.ndarray], frame: int, offset: np.ndarray) -> dict[str, np.ndarray]:
    values = {name: v if name == "shape" else v[frame : frame + 1] for name, v in arrays.items()}
    return {**{name: v.astype(np.float32) for name, v in values.items()}, "static_offset": offset}


def _canonical(arrays: Mapping[str, np.ndarray], offset: np.ndarray) -> dict[str, np.ndarray]:
    still = {name: v if name == "shape" else np.zeros_like(v) for name, v in arrays.items()}
    still["jaw_pose"] = np.array([[CANONICAL_JAW, 0.0, 0.0]])
    return _of_frame(still, 0, offset)


def _divisions(
    fit: HeadFit, camera: Perspective, there: np.ndarray, camera_place: np.ndarray, *, masks: bool
) -> dict[str, Mapping[str, object]]:
    """The JSON files of the dataset by name."""
    frames = [_entry(fit, camera, int(t), index, camera_place) for index, t in enumerate(there)]
    if masks:
        frames = [{**entry, "fg_mask_path": _MASK.format(index)} for index, entry in enumerate(frames)]
    shared = {key: frames[0][key] for key in _SHARED}
    trained = math.ceil(TRAIN_SHARE * len(frames))
    everything = {
        "frames": frames,
        **shared,
        "timestep_indices": list(range(len(frames))),
        "camera_indices": [0],
        "headwarp": as_json(extras_of_fit(fit)),
    }
    parts = {"train": frames[:trained], "val": [], "test": frames[trained:]}
    steps = {"train": range(trained), "val": range(trained), "test": range(trained, len(frames))}
    return {
        DATASET: everything,
        **{
            f"transforms_{name}.json": {
                **shared,
                "frames": part,
                "timestep_indices": list(steps[name]),
                "camera_indices": [] if name == "val" else [0],
            }
            for name, part in parts.items()
        },
    }


def _entry(
    fit: HeadFit, camera: Perspective, frame: int, index: int, camera_place: np.ndarray
) -> dict[str, object]:
    height, width = fit.size
    matrix = np.eye(4)
    matrix[:3, 3] = camera_place
    fl_x, fl_y = (float(v) for v in camera.focal[frame])
    cx, cy = (float(v) for v in camera.principal[frame])
    return {
        "timestep_index": index,
        "timestep_index_original": frame,
        "timestep_id": f"{frame:05d}",
        "camera_index": 0,
        "camera_id": "0",
        "cx": cx,
        "cy": cy,
        "fl_x": fl_x,
        "fl_y": fl_y,
        "h": height,
        "w": width,
        "camera_angle_x": 2 * math.atan(width / (2 * fl_x)),
        "camera_angle_y": 2 * math.atan(height / (2 * fl_y)),
        "transform_matrix": matrix.tolist(),
        "file_path": _IMAGE.format(index),
        "flame_param_path": _PARAMS.format(index),
    }


def _centre_note(fit: HeadFit, camera: Perspective) -> tuple[str, ...]:
    middle = torch.tensor([fit.size[1] / 2, fit.size[0] / 2]).double()
    off = float((camera.principal.double() - middle).norm(dim=1).max())
    oblong = float((camera.focal[:, 0] / camera.focal[:, 1] - 1).abs().max())
    if off <= 0.01 and oblong <= 1e-5:
        return ()
    return (
        f"the camera's axis is {off:.2g} px from the middle of the frame or its pixels are not square: "
        "cx, cy, fl_y say so, GaussianAvatars does not look at them",
    )


FORMAT = Format("vhap-dataset", "VHAP dataset (GaussianAvatars)", ("",), matches, summary, read, write)
