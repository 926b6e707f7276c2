"""A disk of a few hundred kilobytes in memory; tests that need it skip where it cannot be mounted."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """``folder`` as a file system of that size."""
    folder.mkdir(exist_ok=True)
    mount(["-t", "tmpfs", "-o", f"size={kilobytes}k,mode=700", "none", str(folder)])
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def mount(words: list[str]) -> None:
    """Run ``mount``, or skip the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


def fill(folder: Path, *, spare: int) -> Path:
    """A file that leaves ``spare`` bytes free."""
    status = os.statvfs(folder)
    path = folder / "filler"
    path.write_bytes(b"\0" * max(0, status.f_bavail * status.f_frsize - spare))
    return path
