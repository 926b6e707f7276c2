"""`landmarks`: guidance from how sparse landmarks moved, made dense by a thin-plate spline or a network.

With a trained network of dense motion (`warping.landmark_guide`) its flow and occlusion are the guidance.
Without one nothing is learned:

Landmarks are a detector's, those of a file, or a fitted head's, projected. The spline (`geom.spline`) takes
each of them from where the driver has it to where the source has it and keeps the frame's border at rest;
between them it bends as little as it can. It is known about the landmarks. Landmarks have no depth, but where
a head turns they change sides: there the spline folds, or draws a sliver of the source out over a wide place,
and the source counts as hiding what is to be shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..displacement import carried_mask
from ..errors import ShapeError
from ..first_order import keypoint_spacing
from ..flow import in_frame, pixel_grid
from ..guidance import Driving, Guidance, Source, take
from ..spline import SplineConfig, spline_flow
from .keypoints import DenseMotionOf

_NOWHERE = 1e9  # pixels: a landmark that is not there


@dataclass(frozen=True)
class LandmarksSourceConfig:
    """Settings of the landmarks source.

    Attributes:
        spline: between the landmarks.
        reach: how far from the nearest landmark the flow counts as known, in units of their spacing
            (`geom.first_order.keypoint_spacing`); beyond, it is a fill.
        least_area: least area of the source that a pixel is drawn from, in pixels of a source as large as the
            driver; with less the source hides it, with less than 0 the spline folds there.
        mask_threshold: least person probability of what is known, where the source has a mask.
    """

    spline: SplineConfig = field(default_factory=SplineConfig)
    reach: float = 2.0
    least_area: float = 0.3
    mask_threshold: float = 0.5


@dataclass(frozen=True)
class LandmarksState:
    """What depends on the source alone.

    Attributes:
        landmarks: in pixels, ``(1, L, 2)``.
        size: (H, W) of the picture.
        mask: person probability, or None.
        source: of which all of that is.
    """

    landmarks: Float[Tensor, "1 L 2"]
    size: tuple[int, int]
    mask: Float[Tensor, "1 1 H W"] | None
    source: Source


class LandmarksSource:
    """See the module. ``Source.mask`` and ``Driving.camera_motion``, which moves the border, are used where
    given. A landmark that is NaN in one of the frames is left out of the pair.
    """

    needs_source: tuple[str, ...] = ("image", "landmarks")
    needs_driving: tuple[str, ...] = ("landmarks",)

    def __init__(
        self, config: LandmarksSourceConfig | None = None, dense_motion: DenseMotionOf | None = None
    ) -> None:
        """``dense_motion`` is a trained network's, which wants all landmarks; without it the spline."""
        self.config = config or LandmarksSourceConfig()
        self.dense_motion = dense_motion

    def prepare(self, source: Source) -> LandmarksState:
        """The landmarks of the source.

        Raises:
            ShapeError: not one set of landmarks (1, L, 2), with at least one of them.
        """
        image, points = take(source, self.needs_source, by="landmarks source")
        if len(points) != 1 or points.shape[1] < 1:
            raise ShapeError(
                f"landmarks: expected (1, L, 2) with at least one of the source, got {tuple(points.shape)}"
            )
        return LandmarksState(points, (image.shape[2], image.shape[3]), source.mask, source)

    def guide(self, state: LandmarksState, driving: Driving) -> Guidance:
        """The network's flow, known where the source shows it; or the spline's everywhere, known about the
        landmarks.

        Raises:
            ShapeError: not as many landmarks as the source has.
        """
        (there,) = take(driving, self.needs_driving, by="landmarks source")
        here = state.landmarks
        if there.shape[1:] != here.shape[1:]:
            raise ShapeError(
                f"landmarks: expected {tuple(here.shape[1:])} in the driving frame as in the source, got "
                f"{tuple(there.shape[1:])}; take both from one detector"
            )
        if self.dense_motion is not None:
            made = self.dense_motion(state.source, driving)
            seen = in_frame(made.flow)
            known = seen if made.occlusion is None else seen * made.occlusion
            return Guidance(flow=made.flow, known=known, visible=known)
        here = here.to(there).expand_as(there)
        found = (torch.isfinite(here) & torch.isfinite(there)).all(-1)  # (B, L)
        flow = self._flows(state, here, driving, found)
        here, there = (torch.where(found[..., None], points, torch.nan) for points in (here, there))
        known = self._near(there, flow) * in_frame(flow)
        if state.mask is not None:
            known = known * (carried_mask(state.mask, flow) > self.config.mask_threshold).to(flow)
        ratio = keypoint_spacing(here) / keypoint_spacing(there).clamp(min=1e-6)
        shown = source_area(flow) > self.config.least_area * ratio.square()[:, None, None, None]
        known = known * shown.to(flow)
        return Guidance(flow=flow, known=known, visible=known)

    def _flows(
        self, state: LandmarksState, here: Tensor, driving: Driving, found: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B 2 H W"]:
        (there,) = take(driving, self.needs_driving, by="landmarks source")
        motion, spline = driving.camera_motion, self.config.spline
        flows = []
        for row, own in enumerate(found):
            border = None if motion is None else motion[row if len(motion) > 1 else 0]
            pair = here[row, own], there[row, own]
            flows.append(spline_flow(*pair, state.size, config=spline, motion=border))
        return torch.cat(flows)

    def _near(self, there: Float[Tensor, "B L 2"], flow: Tensor) -> Float[Tensor, "B 1 H W"]:
        """1 near a landmark; those that are NaN are nowhere."""
        grid = pixel_grid((flow.shape[2], flow.shape[3]), device=flow.device, dtype=flow.dtype)[0]
        nearest = []
        for points in torch.nan_to_num(there, nan=_NOWHERE):
            across = (grid[0, :1] - points[:, 0, None]).square()  # (L, W)
            down = (grid[1, :, :1].T - points[:, 1, None]).square()  # (L, H)
            nearest.append((across[:, None] + down[:, :, None]).amin(0))
        reach = self.config.reach * keypoint_spacing(there).clamp(min=1.0)
        return (torch.stack(nearest) <= reach.square()[:, None, None])[:, None].to(flow)


def source_area(flow: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Area of the source that each pixel is drawn from, by central differences: 1 at rest, below 0 where the
    flow folds.
    """
    across = torch.gradient(flow, dim=3)[0] if flow.shape[3] > 1 else torch.zeros_like(flow)
    down = torch.gradient(flow, dim=2)[0] if flow.shape[2] > 1 else torch.zeros_like(flow)
    return (1 + across[:, :1]) * (1 + down[:, 1:]) - across[:, 1:] * down[:, :1]
