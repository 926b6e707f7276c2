"""`pwm`: progressive warping [PWM], in the mode that its checkpoint holds.

Without a checkpoint it takes the weights that ship beside this file: ``pwm/residual``, size tiny, trained on
synthetic heads alone (``pwm.json`` says how). With a config it is untrained: ``pwm/residual`` then makes the
pictures of `geometry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, Source, require, take
from ...geom.pose_range import PoseRange
from ..guide_record import record_of
from ..guided_layers import GuidedCache, guided_layers
from ..inference import InferenceConfig, prepare_network_
from ..posed_layers import PosedLayers, compose
from ..progressive import ProgressiveConfig
from ..pwm import Features, PwmConfig, PwmNetwork, PwmOutput
from . import Animation, register, single
from .geometry import GeometryAnimator, GeometryCache, shown_of


@dataclass(frozen=True)
class PwmCache:
    """Computed once per source.

    Attributes:
        geometry: of the geometry animator.
        features: of the network.
        faces: triangles of the posed meshes; None where guidance is given in place of them.
    """

    geometry: GeometryCache | GuidedCache
    features: Features
    faces: Int[Tensor, "F 3"] | None


@register(PwmConfig)
class PwmAnimator(nn.Module):
    """See the module; its weights are those of `warping.pwm.PwmNetwork`.

    Attributes:
        guided_by: what guided its training, as its checkpoint says; the mesh, on which codes may lie, where
            that says nothing.
    """

    needs_source = GeometryAnimator.needs_source
    needs_driving = GeometryAnimator.needs_driving
    holds = PoseRange(yaw_deg=45, pitch_deg=35)  # of the weights in the package: docs/benchmarks.md

    def __init__(self, config: PwmConfig) -> None:
        super().__init__()
        self.config = config
        self.network = PwmNetwork(config)
        self.geometry = GeometryAnimator(config.geometry)
        self.guided_by = record_of(None, config.network.guidance)
        self.eval().requires_grad_(False)

    @property
    def frame_multiple(self) -> int:
        """Sides of frames are multiples of this: ``pwm/residual`` takes any."""
        network = self.config.network
        return network.multiple if isinstance(network, ProgressiveConfig) else 1

    def prepare_(self, config: InferenceConfig) -> None:
        """See `inference.prepare_animator_`."""
        self.network.compiled = prepare_network_(self.network.network, config)
        self.network.network.register_state_dict_pre_hook(_refuse_to_save)

    def encode(self, sources: Sequence[Source]) -> PwmCache:
        """Layers and features of the source."""
        source = single(sources, by="pwm")
        image, verts, faces = take(source, ("image", "posed_vertices", "faces"), by="pwm")
        geometry = self.geometry.encode([source])
        return PwmCache(geometry, self.network.encode(image, _matte(geometry), verts, faces), faces)

    def encode_guided(self, sources: Sequence[Source]) -> PwmCache:
        """Layers and features of a source without a mesh; see `geometry`.

        Raises:
            HeadwarpError: the network is guided by codes, which lie on a mesh.
        """
        source = single(sources, by="pwm")
        (image,) = take(source, ("image",), by="pwm")
        geometry = self.geometry.encode_guided([source])
        return PwmCache(geometry, self.network.encode(image, _matte(geometry), None, None), None)

    def animate(self, cache: PwmCache, driving: Driving) -> Animation:
        """The source in the driving pose."""
        layers, made = self._made(cache, driving)
        occlusion = None if made.matte is None else shown_of(cache.geometry, layers, made.matte)
        return Animation(image=made.image, flow=made.flow, occlusion=occlusion)

    def explain(self, cache: PwmCache, driving: Driving) -> Mapping[str, Tensor]:
        """The picture, geometry's own, the warped source, the flow, what the mesh covers and what of that the
        source shows, and what comes from the source and is not made up, where the mode tells.
        """
        layers, made = self._made(cache, driving)
        maps = {
            "animated": made.image,
            "geometry": compose(layers).image.clamp(0, 1),
            "warped": made.warped.clamp(0, 1),
            "flow": made.flow,
            "covered": layers.covered,
            "known": layers.known,
        }
        return maps if made.occlusion is None else {**maps, "occlusion": made.occlusion}

    def _made(self, cache: PwmCache, driving: Driving) -> tuple[PosedLayers, PwmOutput]:
        if isinstance(cache.geometry, GuidedCache):
            layers = guided_layers(cache.geometry, driving, by="pwm")
            return layers, self.network.decode(cache.features, layers, None, None)
        (verts,) = take(require(driving, self.needs_driving, by="pwm"), ("posed_vertices",), by="pwm")
        raw = self.geometry.raw(cache.geometry, driving)
        layers = self.geometry.layers_of(cache.geometry, driving, raw)
        made = self.network.decode(cache.features, layers, verts, cache.faces, fragments=raw.fragments)
        return layers, made


def _matte(cache: GeometryCache | GuidedCache) -> Float[Tensor, "1 1 H W"]:
    return torch.ones_like(cache.image[:, :1]) if cache.layers is None else cache.layers.matte


def _refuse_to_save(*_: object) -> None:
    raise HeadwarpError(
        "pwm: this animator was prepared to animate and cannot be saved or trained; load its checkpoint again"
    )
