"""Files of heads and fits that cannot be used: each command says so in one sentence and writes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flame_schema import flame_arrays, write_flame_pickle
from media_files import picture, write_photo
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.io import save_head_npz
from headwarp.tools.cli import main

FRAMES = 3


def fit_file(path: Path, **changed: np.ndarray | None) -> None:
    """A sound fit with some arrays replaced, or left out where None."""
    head = toy_head()
    save_head_npz(head, path.parent / "head.npz")
    toy_fit(head, FRAMES, **varied(head, FRAMES)).save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changed}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def flame_file(path: Path, **changed: np.ndarray | None) -> None:
    """A FLAME pickle with some arrays replaced, or left out where None."""
    write_flame_pickle(path, {**flame_arrays(rows=3, columns=3), **changed})  # type: ignore[dict-item]


def in_half(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        make(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut


FITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer": (
        lambda path: fit_file(path, schema_version=np.array(99)),
        "expected fit version 2 or older, got 99; upgrade headwarp to read it",
    ),
    "without a key": (lambda path: fit_file(path, jaw=None), "jaw"),
    "of two lengths": (lambda path: fit_file(path, status=np.ones(FRAMES + 1, np.int8)), "status: expected"),
    "wrong shape": (lambda path: fit_file(path, eyes=np.zeros((FRAMES, 5), np.float32)), "eyes: expected"),
    "of text": (lambda path: fit_file(path, neck=np.array(["a"] * FRAMES)), "neck: expected"),
    "not a number": (
        lambda path: fit_file(path, shape=np.full(4, np.nan, np.float32)),
        "shape: expected finite numbers",
    ),
    "of another convention": (lambda path: fit_file(path, convention=np.array("opengl")), "opengl"),
    "cut": (in_half(fit_file), "expected a fit|not a sound"),
    "empty": (lambda path: path.write_bytes(b"") and None, "is empty"),
}
HEADS: dict[str, tuple[Callable[[Path], None], str]] = {
    "without keys": (lambda path: flame_file(path, weights=None, f=None), "f, weights missing"),
    "wrong shape": (
        lambda path: flame_file(path, posedirs=np.zeros((9, 3, 35))),
        "posedirs: expected",
    ),
    "of two sizes": (lambda path: flame_file(path, weights=np.full((8, 5), 0.2)), "weights: expected"),
    "faces beyond": (
        lambda path: flame_file(path, f=np.full((8, 3), 99, np.uint32)),
        "faces: expected indices below 9",
    ),
    "cut": (in_half(flame_file), "truncated"),
    "empty": (lambda path: path.write_bytes(b"") and None, "the file is empty"),
}
FIT_COMMANDS = {
    "info": ["info", "{file}"],
    "render": ["render", "{file}", "--head", "{folder}/head.npz", "--output", "{folder}/out.png"],
    "convert fit": [
        "convert",
        "fit",
        "{file}",
        "--head",
        "{folder}/head.npz",
        "--output",
        "{folder}/out.glb",
    ],
    "animate": ["animate", "--source", "{folder}/photo.png", "--driving", "{file}"]
    + ["--output", "{folder}/out.mp4"],
}
HEAD_COMMANDS = {
    "fit": ["fit", "{folder}/photo.png", "--head", "{file}", "--output", "{folder}/out"],
    "convert head": ["convert", "head", "{file}", "--output", "{folder}/out.npz"],
    "info": ["info", "{file}"],
}


def refused(words: list[str], file: Path, text: str, capsys: pytest.CaptureFixture) -> None:
    """Run a command on the file: exit code 1, one sentence with the file's name and the text, no output."""
    write_photo(file.parent / "photo.png", picture(64, 64))
    before = sorted(os.listdir(file.parent))
    assert main([word.format(file=file, folder=file.parent) for word in words]) == 1
    said = capsys.readouterr()
    assert re.search(text, said.err), said.err
    assert file.name in said.err
    assert said.err.count("\n") == 1
    assert "internal error" not in said.err
    left = sorted(os.listdir(file.parent))
    assert left == before or (left == sorted([*before, "out"]) and not os.listdir(file.parent / "out"))


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("command", FIT_COMMANDS)
def test_fits(command: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make, text = FITS[kind]
    fit_file(tmp_path / "clip.npz")  # and its head beside it
    make(tmp_path / "clip.npz")
    refused(FIT_COMMANDS[command], tmp_path / "clip.npz", text, capsys)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("command", HEAD_COMMANDS)
def test_heads(command: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make, text = HEADS[kind]
    make(tmp_path / "generic_model.pkl")
    refused(HEAD_COMMANDS[command], tmp_path / "generic_model.pkl", text, capsys)
