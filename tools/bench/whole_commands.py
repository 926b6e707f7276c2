"""Whole commands as a person gives them, each in a process of its own: seconds, and the most memory held."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...geom.errors import HeadwarpError
from . import _launched

VARIABLE = "HEADWARP_TEST_DATA"
STARTS = 5
"""Times that a command which only starts is given; the median counts."""

Record = dict[str, Any]


def starting(seconds: float) -> list[Record]:
    """How long Python, the package and the command line take to be there."""
    del seconds
    lines = {
        "python -c pass": ["-c", "pass"],
        "import headwarp": ["-c", "import headwarp"],
        "headwarp --version": ["-m", "headwarp", "--version"],
        "headwarp animate --help": ["-m", "headwarp", "animate", "--help"],
    }
    return [_started(name, words) for name, words in lines.items()]


def _started(name: str, words: Sequence[str]) -> Record:
    runs = [given(name, [sys.executable, *words]) for _ in range(STARTS)]
    return {**runs[0], "wall_s": statistics.median(run["wall_s"] for run in runs)}


def shipped(seconds: float) -> list[Record]:
    """What needs nothing but the package and the photograph of scikit-image; the demo's clip drives."""
    from ..demo import NAMES

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photo, clip = str(_photo(folder)), str(folder / "demo" / NAMES["clip"])
        length = [] if seconds >= 1 else ["--seconds", "0.3", "--size", "64"]
        records = [_headwarp("demo", folder, ["demo", "--output", str(folder / "demo"), *length])]
        edit = ["edit", photo, "--yaw", "20", "--output", str(folder / "edited.png")]
        records.append(_headwarp("edit", folder, edit))
        for name, more in (("animate", []), ("animate --full-frame", ["--full-frame"])):
            words = ["animate", "--source", photo, "--driving", clip, *more, "--output"]
            records.append(_headwarp(name, folder, [*words, str(folder / "animated.mp4")]))
        swap = ["swap", "--source", photo, "--target", clip, "--output", str(folder / "swapped.mp4")]
        return [*records, _headwarp("swap", folder, swap)]


def on_clips(seconds: float) -> list[Record]:
    """The same of footage that cannot be published, by its numbers.

    Raises:
        HeadwarpError: it is not here.
    """
    data = private_folder()
    c10, c11, c20, c21 = (_only(data / "clips", number) for number in ("c10", "c11", "c20", "c21"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photo, out = str(_photo(folder)), str(folder / "out")
        lines = {
            "fit c21, 512 px": ["fit", c21, "--output", out, "--no-overlay"],
            "fit c20, 256 px": ["fit", c20, "--output", out, "--no-overlay"],
            "animate --full-frame, p05 by c10": _whole_frames(_only(data / "photos", "p05"), c10, out),
            "animate --full-frame, c11 by c10": _whole_frames(c11, c10, out),
            "swap, astronaut into c21": [
                "swap",
                "--source",
                photo,
                "--target",
                c21,
                "--output",
                f"{out}.mp4",
            ],
            "swap, astronaut into c11": [
                "swap",
                "--source",
                photo,
                "--target",
                c11,
                "--output",
                f"{out}.mp4",
            ],
        }
        chosen = list(lines.items())[: None if seconds >= 1 else 1]
        return [_headwarp(name, folder, words) for name, words in chosen]


def _whole_frames(source: str, driving: str, out: str) -> list[str]:
    return ["animate", "--source", source, "--driving", driving, "--full-frame", "--output", f"{out}.mp4"]


def _photo(folder: Path) -> Path:
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(folder / "astronaut.png")
    return folder / "astronaut.png"


def private_folder() -> Path:
    """``dev`` of the private footage.

    Raises:
        HeadwarpError: it is not here.
    """
    folder = Path(os.environ.get(VARIABLE, "")) / "dev"
    if not os.environ.get(VARIABLE) or not (folder / "clips").is_dir():
        raise HeadwarpError(f"expected dev/clips under ${VARIABLE}, which is not set or has none")
    return folder


def _only(folder: Path, number: str) -> str:
    (found,) = folder.glob(f"{number}_*")
    return str(found)


def _headwarp(name: str, folder: Path, words: Sequence[str]) -> Record:
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    words = [sys.executable, "-m", "headwarp", *words, "--json", str(report)]
    record = given(f"headwarp {name}", words)
    return record | _frames_of(json.loads(report.read_text(encoding="utf-8")))


def _frames_of(report: dict[str, Any]) -> Record:
    """Frames and milliseconds a frame, where a command's report tells them."""
    found: Record = {"frames": report["frames"]} if "frames" in report else {}
    seconds = report.get("seconds", {})
    each = seconds.get("per_frame", seconds.get("clip_per_frame"))
    if each is None and "seconds_per_frame" in report:
        each = report["seconds_per_frame"]["total"]
    return found if each is None else {**found, "frame_ms": 1000 * each}


def given(name: str, words: Sequence[str]) -> Record:
    """Run a command to its end.

    Returns:
        ``name``, ``wall_s``, ``cpu_s`` of it and the processes that it waited for, and ``peak_memory_mb``,
        the most that one of these held, in 10^6 bytes (None where the system does not say).

    Raises:
        HeadwarpError: it failed; with its last lines.
    """
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as scratch:
        told, said = Path(scratch) / "told.json", Path(scratch) / "said.txt"
        with said.open("wb") as file:
            launcher = [sys.executable, "-I", str(Path(_launched.__file__)), str(told)]
            subprocess.run(
                [*launcher, *words], stdout=file, stderr=subprocess.STDOUT, env=environment, check=True
            )
        found: Record = json.loads(told.read_text(encoding="utf-8"))
        if status := found.pop("status"):
            last = said.read_text(errors="replace").strip()[-500:]
            raise HeadwarpError(f"{name}: expected it to succeed, got exit code {status}: {last}")
    return {"name": name, **found}
