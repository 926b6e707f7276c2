"""Every format's pixels: as the other tool projects what was written, and as we read it back, to 1e-3 px."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tool_projections as tools
import torch
from flame_fits import FRAMES, FlameHead, flame_fit, flame_head

from headwarp.flame.formats import WriteOptions, largest_difference, read_fit, sniff, write_fit
from headwarp.flame.params import HeadFit
from headwarp.flame.posing import project_head

PIXELS = 1e-3


@pytest.fixture(scope="module")
def flame() -> FlameHead:
    return flame_head()


def ours(flame: FlameHead, fit: HeadFit) -> np.ndarray:
    """Pixels of all vertices (T, V, 2), by the package."""
    return project_head(flame.model, fit.params, fit.camera)[..., :2].numpy()


def check_read_back(flame: FlameHead, fit: HeadFit, path: Path, name: str) -> None:
    assert sniff(path) == name
    reading = read_fit(path, flame.model)
    assert reading.fit.size == fit.size
    assert torch.equal(reading.fit.status, fit.status)
    if path.suffix != ".frame":  # one of a folder's, which has its sidecar
        torch.testing.assert_close(reading.fit.confidence, fit.confidence)
    assert largest_difference(flame.model, fit, reading.fit) < PIXELS


def worst(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted, axis=-1).max())


def off(note: str) -> float:
    """The pixels that a note gives to two digits."""
    return float(note.split(" px off at most")[0].rpartition(" ")[2])


@pytest.mark.parametrize("size", [(480, 640), (640, 480)])
def test_vhap_tracking(tmp_path, flame, size):
    fit = flame_fit(flame.model, without=("eyelids",), size=size)
    path = write_fit(fit, flame.model, tmp_path, name="vhap").path
    assert path.name == "tracked_flame_params_30.npz"
    tracked = dict(np.load(path))
    assert tracked["shape"].shape == (300,)
    assert tracked["static_offset"].shape == (1, 56 + 120, 3)
    assert tracked["expr"].dtype == np.float32
    found = np.stack([tools.vhap_pixels(flame.arrays, tracked, t) for t in range(FRAMES)])
    assert worst(found, ours(flame, fit)) < PIXELS
    check_read_back(flame, fit, tmp_path, "vhap")


def test_vhap_dataset_as_gaussian_avatars_reads_it(tmp_path, flame):
    fit = flame_fit(flame.model, without=("eyelids",))
    folder = write_fit(fit, flame.model, tmp_path / "d", name="vhap-dataset").path
    wanted = ours(flame, fit)
    content = json.loads((folder / "transforms.json").read_text())
    translations = []
    for frame, entry in enumerate(content["frames"]):
        params = dict(np.load(folder / entry["flame_param_path"]))
        assert params["static_offset"].shape == (1, 56 + 120, 3)
        assert params["expr"].shape == (1, 100)
        translations.append(params["translation"][0])
        found = tools.gaussian_avatars_pixels(flame.arrays, entry, params)
        assert worst(found, wanted[frame]) < PIXELS
        camera = np.array(entry["transform_matrix"])
        focal, middle = (entry["fl_x"], entry["fl_y"]), (entry["cx"], entry["cy"])
        exact = tools.opengl_pixels(tools.vhap_points(flame.arrays, params), camera, focal, middle)
        assert worst(exact, wanted[frame]) < PIXELS
    np.testing.assert_allclose(np.mean(translations, 0), 0, atol=1e-6)
    check_read_back(flame, fit, folder, "vhap-dataset")


def test_vhap_dataset_keeps_a_shifted_camera(tmp_path, flame):
    fit = flame_fit(flame.model, without=("eyelids",))
    fit = dataclasses.replace(
        fit,
        camera=dataclasses.replace(fit.camera, principal=fit.camera.principal + torch.tensor([7.0, -3.0])),
    )
    writing = write_fit(fit, flame.model, tmp_path / "d", name="vhap-dataset")
    assert "GaussianAvatars does not look at them" in writing.notes[0]
    check_read_back(flame, fit, writing.path, "vhap-dataset")
    with pytest.raises(ValueError, match=r"axis 7 px off; write the dataset with --format vhap-dataset"):
        write_fit(fit, flame.model, tmp_path / "x.npz", name="vhap")


SMALL = {"columns": (100, 50), "without": ("neck", "eyes", "eyelids"), "perspective": False}


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pkl", ".mat", ".pt"])
def test_deca(tmp_path, flame, suffix):
    fit = flame_fit(flame.model, **SMALL)
    path = write_fit(fit, flame.model, tmp_path / f"codes{suffix}", name="deca").path
    codes = loaded(path)
    assert (codes["shape"].shape, codes["light"].shape) == ((FRAMES, 100), (FRAMES, 9, 3))
    wanted = ours(flame, fit)
    for t in range(FRAMES):
        points = tools.deca_points(flame.arrays, codes["shape"][t], codes["exp"][t], codes["pose"][t])
        assert worst(tools.deca_pixels(points, codes["cam"][t], codes["tform"][t]), wanted[t]) < PIXELS
        crop = tools.orthographic(points, codes["cam"][t])
        assert np.abs(crop).max() < 1, "the head is inside its crop"
    check_read_back(flame, fit, path, "deca")


def loaded(path: Path) -> dict[str, np.ndarray]:
    """As the tools' users load it."""
    if path.suffix == ".npz":
        return dict(np.load(path))
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=True).item()
    if path.suffix == ".pkl":
        return np.load(path, allow_pickle=True)
    if path.suffix == ".mat":
        return scipy.io.loadmat(path)
    return torch.load(path, weights_only=False)


def test_emoca_folders_with_the_camera_it_forgets(tmp_path, flame):
    fit = flame_fit(flame.model, **SMALL)
    folder = write_fit(fit, flame.model, tmp_path / "e", name="emoca").path
    wanted = ours(flame, fit)
    for t in range(FRAMES):
        part = folder / f"{t:06d}_000"
        codes = {file.stem: np.load(file) for file in part.iterdir()}
        assert {k: v.shape for k, v in codes.items()} == {
            "shape": (100,),
            "exp": (50,),
            "tex": (50,),
            "pose": (6,),
            "detail": (128,),
            "cam": (3,),
            "tform": (3, 3),
        }
        points = tools.deca_points(flame.arrays, codes["shape"], codes["exp"], codes["pose"])
        assert worst(tools.deca_pixels(points, codes["cam"], codes["tform"]), wanted[t]) < PIXELS
    check_read_back(flame, fit, folder, "emoca")


def test_emoca_in_one_file(tmp_path, flame):
    fit = flame_fit(flame.model, **SMALL)
    path = write_fit(fit, flame.model, tmp_path / "e.npy", name="emoca").path
    assert loaded(path)["posecode"].shape == (FRAMES, 6)
    check_read_back(flame, fit, path, "emoca")


def frame_of(codes: dict[str, np.ndarray], t: int) -> dict[str, np.ndarray]:
    return {name: value[t] for name, value in codes.items() if value.ndim > 1}


def test_smirk(tmp_path, flame):
    fit = flame_fit(flame.model, **{**SMALL, "columns": (300, 50)})
    path = write_fit(fit, flame.model, tmp_path / "s.npz", name="smirk").path
    codes = loaded(path)
    wanted = ours(flame, fit)
    for t in range(FRAMES):
        one = frame_of(codes, t)
        points = tools.smirk_points(flame.arrays, one, flame.lids)
        assert worst(tools.smirk_pixels(points, one["cam"], one["tform"]), wanted[t]) < PIXELS
    check_read_back(flame, fit, path, "smirk")


def test_smirk_takes_a_neck_and_eyes_that_its_network_does_not_give(tmp_path, flame):
    fit = flame_fit(flame.model, columns=(300, 50), without=("eyelids",), perspective=False)
    writing = write_fit(fit, flame.model, tmp_path / "s.npz", name="smirk")
    assert writing.notes == ()
    codes = loaded(writing.path)
    for t in range(FRAMES):
        one = frame_of(codes, t)
        points = tools.smirk_points(flame.arrays, one, flame.lids)
        assert worst(tools.smirk_pixels(points, one["cam"], one["tform"]), ours(flame, fit)[t]) < PIXELS
    check_read_back(flame, fit, writing.path, "smirk")


def test_smirk_moves_eyelids_after_skinning(tmp_path, flame):
    """The one difference, and how large: the turn's |R - I| times the lid."""
    fit = flame_fit(flame.model, columns=(300, 50), without=("neck", "eyes", "jaw"), perspective=False)
    path = write_fit(fit, flame.model, tmp_path / "s.npz", name="smirk").path
    codes = loaded(path)
    one = frame_of(codes, 0)
    apart = (
        tools.smirk_pixels(tools.smirk_points(flame.arrays, one, flame.lids), one["cam"], one["tform"])
        - ours(flame, fit)[0]
    )
    turn = tools.rodrigues(fit.params.rotation[0].double().numpy())
    moved = flame.lids @ fit.params.eyelids[0].double().numpy()
    scale = float(fit.camera.scale[0])
    difference = (moved - moved @ turn.T)[:, :2] * np.array([scale, -scale])
    assert np.abs(difference).max() > 0.4
    np.testing.assert_allclose(apart, difference, atol=2e-3)
    check_read_back(flame, fit, path, "smirk")


@pytest.mark.parametrize("size", [(480, 640), (512, 512)])
def test_metrical(tmp_path, flame, size):
    fit = flame_fit(flame.model, without=("neck",), size=size)
    folder = write_fit(fit, flame.model, tmp_path / "m", name="metrical").path
    wanted = ours(flame, fit)
    for t in range(FRAMES):
        payload = torch.load(folder / f"{t:05d}.frame", weights_only=False)
        assert (payload["frame_id"], payload["camera"]["fl"].shape) == (f"{t:05d}", (1, 1))
        assert tuple(payload["img_size"]) == size
        points = tools.metrical_points(flame.arrays, payload["flame"], flame.lids)
        assert worst(tools.pytorch3d_pixels(points, payload["camera"], size), wanted[t]) < PIXELS
        assert worst(tools.opencv_pixels(points, payload["opencv"]), wanted[t]) < PIXELS
    check_read_back(flame, fit, folder, "metrical")


def test_metrical_without_its_opencv_block(tmp_path, flame):
    fit = flame_fit(flame.model, without=("neck",), frames=1)
    path = write_fit(fit, flame.model, tmp_path / "m.frame", name="metrical").path
    payload = torch.load(path, weights_only=False)
    del payload["opencv"]
    torch.save(payload, tmp_path / "old.frame")
    back = read_fit(tmp_path / "old.frame", flame.model).fit
    assert largest_difference(flame.model, fit, back) < PIXELS


def test_pixel3dmm(tmp_path, flame):
    fit = flame_fit(flame.model, without=("eyelids",), size=(512, 512))
    folder = write_fit(fit, flame.model, tmp_path / "p", name="pixel3dmm").path
    wanted = ours(flame, fit)
    for t in range(FRAMES):
        payload = torch.load(folder / f"{t:05d}.frame", weights_only=False)
        points, maps = tools.pixel3dmm_points(flame.arrays, payload["flame"], flame.lids)
        assert worst(tools.pixel3dmm_render_pixels(points, payload["camera"], 512), wanted[t]) < PIXELS
        shifted = tools.pixel3dmm_landmark_pixels(points, payload["camera"], 512) + np.array([1.0, 0.0])
        assert worst(shifted, wanted[t]) < PIXELS
        np.testing.assert_allclose(payload["joint_transforms"][0], maps, atol=1e-6)
        turn = tools.from_two_rows(payload["flame"]["R"][0].astype(np.float64))
        np.testing.assert_allclose(payload["flame"]["R_rotation_matrix"][0], turn, atol=1e-6)
    check_read_back(flame, fit, folder, "pixel3dmm")


def test_pixel3dmm_of_an_oblong_frame(tmp_path, flame):
    fit = flame_fit(flame.model, without=("eyelids",), size=(480, 640))
    writing = write_fit(fit, flame.model, tmp_path / "p", name="pixel3dmm")
    assert "pad the images at the right or below to 640 x 640" in writing.notes[0]
    payload = torch.load(writing.path / "00000.frame", weights_only=False)
    points, _ = tools.pixel3dmm_points(flame.arrays, payload["flame"], flame.lids)
    assert worst(tools.pixel3dmm_render_pixels(points, payload["camera"], 640), ours(flame, fit)[0]) < PIXELS
    check_read_back(flame, fit, writing.path, "pixel3dmm")


def test_lids_that_close_under_a_turned_neck_differ_in_pixel3dmm(tmp_path, flame):
    fit = flame_fit(flame.model, without=("jaw", "eyes"), size=(512, 512), frames=1)
    writing = write_fit(fit, flame.model, tmp_path / "p.frame", name="pixel3dmm")
    assert any("adds eyelids after the neck has turned" in note for note in writing.notes)
    payload = torch.load(writing.path, weights_only=False)
    points, _ = tools.pixel3dmm_points(flame.arrays, payload["flame"], flame.lids)
    apart = worst(tools.pixel3dmm_render_pixels(points, payload["camera"], 512), ours(flame, fit)[0])
    assert 0.1 < apart < 3
    check_read_back(flame, fit, writing.path, "pixel3dmm")


@pytest.mark.parametrize("name", ["vhap", "vhap-dataset", "metrical", "pixel3dmm"])
@pytest.mark.parametrize("tolerance", [0.1, 0.01])
def test_a_weak_camera_becomes_a_pinhole_within_the_tolerance(tmp_path, flame, name, tolerance):
    fit = flame_fit(flame.model, without=("neck", "eyelids"), perspective=False)
    options = WriteOptions(tolerance_px=tolerance)
    writing = write_fit(fit, flame.model, tmp_path / "out", name=name, options=options)
    assert any("fit with `headwarp fit --focal PX`" in note for note in writing.notes)
    back = read_fit(writing.path, flame.model).fit
    apart = largest_difference(flame.model, fit, back)
    assert 0.3 * tolerance < apart < tolerance + PIXELS


def test_a_focal_length_of_ones_own_is_reported_with_its_error(tmp_path, flame):
    fit = flame_fit(flame.model, without=("neck", "eyelids"), perspective=False)
    writing = write_fit(fit, flame.model, tmp_path / "t.npz", name="vhap", options=WriteOptions(focal=1500))
    back = read_fit(writing.path, flame.model).fit
    assert float(back.camera.focal[0, 0]) == pytest.approx(1500)
    apart = largest_difference(flame.model, fit, back)
    assert apart > 1
    assert off(writing.notes[0]) == pytest.approx(apart, rel=0.06)
    with pytest.raises(ValueError, match="puts the camera inside the head"):
        write_fit(fit, flame.model, tmp_path / "t.npz", name="vhap", options=WriteOptions(focal=20))


@pytest.mark.parametrize("name", ["deca", "smirk", "emoca"])
def test_a_pinhole_becomes_an_orthographic_camera_with_its_error(tmp_path, flame, name):
    fit = flame_fit(flame.model, columns=(100, 50), without=("neck", "eyes", "eyelids"))
    writing = write_fit(fit, flame.model, tmp_path / "c.npz", name=name)
    apart = largest_difference(flame.model, fit, read_fit(writing.path, flame.model).fit)
    said = next(note for note in writing.notes if "became an orthographic one" in note)
    assert off(said) == pytest.approx(apart, rel=0.06)
    assert 1 < apart < 40


def test_a_neck_goes_into_the_root_and_what_hangs_on_it_stays(tmp_path, flame):
    """Vertices that only the neck moves keep their place, but for the neck's pose correctives."""
    fit = flame_fit(flame.model, without=("jaw", "eyes", "eyelids"), columns=(100, 50), perspective=False)
    writing = write_fit(fit, flame.model, tmp_path / "d.npz", name="deca")
    assert any("DECA has no neck: its turn went into the head's" in note for note in writing.notes)
    back = read_fit(writing.path, flame.model).fit
    plain = flame_head()
    for model in (plain.model,):
        model.pose_basis.zero_()
        model.weights.zero_()
        model.weights[:, 1] = 1.0
    apart = (
        project_head(plain.model, fit.params, fit.camera)
        - project_head(plain.model, back.params, back.camera)
    )[..., :2]
    assert float(apart.norm(dim=-1).max()) < PIXELS
    assert largest_difference(flame.model, fit, back) > 0.1


def test_equal_fits_are_equal_bytes(tmp_path, flame):
    fit = flame_fit(flame.model, **SMALL)
    for name, target in {
        "vhap": "v.npz",
        "deca": "d.mat",
        "smirk": "s.pkl",
        "emoca": "e.pt",
        "metrical": "m",
        "pixel3dmm": "p",
        "vhap-dataset": "n",
    }.items():
        contents = []
        for run in "ab":
            path = write_fit(fit, flame.model, tmp_path / run / target, name=name).path
            files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
            contents.append([file.read_bytes() for file in files])
        assert contents[0] == contents[1], name


def test_torch_files_carry_the_names_that_old_numpy_knows(tmp_path, flame):
    fit = flame_fit(flame.model, without=("neck",), frames=1)
    path = write_fit(fit, flame.model, tmp_path / "m.frame", name="metrical").path
    assert b"numpy._core" not in path.read_bytes()
    stream = io.BytesIO(path.read_bytes())
    allowed = [
        np.zeros(1).__reduce__()[0],
        np.ndarray,
        np.dtype,
        type(np.dtype("f4")),
        type(np.dtype("i8")),
    ]
    with torch.serialization.safe_globals(allowed):
        assert "flame" in torch.load(stream, weights_only=True)
