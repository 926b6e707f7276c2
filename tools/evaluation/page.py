"""The page of a run of `headwarp evaluate`: numbers, every clip, its pictures and its curves, in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...training.metrics.definitions import HIGHER_IS_BETTER
from ..bench.timing import versions
from ..pages.charts import curves
from ..pages.pictures import figure, jpeg, strip
from ..pages.text import facts, folded, number, text, tiles
from ..pages.writer import Page, Section, open_page, row
from .measure import Outcome, shown_steps
from .report import COUNTS

LINKS = (("numbers", "Numbers"), ("clips", "Every clip"), ("seen", "Pictures and curves"), ("how", "How"))
NUMBERS, TABLE, SEEN = 500_000, 1_200_000, 2_900_000  # bytes
FEW = 12  # clips; of each of more than these one row of pictures is shown
CURVED = ("l1", "akd", "csim", "apd", "aed_exp_l1")  # errors over frames, the first that were measured
CHARTS = 3  # a clip
NEITHER = frozenset({"jitter_driver"})  # not the animator's own, so that none is the best
TOLD = 200  # failures
Report = Mapping[str, Any]


def write_evaluation_page(
    path: Path, report: Report, outcomes: Mapping[str, Outcome], *, options: Mapping[str, str]
) -> None:
    """Write the page; what does not fit into its size is left out and counted.

    Args:
        path: of the page.
        report: of `report_of`, with the geometry sources where they were compared.
        outcomes: by clip or pair, as measured; their pictures are shown.
        options: of the run that were given, by name.

    Raises:
        HeadwarpError: it cannot be written.
    """
    from ... import __version__

    title = f"headwarp evaluate: {', '.join(report['metrics'])}"
    with open_page(path, title, links=LINKS) as page:
        page.write(f'<p class="soft">headwarp {text(__version__)}</p>')
        failed, count = len(report["failed"]), len(outcomes)
        frames = sum(len(outcome.times) for outcome in outcomes.values())
        measured = ("measured", f"{count} of {count + failed}", "bad" if failed else "good")
        page.write(tiles([measured, ("frames", str(frames), "")]))
        with page.section("Numbers", anchor="numbers", limit=NUMBERS) as part:
            _numbers(page, part, report)
        with page.section("Every clip", anchor="clips", limit=TABLE) as part:
            part.add('<p class="soft">A click on a head sorts.</p>')
            keys = list(next(iter(next(iter(report["clips"].values())).values())))
            page.table(part, ["clip", "animator", *keys], _rows(report, keys), words=2)
        with page.section("Pictures and curves", anchor="seen", limit=SEEN) as part:
            shown = None if count <= FEW else 1
            for name, outcome in outcomes.items():
                part.add(_card(name, outcome, report, rows=shown))
        _how(page, report, options)


def _numbers(page: Page, part: Section, report: Report) -> None:
    """Metrics by animator with what they mean, differences, and the geometry sources."""
    animators = report["metrics"]
    columns = ["metric", *animators, "better"]
    page.table(part, columns, (_metric(key, animators) for key in report["definition_ids"]))
    part.add('<p class="soft">Green: the best of a row.</p>')
    ids = report["definition_ids"]
    meant = {ids.get(key, key): words for key, words in report["definitions"].items()}
    part.add(folded("What the numbers mean", facts(meant), shown=True))
    if report["absent"]:
        part.add(folded(f"{len(report['absent'])} not measured, and why", facts(report["absent"])))
    if "difference" in report:
        part.add("<h3>Differences</h3>")
        words = (
            "Mean of the animator less the one it is compared with, and its interval by a paired bootstrap "
            "over clips and blocks of neighbouring frames. With one clip it speaks of that clip only."
        )
        part.add(f'<p class="soft">{words}</p>')
        columns = ["metric", "animator", "less", "mean", "low", "high", "level", "verdict"]
        page.table(part, columns, _differences(report["difference"]), words=3)
    if "sources" in report:
        _sources(page, part, report["sources"])


def _metric(key: str, animators: Mapping[str, Mapping[str, float]]) -> str:
    values = {name: found[key] for name, found in animators.items() if np.isfinite(found.get(key, np.nan))}
    higher = key in HIGHER_IS_BETTER
    best = (max if higher else min)(values.values(), default=None)
    marked = key not in NEITHER and len(set(values.values())) > 1
    cells = []
    for name in animators:
        shown = number(values.get(name), 4)
        good = marked and values.get(name) == best
        cells.append(f'<span class="good">{shown}</span>' if good else shown)
    side = "\u2013" if key in NEITHER else "higher" if higher else "lower"
    return row([text(key), *cells, side])


def _differences(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    for name, metrics in found.items():
        for key, values in metrics.items():
            kind, side = ("good", "better") if values["better"] else ("bad", "worse")
            certain = f'<span class="{kind}">{side}</span>'
            verdict = certain if values["excludes_zero"] else "0 is not excluded"
            ends = (f"{values[end]:+.4f}" for end in ("mean", "low", "high"))
            yield row(
                [*(text(word) for word in (key, name, values["against"])), *ends]
                + [f"{values['level']:.0%}", verdict]
            )


def _sources(page: Page, part: Section, compared: Mapping[str, Any]) -> None:
    part.add(f"<h3>Geometry sources, {compared['clips']} clip(s)</h3>")
    keys = list(compared["definitions"])
    rows = (
        row([text(name), *(number(errors[key]) for key in keys)])
        for name, errors in compared["errors"].items()
    )
    page.table(part, ["source", *keys], rows)
    part.add(facts(compared["definitions"]))


def _rows(report: Report, keys: list[str]) -> Iterator[str]:
    for clip, animators in report["clips"].items():
        for name, values in animators.items():
            shown = (number(values.get(key), 0 if key in COUNTS else 4) for key in keys)
            yield row([f"<bdi>{text(clip)}</bdi>", f"<bdi>{text(name)}</bdi>", *shown])


def _card(clip: str, outcome: Outcome, report: Report, *, rows: int | None) -> str:
    """A clip: rows of source, driver and every animator, and its errors over its frames."""
    names = [name for name in report["metrics"] if name in outcome.scores]
    pictures = outcome.rows
    steps = sorted(shown_steps(len(outcome.times), len(pictures))) if pictures else []
    shown = list(zip(steps, pictures, strict=True))
    if rows == 1 and shown:
        shown = [shown[len(shown) // 2]]
    strips = []
    for step, seen in shown:
        captions = ["source", f"driver, frame {outcome.times[step]}", *names]
        strips.append(
            strip(figure(jpeg(picture), words) for picture, words in zip(seen, captions, strict=True))
        )
    head = f"<h3><bdi>{text(clip)}</bdi></h3>"
    return f'<article class="card">{head}{"".join(strips)}{_charts(outcome, names)}</article>'


def _charts(outcome: Outcome, names: list[str]) -> str:
    """Errors over frames; nothing of a trial of one frame."""
    if len(outcome.times) < 2:
        return ""
    places = np.asarray(outcome.times, np.float64)
    found = []
    for key in CURVED:
        series = {
            name: outcome.scores[name].frames[key] for name in names if key in outcome.scores[name].frames
        }
        drawn = curves(f"{key} over frames", places, series, zero=key != "csim") if series else ""
        found += [drawn] if drawn else []
    return f'<div class="charts">{"".join(found[:CHARTS])}</div>' if found else ""


def _how(page: Page, report: Report, options: Mapping[str, str]) -> None:
    from ... import __version__

    with page.section("How", anchor="how") as part:
        failed = dict(list(report["failed"].items())[:TOLD])
        if failed:
            title = f"{len(report['failed'])} could not be measured"
            part.add(folded(title, facts(failed, longest=400), shown=len(failed) <= 10))
        part.add(f"<h3>Options</h3>{facts(options)}")
        part.add(f"<h3>Protocol</h3>{facts(report['protocol'])}")
        part.add(f"<h3>Versions</h3>{facts({'headwarp': __version__, **versions()})}")
