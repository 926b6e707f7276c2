"""Embedding files around FLAME: which family it is, contour tables, irises on the eyeballs, bad files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_export import FLAME_105, write_deca_file
from flame_schema import flame_arrays, flame_arrays_of, write_flame_pickle, write_landmark_files

from headwarp.flame._flame_landmarks import read_embeddings
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.model import HeadModel
from headwarp.geom.errors import ModelFileError

FACES = 84


@pytest.fixture
def flame(tmp_path: Path) -> Path:
    write_flame_pickle(tmp_path / "generic_model.pkl", flame_arrays())
    return tmp_path / "generic_model.pkl"


@pytest.fixture(scope="module")
def builtin() -> HeadModel:
    return load_head("builtin")


def saved(path: Path, content: dict[str, object]) -> Path:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def drawn(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    return draw.integers(0, FACES, shape), draw.dirichlet(np.ones(3), shape)


def test_the_two_families_of_51_points_are_told_apart(tmp_path: Path, flame: Path) -> None:
    """They differ at 12 points, so a head remembers whose it carries; DECA's wins where both lie there."""
    paths = write_landmark_files(tmp_path, FACES)
    assert load_head(flame).landmarks["ibug68"].origin == "deca"
    assert load_head(flame, landmarks=paths["static"]).landmarks["ibug68"].origin == "flame-static"
    paths["deca"].unlink()
    head = load_head(flame)
    assert head.landmarks["ibug68"].origin == "flame-static"
    assert head.landmarks["mediapipe"].origin == "flame-mediapipe"
    assert head.contour is None
    save_head_npz(head, tmp_path / "own.npz")
    assert load_head(tmp_path / "own.npz").landmarks["ibug68"].origin == "flame-static"


def test_decas_table_is_read_and_kept(tmp_path: Path, flame: Path) -> None:
    paths = write_landmark_files(tmp_path, FACES)
    content = np.load(paths["deca"], allow_pickle=True)[()]
    head = load_head(flame, dtype=torch.float64)
    save_head_npz(head, tmp_path / "own.npz")
    for contour in (head.contour, load_head(tmp_path / "own.npz").contour):
        assert contour is not None
        assert contour.origin == "deca"
        assert torch.equal(contour.faces, content["dynamic_lmk_faces_idx"])
        assert torch.allclose(contour.bary.float(), content["dynamic_lmk_bary_coords"])
    assert head.double().contour.bary.dtype == torch.float64
    assert head.float().contour.bary.dtype == torch.float32


def test_flames_own_table_file(tmp_path: Path, flame: Path) -> None:
    faces, bary = drawn(79, 17)
    saved(tmp_path / "flame_dynamic_embedding.npy", {"lmk_face_idx": faces, "lmk_b_coords": bary})
    head = load_head(flame)
    assert head.landmarks == {}
    assert head.contour.origin == "flame-dynamic"
    np.testing.assert_array_equal(head.contour.faces.numpy(), faces)
    (tmp_path / "other").mkdir()
    other = saved(
        tmp_path / "other/table.npy", {"lmk_face_idx": faces[::-1].copy(), "lmk_b_coords": bary[::-1].copy()}
    )
    np.testing.assert_array_equal(load_head(flame, landmarks=other).contour.faces.numpy(), faces[::-1])


@pytest.mark.parametrize("batched", [True, False])
def test_vhaps_70_points_rest_on_the_static_contour(tmp_path: Path, flame: Path, batched: bool) -> None:
    """53 static (two irises last) and 70 in all; without a table the 68 are all at rest."""
    static, full = drawn(53), drawn(70)
    full[0][17:], full[1][17:] = static[0], static[1]
    whole = [x[None] if batched else x for x in full]
    content = {
        "static_lmk_faces_idx": torch.from_numpy(static[0]),
        "static_lmk_bary_coords": torch.from_numpy(static[1]),
        "full_lmk_faces_idx": whole[0],
        "full_lmk_bary_coords": whole[1],
    }
    saved(tmp_path / "landmark_embedding_with_eyes.npy", content)
    head = load_head(flame, dtype=torch.float64)
    embedding = head.landmarks["ibug68"]
    assert embedding.origin == "vhap"
    assert embedding.indices.tolist() == list(range(68))
    np.testing.assert_array_equal(embedding.faces.numpy(), full[0][:68])
    np.testing.assert_array_equal(embedding.bary.numpy(), full[1][:68])
    assert head.contour is None


def test_irises_are_found_on_the_eyeballs(tmp_path: Path, builtin: HeadModel) -> None:
    """FLAME's 105 points have lids and no iris; the pupils are the foremost points of the eyeballs."""
    write_flame_pickle(tmp_path / "flame.pkl", flame_arrays_of(builtin))
    embedding = builtin.landmarks["mediapipe"]
    points = {
        "lmk_face_idx": embedding.faces[list(FLAME_105)].numpy(),
        "lmk_b_coords": embedding.bary[list(FLAME_105)].numpy(),
        "landmark_indices": np.array(FLAME_105),
    }
    np.savez(tmp_path / "mediapipe_landmark_embedding.npz", **points)
    head = load_head(tmp_path / "flame.pkl")
    found = head.landmarks["mediapipe"]
    assert found.origin == "flame-mediapipe+irises"
    assert found.indices.tolist() == [*FLAME_105, 468, 473]

    def place(of: object, number: int) -> torch.Tensor:
        row = of.indices.tolist().index(number)
        return of.bary[row] @ head.template[head.faces[of.faces[row]]]

    for number in (468, 473):
        assert (place(found, number) - place(embedding, number)).norm() < 1e-4
    points["landmark_indices"] = np.arange(105)  # not the lids: nothing to measure a gaze against
    np.savez(tmp_path / "mediapipe_landmark_embedding.npz", **points)
    assert len(load_head(tmp_path / "flame.pkl").landmarks["mediapipe"].indices) == 105


FACE, BARY = "lmk_faces_idx", "lmk_bary_coords"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (f"dynamic_{FACE}", np.zeros((78, 17), int), r": expected \(79, 17\), got \(78, 17\)"),
        (f"dynamic_{BARY}", np.zeros((79, 17)), r": expected \(79, 17, 3\), got \(79, 17\)"),
        (f"dynamic_{BARY}", np.zeros((79, 17, 3)), "contour.bary: expected rows that sum to 1"),
        (f"dynamic_{BARY}", np.full((79, 17, 3), np.nan), "contour.bary: expected rows that sum to 1"),
        (f"dynamic_{FACE}", np.full((79, 17), 84), "contour faces: expected indices below 84, got 84..84"),
        (f"dynamic_{FACE}", np.zeros((79, 17)), ": expected whole numbers, got float64"),
        (f"static_{FACE}", np.zeros(50, int), r": expected \(51,\), got \(50,\)"),
        (f"static_{BARY}", np.zeros((51, 2)), r": expected \(51, 3\), got \(51, 2\)"),
        (f"static_{BARY}", np.full((51, 3), np.nan), r"bary: expected rows that sum to 1, row 0 is \[nan"),
        (f"static_{BARY}", None, "static_lmk_bary_coords: expected an array"),
        (f"static_{FACE}", np.array(["a"]), "static_lmk_faces_idx: expected an array"),
    ],
)
def test_wrong_embeddings_are_named(tmp_path: Path, flame: Path, key: str, value: object, text: str) -> None:
    faces, bary = drawn(51)
    table = drawn(79, 17)
    content = {
        "static_lmk_faces_idx": faces,
        "static_lmk_bary_coords": bary,
        "dynamic_lmk_faces_idx": table[0],
        "dynamic_lmk_bary_coords": table[1],
    } | {key: value}
    saved(tmp_path / "landmark_embedding.npy", content)
    with pytest.raises(ModelFileError, match=text) as caught:
        load_head(flame)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_table_of_another_mesh_is_refused(tmp_path: Path, builtin: HeadModel) -> None:
    write_deca_file(tmp_path / "deca.npy", builtin)
    assert read_embeddings(tmp_path / "deca.npy", len(builtin.faces)).contour is not None
    with pytest.raises(ModelFileError, match="expected indices below 84"):
        read_embeddings(tmp_path / "deca.npy", FACES)


def test_a_python2_static_file_keeps_its_unsigned_faces(tmp_path: Path, flame: Path) -> None:
    path = write_landmark_files(tmp_path, FACES)["static"]
    wanted = pickle.loads(path.read_bytes(), encoding="latin1")["lmk_face_idx"]
    assert wanted.dtype == np.uint32
    found = read_embeddings(path, FACES).families["ibug68"]
    assert found.faces.dtype == torch.int64
    np.testing.assert_array_equal(found.faces.numpy(), wanted)
