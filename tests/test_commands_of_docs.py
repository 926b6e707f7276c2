"""Every command in README and docs is understood by the parser; those of the pages for newcomers are run.

`PARSED` says of every other page why its commands are parsed alone; a page in neither table is an error.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from face_pictures import needs_mediapipe, portrait, sway
from media_files import write_clip, write_photo
from PIL import Image

from headwarp.tools import cli
from headwarp.warping import animators

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
RUN = ("docs/start.md", "docs/howto/drive-from-a-csv.md", "docs/howto/swap-a-head.md", "docs/limits.md")
"""Pages whose commands and Python blocks are run, in order, in one folder and one namespace a page."""

ADDED = {
    "demo": ("--size", "48", "--seconds", "0.2"),
    "edit": ("--size", "64"),
    "animate": ("--size", "64"),
    "swap": ("--size", "64"),
    "render": (),
    "fit": (),
    "info": (),
    "segment": (),
}
"""Command -> options that make it small where it is run; nothing else about it changes."""

OPTIONAL = "extra files or hours of training; the tests of the command run it on tiny ones"
PARSED = {
    "README.md": "its commands stand for what their pages say",
    "docs/animating.md": OPTIONAL,
    "docs/benchmarks.md": "hours, and footage that is not public",
    "docs/checkpoints.md": OPTIONAL,
    "docs/datasets.md": OPTIONAL,
    "docs/deploying.md": OPTIONAL,
    "docs/depth.md": OPTIONAL,
    "docs/evaluation.md": OPTIONAL,
    "docs/exports.md": OPTIONAL,
    "docs/fitting.md": OPTIONAL,
    "docs/formats.md": OPTIONAL,
    "docs/metrics.md": OPTIONAL,
    "docs/swapping.md": OPTIONAL,
    "docs/synthetic.md": OPTIONAL,
    "docs/training.md": OPTIONAL,
    "docs/view.md": "it serves until it is stopped; the tests of the command talk to it",
    "docs/howto/add-an-animator.md": "its file is tried by the contract tests below",
    "docs/howto/fit-a-dataset.md": OPTIONAL,
    "docs/howto/import-a-checkpoint.md": "published weights are not at hand",
    "docs/howto/train-on-voxceleb.md": "VoxCeleb is not at hand, and training takes hours",
    "docs/howto/use-your-flame.md": "FLAME is not at hand",
}
"""Page -> why its commands are parsed and not run here."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Kind and content of the fenced blocks, in order."""
    return re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Words after ``headwarp`` of every command line in blocks of no language; ``..`` stands for more."""
    lines = [line for kind, block in blocks(text) if not kind for line in block.splitlines()]
    return [
        [word for word in shlex.split(line, comments=True)[1:] if word != ".."]
        for line in lines
        if line.startswith("headwarp ")
    ]


COMMANDS = [(page, words) for page, text in PAGES.items() for words in commands(text)]


def parsed(words: list[str]):
    name, rest = cli.split_name(words)
    return cli.parse(cli.load_command(name), rest)


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{p}:{' '.join(w)[:60]}" for p, w in COMMANDS])
def test_the_parser_understands(page, words, monkeypatch):
    parsed(words)


def test_a_wrong_option_and_a_wrong_type_are_seen():
    for words in (["edit", "a.png", "--output", "b.png", "--yawn", "3"], ["fit", "a.png", "--output"]):
        with pytest.raises(SystemExit):
            parsed(words)


def test_every_page_with_commands_is_run_or_says_why_not():
    with_commands = {page for page, _ in COMMANDS}
    assert with_commands - set(RUN) - set(PARSED) == set()
    assert set(RUN) | set(PARSED) <= set(PAGES)
    assert not set(RUN) & set(PARSED)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """What the pages take for granted: photos, clips, landmarks, a track."""
    for name in ("photo.jpg", "me.jpg", "me1.jpg", "me2.jpg", "you.jpg"):
        write_photo(tmp_path / name, portrait())
    for name in ("clip.mp4", "you.mp4"):
        write_clip(tmp_path / name, sway(3))
    points = np.random.default_rng(0).uniform(100, 200, (1, 136)) + np.arange(3)[:, None]
    np.savetxt(tmp_path / "points.csv", points, delimiter=",", fmt="%.2f")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@needs_mediapipe
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_page_runs_from_top_to_bottom(page, folder, capsys):
    """Commands, Python and tables (a CSV is saved as track.csv) in the order of the page."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for kind, block in blocks(PAGES[page]):
        if kind == "csv":
            (folder / "track.csv").write_text(block, encoding="utf-8")
        elif kind == "python":
            exec(compile(block, page, "exec"), namespace)  # the documentation's own code
        for words in commands(f"```\n{block}```" if not kind else ""):
            name, rest = cli.split_name(words)
            code = cli.main([*name.split(), *rest, *ADDED[name]])
            assert code == 0, (words, capsys.readouterr().err)
            if "--output" in rest:
                made = folder / rest[rest.index("--output") + 1]
                assert made.exists(), words
                assert made.suffix != ".png" or Image.open(made).size[0] > 0


CONTRACT = (
    "test_config_is_frozen_and_needs_are_fields_with_producers",
    "test_what_is_declared_suffices",
    "test_a_batch_of_drivers_is_its_frames",
    "test_encode_once_animate_many_leaves_cache_and_input_alone",
    "test_a_cache_survives_a_copy",
    "test_a_shift_of_the_head_shifts_the_face",
)


def test_the_animator_of_the_page_keeps_the_contract(tmp_path, monkeypatch):
    ((_, code),) = [block for block in blocks(PAGES["docs/howto/add-an-animator.md"]) if block[0] == "python"]
    assert len(code.splitlines()) < 60
    (tmp_path / "tilt.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(animators, "__path__", [*animators.__path__, str(tmp_path)])
    assert "tilt" in animators.animator_names()
    try:
        spec = importlib.util.spec_from_file_location("contract", ROOT / "tests/warping/test_animators.py")
        assert spec is not None
        assert spec.loader is not None
        contract = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(contract)
        for name in CONTRACT:
            getattr(contract, name)("tilt")
        for masked in (True, False):
            contract.test_shapes_and_ranges("tilt", masked)
            contract.test_the_sources_own_pose_reproduces_the_source("tilt", masked)
            contract.test_explain_gives_named_maps("tilt", masked)
    finally:
        animators._REGISTRY.found.pop("tilt", None)
