"""Named expressions: amounts, symmetry, what stays still, other heads, error text."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from headwarp.flame.builtin.load import load_builtin
from headwarp.flame.expressions import expression_targets, mirrored_table, named_expressions, symmetric_table
from headwarp.flame.landmarks import LIPS_INNER_LOWER, LIPS_INNER_UPPER, mirror_map
from headwarp.flame.model import HeadModel, LandmarkEmbedding
from headwarp.geom.errors import ShapeError

NAMES = {"smile", "frown", "brows_up", "brows_down", "blink_left", "blink_right", "pucker"}
NAMES |= {"mouth_left", "mouth_right"}


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_builtin()


@pytest.fixture(scope="module")
def moves(head: HeadModel) -> dict[str, np.ndarray]:
    """Displacements of the face mesh (468, 3) in millimetres by expression."""
    found = named_expressions(head)
    return {n: 1000 * (head.expression_basis[:468].double() @ v.double()).numpy() for n, v in found.items()}


def test_table_has_all_names_and_disjoint_landmarks() -> None:
    table = expression_targets()
    assert set(table) == NAMES
    for targets, still in table.values():
        assert targets
        assert not set(targets) & set(still)
        assert max(np.linalg.norm(v) for v in targets.values()) < 0.012


def test_mirroring_the_table_twice_is_the_table() -> None:
    table = {291: (1.0, 2.0, 3.0), 13: (0.0, 1.0, 0.0)}
    assert mirrored_table(mirrored_table(table)) == table
    assert symmetric_table(table)[61] == (-1.0, 2.0, 3.0)


def test_names_and_widths(head: HeadModel) -> None:
    found = named_expressions(head)
    assert set(found) == NAMES
    assert all(v.shape == (69,) and torch.isfinite(v).all() for v in found.values())
    assert set(head.named_expressions) == NAMES


def test_smile_lifts_and_widens_the_corners_by_nine_millimetres(moves: dict[str, np.ndarray]) -> None:
    left, right = moves["smile"][291], moves["smile"][61]
    assert 7 < np.linalg.norm(left) < 11
    assert left[0] > 3
    assert left[1] > 3
    assert np.abs(left - right * [-1, 1, 1]).max() < 0.2
    assert np.linalg.norm(moves["smile"][10]) < 2


@pytest.mark.parametrize(
    ("name", "landmark", "axis", "low", "high"),
    [
        ("frown", 291, 1, -7, -3),
        ("brows_up", 334, 1, 6, 10),
        ("brows_down", 336, 1, -8, -3),
        ("pucker", 291, 0, -8, -3),
        ("pucker", 0, 2, 2, 7),
        ("mouth_left", 13, 0, 4, 8),
        ("mouth_right", 13, 0, -8, -4),
        ("blink_left", 386, 1, -9, -3),
    ],
)
def test_amounts(
    moves: dict[str, np.ndarray], name: str, landmark: int, axis: int, low: float, high: float
) -> None:
    assert low < moves[name][landmark, axis] < high


def test_one_sided_expressions_leave_the_other_side(moves: dict[str, np.ndarray]) -> None:
    assert np.linalg.norm(moves["blink_left"][159]) < 2
    assert np.linalg.norm(moves["blink_left"][13]) < 1


@pytest.mark.parametrize("name", sorted(NAMES))
def test_expressions_mirror(moves: dict[str, np.ndarray], name: str) -> None:
    twin = name.replace("left", "#").replace("right", "left").replace("#", "right")
    mirrored = (moves[name] * [-1, 1, 1])[mirror_map()[:468]]
    assert np.abs(mirrored - moves[twin]).max() < 0.05 * np.abs(moves[name]).max() + 0.05


@pytest.mark.parametrize("name", sorted(NAMES))
def test_lips_stay_in_contact(moves: dict[str, np.ndarray], name: str) -> None:
    upper, lower = list(LIPS_INNER_UPPER[1:-1]), list(LIPS_INNER_LOWER[1:-1])
    assert np.abs(moves[name][upper, 1] - moves[name][lower, 1]).max() < 1.5


def test_no_expression_turns_the_head(head: HeadModel, moves: dict[str, np.ndarray]) -> None:
    face = head.template[:468].double().numpy()
    face = face - face.mean(0)
    for move in moves.values():
        turn = np.cross(face, move).sum(0) / (face**2).sum() / 1000  # about radians
        assert np.abs(turn).max() < 0.01
        assert np.linalg.norm(move.mean(0)) < 0.5


def test_a_subset_of_landmarks_suffices(head: HeadModel) -> None:
    few = load_builtin()
    every = few.landmarks["mediapipe"]
    kept = torch.tensor([i for i in range(468) if i % 4 == 0 or i in (291, 61, 306, 76, 13, 14)])
    few.landmarks = {"mediapipe": LandmarkEmbedding(kept, every.faces[kept], every.bary[kept])}
    found = named_expressions(few)["smile"]
    move = 1000 * few.expression_basis[291].double() @ found.double()
    assert 4 < move.norm() < 12
    assert move[1] > 2


def test_expressions_without_landmarks_are_left_out(head: HeadModel) -> None:
    few = load_builtin()
    every = few.landmarks["mediapipe"]
    kept = torch.tensor(sorted(expression_targets()["brows_up"][0]))
    few.landmarks = {
        "mediapipe": dataclasses.replace(every, indices=kept, faces=every.faces[kept], bary=every.bary[kept])
    }
    found = named_expressions(few)
    assert "brows_up" in found
    assert "pucker" not in found


def test_a_head_without_face_mesh_landmarks_is_refused() -> None:
    bare = load_builtin()
    bare.landmarks = {"ibug68": bare.landmarks["ibug68"]}
    with pytest.raises(ShapeError, match=r"expected the family 'mediapipe', .* has ibug68"):
        named_expressions(bare)


def test_vectors_follow_the_dtype() -> None:
    assert named_expressions(load_builtin().double())["smile"].dtype == torch.float64
