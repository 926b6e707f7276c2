"""Containers: what they hold, what is refused, and that no bytes run, crash, hang or swell the readers."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from flame_fits import flame_fit, flame_head
from flame_schema import Call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwarp.flame._torch_zip import old_pickle, write_torch
from headwarp.flame.formats import FORMATS, describe, read_fit, sniff, write_fit
from headwarp.flame.formats._content import parse
from headwarp.flame.formats._files import CONTAINERS, packed
from headwarp.geom.errors import ModelFileError

TREE = {
    "shape": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array(7),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "name": np.array("flame-123"),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_container_gives_back_what_was_put_in(suffix):
    tree = parse(packed(TREE, suffix)).tree
    np.testing.assert_array_equal(tree["shape"], TREE["shape"])
    assert tree["shape"].dtype == np.float32
    assert int(np.squeeze(tree["count"])) == 7
    np.testing.assert_array_equal(np.squeeze(tree["flags"]), TREE["flags"])
    assert tree["empty"].size == 0
    assert str(tree["name"]) == "flame-123"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_of_tensors_and_nested_dicts(protocol):
    content = {
        "a": torch.arange(6.0).reshape(2, 3).T,
        "inner": {"p": torch.nn.Parameter(torch.ones(2)), "n": np.float64(2.5), "list": [1, 2, 3]},
        "none": None,
        "mixed": [1, "a"],
    }
    found = parse(pickle.dumps(content, protocol=protocol))
    np.testing.assert_array_equal(found.tree["a"], content["a"].numpy())
    np.testing.assert_array_equal(found.tree["inner"]["p"], [1, 1])
    assert (found.tree["inner"]["n"], found.tree["inner"]["list"].tolist()) == (2.5, [1, 2, 3])
    assert set(found.ignored) == {"none", "mixed"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
def test_torch_files_give_their_tensors(dtype):
    tensor = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    stream = io.BytesIO()
    torch.save({"whole": tensor, "part": tensor[1:, ::2], "same": tensor}, stream)
    tree = parse(stream.getvalue()).tree
    np.testing.assert_array_equal(tree["whole"], tensor.numpy())
    np.testing.assert_array_equal(tree["part"], tensor[1:, ::2].numpy())
    assert tree["part"].dtype == np.dtype(dtype)


def test_an_unknown_kind_of_tensor_is_refused():
    stream = io.BytesIO()
    torch.save({"x": torch.ones(2, dtype=torch.bfloat16)}, stream)
    with pytest.raises(ModelFileError, match=r"refused: the file asks to run torch\.BFloat16Storage"):
        parse(stream.getvalue())


@pytest.mark.parametrize("compressed", [True, False])
def test_matlab_files_as_scipy_reads_them(compressed):
    content = {
        "light": np.random.default_rng(0).normal(size=(2, 9, 3)),
        "exp": np.float32([[1, 2]]),
        "text": "abc",
        "cell": np.array([1, "a"], dtype=object),
        "complex": np.array([1j]),
        "sparse": scipy.sparse.csc_matrix(np.eye(3)),
    }
    stream = io.BytesIO()
    scipy.io.savemat(stream, content, do_compression=compressed)
    found = parse(stream.getvalue())
    theirs = scipy.io.loadmat(io.BytesIO(stream.getvalue()))
    for name in ("light", "exp"):
        np.testing.assert_array_equal(found.tree[name], theirs[name])
    assert found.tree["text"] == "abc"
    assert set(found.ignored) == {"cell", "complex", "sparse"}


def torch_zip(payload: bytes, **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return stream.getvalue()


def npy(shape: str, descr: str = "<f4", data: bytes = b"\0" * 8) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize("wrap", ["pickle", "torch", "npy", "frame"])
def test_a_planted_call_is_refused_and_not_made(tmp_path, wrap):
    witness = tmp_path / "witness"
    trap = {"flame": {"exp": Call(os.system, f"touch {witness}")}, "camera": np.zeros(3)}
    payload = pickle.dumps(trap, protocol=2)
    data = {
        "pickle": payload,
        "torch": torch_zip(payload),
        "npy": npy("()", "|O", b"") + pickle.dumps(np.array(trap, dtype=object), protocol=2),
        "frame": _torch_saved(trap),
    }[wrap]
    path = tmp_path / "x.frame"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"refused: the file asks to run .*system.*not run"):
        parse(data)
    assert sniff(path) is None
    for work in (describe, lambda p: read_fit(p, flame_head().model)):
        with pytest.raises(ModelFileError, match=r"x\.frame: refused"):
            work(path)
    assert not witness.exists()
    if wrap == "frame":
        torch.load(path, weights_only=False)
        assert witness.exists(), "the trap must be a live one"


def _torch_saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


STORAGE = b"(S'storage'\nctorch\nFloatStorage\nS'%s'\nS'cpu'\nI4\ntQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n("


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"\x80\x02" + STORAGE % b"9" + b".", "a torch storage '9' that the file does not hold"),
        (
            b"\x80\x02(S'storage'\nI1\nS'0'\nS'cpu'\nI4\ntQ.",
            "a torch storage '0' that the file does not hold",
        ),
        (b"\x80\x02S'other'\nQ.", "not a sound pickle"),
        (b"\x80\x02P0\n.", "refused: pickle opcode PERSID"),
        (
            b"\x80\x02}S'x'\n" + TENSOR + STORAGE % b"0" + b"I0\n(I9\nt(I1\ntI0\nNtRs.",
            "larger than its 4",
        ),
        (b"\x80\x02}S'x'\n" + TENSOR + STORAGE % b"0" + b"I2\n(I4\nt(I1\ntI0\nNtRs.", "out of bounds"),
        (b"\x80\x02}S'x'\n" + TENSOR + STORAGE % b"0" + b"I0\n(I2\nt(I900\ntI0\nNtRs.", "out of bounds"),
        (b"\x80\x02}S'x'\n" + TENSOR + STORAGE % b"1" + b"I0\n(I1\nt(I1\ntI0\nNtRs.", "buffer size must be"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "expected a dict of arrays"),
    ],
)
def test_torch_files_that_point_elsewhere(payload, error):
    with pytest.raises(ModelFileError, match=error):
        parse(torch_zip(payload, **{"data/0": b"\0" * 16, "data/1": b"\0" * 3}))


def test_a_sound_storage_by_hand():
    payload = b"\x80\x02}S'x'\n" + TENSOR + STORAGE % b"0" + b"I1\n(I2\nt(I2\ntI0\nNtRs."
    tree = parse(torch_zip(payload, **{"data/0": np.arange(4, dtype="<f4").tobytes()})).tree
    assert tree["x"].tolist() == [1, 3]


def test_big_endian_and_several_pickles_are_refused():
    with pytest.raises(ModelFileError, match="expected little-endian storages"):
        parse(torch_zip(b"\x80\x02}.", byteorder=b"big"))
    with pytest.raises(ModelFileError, match=r"expected one data\.pkl in a file of torch\.save, got 2"):
        parse(torch_zip(b"\x80\x02}.", **{"more/data.pkl": b"\x80\x02}."}))


def bomb(size: int) -> bytes:
    """A zip that says truly how much it unpacks to."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(f"({size},)", "|u1", bytes(size)))
    return stream.getvalue()


def laughs(depth: int = 40) -> bytes:
    """A list of two of the same list, forty times: 2**40 nodes to a walker, 80 to the file."""
    value: dict[str, object] = {"x": 1}
    for _ in range(depth):
        value = {"a": value, "b": value}
    return pickle.dumps(value)


def cycle() -> bytes:
    value: dict[str, object] = {}
    value["self"] = value
    return pickle.dumps(value)


def shared_bytes(size: int, count: int) -> bytes:
    """Many arrays of the same bytes, which the file holds once."""
    raw, dtype = bytes(size), np.dtype("u1")
    call = np.zeros(1).__reduce_ex__(5)[0]  # numpy.core.numeric._frombuffer
    return pickle.dumps({str(i): Call(call, raw, dtype, (size,), "C") for i in range(count)}, protocol=4)


def matlab(body: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + body


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "the file is empty"),
        (b"hello", "expected an .npz, .npy, pickle, torch, MATLAB or JSON file"),
        (b"PK\x03\x04 no archive", "not a sound zip"),
        (b"\x80\x04", "not a pickle, or a truncated one"),
        (b"{", "not sound JSON"),
        (b'{"a":' * 100_000, "not sound JSON"),
        (b"\x93NUMPY", "not a sound .npy: its header is damaged"),
        (npy("(2,)", data=b""), r"shape \(2,\) of float32 does not fit 0 bytes"),
        (npy("(99999999999999,)"), r"shape \(99999999999999,\) of float32 does not fit 8 bytes"),
        (npy("(-2,)"), "not a sound .npy"),
        (npy("(2.0,)"), "not a sound .npy"),
        (npy("((2,),)"), "not a sound .npy"),
        (npy("(2,", "<f4"), "not a sound .npy"),
        (npy("(2,)", "<c8", bytes(16)), "expected numbers or text, got an array of <c8"),
        (npy("(2,)", "<f99999"), "not a sound .npy: dtype <f99999"),
        (npy("(1,)", "[('a','<f4')]"), "not a sound .npy"),
        (npy("(" * 3000 + ")" * 3000), "not a sound .npy"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + b"x", "a header of 2147483648 bytes"),
        (npy("()", "|O", b"") + b"\x80\x04", "truncated"),
        (matlab(b"\x0e\0\0\0\xff\xff\xff\x7f"), "bytes are missing"),
        (matlab(b"\x0f\0\0\0\x04\0\0\0abcd"), "not a sound MATLAB file"),
        (matlab(b"\x01\0\0\0\0\0\0\0"), "an element of type 1"),
        (b"MATLAB 5.0 MAT-file", "its header is damaged"),
        (pickle.dumps([1, 2]), "expected a dict of arrays, got list"),
        (pickle.dumps(10**30), "expected a dict of arrays, got int"),
        (cycle(), "structure without end"),
        (laughs(), "structure without end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_one_sentence(data, error):
    with pytest.raises(ModelFileError, match=error) as caught:
        parse(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_bombs_cost_no_more_than_they_weigh(monkeypatch):
    limit = 1 << 22
    monkeypatch.setattr("headwarp.flame.formats._content.LIMIT", limit)
    packed_zeros = zlib.compress(bytes(8 * limit), 9)
    cases = {
        "expected at most .* bytes unpacked": bomb(8 * limit),
        "expected at most .* bytes of arrays": shared_bytes(limit // 8, 100),
        "truncated or too large": matlab(struct.pack("<II", 15, len(packed_zeros)) + packed_zeros),
    }
    for error, data in cases.items():
        assert len(data) < limit
        tracemalloc.start()
        with pytest.raises(ModelFileError, match=error):
            parse(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2.5 * limit, error
    assert parse(bomb(limit // 2)).tree["x"].shape == (limit // 2,)


def test_a_zip_of_very_many_members_is_refused_unread():
    with pytest.raises(ModelFileError, match="at most 65535 members"):
        parse(b"PK\x03\x04" + b"PK\x01\x02" * 70_000)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[tuple[Path, Path]]:
    """Small sound files of every format, and the path to read each by."""
    folder = tmp_path_factory.mktemp("seeds")
    head = flame_head()
    fit = flame_fit(head.model, frames=2, columns=(100, 50), without=("neck", "eyes", "eyelids"))
    found = []
    for name, known in FORMATS.items():
        for suffix in known.output:
            one = fit.select([0]) if suffix == ".frame" else fit
            root = write_fit(one, head.model, folder / f"{name}{suffix}", name=name).path
            files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
            found += [(root, file) for file in files]
    return found


@given(st.integers(0, 2**32))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spoiled_files_are_read_or_refused_in_a_sentence(seeds, number):
    """Bytes flipped, cut, doubled and dropped, in every file of every format."""
    draw = random.Random(number)
    root, file = draw.choice(seeds)
    whole = file.read_bytes()
    data = bytearray(whole)
    for _ in range(draw.choice([1, 1, 2, 5])):
        place = draw.randrange(len(data) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            data[place : place + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = draw.choice([b"\xff" * 4, b"\0" * 4, data[:20]])
        else:
            del data[place : place + draw.randrange(40)]
    check_refusal(lambda: parse(bytes(data)))
    try:
        file.write_bytes(data)
        check_refusal(lambda: read_fit(root, flame_head_once()))
    finally:
        file.write_bytes(whole)


@given(st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_spoiled_pickles_inside_torch_files(number):
    """A zip's checksums would catch the flips above: here the pickle is spoiled first."""
    draw = random.Random(number)
    data = bytearray(old_pickle({"flame": {"exp": np.ones((1, 3), np.float32)}, "frame_id": "0", "n": 3}))
    for _ in range(draw.choice([1, 2, 3])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    check_refusal(lambda: parse(torch_zip(bytes(data))))


def refusal(work) -> str:
    """The text of a refusal; nothing where there was none."""
    try:
        work()
    except ModelFileError as error:
        return str(error)
    return ""


def check_refusal(work) -> None:
    text = refusal(work)
    assert "\n" not in text
    assert len(text) < 900


@functools.cache
def flame_head_once():
    return flame_head().model


def test_sniff_and_describe_name_every_format(seeds):
    for root in {root for root, _ in seeds}:
        name = sniff(root)
        facts = describe(root)
        assert root.name.removesuffix(root.suffix) == name or (root.name, name) == (
            "tracked_flame_params_30.npz",
            "vhap",
        )
        assert facts["format"] == name
        assert facts["title"] == FORMATS[name].title
        assert facts["frames"] in (1, 2)
        assert json.dumps(facts)


def test_sniff_of_other_things_is_none(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    (tmp_path / "t.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "j.json").write_text('{"frames": [3]}')
    for name in ("a.npz", "t.txt", "empty", "nothing", "j.json"):
        assert sniff(tmp_path / name) is None
        with pytest.raises(ModelFileError, match=name):
            describe(tmp_path / name)


def test_what_deca_decoded_is_told_from_its_parameters(tmp_path):
    content = {"verts": np.zeros((1, 5023, 3)), "trans_verts": np.zeros((1, 5023, 3))}
    scipy.io.savemat(tmp_path / "x.mat", content)
    with pytest.raises(ModelFileError, match=r"x\.mat: .*\(opdict\).*save the codedict"):
        describe(tmp_path / "x.mat")


def test_torch_files_are_read_where_torch_would_run_them(tmp_path):
    """Ours and torch's own file of the same content give the same tree."""
    content = {"a": {"b": np.arange(3.0)}, "t": "text", "i": 5}
    first, second = parse(write_torch(content)).tree, parse(_torch_saved(content)).tree
    np.testing.assert_array_equal(first["a"]["b"], second["a"]["b"])
    assert (first["t"], int(first["i"])) == (second["t"], int(second["i"])) == ("text", 5)


def test_new_numpys_name_is_written_as_old_numpy_knows_it(monkeypatch):
    """What numpy 2 pickles names ``numpy._core``; data that spell it stay as they are."""
    array = np.frombuffer(b"cnumpy._core.multiarray\n", np.uint8)
    plain = pickle.dumps({"x": array}, protocol=2)
    assert old_pickle({"x": array}) == plain.replace(
        b"cnumpy._core.multiarray\n_rec", b"cnumpy.core.multiarray\n_rec"
    )
    new = plain.replace(b"cnumpy.core.multiarray\n_rec", b"cnumpy._core.multiarray\n_rec")
    monkeypatch.setattr("headwarp.flame._torch_zip.pickle.dumps", lambda content, protocol: new)
    old = old_pickle(None)
    assert old.count(b"numpy._core") == 1, "in the data"
    np.testing.assert_array_equal(pickle.loads(old)["x"], array)
