"""MkDocs hooks: the generated pages, and what stands in pages that are not generated."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(Path(__file__).parent))
commands = importlib.import_module("commands")
reference = importlib.import_module("reference")

MARKS = {"conventions": reference.conventions, "definitions": reference.definitions}
"""``<!-- generated: NAME -->`` in a page stands for what these make of the package."""

LONG = 48
"""Letters beyond which a cell of a table is text, not a name or a number."""


def on_startup(**_: Any) -> None:
    """Lay the root folder under the package's name, since a clone may be called anything.

    Before any configuration: mkdocstrings keeps only those of its paths that exist when it is configured.
    """
    package = ROOT / "build" / "docs" / "package" / "headwarp"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for name in ("__init__.py", *reference.LAYERS):
        (package / name).symlink_to(ROOT / name)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are generated, and the repository's own that lie beside docs/."""
    pages = {**reference.reference_pages(ROOT), "reference/modules.md": reference.modules_page(ROOT)}
    pages |= {"reference/commands.md": commands.commands_page(), "examples.md": reference.examples_page(ROOT)}
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("](examples)", "](examples.md)")
        pages[name.lower()] = text.replace("](docs/", "](")
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put generated text and inline diagrams where their marks stand."""
    markdown = re.sub(r"^<!-- generated: (\w+) -->$", _generated, markdown, flags=re.MULTILINE)
    return re.sub(r"^!\[[^\]]*\]\(([\w./-]+\.svg)\)$", _inline, markdown, flags=re.MULTILINE)


def _generated(found: re.Match[str]) -> str:
    """What a mark stands for."""
    return str(MARKS[found[1]](ROOT))


def on_page_content(html: str, **_: Any) -> str:
    """Mark what narrow screens must not squeeze (style.css): cells that hold sentences, options in code."""
    html = re.sub(r"<td>(.*?)</td>", _cell, html, flags=re.DOTALL)
    html = re.sub(r'<div class="language-text highlight"><pre>.*?</pre>', _code, html, flags=re.DOTALL)
    return re.sub(r"<code>[^<]*</code>", _code, html)


def _cell(found: re.Match[str]) -> str:
    """A cell, of the class ``long`` where it holds more than some words."""
    text = re.sub(r"<[^>]+>", "", found[1])
    return f'<td class="long">{found[1]}</td>' if len(text) > LONG else found[0]


def _code(found: re.Match[str]) -> str:
    """Commands, whose options do not break after their hyphens; tags are left as they are."""
    return re.sub(r"(?<![\w-])--?[a-z][\w-]*(?![^<]*>)", r'<span class="option">\g<0></span>', found[0])


def on_post_build(config: Any) -> None:
    """Refuse a site that would ask another server for anything."""
    for path in sorted(Path(config["site_dir"]).rglob("*.html")):
        if tags := fetched(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path}: expected nothing from other servers, got {', '.join(tags)}")


def fetched(page: str) -> list[str]:
    """What a browser would get from another server when it shows the page; links to click are none.

    Example:
        >>> fetched('<a href="https://a.b">x</a> <img src="c.png"> <script src="https://d.e/f.js"></script>')
        ['<script src="https://d.e/f.js">']
    """
    tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page)
    return [tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)]


def _inline(found: re.Match[str]) -> str:
    """An SVG as part of the page, so that it follows the page's colours; NAME-tall.svg for narrow screens."""
    path = ROOT / "docs" / "images" / Path(found[1]).name
    tall = path.with_stem(f"{path.stem}-tall")
    drawings = {"": path} if not tall.exists() else {" wide": path, " tall": tall}
    return "".join(
        f'<div class="diagram{kind}">{drawn.read_text(encoding="utf-8").strip()}</div>'
        for kind, drawn in drawings.items()
    )
