"""Commands that are refused leave no folder behind, however late they find out."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from headwarp.tools.cli import main
from headwarp.tools.inputs import check_folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a photo, which commands work in."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)).save("photo.png")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["depth", "photo.png", "--checkpoint", "gone"], "gone: no such checkpoint"),
        (["depth", "gone.png", "--checkpoint", "gone"], "gone.png"),
        (["fit", "photo.png", "--head", "gone.npz"], "gone.npz"),
        (["synth", "--identities", "0"], "--identities"),
        (["train", "fomm", "--data", "gone", "--steps", "1"], "gone"),
        (["demo", "--size", "8"], "--size"),
    ],
)
def test_a_refused_command_leaves_no_folder(here, capsys, words, said):
    assert main([*words, "--output", "new/out", "--json", "other/r.json"]) == 1
    assert said in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["photo.png"]


def test_a_folder_is_looked_at_and_not_made(here):
    check_folder(here / "a" / "b")
    assert not (here / "a").exists()
    os.mkdir("own")
    check_folder(here / "own")
    assert os.listdir("own") == []
