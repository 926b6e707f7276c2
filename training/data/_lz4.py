"""LZ4 frames, read: a decoder of the published format that is safe on any bytes and writes within a limit."""

from __future__ import annotations

import struct

from ...geom.errors import MediaError
from ._xxhash import xxh32

_MAGIC, _SKIPPABLE = 0x184D2204, 0x184D2A50  # the second with any last half byte
_BLOCK_BYTES = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}


def decompress(data: bytes, *, limit: int) -> bytes:
    """The content of one or more frames after each other.

    Args:
        data: the whole file.
        limit: most bytes that may come out.

    Raises:
        MediaError: not LZ4, cut off, damaged, with a dictionary, or larger than ``limit``.
    """
    out, at = bytearray(), 0
    try:
        while at < len(data):
            at = _frame(memoryview(data), at, out, limit)
    except (struct.error, IndexError) as error:
        raise MediaError("LZ4: the data is cut off") from error
    if not data:
        raise MediaError("LZ4: expected a frame, got no data")
    return bytes(out)


def _frame(data: memoryview, at: int, out: bytearray, limit: int) -> int:
    """Append a frame's content; where the next one begins."""
    (magic,) = struct.unpack_from("<I", data, at)
    if magic & ~0xF == _SKIPPABLE:
        (size,) = struct.unpack_from("<I", data, at + 4)
        return at + 8 + len(_part(data, at + 8, size))
    if magic != _MAGIC:
        raise MediaError(f"LZ4: expected a frame that begins with {_MAGIC:#x}, got {magic:#x}")
    flags, descriptor = data[at + 4], data[at + 5]
    if flags >> 6 != 1 or flags & 2 or descriptor & 0x8F or descriptor >> 4 not in _BLOCK_BYTES:
        raise MediaError("LZ4: the frame is of another version, or its header is damaged")
    if flags & 1:
        raise MediaError("LZ4: frames that need a dictionary are not read")
    end = at + 6 + (8 if flags & 8 else 0)
    if data[end] != xxh32(_part(data, at + 4, end - at - 4)) >> 8 & 0xFF:
        raise MediaError("LZ4: the header does not match its checksum")
    first, size = len(out), struct.unpack_from("<Q", data, at + 6)[0] if flags & 8 else None
    at = _blocks(data, end + 1, out, limit, flags=flags, most=_BLOCK_BYTES[descriptor >> 4])
    if flags & 4:
        if struct.unpack_from("<I", data, at)[0] != xxh32(bytes(out[first:])):
            raise MediaError("LZ4: the content does not match its checksum")
        at += 4
    if size is not None and size != len(out) - first:
        raise MediaError(f"LZ4: expected {size} bytes of content, got {len(out) - first}")
    return at


def _blocks(data: memoryview, at: int, out: bytearray, limit: int, *, flags: int, most: int) -> int:
    begin = len(out)
    while True:
        (word,) = struct.unpack_from("<I", data, at)
        at += 4
        if word == 0:
            return at
        size, start = word & 0x7FFFFFFF, len(out)
        block = _part(data, at, size)
        if word >> 31:
            out += block
        else:
            _block(block, out, start if flags & 0x20 else begin, min(limit, start + most))
        if len(out) > limit or len(out) - start > most:
            raise MediaError(f"LZ4: more content than allowed ({min(limit, start + most)} bytes so far)")
        at += size
        if flags & 0x10:
            if struct.unpack_from("<I", data, at)[0] != xxh32(block):
                raise MediaError("LZ4: a block does not match its checksum")
            at += 4


def _block(block: memoryview, out: bytearray, begin: int, limit: int) -> None:
    """Append a block: runs of literals, each but the last before a copy of at least four bytes from above."""
    at = 0
    while True:
        token = block[at]
        count, at = _length(block, at + 1, token >> 4)
        out += _part(block, at, count)
        at += count
        if at == len(block):
            return
        (offset,) = struct.unpack_from("<H", block, at)
        count, at = _length(block, at + 2, token & 15)
        count += 4
        source = len(out) - offset
        if not offset or source < begin:
            raise MediaError("LZ4: a copy from before the data; it is damaged")
        if len(out) + count > limit:
            raise MediaError(f"LZ4: more content than allowed ({limit} bytes so far)")
        piece = out[source : source + count]
        out += (piece * (count // len(piece) + 1))[:count]  # a copy may overlap what it writes


def _length(block: memoryview, at: int, first: int) -> tuple[int, int]:
    if first < 15:
        return first, at
    while True:
        value = block[at]
        first, at = first + value, at + 1
        if value < 255:
            return first, at


def _part(data: memoryview, at: int, size: int) -> memoryview:
    if at + size > len(data):
        raise IndexError(size)
    return data[at : at + size]
