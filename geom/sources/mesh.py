"""`mesh`: guidance from one mesh posed twice (the fitted head of source and driver)."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..alignment import affine_flow
from ..displacement import (
    DisplacementConfig,
    MeshFlow,
    border,
    complete,
    mesh_flow,
    mesh_radius,
    source_visibility,
)
from ..guidance import Driving, Guidance, Source, take
from ..rasterizer import rasterize


@dataclass(frozen=True)
class MeshSourceConfig:
    """Settings of the mesh source."""

    displacement: DisplacementConfig = field(default_factory=DisplacementConfig)


@dataclass(frozen=True)
class MeshState:
    """What depends on the source alone.

    Attributes:
        verts: posed source vertices in pixels, ``(1, V, 3)``.
        faces: triangles, ``(F, 3)``.
        visibility: 1 where the source picture shows the vertex, ``(1, V)``.
        covered: 1 where the mesh lies in the source picture.
        radius: root-mean-square radius of the mesh in pixels, ``(1,)``.
        size: (H, W) of the source picture.
        cavity: vertices no source shows, ``(V,)``, or None.
        mask: person probability in the source, or None.
        skull: vertices above the jaw joint, ``(V,)``, or None.
    """

    verts: Float[Tensor, "1 V 3"]
    faces: Int[Tensor, "F 3"]
    visibility: Float[Tensor, "1 V"]
    covered: Float[Tensor, "1 1 H W"]
    radius: Float[Tensor, "1"]
    size: tuple[int, int]
    cavity: Bool[Tensor, "V"] | None = None
    mask: Float[Tensor, "1 1 H W"] | None = None
    skull: Bool[Tensor, "V"] | None = None


class MeshSource:
    """Rasterises the driving mesh with source positions; see `geom.displacement`."""

    needs_source = ("image", "posed_vertices", "faces")
    needs_driving = ("posed_vertices",)

    def __init__(self, config: MeshSourceConfig | None = None) -> None:
        self.config = config or MeshSourceConfig()

    def prepare(self, source: Source) -> MeshState:
        """Source visibility of every vertex; once per source."""
        image, verts, faces = take(source, self.needs_source, by="mesh source")
        height, width = image.shape[2:]
        size = (height, width)
        fragments, gate = rasterize(verts, faces, size), self.config.displacement
        return MeshState(
            verts,
            faces,
            visibility=source_visibility(verts, faces, size, config=gate, fragments=fragments),
            covered=(fragments.face >= 0)[:, None].to(verts.dtype),
            radius=mesh_radius(verts),
            size=size,
            cavity=source.cavity,
            mask=source.mask,
            skull=source.skull,
        )

    def flow(self, state: MeshState, driving: Driving) -> MeshFlow:
        """Raw displacement of the covered pixels."""
        (verts,) = take(driving, self.needs_driving, by="mesh source")
        return mesh_flow(
            state.verts,
            verts,
            state.faces,
            size=state.size,
            visibility=state.visibility,
            cavity=state.cavity,
            mask=state.mask,
            skull=state.skull,
        )

    def guide(self, state: MeshState, driving: Driving) -> Guidance:
        """Filled displacement with the frame border at rest (or moved by ``driving.camera_motion``)."""
        return self.filled(state, driving, self.flow(state, driving))

    def filled(self, state: MeshState, driving: Driving, raw: MeshFlow) -> Guidance:
        """`guide` of a raw displacement that was computed before.

        Args:
            state: of `prepare`.
            driving: whose ``camera_motion`` holds at the border.
            raw: as `mesh_flow` gives it.
        """
        camera = driving.camera_motion
        anchored = None if camera is None else affine_flow(camera.to(raw.flow), state.size)
        flow = complete(raw, anchors=border(state.size, "tblr", raw.flow), anchor_flow=anchored)
        return Guidance(flow=flow, known=raw.known, visible=raw.known)
