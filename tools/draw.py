"""Pictures of a posed mesh and of flow: what render, fit's overlays and explanations draw with.

Pictures are float RGB (3, H, W) in [0, 1], black where nothing is drawn. Geometry comes from `headwarp.geom`;
here numbers only become colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..flame.model import HeadModel
from ..geom.codes import facing, keep_faces
from ..geom.flow import sample
from ..geom.mesh import vertex_normals
from ..geom.rasterizer import Fragments, interpolate, rasterize
from ..geom.shading import head_light
from ..training.data.lettering import typeface

Frame = NDArray[np.uint8]
Picture = Float[Tensor, "3 H W"]
_GOLDEN = 0.61803398875  # steps of hue by it stay apart however many there are


@dataclass(frozen=True)
class View:
    """One posed mesh as the camera sees it.

    Attributes:
        model: the head.
        verts: posed vertices in pixels, ``(1, V, 3)``; not finite where the frame shows no head.
        fragments: what each pixel sees.
        size: (H, W).
    """

    model: HeadModel
    verts: Float[Tensor, "1 V 3"]
    fragments: Fragments
    size: tuple[int, int]

    @property
    def covered(self) -> Float[Tensor, "1 H W"]:
        """1 where the mesh lies."""
        return (self.fragments.face >= 0).to(self.verts.dtype)


def view_of(model: HeadModel, verts: Float[Tensor, "1 V 3"], size: tuple[int, int]) -> View:
    """Rasterise one posed mesh.

    Args:
        model: the head.
        verts: in pixels with depth.
        size: (H, W) of the picture.
    """
    return View(model, verts, rasterize(verts, model.faces, size), size)


def normals(view: View) -> Float[Tensor, "3 H W"]:
    """Smooth unit normals in camera axes (x right, y down, z forward); zero where empty."""
    at_vertices = torch.nan_to_num(vertex_normals(view.verts, view.model.faces))
    image = interpolate(view.fragments, at_vertices, view.model.faces)[0]
    return image / image.square().sum(0, keepdim=True).sqrt().clamp(min=1e-9)


def normals_picture(image: Float[Tensor, "3 H W"]) -> Picture:
    """Red: towards the image's right, green: up, blue: towards the viewer; half for none."""
    flipped = image * image.new_tensor([1.0, -1.0, -1.0])[:, None, None]
    return (flipped + 1) / 2 * (image != 0).any(0, keepdim=True)


def shaded(view: View) -> Picture:
    """Matte grey under a lamp at the camera."""
    return head_light(normals(view)[None])[0]


def depth_picture(view: View) -> Picture:
    """Near is white, far dark; the unit is the head's own radius, so that a turning head does not flicker."""
    centre = view.verts.mean(1, keepdim=True)
    radius = (view.verts - centre).square().sum(-1).mean().sqrt()
    height = (centre[0, 0, 2] - view.fragments.depth) / radius  # (1, H, W), the visible side -0.4 .. 1
    grey = torch.where(view.covered > 0, 0.4 + 0.6 * height, torch.zeros_like(height))
    return grey.clamp(0, 1).expand(3, -1, -1)


def texture_coordinates(view: View) -> Float[Tensor, "2 H W"]:
    """Texture coordinates u, v in [0, 1] of a head that has them, seams respected; zero where empty."""
    uv, uv_faces = view.model.uv, view.model.uv_faces
    assert uv is not None
    assert uv_faces is not None
    corners = uv[uv_faces[view.fragments.face[0].clamp(min=0).long()]]  # (H, W, 3, 2)
    mean = (corners * view.fragments.bary[0, ..., None]).sum(2)  # (H, W, 2)
    return mean.permute(2, 0, 1) * view.covered  # (2, H, W)


def painted(view: View, texture: Float[Tensor, "1 3 h w"]) -> Picture:
    """A texture of the head's own coordinates on the mesh under a lamp at the camera; black where empty."""
    u, v = texture_coordinates(view)  # (H, W) each
    height, width = texture.shape[2:]
    places = torch.stack([u * width, (1 - v) * height])[None]  # v points up; (1, 2, H, W)
    colours = sample(texture, places, padding_mode="border")[0]
    return colours * (0.35 + 0.65 * shaded(view)) * view.covered


def uv_picture(coordinates: Float[Tensor, "2 H W"], covered: Float[Tensor, "1 H W"]) -> Picture:
    """u in red, v in green, a checker of 16 x 16 in blue."""
    checker = (coordinates * 16).floor().sum(0, keepdim=True) % 2
    return torch.cat([coordinates, 0.35 + 0.3 * checker]) * covered


def front(view: View) -> Float[Tensor, "1 H W"]:
    """1 where the mesh shows its outside."""
    kept = keep_faces(view.fragments, facing(view.verts, view.model.faces))
    return (kept.face >= 0).to(view.verts.dtype)


def codes_picture(
    codes: Float[Tensor, "C H W"], covered: Float[Tensor, "1 H W"], table: Float[Tensor, "N C"]
) -> Picture:
    """Red, green and blue are the first three principal directions of all codes, two deviations each way.

    The directions are those of the ``table``, so a code has one colour in every pose. With fewer than three
    channels the rest is middle grey.

    Args:
        codes: rendered codes.
        covered: 1 where the mesh lies.
        table: the codes of all vertices or texels.
    """
    centred = table - table.mean(0)
    spread, directions = torch.linalg.eigh(centred.mT @ centred / len(table))  # ascending
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = (directions * largest.sign()).flip(1)[:, :3]  # a sign of its own for each: (C, 3)
    deviation = spread.flip(0)[:3].clamp(min=1e-12).sqrt()[:, None, None]
    values = torch.einsum("chw,ck->khw", codes - table.mean(0)[:, None, None], directions) / deviation
    missing = values.new_zeros(3 - len(values), *values.shape[1:])
    return (0.5 + torch.cat([values, missing]) / 4).clamp(0, 1) * covered


def region_names(model: HeadModel) -> tuple[str, ...]:
    """Names of the regions in the order of their numbers: larger ones first, smaller ones are seen on top."""
    return tuple(sorted(model.region_masks, key=lambda name: (-int(model.region_masks[name].sum()), name)))


def region_map(view: View) -> Int[Tensor, "1 H W"]:
    """Number of the smallest region each pixel belongs to, an index into `region_names`; -1 outside all."""
    of_vertex = torch.full((len(view.model.template),), -1, dtype=torch.int64)
    for number, name in enumerate(region_names(view.model)):
        of_vertex[view.model.region_masks[name]] = number
    corner = view.fragments.bary[0].argmax(-1, keepdim=True)  # (H, W, 1)
    corners = view.model.faces[view.fragments.face[0].clamp(min=0).long()]  # (H, W, 3)
    label = of_vertex[corners.gather(-1, corner)[..., 0]]
    return torch.where(view.covered[0] > 0, label, torch.full_like(label, -1))[None]


def region_picture(labels: Int[Tensor, "1 H W"], light: Picture) -> Picture:
    """Each region in a hue of its own over the shading; outside all regions the plain shading."""
    count = int(labels.max()) + 1
    palette = torch.tensor([hue_colour(_GOLDEN * number) for number in range(count)] + [[0.8, 0.8, 0.8]])
    return palette[labels[0]].permute(2, 0, 1) * (0.25 + light)  # -1 takes the last, the grey


def hue_colour(hue: float) -> list[float]:
    """RGB of a saturated hue, in turns."""
    return [0.55 + 0.45 * math.cos(2 * math.pi * (hue + shift)) for shift in (0.0, -1 / 3, 1 / 3)]


def flow_to_color(flow: Float[Tensor, "2 H W"], *, full: float) -> Picture:
    """A displacement as a colour: hue by direction, white at rest, saturated at ``full`` pixels and beyond.

    Red: the source lies to the right of the pixel; then clockwise in the image: yellow-green below, cyan to
    the left, violet above.

    Example:
        >>> flow_to_color(torch.zeros(2, 1, 1), full=1.0).flatten().tolist()
        [1.0, 1.0, 1.0]
    """
    turns = torch.atan2(flow[1], flow[0]) / (2 * math.pi)
    amount = (flow.square().sum(0).sqrt() / max(full, 1e-9)).clamp(0, 1)
    hue = torch.stack([((turns * 6 + shift) % 6 - 3).abs() - 1 for shift in (0.0, 4.0, 2.0)]).clamp(0, 1)
    return 1 - amount * (1 - hue)


def visibility_picture(
    visible: Float[Tensor, "1 H W"], covered: Float[Tensor, "1 H W"], light: Picture
) -> Picture:
    """Green where the source shows the surface, red where it does not.

    Args:
        visible: 1 where the source shows the surface.
        covered: 1 where the mesh lies.
        light: the shaded mesh.
    """
    green, red = (light.new_tensor(colour)[:, None, None] for colour in ([0.3, 0.95, 0.4], [1.0, 0.35, 0.3]))
    return torch.where(visible > 0.5, green, red) * (0.25 + light) * covered


def blend(below: Picture, above: Picture, covered: Float[Tensor, "1 H W"], *, opacity: float) -> Picture:
    """One picture laid over another where the mesh lies.

    Args:
        below, above: RGB in [0, 1].
        covered: 1 where the mesh lies.
        opacity: of what lies above, in [0, 1].
    """
    return below + opacity * covered * (above - below)


def mark_points(frame: Frame, points: NDArray[np.floating], *, colour: tuple[int, int, int]) -> Frame:
    """Small discs at points (N, 2) in pixels; those not finite are left out.

    Args:
        frame: RGB.
        points: x, y in pixels.
        colour: RGB.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    radius = max(1.0, max(frame.shape[:2]) / 512)
    for x, y in points[np.isfinite(points).all(1)]:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.array(image)


def mark_boxes(frame: Frame, boxes: Sequence[NDArray[np.floating]], labels: Sequence[str]) -> Frame:
    """Outlined boxes (x0, y0, x1, y1) with a word above each.

    Args:
        frame: RGB.
        boxes: corners in pixels.
        labels: a word a box.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    width = max(1, max(frame.shape[:2]) // 400)
    size = max(12, max(frame.shape[:2]) // 64)
    font = typeface(size)
    for box, label in zip(boxes, labels, strict=True):
        x0, y0, x1, y1 = (float(value) for value in box)
        draw.rectangle((x0, y0, x1, y1), outline=(255, 210, 60), width=width)
        place = (x0, max(0.0, y0 - size - 4))
        draw.rectangle(draw.textbbox(place, label, font=font), fill=(0, 0, 0))
        draw.text(place, label, fill=(255, 210, 60), font=font)
    return np.array(image)
