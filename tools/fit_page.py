"""The page of a run of `headwarp fit`: `report.html`, everything inside, the worst fits first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .bench.timing import versions
from .fit_report import COUNTS, JITTERS
from .fit_sheet import BAD_PERCENT, Row
from .pages.charts import bars, curves
from .pages.pictures import figure, jpeg, strip
from .pages.text import facts, folded, link, number, text, tiles
from .pages.text import name as name_of
from .pages.writer import Page, open_page, row

LINKS = (
    ("clips", "Worst first"),
    ("all", "All inputs"),
    ("notes", "Notes and failures"),
    ("how", "How it was made"),
)
PICTURES, TABLE = 2_400_000, 1_600_000  # bytes
TOLD = 200  # notes and failures
COLUMNS = (
    *("input", "frames", *COUNTS, "residual, %", "worst frame, %", "jitter, px", "rotation jitter, deg"),
    *("identity, mm", "pictures"),
)


def write_fit_page(
    path: Path,
    report: Mapping[str, Any],
    entries: Iterable[Mapping[str, Any]],
    rows: Mapping[int, Row],
    *,
    place: Path,
) -> None:
    """Write the page; its size and the memory it takes do not grow with the run.

    Args:
        path: of the page.
        report: of `fit_report.summary`.
        entries: of all inputs; they are passed over twice.
        rows: of the clips that are shown, worst first, by the numbers of their inputs.
        place: folder where the page will lie, beside the fits.

    Raises:
        HeadwarpError: it cannot be written.
    """
    from .. import __version__

    title = f"headwarp fit: {report['done']} of {report['inputs']} inputs"
    with open_page(path, title, links=LINKS) as page:
        page.write(f'<p class="soft">headwarp {text(__version__)}, {text(place.name)}</p>')
        page.write(_summary(report))
        residuals, jitters = _spread(entries)
        across = "residual, % of the eye distance: how many inputs"
        shown = bars(across, residuals) + bars("jitter as fitted, px of 256: how many clips", jitters)
        page.write(f'<div class="charts">{shown}</div>')
        with page.section("Worst first, then some evenly taken", anchor="clips", limit=PICTURES) as part:
            words = "Mesh over its frames; under each the number of the frame and its residual"
            part.add(
                f'<p class="soft">{words}, red above {BAD_PERCENT:g} %. Shaded: no face was detected.</p>'
            )
            for item in rows.values():
                part.add(_card(item))
        with page.section("All inputs", anchor="all", limit=TABLE) as part:
            part.add('<p class="soft">A click on a head sorts.</p>')
            page.table(part, COLUMNS, _rows(entries, place / path.name))
        _notes(page, report)
        _how(page, report)


def _summary(report: Mapping[str, Any]) -> str:
    failed, frames = report["inputs"] - report["done"], max(report["frames"], 1)
    seconds = report["seconds_per_frame"]
    jitter = report["jitter"]
    found = [
        ("inputs fitted", f"{report['done']} of {report['inputs']}", "bad" if failed else "good"),
        ("frames", str(report["frames"]), ""),
        *((f"frames {name}", f"{100 * report[name] / frames:.1f} %", "") for name in COUNTS),
        ("residual, % of the eye distance", number(report["reprojection_percent_iod"]), ""),
        ("jitter as fitted, px of 256", number(jitter["fitted"]), ""),
        ("jitter as detected, px of 256", number(jitter["detected"]), ""),
        ("jitter of the pose, degrees", number(jitter["rotation_deg"]), ""),
        ("frames a second", number(1 / seconds["total"] if seconds["total"] else None, 0), ""),
    ]
    identity = report.get("identity") or {}
    if identity.get("within_mm") is not None:
        found.append(("halves of a clip apart, mm", number(identity["within_mm"]), ""))
        found.append(("persons apart, mm", number(identity["between_mm"]), ""))
    return tiles(found)


def _spread(entries: Iterable[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Residual and jitter of every fitted input; NaN for none."""
    done = [(e["reprojection_percent_iod"], e["jitter"]["fitted"]) for e in entries if e["ok"]]
    values = np.array(done, dtype=np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _card(item: Row) -> str:
    name, *rest = item.lines
    photo = len(item.tiles) == 1 and not item.series
    pictures = [
        figure(jpeg(picture), caption.partition(": ")[2] if photo else caption, bad=bad)
        for picture, caption, bad in item.tiles
    ]
    warning = " class=bad" if item.bad else ""
    if photo:  # several beside each other; of its one frame the caption says all
        return f'<article class="card small"><h3{warning}>{name_of(name)}</h3>{strip(pictures)}</article>'
    head = f'<h3{warning}>{name_of(name)}</h3><p class="soft">{text(", ".join(rest))}</p>'
    return f'<article class="card">{head}{strip(pictures)}{_charts(item)}</article>'


def _charts(item: Row) -> str:
    """Residual, jitter and pose of a clip over its frames."""
    series = item.series
    if not series:
        return ""
    residual = series["residual"]
    places, absent = np.arange(len(residual), dtype=np.float64), ~np.isfinite(residual)
    pose = {name: series[name] for name in ("yaw", "pitch", "roll")}
    shown = [
        curves("residual, % over frames", places, {"residual": residual}, absent=absent, zero=True),
        curves(
            "jitter, px of 256 over frames", places, {"jitter": series["jitter"]}, absent=absent, zero=True
        ),
        curves("head, degrees over frames", places, pose, absent=absent),
    ]
    return f'<div class="charts">{"".join(shown)}</div>'


def _rows(entries: Iterable[Mapping[str, Any]], page: Path) -> Iterator[str]:
    for entry in entries:
        name = name_of(entry["name"])
        if not entry["ok"]:
            yield row([name, *["\u2013"] * (len(COLUMNS) - 2), '<span class="bad">failed</span>'])
            continue
        worst = entry.get("worst_frame") or {}
        files = [
            link(Path(entry[k]), w, beside=page)
            for k, w in (("overlay", "mesh"), ("video", "video"), ("curves", "curves"))
            if entry.get(k)
        ]
        counts = [str(entry[key]) for key in ("frames", *COUNTS)]
        yield row(
            [
                *(name, *counts, number(entry["reprojection_percent_iod"]), number(worst.get("percent"))),
                *(number(entry["jitter"][key]) for key in JITTERS[1:]),
                *(number(entry.get("identity_halves_mm")), " ".join(files)),
            ]
        )


def _notes(page: Page, report: Mapping[str, Any]) -> None:
    with page.section("Notes and failures", anchor="notes") as part:
        failed, messages = list(report["failed"].values())[:TOLD], report["messages"][:TOLD]
        if not failed and not messages:
            part.add("<p>None.</p>")
        for words, lines in (("failed", failed), ("notes", messages)):
            if lines:
                inside = "".join(f"<li>{text(line, longest=400)}</li>" for line in lines)
                part.add(folded(f"{words} ({len(lines)})", f"<ul>{inside}</ul>", shown=len(lines) <= 10))
        lost = len(report["failed"]) + len(report["messages"]) - len(failed) - len(messages)
        if lost:
            part.add(f"<p>{lost} more stand in report.json and manifest.jsonl.</p>")


def _how(page: Page, report: Mapping[str, Any]) -> None:
    from .. import __version__

    with page.section("How it was made", anchor="how") as part:
        part.add(f"<h3>What the numbers mean</h3>{facts(report['definitions'])}")
        part.add(f"<h3>Options</h3>{facts(report['protocol'])}")
        part.add(f"<h3>Licences of the models</h3>{facts(report['licences'])}")
        part.add(f"<h3>Versions</h3>{facts({'headwarp': __version__, **versions()})}")
