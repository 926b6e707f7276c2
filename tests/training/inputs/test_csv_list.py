"""Lists of inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.inputs import list_inputs, output_names, read_list


def write_list(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_rows_are_inputs_seen_from_the_list(tmp_path):
    path = write_list(
        tmp_path,
        "path,name,start,stop,face\nv/a.mp4,,,,\nv/a.mp4,p/anna,10,20,1\n/abs/b.png,,5,,\n",
        "utf-8-sig",
    )
    first, second, third = list_inputs([path])
    assert (first.path, first.start, first.stop, first.face) == (f"{tmp_path}/v/a.mp4", 0, None, None)
    assert (second.start, second.stop, second.face) == (10, 20, 1)
    assert third.path == "/abs/b.png"
    assert output_names([first, second, third]) == ["a", "p/anna", "b_5-"]
    assert len({found.source(tmp_path) for found in (first, second, third)}) == 3


def test_the_same_file_under_two_names_is_two_inputs(tmp_path):
    path = write_list(tmp_path, "name,path\nx,a.mp4\ny,a.mp4\nx,a.mp4\n")
    assert output_names(list(list_inputs([path]))) == ["x", "y"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (",,1,2,", "line 2: expected a path, got none"),
        ("a.mp4,../x,,,", "line 2: name: expected names joined by /, none hidden or empty, got '../x'"),
        ("a.mp4,/x,,,", "line 2: name: expected names joined by /"),
        ("a.mp4,.headwarp-unfinished/x,,,", "line 2: name: expected names joined by /"),
        ("a.mp4,,x,,", "line 2: start: expected a whole number, 0 or more, got 'x'"),
        ("a.mp4,,,-3,", "line 2: stop: expected a whole number, 0 or more, got '-3'"),
        ("a.mp4,,5,5,", "line 2: expected start < stop, got 5 and 5"),
        ("a.mp4,,,,1.5", "line 2: face: expected a whole number"),
        ("a.mp4,,,,,7,8", "line 2: expected 5 cells, got 7"),
    ],
)
def test_a_row_that_makes_no_sense_is_an_input_with_a_problem(tmp_path, row, text):
    bad, good = read_list(write_list(tmp_path, f"path,name,start,stop,face\n{row}\nb.mp4,,,,\n"))
    assert bad.problem is not None
    assert text in bad.problem
    assert good.problem is None
    assert output_names([bad, good]) == ["list_line2", "b"]


@pytest.mark.parametrize("first", ["", "file,name", "path,label", "path,path"])
def test_a_list_with_other_columns_is_refused(tmp_path, first):
    with pytest.raises(
        HeadwarpError, match="expected a first line with the columns path and, as wanted, name"
    ):
        list(read_list(write_list(tmp_path, f"{first}\na,b\n")))


@pytest.mark.parametrize("data", [b"path\n\xff\xfe\x00", b'path\n"open quote\n'])
def test_a_damaged_list_is_refused(tmp_path, data):
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(HeadwarpError, match="cannot be read as a list"):
        list(read_list(tmp_path / "list.csv"))


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: f"path,name\n{text}".encode()))
)
def test_no_bytes_crash_it(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("csv") / "list.csv"
    path.write_bytes(data)
    try:
        found = list(list_inputs([path]))
    except HeadwarpError:
        return
    names = output_names(found)
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("/") or {"", ".", ".."} & set(name.split("/"))]
