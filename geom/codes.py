"""Posed neural codes: learnable vectors on the head's surface, rendered where a posed mesh shows them.

[PWM] guides its network with codes rendered in the target's pose and joins codes rendered in the source's
pose to the source picture: equal codes mark equal places of the surface. Codes lie on the vertices
(`VertexCodes`, as in [PWM]) or on the texels of the head's own texture coordinates (`TexelCodes`, ours).

Conventions, against the authors' code:

* a pixel shows what its centre sees; nothing is antialiased (theirs blends silhouettes). The pyramid that
  hands codes to the coarser levels is a low-pass filter of its own;
* the nearest surface wins whatever its depth (theirs squeezes each mesh's depth into [-1, 1]);
* where the nearest surface shows its back, the pixel is empty, and what lies behind is not looked for: the
  same pixels as theirs. So one rasterisation, `displacement.MeshFlow.fragments`, serves flow and codes;
* empty pixels are 0, also where a surface carries no codes.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .errors import ShapeError
from .flow import sample
from .rasterizer import Fragments, interpolate, rasterize

CHANNELS = 16  # of the authors' code; [PWM] does not say
RESOLUTION = 256  # texels a side: about one a pixel of a 256 px picture


class NeuralCodes(Protocol):
    """What `VertexCodes` and `TexelCodes` share."""

    @property
    def channels(self) -> int:
        """Values a code."""

    @property
    def table(self) -> Float[Tensor, "N C"]:
        """All codes, one a row."""

    def at(
        self, fragments: Fragments, verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]
    ) -> Float[Tensor, "B C H W"]:
        """The codes of a mesh that is rasterised already.

        Args:
            fragments: of the rasterised mesh.
            verts: the mesh in pixels; gradients go to it too.
            faces: its triangles.

        Returns:
            The codes where the mesh is, 0 elsewhere.
        """

    def __call__(
        self, verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], size: tuple[int, int]
    ) -> Float[Tensor, "B C H W"]:
        """The codes of a posed mesh."""


def facing(verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Bool[Tensor, "B F"]:
    """True for triangles that show their front: corners counter-clockwise in the picture.

    Example:
        >>> corners = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 4.0, 5.0], [4.0, 0.0, 5.0]]])
        >>> facing(corners, torch.tensor([[0, 1, 2], [0, 2, 1]]))
        tensor([[ True, False]])
    """
    x, y, _ = verts.detach()[:, faces].unbind(-1)  # (B, F, 3) each
    (x0, x1, x2), (y0, y1, y2) = x.unbind(-1), y.unbind(-1)
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) < 0


def keep_faces(fragments: Fragments, keep: Bool[Tensor, "#B F"]) -> Fragments:
    """The same with the pixels of other triangles empty; what lies behind those is not looked for.

    Args:
        fragments: of a rasterised mesh.
        keep: True for the triangles that stay; its batch may be 1.
    """
    batch, index = len(fragments.face), fragments.face.clamp(min=0).long().flatten(1)  # (B, H W)
    if keep.shape[1] == 0:
        return fragments
    kept = keep.expand(batch, -1).gather(1, index).view_as(fragments.face) & (fragments.face >= 0)
    return dataclasses.replace(
        fragments,
        face=fragments.face.masked_fill(~kept, -1),
        bary=fragments.bary * kept[..., None],
        depth=fragments.depth.masked_fill(~kept, torch.inf),
    )


def render_codes(
    verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    codes: Float[Tensor, "V C"],
    *,
    size: tuple[int, int],
    backend: str = "auto",
) -> Float[Tensor, "B C H W"]:
    """Codes of the vertices as a posed mesh shows them [PWM]; see the module for the conventions.

    Args:
        verts: posed vertices in pixels, depth in pixel units (smaller is nearer).
        faces: triangles, counter-clockwise from outside.
        codes: one row a vertex; shared by the batch.
        size: (H, W).
        backend: of the rasteriser.

    Returns:
        Codes in the type of ``codes`` (computed in float32 at least), 0 where empty. Differentiable in
        ``codes`` and, inside the visible triangles, in x and y of ``verts``: nothing flows across outlines.

    Raises:
        ShapeError: not one row of codes a vertex, or a mesh that the rasteriser refuses.

    Example:
        >>> corners = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 4.0, 5.0], [4.0, 0.0, 5.0]]])
        >>> codes = torch.tensor([[0.0], [0.0], [1.0]])
        >>> render_codes(corners, torch.tensor([[0, 1, 2]]), codes, size=(2, 3))[0, 0]
        tensor([[0.1250, 0.3750, 0.6250],
                [0.1250, 0.3750, 0.0000]])
    """
    fragments = rasterize(verts, faces, size, backend=backend)
    return codes_at(fragments, codes, verts=verts, faces=faces, backend=backend)


def codes_at(
    fragments: Fragments,
    codes: Float[Tensor, "V C"],
    *,
    verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    backend: str = "auto",
) -> Float[Tensor, "B C H W"]:
    """`render_codes` of a mesh that is rasterised already, such as for its displacement.

    Args:
        fragments: of these vertices and faces, rasterised without culling.
        codes, verts, faces, backend: as `render_codes`.

    Raises:
        ShapeError: not one row of codes a vertex, or fragments of another mesh.
    """
    if codes.ndim != 2 or len(codes) != verts.shape[1]:
        raise ShapeError(
            f"codes: expected ({verts.shape[1]}, C), one row a vertex, got {tuple(codes.shape)}; "
            "codes belong to one head model"
        )
    work = torch.promote_types(codes.dtype, torch.float32)
    values = interpolate(
        keep_faces(fragments, facing(verts, faces)),
        codes.to(work).expand(len(verts), -1, -1),
        faces,
        verts=verts if verts.requires_grad else None,
        backend=backend,
    )
    return values.to(codes.dtype)


def texels_at(
    fragments: Fragments,
    texture: Float[Tensor, "C R S"],
    *,
    corners: Float[Tensor, "F 3 2"],
    verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    backend: str = "auto",
) -> Float[Tensor, "B C H W"]:
    """Codes of a texture as a posed mesh shows them, sampled bilinearly, without mip maps.

    Args:
        fragments: of these vertices and faces, rasterised without culling.
        texture: its first row is the top, where v is 1; shared by the batch.
        corners: texture coordinates u, v in [0, 1] of each triangle's corners, v up: a vertex on a seam has
            different ones in different triangles. NaN: the triangle has none, and carries no codes.
        verts, faces, backend: as `render_codes`.

    Returns:
        Codes, 0 where empty. Differentiable in ``texture`` and, inside the visible triangles, in x and y of
        ``verts``. Texels beyond a seam within one texel take part: they learn too.

    Raises:
        ShapeError: not three corners a triangle, or fragments of another mesh.
    """
    if corners.shape != (len(faces), 3, 2):
        raise ShapeError(
            f"corners: expected ({len(faces)}, 3, 2), u and v of each corner, got {tuple(corners.shape)}; "
            "take uv[uv_faces] of the head that is posed"
        )
    mapped = corners.isfinite().all(-1).all(-1)  # (F,)
    shown = keep_faces(fragments, facing(verts, faces) & mapped)
    own = torch.arange(3 * len(faces), device=faces.device).view(
        -1, 3
    )  # no corner is shared: seams stay sharp
    uv = interpolate(
        shown,
        torch.nan_to_num(corners).to(verts.dtype).flatten(0, 1).expand(len(verts), -1, -1),
        own,
        verts=verts[:, faces.flatten()] if verts.requires_grad else None,
        backend=backend,
    )  # (B, 2, H, W)
    u, v = uv.movedim(1, 0).flatten(1, 2)  # (B H, W) each
    height, width = texture.shape[1:]
    values = sample(texture[None], torch.stack([u * width, (1 - v) * height])[None])[0]  # (C, B H, W)
    values = values.unflatten(1, shown.face.shape[:2]).movedim(0, 1)  # (B, C, H, W)
    return values * (shown.face >= 0)[:, None]


class VertexCodes(nn.Module):
    """A code a vertex, drawn from U[0, 1) as the authors do.

    Attributes:
        codes: the parameter, ``(V, C)``.
    """

    def __init__(
        self, vertices: int, channels: int = CHANNELS, *, generator: torch.Generator | None = None
    ) -> None:
        """Codes for a mesh of ``vertices``; with a mouth's strips count those too, or leave them without."""
        super().__init__()
        _check_counts(vertices=vertices, channels=channels)
        self.codes = nn.Parameter(torch.rand(vertices, channels, generator=generator))

    @property
    def channels(self) -> int:
        """C."""
        return self.codes.shape[1]

    @property
    def table(self) -> Float[Tensor, "V C"]:
        """The codes."""
        return self.codes

    def rows(self, vertices: int) -> Float[Tensor, "V C"]:
        """The codes of a mesh of so many vertices.

        Vertices beyond the module's own, such as a mouth's strips appended to the head's, have code 0 as
        empty pixels do: the head's codes serve with and without them.

        Raises:
            ShapeError: fewer vertices than codes: another head.
        """
        own, channels = self.codes.shape
        if vertices < own:
            raise ShapeError(
                f"verts: expected at least {own} vertices, one a code, got {vertices}; "
                "codes belong to one head model"
            )
        return torch.cat([self.codes, self.codes.new_zeros(vertices - own, channels)])

    def at(
        self, fragments: Fragments, verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]
    ) -> Float[Tensor, "B C H W"]:
        """See `codes_at`, `rows`."""
        return codes_at(fragments, self.rows(verts.shape[1]), verts=verts, faces=faces)

    def forward(
        self, verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], size: tuple[int, int]
    ) -> Float[Tensor, "B C H W"]:
        """See `render_codes`, `rows`."""
        return self.at(rasterize(verts, faces, size), verts, faces)


def vertex_codes(values: Float[Tensor, "V C"]) -> VertexCodes:
    """`VertexCodes` with these values, without gradients."""
    module = VertexCodes(*values.shape).to(values)
    module.load_state_dict({"codes": values})
    return module.requires_grad_(False)


class TexelCodes(nn.Module):
    """A code a texel of the head's texture coordinates, drawn from U[0, 1): detail between the vertices.

    Triangles that the head has not, such as a mouth's strips, carry no codes.

    Attributes:
        texture: the parameter, ``(C, R, R)``; its first row is the top, where v is 1.
        faces: triangles of the head, ``(F, 3)``.
        corners: their texture coordinates, ``(F, 3, 2)``.
    """

    faces: Tensor
    corners: Tensor

    def __init__(
        self,
        uv: Float[Tensor, "N 2"],
        uv_faces: Int[Tensor, "F 3"],
        *,
        faces: Int[Tensor, "F 3"],
        channels: int = CHANNELS,
        resolution: int = RESOLUTION,
        generator: torch.Generator | None = None,
    ) -> None:
        """Codes for a head with texture coordinates ``uv`` and the rows of it at each triangle's corners.

        Raises:
            ShapeError: not a row of ``uv_faces`` a triangle, indices beyond ``uv``, or counts below 1.
        """
        super().__init__()
        _check_counts(channels=channels, resolution=resolution)
        if uv_faces.shape != faces.shape:
            raise ShapeError(
                f"uv_faces: expected {tuple(faces.shape)} like faces, got {tuple(uv_faces.shape)}; "
                "pass uv, uv_faces and faces of one head model"
            )
        if uv_faces.numel() and not 0 <= int(uv_faces.min()) <= int(uv_faces.max()) < len(uv):
            raise ShapeError(
                f"uv_faces: expected indices from 0 to {len(uv) - 1} (rows of uv), got "
                f"{int(uv_faces.min())} to {int(uv_faces.max())}; pass uv and uv_faces of one head model"
            )
        self.texture = nn.Parameter(torch.rand(channels, resolution, resolution, generator=generator))
        self.register_buffer("faces", faces.long().clone())
        self.register_buffer("corners", uv[uv_faces.long()].to(self.texture.dtype))

    @property
    def channels(self) -> int:
        """C."""
        return self.texture.shape[0]

    @property
    def table(self) -> Float[Tensor, "N C"]:
        """The codes of the texels, row after row."""
        return self.texture.flatten(1).mT

    def at(
        self, fragments: Fragments, verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]
    ) -> Float[Tensor, "B C H W"]:
        """See `texels_at`; ``faces`` may leave out triangles of the head and add others.

        Raises:
            ShapeError: no triangle of the head is among them: another head, or codes that lie on none yet.
        """
        corners = corners_of(faces, known=self.faces, corners=self.corners)
        if len(faces) and bool(corners.isnan().all()):
            raise ShapeError(
                f"faces: expected triangles of the head that the codes lie on, got {len(faces)} others; "
                "codes belong to one head model, make them with its uv, uv_faces and faces"
            )
        return texels_at(fragments, self.texture, corners=corners, verts=verts, faces=faces)

    def forward(
        self, verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], size: tuple[int, int]
    ) -> Float[Tensor, "B C H W"]:
        """See `texels_at`."""
        return self.at(rasterize(verts, faces, size), verts, faces)


def corners_of(
    faces: Int[Tensor, "G 3"], *, known: Int[Tensor, "F 3"], corners: Float[Tensor, "F 3 2"]
) -> Float[Tensor, "G 3 2"]:
    """Texture coordinates of the triangles among those whose coordinates are known; NaN for others.

    A triangle is found by its three vertices in their order.

    Args:
        faces: triangles that are asked about.
        known: triangles of the head.
        corners: u, v of each known triangle's three corners.

    Example:
        >>> known, corners = torch.tensor([[0, 1, 2], [2, 1, 3]]), torch.rand(2, 3, 2)
        >>> found = corners_of(torch.tensor([[2, 1, 3], [0, 1, 4]]), known=known, corners=corners)
        >>> bool((found[0] == corners[1]).all()), bool(found[1].isnan().all())
        (True, True)
    """
    if torch.equal(faces, known):
        return corners
    if not len(known) or not len(faces):
        return corners.new_full((len(faces), 3, 2), torch.nan)
    base = 1 + max(int(faces.max()), int(known.max()))
    place = torch.tensor([base * base, base, 1], device=faces.device)
    keys, order = (known.long() * place).sum(1).sort()
    wanted = (faces.long() * place).sum(1)
    nearest = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    found = keys[nearest] == wanted
    return torch.where(found[:, None, None], corners[order[nearest]], torch.nan)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ShapeError(f"{name}: expected at least 1, got {count}")
