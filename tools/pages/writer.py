"""A page under construction: written as it comes, in sections of limited size, with nothing from outside."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from ...training.data.atomic import atomic_path
from .style import CSS, SCRIPT
from .text import text

LARGEST = 5_000_000  # bytes of a page, whatever the run
SECTION = 150_000  # bytes of a section that says nothing else
ROWS = 100  # of a table before the rest is folded


class Section:
    """A part of a page, which takes pieces until it is full.

    Attributes:
        left: bytes that it still takes.
        refused: pieces that it did not take.
    """

    def __init__(self, file: TextIO, limit: int) -> None:
        self._file = file
        self.left, self.refused = limit, 0

    def add(self, piece: str) -> bool:
        """Write a piece of HTML, whole elements, unless the section is full.

        Returns:
            Whether it was taken.
        """
        size = len(piece.encode())
        if size > self.left:
            self.refused += 1
            return False
        self._file.write(piece + "\n")
        self.left -= size + 1
        return True


class Page:
    """The open page; see `open_page`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._room = LARGEST

    def write(self, piece: str) -> None:
        """HTML outside of sections."""
        self._file.write(piece + "\n")
        self._room -= len(piece.encode()) + 1

    @contextlib.contextmanager
    def section(self, title: str, *, anchor: str, limit: int = SECTION) -> Iterator[Section]:
        """A section under a heading; what did not fit in is told at its end.

        Args:
            title: of the heading.
            anchor: id of the section, by which the head of the page links to it.
            limit: bytes.
        """
        self.write(f'<section id="{text(anchor)}"><h2>{text(title)}</h2>')
        limit = min(limit, self._room - 1000)
        part = Section(self._file, limit)
        yield part
        self._room -= limit - part.left
        if part.refused:
            self.write(f'<p class="soft">Left out for the size of the page: {part.refused} more.</p>')
        self.write("</section>")

    def table(
        self,
        part: Section,
        columns: Sequence[str],
        rows: Iterable[str],
        *,
        words: int = 1,
        limit: int = 10_000,
    ) -> None:
        """Rows in tables of a hundred, all but the first folded; a click on a head sorts all of them.

        Args:
            part: where it goes.
            columns: of the head, as text.
            rows: HTML of ``<tr>`` each, read one page at a time.
            words: how many columns, from the left, hold words rather than numbers.
            limit: rows; further ones are counted.
        """
        head = "".join(
            f'<th scope="col"{" class=w" * (0 < n < words)}><button type="button">{text(name)}</button></th>'
            for n, name in enumerate(columns)
        )
        self.write('<div class="paged">')
        first, left_out, refused = 0, 0, part.refused
        for block in _blocks(rows):
            last = first + len(block)
            body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(block)}</tbody>"
            table = f'<div class="scroll"><table>{body}</table></div>'
            if first:
                table = f"<details><summary>{first + 1} to {last}</summary>{table}</details>"
            left_out += len(block) if first >= limit or left_out or not part.add(table) else 0
            first = last
        part.refused = refused
        self.write("</div>")
        if left_out:
            self.write(
                f'<p class="soft">{left_out} of {first} rows are left out for the size of the page.</p>'
            )


def _blocks(rows: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for row in rows:
        block.append(row)
        if len(block) == ROWS:
            yield block
            block = []
    if block:
        yield block


def row(cells: Iterable[str], *, kind: str = "", words: int = 1) -> str:
    """A row of a table; the cells are HTML, the first ``words`` of them no numbers.

    Args:
        cells: HTML.
        kind: class of the row.
        words: how many cells at the left are no numbers.
    """
    shown = "".join(f"<td{' class=w' * (0 < n < words)}>{cell}</td>" for n, cell in enumerate(cells))
    return f'<tr class="{kind}">{shown}</tr>' if kind else f"<tr>{shown}</tr>"


@contextlib.contextmanager
def open_page(path: Path, title: str, *, links: Sequence[tuple[str, str]]) -> Iterator[Page]:
    """A page that appears when the block ends well.

    It may be opened from anywhere: pictures, style and script are inside, and its own policy forbids browsers
    to load anything else or to run any other script. At most `LARGEST` bytes.

    Args:
        path: of the file.
        title: as text.
        links: anchors and titles of the sections that will come.

    Raises:
        HeadwarpError: the file cannot be written.
    """
    policy = f"default-src 'none'; img-src data:; style-src {_digest(CSS)}; script-src {_digest(SCRIPT)}"
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        page = Page(file)
        page.write(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{text(policy, longest=None)}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{text(title)}</title><style>{CSS}</style></head><body><header><h1>{text(title)}</h1>"
        )
        jumps = "".join(f'<a href="#{text(anchor)}">{text(words)}</a>' for anchor, words in links)
        page.write(f"<nav>{jumps}</nav></header><main>")
        yield page
        page.write(f"</main><script>{SCRIPT}</script></body></html>")


def _digest(content: str) -> str:
    """A piece of style or script as a browser's policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
