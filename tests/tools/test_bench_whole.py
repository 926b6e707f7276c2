"""All benchmarks in one run: it goes on where it was cut off, and the page says what its report says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest
from doc_pages import ROOT
from doc_pages import steps as doc_steps

from headwarp.geom.errors import HeadwarpError
from headwarp.tools.bench import whole, whole_commands, whole_tables
from headwarp.tools.bench.suites import SUITES
from headwarp.tools.bench.whole_steps import ANIMATORS, Step, steps

PAGE, REPORT = ROOT / "docs/benchmarks.md", ROOT / "docs/benchmarks.json"
FACTS = {
    "processor": "a chip",
    "cores": 2,
    "memory_gb": 24.2,
    "accelerator": None,
    "versions": dict.fromkeys(("python", "torch", "numpy", "numba"), "1.0"),
}


def step(name: str, *, threads: int | None = 1) -> Step:
    return Step("parts", name, threads, lambda seconds: [])


def timed(name: str, median: float, **more: object) -> dict[str, object]:
    times = {"median_ms": median, "p10_ms": median / 2, "p90_ms": 2 * median}
    return {"name": name, "size": 256, "batch": 1, **times, **more}


def done(
    group: str, *results: dict[str, object], threads: int = 1, speed: float = 100.0
) -> dict[str, object]:
    probes = {"convolution_gmac_per_s": speed, "memory_copy_gb_per_s": 40.0}
    return {"group": group, "threads": threads, "results": list(results), "probes": probes}


def report(**found: dict[str, object]) -> dict[str, object]:
    return {"machine": FACTS, "seconds": 1.0, "begun": "then", "ended": "later", "steps": found}


def test_a_run_that_was_cut_off_goes_on_with_what_is_missing_or_failed(tmp_path):
    path, asked = tmp_path / "r.json", []

    def measure(part, seconds):
        asked.append(part.name)
        if part.name == "b" and asked.count("b") == 1:
            raise HeadwarpError("no browser")
        if part.name == "c" and asked.count("c") == 1:
            raise KeyboardInterrupt
        return {"results": [seconds]}

    parts = [step("a"), step("b"), step("c")]
    with pytest.raises(KeyboardInterrupt):
        whole.measure_all(path, parts, FACTS, measure=measure)
    assert json.loads(path.read_text())["steps"]["b"]["failed"] == "no browser"
    found = whole.measure_all(path, parts, FACTS, measure=measure)
    assert asked == ["a", "b", "c", "b", "c"]
    assert found == json.loads(path.read_text())
    assert found["ended"]
    assert [found["steps"][name]["results"] for name in "abc"] == [[1.0]] * 3


def test_a_run_that_ended_or_is_of_another_kind_begins_anew(tmp_path):
    path, asked = tmp_path / "r.json", []

    def measure(part, seconds):
        asked.append(seconds)
        return {"results": []}

    whole.measure_all(path, [step("a")], FACTS, measure=measure)
    whole.measure_all(path, [step("a")], FACTS, measure=measure)
    assert asked == [1.0, 1.0]
    path.write_text(path.read_text().replace('"ended": "', '"ended": null, "was": "'))
    whole.measure_all(path, [step("a")], FACTS, measure=measure)
    assert asked == [1.0, 1.0]
    path.write_text(path.read_text().replace('"ended": "', '"ended": null, "was": "'))
    whole.measure_all(path, [step("a")], FACTS, seconds=2.0, measure=measure)
    path.write_text(path.read_text().replace('"ended": "', '"ended": null, "was": "'))
    whole.measure_all(path, [step("a")], {**FACTS, "cores": 4}, seconds=2.0, measure=measure)
    assert asked == [1.0, 1.0, 2.0, 2.0]


def test_no_step_begins_when_the_minutes_are_over(tmp_path):
    now = [0.0]

    def measure(part, seconds):
        now[0] += 50
        return {"results": []}

    how = {"minutes": 1.0, "measure": measure, "clock": lambda: now[0]}
    parts = [step(name) for name in "abc"]
    found = whole.measure_all(tmp_path / "r.json", parts, FACTS, **how)
    assert (list(found["steps"]), found["ended"]) == (["a", "b"], None)
    found = whole.measure_all(tmp_path / "r.json", parts, FACTS, **how)
    assert list(found["steps"]) == ["a", "b", "c"]
    assert found["ended"]


def test_some_steps_are_measured_again_and_join_what_is_there(tmp_path):
    path, turn = tmp_path / "r.json", []

    def measure(part, seconds):
        turn.append(part.name)
        return {"results": [len(turn)]}

    ended = whole.measure_all(path, [step("a"), step("b")], FACTS, measure=measure)["ended"]
    found = whole.measure_all(path, [step("b")], FACTS, again=True, measure=measure)
    assert {name: each["results"] for name, each in found["steps"].items()} == {"a": [1], "b": [3]}
    assert found["ended"] == ended
    assert found == json.loads(path.read_text())


def test_every_step_has_a_name_of_its_own_and_a_table():
    parts = steps(accelerator=True)
    names = [part.name for part in parts]
    assert len(set(names)) == len(names)
    assert {part.group for part in parts} - {"ways"} <= set(whole_tables.BLOCKS)
    assert {part.name for part in parts} - {part.name for part in steps(accelerator=False)} == {
        "device: cuda"
    }


def test_suites_of_the_steps_exist():
    suites = {
        name
        for part in steps(accelerator=False)
        if getattr(part.measure, "args", ()) and isinstance(part.measure.args[0], list)
        for name in part.measure.args[0]
    }
    assert suites == set(SUITES) - {"device", "networks", "swap"}  # two by functions, a study of quality


def test_a_command_is_timed_and_one_that_fails_says_why():
    code = "x = bytes(range(256)) * 400_000"
    found = whole_commands.given("big", [sys.executable, "-c", code])
    assert 102 < found["peak_memory_mb"] < 102 + 60
    assert found["wall_s"] > 0
    with pytest.raises(HeadwarpError, match=r"bad: .* got exit code 3: why not"):
        whole_commands.given("bad", [sys.executable, "-c", "print('why not'); exit(3)"])


def test_a_step_that_takes_too_long_ends_with_what_it_started(monkeypatch, tmp_path):
    asleep = tmp_path / "asleep"
    code = f"import subprocess, sys; subprocess.run(['sh', '-c', 'sleep 0.7; touch {asleep}'])"
    real = subprocess.Popen
    monkeypatch.setattr(
        whole.subprocess, "Popen", lambda words, **how: real([sys.executable, "-c", code], **how)
    )
    late = Step("parts", "late", 1, lambda seconds: [], limit_s=0.3)
    with pytest.raises(HeadwarpError, match=r"late: given up after 0 s"):
        whole.in_a_process(late, 1.0)
    time.sleep(0.6)
    assert not asleep.exists()


def test_the_page_says_what_the_report_beside_it_says():
    if not REPORT.exists():
        pytest.skip("docs/benchmarks.json: no run of all is kept yet; the tables are those of single runs")
    page = PAGE.read_text(encoding="utf-8")
    assert whole_tables.page_of(page, json.loads(REPORT.read_text(encoding="utf-8"))) == page


def test_writing_the_page_changes_the_blocks_alone(tmp_path):
    page, kept = tmp_path / "page.md", tmp_path / "r.json"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    fitted = {
        "name": "headwarp fit c21, 512 px",
        "wall_s": 2.5,
        "cpu_s": None,
        "frames": 200,
        "frame_ms": 9.5,
    }
    found = report(one=done("parts", timed("fill/harmonic", 5.25)), two=done("commands", fitted))
    kept.write_text(json.dumps(found))
    whole_tables.write_page(kept, page)
    written = page.read_text(encoding="utf-8")
    blank = re.compile(r"(<!-- measured: (?!end).*?-->\n).*?(\n<!-- measured: end)", re.S)
    assert blank.sub(r"\1\2", written) == blank.sub(r"\1\2", PAGE.read_text(encoding="utf-8"))
    assert "| `fill/harmonic`: flow around a disc | 256 | 1 | 5.25 (2.62-10.5) |  |" in written
    assert "| headwarp fit c21, 512 px | 200 | 2.50 | - | 9.50 | - |" in written
    assert set(doc_steps(written)) <= set(doc_steps(PAGE.read_text(encoding="utf-8")))  # no row is a command
    (grid,) = re.findall(r"^<!-- measured: grid -->.*?^<!-- measured: end -->$", written, re.M | re.S)
    assert grid in PAGE.read_text(encoding="utf-8")  # nothing was measured for it
    assert json.loads(page.with_suffix(".json").read_text()) == json.loads(kept.read_text())
    whole_tables.write_page(kept, page)
    assert page.read_text(encoding="utf-8") == written


def test_a_page_without_one_of_the_blocks_or_with_one_twice_is_refused():
    page = PAGE.read_text(encoding="utf-8")
    twice = page + "\n<!-- measured: grid -->\n<!-- measured: end -->\n"
    for wrong in (page.replace("measured: grid", "measured: grit"), twice):
        with pytest.raises(HeadwarpError, match="page: expected the measured blocks"):
            whole_tables.page_of(wrong, report())


def test_cases_stand_beside_each_other_by_threads():
    one = done("networks", timed("networks/pyramid", 4.0, rival="blurs", times_faster=99.4))
    two = done("networks", timed("networks/pyramid", 2.0, facts=["mb"], mb=7.0), threads=2)
    text = whole_tables.BLOCKS["networks"](report(one=one, two=two))
    assert text.splitlines() == [
        "| case | size | batch | 1 thread, ms | 2 threads, ms | beside it |",
        "|---|---|---|---|---|---|",
        "| `networks/pyramid`: guidance, five levels as banded products | 256 | 1 | 4.00 (2.00-8.00) "
        "| 2.00 (1.00-4.00) | blurs: 99.4 times as long; the public code: 629 |",
    ]


def test_ways_are_told_by_threads_and_the_usual_one_is_bold():
    ways = [("eager", 500.0, 0.0), ("prepared", 350.0, 3e-6)]
    found = [
        {"animator": "fomm", "way": way, "median_ms": median, "difference": off} for way, median, off in ways
    ]
    both = report(one=done("ways", *found), two=done("ways", *found[:1], threads=2))
    one, two = (whole_tables.BLOCKS[name](both).splitlines() for name in ("ways_1", "ways_2"))
    assert len(one) == len(two) == 2 + len(ANIMATORS)
    assert one[2].startswith("| `fomm` | 500 | - | **350** | - |")
    assert two[2].startswith("| `fomm` | 500 | - | - | - |")


def test_an_accelerator_stands_beside_the_processor_or_nothing_does():
    cpu = done("device", timed("device/posing", 8.0))
    alone = whole_tables.BLOCKS["device"](report(**{"device: cpu": cpu}))
    assert alone.splitlines()[2] == "| `device/posing` | 256 | 1 | 8.00 (4.00-16.0) | - | - |"
    fast = done("device", timed("device/posing", 2.0))
    both = whole_tables.BLOCKS["device"](report(**{"device: cpu": cpu, "device: cuda": fast}))
    assert both.splitlines()[2].endswith("| 8.00 (4.00-16.0) | 2.00 (1.00-4.00) | 4.00 |")


def test_clips_and_their_streams_share_a_row():
    whole_clip = timed("clips/c01_a", 400.0, batch=200, median_ms_each=2.0, jitter=0.5, reprojection=1.1)
    live = {"median_ms_each": 1.5, "live_median_ms": 0.8, "live_p90_ms": 0.9}
    stream = timed("clips/stream_c01_a", 300.0, batch=200, **live)
    facts = {"within_mm": 1.33, "between_mm": 3.35, "within_over_between": 0.4}
    text = whole_tables.BLOCKS["clips"](
        report(a=done("clips", whole_clip, stream, timed("clips/identity", 0, **facts)))
    )
    assert "| c01 | 200 | 2.00 | 1.50 | 0.80 | 0.90 | 0.50 | 1.10 | - | - |" in text
    assert text.endswith("Halves of a clip differ by 1.33 mm, persons by 3.35 mm: 0.40.")


def test_a_machine_that_was_not_quiet_is_told():
    quiet = report(a=done("parts", speed=100.0), b=done("parts", speed=105.0))
    busy = report(
        a=done("parts", speed=100.0),
        b=done("parts", speed=50.0),
        c={"group": "view", "failed": "no browser", "threads": 1},
    )
    assert "not quiet" not in whole_tables.BLOCKS["machine"](quiet)
    told = whole_tables.BLOCKS["machine"](busy)
    assert "**not quiet**" in told
    assert "50.0 to 100 GMAC/s" in told
    assert "accelerator: none" in told
    assert told.endswith("- Not measured: c (no browser).")
