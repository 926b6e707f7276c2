"""metrical-tracker's ``.frame`` files: FLAME without root and neck, its camera carries the head's pose.

``flame``: ``exp (1, 100)``, ``shape (1, 300)``, ``tex (1, 140)``, ``sh (1, 9, 3)``, ``eyes (1, 12)`` (two
six-number rotations), ``eyelids (1, 2)``, ``jaw (1, 6)``. ``camera``: PyTorch3D's ``R (1, 6)``, ``t (1, 3)``,
``fl (1, 1)``, ``pp (1, 2)`` in NDC, whose unit is half the shorter side. ``opencv``: the same camera as
``R (1, 3, 3)``, ``t (1, 3)``, ``K (1, 3, 3)`` in pixels; it is what is read where it is there. ``img_size``
(H, W), ``frame_id`` (text), ``global_step`` [metrical-tracker ``tracker.py: save_checkpoint``].

Their camera turns the head about the model's origin, ours about the root joint J0, which follows shape and
expression: ``t' = t + J0 - R J0``. Its first eye is FLAME's left one (joint 3), though ``tracker.py`` calls
it ``right_eye``. Eyelids are added after skinning there, which without a neck is the same. Lid 0 is the
shape in ``l_eyelid.npy``, taken for the subject's left.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...geom.cameras import (
    MODEL_TO_CAMERA,
    Perspective,
    PyTorch3DCamera,
    extrinsics_from_pytorch3d,
    perspective_from_pytorch3d,
    to_pytorch3d,
)
from ...geom.errors import ModelFileError
from ...geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from ..model import HeadModel
from ..params import HeadFit
from ._bridge import (
    Decoded,
    as_perspective,
    columns,
    neck_note,
    perspective_note,
    ready_to_write,
    root_joint,
    to_reading,
    without_neck,
)
from ._codes import frames_of_parts, neutral_light
from ._content import Content
from ._frame_files import (
    axis_angle_to_rows,
    collected,
    frame_summary,
    is_frame,
    matrix_to_rows,
    one,
    rows_to_axis_angle,
    rows_to_matrix,
    write_frames,
)
from ._source import Source
from ._tree import branch
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing

SHAPE, EXPRESSION, TEXTURE = 300, 100, 140
_WANTED: Mapping[str, int | None] = {
    "flame.shape": None,
    "flame.exp": None,
    "flame.jaw": 6,
    "flame.eyes": 12,
    "flame.eyelids": 2,
    "img_size": 2,
    "camera.R": 6,
    "camera.t": 3,
    "camera.fl": None,
    "camera.pp": 2,
}
_OPENCV: Mapping[str, int | None] = {"opencv.R": 9, "opencv.t": 3, "opencv.K": 9}


def matches(source: Source, content: Content) -> bool:
    """A nested dict whose ``camera`` holds the head's pose."""
    return is_frame(content, flame=("exp", "shape", "jaw")) and "R" in branch(content.tree, "camera")


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    both = " and OpenCV" if "opencv" in content.tree else ""
    return frame_summary(source, content, camera=f"perspective, PyTorch3D NDC{both}")


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """A ``.frame`` file or a folder of them.

    Raises:
        ModelFileError: something is missing, has another shape, or is not finite; or frames of several sizes.
    """
    has_opencv = "opencv" in source.content().tree
    found = collected(source, {**_WANTED, **(_OPENCV if has_opencv else {})}, ("flame.eyelids",))
    size = frame_size(found["img_size"], source.path)
    turn, place, camera = _opencv_camera(found) if has_opencv else _ndc_camera(found, size)
    present, extras = frames_of_parts(source)
    shape, expression = found["flame.shape"], found["flame.exp"]
    flip = MODEL_TO_CAMERA.double()
    rotation = flip @ turn
    pivot = pivots(head, shape, expression)
    translation = place @ flip - pivot + (rotation @ pivot[..., None])[..., 0]
    decoded = Decoded(
        shape=shape,
        expression=expression,
        rotation=matrix_to_axis_angle(rotation).numpy(),
        translation=translation.numpy(),
        jaw=rows_to_axis_angle(found["flame.jaw"]),
        eyes=rows_to_axis_angle(found["flame.eyes"]),
        eyelids=found.get("flame.eyelids"),
        camera=camera,
        size=size,
        present=present,
        extras=extras,
        notes=("not carried over: tex, sh",),
    )
    return to_reading(decoded, head, source=source.path.name)


def frame_size(sizes: np.ndarray, path: Path) -> tuple[int, int]:
    """(H, W), the same in all files.

    Raises:
        ModelFileError: it is not.
    """
    if (sizes != sizes[0]).any() or not (sizes[0] >= 1).all() or not (sizes[0] < 1e6).all():
        raise ModelFileError(
            f"{path}: img_size: expected one (H, W) for all frames, got {sizes[:3].tolist()}"
        )
    return int(sizes[0, 0]), int(sizes[0, 1])


def pivots(head: HeadModel, shape: np.ndarray, expression: np.ndarray) -> Tensor:
    """J0 of every record (B, 3), float64, from coefficients with any number of columns.

    Args:
        head: a FLAME head.
        shape: a row a record, or one for all.
        expression: a row a record, or one for all.
    """
    fitting = [
        columns(v, basis.shape[2], "")[0]
        for v, basis in ((shape, head.shape_basis), (expression, head.expression_basis))
    ]
    count = max(len(shape), len(expression))
    wide = [torch.from_numpy(np.broadcast_to(v, (count, v.shape[1])).copy()) for v in fitting]
    return root_joint(head, *wide)


def _opencv_camera(found: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor, Perspective]:
    """World-to-camera rotation and place, and the pinhole."""
    turn = torch.from_numpy(found["opencv.R"]).reshape(-1, 3, 3)
    if (turn @ turn.mT - torch.eye(3).double()).abs().max() > 1e-3 or (torch.linalg.det(turn) <= 0).any():
        raise ModelFileError("opencv.R: expected rotation matrices")
    matrix = torch.from_numpy(found["opencv.K"]).reshape(-1, 3, 3)
    focal = torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], 1)
    return (
        turn,
        torch.from_numpy(found["opencv.t"]),
        Perspective(positive(focal, "opencv.K"), matrix[:, :2, 2]),
    )


def positive(focal: Tensor, name: str) -> Tensor:
    """Focal lengths, checked.

    Raises:
        ModelFileError: one is not positive.
    """
    if not bool((focal > 0).all()):
        raise ModelFileError(f"{name}: expected positive focal lengths, got {float(focal.min()):g}")
    return focal


def _ndc_camera(found: Mapping[str, np.ndarray], size: tuple[int, int]) -> tuple[Tensor, Tensor, Perspective]:
    parts = {key: torch.from_numpy(found[f"camera.{key}"]) for key in ("R", "t", "fl", "pp")}
    camera = PyTorch3DCamera(
        rotation=rows_to_matrix(parts["R"]),
        translation=parts["t"],
        focal_length=positive(parts["fl"][:, [0, -1]], "camera.fl"),
        principal_point=parts["pp"],
    )
    return *extrinsics_from_pytorch3d(camera), perspective_from_pytorch3d(camera, size)


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """A folder of ``.frame`` files (or one), both cameras; texture zero, light neutral.

    Raises:
        ModelFileError: the fit is not of this head, the head no FLAME, or it cannot be written.
    """
    ready_to_write(fit, head)
    placed, camera, worst = as_perspective(head, fit, focal=options.focal, tolerance_px=options.tolerance_px)
    params = without_neck(head, placed)
    flip = MODEL_TO_CAMERA.double()
    rotation = axis_angle_to_matrix(params.rotation)
    pivot = root_joint(head, params.shape, params.expression)
    place = (pivot - (rotation @ pivot[..., None])[..., 0] + params.translation) @ flip
    turn = flip @ rotation
    ndc = to_pytorch3d(double(camera), fit.size, rotation=turn, translation=place)
    focal = (
        ndc.focal_length
        if bool((ndc.focal_length[:, 0] != ndc.focal_length[:, 1]).any())
        else (ndc.focal_length[:, :1])
    )
    shape, cut = columns(params.shape[None].numpy(), SHAPE, "shape")
    expression, cut_too = columns(params.expression.numpy(), EXPRESSION, "expression")
    jaw, eyes = axis_angle_to_rows(params.jaw), axis_angle_to_rows(params.eyes)
    matrix = intrinsics(camera)

    def payload(frame: int) -> Mapping[str, object]:
        return {
            "flame": {
                "exp": one(expression, frame),
                "shape": shape.astype(np.float32),
                "tex": np.zeros((1, TEXTURE), np.float32),
                "sh": neutral_light()[None].astype(np.float32),
                "eyes": one(eyes, frame),
                "eyelids": one(params.eyelids, frame),
                "jaw": one(jaw, frame),
            },
            "camera": {
                "R": one(matrix_to_rows(ndc.rotation), frame),
                "t": one(ndc.translation, frame),
                "fl": one(focal, frame),
                "pp": one(ndc.principal_point, frame),
            },
            "opencv": {"R": one(turn, frame), "t": one(place, frame), "K": one(matrix, frame)},
            "img_size": np.array(fit.size, dtype=np.int64),
            "frame_id": f"{frame:05d}",
            "global_step": 0,
        }

    written = write_frames(fit, path, payload)
    notes = (*cut, *cut_too, *neck_note(fit, "metrical-tracker"), *perspective_note(fit, camera, worst))
    return Writing(path, written, notes)


def double(camera: Perspective) -> Perspective:
    """The same in float64."""
    return Perspective(camera.focal.double(), camera.principal.double())


def intrinsics(camera: Perspective) -> Tensor:
    """OpenCV's K, (T, 3, 3), float64."""
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(camera.focal), 1, 1)
    matrix[:, 0, 0], matrix[:, 1, 1] = camera.focal.double().unbind(1)
    matrix[:, :2, 2] = camera.principal.double()
    return matrix


FORMAT = Format("metrical", "metrical-tracker .frame", ("", ".frame"), matches, summary, read, write)
