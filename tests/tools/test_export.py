"""Fits for other programs: the name of the output decides, by command and by function."""

from __future__ import annotations

from pathlib import Path

import pytest
from gltf_player import read_gltf
from toy_fit import toy_fit, varied
from toy_head import toy_head

import headwarp
from headwarp.flame.io import save_head_npz
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import cli
from headwarp.tools.export import export


@pytest.fixture
def fitted(tmp_path: Path) -> tuple[Path, str]:
    """A fit file and the file of its head."""
    head = toy_head(22, 21)  # landmarks enough that none are sought by drawing it
    fit = toy_fit(head, 3, **varied(head, 3))
    return fit.save(tmp_path / "in" / "f.npz"), str(save_head_npz(head, tmp_path / "in" / "h.npz"))


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("x.glb", {"x.glb"}),
        ("x.gltf", {"x.gltf", "x.bin"}),
        ("x", {"x"}),
        ("x.csv", {"x.csv"}),
        ("x.GLB", {"x.GLB"}),
    ],
)
def test_the_name_decides(fitted, tmp_path, capsys, name, files):
    fit, head = fitted
    words = ["convert", "fit", str(fit), "--output", str(tmp_path / "out" / name), "--head", head]
    assert cli.main(words if "." in name else [*words, "--format", "obj"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    assert "3 " in capsys.readouterr().out


def test_options_reach_the_writers(fitted, tmp_path):
    fit, head = fitted
    report = export(fit, tmp_path / "x.glb", head=head, fps=50.0)
    assert report["fps"] == 50
    assert read_gltf(tmp_path / "x.glb").json["animations"][0]["extras"]["fps"] == "50"
    export(fit, tmp_path / "x", head=head, axes="camera", normals=True)
    text = (tmp_path / "x" / "00002.obj").read_text()
    assert "\nvn " in text
    assert "camera axes" in text


@pytest.mark.parametrize(
    ("output", "options", "text"),
    [
        ("x.fbx", {}, r"expected X\.glb, X\.gltf"),
        ("x.obj", {}, "an OBJ sequence goes into a folder"),
        ("x.glb", {"fps": -1.0}, "fps: expected a number above 0"),
    ],
)
def test_refusals(fitted, tmp_path, output, options, text):
    fit, head = fitted
    with pytest.raises(HeadwarpError, match=text):
        export(fit, tmp_path / output, head=head, **options)
    assert not (tmp_path / output).exists()


def test_as_a_function(tmp_path):
    head = toy_head()
    report = headwarp.export(toy_fit(head, 2), tmp_path / "x.glb", head=head)
    assert (report["format"], report["frames"]) == ("gltf", 2)
