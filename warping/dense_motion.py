"""Dense motion from sparse keypoints ([FOMM] sec. 3.1-3.2, A.1): who moves every pixel, and what is hidden.

Around keypoint k of the driving frame the source lies, to first order, at
``p_s + J_s J_d^-1 (z - p_d)`` ([FOMM] Eq. 4, A.1 Eq. 6). The source picture warped by each of these K motions
and by none (the background), beside where the keypoints were and are, tells an hourglass how to mix them, and
where the source has nothing to show (occlusion).

Motion is kept as what is added to the lattice (`geom.grids`), so that equal keypoints move nothing, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.flow import Padding
from ..geom.grids import GridConvention, check_convention, lattice, warp_each
from ..geom.keypoints import TAPS, Keypoints, check_picture, jacobian_quotient
from ..geom.nets.antialias import AntiAliasedReduction, whole_stride
from ..geom.nets.hourglass import Hourglass, HourglassConfig


@dataclass(frozen=True)
class DenseMotionConfig:
    """Size and conventions of a `DenseMotion`; the defaults are ours.

    Attributes:
        count: keypoints.
        channels: of the source picture.
        hourglass: its size.
        variance: of the Gaussian that stands for a keypoint, in normalised units ("kp_variance").
        scale: of the picture at which motion is estimated.
        occlusion: whether occlusion is estimated ("estimate_occlusion_map").
        condition_guard: of `geom.keypoints.jacobian_quotient`; None as in the public code.
        align_corners, sample_align_corners, padding_mode: see `geom.grids.GridConvention`.
    """

    count: int = 10
    channels: int = 3
    hourglass: HourglassConfig = field(default_factory=lambda: HourglassConfig(width=64))
    variance: float = 0.01
    scale: float = 0.25
    occlusion: bool = True
    condition_guard: float | None = 100.0
    align_corners: bool = False
    sample_align_corners: bool = False
    padding_mode: Padding = "border"

    def __post_init__(self) -> None:
        if self.count < 1 or self.channels < 1 or self.variance <= 0:
            raise HeadwarpError(
                "count, channels, variance: expected at least 1, 1 and above 0, got "
                f"{(self.count, self.channels, self.variance)}"
            )
        whole_stride(self.scale)
        check_convention(self.convention)

    @property
    def convention(self) -> GridConvention:
        """How motion is meant and applied."""
        return GridConvention(self.align_corners, self.sample_align_corners, self.padding_mode)

    @property
    def multiple(self) -> int:
        """Both sides of a picture are multiples of this."""
        return whole_stride(self.scale) * self.hourglass.multiple


@dataclass(frozen=True)
class MotionOutput:
    """What `DenseMotion` makes; K + 1 motions, the background's first.

    Attributes:
        displacement: the mixed motion, normalised, added to the lattice, ``(B, 2, h, w)``.
        masks: share of each motion, their sum 1, ``(B, K + 1, h, w)``.
        occlusion: 1 where the source shows what is needed, ``(B, 1, h, w)``; None: not estimated.
        deformed: the small source moved by each motion, ``(B, K + 1, C, h, w)``.
        sparse: each motion alone, ``(B, K + 1, 2, h, w)``, as ``displacement``.
        convention: of all of these.
    """

    displacement: Float[Tensor, "B 2 h w"]
    masks: Float[Tensor, "B M h w"]
    occlusion: Float[Tensor, "B 1 h w"] | None
    deformed: Float[Tensor, "B M C h w"]
    sparse: Float[Tensor, "B M 2 h w"]
    convention: GridConvention

    @property
    def flow(self) -> Float[Tensor, "B h w 2"]:
        """The mixed motion as a sampling grid: where in the source each pixel is found."""
        size = (self.displacement.shape[2], self.displacement.shape[3])
        places = lattice(
            size,
            align_corners=self.convention.align_corners,
            device=self.displacement.device,
            dtype=self.displacement.dtype,
        )
        return (places + self.displacement).permute(0, 2, 3, 1)  # (B, h, w, 2)


def sparse_motions(
    source: Keypoints, driving: Keypoints, size: tuple[int, int], config: DenseMotionConfig
) -> Float[Tensor, "B M 2 h w"]:
    """The motion of each keypoint's neighbourhood over a frame, after the background's, which is none.

    Args:
        source, driving: keypoints with or without Jacobians; the batch of either may be 1.
        size: (h, w) of the frame.
        config: guard and lattice.

    Returns:
        What is added to the lattice, exactly 0 where source and driving are the same.
    """
    points = driving.points
    places = lattice(size, align_corners=config.align_corners, device=points.device, dtype=points.dtype)
    shift = source.points - points  # (B, K, 2)
    moved = shift[..., None, None].expand(-1, -1, -1, *size)  # (B, K, 2, h, w)
    if source.jacobians is not None and driving.jacobians is not None:
        around = places[:, None] - points[..., None, None]  # (B, K, 2, h, w)
        quotient = jacobian_quotient(
            source.jacobians, driving.jacobians, condition_guard=config.condition_guard
        )
        change = quotient - torch.eye(2, device=points.device, dtype=points.dtype)  # (B, K, 2, 2)
        moved = moved + (change @ around.flatten(3)).unflatten(3, size)
    still = torch.zeros_like(moved[:, :1])
    return torch.cat([still, moved], dim=1)


def sparse_motions_ref(
    source: Keypoints, driving: Keypoints, size: tuple[int, int], config: DenseMotionConfig
) -> Float[Tensor, "B M 2 h w"]:
    """Plain twin of :func:`sparse_motions` without a guard: one keypoint, one pixel after the other."""
    points = driving.points
    places = lattice(size, align_corners=config.align_corners, device=points.device, dtype=points.dtype)[0]
    motions = []
    for of_source, of_driving, *jacobians in _by_keypoint(source, driving):
        rows = []
        for place in places.flatten(1).T:  # (2,) each
            offset = place - of_driving  # (B, 2)
            if jacobians:
                offset = torch.linalg.solve(jacobians[1], offset[..., None])
                offset = (jacobians[0] @ offset)[..., 0]
            rows.append(of_source + offset - place)
        motions.append(torch.stack(rows, dim=2).unflatten(2, size))  # (B, 2, h, w)
    return torch.stack([torch.zeros_like(motions[0]), *motions], dim=1)


def _by_keypoint(source: Keypoints, driving: Keypoints) -> list[tuple[Tensor, ...]]:
    parts = [source.points, driving.points]
    if source.jacobians is not None and driving.jacobians is not None:
        parts += [source.jacobians, driving.jacobians]
    return list(zip(*(part.unbind(1) for part in parts), strict=True))


def keypoint_heat(
    keypoints: Keypoints, size: tuple[int, int], *, variance: float, align_corners: bool
) -> Float[Tensor, "B K h w"]:
    """A Gaussian a keypoint, 1 at its place.

    Args:
        keypoints: K points, normalised to [-1, 1].
        size: (h, w).
        variance: of the Gaussians, in the points' unit squared.
        align_corners: whether -1 and 1 are centres of the outermost pixels, or their edges.
    """
    points = keypoints.points
    places = lattice(size, align_corners=align_corners, device=points.device, dtype=points.dtype)
    squares = (places[:, None] - points[..., None, None]).square().sum(dim=2)  # (B, K, h, w)
    return torch.exp(squares * (-0.5 / variance))


class DenseMotion(nn.Module):
    """See the module; parameters have the names of the public checkpoints.

    Args:
        config: size and conventions.
    """

    def __init__(self, config: DenseMotionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DenseMotionConfig()
        motions = config.count + 1
        self.hourglass = Hourglass(config.hourglass, motions * (config.channels + 1))
        self.mask = nn.Conv2d(self.hourglass.outputs, motions, TAPS, padding=TAPS // 2)
        self.occlusion: nn.Conv2d | None = None
        if config.occlusion:
            self.occlusion = nn.Conv2d(self.hourglass.outputs, 1, TAPS, padding=TAPS // 2)
        self.down: AntiAliasedReduction | None = None
        if config.scale != 1:
            centred = not config.align_corners
            self.down = AntiAliasedReduction(config.channels, config.scale, centred=centred)

    def forward(
        self, source: Float[Tensor, "#B C H W"], keypoints_source: Keypoints, keypoints_driving: Keypoints
    ) -> MotionOutput:
        """Motion from source to driving: `reduce`, then `estimate`.

        Args:
            source: RGB in [0, 1].
            keypoints_source, keypoints_driving: normalised; the source's batch may be 1.

        Raises:
            ShapeError: channels, size or keypoints do not fit the config.
        """
        return self.estimate(self.reduce(source), keypoints_source, keypoints_driving)

    def heat(self, keypoints: Keypoints, size: tuple[int, int]) -> Float[Tensor, "B K h w"]:
        """`keypoint_heat` as the hourglass sees it.

        Args:
            keypoints: normalised.
            size: (H, W) of the maps.
        """
        config = self.config
        return keypoint_heat(keypoints, size, variance=config.variance, align_corners=config.align_corners)

    def reduce(self, source: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """The small source, which depends on no driving frame."""
        check_picture(source, self.config.channels, self.config.multiple, "source")
        return source if self.down is None else self.down(source)

    def estimate(
        self, small: Float[Tensor, "#B C h w"], keypoints_source: Keypoints, keypoints_driving: Keypoints
    ) -> MotionOutput:
        """Motion over the small source of `reduce`.

        Args:
            small: the source as `reduce` gives it; its batch may be 1.
            keypoints_source, keypoints_driving: normalised, as many as the config says.

        Raises:
            ShapeError: another number of keypoints.
        """
        config = self.config
        for name, keypoints in (("source", keypoints_source), ("driving", keypoints_driving)):
            check_keypoints(keypoints, config.count, f"keypoints_{name}")
        size = (small.shape[2], small.shape[3])
        sparse = sparse_motions(keypoints_source, keypoints_driving, size, config)
        deformed = warp_each(small, sparse, config.convention)  # (B, K + 1, C, h, w)
        heat = self.heat(keypoints_driving, size) - self.heat(keypoints_source, size)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], dim=1)[:, :, None]  # (B, K + 1, 1, h, w)
        seen = torch.cat([heat.to(deformed.dtype), deformed], dim=2).flatten(
            1, 2
        )  # (B, (K + 1)(C + 1), h, w)
        features = self.hourglass(_laid_as(small, seen))
        with torch.autocast(small.device.type, enabled=False):
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            masks = self.mask(features).softmax(dim=1)
            occlusion = None if self.occlusion is None else torch.sigmoid(self.occlusion(features))
        displacement = (masks[:, :, None] * sparse).sum(dim=1)  # (B, 2, h, w)
        return MotionOutput(displacement, masks, occlusion, deformed, sparse, config.convention)


def check_keypoints(keypoints: Keypoints, count: int, name: str) -> None:
    """What the networks take are so many keypoints.

    Args:
        keypoints: what was given.
        count: that there must be.
        name: what they are called in the message.

    Raises:
        ShapeError: another number, or Jacobians of another shape.
    """
    points, jacobians = keypoints.points, keypoints.jacobians
    if points.ndim != 3 or points.shape[1:] != (count, 2):
        raise ShapeError(f"{name}: expected points (B, {count}, 2), got {tuple(points.shape)}")
    if jacobians is not None and jacobians.shape != (*points.shape, 2):
        raise ShapeError(
            f"{name}: expected Jacobians {(*points.shape, 2)} with these points, got {tuple(jacobians.shape)}"
        )


def _laid_as(like: Tensor, made: Tensor) -> Tensor:
    """Channels last where the small source is."""
    last = like.is_contiguous(memory_format=torch.channels_last)
    return made.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
