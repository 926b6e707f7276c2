"""The peak that reports print is this program's own."""

import os
import subprocess
import sys

import numpy as np
import pytest

HELD_MB = 512
READ = "from headwarp.tools._memory import peak_memory_mb; "


def in_a_child(code):
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), *sys.path)))
    child = subprocess.run(
        [sys.executable, "-c", READ + code],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    if "None" in child.stdout:
        pytest.skip("this system does not say")
    return [float(number) for number in child.stdout.split()]


def test_what_was_held_counts_after_it_is_gone():
    code = f"a = peak_memory_mb(); b = b'1' * {HELD_MB}_000_000; del b; print(a, peak_memory_mb())"
    before, after = in_a_child(code)
    assert before < HELD_MB < after < before + 1.2 * HELD_MB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux carries a peak over")
def test_a_child_does_not_begin_with_the_size_of_its_parent():
    held = np.ones(HELD_MB * 125_000)
    (peak,) = in_a_child("print(peak_memory_mb())")
    assert 5 < peak < held.nbytes / 1e6
