"""The wheel holds the whole package, and the version is written once."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

import headwarp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("flame", "geom", "tools", "training", "warping")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders(*, with_suffix: str) -> set[Path]:
    """Folders of the rooms that hold a file of a kind, relative to the root."""
    files = (path for room in ROOMS for path in (ROOT / room).rglob(f"*{with_suffix}"))
    return {path.parent.relative_to(ROOT) for path in files if "__pycache__" not in path.parts}


def dotted(folder: Path) -> str:
    return ".".join(("headwarp", *folder.parts))


def test_packages_are_the_folders():
    assert PROJECT["tool"]["setuptools"]["packages"] == sorted(
        {"headwarp", *map(dotted, folders(with_suffix=".py"))}
    )


def test_every_package_has_an_init():
    assert not [
        folder for folder in folders(with_suffix=".py") if not (ROOT / folder / "__init__.py").is_file()
    ]


def test_data_files_are_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    packed = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    data = {
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc", ".nbc", ".nbi")
        and not path.name.startswith(".")
    }
    assert data | {ROOT / "py.typed"} == packed


def test_the_root_folder_holds_no_other_module():
    assert sorted(path.name for path in ROOT.glob("*.py")) == ["__init__.py", "__main__.py"]


def test_tests_are_no_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_version_has_one_source():
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "headwarp.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", headwarp.__version__)


def test_changelog_and_citation_name_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == headwarp.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)", citation, re.MULTILINE)[1] == headwarp.__version__


def test_direct_dependencies_are_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {
        re.split("==", line)[0].replace("_", "-")
        for line in lines
        if "==" in line and not line.startswith("#")
    }
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [*PROJECT["project"]["dependencies"], *extras["mediapipe"], *extras["dev"]]
    names = {re.match(r"[\w-]+", line)[0] for line in needed if "python_version" not in line}
    assert names <= pinned


def imported_packages() -> set[str]:
    """Top-level names that the package's files import, at import or later."""
    names: set[str] = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


def test_every_import_is_declared():
    extras = PROJECT["project"]["optional-dependencies"]
    used = ("mediapipe", "face-alignment", "cluster", "train", "export", "view")
    optional = (line for extra in used for line in extras[extra])
    lines = [*PROJECT["project"]["dependencies"], *optional]
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in lines} | {
        "pytorch3d",
        "playwright",
    }  # the latter of the extra dev
    found = importlib.metadata.packages_distributions()
    provided = {
        name: {dist.lower() for dist in found.get(name, [name.replace("_", "-")])}
        for name in imported_packages()
    }
    assert not {name: dists for name, dists in provided.items() if not dists & declared}


def test_the_installed_package_is_this_one():
    assert Path(importlib.util.find_spec("headwarp").origin).resolve() == ROOT / "__init__.py"


def test_every_extra_has_a_trial_of_files_that_are_there():
    tree = ast.parse((ROOT / ".ci/trial.py").read_text(encoding="utf-8"))
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    named = [text for text in texts if text.startswith("tests/")]
    assert named
    assert [text for text in named if not (ROOT / text).is_file()] == []
    trials = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "TRIALS"
        for key in getattr(node.value, "keys", ())
    }
    assert trials == set(PROJECT["project"]["optional-dependencies"])
