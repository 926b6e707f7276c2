"""Packs of frames: what is written is what is read; packs of pairs open as frames; damage is told."""

import json
import sys

import numpy as np
import pytest
from toy_frames import frame_pack, moving_frames
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.geom.errors import HeadwarpError, MediaError, ModelFileError
from headwarp.training.data.frames.pack import (
    FramePackConfig,
    open_frame_packs,
    open_frames,
    pack_frames,
    squared,
)
from headwarp.training.data.pairs.pack import ClipLabel, PackConfig, open_pack
from headwarp.training.data.pairs.thin import spread

LABEL = ClipLabel("ann", "walk", "walk.mp4", "stamp")


def test_frames_come_back_bit_for_bit(tmp_path):
    frame_pack(tmp_path)
    (pack,) = open_frame_packs(tmp_path)
    index = pack.index
    assert (len(pack), index.person, index.clip, index.clip_frames) == (6, "ann", "walk", 6)
    for position, frame in enumerate(moving_frames()):
        np.testing.assert_array_equal(pack.frame(position), frame)
    assert {path.name for path in pack.folder.iterdir()} == {"frames.npy", "pack.json"}


def test_jpeg_is_near_and_smaller(tmp_path):
    pack = frame_pack(tmp_path, config=FramePackConfig(32, "jpeg"))
    again = open_frames(pack.folder)
    assert np.abs(again.frame(3).astype(int) - moving_frames()[3]).mean() < 4
    assert {path.name for path in pack.folder.iterdir()} == {"frames.bin", "ends.npy", "pack.json"}


@pytest.mark.parametrize(("shape", "left"), [("crop", 8), ("pad", None), ("stretch", None)])
def test_frames_become_squares(shape, left):
    wide = moving_frames(1, size=(32, 48))[0]
    made = squared(wide, FramePackConfig(32, shape=shape))
    assert made.shape == (32, 32, 3)
    if left is not None:
        np.testing.assert_array_equal(made, wide[:, left : left + 32])
    if shape == "pad":  # above and below the border repeats
        assert np.abs(made[0].astype(int) - made[4]).max() <= 1
    if shape == "stretch":
        assert abs(float(made.mean()) - float(wide.mean())) < 1


def test_a_pack_of_pairs_opens_as_frames_without_its_fit(tmp_path, monkeypatch):
    pair = toy_pack(tmp_path, toy_head(), config=PackConfig(size=32))
    (tmp_path / "walk" / "fit.npz").unlink()
    for name in ("av", "mediapipe"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    (pack,) = open_frame_packs(tmp_path)
    assert (pack.index.frames, pack.index.person) == (pair.index.frames, "ann")
    np.testing.assert_array_equal(pack.frame(2), pair.frame(2))


def test_a_thinned_pack_is_a_view(tmp_path):
    pack = frame_pack(tmp_path, count=9)
    thin = pack.thinned(spread(pack.index, (0.0, 1.0), 5))
    assert (thin.index.frames, thin.index.clip_frames) == ((0, 2, 4, 6, 8), 9)
    twice = thin.thinned([1, 3])
    assert twice.index.frames == (2, 6)
    np.testing.assert_array_equal(twice.frame(1), pack.frame(6))
    with pytest.raises(HeadwarpError, match="expected rising positions of 9 frames"):
        pack.thinned([3, 3])


def test_a_clip_of_one_frame_leaves_nothing(tmp_path):
    with pytest.raises(MediaError, match="walk: expected a clip of two frames or more, got 1"):
        pack_frames(moving_frames(1), folder=tmp_path, label=LABEL, config=FramePackConfig(32))
    assert not list(tmp_path.iterdir())


def test_an_older_pack_gives_way_only_to_a_whole_one(tmp_path):
    frame_pack(tmp_path)

    def breaking():
        yield from moving_frames(3)
        raise MediaError("cut off")

    with pytest.raises(MediaError, match="cut off"):
        pack_frames(breaking(), folder=tmp_path, label=LABEL, config=FramePackConfig(32))
    assert len(open_frames(tmp_path / "walk")) == 6
    pack_frames(moving_frames(4), folder=tmp_path, label=LABEL, config=FramePackConfig(32))
    assert len(open_frames(tmp_path / "walk")) == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "other"}, "expected the index of a pack"),
        ({"version": 99}, "expected a pack of version 1 or older, got 99"),
        ({"size": "32"}, "size missing or of another type"),
        ({"clip_frames": 0}, "values do not go together"),
        ({"clip": "../up"}, "values do not go together"),
        ({"clip_frames": 7}, r"expected \(7, 32, 32, 3\) as the index says"),
    ],
)
def test_indices_that_make_no_sense_are_told(tmp_path, change, told):
    pack = frame_pack(tmp_path)
    path = pack.folder / "pack.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelFileError, match=told):
        open_frames(pack.folder)


def test_what_is_no_pack_or_of_two_sizes_is_told(tmp_path):
    with pytest.raises(HeadwarpError, match="expected packs of clips, found none"):
        open_frame_packs(tmp_path)
    frame_pack(tmp_path, "run")
    frame_pack(tmp_path, "walk", config=FramePackConfig(64))
    with pytest.raises(ModelFileError, match=r"expected frames of 32 pixels as in .*run, got 64"):
        open_frame_packs(tmp_path)
    with pytest.raises(ModelFileError, match=r"kind 'headwarp-pairs'\), got 'headwarp-frames'"):
        open_pack(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"shape": "round"}, "shape: expected one of crop, pad, stretch, got 'round'"),
        ({"size": 31}, "size: expected an even number of pixels"),
        ({"codec": "gif"}, "codec: expected one of raw, jpeg"),
    ],
)
def test_options_out_of_range_are_told(options, told):
    with pytest.raises(HeadwarpError, match=told):
        FramePackConfig(**options)
