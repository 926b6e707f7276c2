"""Portraits performed: fits of the source's window in, pictures out; what edit, animate and demo share."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from ..flame.params import HeadFit
from ..geom.errors import HeadwarpError
from ..geom.guidance import Driving
from ..geom.nets.packing import PackedConvolution
from ..training.data.portrait import Frame, Portrait, to_frame
from ..training.data.provenance import COMPOSITE_WITH_TRAINED, ENHANCED, Provenance
from ..warping.animators import Animation, Animator, frame_multiple, load_animator
from ..warping.composite import changed_region, paste_back, soft_region
from ..warping.inference import InferenceConfig, prepare_animator_

PICTURES = (".png", ".jpg", ".jpeg")
CLIPS = (".mp4", ".m4v", ".mov", ".mkv")
POSED_AT_ONCE = 16  # frames; their meshes take 1 MB
PERSON = 0.1  # of a mask: from here on somebody is there
Precision = Literal["32", "bf16"]
Kept = TypeVar("Kept")
Maker = TypeVar("Maker")


def check_device(name: str) -> torch.device:
    """A torch device by name.

    Raises:
        HeadwarpError: no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise HeadwarpError(
            f"--device {name}: not available here; cpu always is, `headwarp doctor` lists the rest"
        ) from error
    return device


def check_rate(fps: float | None) -> None:
    """Refuse a frame rate that is none before the work is done.

    Raises:
        HeadwarpError: it is not a finite number above 0.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise HeadwarpError(f"--fps: expected frames a second above 0, got {fps:g}")


def check_output(path: Path, suffixes: Sequence[str], *, what: str, option: str = "--output") -> Path:
    """Refuse a name of another kind of file before the work is done.

    Args:
        path: what was asked for.
        suffixes: that are known, with their dots.
        what: is written, for the message.
        option: that named it.

    Raises:
        HeadwarpError: a folder, or a suffix that is not among ``suffixes``.

    Example:
        >>> check_output(Path("turned.gif"), (".mp4",), what="a clip")
        Traceback (most recent call last):
        headwarp.geom.errors.HeadwarpError: --output: expected a name in .mp4 for a clip, got turned.gif
    """
    if path.is_dir():
        raise HeadwarpError(f"{option}: expected a file, got the folder {path}; name a file in it")
    if path.suffix.lower() not in suffixes:
        raise HeadwarpError(f"{option}: expected a name in {', '.join(suffixes)} for {what}, got {path.name}")
    return path


def check_window(animator: Animator, size: int, *, name: str) -> None:
    """Refuse a window that the animator does not take, before the work is done.

    Args:
        animator: that will work in it.
        size: side in pixels.
        name: of the animator, for the message.

    Raises:
        HeadwarpError: its side is no multiple of what the animator asks for.
    """
    step = frame_multiple(animator)
    if size % step:
        near = max(step, round(size / step) * step)
        raise HeadwarpError(f"--size: {name} takes multiples of {step} pixels, got {size}; take {near}")


def window_size(asked: int | None, animator: Animator, *, full_frame: bool, default: int) -> int | None:
    """The side of the window in pixels.

    Args:
        asked: what was asked for, or None.
        animator: that will work in it.
        full_frame: whether whole pictures are written.
        default: where nothing was asked for.

    Returns:
        The side; None, the head's own pixels in its picture, for whole frames of an animator that moves the
        picture's own: a network takes windows as large as those that it learned from.
    """
    if asked is not None:
        return asked
    return None if full_frame and not has_weights(animator) and frame_multiple(animator) == 1 else default


def on_device(observation: Kept, device: torch.device) -> Kept:
    """A dataclass of tensors (a `Source`, a `Driving`) with every tensor on a device."""
    moved: dict[str, Any] = {}
    for field in dataclasses.fields(observation):  # type: ignore[arg-type]
        value = getattr(observation, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.to(device)
        elif dataclasses.is_dataclass(value):
            moved[field.name] = on_device(value, device)
    return dataclasses.replace(observation, **moved)  # type: ignore[type-var]


def ready(animator: Maker, device: torch.device | str) -> Maker:
    """An animator for use: one with weights is moved to the device and set to inference."""
    if isinstance(animator, torch.nn.Module):
        animator.to(torch.device(device)).eval().requires_grad_(False)
    return animator


def open_animator(
    name: str,
    checkpoint: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    inference: InferenceConfig | None = None,
) -> Animator:
    """An animator for use alone, on its device, its network prepared: see `prepare_animator_`.

    Args:
        name: one of `animator_names`.
        checkpoint: its weights; None: those that the package ships.
        device: where it works.
        inference: how its network is prepared.

    Raises:
        HeadwarpError: what `load_animator` and `prepare_animator_` raise.
    """
    return prepare_animator_(ready(load_animator(name, checkpoint), device), inference)


def has_weights(animator: Animator) -> bool:
    """Whether an animator, or the network that guides it, has a network; prepared ones too, whose packed
    weights are no parameters any more.
    """
    if not isinstance(animator, torch.nn.Module):
        return False
    packed = any(isinstance(part, PackedConvolution) for part in animator.modules())
    return packed or any(True for _ in animator.parameters())


def inference_of(*, compile: bool, precision: Precision) -> InferenceConfig:
    """What the options of a command ask for."""
    return InferenceConfig(compile, bfloat16=precision == "bf16")


def perform(
    portraits: Sequence[Portrait],
    fit: HeadFit,
    animator: Animator,
    *,
    device: torch.device | str = "cpu",
    images: Iterable[Tensor] | None = None,
) -> Iterator[Animation]:
    """The portraits in every pose of a fit, one picture after another, made as they are asked for.

    Args:
        portraits: of one person, the first is the one that ``fit`` poses; several are for animators that fuse
            sources.
        fit: T frames in the first portrait's window.
        animator: any; what it needs beyond image, mask, landmarks and posed vertices is an error that names
            it.
        device: where the animator works.
        images: the driving pictures in the window, ``(1, 3, S, S)`` each, for animators that look at them;
            without, the fit says what they would have seen, see `posed_drivings`.
    """
    from .posed_drivings import posed_drivings

    cache = encoded(portraits, animator, device=device)
    frames = drivings(portraits[0], fit, device=device, images=images)
    if images is None:
        frames = posed_drivings(animator, cache, portraits[0], fit, frames)
    return animated(animator, cache, frames)


@torch.no_grad()
def encoded(portraits: Sequence[Portrait], animator: Animator, *, device: torch.device | str = "cpu") -> Any:
    """The animator's cache of the portraits; the animator is made `ready`.

    Args:
        portraits: of one person.
        animator: any.
        device: where it works.
    """
    device = torch.device(device)
    return ready(animator, device).encode([on_device(portrait.source(), device) for portrait in portraits])


@torch.no_grad()
def drivings(
    portrait: Portrait,
    fit: HeadFit,
    *,
    device: torch.device | str = "cpu",
    images: Iterable[Tensor] | None = None,
) -> Iterator[Driving]:
    """What animators take, for every frame of a fit.

    Heads are posed a few frames at a time, which takes hardly longer than one.

    Args:
        portrait: whose head is posed.
        fit: T frames in the portrait's window.
        device: of the result.
        images: the driving pictures in the window, ``(1, 3, S, S)`` each, or None.
    """
    pictures = repeat(None) if images is None else iter(images)
    for first in range(0, fit.frames, POSED_AT_ONCE):
        frames = range(first, min(first + POSED_AT_ONCE, fit.frames))
        posed = on_device(portrait.driving(fit.select(list(frames))), torch.device(device))
        for row, image in zip(range(len(frames)), pictures, strict=False):
            yield on_device(dataclasses.replace(posed.frame(row), image=image), torch.device(device))


@torch.no_grad()
def animated(animator: Animator, cache: Any, driving: Iterable[Driving]) -> Iterator[Animation]:
    """The picture of every driving frame, made as it is asked for.

    Args:
        animator: any.
        cache: what it made of the sources.
        driving: frames.
    """
    for each in driving:
        yield animator.animate(cache, each)


@torch.no_grad()
def explained(animator: Animator, cache: Any, driving: Iterable[Driving]) -> Iterator[Mapping[str, Tensor]]:
    """The animator's maps of every driving frame, made as they are asked for.

    Args:
        animator: any.
        cache: what it made of the sources.
        driving: frames.
    """
    for each in driving:
        yield animator.explain(cache, each)


def windows(animations: Iterable[Animation]) -> Iterator[Frame]:
    """The square head windows as uint8 (S, S, 3)."""
    return (to_frame(animation.image) for animation in animations)


def full_frames(
    photo: Frame,
    portrait: Portrait,
    animations: Iterable[Animation],
    *,
    onto: Iterable[Frame] | None = None,
) -> Iterator[Frame]:
    """The whole photo with each window pasted back; all that did not change keeps its bits.

    Args:
        photo: uint8 (H, W, 3), the picture that the portrait was cut from.
        portrait: with a crop; one without is the photo itself.
        animations: of the portrait.
        onto: pictures of the photo's size to paste into, one for every animation, as where other faces of the
            photo were changed before; None: the photo.
    """
    if portrait.crop is None:
        yield from windows(animations)
        return
    below: Iterable[Frame] = repeat(photo) if onto is None else onto
    for animation, frame in zip(animations, below, strict=False):
        yield pasted(frame, portrait, animation)


def pasted(frame: Frame, portrait: Portrait, animation: Animation) -> Frame:
    """A whole picture with a portrait's window put back where the person was or is and something changed.

    Args:
        frame: the whole picture.
        portrait: the window as it was cut out.
        animation: the window as it was made.
    """
    crop, before = portrait.crop, portrait.image
    assert crop is not None
    whole = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]  # (1, 3, H, W)
    after = animation.image.cpu()
    mask = changed_region(before, after)
    if animation.occlusion is not None:
        mask = mask * soft_region(
            torch.maximum(portrait.mask.to(mask), animation.occlusion.cpu()), least=PERSON
        )
    return paste_back(whole, after, crop, mask=mask)[0].permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)


def progress(frames: Iterable[Frame], total: int | None, what: str) -> Iterator[Frame]:
    """The same frames under a progress bar.

    Args:
        frames: any.
        total: how many; None where that is not known.
        what: is done, at the left of the bar.
    """
    from tqdm import tqdm

    yield from tqdm(frames, total=total, desc=what, unit="frame", disable=True if total == 1 else None)


def warn(text: str) -> None:
    """A line on the error stream for what is done, though it may not be meant."""
    sys.stderr.write(f"warning: {text}\n")
    sys.stderr.flush()


def provenance_of(name: str, *, inputs: Sequence[Any] = (), moved_pixels_only: bool = False) -> Provenance:
    """The record of a performance; files among the inputs are named by their SHA-256.

    Args:
        name: of the animator.
        inputs: of the performance.
        moved_pixels_only: an edit that only moves the photo's own pixels, by no trained animator.
    """
    files = [Path(item) for item in inputs if isinstance(item, (str, Path)) and Path(item).is_file()]
    kind = ENHANCED if moved_pixels_only else COMPOSITE_WITH_TRAINED
    return Provenance.now(name, inputs=files, digital_source_type=kind)


def provenance_facts(provenance: Provenance | None) -> str:
    """What a report says about the provenance written into a file."""
    return "none, as asked" if provenance is None else provenance.digital_source_type.rsplit("/", 1)[-1]
