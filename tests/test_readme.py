"""What the README says exists: commands, make targets, library names, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import headwarp
from headwarp.tools.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_named(text: str) -> set[str]:
    """Words after ``headwarp`` in code, joined for commands of two words; options are no commands."""
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    words = [
        match for piece in code for match in re.findall(r"\bheadwarp ([a-z][a-z-]*)(?: ([a-z-]+))?", piece)
    ]
    return {f"{first} {second}" if f"{first} {second}" in COMMANDS else first for first, second in words}


def names_used(text: str) -> set[str]:
    """``headwarp.NAME`` in Python blocks; modules that are imported from are none of these names."""
    blocks = re.findall(r"```python(.*?)```", text, re.DOTALL)
    return {name for block in blocks for name in re.findall(r"(?<!from )\bheadwarp\.(\w+)", block)}


def links(text: str) -> set[str]:
    """Relative targets of links and pictures, without anchors."""
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    return {target for target in targets if "://" not in target}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    assert commands_named(page.read_text(encoding="utf-8")) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_library_names_exist(page):
    assert names_used(page.read_text(encoding="utf-8")) <= set(headwarp.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page):
    named = set(
        re.findall(
            r"\bmake ([a-z-]+)", " ".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.DOTALL))
        )
    )
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page):
    assert not [link for link in links(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]


def dead_anchors(text: str, page: Path) -> list[str]:
    """Links to a heading, of the page itself or of another, that is not there."""
    dead = []
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
        headings = re.findall(r"^#+ (.*)$", (page.parent / file if file else page).read_text(), re.MULTILINE)
        slugs = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in headings}
        dead += [f"{file}#{anchor}"] * (anchor not in slugs)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_headings_exist(page):
    assert not dead_anchors(page.read_text(encoding="utf-8"), page)


def test_a_warning_of_the_site_is_an_error():
    (build,) = re.findall(r"mkdocs build.*", (ROOT / "Makefile").read_text())
    assert "--strict" in build
    assert "--quiet" not in build, "with it warnings are not counted"


def missing_from_nav(pages: list[str]) -> list[str]:
    """Pages of docs/ that the site's nav does not name exactly once."""
    named = re.findall(r"^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    return [page for page in pages if named.count(page) != 1]


def test_every_page_is_in_the_nav_of_the_site():
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert not missing_from_nav(pages), "name it under nav: in mkdocs.yml"
    assert missing_from_nav([*pages, "new.md"]) == ["new.md"]


def test_every_command_is_in_the_readme():
    assert set(COMMANDS) <= commands_named((ROOT / "README.md").read_text(encoding="utf-8"))


def test_a_wrong_page_is_seen():
    page = (
        "`headwarp fti a.jpg`\n```python\nheadwarp.fti('a')\n```\n[x](docs/none.md) ![y](https://a.b/c.png)"
    )
    assert commands_named(page) == {"fti"}
    assert names_used(page) == {"fti"}
    assert links(page) == {"docs/none.md"}
    assert dead_anchors("[x](#what-it-is) [y](README.md#none)", ROOT / "README.md") == [
        "#what-it-is",
        "README.md#none",
    ]
