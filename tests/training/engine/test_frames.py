"""The engine runs recipes that need nothing but frames: steps, resumes, measures, tries, leaves batches."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_frames import FrameToy
from toy_training import engine_config

from headwarp.training.data.frames.batch import FrameBatch, blank_frames, stack_frames
from headwarp.training.engine.dry_run import dry_run
from headwarp.training.engine.guard import NonFiniteError, batch_tensors
from headwarp.training.engine.loop import train
from headwarp.training.engine.pictures import HeldOut, measure


def batch(number: int, size: int = 2) -> FrameBatch:
    draw = torch.Generator().manual_seed(number)
    made = [
        blank_frames(16, 2).map(lambda frames: frames * torch.rand((), generator=draw)) for _ in range(size)
    ]
    return stack_frames(made)


@dataclasses.dataclass(frozen=True)
class Numbered:
    """Endless numbered batches; from ``poison`` on one number of each is NaN."""

    poison: int | None = None

    def __call__(self, first: int, *, rank: int, world: int) -> Iterator[FrameBatch]:
        for number in itertools.count(first):
            made = batch(number)
            if self.poison is not None and number >= self.poison:
                made.frames[0, 0, 0, 0, 0] = float("nan")
            yield made


def run(output: Path, steps: int, **options: object) -> dict:
    batches = options.pop("batches", Numbered())
    return train(
        FrameToy(), batches, output=output, config=engine_config(steps), held_out=[batch(99, 3)], **options
    )


def test_frames_are_trained_on_measured_and_gone_on_with_bit_for_bit(tmp_path):
    run(tmp_path / "a", 4)
    report = run(tmp_path / "a", 8)
    whole = run(tmp_path / "b", 8)
    assert (report["begun_at_step"], report["steps"]) == (4, 8)
    assert report["final"] == whole["final"]
    assert (tmp_path / "a" / "log.jsonl").read_bytes() == (tmp_path / "b" / "log.jsonl").read_bytes()
    assert report["final"]["geometry_l1"] is None
    assert (tmp_path / "a" / "pictures" / "step_000005.png").exists()


def test_without_geometry_the_copy_is_what_held_out_samples_are_compared_with():
    recipe, held_out = FrameToy(), batch(1, 3)
    found = measure(recipe, recipe.networks(), [held_out], torch.device("cpu"))
    assert found.pairs == 3
    assert found.copy_l1 == pytest.approx(float((held_out.source - held_out.driving).abs().mean()))
    assert "copy 0." in found.text
    assert HeldOut(0.1, None, 1).text == "L1 0.10000, copy 0.00000 (+0.0 %) on 1 pairs"  # of an old report


def test_a_trial_step_tells_the_memory_of_a_sample():
    small, large = (dry_run(FrameToy(), blank_frames(side, 2), engine_config(1)) for side in (32, 64))
    assert 3.5 < large.pair_bytes / small.pair_bytes < 4.5
    assert small.fixed_bytes == large.fixed_bytes > 0


def test_a_batch_that_is_not_finite_is_left(tmp_path):
    with pytest.raises(NonFiniteError, match="generator/l1 is nan on the pairs blank/blank/0>1"):
        run(tmp_path, 5, batches=Numbered(poison=2))
    (facts,) = (tmp_path / "nonfinite").glob("*.json")
    assert json.loads(facts.read_text())["step"] == 2
    assert [name for name, _ in batch_tensors(batch(0))] == ["frames"]
