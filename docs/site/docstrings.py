"""A griffe extension: docstrings as its parser of Google's style reads them, which is narrower than ours."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SHARED = re.compile(r"^ {4}(\w+(?:, \w+)+)(:.*\n(?: {8}.*\n)*)", re.MULTILINE)


def readable(text: str) -> str:
    """``Example`` as the section of code that only its plural is, an entry for every name of one, no roles.

    Example:
        >>> print(readable("Args:\\n    x, y: of a point,\\n        in pixels.\\n"))
        Args:
            x: of a point,
                in pixels.
            y: of a point,
                in pixels.
        <BLANKLINE>
        >>> readable("Example:\\n    >>> 1\\n    1")
        'Examples:\\n    >>> 1\\n    1'
        >>> readable("See :func:`warp`.")
        'See `warp`.'
    """
    text = re.sub(r":(?:attr|class|data|func|meth|mod):(?=`)", "", text)
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    return re.sub(r"^(?:Args|Attributes):\n(?: {4}.*\n)+", _separate, text, flags=re.MULTILINE)


def _separate(section: re.Match[str]) -> str:
    """Entries of several names, once for each."""
    return _SHARED.sub(
        lambda entry: "".join(f"    {name}{entry[2]}" for name in entry[1].split(", ")), section[0]
    )


class Docstrings(griffe.Extension):
    """Every docstring through `readable`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Before anything is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value + "\n").rstrip()
