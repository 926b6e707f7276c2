"""The pickle reader against hostile, damaged and truncated files: refused in one sentence, nothing run."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_schema import Call, flame_arrays, pretend_modules, write_flame_pickle, write_landmark_files

from headwarp.flame import _pickle
from headwarp.flame.io import load_head, save_head_npz
from headwarp.geom.errors import ModelFileError


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return flame_arrays()


@pytest.fixture
def flame(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    write_flame_pickle(tmp_path / "generic_model.pkl", arrays)
    return tmp_path / "generic_model.pkl"


def spoiled(path: Path, arrays: dict[str, np.ndarray], payload: object, protocol: int = 2) -> Path:
    write_flame_pickle(path, arrays, python2=False, protocol=protocol, extra={"J": payload})
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_planted_call_is_named_and_not_made(
    tmp_path: Path, arrays: dict[str, np.ndarray], protocol: int
) -> None:
    witness = tmp_path / "witness"
    path = spoiled(tmp_path / "bad.pkl", arrays, Call(os.system, f"touch {witness}"), protocol)
    with pytest.raises(ModelFileError, match=r"bad\.pkl: refused: .*\b(posix|nt)\.system.* not run"):
        load_head(path)
    assert not witness.exists()
    with path.open("rb") as file, pretend_modules():
        pickle.load(file)
    assert witness.exists(), "the payload must be a live one"


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (Call(os.getcwd), "posix.getcwd"),
        (Call(eval, "1"), "builtins.eval|__builtin__.eval"),
        (Call(getattr, "a", "upper"), "builtins.getattr|__builtin__.getattr"),
        (Call(np.load, "x.npy"), "numpy.load"),
        (Call(np.fromfile, "/etc/hostname"), "fromfile"),
        (Call(torch.load, "x.pt"), "torch.serialization.load"),
        (Call(torch.hub.load, "x", "y"), "torch.hub.load"),
        (Call(np.memmap, "x"), "numpy.*memmap"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_else_may_be_named(
    tmp_path: Path, arrays: dict[str, np.ndarray], payload: object, name: str
) -> None:
    with pytest.raises(ModelFileError, match=f"refused: the file asks to run .*({name})"):
        load_head(spoiled(tmp_path / "bad.pkl", arrays, payload))


def test_a_planted_call_in_landmarks_is_refused(tmp_path: Path, flame: Path) -> None:
    witness = tmp_path / "witness"
    for name, content in {
        "flame_static_embedding.pkl": None,
        "landmark_embedding.npy": b"\x93NUMPY\x01\x00",
    }.items():
        payload = pickle.dumps(Call(os.system, f"touch {witness}"), protocol=2)
        if content is not None:
            header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n"
            payload = content + struct.pack("<H", len(header)) + header + payload
        path = tmp_path / name
        path.write_bytes(payload)
        with pytest.raises(ModelFileError, match=rf"{name}: refused: .*system"):
            load_head(flame)
        path.unlink()
    assert not witness.exists()


def test_known_names_cannot_be_abused(tmp_path: Path) -> None:
    """Whatever whitelisted names are called with, only inert records come out."""
    big = 10**12
    numpy_array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    dtype = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"
    pickles = {
        "a huge array": numpy_array + b"(I1\n(I%d\nt" % big + dtype + b"I0\nS'abc'\ntb.",
        "an object array": numpy_array
        + b"(I1\n(I1\nt"
        + b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"
        + b"I0\nS'12345678'\ntb.",
        "a record dtype": numpy_array
        + b"(I1\n(I1\nt"
        + b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR"
        + b"I0\nS'12345678'\ntb.",
        "a call of ndarray": b"cnumpy\nndarray\n((I%d\nttR." % big,
        "a class": b"cchumpy.ch\nCh\n.",
        "no state": b"(ichumpy.ch\nCh\n.",
        "a tensor without storage": b"ctorch._utils\n_rebuild_tensor_v2\n(I0\nI0\n(t(ttR.",
        "a foreign storage": b"ctorch._utils\n_rebuild_tensor_v2\n"
        b"(ctorch.storage\n_load_from_bytes\n(S'PK'\ntR"
        b"I0\n(I1\nt(I1\ntI0\nNtR.",
    }
    for what, data in pickles.items():
        (tmp_path / "x.pkl").write_bytes(data)
        record = _pickle.read_pickle(tmp_path / "x.pkl")
        with pytest.raises(ModelFileError, match="x: expected an array"):
            pytest.fail(f"{what} became {_pickle.to_array(record, 'x')}")


def test_a_pickle_cannot_alter_the_reader(tmp_path: Path) -> None:
    """BUILD with slot state sets attributes on whatever is on the stack, functions included."""
    for name in (
        b"_codecs\nencode",
        b"copy_reg\n_reconstructor",
        b"chumpy.ch\nCh",
        b"collections\nOrderedDict",
    ):
        (tmp_path / "x.pkl").write_bytes(b"c" + name + b"\n(N(S'planted'\nI1\ndtb.")
        with pytest.raises(ModelFileError, match="not a sound pickle"):
            _pickle.read_pickle(tmp_path / "x.pkl")
    assert not any(hasattr(known, "planted") for known in _pickle._KNOWN.values())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>login</html>", "a web page was saved in place"),
        (b"hello world, this is no pickle", "not a pickle, or a truncated one"),
        (b"\x80\x02]", "not a pickle, or a truncated one"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc", "not a pickle, or a truncated one"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc", "not a pickle, or a truncated one"),
        (b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".", "pickle memo 2147483647 .* out of bounds"),
        (b"\x80\x02\x82\x01.", "pickle opcode EXT1"),
        (b"Pfile\n.", "pickle opcode PERSID"),
        (b"\x80\x02K\x01.", "expected a dict of arrays, got int"),
        (b"\x80\x02}.", "expected the keys of a FLAME model, v_template, f, .* missing; got none"),
        (b"PK\x03\x04 and then nothing of a zip", "not a sound .npz of plain arrays"),
        (b"\x93NUMPY\x01\x00v\x00", "got a single .npy array"),
        (b"((((t.", "expected a dict of arrays, got tuple"),
        (b"\x80\x02b.", "not a sound pickle"),
    ],
)
def test_damaged_files_give_one_sentence(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "head.pkl"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=text) as caught:
        load_head(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path, flame: Path) -> None:
    save_head_npz(load_head(flame), tmp_path / "head.npz")
    for source in (flame, tmp_path / "head.npz"):
        data = source.read_bytes()
        cut = tmp_path / f"cut{source.suffix}"
        for length in np.linspace(1, len(data) - 1, 25, dtype=int):
            cut.write_bytes(data[:length])
            with pytest.raises(ModelFileError, match="cut"):
                load_head(cut)


def test_damaged_bytes_never_escape_as_other_errors(tmp_path: Path, flame: Path) -> None:
    data = bytearray(flame.read_bytes())
    draw = np.random.default_rng(0)
    places = [*draw.integers(0, 400, 60), *draw.integers(0, len(data), 20), *range(len(data) - 40, len(data))]
    for place in places:
        bad = bytes(data[:place]) + bytes([data[place] ^ 0x15]) + bytes(data[place + 1 :])
        (tmp_path / "bad.pkl").write_bytes(bad)
        with contextlib.suppress(ModelFileError):
            load_head(tmp_path / "bad.pkl")


def test_tensors_in_landmark_files_are_read(tmp_path: Path) -> None:
    path = write_landmark_files(tmp_path, 50)["deca"]
    wanted = np.load(path, allow_pickle=True)[()]
    content = _pickle.read_pickle(path)
    for key in ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"):
        np.testing.assert_array_equal(_pickle.to_array(content[key], key), wanted[key].numpy())


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    """The view is checked: strides and sizes come from the file."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a typed storage is what pickled tensors hold
        torch.save(torch.arange(4.0).storage(), stream, _use_new_zipfile_serialization=False)
    storage = _pickle.StorageRecord(stream.getvalue())
    for offset, size, stride in (
        (0, (5,), (1,)),
        (2, (4,), (1,)),
        (0, (2,), (1000,)),
        (0, (10**9,), (0,)),
        (-1, (1,), (1,)),
    ):
        with pytest.raises(ModelFileError, match="x: expected an array"):
            _pickle.to_array(_pickle.TensorRecord(storage, offset, size, stride), "x")
    whole = _pickle.to_array(_pickle.TensorRecord(storage, 1, (3,), (1,)), "x")
    assert whole.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", ["csc", "csr", "coo"])
@pytest.mark.parametrize("old_module", [True, False])
def test_joint_regressors_of_any_sparse_kind(
    tmp_path: Path, arrays: dict[str, np.ndarray], kind: str, old_module: bool
) -> None:
    """As scipy writes them, and under the module names of before 2022."""
    import scipy.sparse

    matrix = getattr(scipy.sparse, f"{kind}_matrix")(arrays["J_regressor"])
    stated = pickle.dumps(
        {"J_regressor": matrix, "weights_prior": matrix, "J_regressor_prior": None}, protocol=2
    )
    if old_module:
        assert f"cscipy.sparse._{kind}\n".encode() in stated
        stated = stated.replace(f"cscipy.sparse._{kind}\n".encode(), f"cscipy.sparse.{kind}\n".encode())
    (tmp_path / "sparse.pkl").write_bytes(stated)
    content = _pickle.read_pickle(tmp_path / "sparse.pkl")
    np.testing.assert_array_equal(_pickle.to_array(content["J_regressor"], "J"), arrays["J_regressor"])


def test_sparse_places_outside_the_matrix_are_refused(tmp_path: Path) -> None:
    import scipy.sparse

    matrix = scipy.sparse.coo_matrix((np.ones(2), ([0, 1], [0, 1])), shape=(2, 2))
    for name in ("row", "col"):
        bad = pickle.loads(pickle.dumps(matrix))
        bad.coords = (
            tuple(np.array([0, 9], np.int32) for _ in range(2))
            if name == "row"
            else (np.array([0, -3], np.int32), np.array([0, 1], np.int32))
        )
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(bad, protocol=2))
        with pytest.raises(ModelFileError, match="x: expected an array"):
            _pickle.to_array(_pickle.read_pickle(tmp_path / "x.pkl"), "x")
