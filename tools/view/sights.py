"""What the editor can show of a pose besides the picture: heat maps of how it came about."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...geom.displacement import source_visibility
from ...geom.errors import HeadwarpError
from ...geom.rasterizer import interpolate
from ...training.data.portrait import Frame, to_frame
from .. import draw
from .engine import Shown, Subject

MESH_OPACITY = 0.7
FULL_FLOW = 0.12  # of the window's side: the displacement that is drawn in full colour


@torch.no_grad()
def sight(subject: Subject, made: Shown, name: str) -> Frame:
    """One of `SIGHTS` as uint8 (S, S, 3).

    Args:
        subject: the opened photo.
        made: what the animator made.
        name: of the sight.

    Raises:
        HeadwarpError: the animator makes no such map.
    """
    return SIGHTS[name][0](subject, made)


def caption(name: str) -> str:
    """What the colours mean."""
    return SIGHTS[name][1]


def _picture(subject: Subject, made: Shown) -> Frame:
    return made.frame


def _photo(subject: Subject, made: Shown) -> Frame:
    return to_frame(subject.portrait.image)


def _view(subject: Subject, made: Shown) -> draw.View:
    """The head itself, without the inside of its mouth, where it lies in the window."""
    head, verts = subject.portrait.head, made.driving.posed_vertices
    assert verts is not None
    return draw.view_of(head, verts[:, : len(head.template)].cpu(), (subject.size, subject.size))


def _over(subject: Subject, made: Shown, colours: Tensor, covered: Tensor) -> Frame:
    below = made.animation.image[0].cpu()
    return to_frame(draw.blend(below, colours, covered, opacity=MESH_OPACITY))


def _mesh(subject: Subject, made: Shown) -> Frame:
    view = _view(subject, made)
    return _over(subject, made, draw.shaded(view), view.covered)


def _depth(subject: Subject, made: Shown) -> Frame:
    return to_frame(draw.depth_picture(_view(subject, made)))


def _visibility(subject: Subject, made: Shown) -> Frame:
    head, view = subject.portrait.head, _view(subject, made)
    verts = subject.portrait.source().posed_vertices
    assert verts is not None
    seen = source_visibility(verts[:, : len(head.template)], head.faces, view.size)
    there = interpolate(view.fragments, seen[..., None], head.faces)[0]
    colours = draw.visibility_picture((there > 0.5).to(there.dtype), view.covered, draw.shaded(view))
    return _over(subject, made, colours, view.covered)


def _flow(subject: Subject, made: Shown) -> Frame:
    flow = made.animation.flow
    if flow is None:
        raise HeadwarpError(f"{subject.maker.animator} makes no flow; look at the picture instead")
    return to_frame(draw.flow_to_color(flow[0].cpu(), full=FULL_FLOW * subject.size))


def _occlusion(subject: Subject, made: Shown) -> Frame:
    occlusion = made.animation.occlusion
    if occlusion is None:
        raise HeadwarpError(f"{subject.maker.animator} tells no layers apart; look at the picture instead")
    return to_frame(occlusion[0].cpu().expand(3, -1, -1))


SIGHTS: dict[str, tuple[Callable[[Subject, Shown], Frame], str]] = {
    "picture": (_picture, ""),
    "original": (_photo, "The photo as it was opened."),
    "mesh": (_mesh, "The fitted head over the picture."),
    "flow": (
        _flow,
        "Where each pixel comes from: the hue is the direction, white did not move. Red: from the right; "
        "yellow-green: from below; cyan: from the left; violet: from above.",
    ),
    "visibility": (
        _visibility,
        "Green: skin that the photo shows. Red: skin that it does not, which has to be made up.",
    ),
    "occlusion": (_occlusion, "White: the person. Black: background, or what has come from behind."),
    "depth": (_depth, "White is near, dark is far."),
}
"""Name -> how it is drawn, and what its colours mean."""
