"""The layers hold: geom <- flame, geom <- warping, these <- training, all <- tools; imports stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "geom": {"geom"},
    "flame": {"geom", "flame"},
    "warping": {"geom", "warping"},
    "training": {"geom", "flame", "warping", "training"},
    "tools": {"geom", "flame", "warping", "training", "tools"},
}
HEAVY = {
    "mediapipe",
    "av",
    "kornia",
    "trimesh",
    "skimage",
    "cv2",
    "matplotlib",
    "face_alignment",
    "pytorch3d",
    "lightning",
    "torchmetrics",
    "tensorboard",
}
FILES = sorted(path for layer in ALLOWED for path in (ROOT / layer).rglob("*.py"))


def breaches(source: str, parts: tuple[str, ...]) -> list[str]:
    """What a module breaks; ``parts`` is its place: ``("geom", "flow")`` or ``("geom", "__init__")``."""
    tree = ast.parse(source)
    found = [*_heavy_at_import(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [f"{name}: use a relative import" for name in names if name.split(".")[0] == "headwarp"]
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and (node.module or "").split(".")[0] == "headwarp":
                found.append(f"{node.module}: use a relative import")
            elif node.level > 0:
                for target in _targets(node, parts):
                    found += _layer_breach(target, parts[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found += _dynamic_breach(node, parts)
    return found


def _targets(node: ast.ImportFrom, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Places in the package that a relative import names; () is the root package itself."""
    base = parts[: len(parts) - node.level]
    if len(parts) < node.level:
        yield ("beyond the package",)
    elif node.module:
        yield (*base, *node.module.split("."))
    else:
        for alias in node.names:
            yield () if not base and alias.name == "__version__" else (*base, alias.name)


def _layer_breach(target: tuple[str, ...], layer: str) -> list[str]:
    if not target or target[0] in ALLOWED[layer]:
        return []
    return [f"{layer} must not import {'.'.join(target)}"]


def _dynamic_breach(call: ast.Call, parts: tuple[str, ...]) -> list[str]:
    first = call.args[0] if call.args else None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return []
    name = first.value
    if name.split(".")[0] == "headwarp":
        return [f"{name}: use a relative import"]
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return []
    target = (*parts[: len(parts) - level], *name.lstrip(".").split("."))
    return _layer_breach(target, parts[0])


def _heavy_at_import(tree: ast.Module) -> Iterator[str]:
    """Heavy packages imported by merely importing the module; what only type checkers see does not count."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        yield from (f"{name}: import it inside a function" for name in names if name.split(".")[0] in HEAVY)
        pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def place(path: Path) -> tuple[str, ...]:
    return path.relative_to(ROOT).with_suffix("").parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_keeps_to_its_layer(path):
    parts = place(path)
    heavy_allowed = parts[-1].startswith("_") and parts[-1] != "__init__"
    found = breaches(path.read_text(encoding="utf-8"), parts)
    if heavy_allowed:  # private modules that public ones import inside functions
        found = [text for text in found if "inside a function" not in text]
    assert not found


@pytest.mark.parametrize(
    ("parts", "source", "breach"),
    [
        (("geom", "flow"), "from ..flame.model import HeadModel", "geom must not import flame.model"),
        (("geom", "sources", "mesh"), "from ...training import losses", "geom must not import training"),
        (("flame", "model"), "from ..warping import composite", "flame must not import warping"),
        (
            ("warping", "composite"),
            "def f():\n    from ..flame import model",
            "warping must not import flame",
        ),
        (("training", "engine"), "from ..tools.cli import main", "training must not import tools.cli"),
        (("geom", "__init__"), "from .. import training", "geom must not import training"),
        (("geom", "flow"), "from .. import tools", "geom must not import tools"),
        (("geom", "flow"), "from .... import x", "geom must not import beyond the package"),
        (("tools", "cli"), "import headwarp.geom.flow", "headwarp.geom.flow: use a relative import"),
        (("tools", "cli"), "from headwarp import geom", "headwarp: use a relative import"),
        (("geom", "flow"), "import_module('..flame.io', __package__)", "geom must not import flame.io"),
        (("geom", "flow"), "import_module('headwarp.flame.io')", "headwarp.flame.io: use a relative import"),
        (
            ("flame", "model"),
            "try:\n    import mediapipe\nexcept ImportError:\n    pass",
            "mediapipe: import it",
        ),
        (("geom", "mesh"), "class A:\n    from trimesh import load", "trimesh: import it inside a function"),
    ],
)
def test_a_breach_is_seen(parts, source, breach):
    found = breaches(source, parts)
    assert len(found) == 1
    assert found[0].startswith(breach)


@pytest.mark.parametrize(
    ("parts", "source"),
    [
        (("flame", "model"), "from ..geom.transforms import axis_angle_to_matrix"),
        (("flame", "__init__"), "from .model import HeadModel"),
        (("geom", "rasterizer", "__init__"), "from ..errors import ShapeError\nfrom . import _ref"),
        (("training", "data", "media"), "def f():\n    import av\n    from ...flame import model"),
        (("tools", "cli"), "from .. import __version__"),
        (("geom", "mesh"), "if TYPE_CHECKING:\n    import trimesh"),
    ],
)
def test_what_is_allowed_passes(parts, source):
    assert breaches(source, parts) == []


def loaded_after(statement: str, tmp_path: Path) -> set[str]:
    """Top-level names in sys.modules after a statement in a fresh interpreter."""
    code = (
        f"{statement}\nimport sys\nsys.stdout.write(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import headwarp", "import headwarp.tools.cli", "dir(__import__('headwarp'))"]
)
def test_importing_the_package_or_its_command_line_loads_nothing_heavy(statement, tmp_path):
    assert not loaded_after(statement, tmp_path) & (HEAVY | {"torch", "numpy", "numba", "scipy", "tyro"})


def test_importing_every_public_module_loads_nothing_heavy(tmp_path):
    public = [place(path) for path in FILES if not path.stem.startswith("_")]
    statement = "\n".join(f"import headwarp.{'.'.join(parts)}" for parts in public)
    assert not loaded_after(statement, tmp_path) & (HEAVY - _loaded_by_torch(tmp_path))


def _loaded_by_torch(tmp_path: Path) -> set[str]:
    return loaded_after("import torch, numba, scipy.sparse.linalg", tmp_path)
