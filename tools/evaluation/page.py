"""The page of a run of `headwarp evaluate`: numbers, every clip, its pictures and its curves, in one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...training.metrics.definitions import HIGHER_IS_BETTER, UNITS
from ..pages.charts import curves
from ..pages.pictures import figure, strip
from ..pages.text import facts, folded, link, number, text, tiles
from ..pages.text import name as name_of
from ..pages.writer import Page, Section, open_page, row
from .animators import BASELINES
from .kept import FEWER, Kept, ShownRow
from .measure import Outcome
from .report import COUNTS
from .videos import evenly_taken

LINKS = (("numbers", "Numbers"), ("clips", "Every clip"), ("seen", "Pictures and curves"), ("how", "How"))
NUMBERS, TABLE, SEEN = 500_000, 1_200_000, 2_900_000  # bytes
TILES = ("l1", "psnr", "akd", "apd")
RANKS = ("akd", "l1", "apd")  # errors by which clips are ordered
CURVED = ("l1", "akd", "csim", "apd", "aed_exp_l1")  # errors over frames, the first that were measured
CHARTS = 3  # a clip
NEITHER = frozenset({"jitter_driver"})  # not the animator's own, so that none is the best
TOLD = 200  # failures
Report = Mapping[str, Any]


def write_evaluation_page(path: Path, report: Report, kept: Kept) -> None:
    """Write the page; what does not fit into its size is left out and counted.

    Args:
        path: of the page.
        report: of `report_of`, with the geometry sources where they were compared.
        kept: of the same run.

    Raises:
        HeadwarpError: it cannot be written.
    """
    outcomes = kept.outcomes
    title = f"headwarp evaluate: {', '.join(report['metrics'])}"
    with open_page(path, title, links=LINKS) as page:
        page.write(f'<p class="soft">headwarp {text(kept.versions.get("headwarp", "?"))}</p>')
        page.write(_summary(report, outcomes))
        with page.section("Numbers", anchor="numbers", limit=NUMBERS) as part:
            _numbers(page, part, report)
        with page.section("Every clip", anchor="clips", limit=TABLE) as part:
            part.add('<p class="soft">A click on a head sorts. Units as above.</p>')
            keys = list(next(iter(next(iter(report["clips"].values())).values())))
            page.table(part, ["clip", "animator", *keys], _rows(report, keys), words=2)
        with page.section("Pictures and curves", anchor="seen", limit=SEEN) as part:
            order, words = worst_first(outcomes, report["metrics"])
            part.add(f'<p class="soft">{text(words)}</p>')
            large = len(outcomes) <= FEWER
            for clip in order:
                part.add(_card(clip, outcomes[clip], kept.pictures[clip], report, page=path, large=large))
        _how(page, report, kept)


def _summary(report: Report, outcomes: Mapping[str, Outcome]) -> str:
    """How much was measured, and the first numbers of the animator that was asked for."""
    failed, count = len(report["failed"]), len(outcomes)
    frames = sum(len(outcome.times) for outcome in outcomes.values())
    shown = [("measured", f"{count} of {count + failed}", "bad" if failed else "good")]
    shown.append(("frames", str(frames), ""))
    name = asked_for(report["metrics"])
    for key in TILES:
        if np.isfinite(report["metrics"][name].get(key, np.nan)):
            caption = ", ".join(filter(None, (f"{key} of {name}", UNITS.get(key))))
            shown.append((caption, number(report["metrics"][name][key], 3), ""))
    return tiles(shown)


def asked_for(names: Iterable[str]) -> str:
    """The first animator that is no baseline; the first of all where there is none."""
    every = list(names)
    return next((name for name in every if name.split(" ")[0] not in BASELINES), every[0])


def worst_first(outcomes: Mapping[str, Outcome], names: Iterable[str]) -> tuple[list[str], str]:
    """The clips by the first of `RANKS` that was measured, of the animator that was asked for.

    Returns:
        Clips, those without a number first: no face was found in what was made of them; and how they are
        ordered, for people.
    """
    name = asked_for(names)
    means = {clip: o.scores[name].means for clip, o in outcomes.items() if name in o.scores}
    for key in RANKS:
        values = {clip: found.get(key, np.nan) for clip, found in means.items()}
        if np.isfinite(list(values.values())).any():
            order = sorted(outcomes, key=lambda clip: -np.nan_to_num(values.get(clip, np.nan), nan=np.inf))
            return order, f"Worst first, by {key} of {name}."
    return list(outcomes), "In the order of the run."


def _numbers(page: Page, part: Section, report: Report) -> None:
    """Metrics by animator with what they mean, differences, and the geometry sources."""
    animators = report["metrics"]
    columns = ["metric", *animators, "unit", "better"]
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
    return row([text(key), *cells, text(UNITS.get(key, "\u2013")), side])


def _differences(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    for name, metrics in found.items():
        for key, values in metrics.items():
            kind, side = ("good", "better") if values["better"] else ("bad", "worse")
            certain = f'<span class="{kind}">{side}</span>'
            verdict = certain if values["excludes_zero"] else "0 is not excluded"
            ends = (f"{values[end]:+.4f}" for end in ("mean", "low", "high"))
            yield row(
                [*(text(word) for word in (key, name, values["against"])), *ends]
                + [f"{values['level']:.0%}", verdict],
                words=3,
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
            yield row([name_of(clip), f"<bdi>{text(name)}</bdi>", *shown], words=2)


def _card(
    clip: str, outcome: Outcome, pictures: Sequence[ShownRow], report: Report, *, page: Path, large: bool
) -> str:
    """A clip: rows of source, driver and every animator, its errors over its frames, and its videos."""
    names = [name for name in report["metrics"] if name in outcome.scores]
    strips = []
    for row_of in pictures:
        captions = ["source", f"driver, frame {outcome.times[row_of.step]}", *names]
        figures = (figure(seen, words) for seen, words in zip(row_of.pictures, captions, strict=True))
        strips.append(strip(figures, large=large))
    films = (link(file, file.name, beside=page) for file in report.get("videos", {}).get(clip, ()))
    told = "".join(f'<p class="soft">Video: {film}</p>' for film in films)
    head = f"<h3>{name_of(clip)}</h3>{told}"
    return f'<article class="card">{head}{"".join(strips)}{_charts(outcome, names)}</article>'


def _charts(outcome: Outcome, names: list[str]) -> str:
    """Errors over frames; nothing of a trial of one frame."""
    if len(outcome.times) < 2:
        return ""
    places, across = np.asarray(outcome.times, np.float64), "over frames"
    if not evenly_taken(outcome.times):  # a line from run to run would say what nobody measured
        places, across = (
            np.arange(len(outcome.times), dtype=np.float64),
            "over measured frames",
        )
    found = []
    for key in CURVED:
        series = {
            name: outcome.scores[name].frames[key] for name in names if key in outcome.scores[name].frames
        }
        title = ", ".join(filter(None, (key, UNITS.get(key), across)))
        drawn = curves(title, places, series, zero=key != "csim") if series else ""
        found += [drawn] if drawn else []
    return f'<div class="charts">{"".join(found[:CHARTS])}</div>' if found else ""


def _how(page: Page, report: Report, kept: Kept) -> None:
    with page.section("How", anchor="how") as part:
        failed = dict(list(report["failed"].items())[:TOLD])
        if failed:
            title = f"{len(report['failed'])} could not be measured"
            part.add(folded(title, facts(failed, longest=400), shown=len(failed) <= 10))
        part.add(f"<h3>Options</h3>{facts(kept.options)}")
        part.add(f"<h3>Protocol</h3>{facts(report['protocol'])}")
        part.add(f"<h3>Versions</h3>{facts(kept.versions)}")
