"""The page of `headwarp evaluate`: all of the report is on it, whatever clips and animators are called."""

import json
import re
import shutil

import numpy as np
import pytest
from browser import CHROMIUM, FLAGS, needs_browser
from media_files import write_clip
from page_reader import read_page

from headwarp.tools import cli
from headwarp.tools.evaluate import Evaluate
from headwarp.tools.evaluation.kept import FEW, FEWER, Kept, page_pictures
from headwarp.tools.evaluation.measure import Outcome, Scores
from headwarp.tools.evaluation.networks import Networks
from headwarp.tools.evaluation.options import given
from headwarp.tools.evaluation.page import asked_for, worst_first, write_evaluation_page
from headwarp.tools.evaluation.report import report_of
from headwarp.tools.pages.writer import LARGEST

NASTY = "<script>alert(1)</script>\"'\x00\u202e"
NAMES = ["copy", NASTY]


def outcome(*, seed=0, frames=30, shown=3, side=48):
    """Errors that fall in the second animator, and noise for pictures."""
    generator = np.random.default_rng(seed)
    line = generator.uniform(0.2, 0.3, frames)
    scores = {}
    for name, less in zip(NAMES, (0.0, 0.1), strict=True):
        values = {"l1": line - less, "ssim": line + less}
        scores[name] = Scores(values, {key: float(v.mean()) for key, v in values.items()}, frames)
    rows = [list(generator.integers(0, 255, (4, side, side, 3), dtype=np.uint8)) for _ in range(shown)]
    return Outcome(scores, (), rows, tuple(range(5, 5 + 2 * frames, 2)))


def page_of(path, outcomes, *, failed=None, against="copy", more=None):
    protocol = {"head": NASTY, "stride": 1, "truth": True}
    report = report_of(outcomes, NAMES, Networks(), failed=failed or {}, protocol=protocol, against=against)
    kept = Kept(outcomes, page_pictures(outcomes), {"--head": NASTY}, {"headwarp": "1.0"})
    write_evaluation_page(path, report | (more or {}), kept)
    return report, read_page(path)


def test_a_page_of_hostile_names_is_one_page(tmp_path):
    report, page = page_of(tmp_path / "e.html", {NASTY: outcome()}, failed={NASTY: NASTY})
    assert page.tags["script"] == page.tags["style"] == page.tags["title"] == page.tags["article"] == 1
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.words  # as text
    assert all(address.startswith("#") for address in page.links)
    assert len(page.sources) == 3 * 4  # three rows of source, driver, two animators
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.sources)
    content = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in content.replace("&#x27;", "'")
    assert not re.search(r"https?:|url\(|@import|\x00|\u202e", content)
    assert report["definitions"]["ssim"] in page.words


def test_numbers_and_intervals_are_the_reports(tmp_path):
    report, page = page_of(tmp_path / "e.html", {"walk": outcome(), "talk": outcome(seed=1)})
    content = (tmp_path / "e.html").read_text(encoding="utf-8")
    for key in ("l1", "ssim"):  # lower is better in one, higher in the other: the second animator in both
        first, second = (f"{report['metrics'][name][key]:.4f}" for name in NAMES)
        assert f'<tr><td>{key}</td><td>{first}</td><td><span class="good">{second}</span></td>' in content
        values = report["difference"][NASTY][key]
        ends = "".join(f"<td>{values[end]:+.4f}</td>" for end in ("mean", "low", "high"))
        assert f'{ends}<td>95%</td><td><span class="good">better</span></td>' in content
    for clip in ("walk", "talk"):
        value = report["clips"][clip]["copy"]["l1"]
        row = f"<bdi>{clip}</bdi></td><td class=w><bdi>copy</bdi></td><td>{value:.4f}</td>"
        assert row in content
    assert page.tags["svg"] == 2  # l1 over frames a clip; ssim is no error
    assert [f"driver, frame {n}" in page.words for n in (5, 33, 63)] == [True] * 3


def test_where_the_interval_holds_0_nothing_is_called_better(tmp_path):
    same = outcome()
    same = Outcome(dict.fromkeys(NAMES, same.scores["copy"]), (), [], same.times)
    _, page = page_of(tmp_path / "e.html", {"walk": same})
    assert page.words.count("0 is not excluded") == 2
    content = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert 'class="good">better' not in content
    assert content.count('<td><span class="good">') == 0


def test_many_clips_stay_in_bounds_and_what_is_left_out_is_told(tmp_path):
    """Pictures of noise do not compress; the table of all clips is folded from the hundredth row on."""
    made = outcome(frames=2000, side=144)
    outcomes = {f"{number:03d}" + "n" * 100: made for number in range(120)}
    _, page = page_of(tmp_path / "e.html", outcomes, against=None)
    assert (tmp_path / "e.html").stat().st_size <= LARGEST
    assert FEW < page.tags["article"] < 120
    assert f"Left out for the size of the page: {120 - page.tags['article']} more." in page.words
    assert "101 to 200" in page.words
    assert all(f"{number:03d}nn" in page.words for number in range(120))
    assert len(page.sources) == 4 * page.tags["article"]  # one row each


def test_clips_without_pictures_and_single_frames_are_told(tmp_path):
    _, page = page_of(tmp_path / "e.html", {"one": outcome(frames=1, shown=1), "none": outcome(shown=0)})
    assert (page.tags["article"], page.tags["svg"], len(page.sources)) == (2, 1, 4)


def test_the_worst_clips_come_first_and_the_page_says_by_what(tmp_path):
    clips = {name: outcome(seed=seed, frames=9) for seed, name in enumerate(("calm", "bad", "lost"))}
    for name, value in (("calm", 1.0), ("bad", 7.0), ("lost", np.nan)):
        for scores in clips[name].scores.values():
            scores.means["akd"] = value
    order, words = worst_first(clips, NAMES)
    assert order == ["lost", "bad", "calm"]
    assert words == f"Worst first, by akd of {NASTY}."
    _, page = page_of(tmp_path / "e.html", clips, against=None)
    places = [page.words.index(name, page.words.index("Worst first")) for name in order]
    assert places == sorted(places)
    for each in clips.values():
        each.scores[NASTY].means.clear()
    assert worst_first(clips, NAMES) == (list(clips), "In the order of the run.")


def test_who_was_asked_for_is_no_baseline():
    assert asked_for(["copy", "similarity relative", "tps", "geometry relative"]) == "geometry relative"
    assert asked_for(["copy", "tps"]) == "copy"


def test_videos_are_linked_from_where_the_page_lies(tmp_path):
    videos = {"walk": [tmp_path / "v" / "a b.mp4", tmp_path / "v" / "c.mp4"]}
    _, page = page_of(tmp_path / "p" / "e.html", {"walk": outcome()}, more={"videos": videos})
    assert [link for link in page.links if link.endswith("mp4")] == ["./../v/a%20b.mp4", "./../v/c.mp4"]


def test_frames_in_runs_are_not_joined_by_lines_over_what_was_not_measured(tmp_path):
    even = outcome(frames=6)
    runs = Outcome(even.scores, (), [], (0, 1, 2, 90, 91, 92))
    for made, told in ((even, "over frames"), (runs, "over measured frames")):
        _, page = page_of(tmp_path / "e.html", {"walk": made})
        assert f"l1, of 0..1, {told}" in page.words


def test_few_clips_are_shown_in_large(tmp_path):
    for count, large in ((1, True), (FEWER + 1, False)):
        page_of(tmp_path / "e.html", {f"c{n}": outcome(side=300) for n in range(count)}, against=None)
        content = (tmp_path / "e.html").read_text(encoding="utf-8")
        assert ('class="row large"' in content) == large
        assert ('width="224"' in content) == large


@needs_browser
def test_a_browser_shows_it_at_any_width_and_asks_for_nothing(tmp_path):
    """How wide a page becomes only a browser tells; one start of it for both widths."""
    from playwright.sync_api import sync_playwright

    clips = {"a_long_name_of_a_clip" * 4: outcome(side=200), "n" * 150: outcome(seed=1)}
    page_of(tmp_path / "e.html", clips)
    asked, said = [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto((tmp_path / "e.html").as_uri())
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            drawn = page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert drawn
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []


def test_geometry_sources_are_shown(tmp_path):
    sources = {"clips": 1, "errors": {"mesh": {"flow_epe": 1.25}}, "definitions": {"flow_epe": "pixels"}}
    _, page = page_of(tmp_path / "e.html", {"walk": outcome()}, more={"sources": sources})
    assert "Geometry sources, 1 clip(s)" in page.words
    assert "1.25" in page.words


def test_options_are_those_given_without_folders(tmp_path):
    config = Evaluate(clips=tmp_path / "clips", checkpoint=(tmp_path / "a.pt", tmp_path / "b.pt"), stride=2)
    assert given(config) == {"--clips": "clips", "--checkpoint": "a.pt b.pt", "--stride": "2"}


@pytest.mark.parametrize(("name", "told"), [("e.png", ".html, .htm"), ("", "the folder")])
def test_a_name_of_no_page_is_refused_before_the_work(tmp_path, capsys, name, told):
    words = ["evaluate", "--clips", str(tmp_path / "absent.mp4"), "--html", str(tmp_path / name)]
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert "--html" in error
    assert told in error
    assert list(tmp_path.iterdir()) == []


# The command's page, and the page made anew


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run's report with what was kept beside it, and its page."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "clips").mkdir()
    for name, less in (("grey", 40), ("dark", 20)):
        write_clip(
            folder / "clips" / f"{name}.mp4", [np.full((40, 40, 3), less * n, np.uint8) for n in range(4)]
        )
    words = ["evaluate", "--clips", str(folder / "clips"), "--no-faces", "--animator", "copy", "--size", "32"]
    words += ["--videos", str(folder / "v"), "--against", "copy"]
    assert cli.main([*words, "--html", str(folder / "e.html"), "--json", str(folder / "r.json")]) == 0
    return folder


def test_the_command_writes_its_page(measured):
    """Without faces, which need no detector; pictures are kept without a sheet."""
    page = read_page(measured / "e.html")
    assert page.tags["article"] == 2
    assert len(page.sources) == 2 * 3 * 3  # of two clips three rows of source, driver, copy
    assert "driver, frame 3" in page.words


def again(folder, *more):
    return cli.main(["evaluate", "--from", str(folder / "r.json"), "--html", str(folder / "n.html"), *more])


def test_the_page_is_made_anew_without_what_was_measured(measured, tmp_path, monkeypatch, capsys):
    """Byte for byte, from another folder, after all has moved."""
    moved = tmp_path / "moved"
    shutil.copytree(measured, moved, ignore=lambda *_: ["clips"])
    monkeypatch.chdir(tmp_path)
    assert again(moved) == 0
    assert "copy" in capsys.readouterr().out
    made, first = ((moved / name).read_text(encoding="utf-8") for name in ("n.html", "e.html"))
    assert "./v/grey.mp4" in first
    assert len({file.stat().st_mode for file in measured.glob("r.*")}) == 1  # as readable as the report
    assert made == first


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--stride", "2"], "--stride: nothing is measured with --from"),
        (["--clips", "."], "--clips: nothing"),
    ],
)
def test_options_of_a_measurement_are_refused_with_it(measured, more, told, capsys):
    assert again(measured, *more) == 1
    assert told in capsys.readouterr().err


def test_a_report_that_was_changed_or_stands_alone_is_refused(measured, tmp_path, capsys):
    for file in measured.glob("r.*"):
        shutil.copy(file, tmp_path)
    report = tmp_path / "r.json"
    report.write_text(report.read_text() + " ")
    assert again(tmp_path) == 1
    assert "r.kept.safetensors: belongs to another report" in capsys.readouterr().err
    (tmp_path / "r.kept.safetensors").unlink()
    assert again(tmp_path) == 1
    assert "r.kept.safetensors: no such file" in capsys.readouterr().err
    report.write_text("[1]")
    assert again(tmp_path) == 1
    assert "is no report of headwarp evaluate" in capsys.readouterr().err


def changed(path, change):
    """The file with what it says, or one of its tensors, changed."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(path, framework="np") as file:
        told = json.loads(file.metadata()["evaluation"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(told, tensors)
    save_file(tensors, path, metadata={"evaluation": json.dumps(told)})


@pytest.mark.parametrize(
    "change",
    [
        lambda told, tensors: told.clear(),
        lambda told, tensors: told.update(clips=[]),
        lambda told, tensors: told.update(clips={"a": 1}),
        lambda told, tensors: told["clips"][0].update(name="other"),
        lambda told, tensors: told["clips"][0].update(steps=[99]),
        lambda told, tensors: told["clips"][0].update(metrics=[]),
        lambda told, tensors: tensors.pop("0/times"),
        lambda told, tensors: tensors.update({"0/0/l1": np.zeros(7)}),
        lambda told, tensors: tensors.update({"0/pictures/0/1": np.frombuffer(b"<svg/>", np.uint8)}),
    ],
)
def test_what_is_damaged_is_one_sentence(measured, tmp_path, change, capsys):
    for file in measured.glob("r.*"):
        shutil.copy(file, tmp_path)
    changed(tmp_path / "r.kept.safetensors", change)
    assert again(tmp_path) == 1
    assert re.search(r"r\.kept\.safetensors: .*measure again", capsys.readouterr().err)
    assert not (tmp_path / "n.html").exists()
