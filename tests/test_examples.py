"""Every example runs, on tiny data, and writes what it says; the notebook runs and carries no outputs."""

from __future__ import annotations

import io
import re
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pytest
from face_pictures import frames_of, needs_mediapipe, portrait, read_photo
from flame_export import write_head_as_flame
from media_files import write_photo
from once_a_process import remember
from PIL import Image

import headwarp

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NOTEBOOK = FOLDER / "headwarp.ipynb"

pytestmark = needs_mediapipe


@pytest.fixture(autouse=True)
def tables_of_a_head_are_kept(monkeypatch):
    remember(monkeypatch)


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path / "me.png", portrait())


def run(name: str, **options):
    """``main`` of the example whose name begins so; as a module, so that its guard is tried too."""
    (path,) = FOLDER.glob(f"{name}_*.py")
    return runpy.run_path(str(path))["main"](**options)


def test_fit_a_photo(photo, tmp_path, capsys):
    run("01", photo=photo, output=tmp_path / "o")
    assert headwarp.HeadFit.load(tmp_path / "o" / "fit.npz").size == (300, 300)
    for mode in ("shaded", "normals", "regions"):
        assert (read_photo(tmp_path / "o" / f"{mode}.png") != portrait()).any()
    assert "of the eye distance" in capsys.readouterr().out


def test_edit_a_photo(photo, tmp_path):
    run("02", photo=photo, output=tmp_path / "o", size=32)
    assert read_photo(tmp_path / "o" / "poses.png").shape == (96, 96, 3)
    assert read_photo(tmp_path / "o" / "whole.png").shape == (300, 300, 3)


def test_animate_a_photo_by_a_drawn_driver(photo, tmp_path):
    run("03", photo=photo, output=tmp_path / "o", size=96, frames=3)
    for name in ("relative", "absolute"):
        assert [frame.shape for frame in frames_of(tmp_path / "o" / f"{name}.mp4")] == [(96, 192, 3)] * 3


def test_drive_from_a_table(photo, tmp_path):
    run("04", photo=photo, output=tmp_path / "o", size=32, fps=5.0)
    assert len(frames_of(tmp_path / "o" / "driven.mp4")) == 8
    run("04", photo=photo, output=tmp_path / "p", size=32, fps=5.0, track=tmp_path / "o" / "track.csv")
    assert len(frames_of(tmp_path / "p" / "driven.mp4")) == 8


def test_guide_your_network(photo, tmp_path):
    run("05", photo=photo, output=tmp_path / "o", size=64)
    with np.load(tmp_path / "o" / "guidance.npz") as kept:
        assert kept["flow"].shape == (2, 2, 64, 64)
        assert kept["codes"].shape == (2, 16, 64, 64)
    assert read_photo(tmp_path / "o" / "moved.png").shape == (64, 192, 3)


def test_fit_a_clip(tmp_path):
    run("06", output=tmp_path / "o", frames=3, size=96)
    table = (tmp_path / "o" / "curves.csv").read_text().splitlines()
    assert len(table) == 4
    assert table[1].startswith("0,detected,")
    assert {"arkit.csv", "clip.npz", "head.glb"} < {path.name for path in (tmp_path / "o").iterdir()}


def test_use_your_flame(photo, tmp_path, capsys):
    flame = write_head_as_flame(tmp_path / "flame", headwarp.load_head("builtin"))
    run("07", head=str(flame), photo=photo, output=tmp_path / "o")
    shown = capsys.readouterr().out
    model_id = headwarp.load_head(flame).model_id
    assert not model_id.startswith("builtin")
    assert shown.startswith(f"{model_id}: 5413 vertices")
    assert headwarp.HeadFit.load(tmp_path / "o" / "fit.npz").model_id == model_id
    assert list((tmp_path / "o" / "mesh").glob("*.obj"))


def test_train_a_network(photo, tmp_path, capsys):
    run("08", photo=photo, output=tmp_path / "o", steps=2, people=2, frames=5, size=64)
    assert (tmp_path / "o" / "run" / "animator.safetensors").is_file()
    assert read_photo(tmp_path / "o" / "edited.png").shape == (64, 64, 3)
    assert "2 steps" in capsys.readouterr().out


def test_swap_a_head(photo, tmp_path):
    run("09", source=photo, output=tmp_path / "o", size=96)
    assert read_photo(tmp_path / "o" / "swapped.png").shape == (96, 96, 3)


def test_evaluate(tmp_path, capsys):
    run("10", output=tmp_path / "o", animator=("geometry",), people=1, frames=3, size=96)
    shown = capsys.readouterr().out
    assert {"copy", "geometry"} <= {line.split(" ")[0] for line in shown.splitlines()}
    assert "not measured" not in shown


def test_write_an_animator(photo, tmp_path):
    run("11", photo=photo, output=tmp_path / "o", size=64)
    glow = read_photo(tmp_path / "o" / "glow.png").astype(int)
    assert glow.shape == (64, 192, 3)
    lit = (abs(glow - (255, 128, 0)).max(-1) < 12).reshape(64, 3, 64).sum((0, 2))
    assert lit[0] > lit[1] < lit[2]


def test_each_is_a_screen_that_says_what_it_teaches():
    assert len(SCRIPTS) == 11
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60, path.name
        assert "Teaches " in text.split('"""')[1], path.name
        assert f"python examples/{path.name} " in text.split('"""')[1], path.name
        assert 'if __name__ == "__main__":' in text, path.name
        assert not re.search(r"headwarp[.\w]*\._|import _", text), path.name


def test_a_script_explains_itself(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["01", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS[0]), run_name="__main__")
    assert ended.value.code == 0
    assert "--photo" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_notebook_carries_no_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) < 15
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_the_notebook_runs(tmp_path, monkeypatch):
    """Cell after cell, small, in this process: no kernel is started, what would be shown is kept."""
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.chdir(tmp_path)
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    for whole, small in (("SIZE = 256", "SIZE = 96"), ("2 * np.pi, 24", "2 * np.pi, 4")):
        assert sum(whole in cell for cell in cells) == 1
        cells = [cell.replace(whole, small) for cell in cells]
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"{NOTEBOOK.name}[{number}]", "exec"), namespace)  # the notebook's own code
    pictures = [each.size for each in shown if isinstance(each, Image.Image)]
    assert pictures == [(960, 320), (384, 96), (288, 96)]
    (film,) = (each for each in shown if not isinstance(each, Image.Image))
    assert film._repr_mimebundle_()[0].keys() == {"image/gif"}
    assert Image.open(io.BytesIO(film.data)).n_frames == 4
