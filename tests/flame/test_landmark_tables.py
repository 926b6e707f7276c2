"""The index tables against each other: counts, loops of the mesh, mirror symmetry."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.flame import landmarks
from headwarp.geom.mesh import boundary_loops

LOOPS = {
    "oval": landmarks.FACE_OVAL,
    "right eye": landmarks.RIGHT_EYE_RIM,
    "left eye": landmarks.LEFT_EYE_RIM,
    "mouth": landmarks.INNER_LIP_LOOP,
}


def test_triangles_are_a_consistent_surface() -> None:
    triangles = landmarks.face_mesh_triangles()
    assert triangles.shape == (852, 3)
    assert np.array_equal(np.unique(triangles), np.arange(landmarks.FACE_MESH_COUNT))
    half_edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(half_edges, axis=0)) == len(half_edges)


@pytest.mark.parametrize("name", LOOPS)
def test_a_rim_is_a_boundary_of_the_mesh_in_its_order(name: str) -> None:
    loop = list(LOOPS[name])
    found = [rim for rim in boundary_loops(landmarks.face_mesh_triangles()) if set(rim) == set(loop)]
    assert len(found) == 1
    rim = found[0].tolist()
    steps = {frozenset(step) for step in zip(rim, np.roll(rim, -1).tolist(), strict=True)}
    assert {frozenset(step) for step in zip(loop, np.roll(loop, -1).tolist(), strict=True)} == steps


def test_there_are_no_other_holes() -> None:
    assert [len(rim) for rim in boundary_loops(landmarks.face_mesh_triangles())] == [36, 20, 16, 16]


def test_mirror_is_an_involution_with_28_points_on_the_midline() -> None:
    mirror = landmarks.mirror_map()
    assert mirror.shape == (478,)
    assert np.array_equal(mirror[mirror], np.arange(478))
    assert (mirror == np.arange(478)).sum() == 28


def test_mirror_keeps_nearly_all_triangles() -> None:
    triangles, mirror = landmarks.face_mesh_triangles(), landmarks.mirror_map()
    own = {frozenset(t) for t in triangles.tolist()}
    twins = {frozenset(t) for t in mirror[triangles].tolist()}
    assert len(own - twins) == 12  # three quads a side are cut the other way


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (landmarks.LEFT_EYE_UPPER, landmarks.RIGHT_EYE_UPPER),
        (landmarks.LEFT_EYE_LOWER, landmarks.RIGHT_EYE_LOWER),
        (landmarks.LEFT_EYE_RIM, landmarks.RIGHT_EYE_RIM),
        (landmarks.LEFT_BROW, landmarks.RIGHT_BROW),
        (landmarks.LIPS_INNER_UPPER, landmarks.LIPS_INNER_UPPER[::-1]),
        (landmarks.LIPS_OUTER_LOWER, landmarks.LIPS_OUTER_LOWER[::-1]),
        (landmarks.FACE_OVAL[1:], landmarks.FACE_OVAL[:0:-1]),
    ],
)
def test_tables_mirror_onto_each_other(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert tuple(landmarks.mirror_map()[list(left)]) == tuple(right)


def test_irises_mirror_with_left_and_right_rim_points_swapped() -> None:
    assert landmarks.mirror_map()[list(landmarks.RIGHT_IRIS)].tolist() == [473, 476, 475, 474, 477]


def test_lips_are_eighty_points_in_two_halves() -> None:
    mirror = landmarks.mirror_map()
    assert len(set(landmarks.LIPS)) == len(landmarks.LIPS) == 80
    for half in (landmarks.LIPS_UPPER, landmarks.LIPS_LOWER):
        assert len(half) == 36
        assert set(mirror[list(half)]) == set(half)


def test_68_points_are_distinct_and_mirror_like_ibug() -> None:
    points = np.array(landmarks.MEDIAPIPE_68)
    assert len(np.unique(points)) == 68
    assert np.array_equal(landmarks.mirror_map()[points], points[list(landmarks.IBUG_MIRROR)])


def test_tables_are_copies() -> None:
    landmarks.mirror_map()[:] = 0
    assert landmarks.mirror_map()[33] == 263
