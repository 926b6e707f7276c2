"""glTF: an independent player reproduces the posed mesh; trimesh and Khronos' validator read the file."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_schema import flame_arrays
from gltf_player import read_gltf, vertices_at, world_matrix
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame._head_data import HeadData, LandmarkEmbedding
from headwarp.flame.export._gltf_rig import continuous
from headwarp.flame.export.gltf import write_gltf
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadModel
from headwarp.flame.params import HeadFit
from headwarp.flame.posing import posed_points, project_head
from headwarp.geom.errors import HeadwarpError, ModelFileError

FPS = 25
VALIDATOR = """
const fs = require('fs'), path = require('path'), file = process.argv[1];
const near = name => path.join(path.dirname(file), decodeURIComponent(name));
require('gltf-validator').validateBytes(new Uint8Array(fs.readFileSync(file)), {
  uri: path.basename(file),
  externalResourceFunction: name => Promise.resolve(new Uint8Array(fs.readFileSync(near(name)))),
}).then(report => console.log(JSON.stringify(report.issues)));
"""


def flame_like() -> HeadModel:
    """A head of FLAME's schema with everything that is hard: five joints a vertex, correctives, uv seams."""
    arrays = flame_arrays()
    rng = np.random.default_rng(0)
    count, faces = len(arrays["v_template"]), arrays["f"].astype(np.int64)
    weights = rng.dirichlet(np.ones(5), count)
    weights[: count // 2, 3:] = 0
    weights /= weights.sum(1, keepdims=True)
    seams = faces.copy()
    seams[: len(seams) // 2] += count  # half the faces have texture coordinates of their own
    embedding = LandmarkEmbedding(torch.arange(3), torch.arange(3), torch.full((3, 3), 1 / 3))
    return HeadModel(
        HeadData(
            name="flame-like",
            template=arrays["v_template"],
            faces=faces,
            shape_basis=arrays["shapedirs"][..., :10],
            expression_basis=arrays["shapedirs"][..., 300:306],
            joint_regressor=np.asarray(arrays["J_regressor"]),
            weights=weights,
            pose_basis=arrays["posedirs"],
            eyelid_basis=np.concatenate([np.zeros((count - 4, 3, 2)), rng.normal(size=(4, 3, 2)) * 1e-3]),
            landmarks={"mediapipe": embedding},
            uv=rng.random((2 * count, 2)),
            uv_faces=seams,
        )
    )


@pytest.fixture(scope="module")
def flame() -> HeadModel:
    return flame_like()


def moving(head: HeadModel, frames: int, *, perspective: bool = False, turn: float = 1.0) -> HeadFit:
    params = varied(head, frames)
    params["rotation"] = params["rotation"] * turn
    fit = toy_fit(head, frames, perspective=perspective, **params)
    return dataclasses.replace(fit, report={"fps": str(FPS)})


def errors(head: HeadModel, fit: HeadFit, path: Path) -> np.ndarray:
    """Metres between the played file and our own posing, the largest of each frame."""
    gltf, wanted = read_gltf(path), posed_points(head, fit.params).numpy()
    played = [vertices_at(gltf, frame / FPS)[: wanted.shape[1]] for frame in range(fit.frames)]
    return np.abs(np.stack(played) - wanted).max((1, 2))


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
@pytest.mark.parametrize("frames", [1, 5])
def test_the_played_mesh_is_the_posed_mesh(flame, tmp_path, suffix, frames):
    fit = moving(flame, frames, perspective=True)
    report = write_gltf(flame, fit, tmp_path / f"a b{suffix}")
    assert errors(flame, fit, tmp_path / f"a b{suffix}").max() < 2e-6
    assert report.influences == 5
    assert 0 < report.second_set <= 0.2
    assert [file.exists() for file in report.files] == [True] * (1 if suffix == ".glb" else 2)
    assert len(list(tmp_path.iterdir())) == len(report.files)


def test_builtin_head(tmp_path):
    head = load_head("builtin")
    fit = moving(head, 3)
    report = write_gltf(head, fit, tmp_path / "b.glb")
    assert errors(head, fit, tmp_path / "b.glb").max() < 2e-6
    assert report.second_set == 0
    assert report.morph_targets[-2:] == ("eyelid_left", "eyelid_right")


def test_joints_follow_the_expression(flame, tmp_path):
    """Without the joints' shift the eyes of this head would be off by more than the tolerance."""
    assert float(flame.joint_expression_basis.abs().max()) > 1e-4
    fit = moving(flame, 4)
    write_gltf(flame, fit, tmp_path / "a.glb")
    assert errors(flame, fit, tmp_path / "a.glb").max() < 2e-6


def test_every_copy_of_a_seam_vertex_moves_alike(flame, tmp_path):
    fit = moving(flame, 2)
    report = write_gltf(flame, fit, tmp_path / "a.glb")
    gltf = read_gltf(tmp_path / "a.glb")
    primitive = gltf.json["meshes"][0]["primitives"][0]
    corners = gltf.array(primitive["indices"]).reshape(-1, 3)
    assert report.vertices > len(flame.template)
    played, posed = vertices_at(gltf, 1 / FPS), posed_points(flame, fit.params)[1].numpy()
    np.testing.assert_allclose(played[corners], posed[flame.faces.numpy()], atol=2e-6)
    uv = gltf.array(primitive["attributes"]["TEXCOORD_0"])[corners]
    np.testing.assert_allclose(uv, flame.uv.numpy()[flame.uv_faces.numpy()] * [1, -1] + [0, 1], atol=1e-6)


def test_between_keys_the_way_is_short(tmp_path):
    """Two keys that turn by 350 and 370 degrees: halfway lies 360, not 180."""
    head = toy_head()
    turns = torch.deg2rad(torch.tensor([[0.0, 350.0, 0.0], [0.0, 370.0, 0.0]]))
    fit = dataclasses.replace(toy_fit(head, 2, rotation=turns), report={"fps": str(FPS)})
    write_gltf(head, fit, tmp_path / "a.glb")
    halfway = vertices_at(read_gltf(tmp_path / "a.glb"), 0.5 / FPS)
    np.testing.assert_allclose(halfway, head.template.numpy(), atol=2e-6)
    stored = read_gltf(tmp_path / "a.glb")
    keys = next(
        stored.array(stored.json["animations"][0]["samplers"][c["sampler"]]["output"])
        for c in stored.json["animations"][0]["channels"]
        if c["target"]["path"] == "rotation"
    )
    assert keys[0] @ keys[1] > 0


def test_uneven_frames_have_their_own_times(tmp_path):
    head = toy_head()
    fit = moving(head, 3)
    fit = dataclasses.replace(fit, report={**fit.report, "times": [1.0, 1.04, 1.5]})
    write_gltf(head, fit, tmp_path / "a.glb")
    gltf, wanted = read_gltf(tmp_path / "a.glb"), posed_points(head, fit.params).numpy()
    np.testing.assert_allclose(vertices_at(gltf, 0.5), wanted[2], atol=2e-6)
    np.testing.assert_allclose(vertices_at(gltf, 0.04), wanted[1], atol=2e-6)
    write_gltf(head, fit, tmp_path / "a.glb", fps=10)
    np.testing.assert_allclose(vertices_at(read_gltf(tmp_path / "a.glb"), 0.1), wanted[1], atol=2e-6)


def test_continuous_keeps_rotations_and_takes_out_jumps():
    angle = np.linspace(0, 12, 60)
    smooth = np.stack([np.cos(angle / 2), np.sin(angle / 2), 0 * angle, 0 * angle], 1)
    jumping = smooth * np.where(smooth[:, :1] < 0, -1, 1)
    np.testing.assert_allclose(continuous(jumping), smooth, atol=1e-12)


def test_modes_that_are_not_used_are_left_out(flame, tmp_path):
    params = varied(flame, 3)
    params["expression"][:, 1:] = 0
    params |= {"jaw": torch.zeros(3, 3), "eyelids": torch.zeros(3, 2), "neck": torch.zeros(3, 3)}
    report = write_gltf(flame, toy_fit(flame, 3, **params), tmp_path / "a.glb")
    kinds = {name.rsplit("_", 1)[0] for name in report.morph_targets}
    assert kinds == {"expression", "corrective_left_eye", "corrective_right_eye"}
    names = read_gltf(tmp_path / "a.glb").json["meshes"][0]["extras"]["targetNames"]
    assert tuple(names) == report.morph_targets


def test_morph_targets_carry_the_heads_own_names(tmp_path):
    head = toy_head(expressions=2)
    head.expression_names = ("jawForward", "mouthSmile_L")
    report = write_gltf(head, moving(head, 2), tmp_path / "a.glb")
    assert report.morph_targets == ("jawForward", "mouthSmile_L")


def test_small_displacements_are_stored_sparsely(flame, tmp_path):
    """The toy eyelids move four vertices of the head."""
    report = write_gltf(flame, moving(flame, 2), tmp_path / "a.glb")
    gltf = read_gltf(tmp_path / "a.glb")
    index = report.morph_targets.index("eyelid_left")
    accessor = gltf.json["accessors"][gltf.json["meshes"][0]["primitives"][0]["targets"][index]["POSITION"]]
    assert 4 <= accessor["sparse"]["count"] <= 8  # at most two sides of a seam
    assert "bufferView" not in accessor


@pytest.mark.parametrize(("perspective", "tolerance"), [(True, 0.01), (False, 2.0)])
def test_the_camera_sees_what_the_fit_says(tmp_path, perspective, tolerance):
    """Pixels through glTF's camera; a weak-perspective fit has a distant pinhole, near enough but not
    exact.
    """
    head = toy_head()
    fit = moving(head, 3, perspective=perspective)
    report = write_gltf(head, fit, tmp_path / "a.glb")
    gltf = read_gltf(tmp_path / "a.glb")
    lens = gltf.json["cameras"][0]["perspective"]
    height, width = fit.size
    wanted = project_head(head, fit.params, fit.camera)[..., :2].numpy()
    offset = (
        [128.0 - width / 2, 120.0 - height / 2] if perspective else [0.0, 0.0]
    )  # glTF has no off-axis lens
    for frame in range(3):
        verts = np.c_[vertices_at(gltf, frame / FPS), np.ones(len(head.template))]
        x, y, z = (np.linalg.inv(world_matrix(gltf, "camera", frame / FPS)) @ verts.T)[:3]
        tangent = np.tan(lens["yfov"] / 2)
        clip_x, clip_y = x / (-z * tangent * lens["aspectRatio"]), y / (-z * tangent)
        pixels = np.stack([(clip_x + 1) * width / 2, (1 - clip_y) * height / 2], 1) + offset
        assert np.abs(pixels - wanted[frame]).max() < tolerance
    if perspective:
        assert report.camera["axis_offset_px"] == pytest.approx(np.hypot(*offset))


def test_texture_is_inside(flame, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "t.png")
    write_gltf(flame, moving(flame, 1), tmp_path / "a.glb", texture=tmp_path / "t.png")
    gltf = read_gltf(tmp_path / "a.glb")
    assert gltf.view(gltf.json["images"][0]["bufferView"]) == (tmp_path / "t.png").read_bytes()
    assert gltf.json["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] == {"index": 0}
    (tmp_path / "t.txt").write_text("no picture")
    with pytest.raises(HeadwarpError, match="expected a PNG or JPEG"):
        write_gltf(flame, moving(flame, 1), tmp_path / "b.glb", texture=tmp_path / "t.txt")
    with pytest.raises(HeadwarpError, match="no texture coordinates"):
        write_gltf(toy_head(), moving(toy_head(), 1), tmp_path / "b.glb", texture=tmp_path / "t.png")
    assert not (tmp_path / "b.glb").exists()


def test_trimesh_loads_it(flame, tmp_path):
    import trimesh

    fit = moving(flame, 3)
    write_gltf(flame, fit, tmp_path / "a.glb")
    scene = trimesh.load(tmp_path / "a.glb", process=False)
    mesh = scene.to_geometry()
    assert len(mesh.faces) == len(flame.faces)
    rest = flame.template + flame.shape_basis @ fit.params.shape
    np.testing.assert_allclose(mesh.vertices[: len(rest)], rest.numpy(), atol=1e-6)


def validator_folder() -> str | None:
    """Where node finds the package: beside us, or in $NODE_PATH."""
    if shutil.which("node") is None:
        return None
    command = ["node", "-e", "require('gltf-validator')"]
    found = subprocess.run(command, capture_output=True, timeout=60, check=False, env=os.environ)
    return os.environ.get("NODE_PATH", ".") if found.returncode == 0 else None


@pytest.mark.skipif(
    validator_folder() is None, reason="needs node and the npm package gltf-validator in $NODE_PATH"
)
@pytest.mark.parametrize(("name", "frames"), [("a.glb", 4), ("a b.gltf", 4), ("c.glb", 1)])
def test_khronos_validator_finds_no_fault(flame, tmp_path, name, frames):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "t.png")
    write_gltf(flame, moving(flame, frames), tmp_path / name, texture=tmp_path / "t.png")
    words = ["node", "-e", VALIDATOR, str(tmp_path / name)]
    issues = json.loads(subprocess.run(words, capture_output=True, timeout=120, check=True).stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"][:3]


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("a.fbx", {}, r"ending in \.glb or \.gltf, got \.fbx"),
        ("a.glb", {"report": {"fps": "0"}}, "fps: expected a number above 0, got '0'"),
        ("a.glb", {"report": {"fps": "1/0"}}, "fps: expected a number above 0"),
        ("a.glb", {"model_id": "other-1"}, "coefficients of head toy"),
        ("no/such/a.glb", {}, "cannot be written"),
    ],
)
def test_refusals(tmp_path, name, change, text):
    head = toy_head()
    fit = dataclasses.replace(toy_fit(head, 2), **change)
    with pytest.raises(HeadwarpError, match=text):
        write_gltf(head, fit, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_not_finite_parameters_name_themselves(tmp_path):
    head = toy_head()
    jaw = torch.zeros(2, 3)
    jaw[1, 0] = float("nan")
    fit = toy_fit(head, 2)
    fit = dataclasses.replace(fit, params=dataclasses.replace(fit.params, jaw=jaw))
    with pytest.raises(HeadwarpError, match="NaN or infinity in 'jaw'"):
        write_gltf(head, fit, tmp_path / "a.glb")


def test_an_interrupted_export_leaves_the_older_file(tmp_path, monkeypatch):
    head = toy_head()
    write_gltf(head, toy_fit(head, 2), tmp_path / "a.glb")
    before = (tmp_path / "a.glb").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ModelFileError, match="No space left"):
        write_gltf(head, toy_fit(head, 3), tmp_path / "a.glb")
    assert [file.name for file in tmp_path.iterdir()] == ["a.glb"]
    assert (tmp_path / "a.glb").read_bytes() == before
