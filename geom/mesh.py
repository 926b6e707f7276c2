"""Triangle meshes: normals, connectivity, Loop subdivision, harmonics, extension of sparse values, files.

What is differentiated (normals) takes and gives torch tensors with a batch axis. What depends on connectivity
alone is computed once a head in numpy / scipy float64 and takes faces as an array or a tensor. Faces are
counter-clockwise seen from outside, in right-handed axes.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import MediaError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from scipy.sparse import csr_matrix

    Faces = np.ndarray | Tensor

DENSE_EIGENSOLVER_LIMIT = 2000
MESH_SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb")


def face_normals(
    verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], *, normalise: bool = True
) -> Float[Tensor, "B F 3"]:
    """Outward normal of every face; unit length, or twice the face area long with ``normalise=False``.

    A face without area has the zero normal and a zero gradient, never NaN.

    Args:
        verts: vertex positions, any unit.
        faces: vertex indices.
        normalise: divide by the length.

    Returns:
        Normals in the frame of ``verts``; differentiable in ``verts``.

    Raises:
        ShapeError: ``verts`` or ``faces`` has another shape, or ``faces`` is not of an integer type.

    Example:
        >>> verts = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
        >>> face_normals(verts, torch.tensor([[0, 1, 2]]))
        tensor([[[0., 0., 1.]]])
    """
    _check_verts(verts, faces)
    corners = faces.to(device=verts.device, dtype=torch.long)
    first = verts[:, corners[:, 0]]
    normals = torch.linalg.cross(verts[:, corners[:, 1]] - first, verts[:, corners[:, 2]] - first)
    return _unit(normals) if normalise else normals


def vertex_normals(verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B V 3"]:
    """Unit normal of every vertex: the mean of its faces' normals weighted by their areas.

    A vertex that no face (with area) touches has the zero normal and a zero gradient.

    Arguments, frame, derivatives and errors as :func:`face_normals`.
    """
    weighted = face_normals(verts, faces, normalise=False)
    corners = faces.to(device=verts.device, dtype=torch.long)
    total = torch.zeros_like(verts)
    for corner in range(3):
        total = total.index_add(1, corners[:, corner], weighted)
    return _unit(total)


def _unit(vectors: Tensor) -> Tensor:
    squared = (vectors * vectors).sum(-1, keepdim=True)
    alive = squared > torch.finfo(vectors.dtype).tiny
    inverse = torch.where(alive, squared, torch.ones_like(squared)).rsqrt()
    return torch.where(alive, vectors * inverse, torch.zeros_like(vectors))


def edges(faces: Faces) -> np.ndarray:
    """Every edge once, as rows ``(low, high)`` in lexicographic order, int64 (E, 2).

    Raises:
        ShapeError: faces are not (F, 3) integers without repeated corners.

    Example:
        >>> edges(np.array([[0, 1, 2], [2, 1, 3]])).tolist()
        [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    """
    return np.unique(np.sort(_half_edges(_as_faces(faces)), axis=1), axis=0)


def boundary_loops(faces: Faces) -> list[np.ndarray]:
    """The rims of the mesh: closed loops of vertex indices, the longest first; empty if it has none.

    A loop runs in the direction of its faces (the surface lies on the left, seen from outside) and starts at
    its smallest index.

    Raises:
        ShapeError: faces are malformed, or neighbouring faces are wound against each other.
    """
    half = _half_edges(_as_faces(faces))
    count = int(half.max()) + 1 if len(half) else 0
    code = half @ np.array([count, 1])
    if len(np.unique(code)) != len(code):
        raise ShapeError(
            "faces: expected neighbouring faces wound the same way, got two that run along an edge in one "
            "direction; reorient them (trimesh.repair.fix_winding) and drop doubled faces"
        )
    rim = half[~np.isin(code, half[:, ::-1] @ np.array([count, 1]))]
    rim = rim[np.lexsort((rim[:, 1], rim[:, 0]))]
    following: dict[int, list[int]] = {}
    for start, end in rim[::-1].tolist():
        following.setdefault(start, []).append(end)
    loops = []
    for start in sorted(following):
        while following[start]:
            loops.append(_walk(following, start))
    return sorted(loops, key=lambda loop: (-len(loop), int(loop[0])))


def _walk(following: dict[int, list[int]], start: int) -> np.ndarray:
    loop, here = [start], following[start].pop()
    while here != start:
        loop.append(here)
        here = following[here].pop()
    return np.array(loop, dtype=np.int64)


def adjacency(faces: Faces, vertex_count: int) -> csr_matrix:
    """Symmetric (V, V) matrix with a one for every edge, float64 csr.

    Raises:
        ShapeError: faces are malformed or name a vertex outside ``[0, vertex_count)``.
    """
    from scipy import sparse

    pairs = edges(_as_faces(faces, vertex_count))
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(vertex_count, vertex_count))


def uniform_laplacian(faces: Faces, vertex_count: int) -> csr_matrix:
    """The umbrella (graph) Laplacian D - A: symmetric, positive semi-definite, rows sum to zero; float64 csr.

    Preferred to cotangent weights here: its harmonics describe measured faces and expressions better.

    Raises:
        ShapeError: faces are malformed or name a vertex outside ``[0, vertex_count)``.

    Example:
        >>> uniform_laplacian(np.array([[0, 1, 2]]), 3).toarray().tolist()
        [[2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]]
    """
    from scipy import sparse

    links = adjacency(faces, vertex_count)
    degree = np.asarray(links.sum(axis=1)).ravel()
    return (sparse.diags(degree) - links).tocsr()


def loop_subdivision(faces: Faces, vertex_count: int) -> tuple[csr_matrix, np.ndarray]:
    """One step of Loop subdivision [Loop 1987] as a sparse matrix for any per-vertex quantity.

    Vertex ``i < V`` of the finer mesh is the smoothed old vertex ``i``, vertex ``V + e`` the point on edge
    ``e`` of :func:`edges`. Face ``f`` becomes ``4 f .. 4 f + 3``: its corners in order, then the middle.

    Rules: interior vertices ``1 - k beta`` and ``beta = 3 / 16`` (k = 3) or ``3 / (8 k)`` (Warren's weights);
    interior edges 3/8, 3/8, 1/8, 1/8; rim vertices 3/4, 1/8, 1/8; rim edges 1/2, 1/2. A vertex where two rims
    meet, or that no face uses, stays where it is.

    Returns:
        The csr float64 matrix (V + E, V), rows summing to one, and the (4 F, 3) int64 faces.

    Raises:
        ShapeError: faces are malformed, out of range, or share an edge three times.

    Example:
        >>> matrix, finer = loop_subdivision(np.array([[0, 1, 2], [2, 1, 3]]), 4)
        >>> matrix.shape, finer.shape
        ((9, 4), (8, 3))
    """
    from scipy import sparse

    triangles = _as_faces(faces, vertex_count)
    half = _half_edges(triangles)
    pairs, edge_of_half, uses = np.unique(
        np.sort(half, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    edge_of_half = edge_of_half.reshape(-1)
    if len(uses) and uses.max() > 2:
        low, high = pairs[uses.argmax()]
        raise ShapeError(
            f"faces: expected at most two faces an edge, got {uses.max()} at edge ({low}, {high}); "
            "remove doubled or non-manifold faces"
        )
    matrix = sparse.vstack(
        [
            _even_rule(pairs, uses == 1, vertex_count),
            _odd_rule(triangles, pairs, edge_of_half, uses == 1, vertex_count),
        ]
    ).tocsr()
    matrix.sort_indices()
    # half edges are stored side by side (all ab, all bc, all ca)
    ab, bc, ca = vertex_count + edge_of_half.reshape(3, -1)  # each (F,)
    a, b, c = triangles.T
    finer = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    return matrix, finer


def _even_rule(pairs: np.ndarray, on_rim: np.ndarray, count: int) -> csr_matrix:
    """Rows of the old vertices, (V, V)."""
    from scipy import sparse

    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    rim_ways = np.concatenate([on_rim, on_rim])
    valence = np.bincount(both_ways[:, 0], minlength=count)
    rim_valence = np.bincount(both_ways[rim_ways, 0], minlength=count)
    beta = np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1)))
    interior = (rim_valence == 0) & (valence > 0)
    smooth_rim = rim_valence == 2
    own = np.where(interior, 1 - valence * beta, np.where(smooth_rim, 3 / 4, 1.0))
    centre = both_ways[:, 0]
    weight = np.where(interior[centre], beta[centre], np.where(smooth_rim[centre] & rim_ways, 1 / 8, 0.0))
    used = weight > 0
    rows = np.concatenate([np.arange(count), centre[used]])
    columns = np.concatenate([np.arange(count), both_ways[used, 1]])
    return sparse.csr_matrix((np.concatenate([own, weight[used]]), (rows, columns)), shape=(count, count))


def _odd_rule(
    triangles: np.ndarray, pairs: np.ndarray, edge_of_half: np.ndarray, on_rim: np.ndarray, count: int
) -> csr_matrix:
    """Rows of the edge points, (E, V)."""
    from scipy import sparse

    opposite = triangles[:, [2, 0, 1]].T.reshape(-1)  # (3 F,), in the order of _half_edges
    inside = ~on_rim[edge_of_half]
    index = np.arange(len(pairs))
    rows = np.concatenate([index, index, edge_of_half[inside]])
    columns = np.concatenate([pairs[:, 0], pairs[:, 1], opposite[inside]])
    ends = np.where(on_rim, 1 / 2, 3 / 8)
    weights = np.concatenate([ends, ends, np.full(int(inside.sum()), 1 / 8)])
    return sparse.csr_matrix((weights, (rows, columns)), shape=(len(pairs), count))


def harmonics(laplacian: csr_matrix, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` smoothest eigenvectors of a symmetric Laplacian.

    Dense LAPACK up to 2,000 vertices, shift-invert Lanczos from a fixed start beyond. The sign is fixed: the
    first entry within 10 % of the largest magnitude is positive. Inside an eigenspace of more than one
    dimension the basis is the solver's choice.

    Args:
        laplacian: (V, V) symmetric positive semi-definite, scipy sparse.
        count: how many, 1 .. V (V - 1 beyond the dense limit).

    Returns:
        Eigenvalues (count,) ascending and orthonormal eigenvectors (V, count), float64.

    Raises:
        ShapeError: the matrix is not square and symmetric, or ``count`` is out of range.
    """
    from scipy.linalg import eigh
    from scipy.sparse.linalg import eigsh

    size = _check_square(laplacian, "laplacian")
    asymmetry = abs(laplacian - laplacian.T).max() if laplacian.nnz else 0.0
    if asymmetry > 1e-9 * max(abs(laplacian).max() if laplacian.nnz else 0.0, 1e-300):
        raise ShapeError(
            f"laplacian: expected a symmetric matrix, got an asymmetry of {asymmetry:.3g}; "
            "use uniform_laplacian, or symmetrise with (L + L.T) / 2"
        )
    dense = size <= DENSE_EIGENSOLVER_LIMIT
    limit = size if dense else size - 1
    if not 1 <= count <= limit:
        raise ShapeError(f"count: expected 1 .. {limit} for {size} vertices, got {count}; ask for fewer")
    if dense:
        values, vectors = eigh(laplacian.toarray(), subset_by_index=(0, count - 1))
    else:
        shift = -1e-3 * laplacian.diagonal().mean()  # just below the spectrum, so that the factor is regular
        start = np.random.default_rng(0).standard_normal(size)
        values, vectors = eigsh(laplacian.tocsc(), k=count, sigma=shift, v0=start)
        order = np.argsort(values, kind="stable")
        values, vectors = values[order], vectors[:, order]
    magnitude = np.abs(vectors)
    leading = (magnitude >= 0.9 * magnitude.max(axis=0)).argmax(axis=0)  # (count,)
    return values, vectors * np.sign(vectors[leading, np.arange(count)])


def laplacian_extension(
    laplacian: csr_matrix,
    known_index: ArrayLike,
    *,
    zero_index: ArrayLike | None = None,
    regularisation: float = 1e-5,
) -> np.ndarray:
    """The matrix that carries values at known vertices smoothly over the mesh.

    ``u = M @ values`` minimises ``|L u|^2 + regularisation |u|^2`` with ``u[known_index] = values`` and
    ``u[zero_index] = 0`` exactly. Not bounded by the known values (a bi-Laplacian overshoots): clip weights.

    Args:
        laplacian: (V, V) scipy sparse.
        known_index: (K,) vertices with values, without repeats.
        zero_index: vertices held at zero; may not overlap ``known_index``.
        regularisation: pull towards zero; with 0 every connected part needs a known or zero vertex.

    Returns:
        Dense float64 (V, K).

    Raises:
        ShapeError: the matrix is not square, an index is out of range, repeated or in both lists, or the
            problem has no unique answer.
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    size = _check_square(laplacian, "laplacian")
    known = _as_index(known_index, size, "known_index")
    zero = _as_index([] if zero_index is None else zero_index, size, "zero_index")
    if len(known) == 0:
        raise ShapeError("known_index: expected at least one vertex, got none")
    both = np.intersect1d(known, zero)
    if len(both):
        raise ShapeError(
            f"zero_index: expected no vertex of known_index, got {len(both)} of them "
            f"(first: {both[0]}); drop them from one of the lists"
        )
    if regularisation < 0:
        raise ShapeError(f"regularisation: expected >= 0, got {regularisation}")
    free = np.setdiff1d(np.arange(size), np.concatenate([known, zero]))
    if regularisation == 0:
        _check_anchored(laplacian, np.concatenate([known, zero]))
    energy = (laplacian.T @ laplacian + regularisation * sparse.identity(size)).tocsc()
    extension = np.zeros((size, len(known)))
    extension[known, np.arange(len(known))] = 1.0
    if len(free):
        rows = energy[free]
        extension[free] = splu(rows[:, free].tocsc()).solve(-rows[:, known].toarray())
    return extension


def _check_anchored(laplacian: csr_matrix, fixed: np.ndarray) -> None:
    from scipy.sparse.csgraph import connected_components

    parts, label = connected_components(laplacian, directed=False)
    loose = np.setdiff1d(np.arange(parts), label[fixed])
    if len(loose):
        first = int(np.flatnonzero(label == loose[0])[0])
        raise ShapeError(
            f"known_index: expected a known or zero vertex in every connected part, got {len(loose)} parts "
            f"without (one holds vertex {first}); pass regularisation > 0 to send those to zero"
        )


def load_mesh(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and faces (F, 3) int64 of a mesh file, in the file's own order and units.

    Polygons are split into triangles; several objects are put one after the other; nothing is merged.

    Raises:
        MediaError: the file is missing, of an unknown kind, broken, or holds no triangle.
    """
    import trimesh

    path = Path(path)
    if not path.is_file():
        raise MediaError(
            f"mesh file: expected a file at {path}, found none (sought in {path.resolve().parent})"
        )
    _check_suffix(path)
    try:
        if path.suffix.lower() == ".obj":
            loaded = trimesh.load(_geometry_of_obj(path), file_type="obj", process=False, maintain_order=True)
        else:
            data = io.BytesIO(path.read_bytes())  # a file's read() allocates what a damaged length asks for
            loaded = trimesh.load(data, file_type=path.suffix[1:].lower(), process=False)
        mesh: Any = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    except Exception as error:  # trimesh's readers raise whatever their parsers do
        raise MediaError(f"mesh file {path}: could not be read as {path.suffix}: {error}") from error
    if len(faces) == 0:
        raise MediaError(f"mesh file {path}: expected triangles, got {len(vertices)} vertices and no face")
    return vertices, faces


def _geometry_of_obj(path: Path) -> io.StringIO:
    """The file's points and faces alone: texture seams would otherwise split and reorder the vertices."""
    lines = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    kept = [[word.split("/")[0] for word in words] for words in lines if words and words[0] in ("v", "f")]
    return io.StringIO("\n".join(" ".join(words) for words in kept) + "\n")


def save_mesh(path: str | os.PathLike[str], verts: ArrayLike | Tensor, faces: Faces) -> None:
    """Write a mesh file of the kind that the suffix names; whole or not at all.

    Args:
        path: ends in .obj, .ply, .stl, .off or .glb (.stl keeps no vertex order).
        verts: (V, 3), written as given: no change of axes or units.
        faces: (F, 3).

    Raises:
        MediaError: unknown suffix, or the folder does not exist.
        ShapeError: ``verts`` is not (V, 3) and finite, or ``faces`` is malformed.
    """
    import trimesh

    path = Path(path)
    _check_suffix(path)
    if not path.resolve().parent.is_dir():
        raise MediaError(f"mesh file: expected an existing folder for {path}; create {path.resolve().parent}")
    points = np.asarray(verts.detach().cpu() if isinstance(verts, Tensor) else verts, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ShapeError(f"verts: expected finite (V, 3), got {points.shape}; save one mesh at a time")
    mesh = trimesh.Trimesh(points, _as_faces(faces, len(points)), process=False)
    buffer = io.BytesIO()
    mesh.export(buffer, file_type=path.suffix.lower()[1:])
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getvalue())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _half_edges(triangles: np.ndarray) -> np.ndarray:
    """(3 F, 2) directed edges: all ab, then all bc, then all ca."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def _as_faces(faces: Faces, vertex_count: int | None = None) -> np.ndarray:
    array = faces.detach().cpu().numpy() if isinstance(faces, Tensor) else np.asarray(faces)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu":
        raise ShapeError(
            f"faces: expected integers (F, 3), got {array.dtype} {array.shape}; triangulate the polygons"
        )
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or (vertex_count is not None and array.max() >= vertex_count)):
        end = "" if vertex_count is None else f" .. {vertex_count - 1}"
        raise ShapeError(
            f"faces: expected vertex indices 0{end}, got {array.min()} .. {array.max()}; "
            "give vertex_count = the number of vertices (OBJ files count from 1)"
        )
    repeated = (array == array[:, [1, 2, 0]]).any(axis=1)
    if repeated.any():
        first = int(repeated.argmax())
        raise ShapeError(
            f"faces: expected three different corners, got {array[first].tolist()} in face {first}; "
            "drop the collapsed faces"
        )
    return array


def _as_index(index: ArrayLike, size: int, name: str) -> np.ndarray:
    array = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
    array = array.astype(np.int64) if array.size == 0 else array
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: expected integers (K,), got {array.dtype} {array.shape}; pass np.flatnonzero(mask)"
        )
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= size):
        raise ShapeError(f"{name}: expected indices 0 .. {size - 1}, got {array.min()} .. {array.max()}")
    if len(np.unique(array)) != len(array):
        raise ShapeError(f"{name}: expected each vertex once, got repeats; use np.unique")
    return array


def _check_square(matrix: csr_matrix, name: str) -> int:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not hasattr(matrix, "tocsr"):
        raise ShapeError(
            f"{name}: expected a scipy sparse (V, V) matrix, got {type(matrix).__name__} {matrix.shape}"
        )
    return int(matrix.shape[0])


def _check_verts(verts: Tensor, faces: Tensor) -> None:
    if verts.ndim != 3 or verts.shape[-1] != 3:
        hint = "; add a batch axis with verts[None]" if verts.ndim == 2 else ""
        raise ShapeError(f"verts: expected (B, V, 3), got {tuple(verts.shape)}{hint}")
    if not isinstance(faces, Tensor) or faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point():
        shape = tuple(faces.shape) if hasattr(faces, "shape") else type(faces).__name__
        raise ShapeError(f"faces: expected an integer tensor (F, 3), got {shape}; use torch.as_tensor(faces)")


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise MediaError(
            f"mesh file {path.name}: expected a name ending in {', '.join(MESH_SUFFIXES)}, "
            f"got {path.suffix or 'no suffix'}; convert it with any mesh editor"
        )
