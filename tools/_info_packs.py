"""Packs for `headwarp info`: tar shards by their headers, safetensors by theirs."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..geom.errors import HeadwarpError
from ._info_arrays import opened
from ._info_meshes import parsed

BLOCK = 512
MAX_HEADER = 100 << 20  # bytes, safetensors' own limit
_MAX_SHOWN = 60
_MAX_NAME = 1 << 16


def explain_tar(path: Path) -> dict[str, Any]:
    """A tar shard: samples are files that share a name up to its first dot (WebDataset)."""
    samples: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    first = None
    total = 0
    with opened(path) as file:
        for name, size in _members(path, file):
            place = PurePosixPath(name)
            stem, _, kind = place.name.partition(".")
            samples[str(place.parent / stem)] += 1
            kinds[kind or "(none)"] += 1
            total += size
            first = first or name
    return {
        "kind": "tar shard",
        "samples": len(samples),
        "files": samples.total(),
        "by_suffix": dict(kinds.most_common(20)),
        "bytes": total,
        "first": first,
    }


def is_tar(head: bytes) -> bool:
    """Whether the first 512 bytes are a tar header."""
    return len(head) == BLOCK and head[257:262] == b"ustar"


def _members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, int]]:
    """Names and sizes of the files; contents are skipped."""
    length = path.stat().st_size
    long_name: str | None = None
    while True:
        place = file.tell()
        block = file.read(BLOCK)
        if not block.strip(b"\0"):
            return
        size = _tar_number(block[124:136]) if len(block) == BLOCK else None
        kind = block[156:157]
        if size is None or _checksum(block) != _tar_number(block[148:156]) or file.tell() + size > length:
            raise HeadwarpError(f"{path}: not a sound tar: it is damaged or cut off at byte {place}")
        start = file.tell()
        if kind == b"L":
            long_name = file.read(min(size, _MAX_NAME)).rstrip(b"\0").decode("utf-8", "replace")
        elif kind == b"x":
            named = re.search(rb"\d+ path=([^\n]+)\n", file.read(min(size, _MAX_NAME)))
            long_name = named[1].decode("utf-8", "replace") if named else None
        elif kind in (b"0", b"\0", b"7"):
            prefix, name = block[345:500].rstrip(b"\0"), block[:100].rstrip(b"\0")
            short = (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")
            yield long_name or short, size
        if kind not in (b"x", b"g", b"L", b"K"):
            long_name = None
        file.seek(start + -(-size // BLOCK) * BLOCK)


def _checksum(block: bytes) -> int:
    """The sum of the header's bytes, its own field taken as blanks."""
    return sum(block[:148]) + 8 * 32 + sum(block[156:])


def _tar_number(field: bytes) -> int | None:
    """Octal digits, or base 256 with the top bit set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return None


def safetensors_header(head: bytes) -> int | None:
    """The length of the header of a safetensors file that begins like this; None for another file."""
    if len(head) < 9 or head[8:9] != b"{":
        return None
    (size,) = struct.unpack_from("<Q", head)
    return size if size <= MAX_HEADER else None


def explain_safetensors(path: Path, size: int) -> dict[str, Any]:
    """A safetensors file: its header alone; of our checkpoints what they were made with."""
    with opened(path) as file:
        file.seek(8)
        text = file.read(size)
    header = parsed(path, text)
    if len(text) < size or not isinstance(header, dict):
        raise HeadwarpError(f"{path}: not a sound safetensors file: its header is cut off or damaged")
    metadata = header.pop("__metadata__", None) or {}
    tensors, numbers, end = {}, 0, 0
    for name, entry in header.items():
        try:
            shape = tuple(int(n) for n in entry["shape"])
            tensors[name] = f"{entry['dtype']} {shape}"
            end = max(end, int(entry["data_offsets"][1]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise HeadwarpError(f"{path}: not a sound safetensors file: tensor {name[:60]!r}") from error
        count = 1
        for extent in shape:
            count *= extent
        numbers += count
    if path.stat().st_size < 8 + size + end:
        raise HeadwarpError(
            f"{path}: expected {8 + size + end} bytes, got {path.stat().st_size}; it is cut off"
        )
    made = parsed(path, metadata["headwarp"].encode()) if isinstance(metadata.get("headwarp"), str) else None
    shown = dict(list(tensors.items())[:_MAX_SHOWN])
    if len(tensors) > _MAX_SHOWN:
        shown["..."] = f"{len(tensors) - _MAX_SHOWN} more"
    kept = "evaluation" in metadata
    kind = "what headwarp evaluate keeps for a page" if kept else "checkpoint" if made else "safetensors"
    return {
        "kind": kind,
        "made_with": made,
        "metadata": None if made or kept else metadata or None,
        "parameters": numbers,
        "tensors": len(tensors),
        "arrays": shown,
    }
