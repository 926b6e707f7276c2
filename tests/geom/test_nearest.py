"""Nearest points of a surface against brute force, and coordinates in triangles."""

import numpy as np
import pytest

from headwarp.geom.nearest import barycentric, faces_at_vertices, nearest_among, nearest_on_surface


@pytest.fixture(scope="module")
def sheet():
    """A wavy sheet of 12 x 12 vertices."""
    v, u = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 12), indexing="ij")
    vertices = np.stack([u, v, 0.1 * np.sin(5 * u) * np.cos(4 * v)], -1).reshape(-1, 3)
    corner = (np.arange(11)[:, None] * 12 + np.arange(11)).ravel()
    lower = np.stack([corner, corner + 1, corner + 12], -1)
    return vertices, np.concatenate([lower, np.stack([corner + 1, corner + 13, corner + 12], -1)])


def test_nearest_on_surface_equals_brute_force(sheet):
    import trimesh

    vertices, triangles = sheet
    points = vertices[::9] + np.random.default_rng(0).normal(scale=0.03, size=vertices[::9].shape)
    found, where = nearest_on_surface(points, vertices, triangles)
    for point, nearest, triangle in zip(points, found, where, strict=True):
        every = trimesh.triangles.closest_point(vertices[triangles], np.tile(point, (len(triangles), 1)))
        best = np.linalg.norm(every - point, axis=1).min()
        assert np.linalg.norm(nearest - point) == pytest.approx(best, abs=1e-12)
        own = trimesh.triangles.closest_point(vertices[triangles[[triangle]]], point[None])[0]
        np.testing.assert_allclose(own, nearest, atol=1e-12)


def test_a_mesh_with_fewer_vertices_than_candidates(sheet):
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]])  # the last is on no triangle
    found, where = nearest_on_surface(
        np.array([[0.2, 0.3, 5.0], [8.0, 9, 9]]), vertices, np.array([[0, 1, 2]])
    )
    np.testing.assert_allclose(found, [[0.2, 0.3, 0.0], [0.0, 1.0, 0.0]], atol=1e-12)
    assert where.tolist() == [0, 0]


def test_nearest_among_takes_only_the_given_triangles(sheet):
    vertices, triangles = sheet
    point = vertices[[0]]
    far = len(triangles) - 1
    found, where = nearest_among(
        point, vertices, triangles, rows=np.array([0, 0]), choices=np.array([far, 5])
    )
    assert where.tolist() == [5]
    only, _ = nearest_among(point, vertices, triangles, rows=np.array([0]), choices=np.array([far]))
    assert np.linalg.norm(only - point) > np.linalg.norm(found - point)


def test_barycentric_gives_the_point_back_and_bears_triangles_without_area(sheet):
    vertices, triangles = sheet
    weights = np.random.default_rng(1).dirichlet(np.ones(3), len(triangles))
    points = np.einsum("fk,fkc->fc", weights, vertices[triangles])
    np.testing.assert_allclose(barycentric(points, vertices[triangles]), weights, atol=1e-9)
    flat = np.zeros((1, 3, 3))
    np.testing.assert_allclose(barycentric(np.ones((1, 3)), flat).sum(1), 1)


def test_faces_at_vertices_lists_each_corner_once(sheet):
    vertices, triangles = sheet
    meets = faces_at_vertices(triangles, len(vertices))
    assert meets.sum() == 3 * len(triangles)
    assert set(meets[0].indices) == {f for f, corners in enumerate(triangles) if 0 in corners}
