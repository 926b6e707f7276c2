"""Sparse-to-Dense as a geometry source: its motion guides other animators by `geom.sources.landmarks`."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.grids import pixel_flow, resize_displacement
from ..geom.guidance import Driving, Source, take
from ..geom.keypoints import to_normalised
from ..geom.sources.keypoints import DenseMotionMaps
from .observers import seen_picture
from .sparse2dense import SourceParts, Sparse2DenseNetwork


class LandmarkGuide(nn.Module):
    """Flow and occlusion of a trained network by landmarks; nothing in it is trained.

    The last source stays encoded, so that its frames cost decoders alone.

    Args:
        network: see `sparse2dense`.
        side: longer side in pixels of the pictures that it sees at most, best that of its training; None: as
            they are. The nearest sizes that it takes.

    Example:
        >>> from headwarp import load_animator
        >>> from headwarp.geom.sources.landmarks import LandmarksSource
        >>> from headwarp.warping.guided import GuidedAnimator
        >>> from headwarp.warping.sparse2dense import tiny
        >>> guide = LandmarkGuide(Sparse2DenseNetwork(tiny()))
        >>> GuidedAnimator(load_animator("geometry"), LandmarksSource(dense_motion=guide)).needs_driving
        ('landmarks',)
    """

    def __init__(self, network: Sparse2DenseNetwork, *, side: int | None = 256) -> None:
        super().__init__()
        self.network, self.side = network, side
        self._last: tuple[Tensor, Tensor, SourceParts] | None = None
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, source: Source, driving: Driving) -> DenseMotionMaps:
        """Dense motion of frames of a source.

        Raises:
            ShapeError: not as many landmarks as the network takes.
            HeadwarpError: landmarks that are not finite.
        """
        image, own = take(source, ("image", "landmarks"), by="landmark guide")
        (points,) = take(driving, ("landmarks",), by="landmark guide")
        if not bool(torch.isfinite(own).all() & torch.isfinite(points).all()):
            raise HeadwarpError(
                "landmark guide: expected finite landmarks, got NaN or infinity; skip such frames"
            )
        size = (image.shape[2], image.shape[3])
        if self._last is None or self._last[0] is not image or self._last[1] is not own:
            seen = seen_picture(image, self.side, self.network.config.multiple)
            self._last = image, own, self.network.encode(seen, to_normalised(own, size))
        motion = self.network.motion(self._last[2], to_normalised(points, size))
        whole = resize_displacement(motion.displacement, size, motion.convention)
        shown = F.interpolate(motion.occlusion, size=size, mode="bilinear", align_corners=False)
        return DenseMotionMaps(pixel_flow(whole, motion.convention), shown)


def load_landmark_guide(path: str | Path, *, side: int | None = 256) -> LandmarkGuide:
    """The network of a `sparse2dense` checkpoint.

    Raises:
        ModelFileError: no such file, or none of ours.
        HeadwarpError: another animator's.
    """
    from .animators import load_animator
    from .checkpoints import ANIMATOR, load_checkpoint

    name = load_checkpoint(path, kind=ANIMATOR).name
    network = getattr(load_animator(name, path), "network", None)
    if not isinstance(network, Sparse2DenseNetwork):
        raise HeadwarpError(f"{path}: expected weights of 'sparse2dense', got those of {name!r}")
    return LandmarkGuide(network, side=side)
