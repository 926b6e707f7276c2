"""``headwarp convert fit`` as a user calls it: there and back, what is refused, what is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from flame_fits import flame_fit, with_status
from flame_schema import flame_arrays, write_flame_pickle
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.formats import FORMATS, largest_difference, read_fit, write_fit
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.params import HeadFit
from headwarp.flame.posing import project_head
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import cli
from headwarp.tools.convert_fit import ConvertFit, describe, run
from headwarp.training.data.media import read_image, write_image

OTHERS = [name for name in FORMATS if name != "headwarp"]


@pytest.fixture(scope="module")
def flame(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("flame") / "generic_model.pkl"
    write_flame_pickle(path)
    return path


@pytest.fixture(scope="module")
def head(flame):
    return load_head(flame)


@pytest.fixture
def fit_file(tmp_path, head) -> Path:
    bare = ("neck", "eyes", "eyelids")
    return flame_fit(head, without=bare, columns=(100, 50)).save(tmp_path / "in.npz")


def output(folder: Path, name: str) -> Path:
    """A folder for the formats that can be one."""
    return folder / ("out" if "" in FORMATS[name].output else "out.npz")


@pytest.mark.parametrize("name", OTHERS)
def test_there_and_back(tmp_path, flame, head, fit_file, name):
    there = run(ConvertFit(fit_file, output(tmp_path, name), name, head=str(flame)))
    assert (there["format"], there["input_format"], there["written"]) == (name, "headwarp", 5)
    orthographic = name in ("deca", "smirk", "emoca")
    assert (there["pixel_difference"] > 1) == orthographic
    assert any("orthographic" in note for note in there["notes"]) == orthographic
    back = run(ConvertFit(there["output"], tmp_path / "back.npz", head=str(flame)))
    assert (back["input_format"], back["format"]) == (name, "headwarp")
    first, second = HeadFit.load(fit_file), HeadFit.load(tmp_path / "back.npz")
    apart = largest_difference(head, first, second)
    assert apart == pytest.approx(there["pixel_difference"], abs=1e-3)
    assert f"({name})" in describe(back)


def test_command_line(tmp_path, flame, fit_file, capsys):
    words = ["convert", "fit", str(fit_file), "--output", str(tmp_path / "d"), "--format", "vhap-dataset"]
    assert cli.main([*words, "--head", str(flame), "--json", str(tmp_path / "r.json")]) == 0
    assert "vhap-dataset, 5 of 5 frames" in capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["pixel_difference"] < 1e-3
    assert cli.main([*words, "--head", str(flame)]) == 1
    assert "expected no such folder or an empty one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("x.frame", "--format: .*x.frame does not say which format.*: give one of pixel3dmm, metrical"),
        ("folder", "does not say which format.*: give one of vhap-dataset, vhap, "),
        ("x.npz", "does not say which format.*: give one of vhap, smirk, deca, emoca"),
        ("x.xyz", "does not say which format.*: give headwarp, .* and a name of its own"),
    ],
)
def test_an_output_that_does_not_say_its_format(tmp_path, flame, fit_file, name, error):
    with pytest.raises(HeadwarpError, match=error):
        run(ConvertFit(fit_file, tmp_path / name, head=str(flame)))


def test_the_name_of_vhaps_file_says_its_format(tmp_path, flame, fit_file):
    report = run(ConvertFit(fit_file, tmp_path / "tracked_flame_params_30.npz", head=str(flame)))
    assert (report["format"], report["notes"]) == ("vhap", [])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"format": "nonsense"}, "format: expected one of headwarp, .*, got 'nonsense'"),
        ({"format": "deca", "clip": Path("c.mp4")}, "--clip: belongs to --format vhap-dataset"),
        ({"format": "vhap", "masks": True}, "--masks: needs the pictures; give --clip"),
        ({"format": "vhap", "size": (0, 10)}, "--size: expected height and width"),
        ({"format": "vhap", "tolerance": 0.0}, "--tolerance: expected pixels > 0"),
        ({"format": "vhap", "each": True}, "--each: writes our own fits"),
    ],
)
def test_options_that_make_no_sense(tmp_path, flame, fit_file, options, error):
    with pytest.raises(HeadwarpError, match=error):
        run(ConvertFit(fit_file, tmp_path / "x.npz", head=str(flame), **options))


@pytest.mark.parametrize("name", OTHERS)
def test_a_fit_of_another_head_is_refused_with_the_way_out(tmp_path, name):
    model = toy_head()
    save_head_npz(model, tmp_path / "toy.npz")
    path = toy_fit(model).save(tmp_path / "fit.npz")
    with pytest.raises(HeadwarpError, match=r"expected a FLAME model.*got toy-.*--to-head FLAME\.pkl"):
        run(ConvertFit(path, output(tmp_path, name), name, head=str(tmp_path / "toy.npz")))
    assert not output(tmp_path, name).exists()


@pytest.mark.parametrize("name", OTHERS)
def test_reading_asks_for_the_flame_file(tmp_path, flame, head, fit_file, name):
    written = write_fit(HeadFit.load(fit_file), head, output(tmp_path, name), name=name).path
    save_head_npz(toy_head(), tmp_path / "toy.npz")
    with pytest.raises(HeadwarpError, match=r"expected a FLAME model.*read it with --head FLAME\.pkl"):
        run(ConvertFit(written, tmp_path / "y.npz", head=str(tmp_path / "toy.npz")))


def test_the_head_that_a_file_names_is_checked(tmp_path, head, fit_file):
    written = write_fit(HeadFit.load(fit_file), head, tmp_path / "x.npz", name="deca").path
    write_flame_pickle(tmp_path / "other.pkl", flame_arrays(seed=9))
    with pytest.raises(
        Exception, match=r"x\.npz: expected coefficients of head flame-.*, got those of flame-"
    ):
        run(ConvertFit(written, tmp_path / "y.npz", head=str(tmp_path / "other.pkl")))


def test_pictures_of_the_clip_without_its_missing_frames(tmp_path, flame, head):
    fit = with_status(flame_fit(head, without=("eyelids",), size=(32, 48)), [2, 0, 2, 1, 2])
    path = fit.save(tmp_path / "in.npz")
    for frame in range(5):
        write_image(tmp_path / "clip" / f"{frame}.png", np.full((32, 48, 3), 40 * frame, np.uint8))
    out = tmp_path / "d"
    report = run(ConvertFit(path, out, "vhap-dataset", head=str(flame), clip=tmp_path / "clip"))
    assert (report["frames"], report["missing"], report["written"]) == (5, 1, 4)
    shown = [int(read_image(out / f"images/{t:05d}_00.png").mean()) for t in range(4)]
    assert shown == [0, 80, 120, 160]
    assert not (out / "fg_masks").exists()
    assert "fg_mask_path" not in json.loads((out / "transforms.json").read_text())["frames"][0]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("size", "count", "error"),
    [
        ((32, 40), 5, "expected the frames that were fitted, 48 x 32, got 40 x 32"),
        ((32, 48), 3, "is shorter"),
    ],
)
def test_a_clip_that_is_not_that_of_the_fit(tmp_path, flame, head, size, count, error):
    path = flame_fit(head, without=("eyelids",), size=(32, 48)).save(tmp_path / "in.npz")
    for frame in range(count):
        write_image(tmp_path / "clip" / f"{frame}.png", np.zeros((*size, 3), np.uint8))
    with pytest.raises(HeadwarpError, match=error):
        run(ConvertFit(path, tmp_path / "d", "vhap-dataset", head=str(flame), clip=tmp_path / "clip"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip", "in.npz"]


def test_a_fit_for_every_photo_keeps_every_shape(tmp_path, flame, head):
    fit = flame_fit(head, without=("neck", "eyes", "eyelids"), columns=(100, 50), perspective=False)
    path = write_fit(fit, head, tmp_path / "c.npz", name="deca").path
    codes = dict(np.load(path))
    codes["shape"] = codes["shape"] + np.arange(5, dtype=np.float32)[:, None]
    np.savez(path, **codes)
    together = run(ConvertFit(path, tmp_path / "one.npz", head=str(flame)))
    assert any("the shape differs from frame to frame" in note for note in together["notes"])
    shape = HeadFit.load(tmp_path / "one.npz").params.shape
    np.testing.assert_allclose(shape[:100], fit.params.shape[:100] + 2, atol=1e-5)
    report = run(ConvertFit(path, tmp_path / "each", head=str(flame), each=True))
    assert (report["written"], report["pixel_difference"]) == (5, None)
    for frame in range(5):
        alone = HeadFit.load(tmp_path / "each" / f"c_{frame:05d}.npz")
        np.testing.assert_allclose(alone.params.shape[:100], fit.params.shape[:100] + frame, atol=1e-5)
        shown = dataclasses.replace(fit.select([frame]).params, shape=alone.params.shape)
        same = dataclasses.replace(fit.select([frame]), params=shown)
        assert largest_difference(head, alone, same) < 2e-3


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("x.glb", "gltf", {"fps": 12.0}),
        ("x.gltf", "gltf", {}),
        ("obj", "obj", {"axes": "camera", "normals": True}),
    ],
)
def test_formats_of_other_programs(tmp_path, flame, fit_file, name, kind, options):
    report = run(
        ConvertFit(fit_file, tmp_path / name, kind if kind == "obj" else None, head=str(flame), **options)
    )
    assert (report["format"], report["export"]["format"], report["pixel_difference"]) == (kind, kind, None)
    assert (tmp_path / name).exists()
    assert f"{name}: {kind}, 5 of 5 frames" in describe(report)
    assert report["export"].get("fps", 12.0) in (12.0, 25.0)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"fps": 30.0}, "--fps: belongs to gltf and arkit, not to vhap"),
        ({"texture": Path("t.png")}, "--texture: belongs to gltf, not to vhap"),
        ({"axes": "camera"}, "--axes: belongs to obj, not to vhap"),
        ({"normals": True}, "--normals: belongs to obj, not to vhap"),
    ],
)
def test_options_of_other_formats_are_refused(tmp_path, flame, fit_file, options, error):
    with pytest.raises(HeadwarpError, match=error):
        run(ConvertFit(fit_file, tmp_path / "x.npz", "vhap", head=str(flame), **options))


def test_an_exported_format_and_its_name_agree(tmp_path, flame, fit_file):
    with pytest.raises(HeadwarpError, match=r"--output: arkit expects a name with \.csv, got .*x\.glb"):
        run(ConvertFit(fit_file, tmp_path / "x.glb", "arkit", head=str(flame)))


def test_to_head_makes_a_flame_fit_of_another_heads(tmp_path):
    """A head in FLAME's schema with the toy head's mesh: the surfaces agree, so do the pixels."""
    toy = toy_head()
    save_head_npz(toy, tmp_path / "toy.npz")
    count = len(toy.template)
    dirs = np.zeros((count, 3, 400))
    dirs[:, :, :6], dirs[:, :, 300:305] = 2 * toy.shape_basis.numpy(), -toy.expression_basis.numpy()
    arrays = flame_arrays(rows=12, columns=13) | {
        "v_template": toy.template.double().numpy(),
        "f": toy.faces.numpy().astype(np.uint32),
        "shapedirs": dirs,
        "posedirs": np.zeros((count, 3, 36)),
        "J_regressor": toy.joint_regressor.double().numpy(),
        "weights": toy.weights.double().numpy(),
    }
    write_flame_pickle(tmp_path / "flame.pkl", arrays)
    embedding = toy.landmarks["mediapipe"]
    np.savez(
        tmp_path / "mediapipe_landmark_embedding.npz",
        landmark_indices=embedding.indices.numpy(),
        lmk_face_idx=embedding.faces.numpy(),
        lmk_b_coords=embedding.bary.double().numpy(),
    )
    bare = ("neck", "eyes", "eyelids")
    moving = {name: value for name, value in varied(toy, 3).items() if name not in bare}
    path = toy_fit(toy, 3, **moving).save(tmp_path / "fit.npz")
    report = run(
        ConvertFit(
            path,
            tmp_path / "d",
            "vhap-dataset",
            head=str(tmp_path / "toy.npz"),
            to_head=str(tmp_path / "flame.pkl"),
        )
    )
    assert report["model_id"].startswith("flame-")
    assert report["transfer"]["rms_mm"] < 0.1
    assert "moved from toy-" in describe(report)
    flame = load_head(tmp_path / "flame.pkl")
    back = read_fit(tmp_path / "d", flame).fit
    first, second = (
        project_head(model, fit.params, fit.camera)[..., :2]
        for model, fit in ((toy, HeadFit.load(path)), (flame, back))
    )
    assert float((first - second).norm(dim=-1).max()) < 0.3


def test_to_head_of_another_trackers_fit_which_has_no_landmarks(tmp_path, flame, head, fit_file):
    """From one release of FLAME to another: same mesh, other bases, no embedding beside either."""
    arrays = flame_arrays()
    arrays["shapedirs"] = -arrays["shapedirs"]
    write_flame_pickle(tmp_path / "flame2023.pkl", arrays)
    written = write_fit(HeadFit.load(fit_file), head, tmp_path / "x.npz", name="vhap").path
    report = run(
        ConvertFit(written, tmp_path / "y.npz", head=str(flame), to_head=str(tmp_path / "flame2023.pkl"))
    )
    moved = HeadFit.load(tmp_path / "y.npz")
    assert report["model_id"] == moved.model_id != head.model_id
    assert report["transfer"]["rms_mm"] < 1
    first = read_fit(written, head).fit
    other = load_head(tmp_path / "flame2023.pkl")
    shown = [
        project_head(model, fit.params, fit.camera)[..., :2] for model, fit in ((head, first), (other, moved))
    ]
    assert float((shown[0] - shown[1]).norm(dim=-1).mean()) < 1
