"""Workers that make batches: they do not outlive a program that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

# Both processes say who they are; then the program waits to be killed.
PROGRAM = """
import os, time
import torch
from headwarp.training.data.loading import Ahead, numbered


class Told:
    def __getitem__(self, step):
        return torch.tensor([os.getpid(), os.getppid()])


if __name__ == "__main__":
    kept = numbered(Told(), Ahead(torch.device("cpu"), workers=1))
    print(*next(kept).tolist(), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_workers_end_with_a_killed_program(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as program:
        worker, server = map(int, program.stdout.readline().split())
        assert alive(worker)
        program.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while alive(worker) or (server != program.pid and alive(server)):
        assert time.monotonic() < deadline, "a worker outlived its program"
        time.sleep(0.05)


def alive(number):
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
