"""This library's own fit, as one of the formats: what `HeadFit.save` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...geom.cameras import WeakPerspective
from ...geom.errors import ModelFileError
from ..model import HeadModel
from ..params import HeadFit, check_model
from ._content import Content
from ._source import Source
from ._tree import holds
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing


def matches(source: Source, content: Content) -> bool:
    """An ``.npz`` with a schema version and a convention; a folder of several is not one fit."""
    if source.path.is_dir():
        return False
    return content.container == "npz" and holds(content.tree, "schema_version", "convention", "expression")


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    fit = HeadFit.load(source.path)
    return {
        "frames": fit.frames,
        "size": f"{fit.size[1]} x {fit.size[0]}",
        "shape": len(fit.params.shape),
        "expression": fit.params.expression.shape[1],
        "camera": "weak perspective" if isinstance(fit.camera, WeakPerspective) else "perspective",
        "model_id": fit.model_id,
    }


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """A fit of this head.

    Raises:
        ModelFileError: no fit, or one of another head.
    """
    fit = HeadFit.load(source.path)
    check_model(fit, head.model_id)
    return Reading(fit, fit.params.shape.expand(fit.frames, -1), ())


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """`HeadFit.save`.

    Raises:
        ModelFileError: the name does not end in ``.npz``, or it cannot be written.
    """
    if path.suffix != ".npz":
        raise ModelFileError(f"{path}: expected a name that ends in .npz")
    try:
        fit.save(path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error
    return Writing(path, fit.frames, ())


FORMAT = Format("headwarp", "headwarp fit", (".npz",), matches, summary, read, write)
