"""The rasteriser: known pictures, no cracks, equal backends, gradients, hostile input, PyTorch3D."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from types import ModuleType

import numpy as np
import pytest
import torch
from raster_meshes import QUAD_FACES, assert_same, quad, sphere, triangulated_plane
from scipy.spatial import Delaunay

from headwarp.geom.errors import ShapeError
from headwarp.geom.rasterizer import Fragments, interpolate, rasterize

BACKENDS = ("reference", "numba", "torch")


def backend_module(name: str) -> ModuleType:
    return importlib.import_module(f"headwarp.geom.rasterizer.{name}")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# Known answers


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_triangle(backend):
    verts = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 4.0, 8.0], [4.0, 0.0, -4.0]]])
    found = rasterize(verts, torch.tensor([[0, 1, 2]]), (4, 5), backend=backend)
    x, y = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(4) + 0.5, indexing="xy")
    inside = x + y < 4  # the hypotenuse runs through pixel centres: a right and bottom edge, left out
    assert torch.equal(found.face[0] == 0, inside)
    expected = torch.stack([1 - x / 4 - y / 4, y / 4, x / 4], -1)
    torch.testing.assert_close(found.bary[0], torch.where(inside[..., None], expected, 0.0))
    torch.testing.assert_close(found.depth[0], torch.where(inside, 2 * y - x, torch.inf))


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_on_a_shared_edge_belong_to_the_triangle_on_its_right(backend):
    found = rasterize(
        quad(0, 0, 4, 4), QUAD_FACES, (4, 4), backend=backend
    )  # the edge 1-2 meets four centres
    expected = [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    assert found.face[0].tolist() == expected
    mirrored = rasterize(quad(0, 0, 4, 4), torch.tensor([[0, 1, 3], [0, 3, 2]]), (4, 4), backend=backend)
    assert mirrored.face[0].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_outlines_through_centres_keep_top_and_left(backend):
    found = rasterize(quad(0.5, 0.5, 2.5, 2.5), QUAD_FACES, (4, 4), backend=backend)
    assert (found.face[0] >= 0).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearest_wins_and_equal_depth_goes_to_the_lowest_face(backend):
    near, far = quad(0, 0, 4, 4, depth=-7.5), quad(0, 0, 4, 4, depth=3.0)
    both = torch.cat([QUAD_FACES, QUAD_FACES + 4])
    found = rasterize(torch.cat([far, near], 1), both, (4, 4), backend=backend)
    assert found.face.min() >= 2
    assert (found.depth == -7.5).all()
    tied = rasterize(torch.cat([near + 0.0, near], 1), both.flip(0), (4, 4), backend=backend)
    assert tied.face.max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_back_faces_are_dropped_only_on_demand(backend):
    verts, back = quad(0, 0, 4, 4), QUAD_FACES.flip(1)
    assert (rasterize(verts, QUAD_FACES, (4, 4), backend=backend, cull=True).face >= 0).all()
    assert (rasterize(verts, back, (4, 4), backend=backend).face >= 0).all()
    assert (rasterize(verts, back, (4, 4), backend=backend, cull=True).face == -1).all()
    points, faces = sphere()
    whole, outside = (
        rasterize(points, faces, (32, 40), backend=backend, cull=cull) for cull in (False, True)
    )
    assert_same(whole, outside)


@pytest.mark.parametrize("backend", BACKENDS)
def test_affine_attributes_are_reproduced(backend):
    size = (11, 9)
    verts = torch.rand(1, 30, 3, generator=torch.Generator().manual_seed(0)) * 24 - 6
    faces = torch.from_numpy(Delaunay(verts[0, :, :2].numpy()).simplices).long()
    attributes = torch.stack([verts[..., 0], verts[..., 1], 2 * verts[..., 0] - verts[..., 1] + 1], -1)
    found = rasterize(verts, faces, size)
    image = interpolate(found, attributes, faces, backend=backend)
    x, y = torch.meshgrid(torch.arange(9) + 0.5, torch.arange(11) + 0.5, indexing="xy")
    expected = torch.stack([x, y, 2 * x - y + 1]) * (found.face >= 0)
    assert image.shape == (1, 3, *size)
    assert image.is_contiguous()
    torch.testing.assert_close(image[0], expected, atol=2e-5, rtol=0)
    depth = interpolate(found, verts[..., 2:], faces, backend=backend)[:, 0]
    torch.testing.assert_close(depth, found.depth.nan_to_num(posinf=0), atol=1e-5, rtol=0)


# Invariants


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_plane_is_covered_exactly_once(backend, seed):
    triangles = triangulated_plane(seed, (24, 19))
    faces = torch.tensor([[0, 1, 2]])
    times = (rasterize(triangles, faces, (24, 19), backend=backend).face >= 0).sum(
        0
    )  # each triangle a picture
    assert (times == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_level_surface_is_level_to_the_last_bit(backend):
    triangles = triangulated_plane(0, (24, 19))
    triangles[..., 2] = 0.1
    verts = triangles.reshape(1, -1, 3)
    found = rasterize(verts, torch.arange(verts.shape[1]).view(-1, 3), (24, 19), backend=backend)
    assert (found.depth == triangles[0, 0, 2]).all()


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_edges_within_rounding_of_a_centre_open_no_crack(backend):
    random = np.random.default_rng(3)
    center = np.array([2.5, 1.5])
    start = random.uniform(-30, 30, (1000, 2)).astype(np.float32)
    end = (center + random.uniform(0.3, 3, (1000, 1)) * (center - start)).astype(np.float32)
    across = (end - start)[:, ::-1] * [1, -1]
    sides = [np.stack([start, end, center + across], 1), np.stack([end, start, center - across], 1)]
    verts = np.concatenate([np.concatenate(sides), np.zeros((2000, 3, 1))], -1).astype(np.float32)
    found = rasterize(torch.from_numpy(verts), torch.tensor([[0, 1, 2]]), (3, 4), backend=backend)
    times = (found.face[:, 1, 2] >= 0).view(2, 1000).sum(0)
    assert (times == 1).all()


def test_barycentric_coordinates_are_a_partition_of_one():
    found = rasterize(*sphere(), (32, 40))
    covered = found.face >= 0
    assert 0 < covered.sum() < covered.numel()
    assert found.bary.min() >= 0
    torch.testing.assert_close(found.bary.sum(-1), covered.float())
    assert torch.isposinf(found.depth[~covered]).all()
    assert found.depth[covered].isfinite().all()


def test_whole_pixel_shifts_shift_the_picture():
    verts, faces = sphere()
    verts = (verts * 64).round() / 64  # so that the shifted numbers are exact
    here = rasterize(verts, faces, (32, 40))
    there = rasterize(verts + torch.tensor([3.0, 2.0, 0.0]), faces, (32, 40))
    moved = Fragments(here.face[:, :-2, :-3], here.bary[:, :-2, :-3], here.depth[:, :-2, :-3])
    assert_same(moved, Fragments(there.face[:, 2:, 3:], there.bary[:, 2:, 3:], there.depth[:, 2:, 3:]))


def test_the_order_of_faces_and_corners_does_not_matter():
    verts, faces = sphere()
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    plain, shuffled = rasterize(verts, faces, (32, 40)), rasterize(verts, faces[order], (32, 40))
    named = torch.cat([order, torch.tensor([-1])])[shuffled.face.long()].int()
    assert torch.equal(plain.face, named)
    turned = rasterize(verts, faces.roll(1, 1), (32, 40))
    assert torch.equal(plain.face, turned.face)
    torch.testing.assert_close(plain.bary, turned.bary.roll(-1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_equals_its_parts(backend):
    verts = torch.cat([sphere(seed=seed, radius=5.0 + 4 * seed)[0] for seed in range(3)])
    faces = sphere()[1]
    together = rasterize(verts, faces, (32, 40), backend=backend)
    image = interpolate(together, verts, faces, backend=backend)
    for b in range(3):
        alone = rasterize(verts[b : b + 1], faces, (32, 40), backend=backend)
        assert_same(alone, Fragments(together.face[b, None], together.bary[b, None], together.depth[b, None]))
        assert torch.equal(interpolate(alone, verts[b : b + 1], faces, backend=backend)[0], image[b])


# Twins


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("center", [(20.0, 16.0), (1.0, 30.0)])
def test_twins_agree_with_the_reference(backend, center):
    verts, faces = sphere(center=center)
    exact = rasterize(verts.double(), faces, (32, 40), backend="reference")
    assert_same(rasterize(verts, faces, (32, 40), backend="reference"), exact, tolerance=1e-5)
    assert_same(rasterize(verts, faces, (32, 40), backend=backend), exact, tolerance=1e-5)
    assert_same(rasterize(verts.double(), faces.int(), (32, 40), backend=backend), exact, tolerance=1e-13)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_twins_agree_where_centres_lie_on_edges(backend):
    triangles = triangulated_plane(2, (24, 19))
    verts = triangles.reshape(1, -1, 3)
    faces = torch.arange(verts.shape[1]).view(-1, 3)
    exact = rasterize(verts.double(), faces, (24, 19), backend="reference")
    assert_same(rasterize(verts, faces, (24, 19), backend=backend), exact, tolerance=1e-5)


def test_chunks_change_nothing(monkeypatch):
    verts, faces = sphere()
    tied = torch.cat([verts, verts], 1), torch.cat([faces, faces + verts.shape[1]])  # every triangle twice
    batch = torch.cat([verts, verts.flip(1)])
    for mesh in (tied, (batch, faces)):
        monkeypatch.undo()
        whole = rasterize(*mesh, (32, 40), backend="torch")
        monkeypatch.setattr(backend_module("_torch"), "_CHUNK", 50)
        assert_same(whole, rasterize(*mesh, (32, 40), backend="torch"))
    assert rasterize(*tied, (32, 40), backend="torch").face.max() < len(faces)


def test_threads_change_nothing(two_threads):
    verts = torch.cat([sphere(seed=seed)[0] for seed in range(3)])
    faces = sphere()[1]
    for batch in (verts[:1], verts):
        batch = batch.clone().requires_grad_()
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = rasterize(batch, faces, (32, 40))
            image = interpolate(found, batch, faces, verts=batch)
            results.append((found, image, torch.autograd.grad(image.square().sum(), batch)[0]))
        (found, image, grad), (found_two, image_two, grad_two) = results
        assert_same(found, found_two)
        assert torch.equal(image, image_two)
        torch.testing.assert_close(grad, grad_two, atol=1e-3, rtol=1e-5)


def test_two_python_threads_at_once(two_threads):
    verts, faces = sphere()
    expected, found = rasterize(verts, faces, (32, 40)), []

    def work():
        found.extend(rasterize(verts, faces, (32, 40)) for _ in range(20))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 60
    for fragments in found:
        assert_same(fragments, expected)


# Gradients


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend):
    verts = torch.tensor([[[0.3, 0.2, 1.0], [0.4, 5.2, 2.0], [5.7, 0.9, 3.0], [5.3, 5.6, 1.0]]]).double()
    verts = torch.cat([verts, verts + 0.11]).requires_grad_()
    generator = torch.Generator().manual_seed(1)
    attributes = torch.randn(2, 4, 2, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=generator)

    def picture(points, colors):  # drawn anew for moved vertices; no outline crosses a centre within the step
        found = rasterize(points, QUAD_FACES, (6, 6), backend=backend)
        rows = torch.cat([colors, points[..., 2:]], -1)  # depth as an attribute
        return (interpolate(found, rows, QUAD_FACES, verts=points, backend=backend) * weight).sum((2, 3))

    assert torch.autograd.gradcheck(picture, (verts, attributes), eps=1e-6)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_second_derivatives(backend):
    verts = quad(0.3, 0.2, 4.6, 4.9).double().requires_grad_()
    found = rasterize(verts, QUAD_FACES, (5, 5))
    image = interpolate(found, verts.square(), QUAD_FACES, verts=verts, backend=backend)
    (first,) = torch.autograd.grad(image.sum(), verts, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), verts)[0].abs().sum() > 0


@pytest.mark.usefixtures("two_threads")
def test_float32_gradients_match_the_float64_reference():
    verts, faces = sphere()
    generator = torch.Generator().manual_seed(2)
    attributes = torch.randn(1, verts.shape[1], 16, generator=generator)
    upstream = torch.randn(1, 16, 32, 40, generator=generator)

    def gradients(dtype, backend):
        points, rows = verts.to(dtype).requires_grad_(), attributes.to(dtype).requires_grad_()
        found = rasterize(verts.to(dtype), faces, (32, 40), backend=backend)
        image = interpolate(found, rows, faces, verts=points, backend=backend)
        return torch.autograd.grad(image, (points, rows), upstream.to(dtype))

    (exact_verts, exact_rows), (fast_verts, fast_rows) = (
        gradients(torch.float64, "reference"),
        gradients(torch.float32, "numba"),
    )
    assert exact_verts[..., 2].abs().max() == 0
    assert ((fast_verts - exact_verts).abs().max() / exact_verts.abs().max()) < 1e-4
    torch.testing.assert_close(fast_rows.double(), exact_rows, atol=1e-4, rtol=0)


def test_gradients_only_where_asked():
    verts = quad(0.3, 0.2, 4.6, 4.9).requires_grad_()
    found = rasterize(verts, QUAD_FACES, (5, 5))
    assert not found.bary.requires_grad
    assert not found.depth.requires_grad
    fixed = verts.detach()
    assert not interpolate(found, fixed, QUAD_FACES).requires_grad
    image = interpolate(found, fixed, QUAD_FACES, verts=verts)
    (grad,) = torch.autograd.grad(image[:, 0].sum(), verts)
    assert grad.abs().sum() > 0
    image = interpolate(found, verts, QUAD_FACES, verts=fixed)
    (grad,) = torch.autograd.grad(image[:, 0].sum(), verts)
    torch.testing.assert_close(grad.sum(), (found.face >= 0).sum().float())


# Degenerate and hostile input


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_triangles_with_a_vertex_that_is_not_finite_are_skipped(backend, value, axis):
    verts = torch.cat([quad(0, 0, 4, 4), quad(0, 0, 4, 4, depth=1.0)], 1)
    for corner in (0, 1, 2):
        broken = verts.clone()
        broken[0, corner, axis] = value
        found = rasterize(broken, torch.cat([QUAD_FACES[:1], QUAD_FACES + 4]), (4, 4), backend=backend)
        assert torch.equal(found.face, rasterize(verts, QUAD_FACES + 4, (4, 4), backend=backend).face + 1)
        assert (found.depth == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_degenerate_triangles_are_skipped(backend):
    verts = torch.tensor([[[0.5, 0.5, 0.0], [2.5, 2.5, 0.0], [3.5, 3.5, 0.0], [0.5, 0.5, 0.0]]])
    faces = torch.tensor([[0, 0, 0], [0, 1, 1], [0, 1, 2], [0, 3, 1]])
    assert (rasterize(verts, faces, (4, 4), backend=backend).face == -1).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reach", [1e3, 1e6, 1e15, 1e30])
def test_huge_and_outside_triangles(backend, reach):
    verts = torch.tensor([[[-reach, -reach, 0.0], [-reach, reach, 0.0], [reach, 0.3 * reach, 0.0]]])
    found = rasterize(verts, torch.tensor([[0, 1, 2]]), (3, 4), backend=backend)
    assert (found.face == (-1 if reach == 1e30 else 0)).all()  # the last one's area overflows
    outside = torch.tensor([1.0, 1.0, 0.0]) * reach + quad(0, 0, 4, 4)
    assert (rasterize(outside, QUAD_FACES, (3, 4), backend=backend).face == -1).all()
    assert (rasterize(-outside, QUAD_FACES, (3, 4), backend=backend).face == -1).all()


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("seed", range(4))
def test_wild_triangles_agree_with_the_reference(backend, seed):
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** (torch.rand(1, 90, 1, generator=generator) * 6)
    verts = torch.randn(1, 90, 3, generator=generator) * scale + 8
    faces = torch.arange(90).view(-1, 3)
    for dtype in (torch.float32, torch.float64):
        expected = rasterize(verts.to(dtype), faces, (15, 17), backend="reference")
        assert_same(rasterize(verts.to(dtype), faces, (15, 17), backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_almost_level_edges(backend):
    tiny = 1e-42  # the slope of these edges overflows
    for flip in (False, True):
        for corners in (
            [[0, 0], [4, tiny], [4, 4]],
            [[0, tiny], [4, 0], [4, 4]],
            [[0, 0], [4, tiny], [0, 4]],
        ):
            corners = torch.tensor(corners)
            level = corners.where(corners > 1e-3, 0)
            verts = torch.stack([torch.cat([xy, torch.zeros(3, 1)], 1) for xy in (corners, level)])
            verts = verts.flip(1) if flip else verts
            found = rasterize(verts, torch.tensor([[0, 1, 2]]), (4, 4), backend=backend)
            assert found.face[0].max() == 0
            assert torch.equal(found.face[0], found.face[1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("batch", "count"), [(0, 4), (2, 0), (2, 4)])
def test_nothing_to_draw(backend, batch, count):
    verts, faces = torch.zeros(batch, count, 3), torch.zeros(0, 3, dtype=torch.long)
    found = rasterize(verts, faces, (3, 5), backend=backend)
    assert found.face.shape == (batch, 3, 5)
    assert (found.face == -1).all()
    assert (found.bary == 0).all()
    assert torch.isposinf(found.depth).all()
    assert interpolate(found, verts, faces, backend=backend).shape == (batch, 3, 3, 5)
    assert interpolate(found, verts[..., :0], faces, backend=backend).shape == (batch, 0, 3, 5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_pixels_are_zero_whatever_the_attributes(backend):
    verts = torch.cat([quad(0, 0, 2, 2), quad(90, 90, 99, 99)], 1)
    faces = torch.cat([QUAD_FACES + 4, QUAD_FACES])
    attributes = torch.cat([torch.ones(1, 4, 2), torch.full((1, 4, 2), torch.nan)], 1).requires_grad_()
    image = interpolate(rasterize(verts, faces, (3, 3)), attributes, faces, backend=backend)
    expected = torch.zeros(1, 2, 3, 3)
    expected[..., :2, :2] = 1
    assert torch.equal(image, expected)
    (grad,) = torch.autograd.grad(image, attributes, torch.ones_like(image))
    torch.testing.assert_close(grad.sum(), torch.tensor(8.0))


def test_other_layouts():
    verts, faces = sphere()
    plain = rasterize(verts, faces, (32, 40))
    strided = verts.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same(rasterize(strided, faces.t().contiguous().t().int(), np.array([32, 40])), plain)
    image = interpolate(plain, verts, faces)
    assert torch.equal(interpolate(plain, strided, faces.int()), image)
    assert interpolate(plain, verts.double(), faces).dtype == torch.float64
    expanded = rasterize(verts.expand(2, -1, -1), faces, (32, 40))
    assert torch.equal(expanded.face[1], plain.face[0])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"verts": torch.zeros(4, 3)},
            r"verts: expected \(B, V, 3\), got \(4, 3\); add .* with verts\[None\]",
        ),
        ({"verts": torch.zeros(1, 4, 2)}, r"verts: expected \(B, V, 3\), got \(1, 4, 2\)"),
        ({"verts": torch.zeros(1, 4, 3).half()}, "got torch.float16; convert with verts.float"),
        ({"verts": torch.zeros(1, 4, 3).long()}, "verts: expected float32 or float64, got torch.int64"),
        ({"faces": QUAD_FACES[None]}, r"faces: expected \(F, 3\), got \(1, 2, 3\); all meshes"),
        ({"faces": QUAD_FACES.float()}, "faces: expected int32 or int64, got torch.float32"),
        (
            {"faces": QUAD_FACES + 1},
            r"faces: expected indices from 0 to 3 \(4 vertices in verts\), got 1 to 4",
        ),
        ({"faces": QUAD_FACES - 1}, "got -1 to 2; pass the faces that belong to this mesh"),
        ({"verts": torch.zeros(1, 0, 3)}, "faces: expected indices from 0 to -1"),
        ({"size": (0, 4)}, r"size: expected \(height, width\) of at least one pixel each, got \(0, 4\)"),
        ({"size": 256}, r"got 256; pass \(256, 256\)"),
        ({"size": (4.5, 4)}, r"got \(4.5, 4\)"),
        ({"backend": "cuda"}, "expected auto, reference, numba, torch, pytorch3d, got 'cuda'; take auto"),
    ],
)
def test_rasterize_says_what_is_wrong(change, text):
    arguments = {"verts": quad(0, 0, 4, 4), "faces": QUAD_FACES, "size": (4, 4), **change}
    with pytest.raises(ShapeError, match=text):
        rasterize(arguments.pop("verts"), arguments.pop("faces"), arguments.pop("size"), **arguments)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"attributes": torch.zeros(4, 2)}, r"expected \(B, V, C\), got \(4, 2\); .* attributes\[None\]"),
        ({"attributes": torch.zeros(1, 4, 2).bfloat16()}, "attributes: expected float32 or float64"),
        ({"attributes": torch.zeros(2, 4, 2)}, "attributes: expected a batch of 1 like the fragments, got 2"),
        ({"attributes": torch.zeros(1, 3, 2)}, r"indices from 0 to 2 \(3 vertices in attributes\)"),
        (
            {"verts": torch.zeros(1, 5, 3)},
            r"verts: expected \(1, 4, 3\) .* got \(1, 5, 3\); pass the vertices",
        ),
        ({"faces": QUAD_FACES[:1]}, r"fragments.face: expected indices from -1 to 0 \(1 faces\)"),
        ({"backend": "pytorch3d"}, "expected auto, reference, numba or torch, got 'pytorch3d'"),
    ],
)
def test_interpolate_says_what_is_wrong(change, text, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    verts = quad(0, 0, 4, 4)
    arguments = {"attributes": verts, "faces": QUAD_FACES, **change}
    found = rasterize(verts, QUAD_FACES, (4, 4))
    with pytest.raises(ShapeError, match=text):
        interpolate(found, arguments.pop("attributes"), arguments.pop("faces"), **arguments)


def test_tensors_on_another_device_are_refused():
    verts = quad(0, 0, 4, 4)
    with pytest.raises(ShapeError, match="faces: expected on meta like verts, got cpu"):
        rasterize(verts.to("meta"), QUAD_FACES, (4, 4))


def test_import_loads_no_backend():
    code = "import sys, headwarp.geom.rasterizer; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_kernels_compile_without_a_cache_folder(monkeypatch):
    module = importlib.import_module("headwarp.geom._kernels")
    compiler = module.numba.njit

    def refusing(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compiler(*arguments, **options)

    monkeypatch.setattr(module.numba, "njit", refusing)
    assert module.compiled(lambda number: number + 1)(1) == 2
