"""``kill -9`` of workers and parent at random moments: nothing lost, nothing double, nothing left."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from kill_runs import alive, difference, run_under_kills
from toy_work import TOY_RUN

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")


@pytest.fixture(scope="module")
def in_peace(tmp_path_factory):
    """The folder of a run that nobody disturbed, and the script beside it."""
    folder = tmp_path_factory.mktemp("peace")
    (folder / "toy_run.py").write_text(TOY_RUN)
    command = [sys.executable, str(folder / "toy_run.py"), str(folder / "out"), "60", "2"]
    assert run_under_kills(command, folder / "out", jobs=60, kills=0).code == 0
    return folder


@pytest.mark.parametrize("seed", [0, 1])
def test_toy_work_under_many_kills(tmp_path, in_peace, seed):
    out, reference = tmp_path / "killed", in_peace / "out"
    command = [sys.executable, str(in_peace / "toy_run.py"), str(out), "60", "2"]
    story = run_under_kills(command, out, jobs=60, kills=10, seed=seed)
    assert story.code == 0
    assert story.parents_killed + story.workers_killed >= 7  # the run may end before the last
    assert difference(out, reference) == []
    assert alive(story.seen) == set()


def test_a_difference_is_seen(tmp_path):
    script = tmp_path / "toy_run.py"
    script.write_text(TOY_RUN)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        run_under_kills([sys.executable, str(script), str(folder), "3", "1"], folder, jobs=3, kills=0)
    assert difference(*folders) == []
    (folders[0] / "sub" / "clip0.txt").write_text("other")
    (folders[0] / "sub" / "clip1.txt").unlink()
    (folders[0] / ".left.txt").write_text("")
    manifest = folders[0] / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([*lines[:-1], lines[1]]))
    found = difference(*folders)
    assert {text.split(":")[0] for text in found} == {
        "only in the killed run",
        "lost",
        "other bytes",
        "twice in the manifest",
        "record differs",
    }
