"""The key table: every key is loaded, dropped with a reason, or named as amiss."""

import pytest
import torch

from headwarp.geom.errors import ModelFileError
from headwarp.warping.importers.key_table import (
    SPECTRAL_NORM,
    Drop,
    KeyReport,
    Rename,
    joined,
    match_keys,
    prefixed,
    renamed,
)


def named(**shapes):
    return {key.replace("__", "."): torch.ones(shape) for key, shape in shapes.items()}


def test_every_key_finds_its_place_in_the_report():
    file = named(a__weight=(2, 3), b__old=(1,), c__weight=(4,), d__weight=(5,), stray=(1,))
    own = named(a__weight=(2, 3), b__new=(1,), d__weight=(6,), e__weight=(1,))
    report, taken = match_keys(
        file, own, renames=[Rename(r"^b\.old$", "b.new")], drops=[Drop(r"c\..+", "not wanted")]
    )
    assert report == KeyReport(
        loaded=(("a.weight", "a.weight"), ("b.old", "b.new")),
        missing=("e.weight",),
        unexpected=("stray",),
        mismatched=(("d.weight", "(6,)", "(5,)"),),
        dropped=(("c.weight", "not wanted"),),
    )
    assert set(taken) == {"a.weight", "b.new"}
    assert not report.complete


def test_the_table_names_all_that_is_amiss():
    report = KeyReport(
        loaded=(("a.x", "a.x"), ("a.y", "a.y")),
        missing=tuple(f"m.{n}" for n in range(25)),
        unexpected=("u.x",),
        mismatched=(("s.x", "(1,)", "(2,)"),),
        dropped=(("d.x", "why"), ("d.y", "why")),
    )
    lines = report.table().split("\n")
    assert lines[0] == "loaded 2, missing 25, unexpected 1, of another shape 1, dropped 2"
    assert lines[1:3] == ["  loaded a: 2", "  dropped d: 2 (why)"]
    assert lines[3] == "  missing m.0"
    assert lines[-3:] == [
        "  missing: 5 more",
        "  unexpected u.x",
        "  of another shape s.x: expected (1,), got (2,)",
    ]


def test_complete_without_anything_amiss():
    report, taken = match_keys(named(a=(1,)), named(a=(1,)))
    assert report.complete
    assert torch.equal(taken["a"], torch.ones(1))


def test_renames_follow_their_order():
    assert renamed("x.one", [Rename("one", "two"), Rename("two", "three")]) == "x.three"
    assert renamed("a.conv.weight_orig", SPECTRAL_NORM) == "a.conv.parametrizations.weight.original"
    assert renamed("weight_u.conv.bias", SPECTRAL_NORM) == "weight_u.conv.bias"


def test_only_a_leading_module_of_every_key_is_taken_off():
    own = named(a__module__weight=(1,), b=(1,))
    report, taken = match_keys(named(module__a__module__weight=(1,), module__b=(1,)), own)
    assert report.complete
    assert set(taken) == set(own)
    assert report.loaded[0] == ("module.a.module.weight", "a.module.weight")
    some, _ = match_keys(named(module__b=(1,), b=(1,)), own)
    assert some.unexpected == ("module.b",)


def test_types():
    own = {"a": torch.ones(1), "n": torch.tensor(1)}
    report, taken = match_keys({"a": torch.ones(1).half(), "n": torch.tensor(2, dtype=torch.int32)}, own)
    assert report.complete
    assert (taken["a"].dtype, taken["n"].dtype) == (torch.float32, torch.int64)
    report, _ = match_keys({"a": torch.tensor([1]), "n": torch.tensor(1.0)}, own)
    assert report.mismatched == (("a", "torch.float32", "torch.int64"), ("n", "torch.int64", "torch.float32"))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_none(bad):
    report, _ = match_keys({"a": torch.tensor([1.0, bad])}, named(a=(2,)))
    assert report.mismatched == (("a", "finite numbers", "NaN or infinity among them"),)


def test_two_keys_for_one():
    with pytest.raises(ModelFileError, match="old: a second key of the file for new; the file mixes"):
        match_keys(named(new=(1,), old=(1,)), named(new=(1,)), renames=[Rename("old", "new")])


def test_what_a_file_may_lack_is_supplied_and_said():
    own = {"a.n": torch.tensor(7), "a.w": torch.ones(2, device="meta"), "b.n": torch.tensor(7)}
    report, taken = match_keys({"a.w": torch.ones(2), "b.n": torch.tensor(3)}, own, optional=".n")
    assert report.complete
    assert report.supplied == ("a.n",)
    assert (int(taken["a.n"]), int(taken["b.n"])) == (0, 3)
    assert "  not in the file, as new a: 1" in report.table()
    report, taken = match_keys({"b.n": torch.tensor(3)}, own, optional=".n")
    assert report.missing == ("a.w",)


def test_reports_of_parts_become_one():
    file = named(w=(1,), stray=(1,), s=(2,), d=(1,))
    own = {**named(w=(1,), s=(1,), gone=(1,)), "n": torch.tensor(0)}
    report, _ = match_keys(file, own, drops=[Drop("d", "why")], optional="n")
    both = joined(prefixed(report, file="f: ", own="net."), report)
    assert both == KeyReport(
        loaded=(("f: w", "net.w"), ("w", "w")),
        missing=("net.gone", "gone"),
        unexpected=("f: stray", "stray"),
        mismatched=(("f: s", "(1,)", "(2,)"), ("s", "(1,)", "(2,)")),
        dropped=(("f: d", "why"), ("d", "why")),
        supplied=("net.n", "n"),
    )
