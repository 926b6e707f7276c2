"""A name for the outputs of every input: no two alike, the same in every run, whatever the order."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .types import Input

_LONGEST = 200  # bytes of a name's part; file systems take 255, and suffixes follow


def output_names(
    inputs: Sequence[Input], *, base: str | os.PathLike[str] = ".", known: Mapping[str, str] | None = None
) -> list[str]:
    """A name for every input, its parts joined by ``/``; no two alike, even where capitals do not count.

    The place without its suffix: a tree stays a tree. Where several share it, place_suffix; where that is not
    enough, the named folder's name before it; then some letters that stand for the whole path. A stem
    ``x.face1`` becomes ``x_face1``: ``x.face1.npz`` is the second face of ``x``.

    Args:
        inputs: each once.
        base: folder of the outputs, from which sources are seen.
        known: names given in earlier runs, source -> name. They are kept, and given to no other input.

    Example:
        >>> inputs = [Input("a/x.mp4", "x.mp4"), Input("b/x.jpg", "x.jpg"), Input("b/y.jpg", "y.jpg")]
        >>> output_names(inputs)
        ['x_mp4', 'x_jpg', 'y']
    """
    sources = [found.source(base) for found in inputs] if known else [""] * len(inputs)
    kept = {index: known[source] for index, source in enumerate(sources) if source in known} if known else {}
    taken = {_folded(name) for name in known.values()} if known else set()
    names = {index: _stem(found) for index, found in enumerate(inputs) if index not in kept}
    for longer in (_with_suffix, _with_root):
        for index in _sharing(names, taken):
            names[index] = longer(inputs[index])
    for index in _sharing(names, taken):
        names[index] = f"{names[index]}_{_digest(inputs[index].source(base))}"
    names.update(kept)
    return [names[index] for index in range(len(inputs))]


def _sharing(names: Mapping[int, str], taken: set[str]) -> list[int]:
    """Inputs whose name another one has too."""
    folded = {index: _folded(name) for index, name in names.items()}
    counts = Counter(folded.values())
    return [index for index, name in folded.items() if counts[name] > 1 or name in taken]


def _folded(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _stem(found: Input) -> str:
    return _clean(os.path.splitext(found.place)[0])


def _with_suffix(found: Input) -> str:
    stem, suffix = os.path.splitext(found.place)
    return _clean("_".join(filter(None, (stem, suffix.lstrip(".").lower()))))


def _with_root(found: Input) -> str:
    root = found.root or os.path.basename(os.path.dirname(os.path.abspath(found.path)))
    joint = "/" if "/" in found.place else "_"
    return _clean(joint.join(filter(None, (root, _with_suffix(found)))))


def _clean(name: str) -> str:
    return "/".join(map(_short, re.sub(r"\.(face\d+)$", r"_\1", name, flags=re.IGNORECASE).split("/")))


def _short(part: str) -> str:
    if not part.strip("."):  # they would name a folder
        return "_" * max(1, len(part))
    data = os.fsencode(part)
    if len(data) <= _LONGEST:
        return part
    return f"{data[: _LONGEST - 9].decode('utf-8', 'ignore')}_{_digest(part)}"


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def names_by_path(paths: Iterable[Path]) -> dict[Path, str]:
    """`output_names` of files: path -> name."""
    files = list(paths)
    inputs = [Input(os.fspath(path), os.path.basename(os.path.abspath(path))) for path in files]
    return dict(zip(files, output_names(inputs), strict=True))
