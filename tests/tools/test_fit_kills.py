"""``headwarp fit`` under ``kill -9``, small; `kill_runs.py` as a program does the same with 2,000 clips."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from face_pictures import needs_mediapipe
from kill_runs import alive, cut_clips, difference, run_under_kills

from headwarp.tools import cli


@needs_mediapipe
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")
def test_fits_survive_kills(tmp_path):
    clips, out, reference = (tmp_path / name for name in ("clips", "killed", "peace"))
    cut_clips(clips, 5, None)
    (clips / "damaged.mp4").write_bytes(b"no clip")
    words = ["fit", str(clips), "--no-overlay", "--output"]
    assert cli.main([*words, str(reference)]) == 1  # for the damaged one
    command = [sys.executable, "-m", "headwarp.tools.cli", *words, str(out), "--workers", "2"]
    story = run_under_kills(command, out, jobs=6, kills=2, seed=7)
    assert story.code == 1
    assert story.parents_killed == 1
    assert story.workers_killed == 1
    assert difference(out, reference) == []
    assert alive(story.seen) == set()
