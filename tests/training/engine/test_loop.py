"""The loop against a plain twin; schedules, averages, guards, pictures, precision."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math

import numpy as np
import pytest
import torch
import toy_training
from safetensors.torch import load_file
from toy_training import ToyBatches, ToyConfig, ToyRecipe, engine_config, toy_batch

from headwarp.geom import flow as flow_module
from headwarp.geom.errors import HeadwarpError, MissingDependencyError
from headwarp.training.engine.average import average_of, decay_at, update_average
from headwarp.training.engine.config import EngineConfig, check_config
from headwarp.training.engine.guard import NonFiniteError, batch_tensors, nonfinite_terms
from headwarp.training.engine.journal import Means
from headwarp.training.engine.loop import train
from headwarp.training.engine.parallel import seed_step
from headwarp.training.engine.precision import InPrecision, channels_last, in_full
from headwarp.training.engine.schedule import progress, rate_factor, set_rates
from headwarp.training.engine.store import newest

PLAIN = ToyConfig(noise=0.0, dropout=0.0)


def run(output, steps=6, *, recipe=None, batches=None, held_out=(), **changes):
    return train(
        recipe or ToyRecipe(PLAIN),
        batches or ToyBatches(),
        output=output,
        config=engine_config(steps, **changes),
        held_out=held_out,
    )


def weights(folder, prefix="network/"):
    found, _ = newest(folder / "checkpoints", say=lambda text: None)
    return {key: value for key, value in found.tensors.items() if key.startswith(prefix)}


def twin(steps, *, rate=1e-2, clip=1.0, warmup=5, ema=0.9):
    """The same training written as one would by hand: every network stepped at once after its losses."""
    seed_step(0, 0, 0)
    recipe = ToyRecipe(PLAIN)
    networks = recipe.networks()
    optimizers = {turn: recipe.optimizer(turn, networks[turn]) for turn in recipe.turns}
    average = average_of(networks["generator"])
    batches = ToyBatches()(0, rank=0, world=1)
    for step in range(steps):
        batch = next(batches)
        made = recipe.generate(networks, batch)
        for turn in recipe.turns:
            loss = sum(recipe.losses(turn, networks, batch, made).values())
            parameters = list(networks[turn].parameters())
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizers[turn].param_groups[0]["lr"] = rate * min(1, (step + 1) / warmup)
            optimizers[turn].step()
            optimizers[turn].zero_grad()
        decay = min(ema, (1 + step) / (10 + step))
        for kept, new in zip(average.parameters(), networks["generator"].parameters(), strict=True):
            kept.data = decay * kept.data + (1 - decay) * new.data
    return networks, average


def test_the_loop_equals_its_plain_twin(tmp_path):
    run(tmp_path, 6)
    networks, average = twin(6)
    found = weights(tmp_path)
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            assert torch.allclose(found[f"network/{name}/{key}"], value, atol=1e-6), (name, key)
    kept = weights(tmp_path, "average/")
    for key, value in average.state_dict().items():
        assert torch.allclose(kept[f"average/{key}"], value, atol=1e-6), key


class Halves:
    """Batch n of one pair is a half of batch n // 2 of two."""

    def __call__(self, first, *, rank, world):
        number = first
        while True:
            yield toy_batch(0, number // 2, range(number % 2, number % 2 + 1))
            number += 1


def test_accumulated_halves_equal_the_whole(tmp_path):
    run(tmp_path / "whole", 5)
    run(tmp_path / "halves", 5, batches=Halves(), accumulate=2)
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.allclose(whole[key], halves[key], atol=1e-5) for key in whole)
    lines = [
        json.loads((tmp_path / n / "log.jsonl").read_text().splitlines()[0]) for n in ("whole", "halves")
    ]
    for term, value in lines[0]["losses"].items():
        assert math.isclose(value, lines[1]["losses"][term], rel_tol=1e-5)


def test_the_line_for_a_person_says_means_since_the_last_one(tmp_path):
    said = []
    for folder, every in (("each", 1), ("fourth", 4)):
        config = engine_config(8, log_every=every)
        train(ToyRecipe(PLAIN), ToyBatches(), output=tmp_path / folder, config=config, say=said.append)
    logged = (tmp_path / "each" / "log.jsonl").read_text().splitlines()
    losses = [entry["losses"] for entry in map(json.loads, logged) if "losses" in entry]
    lines = [line for line in said if " s a step" in line][8:]
    parts = (losses[:1], losses[1:4], losses[4:])
    assert len(lines) == len(parts)
    for line, part in zip(lines, parts, strict=True):
        assert (f"(means of {len(part)} steps)" in line) == (len(part) > 1)
        for term in part[0]:
            said_mean = float(line.split(f"{term} ")[1].split()[0])
            assert math.isclose(said_mean, sum(each[term] for each in part) / len(part), abs_tol=6e-5)


def test_means_of_terms_that_begin_later():
    means = Means()
    means.add({"l1": torch.tensor(1.0)})
    means.add({"l1": torch.tensor(2.0), "judged": torch.tensor(5.0)})
    assert (means.values(), means.steps) == ({"l1": 1.5, "judged": 5.0}, 2)


def test_a_generator_alone_trains(tmp_path):
    recipe = ToyRecipe(dataclasses.replace(PLAIN, adversarial=0.0))
    report = run(tmp_path, 40, recipe=recipe, held_out=[toy_batch(99, 0, range(4))], warmup=0)
    assert set(report["losses"]) == {"generator/l1"}
    found = report["held_out"]
    assert found[-1]["l1"] < 0.9 * found[0]["l1"]
    assert {line["pairs"] for line in found} == {4}


def test_turns_must_name_networks(tmp_path):
    recipe = ToyRecipe()
    recipe.turns = ("generator", "critic")
    with pytest.raises(HeadwarpError, match="expected turns among its networks generator, discriminator"):
        run(tmp_path, recipe=recipe)


def test_batches_must_not_end(tmp_path):
    def three(first, *, rank, world):
        return iter([toy_batch(0, n, range(2)) for n in range(3)])

    with pytest.raises(HeadwarpError, match="expected an endless stream"):
        run(tmp_path, 5, batches=three)


# schedules and averages


def test_warm_up_rises_and_cosine_falls():
    config = EngineConfig(steps=10, schedule="cosine", warmup=4)
    factors = [rate_factor(config, step, progress(config, step, 0)) for step in range(11)]
    assert factors[0] == pytest.approx(0.25)
    assert factors[3] == pytest.approx(0.5 * (1 + math.cos(0.3 * math.pi)))
    assert factors[5] == pytest.approx(0.5)
    assert factors[10] == 0
    assert rate_factor(EngineConfig(steps=10), 7, 0.7) == 1


def test_progress_is_that_of_what_ends_first():
    assert progress(EngineConfig(steps=10), 5, 99) == 0.5
    assert progress(EngineConfig(minutes=10), 5, 2) == 0.2
    assert progress(EngineConfig(steps=10, minutes=10), 3, 8) == 0.8
    assert progress(EngineConfig(minutes=10), 5, 20) == 1


def test_rates_come_from_the_first_one():
    group = {"lr": 2.0}
    set_rates([group], 0.5)
    set_rates([group], 0.25)
    assert group["lr"] == 0.5


def test_average_follows_weights_and_copies_buffers():
    network = torch.nn.BatchNorm1d(2)
    average = average_of(network)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(7.0)
    update_average(average, network, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [7, 7]
    assert not average.weight.requires_grad
    assert [decay_at(0.999, n) for n in (0, 8, 10**6)] == [0.1, 0.5, 0.999]


def test_the_average_is_the_network_before_its_first_step(tmp_path):
    run(tmp_path, 4, ema_from=4)
    network, average = weights(tmp_path, "network/generator/"), weights(tmp_path, "average/")
    assert all(torch.equal(average[f"average/{key[18:]}"], value) for key, value in network.items())


def test_minutes_end_a_run(tmp_path):
    config = dataclasses.replace(engine_config(1), steps=None, minutes=0.2 / 60)
    report = train(ToyRecipe(PLAIN), ToyBatches(pace=0.02), output=tmp_path, config=config)
    assert report["stopped"] == "minutes"
    assert report["steps"] >= 1
    assert report["starvation"] > 0.3


# what is not finite


def test_a_loss_that_is_not_finite_stops_with_term_step_and_pairs(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        run(tmp_path, 9, batches=ToyBatches(poison=range(8, 9)))
    text = str(caught.value)
    assert "step 8: generator/l1 is nan on the pairs toy/0/8>0, toy/0/8>1" in text
    assert caught.value.where == "generator/l1"
    left = tmp_path / "nonfinite" / "step_000008_rank_0.json"
    assert str(left) in text
    assert json.loads(left.read_text())["pairs"] == ["toy/0/8>0", "toy/0/8>1"]
    tensors = load_file(left.with_suffix(".safetensors"))
    assert torch.isnan(tensors["driving"]).sum() == 1
    assert tensors.keys() == {name for name, _ in batch_tensors(toy_batch(0, 0, range(1)))}
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["ok"], report["steps"]) == (False, 8)
    assert torch.isfinite(torch.cat([v.flatten() for v in weights(tmp_path).values()])).all()


def test_a_run_that_stopped_can_go_on_and_skip(tmp_path):
    batches = ToyBatches(poison=range(8, 9))
    with pytest.raises(NonFiniteError):
        run(tmp_path, 10, recipe=ToyRecipe(), batches=batches)
    report = run(tmp_path, 10, recipe=ToyRecipe(), batches=batches, on_nonfinite="skip")
    assert (report["steps"], report["skipped"]) == (10, 1)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())  # statistics too
    assert '"skipped": "generator/l1"' in (tmp_path / "log.jsonl").read_text()


def test_skipping_has_an_end(tmp_path):
    with pytest.raises(NonFiniteError, match="step 22: generator/l1"):
        run(tmp_path, 60, batches=ToyBatches(poison=range(2, 60)), on_nonfinite="skip")


class RootRecipe(ToyRecipe):
    """Its loss is finite, its gradient is not."""

    def losses(self, turn, networks, batch, made):
        terms = super().losses(turn, networks, batch, made)
        return {**terms, "root": (made * 0).square().sum().sqrt()} if turn == "generator" else terms


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 0: gradient of generator: first\.weight, first\.bias"):
        run(tmp_path, recipe=RootRecipe(PLAIN))


def test_infinite_sums_of_finite_terms_are_seen():
    assert nonfinite_terms({"a": torch.tensor(3e38), "b": torch.tensor(3e38)}) == {"sum": float("inf")}
    assert nonfinite_terms({"a": torch.tensor(1.0)}) == {}


# what is written


def test_pictures_log_and_report(tmp_path):
    report = run(tmp_path, 12, held_out=[toy_batch(99, 0, range(2)), toy_batch(99, 1, range(2))])
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "step_000005.png",
        "step_000010.png",
    ]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "losses" in line] == list(range(1, 13))
    assert [line["step"] for line in lines if "held_out" in line] == [5, 10]
    assert lines[0]["rate"] == pytest.approx(0.2)
    assert set(lines[0]["gradient_norms"]) == {"generator", "discriminator"}
    assert report["stand_ins"] == ["nothing is pretrained"]
    assert report["parameters"]["generator"] > 100
    assert report["held_out"][0]["pairs"] == 4
    assert json.loads((tmp_path / "report.json").read_text())["steps"] == 12


@pytest.mark.parametrize("ema", [0.9, None])
def test_pictures_do_not_change_what_is_learned(tmp_path, ema):
    run(tmp_path / "a", 8, recipe=ToyRecipe(), held_out=[toy_batch(9, 0, range(2))], ema=ema)
    run(tmp_path / "b", 8, recipe=ToyRecipe(), first_pictures=0, pictures_every=100, ema=ema)
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_without_tensorboard_the_log_is_written(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "tensorboard" else find(n, *a)
    )
    run(tmp_path, 2)
    assert not (tmp_path / "tensorboard").exists()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_without_lightning_the_line_that_mends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'headwarp\[train\]'"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": None}, "expected at least one of them, got neither"),
        ({"steps": 0}, "--steps: expected 1 or more, got 0"),
        ({"keep": 0}, "--keep: expected 1 or more"),
        ({"minutes": float("nan")}, "--minutes: expected a number above 0"),
        ({"clip": -1.0}, "--clip: expected a number above 0, got -1"),
        ({"ema": 1.0}, r"--ema: expected a decay in \[0, 1\), got 1"),
        ({"seed": -1}, "--seed: expected 0 or more"),
        ({"precision": "16-mixed"}, "needs a CUDA device, got cpu; use bf16-mixed or 32"),
    ],
)
def test_settings_without_sense_are_refused(changes, text):
    with pytest.raises(HeadwarpError, match=text):
        check_config(dataclasses.replace(EngineConfig(steps=3), **changes))


@pytest.mark.parametrize(
    ("device", "text"), [("tpu", "expected cpu, cuda"), ("cuda:99", "CUDA devices here")]
)
def test_devices_that_are_not_there(tmp_path, device, text):
    with pytest.raises(HeadwarpError, match=text):
        run(tmp_path, device=device)


# precision and layout


class Watched(ToyRecipe):
    """Notes the types that pass."""

    def __init__(self):
        super().__init__(PLAIN)
        self.seen = {}

    def networks(self):
        found = super().networks()
        convolution = found["generator"].first
        convolution.register_forward_hook(lambda m, i, o: self.seen.update(inside=o.dtype, layout=o.stride()))
        return found

    def losses(self, turn, networks, batch, made):
        self.seen["made"] = made.dtype
        self.seen["autocast"] = torch.is_autocast_enabled("cpu")
        return super().losses(turn, networks, batch, made)


def test_low_precision_inside_networks_single_outside(tmp_path, monkeypatch):
    recipe, flows = Watched(), set()
    sample = flow_module._sample_grid
    monkeypatch.setattr(
        flow_module, "_sample_grid", lambda i, p, *a: flows.add((i.dtype, p.dtype)) or sample(i, p, *a)
    )
    run(tmp_path, 3, recipe=recipe, precision="bf16-mixed")
    assert recipe.seen["inside"] == torch.bfloat16
    assert recipe.seen["made"] == torch.float32
    assert recipe.seen["autocast"] is False
    assert flows == {(torch.float32, torch.float32)}
    assert all(value.dtype != torch.bfloat16 for value in weights(tmp_path).values())


def test_full_precision_has_no_low_one(tmp_path):
    recipe = Watched()
    run(tmp_path, 1, recipe=recipe)
    assert recipe.seen["inside"] == torch.float32


def test_channels_last_changes_the_layout_and_not_the_result(tmp_path):
    recipe = Watched()
    run(tmp_path / "last", 3, recipe=recipe, channels_last=True)
    assert recipe.seen["layout"][1] == 1
    run(tmp_path / "first", 3)
    last, first = weights(tmp_path / "last"), weights(tmp_path / "first")
    assert all(torch.allclose(last[key], first[key], atol=1e-5) for key in first)


def test_compiled_networks_learn_the_same(tmp_path, monkeypatch):
    compiled_by = torch.nn.Module.compile  # traced and not translated, which would take half a minute
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled_by(self, backend="eager"))
    run(tmp_path / "compiled", 2, compile=True)
    run(tmp_path / "eager", 2)
    compiled, eager = weights(tmp_path / "compiled"), weights(tmp_path / "eager")
    assert compiled.keys() == eager.keys()
    assert all(torch.allclose(compiled[key], eager[key], atol=1e-5) for key in eager)


def test_a_network_in_low_precision_gives_full_precision_back():
    network = torch.nn.Conv2d(3, 4, 1)
    wrapped = InPrecision(network, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    made = wrapped(torch.rand(1, 3, 2, 2))
    assert made.dtype == torch.float32
    assert torch.equal(made, made.bfloat16().float())  # it was computed in low precision


def test_in_full_reaches_into_structures():
    low = torch.ones(2, dtype=torch.bfloat16)
    batch = toy_batch(0, 0, range(1))
    half = batch.map(lambda t: t.bfloat16() if t.is_floating_point() else t)
    found = in_full({"a": (low, [low, 3]), "b": half})
    assert found["a"][0].dtype == found["a"][1][0].dtype == torch.float32
    assert found["a"][1][1] == 3
    assert found["b"].layers.flow.dtype == torch.float32
    assert in_full(torch.ones(1, dtype=torch.int64)).dtype == torch.int64


def test_a_wrapped_network_shows_its_own_attributes():
    network = toy_training.ToyGenerator(4, 0.0)
    wrapped = InPrecision(network, torch.no_grad)
    assert wrapped.first is network.first
    with pytest.raises(AttributeError, match="nothing_such"):
        wrapped.nothing_such  # noqa: B018


def test_channels_last_leaves_other_tensors():
    points = torch.rand(2, 3, 4)
    assert channels_last(points) is points
    assert channels_last(torch.rand(1, 3, 4, 5)).stride()[1] == 1


def test_every_step_has_random_numbers_of_its_own():
    def drawn(seed, step, rank):
        import random

        seed_step(seed, step, rank)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(*key) for key in [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]}) == 4
