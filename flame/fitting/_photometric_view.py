"""Frames as photometric refinement sees them: a window around the face, and the pixels that show skin."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geom.crops import Crop, crop_image, head_crop
from ...geom.flow import sample
from ...geom.mesh import vertex_normals
from ...geom.rasterizer import interpolate, rasterize
from ..model import HeadModel
from ..params import HeadFit, HeadParams
from ..posing import pixels_per_metre, posed_vertices, window_fit
from .appearance import Pixels

_MOST_PIXELS = 5000  # of a frame that take part in solving; errors are measured on all
_FACING = 0.2  # least cosine between a pixel's normal and the view
_WINDOW = 1.25  # side of the working window in face sizes


@dataclass(frozen=True)
class View:
    """One frame in its window: picture, blurred picture with its slopes, crop, fit in window pixels."""

    frame: int
    image: Tensor
    slopes: Tensor
    crop: Crop
    fit: HeadFit


@dataclass(frozen=True)
class Region:
    """What of the head is compared: its faces, vertices, and the landmarks' corners and weights."""

    faces: Tensor
    vertices: Tensor
    corners: Tensor
    bary: Tensor
    fitted: Tensor


def region_of(head: HeadModel, fit: HeadFit) -> Region:
    """The face's skin, without eyeballs and the inside of the mouth, and the fit's landmarks."""
    family = str(fit.report.get("family", "mediapipe"))
    embedding = head.landmarks[family]
    device = head.template.device
    face = head.region_masks.get("face")
    if face is None:  # what expressions move
        reach = head.expression_basis.square().sum((1, 2))
        face = reach > 0.02 * reach.max()
    face = face.clone()
    for name in ("left_eyeball", "right_eyeball", "mouth_interior"):
        if name in head.region_masks:
            face &= ~head.region_masks[name]
    row = {int(index): k for k, index in enumerate(embedding.indices)}
    moving = set(fit.report.get("moving_landmarks", ()))  # of an outline: no point of the mesh to hold on to
    place = [0 if int(index) in moving else row[int(index)] for index in fit.landmark_indices]
    rows = torch.tensor(place, device=device)
    fixed = fit.landmark_indices < 468 if family == "mediapipe" else fit.landmark_indices >= 17
    return Region(
        faces=head.faces[face[head.faces].all(1)],
        vertices=face.nonzero()[:, 0],
        corners=head.faces[embedding.faces[rows]],
        bary=embedding.bary[rows],
        fitted=fixed.to(device),
    )


def view_of(fit: HeadFit, images: Tensor, frame: int, size: int) -> View:
    """A frame drawn in the window around its face, no larger than it is."""
    crop = head_crop(fit.landmarks[frame], scale=_WINDOW, lift=0.0)
    side = min(size, max(32, round(crop.side)))
    image = crop_image(images[frame][None], crop, side)
    kernel = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    soft = F.pad(image, (2, 2, 2, 2), mode="replicate")
    soft = F.conv2d(soft, kernel.view(1, 1, 1, 5).expand(3, -1, -1, -1), groups=3)
    soft = F.conv2d(soft, kernel.view(1, 1, 5, 1).expand(3, -1, -1, -1), groups=3)
    padded = F.pad(soft, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    slopes = torch.cat([soft, along_x, along_y], 1)
    return View(frame, image, slopes, crop, to_device(window_fit(fit.select([frame]), crop, side), image))


def to_device(fit: HeadFit, like: Tensor) -> HeadFit:
    """Parameters, camera and landmarks of a fit where the pictures are."""
    moved = {f.name: getattr(fit.params, f.name).to(like) for f in dataclasses.fields(fit.params)}
    camera = type(fit.camera)(*(getattr(fit.camera, f.name).to(like) for f in dataclasses.fields(fit.camera)))
    return dataclasses.replace(
        fit, params=HeadParams(**moved), camera=camera, landmarks=fit.landmarks.to(like)
    )


def thinned(pixels: Pixels) -> Pixels:
    """Evenly chosen pixels, no more than `_MOST_PIXELS`."""
    every = -(-len(pixels.bary) // _MOST_PIXELS)
    return Pixels(*(getattr(pixels, f.name)[::every] for f in dataclasses.fields(pixels)))


def pixels_of(head: HeadModel, view: View, region: Region) -> Pixels:
    """The visible face pixels of a frame with what they show in the softened picture."""
    verts = posed_vertices(head, view.fit)
    normals = vertex_normals(verts, head.faces)
    drawn = rasterize(verts, head.faces, view.fit.size, cull=True)
    mask = torch.zeros(len(head.template), 1, device=verts.device)
    mask[region.vertices] = 1
    carried = interpolate(drawn, torch.cat([normals, mask[None]], -1), head.faces)[0]  # (4, H, W)
    towards = -F.normalize(carried[:3], dim=0)[2]
    visible = (drawn.face[0] >= 0) & (carried[3] > 0.999) & (towards > _FACING)
    rows, columns = visible.nonzero(as_tuple=True)
    corners = head.faces[drawn.face[0][rows, columns].long()]
    bary = drawn.bary[0][rows, columns]
    place = torch.stack([columns + 0.5, rows + 0.5], 1).to(verts)
    at = F.normalize(carried[:3, rows, columns].T, dim=1)
    return Pixels(corners, bary, at, colours_at(view.slopes[:, :3], place))


def colours_at(image: Tensor, place: Tensor) -> Tensor:
    """Channels of a picture ``(1, C, H, W)`` at places ``(N, 2)``: ``(N, C)``."""
    return sample(image, place.T[None, :, :, None])[0, :, :, 0].T


def eye_distance(head: HeadModel, fit: HeadFit, region: Region) -> float:
    """Root mean square spread of the landmarks on the resting head, in pixels: the eye distance within a
    fifth, for any family.
    """
    rest = torch.einsum("lkc,lk->lc", head.template[region.corners], region.bary)
    spread = float((rest - rest.mean(0)).square().sum(1).mean().sqrt())
    return 1.6 * spread * float(pixels_per_metre(fit.params, fit.camera)[0])
