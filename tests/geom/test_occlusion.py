"""Points hidden by a mesh: known answers, the plain twin, degenerate triangles, bad input."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.geom.occlusion import occluded_points, occluded_points_ref

BOTH = pytest.mark.parametrize("occluded", [occluded_points, occluded_points_ref])
TRIANGLE = torch.tensor([[[0.0, 0.0, 5.0], [8.0, 0.0, 9.0], [0.0, 8.0, 5.0]]])
FACE = torch.tensor([[0, 1, 2]])


def sphere(rings: int = 24, columns: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Of radius 50 px around (60, 60, 100), triangles in no particular direction."""
    angle = torch.linspace(0, torch.pi, rings, dtype=torch.float64)
    turn = torch.arange(columns, dtype=torch.float64) * (2 * torch.pi / columns)
    at = torch.stack(
        [
            torch.outer(angle.sin(), turn.cos()),
            angle.cos()[:, None].expand(-1, columns),
            torch.outer(angle.sin(), turn.sin()),
        ],
        -1,
    )
    verts = at.reshape(1, -1, 3) * 50 + torch.tensor([60.0, 60.0, 100.0])
    row, column = torch.meshgrid(torch.arange(rings - 1), torch.arange(columns), indexing="ij")
    corner = lambda i, j: ((row + i) * columns + (column + j) % columns).reshape(-1)  # noqa: E731
    first = torch.stack([corner(0, 0), corner(0, 1), corner(1, 0)], -1)
    return verts, torch.cat([first, torch.stack([corner(1, 0), corner(1, 1), corner(0, 1)], -1)])


@BOTH
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_slanted_triangle(occluded: object, order: list[int]) -> None:
    """At (4, 2) its depth is 7; either side of it hides."""
    points = torch.tensor([[[4.0, 2, 7.2], [4, 2, 7.05], [4, 2, 6], [7, 7, 99], [4, -0.1, 99], [0, 0, 99]]])
    got = occluded(points, TRIANGLE, FACE[:, order], tolerance=0.1)
    assert got.tolist() == [[True, False, False, False, False, True]]


@BOTH
def test_the_far_half_of_a_sphere_is_hidden(occluded: object) -> None:
    verts, faces = sphere()
    got = occluded(verts, verts, faces, tolerance=1.0)[0]
    depth = verts[0, :, 2] - 100
    assert bool(got[depth > 1.5].all()), "points behind the outline see the near side before them"
    assert not bool(got[depth < -1e-6].any())


def test_equals_the_plain_twin() -> None:
    draw = torch.Generator().manual_seed(0)
    verts, faces = sphere()
    frames = verts + 4 * torch.randn(3, verts.shape[1], 3, generator=draw, dtype=torch.float64)
    frames[0, 5] = torch.nan
    points = torch.rand(3, 200, 3, generator=draw, dtype=torch.float64) * torch.tensor([120.0, 120.0, 200.0])
    points[1, 3, 1] = torch.nan
    got = occluded_points(points, frames, faces, tolerance=0.5)
    assert torch.equal(got, occluded_points_ref(points, frames, faces, tolerance=0.5))
    assert 100 < int(got.sum()) < 500
    assert not bool(got[1, 3])
    one = occluded_points(points, frames[1:2], faces, tolerance=0.5)
    assert torch.equal(one[1], got[1]), "a mesh of one frame serves all"


@BOTH
def test_what_has_no_area_hides_nothing(occluded: object) -> None:
    line = torch.tensor([[[0.0, 0.0, 1.0], [4.0, 4.0, 1.0], [8.0, 8.0, 1.0]]])
    point = torch.tensor([[[4.0, 4.0, 9.0]]])
    assert not bool(occluded(point, line, FACE, tolerance=0.1).any())
    assert occluded(point, line, FACE[:0], tolerance=0.1).tolist() == [[False]]
    assert occluded(point[:, :0], line, FACE, tolerance=0.1).shape == (1, 0)


def test_bad_input_is_named() -> None:
    point = torch.zeros(1, 1, 3)
    with pytest.raises(ShapeError, match=r"points: expected \(T, N, 3\), got \(1, 3\)"):
        occluded_points(point[0], TRIANGLE, FACE, tolerance=0.1)
    with pytest.raises(ShapeError, match=r"faces: expected indices below 3 \(vertices\), got 0..3"):
        occluded_points(point, TRIANGLE, torch.tensor([[0, 1, 3]]), tolerance=0.1)
    with pytest.raises(ShapeError, match=r"expected one number of frames or 1, got \[2, 3\]"):
        occluded_points(point.expand(2, -1, -1), TRIANGLE.expand(3, -1, -1), FACE, tolerance=0.1)
