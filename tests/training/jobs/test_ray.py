"""The same work on a Ray cluster of two nodes, one of which is killed amid it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from media_files import moving_frames, write_clip
from posed_fits import detected_points, posed_fit
from toy_work import ToyWork, as_set, marks_of, toy_jobs

from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError, MissingDependencyError
from headwarp.tools.cli import main
from headwarp.training.data.jobs import JobConfig, open_manifest, run_jobs, without_timings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]
SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator:
    """A head node of one CPU on this machine, and this process connected to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # what pytest adds, for the nodes
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@contextlib.contextmanager
def second_node(cluster, *, killed_when: Callable[[], bool]) -> Iterator[None]:
    """A node of one CPU more, killed as soon as something is so."""
    node = cluster.add_node(**SMALL)
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            if killed_when():
                cluster.remove_node(node, allow_graceful=False)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


def run(folder: Path, names: list[str], work: ToyWork, **options):
    with open_manifest(folder / "manifest.jsonl", kind="toy", fingerprint={}) as manifest:
        summary = run_jobs(toy_jobs(names), work, manifest=manifest, config=JobConfig(**options))
        return summary, list(manifest.records())


def test_every_job_is_done_once_though_a_node_is_killed(tmp_path, cluster):
    marks, out = tmp_path / "marks", tmp_path / "out"
    marks.mkdir()
    names = [f"clip{number}" for number in range(12)] + ["fails"]

    def both_work() -> bool:
        return len({path.name.split(".")[1] for path in marks.iterdir()}) >= 2

    with second_node(cluster, killed_when=both_work):
        work = ToyWork(seconds=0.25, marks=marks)
        summary, records = run(out, names, work, workers=2, engine="ray")
    assert (summary.done, summary.failed, summary.deaths) == (12, 1, 1)
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 1 + 13
    called = marks_of(marks)
    assert set(called) == set(names)
    assert len(called) <= 14  # what the dead node was at was called twice
    _, plain = run(tmp_path / "plain", names, ToyWork())
    assert as_set(records) == as_set(plain)
    assert sorted(os.listdir(out)) == ["manifest.jsonl", "sub"]
    assert {path.stem: path.read_text() for path in (out / "sub").iterdir()} == {
        name: f"made of {name}" for name in names[:-1]
    }


def test_a_clip_is_fitted_to_the_same_bytes(tmp_path, cluster):
    out, plain = tmp_path / "out", tmp_path / "plain"
    posed = posed_fit(load_head("builtin"), [0.0, 5.0])
    np.save(tmp_path / "points.npy", detected_points(posed))
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(2, *posed.size))
    words = ["fit", str(clip), "--landmarks", str(tmp_path / "points.npy"), "--no-overlay", "--output"]
    assert main([*words, str(out), "--engine", "ray", "--workers", "1"]) == 0
    assert main([*words, str(plain)]) == 0
    header_and_line, expected = (
        [without_timings(json.loads(line)) for line in (folder / "manifest.jsonl").read_text().splitlines()]
        for folder in (out, plain)
    )
    assert len(expected) == 2
    assert header_and_line == expected
    assert (out / "clip.npz").read_bytes() == (plain / "clip.npz").read_bytes()
    assert sorted(os.listdir(out)) == sorted(os.listdir(plain))


def test_work_that_cannot_be_opened_is_one_sentence(tmp_path, cluster):
    with pytest.raises(HeadwarpError, match="no head"):
        run(tmp_path, ["a"], ToyWork(refuses="no head"), workers=1, engine="ray")


def test_an_address_without_a_cluster_is_one_sentence_at_once(tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # else that of the other tests is taken
    with pytest.raises(HeadwarpError, match=r"--address 127\.0\.0\.1:1: no Ray cluster answers"):
        run(tmp_path, ["a"], ToyWork(), engine="ray", address="127.0.0.1:1")


def test_a_cluster_that_does_not_start_here_is_one_sentence(tmp_path, monkeypatch):
    import ray

    def slow(**options):
        raise Exception("The current node timed out during startup.\nMore of it.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(HeadwarpError, match=r"--engine ray: no cluster starts .*startup\.\); --engine local"):
        run(tmp_path, ["a"], ToyWork(), engine="ray")


def test_without_ray_the_remedy_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'headwarp\[cluster\]'"):
        run(tmp_path, ["a"], ToyWork(), engine="ray")
