"""Which FLAME a file is: told by its name and its expressions, both said, never more than can be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flame_schema import flame_arrays, write_flame_pickle

from headwarp.flame._flame_version import told_version
from headwarp.flame.io import load_head, save_head_npz
from headwarp.tools import convert_head as command

ALL = np.full((5023, 3, 2), 1e-3)
EARLIER = "FLAME 2019 or earlier (told by its expressions: 3236 of 5023 vertices rest)"
FRONT = np.where(np.arange(5023)[:, None, None] < 1787, 1e-3, 0.0) * np.ones((1, 3, 2))


@pytest.mark.parametrize(
    ("name", "basis", "version"),
    [
        ("generic_model.pkl", ALL, "FLAME 2020 or later (told by its expressions: 0 of 5023 vertices rest)"),
        ("generic_model.pkl", FRONT, EARLIER),
        ("flame2023.pkl", ALL, "FLAME 2023 (told by the name of the file)"),
        ("flame2023_no_jaw.pkl", ALL, "FLAME 2023, no_jaw (told by the name of the file)"),
        ("FLAME2023_Open.pkl", ALL, "FLAME 2023 Open (told by the name of the file)"),
        ("flame2019.pkl", FRONT, "FLAME 2019 (told by the name of the file)"),
        (
            "flame2023.pkl",
            FRONT,
            "FLAME 2023 by the name of the file, but FLAME 2019 or earlier by its expressions (3236 rest)",
        ),
    ],
)  # fmt: skip
def test_what_can_be_told(name: str, basis: np.ndarray, version: str) -> None:
    assert told_version(name, 5023, 9976, basis) == version


def test_another_mesh_is_not_called_flame() -> None:
    assert (
        told_version("flame2023.pkl", 56, 84, ALL[:56])
        == "not FLAME's mesh of 5023 vertices: 56 vertices, 84 faces"
    )
    assert told_version("x", 5023, 9976, ALL[..., :0]).startswith("FLAME 2019 or earlier")


def test_the_version_is_kept_and_reported(tmp_path: Path) -> None:
    write_flame_pickle(tmp_path / "flame2023_no_jaw.pkl", flame_arrays())
    head = load_head(tmp_path / "flame2023_no_jaw.pkl")
    assert head.version == "not FLAME's mesh of 5023 vertices: 56 vertices, 84 faces"
    save_head_npz(head, tmp_path / "own.npz")
    assert load_head(tmp_path / "own.npz").version == head.version
    report = command.convert_head(tmp_path / "flame2023_no_jaw.pkl", tmp_path / "out.npz")
    assert report["version"] == head.version
    assert head.version in command.describe(report)
