"""Files of the editor: uploads in a folder of their own while somebody is there; results under free names."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from pathlib import Path

from ...geom.errors import HeadwarpError
from ...training.data.media import probe
from .document import Document, Source
from .page import too_large

PORTRAITS = "image/*,video/*"
DRIVERS = "video/*,image/*,.csv,.json,.npz"
LONGEST_NAME = 60


def source_of(path: Path, name: str | None = None) -> Source:
    """A photo or clip as the document names it.

    Raises:
        MediaError: the file cannot be read.
    """
    info = probe(path)
    return Source(path, name or str(path), frames=max(1, info.frames or 1))


class Uploads:
    """A temporary folder of one visitor; `close` removes it and what is in it."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._folder = Path(tempfile.mkdtemp(prefix="headwarp-view-"))
        self._count, self._closed = 0, False
        self._lock = threading.Lock()

    def keep(self, name: str, content: bytes) -> Path:
        """Write an upload; its name says no more than a name.

        Raises:
            HeadwarpError: empty, larger than what is allowed, or the visitor has left.
        """
        if not content:
            raise HeadwarpError(f"{plain_name(name)}: the file is empty")
        if len(content) > self.most_bytes:
            size = f"{len(content) / 1e6:.0f} MB"
            raise HeadwarpError(f"{plain_name(name)}: {too_large(self.most_bytes)}, got {size}")
        with self._lock:
            if self._closed:
                raise HeadwarpError(f"{plain_name(name)}: its editor is closed")
            self._count += 1
            path = self._folder / f"{self._count:03d}" / plain_name(name)
            path.parent.mkdir()
            path.write_bytes(content)
        return path

    def close(self) -> None:
        """Remove everything."""
        with self._lock:
            self._closed = True
            shutil.rmtree(self._folder, ignore_errors=True)


def plain_name(name: str) -> str:
    """A file's name without folders and without what a shell or page reads as more than a letter.

    Example:
        >>> plain_name("../../etc/<b>pass wd.png")
        'b_pass_wd.png'
    """
    last = re.split(r"[/\\]", name)[-1]
    words = re.sub(r"[^\w.-]+", "_", last, flags=re.ASCII).lstrip("._-")
    stem, dot, suffix = words.rpartition(".")
    return f"{stem[:LONGEST_NAME]}{dot}{suffix[:10]}" if stem else words[:LONGEST_NAME] or "upload"


def stem_of(document: Document) -> str:
    """The beginning of a result's name: the photo's."""
    return "portrait" if document.source is None else Path(plain_name(document.source.name)).stem


class Results:
    """The output folder: numbered names, none given twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._given: set[Path] = set()
        self._lock = threading.Lock()

    def free(self, stem: str, *suffixes: str) -> list[Path]:
        """``STEM_001.SUFFIX``, one for each suffix, with the first number of which none of them is there.

        Raises:
            HeadwarpError: all numbers are taken.
        """
        with self._lock:
            for number in range(1, 1_000_000):
                paths = [self.folder / f"{stem}_{number:03d}{suffix}" for suffix in suffixes]
                if not any(path in self._given or path.exists() for path in paths):
                    self._given.update(paths)
                    return paths
        raise HeadwarpError(f"{self.folder}: no name is left for {stem}; take another --output")
