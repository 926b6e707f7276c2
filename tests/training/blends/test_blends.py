"""Heads to be blended: labels and places of packed frames, what is drawn for them, batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_head import toy_head
from toy_packs import ToySegmenter, toy_pack

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.training.data.blends import maker
from headwarp.training.data.blends.batch import PLACES, blank_blends, stack_blends
from headwarp.training.data.blends.changes import BlendChanges, mirrored_frame, moved, recoloured
from headwarp.training.data.blends.loader import BlendLoader, BlendLoaderConfig, blend_sample
from headwarp.training.data.blends.maker import LabelledFrame, LabelledFrames
from headwarp.training.data.pairs.sampler import PairIndex, PairSampler

STILL = BlendChanges(0, 0, 0, 0, other=0.0, flip=0.0, scale=0.0, shift=0.0)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    head = toy_head()
    folder = tmp_path_factory.mktemp("packs")
    packs = [toy_pack(folder, head, name, seed=n) for n, name in enumerate("ab")]
    return LabelledFrames(packs, head, segmenter=ToySegmenter(head))


def drawn(*key):
    return np.random.Generator(np.random.Philox(key=list(key)))


def test_places_lie_where_the_head_is(frames):
    frame = frames.frame(0, 2)
    known = frame.places[3] == 1
    assert 0.05 < float(known.float().mean()) < 0.8
    assert not frame.places[:, ~known].any()
    assert int(frame.places[:3].abs().max()) <= PLACES
    rows, columns = torch.nonzero(known, as_tuple=True)
    across, up = frame.places[0][known].float(), frame.places[1][known].float()
    assert float(torch.corrcoef(torch.stack([columns.float(), across]))[0, 1]) > 0.8
    assert float(torch.corrcoef(torch.stack([rows.float(), up]))[0, 1]) < -0.8
    assert frames.name(0, 2) == "ann/a/2"


def test_a_mirrored_frame_twice_is_the_frame_and_its_regions_change_sides(frames):
    frame = frames.frame(0, 1)
    labels = frame.labels.clone()
    labels[0, 0] = 4
    frame = LabelledFrame(frame.image, labels, frame.places)
    mirrored = mirrored_frame(frame)
    assert int(mirrored.labels[0, -1]) == 5
    assert torch.equal(mirrored.places[0], -frame.places[0].flip(-1))
    twice = mirrored_frame(mirrored)
    assert all(torch.equal(getattr(twice, name), getattr(frame, name)) for name in vars(frame))


def test_what_is_moved_is_moved_together_and_labels_are_not_blended(frames):
    frame = frames.frame(0, 1)
    labels = torch.zeros_like(frame.labels)
    labels[20:40, 20:40] = 17
    image = labels[None].expand(3, -1, -1) * 15
    marked = LabelledFrame(image.contiguous(), labels, frame.places)
    made = moved(marked, BlendChanges(scale=0.2, shift=0.1), drawn(1, 2), mirrored=False)
    assert set(made.labels.unique().tolist()) == {0, 17}
    assert not torch.equal(made.labels, labels)
    inside = made.image[0][made.labels == 17].float()
    assert float((inside >= 127).float().mean()) > 0.95
    same = moved(marked, STILL, drawn(1, 2), mirrored=False)
    assert torch.equal(same.labels, labels)


def test_colours_alone_change_of_the_head_to_be_blended(frames):
    image = frames.frame(0, 0).image
    made, mirrored = recoloured(image, BlendChanges(), drawn(0, 1))
    again, _ = recoloured(image, BlendChanges(), drawn(0, 1))
    assert torch.equal(made, again)
    assert int((made.int() - image.int()).abs().max()) > 10
    same, mirrored = recoloured(image, STILL, drawn(0, 1))
    assert torch.equal(same, image)
    assert not mirrored
    with pytest.raises(HeadwarpError, match="brightness: expected 0 to 1"):
        BlendChanges(brightness=2.0)
    with pytest.raises(HeadwarpError, match=r"expected other in 0\.\.1"):
        BlendChanges(other=1.5)


def test_a_sample_shows_the_frame_and_another_one(frames):
    pair = PairIndex(0, 1, 0, 3)
    same = blend_sample(frames, pair, STILL, drawn(0, 0)).batch()
    assert torch.equal(same.truth, same.reference.image)
    assert torch.equal(same.source, same.driving)
    other = blend_sample(frames, pair, BlendChanges(0, 0, 0, 0, 1.0, 0.0, 0.0, 0.0), drawn(0, 0)).batch()
    shown = frames.frame(0, 1)
    assert torch.equal(other.reference.image[0], shown.image.float() / 255)
    assert torch.equal(other.reference.labels[0], shown.labels.long())
    torch.testing.assert_close(other.reference.where[0, :3], shown.places[:3] / PLACES)
    assert torch.equal(other.animated.labels, same.animated.labels)
    assert other.names == ("ann/a/3",)


def test_batches_are_the_same_from_any_step(frames, monkeypatch):
    monkeypatch.setattr(maker, "RenderedSegmenter", ToySegmenter)
    sampler = PairSampler([pack.index for pack in frames.packs], seed=4)

    def batches(first):
        return iter(
            BlendLoader(
                frames.packs, frames.head, sampler, batch_size=3, start_step=first, config=BlendLoaderConfig()
            )
        )

    early, late = batches(0), batches(1)
    next(early)
    one, other = next(early), next(late)
    assert torch.equal(one.truth, other.truth)
    assert torch.equal(one.reference.image, other.reference.image)
    assert torch.equal(one.animated.image, other.animated.image)
    assert one.names == other.names
    whole = one.joined(other)
    assert len(whole.truth) == len(whole.animated.labels) == len(whole.names) == 6
    assert torch.equal(whole.map(lambda tensor: tensor[:3]).reference.labels, one.reference.labels)
    with pytest.raises(ShapeError, match="expected samples of one size"):
        stack_blends([one, blank_blends(32)])
