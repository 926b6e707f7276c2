"""Tensors of a file: those of the library's own reader, and in memory only while somebody holds them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from headwarp.geom.errors import ModelFileError
from headwarp.warping._stored_tensors import _TYPES, StoredTensors


def written(path, **more):
    random = torch.Generator().manual_seed(0)
    tensors = {
        "large": torch.rand(3, 5000, generator=random),
        "number": torch.tensor(7),
        "none": torch.zeros(0, 4),
        **{
            str(dtype): torch.randint(0, 2, (5, 7), generator=random).to(dtype)
            for dtype in sorted(set(_TYPES.values()), key=str)
        },
    }
    save_file(tensors | more, str(path), metadata={"word": "here"})
    return path


def test_what_the_library_reads(tmp_path):
    path = written(tmp_path / "a.safetensors")
    stored, expected = StoredTensors(path), load_file(path)
    assert stored.metadata == {"word": "here"}
    assert set(stored) == set(expected)
    assert len(stored) == len(expected)
    assert "large" in stored
    assert "small" not in stored
    for key, value in expected.items():
        assert stored[key].dtype == value.dtype
        assert torch.equal(stored[key], value), key
    with pytest.raises(KeyError):
        stored["small"]


def test_numbers_at_odd_places(tmp_path):
    """The format does not say where a tensor begins; other writers do not fill up their headers."""
    values = torch.arange(6, dtype=torch.float32)
    parts = {"byte": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    parts["rest"] = {"dtype": "F32", "shape": [2, 3], "data_offsets": [1, 25]}
    header = json.dumps(parts).encode()
    data = len(header).to_bytes(8, "little") + header + b"\x09" + values.numpy().tobytes()
    (tmp_path / "odd").write_bytes(data)
    stored = StoredTensors(tmp_path / "odd")
    assert stored.metadata == {}
    assert stored["byte"].tolist() == [9]
    assert torch.equal(stored["rest"], values.view(2, 3))


def test_what_is_written_into_a_tensor_stays_out_of_the_file(tmp_path):
    path = written(tmp_path / "a.safetensors")
    before, stored = path.read_bytes(), StoredTensors(path)
    held = stored["large"]
    held.fill_(3)
    assert float(held.mean()) == 3
    assert float(stored["large"].mean()) < 1
    del held
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be replaced there")
def test_another_file_of_the_name_is_not_read(tmp_path):
    path = written(tmp_path / "a.safetensors")
    stored, before = StoredTensors(path), load_file(path)["large"]
    os.replace(written(tmp_path / "b.safetensors", large=torch.zeros(2)), path)
    assert torch.equal(stored["large"], before)


def maps(path: Path) -> int:
    return sum(line.endswith(str(path)) for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell")
def test_nothing_is_held_that_nobody_holds(tmp_path):
    path = written(tmp_path / "a.safetensors")
    stored = StoredTensors(path)
    assert maps(path) == 0
    row = stored["large"][1]
    assert maps(path) == 1
    del row
    assert maps(path) == 0
    files = len(os.listdir("/proc/self/fd"))
    del stored
    assert len(os.listdir("/proc/self/fd")) == files - 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda stored: pickle.loads(pickle.dumps(stored))])
def test_copies_are_dictionaries(tmp_path, duplicate):
    stored = StoredTensors(written(tmp_path / "a.safetensors"))
    made = duplicate(stored)
    assert type(made) is dict
    assert all(torch.equal(made[key], value) for key, value in stored.items())


def test_a_type_that_networks_do_not_have(tmp_path):
    path = written(tmp_path / "a.safetensors", eighth=torch.zeros(2).to(torch.float8_e4m3fn))
    with pytest.raises(ModelFileError, match=r"expected tensors of BOOL, .*, got F8_E4M3"):
        StoredTensors(path)
