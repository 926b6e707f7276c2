"""The generated pages of the site: Markdown made of the package's own text; nothing of it is imported."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOMS: dict[str, tuple[str, str, str]] = {
    "tools": (
        "functions",
        "Functions",
        "What the commands do, as functions: a path, PIL, numpy or torch in, a frozen result or frames out.",
    ),
    "flame": (
        "heads",
        "Heads and fits",
        "Head models, their parameters, what a fit knows, and the pose that a person says.",
    ),
    "geom": (
        "guidance",
        "Guidance and errors",
        "What passes between heads, sources and animators, and the errors that everything raises.",
    ),
    "warping": (
        "animators",
        "Animators",
        "What makes a picture of guidance; a new one is [one file](../howto/add-an-animator.md).",
    ),
}
"""Folder of the package -> page, its title and what stands there, for the names that the root exports."""

LAYERS = ("geom", "flame", "warping", "training", "tools")
"""The folders in the order in which they build on each other."""


def exported(root: Path) -> dict[str, str]:
    """Public name -> module, as the lazy table of the root ``__init__.py`` has it."""
    for node in ast.parse((root / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_EXPORTS":
            return dict(ast.literal_eval(node.value or ast.Dict([], [])))
    raise LookupError(f"{root / '__init__.py'}: expected a table _EXPORTS, found none")


def reference_pages(root: Path) -> dict[str, str]:
    """Page under docs/ -> Markdown, for every public name, grouped by the folder that it comes from.

    Raises:
        KeyError: a name is exported from a folder that `ROOMS` has no page for.
    """
    by_room: dict[str, list[str]] = {room: [] for room in ROOMS}
    for name, module in sorted(exported(root).items(), key=lambda item: item[0].lower()):
        by_room[module.split(".")[1]].append(name)
    return {
        f"reference/{page}.md": "\n\n".join(
            [f"# {title}", text, *(f"::: headwarp.{name}" for name in by_room[room])]
        )
        + "\n"
        for room, (page, title, text) in ROOMS.items()
    }


def modules_page(root: Path) -> str:
    """One line for every public module: its name and the first sentence of its docstring."""
    parts = [
        "# Modules",
        "What lies where; each folder builds on those above it. Names from here are not as stable as "
        "those that `headwarp` itself exports.",
    ]
    for layer in LAYERS:
        rows = [f"| `{name}` | {text} |" for name, text in _modules(root, layer)]
        parts += [f"## {layer}", "\n".join(["| module | holds |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _modules(root: Path, layer: str) -> Iterator[tuple[str, str]]:
    for path in sorted((root / layer).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        name = ".".join(("headwarp", *parts)).removesuffix(".__init__")
        yield name, first_sentence(_docstring(path)).replace("|", "\\|")


def first_sentence(text: str) -> str:
    """A docstring up to its first full stop, in one line, marks of code made Markdown's.

    Example:
        >>> first_sentence("``fit``: photos,\\nclips. And more.")
        '`fit`: photos, clips.'
    """
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[^.]\.)\s(?=[A-Z`])", paragraph)[0]
    return sentence.replace("``", "`")


def examples_page(root: Path) -> str:
    """Every script of examples/: its sentence, what it teaches, and its code below that."""
    parts = [
        "# Examples",
        "A screen of code for each thing that one does with the library. Each runs as it is, on what the "
        "package ships or draws, and is run by the tests; `--photo` and the like name files of your own.",
    ]
    for path in sorted((root / "examples").glob("[0-9]*.py")):
        text = path.read_text(encoding="utf-8")
        code = text.split('"""', 2)[2].strip()
        said = [inspect.cleandoc(part) for part in _docstring(path).split("\n\n")]
        title = path.stem.partition("_")[2].replace("_", " ").capitalize().replace("flame", "FLAME")
        parts += [f"## {title}", *said[:-1], f"```\n{said[-1]}\n```"]
        parts += [f'```python title="examples/{path.name}"\n{code}\n```']
    return "\n\n".join(parts) + "\n"


def conventions(root: Path) -> str:
    """The docstring of ``geom/__init__.py`` as Markdown: its headings with what is indented below them."""
    text = inspect.cleandoc(_docstring(root / "geom" / "__init__.py"))
    sections = re.findall(r"^(\w[^\n]*)\n((?:    [^\n]*(?:\n|$))+)", text, re.MULTILINE)
    if not sections:
        raise LookupError("geom/__init__.py: expected headings with indented text below them, found none")
    return "\n\n".join(
        f"## {title}\n\n{inspect.cleandoc('    ' + body).replace('``', '`')}" for title, body in sections
    )


def definitions(root: Path) -> str:
    """The table ``DEFINITIONS`` of ``training/metrics/definitions.py`` as Markdown."""
    path = root / "training" / "metrics" / "definitions.py"
    values: dict[str, ast.expr] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            values[ast.unparse(target)] = node.value
    table: dict[str, str] = ast.literal_eval(values["DEFINITIONS"])
    rows = [f"| `{name}` | {text.replace('|', '&#124;')} |" for name, text in table.items()]
    return "\n".join(["| metric | what the number is |", "|---|---|", *rows])


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
