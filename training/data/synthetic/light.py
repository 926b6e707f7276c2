"""Light on a synthetic person: a sky of second order, a lamp that throws shadows, how materials answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....geom.rasterizer import rasterize
from ....geom.shading import shade
from .noise import dot, unit
from .occlusion import view_from

SHADOW_PICTURE = 384
SHADOW_BIAS = 0.004  # metres
WRAP = (0.32, 0.18, 0.10)  # how far light creeps around skin, by colour: red goes deepest


@dataclass(frozen=True)
class Light:
    """Distant light in camera axes, linear RGB.

    Attributes:
        sky: harmonics of its radiance, ``(9, 3)``, see `geom.shading`.
        lamp: unit vector towards it.
        lamp_colour: what a white surface gives back that faces it.
    """

    sky: Float[Tensor, "9 3"]
    lamp: Float[Tensor, " 3"]
    lamp_colour: Float[Tensor, " 3"]


def draw_light(rng: np.random.Generator) -> Light:
    """Rooms and daylight: a lamp from the front half, warm or cold, against a dim or bright surrounding."""
    aside, up = math.radians(rng.uniform(-75, 75)), math.radians(rng.uniform(-5, 60))
    lamp = np.array([math.sin(aside) * math.cos(up), -math.sin(up), -math.cos(aside) * math.cos(up)])
    contrast = rng.uniform(0.15, 0.75)
    sky_colour, lamp_colour = _tint(rng, 0.10), _tint(rng, 0.16)
    facing = 0.35 + 0.65 * max(0.0, -lamp[2])
    sky = np.zeros((9, 3))
    sky[0] = math.sqrt(4 * math.pi) * (1 - contrast) * sky_colour
    lean = 0.6 * np.array([rng.uniform(-0.6, 0.6), -rng.uniform(0.1, 1.0), rng.uniform(-0.7, 0.1)])
    for row, axis in ((1, 1), (2, 2), (3, 0)):
        sky[row] = math.sqrt(4 * math.pi / 3) * lean[axis] * (1 - contrast) * sky_colour
    sky[4:] = 0.12 * (1 - contrast) * rng.standard_normal((5, 1)) * sky_colour
    return Light(
        torch.from_numpy(sky).float(),
        torch.from_numpy(lamp).float(),
        torch.from_numpy(contrast / facing * lamp_colour).float(),
    )


def _tint(rng: np.random.Generator, most: float) -> np.ndarray:
    """White, a little warm or cold."""
    warm = rng.uniform(-most, most)
    return np.array([1 + warm, 1 + 0.2 * rng.uniform(-most, most), 1 - warm])


@dataclass(frozen=True)
class Surface:
    """P points to be lit, unit vectors in camera axes, linear RGB.

    Attributes:
        points: (P, 3) metres.
        normals: towards the camera.
        tangents: along hair, zero elsewhere.
        view: towards the camera.
        albedo: (P, 3).
        ambient: how open to the sky, (P,).
        gloss: strength of the highlight.
        sharp: its exponent.
        wrap: share of `WRAP`: 1 skin, 0 hard.
    """

    points: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"]
    tangents: Float[Tensor, "P 3"]
    view: Float[Tensor, "P 3"]
    albedo: Float[Tensor, "P 3"]
    ambient: Float[Tensor, " P"]
    gloss: Float[Tensor, " P"]
    sharp: Float[Tensor, " P"]
    wrap: Float[Tensor, " P"]


def lit(surface: Surface, light: Light, shadow: Float[Tensor, " P"]) -> Float[Tensor, "P 3"]:
    """What the camera sees, linear RGB; ``shadow`` is 1 where the lamp reaches.

    Sky: irradiance of the harmonics times openness. Lamp: Lambert's cosine, bent around the edge of the
    shadow on skin. Highlight: Blinn-Phong, on hair about the tangent after Kajiya and Kay.

    Args:
        surface: P points that the camera sees.
        light: sky and lamp.
        shadow: 1 where the lamp reaches, else less.
    """
    sky = _irradiance(surface.normals, light.sky).clamp(min=0.02)
    facing = surface.normals @ light.lamp
    wrap = surface.wrap[:, None] * facing.new_tensor(WRAP)
    direct = ((facing[:, None] + wrap) / (1 + wrap)).clamp(min=0) * shadow[:, None] * light.lamp_colour
    open_sky = _coloured_ambient(surface)
    half = unit(light.lamp + surface.view)
    on_hair = dot(surface.tangents, surface.tangents) > 0.5
    across = dot(surface.tangents, half)
    angle = torch.where(on_hair, (1 - across.square()).clamp(min=0).sqrt(), dot(surface.normals, half))
    strength = surface.gloss * angle.clamp(min=1e-4) ** surface.sharp * shadow * (facing > -0.2)
    rim = 0.35 * surface.gloss * (1 - dot(surface.normals, surface.view).clamp(0, 1)) ** 4
    shine = strength[:, None] * light.lamp_colour + (rim * surface.ambient)[:, None] * sky
    return surface.albedo * (sky * open_sky + direct) + shine


def _coloured_ambient(surface: Surface) -> Tensor:
    """Dim places are lit by their own colour: openness to a power that falls with the albedo."""
    dark = surface.ambient.clamp(0.03, 1)[:, None]
    return dark ** (1 - 0.45 * surface.albedo.clamp(0, 1))


def _irradiance(normals: Tensor, sky: Tensor) -> Tensor:
    return shade(normals.T[None, :, None], sky[None])[0, :, 0].T


@dataclass(frozen=True)
class ShadowMap:
    """The scene as the lamp sees it."""

    lamp: Float[Tensor, " 3"]
    depth: Float[Tensor, "S S"]
    low: Float[Tensor, " 3"]
    high: Float[Tensor, " 3"]


def shadow_map(
    points: Float[Tensor, "N 3"],
    faces: Int[Tensor, "F 3"],
    light: Light,
    *,
    centre: Float[Tensor, " 3"],
    reach: float,
) -> ShadowMap:
    """Depth from the lamp around a point, ``reach`` metres to all sides.

    Args:
        points: of the mesh, metres.
        faces: its triangles.
        light: with its lamp.
        centre: of the ball that the map covers.
        reach: its radius in metres.
    """
    low, high = centre - reach, centre + reach
    seen = view_from(points, light.lamp, size=SHADOW_PICTURE, low=low, high=high)
    depth = rasterize(seen[None], faces, (SHADOW_PICTURE, SHADOW_PICTURE)).depth[0]
    return ShadowMap(light.lamp, depth, low, high)


def reached(points: Float[Tensor, "P 3"], shadow: ShadowMap) -> Float[Tensor, " P"]:
    """Share of the lamp that reaches each point: nine neighbouring directions."""
    size = shadow.depth.shape[0]
    seen = view_from(points, shadow.lamp, size=size, low=shadow.low, high=shadow.high)
    unit = size / float((shadow.high - shadow.low).norm())
    total = points.new_zeros(len(points))
    nearest = seen[:, 2] - SHADOW_BIAS * unit
    flat = shadow.depth.reshape(-1)
    for down in (-1.4, 0.0, 1.4):
        for right in (-1.4, 0.0, 1.4):
            column = (seen[:, 0] + right).long().clamp(0, size - 1)
            row = (seen[:, 1] + down).long().clamp(0, size - 1)
            total += nearest <= flat[row * size + column]
    return total / 9
