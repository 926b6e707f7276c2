"""Two processes learn what one learns from the doubled batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_training

from headwarp.training.engine import parallel
from headwarp.training.engine.loop import train
from headwarp.training.engine.store import newest

SCRIPT = Path(toy_training.__file__)


def launched(output, *, processes, size):
    words = [str(SCRIPT), str(output), "--steps", "9", "--size", str(size), "--plain"]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, "-W", "ignore", *launcher, *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("toy/plain: 9 steps") == processes  # each knows the report


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    launched(tmp_path / "two", processes=2, size=1)
    recipe = toy_training.ToyRecipe(toy_training.ToyConfig(noise=0.0, dropout=0.0))
    train(recipe, toy_training.ToyBatches(2), output=tmp_path / "one", config=toy_training.engine_config(9))
    one, two = (
        newest(tmp_path / n / "checkpoints", say=lambda text: None)[0].tensors for n in ("one", "two")
    )
    assert two.keys() == one.keys()
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    worst = max(float((two[key].float() - one[key].float()).abs().max()) for key in one)
    assert worst < 1e-5
    assert len([line for line in lines if "losses" in line]) == 9  # written once, by rank 0


class Doubled:
    """Another rank with gradients of its own: the mean of x and x + 2 is x + 1."""

    world_size = 2
    device = torch.device("cpu")

    def all_reduce(self, value, reduce_op):
        return value + 1 if reduce_op == "mean" else value * 2


@pytest.mark.parametrize("bucket", [1, 5, 1 << 24])
def test_gradients_are_averaged_in_buckets_of_any_size(monkeypatch, bucket):
    monkeypatch.setattr(parallel, "BUCKET", bucket)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), (1,))]
    for number, parameter in enumerate(parameters[:2]):
        parameter.grad = torch.arange(parameter.numel()).view_as(parameter) + 10.0 * number
    expected = [torch.arange(6.0).view(2, 3) + 1, torch.arange(4.0) + 11, torch.ones(1)]
    parallel.average_gradients(Doubled(), parameters)
    assert all(torch.equal(p.grad, e) for p, e in zip(parameters, expected, strict=True))


def test_running_statistics_are_averaged_and_counters_left():
    network = torch.nn.BatchNorm1d(2)
    parallel.average_buffers(Doubled(), network)
    assert network.running_mean.tolist() == [1, 1]
    assert int(network.num_batches_tracked) == 0


def test_what_happens_on_any_rank_happens_on_all():
    assert parallel.on_any_rank(Doubled(), True)
    assert not parallel.on_any_rank(Doubled(), False)
