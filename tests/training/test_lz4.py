"""LZ4 frames: those of the reference implementation, and whatever else comes."""

import contextlib
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lz4_frames import MESH, REFERENCE, TEXT, compressed, stored

from headwarp.geom.errors import MediaError
from headwarp.training.data._lz4 import decompress
from headwarp.training.data._xxhash import xxh32

FRAMES = {name: (content, bytes.fromhex(frame)) for name, (content, frame) in REFERENCE.items()}
EVERY = FRAMES["linked, every checksum, size"][1]


def sized(content, size):
    """A frame that says its size."""
    descriptor = b"\x68\x40" + struct.pack("<Q", size)
    frame = stored(content)
    return frame[:4] + descriptor + bytes([xxh32(descriptor) >> 8 & 0xFF]) + frame[7:]


@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_the_reference_implementation(name):
    content, frame = FRAMES[name]
    assert decompress(frame, limit=len(content)) == content
    assert decompress(frame + frame, limit=1 << 20) == 2 * content  # frames may follow each other


def test_the_checksum_has_its_published_values():
    assert xxh32(b"") == 0x02CC5D05
    assert xxh32(b"a") == 0x550D7456
    assert xxh32(b"abc") == 0x32D153FF
    assert xxh32(b"Nobody inspects the spammish repetition") == 0xE2293B2F


def test_what_is_stored_comes_back_and_skippable_frames_are_skipped():
    assert decompress(stored(b"abc"), limit=3) == decompress(sized(b"abc", 3), limit=3) == b"abc"
    note = struct.pack("<2I", 0x184D2A53, 5) + b"notes"
    assert decompress(note + stored(b"abc") + note + stored(b""), limit=3) == b"abc"


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (b"\x30abc", b"abc"),
        (b"\x12a\x01\x00\x00", b"a" * 7),  # a copy that overlaps what it writes
        (b"\x23ab\x02\x00\x10c", b"ab" * 4 + b"a" + b"c"),
        (b"\xf0\x00" + b"x" * 15, b"x" * 15),
        (b"\x1fa\x01\x00\xff\x02\x00", b"a" * (1 + 15 + 4 + 255 + 2)),
    ],
)
def test_blocks_by_hand(block, content):
    assert decompress(compressed(block), limit=1000) == content


def test_every_cut_is_told():
    for frame in (EVERY, MESH, stored(b"abc")):
        for end in range(len(frame)):
            with pytest.raises(MediaError, match="LZ4: "):
                decompress(frame[:end], limit=1 << 16)


def test_every_changed_byte_of_a_frame_with_checksums_is_told():
    for place in range(4, len(EVERY)):
        changed = bytearray(EVERY)
        changed[place] ^= 0x11
        with pytest.raises(MediaError, match="LZ4: "):
            decompress(bytes(changed), limit=1 << 16)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "expected a frame, got no data"),
        (b"PK\x03\x04" * 4, "expected a frame that begins with 0x184d2204, got 0x4034b50"),
        (compressed(b"\x04\x01\x00\x00"), "a copy from before the data"),
        (compressed(b"\x14a\x02\x00\x00"), "a copy from before the data"),
        (compressed(b"\x14a\x00\x00\x00"), "a copy from before the data"),
        (stored(b"abcd")[:-4] + compressed(b"\x04\x04\x00\x00")[7:], "a copy from before the data"),
        (compressed(b"\xf0" + b"\xff" * 9), "cut off"),
        (stored(b"a", flags=0x61), "need a dictionary"),
        (stored(b"a", flags=0xA0), "another version"),
        (EVERY[:6] + b"\xff" + EVERY[7:], "header does not match its checksum"),
        (EVERY[:-1] + b"\x00", "content does not match its checksum"),
        (sized(b"abc", 4), "expected 4 bytes of content, got 3"),
        (struct.pack("<2I", 0x184D2A53, 6) + b"notes", "cut off"),
    ],
)
def test_what_is_damaged_is_told(data, text):
    with pytest.raises(MediaError) as caught:
        decompress(data, limit=1 << 16)
    assert text in str(caught.value)


def test_in_linked_blocks_a_copy_may_reach_the_block_before():
    linked = stored(b"abcd", flags=0x40)[:-4] + compressed(b"\x04\x04\x00\x00")[7:]
    assert decompress(linked, limit=100) == b"abcd" + b"abcdabcd"


def test_nothing_larger_than_the_limit_comes_out():
    bomb = compressed(b"\x1fa\x01\x00" + b"\xff" * 200 + b"\x00\x00")
    assert len(decompress(bomb, limit=1 << 16)) == 1 + 19 + 200 * 255
    for data in (bomb, stored(TEXT), FRAMES["two blocks, the second copies from the first"][1]):
        with pytest.raises(MediaError, match="LZ4: more content than allowed"):
            decompress(data, limit=100)
    tracemalloc.start()
    with pytest.raises(MediaError, match="LZ4: more content than allowed"):
        decompress(compressed(b"\x1fa\x01\x00" + b"\xff" * 200000 + b"\x00\x00"), limit=1 << 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20  # of 51 MB that it claims
    beyond = compressed(b"\x1fa\x01\x00" + b"\xff" * 300 + b"\x00\x00")  # blocks hold at most 64 kB
    with pytest.raises(MediaError, match="LZ4: more content than allowed"):
        decompress(beyond, limit=1 << 24)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_content_or_an_error(data, inside):
    frame = compressed(data) if inside else data
    with contextlib.suppress(MediaError):
        assert len(decompress(frame, limit=4096)) <= 4096
