"""What docstrings list of arguments and fields is there; public functions list all arguments or none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("flame", "geom", "tools", "training", "warping")
_ENTRY = re.compile(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):", re.MULTILINE)
Classes = dict[str, ast.ClassDef]


def listed(docstring: str, heading: str) -> list[str] | None:
    """The names that a section tells of; None without the section."""
    found = re.search(rf"^{heading}:\n((?: {{4}}.*\n|\n)*)", docstring + "\n", re.MULTILINE)
    if found is None:
        return None
    return [name.strip("* ") for names in _ENTRY.findall(found[1]) for name in names.split(",")]


def arguments(function: ast.FunctionDef) -> list[str]:
    """All but ``self`` and ``cls``."""
    found = function.args
    parts = [*found.posonlyargs, *found.args, found.vararg, *found.kwonlyargs, found.kwarg]
    names = [part.arg for part in parts if part is not None]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def fields(cls: ast.ClassDef, classes: Classes) -> set[str] | None:
    """Names that a class and those above it have; None where one of these is of another module."""
    own = {ast.unparse(node.target) for node in cls.body if isinstance(node, ast.AnnAssign)}
    own |= {node.name for node in cls.body if isinstance(node, ast.FunctionDef)}
    for base in map(ast.unparse, cls.bases):
        above = fields(classes[base], classes) if base in classes else None
        if above is None:
            return None
        own |= above
    return own


def differences(source: str, *, whole: bool = True) -> Iterator[str]:
    """Where a module's docstrings list what is not there; where ``whole``, what is there and is left out."""
    body = ast.parse(source).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield from _of_function(node, node, whole=whole)
        elif isinstance(node, ast.ClassDef):
            yield from _of_class(node, classes, whole=whole)


def _of_class(cls: ast.ClassDef, classes: Classes, *, whole: bool) -> Iterator[str]:
    for node in cls.body:
        if isinstance(node, ast.FunctionDef):
            yield from _of_function(node, node, whole=whole)
            if node.name == "__init__":
                yield from _of_function(node, cls, whole=whole)
    attributes = listed(ast.get_docstring(cls) or "", "Attributes")
    has = fields(cls, classes)
    if attributes and has and "dataclass" in " ".join(map(ast.unparse, cls.decorator_list)):
        yield from (f"{cls.name} has no {name}" for name in attributes if name not in has)


def _of_function(
    function: ast.FunctionDef, told_by: ast.FunctionDef | ast.ClassDef, *, whole: bool
) -> Iterator[str]:
    told, has = listed(ast.get_docstring(told_by) or "", "Args"), arguments(function)
    if told is None:
        return
    public = whole and not told_by.name.startswith("_")
    if sorted(told) != sorted(has) if public else not set(told) <= set(has):
        yield f"{told_by.name} tells of {told}, has {has}"


def test_docstrings_tell_of_the_arguments_that_there_are():
    found = []
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        text, place = path.read_text(encoding="utf-8"), path.relative_to(ROOT).with_suffix("")
        if "Args:" in text or "Attributes:" in text:
            public = all(part == "__init__" or not part.startswith("_") for part in place.parts)
            found += [f"{place}: {each}" for each in differences(text, whole=public)]
    assert found == []


SOURCE = '''
@dataclass
class Box:
    """A box.

    Attributes:
        size: of it.
        {field}: of it.
    """

    size: int
    colour: str


def cut(image, size, *, feather=0.0):
    """Cut.

    Args:
        image, size: as
            there.
        {argument}
    """
'''


def test_a_difference_would_be_seen():
    assert list(differences(SOURCE.format(field="colour", argument="feather: of it."))) == []
    assert list(differences(SOURCE.format(field="shade", argument="feather: of it."))) == ["Box has no shade"]
    assert len(list(differences(SOURCE.format(field="colour", argument="soft: of it.")))) == 1
    assert len(list(differences(SOURCE.format(field="colour", argument="")))) == 1
    assert list(differences(SOURCE.format(field="colour", argument=""), whole=False)) == []
