"""Which triangle covers each pixel, and vertex attributes carried to the pixels.

Vertices are posed vertices in pixels: x to the right, y down, z the depth in pixel units (smaller is nearer);
the centre of pixel (row i, column j) is (j + 0.5, i + 0.5). The projection is taken to be affine inside a
triangle, as under weak perspective: barycentric coordinates are those of the projected triangle.

All backends follow the same rules, so that they agree:

* a pixel belongs to the triangles that contain its centre; a centre exactly on an edge belongs to the
  triangle for which that edge is a top or a left one. A surface thus has neither cracks nor pixels covered
  twice along the edges inside it (on its outline, right and bottom edges are left out);
* the nearest triangle wins, at equal depth the one with the lowest index;
* there is no near plane: every finite depth is drawn, negative ones too;
* triangles of no area, with a vertex that is not finite, or so large that their area overflows are skipped.

Backends load on first use; this module imports torch alone.
"""

from __future__ import annotations

import importlib
import operator
from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from ..errors import ShapeError

__all__ = ["Fragments", "interpolate", "rasterize"]

_MODULES = {"reference": "._ref", "numba": "._numba", "torch": "._torch", "pytorch3d": "._pytorch3d"}


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees.

    Attributes:
        face: index of the visible triangle, -1 where the pixel is empty.
        bary: barycentric coordinates of the pixel centre in that triangle, in the order of its corners, each
            in [0, 1], summing to 1; zeros where the pixel is empty.
        depth: depth of the visible point in pixels, smaller is nearer; +inf where the pixel is empty.
    """

    face: Int32[Tensor, "B H W"]
    bary: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]


def rasterize(
    verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    size: tuple[int, int],
    *,
    backend: str = "auto",
    cull: bool = False,
) -> Fragments:
    """Find the visible triangle of every pixel.

    Not differentiable, the result carries no gradient: give the vertices to :func:`interpolate` for that.

    Args:
        verts: posed vertices in pixels (x, y, depth), float32 or float64; the result has their dtype, device.
        faces: vertex indices of the triangles, shared by the batch.
        size: height and width of the frame in pixels.
        backend: ``numba`` (CPU), ``torch`` (any device), ``reference`` (slow and plain, any device),
            ``pytorch3d`` (where that package is installed; no fill rule of its own), or ``auto``: numba for
            CPU tensors, torch for others.
        cull: skip back faces, those whose corners run clockwise as seen in the picture. A mesh whose faces
            run counter-clockwise seen from outside, as those of head models do, keeps its outside.

    Raises:
        ShapeError: a shape, dtype, size or index is not as documented.
        MissingDependencyError: the backend's package is not installed.

    Example:
        >>> corners = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 4.0, 5.0], [4.0, 0.0, 5.0]]])
        >>> rasterize(corners, torch.tensor([[0, 1, 2]]), (2, 5)).face[0]
        tensor([[ 0,  0,  0, -1, -1],
                [ 0,  0, -1, -1, -1]], dtype=torch.int32)
    """
    _check_mesh("verts", verts, faces, channels=3)
    height, width = _check_size(size)
    module = _load_backend(backend, verts)
    face, bary, depth = module.rasterize(verts.detach(), faces.long(), (height, width), bool(cull))
    return Fragments(face, bary, depth)


def interpolate(
    fragments: Fragments,
    attributes: Float[Tensor, "B V C"],
    faces: Int[Tensor, "F 3"],
    *,
    verts: Float[Tensor, "B V 3"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "B C H W"]:
    """Carry vertex attributes to the pixels: the barycentric mean in the visible triangle, 0 where empty.

    Differentiable in ``attributes``, and, where ``verts`` are given, in their x and y through the barycentric
    coordinates (the visible triangle held fixed: nothing flows across outlines). Depth with a gradient is the
    interpolation of ``verts[..., 2:]``. Second derivatives exist with the backends ``reference`` and
    ``torch``.

    Args:
        fragments: what :func:`rasterize` found for these faces.
        attributes: one row a vertex, float32 or float64; the result has their dtype.
        faces: the triangles that were rasterised.
        verts: the vertices that were rasterised; the values do not depend on them, only the gradient.
        backend: ``numba`` (CPU), ``torch``, ``reference``, or ``auto`` as in :func:`rasterize`.

    Raises:
        ShapeError: a shape, dtype or index is not as documented.

    Example:
        >>> corners = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 4.0, 5.0], [4.0, 0.0, 5.0]]])
        >>> faces = torch.tensor([[0, 1, 2]])
        >>> interpolate(rasterize(corners, faces, (2, 3)), corners[..., :1], faces)[0, 0]
        tensor([[0.5000, 1.5000, 2.5000],
                [0.5000, 1.5000, 0.0000]])
    """
    _check_mesh("attributes", attributes, faces)
    _check_fragments(fragments, attributes, faces)
    if verts is not None:
        _check_mesh("verts", verts, faces, channels=3)
        if verts.shape[:2] != attributes.shape[:2]:
            raise ShapeError(
                f"verts: expected {(*attributes.shape[:2], 3)} as attributes are {tuple(attributes.shape)}, "
                f"got {tuple(verts.shape)}; pass the vertices that were rasterised, one a row of attributes"
            )
        verts = verts.to(attributes.dtype)
    module = _load_backend(backend, attributes)
    if not hasattr(module, "interpolate"):
        raise ShapeError(
            f"backend: expected auto, reference, numba or torch, got {backend!r}; it only rasterises"
        )
    bary = fragments.bary.to(attributes.dtype)
    return module.interpolate(fragments.face, bary, attributes, faces.long(), verts)


def _load_backend(name: str, tensor: Tensor) -> ModuleType:
    on_cpu = tensor.device.type == "cpu"
    if name == "auto":
        name = "numba" if on_cpu else "torch"
    if name not in _MODULES:
        raise ShapeError(f"backend: expected auto, {', '.join(_MODULES)}, got {name!r}; take auto")
    if name == "numba" and not on_cpu:
        raise ShapeError(f"backend: numba expects CPU tensors, got {tensor.device}; take auto or torch")
    return importlib.import_module(_MODULES[name], __name__)


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(extent) for extent in size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ShapeError(
            f"size: expected (height, width) of at least one pixel each, got {size!r}; pass (256, 256)"
        )
    return height, width


def _check_mesh(name: str, rows: Tensor, faces: Tensor, channels: int | None = None) -> None:
    last = "C" if channels is None else str(channels)
    if rows.ndim != 3 or (channels is not None and rows.shape[-1] != channels):
        remedy = (
            f"add a batch axis with {name}[None]" if rows.ndim == 2 else f"its axes are batch, vertex, {last}"
        )
        raise ShapeError(f"{name}: expected (B, V, {last}), got {tuple(rows.shape)}; {remedy}")
    if rows.dtype not in (torch.float32, torch.float64):
        raise ShapeError(
            f"{name}: expected float32 or float64, got {rows.dtype}; convert with {name}.float()"
        )
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ShapeError(
            f"faces: expected (F, 3), got {tuple(faces.shape)}; all meshes of a batch share the faces"
        )
    if faces.dtype not in (torch.int32, torch.int64):
        raise ShapeError(f"faces: expected int32 or int64, got {faces.dtype}; convert with faces.long()")
    if faces.device != rows.device:
        raise ShapeError(
            f"faces: expected on {rows.device} like {name}, got {faces.device}; move with faces.to(...)"
        )
    _check_index_range("faces", faces, rows.shape[1], f"vertices in {name}")


def _check_fragments(fragments: Fragments, attributes: Tensor, faces: Tensor) -> None:
    if fragments.face.shape[0] != attributes.shape[0]:
        raise ShapeError(
            f"attributes: expected a batch of {fragments.face.shape[0]} like the fragments, got "
            f"{attributes.shape[0]}; repeat them with attributes.expand({fragments.face.shape[0]}, -1, -1)"
        )
    if fragments.face.device != attributes.device:
        raise ShapeError(
            f"attributes: expected on {fragments.face.device} like the fragments, got {attributes.device}; "
            "move them with attributes.to(...)"
        )
    _check_index_range("fragments.face", fragments.face, faces.shape[0], "faces", empty=-1)


def _check_index_range(name: str, index: Tensor, count: int, of_what: str, *, empty: int = 0) -> None:
    if index.numel() == 0:
        return
    low, high = (int(extreme) for extreme in torch.aminmax(index))
    if low < empty or high >= count:
        raise ShapeError(
            f"{name}: expected indices from {empty} to {count - 1} ({count} {of_what}), got {low} to {high}; "
            "pass the faces that belong to this mesh"
        )
