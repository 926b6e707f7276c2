"""`headwarp synth`: what lies in its folder, going on, the same bytes from one worker and from two."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from headwarp.tools import synth as tool
from headwarp.tools.cli import main
from headwarp.tools.synth import Synth, partition_of, recipes_of
from headwarp.training.data.synthetic import Recipe
from headwarp.training.data.synthetic.check import FrameCheck, summary

OPTIONS = ("--identities", "2", "--frames", "3", "--size", "48", "--test-share", "0.5", "--occluders", "0")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".mp4", ".npz")
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of one run by one worker; it is not changed."""
    folder = tmp_path_factory.mktemp("synth")
    assert main(["synth", "--output", str(folder), *OPTIONS, "--json", str(folder / "r.json")]) == 0
    return folder


def test_clips_fits_and_truth_and_nothing_done_twice(made, tmp_path, capsys):
    report = json.loads((made / "r.json").read_text())
    assert (report["clips"], report["frames"], report["ok"]) == (2, 6, True)
    first = contents(made)
    name = "syn0000-0000{}#clip#000000#000003"
    assert {f"train/{name.format(0)}.mp4", f"test/{name.format(1)}.npz", f"truth/{name.format(1)}.npz"} < set(
        first
    )
    folder = shutil.copytree(made, tmp_path / "again")
    kept = folder / "train" / f"{name.format(0)}.mp4"
    before = kept.stat().st_mtime_ns
    (folder / "test" / f"{name.format(1)}.mp4").unlink()
    assert main(["synth", "--output", str(folder), *OPTIONS]) == 0
    assert contents(folder) == first
    assert kept.stat().st_mtime_ns == before
    assert "2 clip(s), 6 frames" in capsys.readouterr().out


@pytest.mark.slow
def test_two_workers_write_the_bytes_of_one(made, tmp_path):
    assert main(["synth", "--output", str(tmp_path), *OPTIONS, "--workers", "2"]) == 0
    assert contents(tmp_path) == contents(made)


def test_people_of_the_test_share_are_spread():
    parts = [partition_of(Recipe(0, number), 0.1) for number in range(1000)]
    assert parts.count("test") == 100
    assert all("test" in parts[k : k + 10] for k in range(0, 1000, 10))
    assert {partition_of(Recipe(0, n), 0.0) for n in range(50)} == {"train"}


def test_recipes_are_numbered_from_the_first():
    found = list(recipes_of(Synth(identities=3, first=7, seed=2)))
    assert [(r.seed, r.number) for r in found] == [(2, 7), (2, 8), (2, 9)]


def test_a_sheet_of_people(tmp_path):
    from headwarp.training.data.media import read_image

    sheet = tmp_path / "people.png"
    words = ["synth", "--identities", "2", "--size", "48", "--frames", "4", "--sheet", str(sheet)]
    assert main(words) == 0
    picture = read_image(sheet)
    assert picture.shape == (24, 48, 3)
    assert np.std(picture) > 10


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--output: expected a folder"),
        (["--output", "x", "--identities", "0"], "--identities"),
        (["--output", "x", "--frames", "0"], "frames: expected 1 or more"),
        (["--output", "x", "--test-share", "2"], "--test-share: expected a share"),
    ],
)
def test_bad_options_are_named(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["synth", *words]) == 1
    assert named in capsys.readouterr().err


def test_a_detector_finds_them(tmp_path, capsys):
    pytest.importorskip("mediapipe")
    words = ["synth", "--check", "--identities", "2", "--seed", "11", "--frames", "2", "--size", "160"]
    assert main([*words, "--occluders", "0", "--json", str(tmp_path / "r.json")]) in (0, 1)  # 1: over 3 %
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["found"] == 1.0
    assert report["percent_68"] < 4
    assert "outer-canthal" in report["definition"]


@pytest.mark.parametrize(
    "checks", [[FrameCheck(10.0, False, np.nan, np.nan)], [FrameCheck(60.0, True, 2.0, 2.0)]]
)
def test_nobody_found_or_nobody_facing_is_said(checks):
    report = {"ok": False, **summary({"syn": checks}), "messages": []}
    assert "at |yaw| <= 40: no face found" in tool.describe(report)
