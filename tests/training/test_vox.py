"""Names and folders of the VoxCeleb layout."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwarp.geom.errors import HeadwarpError, MediaError
from headwarp.training.data.vox import ClipName, clean_part, format_name, list_clips, parse_name

PART = st.text(string.ascii_letters + string.digits + "._-+ @é人", min_size=1, max_size=30)


@given(PART, PART, st.integers(0, 10**7), st.integers(1, 10**4), st.sampled_from(["", ".mp4", ".MOV"]))
def test_a_name_survives_the_round_trip(
    identity: str, video: str, start: int, length: int, suffix: str
) -> None:
    name = ClipName(identity, video, start, start + length)
    assert parse_name(format_name(name) + suffix) == name


def test_published_names() -> None:
    vox = parse_name("id10068#vqs1ZvoJ4XY#010464#010913.mp4")
    assert vox == ClipName("id10068", "vqs1ZvoJ4XY", 10464, 10913)
    assert format_name(vox) == "id10068#vqs1ZvoJ4XY#010464#010913"
    # the spelling of crop_vox: utterance and a running number
    assert parse_name("id10001#Y8hIVOBuels#00001.txt#003.mp4") == ClipName(
        "id10001", "Y8hIVOBuels#00001.txt#003", None, None
    )
    assert parse_name("me.mp4") == ClipName("me", "", None, None)
    assert parse_name("a#b#000009#000003.mp4") == ClipName("a", "b#000009#000003", None, None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (ClipName("", "v", 0, 1), "identity: expected text"),
        (ClipName("a#b", "v", 0, 1), "identity: expected text"),
        (ClipName("a", "v/w", 0, 1), "video: expected text"),
        (ClipName("a", "v", 3, 3), "expected 0 <= start < end, got 3 and 3"),
        (ClipName("a", "v", -1, 3), "expected 0 <= start < end"),
        (ClipName("a", "v", None, None), "expected 0 <= start < end"),
    ],
)
def test_what_cannot_be_a_name(name: ClipName, text: str) -> None:
    with pytest.raises(HeadwarpError, match=text):
        format_name(name)


@given(st.text(max_size=200))
def test_cleaned_parts_always_fit_into_a_name(text: str) -> None:
    part = clean_part(text)
    assert len(part.encode()) <= 80
    assert not part.startswith(".")
    assert parse_name(format_name(ClipName(part, part, 0, 1))).identity == part


def test_long_names_stay_different() -> None:
    assert clean_part("a" * 200 + "b") != clean_part("a" * 200 + "c")
    assert clean_part("q8UxNj6mBfA") == "q8UxNj6mBfA"


def test_folders(tmp_path: Path) -> None:
    for name in (
        "train/b#v#000000#000064.mp4",
        "test/a#v#000000#000064.mp4",
        "train/.tmp.mp4",
        "train/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "train" / "c#v#000000#000064.mp4").mkdir()  # frames as pictures
    clips = list_clips(tmp_path)
    assert [(clip.partition, clip.name.identity) for clip in clips] == [
        ("train", "b"),
        ("train", "c"),
        ("test", "a"),
    ]
    assert [clip.name.identity for clip in list_clips(tmp_path, partition="test")] == ["a"]
    assert [clip.partition for clip in list_clips(tmp_path / "train")] == [None, None]


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such folder"):
        list_clips(tmp_path / "absent")
    with pytest.raises(MediaError, match="holds no clips"):
        list_clips(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(MediaError, match="expected a folder test in it, found train"):
        list_clips(tmp_path, partition="test")
    with pytest.raises(HeadwarpError, match="expected train or test"):
        list_clips(tmp_path, partition="dev")
    (tmp_path / "train" / "#v.mp4").write_bytes(b"")
    with pytest.raises(HeadwarpError, match="nothing before the first '#'"):
        list_clips(tmp_path)
