"""docs/sources.md: every cell of its matrix is run, and holds for every source and animator there is."""

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from toy_animators import loaded
from toy_scene import driving, source

from headwarp.geom import sources
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import PRODUCERS, Driving, Source
from headwarp.warping.animators import animator_names, load_animator
from headwarp.warping.guided import GuidedAnimator

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "sources.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE[PAGE.index("| source |") :].split("\n\n")[0].splitlines()
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


def source_of(row):
    """The geometry source that a row is of; None for those of what is known without one."""
    name = row[0].strip("`")
    if name == row[0]:
        return None
    module = importlib.import_module(f"headwarp.geom.sources.{name}")
    (cls,) = [c for c in vars(module).values() if hasattr(c, "prepare") and c.__module__ == module.__name__]
    return cls()


def guided(animator, row):
    """The animator, guided by the row's source where it takes guidance and has no mesh to move it."""
    maker = source_of(row)
    if maker is None or not hasattr(animator, "encode_guided") or "posed_vertices" in maker.needs_source:
        return animator
    return GuidedAnimator(animator, maker)


def test_every_animator_has_a_column():
    assert sorted(ANIMATORS) == list(animator_names())
    assert all(len(row) == len(HEADER) for row in BODY)


def test_every_source_has_a_row_that_says_what_it_reads():
    files = {module.name for module in pkgutil.iter_modules(sources.__path__)}
    rows = {row[0].strip("`"): row for row in BODY if row[0].startswith("`")}
    assert set(rows) == files
    for row in rows.values():
        maker = source_of(row)
        assert set(fields(row[1])) == {*maker.needs_source, *maker.needs_driving} - {"image"}


@pytest.mark.parametrize(("row", "name", "cell"), CELLS, ids=[f"{r[0].strip('`')}-{n}" for r, n, _ in CELLS])
def test_a_cell_is_what_happens(row, name, cell):
    animator, (src, drive) = guided(loaded(name), row), observed(row)
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


@pytest.mark.parametrize("row", [r for r in BODY if r[0].startswith("`")], ids=lambda row: row[0].strip("`"))
def test_every_source_guides_every_animator_that_takes_guidance(row):
    src, drive = observed(row)
    takers = [a for a in map(loaded, ANIMATORS) if hasattr(a, "encode_guided")]
    assert len(takers) >= 2
    for animator in takers:
        made = GuidedAnimator(animator, source_of(row))
        assert made.animate(made.encode([src]), drive).image.shape == src.image.shape


def test_the_error_that_the_page_shows_is_the_real_one():
    (shown,) = re.findall(r"```\n(tps: .*?)\n```", PAGE, flags=re.S)
    with pytest.raises(HeadwarpError) as caught:
        load_animator("tps").encode([source(landmarks=None)])
    assert str(caught.value) == shown
