"""Jobs are done once, outputs are whole, deaths are survived."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from kill_runs import LineCount
from toy_work import TOY_RUN, ToyWork, as_set, marks_of, toy_jobs

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.jobs import (
    JobConfig,
    Summary,
    _processes,
    open_manifest,
    publishing,
    run_jobs,
)

NAMES = ["a", "b", "c", "fails", "d"]


def run(folder: Path, names: list[str], work: ToyWork | None = None, **options) -> Summary:
    restart = options.pop("restart", False)
    with open_manifest(
        folder / "manifest.jsonl", kind="toy", fingerprint={"size": 1}, restart=restart
    ) as manifest:
        jobs = toy_jobs(names)
        return run_jobs(jobs, work or ToyWork(), manifest=manifest, config=JobConfig(**options))


def counts(done: int, failed: int, skipped: int, deaths: int, *, failed_before: int = 0) -> Summary:
    return Summary(
        done=done,
        failed=failed,
        skipped=skipped,
        failed_before=failed_before,
        deaths=deaths,
        startup_seconds=0.0,
    )


def records(folder: Path) -> dict:
    with open_manifest(folder / "manifest.jsonl", kind="toy", fingerprint={"size": 1}) as manifest:
        return {record.key: record for record in manifest.records()}


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_has_its_files_and_its_record(tmp_path, workers):
    assert run(tmp_path, NAMES, workers=workers) == counts(4, 1, 0, 0)
    made = [f"sub/{name}.txt" for name in ("a", "b", "c", "d")]
    assert everything_in(tmp_path) == ["manifest.jsonl", *made]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert (tmp_path / "sub" / "a.txt").read_text() == "made of a"
    found = records(tmp_path)
    assert set(found) == {f"key-{name}" for name in NAMES}
    assert found["key-a"].outputs == {"sub/a.txt": 9}
    assert found["key-a"].facts["length"] == 1
    assert found["key-fails"].error == "sub/fails.txt: has no face"
    assert not found["key-fails"].ok


def test_workers_and_this_process_record_the_same(tmp_path):
    for workers in (1, 2):
        run(tmp_path / str(workers), ["a", "b", "c", "breaks"], workers=workers)
    first, second = (as_set(records(tmp_path / name).values()) for name in ("1", "2"))
    assert first == second


def test_what_is_done_is_not_done_again(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    work, out = ToyWork(marks=marks), tmp_path / "out"
    run(out, ["a", "fails"], work)
    assert run(out, ["a", "fails", "b"], work) == counts(1, 0, 2, 0, failed_before=1)
    assert marks_of(marks) == ["a", "b", "fails"]
    assert run(out, ["a", "fails", "b"], work, retry_failed=True).failed == 1
    assert marks_of(marks) == ["a", "b", "fails", "fails"]


@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_missing_or_cut_output_is_made_again(tmp_path, harm):
    run(tmp_path, ["a", "b"])
    output = tmp_path / "sub" / "a.txt"
    output.unlink() if harm == "missing" else output.write_text("mad")
    assert run(tmp_path, ["a", "b"]) == counts(1, 0, 1, 0)
    assert output.read_text() == "made of a"
    assert len(records(tmp_path)) == 2


def test_a_changed_input_or_another_one_of_the_same_name_is_done(tmp_path):
    run(tmp_path, ["a"])
    (job,) = toy_jobs(["a"])
    with open_manifest(tmp_path / "manifest.jsonl", kind="toy", fingerprint={"size": 1}) as manifest:
        assert manifest.is_settled(job)
        for change in ({"stamp": "2"}, {"source": "elsewhere"}, {"key": "other"}):
            assert not manifest.is_settled(type(job)(**{**vars(job), **change}))


def test_a_job_that_kills_its_workers_is_given_up_and_the_rest_is_done(tmp_path):
    summary = run(tmp_path, ["a", "dies", "b", "c"], workers=2)
    assert summary == counts(3, 1, 0, 3)
    found = records(tmp_path)
    assert found["key-dies"].error == "3 workers died over it (killed by SIGKILL; out of memory?)"
    assert everything_in(tmp_path) == ["manifest.jsonl", "sub/a.txt", "sub/b.txt", "sub/c.txt"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_met_by_one_job_does_not_keep_the_others(tmp_path, workers):
    assert run(tmp_path, ["breaks", "a"], workers=workers).done == 1
    assert records(tmp_path)["key-breaks"].error == (
        "internal error: ValueError: a bug; HEADWARP_DEBUG=1 shows the traceback"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_run_and_fails_nobody(tmp_path, workers):
    with pytest.raises(HeadwarpError, match="no space left on device"):
        run(tmp_path, ["a", "fills", "b"], workers=workers)
    assert "key-fills" not in records(tmp_path)
    assert run(tmp_path, ["a", "b"]).failed == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_work_that_cannot_be_opened_is_one_sentence(tmp_path, workers):
    with pytest.raises(HeadwarpError, match="no head"):
        run(tmp_path, ["a"], ToyWork(refuses="no head"), workers=workers)
    assert everything_in(tmp_path) == ["manifest.jsonl"]


def test_workers_killed_while_they_start_are_told_of(tmp_path, monkeypatch):
    """Whatever the work's size: nobody waits for a dead process to read it."""
    monkeypatch.setattr("multiprocessing.spawn._python_exe", shutil.which("false").encode())
    large = ToyWork(refuses="x" * 1_000_000)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(60)
    try:
        with pytest.raises(HeadwarpError, match="in a row ended before they were ready"):
            run(tmp_path, ["a", "b"], workers=2, work=large)
    finally:
        signal.alarm(0)


def _too_long(*_: object) -> None:
    raise TimeoutError("the run waits for a process that is dead")


def test_workers_are_renewed_before_what_libraries_leak_adds_up(tmp_path, monkeypatch):
    monkeypatch.setattr(_processes, "RENEW_AFTER", 2)
    marks = tmp_path / "marks"
    marks.mkdir()
    names = ["a", "b", "c", "d", "e", "f"]
    assert run(tmp_path / "out", names, ToyWork(marks=marks), workers=2) == counts(6, 0, 0, 0)
    assert len({path.name.split(".")[1] for path in marks.iterdir()}) >= 3


def test_a_folder_linked_to_another_disk(tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as other:
        (tmp_path / "sub").symlink_to(other)
        assert run(tmp_path, ["a"]).done == 1
        assert [path.name for path in Path(other).iterdir()] == ["a.txt"]
        assert run(tmp_path, ["a"]).skipped == 1


STILLBORN = """
import multiprocessing.spawn, sys
from pathlib import Path
from toy_work import ToyWork, toy_jobs
from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.jobs import JobConfig, open_manifest, run_jobs

sys.argv += ["a long word on the command line"] * 100_000
multiprocessing.spawn.set_executable("/bin/false")
with open_manifest(sys.argv[1], kind="toy", fingerprint={}) as manifest:
    work = ToyWork(ballast=bytes(5_000_000))
    try:
        run_jobs(toy_jobs("ab"), work, manifest=manifest, config=JobConfig(workers=2))
    except HeadwarpError as error:
        sys.exit(str(error))
"""


@pytest.mark.skipif(not Path("/bin/false").exists(), reason="no /bin/false")
def test_workers_that_die_before_they_read_anything_do_not_block_the_parent(tmp_path):
    command = [sys.executable, "-c", STILLBORN, str(tmp_path / "manifest.jsonl")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "workers: 5 in a row ended before they were ready (exit code 1)" in done.stderr


def test_an_interrupt_is_for_the_parent_to_take(tmp_path):
    assert run(tmp_path, ["interrupted", "a"], workers=2) == counts(2, 0, 0, 0)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupted_run_leaves_nothing_half_made_and_goes_on(tmp_path, workers):
    script, out = tmp_path / "toy_run.py", tmp_path / "out"
    script.write_text(TOY_RUN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(script), str(out), "40", workers]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    lines = LineCount(out / "manifest.jsonl")
    while lines.now() < 5:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert error.count(b"KeyboardInterrupt") == 1  # the parent's alone
    assert sorted(path.name for path in out.iterdir()) == ["manifest.jsonl", "sub"]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 1 + 41


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path):
    left = tmp_path / ".headwarp-unfinished" / "0123abcd" / "4567cdef"
    left.mkdir(parents=True)
    (left / "half.txt").write_text("ha")
    (tmp_path / ".mine").write_text("kept")
    run(tmp_path, ["a"])
    assert everything_in(tmp_path) == [".mine", "manifest.jsonl", "sub/a.txt"]


def test_files_of_the_whole_run_appear_together_or_not_at_all(tmp_path):
    with publishing(tmp_path) as folder:
        (folder / "report.json").write_text("{}")
        assert everything_in(tmp_path)[0].startswith(".headwarp-unfinished/")
    assert everything_in(tmp_path) == ["report.json"]
    with pytest.raises(FileNotFoundError), publishing(tmp_path) as folder:
        (folder / "missing" / "other.json").write_text("{}")
    assert sorted(os.listdir(tmp_path)) == ["report.json"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 0}, "--workers: expected 1 or more, got 0"),
        ({"engine": "dask"}, "--engine: expected local or ray, got dask"),
        ({"address": "auto"}, "--address auto: goes with --engine ray, got local"),
    ],
)
def test_options_that_make_no_sense(options, text):
    with pytest.raises(HeadwarpError, match=text):
        JobConfig(**options)
