"""A run that was killed and goes on equals the run in peace, bit for bit; another run's folder is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_training
from safetensors.torch import load_file, save_file
from toy_training import ToyBatches, ToyConfig, ToyRecipe, engine_config, toy_batch

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.training.engine import session
from headwarp.training.engine.loop import train
from headwarp.training.engine.session import locked
from headwarp.training.engine.state import differences, optimizer_from_plain, optimizer_to_plain
from headwarp.training.engine.store import checkpoint_paths, newest
from headwarp.warping.checkpoints import load_checkpoint

STEPS = 26
SCRIPT = Path(toy_training.__file__)


def run(output, steps=STEPS, *, recipe=None, batches=None, facts=None, restart=False, say=None, **changes):
    return train(
        recipe or ToyRecipe(),
        batches or ToyBatches(),
        output=output,
        config=engine_config(steps, **changes),
        held_out=[toy_batch(99, 0, range(3))],
        facts=facts,
        restart=restart,
        say=say or (lambda text: None),
    )


def state_of(folder):
    """Every tensor of the last checkpoint, its plain part without the time, and the log."""
    checkpoint, record = newest(folder / "checkpoints", say=lambda text: None)
    plain = dataclasses.asdict(record)
    plain.pop("minutes")
    return checkpoint.step, checkpoint.tensors, plain, (folder / "log.jsonl").read_bytes()


def assert_same(one, other):
    (step, tensors, plain, log), (step_2, tensors_2, plain_2, log_2) = state_of(one), state_of(other)
    assert step == step_2
    assert tensors.keys() == tensors_2.keys()
    assert [key for key in tensors if not torch.equal(tensors[key], tensors_2[key])] == []
    assert plain == plain_2
    assert log == log_2


@pytest.fixture(scope="module")
def in_peace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peace")
    run(folder)
    return folder


def test_a_checkpoint_holds_networks_optimizers_and_average(in_peace):
    _, tensors, plain, _ = state_of(in_peace)
    kinds = {key.rsplit("/", 2)[0] if key.startswith("optimizer") else key.split("/")[0] for key in tensors}
    assert kinds == {"network", "average", "optimizer/generator", "optimizer/discriminator"}
    assert plain["optimizers"]["generator"]["groups"][0]["betas"] == [0.5, 0.999]


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, in_peace):
    lines = 17
    command = [sys.executable, "-W", "ignore", str(SCRIPT), str(tmp_path), "--steps", str(STEPS)]
    paths = os.pathsep.join(filter(None, sys.path))
    threads = str(torch.get_num_threads())  # bits are the same with as many threads
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": threads}
    process = subprocess.Popen([*command, "--pace", "0.05"], env=environment, stdout=subprocess.DEVNULL)
    log, deadline = tmp_path / "log.jsonl", time.monotonic() + 60
    while not (log.exists() and log.read_bytes().count(b"\n") >= lines):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "report.json").exists()
    assert run(tmp_path)["begun_at_step"] == len(range(7, lines, 7)) * 7
    assert_same(tmp_path, in_peace)


@pytest.mark.parametrize("stops", [(13,), (1, 2, 20)])
def test_a_run_in_pieces_equals_the_run_in_one(tmp_path, in_peace, stops):
    for stop in (*stops, STEPS):
        run(tmp_path, stop)
    assert_same(tmp_path, in_peace)


def test_lines_after_the_checkpoint_are_forgotten_and_written_again(tmp_path, in_peace):
    run(tmp_path, 13)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 14, "losses": {"generator/l1": 9.0}}\n{"step": 15, "los')
    run(tmp_path)
    assert_same(tmp_path, in_peace)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, in_peace):
    run(tmp_path, 20)
    last = checkpoint_paths(tmp_path / "checkpoints")[-1]
    last.write_bytes(last.read_bytes()[:1000])
    (last.parent / ".step_00000021.ab.safetensors").write_bytes(b"half")
    said = []
    run(tmp_path, say=said.append)
    assert f"{last}: expected a checkpoint" in said[0]
    assert "going on from step 14" in said[1]
    assert not list(last.parent.glob(".step*"))
    assert_same(tmp_path, in_peace)


def test_no_checkpoint_that_reads_is_an_error_not_a_fresh_start(tmp_path):
    run(tmp_path, 7)
    for path in checkpoint_paths(tmp_path / "checkpoints"):
        path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="got none; --restart begins anew"):
        run(tmp_path)


def test_the_last_checkpoints_are_kept(tmp_path):
    run(tmp_path, 23, keep=3)
    assert [path.name for path in checkpoint_paths(tmp_path / "checkpoints")] == [
        f"step_{step:08d}.safetensors" for step in (14, 21, 23)
    ]


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"recipe": ToyRecipe(ToyConfig(width=5))}, r"config\.width: was 4, now 5"),
        ({"seed": 3}, r"engine\.seed: was 0, now 3"),
        ({"precision": "bf16-mixed"}, r"engine\.precision: was '32', now 'bf16-mixed'"),
        ({"facts": {"batch": 4}}, r"data\.batch: was 2, now 4"),
        ({"schedule": "cosine"}, r"engine\.schedule: was 'constant', now 'cosine'"),
    ],
)
def test_another_run_is_refused_and_the_field_named(tmp_path, other, field):
    run(tmp_path, 2, facts={"batch": 2})
    before = state_of(tmp_path)[1]
    with pytest.raises(HeadwarpError, match=rf"is of another run: .*{field}.*--restart"):
        run(tmp_path, **{"facts": {"batch": 2}, **other})
    assert before.keys() == state_of(tmp_path)[1].keys()


def test_of_many_fields_the_first_three_are_named_and_the_rest_counted(tmp_path):
    run(tmp_path, 2)
    facts = {"batch": 4, "pairs": 9, "frames": "0:0.6"}
    with pytest.raises(HeadwarpError) as found:
        run(tmp_path, recipe=ToyRecipe(ToyConfig(width=5)), seed=3, facts=facts)
    text = str(found.value)
    assert (text.count(": was "), text.count("; and 2 more; give what it was begun with")) == (3, 1)


def test_another_recipe_is_refused(tmp_path):
    run(tmp_path, 2)
    recipe = ToyRecipe()
    recipe.name = "toy/other"
    with pytest.raises(HeadwarpError, match="recipe: was 'toy/plain', now 'toy/other'"):
        run(tmp_path, recipe=recipe)


def test_restart_sets_the_old_run_aside(tmp_path, in_peace):
    run(tmp_path, 3, seed=5)
    run(tmp_path, restart=True)
    assert_same(tmp_path, in_peace)
    assert (tmp_path / "before-1" / "report.json").exists()
    assert not [name for name in os.listdir(tmp_path / "before-1") if name.startswith("before")]


def test_two_runs_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "LOCK_SECONDS", 0.1)
    with locked(tmp_path), pytest.raises(HeadwarpError, match="another training runs there"):
        run(tmp_path)


def test_a_stop_signal_ends_the_run_after_its_step(tmp_path, in_peace):
    def stop_at_5(text):
        if text.startswith("step 5  generator"):
            os.kill(os.getpid(), signal.SIGTERM)

    report = run(tmp_path, say=stop_at_5)
    assert (report["stopped"], report["steps"]) == ("SIGTERM", 5)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    run(tmp_path)
    assert_same(tmp_path, in_peace)


def test_a_finished_run_is_left_as_it_is(tmp_path):
    first = run(tmp_path, 3)
    again = run(tmp_path, 3)
    assert again == json.loads((tmp_path / "report.json").read_text())
    assert again["seconds_per_step"] == first["seconds_per_step"]


OPTIMIZERS = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
    lambda p: torch.optim.RMSprop(p, lr=0.1, centered=True),
    lambda p: torch.optim.SGD(p, lr=0.1),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_optimizers_come_back_as_they_were(make):
    def trained(steps, parameter, optimizer):
        for step in range(steps):
            parameter.grad = torch.full_like(parameter, step + 1.0)
            optimizer.step()

    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = make([parameter])
    trained(3, parameter, optimizer)
    tensors, plain = optimizer_to_plain(optimizer)
    other = torch.nn.Parameter(parameter.detach().clone())
    copied = make([other])
    optimizer_from_plain(copied, {k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(plain)))
    trained(3, parameter, optimizer)
    trained(3, other, copied)
    assert torch.equal(parameter, other)


def test_differences_name_nested_fields_added_and_removed():
    found = differences({"a": {"b": 1}, "c": [1, 2]}, {"a": {"b": 1, "d": 4}, "c": [1, 3]})
    assert found == ["a.d: was None, now 4", "c: was [1, 2], now [1, 3]"]


def test_files_are_safetensors(in_peace):
    for path in [*checkpoint_paths(in_peace / "checkpoints"), in_peace / "animator.safetensors"]:
        load_file(path)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (
            lambda t, c: t.pop("average/first.weight"),
            "average: expected the weights of ToyGenerator; 1 missing",
        ),
        (lambda t, c: t.update({"network/generator/x": torch.ones(1)}), "generator: .*1 unknown: x"),
        (lambda t, c: c["optimizers"].pop("generator"), "state of the optimizer of generator does not fit"),
        (lambda t, c: c.pop("minutes"), "got none; --restart begins anew"),
    ],
)
def test_a_checkpoint_that_was_tampered_with_is_refused(tmp_path, damage, text):
    run(tmp_path, 2)
    (path,) = checkpoint_paths(tmp_path / "checkpoints")
    found = load_checkpoint(path)
    tensors, config = dict(found.tensors), json.loads(json.dumps(found.config))
    damage(tensors, config)
    header = {"kind": found.kind, "name": found.name, "config": config, "step": 2}
    header["headwarp_version"] = found.version
    save_file(tensors, path, metadata={"headwarp": json.dumps(header)})
    with pytest.raises(ModelFileError, match=text):
        run(tmp_path, 4)
