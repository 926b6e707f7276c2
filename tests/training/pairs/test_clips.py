"""Which clips are meant, what they are called and who is in them."""

import pytest

from headwarp.geom.errors import HeadwarpError, MediaError
from headwarp.training.data.pairs.clips import find_clips, read_persons, with_persons, without_persons


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def facts(clips):
    return [(clip.name, clip.place, clip.person) for clip in clips]


def test_a_folder_of_clips_holds_a_person_each(tmp_path):
    touch(tmp_path, "b.mov", "a.mp4", "readme.txt", "photo.jpg", ".hidden.mp4")
    assert facts(find_clips(tmp_path)) == [("a", "a", "a"), ("b", "b", "b")]


def test_folders_below_are_persons(tmp_path):
    touch(tmp_path, "ann/one.mp4", "ann/two.mp4", "bob/one.mp4")
    assert facts(find_clips(tmp_path)) == [
        ("ann__one", "ann/one", "ann"),
        ("ann__two", "ann/two", "ann"),
        ("bob__one", "bob/one", "bob"),
    ]


@pytest.mark.parametrize("divided", [True, False])
def test_voxceleb_trees_name_the_person_before_the_first_hash(tmp_path, divided):
    folder = tmp_path / "train" if divided else tmp_path
    touch(folder, "id1#abc#000010#000090.mp4", "id1#xyz#000000#000050.mp4", "id2#q#0#9/0000001.png")
    touch(folder, *(f"id2#q#0#9/{number:07d}.png" for number in range(9)))
    if divided:
        touch(tmp_path / "test", "id3#t#000000#000050.mp4")
    clips = find_clips(tmp_path)
    assert [(clip.name, clip.person) for clip in clips] == [
        ("id1#abc#000010#000090", "id1"),
        ("id1#xyz#000000#000050", "id1"),
        ("id2#q#0#9", "id2"),
    ]
    assert clips[2].path.is_dir()


def test_folders_of_numbered_frames_are_clips(tmp_path):
    touch(tmp_path, *(f"{clip}/{number:03d}.png" for clip in ("walk", "run") for number in range(8)))
    assert [clip.name for clip in find_clips(tmp_path)] == ["run", "walk"]
    assert [clip.name for clip in find_clips(tmp_path / "run")] == ["run"]


def test_one_clip_and_several_places(tmp_path):
    touch(tmp_path, "a/one.mp4", "b/one.mp4")
    assert facts(find_clips(tmp_path / "a/one.mp4")) == [("one", "one", "one")]
    names = [clip.name for clip in find_clips([tmp_path / "a", tmp_path / "b"])]
    assert len(set(names)) == 2


def test_names_that_would_be_one_folder_stay_two(tmp_path):
    touch(tmp_path, "a/b__c.mp4", "a__b/c.mp4")
    clips = find_clips(tmp_path)
    assert len({clip.name for clip in clips}) == 2
    assert all("/" not in clip.name for clip in clips)


def test_nothing_to_train_on_is_told(tmp_path):
    touch(tmp_path, "photo.jpg")
    with pytest.raises(
        MediaError, match=r"expected clips \(.*\.mp4.*\) or folders of numbered frames, found none"
    ):
        find_clips(tmp_path)
    with pytest.raises(MediaError, match="none: expected a clip or a folder of clips"):
        find_clips(tmp_path / "none")


# Lists of persons


def written(path, text):
    path.write_text(text)
    return path


def test_a_list_names_persons_and_the_other_column_stands_in(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    persons = read_persons(
        written(
            tmp_path / "l.csv", "name,person,same_person_as,more\nx/a.mp4,P1,P9,1\nb.mp4,,P2,2\nc.mp4,,,3\n"
        )
    )
    clips = with_persons(find_clips(tmp_path), persons)
    assert [clip.person for clip in clips] == ["P1", "P2", "c", "d"]


def test_an_excluded_list_takes_its_persons_and_its_nameless_clips(tmp_path):
    touch(tmp_path, *(f"{name}.mp4" for name in "abcd"))
    own = read_persons(written(tmp_path / "own.csv", "name,same_person_as\na.mp4,P1\nb.mp4,P7\n"))
    test_set = read_persons(written(tmp_path / "test.csv", "name,person\nclips/one.mp4,P1\nc.mp4,\n"))
    kept, left_out = without_persons(with_persons(find_clips(tmp_path), own), test_set)
    assert [clip.name for clip in kept] == ["b", "d"]
    assert left_out == {"a": "test.csv names its person P1", "c": "test.csv names this clip"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "clip,person\na,P1\n",
            "expected a first line with the columns name and person or same_person_as, got",
        ),
        ("name\na\n", "got name"),
        ("", "got nothing"),
    ],
)
def test_a_list_without_its_columns_is_told(tmp_path, text, told):
    with pytest.raises(HeadwarpError, match=told):
        read_persons(written(tmp_path / "l.csv", text))


def test_a_list_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(HeadwarpError, match=r"cannot be read as a list of persons \(no such file"):
        read_persons(tmp_path / "l.csv")
    (tmp_path / "l.csv").write_bytes(b"name,person\n\xff\xfe,P1\n")
    with pytest.raises(HeadwarpError, match="cannot be read as a list of persons"):
        read_persons(tmp_path / "l.csv")
