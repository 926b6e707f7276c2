"""Valid files made hostile, and a watch on what reads them: no other error, no hang, no memory, no code."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from headwarp.geom.errors import HeadwarpError

Edit = tuple[str, int, int]
_LIES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_WORDS = (
    b"-1",
    b"0",
    b"1e999",
    b"nan",
    b"99999999999999999999",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"..",
    b"\xff",
    b"",
    b'"\\ud800"',
)
_ESCAPES = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.find_class", "webbrowser.", "pty.")
_HARMLESS = {"os.listdir", "os.scandir", "os.stat"}
_IN_ITS_PLACE = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "open"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _flip(data: bytearray, place: int, value: int) -> None:
    data[place] ^= 1 << value % 8


def _cut(data: bytearray, place: int, value: int) -> None:
    del data[place:]


def _drop(data: bytearray, place: int, value: int) -> None:
    del data[place : place + 1 + value % 64]


def _repeat(data: bytearray, place: int, value: int) -> None:
    data[place:place] = data[place : place + 1 + value % 64]


def _blank(data: bytearray, place: int, value: int) -> None:
    span = slice(place, place + 1 + value % 16)
    data[span] = bytes([0xFF if value & 1 << 20 else 0]) * len(data[span])


def _lie(data: bytearray, place: int, value: int) -> None:
    """A length, count or offset that is not true: 1 to 8 bytes, either order."""
    width, order = 1 << value % 4, "big" if value & 16 else "little"
    number = _LIES[(value >> 5) % len(_LIES)] % (1 << 8 * width)
    data[place : place + width] = number.to_bytes(width, order)


def _word(data: bytearray, place: int, value: int) -> None:
    """A number or word of a text in place of another."""
    match = re.compile(rb"[\w.+-]+").search(data, place)
    if match:
        data[match.start() : match.end()] = _WORDS[value % len(_WORDS)]


def _nest(data: bytearray, place: int, value: int) -> None:
    """Brackets that a parser follows until its stack ends."""
    data[place:place] = (b"[", b'{"a":', b"((", b"(lp0\n")[value % 4] * 5000


def _long(data: bytearray, place: int, value: int) -> None:
    """More digits, letters or line ends in a row than parsers have room for."""
    data[place:place] = (b"9" * 140_000, b"a" * 140_000, b"," * 140_000, b"\n" * 20_000)[value % 4]


_EDITS: dict[str, Callable[[bytearray, int, int], None]] = {
    "flip": _flip,
    "cut": _cut,
    "drop": _drop,
    "repeat": _repeat,
    "blank": _blank,
    "lie": _lie,
    "word": _word,
    "nest": _nest,
    "long": _long,
}


def edits(most: int = 4) -> st.SearchStrategy[list[Edit]]:
    """Lists of changes; places are taken modulo the length, small ones lie in the header."""
    place = st.one_of(st.integers(0, 400), st.integers(0, 2**31))
    one = st.tuples(st.sampled_from(sorted(_EDITS)), place, st.integers(0, 2**24))
    return st.lists(one, min_size=1, max_size=most)


def edited(data: bytes, changes: Sequence[Edit]) -> bytes:
    """The file after the changes, one after the other."""
    content = bytearray(data)
    for name, place, value in changes:
        if content:
            _EDITS[name](content, place % len(content), value)
    return bytes(content)


def repacked(data: bytes, changes: Sequence[Edit]) -> bytes:
    """A zip archive whose members are changed, and whose checksums are right again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        chosen = names[changes[0][1] % len(names)]
        for name in names:
            content = old.read(name)
            new.writestr(name, edited(content, changes) if name == chosen else content)
    return out.getvalue()


def resealed(data: bytes, changes: Sequence[Edit]) -> bytes:
    """A tar archive with changes in the headers of its members, whose checksums are right again."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        starts = [member.offset for member in archive.getmembers()]
    content = bytearray(data)
    for name, place, value in changes:
        if name in ("flip", "blank", "lie", "word"):
            header = content[(start := starts[place % len(starts)]) : start + 512]
            _EDITS[name](header, value % 160 if value & 1 else 124 + value % 12, place)
            header = (header + bytes(512))[:512]
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % (sum(header) & 0o777777)
            content[start : start + 512] = header
    return bytes(content)


def bomb(member: str, megabytes: int, *, head: bytes = b"") -> bytes:
    """A small zip archive with a member of so many megabytes."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(member, "w") as file,
    ):
        file.write(head)
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
    return out.getvalue()


def npy_header(shape: str, dtype: str = "<f4") -> bytes:
    """An ``.npy`` header that says anything, without the array."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


class Breach(AssertionError):
    """A reader did what no file may make it do."""


_watching: tuple[str, list[str]] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Python tells of every file, process and socket that is opened; the folder of the test is free."""
    if _watching is None or event in _HARMLESS or not event.startswith((*_ESCAPES, "open")):
        return
    place, events = _watching
    if event == "open" and not (arguments[2] or 0) & _WRITES:
        return
    if event in _IN_ITS_PLACE and _is_within(arguments[0], place):
        return
    events.append(f"{event} {arguments[0] if arguments else ''}")


def _is_within(path: Any, place: str) -> bool:
    return isinstance(path, int) or os.path.abspath(os.fsdecode(path)).startswith(place)


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched(place: Path, *, seconds: int = 20, megabytes: float = 64.0) -> Iterator[None]:
    """Let a reader raise `HeadwarpError` and nothing else, in its time and memory, without running anything.

    Args:
        place: the one folder in which it may write.
        seconds: its time.
        megabytes: its memory: what Python and numpy allocate.

    Raises:
        Breach: it did otherwise.
    """
    global _watching

    def too_long(*_: object) -> None:
        raise Breach(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    tracemalloc.start()
    events: list[str] = []
    _watching = os.path.abspath(place), events
    try:
        yield
    except HeadwarpError as error:
        text = str(error)
        if not text or len(text) > 2000:
            raise Breach(f"an error text of {len(text)} characters") from error
    finally:
        _watching = None
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if events:
        raise Breach(f"did {', '.join(events)}")
    if peak > megabytes * 2**20:
        raise Breach(f"took {peak / 2**20:.0f} MB")


def read_hostile(
    data: bytes, path: Path, read: Callable[[Path], object], *, seconds: int = 10, megabytes: float = 64.0
) -> None:
    """Write the bytes and let them be read under watch."""
    path.write_bytes(data)
    with watched(path.parent, seconds=seconds, megabytes=megabytes):
        read(path)
