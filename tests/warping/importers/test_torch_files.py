"""Files of torch.save: read without running anything, refused in a sentence."""

import zipfile

import pytest
import torch

from headwarp.geom.errors import ModelFileError
from headwarp.warping.importers.torch_files import read_torch_file, state_dict


class Runs:
    """An object whose unpickling runs code."""

    def __reduce__(self):
        return (print, ("ran",))


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("new_format", [True, False])
def test_both_formats_of_torch(tmp_path, new_format):
    content = {"a": torch.arange(3), "step": 7, "nested": {"b": torch.ones(2)}}
    path = saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=new_format)
    read = read_torch_file(path)
    assert torch.equal(read["a"], content["a"])
    assert read["step"] == 7


@pytest.mark.parametrize("new_format", [True, False])
def test_code_is_not_run(tmp_path, capsys, new_format):
    path = saved(tmp_path / "x.pth", {"a": Runs()}, _use_new_zipfile_serialization=new_format)
    with pytest.raises(ModelFileError, match=r"x\.pth: expected tensors, numbers and texts alone"):
        read_torch_file(path)
    assert capsys.readouterr().out == ""


def cut(path):
    saved(path, {"a": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:2000])


def packed(path):
    saved(path, {"a": torch.zeros(100000)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


BAD = {
    "missing": (lambda path: None, "no such checkpoint; sought in"),
    "empty": (lambda path: path.write_bytes(b""), "expected a checkpoint of torch.save|expected tensors"),
    "text": (lambda path: path.write_text("hello"), "expected a checkpoint of torch.save|expected tensors"),
    "cut": (cut, "expected a checkpoint of torch.save"),
    "a list": (lambda path: saved(path, [torch.ones(1)]), "expected a mapping with names as keys, got list"),
    "numbers as keys": (
        lambda path: saved(path, {1: torch.ones(1)}),
        "expected a mapping with names as keys",
    ),
    "a bomb": (packed, "got a compressed archive: 40"),
    "a view": (
        lambda path: saved(path, {"a": [{"b": torch.zeros(1).expand(10**12)}]}),
        r"expected tensors no larger than the file of .* got one of \(1000000000000,\)",
    ),
    "a zip that is none": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(90)), "of torch.save"),
    "safetensors": (lambda path: path.write_bytes(b"\x02" + bytes(7) + b"{}"), "got a .safetensors"),
}


@pytest.mark.parametrize("kind", BAD)
def test_refused(tmp_path, kind):
    make, text = BAD[kind]
    make(tmp_path / "x.pth")
    with pytest.raises(ModelFileError, match=text) as caught:
        read_torch_file(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def test_state_dict():
    assert state_dict({"a": torch.ones(1)}) == {"a": torch.ones(1)}
    assert state_dict({"a": 1}) is None
    assert state_dict({}) is None
    assert state_dict(3) is None


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ModelFileError, match=r"expected .*, got a folder; name its file"):
        read_torch_file(tmp_path)
