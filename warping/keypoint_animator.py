"""What animates with a keypoint network: `fomm`, `dagan` and whatever else is a config of it.

The source is encoded once. A driving frame is a picture, whose keypoints are found, or keypoints that are
given. Motion is absolute until `KeypointAnimator.refer` names the driving frame that corresponds to the
source (`relative_motion`). No face, fit or mesh is looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.guidance import Driving, Source, take
from ..geom.keypoints import Keypoints, to_normalised, to_pixels
from .animators import Animation, single
from .inference import InferenceConfig
from .keypoint_inference import CompiledKeypoints, prepare_keypoints_
from .keypoint_network import KeypointNetwork, KeypointNetworkConfig, KeypointOutput, SourceFeatures
from .relative_motion import GUARD, adapted_scale, relative_keypoints


@dataclass(frozen=True)
class Reference:
    """What relative motion starts from.

    Attributes:
        keypoints: of the driver's reference frame.
        scale: of its shifts.
    """

    keypoints: Keypoints
    scale: float


@dataclass(frozen=True)
class KeypointCache:
    """Computed once per source.

    Attributes:
        features: of the network.
        reference: None for absolute motion.
    """

    features: SourceFeatures
    reference: Reference | None = None


class KeypointAnimator(nn.Module):
    """See the module; its weights are those of `keypoint_network.KeypointNetwork`.

    ``image`` is needed of a driving frame unless ``keypoints`` are given (pixels; with ``jacobians`` where
    the network has them), and these are preferred.

    Attributes:
        name: for messages: the one it is registered under.
        needs_weights: an untrained one shows nothing.
    """

    name: ClassVar[str]
    needs_source: ClassVar[tuple[str, ...]] = ("image",)
    needs_driving: ClassVar[tuple[str, ...]] = ("image",)
    needs_weights: ClassVar[bool] = True

    def __init__(self, config: KeypointNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.network = KeypointNetwork(config)
        self.compiled: CompiledKeypoints | None = None
        self.eval().requires_grad_(False)

    @property
    def frame_multiple(self) -> int:
        """Sides of frames are multiples of this."""
        return self.config.multiple

    def prepare_(self, config: InferenceConfig) -> None:
        """See `inference.prepare_animator_`."""
        self.compiled = prepare_keypoints_(self.network, config)
        self.network.register_state_dict_pre_hook(self._refuse_to_save)

    def encode(self, sources: Sequence[Source]) -> KeypointCache:
        """Features and keypoints of the source."""
        source = single(sources, by=self.name)
        (image,) = take(source, self.needs_source, by=self.name)
        given = None if source.keypoints is None else self._given(source, image)
        return KeypointCache(self._runner.encode(image, keypoints=given))

    def refer(self, cache: KeypointCache, driving: Driving, *, adapt_scale: bool = True) -> KeypointCache:
        """The source driven relative to a driving frame: what changes since then is added to its own pose.

        Args:
            cache: of `encode`.
            driving: the one frame that corresponds to the source picture.
            adapt_scale: shifts are in sizes of what is driven; else in shares of the frame.

        Raises:
            HeadwarpError: several frames, or keypoints on a line where scale is adapted.
        """
        found = self.keypoints(cache, driving)
        if len(found.points) != 1:
            raise HeadwarpError(f"{self.name}: expected one reference frame, got {len(found.points)}")
        own = cache.features.keypoints.points
        scale = adapted_scale(own, found.points) if adapt_scale else 1.0
        plain = dataclasses.replace(found, heatmaps=None)
        return dataclasses.replace(cache, reference=Reference(plain, scale))

    def keypoints(self, cache: KeypointCache, driving: Driving) -> Keypoints:
        """The driver's own keypoints, normalised: given or found."""
        if driving.keypoints is not None:
            return self._given(driving, cache.features.encoded.image)
        (image,) = take(driving, self.needs_driving, by=self.name)
        return self._runner.detect(image)

    def animate(self, cache: KeypointCache, driving: Driving) -> Animation:
        """The source as the driving frame moves it. All of the picture counts: what the source does not show
        is made up where it belongs.
        """
        made = self._made(cache, self.keypoints(cache, driving))
        return Animation(image=made.image, flow=made.flow)

    def explain(self, cache: KeypointCache, driving: Driving) -> Mapping[str, Tensor]:
        """The picture and how it came about.

        Returns:
            ``animated``; ``deformed``, the source warped by ``flow`` (pixels); ``occlusion``, 1 where the
            source shows what is needed; ``masks`` (K + 1, the background's first), ``sparse_flows``
            (2 (K + 1), pixels of their size) and ``sparse_deformed`` (3 (K + 1)), what each motion does
            alone; ``keypoints_source``, ``keypoints_driving`` (the driver's own) and ``keypoints_moved`` (as
            they move the source), a Gaussian a keypoint (K). A network with depth: ``disparity_source``,
            and ``disparity_driving`` where the driver's keypoints are found in it, in (0, 1), larger where
            nearer. With attention: ``attention`` (K), where the place of each moved keypoint looks.
        """
        found = self.keypoints(cache, driving)
        made = self._made(cache, found)
        size = (made.masks.shape[2], made.masks.shape[3])
        heat = self.network.generator.dense_motion_network.heat
        maps = {
            "animated": made.image,
            "deformed": made.deformed.clamp(0, 1),
            "flow": made.flow,
            "masks": made.masks,
            "sparse_flows": made.sparse_flows.flatten(1, 2),
            "sparse_deformed": made.sparse_deformed.flatten(1, 2).clamp(0, 1),
            "keypoints_source": heat(made.keypoints_source, size),
            "keypoints_driving": heat(found, size),
            "keypoints_moved": heat(made.keypoints_driving, size),
        }
        maps |= {} if made.occlusion is None else {"occlusion": made.occlusion}
        return maps | self._deeper(cache, driving, made.keypoints_driving)

    def _deeper(self, cache: KeypointCache, driving: Driving, moved: Keypoints) -> dict[str, Tensor]:
        """Maps of depth and attention, as far as the network has them."""
        features, config, maps = cache.features, self.config, {}
        if features.disparity is not None:
            maps["disparity_source"] = features.disparity
        if config.depth_keypoints and driving.keypoints is None and driving.image is not None:
            maps["disparity_driving"] = self.network.disparity(driving.image)
        if config.attention != "none":
            image = features.encoded.image
            size, corners = (image.shape[2], image.shape[3]), config.keypoints.align_corners
            places = to_normalised(to_pixels(moved.points, size, align_corners=corners), size)
            maps["attention"] = self.network.attention_map(features, moved, places)
        return maps

    @property
    def _runner(self) -> KeypointNetwork | CompiledKeypoints:
        return self.compiled or self.network

    def _made(self, cache: KeypointCache, found: Keypoints) -> KeypointOutput:
        moved, reference = dataclasses.replace(found, heatmaps=None), cache.reference
        if reference is not None:
            own = cache.features.keypoints
            moved = relative_keypoints(
                own, found, reference.keypoints, scale=reference.scale, condition_guard=GUARD
            )
        return self._runner.decode(cache.features, moved)

    def _given(self, observation: Source | Driving, like: Tensor) -> Keypoints:
        """Keypoints of an observation, from pixels."""
        config = self.config.keypoints
        (points,) = take(observation, ("keypoints",), by=self.name)
        jacobians = None
        if config.jacobians != "none":
            (jacobians,) = take(observation, ("jacobians",), by=self.name)
        size = (like.shape[2], like.shape[3])
        return Keypoints(to_normalised(points, size, align_corners=config.align_corners), jacobians)

    def _refuse_to_save(self, *_: object) -> None:
        raise HeadwarpError(
            f"{self.name}: this animator was prepared to animate and cannot be saved or trained; load its "
            "checkpoint again"
        )
