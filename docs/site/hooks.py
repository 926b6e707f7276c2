"""MkDocs hooks: the generated pages, and what stands in pages that are not generated."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(Path(__file__).parent))
reference = importlib.import_module("reference")

MARKS = {"conventions": reference.conventions, "definitions": reference.definitions}
"""``<!-- generated: NAME -->`` in a page stands for what these make of the package."""


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
    pages |= {"reference/commands.md": commands_page(), "examples.md": reference.examples_page(ROOT)}
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        pages[name.lower()] = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
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
    """An SVG as part of the page, so that it follows the page's colours."""
    drawing = (ROOT / "docs" / "images" / Path(found[1]).name).read_text(encoding="utf-8")
    return f'<div class="diagram">{drawing.strip()}</div>'


def commands_page() -> str:
    """The help of every command, as a terminal of 100 columns shows it."""
    from headwarp.tools import cli

    parts = [
        "# Commands",
        "What `headwarp COMMAND --help` prints. Every command exits with 0 only if the work was done, 1 if "
        "it was not (one sentence says why), 2 if the arguments are wrong and 130 if it was interrupted.",
    ]
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        for name in cli.COMMANDS:
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                cli.main([*name.split(), "--help"])
            parts += [f"## {name}", cli.summary(name), f"```text\n{plain(shown.getvalue())}\n```"]
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Help without colours and frames, which narrow screens would break.

    Example:
        >>> plain("usage: x\\n\\n╭─ options ──╮\\n│ --a INT  A. │\\n╰───────────╯")
        'usage: x\\n\\noptions\\n  --a INT  A.'
    """
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines():
        if line.startswith("╰"):
            lines.append("")
        elif line.startswith("╭"):
            lines.append(line.strip("╭╮─ "))
        elif line.startswith("│"):
            lines.append("  " + line.strip("│").strip())
        else:
            lines.append(line)
    return "\n".join(lines).strip()
