"""Use one extra once, as its reader would: ``python .ci/trial.py EXTRA CLONE`` in an empty folder.

The Python is that of the environment which is tried; the package is the installed one, and CLONE a copy of
the repository's files.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent


def tool(name: str, *words: str, folder: Path | None = None) -> str:
    """What a script of this environment says; an exit code other than 0 ends the trial."""
    done = subprocess.run(
        [BIN / name, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} {' '.join(words)}: exit code {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def photo(name: str) -> str:
    import skimage.data
    from PIL import Image

    Image.fromarray(skimage.data.astronaut()).save(name)
    return name


def mediapipe(clone: Path) -> None:
    """A photo is fitted and turned."""
    tool("headwarp", "edit", photo("photo.png"), "--yaw", "20", "--output", "turned.png")
    assert Path("turned.png").stat().st_size > 10_000


def face_alignment(clone: Path) -> None:
    """It imports; its networks are fetched on first use, which a machine without the internet cannot do."""
    checks = json.loads(report("doctor"))["checks"]
    assert {check["name"]: check["state"] for check in checks}["face-alignment"] == "works", checks


def cluster(clone: Path) -> None:
    """Two photos on a cluster of this machine."""
    Path("photos").mkdir()
    photo("photos/one.png")
    photo("photos/two.png")
    done = json.loads(report("fit", "photos", "--output", "fits", "--engine", "ray", "--workers", "2"))
    assert done["ok"], done
    assert all(Path("fits", name).is_file() for name in ("one.npz", "two.npz"))


def train(clone: Path) -> None:
    """Two steps on two drawn people."""
    tool("headwarp", "synth", "--identities", "2", "--frames", "4", "--size", "64", "--output", "people")
    options = ["--size", "64", "--model-size", "tiny", "--steps", "2"]
    # fomm looks for no face, and drawn people come with fits and masks: no detector is needed.
    for recipe in ("fomm", "pwm"):
        tool("headwarp", "train", recipe, "--data", "people/train", "--output", recipe, *options)
        assert list(Path(recipe).glob("*.safetensors")), list(Path(recipe).iterdir())
    for module in ("tensorboard", "torchmetrics"):
        importlib.import_module(module)


def export(clone: Path) -> None:
    """The shipped network as ONNX, run by onnxruntime."""
    import onnxruntime

    tool("headwarp", "export", "pwm", "--output", "graphs", "--size", "64", "64")
    graphs = sorted(Path("graphs").glob("*.onnx"))
    assert graphs
    for graph in graphs:
        assert onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).get_outputs()


def view(clone: Path) -> None:
    """The editor opens a photo, serves its page, and ends with Ctrl+C."""
    words = [BIN / "headwarp", "view", photo("photo.png"), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            said: list[str] = []
            for line in server.stdout or ():
                said.append(line)
                address = next((word for word in line.split() if word.startswith("http://")), None)
                if address:
                    break
            else:
                raise SystemExit(f"headwarp view ended: {''.join(said)}")
            with urllib.request.urlopen(address, timeout=30) as page:
                assert b"<script" in page.read()
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0, server.returncode
        finally:
            server.kill()


def docs(clone: Path) -> None:
    """The site."""
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    tool("mkdocs", "build", "--strict", "--quiet", folder=clone)
    assert (clone / "build/site/index.html").is_file()


def dev(clone: Path) -> None:
    """The linters and one file of tests, on the clone."""
    tool("ruff", "check", ".", folder=clone)
    tool("codespell", folder=clone)
    tool("pytest", "-q", "tests/test_layers.py", "tests/geom/test_transforms.py", folder=clone)


def report(*words: str) -> str:
    tool("headwarp", *words, "--json", "report.json")
    return Path("report.json").read_text(encoding="utf-8")


TRIALS: dict[str, Callable[[Path], None]] = {
    "mediapipe": mediapipe,
    "face-alignment": face_alignment,
    "cluster": cluster,
    "train": train,
    "export": export,
    "view": view,
    "docs": docs,
    "dev": dev,
}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    TRIALS[sys.argv[1]](Path(sys.argv[2]).resolve())
