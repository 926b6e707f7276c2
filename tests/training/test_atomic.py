"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.atomic import atomic_path, write_json
from headwarp.training.data.media import (
    exact_fps,
)


def visible_and_hidden(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_atomic_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_path(tmp_path / "new" / "a.txt") as temporary:
        assert temporary.parent == tmp_path / "new"
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "new" / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    (tmp_path / "link.txt").symlink_to(tmp_path / "new" / "a.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("through")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "new" / "a.txt").read_text() == "through"
    with pytest.raises(HeadwarpError, match="is a folder, not a file"), atomic_path(tmp_path):
        pass
    with (
        pytest.raises(HeadwarpError, match="cannot be written there"),
        atomic_path(tmp_path / "link.txt" / "a"),
    ):
        pass

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    text = r"a.txt: cannot be written there \(permission denied\)\."
    with pytest.raises(HeadwarpError, match=text), atomic_path(tmp_path / "a.txt"):
        pass


def test_full_disk_is_a_sentence(tmp_path: Path) -> None:
    text = r"writing failed \(no space left on device\)"
    with pytest.raises(HeadwarpError, match=text), atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert visible_and_hidden(tmp_path) == []
    # the block's own trouble stays its own
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()


def test_write_json(tmp_path: Path) -> None:
    content = {
        "nan": float("nan"),
        "array": np.arange(2),
        "scalar": np.float32(0.5),
        "tensor": torch.ones(1),
        "fps": Fraction(24000, 1001),
        "path": Path("a/b"),
        "info": exact_fps(25),
        "tuple": (1, True, None, "ü"),
    }
    write_json(tmp_path / "a.json", content)
    read = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert read == {
        "nan": None,
        "array": [0, 1],
        "scalar": 0.5,
        "tensor": [1.0],
        "fps": "24000/1001",
        "path": "a/b",
        "info": "25",
        "tuple": [1, True, None, "ü"],
    }
    assert list(read) == list(content)
    with pytest.raises(TypeError, match=r"content\['a'\]\[0\]: expected what JSON can hold, got set"):
        write_json(tmp_path / "b.json", {"a": [set()]})
    with pytest.raises(TypeError, match="expected string keys"):
        write_json(tmp_path / "b.json", {1: 2})
    assert visible_and_hidden(tmp_path) == ["a.json"]
