"""The progressive-warping network of any mode, with the neural codes that belong to it.

What training steps and what the animator `pwm` runs: one module, made from one config, that takes what
geometry knows of a pair (`PosedLayers`, posed meshes) and makes the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..geom.codes import NeuralCodes, TexelCodes, VertexCodes
from ..geom.errors import HeadwarpError
from ..geom.rasterizer import Fragments
from .animators.geometry import GeometryConfig
from .inference import CompiledDecoder, CompiledResidual
from .posed_layers import PosedLayers
from .progressive import ProgressiveConfig, ProgressiveFeatures, ProgressiveWarping, guidance_maps
from .residual import ResidualConfig, ResidualWarping


@dataclass(frozen=True)
class CodesConfig:
    """Posed neural codes; see `geom.codes`.

    Attributes:
        kind: a code a ``vertex``, or a ``texel`` of the head's texture.
        count: vertices of the head, or triangles for texels.
        resolution: of the texture, where the codes are texels.
    """

    kind: Literal["vertex", "texel"] = "vertex"
    count: int = 0
    resolution: int = 128


@dataclass(frozen=True)
class PwmConfig:
    """Everything that makes a `PwmNetwork` and its animator.

    Attributes:
        network: `residual.ResidualConfig` for ``pwm/residual``; `progressive.paper` or `official` for those.
        codes: of the mesh; None unless the network's guidance has codes.
        geometry: how geometry's layers are made.
    """

    network: ResidualConfig | ProgressiveConfig = field(default_factory=ResidualConfig)
    codes: CodesConfig | None = None
    geometry: GeometryConfig = field(default_factory=GeometryConfig)

    def __post_init__(self) -> None:
        if coded(self.network) != (self.codes is not None):
            wanted = "a CodesConfig for" if coded(self.network) else "none with"
            raise HeadwarpError(
                f"codes: expected {wanted} guidance {self.network.guidance!r}, got {self.codes}"
            )


def coded(network: ResidualConfig | ProgressiveConfig) -> bool:
    """Whether posed neural codes guide the network."""
    return network.guidance in ("codes", "both")


@dataclass(frozen=True)
class PwmOutput:
    """What the network makes of a pair, whatever its mode.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        warped: the picture before the network's own paint: [PWM]'s I_w, the source warped by the last flow,
            or the two layers moved by it.
        flow: backward flow at full resolution, in pixels.
        flows: the levels' own flows, coarse to fine, each in pixels of its level.
        matte: opacity of the person, ``(B, 1, H, W)``; None where the mode makes one picture of everything.
        occlusion: 1 where the picture comes from the source, ``(B, 1, H, W)``; None where the mode does not
            blend the source with what it paints.
    """

    image: Float[Tensor, "B 3 H W"]
    warped: Float[Tensor, "B 3 H W"]
    flow: Float[Tensor, "B 2 H W"]
    flows: tuple[Float[Tensor, "B 2 _ _"], ...]
    matte: Float[Tensor, "B 1 H W"] | None
    occlusion: Float[Tensor, "B 1 H W"] | None


Features = ProgressiveFeatures | tuple[Tensor, ...]


class PwmNetwork(nn.Module):
    """`encode` once a source, `decode` once a driving frame; `forward` is both, for training.

    Attributes:
        network: of the config's mode.
        codes: posed neural codes, or None.
        compiled: what decodes in the network's place once it is compiled; see `inference`.
    """

    def __init__(self, config: PwmConfig) -> None:
        super().__init__()
        self.config = config
        self.network: ResidualWarping | ProgressiveWarping = (
            ResidualWarping(config.network)
            if isinstance(config.network, ResidualConfig)
            else ProgressiveWarping(config.network)
        )
        self.codes: NeuralCodes | None = _codes(config)
        self.compiled: CompiledDecoder | CompiledResidual | None = None

    def encode(
        self,
        source: Float[Tensor, "B 3 H W"],
        matte: Float[Tensor, "#B 1 H W"],
        verts: Float[Tensor, "B V 3"] | None,
        faces: Int[Tensor, "F 3"] | None,
    ) -> Features:
        """Features of the source.

        Args:
            source: RGB in [0, 1]; sides are multiples of 32.
            matte: opacity of the person there, 1 where unknown.
            verts, faces: its posed mesh in pixels; only codes need it.

        Raises:
            ShapeError: the size, or a mesh that the codes do not fit.
            HeadwarpError: codes without a mesh.
        """
        codes = self._posed(verts, faces, source)
        if isinstance(self.network, ResidualWarping):
            return self.network.encode(source, matte, codes)
        return self.network.encode(source if codes is None else torch.cat([source, codes], dim=1))

    def decode(
        self,
        features: Features,
        layers: PosedLayers,
        verts: Float[Tensor, "B V 3"] | None,
        faces: Int[Tensor, "F 3"] | None,
        *,
        fragments: Fragments | None = None,
    ) -> PwmOutput:
        """The picture in one driving pose, or a batch of them.

        Args:
            features: of `encode`; a batch of 1 serves every driving frame.
            layers: of the same pairs.
            verts, faces: the driving mesh in pixels; only codes need it.
            fragments: of it where it is rasterised already; only codes need them.
        """
        if fragments is None or self.codes is None or verts is None or faces is None:
            codes = self._posed(verts, faces, layers.flow)
        else:
            codes = self.codes.at(fragments, verts, faces)
        decode: Any = self.compiled or self.network.decode
        if isinstance(self.network, ResidualWarping):
            assert not isinstance(features, ProgressiveFeatures)
            made = decode(features, layers, codes)
            return PwmOutput(made.image, made.warped, made.flow, made.flows, made.matte, 1 - made.paint)
        assert isinstance(features, ProgressiveFeatures)
        guidance = guidance_maps(self.network.config, displacement=layers.displacement, codes=codes)
        drawn = decode(features, guidance, layers.displacement)
        blended = drawn.alpha is not None and self.network.config.alpha == "blended"
        occlusion = 1 - drawn.alpha if blended else None
        return PwmOutput(drawn.image, drawn.warped, drawn.flows[-1], drawn.flows, None, occlusion)

    def forward(
        self,
        source: Float[Tensor, "B 3 H W"],
        layers: PosedLayers,
        source_verts: Float[Tensor, "B V 3"],
        driving_verts: Float[Tensor, "B V 3"],
        faces: Int[Tensor, "F 3"],
    ) -> PwmOutput:
        """A source of its own for every pair.

        Args:
            source: RGB in [0, 1].
            layers: of the pairs.
            source_verts, driving_verts: the posed meshes in pixels with depth.
            faces: their triangles.
        """
        features = self.encode(source, layers.matte, source_verts, faces)
        return self.decode(features, layers, driving_verts, faces)

    def _posed(
        self, verts: Tensor | None, faces: Tensor | None, like: Tensor
    ) -> Float[Tensor, "B C H W"] | None:
        if self.codes is None:
            return None
        if verts is None or faces is None:
            raise HeadwarpError(
                "pwm: expected a posed mesh, on which the network's codes lie, got none; guide it by the "
                "mesh or take a network that displacement guides"
            )
        return self.codes(verts, faces, (like.shape[2], like.shape[3]))


def _codes(config: PwmConfig) -> VertexCodes | TexelCodes | None:
    """Codes of the right shape; a head's own texture layout comes with `with_texture` or a checkpoint."""
    chosen, channels = config.codes, config.network.code_channels
    if chosen is None:
        return None
    if chosen.kind == "vertex":
        return VertexCodes(chosen.count, channels)
    none = torch.zeros(chosen.count, 3, dtype=torch.long)
    return TexelCodes(torch.zeros(1, 2), none, faces=none, channels=channels, resolution=chosen.resolution)


def with_texture(
    network: PwmNetwork, uv: Float[Tensor, "N 2"], uv_faces: Int[Tensor, "F 3"], *, faces: Int[Tensor, "F 3"]
) -> PwmNetwork:
    """The network whose texel codes lie on a head's texture layout; it is changed and returned.

    Args:
        network: whose codes are texels.
        uv: texture coordinates in [0, 1].
        uv_faces: each triangle's three of them.
        faces: the head's triangles.

    Raises:
        HeadwarpError: its codes are no texels.
    """
    if not isinstance(network.codes, TexelCodes):
        raise HeadwarpError("with_texture: expected a network with texel codes; set CodesConfig.kind")
    old = network.codes.texture
    network.codes = TexelCodes(uv, uv_faces, faces=faces, channels=old.shape[0], resolution=old.shape[1])
    with torch.no_grad():
        network.codes.texture.copy_(old)
    return network
