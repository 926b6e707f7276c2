"""README and docs/ as what a reader would do: commands to give, Python to run, files to save, in order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headwarp.tools import cli

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
"""Name of a page, from the repository's root -> its text."""

ALONE = ("doctor", "weights list", "weights check")
"""Commands that do something without an argument; others that stand alone in a sentence are mentioned."""

GIVEN = re.compile(r"(headwarp|python|torchrun|export|pip|make) ")
"""How a line begins that is given to a shell; other lines of such blocks are answers."""

CODE = re.compile(r"^```(?P<kind>\w*)(?P<title>[^\n]*)\n(?P<block>.*?)^```|`(?P<inline>[^`]+)`", re.M | re.S)


@dataclass(frozen=True)
class Step:
    """Something that a page asks of its reader.

    Attributes:
        kind: ``command``: words to give; ``python``: a block to run; ``file``: content to save as `name`.
        text: the command's line, the block or the content.
        name: of a file; else empty.
        fenced: it stands in a block of its own, not within a sentence.
    """

    kind: Literal["command", "python", "file"]
    text: str
    name: str = ""
    fenced: bool = True

    @property
    def words(self) -> list[str]:
        """Of a command, without its comment."""
        return shlex.split(self.text, comments=True)


def steps(text: str) -> Iterator[Step]:
    """Steps of a page in its order; blocks of other kinds, and names of things, are passed over."""
    for found in CODE.finditer(text):
        if found["inline"]:
            line = " ".join(found["inline"].split())
            if is_command(line):
                yield Step("command", line, fenced=False)
        elif found["kind"] == "csv":
            yield Step("file", found["block"], "track.csv")
        elif found["kind"] == "python":
            yield _python(found["title"], found["block"])
        elif not found["kind"]:
            lines = found["block"].splitlines()
            yield from (Step("command", line) for line in lines if GIVEN.match(line))


def _python(title: str, block: str) -> Step:
    """A block that says what it is called, by a title or its first comment, is a file."""
    named = re.search(r'title="([\w.]+)"', title) or re.match(r"# (\w+\.py): ", block)
    return Step("file", block, named[1]) if named else Step("python", block)


def is_command(line: str) -> bool:
    """Whether code in a sentence is a line to give: complete, and more than the name of a command.

    Example:
        >>> [is_command(line) for line in ("headwarp info FILE", "headwarp train fomm", "--size")]
        [True, False, False]
        >>> is_command("headwarp fit ... --photometric"), is_command("headwarp doctor")
        (False, True)
    """
    program, *words = line.split()
    if program in ("python", "pip", "make"):
        return bool(words)
    if program != "headwarp" or not words or words[0] == "COMMAND" or "..." in words:
        return False
    name, rest = cli.split_name(words)
    return name in ALONE if not rest else name != "train" or "--data" in rest
