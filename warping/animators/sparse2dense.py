"""`sparse2dense`: face landmarks alone move the picture [S2D]; of the driver nothing else is looked at.

Landmarks are a detector's, those of a file, or a fitted head's, projected: 2 L numbers a frame, 136 for 68
landmarks (`Sparse2DenseAnimator.drive`). Everything that depends on the source is computed once. It has no
weights of its own: train them (`training.recipes.sparse2dense`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, Source, take
from ...geom.keypoints import to_normalised, to_pixels
from ..inference import InferenceConfig
from ..landmark_inference import CompiledLandmarks, prepare_landmarks_
from ..landmark_motion import TrackConfig, driving_landmarks, landmarks_of
from ..sparse2dense import SourceParts, Sparse2DenseConfig, Sparse2DenseNetwork, Sparse2DenseOutput
from . import Animation, register, single


@register(Sparse2DenseConfig)
class Sparse2DenseAnimator(nn.Module):
    """See the module; its weights are those of `sparse2dense.Sparse2DenseNetwork`.

    Attributes:
        needs_weights: an untrained one shows nothing.
    """

    needs_source: ClassVar[tuple[str, ...]] = ("image", "landmarks")
    needs_driving: ClassVar[tuple[str, ...]] = ("landmarks",)
    needs_weights: ClassVar[bool] = True

    def __init__(self, config: Sparse2DenseConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Sparse2DenseNetwork(config)
        self.compiled: CompiledLandmarks | None = None
        self.eval().requires_grad_(False)

    @property
    def frame_multiple(self) -> int:
        """Sides of frames are multiples of this."""
        return self.config.multiple

    def prepare_(self, config: InferenceConfig) -> None:
        """See `inference.prepare_animator_`."""
        self.compiled = prepare_landmarks_(self.network, config)
        self.network.register_state_dict_pre_hook(_refuse_to_save)

    def encode(self, sources: Sequence[Source]) -> SourceParts:
        """Features and landmarks of the source.

        Raises:
            HeadwarpError: not one source, without landmarks, or with others than finite ones.
            ShapeError: a picture or landmarks that do not fit the network.
        """
        source = single(sources, by="sparse2dense")
        (image,) = take(source, ("image",), by="sparse2dense")
        self.network.check(image)
        points = _finite(source, "source")
        return self.network.encode(image, to_normalised(points, _size(image)))

    def animate(self, cache: SourceParts, driving: Driving) -> Animation:
        """The source with its landmarks where the driver's are, in pixels of the source's frame. All of the
        picture counts: what the source does not show is made up where it belongs.
        """
        made = self._made(cache, driving)
        return Animation(image=made.image, flow=made.flow)

    def drive(
        self, cache: SourceParts, vectors: Float[Tensor, "T N"], config: TrackConfig | None = None
    ) -> Iterator[Animation]:
        """The source driven by numbers alone, a picture a frame.

        Args:
            cache: of `encode`.
            vectors: x0, y0, x1, .. of the driver's landmarks a frame, in pixels: of any frame for relative
                motion, of the source's for absolute.
            config: relative or absolute motion, reference frame, smoothing; `TrackConfig()` if None.

        Raises:
            HeadwarpError: what `landmark_motion.driving_landmarks` raises, before the first picture is made.
        """
        own = to_pixels(cache.landmarks, _size(cache.encoded.image))
        track = driving_landmarks(own, landmarks_of(vectors).to(own), config)
        return (self.animate(cache, Driving(landmarks=points[None])) for points in track)

    def explain(self, cache: SourceParts, driving: Driving) -> Mapping[str, Tensor]:
        """The picture and how it came about.

        Returns:
            ``animated``; ``deformed``, the source warped by ``flow`` (pixels); ``occlusion``, 1 where the
            source shows what is needed; ``masks`` (2 + R: background, whole face, a region each) and
            ``sparse_flows`` (2 (2 + R), shares of half the frame), what each motion does alone.
        """
        made = self._made(cache, driving)
        return {
            "animated": made.image,
            "deformed": made.deformed.clamp(0, 1),
            "flow": made.flow,
            "occlusion": made.motion.occlusion,
            "masks": made.motion.masks,
            "sparse_flows": made.motion.sparse.flatten(1, 2),
        }

    def _made(self, cache: SourceParts, driving: Driving) -> Sparse2DenseOutput:
        points = _finite(driving, "driving")
        decode = self.compiled or self.network.decode
        return decode(cache, to_normalised(points, _size(cache.encoded.image)))


def _finite(observation: Source | Driving, whose: str) -> Float[Tensor, "B L 2"]:
    (points,) = take(observation, ("landmarks",), by="sparse2dense")
    if not bool(torch.isfinite(points).all()):
        raise HeadwarpError(
            f"sparse2dense: expected finite {whose} landmarks, got NaN or infinity; skip such frames"
        )
    return points


def _size(image: Tensor) -> tuple[int, int]:
    return (image.shape[2], image.shape[3])


def _refuse_to_save(*_: object) -> None:
    raise HeadwarpError(
        "sparse2dense: this animator was prepared to animate and cannot be saved or trained; load its "
        "checkpoint again"
    )
