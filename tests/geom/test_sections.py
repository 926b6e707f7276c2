"""Plane sections followed over a mesh: known lines, ends at the rim, closed rings, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.geom.errors import ShapeError
from headwarp.geom.sections import plane_sections


def sheet(columns: int = 9, rows: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A flat sheet in x and y, (columns - 1) x (rows - 1) units."""
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    verts = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(float)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    first = np.stack([corner, corner + 1, corner + columns], -1)
    return verts, np.concatenate([first, np.stack([corner + columns + 1, corner + columns, corner + 1], -1)])


def tube(around: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """An open tube about the y axis, radius 2, height 0 .. 3."""
    turn = 2 * np.pi * np.arange(around) / around
    rings = [np.stack([2 * np.cos(turn), np.full(around, float(y)), 2 * np.sin(turn)], -1) for y in range(4)]
    ring, column = (m.ravel() for m in np.meshgrid(np.arange(3), np.arange(around), indexing="ij"))
    at = lambda i, j: (ring + i) * around + (column + j) % around  # noqa: E731
    first = np.stack([at(0, 0), at(0, 1), at(1, 0)], -1)
    return np.concatenate(rings), np.concatenate([first, np.stack([at(1, 1), at(1, 0), at(0, 1)], -1)])


UP = np.array([0.0, 1.0, 0.0])


def places(section: object, lengths: np.ndarray, verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    triangle, bary = section.at(lengths)
    return np.einsum("nk,nkc->nc", bary, verts[faces[triangle]])


def test_a_sheet_is_cut_in_a_straight_line_to_both_rims() -> None:
    verts, faces = sheet()
    ways = plane_sections(verts, faces, point=np.array([2.5, 1.3, 0.0]), normal=UP)
    ends = sorted(float(way.points[-1, 0]) for way in ways)
    assert ends == pytest.approx([0.0, 8.0], abs=1e-5)
    for way in ways:
        assert np.abs(way.points[:, 1] - 1.3).max() < 1e-5
        steps = np.diff(way.points[:, 0])
        assert (steps >= -1e-9).all() or (steps <= 1e-9).all(), "it never turns back"
        at = places(way, np.array([0.0, 1.0, 99.0]), verts, faces)
        np.testing.assert_allclose(at[0], way.points[0], atol=1e-9)
        assert np.linalg.norm(at[1] - at[0]) == pytest.approx(1.0, abs=1e-6)
        np.testing.assert_allclose(at[2], way.points[-1], atol=1e-9)
        assert way.length == pytest.approx(abs(way.points[-1, 0] - way.points[0, 0]), abs=1e-6)


@pytest.mark.parametrize("height", [1.5, 1.0])
def test_a_tube_is_cut_in_a_ring(height: float) -> None:
    """Also where the plane holds a whole ring of vertices."""
    verts, faces = tube()
    one, other = plane_sections(verts, faces, point=np.array([2.0, height, 0.0]), normal=3 * UP)
    for way in (one, other):
        assert way.length == pytest.approx(2 * np.pi * 2, rel=0.02)
        assert np.abs(np.hypot(way.points[:, 0], way.points[:, 2]) - 2).max() < 0.03
        assert np.abs(way.points[:, 1] - height).max() < 1e-5
    assert one.points[5, 2] * other.points[5, 2] < 0, "they go round in opposite directions"


def test_only_the_piece_at_the_point_is_followed() -> None:
    verts, faces = sheet()
    twice = np.concatenate([verts, verts + [0.0, 0.0, 5.0]])
    both = np.concatenate([faces, faces + len(verts)])
    for way in plane_sections(twice, both, point=np.array([2.5, 1.3, 4.9]), normal=UP):
        assert np.abs(way.points[:, 2] - 5).max() < 1e-12
        assert way.faces.min() >= len(faces)


def test_a_plane_beside_the_mesh_is_an_error() -> None:
    verts, faces = sheet()
    with pytest.raises(ShapeError, match=r"the plane through \[0.0, 9.0, 0.0\] does not meet the mesh"):
        plane_sections(verts, faces, point=np.array([0.0, 9.0, 0.0]), normal=UP)
