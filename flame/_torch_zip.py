"""Files of ``torch.save`` (a zip with one pickle and its storages), read without running and without torch.

Written, too: a plain zip with a fixed date, so that equal contents are equal bytes, and with the names that
numpy had before version 2, so that trackers pinned to old releases read it. ``torch.load`` takes it.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO

from ..geom.errors import ModelFileError
from ._arrays import open_zip, read_member
from ._pickle import unpickle

_LAST_OLD_PROTOCOL = 2  # what torch.save writes: Python 2 and 3 read it
_NEW_NAME, _OLD_NAME = "numpy._core", "numpy.core"


def is_torch_zip(archive: zipfile.ZipFile) -> bool:
    """Whether a zip is one of ``torch.save`` (and not an ``.npz``)."""
    return any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())


class _Storages(Mapping[str, bytes]):
    """Members ``data/KEY``, read when the pickle names them."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self._archive, self._root = archive, root
        self._names = {n.removeprefix(root) for n in archive.namelist() if n.startswith(root)}

    def __getitem__(self, key: str) -> bytes:
        return read_member(self._archive, self._root + key)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_torch(data: bytes, *, limit: int) -> object:
    """What ``torch.save`` wrote, with a record in place of every array and tensor (`_pickle.to_array`).

    Raises:
        ModelFileError: damaged, too large, of a big-endian machine, or it names anything but arrays.
    """
    archive = open_zip(data, limit=limit)
    names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        raise ModelFileError(f"expected one data.pkl in a file of torch.save, got {len(names)}")
    root = names[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive.namelist() and read_member(archive, order).strip() != b"little":
        raise ModelFileError("expected little-endian storages; save the file again on another machine")
    return unpickle(read_member(archive, names[0]), storages=_Storages(archive, f"{root}data/"))


def write_torch(content: object) -> bytes:
    """A file that ``torch.load`` reads, of dicts, numbers, texts and numpy arrays.

    Since torch 2.6 it asks for ``weights_only=False``, as for any file with numpy arrays.
    """
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        members = {"data.pkl": old_pickle(content), "byteorder": b"little", "version": b"3\n"}
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), member)
    return stream.getvalue()


def old_pickle(content: object) -> bytes:
    """A pickle of protocol 2 that old Python, numpy and torch read: ``numpy._core``, numpy 2's, is written
    as ``numpy.core``, which every version knows.
    """
    data = pickle.dumps(content, protocol=_LAST_OLD_PROTOCOL)
    parts, done = [], 0
    for opcode, argument, position in pickletools.genops(data):
        if position is not None and opcode.name == "GLOBAL" and str(argument).startswith(_NEW_NAME):
            parts += [data[done:position], b"c" + _OLD_NAME.encode()]
            done = position + 1 + len(_NEW_NAME)
    return b"".join([*parts, data[done:]])
