"""`codes`: posed neural codes in the source's and the target's pose, beside the displacement of the mesh."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..codes import CHANNELS, NeuralCodes, VertexCodes
from ..displacement import DisplacementConfig
from ..guidance import Driving, Guidance, Source, take
from ..rasterizer import rasterize
from .mesh import MeshSource, MeshSourceConfig, MeshState


@dataclass(frozen=True)
class CodesSourceConfig:
    """Settings of the codes source.

    Attributes:
        displacement: the source-visibility gate of the flow.
        channels: values a code where none are given.
        seed: of these codes: fixed numbers in [0, 1) a vertex, which mark places of the surface and were not
            learned.
    """

    displacement: DisplacementConfig = field(default_factory=DisplacementConfig)
    channels: int = CHANNELS
    seed: int = 0


@dataclass(frozen=True)
class CodesState:
    """What depends on the source alone.

    Attributes:
        mesh: state of the mesh source.
        codes: on the head.
        source_codes: as the source's pose shows them, ``(1, C, H, W)``.
    """

    mesh: MeshState
    codes: NeuralCodes
    source_codes: Float[Tensor, "1 C H W"]


class CodesSource:
    """Renders the codes of one head in both poses ([PWM], guidance by neural codes); see `geom.codes`.

    Guidance has the mesh's flow too: codes and displacement together are the authors' ``both``, and cost one
    rasterisation of the driving mesh. `codes` alone leaves the flow and its fill out.
    """

    needs_source = ("image", "posed_vertices", "faces")
    needs_driving = ("posed_vertices",)

    def __init__(self, config: CodesSourceConfig | None = None, codes: NeuralCodes | None = None) -> None:
        """``codes`` are learned ones; without them the config's, as many as the source has vertices."""
        self.config = config or CodesSourceConfig()
        self.given = codes
        self.mesh = MeshSource(MeshSourceConfig(displacement=self.config.displacement))

    def prepare(self, source: Source) -> CodesState:
        """Source visibility and the codes in the source's pose; once per source.

        Raises:
            ShapeError: codes of another head.
        """
        _, verts, faces = take(source, self.needs_source, by="codes source")
        mesh = self.mesh.prepare(source)
        codes = self.given or fixed_codes(verts, self.config.channels, seed=self.config.seed)
        return CodesState(mesh, codes, codes.at(rasterize(verts, faces, mesh.size), verts, faces))

    def codes(self, state: CodesState, driving: Driving) -> Float[Tensor, "B C H W"]:
        """The codes in the driving pose, without the flow."""
        (verts,) = take(driving, self.needs_driving, by="codes source")
        return state.codes.at(rasterize(verts, state.mesh.faces, state.mesh.size), verts, state.mesh.faces)

    def guide(self, state: CodesState, driving: Driving) -> Guidance:
        """The mesh source's guidance with ``codes`` and ``source_codes``."""
        (verts,) = take(driving, self.needs_driving, by="codes source")
        raw = self.mesh.flow(state.mesh, driving)
        return dataclasses.replace(
            self.mesh.filled(state.mesh, driving, raw),
            codes=state.codes.at(raw.fragments, verts, state.mesh.faces),
            source_codes=state.source_codes.expand(len(verts), -1, -1, -1),
        )


def fixed_codes(verts: Float[Tensor, "... V 3"], channels: int = CHANNELS, *, seed: int = 0) -> VertexCodes:
    """Codes of a mesh that nobody learned, the same for the same seed; without gradients.

    Args:
        verts: whose count, type and device they take.
        channels: numbers a vertex.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    return VertexCodes(verts.shape[-2], channels, generator=generator).to(verts).requires_grad_(False)
