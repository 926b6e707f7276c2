"""The loader's order depends on steps alone."""

import itertools

import pytest
import torch
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.pairs.guidance import PairMaker
from headwarp.training.data.pairs.loader import LoaderConfig, PairLoader
from headwarp.training.data.pairs.sampler import PairSampler


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
        assert a.names == b.names
        torch.testing.assert_close(a.layers.flow, b.layers.flow, rtol=0, atol=0)


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
