"""The loader's order depends on steps alone; workers change nothing but the time."""

import itertools

import pytest
import torch
from toy_frames import frame_pack

from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.training.data.frames.augment import FrameAugment
from headwarp.training.data.frames.batch import ByteFrames, FrameBatch, blank_frames, stack_frames
from headwarp.training.data.frames.loader import FrameLoader, FrameLoaderConfig, name_of, read_sample
from headwarp.training.data.frames.pack import FramePackConfig
from headwarp.training.data.frames.sampler import FrameConfig, FrameSampler


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    return [frame_pack(folder, "run"), frame_pack(folder, "walk", person="bob", seed=1)]


@pytest.fixture(scope="module")
def sampler(packs):
    return FrameSampler([pack.index for pack in packs], seed=1)


def first(loader, count):
    return list(itertools.islice(loader, count))


def test_batches_are_the_samplers_samples_step_by_step(packs, sampler):
    batches = first(FrameLoader(packs, sampler, batch_size=2), 3)
    samples = [sampler.sample(step, slot) for step in range(3) for slot in range(2)]
    assert [name for batch in batches for name in batch.names] == [name_of(packs, s) for s in samples]
    frames = torch.cat([batch.frames for batch in batches])
    assert torch.equal(frames, torch.stack([read_sample(packs, s) for s in samples]).float() / 255)
    assert torch.equal(batches[0].source, batches[0].frames[:, 0])
    assert torch.equal(batches[0].driving, batches[0].frames[:, -1])


@pytest.mark.parametrize("augment", [None, FrameAugment(zoom=(0.9, 1.1))])
def test_workers_steps_and_processes_change_nothing(packs, sampler, augment):
    config = FrameLoaderConfig(augment=augment)
    whole = first(FrameLoader(packs, sampler, batch_size=2, config=config), 4)
    ahead = first(FrameLoader(packs, sampler, batch_size=2, workers=1, start_step=2, config=config), 2)
    for a, b in zip(whole[2:], ahead, strict=True):
        assert a.names == b.names
        assert torch.equal(a.frames, b.frames)
    parts = [
        first(
            FrameLoader(
                packs, sampler, batch_size=1, config=FrameLoaderConfig(rank=r, world=2, augment=augment)
            ),
            1,
        )[0]
        for r in (0, 1)
    ]
    assert torch.equal(torch.cat([part.frames for part in parts]), whole[0].frames)


def test_triplets_have_three_frames(packs):
    sampler = FrameSampler([pack.index for pack in packs], config=FrameConfig(count=3, step=2))
    (batch,) = first(FrameLoader(packs, sampler, batch_size=2), 1)
    assert batch.frames.shape == (2, 3, 3, 32, 32)
    assert batch.names[0].count(">") == 2


def test_batches_travel_as_bytes_and_do_not_wait(packs, sampler, monkeypatch):
    """Told from a stand-in: what is called, not what a device does."""
    calls = []
    monkeypatch.setattr(ByteFrames, "pin_memory", lambda made: calls.append("pinned") or made)
    monkeypatch.setattr(ByteFrames, "to", lambda made, device: calls.append(device.type) or made)
    first(FrameLoader(packs, sampler, batch_size=1, config=FrameLoaderConfig("cuda")), 1)
    assert calls == ["pinned", "cuda"]


def test_a_damaged_pack_is_told(tmp_path, sampler):
    packs = [frame_pack(tmp_path, "run"), frame_pack(tmp_path, "walk", person="bob")]
    loader = FrameLoader(packs, sampler, batch_size=4)
    for pack in packs:
        (pack.folder / "frames.npy").write_bytes(b"")
    with pytest.raises(ModelFileError, match="cannot be read"):
        first(loader, 1)


def test_packs_of_two_sizes_and_wrong_numbers_are_told(packs, sampler, tmp_path):
    other = frame_pack(tmp_path, "walk", config=FramePackConfig(64))
    with pytest.raises(ModelFileError, match="expected frames of 32 pixels"):
        FrameLoader([packs[0], other], sampler, batch_size=1)
    with pytest.raises(HeadwarpError, match="expected batch_size >= 1"):
        FrameLoader(packs, sampler, batch_size=0)


def test_batches_are_changed_joined_and_stacked():
    one, three = blank_frames(32, 2), blank_frames(32, 3)
    two = one.joined(one).map(lambda tensor: tensor + 1)
    assert isinstance(two, FrameBatch)
    assert (two.frames.shape, two.names) == ((2, 2, 3, 32, 32), one.names * 2)
    assert torch.equal(two.frames[0], one.frames[0] + 1)
    with pytest.raises(ShapeError, match="expected samples of one shape"):
        stack_frames([one, three])
