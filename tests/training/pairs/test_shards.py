"""Blocks come back by key, whoever wrote them; what is torn or damaged is missing."""

import errno
import os
import subprocess
import sys

import pytest

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.pairs import shards
from headwarp.training.data.pairs.shards import ShardStore


def test_blocks_come_back_and_the_last_of_a_key_counts(tmp_path):
    store = ShardStore(tmp_path)
    store.put((1, 2), b"one")
    store.put((1, 3), b"two" * 1000)
    store.put((1, 2), b"three")
    for seen in (store, ShardStore(tmp_path)):
        assert (seen.get((1, 2)), seen.get((1, 3)), seen.get((9, 9))) == (b"three", b"two" * 1000, None)
        assert len(seen) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_block_is_a_block(tmp_path):
    ShardStore(tmp_path).put((0, 0), b"")
    assert ShardStore(tmp_path).get((0, 0)) == b""


def test_a_folder_that_is_not_there_holds_nothing_and_is_made_by_the_first_block(tmp_path):
    store = ShardStore(tmp_path / "a" / "b")
    assert store.get((0, 0)) is None
    assert not (tmp_path / "a").exists()
    store.put((0, 0), b"x")
    assert store.get((0, 0)) == b"x"


def test_what_another_writer_appends_later_is_found(tmp_path):
    one, other = ShardStore(tmp_path), ShardStore(tmp_path)
    one.put((0, 0), b"a")
    assert other.get((0, 0)) == b"a"
    one.put((0, 1), b"b")
    other.put((0, 2), b"c")
    assert (other.get((0, 1)), one.get((0, 2))) == (b"b", b"c")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("left", range(1, 30))
def test_a_torn_tail_is_missing_and_what_stands_before_it_is_not(tmp_path, left):
    store = ShardStore(tmp_path)
    store.put((0, 0), b"whole")
    store.put((0, 1), b"0123456789")  # 20 bytes of header and 10
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 30 + left])
    seen = ShardStore(tmp_path)
    assert (seen.get((0, 0)), seen.get((0, 1))) == (b"whole", None)


def test_a_block_that_is_finished_later_is_found_then(tmp_path):
    store = ShardStore(tmp_path)
    store.put((0, 0), b"0123456789")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    seen = ShardStore(tmp_path)
    assert seen.get((0, 0)) is None
    path.write_bytes(whole)
    assert seen.get((0, 0)) == b"0123456789"


def test_a_damaged_block_is_missing_and_can_be_put_again(tmp_path):
    store = ShardStore(tmp_path)
    store.put((0, 0), b"0123456789")
    store.put((0, 1), b"next")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes().replace(b"345", b"xyz"))
    for seen in (store, ShardStore(tmp_path)):
        assert seen.get((0, 0)) is None
        assert seen.get((0, 1)) == b"next"
    store.put((0, 0), b"again")
    assert ShardStore(tmp_path).get((0, 0)) == b"again"


def test_other_files_are_left_alone_and_foreign_bytes_hold_nothing(tmp_path):
    (tmp_path / "notes.txt").write_text("x" * 100)
    (tmp_path / "foreign.shard").write_bytes(os.urandom(200))
    store = ShardStore(tmp_path)
    assert len(store) == 0
    store.put((0, 0), b"x")
    assert store.get((0, 0)) == b"x"


def test_a_file_that_goes_away_is_missing(tmp_path):
    store = ShardStore(tmp_path)
    store.put((0, 0), b"x")
    for path in tmp_path.iterdir():
        path.unlink()
    assert store.get((0, 0)) is None


def test_a_file_that_goes_away_while_it_is_looked_at_hides_no_other(tmp_path, monkeypatch):
    ShardStore(tmp_path).put((0, 0), b"x")
    (tmp_path / "0.shard").symlink_to(tmp_path / "gone")
    assert ShardStore(tmp_path).get((0, 0)) == b"x"
    monkeypatch.setattr(shards.os.path, "getsize", lambda _: 100)  # there a moment ago
    assert ShardStore(tmp_path).get((0, 1)) is None


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HeadwarpError, match=r"what was computed cannot be kept there \(.*\); free some disk"):
        ShardStore(tmp_path / "file" / "store").put((0, 0), b"x")


def test_a_full_disk_is_told_and_leaves_no_half_block(tmp_path, monkeypatch):
    store = ShardStore(tmp_path)
    store.put((0, 0), b"whole")

    class HalfFile:
        def __init__(self, path, mode, buffering):
            self.file = open(path, mode, buffering=buffering)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def tell(self):
            return self.file.tell()

        def write(self, block):
            return self.file.write(block[: len(block) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(shards, "open", HalfFile, raising=False)
        with pytest.raises(HeadwarpError, match=os.strerror(errno.ENOSPC).lower()):
            store.put((0, 1), b"0123456789")
    store.put((0, 2), b"later")
    seen = ShardStore(tmp_path)
    assert (seen.get((0, 0)), seen.get((0, 1)), seen.get((0, 2))) == (b"whole", None, b"later")


def test_a_killed_writer_leaves_what_it_finished(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from headwarp.training.data.pairs.shards import ShardStore\n"
        "store = ShardStore(Path(sys.argv[1]))\n"
        "for number in range(5): store.put((0, number), bytes([number]) * 1000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    seen = ShardStore(tmp_path)
    assert [seen.get((0, number)) for number in range(5)] == [bytes([n]) * 1000 for n in range(5)]
