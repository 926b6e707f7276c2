"""The site of docs/: every page has its place, generated pages are the code's, nothing is fetched."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import inspect
import io
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import headwarp
from headwarp.tools import cli
from headwarp.training.metrics.definitions import DEFINITIONS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


class Loader(yaml.SafeLoader):
    """YAML with tags of Python passed over: none is run."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
CONFIG: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = loaded("reference")


def pages_of(nav: Any) -> list[str]:
    """Every page that a part of the nav names."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]


def test_the_nav_names_only_pages_that_there_are():
    generated = {
        *REFERENCE.reference_pages(ROOT),
        "reference/modules.md",
        "reference/commands.md",
        "examples.md",
    }
    known = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | generated
    assert set(pages_of(CONFIG["nav"])) - known == {"changelog.md", "contributing.md"}


def test_every_public_name_has_its_place_and_no_other_has():
    named = re.findall(
        r"^::: headwarp\.(\w+)$", "\n".join(REFERENCE.reference_pages(ROOT).values()), re.MULTILINE
    )
    assert sorted(named) == headwarp.__all__
    assert REFERENCE.exported(ROOT) == headwarp._EXPORTS


def test_a_name_from_a_folder_without_a_page_is_an_error(tmp_path):
    (tmp_path / "__init__.py").write_text('_EXPORTS: dict[str, str] = {"new": ".training.new"}\n')
    with pytest.raises(KeyError, match="training"):
        REFERENCE.reference_pages(tmp_path)
    (tmp_path / "__init__.py").write_text("")
    with pytest.raises(LookupError, match="expected a table _EXPORTS"):
        REFERENCE.exported(tmp_path)


def test_modules_are_listed_with_their_sentences():
    page = REFERENCE.modules_page(ROOT)
    assert "| `headwarp.geom.flow` | " in page
    assert "._" not in page
    assert not re.findall(r"\|  \|$", page, re.MULTILINE), "a module without a docstring"


def test_every_example_has_its_place_and_its_code():
    page = REFERENCE.examples_page(ROOT)
    scripts = sorted(path.name for path in (ROOT / "examples").glob("[0-9]*.py"))
    assert re.findall(r'^```python title="examples/(.*)"$', page, re.MULTILINE) == scripts
    assert page.count("Teaches ") == page.count("\n## ") == len(scripts)
    assert "## Fit a photo\n\nFit a head to a photo" in page
    assert "```\npython examples/01_fit_a_photo.py --photo me.jpg --output outputs/fit\n```" in page


def test_conventions_and_definitions_are_the_codes():
    conventions = REFERENCE.conventions(ROOT)
    assert re.findall(r"^## (.*)$", conventions, re.MULTILINE)[:2] == ["Frames", "Units"]
    assert "Ry(yaw) Rx(pitch) Rz(roll)" in conventions
    table = REFERENCE.definitions(ROOT)
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(DEFINITIONS)
    assert DEFINITIONS["akd"] in table


def test_examples_of_the_generator():
    assert doctest.testmod(REFERENCE) == (0, 1)


def test_examples_of_the_hooks():
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    assert doctest.testmod(loaded("hooks")) == (0, 1)
    assert doctest.testmod(loaded("commands")) == (0, 1)


def test_docstrings_are_read_as_they_are_meant():
    griffe = pytest.importorskip("griffe", reason="the extra docs is not installed")
    extension = loaded("docstrings")
    assert doctest.testmod(extension) == (0, 3)
    text = extension.readable(inspect.getdoc(headwarp.HeadFit) + "\n")
    attributes, examples = griffe.Docstring(text).parse("google")[-2:]
    assert [each.name for each in attributes.value] == [each.name for each in fields(headwarp.HeadFit)]
    assert examples.kind.value == "examples"
    shared = griffe.Docstring(extension.readable(inspect.getdoc(headwarp.HeadParams) + "\n")).parse("google")[
        -1
    ]
    assert [each.name for each in shared.value] == [each.name for each in fields(headwarp.HeadParams)]
    (handler,) = (
        each["mkdocstrings"]["handlers"]["python"] for each in CONFIG["plugins"] if "mkdocstrings" in each
    )
    assert handler["options"]["extensions"] == ["docs/site/docstrings.py"]


def test_help_of_a_command_is_all_there_and_nothing_else():
    pages = loaded("commands")
    shown = io.StringIO()
    with pages._columns(pages.WIDTH), contextlib.redirect_stdout(shown):
        cli.main(["bench", "--help"])
    page = pages.markdown(shown.getvalue())
    named = re.findall(r"^`(?:-h, )?(--[\w.-]+)", page, re.MULTILINE)
    printed = re.findall(r"^  (?:-h, )?(--\w[\w.-]+)", shown.getvalue(), re.MULTILINE)
    assert ["--help", *named] == printed
    words = re.sub(r"\(default:(\s+None)?\s*\)|-{9,}|`", "", shown.getvalue()).split()
    kept = re.sub(r"^:  |\*\*|^```text$|[`\\]", "", page, flags=re.MULTILINE).split()
    assert [word for word in words if word not in "-h, --help show this help message and exit"] == [
        word for word in kept if word not in "-h, --help show this help message and exit"
    ]


def test_every_picture_is_shown_and_says_how_it_is_made_anew():
    source = (DOCS / "site" / "pictures.py").read_text(encoding="utf-8")
    pages = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *DOCS.rglob("*.md")])
    files = {path.name for path in (DOCS / "images").iterdir()}
    assert {name for name in files if f"images/{name})" not in pages} == {"favicon.svg", "way-tall.svg"}
    assert {name for name in files if Path(name).suffix in (".jpg", ".webp") and name not in source} == set()
    made = loaded("pictures").PICTURES
    assert {f"{name}.jpg" for name in made if name != "animate"} <= files


def test_narrow_screens_get_cells_and_drawings_of_their_own():
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    hooks = loaded("hooks")
    cells = f"<td>0.5</td><td>{'<em>a word</em> ' * 9}</td><td><code>{'x' * 49}</code></td>"
    assert re.findall(r"<td( class=\"long\")?>", hooks.on_page_content(cells)) == ["", *2 * [' class="long"']]
    block = '<div class="{}highlight"><pre><code><span id="a--b">headwarp fit {}</span></code></pre></div>'
    code = "<p><code>evaluate --still-camera no-op</code></p>" + block.format("language-text ", "--json a-b")
    shown = hooks.on_page_content(code + block.format("language-python ", "--size"))
    assert re.findall(r'<span class="option">(.*?)</span>', shown) == ["--still-camera", "--json"]
    assert shown.count('id="a--b"') == 2
    for drawing in (DOCS / "images").glob("*-tall.svg"):
        wide = drawing.with_stem(drawing.stem.removesuffix("-tall"))
        said = [set(re.findall(r'class="[ts]">([^<]*)<', path.read_text())) for path in (wide, drawing)]
        assert said[0] == said[1], "both drawings name the same things"


def test_marks_and_diagrams_are_put_in_where_they_stand_alone():
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    hooks = loaded("hooks")
    page = "a\n\n<!-- generated: definitions -->\n\n`<!-- generated: NAME -->`\n\n![way](images/way.svg)\n"
    shown = hooks.on_page_markdown(page)
    assert "| `akd` |" in shown
    assert "`<!-- generated: NAME -->`" in shown
    assert '<div class="diagram wide"><svg class="way"' in shown
    assert '<div class="diagram tall"><svg class="way"' in shown
    with pytest.raises(KeyError, match="wrong"):
        hooks.on_page_markdown("<!-- generated: wrong -->")


def test_nothing_is_fetched_from_elsewhere():
    assert CONFIG["theme"]["font"] is False
    for key in ("extra_javascript", "repo_url"):
        assert key not in CONFIG
    assert not [css for css in CONFIG["extra_css"] if "://" in css]
    assert "analytics" not in CONFIG["extra"]
