"""How the driving picture is changed before pose and expression are read off it ([LPD], [HeSer] sec. 1).

In training the driver is the very picture that is to be made. Unless the two are unlike, the pose code can
carry the person; so colours, sharpness and proportions of what the encoders see are drawn by lot, of every
picture by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..geom.errors import HeadwarpError


@dataclass(frozen=True)
class TargetChanges:
    """How much is changed; the defaults are those of the public code of [HeSer], after [LPD].

    Attributes:
        pixelwise: strength of changes of colour and sharpness, 0 to 1: brightness, contrast, saturation,
            blur and noise. Of the public code's list of ten these five are kept, at 1 in its amounts.
        scale: both axes are scaled by a factor of their own in 1 - scale .. 1 + scale.
        scale_share: of pictures that are scaled.
        keep_area: the second factor is one over the first: proportions are hidden and sizes are not, so that
            the pose code tells how near a head is.
        shift: both axes are moved by up to this share of the side, the picture to be made with them.
        shift_share: of pictures that are moved.
    """

    pixelwise: float = 1.0
    scale: float = 0.2
    scale_share: float = 0.5
    keep_area: bool = False
    shift: float = 0.05
    shift_share: float = 0.5

    def __post_init__(self) -> None:
        shares = (self.pixelwise, self.scale_share, self.shift_share)
        if not all(0 <= share <= 1 for share in shares) or not (0 <= self.scale < 1 and 0 <= self.shift < 1):
            raise HeadwarpError(f"changes: expected shares in 0..1, scale and shift below 1, got {self}")


@dataclass(frozen=True)
class ChangedTarget:
    """A driver as the encoders see it, and the picture to be made of it.

    Attributes:
        seen: changed in every way.
        wanted: moved alone.
    """

    seen: Float[Tensor, "B 3 H W"]
    wanted: Float[Tensor, "B 3 H W"]


def changed_target(image: Float[Tensor, "B 3 H W"], config: TargetChanges) -> ChangedTarget:
    """Pictures changed at random, by torch's generator of their device.

    Around the frame the picture is reflected.

    Args:
        image: RGB in [0, 1].
        config: how much.
    """
    batch, like = len(image), image.new_ones(())
    moved = _chosen(config.shift_share, batch, like) * _between(
        -2 * config.shift, 2 * config.shift, batch, like
    )
    first = _between(1 - config.scale, 1 + config.scale, batch, like)
    factors = torch.cat([first[:, :1], 1 / first[:, :1]], 1) if config.keep_area else first
    factors = torch.where(_chosen(config.scale_share, batch, like) > 0, factors, torch.ones_like(factors))
    wanted = image if not config.shift else _affine(image, torch.ones_like(factors), moved)
    seen = wanted if not config.scale else _affine(image, factors, moved)
    return ChangedTarget(_pixelwise(seen, config.pixelwise), wanted)


def _affine(image: Tensor, factors: Tensor, moved: Tensor) -> Tensor:
    """Pictures scaled about their middle and moved, in shares of half the frame."""
    theta = torch.cat([torch.diag_embed(1 / factors), (-moved / factors)[:, :, None]], 2)  # (B, 2, 3)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _pixelwise(image: Tensor, strength: float) -> Tensor:
    """Brightness x 0.5 .. 1.5, contrast and saturation x 0.75 .. 1.25, blur up to 1 px, noise up to 0.05;
    each of half the pictures.
    """
    if not strength:
        return image
    batch, like = len(image), image.new_ones(())

    def amount(low: float, high: float, rest: float) -> Tensor:
        drawn = torch.where(
            _chosen(0.5, batch, like) > 0,
            _between(low, high, batch, like)[:, :1],
            torch.full_like(image[:, :1, 0, 0], rest),
        )
        return (rest + strength * (drawn - rest))[:, :, None, None]  # (B, 1, 1, 1)

    image = image * amount(0.5, 1.5, 1.0)
    mean = image.mean((1, 2, 3), keepdim=True)
    image = mean + (image - mean) * amount(0.75, 1.25, 1.0)
    grey = image.mean(1, keepdim=True)
    image = grey + (image - grey) * amount(0.75, 1.25, 1.0)
    image = torch.lerp(image, _blurred(image), amount(0.0, 1.0, 0.0))
    noise = torch.randn_like(image[:, :1]) * amount(0.0, 0.05, 0.0)  # one for all colours
    return (image + noise).clamp(0, 1)


def _blurred(image: Tensor) -> Tensor:
    """By a Gaussian of about one pixel."""
    padded = F.pad(image, (2, 2, 2, 2), mode="replicate")
    taps = image.new_tensor([0.0545, 0.2442, 0.4026, 0.2442, 0.0545])
    kernel = (taps[:, None] * taps)[None, None].expand(image.shape[1], 1, 5, 5)
    return F.conv2d(padded, kernel, groups=image.shape[1])


def _chosen(share: float, batch: int, like: Tensor) -> Tensor:
    """1 for so many of the pictures, ``(B, 1)``."""
    return (torch.rand(batch, 1, device=like.device) < share).to(like)


def _between(low: float, high: float, batch: int, like: Tensor) -> Tensor:
    """Two numbers a picture, ``(B, 2)``."""
    return low + (high - low) * torch.rand(batch, 2, device=like.device, dtype=like.dtype)
