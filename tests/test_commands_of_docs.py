"""Every command in README and docs is understood by the parser; tests of tests/docs do every page."""

from __future__ import annotations

import doctest
import importlib.util
import re
import sys

import doc_pages
import doc_runs
import pytest
from doc_pages import PAGES, ROOT, is_command, steps

from headwarp.tools import cli
from headwarp.warping import animators

COMMANDS = [
    (page, step.text)
    for page, text in PAGES.items()
    for step in steps(text)
    if step.kind == "command" and step.text.startswith("headwarp ")
]


def parsed(words: list[str]):
    name, rest = cli.split_name([word for word in words if word != ".."])
    return cli.parse(cli.load_command(name), rest)


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{p}:{line[9:69]}" for p, line in COMMANDS])
def test_the_parser_understands(page, line):
    parsed(doc_pages.Step("command", line).words[1:])


def test_a_wrong_option_and_a_wrong_type_are_seen():
    for words in (["edit", "a.png", "--output", "b.png", "--yawn", "3"], ["fit", "a.png", "--output"]):
        with pytest.raises(SystemExit):
            parsed(words)


def test_every_page_is_done_by_one_test_or_says_why_not():
    done = [page for group in doc_runs.GROUPS.values() for page in group]
    assert sorted([*done, *doc_runs.PARSED]) == sorted(page for page in PAGES if [*steps(PAGES[page])])
    files = {path.stem for path in (ROOT / "tests/docs").glob("test_*.py")}
    assert files == {f"test_{group}" for group in doc_runs.GROUPS}


def test_what_other_tests_run_is_there():
    for line, test in doc_runs.ELSEWHERE.items():
        assert re.split(r"[/. ]", line.strip().removesuffix(".py"))[-1] in (ROOT / test).read_text(
            encoding="utf-8"
        )


def test_steps_are_seen_in_their_order():
    page = (
        "`headwarp info a.npz` and `headwarp fit`\n```csv\ntime\n```\n"
        "```\nheadwarp edit a.jpg  # turned\ntps: no such file\n"
        '```\n```python title="b.py"\npass\n```\n```python\nx = 1\n```\n```json\n{}\n```\n'
    )
    kinds = [(step.kind, step.name, step.fenced) for step in steps(page)]
    assert kinds[:3] == [("command", "", False), ("file", "track.csv", True), ("command", "", True)]
    assert kinds[3:] == [("file", "b.py", True), ("python", "", True)]
    assert [step.words for step in steps(page)][2] == ["headwarp", "edit", "a.jpg"]
    assert not is_command("headwarp train fomm")


def test_a_command_that_fails_or_makes_nothing_is_seen(tmp_path, monkeypatch):
    doc_runs.settle(monkeypatch, tmp_path)
    with pytest.raises(AssertionError, match=r"none\.npz: no such file"):
        doc_runs.run_headwarp(["info", "none.npz"], tmp_path)
    with pytest.raises(AssertionError, match="weights list"):
        doc_runs.run_headwarp(["weights", "list", "--output", "nothing"], tmp_path)
    monkeypatch.setitem(doc_runs.ENDS, "info", "another sentence")
    with pytest.raises(AssertionError):
        doc_runs.run_headwarp(["info", "none.npz"], tmp_path)


@pytest.mark.parametrize("module", [doc_pages, doc_runs], ids=lambda module: module.__name__)
def test_examples_of_the_helpers(module):
    assert doctest.testmod(module).failed == 0


CONTRACT = (
    "test_config_is_frozen_and_needs_are_fields_with_producers",
    "test_what_is_declared_suffices",
    "test_a_batch_of_drivers_is_its_frames",
    "test_encode_once_animate_many_leaves_cache_and_input_alone",
    "test_a_cache_survives_a_copy",
    "test_a_shift_of_the_head_shifts_the_face",
)


def test_the_animator_of_the_page_keeps_the_contract(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python title=.tilt.py.\n(.*?)```", PAGES["docs/howto/add-an-animator.md"], re.S)
    assert len(code.splitlines()) < 60
    (tmp_path / "tilt.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(animators, "__path__", [*animators.__path__, str(tmp_path)])
    doc_runs.forget("tilt", monkeypatch)
    assert "tilt" in animators.animator_names()
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
    assert "headwarp.warping.animators.tilt" in sys.modules  # until the test ends
