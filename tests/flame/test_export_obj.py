"""OBJ sequences: what is read back is the posed mesh, in the axes that the header names."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.export import obj
from headwarp.flame.export.obj import write_obj_sequence
from headwarp.flame.io import load_head
from headwarp.flame.params import DETECTED, MISSING, HeadFit
from headwarp.flame.posing import posed_points, project_head
from headwarp.geom.cameras import MODEL_TO_CAMERA
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.mesh import load_mesh, vertex_normals


@pytest.fixture(scope="module")
def head():
    return toy_head()


def moving(head, frames: int, **more) -> HeadFit:
    return toy_fit(head, frames, **varied(head, frames), **more)


def words(path: Path, kind: str) -> np.ndarray:
    lines = path.read_text(encoding="ascii").splitlines()
    return np.array([line.split()[1:] for line in lines if line.split()[0] == kind])


def test_every_frame_in_model_axes(head, tmp_path):
    fit = moving(head, 20)  # more than one portion
    report = write_obj_sequence(head, fit, tmp_path / "s")
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == [f"{frame:05d}.obj" for frame in range(20)]
    wanted = posed_points(head, fit.params)
    for frame in (0, 15, 16, 19):
        verts, faces = load_mesh(tmp_path / "s" / f"{frame:05d}.obj")
        np.testing.assert_allclose(verts, wanted[frame].numpy(), atol=1e-6)
        np.testing.assert_array_equal(faces, head.faces.numpy())
    assert (report.frames, report.not_detected) == (20, ())
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_normals_and_texture_coordinates(tmp_path):
    builtin = load_head("builtin")
    fit = toy_fit(builtin, 1)
    write_obj_sequence(builtin, fit, tmp_path / "s", normals=True)
    file = tmp_path / "s" / "00000.obj"
    normals = vertex_normals(posed_points(builtin, fit.params), builtin.faces)[0]
    np.testing.assert_allclose(words(file, "vn").astype(float), normals.numpy(), atol=2e-6)
    np.testing.assert_allclose(words(file, "vt").astype(float), builtin.uv.numpy(), atol=1e-6)
    corners = np.array([[c.split("/") for c in row] for row in words(file, "f")]).astype(int)
    np.testing.assert_array_equal(corners[..., 0], builtin.faces.numpy() + 1)
    np.testing.assert_array_equal(corners[..., 1], builtin.uv_faces.numpy() + 1)
    np.testing.assert_array_equal(corners[..., 2], corners[..., 0])


def test_normals_without_texture_coordinates(head, tmp_path):
    write_obj_sequence(head, moving(head, 1), tmp_path / "s", normals=True)
    first = words(tmp_path / "s" / "00000.obj", "f")[0, 0]
    number = int(head.faces[0, 0]) + 1
    assert first == f"{number}//{number}"


@pytest.mark.parametrize("perspective", [False, True])
def test_camera_axes_and_the_headers_formula_give_the_pixels(head, tmp_path, perspective):
    fit = moving(head, 2, perspective=perspective)
    write_obj_sequence(head, fit, tmp_path / "s", axes="camera")
    file = tmp_path / "s" / "00001.obj"
    verts, _ = load_mesh(file)
    np.testing.assert_allclose(
        verts, (posed_points(head, fit.params)[1] @ MODEL_TO_CAMERA).numpy(), atol=1e-6
    )
    text = file.read_text(encoding="ascii")
    formula = re.search(r"image 256 x 240; pixel = \((.*), (.*)\)", text)
    a, b, c, d = (
        float(n) for part in formula.groups() for n in re.findall(r"-?\d+\.?\d*(?:e[+-]\d+)?", part)
    )
    x, y, z = verts.T
    depth = z if perspective else 1.0
    pixels = np.stack([a * x / depth + b, c * y / depth + d], 1)
    np.testing.assert_allclose(
        pixels, project_head(head, fit.params, fit.camera)[1, :, :2].numpy(), atol=5e-3
    )


def test_headers_say_what_was_seen(head, tmp_path):
    fit = dataclasses.replace(moving(head, 3), status=torch.tensor([DETECTED, MISSING, 1], dtype=torch.int8))
    report = write_obj_sequence(head, fit, tmp_path / "s")
    assert report.not_detected == (1, 2)
    second = (tmp_path / "s" / "00001.obj").read_text(encoding="ascii").splitlines()
    assert re.fullmatch(r"# headwarp .*, frame 1 of 3, missing", second[0])
    assert head.model_id in second[1]
    assert second[2] == "# metres; model axes: x to the subject's left, y up, z to the front"


def test_an_older_sequence_is_replaced_whole(head, tmp_path):
    write_obj_sequence(head, moving(head, 5), tmp_path / "s")
    write_obj_sequence(head, moving(head, 2), tmp_path / "s")
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["00000.obj", "00001.obj"]
    assert len(list(tmp_path.iterdir())) == 1


def test_other_peoples_files_are_not_touched(head, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").write_text("x")
    with pytest.raises(HeadwarpError, match=r"it holds thesis\.tex; name another one"):
        write_obj_sequence(head, moving(head, 1), tmp_path / "s")
    (tmp_path / "f").write_text("x")
    with pytest.raises(HeadwarpError, match="expected a folder"):
        write_obj_sequence(head, moving(head, 1), tmp_path / "f")
    assert (tmp_path / "s" / "thesis.tex").exists()


def test_a_failure_in_the_middle_leaves_the_older_sequence(head, tmp_path, monkeypatch):
    write_obj_sequence(head, moving(head, 3), tmp_path / "s")
    before = {path.name: path.read_text() for path in (tmp_path / "s").iterdir()}
    body = obj._body

    def failing(verts, model, **options):
        failing.calls += 1
        if failing.calls > 2:
            raise OSError(28, "No space left on device")
        return body(verts, model, **options)

    failing.calls = 0
    monkeypatch.setattr(obj, "_body", failing)
    with pytest.raises(ModelFileError, match="No space left on device"):
        write_obj_sequence(head, moving(head, 4), tmp_path / "s")
    assert {path.name: path.read_text() for path in (tmp_path / "s").iterdir()} == before
    assert len(list(tmp_path.iterdir())) == 1


def test_refusals(head, tmp_path):
    with pytest.raises(HeadwarpError, match="axes: expected model or camera, got 'world'"):
        write_obj_sequence(head, moving(head, 1), tmp_path / "s", axes="world")
    with pytest.raises(ModelFileError, match="coefficients of head toy"):
        write_obj_sequence(head, dataclasses.replace(moving(head, 1), model_id="x"), tmp_path / "s")
    fit = moving(head, 2)
    fit.params.jaw[1] = float("nan")
    with pytest.raises(HeadwarpError, match="got NaN in frames from 0"):
        write_obj_sequence(head, fit, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
