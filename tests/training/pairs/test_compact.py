"""Pairs that travel in bytes become what is made pair by pair, changes among it, wherever they arrive."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.flame.mirror import mesh_mirror
from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.training.data.pairs.augment import AugmentConfig, augmented, drawn_change
from headwarp.training.data.pairs.batch import PairBatch, stack_pairs
from headwarp.training.data.pairs.changes import changed, changes_of
from headwarp.training.data.pairs.compact import COLUMNS, compact_columns, compact_of, expanded
from headwarp.training.data.pairs.flat import flat_columns
from headwarp.training.data.pairs.guidance import KEEPS, MakerConfig, PairMaker
from headwarp.training.data.pairs.loader import LoaderConfig, PairLoader, StepPairs, arrived
from headwarp.training.data.pairs.pack import PackConfig
from headwarp.training.data.pairs.sampler import PairConfig, PairIndex, PairSampler
from headwarp.training.data.pairs.stored import packed_bits, unpacked_bits
from headwarp.warping.posed_layers import PosedLayers, compose

PAIRS = [PairIndex(0, 1, 0, 4), PairIndex(1, 0, 1, 5), PairIndex(0, 4, 0, 1)]
ACROSS = PairIndex(0, 1, 1, 2)
LAYERS = tuple(field.name for field in dataclasses.fields(PosedLayers))
OWN = ("source", "driving", "driving_mask", "source_verts", "driving_verts", "faces")
MOVED = (
    "background",
)  # by a camera, and by bilinear weights that a batch of another size rounds differently


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def packs(head, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    jpeg = PackConfig(size=64, codec="jpeg")
    return [toy_pack(folder, head, "run"), toy_pack(folder, head, "walk", person="bob", config=jpeg)]


@pytest.fixture(scope="module")
def twins(head, packs):
    return mesh_mirror(head, PairMaker(packs, head).vertices())


def tensors(batch: PairBatch) -> dict[str, torch.Tensor]:
    return {name: getattr(batch, name) for name in OWN} | {
        name: getattr(batch.layers, name) for name in LAYERS
    }


def near(made: PairBatch, expected: PairBatch, *, atol: float = 0.0, loose: float | None = None):
    assert made.names == expected.names
    one, other = tensors(made), tensors(expected)
    for name in one:
        assert one[name].is_contiguous(), name
        bound = loose if loose is not None and name in MOVED else atol
        torch.testing.assert_close(
            one[name], other[name], rtol=0, atol=bound, msg=lambda t, n=name: f"{n}: {t}"
        )


def together(pairs):
    names = tuple(name for pair in pairs for name in pair.names)
    return compact_of(flat_columns(compact_columns(pairs), names).tensors(), names)


def maker(packs, head, keep, **options):
    return PairMaker(packs, head, config=MakerConfig(keep=keep, **options))


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("still", [False, True])
def test_a_batch_is_the_pairs_made_one_by_one(packs, head, keep, still):
    plain, fast = (maker(packs, head, keep, still_camera=still) for _ in range(2))
    expected = stack_pairs([plain.make(pair) for pair in PAIRS])
    for _ in range(2):  # what is kept is made, then read
        near(expanded(together([fast.compact(pair) for pair in PAIRS])), expected, loose=1e-5)
    assert expected.layers.residual.abs().max() > 0.05
    covered, known = expected.layers.covered > 0, expected.layers.known > 0
    assert (covered & ~known).any()  # else a displacement in a wrong place would not be seen


def test_the_camera_moves_the_backgrounds_that_it_saw_moving_and_no_other(packs, head):
    made = maker(packs, head, "pairs")
    batch = together([made.compact(pair) for pair in (PAIRS[0], ACROSS)])
    assert batch.pose.motion.isnan().flatten(1).any(1).tolist() == [False, True]
    background = expanded(batch).layers.background
    still = made.prepare(0, 1).cache.layers.background
    assert (background[0] - still[0]).abs().max() > 0.1
    torch.testing.assert_close(background[1], made.make(ACROSS).layers.background[0], rtol=0, atol=0)


def test_what_is_kept_and_what_is_computed_stand_in_one_batch(packs, head):
    made = maker(packs, head, "pairs")
    kept, computed = made.compact(PAIRS[0]), made.compact(ACROSS)
    assert (kept.pose.flow.dtype, computed.pose.flow.dtype) == (torch.int16, torch.float32)
    batch = together([kept, computed])
    assert (batch.pose.flow.dtype, batch.own.colours.dtype) == (torch.float32, torch.uint8)
    near(expanded(batch), stack_pairs([made.make(PAIRS[0]), made.make(ACROSS)]), loose=1e-5)


def test_maps_of_a_kept_pair_travel_in_a_quarter_of_their_bytes(packs, head):
    pairs = together([maker(packs, head, "pairs").compact(pair) for pair in PAIRS])
    maps = [pairs.source, pairs.driving, pairs.driving_mask]
    maps += [getattr(pairs.own, name) for name in ("matte", "colours", "background")]
    maps += [
        getattr(pairs.pose, name) for name in ("flow", "mesh_only", "covered", "known", "person", "hollow")
    ]
    whole = [tensor for tensor in tensors(expanded(pairs)).values() if tensor.shape[-1] == 64]
    assert sum(part.nbytes for part in maps) < sum(part.nbytes for part in whole) / 4


def test_meshes_of_two_heads_do_not_travel_together(packs, head):
    one = maker(packs, head, "pairs").compact(PAIRS[0])
    with pytest.raises(ShapeError, match="meshes of one head"):
        together([one, dataclasses.replace(one, faces=one.faces[:-1])])


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (1, 1)])
def test_bits_come_back_and_are_numpys(size):
    mask = torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(1)) > 0.5
    bits = packed_bits(mask)
    assert torch.equal(unpacked_bits(bits, size), mask)
    assert bits[1].tolist() == np.packbits(mask[1].numpy()).tolist()


# Changes


def test_changes_of_a_batch_are_those_of_each_pair(packs, head, twins):
    made = maker(packs, head, "nothing")
    pairs = [made.make(pair) for pair in PAIRS]
    config = AugmentConfig(0.4, 0.4, 0.4, 0.3, flip=0.5)
    flips = set()
    for seed in range(6):
        draws = [np.random.default_rng([seed, slot]) for slot in range(3)]
        again = [np.random.default_rng([seed, slot]) for slot in range(3)]
        drawn = [drawn_change(config, draw) for draw in draws]
        flips.add(tuple(change.mirrored for change in drawn))
        expected = stack_pairs(
            [augmented(pair, config, draw, twins=twins) for pair, draw in zip(pairs, again, strict=True)]
        )
        near(changed(stack_pairs(pairs), changes_of(drawn), twins=twins), expected, atol=2e-6)
        assert all(a.random() == b.random() for a, b in zip(draws, again, strict=True))  # as many numbers
    assert len(flips) > 2


def test_the_changed_batch_composes_to_the_changed_picture(packs, head, twins):
    pair = maker(packs, head, "nothing").make(PAIRS[0])
    change = drawn_change(AugmentConfig(flip=1.0), np.random.default_rng(2))
    made = changed(pair, changes_of([change]), twins=twins)
    grey = float((pair.source.mean((0, 2, 3)) * torch.tensor((0.299, 0.587, 0.114))).sum())
    expected = change.colours(grey)(compose(pair.layers).image).flip(-1)
    torch.testing.assert_close(compose(made.layers).image, expected, rtol=0, atol=1e-5)


def test_a_change_a_pair(packs, head):
    pair = maker(packs, head, "nothing").make(PAIRS[0])
    drawn = [drawn_change(AugmentConfig(), np.random.default_rng(seed)) for seed in range(2)]
    with pytest.raises(HeadwarpError, match="changes: expected 1, one a pair, got 2"):
        changed(pair, changes_of(drawn))


# The loader


def loaded(packs, head, *, compact, count=4, keep="pairs", augment=AugmentConfig(), device="cpu", **options):  # noqa: B008
    sampler = PairSampler([pack.index for pack in packs], seed=3, config=PairConfig(pool=4))
    config = LoaderConfig(device, maker=MakerConfig(keep=keep), augment=augment, compact=compact)
    loader = PairLoader(packs, head, sampler, batch_size=3, config=config, **options)
    return list(itertools.islice(loader, count))


@pytest.mark.parametrize("augment", [None, AugmentConfig(flip=0.0), AugmentConfig()])
@pytest.mark.parametrize("keep", KEEPS)
def test_batches_are_the_same_however_they_travel(packs, head, augment, keep):
    plain, fast = (
        loaded(packs, head, compact=compact, keep=keep, augment=augment) for compact in (False, True)
    )
    for one, other in zip(fast, plain, strict=True):
        near(one, other, atol=2e-6, loose=1e-5)


def test_compact_batches_go_on_from_any_step_bit_for_bit_with_workers_and_without(packs, head):
    whole = loaded(packs, head, compact=True)
    near(loaded(packs, head, compact=True, count=1, start_step=2)[0], whole[2])
    for one, other in zip(loaded(packs, head, compact=True, workers=2), whole, strict=True):
        near(one, other)


def test_an_error_comes_as_it_is(head, tmp_path):
    pack = toy_pack(tmp_path, head)
    (pack.folder / "masks.npy").unlink()
    with pytest.raises(ModelFileError, match=r"masks\.npy: cannot be read"):
        loaded([pack], head, compact=True)


def test_for_cuda_and_only_there_unless_asked_for():
    assert not LoaderConfig().travels_compact
    assert LoaderConfig(torch.device("cuda", 1)).travels_compact
    assert LoaderConfig("cuda:0").travels_compact
    assert not LoaderConfig("cuda", compact=False).travels_compact
    assert LoaderConfig(compact=True).travels_compact


def test_what_arrives_is_made_without_looking_at_a_number(packs, head, twins):
    """On ``meta`` there are none: whatever would wait for a device fails there."""
    sampler = PairSampler([pack.index for pack in packs], seed=3)
    config = LoaderConfig(maker=MakerConfig(keep="pairs"), augment=AugmentConfig(), compact=True)
    flat = StepPairs(packs, head, sampler, 3, config)[0]
    assert len(flat.parts) == COLUMNS + 3
    made = arrived(flat.to(torch.device("meta")), twins.to("meta"))
    assert {tensor.device.type for tensor in tensors(made).values()} == {"meta"}
    assert made.layers.flow.shape == (3, 2, 64, 64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("workers", [0, 1])
def test_on_a_device_batches_are_those_of_the_cpu(packs, head, workers):
    expected = loaded(packs, head, compact=False)
    batches = loaded(packs, head, compact=None, device="cuda", workers=workers)
    for one, other in zip(batches, expected, strict=True):
        assert one.source.is_cuda
        near(one.map(lambda tensor: tensor.cpu()), other, atol=2e-6, loose=1e-5)
