"""pixel3dmm's ``.frame`` files: FLAME with a neck, its own head rotation about the origin, a fixed camera.

``flame``: ``exp (1, 100)``, ``shape (1, 300)``, ``eyes (1, 12)``, ``eyelids (1, 2)``, ``jaw (1, 6)``,
``neck (1, 6)``, ``R (1, 6)``, ``R_rotation_matrix (1, 3, 3)``, ``t (1, 3)``. ``camera``: ``R_base_0
(1, 3, 3)``, ``t_base_0 (1, 3)`` world to camera in OpenGL's axes, ``fl (1, 1)`` in frame sides, ``pp (1, 2)``
in units of ``size / 2 + 0.5``. ``joint_transforms (1, 5, 4, 4)``, rest to posed. ``img_size``, ``frame_id``
(number) [pixel3dmm ``tracking/tracker.py: save_checkpoint``].

A point is ``R v + t`` with v posed without root rotation, and in pixels ``cx + f x / -z``, ``cy - f y / -z``
with ``cx = size / 2 + 0.5 + pp (size / 2 + 0.5)``, as its renderer draws it. (For its landmarks
``project_points_screen_space`` gives one pixel less in x.) Frames are square: others are taken to be padded
at the right or below. Eyelids are added after the neck has turned there, here before: closed lids differ by
the neck's turn. Lid 0 is the shape in ``l_eyelid.npy``, taken for the subject's left.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...geom.cameras import Perspective
from ...geom.errors import ModelFileError
from ...geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from ..model import HeadModel
from ..params import HeadFit, HeadParams
from ..skinning import joint_transforms
from ._bridge import (
    Decoded,
    as_perspective,
    columns,
    perspective_note,
    ready_to_write,
    rest_joints,
    to_reading,
)
from ._codes import frames_of_parts
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
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing
from .metrical import frame_size, pivots, positive

SHAPE, EXPRESSION = 300, 100
AHEAD = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
"""Where its camera stands, looking back along z; as VHAP's."""
_WANTED: Mapping[str, int | None] = {
    "flame.shape": None,
    "flame.exp": None,
    "flame.jaw": 6,
    "flame.neck": 6,
    "flame.eyes": 12,
    "flame.eyelids": 2,
    "flame.R": 6,
    "flame.t": 3,
    "img_size": 2,
    "camera.R_base_0": 9,
    "camera.t_base_0": 3,
    "camera.fl": 1,
    "camera.pp": 2,
}


def matches(source: Source, content: Content) -> bool:
    """A nested dict with the head's pose in ``flame``."""
    return is_frame(content, flame=("exp", "shape", "R", "t"))


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    return frame_summary(source, content, camera="perspective, fixed, OpenGL")


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """A ``.frame`` file or a folder of them.

    Raises:
        ModelFileError: something is missing, has another shape, or is not finite; or frames of several sizes.
    """
    found = collected(source, _WANTED, ("flame.neck", "flame.eyelids"))
    size = frame_size(found["img_size"], source.path)
    side = max(size)
    base = torch.from_numpy(found["camera.R_base_0"]).reshape(-1, 3, 3)
    turn = base @ rows_to_matrix(torch.from_numpy(found["flame.R"]))
    moved = (base @ torch.from_numpy(found["flame.t"])[..., None])[..., 0]
    place = moved + torch.from_numpy(found["camera.t_base_0"])
    pivot = pivots(head, found["flame.shape"], found["flame.exp"])
    present, extras = frames_of_parts(source)
    focal = positive(torch.from_numpy(found["camera.fl"]) * side, "camera.fl").expand(-1, 2)
    unit = side / 2 + 0.5
    decoded = Decoded(
        shape=found["flame.shape"],
        expression=found["flame.exp"],
        rotation=matrix_to_axis_angle(turn).numpy(),
        translation=(place - pivot + (turn @ pivot[..., None])[..., 0]).numpy(),
        neck=rows_to_axis_angle(found["flame.neck"]) if "flame.neck" in found else None,
        jaw=rows_to_axis_angle(found["flame.jaw"]),
        eyes=rows_to_axis_angle(found["flame.eyes"]),
        eyelids=found.get("flame.eyelids"),
        camera=Perspective(focal, torch.from_numpy(found["camera.pp"]) * unit + unit),
        size=extras.size or size,
        present=present,
        extras=extras,
    )
    return to_reading(decoded, head, source=source.path.name)


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """A folder of ``.frame`` files (or one), the camera one metre before the origin.

    Raises:
        ModelFileError: the fit is not of this head, the head no FLAME, pixels are not square, or it cannot
            be written.
    """
    ready_to_write(fit, head)
    params, camera, worst = as_perspective(head, fit, focal=options.focal, tolerance_px=options.tolerance_px)
    if not torch.allclose(camera.focal[:, 0], camera.focal[:, 1], rtol=1e-6):
        raise ModelFileError("fit: expected square pixels, which pixel3dmm assumes; resize the frames")
    side = max(fit.size)
    unit = side / 2 + 0.5
    rotation = axis_angle_to_matrix(params.rotation.double())
    joints = rest_joints(head, params.shape, params.expression)
    pivot = joints[:, 0]
    place = params.translation.double() + pivot - (rotation @ pivot[..., None])[..., 0] + AHEAD
    shape, cut = columns(params.shape[None].double().numpy(), SHAPE, "shape")
    expression, cut_too = columns(params.expression.double().numpy(), EXPRESSION, "expression")
    turns = {n: axis_angle_to_rows(getattr(params, n).double()) for n in ("eyes", "jaw", "neck", "rotation")}
    bones = _bones(head, params, joints)

    def payload(frame: int) -> Mapping[str, object]:
        return {
            "flame": {
                "exp": one(expression, frame),
                "shape": shape.astype(np.float32),
                "eyes": one(turns["eyes"], frame),
                "eyelids": one(params.eyelids, frame),
                "jaw": one(turns["jaw"], frame),
                "neck": one(turns["neck"], frame),
                "R": one(matrix_to_rows(rotation), frame),
                "R_rotation_matrix": one(rotation, frame),
                "t": one(place, frame),
            },
            "img_size": np.array([side, side], dtype=np.int64),
            "frame_id": frame,
            "global_step": 0,
            "camera": {
                "R_base_0": np.eye(3, dtype=np.float32)[None],
                "t_base_0": -AHEAD.numpy()[None].astype(np.float32),
                "fl": one(camera.focal[:, :1].double() / side, frame),
                "pp": one((camera.principal.double() - unit) / unit, frame),
            },
            "joint_transforms": one(bones, frame),
        }

    written = write_frames(fit, path, payload)
    notes = (*cut, *cut_too, *_square_note(fit), *perspective_note(fit, camera, worst), *_lid_note(fit))
    return Writing(path, written, notes)


def _bones(head: HeadModel, params: HeadParams, joints: Tensor) -> Tensor:
    """Rest-to-posed maps of the joints without the root's turn, (T, 5, 4, 4)."""
    turns = (
        torch.cat([torch.zeros_like(params.neck), params.neck, params.jaw, params.eyes], dim=1)
        .double()
        .unflatten(1, (5, 3))
    )
    maps = joint_transforms(joints, axis_angle_to_matrix(turns), parents=head.parents)
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=maps.dtype).expand(len(maps), 5, 1, 4)
    return torch.cat([maps, last], dim=2)


def _square_note(fit: HeadFit) -> tuple[str, ...]:
    if fit.size[0] == fit.size[1]:
        return ()
    side = max(fit.size)
    return (f"pixel3dmm's frames are square: pad the images at the right or below to {side} x {side}",)


def _lid_note(fit: HeadFit) -> tuple[str, ...]:
    if not fit.params.neck.any() or not fit.params.eyelids.any():
        return ()
    return ("pixel3dmm adds eyelids after the neck has turned: its closed lids lie otherwise",)


FORMAT = Format("pixel3dmm", "pixel3dmm .frame", ("", ".frame"), matches, summary, read, write)
