"""Lists of pairs: ours, FOMM's and DaGAN's shapes, found again under another root; the committed list."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pair_rule import pairs_by_rule

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.pair_lists import Found, find_entry, find_pairs, read_pairs

OWN = Path(__file__).resolve().parents[2] / "docs" / "pairs" / "cross_identity_40.csv"


def listed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# ---- the rows ----


def test_rows_with_and_without_a_frame(tmp_path: Path) -> None:
    pairs = read_pairs(listed(tmp_path, "source,driving,frame\n\n# a note\na.png,b.mp4,7\nc.png, d.mp4\n"))
    assert [(p.source, p.driving, p.reference) for p in pairs] == [
        ("a.png", "b.mp4", 7),
        ("c.png", "d.mp4", None),
    ]
    assert [p.line for p in pairs] == [4, 5]


def test_three_names_over_two_fields_as_dagans_lists_have_them(tmp_path: Path) -> None:
    text = (
        "source,driving,best_frame\n/data/x/vox/id1#a#1.mp4/0000003.png,/data/x/vox/id2#b#2.mp4/0000007.png\n"
    )
    (pair,) = read_pairs(listed(tmp_path, text))
    assert pair.driving.endswith("id2#b#2.mp4/0000007.png")
    assert pair.reference is None


def test_fomms_columns_are_read(tmp_path: Path) -> None:
    (pair,) = read_pairs(listed(tmp_path, "distance,source,driving,frame\n0,id1#a.mp4,id2#b.mp4,12\n"))
    assert (pair.source, pair.driving, pair.reference) == ("id1#a.mp4", "id2#b.mp4", 12)


def test_frames_as_dagans_lists_write_them(tmp_path: Path) -> None:
    (pair,) = read_pairs(listed(tmp_path, "source,driving,frame\nid1#a.mp4,id2#b.mp4,0.0\n"))
    assert pair.reference == 0
    touch(tmp_path, "t/id1.mp4/0000001.png", "t/id2.mp4/0000002.png", "t/id2.mp4/0000003.png")
    row = ",".join(f"/data/them/t/id{clip}.mp4/000000{frame}.png" for clip, frame in ((1, 1), (2, 2), (2, 3)))
    rows = read_pairs(listed(tmp_path, f"source,driving,best_frame\n{row}\n"))
    ((pair,), missing) = find_pairs(rows, tmp_path)
    assert pair.reference == Found(tmp_path / "t/id2.mp4/0000003.png")
    assert missing == []
    (tmp_path / "t/id2.mp4/0000003.png").unlink()
    assert find_pairs(rows, tmp_path) == ([], ["/data/them/t/id2.mp4/0000003.png"])


def test_clips_may_be_named_by_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "000054.mp4")
    assert find_entry("000054.mp4", tmp_path) == Found(tmp_path / "000054.mp4")
    assert find_entry("/data/bair/test/000054.mp4", tmp_path) == Found(tmp_path / "000054.mp4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a first line with the columns source, driving"),
        ("source,target\na,b\n", "expected a first line with the columns source, driving"),
        ("source,driving,colour\na,b,c\n", "got source, driving, colour"),
        ("source,driving\n", "expected at least one pair, got none"),
        ("source,driving\na\n", "line 2: expected a source and a driving"),
        ("source,driving\na,b,c\n", "line 2: expected a source and a driving"),
        (
            "source,driving,frame\na,b,-1\n",
            "line 2: frame: expected a whole number, 0 or more, or a picture's name, got '-1'",
        ),
        ('source,driving\n"a,b\n', "cannot be read as a list of pairs"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(HeadwarpError, match=words):
        read_pairs(listed(tmp_path, text))


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"source,driving\n\xff\xfe,b\n")
    with pytest.raises(HeadwarpError, match="cannot be read as a list of pairs"):
        read_pairs(tmp_path / "p.csv")
    with pytest.raises(HeadwarpError, match="no such file"):
        read_pairs(tmp_path / "no.csv")


# ---- on the disk ----


def test_a_foreign_root_is_cut_off_and_the_longest_end_wins(tmp_path: Path) -> None:
    touch(tmp_path, "test/id1.mp4", "vox/test/id1.mp4")
    assert find_entry("/data/them/vox/test/id1.mp4", tmp_path) == Found(tmp_path / "vox/test/id1.mp4")
    assert find_entry("/data/other/test/id1.mp4", tmp_path) == Found(tmp_path / "test/id1.mp4")
    assert find_entry(r"C:\them\test\id1.mp4", tmp_path) == Found(tmp_path / "test/id1.mp4")
    assert find_entry("/data/id9.mp4", tmp_path) is None


def test_a_clip_may_have_another_suffix_or_be_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "id1#a.webm", "id2#b/0000000.png", "photo.png", "dotted.name.mp4")
    assert find_entry("id1#a.mp4", tmp_path) == Found(tmp_path / "id1#a.webm")
    assert find_entry("id1#a", tmp_path) == Found(tmp_path / "id1#a.webm")
    assert find_entry("id2#b.mp4", tmp_path) == Found(tmp_path / "id2#b")
    assert find_entry("photo.jpg", tmp_path) == Found(tmp_path / "photo.png")
    assert find_entry("dotted.name", tmp_path) == Found(tmp_path / "dotted.name.mp4")


def test_a_frame_is_a_picture_of_its_clip_or_a_frame_of_its_file(tmp_path: Path) -> None:
    touch(tmp_path, "test/id1.mp4/0000012.png", "test/id2.mp4", "test/id3/0000001.jpg", "0000012.png")
    folder, file = "/data/x/test/id1.mp4/0000012.png", "/data/x/test/id2.mp4/0000012.png"
    assert find_entry(folder, tmp_path) == Found(tmp_path / "test/id1.mp4/0000012.png")
    assert find_entry(file, tmp_path) == Found(tmp_path / "test/id2.mp4", 12)
    assert find_entry("/data/x/test/id3/0000001.png", tmp_path) == Found(tmp_path / "test/id3/0000001.jpg")
    assert find_entry("/data/x/test/id9.mp4/0000012.png", tmp_path) is None  # not by its number alone
    assert find_entry("0000012.png", tmp_path) == Found(tmp_path / "0000012.png")


def test_an_entry_cannot_leave_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "secret.png", "root/a.png")
    assert find_entry("../secret.png", tmp_path / "root") is None
    assert find_entry("/", tmp_path / "root") is None


LONG = "a" * 300


@pytest.mark.parametrize("name", [f"{LONG}.png", f"{LONG}.mp4/0000001.png", f"{LONG}/b", "a\0b.mp4"])
def test_names_that_no_file_has_are_missing(tmp_path: Path, name: str) -> None:
    assert find_entry(name, tmp_path) is None


def test_what_is_found_and_what_is_missing_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.mp4")
    rows = read_pairs(listed(tmp_path, "source,driving\na.png,b.mp4\na.png,c.mp4\nx.png,c.mp4\n"))
    pairs, missing = find_pairs(rows, tmp_path)
    assert [pair.name for pair in pairs] == ["a>b"]
    assert missing == ["c.mp4", "x.png"]
    with pytest.raises(HeadwarpError, match="--root: expected the folder of the list's files, found none at"):
        find_pairs(rows, tmp_path / "nowhere")


def test_names_of_frames_carry_their_clip(tmp_path: Path) -> None:
    touch(tmp_path, "id1.mp4/0000003.png", "id2.mp4/0000004.png")
    rows = read_pairs(listed(tmp_path, "source,driving\n/d/id1.mp4/0000003.png,/d/id2.mp4/0000004.png\n"))
    (pair,), _ = find_pairs(rows, tmp_path)
    assert pair.name == "id1.mp4/0000003>id2.mp4/0000004"


# ---- the committed list ----


def test_the_committed_list_has_forty_pairs_each_once() -> None:
    pairs = read_pairs(OWN)
    assert len(pairs) == 40
    assert len({(p.source, p.driving) for p in pairs}) == 40
    assert all(p.source.startswith("photos/") and p.driving.startswith("crop256/") for p in pairs)


def test_the_committed_list_is_that_of_its_rule() -> None:
    data = os.environ.get("HEADWARP_TEST_DATA")
    if not data or not (Path(data) / "dev" / "MANIFEST.csv").is_file():
        pytest.skip("HEADWARP_TEST_DATA names no folder with dev/MANIFEST.csv")
    expected = pairs_by_rule(Path(data) / "dev" / "MANIFEST.csv")
    listed_pairs = read_pairs(OWN)
    assert [(p.source, p.driving) for p in listed_pairs] == expected
    found, missing = find_pairs(listed_pairs, Path(data) / "dev")
    assert (len(found), missing) == (40, [])
