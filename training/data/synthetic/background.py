"""Backgrounds out of focus: walls, windows, shelves, lights, leaves."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MARGIN = 0.25  # around the frame, of its side, for a camera that moves
_GRID = 96


def draw_background(rng: np.random.Generator, size: int) -> Float[Tensor, "3 N N"]:
    """Display RGB of a square larger than the frame by `MARGIN` on every side, blurred."""
    side = _GRID
    kind = rng.choice(("wall", "room", "lights", "outdoor"), p=(0.3, 0.35, 0.15, 0.2))
    wall = _muted(rng)
    down, across = np.mgrid[0:side, 0:side] / side
    picture = np.ones((side, side, 3)) * wall
    tilt = rng.uniform(-0.35, 0.35, 2)
    picture *= (1 + tilt[0] * (across - 0.5) + tilt[1] * (down - 0.5))[..., None]
    if kind == "room":
        _rectangles(picture, rng, int(rng.integers(3, 9)))
    if kind == "lights":
        picture *= 0.35
        _spots(picture, rng, int(rng.integers(8, 30)), across, down)
    if kind == "outdoor":
        _outdoors(picture, rng, across, down)
    blur = float(rng.uniform(0.6, 3.5))
    image = torch.from_numpy(picture).float().permute(2, 0, 1)[None]
    image = blurred(image, blur)
    whole = round(size * (1 + 2 * MARGIN))
    return F.interpolate(image, size=(whole, whole), mode="bicubic", align_corners=False)[0].clamp(0, 1)


def _muted(rng: np.random.Generator) -> np.ndarray:
    import colorsys

    return np.array(colorsys.hsv_to_rgb(rng.random(), 0.4 * rng.random() ** 1.7, rng.uniform(0.12, 0.85)))


def _rectangles(picture: np.ndarray, rng: np.random.Generator, count: int) -> None:
    side = len(picture)
    for _ in range(count):
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(side // 12, side // 2, 2)
        colour = _muted(rng) if rng.random() < 0.8 else np.array([0.95, 0.95, 0.92])
        picture[top : top + height, left : left + width] = colour


def _spots(
    picture: np.ndarray, rng: np.random.Generator, count: int, across: np.ndarray, down: np.ndarray
) -> None:
    for _ in range(count):
        x, y = rng.random(2)
        radius = rng.uniform(0.01, 0.05)
        inside = ((across - x) ** 2 + (down - y) ** 2 < radius**2)[..., None]
        picture += inside * rng.uniform(0.3, 0.8) * np.array([1.0, rng.uniform(0.6, 1), rng.uniform(0.3, 1)])


def _outdoors(picture: np.ndarray, rng: np.random.Generator, across: np.ndarray, down: np.ndarray) -> None:
    horizon = rng.uniform(0.35, 0.75) + 0.05 * np.sin(across * rng.uniform(4, 14) + rng.uniform(0, 6))
    sky = np.array([0.62, 0.75, 0.9]) * rng.uniform(0.7, 1.1)
    green = np.array([rng.uniform(0.2, 0.4), rng.uniform(0.3, 0.45), rng.uniform(0.12, 0.25)])
    leaves = 1 + 0.5 * rng.standard_normal(across.shape)
    picture[:] = np.where((down < horizon)[..., None], sky, green * leaves[..., None])


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Pictures ``(B, 3, H, W)`` under a Gaussian of ``sigma`` pixels; beyond the border it repeats."""
    radius = max(1, round(3 * sigma))
    taps = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * sigma**2))
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    padded = F.pad(image, (radius, radius, 0, 0), mode="replicate")
    rows = F.conv2d(padded, taps, groups=3)
    padded = F.pad(rows, (0, 0, radius, radius), mode="replicate")
    return F.conv2d(padded, taps.transpose(2, 3), groups=3)


def through_window(
    background: Float[Tensor, "3 N N"], window: Float[Tensor, "2 3"], size: int, *, factor: int = 1
) -> Float[Tensor, "3 H W"]:
    """The part of a background in the frame under `Motion.window`; ``factor`` samples a pixel.

    Args:
        background: a square picture, larger than the frame.
        window: the affine map of this frame.
        size: side of the frame in pixels.
        factor: samples a pixel and axis.
    """
    whole = background.shape[-1]
    place = (torch.arange(size * factor) + 0.5) / factor
    x = (place - window[0, 2]) / window[0, 0] - size / 2
    y = (place - window[1, 2]) / window[1, 1] - size / 2
    unit = 2 / whole
    grid = torch.stack(torch.meshgrid(y * unit, x * unit, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(background[None], grid[None], padding_mode="reflection", align_corners=False)[0]
