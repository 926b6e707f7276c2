"""The checksum that LZ4 frames carry."""

from __future__ import annotations

import struct

_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)
_MASK = 0xFFFFFFFF


def xxh32(data: bytes | memoryview) -> int:
    """The 32-bit xxHash, seed 0.

    Example:
        >>> f"{xxh32(b''):08x} {xxh32(b'abc'):08x}"
        '02cc5d05 32d153ff'
    """
    one, two, three, four, five = _PRIMES
    whole = len(data) // 16
    if whole:
        lanes = [(one + two) & _MASK, two, 0, -one & _MASK]
        for words in struct.iter_unpack("<4I", data[: 16 * whole]):
            for k, word in enumerate(words):
                lanes[k] = _turn(lanes[k] + word * two, 13) * one & _MASK
        value = sum(_turn(lane, turn) for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True))
    else:
        value = five
    value = value + len(data) & _MASK
    rest = bytes(data[16 * whole :])
    for (word,) in struct.iter_unpack("<I", rest[: len(rest) // 4 * 4]):
        value = _turn(value + word * three, 17) * four & _MASK
    for byte in rest[len(rest) // 4 * 4 :]:
        value = _turn(value + byte * five, 11) * one & _MASK
    value = (value ^ value >> 15) * two & _MASK
    value = (value ^ value >> 13) * three & _MASK
    return value ^ value >> 16


def _turn(value: int, bits: int) -> int:
    value &= _MASK
    return (value << bits | value >> 32 - bits) & _MASK
