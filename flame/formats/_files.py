"""Writing whole files and folders or nothing; dicts of arrays in the container that a suffix names."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from ...geom.errors import ModelFileError
from .._torch_zip import old_pickle, write_torch

CONTAINERS = (".npz", ".npy", ".pkl", ".mat", ".pt")
"""Suffixes of a dict of arrays: numpy's zip, a pickled dict (two ways), MATLAB 5, ``torch.save``."""


def write_codes(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A dict of arrays in the container of the path's suffix.

    Raises:
        ModelFileError: another suffix, or it cannot be written.
    """
    write_bytes(path, packed(arrays, path.suffix))


def packed(arrays: Mapping[str, np.ndarray], suffix: str) -> bytes:
    """The bytes of a dict of arrays; equal dicts give equal bytes.

    Raises:
        ModelFileError: no such container.
    """
    content: dict[str, object] = dict(arrays)
    if suffix != ".npz":  # texts as such: the safe reader of pickles builds arrays of numbers only
        content |= {key: str(value) for key, value in arrays.items() if value.dtype.kind == "U"}
    if suffix == ".pkl":
        return old_pickle(content)
    if suffix == ".pt":
        return write_torch(content)
    stream = BytesIO()
    if suffix == ".npz":
        np.savez_compressed(stream, **arrays)
    elif suffix == ".npy":
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(old_pickle(np.array(content, dtype=object)))
    elif suffix == ".mat":
        _write_mat(stream, content)
    else:
        raise ModelFileError(f"{suffix or 'no suffix'}: expected one of {', '.join(CONTAINERS)}")
    return stream.getvalue()


def _write_mat(stream: BytesIO, content: Mapping[str, object]) -> None:
    from scipy.io import savemat

    savemat(stream, dict(content), do_compression=True)
    fixed = b"MATLAB 5.0 MAT-file, written by headwarp".ljust(116)  # scipy writes the time of day
    stream.seek(0)
    stream.write(fixed)


def write_bytes(path: Path, data: bytes) -> None:
    """A file under a hidden name beside the target, then renamed; missing folders are made.

    Raises:
        ModelFileError: it cannot be written.
    """
    temporary = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # missing after the rename; or its folder is none
            temporary.unlink()


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside the target that becomes it when the block ends well, and is removed otherwise.

    Raises:
        ModelFileError: the target exists and is not an empty folder, or cannot be made.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ModelFileError(f"{path}: expected no such folder or an empty one; name another or remove it")
    temporary = path.with_name(f".{path.name[:80]}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.is_dir():
            path.rmdir()
        os.replace(temporary, path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
