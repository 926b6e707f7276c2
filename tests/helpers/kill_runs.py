"""Runs that are killed at random again and again until they are done, and what must be true afterwards.

As a program: makes short clips by cutting and re-encoding, fits them once in peace and once under ``kill -9``
of workers and parent, and compares::

    python tests/helpers/kill_runs.py --clips 2000 --kills 20 --workers 2 --folder kills
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headwarp.training.data.jobs import without_timings

MANIFEST = "manifest.jsonl"
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@dataclass
class Story:
    """What happened in a run: processes killed, times it was begun, its exit code."""

    workers_killed: int = 0
    parents_killed: int = 0
    starts: int = 0
    code: int | None = None
    seconds: float = 0.0
    seen: set[int] = field(default_factory=set)


def run_under_kills(command: Sequence[str], out: Path, *, jobs: int, kills: int, seed: int = 0) -> Story:
    """Run a command, kill it or one of its workers at random moments, begin it again when it was killed.

    The moments are spread over the first four fifths of the run by the number of lines in its manifest: later
    ones might come when it has ended. Never more than two workers
    one after the other: a job is given up when three died over it.

    Args:
        command: what writes ``out/manifest.jsonl``.
        out: its output folder.
        jobs: number of jobs.
        kills: how many processes are killed.
        seed: of the moments and victims.
    """
    chance = random.Random(seed)
    moments = sorted(chance.randrange(jobs - jobs // 5) for _ in range(kills))
    victims = [chance.choice(("parent", "worker")) for _ in moments]
    for place in range(2, len(victims)):
        if victims[place - 2 : place + 1] == ["worker"] * 3:
            victims[place] = "parent"
    pending = list(zip(moments, victims, strict=True))
    story, started = Story(), time.monotonic()
    while story.code is None:
        story.starts += 1
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL)
        _kill_while_running(process, out / MANIFEST, pending, chance, story)
    story.seconds = time.monotonic() - started
    return story


def _kill_while_running(
    process: subprocess.Popen, manifest: Path, pending: list, chance: random.Random, story: Story
) -> None:
    """Kill as planned until the process ends; its exit code goes into the story if it was not killed."""
    lines = LineCount(manifest)
    while process.poll() is None:
        if not pending or lines.now() < pending[0][0] + 1:
            time.sleep(0.02)
            continue
        time.sleep(chance.uniform(0, 0.1))
        _, victim = pending.pop(0)
        workers = workers_of(process.pid)
        story.seen.update(workers)
        if victim == "worker" and workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            story.workers_killed += 1
        elif process.poll() is None:
            process.kill()
            process.wait()
            story.parents_killed += 1
            return
    story.code = process.returncode


class LineCount:
    """Whole lines of a file that grows, read once."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._lines = path, 0, 0

    def now(self) -> int:
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
            self._offset, self._lines = self._offset + len(data), self._lines + data.count(b"\n")
        return self._lines


def workers_of(parent: int) -> list[int]:
    """Spawned workers among the children of a process, in no order."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that run still."""
    return {pid for pid in pids if Path(f"/proc/{pid}/exe").exists()}


def difference(out: Path, reference: Path) -> list[str]:
    """What differs between the folder of a killed run and that of one in peace; empty if all is well."""
    files, wanted = _files(out), _files(reference)
    found = [f"only in the killed run: {name}" for name in sorted(files - wanted)]
    found += [f"lost: {name}" for name in sorted(wanted - files)]
    same = (name for name in files & wanted if name.endswith((".npz", ".txt")))
    found += [f"other bytes: {n}" for n in same if (out / n).read_bytes() != (reference / n).read_bytes()]
    lines, expected = _lines(out), _lines(reference)
    keys = [line.get("key") for line in lines]
    found += [f"twice in the manifest: {key}" for key in {key for key in keys if keys.count(key) > 1}]
    found += [f"record differs: {text[:300]}" for text in sorted(_texts(lines) ^ _texts(expected))]
    return found


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def _texts(lines: Sequence[dict]) -> set[str]:
    return {json.dumps(without_timings(line), sort_keys=True) for line in lines}


# as a program


def cut_clips(folder: Path, count: int, source: Path | None) -> None:
    """Clips of 3 to 8 frames, cut from those of ``source`` or made of the astronaut, and encoded again."""
    from face_pictures import sway
    from media_files import write_clip

    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(source.glob("*.mp4")) if source else []
    pieces = _pieces(sources) if sources else (sway(3 + i % 6, step=i % 5) for i in itertools.count())
    for number, frames in enumerate(itertools.islice(pieces, count)):
        write_clip(folder / f"clip{number:05d}.mp4", frames)


def _pieces(sources: Sequence[Path]) -> Iterator[list[np.ndarray]]:
    """Runs of frames, over and over, of other lengths in every round."""
    from media_files import decode_clip

    for turn in itertools.count():
        for number, path in enumerate(sources):
            frames = decode_clip(path)
            length = 3 + (turn + number) % 6
            for start in range(turn, len(frames) - length + 1, length):
                yield frames[start : start + length]


def main() -> int:
    """Make, fit in peace, fit under kills, compare; 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, value in (("clips", 2000), ("kills", 20), ("workers", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--folder", type=Path, required=True, help="new folder for clips and outputs")
    data = os.environ.get("HEADWARP_TEST_DATA")
    source = Path(data) / "dev" / "crop256" if data else None
    parser.add_argument("--source", type=Path, default=source, help="clips to cut; else the astronaut")
    options = parser.parse_args()
    clips, out, reference = (options.folder / name for name in ("clips", "killed", "peace"))
    cut_clips(clips, options.clips, options.source)
    command = [sys.executable, "-m", "headwarp.tools.cli", "fit", str(clips), "--no-overlay"]
    command += ["--workers", str(options.workers), "--output"]
    calm = run_under_kills([*command, str(reference)], reference, jobs=options.clips, kills=0)
    _say(f"in peace: {calm.seconds:.0f} s, exit code {calm.code}")
    story = run_under_kills(
        [*command, str(out)], out, jobs=options.clips, kills=options.kills, seed=options.seed
    )
    _say(
        f"killed: {story.parents_killed} times the parent, {story.workers_killed} times a worker; "
        f"{story.starts} starts, {story.seconds:.0f} s, exit code {story.code}"
    )
    found = difference(out, reference)
    found += [f"still running: {pid}" for pid in alive(story.seen)]
    found += [] if story.code == calm.code else ["the exit codes differ"]
    fits = len(list(out.rglob("*.npz")))
    _say(
        "\n".join(found)
        or f"nothing lost, nothing double, nothing left: {fits} fits are the same to the byte"
    )
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
