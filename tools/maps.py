"""What `render` can show of a posed head: one entry a mode, the numbers first and their colours second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.codes import NeuralCodes
from ..geom.displacement import MeshFlow, border, complete, mesh_flow
from ..geom.flow import warp
from ..geom.rasterizer import interpolate
from . import draw
from .draw import Picture, View

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class Origin:
    """The pose that a displacement starts from.

    Attributes:
        verts: posed vertices in pixels, ``(1, V, 3)``.
        visibility: 1 where the source picture shows the vertex, ``(1, V)``.
        full: displacement in pixels that is drawn in full colour.
        photo: the source picture, ``(1, 3, H, W)``; for textures.
        skin: a texture of the head's own coordinates, ``(1, 3, h, w)``, in place of the source picture.
        codes: neural codes of the head.
    """

    verts: Float[Tensor, "1 V 3"]
    visibility: Float[Tensor, "1 V"]
    full: float
    photo: Float[Tensor, "1 3 H W"] | None = None
    skin: Float[Tensor, "1 3 h w"] | None = None
    codes: NeuralCodes | None = None


@dataclass(frozen=True)
class Mode:
    """One way to show a posed head.

    Attributes:
        measure: named maps ``(C, H, W)``: what an ``.npz`` holds.
        colour: those maps as a picture.
        about: the maps in a sentence: units, axes, value of empty pixels.
        whole: the picture means something off the mesh too.
        needs: what the head must have: its attribute, and that in words.
    """

    measure: Callable[[View, Origin], Maps]
    colour: Callable[[View, Maps, Origin], Picture]
    about: str
    whole: bool = False
    needs: tuple[str, str] | None = None


def _flow(view: View, origin: Origin) -> MeshFlow:
    return mesh_flow(origin.verts, view.verts, view.model.faces, size=view.size, visibility=origin.visibility)


def _displacement(view: View, origin: Origin) -> Maps:
    raw = _flow(view, origin)
    flow = complete(raw, anchors=border(view.size, "tblr", raw.flow))
    return {"flow": flow[0], "known": raw.known[0], "visible": raw.known[0]}


def _displacement_picture(view: View, maps: Maps, origin: Origin) -> Picture:
    """Known displacement in full colour, the fill paler."""
    colours = draw.flow_to_color(maps["flow"], full=origin.full)
    return torch.where(maps["known"] > 0.5, colours, 0.5 + 0.5 * colours)


def _visible(view: View, origin: Origin) -> Tensor:
    values = interpolate(view.fragments, origin.visibility[..., None], view.model.faces)[0]
    return (values > 0.5).to(values.dtype)


def _textured(view: View, origin: Origin) -> Maps:
    if origin.skin is not None:
        return {"image": draw.painted(view, origin.skin), "known": view.covered}
    assert origin.photo is not None
    known = _visible(view, origin)
    photo = warp(origin.photo, _flow(view, origin).flow)[0]
    return {"image": torch.where(known > 0.5, photo, 0.35 * draw.shaded(view)), "known": known}


def _codes(view: View, origin: Origin) -> Maps:
    assert origin.codes is not None
    return {
        "codes": origin.codes.at(view.fragments, view.verts, view.model.faces)[0],
        "covered": draw.front(view),
    }


def _codes_picture(view: View, maps: Maps, origin: Origin) -> Picture:
    assert origin.codes is not None
    return draw.codes_picture(maps["codes"], maps["covered"], origin.codes.table)


MODES: Mapping[str, Mode] = {
    "shaded": Mode(
        lambda view, _: {"image": draw.shaded(view)},
        lambda view, maps, _: maps["image"],
        "image: RGB in [0, 1] under a lamp at the camera, 0 where empty",
    ),
    "normals": Mode(
        lambda view, _: {"normals": draw.normals(view)},
        lambda view, maps, _: draw.normals_picture(maps["normals"]),
        "normals: unit vectors in camera axes (x right, y down, z forward), 0 where empty",
    ),
    "depth": Mode(
        lambda view, _: {"depth": view.fragments.depth},
        lambda view, maps, _: draw.depth_picture(view),
        "depth: in pixel units, smaller is nearer, origin the head model's; +inf where empty",
    ),
    "uv": Mode(
        lambda view, _: {"uv": draw.texture_coordinates(view), "covered": view.covered},
        lambda view, maps, _: draw.uv_picture(maps["uv"], maps["covered"]),
        "uv: texture coordinates in [0, 1] as in the head file, 0 where empty; covered: 1 on the mesh",
        needs=("uv", "texture coordinates"),
    ),
    "displacement": Mode(
        _displacement,
        _displacement_picture,
        "flow: backward displacement to the source in pixels, x then y, filled harmonically where unknown; "
        "known: 1 where the mesh covers the pixel and the source shows the surface; visible: the same",
        whole=True,
    ),
    "codes": Mode(
        _codes,
        _codes_picture,
        "codes: neural codes of the surface, 0 where empty; covered: 1 where the head shows its outside",
    ),
    "visibility": Mode(
        lambda view, origin: {"visible": _visible(view, origin), "covered": view.covered},
        lambda view, maps, _: draw.visibility_picture(maps["visible"], maps["covered"], draw.shaded(view)),
        "visible: 1 where the source picture shows the surface; covered: 1 on the mesh",
    ),
    "regions": Mode(
        lambda view, _: {"regions": draw.region_map(view)},
        lambda view, maps, _: draw.region_picture(maps["regions"], draw.shaded(view)),
        "regions: number of the smallest region, an index into region_names; -1 outside all",
        needs=("region_masks", "region masks"),
    ),
    "textured": Mode(
        _textured,
        lambda view, maps, _: maps["image"],
        "image: RGB in [0, 1] of the source picture on the mesh, grey where the source does not show it, "
        "0 where empty; known: 1 where it does. Of a texture file: its mean under a lamp at the camera",
    ),
}
"""Name on the command line -> what it measures and how it is drawn."""
