"""The page of commands: what each prints with ``--help``, as Markdown that any width can show."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator

WIDTH = 100
"""Columns of the terminal that the help is printed for; it is put together again from there."""


def commands_page() -> str:
    """Every command: how it is called, what it does, and its options as a list of definitions."""
    from headwarp.tools import cli

    parts = [
        "# Commands",
        "What `headwarp COMMAND --help` prints; where no default is named there is none. Every command exits "
        "with 0 only if the work was done, 1 if it was not (one sentence says why), 2 if the arguments are "
        "wrong and 130 if it was interrupted.",
    ]
    with _columns(WIDTH):
        for name in cli.COMMANDS:
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                cli.main([*name.split(), "--help"])
            parts += [f"## {name}", markdown(shown.getvalue())]
    return "\n\n".join(parts) + "\n"


@contextlib.contextmanager
def _columns(count: int) -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(count)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def markdown(text: str) -> str:
    r"""Help of one command: its usage as code, its sentences, and under each heading a list of what it takes.

    Example:
        >>> print(markdown("usage: x A\n\nDoes.\n\n options\n -----\n  --a INT  One,\n           two."))
        ```text
        usage: x A
        ```
        <BLANKLINE>
        Does.
        <BLANKLINE>
        **options**
        <BLANKLINE>
        `--a INT`
        :   One, two.
    """
    lines = _unframed(text)
    first = next((at for at, line in enumerate(lines) if _is_heading(lines, at)), len(lines))
    usage, *said = "\n".join(lines[:first]).strip().split("\n\n")
    parts = [f"```text\n{usage}\n```", *(_escaped(" ".join(part.split())) for part in said if part.strip())]
    for at in range(first, len(lines)):
        if _is_heading(lines, at):
            parts.append(f"**{lines[at].strip()}**")
        elif lines[at].strip() and not _is_rule(lines[at]):
            parts = _with_line(parts, lines[at])
    parts = [part for part in parts if not part.startswith("`-h, --help`")]
    return "\n\n".join(re.sub(r" \(default:( None)?\s*\)$", "", part) for part in parts)


def _with_line(parts: list[str], line: str) -> list[str]:
    """The parts with one more line of a heading's list: a new entry, or more of the last one's text."""
    indent = len(line) - len(line.lstrip())
    called, _, text = line.strip().partition("  ")
    if indent <= 2 and (text or re.match(r"-|\[?[A-Z]+\]?$", called)):
        return [*parts, f"`{called}`\n:   {_escaped(text.strip())}"]
    if indent <= 2:
        return [*parts, _escaped(line.strip())]
    between = "" if parts[-1].endswith(":   ") else " "
    return [*parts[:-1], f"{parts[-1]}{between}{_escaped(line.strip())}"]


def _unframed(text: str) -> list[str]:
    """Lines without colours, frames of boxes and blanks at their ends."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    return [re.sub(r"^[│╭╰]|[│╮╯]$", " ", line.rstrip()).rstrip() for line in plain.splitlines()]


def _is_rule(line: str) -> bool:
    return not line.strip("-─ ")


def _is_heading(lines: list[str], at: int) -> bool:
    """Whether a line has a rule below it and nothing but a title in it."""
    title = re.fullmatch(r" [a-z][a-z ]*", lines[at])
    return bool(title) and at + 1 < len(lines) and bool(lines[at + 1].strip()) and _is_rule(lines[at + 1])


def _escaped(text: str) -> str:
    """A sentence in which nothing is Markdown's but code between back quotes."""
    pieces = text.replace("``", "`").split("`")
    plain = [re.sub(r"([*_\[\]<>|])", r"\\\1", piece) for piece in pieces[::2]]
    plain = [piece.replace("\\<", "&lt;").replace("\\>", "&gt;") for piece in plain]
    code = [f"`{piece}`" for piece in pieces[1::2]]
    return "".join(piece for pair in zip(plain, [*code, ""], strict=False) for piece in pair)
