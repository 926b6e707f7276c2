"""Clips and their fits as packs: what training reads, made once and checked when opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ....flame.model import HeadModel
from ....flame.params import DETECTED, INTERPOLATED, HeadFit, check_model
from ....flame.posing import neck_pixels, pixels_per_metre, window_fit
from ....geom.crops import Crop, crop_image
from ....geom.errors import HeadwarpError, MediaError, ModelFileError, NoFaceError
from ..atomic import atomic_folder, write_json
from ..portrait import Frame, to_frame, to_image
from .frame_store import check_codec, check_frames, read_frame, read_mask, write_frames
from .index import FILE, PackIndex, index_json, is_plain, read_index

Segment = Callable[[Frame], NDArray[np.floating]]
LEAST_FRAMES = 2  # a source and a frame to be made


@dataclass(frozen=True)
class PackConfig:
    """How clips are packed.

    Attributes:
        size: side of the frames in pixels; the clip's square, or a square of it around the head, is drawn so.
        codec: ``raw`` or ``jpeg``.
        interpolated: take frames too whose pose was interpolated between detections.
        least_confidence: of the fit, 0..1.
    """

    size: int = 256
    codec: str = "raw"
    interpolated: bool = False
    least_confidence: float = 0.5

    def __post_init__(self) -> None:
        check_codec(self.codec)
        if self.size < 32 or self.size % 2:
            raise HeadwarpError(f"size: expected an even number of pixels, 32 or more, got {self.size}")


@dataclass(frozen=True)
class ClipLabel:
    """What a clip is called.

    Attributes:
        person: clips of one person may be paired.
        clip: no two alike in a set; the name of the pack's folder.
        source: file of the frames, for reports.
        made_of: what tells this making from one of changed files or settings.
    """

    person: str
    clip: str
    source: str = ""
    made_of: str = ""

    def __post_init__(self) -> None:
        if not is_plain(self.clip):
            raise HeadwarpError(f"clip: expected a plain name of a folder, got {self.clip!r}")


@dataclass(frozen=True)
class Usable:
    """Which frames of a fit can be trained on, and why the others cannot (reason -> how many)."""

    frames: tuple[int, ...]
    left_out: Mapping[str, int]


def usable_frames(fit: HeadFit, config: PackConfig) -> Usable:
    """Frames with a face that the fit is sure of, all numbers finite."""
    finite = torch.isfinite(fit.residual).flatten(1).all(1)
    for values in (*_per_frame(fit), *vars(fit.camera).values()):
        finite &= torch.isfinite(values).flatten(1).all(1) if values.ndim > 1 else torch.isfinite(values)
    if not bool(torch.isfinite(fit.params.shape).all()):
        finite[:] = False
    detected, guessed = fit.status == DETECTED, fit.status == INTERPOLATED
    shown = detected | guessed if config.interpolated else detected
    sure = fit.confidence >= config.least_confidence  # NaN is not
    good = finite & shown & sure
    left_out = {
        "not finite": ~finite,
        "no face": finite & ~detected & ~guessed,
        "interpolated": finite & guessed & ~shown,
        "unsure": finite & shown & ~sure,
    }
    counts = {reason: int(where.sum()) for reason, where in left_out.items() if bool(where.any())}
    return Usable(tuple(torch.nonzero(good)[:, 0].tolist()), counts)


def _per_frame(fit: HeadFit) -> list[Tensor]:
    return [value for name, value in vars(fit.params).items() if name != "shape"]


def square_window(head: HeadModel, fit: HeadFit, frames: Sequence[int]) -> Crop:
    """The whole picture if it is square; else its largest square around the head, the same for all frames.

    Args:
        head: the head of the fit.
        fit: of the clip.
        frames: those that are kept.
    """
    height, width = fit.size
    side = float(min(height, width))
    chosen = fit.select(list(frames))
    x, y = neck_pixels(head, chosen.params, chosen.camera).mean(0).tolist()
    corner = (min(max(x - side / 2, 0.0), width - side), min(max(y - side / 2, 0.0), height - side))
    return Crop(round(corner[0]), round(corner[1]), side)


def pack_clip(
    frames: Iterable[Frame],
    fit: HeadFit,
    *,
    head: HeadModel,
    folder: str | os.PathLike[str],
    label: ClipLabel,
    config: PackConfig | None = None,
    segment: Segment | None = None,
) -> Pack:
    """Write the usable frames of a clip, their person masks and fit as ``folder/CLIP``, whole or not at all.

    Args:
        frames: of the clip, as many as the fit has records; read once, one in memory.
        fit: of the clip, in its pixels.
        head: model of the fit.
        folder: of all packs.
        label: person and name.
        config: size, codec and which frames are taken.
        segment: the person mask of a packed frame; `flame.detect.segment_person` by default.

    Raises:
        ModelFileError: the fit belongs to another head.
        NoFaceError: fewer than two frames can be used; the text says why.
        MediaError: the clip has not as many frames as the fit.
        HeadwarpError: nothing can be written there, or the name is no name of a folder.
    """
    config = config or PackConfig()
    check_model(fit, head.model_id)
    usable = usable_frames(fit, config)
    if len(usable.frames) < LEAST_FRAMES:
        raise NoFaceError(f"{label.clip}: {too_few(usable)}")
    window = square_window(head, fit, usable.frames)
    kept = window_fit(fit.select(list(usable.frames)), window, config.size)
    index = PackIndex(
        model_id=fit.model_id,
        size=config.size,
        codec=config.codec,
        person=label.person,
        clip=label.clip,
        source=label.source,
        frames=usable.frames,
        clip_frames=fit.frames,
        window=window,
        scale=tuple(pixels_per_metre(kept.params, kept.camera).tolist()),
        centre=tuple((x, y) for x, y in neck_pixels(head, kept.params, kept.camera).tolist()),
        made_of=label.made_of,
        left_out=usable.left_out,
    )
    target = Path(folder) / label.clip
    with atomic_folder(target) as hidden:
        pictures = _pictures(frames, fit, index, segment or _segment_person)
        write_frames(hidden, pictures, codec=config.codec)
        kept.save(hidden / "fit.npz")
        write_json(hidden / FILE, index_json(index))
    return Pack(target, index)


def _segment_person(frame: Frame) -> Float[np.ndarray, "H W"]:
    from ....flame.detect import segment_person

    return segment_person(frame)


def too_few(usable: Usable) -> str:
    """Why a clip with fewer than two usable frames is left out."""
    frames = len(usable.frames) + sum(usable.left_out.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in usable.left_out.items()) or "it has no more"
    return f"expected at least {LEAST_FRAMES} usable frames, got {len(usable.frames)} of {frames} ({reasons})"


def _pictures(
    frames: Iterable[Frame], fit: HeadFit, index: PackIndex, segment: Segment
) -> Iterator[tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S"]]]:
    wanted, seen = set(index.frames), 0
    whole = fit.size == (index.size, index.size)
    for number, frame in enumerate(frames):
        seen = number + 1
        if frame.shape != (*fit.size, 3):
            raise MediaError(
                f"{index.clip}: expected frames of {fit.size[1]} x {fit.size[0]} as its fit, got "
                f"{frame.shape[1]} x {frame.shape[0]}; fit the clip again"
            )
        if number in wanted:
            picture = frame if whole else to_frame(crop_image(to_image(frame), index.window, index.size))
            yield picture, np.rint(segment(picture) * 255).astype(np.uint8)
    if seen != fit.frames:
        raise MediaError(
            f"{index.clip}: expected {fit.frames} frames as its fit has, got {seen}; fit the clip again"
        )


@dataclass(frozen=True)
class Pack:
    """One clip to train on; pictures and fit are read when asked for.

    Attributes:
        folder: its files.
        index: what it says of itself.
    """

    folder: Path
    index: PackIndex

    def __len__(self) -> int:
        return len(self.index.frames)

    @property
    def file(self) -> Path:
        """Of the index."""
        return self.folder / FILE

    def frame(self, position: int) -> UInt8[np.ndarray, "S S 3"]:
        """RGB of the usable frame at this position.

        Raises:
            ModelFileError: damaged, or not of this pack.
        """
        return read_frame(self.folder, self.index.codec, position, self.index.size)

    def mask(self, position: int) -> UInt8[np.ndarray, "S S"]:
        """Its person mask, 255 for certainly a person.

        Raises:
            ModelFileError: damaged, or not of this pack.
        """
        return read_mask(self.folder, self.index.codec, position, self.index.size)

    def fit(self) -> HeadFit:
        """Of the usable frames, in pixels of the frames.

        Raises:
            ModelFileError: damaged, or not of this pack.
        """
        fit = HeadFit.load(self.folder / "fit.npz")
        if (fit.frames, fit.size, fit.model_id) != (len(self), (self.index.size,) * 2, self.index.model_id):
            raise ModelFileError(
                f"{self.folder / 'fit.npz'}: expected the fit of the pack's frames; remove the pack and make "
                "it again"
            )
        return fit


def open_pack(folder: str | os.PathLike[str]) -> Pack:
    """A pack whose files are all there and as large as they should be.

    Raises:
        ModelFileError: no pack, or a damaged one.
    """
    place = Path(folder)
    index = read_index(place)
    check_frames(place, index.codec, len(index.frames), index.size)
    if not (place / "fit.npz").is_file():
        raise ModelFileError(f"{place / 'fit.npz'}: missing; remove the pack {place} and make it again")
    return Pack(place, index)


def open_packs(folder: str | os.PathLike[str], *, head: HeadModel | None = None) -> list[Pack]:
    """Every pack of a folder, sorted by name.

    Args:
        folder: that `pack_clip` wrote to.
        head: the model that all fits must belong to; None: any, but one for all.

    Raises:
        HeadwarpError: no packs there.
        ModelFileError: a pack is damaged, or is of another head or size than the others.
    """
    place = Path(folder)
    found = sorted(path.parent for path in place.glob(f"*/{FILE}") if not path.parent.name.startswith("."))
    if not found:
        raise HeadwarpError(f"{place}: expected packs of clips, found none; make them with `headwarp train`")
    packs = [open_pack(path) for path in found]
    check_alike(packs, head)
    return packs


def check_alike(packs: Sequence[Pack], head: HeadModel | None = None) -> None:
    """One head and one size for all.

    Raises:
        ModelFileError: otherwise; the text names the pack.
    """
    model_id = packs[0].index.model_id if head is None else head.model_id
    for pack in packs:
        if pack.index.model_id != model_id:
            raise ModelFileError(
                f"{pack.folder}: expected fits of head {model_id}, got those of {pack.index.model_id}; pass "
                "--head with the model of the packs, or pack into another folder"
            )
        if pack.index.size != packs[0].index.size:
            raise ModelFileError(
                f"{pack.folder}: expected frames of {packs[0].index.size} pixels as in {packs[0].folder}, "
                f"got {pack.index.size}; pack each size into a folder of its own"
            )
