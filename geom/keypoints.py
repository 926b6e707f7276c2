"""Keypoints that a network finds by itself, each with the affine frame around it ([FOMM] sec. 3.1, B.1).

An hourglass over the reduced picture makes a heat map a keypoint; the keypoint is its centre of mass, in
normalised coordinates (`geom.grids`), and its Jacobian the mean of a learned map under the same weights.
Nothing names what a keypoint is: it is learned by animating (`warping.keypoint_network`).

The public code's heat maps have no padding: 58 x 58 of 64 x 64, but coordinates still run from -1 to 1 over
them, so that its keypoints lie further out by 63 / 57. Ours have the map's true place in the frame whatever
the padding is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .errors import HeadwarpError, ShapeError
from .grids import lattice
from .nets.antialias import AntiAliasedReduction, whole_stride
from .nets.hourglass import Hourglass, HourglassConfig

TAPS = 7
"""A side of the kernels that make heat maps, masks and occlusion."""
_LEAST_DETERMINANT = 1e-6


@dataclass(frozen=True)
class KeypointConfig:
    """Size and conventions of a `KeypointDetector`; the defaults are ours.

    Attributes:
        count: keypoints; 10 in [FOMM]'s configs, 15 in [DaGAN].
        channels: of the picture: 3, 4 with a disparity map after RGB, 1 for a disparity map alone.
        hourglass: its size.
        temperature: the heat maps' logits are divided by it; 0.1 in the public code.
        padding: zeros around the features before the 7 x 7 heads: 3 keeps their size, 0 is the public code.
        scale: of the picture that the hourglass sees.
        jacobians: a map a keypoint, a single one for all (public "single_jacobian_map"), or none: keypoints
            that are offsets only ([DaGAN] Eq. 7).
        align_corners: lattice of corners and the public code's reduction; see `geom.grids`.
    """

    count: int = 10
    channels: int = 3
    hourglass: HourglassConfig = field(default_factory=HourglassConfig)
    temperature: float = 0.1
    padding: int = 3
    scale: float = 0.25
    jacobians: Literal["per_keypoint", "single", "none"] = "per_keypoint"
    align_corners: bool = False

    def __post_init__(self) -> None:
        if self.count < 1 or self.channels < 1 or self.temperature <= 0:
            raise HeadwarpError(
                "count, channels, temperature: expected at least 1, 1 and above 0, got "
                f"{(self.count, self.channels, self.temperature)}"
            )
        if not 0 <= self.padding <= TAPS // 2:
            raise HeadwarpError(f"padding: expected 0 to {TAPS // 2}, got {self.padding}")
        if self.jacobians not in ("per_keypoint", "single", "none"):
            raise HeadwarpError(
                f"jacobians: expected 'per_keypoint', 'single' or 'none', got {self.jacobians!r}"
            )
        whole_stride(self.scale)

    @property
    def multiple(self) -> int:
        """Both sides of a picture are multiples of this."""
        return whole_stride(self.scale) * self.hourglass.multiple


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of a picture or a batch.

    Attributes:
        points: x, y in normalised coordinates, ``(B, K, 2)``.
        jacobians: affine frames: how the neighbourhood of each keypoint is turned and stretched against the
            abstract reference, ``(B, K, 2, 2)``; dimensionless. None: nothing is known of them.
        heatmaps: where each was found, its sum 1, ``(B, K, h, w)``; None where nobody kept them.
    """

    points: Float[Tensor, "B K 2"]
    jacobians: Float[Tensor, "B K 2 2"] | None = None
    heatmaps: Float[Tensor, "B K h w"] | None = None


class KeypointDetector(nn.Module):
    """See the module; parameters have the names of the public checkpoints.

    Args:
        config: size and conventions.
    """

    def __init__(self, config: KeypointConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or KeypointConfig()
        self.predictor = Hourglass(config.hourglass, config.channels)
        features = self.predictor.outputs
        self.kp = nn.Conv2d(features, config.count, TAPS, padding=config.padding)
        self.jacobian: nn.Conv2d | None = None
        if config.jacobians != "none":
            maps = config.count if config.jacobians == "per_keypoint" else 1
            self.jacobian = nn.Conv2d(features, 4 * maps, TAPS, padding=config.padding)
            _start_at_identity_(self.jacobian)
        self.down: AntiAliasedReduction | None = None
        if config.scale != 1:
            centred = not config.align_corners
            self.down = AntiAliasedReduction(config.channels, config.scale, centred=centred)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Keypoints:
        """Keypoints of pictures.

        Args:
            image: RGB in [0, 1], with or as a disparity map where the config says so.

        Returns:
            Points, Jacobians and heat maps, in float32 at least; differentiable.

        Raises:
            ShapeError: other channels, or sides that are no multiples of ``config.multiple``.
        """
        check_picture(image, self.config.channels, self.config.multiple, "image")
        small = image if self.down is None else self.down(image)
        features = self.predictor(small)
        with torch.autocast(image.device.type, enabled=False):  # a pixel is beyond half precision
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            logits = self.kp(features) / self.config.temperature
            weights = logits.flatten(2).softmax(dim=2)  # (B, K, h w)
            places = self._places(logits).flatten(2)[0]  # (2, h w)
            jacobians = None
            if self.jacobian is not None:
                maps = self.jacobian(features).flatten(2).unflatten(1, (-1, 4))  # (B, K or 1, 4, h w)
                jacobians = (weights[:, :, None] * maps).sum(dim=3).unflatten(2, (2, 2))  # (B, K, 2, 2)
            points = weights @ places.T  # (B, K, 2)
        return Keypoints(points, jacobians, weights.unflatten(2, logits.shape[2:]))

    def _places(self, maps: Tensor) -> Tensor:
        """Normalised coordinates of the heat maps' pixels, ``(1, 2, h, w)``."""
        height, width = maps.shape[2:]
        margin = 0 if self.config.align_corners else TAPS // 2 - self.config.padding
        whole = (height + 2 * margin, width + 2 * margin)
        places = lattice(whole, align_corners=self.config.align_corners, device=maps.device, dtype=maps.dtype)
        return places[:, :, margin : margin + height, margin : margin + width]


def check_picture(image: Tensor, channels: int, multiple: int, name: str) -> None:
    """The picture that a keypoint network takes.

    Args:
        image: what was given.
        channels: that it must have.
        multiple: of which both sides must be one.
        name: what the picture is called in the message.

    Raises:
        ShapeError: other channels, or a side that is no multiple.
    """
    if image.ndim != 4 or image.shape[1] != channels or not image.is_floating_point():
        hint = "; add a batch axis with image[None]" if image.ndim == 3 else ""
        raise ShapeError(
            f"{name}: expected floats (B, {channels}, H, W), got {image.dtype} {tuple(image.shape)}{hint}"
        )
    height, width = image.shape[2:]
    if not height or not width or height % multiple or width % multiple:
        raise ShapeError(
            f"{name}: expected sides that are multiples of {multiple}, got {height} x {width}; "
            "pad or resize the frame"
        )


def to_pixels(
    points: Float[Tensor, "B K 2"], size: tuple[int, int], *, align_corners: bool = False
) -> Float[Tensor, "B K 2"]:
    """Normalised coordinates as pixels of a frame (centres at +0.5); Jacobians stay as they are.

    Args:
        points: x, y.
        size: (H, W) of the frame.
        align_corners: the lattice of the points; see `geom.grids`.

    Example:
        >>> to_pixels(torch.zeros(1, 1, 2), (64, 48)).tolist()
        [[[24.0, 32.0]]]
    """
    height, width = size
    shrink = 1 if align_corners else 0
    return (points + 1) / 2 * points.new_tensor([width - shrink, height - shrink]) + shrink / 2


def to_normalised(
    points: Float[Tensor, "B K 2"], size: tuple[int, int], *, align_corners: bool = False
) -> Float[Tensor, "B K 2"]:
    """Pixels of a frame as normalised coordinates; inverse of `to_pixels`, whose arguments it has.

    Raises:
        ShapeError: a frame of one pixel has no lattice from corner to corner.

    Example:
        >>> to_normalised(torch.tensor([[[0.5, 63.5]]]), (64, 48), align_corners=True).tolist()
        [[[-1.0, 1.0]]]
    """
    height, width = size
    shrink = 1 if align_corners else 0
    if min(height, width) <= shrink:
        raise ShapeError(f"size: expected at least 2 x 2 pixels with align_corners, got {height} x {width}")
    return (points - shrink / 2) * 2 / points.new_tensor([width - shrink, height - shrink]) - 1


def jacobian_quotient(
    numerator: Float[Tensor, "*#N 2 2"],
    denominator: Float[Tensor, "*#N 2 2"],
    *,
    condition_guard: float | None = None,
) -> Float[Tensor, "... 2 2"]:
    """``A B^-1`` of 2 x 2 matrices, exactly the identity where A is B.

    In closed form: no call of a solver for a few tiny matrices, nothing to wait for on an accelerator.

    Args:
        numerator, denominator: A and B.
        condition_guard: the largest condition number that is believed. Beyond it, the determinant is held at
            the value of that condition, its sign kept, so that the result stays bounded and has gradients
            (learned Jacobians collapse now and then, and one infinite flow ends a training); B = 0 gives 0.
            As learned ones start at 1, no determinant is believed below 1e-6 either.
            None: none of that, as in the public code; a singular B gives infinities or NaN.

    Returns:
        Differentiable in both.

    Raises:
        HeadwarpError: a guard below 1.

    Example:
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> jacobian_quotient(turn, 2 * torch.eye(2)).tolist()
        [[0.0, -0.5], [0.5, 0.0]]
    """
    (a, b), (c, d) = (row.unbind(-1) for row in denominator.unbind(-2))
    (p, q), (r, s) = (row.unbind(-1) for row in numerator.unbind(-2))
    determinant = a * d - b * c
    if condition_guard is not None:
        if condition_guard < 1:
            raise HeadwarpError(f"condition_guard: expected at least 1 or None, got {condition_guard}")
        # the two singular values have s1^2 + s2^2 = |B|^2 and s1 s2 = |det|
        squares = a * a + b * b + c * c + d * d
        least = (squares / (condition_guard + 1 / condition_guard)).clamp_min(_LEAST_DETERMINANT)
        held = torch.where(determinant.detach() < 0, -least, least)
        determinant = torch.where(determinant.abs() < least, held, determinant)
    first = torch.stack([p * d - q * c, q * a - p * b], dim=-1)
    second = torch.stack([r * d - s * c, s * a - r * b], dim=-1)
    return torch.stack([first, second], dim=-2) / determinant[..., None, None]


def jacobian_quotient_ref(
    numerator: Float[Tensor, "*#N 2 2"], denominator: Float[Tensor, "*N 2 2"]
) -> Float[Tensor, "... 2 2"]:
    """Plain twin of :func:`jacobian_quotient` without a guard: a linear solve, ``B^T X^T = A^T``."""
    return torch.linalg.solve(denominator.mT, numerator.mT).mT


def _start_at_identity_(layer: nn.Conv2d) -> None:
    """Every Jacobian the identity at first, whatever is in the picture (public code)."""
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(layer.bias.new_tensor([1, 0, 0, 1]).repeat(len(layer.bias) // 4))
