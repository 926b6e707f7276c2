"""Which clips are meant where no face is needed: the layouts of [FOMM]'s data sets."""

import numpy as np
import pytest
from toy_frames import moving_frames

from headwarp.geom.errors import MediaError
from headwarp.training.data.frames.clips import clip_pictures, find_frame_clips
from headwarp.training.data.media import write_image
from headwarp.training.data.pairs.clips import find_clips


def row(path, count=5, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.concatenate(moving_frames(count, seed=seed), axis=1), provenance=None)


def pictures(folder, count=8):
    folder.mkdir(parents=True)
    for number, frame in enumerate(moving_frames(count)):
        write_image(folder / f"{number:07d}.png", frame, provenance=None)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def facts(clips):
    return [(clip.name, clip.person) for clip in clips]


def test_pictures_of_frames_side_by_side_are_clips(tmp_path):
    for number in range(9):  # numbered: not the frames of one clip
        row(tmp_path / "train" / f"{number:03d}.png", seed=number)
    row(tmp_path / "test" / "900.png")
    clips = find_frame_clips(tmp_path)
    assert [clip.name for clip in clips] == [f"{number:03d}" for number in range(9)]
    frames = list(clip_pictures(clips[4].path))
    np.testing.assert_array_equal(np.stack(frames), np.stack(moving_frames(5, seed=4)))
    assert facts(find_frame_clips(clips[0].path)) == [("000", "000")]


def test_folders_of_frames_may_end_like_clips(tmp_path):
    pictures(tmp_path / "train" / "id7#abc#000000#000008.mp4")
    touch(tmp_path / "train" / "id7#xyz#000000#000050.gif")
    clips = find_frame_clips(tmp_path)
    assert facts(clips) == [("id7#abc#000000#000008", "id7"), ("id7#xyz#000000#000050", "id7")]
    assert len(list(clip_pictures(clips[0].path))) == 8


def test_folders_of_persons_in_a_divided_tree(tmp_path):
    touch(tmp_path / "train" / "ann" / "one.mp4")
    touch(tmp_path / "train" / "ann" / "two.mp4")
    pictures(tmp_path / "train" / "bob" / "walk")
    (tmp_path / "train" / "empty").mkdir()
    expected = [("ann__one", "ann"), ("ann__two", "ann"), ("bob__walk", "bob"), ("empty", "empty")]
    assert facts(find_frame_clips(tmp_path)) == facts(find_clips(tmp_path)) == expected


def test_what_is_no_clip_is_told(tmp_path):
    pictures(tmp_path / "few", 2)
    with pytest.raises(MediaError, match="expected clips"):
        find_frame_clips(tmp_path)
    with pytest.raises(MediaError, match="expected square frames side by side, three or more"):
        list(clip_pictures(tmp_path / "few" / "0000000.png"))
