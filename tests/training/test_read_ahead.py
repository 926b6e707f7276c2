"""Frames made ahead in a thread: the same frames, the same errors, and no thread left behind."""

from __future__ import annotations

import contextlib
import threading
import weakref

import numpy as np
import pytest
from media_files import moving_frames, write_clip

from headwarp.geom.errors import MediaError
from headwarp.training.data.media import VideoReader, read_ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "headwarp-read-ahead"]


def test_the_same_items_in_the_same_order_made_in_one_other_thread():
    makers = set()

    def items():
        for number in range(50):
            makers.add(threading.get_ident())
            yield number

    assert list(read_ahead(items(), depth=2)) == list(range(50))
    assert len(makers) == 1
    assert threading.get_ident() not in makers
    assert threads() == []
    assert list(read_ahead([])) == []


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise MediaError("the file breaks off")

    ahead = read_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(MediaError, match="the file breaks off"):
        next(ahead)
    assert threads() == []


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_consumer_may_leave_early(taken):
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    with contextlib.closing(read_ahead(items(), depth=2)) as ahead:
        for _ in range(taken):
            next(ahead)
    assert threads() == []
    assert closed == (["headwarp-read-ahead"] if taken else [])  # where it ran, or never begun


def test_a_consumer_that_fails_gets_its_own_error():
    def consume():
        with contextlib.closing(read_ahead(iter(range(100)), depth=1)) as ahead:
            for item in ahead:
                1 / (item - 3)

    with pytest.raises(ZeroDivisionError):
        consume()
    assert threads() == []


def test_no_more_than_a_few_wait():
    made = 0

    def items():
        nonlocal made
        for number in range(100):
            made += 1
            yield number

    for number in read_ahead(items(), depth=3):
        assert made <= number + 3 + 2


def test_items_are_let_go():
    alive: weakref.WeakSet = weakref.WeakSet()

    class Thing:
        pass

    def things():
        for _ in range(40):
            thing = Thing()
            alive.add(thing)
            yield thing
            del thing

    most = 0
    for _ in read_ahead(things(), depth=2):
        most = max(most, len(alive))
    assert most <= 5


def test_damage_is_counted_as_without_it(tmp_path):
    path = write_clip(tmp_path / "c.mp4", moving_frames(40), key_every=5)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(bytes(data[: int(0.9 * len(data))]))
    with VideoReader(path) as plain:
        expected = list(plain)
    with VideoReader(path) as reader, contextlib.closing(read_ahead(reader)) as ahead:
        found = list(ahead)
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert (reader.damaged, reader.truncated) == (plain.damaged, plain.truncated)
    assert reader.truncated
    assert reader.damaged > 0
