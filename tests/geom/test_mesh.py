"""Meshes: hand-checked small ones, a sphere and a random disc for the rules, broken ones for the errors."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial import Delaunay

from headwarp.geom import mesh as mesh_module
from headwarp.geom.errors import MediaError, ShapeError
from headwarp.geom.mesh import (
    adjacency,
    boundary_loops,
    edges,
    face_normals,
    harmonics,
    laplacian_extension,
    load_mesh,
    loop_subdivision,
    save_mesh,
    uniform_laplacian,
    vertex_normals,
)

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])  # counter-clockwise from outside
CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
SQUARE = np.array([[0, 1, 2], [2, 1, 3]])


def grid_disc(rows, columns):
    """A flat grid of valence-6 vertices: vertices (V, 3) and faces."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    vertices = np.stack([x + 0.5 * y, y * np.sqrt(0.75), np.zeros(len(x))], 1)
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(
        [np.stack([a, a + 1, a + columns], 1), np.stack([a + 1, a + columns + 1, a + columns], 1)]
    )
    return vertices, faces


def random_disc(count=60, seed=0):
    points = np.random.default_rng(seed).random((count, 2))
    faces = Delaunay(points).simplices.astype(np.int64)
    a, b, c = points[faces].transpose(1, 0, 2)
    clockwise = (b - a)[:, 0] * (c - a)[:, 1] < (b - a)[:, 1] * (c - a)[:, 0]
    faces[clockwise] = faces[clockwise][:, ::-1]
    return np.concatenate([points, np.zeros((count, 1))], 1), faces


def icosphere(levels):
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(levels)
    return np.array(sphere.vertices), np.array(sphere.faces)


def as_batch(vertices, dtype=torch.float64):
    return torch.as_tensor(vertices, dtype=dtype)[None]


class TestNormals:
    def test_tetrahedron_points_outward(self):
        normals = face_normals(as_batch(CORNERS), torch.as_tensor(TETRAHEDRON))
        slanted = 1 / np.sqrt(3)
        expected = as_batch([[0, 0, -1], [0, -1, 0], [slanted] * 3, [-1, 0, 0]])
        torch.testing.assert_close(normals, expected)

    def test_length_without_normalising_is_twice_the_area(self):
        normals = face_normals(as_batch(CORNERS * 3), torch.as_tensor(TETRAHEDRON), normalise=False)
        torch.testing.assert_close(normals.norm(dim=-1)[0, 0], torch.tensor(9.0, dtype=torch.float64))

    def test_vertex_normals_are_weighted_by_area(self):
        normals = vertex_normals(as_batch(CORNERS * [2, 1, 1]), torch.as_tensor(TETRAHEDRON))
        # at corner 0 meet faces of area 1 (z), 1 (y) and 1/2 (x)
        expected = torch.tensor([-0.5, -1.0, -1.0], dtype=torch.float64) / 1.5
        torch.testing.assert_close(normals[0, 0], expected)

    def test_sphere(self):
        vertices, faces = icosphere(3)
        normals = vertex_normals(as_batch(vertices), torch.as_tensor(faces))[0].numpy()
        assert np.abs(normals - vertices).max() < 0.02

    def test_turning_the_mesh_turns_its_normals_and_scale_does_not_matter(self):
        vertices, faces = icosphere(1)
        faces = torch.as_tensor(faces)
        verts = as_batch(vertices * [1, 2, 3])
        turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())[0]
        turn = turn * torch.det(turn).sign()
        normals = vertex_normals(verts, faces)
        torch.testing.assert_close(vertex_normals(verts @ turn.T * 1e-4 + 5, faces), normals @ turn.T)
        both = vertex_normals(torch.cat([verts, verts @ turn.T]), faces)
        torch.testing.assert_close(both[1], normals[0] @ turn.T)
        torch.testing.assert_close(vertex_normals(verts.float() * 1e-6, faces), normals.float())

    def test_degenerate_faces_and_lonely_vertices_are_zero_with_zero_gradient(self):
        verts = torch.zeros(1, 5, 3)
        verts[0, 1, 0], verts[0, 2, 0] = 1, 2  # on a line; 3 and 4 unused
        verts.requires_grad_()
        faces = torch.tensor([[0, 1, 2], [0, 1, 1]])
        for function in (face_normals, vertex_normals):
            normals = function(verts, faces)
            assert normals.abs().max() == 0
            (gradient,) = torch.autograd.grad(normals.sum(), verts)
            assert gradient.abs().max() == 0

    def test_gradcheck(self):
        verts = as_batch(CORNERS).requires_grad_()
        faces = torch.as_tensor(TETRAHEDRON)
        assert torch.autograd.gradcheck(lambda v: face_normals(v, faces), verts)
        assert torch.autograd.gradcheck(lambda v: vertex_normals(v, faces), verts)

    def test_int32_faces_do(self):
        faces = torch.as_tensor(TETRAHEDRON)
        torch.testing.assert_close(
            vertex_normals(as_batch(CORNERS), faces.int()), vertex_normals(as_batch(CORNERS), faces)
        )


class TestConnectivity:
    def test_edges_are_unique_sorted_and_satisfy_euler(self):
        vertices, faces = icosphere(2)
        pairs = edges(faces)
        assert len(vertices) - len(pairs) + len(faces) == 2
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
        np.testing.assert_array_equal(edges(torch.as_tensor(faces)), pairs)

    def test_closed_mesh_has_no_boundary(self):
        assert boundary_loops(TETRAHEDRON) == []

    def test_square_boundary_runs_with_the_faces(self):
        (loop,) = boundary_loops(SQUARE)
        assert loop.tolist() == [0, 1, 3, 2]
        (loop,) = boundary_loops(SQUARE[:, ::-1])
        assert loop.tolist() == [0, 2, 3, 1]

    def test_annulus_has_two_loops_the_longer_first(self):
        _, faces = grid_disc(6, 7)
        hole = 2 * 7 + 3
        faces = faces[~(faces == hole).any(1)]
        outer, inner = boundary_loops(faces)
        assert len(outer) == 2 * (5 + 6)
        assert sorted(inner.tolist()) == sorted(adjacency(grid_disc(6, 7)[1], 42)[hole].indices.tolist())

    def test_order_of_faces_does_not_matter(self):
        _, faces = random_disc()
        shuffled = np.random.default_rng(1).permutation(np.roll(faces, 1, axis=1))
        np.testing.assert_array_equal(boundary_loops(faces)[0], boundary_loops(shuffled)[0])

    def test_two_rims_in_one_vertex(self):
        loops = boundary_loops(np.array([[0, 1, 2], [0, 3, 4]]))
        assert sum(len(loop) for loop in loops) == 6
        assert all(len(set(loop.tolist())) >= 3 for loop in loops)

    def test_adjacency_and_laplacian(self):
        vertices, faces = random_disc()
        links, laplacian = adjacency(faces, len(vertices)), uniform_laplacian(faces, len(vertices))
        assert links.nnz == 2 * len(edges(faces))
        assert abs(laplacian - laplacian.T).max() == 0
        assert abs(laplacian.sum(axis=1)).max() == 0
        assert np.linalg.eigvalsh(laplacian.toarray())[:2] == pytest.approx([0, 0.5], abs=0.5)
        np.testing.assert_array_equal(laplacian.diagonal(), np.asarray(links.sum(1)).ravel())

    def test_unused_vertices_are_empty_rows(self):
        laplacian = uniform_laplacian(SQUARE, 6)
        assert laplacian.shape == (6, 6)
        assert abs(laplacian[4:]).sum() == 0


class TestLoopSubdivision:
    def test_tetrahedron_by_hand(self):
        matrix, faces = loop_subdivision(TETRAHEDRON, 4)
        dense = matrix.toarray()
        assert dense[0].tolist() == [1 - 9 / 16, 3 / 16, 3 / 16, 3 / 16]
        edge = edges(TETRAHEDRON).tolist().index([1, 2])
        assert dense[4 + edge].tolist() == [1 / 8, 3 / 8, 3 / 8, 1 / 8]
        assert faces.shape == (16, 3)

    def test_square_boundary_by_hand(self):
        matrix, _ = loop_subdivision(SQUARE, 4)
        dense, pairs = matrix.toarray(), edges(SQUARE).tolist()
        assert dense[0].tolist() == [3 / 4, 1 / 8, 1 / 8, 0]
        assert dense[1].tolist() == [1 / 8, 3 / 4, 0, 1 / 8]
        assert dense[4 + pairs.index([1, 2])].tolist() == [1 / 8, 3 / 8, 3 / 8, 1 / 8]
        assert dense[4 + pairs.index([0, 1])].tolist() == [1 / 2, 1 / 2, 0, 0]

    @pytest.mark.parametrize("valence", [3, 4, 5, 6, 9])
    def test_interior_weight_of_a_fan(self, valence):
        ring = np.arange(valence)
        faces = np.stack([np.full(valence, valence), ring, (ring + 1) % valence], 1)
        beta = 3 / 16 if valence == 3 else 3 / (8 * valence)
        row = loop_subdivision(faces, valence + 1)[0].toarray()[valence]
        np.testing.assert_allclose(row[:valence], beta)
        assert row[valence] == pytest.approx(1 - valence * beta)

    @pytest.mark.parametrize("make", [lambda: random_disc(80), lambda: icosphere(2), lambda: grid_disc(5, 6)])
    def test_rows_sum_to_one_and_topology_is_kept(self, make):
        vertices, faces = make()
        matrix, finer = loop_subdivision(faces, len(vertices))
        pairs = edges(faces)
        np.testing.assert_allclose(np.asarray(matrix.sum(1)).ravel(), 1, atol=1e-14)
        assert matrix.min() >= 0
        assert matrix.shape == (len(vertices) + len(pairs), len(vertices))
        assert len(finer) == 4 * len(faces)
        assert len(edges(finer)) == 2 * len(pairs) + 3 * len(faces)
        assert [len(loop) for loop in boundary_loops(finer)] == [2 * len(l) for l in boundary_loops(faces)]

    def test_faces_follow_their_parent_and_keep_the_winding(self):
        vertices, faces = random_disc()
        matrix, finer = loop_subdivision(faces, len(vertices))
        pairs = edges(faces)
        index = {tuple(pair): len(vertices) + row for row, pair in enumerate(pairs.tolist())}
        a, b, c = faces[7].tolist()
        ab, bc, ca = (index[tuple(sorted(pair))] for pair in ((a, b), (b, c), (c, a)))
        expected = [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
        assert finer[28:32].tolist() == expected
        vertices, faces = grid_disc(4, 5)
        matrix, finer = loop_subdivision(faces, len(vertices))
        normals = face_normals(as_batch(matrix @ vertices), torch.as_tensor(finer))
        assert (normals[0, :, 2] > 0).all()

    def test_agrees_with_trimesh_where_the_rules_agree(self):
        trimesh = pytest.importorskip("trimesh")
        vertices, faces = grid_disc(6, 7)
        vertices[:, 2] = np.random.default_rng(0).random(len(vertices))
        theirs, _ = trimesh.remesh.subdivide_loop(vertices, faces, 1)
        ours = loop_subdivision(faces, len(vertices))[0] @ vertices
        inner = adjacency(faces, len(vertices)).sum(1).A1 == 6  # rims: trimesh has its own rule for corners
        np.testing.assert_allclose(ours[: len(vertices)][inner], theirs[: len(vertices)][inner], atol=1e-12)
        middle = np.isin(edges(faces), np.flatnonzero(inner)).any(1)
        distance = np.linalg.norm(ours[len(vertices) :][middle][:, None] - theirs[None], axis=-1)
        assert distance.min(1).max() < 1e-12

    def test_repeated_subdivision_converges_to_a_smooth_surface(self):
        vertices, faces = CORNERS - 0.25, TETRAHEDRON
        bends = []
        for _ in range(5):
            matrix, faces = loop_subdivision(faces, len(vertices))
            vertices = matrix @ vertices
            normals = face_normals(as_batch(vertices), torch.as_tensor(faces))[0].numpy()
            half = {}
            for face, corners in enumerate(faces.tolist()):
                for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
                    half[start, end] = face
            bends.append(max(1 - normals[f] @ normals[half[end, start]] for (start, end), f in half.items()))
        assert bends[-1] < 0.02 < 0.1 < bends[0]

    def test_unused_and_bow_tie_vertices_stay(self):
        matrix, _ = loop_subdivision(np.array([[0, 1, 2], [0, 3, 4]]), 6)
        np.testing.assert_array_equal(matrix.toarray()[[0, 5]], np.eye(6)[[0, 5]])

    def test_three_faces_an_edge_are_refused(self):
        with pytest.raises(ShapeError, match=r"two faces an edge, got 3 at edge \(0, 1\); remove doubled"):
            loop_subdivision(np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]]), 5)


class TestHarmonics:
    def test_a_closed_ring_has_the_spectrum_of_the_circle(self):
        count = 40
        index = np.arange(count)
        ring = sparse.csr_matrix((np.ones(count), (index, (index + 1) % count)), shape=(count, count))
        laplacian = sparse.diags(np.full(count, 2.0)) - ring - ring.T
        values, vectors = harmonics(laplacian.tocsr(), 5)
        expected = 2 - 2 * np.cos(2 * np.pi * np.array([0, 1, 1, 2, 2]) / count)
        np.testing.assert_allclose(values, expected, atol=1e-12)
        np.testing.assert_allclose(vectors[:, 0], 1 / np.sqrt(count))

    @pytest.mark.parametrize("limit", [0, 2000])
    def test_both_solvers_give_signed_orthonormal_eigenvectors(self, limit, monkeypatch):
        monkeypatch.setattr(mesh_module, "DENSE_EIGENSOLVER_LIMIT", limit)
        vertices, faces = random_disc(300)
        laplacian = uniform_laplacian(faces, len(vertices))
        values, vectors = harmonics(laplacian, 12)
        np.testing.assert_allclose(laplacian @ vectors, vectors * values, atol=1e-9)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-9)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(laplacian.toarray())[:12], atol=1e-9)
        magnitude = np.abs(vectors)
        leading = (magnitude >= 0.9 * magnitude.max(0)).argmax(0)
        assert (vectors[leading, np.arange(12)] > 0).all()
        again = harmonics(laplacian, 12)[1]
        np.testing.assert_array_equal(again, vectors)

    def test_solvers_agree_in_sign(self, monkeypatch):
        vertices, faces = random_disc(300)
        laplacian = uniform_laplacian(faces, len(vertices))
        dense = harmonics(laplacian, 8)[1]
        monkeypatch.setattr(mesh_module, "DENSE_EIGENSOLVER_LIMIT", 0)
        np.testing.assert_allclose(harmonics(laplacian, 8)[1], dense, atol=1e-8)

    def test_all_of_them(self):
        assert harmonics(uniform_laplacian(SQUARE, 4), 4)[1].shape == (4, 4)


class TestExtension:
    def test_known_and_zero_vertices_are_kept_exactly(self):
        vertices, faces = random_disc(200)
        known, zero = np.array([5, 3, 90, 17]), np.array([20, 21])
        matrix = laplacian_extension(uniform_laplacian(faces, len(vertices)), known, zero_index=zero)
        assert matrix.shape == (200, 4)
        np.testing.assert_array_equal(matrix[known], np.eye(4))
        np.testing.assert_array_equal(matrix[zero], 0)

    def test_is_the_minimum_of_its_energy(self):
        vertices, faces = random_disc(80)
        laplacian = uniform_laplacian(faces, len(vertices))
        known, epsilon = np.arange(10), 0.03
        values = np.random.default_rng(2).random((10, 3))
        best = laplacian_extension(laplacian, known, zero_index=[40], regularisation=epsilon) @ values
        gradient = laplacian.T @ (laplacian @ best) + epsilon * best
        free = np.setdiff1d(np.arange(80), [*known, 40])
        assert np.abs(gradient[free]).max() < 1e-10
        assert np.abs(gradient[known]).max() > 1e-3

    def test_constants_pass_without_regularisation_and_fade_with_it(self):
        vertices, faces = random_disc(150)
        laplacian = uniform_laplacian(faces, len(vertices))
        ones = np.ones(3)
        exact = laplacian_extension(laplacian, [0, 50, 100], regularisation=0) @ ones
        np.testing.assert_allclose(exact, 1, atol=1e-6)
        faded = laplacian_extension(laplacian, [0, 50, 100], regularisation=1.0) @ ones
        assert np.abs(faded).mean() < 0.2

    def test_linear_fields_pass_through_a_regular_grid(self):
        vertices, faces = grid_disc(9, 9)
        laplacian = uniform_laplacian(faces, 81)
        rim_and_next = [i for i in range(81) if not (2 <= i // 9 < 7 and 2 <= i % 9 < 7)]
        matrix = laplacian_extension(laplacian, rim_and_next, regularisation=0)
        np.testing.assert_allclose(matrix @ vertices[rim_and_next], vertices, atol=1e-9)

    def test_parts_without_values_become_zero_or_are_refused(self):
        faces = np.concatenate([SQUARE, SQUARE + 4])
        laplacian = uniform_laplacian(faces, 8)
        assert np.abs(laplacian_extension(laplacian, [0])[4:]).max() == 0
        with pytest.raises(ShapeError, match=r"got 1 parts .*vertex 4.*regularisation > 0"):
            laplacian_extension(laplacian, [0], regularisation=0)

    def test_everything_known(self):
        matrix = laplacian_extension(uniform_laplacian(SQUARE, 4), [3, 2, 1, 0])
        np.testing.assert_array_equal(matrix, np.eye(4)[::-1])


class TestFiles:
    @pytest.mark.parametrize("suffix", [".obj", ".ply", ".off", ".glb", ".OBJ"])
    def test_round_trip_keeps_the_order(self, suffix, tmp_path):
        vertices, faces = random_disc(30)
        path = tmp_path / f"head{suffix}"
        save_mesh(path, torch.as_tensor(vertices), torch.as_tensor(faces))
        got_vertices, got_faces = load_mesh(path)
        np.testing.assert_allclose(got_vertices, vertices, atol=1e-6)
        np.testing.assert_array_equal(got_faces, faces)
        assert (got_vertices.dtype, got_faces.dtype) == (np.float64, np.int64)
        assert [item.name for item in tmp_path.iterdir()] == [path.name]

    def test_obj_with_texture_seams_quads_and_lonely_vertices(self, tmp_path):
        path = tmp_path / "quad.obj"
        path.write_text(
            "mtllib none.mtl\no thing\nv 9 9 9\nv 0 0 0\nv 1 0 0 0.5 0.5 0.5\nv 1 1 0\nv 0 1 0\n"
            "vt 0 0\nvt 1 1\nvn 0 0 1\nusemtl skin\nf 2/1/1 3/2/1 4/1/1 5/2/1\nf 2/2 4/2 -5/1\n",
            encoding="utf-8",
        )
        vertices, faces = load_mesh(path)
        assert vertices.tolist() == [[9, 9, 9], [0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
        assert len(faces) == 3
        assert {(1, 2), (2, 3), (3, 4), (1, 4)} <= {tuple(edge) for edge in edges(faces).tolist()}

    def test_a_failed_save_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "head.ply"
        save_mesh(path, CORNERS, TETRAHEDRON)
        before = path.read_bytes()

        def refuse(*_):
            raise OSError("disk full")

        monkeypatch.setattr(mesh_module.os, "replace", refuse)
        with pytest.raises(OSError, match="disk full"):
            save_mesh(path, CORNERS * 2, TETRAHEDRON)
        assert path.read_bytes() == before
        assert [item.name for item in tmp_path.iterdir()] == ["head.ply"]

    @pytest.mark.parametrize(
        ("name", "content", "text"),
        [
            ("none.obj", None, r"expected a file at .*none.obj, found none"),
            ("head.abc", b"x", r"expected a name ending in .obj, .*got .abc"),
            ("head", b"x", r"got no suffix"),
            ("points.obj", b"v 0 0 0\nv 1 0 0\n", r"points.obj: "),
            ("broken.ply", b"hello", r"broken.ply: could not be read as .ply"),
            ("far.obj", b"v 0 0 0\nf 1 2 3\n", r"far.obj: "),
        ],
    )
    def test_unreadable_files_are_named(self, name, content, text, tmp_path):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=text):
            load_mesh(tmp_path / name)

    def test_saving_refuses(self, tmp_path):
        with pytest.raises(MediaError, match="existing folder"):
            save_mesh(tmp_path / "no" / "head.obj", CORNERS, TETRAHEDRON)
        with pytest.raises(MediaError, match="ending in"):
            save_mesh(tmp_path / "head.xyz", CORNERS, TETRAHEDRON)
        for verts in (CORNERS[None], CORNERS * np.nan):
            with pytest.raises(ShapeError, match=r"verts: expected finite \(V, 3\)"):
                save_mesh(tmp_path / "head.obj", verts, TETRAHEDRON)


VERTS = torch.zeros(1, 4, 3)
FACES = torch.as_tensor(TETRAHEDRON)
LAPLACIAN = uniform_laplacian(TETRAHEDRON, 4)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: vertex_normals(VERTS[0], FACES),
            r"verts: expected \(B, V, 3\), got \(4, 3\); .*verts\[None\]",
        ),
        (lambda: face_normals(VERTS, FACES.float()), r"faces: expected an integer tensor \(F, 3\)"),
        (lambda: face_normals(VERTS, FACES[:, :2]), r"faces: .*got \(4, 2\)"),
        (lambda: edges(np.zeros((2, 4), int)), r"faces: expected integers \(F, 3\), .*triangulate"),
        (lambda: edges(np.zeros((2, 3))), r"faces: expected integers \(F, 3\), got float64"),
        (lambda: edges(np.array([[0, 1, 1]])), r"three different corners, got \[0, 1, 1\] in face 0"),
        (lambda: edges(np.array([[-1, 1, 2]])), r"faces: expected vertex indices 0, got -1 .. 2"),
        (lambda: uniform_laplacian(TETRAHEDRON, 3), r"indices 0 .. 2, got 0 .. 3; give vertex_count"),
        (lambda: boundary_loops(np.array([[0, 1, 2], [1, 3, 4], [0, 1, 4]])), r"wound the same way"),
        (lambda: harmonics(LAPLACIAN[:2], 1), r"laplacian: expected a scipy sparse \(V, V\)"),
        (lambda: harmonics(LAPLACIAN.toarray(), 1), r"laplacian: expected a scipy sparse .*ndarray"),
        (lambda: harmonics(sparse.csr_matrix(np.triu(np.ones((3, 3)))), 1), r"symmetric matrix"),
        (lambda: harmonics(LAPLACIAN, 5), r"count: expected 1 .. 4 for 4 vertices, got 5"),
        (lambda: harmonics(LAPLACIAN, 0), r"count: expected 1 .. 4"),
        (lambda: laplacian_extension(LAPLACIAN, []), r"known_index: expected at least one"),
        (lambda: laplacian_extension(LAPLACIAN, [0, 0]), r"known_index: expected each vertex once"),
        (lambda: laplacian_extension(LAPLACIAN, [4]), r"known_index: expected indices 0 .. 3, got 4 .. 4"),
        (lambda: laplacian_extension(LAPLACIAN, np.ones(4, bool)), r"known_index: .*np.flatnonzero"),
        (lambda: laplacian_extension(LAPLACIAN, [0, 1], zero_index=[1]), r"zero_index: .*got 1 .*first: 1"),
        (lambda: laplacian_extension(LAPLACIAN, [0], regularisation=-1), r"regularisation: expected >= 0"),
    ],
)
def test_errors_say_what_was_expected(call, text):
    with pytest.raises(ShapeError, match=text):
        call()
