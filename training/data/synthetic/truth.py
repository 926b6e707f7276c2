"""What is exactly known of synthetic frames: depth, labels, visibility, and flow between any two of them.

Everything is read from the posed meshes at the centres of the pixels, hair, clothes and all. Meshes are
piecewise affine in the picture, as the rasteriser draws them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ....geom.errors import ShapeError
from ....geom.flow import pixel_grid
from ....geom.occlusion import occluded_points
from ....geom.rasterizer import interpolate, rasterize
from .parts import NOT_PERSON

TOLERANCE = 0.05  # pixels of depth: far above rounding, far below the distance of two hairs


@dataclass(frozen=True)
class View:
    """The posed meshes of one frame.

    Attributes:
        verts: x, y in pixels and depth in pixel units, smaller is nearer; the head's vertices come first.
        faces: triangles.
        material: of every triangle, see `Material`.
        metres: depth of the vertices along the camera's axis.
        window: pixels of a still camera to those of this frame: a scale and a shift.
        size: height and width.
    """

    verts: Float[Tensor, "1 N 3"]
    faces: Int[Tensor, "F 3"]
    material: Int[Tensor, " F"]
    metres: Float[Tensor, "1 N"]
    window: Float[Tensor, "2 3"]
    size: tuple[int, int]


@dataclass(frozen=True)
class Truth:
    """What is where in one frame.

    Attributes:
        depth: metres along the camera's axis, 0 where nothing is, ``(H, W)``.
        label: `Material` of the pixel's centre, 0 where nothing is.
        person: whether that is of the person, not of something before it.
    """

    depth: Float[Tensor, "H W"]
    label: Int[Tensor, "H W"]
    person: Bool[Tensor, "H W"]


@dataclass(frozen=True)
class TrueFlow:
    """Where every pixel of a target frame comes from in a source frame.

    Attributes:
        flow: backward displacement in pixels, target to source; of the background by the cameras' windows.
        visible: 1 where the source frame shows that very point, else 0 (hidden, or outside the frame).
        person: 1 where the target shows the person, as in `Truth`.
    """

    flow: Float[Tensor, "1 2 H W"]
    visible: Float[Tensor, "1 1 H W"]
    person: Float[Tensor, "1 1 H W"]


def truth_of(view: View) -> Truth:
    """Depth and labels of a frame."""
    fragments = rasterize(view.verts, view.faces, view.size)
    depth = interpolate(fragments, view.metres[..., None], view.faces)[0, 0]
    face = fragments.face[0].long()
    label = torch.where(face >= 0, view.material[face.clamp(min=0)], torch.zeros_like(face))
    return Truth(depth, label, is_person(label))


def visible_vertices(view: View, count: int | None = None) -> Bool[Tensor, " V"]:
    """Which of the first ``count`` vertices (all) the frame shows: in it and hidden by no triangle.

    Args:
        view: of a frame.
        count: of the vertices that are asked about; None: all.
    """
    points = view.verts[:, :count]
    hidden = occluded_points(points, view.verts, view.faces, tolerance=TOLERANCE)[0]
    return ~hidden & _in_frame(points[0], view.size)


def true_flow(source: View, target: View) -> TrueFlow:
    """The exact flow between two frames of one clip, and where it can be seen.

    A pixel's centre in the target is a point of a triangle (or of the background, infinitely far): the flow
    leads to where that point lies in the source. Nothing is estimated or filled.

    Args:
        source, target: views of two frames of one clip.

    Raises:
        ShapeError: the views are not of one mesh.

    Example:
        >>> corners = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 4.0, 5.0], [4.0, 0.0, 5.0]]])
        >>> faces, skin = torch.tensor([[0, 1, 2]]), torch.tensor([1])
        >>> still = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> def view(verts):
        ...     return View(verts, faces, skin, verts[..., 2], still, (2, 4))
        >>> found = true_flow(view(corners + torch.tensor([1.0, 0.0, 0.0])), view(corners))
        >>> found.flow[0, 0], found.visible[0, 0]
        (tensor([[1., 1., 1., 0.],
                [1., 1., 0., 0.]]), tensor([[1., 1., 1., 0.],
                [1., 1., 0., 0.]]))
    """
    if source.verts.shape != target.verts.shape or not torch.equal(source.faces, target.faces):
        raise ShapeError(
            f"true_flow: expected two views of one mesh, got {tuple(source.verts.shape)} and "
            f"{tuple(target.verts.shape)} vertices; take two frames of one clip"
        )
    fragments = rasterize(target.verts, target.faces, target.size)
    face = fragments.face[0].long()
    covered = face >= 0
    grid = pixel_grid(target.size, dtype=target.verts.dtype, device=target.verts.device)[0]
    carried = interpolate(fragments, source.verts, target.faces)[0]  # (3, H, W)
    behind = _through_windows(grid, source.window, target.window)
    place = torch.where(covered, carried[:2], behind)
    far = source.verts[..., 2].max() + 1e3
    points = torch.cat([place, torch.where(covered, carried[2], far)[None]]).flatten(1).T  # (H W, 3)
    hidden = occluded_points(points[None], source.verts, source.faces, tolerance=TOLERANCE)[0]
    visible = (~hidden & _in_frame(points, source.size)).reshape(target.size)
    label = torch.where(covered, target.material[face.clamp(min=0)], torch.zeros_like(face))
    dtype = place.dtype
    return TrueFlow(
        (place - grid)[None], visible[None, None].to(dtype), is_person(label)[None, None].to(dtype)
    )


def _through_windows(grid: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Pixels of the target's background in the source frame."""
    still = (grid - target[:, 2, None, None]) / target[:, :2].diagonal()[:, None, None]
    return still * source[:, :2].diagonal()[:, None, None] + source[:, 2, None, None]


def is_person(label: Tensor) -> Tensor:
    """Where labels (`Material`) are the person's, not of what lies behind or before it."""
    outside = torch.tensor([int(kind) for kind in NOT_PERSON], device=label.device)
    return ~torch.isin(label, outside)


def _in_frame(points: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    x, y = points[:, 0], points[:, 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)
