"""Features of a head's pixels that need no learned weights: where on the head they lie, and the edges there.

They stand in for VGG-19's in the correspondence of [HeSer]'s blender where there are no weights of it: two
pixels are alike if they show the same place of the fitted head (or, where it shows none, such as hair, lie
in the same place about it) and lie on alike edges. A fixed network of chance would say nothing of either.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

SCALES = (1, 2, 4)  # px over which edges are taken
_SURFACE_OCTAVES, _PLACE_OCTAVES = 3, 3
_EDGE_WEIGHT = 0.3
_PLACE_WEIGHT = 0.5
CHANNELS = 6 * _SURFACE_OCTAVES + 4 * _PLACE_OCTAVES + 3 * len(SCALES)
_LUMA = (0.299, 0.587, 0.114)


def surface_features(
    image: Float[Tensor, "B 3 H W"],
    head: Bool[Tensor, "B 1 H W"],
    surface: Float[Tensor, "B 4 H W"],
    stride: int,
) -> Float[Tensor, "B C h w"]:
    """Features of every cell of ``stride`` pixels, `CHANNELS` of them.

    Args:
        image: RGB in [0, 1]; brightness and contrast of the whole do not matter, colours are not looked at.
        head: the head's pixels; places are counted from their middle, in their deviations.
        surface: where on the head at rest a pixel lies, in shares of its size, and 1 where that is known.
        stride: side of a cell in pixels.
    """
    where = _waves(_on_surface(surface, stride), _SURFACE_OCTAVES)
    known = (F.avg_pool2d(surface[:, 3:], stride) > 0).to(image)
    place = _waves(_places(head.to(image), stride), _PLACE_OCTAVES)
    return torch.cat([where * known, _PLACE_WEIGHT * place, _EDGE_WEIGHT * _edges(image, stride)], dim=1)


def _on_surface(surface: Tensor, stride: int) -> Float[Tensor, "B 3 h w"]:
    """Mean place of a cell's pixels that show the head."""
    pooled = F.avg_pool2d(torch.cat([surface[:, :3] * surface[:, 3:], surface[:, 3:]], 1), stride)
    return pooled[:, :3] / pooled[:, 3:].clamp_min(1e-6)


def _places(head: Float[Tensor, "B 1 H W"], stride: int) -> Float[Tensor, "B 2 h w"]:
    """x and y of cells from the head's middle, in two of its standard deviations."""
    height, width = head.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=head.device) + 0.5,
        torch.arange(width, device=head.device) + 0.5,
        indexing="ij",
    )
    points = torch.stack([x, y])[None].to(head)  # (1, 2, H, W)
    mass = head.sum((2, 3), keepdim=True).clamp_min(1)
    middle = (points * head).sum((2, 3), keepdim=True) / mass
    spread = ((points - middle).square() * head).sum((2, 3), keepdim=True) / mass
    return F.avg_pool2d((points - middle) / (2 * spread.mean(1, keepdim=True).sqrt() + 1), stride)


def _waves(places: Float[Tensor, "B D h w"], octaves: int) -> Float[Tensor, "B C h w"]:
    """Sines and cosines of places, the longest wave twice as long as from -1 to 1."""
    turns = [places * (math.pi / 2 * 2**octave) for octave in range(octaves)]
    return torch.cat([wave(turn) for turn in turns for wave in (torch.sin, torch.cos)], dim=1)


def _edges(image: Tensor, stride: int) -> Float[Tensor, "B C h w"]:
    """Slope in x and y, and its size, at every scale, in the picture's own mean slope there."""
    grey = (image * image.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    found = []
    for scale in SCALES:
        soft = F.avg_pool2d(F.pad(grey, [scale] * 4, mode="replicate"), 2 * scale + 1, 1)
        padded = F.pad(soft, [scale] * 4, mode="replicate")
        across = padded[:, :, scale:-scale, 2 * scale :] - padded[:, :, scale:-scale, : -2 * scale]
        down = padded[:, :, 2 * scale :, scale:-scale] - padded[:, :, : -2 * scale, scale:-scale]
        slope = torch.cat([across, down], dim=1)
        size = slope.square().sum(1, keepdim=True).sqrt()
        unit = size.mean((2, 3), keepdim=True) + 1e-3
        found.append(F.avg_pool2d(torch.cat([slope, size], 1) / unit, stride).clamp(-3, 3))
    return torch.cat(found, dim=1)
