"""The manifest: JSON lines, a header and then one for every job, appended and never rewritten."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ....geom.errors import HeadwarpError
from .types import Job, Record

SYNC_SECONDS = 1.0  # between calls of fsync: each takes about 100 times as long as the write
_FIELDS = {field.name for field in dataclasses.fields(Record)}


class Entry(NamedTuple):
    """Where the latest line of a job begins, and what of it decides whether the job is done."""

    offset: int
    source: str
    stamp: str
    ok: bool
    intact: bool


class Manifest:
    """An open manifest that this process alone writes; made by `open_manifest`.

    Attributes:
        path: the file.
        folder: where it lies, and the outputs of its jobs.
        descriptor: the open file; whoever holds it open holds the lock.
        damaged: lines that cannot be read; their jobs are as if they had never been done.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.folder, self.descriptor = path, path.parent, descriptor
        self.damaged = 0
        self._entries: dict[str, Entry] = {}
        self._end = 0
        self._synced, self._unsynced = time.monotonic(), False
        self._scan()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def keys_by_source(self) -> dict[str, str]:
        """The key under which an input was worked on before: source -> key."""
        return {entry.source: key for key, entry in self._entries.items() if entry.source}

    def is_settled(self, job: Job, *, retry_failed: bool = False) -> bool:
        """Whether nothing is left to do: the same input was done and its files are there, or it failed and
        shall not be tried again.
        """
        entry = self._entries.get(job.key)
        if entry is None or (entry.source, entry.stamp) != (job.source, job.stamp):
            return False
        return entry.intact if entry.ok else not retry_failed

    def is_done(self, key: str) -> bool:
        """Whether the job's latest record says that it was done."""
        return key in self._entries and self._entries[key].ok

    def records(self, keys: Iterable[str] | None = None) -> Iterator[Record]:
        """Latest records of the given keys, or of all, read from the file one by one; unknown keys are passed
        over.
        """
        with self.path.open("rb") as file:
            for key in list(self._entries) if keys is None else keys:
                if key in self._entries:
                    file.seek(self._entries[key].offset)
                    yield Record(**json.loads(file.readline()))

    def append(self, record: Record) -> None:
        """Write the line of a job, whole or not at all.

        Raises:
            HeadwarpError: the disk is full, or the file cannot be written any more.
        """
        offset = self._end
        self.write_line({name: getattr(record, name) for name in sorted(_FIELDS)})
        self._entries[record.key] = Entry(offset, record.source, record.stamp, record.ok, record.ok)

    def write_line(self, content: Mapping[str, Any]) -> None:
        """Append one object; for `append` and the header.

        Raises:
            HeadwarpError: the disk does not take it; nothing of it stays.
        """
        data = (json.dumps(content, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")
        try:
            if os.write(self.descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()  # those before
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self.descriptor, self._end)
            raise unwritable(self.path, error) from error
        self._end += len(data)
        self._unsynced = True

    def sync(self) -> None:
        """Bring new lines to the disk itself."""
        if self._unsynced:
            os.fsync(self.descriptor)
            self._synced, self._unsynced = time.monotonic(), False

    def _scan(self) -> None:
        """Read every line once; cut off the last one if it is not whole."""
        with self.path.open("rb") as file:
            for line in iter(file.readline, b""):
                if not line.endswith(b"\n"):
                    self.damaged += 1
                    os.ftruncate(self.descriptor, self._end)
                    break
                if self._end:  # the first line is the header
                    self._take(line)
                self._end += len(line)

    def _take(self, line: bytes) -> None:
        record = parse_record(line)
        if record is None:
            self.damaged += 1
            return
        intact = record.ok and all(
            _size(os.path.join(self.folder, name)) == size for name, size in record.outputs.items()
        )
        entry = Entry(self._end, record.source, record.stamp, record.ok, intact)
        self._entries[record.key] = entry


def parse_record(line: bytes) -> Record | None:
    """A line of the manifest; None if it is damaged."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or set(content) != _FIELDS:
        return None
    texts = all(isinstance(content[name], str) for name in ("key", "source", "stamp"))
    outputs, facts = content["outputs"], content["facts"]
    sound = texts and isinstance(outputs, dict) and isinstance(facts, dict)
    return Record(**content) if sound else None


def without_timings(content: Any) -> Any:
    """A record, or any part of one, without the values under keys that begin with ``seconds``.

    Example:
        >>> without_timings({"a": [{"seconds_per_frame": 0.1, "frames": 2}], "seconds": 0.2})
        {'a': [{'frames': 2}]}
    """
    if isinstance(content, Mapping):
        kept = {key: value for key, value in content.items() if not key.startswith("seconds")}
        return {key: without_timings(value) for key, value in kept.items()}
    if isinstance(content, (list, tuple)):
        return [without_timings(item) for item in content]
    return content


def unwritable(path: Path, error: OSError) -> HeadwarpError:
    """The sentence for a manifest that cannot be written."""
    reason = (error.strerror or str(error)).lower()
    return HeadwarpError(
        f"{path}: cannot be written ({reason}); what was recorded before is kept: mend this, or name another "
        "folder, and run the same command again"
    )


def _size(path: str) -> int:
    """Bytes of a file; -1 if there is none."""
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # a damaged line may hold any name
        return -1
