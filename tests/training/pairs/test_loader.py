"""The loader's order depends on steps alone; workers change nothing but the time."""

import dataclasses
import itertools
import os
import signal

import pytest
import torch
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.training.data.pairs.flat import ALIGNMENT, FlatBatch, flattened, unflattened
from headwarp.training.data.pairs.guidance import PairMaker
from headwarp.training.data.pairs.loader import LoaderConfig, PairLoader
from headwarp.training.data.pairs.sampler import PairIndex, PairSampler
from headwarp.training.data.pairs.waiting import Waiting
from headwarp.warping.posed_layers import PosedLayers


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def packs(head, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    return [toy_pack(folder, head, "run"), toy_pack(folder, head, "walk", person="bob")]


@pytest.fixture(scope="module")
def sampler(packs):
    return PairSampler([pack.index for pack in packs], seed=1)


def first(loader, count):
    return list(itertools.islice(loader, count))


def same(a, b):
    assert a.names == b.names
    for name in ("source", "driving", "driving_mask", "source_verts", "driving_verts", "faces"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)
    for field in dataclasses.fields(PosedLayers):
        one, other = getattr(a.layers, field.name), getattr(b.layers, field.name)
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_batches_are_the_samplers_pairs_step_by_step(packs, head, sampler):
    maker = PairMaker(packs, head)
    batches = first(PairLoader(packs, head, sampler, batch_size=2), 3)
    names = [maker.name(sampler.pair(step, slot)) for step in range(3) for slot in range(2)]
    assert [name for batch in batches for name in batch.names] == names
    assert batches[0].source.shape == (2, 3, 64, 64)


def test_a_loader_goes_on_from_any_step(packs, head, sampler):
    whole = first(PairLoader(packs, head, sampler, batch_size=2), 5)
    later = first(PairLoader(packs, head, sampler, batch_size=2, start_step=3), 2)
    for a, b in zip(whole[3:], later, strict=True):
        same(a, b)


def test_every_loop_begins_anew(packs, head, sampler):
    loader = PairLoader(packs, head, sampler, batch_size=1)
    assert first(loader, 2)[1].names == first(loader, 2)[1].names


def test_processes_share_a_step(packs, head, sampler):
    (whole,) = first(PairLoader(packs, head, sampler, batch_size=4), 1)
    parts = [
        first(PairLoader(packs, head, sampler, batch_size=2, config=LoaderConfig(rank=rank, world=2)), 1)[0]
        for rank in (0, 1)
    ]
    assert parts[0].names + parts[1].names == whole.names


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": 1, "workers": -1}, {"batch_size": 1, "start_step": -1}]
)
def test_numbers_out_of_range_are_told(packs, head, sampler, options):
    with pytest.raises(HeadwarpError, match="expected batch_size >= 1, workers >= 0 and start_step >= 0"):
        PairLoader(packs, head, sampler, **options)


def test_a_rank_out_of_range_is_told():
    with pytest.raises(HeadwarpError, match="rank: expected 0 to 1, got 2"):
        LoaderConfig(rank=2, world=2)


def test_an_error_comes_as_it_is_and_names_the_file(head, tmp_path):
    pack = toy_pack(tmp_path, head)
    (pack.folder / "frames.npy").unlink()
    loader = PairLoader([pack], head, PairSampler([pack.index]), batch_size=1)
    with pytest.raises(ModelFileError, match=r"frames\.npy: cannot be read"):
        next(iter(loader))


# Workers


def test_workers_make_the_same_batches_bit_for_bit_and_leave_the_random_state_alone(packs, head, sampler):
    before = torch.get_num_threads()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        here = first(PairLoader(packs, head, sampler, batch_size=2, start_step=5), 5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    ahead = first(PairLoader(packs, head, sampler, batch_size=2, start_step=5, workers=2), 5)
    for a, b in zip(here, ahead, strict=True):
        same(a, b)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_worker_that_dies_is_told(packs, head):
    loader = iter(PairLoader(packs, head, Deadly(), batch_size=1, workers=1))
    with pytest.raises(HeadwarpError, match=r"loader: one of 1 workers died \(.*take fewer workers"):
        first(loader, 3)


class Deadly:
    """A sampler whose second pair kills the process."""

    def pair(self, step, slot):
        if step == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return PairIndex(0, 0, 0, 1)


# One block of memory


def test_a_batch_comes_back_from_one_block(packs, head, sampler):
    (batch,) = first(PairLoader(packs, head, sampler, batch_size=2), 1)
    flat = flattened([batch])
    assert flat.data.dtype == torch.uint8
    back = unflattened(flat)
    same(back, batch)
    start = flat.data.data_ptr()
    parts = (back.source, back.faces, back.layers.flow, back.layers.dark, back.layers.reach)
    places = [tensor.data_ptr() - start for tensor in parts]
    assert all(place % ALIGNMENT == 0 for place in places)
    assert 0 <= min(places) <= max(places) < len(flat.data)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_for_a_cuda_device_one_pinned_block_is_copied_without_waiting(
    packs, head, sampler, device, monkeypatch
):
    """Told from a stand-in: what is called, not what a device does."""
    calls = []
    monkeypatch.setattr(FlatBatch, "pin_memory", lambda flat: calls.append("pinned") or flat)
    monkeypatch.setattr(FlatBatch, "to", lambda flat, device: calls.append(device.type) or flat)
    first(PairLoader(packs, head, sampler, batch_size=2, config=LoaderConfig(device)), 2)
    assert calls == ["pinned", "cuda"] * 2 * (device == "cuda")


def test_a_block_moves_whole_and_does_not_wait(packs, head, sampler, monkeypatch):
    (batch,) = first(PairLoader(packs, head, sampler, batch_size=1), 1)
    options = {}
    whole = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda data, *where, **how: options.update(how) or whole(data, *where)
    )
    moved = unflattened(flattened([batch]).to(torch.device("meta")))
    assert options == {"non_blocking": True}
    assert (moved.source.device.type, moved.layers.flow.shape) == ("meta", batch.layers.flow.shape)


# How long it was waited


def test_waiting_is_told_from_work_and_the_start_does_not_count():
    times = iter([0.0, 9.0, 10.0, 12.0, 17.0, 18.0])
    waiting = Waiting(iter("abc"), warmup=1, clock=lambda: next(times))
    assert next(waiting) + next(waiting) + next(waiting) == "abc"
    report = waiting.report()
    assert (report.steps, report.waited, report.worked) == (2, 3.0, 5.0)
    assert report.share == pytest.approx(3 / 8)
    assert report.median_wait_ms == 1500


def test_nothing_taken_is_nothing_waited():
    report = Waiting(iter(())).report()
    assert (report.steps, report.share, report.median_wait_ms) == (0, 0.0, 0.0)
