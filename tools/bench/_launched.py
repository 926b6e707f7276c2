"""A small process between a large one and a command: Linux counts the memory of what starts a process as that
process's peak. It is run as a file and imports nothing of the package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str]) -> None:
    """Run ``words[1:]`` and write ``status``, ``wall_s``, ``cpu_s`` and ``peak_memory_mb`` to ``words[0]``.

    The last two are None where the system does not tell.
    """
    began = time.perf_counter()
    process = subprocess.Popen(words[1:])
    found: dict[str, float | None] = {"cpu_s": None, "peak_memory_mb": None}
    if sys.platform == "win32":
        status = process.wait()
    else:
        _, ended, usage = os.wait4(process.pid, 0)
        status = os.waitstatus_to_exitcode(ended)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        found["cpu_s"] = usage.ru_utime + usage.ru_stime
        found["peak_memory_mb"] = usage.ru_maxrss * unit / 1e6
    found |= {"status": status, "wall_s": time.perf_counter() - began}
    Path(words[0]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
