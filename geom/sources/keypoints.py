"""`keypoints`: guidance from how keypoints with Jacobians moved; no mesh, no depth, any kind of object.

With a trained dense-motion network its flow and occlusion are the guidance. Without one the first-order
motions of the keypoints ([FOMM] Eq. 4) are blended in closed form, by Gaussians about the driving keypoints
in place of the network's masks; that is exact where all of them agree, such as for an affine motion. Points
do not tell what hides what: everything whose origin lies in the frame counts as visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..alignment import affine_flow
from ..displacement import border, carried_mask, fill_between
from ..errors import ShapeError
from ..first_order import first_order_flows, keypoint_spacing
from ..flow import in_frame, pixel_grid
from ..guidance import Driving, Guidance, Source, take
from ..keypoints import jacobian_quotient


@dataclass(frozen=True)
class DenseMotionMaps:
    """What a dense-motion network says of a pair.

    Attributes:
        flow: backward, in pixels of the picture, ``(B, 2, H, W)``.
        occlusion: 1 where the source shows what the target needs, in [0, 1], ``(B, 1, H, W)``; None where the
            network does not tell.
    """

    flow: Float[Tensor, "B 2 H W"]
    occlusion: Float[Tensor, "B 1 H W"] | None = None


DenseMotionOf = Callable[[Source, Driving], DenseMotionMaps]
"""The source's picture and keypoints and the driving keypoints -> their dense motion."""


@dataclass(frozen=True)
class KeypointsSourceConfig:
    """Settings of the blend without a network. Lengths are in units of the keypoints' spacing.

    Attributes:
        spread: standard deviation of each keypoint's Gaussian.
        reach: how far from the nearest keypoint the blend counts as known; beyond, it is filled.
        condition_guard: see `geom.keypoints.jacobian_quotient`.
        mask_threshold: least person probability of what is known, where the source has a mask.
    """

    spread: float = 0.5
    reach: float = 1.0
    condition_guard: float = 100.0
    mask_threshold: float = 0.5


@dataclass(frozen=True)
class KeypointsState:
    """What depends on the source alone: itself, and the spacing of its keypoints in pixels, ``(B,)``."""

    source: Source
    spacing: Float[Tensor, "B"]


class KeypointsSource:
    """See the module. ``jacobians`` of both frames, ``Source.mask`` and ``Driving.camera_motion`` are used
    where given.
    """

    needs_source: tuple[str, ...] = ("image", "keypoints")
    needs_driving: tuple[str, ...] = ("keypoints",)

    def __init__(
        self, config: KeypointsSourceConfig | None = None, dense_motion: DenseMotionOf | None = None
    ) -> None:
        """``dense_motion`` is a trained network's; without it the blend in closed form."""
        self.config = config or KeypointsSourceConfig()
        self.dense_motion = dense_motion

    def prepare(self, source: Source) -> KeypointsState:
        """The source's keypoints and how far apart they lie.

        Raises:
            ShapeError: no keypoints.
        """
        _, points = take(source, self.needs_source, by="keypoints source")
        if points.shape[1] < 1:
            raise ShapeError(f"keypoints: expected at least one, got {tuple(points.shape)}")
        return KeypointsState(source, keypoint_spacing(points))

    def guide(self, state: KeypointsState, driving: Driving) -> Guidance:
        """The network's flow, or the blend where keypoints are near, filled with the frame border at rest (or
        moved by ``driving.camera_motion``).
        """
        image, _ = take(state.source, self.needs_source, by="keypoints source")
        take(driving, self.needs_driving, by="keypoints source")
        size = (image.shape[2], image.shape[3])
        if self.dense_motion is not None:
            made = self.dense_motion(state.source, driving)
            seen = in_frame(made.flow)
            known = seen if made.occlusion is None else seen * made.occlusion
            return Guidance(flow=made.flow, known=known, visible=known)
        flow, known = self.blended(state, driving)
        motion = driving.camera_motion
        anchored = None if motion is None else affine_flow(motion.to(flow), size)
        whole = fill_between(flow, known, anchors=border(size, "tblr", flow), anchor_flow=anchored)
        return Guidance(flow=whole, known=known, visible=known * in_frame(whole))

    def blended(
        self, state: KeypointsState, driving: Driving
    ) -> tuple[Float[Tensor, "B 2 H W"], Float[Tensor, "B 1 H W"]]:
        """Flow of the blend, and 1 where it is known; elsewhere the flow is the nearest keypoint's."""
        image, here = take(state.source, self.needs_source, by="keypoints source")
        (there,) = take(driving, self.needs_driving, by="keypoints source")
        size = (image.shape[2], image.shape[3])
        found = (torch.isfinite(here) & torch.isfinite(there)).all(-1)[..., None, None]  # (B, K, 1, 1)
        here, there = torch.nan_to_num(here), torch.nan_to_num(there)
        turned = self._turned(state.source.jacobians, driving.jacobians)
        flows = first_order_flows(here, there, turned, size)  # (B, K, 2, H, W)
        grid = pixel_grid(size, device=image.device, dtype=image.dtype)  # (1, 2, H, W)
        unit = state.spacing.clamp(min=1.0)[:, None, None, None]
        squared = (grid[:, None] - there[..., None, None]).square().sum(2) / unit.square()
        squared = torch.where(found, squared, torch.inf)  # (B, K, H, W)
        nearest = squared.amin(1, keepdim=True)
        weight = torch.exp((torch.nan_to_num(nearest, posinf=0.0) - squared) / (2 * self.config.spread**2))
        weight = weight / weight.sum(1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
        flow = (weight[:, :, None] * flows).sum(1)  # (B, 2, H, W)
        near = (nearest <= self.config.reach**2).to(flow)
        return flow, near * self._person(state.source.mask, flow)

    def _turned(self, source: Tensor | None, driving: Tensor | None) -> Tensor | None:
        if source is None or driving is None:
            return None
        quotient = jacobian_quotient(source, driving, condition_guard=self.config.condition_guard)
        sound = torch.isfinite(quotient).all(-1).all(-1)[..., None, None]
        return torch.where(sound, quotient, torch.eye(2).to(quotient))

    def _person(self, mask: Tensor | None, flow: Tensor) -> Tensor:
        inside = in_frame(flow)
        if mask is None:
            return inside
        return inside * (carried_mask(mask, flow) > self.config.mask_threshold).to(flow)
