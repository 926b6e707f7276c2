"""EMOCA's folders: one a frame, with ``shape.npy``, ``exp.npy``, ``tex.npy``, ``pose.npy``, ``detail.npy``.

The codes are DECA's, (100,) (50,) (50,) (6,) (128,). ``save_codes`` writes no camera, so what EMOCA saved
cannot be put over its image; here ``cam.npy`` (3,) and ``tform.npy`` (3, 3) are written beside the others,
DECA's and in its sense, and read where they are. A single file with all frames (its ``vals`` dict:
``shapecode``, ``expcode``, ``posecode``, ``cam``) is read and written, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from ...geom.errors import ModelFileError
from ..model import HeadModel
from ..params import MISSING, HeadFit
from . import deca
from ._codes import encode, matches_codes, read_codes, summarise, write_rows
from ._content import Content
from ._extras import SIDECAR, as_json, extras_of_fit, json_bytes
from ._files import CONTAINERS, whole_folder, write_bytes
from ._source import EMOCA_FILES, Source
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing

CODES = replace(
    deca.CODES,
    title="EMOCA",
    shape=("shape", "shapecode"),
    expression=("exp", "expcode"),
    rotation=("pose", "posecode"),
    carried={"tex": np.zeros(50), "detail": np.zeros(128)},
)
FILE_CODES = replace(
    CODES,
    shape=("shapecode",),
    expression=("expcode",),
    rotation=("posecode",),
    carried={"texcode": np.zeros(50), "detailcode": np.zeros(128)},
)
"""Names in a single file."""
FRAME_NAME = "{:06d}_000"
"""Of a frame's folder: its number and the face's."""


def matches(source: Source, content: Content) -> bool:
    """Its folders, or a file with its names and nothing of DECA's alone."""
    tree = content.tree
    if not matches_codes(tree, CODES):
        return False
    return source.parts[0].is_dir() or "shapecode" in tree or not {"cam", "light"} & set(tree)


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    return summarise(source, content, CODES)


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """Folders or a file.

    Raises:
        ModelFileError: see `_codes.read_codes`.
    """
    single = source.parts[0].is_file() and "shapecode" in source.content().tree
    return read_codes(source, head, options, FILE_CODES if single else CODES)


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """A folder of folders, or a file where the path has a suffix; frames that are missing get none.

    Raises:
        ModelFileError: see `_codes.encode`; or the folder is not empty.
    """
    if path.suffix in CONTAINERS:
        return write_rows(fit, head, path, options, FILE_CODES)
    if path.suffix:
        raise ModelFileError(f"{path}: expected a folder, or a name that ends in {', '.join(CONTAINERS)}")
    arrays, notes, _ = encode(fit, head, CODES)
    there = np.flatnonzero(fit.status.numpy() != MISSING)
    with whole_folder(path) as folder:
        for frame in there:
            for name in EMOCA_FILES:
                write_bytes(folder / FRAME_NAME.format(frame) / f"{name}.npy", _npy(arrays[name][frame]))
        write_bytes(folder / SIDECAR, json_bytes(as_json(extras_of_fit(fit))))
    return Writing(path, len(there), notes)


def _npy(array: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


FORMAT = Format("emoca", "EMOCA codes", ("", *CONTAINERS), matches, summary, read, write)
