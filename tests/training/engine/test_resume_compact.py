"""Exact resume where batches are made and changed after they arrived, as on a device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import compact_training
import pytest
import torch
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.training.engine.store import newest

STEPS = 12


def end_of(folder):
    checkpoint, _ = newest(folder / "checkpoints", say=lambda text: None)
    return checkpoint.step, checkpoint.tensors, (folder / "log.jsonl").read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    packs, killed, peace = tmp_path / "packs", tmp_path / "killed", tmp_path / "peace"
    for clip in ("run", "walk"):
        toy_pack(packs, toy_head(), clip)
    command = [sys.executable, "-W", "ignore", compact_training.__file__, str(packs), str(killed)]
    threads = str(torch.get_num_threads())  # bits are the same with as many threads
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": threads,
    }
    process = subprocess.Popen([*command, "--steps", str(STEPS)], env=environment)
    log, deadline = killed / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 9):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "report.json").exists()
    assert compact_training.run(packs, killed, steps=STEPS)["begun_at_step"] == 7
    compact_training.run(packs, peace, steps=STEPS)
    (step, tensors, text), (step_2, tensors_2, text_2) = end_of(killed), end_of(peace)
    assert step == step_2 == STEPS
    assert tensors.keys() == tensors_2.keys()
    assert [key for key in tensors if not torch.equal(tensors[key], tensors_2[key])] == []
    assert text == text_2
    assert Path(peace / "report.json").exists()
