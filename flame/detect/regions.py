"""Region maps of face pictures: what a segmenter is, what it gives, and the ones that are known by name.

`load_segmenter` takes what ``--segmentation`` says: ``rendered`` (the fitted head, the person's outline and
the picture's own colours; nothing is learned, nothing is downloaded), ``bisenet`` (public face-parsing
weights), a file of such weights, or class maps that the user brings.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ...geom.errors import HeadwarpError, ShapeError
from ...geom.face_regions import HEAD, check_labels
from ..model import HeadModel
from ..params import HeadFit

RENDERED, BISENET = "rendered", "bisenet"
MAP_SUFFIXES = (".png",)


@dataclass(frozen=True)
class RegionMap:
    """The regions of one picture.

    Attributes:
        labels: `FaceRegion` of every pixel, ``(H, W)``.
        head: how much each pixel belongs to the head (`HEAD`: face, ears, hair and what is worn on them, not
            the neck), in [0, 1]: soft along the outline, ``(H, W)``.
        origin: what it was made by, in words.
    """

    labels: UInt8[np.ndarray, "H W"]
    head: Float[np.ndarray, "H W"]
    origin: str

    def __post_init__(self) -> None:
        check_labels(self.labels)
        if self.head.shape != self.labels.shape or self.head.dtype != np.float32:
            got = f"{self.head.shape} {self.head.dtype}"
            raise ShapeError(f"RegionMap.head: expected {self.labels.shape} float32, got {got}")


class RegionSegmenter(Protocol):
    """Gives the regions of pictures."""

    def segment(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        *,
        fit: HeadFit | None = None,
        frame: int = 0,
        person: Float[np.ndarray, "H W"] | None = None,
    ) -> RegionMap:
        """The regions of one picture.

        Args:
            image: RGB.
            fit: of the photo or clip, in this picture's pixels; it says whose head is meant.
            frame: number of the picture in the fit and in the clip, from 0.
            person: mask of the person in [0, 1], where one is known already.

        Raises:
            ShapeError: picture, mask and fit do not belong together.
            HeadwarpError: nothing for this picture, or a fit is needed.
        """


def load_segmenter(
    name_or_file: str | os.PathLike[str] = RENDERED,
    *,
    head: HeadModel | None = None,
    weights_dir: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
) -> RegionSegmenter:
    """The segmenter of a name, of a file of weights, or of class maps.

    Args:
        name_or_file: ``rendered``; ``bisenet``, whose weights are sought like all others
            (`headwarp weights list`); a ``.pth``, ``.pt`` or ``.safetensors`` of the same network; a ``.png``
            with the class numbers of `FaceRegion`; or a folder of those, one a frame.
        head: the head of the fits, for ``rendered``.
        weights_dir: a folder of weights to look in first.
        device: where a network runs.

    Raises:
        HeadwarpError: no such name, or ``rendered`` without a head.
        ModelFileError: weights that are not there, or not of this network; a head without landmarks.
        MediaError: no class maps there.
    """
    name = os.fspath(name_or_file)
    if name == RENDERED:
        from .rendered_regions import RenderedSegmenter

        if head is None:
            raise HeadwarpError("segmentation rendered: expected the head of the fits, got none; pass head=")
        return RenderedSegmenter(head)
    path = Path(name).expanduser()
    if name == BISENET or path.suffix.lower() in (".pth", ".pt", ".safetensors"):
        from .parsers import load_bisenet

        weights = None if name == BISENET else path
        return load_bisenet(weights, weights_dir=weights_dir, device=device)
    if path.is_dir() or path.suffix.lower() in MAP_SUFFIXES:
        from .class_maps import ClassMaps

        return ClassMaps(path)
    raise HeadwarpError(
        f"segmentation: expected {RENDERED}, {BISENET}, a file of its weights, a .png of class numbers or a "
        f"folder of them, got {name!r}"
    )


def soft_head(labels: UInt8[np.ndarray, "H W"], *, sigma: float) -> Float[np.ndarray, "H W"]:
    """The head's mask of hard labels with a blurred outline, float32 in [0, 1].

    Args:
        labels: `FaceRegion` of every pixel.
        sigma: of the blur, px.
    """
    from scipy.ndimage import gaussian_filter

    inside = np.isin(labels, [int(region) for region in HEAD]).astype(np.float32)
    return gaussian_filter(inside, sigma, mode="nearest")


def check_inputs(
    image: UInt8[np.ndarray, "H W 3"],
    fit: HeadFit | None,
    frame: int,
    person: Float[np.ndarray, "H W"] | None,
) -> None:
    """What a segmenter takes belongs together.

    Args:
        image: uint8 RGB.
        fit: of pictures of this size, or None.
        frame: of the fit.
        person: probability of a person in each pixel, or None.

    Raises:
        ShapeError: the fit's or the mask's size is not the picture's, or the fit has no such frame.
    """
    size = image.shape[:2]
    if fit is not None:
        if tuple(fit.size) != size:
            raise ShapeError(
                f"fit: expected the size of the picture, {size} (H, W), got {tuple(fit.size)}; pass the fit "
                "of this picture, or `window_fit` of it"
            )
        if not 0 <= frame < fit.frames:
            raise ShapeError(f"frame: expected 0 to {fit.frames - 1}, as the fit has, got {frame}")
    if person is not None and person.shape != size:
        raise ShapeError(f"person: expected {size} (H, W) as the picture, got {person.shape}")
