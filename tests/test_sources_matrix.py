"""docs/sources.md: every cell of its matrix is run, and holds for every source and animator there is."""

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from toy_scene import driving, source

from headwarp.geom import sources
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import PRODUCERS, Driving, Source
from headwarp.warping.animators import animator_names, load_animator

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "sources.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
]
HEADER, BODY = ROWS[0], ROWS[2:]
ANIMATORS = [name.strip("`") for name in HEADER[2:]]
CELLS = [(row, name, row[2 + column]) for row in BODY for column, name in enumerate(ANIMATORS)]


def fields(cell):
    return re.findall(r"`(\w+)`", cell)


def observed(row):
    """Source and driver that hold the picture and what the row reads, nothing else."""
    held = {"image", *fields(row[1])}
    full = {Source: source(), Driving: driving()}
    names = {kind: {f.name for f in dataclasses.fields(kind)} & held for kind in full}
    return tuple(kind(**{n: getattr(full[kind], n) for n in names[kind]}) for kind in (Source, Driving))


def test_every_animator_has_a_column():
    assert sorted(ANIMATORS) == list(animator_names())
    assert all(len(row) == len(HEADER) for row in BODY)


def test_every_source_has_a_row_that_says_what_it_reads():
    files = {module.name for module in pkgutil.iter_modules(sources.__path__)}
    rows = {row[0].strip("`"): fields(row[1]) for row in BODY if row[0].startswith("`")}
    assert set(rows) == files
    for name, reads in rows.items():
        module = importlib.import_module(f"headwarp.geom.sources.{name}")
        (cls,) = [
            c for c in vars(module).values() if hasattr(c, "prepare") and c.__module__ == module.__name__
        ]
        assert set(reads) == {*cls.needs_source, *cls.needs_driving} - {"image"}


@pytest.mark.parametrize(("row", "name", "cell"), CELLS, ids=[f"{r[0].strip('`')}-{n}" for r, n, _ in CELLS])
def test_a_cell_is_what_happens(row, name, cell):
    animator, (src, drive) = load_animator(name), observed(row)
    if cell == "yes":
        assert animator.animate(animator.encode([src]), drive).image.shape == src.image.shape
        return
    (need,) = fields(cell)
    assert cell == f"needs `{need}`"
    with pytest.raises(HeadwarpError) as caught:
        animator.animate(animator.encode([src]), drive)
    assert str(caught.value) == (
        f"{name}: Source.{need}: expected a tensor, got None; it is made by {PRODUCERS[need]}"
    )


def test_the_error_that_the_page_shows_is_the_real_one():
    (shown,) = re.findall(r"```\n(.*?)\n```", PAGE, flags=re.S)
    with pytest.raises(HeadwarpError) as caught:
        load_animator("tps").encode([source(landmarks=None)])
    assert str(caught.value) == shown
