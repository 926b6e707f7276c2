"""A photo made ready: head, fit, window, person mask, posed meshes; what edit, animate, render and demo
share.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..flame.landmarks import MEDIAPIPE_68
from ..flame.model import HeadModel, landmark_points
from ..flame.mouth import Mouth, open_mouth, with_mouth
from ..flame.params import HeadFit
from ..flame.posing import body_motion, body_vertices, posed_vertices, skull_vertices, window_fit
from ..flame.residual import ResidualField, corrected, field_of
from ..geom.crops import Crop, crop_image, head_crop
from ..geom.errors import ShapeError
from ..geom.guidance import Driving, Source
from .faces import fit_frames
from .heads import ready_head

Frame = NDArray[np.uint8]


def to_image(frame: Frame) -> Float[Tensor, "1 3 H W"]:
    """uint8 (H, W, 3) to float RGB in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 255


def to_frame(image: Float[Tensor, "... 3 H W"]) -> Frame:
    """Float RGB in [0, 1], one picture, to uint8 (H, W, 3), rounded."""
    picture = image.detach().reshape(-1, *image.shape[-3:])[0]
    return picture.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def as_frames(source: Any) -> Iterator[Frame]:
    """Frames of whatever a caller has: a path, PIL, numpy or torch; floats in [0, 1], one picture or many.

    Raises:
        ShapeError: an array that is no picture.
    """
    if isinstance(source, (str, Path)):
        yield from _file_frames(Path(source))
    elif isinstance(source, Tensor):
        array = source.detach().cpu()
        if array.ndim not in (3, 4) or array.shape[-3] != 3:
            raise ShapeError(
                f"frames: expected torch (3, H, W) or (T, 3, H, W) RGB in [0, 1], got {tuple(array.shape)}"
            )
        for picture in array if array.ndim == 4 else array[None]:
            yield picture.permute(1, 2, 0).numpy() if array.dtype == torch.uint8 else to_frame(picture)
    elif hasattr(source, "convert"):  # PIL
        yield _upright(source)
    elif isinstance(source, np.ndarray):
        yield from (_as_uint8(picture) for picture in (source if source.ndim == 4 else source[None]))
    elif isinstance(source, Iterable):
        for item in source:
            yield from as_frames(item)
    else:
        raise ShapeError(
            f"frames: expected a path, PIL, numpy or torch pictures, got {type(source).__name__}"
        )


def fitted_frames(source: Any, fit: HeadFit, *, first: int = 0) -> Iterator[Frame]:
    """The frames that a fit was made of, from its frame ``first`` on; a photo gives its one.

    Of a clip's file of which a part was fitted, as the fit's report says, that part. `as_frames` says what a
    source may be and what it raises.
    """
    from ..training.data.media import VideoReader, probe

    start = fit.report.get("start")
    part = isinstance(source, (str, Path)) and (first > 0 or start is not None)
    if part and probe(source).kind == "video":
        begin = (start or 0) + first
        with VideoReader(source, start=begin, stop=None if start is None else begin + fit.frames) as reader:
            yield from reader
        return
    frames = as_frames(source)
    head = list(itertools.islice(frames, 2))
    yield from head if len(head) == 1 else itertools.islice(itertools.chain(head, frames), first, None)


def _file_frames(path: Path) -> Iterator[Frame]:
    from ..training.data.media import VideoReader

    with VideoReader(path) as reader:  # a photo is a clip of one frame
        yield from reader


def _upright(picture: Any) -> Frame:
    """A PIL picture as a photo file would be read: turned as its EXIF says, transparency over grey."""
    from PIL import ImageOps

    from ..training.data.media import to_rgb_array

    return to_rgb_array(ImageOps.exif_transpose(picture))


def _as_uint8(picture: NDArray[Any]) -> Frame:
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ShapeError(f"frames: expected numpy (H, W, 3) or (T, H, W, 3) RGB, got {picture.shape}")
    if picture.dtype == np.uint8:
        return picture
    if not np.issubdtype(picture.dtype, np.floating):
        raise ShapeError(f"frames: expected uint8, or floats in [0, 1], got {picture.dtype}")
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True)
class Portrait:
    """A source ready to animate.

    Attributes:
        head: the head model.
        image: the working window, RGB in [0, 1], ``(1, 3, S, S)``.
        fit: one frame, in window pixels.
        mask: person probability, ``(1, 1, S, S)``.
        field: spreads landmark residuals over the mesh.
        crop: where the window lies in the original picture; None if the picture was used whole.
    """

    head: HeadModel
    image: Float[Tensor, "1 3 H W"]
    fit: HeadFit
    mask: Float[Tensor, "1 1 H W"]
    field: ResidualField
    crop: Crop | None = None

    def source(self) -> Source:
        """The tensors an animator takes."""
        verts = self._verts(self.fit)
        mouth = self._mouth
        extra = 0 if mouth is None else len(mouth.cavity) - verts.shape[1]
        return Source(
            image=self.image,
            mask=self.mask,
            landmarks=face_points(self.head, verts),
            posed_vertices=with_mouth(self.head, mouth, verts, self.fit),
            faces=self.head.faces if mouth is None else mouth.faces,
            skull=F.pad(skull_vertices(self.head), (0, extra)),
            body=F.pad(body_vertices(self.head), (0, extra)),
            cavity=None if mouth is None else mouth.cavity,
        )

    def driving(
        self, fit: HeadFit, *, image: Tensor | None = None, camera_motion: Tensor | None = None
    ) -> Driving:
        """Driving tensors of a fit in the same window (edited, retargeted, or of the same clip)."""
        verts = corrected(posed_vertices(self.head, fit, body=self.fit), fit, self.field)
        return Driving(
            image=image,
            landmarks=face_points(self.head, verts),
            posed_vertices=with_mouth(self.head, self._mouth, verts, fit),
            camera_motion=camera_motion,
            body_motion=body_motion(self.head, self.fit, fit),
        )

    def _verts(self, fit: HeadFit) -> Float[Tensor, "T V 3"]:
        return corrected(posed_vertices(self.head, fit), fit, self.field)

    @cached_property
    def _mouth(self) -> Mouth | None:
        return open_mouth(self.head, self._verts(self.fit), self.fit)


def face_points(head: HeadModel, verts: Float[Tensor, "T V 3"]) -> Float[Tensor, "T 68 2"] | None:
    """The 68 points on posed vertices; None if the head's landmarks do not hold them."""
    if "ibug68" in head.landmarks:
        return landmark_points(head, verts, "ibug68")[..., :2]
    if "mediapipe" not in head.landmarks:
        return None
    order = {int(index): row for row, index in enumerate(head.landmarks["mediapipe"].indices)}
    if not all(index in order for index in MEDIAPIPE_68):
        return None
    return landmark_points(head, verts, "mediapipe")[:, [order[index] for index in MEDIAPIPE_68], :2]


def portrait_of(
    frame: Frame,
    head: HeadModel,
    fit: HeadFit,
    *,
    size: int | None = None,
    field: ResidualField | None = None,
) -> Portrait:
    """A portrait from a frame and its one-frame fit; ``size`` draws the head's window, None takes the frame
    whole.
    """
    from ..flame.detect import segment_person

    field = field or field_of(head, fit)
    if size is None:
        mask = torch.from_numpy(segment_person(frame))[None, None]
        return Portrait(head, to_image(frame), fit, mask, field)
    crop = head_crop(fit.landmarks[0], size=fit.size)
    image = crop_image(to_image(frame), crop, size)
    mask = torch.from_numpy(segment_person(to_frame(image)))[None, None]
    return Portrait(head, image, window_fit(fit, crop, size), mask, field, crop)


def open_portrait(
    photo: Any,
    *,
    head: str | Path | HeadModel = "builtin",
    size: int = 512,
    landmarks: str | Path = "mediapipe",
    face: int | None = None,
) -> Portrait:
    """Read, detect, fit and segment one photo.

    Args:
        photo: a path, PIL, numpy or torch picture.
        size: side of the square working window around the head.

    Raises:
        NoFaceError: nothing to fit.
        MediaError: the file cannot be read.
    """
    model = ready_head(head)
    frame = next(iter(as_frames(photo)))
    fit = fit_frames([frame], model, landmarks=landmarks, face=face)
    return portrait_of(frame, model, fit, size=size)
