"""Packs: what is written is what is read; unusable frames, foreign heads and damaged files are told."""

import dataclasses
import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from toy_head import toy_head
from toy_packs import oval, toy_clip, toy_pack, without

from headwarp.flame.params import INTERPOLATED, MISSING
from headwarp.geom.cameras import WeakPerspective
from headwarp.geom.crops import Crop
from headwarp.geom.errors import HeadwarpError, MediaError, ModelFileError, NoFaceError
from headwarp.training.data.pairs.index import read_index
from headwarp.training.data.pairs.pack import (
    ClipLabel,
    PackConfig,
    open_pack,
    open_packs,
    pack_clip,
    usable_frames,
)

LABEL = ClipLabel("ann", "walk", "walk.mp4")


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def clip(head):
    return toy_clip(head, 5)


def packed(clip, head, folder, **changes):
    frames, fit = clip
    options = {
        "head": head,
        "folder": folder,
        "label": LABEL,
        "config": PackConfig(size=256),
        "segment": oval,
    }
    return pack_clip(frames, fit, **{**options, **changes})


def test_frames_masks_and_fit_come_back_bit_for_bit(clip, head, tmp_path):
    packed(clip, head, tmp_path)
    (pack,) = open_packs(tmp_path, head=head)
    assert (len(pack), pack.index.person, pack.index.clip) == (5, "ann", "walk")
    assert (pack.index.frames, pack.index.clip_frames) == ((0, 1, 2, 3, 4), 5)
    for position, frame in enumerate(clip[0]):
        np.testing.assert_array_equal(pack.frame(position), frame)
        np.testing.assert_array_equal(pack.mask(position), (oval(frame) * 255).astype(np.uint8))
    found, fit = pack.fit(), clip[1]
    torch.testing.assert_close(found.params.expression, fit.params.expression, rtol=0, atol=0)
    torch.testing.assert_close(found.landmarks, fit.landmarks, rtol=0, atol=0)


def test_jpeg_packs_are_small_and_near(clip, head, tmp_path):
    raw = packed(clip, head, tmp_path / "raw")
    pack = packed(clip, head, tmp_path / "jpeg", config=PackConfig(size=256, codec="jpeg"))
    size = lambda folder: sum(path.stat().st_size for path in folder.glob("[fme]*.[nb]*"))  # noqa: E731
    assert size(pack.folder) < 0.25 * size(raw.folder)
    opened = open_pack(pack.folder)
    for position, frame in enumerate(clip[0]):
        assert np.abs(opened.frame(position).astype(int) - frame).mean() < 2
        np.testing.assert_array_equal(opened.mask(position), raw.mask(position))


def test_a_smaller_size_scales_the_fit_with_the_picture(clip, head, tmp_path):
    pack = packed(clip, head, tmp_path, config=PackConfig(size=64))
    fit = pack.fit()
    assert fit.size == (64, 64)
    torch.testing.assert_close(fit.landmarks, clip[1].landmarks / 4)
    mean = clip[0][2].reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(pack.frame(2).astype(float) - mean).mean() < 3


def test_of_a_wide_picture_the_square_around_the_head_is_packed(clip, head, tmp_path):
    frames, fit = clip
    wide = [np.pad(frame, ((0, 0), (300, 100), (0, 0))) for frame in frames]
    camera = WeakPerspective(fit.camera.scale, fit.camera.center + torch.tensor([300.0, 0.0]))
    moved = dataclasses.replace(
        fit, size=(256, 656), camera=camera, landmarks=fit.landmarks + torch.tensor([300.0, 0.0])
    )
    pack = packed((wide, moved), head, tmp_path)
    window = pack.index.window
    assert (window.y, window.side) == (0, 256)
    assert abs(window.x - 300) < 30
    shift = int(window.x) - 300
    inner = slice(max(0, shift), 256 + min(0, shift))
    np.testing.assert_array_equal(
        pack.frame(1)[:, : 256 - abs(shift)][:, max(0, -shift) :],
        frames[1][:, inner][:, : 256 - abs(shift) - max(0, -shift)],
    )
    torch.testing.assert_close(
        pack.fit().landmarks, fit.landmarks - torch.tensor([float(shift), 0.0]), atol=1e-3, rtol=0
    )


def test_frames_that_cannot_be_used_are_left_out_and_counted(clip, head, tmp_path):
    frames, fit = clip
    fit = without(without(without(fit, [0], residual=math.nan), [2], status=MISSING), [3], confidence=0.1)
    pack = packed((frames, fit), head, tmp_path)
    assert pack.index.frames == (1, 4)
    assert pack.index.left_out == {"not finite": 1, "no face": 1, "unsure": 1}
    np.testing.assert_array_equal(pack.frame(1), frames[4])


def test_interpolated_frames_are_taken_where_asked_for(clip):
    fit = without(clip[1], [1, 3], status=INTERPOLATED)
    assert usable_frames(fit, PackConfig()).frames == (0, 2, 4)
    assert usable_frames(fit, PackConfig()).left_out == {"interpolated": 2}
    assert usable_frames(fit, PackConfig(interpolated=True)).frames == (0, 1, 2, 3, 4)


def test_a_confidence_that_is_no_number_is_not_sure(clip):
    assert usable_frames(without(clip[1], [1], confidence=math.nan), PackConfig()).left_out == {"unsure": 1}


def test_a_clip_with_one_usable_frame_is_refused_with_its_reasons(clip, head, tmp_path):
    fit = without(clip[1], [0, 1, 2, 3], status=MISSING)
    with pytest.raises(NoFaceError, match=r"walk: expected at least 2 usable frames, got 1 of 5 \(4 no face"):
        packed((clip[0], fit), head, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("count", "got"), [(4, "got 4"), (6, "got 6")])
def test_a_fit_of_another_clip_is_told_and_nothing_is_left_behind(clip, head, tmp_path, count, got):
    frames = [*clip[0], clip[0][0]][:count]
    with pytest.raises(
        MediaError, match=f"walk: expected 5 frames as its fit has, {got}; fit the clip again"
    ):
        packed((frames, clip[1]), head, tmp_path)
    assert not list(tmp_path.iterdir())


def test_frames_of_another_size_than_the_fit_are_told(clip, head, tmp_path):
    with pytest.raises(MediaError, match="expected frames of 256 x 256 as its fit, got 256 x 200"):
        packed(([frame[:200] for frame in clip[0]], clip[1]), head, tmp_path)


def test_a_fit_of_another_head_is_refused(clip, head, tmp_path):
    other = dataclasses.replace(clip[1], model_id="other-1234")
    with pytest.raises(
        ModelFileError, match=r"expected coefficients of head toy-.*, got those of other-1234"
    ):
        packed((clip[0], other), head, tmp_path)


def test_packs_of_another_head_or_size_are_named(head, tmp_path):
    toy_pack(tmp_path, head, "a")
    other = toy_head(shapes=3)
    with pytest.raises(ModelFileError, match=r"a: expected fits of head .*pass --head"):
        open_packs(tmp_path, head=other)
    toy_pack(tmp_path, head, "b", config=PackConfig(size=32))
    with pytest.raises(ModelFileError, match=r"b: expected frames of 64 pixels as in .*a, got 32"):
        open_packs(tmp_path, head=head)


def test_an_older_pack_gives_way_only_to_a_whole_one(clip, head, tmp_path):
    packed(clip, head, tmp_path)
    with pytest.raises(MediaError):
        packed((clip[0][:3], clip[1]), head, tmp_path)
    assert len(open_pack(tmp_path / "walk")) == 5
    short = (clip[0][:3], clip[1].select([0, 1, 2]))
    packed(short, head, tmp_path)
    assert len(open_pack(tmp_path / "walk")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["walk"]


def test_what_killed_makings_left_hidden_goes_once_it_is_old(clip, head, tmp_path):
    old, young, other = (tmp_path / name for name in (".walk.0123abcd", ".walk.ffff0000", ".walker.0123abcd"))
    for folder in (old, young, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (0, 0))
    packed(clip, head, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, other.name, "walk"]
    assert len(open_packs(tmp_path)) == 1


@pytest.mark.parametrize("name", ["../walk", ".walk", "", "a/b"])
def test_a_clip_is_named_by_a_plain_name(clip, head, tmp_path, name):
    with pytest.raises(HeadwarpError, match="clip: expected a plain name"):
        packed(clip, head, tmp_path / "packs", label=ClipLabel("ann", name))


def test_a_folder_without_packs_says_how_to_make_them(tmp_path):
    with pytest.raises(HeadwarpError, match="expected packs of clips, found none"):
        open_packs(tmp_path)


# Damage


@pytest.fixture
def pack(head, tmp_path):
    return toy_pack(tmp_path, head, frames=3)


def test_a_cut_off_file_is_told(pack):
    path = pack.folder / "frames.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"frames\.npy: cannot be read .*remove the pack"):
        open_pack(pack.folder)


def test_frames_of_another_pack_are_told(pack, head, tmp_path):
    other = toy_pack(tmp_path / "other", head, frames=4)
    shutil.copy(other.folder / "masks.npy", pack.folder)
    with pytest.raises(
        ModelFileError, match=r"masks\.npy: expected \(3, 64, 64\) as the index says, got uint8 \(4,"
    ):
        open_pack(pack.folder)


def test_a_fit_of_another_pack_is_told_when_it_is_read(pack, head, tmp_path):
    other = toy_pack(tmp_path / "other", head, frames=4)
    shutil.copy(other.folder / "fit.npz", pack.folder)
    with pytest.raises(ModelFileError, match="expected the fit of the pack's frames"):
        open_pack(pack.folder).fit()


def test_a_cut_off_jpeg_pack_is_told(head, tmp_path):
    pack = toy_pack(tmp_path, head, config=PackConfig(size=64, codec="jpeg"))
    path = pack.folder / "frames.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"frames\.bin: expected"):
        open_pack(pack.folder)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ModelFileError, match=r"frames\.bin: cannot be read"):
        pack.frame(0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "other"}, "expected the index of a pack"),
        ({"version": 99}, "expected a pack of version 1 or older, got 99; upgrade headwarp"),
        ({"frames": [0, 0, 2]}, "values do not go together"),
        ({"frames": []}, "values do not go together"),
        ({"frames": [0, 1, 7]}, "values do not go together"),
        ({"frames": "many"}, "expected the index of a pack"),
        ({"codec": "zip"}, "values do not go together"),
        ({"window": {"x": 0}}, "expected the index of a pack"),
        ({"person": 3}, "values do not go together"),
        ({"window": []}, "expected the index of a pack"),
        ({"window": {"x": 0, "y": 0, "side": -1}}, "expected the index of a pack"),
        ({"frames": [0, 1, math.inf]}, "expected the index of a pack"),
        ({"scale": [1.0, math.nan, 1.0]}, "values do not go together"),
        ({"scale": [1.0, 0.0, 1.0]}, "values do not go together"),
        ({"clip": "../../elsewhere"}, "values do not go together"),
    ],
)
def test_an_index_that_makes_no_sense_is_told(pack, change, told):
    path = pack.folder / "pack.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelFileError, match=told):
        read_index(pack.folder)


def test_pictures_of_another_size_in_a_jpeg_pack_are_told(head, tmp_path):
    small, large = (
        toy_pack(tmp_path / str(size), head, config=PackConfig(size=size, codec="jpeg")) for size in (64, 96)
    )
    for name in ("frames.bin", "masks.bin", "ends.npy"):
        shutil.copy(large.folder / name, small.folder / name)
    pack = open_pack(small.folder)
    with pytest.raises(
        ModelFileError, match=r"expected a frame of \(64, 64, 3\) bytes, got uint8 \(96, 96, 3"
    ):
        pack.frame(0)
    with pytest.raises(ModelFileError, match=r"expected a mask of \(64, 64\) bytes, got uint8 \(96, 96\)"):
        pack.mask(1)


def test_an_endless_picture_and_one_that_ends_before_it_begins_are_told(head, tmp_path):
    pack = toy_pack(tmp_path, head, config=PackConfig(size=64, codec="jpeg"))
    path = pack.folder / "frames.bin"
    ends = np.load(pack.folder / "ends.npy")
    swapped = ends.copy()
    swapped[0] = swapped[1] + 5
    np.save(pack.folder / "ends.npy", swapped)
    with pytest.raises(ModelFileError, match=r"frames\.bin: cannot .*picture 1 ends before it begins"):
        pack.frame(1)
    np.save(pack.folder / "ends.npy", ends)
    frame = bytearray(path.read_bytes())
    place = frame.index(b"\xff\xc0") + 5  # height and width in the frame header
    for side, told in ((b"\xff\xff", "limit of"), (b"\x20\x10", "picture 0 has 8208 x 8208 pixels")):
        frame[place : place + 4] = 2 * side
        path.write_bytes(frame)
        with pytest.raises(ModelFileError, match=rf"frames\.bin: cannot be read \(.*{told}"):
            pack.frame(0)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_an_index_that_is_no_json_object_is_told(pack, text):
    (pack.folder / "pack.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"pack\.json: .*make the pack again"):
        read_index(pack.folder)


def test_an_index_comes_back_as_it_was_written(pack):
    assert read_index(pack.folder) == pack.index
    assert isinstance(pack.index.window, Crop)


def test_a_size_or_codec_out_of_range_is_told():
    with pytest.raises(HeadwarpError, match="size: expected an even number of pixels, 32 or more, got 31"):
        PackConfig(size=31)
    with pytest.raises(HeadwarpError, match="codec: expected one of raw, jpeg, got 'png'"):
        PackConfig(codec="png")
