"""Head files: spellings of a FLAME pickle, hostile and damaged files, our own format, what lies beside."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_schema import Call, flame_arrays, write_flame_pickle, write_landmark_files

from headwarp.flame import _files
from headwarp.flame.io import convert_head, load_head, save_head_npz
from headwarp.flame.model import HeadModel, landmark_points, pose_vertices
from headwarp.geom.errors import ModelFileError
from headwarp.tools import convert_head as command


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return flame_arrays()


@pytest.fixture
def flame(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    write_flame_pickle(tmp_path / "generic_model.pkl", arrays)
    return tmp_path / "generic_model.pkl"


def test_reads_a_released_flame_pickle(flame: Path, arrays: dict[str, np.ndarray]) -> None:
    head = load_head(flame)
    assert not any(name.split(".")[0] == "chumpy" for name in sys.modules)
    pairs = {
        "template": arrays["v_template"],
        "shape_basis": arrays["shapedirs"][..., :300],
        "expression_basis": arrays["shapedirs"][..., 300:],
        "pose_basis": arrays["posedirs"],
        "joint_regressor": arrays["J_regressor"],
        "weights": arrays["weights"],
    }
    for key, wanted in pairs.items():
        np.testing.assert_array_equal(getattr(head, key).numpy(), wanted.astype(np.float32), err_msg=key)
    np.testing.assert_array_equal(head.faces.numpy(), arrays["f"])
    assert head.parents == (-1, 0, 1, 1, 1)
    np.testing.assert_allclose(head.joint_template.numpy(), arrays["J"], atol=1e-7)
    assert head.landmarks == {}
    assert not head.eyelid_basis.any()
    assert head.name == "flame"
    assert "modellicense" in head.licence


@pytest.mark.parametrize("protocol", range(6))
def test_resaved_pickles_are_the_same_head(
    tmp_path: Path, arrays: dict[str, np.ndarray], flame: Path, protocol: int
) -> None:
    write_flame_pickle(tmp_path / "again.pkl", arrays, python2=False, protocol=protocol)
    assert load_head(tmp_path / "again.pkl").model_id == load_head(flame).model_id


def test_fortran_order_and_big_endian_arrays(
    tmp_path: Path, arrays: dict[str, np.ndarray], flame: Path
) -> None:
    odd = dict(arrays)
    odd["shapedirs"] = np.asfortranarray(arrays["shapedirs"])
    odd["v_template"] = arrays["v_template"].astype(">f8")
    write_flame_pickle(tmp_path / "odd.pkl", odd)
    assert load_head(tmp_path / "odd.pkl").model_id == load_head(flame).model_id


def test_tolerates_the_extra_keys_of_the_smpl_family(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    extra = {
        "pose_training_info": {"gender": "neutral", "n": 3},
        "vert_sym_idxs": np.arange(5),
        "names": ["a", None],
    }
    write_flame_pickle(tmp_path / "extra.pkl", arrays, extra=extra)
    assert load_head(tmp_path / "extra.pkl").shape_basis.shape == (56, 3, 300)


def test_shape_count_splits_the_basis(tmp_path: Path) -> None:
    write_flame_pickle(tmp_path / "small.pkl", flame_arrays(shape_count=8, expression_count=5))
    head = load_head(tmp_path / "small.pkl", shape_count=8)
    assert (head.shape_basis.shape[2], head.expression_basis.shape[2]) == (8, 5)
    with pytest.raises(
        ModelFileError, match=r"shapedirs: expected more than 300 columns .* got 13; .*shape_count=N"
    ):
        load_head(tmp_path / "small.pkl")
    with pytest.raises(ModelFileError, match="shape_count: expected 0 to 13"):
        load_head(tmp_path / "small.pkl", shape_count=14)


def test_reads_an_npz_with_flame_keys(tmp_path: Path, arrays: dict[str, np.ndarray], flame: Path) -> None:
    np.savez(tmp_path / "plain.npz", **arrays)
    assert load_head(tmp_path / "plain.npz").model_id == load_head(flame).model_id


def test_oversized_files_are_refused(tmp_path: Path, flame: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_head_npz(load_head(flame), tmp_path / "head.npz")
    monkeypatch.setattr(_files, "MAX_BYTES", 200_000)
    assert (tmp_path / "head.npz").stat().st_size > 200_000
    with pytest.raises(ModelFileError, match="expected at most 200000 bytes, got"):
        load_head(tmp_path / "head.npz")
    np.savez_compressed(tmp_path / "bomb.npz", template=np.zeros(100_000))
    with pytest.raises(ModelFileError, match="expected at most 200000 bytes unpacked"):
        load_head(tmp_path / "bomb.npz")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("shapedirs", None, "FLAME model, shapedirs missing; got J, J_regressor"),
        ("shapedirs", np.zeros((56, 3)), r"shapedirs: expected \(56, 3, \*\), got \(56, 3\)"),
        ("posedirs", np.zeros((56, 3, 207)), r"posedirs: expected \(56, 3, 36\), got \(56, 3, 207\)"),
        ("J_regressor", np.zeros((24, 56)), r"J_regressor: expected \(5, 56\), got \(24, 56\)"),
        ("weights", np.zeros((55, 5)), r"weights: expected \(56, 5\), got \(55, 5\)"),
        ("v_template", np.zeros((56, 2)), r"v_template: expected \(56, 3\), got \(56, 2\)"),
        ("f", np.full((4, 3), 99, dtype=np.uint32), r"faces: expected indices below 56"),
        ("f", np.zeros((4, 3)), "f: expected whole numbers, got float64"),
        ("f", np.zeros((4, 3, 1), int), r"f: expected \(\*, 3\), got \(4, 3, 1\)"),
        (
            "shapedirs",
            np.full((56, 3, 400), np.nan),
            "shapedirs: expected finite numbers, got NaN or infinity",
        ),
        ("J_regressor", np.full((5, 56), np.inf), "J_regressor: expected finite numbers, got NaN"),
        ("v_template", np.zeros((56, 3), bool), "v_template: expected numbers, got bool"),
        ("weights", np.zeros((56, 5)), r"weights: expected rows that sum to 1, row 0 is \[0.0, 0.0"),
        ("kintree_table", np.zeros((2, 5)), "kintree_table: expected whole numbers, got float64"),
        ("kintree_table", np.array([[-1, 0, 1, 1, 7], [0, 1, 2, 3, 4]]), r"parents: expected -1 first, then"),
        ("kintree_table", np.array([[0, 0, 1, 1, 1], [0, 1, 2, 3, 4]]), "parents: expected -1 first"),
        ("kintree_table", np.array(["a"]), "kintree_table: expected an array"),
    ],
)
def test_wrong_keys_are_named(tmp_path: Path, key: str, value: np.ndarray | None, text: str) -> None:
    write_flame_pickle(tmp_path / "bad.pkl", flame_arrays() | {key: value})  # type: ignore[dict-item]
    with pytest.raises(ModelFileError, match=text) as caught:
        load_head(tmp_path / "bad.pkl")
    assert str(tmp_path / "bad.pkl") in str(caught.value)


def test_a_missing_file_says_where_to_get_flame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_head(tmp_path / "nowhere.pkl")
    for part in (
        "nowhere.pkl",
        "flame.is.tue.mpg.de",
        "$HEADWARP_HEAD",
        "headwarp convert head",
        str(tmp_path),
    ):
        assert part in str(caught.value)
    monkeypatch.setenv("HEADWARP_HEAD", str(tmp_path / "other.npz"))
    with pytest.raises(ModelFileError, match=r"other\.npz: no such head file"):
        load_head()


def test_the_variable_names_the_default_head(flame: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWARP_HEAD", str(flame))
    assert load_head().model_id == load_head(flame).model_id


# --------------------------------------------------------------------------------- what lies beside


def test_files_beside_the_model_are_picked_up(flame: Path, arrays: dict[str, np.ndarray]) -> None:
    paths = write_landmark_files(flame.parent, len(arrays["f"]))
    for key in ("mediapipe", "static", "deca"):
        paths[key].rename(flame.parent / paths[key].name)
    head = load_head(flame)
    assert {k: len(v.indices) for k, v in head.landmarks.items()} == {"mediapipe": 105, "ibug68": 51}
    assert head.landmarks["ibug68"].indices.tolist() == list(range(17, 68))
    content = np.load(paths["mediapipe"])
    np.testing.assert_array_equal(head.landmarks["mediapipe"].indices.numpy(), content["landmark_indices"])
    points = landmark_points(head, pose_vertices(head, torch.zeros(0), torch.zeros(1, 0)), "mediapipe")[0, 7]
    corners = arrays["v_template"][arrays["f"][content["lmk_face_idx"][7]]]
    np.testing.assert_allclose(points.numpy(), content["lmk_b_coords"][7] @ corners, atol=1e-7)


def test_explicit_landmarks_win_over_those_beside(
    tmp_path: Path, flame: Path, arrays: dict[str, np.ndarray]
) -> None:
    (tmp_path / "other").mkdir()
    beside = write_landmark_files(tmp_path, len(arrays["f"]))
    other = write_landmark_files(tmp_path / "other", len(arrays["f"]), seed=1)
    first = load_head(flame).landmarks["ibug68"].faces
    deca = np.load(beside["deca"], allow_pickle=True)[()]
    np.testing.assert_array_equal(first.numpy(), deca["static_lmk_faces_idx"])
    static = load_head(flame, landmarks=other["static"])
    with other["static"].open("rb") as file:
        wanted = pickle.load(file, encoding="latin1")["lmk_face_idx"]
    np.testing.assert_array_equal(static.landmarks["ibug68"].faces.numpy(), wanted)
    assert "mediapipe" in static.landmarks
    with pytest.raises(ModelFileError, match="'ibug68' were given by an earlier file"):
        load_head(flame, landmarks=[other["static"], other["deca"]])
    with pytest.raises(ModelFileError, match="no such landmark file"):
        load_head(flame, landmarks=tmp_path / "none.npz")


def test_vhap_irises_are_no_ibug_points(tmp_path: Path, flame: Path) -> None:
    faces, bary = np.arange(53), np.tile([0.0, 1.0, 0.0], (53, 1))
    content = {"static_lmk_faces_idx": faces, "static_lmk_bary_coords": bary}
    np.save(tmp_path / "eyes.npy", np.array(content, dtype=object), allow_pickle=True)
    embedding = load_head(flame, landmarks=tmp_path / "eyes.npy").landmarks["ibug68"]
    assert embedding.indices.tolist() == list(range(17, 68))
    assert embedding.faces.tolist() == list(range(51))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"lmk_face_idx": np.arange(51)}, "lmk_b_coords"),
        ({"lmk_face_idx": np.arange(50), "lmk_b_coords": np.ones((50, 3)) / 3}, r"expected \(51,\), got"),
        ({"lmk_face_idx": np.arange(51) + 99, "lmk_b_coords": np.ones((51, 3)) / 3}, "below 84, got 99..149"),
        ({"landmark_indices": np.arange(5), "lmk_face_idx": np.arange(5)}, "lmk_b_coords missing"),
        ({"points": np.zeros(3)}, "static_lmk_faces_idx or lmk_face_idx, got points"),
        ({"landmarks.mediapipe.faces": np.arange(5)}, "landmarks.mediapipe.indices, .* missing"),
    ],
)  # fmt: skip
def test_wrong_landmark_files_are_named(
    tmp_path: Path, flame: Path, content: dict[str, np.ndarray], text: str
) -> None:
    np.savez(tmp_path / "points.npz", **content)
    with pytest.raises(ModelFileError, match=rf"points\.npz: .*{text}"):
        load_head(flame, landmarks=tmp_path / "points.npz")


@pytest.mark.parametrize("swapped", [False, True])
def test_eyelids_are_told_by_their_side(flame: Path, arrays: dict[str, np.ndarray], swapped: bool) -> None:
    template = arrays["v_template"]
    left, right = np.zeros_like(template), np.zeros_like(template)
    left[template[:, 0] > 0.03, 1], right[template[:, 0] < -0.03, 1] = -0.009, -0.008
    for name, lid in zip(("l_eyelid", "r_eyelid"), (right, left) if swapped else (left, right), strict=True):
        np.save(flame.parent / f"{name}.npy", lid)
    head = load_head(flame)
    np.testing.assert_allclose(head.eyelid_basis[..., 0].numpy(), left, atol=1e-9)
    np.testing.assert_allclose(head.eyelid_basis[..., 1].numpy(), right, atol=1e-9)


def test_wrong_eyelids_are_named(flame: Path) -> None:
    np.save(flame.parent / "l_eyelid.npy", np.zeros((56, 3)))
    with pytest.raises(
        ModelFileError, match=r"expected both l_eyelid\.npy and r_eyelid\.npy, got only l_eyelid\.npy"
    ):
        load_head(flame)
    np.save(flame.parent / "r_eyelid.npy", np.zeros((55, 3)))
    with pytest.raises(ModelFileError, match=r"r_eyelid\.npy: expected \(56, 3\), got \(55, 3\)"):
        load_head(flame)
    np.save(flame.parent / "r_eyelid.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelFileError, match=r"r_eyelid\.npy: not a sound \.npy"):
        load_head(flame)


def test_masks_beside_the_model_become_regions(flame: Path) -> None:
    masks = {"lips": np.array([3, 5]), "nose": np.array([], dtype=np.int64)}
    (flame.parent / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, protocol=2))
    head = load_head(flame)
    assert head.region_masks["lips"].nonzero()[:, 0].tolist() == [3, 5]
    assert not head.region_masks["nose"].any()
    (flame.parent / "FLAME_masks.pkl").write_bytes(pickle.dumps({"lips": np.array([56])}))
    with pytest.raises(
        ModelFileError, match=r"FLAME_masks\.pkl: lips: expected indices below 56, got 56..56"
    ):
        load_head(flame)


# -------------------------------------------------------------------------------------- our own file


@pytest.fixture
def rich(flame: Path, arrays: dict[str, np.ndarray]) -> HeadModel:
    write_landmark_files(flame.parent, len(arrays["f"]))
    np.save(flame.parent / "l_eyelid.npy", np.full((56, 3), 1e-3))
    np.save(flame.parent / "r_eyelid.npy", np.full((56, 3), 2e-3))
    (flame.parent / "FLAME_masks.pkl").write_bytes(pickle.dumps({"right_ear": np.array([1])}))
    head = load_head(flame)
    head.stored_expressions = {"smile": torch.linspace(0, 1, 100)}
    head.uv, head.uv_faces = torch.rand(90, 2), torch.randint(0, 90, (len(arrays["f"]), 3))
    return head


def test_a_saved_head_comes_back_whole(tmp_path: Path, rich: HeadModel) -> None:
    path = save_head_npz(rich, tmp_path / "head.npz")
    back = load_head(path)
    for key, value in rich.state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key
    for family, embedding in rich.landmarks.items():
        for field in ("indices", "faces", "bary"):
            assert torch.equal(getattr(back.landmarks[family], field), getattr(embedding, field)), (
                family,
                field,
            )
    assert torch.equal(back.named_expressions["smile"], rich.named_expressions["smile"])
    assert torch.equal(back.region_masks["right_ear"], rich.region_masks["right_ear"])
    assert back.uv is not None
    assert back.uv_faces is not None
    assert torch.equal(back.uv, rich.uv)
    assert torch.equal(back.uv_faces, rich.uv_faces)
    for key in ("name", "licence", "model_id", "parents", "joint_names"):
        assert getattr(back, key) == getattr(rich, key)
    assert not list(tmp_path.glob(".*tmp")), "no temporary file stays"


def test_a_saved_head_holds_plain_arrays_only(tmp_path: Path, rich: HeadModel) -> None:
    save_head_npz(rich.double(), tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz", allow_pickle=False) as archive:
        assert int(archive["schema_version"]) == 1
        assert {archive[key].dtype.kind for key in archive.files} <= set("fiubU")
        assert archive["shape_basis"].dtype == np.float32


def test_a_pickle_and_its_conversion_have_one_id(tmp_path: Path, flame: Path) -> None:
    converted = convert_head(flame, tmp_path / "out.npz")
    assert load_head(tmp_path / "out.npz").model_id == load_head(flame).model_id == converted.model_id


def test_extra_landmarks_can_be_given_to_our_own_file(
    tmp_path: Path, flame: Path, arrays: dict[str, np.ndarray]
) -> None:
    convert_head(flame, tmp_path / "out.npz")
    (tmp_path / "points").mkdir()
    paths = write_landmark_files(tmp_path / "points", len(arrays["f"]))
    assert set(load_head(tmp_path / "out.npz").landmarks) == set()
    assert set(load_head(tmp_path / "out.npz", landmarks=paths["mediapipe"]).landmarks) == {"mediapipe"}
    own = {"indices": [1, 2], "faces": [0, 1], "bary": [[1, 0, 0], [0, 1, 0]]}
    np.savez(tmp_path / "own.npz", **{f"landmarks.mine.{key}": value for key, value in own.items()})
    assert load_head(tmp_path / "out.npz", landmarks=tmp_path / "own.npz").landmarks[
        "mine"
    ].faces.tolist() == [0, 1]


def rewritten(source: Path, target: Path, **changes: object) -> Path:
    with np.load(source) as archive:
        content = dict(archive) | changes
    np.savez(target, **{key: value for key, value in content.items() if value is not None})
    return target


def test_altered_files_are_refused(tmp_path: Path, flame: Path) -> None:
    good = tmp_path / "good.npz"
    convert_head(flame, good)
    bad = tmp_path / "bad.npz"
    with pytest.raises(ModelFileError, match="schema_version: expected 1, got 2; update headwarp"):
        load_head(rewritten(good, bad, schema_version=np.array(2)))
    with pytest.raises(ModelFileError, match="expected the keys of a head file, weights missing"):
        load_head(rewritten(good, bad, weights=None))
    with pytest.raises(ModelFileError, match=r"weights: expected \(56, 5\), got \(2, 5\)"):
        load_head(rewritten(good, bad, weights=np.zeros((2, 5))))
    with pytest.raises(ModelFileError, match=r"model_id: expected flame-.* the file was altered"):
        load_head(rewritten(good, bad, template=np.zeros((56, 3))))
    with pytest.raises(ModelFileError, match="template: expected numbers"):
        load_head(rewritten(good, bad, template=np.array(["a"])))
    with pytest.raises(ModelFileError, match="shape_count: the columns of this file say themselves"):
        load_head(good, shape_count=3)


def test_objects_in_an_npz_are_never_unpickled(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    evil = np.array([Call(os.system, f"touch {witness}")], dtype=object)
    np.savez(tmp_path / "evil.npz", schema_version=np.array(1), template=evil)
    with pytest.raises(ModelFileError, match=r"not a sound \.npz of plain arrays"):
        load_head(tmp_path / "evil.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("schema_version", "1")
    with pytest.raises(ModelFileError, match="schema_version: not a sound"):
        load_head(tmp_path / "text.npz")
    assert not witness.exists()


def test_saving_fails_cleanly(tmp_path: Path, flame: Path) -> None:
    head = load_head(flame)
    with pytest.raises(ModelFileError, match=r"expected a name that ends in \.npz"):
        save_head_npz(head, tmp_path / "head.pkl")
    with pytest.raises(ModelFileError, match="cannot be written: No such file or directory"):
        save_head_npz(head, tmp_path / "no folder" / "head.npz")


def test_the_builtin_head_takes_no_landmark_files(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="the built-in head carries its own"):
        load_head("builtin", landmarks=tmp_path / "x.npz")


# --------------------------------------------------------------------------------------- the command


def test_the_command_reports_what_it_wrote(
    tmp_path: Path, flame: Path, arrays: dict[str, np.ndarray]
) -> None:
    bare = command.run(command.ConvertHead(flame, tmp_path / "bare.npz"))
    assert bare["landmarks"] == {}
    assert "cannot be fitted" in command.describe(bare)
    (tmp_path / "points").mkdir()
    points = write_landmark_files(tmp_path / "points", len(arrays["f"]))["mediapipe"]
    report = command.run(command.ConvertHead(flame, tmp_path / "flame.npz", points))
    assert report["model_id"] == load_head(tmp_path / "flame.npz").model_id
    assert (report["vertices"], report["faces"], report["shape"], report["expression"]) == (56, 84, 300, 100)
    assert report["landmarks"] == {"mediapipe": 105}
    assert report["eyelids"] is False
    assert "mediapipe 105" in command.describe(report)
