"""What folders, trees, patterns and sequences on a command line stand for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwarp.training.data.inputs import is_numbered, list_inputs, natural_order


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def places(*paths: Path, **options) -> list[str]:
    return [found.place for found in list_inputs(paths, **options)]


def test_a_folder_stands_for_its_photos_and_clips(tmp_path):
    touch(tmp_path, "f10.png", "f2.png", "z.mp4", ".hidden.png", "note.txt", "sub.png/inside.png")
    assert places(tmp_path, tmp_path / "f2.png") == ["f2.png", "f10.png", "z.mp4"]
    assert places(tmp_path, sequence=True) == [tmp_path.name]


def test_a_tree_is_taken_whole_when_asked_or_when_nothing_lies_on_top(tmp_path):
    tree = touch(tmp_path / "vox", "id2/v/00002.mp4", "id2/v/00010.mp4", "id10/w/00001.mp4", "readme.txt")
    expected = ["id2/v/00002.mp4", "id2/v/00010.mp4", "id10/w/00001.mp4"]
    assert places(tree) == places(tree, recursive=True) == expected
    touch(tree, "top.mp4")
    assert places(tree) == ["top.mp4"]
    assert places(tree, recursive=True) == ["top.mp4", *expected]


def test_the_output_folder_hidden_ones_and_circles_are_not_entered(tmp_path):
    tree = touch(tmp_path / "in", "a/x.mp4", "out/overlays/x.png", ".cache/y.mp4")
    (tree / "a" / "back").symlink_to(tree)
    assert places(tree, recursive=True, exclude=tree / "out") == ["a/x.mp4"]


def test_a_linked_folder_is_entered(tmp_path):
    touch(tmp_path / "store", "x.mp4")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "store")
    assert places(tmp_path / "in") == ["linked/x.mp4"]


def test_a_pattern_stands_for_what_it_matches(tmp_path):
    touch(tmp_path, "a1.png", "a2.png", "a10.png", "b.png", "a.txt")
    assert places(tmp_path / "a*.png") == ["a1.png", "a2.png", "a10.png"]
    (nothing,) = list_inputs([tmp_path / "c*.png"])
    assert nothing.problem == f"{tmp_path}/c*.png: matches no photo, clip or shard"
    assert places(tmp_path / "a*.png", sequence=True) == ["a.png"]


def test_a_name_with_pattern_letters_that_exists_is_a_file(tmp_path):
    touch(tmp_path, "a[1].mp4")
    assert places(tmp_path / "a[1].mp4") == ["a[1].mp4"]


def test_sequences_in_a_tree_are_one_clip_a_folder(tmp_path):
    tree = touch(tmp_path / "faces", "id1/v/001.png", "id1/v/002.png", "id2/w/001.png", "id2/x.mp4")
    found = list(list_inputs([tree], recursive=True, sequence=True))
    assert [f.place for f in found] == ["id1/v", "id2/x.mp4", "id2/w"]
    assert [os.path.isdir(f.path) for f in found] == [True, False, True]


def test_an_empty_folder_is_an_input_with_a_problem(tmp_path):
    (found,) = list_inputs([tmp_path])
    assert found.problem == f"{tmp_path}: holds no photo, clip or shard"


def test_what_is_not_there_is_passed_on(tmp_path):
    (found,) = list_inputs([tmp_path / "none.mp4"])
    assert (found.place, found.problem, found.stamp()) == ("none.mp4", None, "")


def test_the_source_stays_when_input_and_output_move_together(tmp_path):
    sources = []
    for place in ("here", "there"):
        touch(tmp_path / place, "in/x.mp4")
        (found,) = list_inputs([tmp_path / place / "in"])
        sources.append(found.source(tmp_path / place / "out"))
    assert sources == ["../in/x.mp4"] * 2


def test_the_stamp_tells_a_changed_file(tmp_path):
    touch(tmp_path, "x.mp4")
    (found,) = list_inputs([tmp_path])
    before = found.stamp()
    os.utime(tmp_path / "x.mp4", ns=(1, 1))
    assert before != found.stamp() == "1 1"


def test_numbered_pictures_are_recognised(tmp_path):
    touch(tmp_path, *(f"frame_{number:03d}.png" for number in range(8)))
    assert is_numbered(tmp_path)
    touch(tmp_path, "other.png")
    assert not is_numbered(tmp_path)
    assert not is_numbered(tmp_path / "other.png")


def test_numbers_are_ordered_by_value():
    assert sorted(["a10", "a9", "b1", "a"], key=natural_order) == ["a", "a9", "a10", "b1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_says_so(tmp_path):
    locked = touch(tmp_path / "in" / "locked", "x.mp4")
    locked.chmod(0)
    (found,) = list_inputs([tmp_path / "in"])
    locked.chmod(0o700)
    assert found.problem == f"{locked}: cannot be listed (permission denied)"
