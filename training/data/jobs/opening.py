"""Opening a manifest: locked, of this kind, version and options; or the sentence that says why not."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .... import __version__
from ....geom.errors import HeadwarpError
from ..atomic import plain
from ._lock import try_lock
from ._staging import clear_staging
from .manifest import Manifest, unwritable

VERSION = 1
LOCK_SECONDS = 5.0  # workers of a killed run are gone long before


@contextlib.contextmanager
def open_manifest(
    path: str | os.PathLike[str], *, kind: str, fingerprint: Mapping[str, Any], restart: bool = False
) -> Iterator[Manifest]:
    """The manifest of an output folder, made or continued, for this process alone.

    Args:
        path: the file, in the output folder.
        kind: what is done, such as ``fit``; a manifest of another kind is refused.
        fingerprint: all that the outputs depend on beside the inputs: options, model, version of the format.
        restart: begin anew; an older manifest stays beside it under a numbered name.

    Raises:
        HeadwarpError: outputs of other options, another kind or a newer version are in the folder; another
            run works there; or it cannot be written.
    """
    path = Path(path)
    fingerprint = json.loads(json.dumps(plain(fingerprint)))
    header = {"manifest": VERSION, "kind": kind, "headwarp": __version__, "fingerprint": fingerprint}
    descriptor = _open_locked(path)
    try:
        if restart and os.fstat(descriptor).st_size:
            descriptor = _set_aside(path, descriptor)
        elif not _continues(path, header):
            os.ftruncate(descriptor, 0)
        manifest = Manifest(path, descriptor)
        if os.fstat(descriptor).st_size == 0:
            manifest.write_line(header)
        clear_staging(path.parent)
        yield manifest
        manifest.sync()
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    """The file open for appending and locked; it is the one that has the name."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise unwritable(path, error) from error
        if not try_lock(descriptor, wait=LOCK_SECONDS):
            os.close(descriptor)
            raise HeadwarpError(
                f"{path}: another run works in this folder; wait for its end, or name another folder"
            )
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # set aside by another run while this one waited


def _set_aside(path: Path, descriptor: int) -> int:
    """Rename the manifest to the first free number and open a new one."""
    number = 1
    while (old := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    os.rename(path, old)
    os.close(descriptor)
    return _open_locked(path)


def _continues(path: Path, header: Mapping[str, Any]) -> bool:
    """Whether the manifest goes on with this run; False if nothing is in it that could be lost.

    Raises:
        HeadwarpError: it belongs to something else.
    """
    with path.open("rb") as file:
        first = file.readline()
        records = bool(file.read(1))
    if not first or (not first.endswith(b"\n") and not records):
        return False  # never begun, or killed while its first line was being written
    found = _header(path, first)
    if found["kind"] != header["kind"]:
        raise HeadwarpError(
            f"{path}: expected the manifest of {header['kind']!r}, got that of {found['kind']!r}; "
            "name another folder"
        )
    differences = _differences(found["fingerprint"], header["fingerprint"])
    if not differences:
        return True
    if not _any_done(path):
        return False
    raise HeadwarpError(
        f"{path}: what lies here was made otherwise ({'; '.join(differences)}); name another folder, or add "
        "--restart to make everything anew"
    )


def _header(path: Path, line: bytes) -> Mapping[str, Any]:
    remedy = "name another folder, or add --restart to begin anew (the file is kept under another name)"
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("manifest"), int):
        raise HeadwarpError(f"{path}: expected a manifest, its first line does not read as one; {remedy}")
    if content["manifest"] > VERSION:
        raise HeadwarpError(
            f"{path}: expected manifest version {VERSION} or older, got {content['manifest']}, written by "
            f"headwarp {content.get('headwarp')}; upgrade headwarp, or {remedy}"
        )
    if not isinstance(content.get("fingerprint"), dict) or not isinstance(content.get("kind"), str):
        raise HeadwarpError(f"{path}: expected a manifest, its first line lacks kind and options; {remedy}")
    return content


def _differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """`name: then, now now` for every entry that is not equal."""
    names = sorted({*found, *asked})
    absent = "not known"
    return [
        f"{name}: {found.get(name, absent)} then, {asked.get(name, absent)} now"
        for name in names
        if found.get(name, absent) != asked.get(name, absent)
    ]


def _any_done(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b'"ok":true' in line for line in file)
