"""Shards are read member by member, and what is wrong with them stays with them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tar_files import write_shard

from headwarp.geom.errors import HeadwarpError, MediaError
from headwarp.training.data.inputs import list_inputs, opened, output_names, shard_members

MP4 = {".mp4", ".jpg"}


def test_members_are_inputs_and_are_read_without_unpacking(tmp_path):
    members = {
        "a/k1.mp4": b"one" * 700,
        "a/k1.json": b"{}",
        "k2.jpg": b"two",
        "._k2.jpg": b"",
        "k3.cls": b"3",
    }
    shard = write_shard(tmp_path / "shard-000123.tar", members)
    found = list(list_inputs([shard]))
    assert output_names(found) == ["shard-000123/a/k1", "shard-000123/k2"]
    work = tmp_path / "work"
    work.mkdir()
    for each, data in zip(found, (b"one" * 700, b"two"), strict=True):
        with opened(each, work) as path:
            assert path.read_bytes() == data
            assert path.suffix == os.path.splitext(each.place)[1]
        assert list(work.iterdir()) == []


def test_shards_in_a_tree_are_taken(tmp_path):
    (tmp_path / "in" / "train").mkdir(parents=True)
    for number in range(2):
        write_shard(tmp_path / "in" / "train" / f"{number}.tar", {"x.mp4": b"x"})
    assert output_names(list(list_inputs([tmp_path / "in"]))) == ["train/0/x", "train/1/x"]


def test_equal_names_in_a_shard_are_two_inputs(tmp_path):
    shard = tmp_path / "s.tar"
    write_shard(shard, {"x.mp4": b"1", "./x.mp4": b"22"})
    names = output_names(list(list_inputs([shard])))
    assert len(set(names)) == 2


@pytest.mark.parametrize("name", ["../x.mp4", "/etc/x.mp4", "a/../../x.mp4", "..\\x.mp4", "C:\\x.mp4"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    bad, good = list_inputs([write_shard(tmp_path / "s.tar", {name: b"x", "good.mp4": b"x"})])
    assert bad.problem is not None
    assert "leads out of the shard" in bad.problem
    assert good.problem is None
    assert all(".." not in each.split("/") and not each.startswith("/") for each in output_names([bad, good]))


def test_a_link_is_refused(tmp_path):
    (found,) = list_inputs([write_shard(tmp_path / "s.tar", {}, links={"x.mp4": "/etc/passwd"})])
    assert found.problem == f"{tmp_path}/s.tar:x.mp4: is a link or no plain file"
    with pytest.raises(MediaError, match="is a link"), opened(found, tmp_path):
        pass


def test_a_damaged_header_is_told_and_what_stands_before_is_taken(tmp_path):
    shard = write_shard(tmp_path / "s.tar", {f"{n}.mp4": b"x" for n in range(4)})
    data = bytearray(shard.read_bytes())
    data[2 * 1024 : 2 * 1024 + 8] = b"\xff" * 8  # each member takes two blocks of 512 bytes
    shard.write_bytes(data)
    *taken, damage = list_inputs([shard])
    assert [found.place for found in taken] == ["s/0.mp4", "s/1.mp4"]
    assert damage.problem is not None
    assert f"{shard}: is damaged" in damage.problem
    assert output_names([damage]) == ["s"]


@pytest.mark.parametrize(("kept", "sound"), [(512 + 100, 0), (512 + 1024 + 512 + 10, 1), (700, 0)])
def test_a_shard_that_is_cut_off_is_told(tmp_path, kept, sound):
    shard = write_shard(tmp_path / "s.tar", {"0.mp4": b"x" * 1000, "1.mp4": b"x" * 1000})
    shard.write_bytes(shard.read_bytes()[:kept])
    found = list(list_inputs([shard]))
    assert sum(each.problem is None for each in found) == sound
    assert any("cut off" in (each.problem or "") or "damaged" in (each.problem or "") for each in found)


def test_a_shard_cut_after_listing_is_told(tmp_path):
    shard = write_shard(tmp_path / "s.tar", {"0.mp4": b"x" * 1000})
    (found,) = list_inputs([shard])
    shard.write_bytes(shard.read_bytes()[:900])
    with pytest.raises(MediaError, match=r"s\.tar:0\.mp4: is cut off"), opened(found, tmp_path):
        pass


@pytest.mark.parametrize("data", [b"", b"no tar at all", b"\0" * 10240])
def test_what_is_no_shard_is_told(tmp_path, data):
    shard = tmp_path / "s.tar"
    shard.write_bytes(data)
    (found,) = list_inputs([shard])
    assert found.problem is not None


def test_a_compressed_shard_gives_the_remedy(tmp_path):
    shard = write_shard(tmp_path / "s.tar", {"0.mp4": b"x"})
    (tmp_path / "s.tar.gz").write_bytes(gzip.compress(shard.read_bytes()))
    (found,) = list_inputs([tmp_path / "s.tar.gz"])
    assert found.problem is not None
    assert found.problem.endswith("unpack it to .tar")


def test_errors_name_the_member_and_not_the_copy(tmp_path):
    (found,) = list_inputs([write_shard(tmp_path / "s.tar", {"k.mp4": b"x"})])
    with pytest.raises(HeadwarpError, match=r"s\.tar:k\.mp4: is no clip"), opened(found, tmp_path) as path:
        raise HeadwarpError(f"{path}: is no clip")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_never_crashes(tmp_path_factory, data):
    folder: Path = tmp_path_factory.mktemp("tar")
    shard = write_shard(folder / "s.tar", {"0.mp4": b"a" * 600, "b" * 120 + ".mp4": b"b", "c.jpg": b"c"})
    content = bytearray(shard.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 4500))] = data.draw(st.integers(0, 255))
    shard.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for found in shard_members(os.fspath(shard), MP4):
        assert "/../" not in f"/{found.place}/"
        if found.problem is None:
            with opened(found, folder) as path:
                assert path.stat().st_size == found.member.size <= len(content)
