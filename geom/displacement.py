"""The geometric displacement: what a posed mesh in two poses says about where every target pixel comes from.

The driving mesh is rasterised with its vertices' *source* pixel positions as attributes, so a covered pixel
reads its backward flow exactly ([PWM] sec. 3.1, displacement guidance). It counts as known only where the
surface was visible in the source picture (z-buffer, normal, person mask); everything else is filled
harmonically between what is known and what is anchored (frame border, background).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .errors import ShapeError
from .fill import harmonic_fill
from .flow import pixel_grid, sample, warp
from .guidance import Guidance
from .mesh import vertex_normals
from .rasterizer import Fragments, interpolate, rasterize

SOFTNESS = 0.3  # range of the cosine in which visibility goes from 0 to 1, for a smooth edge of the gate


@dataclass(frozen=True)
class DisplacementConfig:
    """Thresholds of the source-visibility gate.

    Attributes:
        normal_threshold: least cosine between a source normal and the viewing axis; grazing surfaces smear.
        depth_tolerance: how far behind the source's z-buffer a vertex may lie, in units of the mesh's
            root-mean-square radius in the image.
        mask_threshold: least person probability at the vertex's source pixel.
    """

    normal_threshold: float = 0.35
    depth_tolerance: float = 0.06
    mask_threshold: float = 0.5


def mesh_radius(verts: Float[Tensor, "B V 3"]) -> Float[Tensor, "B"]:
    """Root-mean-square distance of the vertices from their centre in the image, in pixels."""
    centred = verts[..., :2] - verts[..., :2].mean(1, keepdim=True)
    return centred.square().sum(-1).mean(1).sqrt()


def source_visibility(
    verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    size: tuple[int, int],
    *,
    mask: Float[Tensor, "#B 1 H W"] | None = None,
    config: DisplacementConfig | None = None,
    fragments: Fragments | None = None,
) -> Float[Tensor, "B V"]:
    """How far the source picture shows each vertex: 0 hidden, off the frame or the person; 1 seen face on.

    Grazing surfaces pass 0.5, the gate, where their normal passes the threshold.

    Args:
        verts: posed source vertices in pixels, depth in pixel units (smaller is nearer).
        faces: triangles, counter-clockwise from outside.
        size: (H, W) of the source picture.
        mask: person probability; None skips this test.
        config: thresholds.
        fragments: of this mesh in this frame, where it is rasterised already.

    Raises:
        ShapeError: the mask has not the frame's size, or the mesh not the documented shape.
    """
    config = config or DisplacementConfig()
    height, width = size
    if mask is not None and (mask.shape[1:] != (1, *size) or len(mask) not in (1, len(verts))):
        raise ShapeError(
            f"mask: expected {(len(verts), 1, *size)}, got {tuple(mask.shape)}; resize it to the picture"
        )
    depth = (fragments or rasterize(verts, faces, size)).depth  # (B, H, W)
    x, y = verts[..., 0].floor().long(), verts[..., 1].floor().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)  # (B, V)
    front = depth.flatten(1).gather(1, index)
    tolerance = config.depth_tolerance * mesh_radius(verts)[:, None]
    near = (verts[..., 2] <= front + tolerance) | ~torch.isfinite(front)
    facing = -vertex_normals(verts, faces)[..., 2] - config.normal_threshold
    seen = inside & near
    if mask is not None:
        person = mask.flatten(1).expand(len(verts), -1).gather(1, index)
        seen = seen & (person > config.mask_threshold)
    return seen.to(verts.dtype) * (0.5 + facing / SOFTNESS).clamp(0, 1)


def erode(mask: Float[Tensor, "B 1 H W"], radius: int = 1) -> Float[Tensor, "B 1 H W"]:
    """Minimum over a square; outside the frame counts as inside.

    Args:
        mask: any values.
        radius: pixels; the square has 2 radius + 1 a side.

    Example:
        >>> erode(torch.tensor([[[[1.0, 1.0, 1.0, 0.0, 1.0]]]]))[0, 0].tolist()
        [[1.0, 1.0, 0.0, 0.0, 0.0]]
    """
    return 1 - dilate(1 - mask, radius)


def dilate(mask: Float[Tensor, "B 1 H W"], radius: int) -> Float[Tensor, "B 1 H W"]:
    """Maximum over a (2 radius + 1) square, separable.

    Args:
        mask: any values.
        radius: pixels.

    Example:
        >>> dilate(torch.tensor([[[[1.0, 0.0, 0.0, 0.0, 0.0]]]]), 2)[0, 0].tolist()
        [[1.0, 1.0, 1.0, 0.0, 0.0]]
    """
    return mask if radius <= 0 else _running_maximum(_running_maximum(mask, radius, axis=2), radius, axis=3)


def _running_maximum(values: Float[Tensor, "B 1 H W"], radius: int, *, axis: int) -> Float[Tensor, "B 1 H W"]:
    """Maximum over 2 radius + 1 neighbours along an axis: windows of doubled length, four times as fast as
    `F.max_pool2d`.
    """
    beyond = (radius, radius) if axis == 3 else (0, 0, radius, radius)
    best, width, size = F.pad(values, beyond, value=-torch.inf), 1, 2 * radius + 1
    while 2 * width <= size:
        rest = best.shape[axis] - width
        best = torch.maximum(best.narrow(axis, 0, rest), best.narrow(axis, width, rest))
        width *= 2
    length = values.shape[axis]
    return torch.maximum(best.narrow(axis, 0, length), best.narrow(axis, size - width, length))


def border(size: tuple[int, int], sides: str, like: Tensor) -> Bool[Tensor, "1 1 H W"]:
    """True on the outermost pixels of the named sides, letters of ``"tblr"``.

    Args:
        size: (H, W) of the frame.
        sides: ``t`` top, ``b`` bottom, ``l`` left, ``r`` right, in any order.
        like: a tensor on the device of the result.

    Example:
        >>> border((2, 3), "tl", torch.empty(0))[0, 0].int().tolist()
        [[1, 1, 1], [1, 0, 0]]
    """
    edge = torch.zeros((1, 1, *size), dtype=torch.bool, device=like.device)
    if "t" in sides:
        edge[..., 0, :] = True
    if "b" in sides:
        edge[..., -1, :] = True
    if "l" in sides:
        edge[..., :, 0] = True
    if "r" in sides:
        edge[..., :, -1] = True
    return edge


@dataclass(frozen=True)
class MeshFlow:
    """Raw displacement of the covered pixels.

    Attributes:
        flow: backward flow where covered, 0 elsewhere, ``(B, 2, H, W)``.
        covered: 1 where the driving mesh lies, ``(B, 1, H, W)``.
        known: 1 where covered, away from the silhouette, and visible in the source.
        cavity: share of a surface no source shows (the mouth's inside), 0..1.
        person: 1 where covered by a part of the skull that lies on the person in the source, seen or hidden.
        fragments: the driving mesh rasterised: what else lies on it needs no second rasterisation.
    """

    flow: Float[Tensor, "B 2 H W"]
    covered: Float[Tensor, "B 1 H W"]
    known: Float[Tensor, "B 1 H W"]
    cavity: Float[Tensor, "B 1 H W"]
    person: Float[Tensor, "B 1 H W"]
    fragments: Fragments


def mesh_flow(
    source_verts: Float[Tensor, "#B V 3"],
    driving_verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    *,
    size: tuple[int, int],
    visibility: Float[Tensor, "#B V"],
    cavity: Bool[Tensor, "V"] | None = None,
    mask: Float[Tensor, "#B 1 H W"] | None = None,
    skull: Bool[Tensor, "V"] | None = None,
) -> MeshFlow:
    """Rasterise the driving mesh with its source positions and visibility.

    Vertices marked as ``cavity`` count as unseen whatever their visibility; with the source's person ``mask``
    a pixel is known only if it comes from the person (sharper than a mask test at the vertices).
    ``skull`` limits ``person`` of the result to these vertices: a neck may be thinner than the mesh's.

    Batches of 1 (the source) broadcast over the driving batch. Differentiable in ``source_verts`` and, inside
    faces, in the x, y of ``driving_verts``.

    Args:
        source_verts: the mesh as the source shows it, in pixels.
        driving_verts: the same vertices as the driving frames show them, in pixels with depth in pixel units.
        faces: triangles of both.
        size: (H, W) of the result.
        visibility: of the vertices in the source, 0..1; see `source_visibility`.
        cavity: True for vertices that no picture shows.
        mask: person probability in the source.
        skull: True for the vertices that count as the person; None: all.

    Raises:
        ShapeError: the meshes have different vertex counts.
    """
    if source_verts.shape[1:] != driving_verts.shape[1:]:
        raise ShapeError(
            f"driving_verts: expected {tuple(source_verts.shape[1:])} vertices as the source, got "
            f"{tuple(driving_verts.shape[1:])}; pose both with one head model"
        )
    batch = driving_verts.shape[0]
    hollow = torch.zeros_like(visibility) if cavity is None else cavity.to(visibility).expand_as(visibility)
    person = torch.ones_like(visibility) if mask is None else _at_vertices(mask, source_verts)
    person = person if skull is None else person * skull.to(person)
    seen = visibility * (1 - hollow)
    attributes = torch.cat([source_verts[..., :2], torch.stack([seen, hollow, person], -1)], dim=-1)
    fragments = rasterize(driving_verts, faces, size)
    image = interpolate(
        fragments,
        attributes.expand(batch, -1, -1),
        faces,
        verts=driving_verts if driving_verts.requires_grad else None,
    )
    covered = (fragments.face >= 0)[:, None].to(image.dtype)  # (B, 1, H, W)
    flow = (image[:, :2] - pixel_grid(size, device=image.device, dtype=image.dtype)) * covered
    inner = erode(covered)
    known = inner * (image[:, 2:3] > 0.5)
    if mask is not None:
        known = known * (carried_mask(mask, flow) > 0.5)
    skin = inner * (image[:, 4:5] > 0.5)
    return MeshFlow(flow, covered, known, cavity=image[:, 3:4], person=skin, fragments=fragments)


def _at_vertices(mask: Float[Tensor, "#B 1 H W"], verts: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V"]:
    """The mask's value where each vertex lies in the picture."""
    return sample(mask, verts[..., :2].mT[:, :, None])[:, 0, 0]


def complete(
    raw: MeshFlow,
    *,
    anchors: Float[Tensor, "#B 1 H W"] | Bool[Tensor, "#B 1 H W"],
    anchor_flow: Float[Tensor, "#B 2 H W"] | None = None,
) -> Float[Tensor, "B 2 H W"]:
    """Fill the flow between the known pixels, which stay, and the anchors.

    Args:
        raw: of the mesh.
        anchors: pixels over 0.5, or True, are fixed where they are not known.
        anchor_flow: the flow there; 0 by default.
    """
    return fill_between(raw.flow, raw.known, anchors=anchors, anchor_flow=anchor_flow)


def fill_between(
    flow: Float[Tensor, "B 2 H W"],
    known: Float[Tensor, "B 1 H W"],
    *,
    anchors: Float[Tensor, "#B 1 H W"] | Bool[Tensor, "#B 1 H W"],
    anchor_flow: Float[Tensor, "#B 2 H W"] | None = None,
) -> Float[Tensor, "B 2 H W"]:
    """`complete` of any flow that is known in places.

    Args:
        flow: in any unit; what it says where it is not known does not count.
        known: over 0.5 where it is known; there it stays.
        anchors: over 0.5 where it is given too.
        anchor_flow: what is given there, in the flow's unit; None: rest.

    Returns:
        The flow, harmonic between what is given; differentiable in ``flow``.
    """
    given = known > 0.5
    fixed = given | (anchors > 0.5)
    at_anchor = torch.zeros_like(flow) if anchor_flow is None else anchor_flow.expand_as(flow)
    values = torch.where(given, flow, at_anchor)
    filled = harmonic_fill(values, fixed.expand(flow.shape[0], -1, -1, -1))
    return torch.where(given, flow, filled) if flow.requires_grad else filled  # equal: it keeps what is given


def geometric_displacement(
    source_verts: Float[Tensor, "#B V 3"],
    driving_verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    *,
    size: tuple[int, int],
    mask: Float[Tensor, "#B 1 H W"] | None = None,
    config: DisplacementConfig | None = None,
) -> Guidance:
    """Gated, harmonically filled displacement from a source pose to a driving pose, frame border at rest.

    The whole computation in one call; animators that pose one source many times keep `source_visibility` and
    call `mesh_flow` and `complete` themselves.

    Args:
        source_verts, driving_verts: the same mesh in pixels, ``(B, V, 3)``.
        faces: ``(F, 3)``.
        size: (H, W) of both frames.
        mask: person probability in the source.
        config: thresholds of the gate.

    Returns:
        Guidance with the filled flow; ``known`` and ``visible`` are equal here: covered and seen in the
        source.

    Example:
        >>> verts = torch.tensor([[[1.0, 1, 0], [1, 9, 0], [9, 1, 0]]])
        >>> shifted = verts + torch.tensor([2.0, 0, 0])
        >>> guidance = geometric_displacement(verts, shifted, torch.tensor([[0, 1, 2]]), size=(12, 12))
        >>> guidance.flow[0, :, 3, 5].tolist()
        [-2.0, 0.0]
    """
    visibility = source_visibility(source_verts, faces, size, config=config)
    raw = mesh_flow(source_verts, driving_verts, faces, size=size, visibility=visibility, mask=mask)
    flow = complete(raw, anchors=border(size, "tblr", raw.flow))
    return Guidance(flow=flow, known=raw.known, visible=raw.known)


def carried_mask(mask: Float[Tensor, "#B 1 H W"], flow: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
    """The source's person mask in the target frame.

    Args:
        mask: person probability in the source; its batch may be 1.
        flow: backward, target to source, in pixels.
    """
    return warp(mask.expand(flow.shape[0], -1, -1, -1), flow)
