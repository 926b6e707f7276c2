"""Depth from one picture: the network of [DaGAN]'s face depth, disparity, metres or not, point cloud.

Encoder and decoder are those of [Monodepth2], which [DaGAN] sec. 4.2 takes: a ResNet, and a decoder with
skips that gives a sigmoid disparity at four scales. Keys are those of the public files, ``encoder.*`` of the
one and ``decoder.*`` of the other. Disparity is larger where the scene is nearer; depth is known up to one
factor a picture, as nothing in single pictures says how large a head is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .errors import HeadwarpError, ShapeError
from .flow import pixel_grid
from .nets.resnet import ResNet, ResNetConfig
from .view_synthesis import back_project

SCALES = 4
STRIDE = 32
"""Sides of pictures are multiples of this."""
NEAREST = 0.05
"""Least depth of the relief mapping, as a share of the mean."""
_DOME = (0.2, 0.25)  # standard deviations in x and y, in shares of the frame's sides
_WINDOW = 0.2  # standard deviation, in shares of the frame's sides
_LEVELS = (16, 32, 64, 128, 256)  # channels of the decoder where the encoder is 64 wide


@dataclass(frozen=True)
class DepthConfig:
    """Size and range of a depth network; the defaults are the public code's.

    Attributes:
        layers: of the encoder: 18 or 50.
        width: of the encoder's stem, 64 in the public networks; the decoder's channels go with it.
        mapping: what disparity stands for. ``"inverse"``: inverse depth between two bounds, as in the public
            code. ``"relief"``: how far a point stands out of the mean surface, in widths of the frame at that
            surface; depth follows with the focal length. A head looks nearly the same from far with a long
            lens and from near with a short one: its relief is the same, its depth is not.
        min_depth, max_depth: depth where disparity is 1 and 0; 0.1 and 100 in the public code; inverse only.
        relief: from disparity 0 to 1, in frame widths; relief only.
        dome: how far the middle of the frame stands out of its border before anything is learned, in frame
            widths; relief only. Heads bulge: without it a hollow mask is as good a start. It falls off as a
            Gaussian does: an edge of its own would stay in every map.
    """

    layers: Literal[18, 50] = 18
    width: int = 64
    mapping: Literal["inverse", "relief"] = "inverse"
    min_depth: float = 0.1
    max_depth: float = 100.0
    relief: float = 1.0
    dome: float = 0.5


def tiny(config: DepthConfig | None = None, *, width: int = 16) -> DepthConfig:
    """The same network a quarter as wide, for training on CPUs: 0.9 M parameters in place of 14.3 M."""
    return replace(config or DepthConfig(), width=width)


class DepthNetwork(nn.Module):
    """Disparity of single pictures.

    Args:
        config: its size.

    Raises:
        HeadwarpError: a size that makes no sense, or a range that is none.
    """

    def __init__(self, config: DepthConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DepthConfig()
        if not 0 < config.min_depth < config.max_depth:
            got = f"{config.min_depth} and {config.max_depth}"
            raise HeadwarpError(f"min_depth, max_depth: expected 0 < min_depth < max_depth, got {got}")
        if not (config.relief > 0 and 0 <= config.dome < config.relief):
            got = f"relief={config.relief}, dome={config.dome}"
            raise HeadwarpError(f"DepthConfig: expected relief > 0 and dome in [0, relief), got {got}")
        self.encoder = ResNet(ResNetConfig(config.layers, width=config.width))
        self.decoder = _decoder(self.encoder.outputs, config.width)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B 1 h w"], ...]:
        """Disparities in (0, 1) at the picture's size and its halves, four in all, finest first.

        Args:
            image: RGB in [0, 1]; both sides multiples of 32.

        Raises:
            ShapeError: another shape.
        """
        if image.ndim != 4 or image.shape[2] % STRIDE or image.shape[3] % STRIDE:
            got = tuple(image.shape)
            raise ShapeError(f"image: expected (B, 3, H, W), sides multiples of {STRIDE}, got {got}")
        return self.decode(self.encoder(image))

    def decode(self, features: tuple[Tensor, ...]) -> tuple[Float[Tensor, "B 1 h w"], ...]:
        """Disparities of the encoder's features, finest first."""
        values, disparities = features[-1], []
        for level in range(len(_LEVELS) - 1, -1, -1):
            first = 2 * (len(_LEVELS) - 1 - level)
            values = F.interpolate(self.decoder[first](values), scale_factor=2, mode="nearest")
            if level > 0:
                values = torch.cat([values, features[level - 1]], dim=1)
            values = self.decoder[first + 1](values)
            if level < SCALES:
                logits = self.decoder[2 * len(_LEVELS) + level](values)
                disparities.append(torch.sigmoid(self._with_dome(logits)))
        return tuple(reversed(disparities))

    def _with_dome(self, logits: Tensor) -> Tensor:
        config = self.config
        if config.mapping == "inverse" or config.dome == 0:
            return logits
        share = config.dome / config.relief
        height = 2 * math.log((1 + share) / (1 - share))  # of the logits, half of it below zero
        grid = _centred(logits)
        spread = grid.new_tensor(_DOME)[:, None, None]
        dome = torch.exp(-(grid / spread).square().sum(1, keepdim=True) / 2)
        return logits + height * (dome - 0.5)


def disparity_to_depth(
    disparity: Float[Tensor, "B 1 H W"],
    config: DepthConfig | None = None,
    *,
    focal: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, "B 1 H W"]:
    """Depth along the camera's axis.

    Args:
        disparity: in [0, 1].
        config: whose mapping and range are meant.
        focal: in widths of the frame, (B,); the mapping ``"relief"`` cannot do without.

    Returns:
        Inverse: its inverse is linear in the disparity. Relief: 1 at the mean surface of the frame's middle,
        falling linearly as disparity grows, never below `NEAREST`.

    Raises:
        HeadwarpError: no focal length for relief.

    Example:
        >>> config = DepthConfig(min_depth=0.5, max_depth=2.0)
        >>> disparity_to_depth(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2), config).flatten().tolist()
        [2.0, 0.5]
    """
    config = config or DepthConfig()
    if config.mapping == "inverse":
        low, high = 1 / config.max_depth, 1 / config.min_depth
        return 1 / (low + (high - low) * disparity)
    if focal is None or focal.shape != disparity.shape[:1]:
        got = None if focal is None else tuple(focal.shape)
        raise HeadwarpError(
            f"disparity_to_depth: focal: expected ({len(disparity)},) frame widths for the relief mapping, "
            f"got {got}; intrinsics of a pose network divided by the width say it"
        )
    relief = disparity_to_relief(disparity, config)
    return (1 + relief / focal[:, None, None, None]).clamp_min(NEAREST)


def disparity_to_relief(disparity: Float[Tensor, "B 1 H W"], config: DepthConfig) -> Float[Tensor, "B 1 H W"]:
    """How far points lie behind the mean surface of the frame's middle, in frame widths there (mapping
    ``"relief"``).

    Args:
        disparity: what the network made, in (0, 1).
        config: of the network.
    """
    mean = (disparity * middle_window(disparity)).sum((2, 3), keepdim=True)
    return config.relief * (mean - disparity)


def middle_window(like: Float[Tensor, "B C H W"]) -> Float[Tensor, "1 1 H W"]:
    """Weights that fall off from the middle of the frame, where heads are, of sum 1."""
    grid = _centred(like)
    weight = torch.exp(-grid.square().sum(1, keepdim=True) / (2 * _WINDOW**2))
    return weight / weight.sum()


def _centred(like: Tensor) -> Float[Tensor, "1 2 H W"]:
    """x and y of pixel centres from the frame's middle, in shares of its sides."""
    height, width = int(like.shape[2]), int(like.shape[3])
    grid = pixel_grid((height, width), device=like.device, dtype=like.dtype)
    return grid / grid.new_tensor([width, height])[:, None, None] - 0.5


def point_cloud(
    depth: Float[Tensor, "B 1 H W"],
    intrinsics: Float[Tensor, "B 3 3"],
    image: Float[Tensor, "B 3 H W"] | None = None,
) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 3"] | None]:
    """One point a pixel, row by row, in camera axes, and its colour where a picture is given.

    Args:
        depth: positive.
        intrinsics: K in pixels.
        image: RGB in [0, 1], of the depth's size.

    Raises:
        ShapeError: sizes differ.
    """
    points = back_project(depth, intrinsics).flatten(2).transpose(1, 2)  # (B, H W, 3)
    if image is None:
        return points, None
    if image.shape[2:] != depth.shape[2:] or image.shape[:2] != (len(depth), 3):
        got = f"{tuple(image.shape)} for {tuple(depth.shape)}"
        raise ShapeError(f"image: expected (B, 3, H, W) of the depth's size, got {got}")
    return points, image.flatten(2).transpose(1, 2)  # (B, H W, 3)


def _decoder(features: tuple[int, ...], width: int) -> nn.ModuleList:
    """Ten convolutions with ELU, two a level from the coarsest, then the disparities', finest first."""
    levels = [max(2, channels * width // 64) for channels in _LEVELS]
    modules: list[nn.Module] = []
    for level in range(len(levels) - 1, -1, -1):
        inputs = features[-1] if level == len(levels) - 1 else levels[level + 1]
        skip = features[level - 1] if level > 0 else 0
        modules += [_EluConv(inputs, levels[level]), _EluConv(levels[level] + skip, levels[level])]
    return nn.ModuleList([*modules, *(_MirroredConv(levels[scale], 1) for scale in range(SCALES))])


class _MirroredConv(nn.Module):
    """A 3 x 3 convolution over a mirrored border (a copied one where a side is a single pixel)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)

    def forward(self, values: Tensor) -> Tensor:
        mode = "reflect" if min(values.shape[2:]) > 1 else "replicate"
        return self.conv(F.pad(values, (1, 1, 1, 1), mode=mode))


class _EluConv(nn.Module):
    """`_MirroredConv`, then ELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _MirroredConv(inputs, outputs)

    def forward(self, values: Tensor) -> Tensor:
        return F.elu(self.conv(values), inplace=True)


def stretched(disparity: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """For the eye: from 0 at each map's least to 1 at its largest value; a constant one is 0."""
    least, most = disparity.amin((2, 3), keepdim=True), disparity.amax((2, 3), keepdim=True)
    return (disparity - least) / (most - least).clamp_min(torch.finfo(disparity.dtype).eps)
