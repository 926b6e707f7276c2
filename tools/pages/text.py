"""Text, numbers and small pieces as HTML; nothing that comes from outside gets into a page by another way."""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

LONGEST = 160  # characters of a text that a page shows; names of files may have thousands
# what HTML cannot hold, and what turns the direction of the text that follows
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)


def text(value: object, *, longest: int | None = LONGEST) -> str:
    """Any text, escaped for elements and attributes; bytes of names that are no UTF-8 are shown as escapes.

    Args:
        value: what ``str`` makes text of.
        longest: characters; of a longer text the middle is left out. None for all.

    Example:
        >>> text('<script>"&'), text("abcdefgh", longest=5)
        ('&lt;script&gt;&quot;&amp;', 'ab\u2026gh')
    """
    plain = str(value)
    if longest is not None and len(plain) > longest:
        half = (longest - 1) // 2
        plain = f"{plain[:half]}\u2026{plain[-half:]}"
    plain = plain.encode("utf-8", "backslashreplace").decode()
    return html.escape(_CONTROL.sub("\ufffd", plain), quote=True)


def name(value: object) -> str:
    """A name from outside, in its own direction of writing, broken where its words end if it is long.

    Example:
        >>> name("a_b")
        '<bdi>a_<wbr>b</bdi>'
    """
    return f"<bdi>{re.sub('(_|-|/|&gt;)', lambda found: found[0] + '<wbr>', text(value))}</bdi>"


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point, a dash for none.

    Example:
        >>> number(1.5), number(None), number(float("nan")), number(12, 0)
        ('1.50', '\u2013', '\u2013', '12')
    """
    return "\u2013" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def link(target: Path, words: str, *, beside: Path) -> str:
    """A link to a file, relative to the folder of the page.

    Args:
        target: the file.
        words: the text of the link.
        beside: the page.
    """
    path = os.path.relpath(os.path.abspath(target), os.path.dirname(os.path.abspath(beside)))
    address = quote(os.fsencode(Path(path).as_posix()))
    return f'<a href="./{address}">{text(words)}</a>'


def facts(pairs: Mapping[str, Any] | Iterable[tuple[str, Any]], *, longest: int | None = 2000) -> str:
    """A list of names and what they stand for."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    lines = "".join(f"<dt>{text(key)}</dt><dd>{text(value, longest=longest)}</dd>" for key, value in items)
    return f"<dl>{lines}</dl>"


def tiles(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Numbers in large with what they are under them: caption, number, class of the number or nothing."""
    shown = [
        f'<div class="tile"><b{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{text(value)}</b>'
        f'<span class="soft">{text(caption)}</span></div>'
        for caption, value, kind in pairs
    ]
    return f'<div class="tiles">{"".join(shown)}</div>'


def folded(summary: str, inside: str, *, shown: bool = False) -> str:
    """What is read on request; ``inside`` is HTML.

    Args:
        summary: what is always seen.
        inside: HTML.
        shown: open at first.
    """
    return f"<details{' open' if shown else ''}><summary>{text(summary)}</summary>{inside}</details>"
