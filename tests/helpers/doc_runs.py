"""A page of README or docs/ done from top to bottom, in one folder and one namespace, small.

Commands go through the command line's own ``main`` in this process. `SMALL` sets sizes, lengths and devices
so that they take moments; whatever else a command says stays as the page has it.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import doc_world
import pytest
from doc_pages import PAGES, Step, steps
from once_a_process import remember
from PIL import Image

from headwarp.tools import cli, swap_amended, view
from headwarp.tools.bench import suites
from headwarp.training import recipes
from headwarp.warping import animators

Options = Mapping[str, tuple[str, ...] | None]

GROUPS = {
    "start": (
        "README.md",
        "docs/start.md",
        "docs/questions.md",
        "docs/installing.md",
        "docs/limits.md",
        "docs/metrics.md",
    ),
    "howto": tuple(page for page in PAGES if page.startswith("docs/howto/")),
    "pictures": ("docs/animating.md", "docs/swapping.md", "docs/view.md", "docs/sources.md"),
    "data": (
        "docs/datasets.md",
        "docs/fitting.md",
        "docs/formats.md",
        "docs/exports.md",
        "docs/synthetic.md",
    ),
    "networks": (
        "docs/checkpoints.md",
        "docs/deploying.md",
        "docs/depth.md",
        "docs/evaluation.md",
        "docs/training.md",
    ),
}
"""Name of a test of tests/docs -> pages that it does."""

PARSED = {"docs/benchmarks.md": "hours, devices and footage that is not public"}
"""Pages whose commands are looked at by the parser alone -> why."""

TRAINING: Options = {
    "--steps": ("1",),
    "--batch": ("1",),
    "--size": ("64",),
    "--model-size": ("tiny",),
    "--warmup": ("0",),
    "--held-out-pairs": ("1",),
    "--minutes": None,
    "--workers": None,
    "--device": None,
    "--precision": None,
}
TUNING: Options = {name: TRAINING[name] for name in ("--steps", "--batch", "--size", "--minutes")}
SMALL: dict[str, Options] = {
    "": {},
    "demo": {"--size": ("48",), "--seconds": ("0.2",)},
    "fit": {"--workers": None},
    "edit": {"--size": ("64",)},
    "animate": {"--size": ("128",)},
    "swap": {"--size": ("64",)},
    "prepare": {"--size": ("64",), "--min-frames": ("2",), "--workers": None},
    "synth": {"--identities": ("1",), "--frames": ("2",), "--size": ("64",), "--workers": None},
    "synth --check": {
        "--identities": ("1",),
        "--seed": ("100",),
        "--first": ("4",),
        "--frames": ("2",),
        "--size": ("96",),
    },  # a person whose face is easy
    "depth": {"--size": ("64",)},
    "attention": {"--size": ("64",)},
    "export": {"--size": ("0", "32")},
    "view": {"--port": ("0",)},
    "bench": {"--seconds": ("0.001",), "--threads": None},
    "learn-head": {"--shape-count": ("2",), "--expression-count": ("2",)},
    "train": TRAINING,
    "train heser_blender/own": {**TRAINING, "--size": ("128",)},
    "tune": TUNING,
    "bench --suite heser": {"--heser.draws": ("1",), "--heser.shots": ("1",), "--heser.count": ("2",)},
}
"""How a command begins -> options that are set so, whatever the page says; None: left out."""

SHARES = {"--test-share": "0.5"}
"""Options that are set so where the page gives them."""

WRITES = ("--output", "--json", "--sheet", "--html", "--videos")
"""Options that name what is made."""

ENDS: dict[str, str] = {
    "weights check": "no weights were found",
    "weights fetch": "expected somebody to agree to its licence",  # and then the network
    "export": "size: expected multiples of",  # tests/tools/test_export_network.py exports: that takes long
}
"""Commands that cannot end well here -> what they say with exit code 1."""


ELSEWHERE = {
    "python play.py": "tests/tools/test_export_network.py",
    "python -m headwarp.tools.bench.depth ": "tests/tools/test_depth_bench.py",
    "python -m headwarp.tools.bench.keypoints": "tests/tools/test_bench_keypoints.py",
    "python tests/helpers/kill_runs.py": "tests/tools/test_fit_kills.py",
}
"""Lines that begin so -> the test that runs them, for what takes long to prepare."""


class Interrupted:
    """An event that is waited for until somebody presses Ctrl+C, at once."""

    def wait(self) -> None:
        """As `threading.Event.wait`."""
        raise KeyboardInterrupt


def settle(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A folder to be in, where animators are found too and recipes may be registered; what a head's tables
    cost is paid once; servers end at once, swapped heads are mended by few motions, and each suite of times
    has a case that does nothing (theirs are run by tests/tools/test_bench.py).
    """
    remember(monkeypatch)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HEADWARP_HEAD", raising=False)
    monkeypatch.setenv("HEADWARP_WEIGHTS", str(folder / "weights"))
    (folder / "weights").mkdir()
    monkeypatch.setattr(animators, "__path__", [*animators.__path__, str(folder)])
    monkeypatch.setattr(swap_amended, "MOTIONS", 1)  # of the face; 37 cost seconds for every swap of a page
    monkeypatch.setattr(view, "threading", SimpleNamespace(Event=Interrupted))
    idle = [suites.Case("idle", 8, 1, lambda: None)]
    monkeypatch.setattr(suites, "SUITES", dict.fromkeys(suites.SUITES, lambda: idle))


def run_page(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    """Do every step of a page; yields each before it is done."""
    settle(monkeypatch, folder)
    namespace = {"__name__": "__main__", **doc_world.GIVEN.get(page, dict)()}
    for step in steps(PAGES[page]):
        yield step
        if step.kind == "file":
            (folder / step.name).write_text(step.text, encoding="utf-8")
            forget(Path(step.name).stem, monkeypatch)
        elif step.kind == "python":
            for name in re.findall(r'"([\w./-]+)"', step.text):
                doc_world.lay(name, folder)
            exec(compile(step.text, page, "exec"), namespace)  # the documentation's own code
        else:
            run_command(step.words, folder, monkeypatch)
    for mode in [name for name in recipes._REGISTERED if name.startswith("__main__/")]:
        del recipes._REGISTERED[mode]  # the page's own recipe


def forget(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page's file registers as an animator is gone when the page is done."""
    for table, key in ((animators._REGISTRY.found, name), (sys.modules, f"{animators.__name__}.{name}")):
        monkeypatch.setitem(table, key, None)  # it is not there, so that undoing takes it out
        del table[key]


def run_command(words: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a line and look at what it made."""
    program, *rest = words
    if program == "headwarp":
        run_headwarp(rest, folder)
    elif program == "torchrun":  # the line is one process's; tests/training/engine starts two
        run_headwarp(rest[rest.index("headwarp.tools.cli") + 1 :], folder)
    elif program == "python":
        run_python(rest, folder)
    elif program == "export":
        name, _, value = rest[0].partition("=")
        monkeypatch.setenv(name, value)
        doc_world.lay(value, folder)
    else:
        assert program in ("pip", "make"), words  # tests/test_readme.py and test_packaging.py look at these


def run_headwarp(words: Sequence[str], folder: Path) -> None:
    """One command, on files that are laid where the page has not made them."""
    name, rest = cli.split_name([word for word in words if word != ".."])
    line = " ".join([name, *rest])
    given = smaller(rest, SMALL[max((begin for begin in SMALL if line.startswith(begin)), key=len)])
    made = [given[at + 1] for at, word in enumerate(given[:-1]) if word in WRITES]
    for word in given:
        if word not in made:
            doc_world.lay(word.partition("=")[2] or word, folder)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = cli.main([*name.split(), *given])
    if name in ENDS:
        assert code == 1
        assert ENDS[name] in said.getvalue()
        return
    assert code == 0, (name, given, said.getvalue())
    for word in made:
        path = folder / word
        assert path.exists() or "--check" in given, (name, word)
        assert path.suffix != ".png" or Image.open(path).size[0] > 0


def run_python(words: Sequence[str], folder: Path) -> None:
    """``python FILE ...`` or ``python -m MODULE ...``, as that would run it."""
    if any(" ".join(["python", *words]).startswith(line) for line in ELSEWHERE):
        return
    for word in words:
        doc_world.lay(word, folder)
    before, sys.argv = sys.argv, list(words[words[0] == "-m" :])
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    finally:
        sys.argv = before


def smaller(words: Sequence[str], options: Options) -> list[str]:
    """Words with options set to other values, or taken out.

    Example:
        >>> smaller(["a.png", "--size", "512", "--mark"], {"--size": ("64",), "--fps": ("5",)})
        ['a.png', '--mark', '--size', '64', '--fps', '5']
        >>> smaller(["--minutes", "20", "--check"], {"--minutes": None})
        ['--check']
    """
    kept: list[str] = []
    dropped = False
    for word in words:
        if word.startswith("--"):
            dropped = word in options
        if not dropped:
            kept.append(SHARES.get(kept[-1], word) if kept else word)
    added = [word for name, values in options.items() if values is not None for word in (name, *values)]
    return [*kept, *added]
