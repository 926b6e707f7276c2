"""Pages: well-formed, nothing from outside, nothing that escapes, and never too large."""

import html
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from page_reader import read_page

from headwarp.geom.errors import HeadwarpError
from headwarp.tools.fit_page import write_fit_page
from headwarp.tools.fit_report import summary
from headwarp.tools.fit_sheet import Row
from headwarp.tools.pages.charts import POINTS, bars, curves, thinned
from headwarp.tools.pages.pictures import figure, jpeg
from headwarp.tools.pages.text import link, name, number, text
from headwarp.tools.pages.writer import LARGEST, open_page, row

NASTY = [
    *("<script>alert(1)</script>", "\"x' onload=y", "</title></style>", "a\x00\x1b\u202egpj", "\udcff"),
    *("&amp;", "n" * 5000),
]


def entry(name: str, **more) -> dict:
    return {
        "name": name,
        "ok": True,
        "frames": 1000,
        "detected": 990,
        "interpolated": 4,
        "missing": 6,
        "reprojection_percent_iod": 1.25,
        "jitter": {"detected": 1.0, "fitted": 0.5, "rotation_deg": None},
        "seconds_per_frame": {"total": 0.1},
        "messages": [f"{name} is odd"],
        "output": Path(f"/runs/out/{name[:80]}.npz"),
        "overlay": Path(f"/runs/out/overlays/{name[:80].replace(chr(0), '')}.png"),
        "worst_frame": {"frame": 3, "percent": 4.5},
        "identity_halves_mm": None,
        **more,
    }


def shown_row(name: str, *, frames: int = 100, side: int = 132) -> Row:
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 255, (side, side, 3), dtype=np.uint8)
    line = generator.normal(1, 0.2, frames)
    series = dict.fromkeys(("residual", "jitter", "yaw", "pitch", "roll"), line)
    return Row((name, "residual 1.25 %"), True, ((picture, "3: 4.5 % worst", True),) * 5, series)


def written(path, entries, rows):
    report = summary(
        entries, messages=[], protocol={"head": NASTY[0]}, startup=0.0, more={"licences": {"h": "l"}}
    )
    write_fit_page(path, report, entries, rows, place=Path("/runs/out"))


def test_a_page_of_hostile_names_is_one_page(tmp_path):
    entries = [entry(name) for name in NASTY] + [{"name": NASTY[0], "ok": False, "error": NASTY[1]}]
    written(tmp_path / "r.html", entries, {n: shown_row(name) for n, name in enumerate(NASTY)})
    page = read_page(tmp_path / "r.html")
    assert page.tags["script"] == 1
    assert page.tags["title"] == page.tags["style"] == page.tags["h1"] == 1
    assert page.tags["article"] == len(NASTY)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.words  # as text
    assert all(address.startswith(("#", "./")) for address in page.links)
    assert page.sources
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.sources)
    assert not re.search(r"https?:|url\(|@import|\x00|\u202e", (tmp_path / "r.html").read_text())


def test_photos_stand_beside_each_other_and_need_no_number_of_a_frame(tmp_path):
    clip = shown_row("clip")
    photo = Row(("photo", "residual 1.87 %", "1 frame(s)"), False, ((clip.tiles[0][0], "0: 2.0 %", False),))
    written(tmp_path / "r.html", [entry("photo"), entry("clip")], {0: photo, 1: clip})
    content = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert content.count('<article class="card small">') == 1
    assert content.count('<article class="card">') == 1
    page = read_page(tmp_path / "r.html")
    assert "0: 2.0 %" not in page.words
    assert "2.0 %" in page.words
    assert "3: 4.5 % worst" in page.words


def test_names_that_stay_within_elements():
    assert text('<b a="x">') == "&lt;b a=&quot;x&quot;&gt;"
    assert len(text("n" * 5000)) <= 160
    address = link(Path("/a/b/c d#?.png"), "mesh", beside=Path("/a/r.html"))
    assert address == '<a href="./b/c%20d%23%3F.png">mesh</a>'
    assert number(float("inf")) == number(None)


def test_a_run_of_thousands_stays_small_in_file_and_memory(tmp_path):
    """Random pictures, which do not compress, long names, inputs made as they are asked for."""

    class Many:
        def __iter__(self):
            return (entry(f"{number:05d}" + "n" * 150) for number in range(2500))

    report = summary(Many(), messages=[], protocol={}, startup=0.0, more={"licences": {}})
    picture = shown_row("x", frames=20_000)
    tracemalloc.start()
    write_fit_page(
        tmp_path / "r.html", report, Many(), dict.fromkeys(range(60), picture), place=Path("/runs/out")
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "r.html").stat().st_size <= LARGEST
    assert peak < 20e6
    page = read_page(tmp_path / "r.html")
    assert "Left out for the size of the page" in page.words
    assert 0 < page.tags["article"] < 60
    assert page.tags["details"] > 5


def test_what_does_not_fit_is_told(tmp_path):
    with open_page(tmp_path / "p.html", "t", links=()) as page:
        with page.section("s", anchor="s", limit=100) as part:
            assert part.add("<p>short</p>")
            assert not part.add(f"<p>{'x' * 200}</p>")
        with page.section("t", anchor="t", limit=10_000) as part:
            page.table(part, ["a"], (row([str(n)]) for n in range(2500)))
    words = read_page(tmp_path / "p.html").words
    assert "Left out for the size of the page: 1 more." in words
    assert "of 2500 rows are left out for the size of the page." in words


def test_a_page_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "p.html"
    path.write_text("old")
    with pytest.raises(RuntimeError), open_page(path, "t", links=()):
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["p.html"]
    with pytest.raises(HeadwarpError, match="is a folder"), open_page(tmp_path, "t", links=()):
        pass


def test_long_tables_are_paged_and_whole(tmp_path):
    with open_page(tmp_path / "p.html", "t", links=()) as page, page.section("s", anchor="s") as part:
        page.table(part, ["a", "b"], (row([str(n), "x"]) for n in range(250)))
    found = read_page(tmp_path / "p.html")
    assert (found.tags["tr"], found.tags["details"], found.tags["table"]) == (253, 2, 3)


def test_columns_of_words_are_set_as_their_heads(tmp_path):
    with open_page(tmp_path / "p.html", "t", links=()) as page, page.section("s", anchor="s") as part:
        page.table(part, ["a", "b", "c"], [row(["x", "y", "1"], words=2)], words=2)
    content = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<td>x</td><td class=w>y</td><td>1</td>" in content
    assert content.count('<th scope="col" class=w>') == 1


def test_a_long_name_breaks_where_its_words_end():
    assert name("a_b-c/d>e") == "<bdi>a_<wbr>b-<wbr>c/<wbr>d&gt;<wbr>e</bdi>"
    assert name("<_>") == "<bdi>&lt;_<wbr>&gt;<wbr></bdi>"


def test_a_picture_tells_its_size():
    wide = figure(jpeg(np.zeros((100, 400, 3), np.uint8)), "c")
    assert 'width="144" height="36"' in wide


# curves


def test_a_curve_keeps_its_peaks_however_long():
    values = np.zeros(50_000)
    values[31_234], values[77] = 5.0, -2.0
    kept = thinned(values)
    assert len(kept) <= POINTS
    assert {31_234, 77} <= set(kept)


def test_curves_are_drawn_where_they_should():
    values, absent = np.array([0.0, 1.0, np.nan]), np.array([False, False, True])
    svg = curves("t", np.arange(3.0), {"a": values}, absent=absent)
    points = re.search(r'class="l c0" d="M([\d. L]+)"', svg).group(1).split("L")
    (x0, y0), (x1, y1) = ([float(v) for v in p.split()] for p in points)
    assert (x0, y0, y1) == (40, 122, 8)  # left end at the bottom, the largest at the top
    assert x1 == pytest.approx(40 + 306 / 2)
    assert svg.count('class="gap"') == 1
    assert curves("t", np.arange(2.0), {"a": np.full(2, np.nan)}) == ""
    assert 'class="l c0"' in curves("t", np.zeros(1), {"a": np.ones(1)})


def test_a_seventh_curve_is_told_from_the_first():
    svg = curves("t", np.arange(3.0), {f"s{n}": np.full(3, float(n)) for n in range(8)})
    assert svg.count("dashed") == svg.count(" again") == 2
    assert 'class="l c0 again"' in svg
    assert "s6, dashed" in svg
    assert "again" not in curves("t", np.arange(3.0), {f"s{n}": np.full(3, float(n)) for n in range(6)})


def test_bars_count():
    svg = bars("t", np.array([0.0, 0.0, 0.0, 10.0, np.nan]))
    heights = [float(h) for h in re.findall(r'class="bar".*?height="([\d.]+)"', svg)]
    assert ">0.5<" not in bars("t", np.array([1.0, 2.0]))  # half an input is none
    assert heights == pytest.approx([114.0, 114 / 3], abs=0.1)


def test_a_browsers_policy_names_style_and_script(tmp_path):
    with open_page(tmp_path / "p.html", "t", links=()):
        pass
    content = (tmp_path / "p.html").read_text()
    policy = re.search(r'Security-Policy" content="([^"]+)"', content).group(1)
    assert html.unescape(policy).startswith("default-src 'none'; img-src data:; style-src 'sha256-")
