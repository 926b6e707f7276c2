"""A pickle reader that can build arrays, dicts, lists and numbers, and nothing else.

FLAME's files are Python 2 pickles of numpy arrays, chumpy arrays and one scipy matrix; other trackers write
dicts of numpy arrays and torch tensors. No class or function that such a file names is ever imported or
called: each of the few expected names stands for an inert record of its arguments, any other name ends the
reading, and the records become arrays afterwards, checked against the bytes that are really there.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..geom.errors import ModelFileError
from ._arrays import OBJECTS, first_line, npy_header
from ._files import NPY_MAGIC, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save's first pickle, before zip files
_DAMAGE = (TypeError, ValueError, LookupError, AttributeError, OverflowError, MemoryError, RuntimeError)
_MOST_OPCODES = 1_000_000  # FLAME's files have some thousands
_REFUSED_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"}


class Record:
    """What a file asked to be called or built: its arguments and state, never acted on."""

    arguments: tuple[object, ...] = ()
    state: object = None

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        self.state = state


class ArrayRecord(Record):
    """``numpy.core.multiarray._reconstruct``; the state is (version, shape, dtype, is_fortran, bytes)."""


class BufferRecord(Record):
    """``numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`` of pickle protocol 5."""


class ScalarRecord(Record):
    """``numpy.core.multiarray.scalar(dtype, bytes)``."""


class DtypeRecord(Record):
    """``numpy.dtype(name, align, copy)``; the state carries the byte order."""


class ChumpyRecord(Record):
    """``chumpy.ch.Ch``; the state is a dict, its ``x`` the array."""


class SparseRecord(Record):
    """``scipy.sparse.csc_matrix``; the state is a dict."""


class RowSparseRecord(SparseRecord):
    """``scipy.sparse.csr_matrix``."""


class CoordinateRecord(SparseRecord):
    """``scipy.sparse.coo_matrix``: row, col, data; in later versions coords, data."""


class TensorRecord(Record):
    """``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``."""


class StorageRecord(Record):
    """``torch.storage._load_from_bytes(bytes)``."""


class ParameterRecord(Record):
    """``torch._utils._rebuild_parameter(tensor, requires_grad, hooks)``."""


class StorageType(Record):
    """``torch.FloatStorage`` and its like: a name, from which a file of ``torch.save`` tells the dtype."""


class ZipStorageRecord(Record):
    """A storage of ``torch.save``'s zip: its type, and the bytes that lie beside the pickle."""


class Encoded(Record):
    """``_codecs.encode(text, "latin1")``: protocol 2's bytes. A class, as a pickle could alter a function."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("_codecs.encode of something other than latin1 text")
        return text.encode("latin1")


class EmptyBytes(Record):
    """``bytes()``: how protocol 2 spells no bytes."""

    def __new__(cls) -> bytes:  # type: ignore[misc]
        return b""


class Reconstructed(Record):
    """``copy_reg._reconstructor(class, base, state)`` of protocols 0 and 1."""

    def __new__(cls, kind: type[Record], *_: object) -> Record:  # type: ignore[misc]
        if not (isinstance(kind, type) and issubclass(kind, Record)):
            raise pickle.UnpicklingError("copy_reg._reconstructor of something unexpected")
        return kind()


_NUMPY = ("numpy.core", "numpy._core")
_STORAGES = {
    name: type(f"{name}Storage", (StorageType,), {"dtype": np.dtype(kind)})
    for name, kind in {
        "Double": "<f8",
        "Float": "<f4",
        "Half": "<f2",
        "Long": "<i8",
        "Int": "<i4",
        "Short": "<i2",
        "Char": "<i1",
        "Byte": "<u1",
        "Bool": "?",
    }.items()
}
_KNOWN: dict[str, object] = {
    "numpy.ndarray": Record,
    "numpy.dtype": DtypeRecord,
    **{f"{core}.multiarray._reconstruct": ArrayRecord for core in _NUMPY},
    **{f"{core}.multiarray.scalar": ScalarRecord for core in _NUMPY},
    **{f"{core}.numeric._frombuffer": BufferRecord for core in _NUMPY},
    "chumpy.ch.Ch": ChumpyRecord,
    **{f"scipy.sparse.{_}csc.csc_matrix": SparseRecord for _ in ("", "_")},
    **{f"scipy.sparse.{_}csr.csr_matrix": RowSparseRecord for _ in ("", "_")},
    **{f"scipy.sparse.{_}coo.coo_matrix": CoordinateRecord for _ in ("", "_")},
    "torch._utils._rebuild_tensor_v2": TensorRecord,
    "torch._utils._rebuild_parameter": ParameterRecord,
    "torch.storage._load_from_bytes": StorageRecord,
    **{f"torch.{name}Storage": kind for name, kind in _STORAGES.items()},
    "_codecs.encode": Encoded,
    "collections.OrderedDict": OrderedDict,
    **{f"{module}.bytes": EmptyBytes for module in ("__builtin__", "builtins")},
    **{f"{module}.set": set for module in ("__builtin__", "builtins")},
    **{f"{module}.object": Record for module in ("__builtin__", "builtins")},
    **{f"{module}._reconstructor": Reconstructed for module in ("copy_reg", "copyreg")},
}


class _Reader(pickle.Unpickler):
    """Looks every name up in the table and nowhere else, and storages in those that the caller has."""

    storages: Mapping[str, bytes]

    def find_class(self, module: str, name: str) -> object:
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise ModelFileError(
                f"refused: the file asks to run {full}, which no head model or fit needs; "
                "it was not run, do not trust the file"
            )
        return _KNOWN[full]

    def persistent_load(self, pid: object) -> object:
        """``("storage", type, key, device, count)``, as ``torch.save`` writes."""
        _, kind, key, *_ = _sequence(pid, 5)
        if not (isinstance(kind, type) and issubclass(kind, StorageType)) or key not in self.storages:
            raise ModelFileError(f"refused: a torch storage {key!r} that the file does not hold")
        return ZipStorageRecord(kind, self.storages[str(key)])


def read_pickle(path: Path) -> object:
    """The object in a pickle, or in an ``.npy`` of Python objects, with a record where a class was named.

    Pass what is needed of it through :func:`to_array`.

    Raises:
        ModelFileError: empty, truncated, no pickle, or one that names anything but arrays.
    """
    data = read_bytes(path)
    try:
        return unpickle(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__


def unpickle(data: bytes, *, storages: Mapping[str, bytes] | None = None) -> object:
    """The object in the bytes of a pickle, or of an ``.npy`` of Python objects; see :func:`read_pickle`.

    Args:
        data: the whole file.
        storages: of ``torch.save``, by key; None for a pickle that must not name any.

    Raises:
        ModelFileError: as :func:`read_pickle`, without the file's name.
    """
    if data.startswith(NPY_MAGIC):
        return _object_array(_unpickle(data[_npy_header_length(data) :], None))
    return _unpickle(data, storages)


def to_array(value: object, name: str) -> np.ndarray:
    """A record (numpy, chumpy, scipy, torch) or plain numbers as an array that owns its memory.

    Raises:
        ModelFileError: not an array, or not as many bytes as its shape asks for.
    """
    try:
        return np.array(_converted(value))
    except _DAMAGE as error:
        raise ModelFileError(f"{name}: expected an array, got a damaged one: {first_line(error)}") from error


def _unpickle(data: bytes, storages: Mapping[str, bytes] | None) -> object:
    _scan(data, _REFUSED_OPCODES if storages is None else _REFUSED_OPCODES - {"BINPERSID"})
    reader = _Reader(BytesIO(data), encoding="latin1", fix_imports=False)
    reader.storages = {} if storages is None else storages
    try:
        return reader.load()
    except ModelFileError:
        raise
    # An unpickler fed with nonsense raises nearly anything; nothing but records can have been built by then.
    except Exception as error:
        raise ModelFileError(f"not a sound pickle: {first_line(error)}") from error


def _scan(data: bytes, refused: set[str]) -> None:
    """Walks the whole pickle without building anything: complete, lengths true, memo indices plausible."""
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count >= _MOST_OPCODES:
                raise ModelFileError(f"refused: a pickle of more than {_MOST_OPCODES} opcodes")
            if opcode.name in refused:
                raise ModelFileError(f"refused: pickle opcode {opcode.name} at byte {position}")
            if (
                opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
                and not 0 <= int(argument or 0) <= count + 1000
            ):
                raise ModelFileError(f"refused: pickle memo {argument} at byte {position} is out of bounds")
    except (ValueError, EOFError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"not a pickle, or a truncated one: {first_line(error)}") from error


def _converted(value: object) -> np.ndarray:
    if isinstance(value, ParameterRecord):
        value = value.arguments[0]
    if isinstance(value, ChumpyRecord):
        value = _state(value)["x"]
    if isinstance(value, ArrayRecord):
        _, shape, dtype, is_fortran, raw = _sequence(value.state, 5)
        return _from_bytes(raw, dtype, shape, "F" if is_fortran else "C")
    if isinstance(value, BufferRecord):
        raw, dtype, shape, order = _sequence(value.arguments, 4)
        return _from_bytes(raw, dtype, shape, str(order))
    if isinstance(value, ScalarRecord):
        return _from_bytes(value.arguments[1], value.arguments[0], (), "C")
    if isinstance(value, SparseRecord):
        return _from_sparse(value)
    if isinstance(value, TensorRecord):
        return _from_tensor(value)
    if isinstance(value, (int, float)):
        return np.asarray(value)
    raise TypeError(f"this is a {type(value).__name__}")


def _from_bytes(raw: object, dtype: object, shape: object, order: str) -> np.ndarray:
    kind = _to_dtype(dtype)
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if not isinstance(raw, (bytes, bytearray)) or order not in ("C", "F"):
        raise TypeError("its content is no bytes")
    sizes = _sequence(shape)
    if any(not isinstance(s, int) or s < 0 for s in sizes) or math.prod(sizes) * kind.itemsize != len(raw):
        raise ValueError(f"shape {tuple(sizes)} of {kind} does not fit {len(raw)} bytes")
    return np.frombuffer(raw, kind).reshape(sizes, order="F" if order == "F" else "C")


def _to_dtype(record: object) -> np.dtype:
    """Plain numbers only: bool, int, unsigned, float."""
    if not isinstance(record, DtypeRecord) or not isinstance(record.arguments[0], str):
        raise TypeError("its dtype is no dtype")
    name = record.arguments[0]
    if name.lstrip("<>=|")[:1] not in "biuf" or not name.lstrip("<>=|")[1:].isdigit():
        raise TypeError(f"its dtype is {name[:20]!r}, not numbers")
    dtype = np.dtype(name)
    order = _sequence(record.state)[1] if record.state is not None else "="
    if order not in ("<", ">"):
        return dtype
    return dtype.newbyteorder("<" if order == "<" else ">")


def _from_sparse(record: SparseRecord) -> np.ndarray:
    from scipy.sparse import coo_matrix, csc_matrix, csr_matrix

    state = _state(record)
    shape = tuple(int(s) for s in _sequence(state.get("_shape", state.get("shape")), 2))
    if shape[0] * shape[1] > 10_000_000:
        raise ValueError(f"sparse shape {shape} is too large for a joint regressor")
    data = _converted(state["data"])
    if isinstance(record, CoordinateRecord):
        places = state["coords"] if "coords" in state else (state["row"], state["col"])
        rows, columns = (_converted(part) for part in _sequence(places, 2))
        return coo_matrix((data, (rows, columns)), shape=shape).toarray()
    kind = csr_matrix if isinstance(record, RowSparseRecord) else csc_matrix
    matrix = kind((data, _converted(state["indices"]), _converted(state["indptr"])), shape=shape)
    matrix.check_format(full_check=True)
    return matrix.toarray()


def _from_tensor(record: TensorRecord) -> np.ndarray:
    """A view on the storage, made here, in its bounds."""
    import torch

    storage, offset, size, stride = record.arguments[:4]
    if not isinstance(storage, (StorageRecord, ZipStorageRecord)) or not isinstance(offset, int):
        raise TypeError("its storage is no storage")
    flat = _zip_storage(storage) if isinstance(storage, ZipStorageRecord) else _legacy_storage(storage)
    sizes, steps = [int(s) for s in _sequence(size)], [int(s) for s in _sequence(stride)]
    if math.prod(sizes) > flat.numel():
        raise ValueError(f"shape {tuple(sizes)} is larger than its {flat.numel()} numbers")
    return torch.as_strided(flat, sizes, steps, offset).numpy()


def _zip_storage(record: ZipStorageRecord) -> Tensor:
    import torch

    kind, raw = record.arguments
    return torch.from_numpy(np.frombuffer(raw, kind.dtype).copy())  # type: ignore[attr-defined,call-overload]


def _legacy_storage(record: StorageRecord) -> Tensor:
    """Torch reads what it wrote before it knew zip files, under its own whitelist."""
    import torch

    raw = record.arguments[0]
    if not isinstance(raw, bytes) or not raw.startswith(_TORCH_MAGIC):
        raise TypeError("its storage was not written by torch.save")
    try:
        loaded = torch.load(BytesIO(raw), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError) as error:
        raise ValueError(first_line(error)) from error
    return torch.as_tensor([], dtype=loaded.dtype).set_(loaded)


def _npy_header_length(data: bytes) -> int:
    header = npy_header(data)
    if header.described != OBJECTS:
        got = header.described
        raise ModelFileError(f"expected an .npy with a pickled dict, got a plain array of {got}")
    return header.end


def _object_array(value: object) -> object:
    """The one element of an array of Python objects, as ``np.save`` writes a dict."""
    state = value.state if isinstance(value, ArrayRecord) else None
    content = state[4] if isinstance(state, tuple) and len(state) == 5 else None
    if not isinstance(content, list) or len(content) != 1:
        raise ModelFileError("expected one pickled dict")
    return content[0]


def _state(record: Record) -> dict[str, object]:
    if not isinstance(record.state, dict):
        raise TypeError("its state is no dict")
    return record.state


def _sequence(value: object, length: int | None = None) -> list:
    if not isinstance(value, (tuple, list)) or length not in (None, len(value)):
        raise TypeError("it is built in an unknown way")
    return list(value)
