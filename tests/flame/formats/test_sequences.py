"""Whole clips: a record for every frame, and how each format keeps the missing ones."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from flame_fits import flame_fit, flame_head, with_status
from tool_projections import rodrigues

from headwarp.flame.formats import FORMATS, describe, largest_difference, read_fit, sniff, write_fit
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING
from headwarp.geom.errors import ModelFileError
from headwarp.geom.transforms import matrix_to_axis_angle

STATUS = [MISSING, DETECTED, INTERPOLATED, MISSING, DETECTED, MISSING]
PLAIN = {"columns": (100, 50), "without": ("neck", "eyes", "eyelids")}
OUTPUTS = [(name, suffix) for name in FORMATS for suffix in FORMATS[name].output if suffix != ".frame"]


@pytest.fixture(scope="module")
def flame():
    return flame_head()


def gapped(flame, *, orthographic: bool):
    return with_status(flame_fit(flame.model, frames=6, perspective=not orthographic, **PLAIN), STATUS)


@pytest.mark.parametrize(("name", "suffix"), OUTPUTS)
def test_missing_frames_stay_missing_everywhere(tmp_path, flame, name, suffix):
    fit = gapped(flame, orthographic=name in ("deca", "smirk", "emoca"))
    writing = write_fit(fit, flame.model, tmp_path / f"x{suffix}", name=name)
    per_frame = suffix == "" and name != "vhap"
    assert writing.frames == (3 if per_frame else 6)
    back = read_fit(writing.path, flame.model).fit
    assert back.status.tolist() == STATUS
    torch.testing.assert_close(back.confidence[fit.status > 0], fit.confidence[fit.status > 0])
    assert (back.report.get("missing", 3), back.size) == (3, fit.size)
    assert largest_difference(flame.model, fit, back) < 1e-3
    for value in (back.params.rotation, back.params.expression, back.params.translation):
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("name", ["metrical", "pixel3dmm", "emoca"])
def test_gaps_in_a_folder_of_others_are_missing_frames(tmp_path, flame, name):
    """Without our sidecar: frames from the first number to the last."""
    fit = gapped(flame, orthographic=name == "emoca")
    folder = write_fit(fit, flame.model, tmp_path / "x", name=name).path
    (folder / "headwarp.json").unlink()
    reading = read_fit(folder, flame.model)
    assert reading.fit.status.tolist() == [DETECTED, DETECTED, MISSING, DETECTED]
    assert any("does not say which FLAME" in note for note in reading.notes)
    torch.testing.assert_close(reading.fit.params.jaw[2], reading.fit.params.jaw[1])
    assert describe(folder)["frames"] == 3


def test_frames_of_metrical_in_its_checkpoint_folder(tmp_path, flame):
    fit = flame_fit(flame.model, **PLAIN)
    write_fit(fit, flame.model, tmp_path / "actor" / "checkpoint", name="metrical")
    (tmp_path / "actor" / "mesh").mkdir()
    assert sniff(tmp_path / "actor") == "metrical"
    assert largest_difference(flame.model, fit, read_fit(tmp_path / "actor", flame.model).fit) < 1e-3


def test_a_frame_that_the_sidecar_promises_and_is_not_there(tmp_path, flame):
    folder = write_fit(flame_fit(flame.model, **PLAIN), flame.model, tmp_path / "x", name="metrical").path
    (folder / "00003.frame").unlink()
    with pytest.raises(ModelFileError, match=r"the file of frame 3 is missing \(1 in all\)"):
        read_fit(folder, flame.model)
    (folder / "headwarp.json").write_text(json.dumps({"status": [2], "confidence": [1], "size": [4, 4]}))
    with pytest.raises(ModelFileError, match="expected frames up to 0, got 4"):
        read_fit(folder, flame.model)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pkl", ".mat", ".pt"])
@pytest.mark.parametrize("name", ["deca", "smirk"])
def test_a_file_for_every_frame(tmp_path, flame, name, suffix):
    """As people save them: one dict an image, numbered; frame 12 was not detected."""
    fit = flame_fit(flame.model, frames=4, perspective=False, **PLAIN)
    for frame, number in enumerate((9, 10, 11, 13)):
        path = tmp_path / "codes" / f"img_{number}{suffix}"
        write_fit(fit.select([frame]), flame.model, path, name=name)
    assert sniff(tmp_path / "codes") == name
    assert describe(tmp_path / "codes")["parts"] == 4
    back = read_fit(tmp_path / "codes", flame.model).fit
    assert back.status.tolist() == [DETECTED, DETECTED, DETECTED, MISSING, DETECTED]
    there = back.select([0, 1, 2, 4])
    assert largest_difference(flame.model, fit, there) < 1e-3


def test_names_without_numbers_are_taken_in_order(tmp_path, flame):
    fit = flame_fit(flame.model, frames=3, perspective=False, **PLAIN)
    for frame, name in enumerate(("anna", "ben", "carl")):
        write_fit(fit.select([frame]), flame.model, tmp_path / f"{name}.npz", name="deca")
    back = read_fit(tmp_path, flame.model).fit
    assert back.status.tolist() == [DETECTED] * 3
    assert largest_difference(flame.model, fit, back) < 1e-3


def test_several_faces_of_a_frame_in_emoca_are_refused(tmp_path, flame):
    fit = flame_fit(flame.model, frames=2, perspective=False, **PLAIN)
    folder = write_fit(fit, flame.model, tmp_path / "e", name="emoca").path
    shutil.copytree(folder / "000001_000", folder / "000001_001")
    with pytest.raises(ModelFileError, match="expected one face a frame, got 000001_000, 000001_001"):
        read_fit(folder, flame.model)


def test_of_several_epochs_the_last_is_read(tmp_path, flame):
    first, last = (flame_fit(flame.model, frames=n, without=("eyelids",)) for n in (2, 3))
    write_fit(first, flame.model, tmp_path / "tracked_flame_params_0.npz", name="vhap")
    write_fit(last, flame.model, tmp_path / "tracked_flame_params_30.npz", name="vhap")
    assert read_fit(tmp_path, flame.model).fit.frames == 3


def test_a_dataset_without_missing_frames_numbers_its_timesteps_without_gaps(tmp_path, flame):
    """As GaussianAvatars needs them: it looks up timestep 0 and asks for as many as the last number says."""
    fit = gapped(flame, orthographic=False)
    folder = write_fit(fit, flame.model, tmp_path / "d", name="vhap-dataset").path
    whole = json.loads((folder / "transforms.json").read_text())
    assert [f["timestep_index"] for f in whole["frames"]] == [0, 1, 2]
    assert [f["timestep_index_original"] for f in whole["frames"]] == [1, 2, 4]
    assert whole["timestep_indices"] == [0, 1, 2]
    parts = {
        name: json.loads((folder / f"transforms_{name}.json").read_text())
        for name in ("train", "val", "test")
    }
    assert [[f["timestep_index"] for f in parts[n]["frames"]] for n in parts] == [[0, 1, 2], [], []]
    canonical = np.load(folder / "canonical_flame_param.npz")
    np.testing.assert_allclose(canonical["jaw_pose"], [[0.3, 0, 0]], rtol=1e-6)
    assert not canonical["expr"].any()
    assert not canonical["translation"].any()
    assert canonical["shape"].shape == (300,)


def test_a_longer_clip_is_divided_as_vhap_divides_it(tmp_path, flame):
    fit = flame_fit(flame.model, frames=10, without=("eyelids",))
    folder = write_fit(fit, flame.model, tmp_path / "d", name="vhap-dataset").path
    sizes = {
        n: len(json.loads((folder / f"transforms_{n}.json").read_text())["frames"])
        for n in ("train", "val", "test")
    }
    assert sizes == {"train": 7, "val": 0, "test": 3}
    assert "camera_angle_x" in json.loads((folder / "transforms_val.json").read_text())


def test_a_dataset_of_several_cameras_is_seen_by_the_first(tmp_path, flame):
    fit = flame_fit(flame.model, frames=2, without=("eyelids",))
    folder = write_fit(fit, flame.model, tmp_path / "d", name="vhap-dataset").path
    content = json.loads((folder / "transforms.json").read_text())
    del content["headwarp"]
    others = [{**frame, "camera_index": 3, "fl_x": 500.0} for frame in content["frames"]]
    content["frames"] = [*others, *content["frames"]]
    (folder / "transforms.json").write_text(json.dumps(content))
    reading = read_fit(folder, flame.model)
    assert any("2 cameras: the first (camera_index 0) was read" in note for note in reading.notes)
    assert largest_difference(flame.model, fit, reading.fit) < 1e-3
    assert describe(folder)["cameras"] == 2


def test_a_camera_that_looks_from_the_side(tmp_path, flame):
    """NeRSemble's cameras stand anywhere: world and head turned together change no pixel."""
    fit = flame_fit(flame.model, frames=2, without=("eyelids",))
    folder = write_fit(fit, flame.model, tmp_path / "d", name="vhap-dataset").path
    content = json.loads((folder / "transforms.json").read_text())
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    for entry in content["frames"]:
        path = folder / entry["flame_param_path"]
        params = dict(np.load(path))
        shaped = flame.arrays["v_template"] + flame.arrays["shapedirs"] @ np.concatenate(
            [params["shape"], params["expr"][0]]
        )
        pivot = flame.arrays["J_regressor"][0] @ shaped
        own = torch.from_numpy(turn @ rodrigues(params["rotation"][0].astype(float)))
        params["rotation"] = matrix_to_axis_angle(own)[None].float().numpy()
        params["translation"] = (turn @ (pivot + params["translation"][0]) - pivot)[None].astype(np.float32)
        np.savez(path, **params)
        matrix = np.eye(4)
        matrix[:3] = turn @ np.array(entry["transform_matrix"])[:3]
        entry["transform_matrix"] = matrix.tolist()
    (folder / "transforms.json").write_text(json.dumps(content))
    assert largest_difference(flame.model, fit, read_fit(folder, flame.model).fit) < 1e-3


def test_one_of_emocas_folders_alone_is_a_photo(tmp_path, flame):
    fit = flame_fit(flame.model, frames=2, perspective=False, **PLAIN)
    folder = write_fit(fit, flame.model, tmp_path / "e", name="emoca").path
    (folder / "000001_000" / "inputs.png").write_bytes(b"a picture beside them")
    assert sniff(folder / "000001_000") == "emoca"
    alone = read_fit(folder / "000001_000", flame.model).fit
    assert alone.frames == 1
    assert largest_difference(flame.model, fit.select([1]), alone) < 1e-3
