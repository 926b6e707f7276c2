"""Every input has a name of its own, the same in every run."""

from __future__ import annotations

import itertools
import re

import pytest

from headwarp.training.data.inputs import Input, names_by_path, output_names


def inputs(*paths: str) -> list[Input]:
    return [Input(path, path.rsplit("/", 1)[-1]) for path in paths]


def tree(root: str, *places: str) -> list[Input]:
    return [Input(f"{root}/{place}", place, root) for place in places]


def test_names_are_stems_until_two_share_one():
    assert output_names(inputs("a/x.mp4", "b/x.jpg", "a/y.png")) == ["x_mp4", "x_jpg", "y"]


def test_names_take_the_folder_where_the_suffix_is_not_enough():
    assert output_names(inputs("a/x.mp4", "b/x.mp4", "c/X.MP4")) == ["a_x_mp4", "b_x_mp4", "c_X_mp4"]


def test_names_get_letters_of_their_whole_path_at_last():
    names = output_names(inputs("1/a/x.mp4", "2/a/x.mp4", "3/A/X.mp4"))
    assert len({name.lower() for name in names}) == 3
    assert all(re.fullmatch(r"[aA]_[xX]_mp4_[0-9a-f]{8}", name) for name in names)


def test_a_longer_name_that_is_taken_is_lengthened_too():
    assert len(set(output_names(inputs("x_mp4.png", "x.mp4", "x.jpg")))) == 3


def test_a_tree_stays_a_tree_and_two_trees_differ_by_their_roots():
    assert output_names(tree("vox", "id1/v/1.mp4", "id1/w/1.mp4")) == ["id1/v/1", "id1/w/1"]
    both = [*tree("dev", "id1/v/1.mp4"), *tree("test", "id1/v/1.mp4", "id2/v/1.mp4")]
    assert output_names(both) == ["dev/id1/v/1_mp4", "test/id1/v/1_mp4", "id2/v/1"]


def test_names_do_not_depend_on_the_order():
    given = [*inputs("a/x.mp4", "b/x.jpg", "1/a/x.mp4", "2/a/x.mp4"), *tree("t", "x.mp4", "d/x.mp4")]
    expected = dict(zip(given, output_names(given), strict=True))
    for order in itertools.permutations(given):
        assert dict(zip(order, output_names(order), strict=True)) == expected


def test_capitals_and_spellings_of_accents_do_not_make_a_name_another(tmp_path):
    names = output_names(inputs("a/caf\u00e9.mp4", "b/cafe\u0301.mp4", "c/CAF\u00c9.mp4"))
    assert names == ["a_caf\u00e9_mp4", "b_cafe\u0301_mp4", "c_CAF\u00c9_mp4"]


def test_known_names_are_kept_and_given_to_no_other(tmp_path):
    (first,) = inputs("a/x.mp4")
    known = {first.source("out"): "x"}
    both = inputs("a/x.mp4", "b/x.mp4")
    assert output_names(both, base="out", known=known) == ["x", "x_mp4"]
    assert output_names(both[1:], base="out", known=known) == ["x_mp4"]


def test_long_names_are_cut_and_stay_different():
    names = output_names(inputs("a/" + "y" * 250 + "1.mp4", "a/" + "y" * 250 + "2.mp4"))
    assert len(set(names)) == 2
    assert all(len(name) == 200 for name in names)


def test_a_stem_that_looks_like_a_further_face_does_not_stay_one():
    assert output_names(inputs("x.face1.mp4")) == ["x_face1"]


def test_names_of_files(tmp_path):
    paths = [tmp_path / "x.mp4", tmp_path / "x.jpg"]
    assert names_by_path(paths) == dict(zip(paths, ["x_mp4", "x_jpg"], strict=True))


@pytest.mark.parametrize(("place", "name"), [(".", "_"), ("..", "__"), ("a/../x.mp4", "a/__/x")])
def test_a_name_is_never_a_folder_of_its_own(place, name):
    assert output_names([Input("somewhere", place)]) == [name]
