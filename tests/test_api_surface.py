"""The public names and their signatures change only on purpose: they are listed in api_surface.json.

After an intended change: ``python tests/test_api_surface.py`` writes the file again.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import headwarp

LISTED = Path(__file__).with_name("api_surface.json")
SOURCE = Path(headwarp.__file__).read_text(encoding="utf-8")


def surface() -> dict[str, Any]:
    """Every root export: signature of a function, fields and public methods of a class."""
    return {name: described(getattr(headwarp, name)) for name in headwarp.__all__}


def described(value: Any) -> Any:
    """What a caller relies on, in JSON's types."""
    if inspect.isclass(value):
        return {"fields": fields_of(value), "methods": methods_of(value)}
    return str(inspect.signature(value))


def fields_of(cls: type) -> list[str]:
    """Name and type of a dataclass's fields, a mark where there is a default."""
    if not dataclasses.is_dataclass(cls):
        return []
    required = dataclasses.MISSING
    optional = [
        f.default is not required or f.default_factory is not required for f in dataclasses.fields(cls)
    ]
    return [
        f"{field.name}: {field.type}{' = ...' if has_default else ''}"
        for field, has_default in zip(dataclasses.fields(cls), optional, strict=True)
    ]


def methods_of(cls: type) -> dict[str, str]:
    """Signatures of the public methods that the class itself defines."""
    methods = {}
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if not name.startswith("_") and inspect.isfunction(function):
            methods[name] = str(inspect.signature(function))
        elif not name.startswith("_") and isinstance(value, property):
            methods[name] = "property"
    return methods


def test_the_surface_is_as_listed():
    listed = json.loads(LISTED.read_text(encoding="utf-8"))
    assert surface() == listed, "intended? then: python tests/test_api_surface.py, and a line in CHANGELOG.md"


def test_type_checkers_see_the_same_names():
    block = next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    imported = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: f".{node.module}" for node in imported for alias in node.names}
    assert seen == headwarp._EXPORTS


def test_dir_lists_every_export():
    assert set(headwarp.__all__) <= set(dir(headwarp))


def test_unknown_name_is_an_attribute_error_that_lists_the_known():
    with pytest.raises(AttributeError, match=r"has no attribute 'fti'; it has .*load_head"):
        headwarp.fti  # noqa: B018


def test_a_change_would_be_seen():
    @dataclasses.dataclass
    class Before:
        size: int

        def save(self, path: str) -> None: ...

    @dataclasses.dataclass
    class After:
        size: int = 3

        def save(self, path: str, *, quick: bool = False) -> None: ...

    before, after = described(Before), described(After)
    assert before["fields"] != after["fields"]
    assert before["methods"] != after["methods"]


if __name__ == "__main__":
    LISTED.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{LISTED}: {len(headwarp.__all__)} names\n")
