"""Windows of a head swap: source heads cut out, target frames in a window that follows the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..flame.detect.class_maps import ClassMaps
from ..flame.detect.regions import RegionMap, RegionSegmenter, load_segmenter
from ..flame.head_surface import HeadSurface, head_surface
from ..flame.model import HeadModel
from ..flame.mouth import Mouth, open_mouth, with_mouth
from ..flame.params import MISSING, HeadFit
from ..flame.posing import body_motion, posed_vertices, project_head, window_fit
from ..flame.replacement import replaced_head
from ..flame.residual import ResidualField, corrected, field_of
from ..geom.colour_transfer import ColourStatistics, mixed_statistics, region_statistics
from ..geom.crops import Crop, crop_image
from ..geom.guidance import Driving
from ..training.data.portrait import Frame, Portrait, to_frame, to_image
from ..warping.head_swap import skin_weight
from ..warping.swap_engines import HeadRegions, SwapSource, SwapTarget

WINDOW = 2.6  # side of the window in sizes of the face
LIFT = 0.06  # by how many windows the face lies below the middle
CROP_FRAMES = 3  # the window's path is smoothed over so many frames to either side
QUICK_SIDE = 256
MASK_SHARE = 0.5  # of a new frame in masks smoothed in time
COLOUR_SHARE = 0.15


@dataclass(frozen=True)
class Pictured:
    """A head in its window, with all that is told from the picture.

    Attributes:
        image: RGB in [0, 1], ``(1, 3, S, S)``.
        fit: one frame, in window pixels.
        crop: where the window lies in the picture.
        person: where a person is; 0 beyond the picture.
        verts: posed mesh, its residual put back, ``(1, V, 3)``.
        head: the head, hair included, soft.
        labels: `FaceRegion` of every pixel.
    """

    image: Float[Tensor, "1 3 S S"]
    fit: HeadFit
    crop: Crop
    person: Float[Tensor, "1 1 S S"]
    verts: Float[Tensor, "1 V 3"]
    head: Float[Tensor, "1 1 S S"]
    labels: Int[Tensor, "1 S S"]


@dataclass(frozen=True)
class Stencil:
    """What belongs to a head model and a landmark set, made once.

    Attributes:
        model: the head.
        field: spreads landmark residuals over the mesh.
        surface: parts of the mesh.
        size: side of the windows.
        segmenter: of regions.
    """

    model: HeadModel
    field: ResidualField
    surface: HeadSurface
    size: int
    segmenter: RegionSegmenter

    @staticmethod
    def of(model: HeadModel, fit: HeadFit, size: int) -> Stencil:
        """The stencil for a source's fit.

        Args:
            model: the head of the fit.
            fit: one frame.
            size: side of the windows in pixels.
        """
        segmenter = load_segmenter(head=model)
        return Stencil(model, field_of(model, fit), head_surface(model), size, segmenter)

    def pictured(
        self, frame: Frame, fit: HeadFit, crop: Crop, *, quick: bool = False, number: int = 0
    ) -> Pictured:
        """A frame's head.

        Args:
            frame: uint8 (H, W, 3).
            fit: one frame, in its pixels.
            crop: the window.
            quick: tell regions at half the resolution.
            number: of the frame, for class maps.
        """
        there = window_fit(fit, crop, self.size)
        person = person_window(frame, crop, self.size)
        verts = corrected(posed_vertices(self.model, there), there, self.field)
        image = window_image(frame, crop, self.size)
        if isinstance(self.segmenter, ClassMaps):
            head, labels = _cut_out(self.segmenter.segment(frame, frame=number), crop, self.size)
        else:
            head, labels = self._regions(image, fit, crop, person, quick=quick)
        return Pictured(image, there, crop, person, verts, head * (person > 0), labels)

    def _regions(
        self, image: Tensor, fit: HeadFit, crop: Crop, person: Tensor, *, quick: bool
    ) -> tuple[Float[Tensor, "1 1 S S"], Int[Tensor, "1 S S"]]:
        """Mask of the head, and labels; quickly: told at up to `QUICK_SIDE` pixels and drawn larger."""
        side = min(self.size, QUICK_SIDE) if quick else self.size
        if side < self.size:
            image, person = (F.interpolate(each, size=(side, side), mode="area") for each in (image, person))
        regions = self.segmenter.segment(
            to_frame(image), fit=window_fit(fit, crop, side), person=person[0, 0].contiguous().numpy()
        )
        head, labels = (torch.from_numpy(each)[None, None].float() for each in (regions.head, regions.labels))
        if side < self.size:
            size = (self.size, self.size)
            head = F.interpolate(head, size=size, mode="bilinear", align_corners=False)
            labels = F.interpolate(labels, size=size, mode="nearest")
        return head, labels[:, 0].long()


@dataclass(frozen=True)
class SourceHead:
    """One fitted picture of the head that is put in."""

    stencil: Stencil
    seen: Pictured

    @cached_property
    def mouth(self) -> Mouth | None:
        """What is seen between the lips of the source; None where its landmarks do not say."""
        return open_mouth(self.stencil.model, self.seen.verts, self.seen.fit)

    def swap_source(self) -> SwapSource:
        """The tensors that an engine takes."""
        seen, stencil = self.seen, self.stencil
        portrait = Portrait(stencil.model, seen.image, seen.fit, seen.person, stencil.field, seen.crop)
        source = dataclasses.replace(portrait.source(), region_map=seen.labels)
        assert source.posed_vertices is not None
        count = seen.verts.shape[1]
        extra = source.posed_vertices.shape[1] - count
        mouth = torch.zeros(count + extra, dtype=torch.bool)
        if source.cavity is not None:
            mouth = source.cavity.clone()
            mouth[count:] = True
        surface = stencil.surface
        return SwapSource(
            source=source,
            head=seen.head,
            skin=F.pad(surface.skin, (0, extra)),
            surface=F.pad(surface.head, (0, extra), value=1.0),
            mouth=mouth,
        )

    def posed(self, fit: HeadFit) -> Driving:
        """The head in one frame of `replaced_head`."""
        model, own = self.stencil.model, self.seen.fit
        verts = corrected(posed_vertices(model, fit), fit, self.stencil.field)
        return Driving(
            posed_vertices=with_mouth(model, self.mouth, verts, fit),
            body_motion=body_motion(model, own, fit),
        )


def window_image(frame: Frame, crop: Crop, size: int) -> Float[Tensor, "1 3 S S"]:
    """The window of a frame; only the part of the frame under it is converted to floats.

    Args:
        frame: the whole picture.
        crop: the window.
        size: side in pixels at which it is drawn.
    """
    x0, y0, x1, y1 = _part(frame.shape, crop)
    moved = Crop(crop.x - x0, crop.y - y0, crop.side)
    return crop_image(to_image(frame[y0:y1, x0:x1]), moved, size)


def person_window(frame: Frame, crop: Crop, size: int) -> Float[Tensor, "1 1 S S"]:
    """Where a person is in the window; 0 beyond the frame.

    Args:
        frame: the whole picture.
        crop: the window.
        size: side in pixels at which it is drawn.
    """
    from ..flame.detect import segment_person

    x0, y0, x1, y1 = _part(frame.shape, crop)
    mask = torch.from_numpy(segment_person(np.ascontiguousarray(frame[y0:y1, x0:x1])))[None, None]
    inside = F.pad(torch.stack([mask[0], torch.ones_like(mask[0])], 1), (2, 2, 2, 2))
    moved = Crop(crop.x - x0 + 2, crop.y - y0 + 2, crop.side)
    person, within = crop_image(inside, moved, size).split(1, dim=1)
    return person * (within > 0.5)


def _cut_out(
    regions: RegionMap, crop: Crop, size: int
) -> tuple[Float[Tensor, "1 1 S S"], Int[Tensor, "1 S S"]]:
    """The window of a whole frame's regions: mask of the head, and labels."""
    head = crop_image(torch.from_numpy(regions.head)[None, None], crop, size)
    step = (torch.arange(size) + 0.5) * (crop.side / size)
    height, width = regions.labels.shape
    rows, columns = (
        (start + step).floor().long().clamp(0, extent - 1)
        for start, extent in ((crop.y, height), (crop.x, width))
    )
    return head, torch.from_numpy(regions.labels)[rows][:, columns][None].long()


def _part(shape: Sequence[int], crop: Crop) -> tuple[int, int, int, int]:
    """The pixels of a frame that a window needs: x0, y0, x1, y1; at least one."""
    height, width = shape[:2]
    x0, y0 = (int(min(max(np.floor(v) - 2, 0), n - 1)) for v, n in ((crop.x, width), (crop.y, height)))
    x1, y1 = (
        int(min(max(np.ceil(v + crop.side) + 2, lo + 1), n))
        for v, lo, n in ((crop.x, x0, width), (crop.y, y0, height))
    )
    return x0, y0, x1, y1


def head_windows(model: HeadModel, fit: HeadFit, *, scale: float = WINDOW) -> list[Crop]:
    """A square window around the head in every frame; its path is smoothed in time.

    A window follows the fitted head, not the detector's box: it breathes with no blink, and may reach beyond
    the frame.

    Args:
        model: the head of the fit.
        fit: T frames.
        scale: side of the window in sizes of the face.
    """
    points = _face_points(model, fit)
    low, high = points.amin(1), points.amax(1)
    side = scale * (high - low).amax(1)  # (T,)
    centre = (low + high) / 2
    path = torch.stack([centre[:, 0], centre[:, 1], side], dim=1)
    x, y, side = _smoothed(path, CROP_FRAMES).unbind(1)
    corners = zip(x.tolist(), y.tolist(), side.tolist(), strict=True)
    return [Crop(cx - s / 2, cy - s / 2 - LIFT * s, s) for cx, cy, s in corners]


def _face_points(model: HeadModel, fit: HeadFit) -> Float[Tensor, "T L 2"]:
    from ..flame.model import restrict

    family = str(fit.report.get("family", "mediapipe"))
    family = family if family in model.landmarks else next(iter(model.landmarks))
    return project_head(restrict(model, family), fit.params, fit.camera)[..., :2]


def _smoothed(path: Float[Tensor, "T C"], reach: int) -> Float[Tensor, "T C"]:
    """A triangular mean over 2 reach + 1 frames; ends repeat."""
    weights = torch.cat([torch.arange(1.0, reach + 2), torch.arange(float(reach), 0, -1)])
    padded = torch.cat([path[:1].expand(reach, -1), path, path[-1:].expand(reach, -1)])
    windows = padded.unfold(0, 2 * reach + 1, 1)  # (T, C, 2 reach + 1)
    return windows @ (weights / weights.sum()).to(path)


@torch.no_grad()
def target_windows(
    frames: Iterable[Frame],
    fit: HeadFit,
    source: SourceHead,
    given: SwapSource,
    *,
    segmenter: RegionSegmenter | None = None,
    led: HeadFit | None = None,
    numbers: Sequence[int] | None = None,
) -> Iterator[tuple[Frame, Pictured | None, SwapTarget | None]]:
    """Every frame of the target, with its window and what an engine takes; None where no head is.

    Masks and skin colours are smoothed in time: the window follows the head, and so do they.

    Args:
        frames: of the target, in the order of ``numbers``.
        fit: T frames in their pixels.
        source: the main one, whose head is posed.
        given: the same for the engine.
        segmenter: of the target's regions; None: the source's.
        led: the source's head in every record of the fit; None: `replaced_head`.
        numbers: of each frame, its record in the fit; None: as many as there are, in their order.
    """
    stencil = dataclasses.replace(source.stencil, segmenter=segmenter or source.stencil.segmenter)
    crops = head_windows(stencil.model, fit)
    replaced = led or replaced_head(stencil.model, source.seen.fit, fit)
    memory = _Memory()
    for number, frame in zip(range(fit.frames) if numbers is None else numbers, frames, strict=False):
        if int(fit.status[number]) == MISSING:
            memory = _Memory()
            yield frame, None, None
            continue
        one = fit.select([number])
        seen = stencil.pictured(frame, one, crops[number], quick=fit.frames > 1, number=number)
        memory, seen = memory.after(seen)
        posed = window_fit(replaced.select([number]), crops[number], stencil.size)
        target = SwapTarget(
            image=seen.image,
            head=seen.head,
            posed_vertices=_with_own_mouth(stencil, seen),
            driving=dataclasses.replace(source.posed(posed), image=seen.image, region_map=seen.labels),
            person=seen.person,
            segment=partial(_regions_of_made, _for_made(stencil.segmenter, source), posed),
        )
        memory, colours = memory.coloured(target, given)
        yield frame, seen, dataclasses.replace(target, colours=colours)


def _for_made(segmenter: RegionSegmenter, source: SourceHead) -> RegionSegmenter:
    """The segmenter of pictures that an engine makes: class maps are the target's and know none of them."""
    return source.stencil.segmenter if isinstance(segmenter, ClassMaps) else segmenter


def _regions_of_made(
    segmenter: RegionSegmenter, fit: HeadFit, image: Float[Tensor, "1 3 S S"]
) -> HeadRegions:
    """The regions of a picture that an engine made of the head in this fit's pose."""
    from ..flame.detect import segment_person

    frame = to_frame(image.cpu())
    person = segment_person(frame)
    found = segmenter.segment(frame, fit=fit, person=person)
    head = torch.from_numpy(found.head * (person > 0))[None, None]
    labels = torch.from_numpy(found.labels)[None].long()
    return HeadRegions(head.to(image), labels.to(image.device))


def _with_own_mouth(stencil: Stencil, seen: Pictured) -> Float[Tensor, "1 W 3"]:
    """The target's mesh with the strips of its own mouth: the topology of a source."""
    mouth = open_mouth(stencil.model, seen.verts, seen.fit)
    return with_mouth(stencil.model, mouth, seen.verts, seen.fit)


@dataclass(frozen=True)
class _Memory:
    """What of the frames before goes into the next one."""

    person: Tensor | None = None
    head: Tensor | None = None
    colours: ColourStatistics | None = None

    def after(self, seen: Pictured) -> tuple[_Memory, Pictured]:
        if self.person is None or self.head is None:
            return dataclasses.replace(self, person=seen.person, head=seen.head), seen
        person = torch.lerp(self.person, seen.person, MASK_SHARE)
        head = torch.lerp(self.head, seen.head, MASK_SHARE)
        kept = dataclasses.replace(self, person=person, head=head)
        return kept, dataclasses.replace(seen, person=person, head=head)

    def coloured(self, target: SwapTarget, given: SwapSource) -> tuple[_Memory, ColourStatistics]:
        size = (target.image.shape[2], target.image.shape[3])
        faces = given.source.faces
        assert faces is not None
        weight = skin_weight(target.posed_vertices, faces, given.skin, size, mask=target.head)
        colours = mixed_statistics(self.colours, region_statistics(target.image, weight), COLOUR_SHARE)
        return dataclasses.replace(self, colours=colours), colours
