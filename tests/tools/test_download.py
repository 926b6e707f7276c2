"""Downloads from a server on this machine that breaks off, forgets ranges, lies and refuses."""

import hashlib
import socket

import file_server
import pytest
from small_disk import fill, small_disk

from headwarp.geom.errors import HeadwarpError
from headwarp.tools._download import Patience, download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, pause_s=0.0)


def serving(*plan):
    """See `file_server.serving`; what is served is `CONTENT`."""
    return file_server.serving(*plan, content=CONTENT)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_comes_in_one_go(tmp_path):
    target = tmp_path / "deep" / "w.pth"
    with serving("whole") as (url, behaviour):
        assert download(url, target, size=len(CONTENT), sha256=DIGEST) == DIGEST
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["w.pth"]
    assert behaviour.asked == [None]


def test_a_connection_that_breaks_midway_is_taken_up_where_it_broke(tmp_path):
    target = tmp_path / "w.pth"
    with serving(("cut", 300_000), ("cut", 200_001), "whole") as (url, behaviour):
        assert download(url, target, sha256=DIGEST, patience=QUICK) == DIGEST
    assert target.read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=300000-", "bytes=500001-"]


def test_what_came_is_kept_for_the_next_run(tmp_path):
    target = tmp_path / "w.pth"
    with serving(("cut", 300_000), 503) as (url, behaviour), pytest.raises(HeadwarpError) as caught:
        download(url, target, sha256=DIGEST, patience=QUICK)
    text = str(caught.value)
    assert "broken off (the server answers 503" in text
    assert "0.3 MiB are kept: run again to go on" in text
    assert len(behaviour.asked) == 1 + QUICK.attempts - 1
    assert names(tmp_path) == [".w.pth.part"]
    with serving("whole") as (url, behaviour):
        download(url, target, sha256=DIGEST)
    assert behaviour.asked == ["bytes=300000-"]
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == ["w.pth"]


def test_a_download_that_moves_on_is_never_given_up(tmp_path):
    target = tmp_path / "w.pth"
    with serving(*[("cut", 100_000)] * 12, "whole") as (url, behaviour):
        download(url, target, sha256=DIGEST, patience=Patience(attempts=2, pause_s=0.0))
    assert len(behaviour.asked) == 11
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(tmp_path):
    target = tmp_path / "w.pth"
    with serving(("cut", 300_000), "deaf") as (url, _):
        assert download(url, target, sha256=DIGEST, patience=QUICK) == DIGEST
    assert target.read_bytes() == CONTENT


def test_a_part_that_was_whole_is_only_verified(tmp_path):
    target = tmp_path / "w.pth"
    (tmp_path / ".w.pth.part").write_bytes(CONTENT)
    with serving("whole") as (url, behaviour):
        assert download(url, target, sha256=DIGEST) == DIGEST
    assert behaviour.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_started_anew(tmp_path):
    target = tmp_path / "w.pth"
    (tmp_path / ".w.pth.part").write_bytes(CONTENT + b"more")
    with serving("whole") as (url, _):
        assert download(url, target, sha256=DIGEST, patience=QUICK) == DIGEST


def test_another_hash_is_thrown_away_and_an_older_file_stays(tmp_path):
    target = tmp_path / "w.pth"
    target.write_bytes(b"older")
    with serving("whole") as (url, _), pytest.raises(HeadwarpError) as caught:
        download(url, target, sha256="0" * 64)
    assert f"expected sha256 {'0' * 64}, got {DIGEST}; what came was thrown away" in str(caught.value)
    assert target.read_bytes() == b"older"
    assert names(tmp_path) == ["w.pth"]


def test_the_first_digits_of_a_hash_are_enough_and_none_takes_any(tmp_path):
    with serving("whole") as (url, _):
        assert download(url, tmp_path / "a.pth", sha256=DIGEST[:8].upper()) == DIGEST
        assert download(url, tmp_path / "b.pth") == DIGEST


@pytest.mark.parametrize("code", [403, 404])
def test_a_refusal_that_stays_is_not_tried_again(tmp_path, code):
    with serving(code) as (url, behaviour), pytest.raises(HeadwarpError, match=f"the server answers {code}"):
        download(url, tmp_path / "w.pth", patience=QUICK)
    assert len(behaviour.asked) == 1


def test_offline_says_what_to_do(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/w.pth"
    with pytest.raises(HeadwarpError) as caught:
        download(url, tmp_path / "w.pth", patience=QUICK)
    assert "broken off (Connection refused); is this machine offline?" in str(caught.value)
    assert "get the file on another machine and copy it here" in str(caught.value)


def test_too_little_room_is_said_before_anything_is_read(tmp_path):
    with (
        serving("whole") as (url, behaviour),
        pytest.raises(HeadwarpError, match=r"needs \d+ MiB, got \d+ MiB"),
    ):
        download(url, tmp_path / "w.pth", size=1 << 60)
    assert behaviour.asked == []


def test_a_disk_that_fills_up_is_one_sentence_and_what_came_stays(tmp_path):
    with small_disk(tmp_path / "disk", 2048) as disk, serving("whole") as (url, _):
        fill(disk, spare=600_000)
        with pytest.raises(HeadwarpError, match=r"cannot be written: No space left on device"):
            download(url, disk / "w.pth", patience=QUICK)
        assert (disk / ".w.pth.part").stat().st_size > 0


def test_two_at_once_are_refused(tmp_path):
    import fcntl

    target = tmp_path / "w.pth"
    with (tmp_path / ".w.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(HeadwarpError, match="another download of it is under way"):
            download("http://127.0.0.1:9/w.pth", target)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(HeadwarpError, match="cannot be written"):
        download("http://127.0.0.1:9/w.pth", tmp_path / "file" / "w.pth")
