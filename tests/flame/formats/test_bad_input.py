"""What is wrong inside a sound container: every case one sentence that names the file and the key."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
import torch
from flame_fits import flame_fit, flame_head

from headwarp.flame.formats import ReadOptions, read_fit, sniff, write_fit
from headwarp.flame.params import HeadFit
from headwarp.geom.errors import HeadwarpError, ModelFileError

PLAIN = {"columns": (100, 50), "without": ("neck", "eyes", "eyelids")}
FLAT = {"vhap": "x.npz", "deca": "x.npz", "smirk": "x.npz", "headwarp": "x.npz"}


@pytest.fixture(scope="module")
def flame():
    return flame_head()


@pytest.fixture
def written(tmp_path, flame):
    """A sound file of a format, and its arrays."""

    def make(name: str):
        orthographic = name in ("deca", "smirk", "emoca")
        fit = flame_fit(flame.model, frames=3, perspective=not orthographic, **PLAIN)
        path = write_fit(fit, flame.model, tmp_path / "x.npz", name=name).path
        return path, dict(np.load(path))

    return make


def refused(flame, path, match):
    with pytest.raises(HeadwarpError, match=match) as caught:
        read_fit(path, flame.model)
    text = str(caught.value)
    assert text.startswith(str(path.parent) if path.name.endswith(".frame") else str(path))
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "key", "change", "error"),
    [
        ("deca", "exp", lambda v: v * np.nan, "exp: expected finite numbers, got NaN or infinity"),
        ("deca", "exp", lambda v: v.astype("U8"), r"expected a file of .*, got one with keys|exp: expected"),
        ("deca", "pose", lambda v: v[:, :5], r"pose: expected \(B, 6\), got \(3, 5\)"),
        ("deca", "pose", lambda v: v[:2], "expected 3 records of each .*, got pose 2"),
        ("deca", "cam", lambda v: 0 * v, "cam: expected a scale that is not zero"),
        ("deca", "cam", lambda v: v[:, :2], r"cam: expected \(B, 3\), got \(3, 2\)"),
        ("deca", "tform", lambda v: v @ np.diag([1, 2, 1]), "tform: expected a scale and a shift"),
        ("deca", "tform", lambda v: v[:, [1, 0, 2]], "tform: expected a scale and a shift"),
        ("deca", "tform", lambda v: 0 * v, "tform: expected an affine map"),
        ("deca", "tform", lambda v: -v, "tform: expected"),
        ("deca", "headwarp_status", lambda v: v + 9, "status: expected 0, 1 or 2 a frame"),
        ("deca", "headwarp_status", lambda v: v[:2], r"status: expected 0, 1 or 2 a frame .* 2 and 3"),
        ("deca", "headwarp_size", lambda v: -v, r"size: expected \(H, W\) in pixels, got \[-480"),
        ("deca", "headwarp_model_id", lambda v: np.array("flame-0"), "got those of flame-0; pass --head"),
        ("smirk", "jaw_params", lambda v: v[:, :2], r"jaw_params: expected \(B, 3\)"),
        (
            "smirk",
            "shape_params",
            lambda v: v[None],
            r"shape_params: expected \(B, N\) or \(N,\), got \(1, 3, 300\)",
        ),
        ("smirk", "shape_params", lambda v: v[:, :0], r"shape_params: expected \(B, N\)"),
        ("vhap", "focal_length", lambda v: -v, "focal_length: expected a positive number"),
        ("vhap", "focal_length", None, "expected a focal_length, got none: the camera was calibrated"),
        ("vhap", "image_size", None, r"expected image_size \(H, W\), got none; give --size"),
        ("vhap", "image_size", lambda v: v * 0, r"image_size: expected \(H, W\) in pixels"),
        ("vhap", "expr", lambda v: v[:2], "expected 3 records of each .*, got expr 2"),
        ("vhap", "eyes_pose", lambda v: v.astype(complex), "eyes_pose: expected numbers or text, got .*c16"),
        (
            "headwarp",
            "expression",
            lambda v: v[0],
            r"expression: expected \(100, 'E'\) numbers, got",
        ),
        ("headwarp", "jaw", lambda v: v[:2], r"jaw: expected \(3, 3\) numbers, got float32 \(2, 3\)"),
        ("headwarp", "rotation", lambda v: v * np.inf, "rotation: expected finite numbers"),
        ("headwarp", "status", lambda v: v * 1.5, r"status: expected \(3,\) whole numbers, got float"),
        ("headwarp", "camera_focal", lambda v: v[:1], r"camera_focal: expected \(3, 2\) numbers"),
        ("headwarp", "schema_version", lambda v: v * 99, "expected fit version . or older, got"),
        ("headwarp", "schema_version", lambda v: np.array("a"), "schema_version: expected a whole number"),
        ("headwarp", "report", lambda v: np.array("{"), "x.npz: "),
        ("headwarp", "camera", lambda v: np.array("fisheye"), "expected a weak or perspective camera"),
    ],
)
def test_arrays_that_are_wrong(flame, written, name, key, change, error):
    path, arrays = written(name)
    if change is None:
        del arrays[key]
    else:
        arrays[key] = change(arrays[key])
    np.savez(path, **arrays)
    refused(flame, path, error)


def test_object_arrays_are_not_unpickled(tmp_path, flame, written):
    path, arrays = written("deca")
    arrays["light"] = np.array([{"a": 1}], dtype=object)
    np.savez(path, **arrays)
    refused(flame, path, "light: expected numbers or text, got an array of Python objects")
    assert sniff(path) is None


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        (("flame", "jaw"), np.zeros((1, 6), np.float32), "a rotation of six zeros"),
        (("flame", "jaw"), np.zeros((1, 5), np.float32), r"jaw: expected \(B, 6\), got \(1, 5\)"),
        (("flame", "exp"), np.zeros((2, 100), np.float32), r"flame\.exp: expected one frame a file, got 2"),
        (("flame", "exp"), np.full((1, 100), np.nan), "exp: expected finite numbers"),
        (("flame",), np.zeros(3), "expected a file of"),
        (("camera", "fl"), -np.ones((1, 1)), r"camera\.fl|opencv\.K"),
        (("opencv", "K"), -np.ones((1, 3, 3)), r"opencv\.K: expected positive focal lengths, got -1"),
        (("opencv", "R"), np.ones((1, 3, 3)), r"opencv\.R: expected rotation matrices"),
        (("opencv", "R"), -np.eye(3)[None], r"opencv\.R: expected rotation matrices"),
        (("opencv",), "text", "opencv: expected a dict of arrays, got text"),
        (("img_size",), np.array([480]), r"img_size: expected \(B, 2\)"),
        (("img_size",), np.array([0, 0]), r"img_size: expected one \(H, W\)"),
    ],
)
def test_frames_that_are_wrong(tmp_path, flame, place, value, error):
    fit = flame_fit(flame.model, frames=1, **PLAIN)
    path = write_fit(fit, flame.model, tmp_path / "x.frame", name="metrical").path
    payload = torch.load(path, weights_only=False)
    inner = payload
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    if place == ("camera", "fl"):
        del payload["opencv"]
    torch.save(payload, path)
    refused(flame, path, error)


def test_frames_of_two_sizes(tmp_path, flame):
    folder = write_fit(
        flame_fit(flame.model, frames=2, **PLAIN), flame.model, tmp_path / "m", name="metrical"
    ).path
    payload = torch.load(folder / "00001.frame", weights_only=False)
    payload["img_size"] = np.array([1, 1])
    torch.save(payload, folder / "00001.frame")
    refused(
        flame,
        folder,
        r"img_size: expected one \(H, W\) for all frames, got \[\[480.0, 640.0\], \[1.0, 1.0\]\]",
    )


def test_a_bad_frame_among_many_is_named(tmp_path, flame):
    folder = write_fit(
        flame_fit(flame.model, frames=3, **PLAIN), flame.model, tmp_path / "m", name="pixel3dmm"
    ).path
    whole = (folder / "00001.frame").read_bytes()
    (folder / "00001.frame").write_bytes(whole[:300])
    refused(flame, folder, r"m/00001\.frame: ")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda d: d["frames"][1].update(flame_param_path="../x.npz"), "expected a path inside the dataset"),
        (
            lambda d: d["frames"][1].update(flame_param_path="/etc/passwd"),
            "expected a path inside the dataset",
        ),
        (lambda d: d["frames"][1].update(flame_param_path=3), "expected a path inside the dataset"),
        (lambda d: d["frames"][1].update(flame_param_path="flame_param/9.npz"), "9.npz: cannot be read"),
        (lambda d: d["frames"][1].pop("transform_matrix"), "transform_matrix: expected"),
        (lambda d: d["frames"][1].update(transform_matrix=[[1, 2], [3]]), "transform_matrix: expected 4 x 4"),
        (
            lambda d: d["frames"][1].update(transform_matrix=np.ones((4, 4)).tolist()),
            "a rotation and a place",
        ),
        (lambda d: d["frames"][1].update(timestep_index=0), "a number of its own for every frame"),
        (lambda d: d["frames"][1].update(timestep_index="1"), "timestep_index: expected a number"),
        (lambda d: d["frames"][1].update(w=7), "expected frames of one size"),
        (lambda d: d["frames"][1].update(fl_x=-1), "expected positive focal lengths"),
        (lambda d: d["frames"][1].update(h=float("nan")), "h: expected a number in every frame, got 'nan'"),
        (lambda d: d["frames"].insert(1, 5), "frames: expected a list of objects"),
        (lambda d: d["headwarp"].update(status=[1]), "status: expected 0, 1 or 2 a frame"),
        (lambda d: d["headwarp"].update(status=[2, 2], confidence=[1, 1]), "expected 2 frames .* got 3"),
        (lambda d: d["headwarp"].update(size=None), "size: expected a list of numbers"),
        (lambda d: d.update(headwarp=5), "headwarp: expected an object"),
    ],
)
def test_datasets_that_are_wrong(tmp_path, flame, change, error):
    folder = write_fit(
        flame_fit(flame.model, frames=3, **PLAIN), flame.model, tmp_path / "d", name="vhap-dataset"
    ).path
    content = json.loads((folder / "transforms.json").read_text())
    change(content)
    (folder / "transforms.json").write_text(json.dumps(content))
    refused(flame, folder, error)


def test_what_a_file_leaves_unsaid_is_said(tmp_path, flame, written):
    """No tform: pixels of the crop. No camera: it cannot be put over the image. No size: where crops end."""
    path, arrays = written("deca")
    bare = {name: value for name, value in arrays.items() if not name.startswith("headwarp")}
    np.savez(path, **bare)
    reading = read_fit(path, flame.model)
    assert any("does not say how large the original was" in note for note in reading.notes)
    assert any("does not say which FLAME" in note for note in reading.notes)
    sized = read_fit(path, flame.model, options=ReadOptions(size=(480, 640)))
    assert sized.fit.size == (480, 640)
    assert not any("how large" in note for note in sized.notes)
    del bare["tform"]
    np.savez(path, **bare)
    crop = read_fit(path, flame.model)
    assert crop.fit.size == (224, 224)
    assert any("no tform: pixels are those of the 224 px crop" in note for note in crop.notes)
    emoca = {name: bare[name] for name in ("shape", "exp", "pose", "tex", "detail")}
    np.savez(path, **emoca)
    assert sniff(path) == "emoca"
    alone = read_fit(path, flame.model)
    assert any("the file holds no camera (cam), EMOCA does not save it" in note for note in alone.notes)


def test_what_a_fit_cannot_hold_is_said(tmp_path, flame, written):
    path, arrays = written("deca")
    arrays["tex"] = arrays["tex"] + 1
    arrays["detail"] = arrays["detail"] + 1
    np.savez(path, **arrays)
    assert "not carried over: tex, detail" in read_fit(path, flame.model).notes
    path, arrays = written("vhap")
    arrays["static_offset"] = arrays["static_offset"] + 0.002
    arrays["dynamic_offset"] = np.zeros((3, 176, 3))
    np.savez(path, **arrays)
    notes = read_fit(path, flame.model).notes
    assert "not carried over: static_offset, up to 2 mm" in notes
    assert not any("dynamic_offset" in note for note in notes)


def test_the_inverse_tform_of_decas_demo_is_told_apart(flame, written):
    path, arrays = written("deca")
    before = read_fit(path, flame.model).fit
    arrays["tform"] = np.swapaxes(np.linalg.inv(arrays["tform"].astype(np.float64)), 1, 2)
    np.savez(path, **arrays)
    after = read_fit(path, flame.model).fit
    torch.testing.assert_close(after.camera.scale, before.camera.scale, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(after.camera.center, before.camera.center, rtol=1e-5, atol=1e-3)


def test_more_columns_than_the_head_has_are_cut_and_said(tmp_path, flame, written):
    path, arrays = written("smirk")
    arrays["expression_params"] = np.concatenate([arrays["expression_params"], np.ones((3, 70))], 1)
    np.savez(path, **arrays)
    notes = read_fit(path, flame.model).notes
    assert any("expression: 120 coefficients cut to 100" in note for note in notes)


@pytest.mark.parametrize("name", ["deca", "smirk", "emoca"])
def test_fewer_columns_than_the_fit_has_are_cut_and_said(tmp_path, flame, name):
    fit = flame_fit(flame.model, frames=2, perspective=False, without=PLAIN["without"])
    notes = write_fit(fit, flame.model, tmp_path / "x.npz", name=name).notes
    assert any(
        "expression: 100 coefficients cut to 50; the rest had a root mean square of 0." in n for n in notes
    )
    assert any("shape: 300 coefficients cut to 100" in n for n in notes) == (name != "smirk")


def test_what_a_format_lacks_is_said(tmp_path, flame):
    fit = flame_fit(flame.model, frames=2, perspective=False)
    said = {
        name: " ".join(write_fit(fit, flame.model, tmp_path / f"{name}{suffix}", name=name).notes)
        for name, suffix in {
            "vhap": ".npz",
            "deca": ".npz",
            "smirk": ".npz",
            "metrical": "",
            "pixel3dmm": "",
        }.items()
    }
    assert "VHAP has no eyelids: left out" in said["vhap"]
    assert "DECA has no eyes and no eyelids: left out" in said["deca"]
    assert "DECA has no neck" in said["deca"]
    assert "SMIRK adds eyelids after skinning" in said["smirk"]
    assert "metrical-tracker has no neck" in said["metrical"]
    assert "pixel3dmm adds eyelids after the neck has turned" in said["pixel3dmm"]


@pytest.mark.parametrize("name", ["vhap", "vhap-dataset", "deca", "emoca", "smirk", "metrical", "pixel3dmm"])
def test_a_fit_of_another_head_is_not_written(tmp_path, flame, name):
    fit = dataclasses.replace(flame_fit(flame.model, frames=1, **PLAIN), model_id="flame-other")
    with pytest.raises(ModelFileError, match=r"expected coefficients of head flame-.*, got those of flame-o"):
        write_fit(fit, flame.model, tmp_path / ("x" if name == "vhap-dataset" else "x.npz"), name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "output", "error"),
    [
        ("vhap", "x.txt", r"expected a folder, or a name that ends in \.npz"),
        ("deca", "x", r"expected a name that ends in one of \.npz"),
        ("smirk", "x.frame", r"expected a name that ends in one of \.npz"),
        ("emoca", "x.txt", "expected a folder, or a name that ends in"),
        ("metrical", "x.npz", r"expected a folder, or one name that ends in \.frame"),
        ("metrical", "x.frame", "expected a fit of one frame for one file, got 2; name a folder"),
        ("vhap-dataset", "x.json", "expected a folder, not a name with a suffix"),
        ("headwarp", "x", r"expected a name that ends in \.npz"),
        ("nonsense", "x", "format: expected one of headwarp, .*, got 'nonsense'"),
    ],
)
def test_outputs_that_a_format_does_not_have(tmp_path, flame, name, output, error):
    fit = flame_fit(flame.model, frames=2, **PLAIN)
    with pytest.raises(ModelFileError, match=error):
        write_fit(fit, flame.model, tmp_path / output, name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["vhap-dataset", "emoca", "metrical", "pixel3dmm"])
def test_a_folder_that_holds_something_is_left_alone(tmp_path, flame, name):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").write_text("mine")
    with pytest.raises(ModelFileError, match="expected no such folder or an empty one"):
        write_fit(flame_fit(flame.model, frames=2, **PLAIN), flame.model, tmp_path / "x", name=name)
    assert [p.name for p in tmp_path.rglob("*")] == ["x", "mine.txt"]


@pytest.mark.parametrize("name", ["vhap", "vhap-dataset", "emoca", "metrical", "deca"])
def test_a_place_that_cannot_be_written(tmp_path, flame, name):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / ("x.npz" if name in ("vhap", "deca") else "x")
    with pytest.raises(ModelFileError, match="cannot be written"):
        write_fit(flame_fit(flame.model, frames=1, **PLAIN), flame.model, output, name=name)
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_nothing(tmp_path, flame, monkeypatch):
    fit: HeadFit = flame_fit(flame.model, frames=2, **PLAIN)
    monkeypatch.setattr("headwarp.flame.formats._frame_files.write_torch", lambda content: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_fit(fit, flame.model, tmp_path / "m", name="metrical")
    assert list(tmp_path.iterdir()) == []
