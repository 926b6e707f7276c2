"""OBJ sequences: the posed mesh of every frame as ``00000.obj``, ``00001.obj``.. in one folder."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ... import __version__
from ...geom.cameras import MODEL_TO_CAMERA, Perspective
from ...geom.errors import HeadwarpError, ModelFileError
from ...geom.mesh import vertex_normals
from ..model import HeadModel
from ..params import STATUS_NAMES, HeadFit, check_model
from ..posing import posed_points
from ._frames import not_detected

AxesName = Literal["model", "camera"]
AXES = {
    "model": "x to the subject's left, y up, z to the front",
    "camera": "x right, y down, z forward, as the camera of each file's header sees them",
}
_CHUNK = 16  # frames posed at a time
_OURS = re.compile(r"\d{5,}\.obj")


@dataclass(frozen=True)
class ObjReport:
    """What was written.

    Attributes:
        folder: it holds one file a frame.
        frames: files.
        axes: ``model`` or ``camera``.
        not_detected: frames whose face was not seen; their pose is the fit's guess, and their headers say so.
    """

    folder: Path
    frames: int
    axes: AxesName
    not_detected: tuple[int, ...]


def write_obj_sequence(
    model: HeadModel,
    fit: HeadFit,
    folder: str | os.PathLike[str],
    *,
    axes: AxesName = "model",
    normals: bool = False,
) -> ObjReport:
    """Write the posed mesh of every frame as a numbered OBJ; the folder appears whole or not at all.

    Metres. Vertices and faces are the model's, in its order; texture coordinates where the head has them.
    Each header names the axes, the frame's status and, for ``camera`` axes, the numbers that project the
    vertices to pixels. Sixteen frames are in memory at a time. A folder of an earlier export is replaced.

    Args:
        model: the head of the fit.
        fit: T frames.
        folder: the sequence's own folder.
        axes: ``model`` (as every head model) or ``camera`` (as the camera sees the head).
        normals: write vertex normals too.

    Raises:
        ModelFileError: the fit belongs to another head model, or the folder cannot be written.
        HeadwarpError: unknown axes, parameters that are not finite, or a folder that holds other files.
    """
    folder = Path(os.path.abspath(folder))
    check_model(fit, model.model_id)
    if axes not in AXES:
        raise HeadwarpError(f"axes: expected {' or '.join(AXES)}, got {axes!r}")
    _check_target(folder)
    tail = _faces_text(model, normals=normals)
    with _whole_folder(folder) as temporary:
        for frame, verts in enumerate(_posed(model, fit, axes=axes)):
            header = _header(model, fit, frame, axes=axes)
            text = header + _body(verts, model, normals=normals)
            (temporary / f"{frame:05d}.obj").write_text(text + tail, encoding="ascii")
    return ObjReport(folder=folder, frames=fit.frames, axes=axes, not_detected=not_detected(fit))


def _posed(model: HeadModel, fit: HeadFit, *, axes: str) -> Iterator[Tensor]:
    """Vertices (V, 3) of one frame after another."""
    for start in range(0, fit.frames, _CHUNK):
        verts = posed_points(model, fit.params.select(slice(start, start + _CHUNK)))
        if not torch.isfinite(verts).all():
            raise HeadwarpError(
                f"export: expected finite vertices, got NaN in frames from {start}; fit again"
            )
        yield from verts @ MODEL_TO_CAMERA.to(verts) if axes == "camera" else verts


def _header(model: HeadModel, fit: HeadFit, frame: int, *, axes: str) -> str:
    lines = [
        f"headwarp {__version__}, frame {frame} of {fit.frames}, {STATUS_NAMES[int(fit.status[frame])]}",
        f"head {model.model_id}, licence: {model.licence}",
        f"metres; {axes} axes: {AXES[axes]}",
    ]
    if axes == "camera":
        lines.append(f"image {fit.size[1]} x {fit.size[0]}; {_projection(fit, frame)}")
    return "".join(f"# {_ascii(line)}\n" for line in lines)


def _projection(fit: HeadFit, frame: int) -> str:
    """How vertices in camera axes become pixels."""
    if isinstance(fit.camera, Perspective):
        fx, fy, cx, cy = *fit.camera.focal[frame].tolist(), *fit.camera.principal[frame].tolist()
        return f"pixel = ({fx:.6g} x / z + {cx:.6g}, {fy:.6g} y / z + {cy:.6g})"
    scale, (cx, cy) = float(fit.camera.scale[frame]), fit.camera.center[frame].tolist()
    return f"pixel = ({scale:.6g} x + {cx:.6g}, {scale:.6g} y + {cy:.6g})"


def _ascii(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode().split())


def _rows(word: str, values: np.ndarray) -> str:
    """Lines of a word and the numbers of a row, micrometres kept."""
    line = word + " %.6f" * values.shape[1] + "\n"
    return (line * len(values)) % tuple(values.ravel().tolist())


def _body(verts: Tensor, model: HeadModel, *, normals: bool) -> str:
    text = _rows("v", verts.numpy())
    return text + _rows("vn", vertex_normals(verts[None], model.faces)[0].numpy()) if normals else text


def _faces_text(model: HeadModel, *, normals: bool) -> str:
    """Texture coordinates and faces, the same in every file; indices count from 1."""
    faces = model.faces.numpy() + 1
    columns = [faces]
    pattern = "%d"
    text = ""
    if model.uv is not None and model.uv_faces is not None:
        text = _rows("vt", model.uv.numpy())
        columns.append(model.uv_faces.numpy() + 1)
        pattern = "%d/%d"
    if normals:
        columns.append(faces)
        pattern += "/%d" if len(columns) == 3 else "//%d"
    line = f"f {pattern} {pattern} {pattern}\n"
    corners = np.stack(columns, axis=-1)  # (F, 3, K)
    return text + (line * len(faces)) % tuple(corners.ravel().tolist())


def _check_target(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise HeadwarpError(f"{folder}: expected a folder for the OBJ sequence, got a file; name another one")
    others = itertools.islice((p.name for p in folder.iterdir() if not _OURS.fullmatch(p.name)), 3)
    found = ", ".join(others)
    if found:
        raise HeadwarpError(
            f"{folder}: expected a new folder or one of an earlier OBJ sequence, "
            f"it holds {found}; name another one"
        )


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder beside the target that takes its place at the end; on an error nothing has changed."""
    temporary = folder.with_name(f".{folder.name[:80]}.{secrets.token_hex(4)}")
    old = temporary.with_name(temporary.name + ".old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise ModelFileError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
