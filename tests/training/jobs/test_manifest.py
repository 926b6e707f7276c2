"""What the manifest survives, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_work import ToyWork, as_set, toy_jobs

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.jobs import JobConfig, open_manifest, run_jobs, without_timings
from headwarp.training.data.jobs import opening as opening_module

NAMES = ["a", "b", "c", "d"]


def opened(path: Path, size: int = 1, **options):
    return open_manifest(path, kind="toy", fingerprint={"size": size, "name": None}, **options)


def run(path: Path, names: list[str], **options):
    with opened(path, **options) as manifest:
        return run_jobs(toy_jobs(names), ToyWork(), manifest=manifest, config=JobConfig())


def records(path: Path) -> list:
    with opened(path) as manifest:
        return list(manifest.records())


@pytest.fixture
def path(tmp_path) -> Path:
    """The manifest of four finished jobs."""
    run(tmp_path / "manifest.jsonl", NAMES)
    return tmp_path / "manifest.jsonl"


def test_every_line_is_json_and_the_first_says_what_it_is(path):
    first, *lines = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["manifest"], first["kind"]) == (1, "toy")
    assert first["fingerprint"] == {"size": 1, "name": None}
    assert [line["key"] for line in lines] == [f"key-{name}" for name in NAMES]


def test_a_cut_anywhere_loses_the_cut_line_alone(path):
    whole = path.read_bytes()
    before = as_set(records(path))
    starts = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)]
    for cut in {*starts[1:], *range(starts[1], len(whole), 23)}:
        path.write_bytes(whole[:cut])
        with opened(path) as manifest:
            assert len(manifest) == sum(start <= cut for start in starts[2:])
            assert manifest.damaged == (cut not in starts)
        assert path.read_bytes() == whole[: max(start for start in starts if start <= cut)]
    path.write_bytes(whole[:-20])
    assert run(path, NAMES).done == 1
    assert as_set(records(path)) == before


@pytest.mark.parametrize("content", [b"", b'{"manifest": 1, "ki'])
def test_a_manifest_that_was_hardly_begun_is_begun_anew(tmp_path, content):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(content)
    assert run(path, NAMES).done == 4


def test_a_damaged_line_amid_the_others_is_passed_over_and_its_job_done_again(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\0\xff garbage\n", b"[1]\n", b'{"key": 1}\n', *lines[2:]]))
    with opened(path) as manifest:
        assert (len(manifest), manifest.damaged) == (3, 3)
    assert run(path, NAMES).done == 1
    assert len(records(path)) == 4


def test_the_latest_line_of_a_job_counts(path):
    (path.parent / "sub" / "a.txt").unlink()
    assert run(path, NAMES).done == 1
    assert len(path.read_text().splitlines()) == 1 + 4 + 1
    assert len(records(path)) == 4


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(0, 40))
def test_no_bytes_crash_it(tmp_path_factory, junk, place, length):
    path = tmp_path_factory.mktemp("fuzz") / "manifest.jsonl"
    run(path, NAMES)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + junk + whole[place + length :])
    try:
        summary = run(path, NAMES)
    except HeadwarpError:
        return
    assert summary.done + summary.skipped == 4


# refusals


def test_other_options_are_refused_with_the_remedy_and_nothing_is_touched(path):
    before = path.read_bytes()
    text = r"made otherwise \(size: 1 then, 2 now\); name another folder, or add --restart"
    with pytest.raises(HeadwarpError, match=text), opened(path, size=2):
        pass
    assert path.read_bytes() == before


def test_an_option_that_the_manifest_does_not_know_is_a_difference(path):
    text = r"new: not known then, 1 now"
    fingerprint = {"size": 1, "name": None, "new": 1}
    with pytest.raises(HeadwarpError, match=text), open_manifest(path, kind="toy", fingerprint=fingerprint):
        pass


def test_other_options_are_taken_where_nothing_was_done(tmp_path):
    path = tmp_path / "manifest.jsonl"
    run(path, ["fails"])
    assert run(path, NAMES, size=2).done == 4
    assert len(path.read_text().splitlines()) == 5


def test_restart_keeps_the_old_manifest_under_a_number(path):
    before = path.read_bytes()
    assert run(path, NAMES, size=2, restart=True).done == 4
    assert run(path, NAMES, size=2, restart=True).done == 4
    assert sorted(p.name for p in path.parent.glob("*.jsonl")) == [
        "manifest-1.jsonl",
        "manifest-2.jsonl",
        "manifest.jsonl",
    ]
    assert (path.parent / "manifest-1.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("first", "text"),
    [
        ({"manifest": 2, "headwarp": "9.0"}, "version 1 or older, got 2, written by headwarp 9.0; upgrade"),
        ({"manifest": 1, "kind": "prepare", "fingerprint": {}}, "manifest of 'toy', got that of 'prepare'"),
        ({"manifest": 1, "kind": "toy"}, "its first line lacks kind and options"),
        ({"other": 1}, "its first line does not read as one"),
        ([1], "its first line does not read as one"),
    ],
)
def test_a_manifest_of_something_else_is_refused_and_left_as_it_is(path, first, text):
    lines = path.read_text().splitlines(keepends=True)
    changed = "".join([json.dumps(first) + "\n", *lines[1:]])
    path.write_text(changed)
    with pytest.raises(HeadwarpError, match=text), opened(path):
        pass
    assert path.read_text() == changed
    if "kind" not in first:
        assert run(path, NAMES, restart=True).done == 4
        assert (path.parent / "manifest-1.jsonl").read_text() == changed


def test_a_folder_in_its_place_and_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(HeadwarpError, match=r"manifest\.jsonl: cannot be written \(is a directory\)"):
        run(tmp_path / "manifest.jsonl", NAMES)
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadwarpError, match=r"cannot be written \(file exists\)|not a directory"):
        run(tmp_path / "file" / "manifest.jsonl", NAMES)


# the lock

HOLDER = """
import sys, time
from headwarp.training.data.jobs import open_manifest
with open_manifest(sys.argv[1], kind="toy", fingerprint={"size": 1, "name": None}):
    print("locked", flush=True)
    time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen:
    """A process that holds the manifest."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    return process


def test_a_second_run_is_refused_and_a_killed_one_does_not_block(tmp_path, monkeypatch):
    monkeypatch.setattr(opening_module, "LOCK_SECONDS", 0.2)
    path = tmp_path / "manifest.jsonl"
    process = holder(path)
    with pytest.raises(HeadwarpError, match="another run works in this folder"), opened(path):
        pass
    process.kill()
    process.wait()
    assert run(path, NAMES).done == 4


def test_a_run_that_ends_within_the_wait_is_waited_for(tmp_path):
    path = tmp_path / "manifest.jsonl"
    process = holder(path)
    killer = threading.Timer(0.3, process.kill)
    killer.start()
    assert run(path, NAMES).done == 4
    killer.join()
    process.wait()


def test_timings_are_left_out_at_every_depth():
    assert without_timings({"seconds": 1, "a": {"seconds_b": 2, "c": [{"seconds": 3, "d": 4}]}}) == {
        "a": {"c": [{"d": 4}]}
    }
