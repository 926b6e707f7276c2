"""Clips in which no face is sought: the first frame is driven by the pictures of all others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError, MediaError
from ...geom.guidance import Driving, Source
from ...training.data.frames.clips import clip_pictures
from ...training.data.frames.pack import FramePackConfig, squared
from ...training.data.portrait import Frame, to_image
from ...training.data.shares import frames_of_share
from ...warping.animators import Animator
from .footage import PackFrames, footage
from .trials import Step

OF_FACES = (
    *("akd", "missing_face_rate", "jitter", "apd", "prmse", "aed_exp_l1", "aucon", "aucon_active"),
    *("csim", "aed_id", "aed_id_sq"),
)
WHY = "no face is sought in these clips"
OF_BODIES = "needs a detector of a body's points; training.metrics.missing_keypoint_rate takes what one found"
_ALONE = {"image"}


@dataclass(frozen=True)
class Picture:
    """A source that is a picture and nothing else.

    Attributes:
        image: RGB in [0, 1], ``(1, 3, H, W)``.
    """

    image: Float[Tensor, "1 3 H W"]

    def source(self) -> Source:
        """The tensors an animator takes."""
        return Source(image=self.image)


@dataclass(frozen=True)
class PictureTrial:
    """One clip ready to measure.

    Attributes:
        clip: a video, a folder of frames, a pack, or a picture of frames side by side.
        portrait: the first frame.
        measured: the frames that are measured.
        size: side of the frames' middle square as it is drawn.
    """

    clip: Path
    portrait: Picture
    measured: tuple[int, ...]
    size: int

    place = None
    truth = True
    reference = None  # absolute: the driver is the source

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the measured frames."""
        return self.measured

    @property
    def driver_size(self) -> tuple[float, float]:
        """Generated frames cover the clip's."""
        height, width = self.portrait.image.shape[2:]
        return height, width

    def steps(self) -> Iterator[Step]:
        """The measured frames, read as they are asked for."""
        wanted = set(self.measured)
        for time, whole in enumerate(_pictures(self.clip)):
            if time in wanted:
                frame = squared(whole, FramePackConfig(self.size))
                yield Step(time, Driving(image=to_image(frame)), frame, None, ())


def prepare_pictures(clip: Path, *, size: int, stride: int, share: tuple[float, float]) -> PictureTrial:
    """A clip, its first frame the source.

    Args:
        clip, size: see `PictureTrial`.
        stride: every how many frames are measured.
        share: of the clip that is measured.

    Raises:
        MediaError: the clip cannot be read, or none of its frames is measured.
    """
    count, first = 0, None
    for frame in _pictures(clip):
        first = frame if first is None else first
        count += 1
    source = footage(clip)
    part = source.of_share(share) if isinstance(source, PackFrames) else frames_of_share(share, count)
    measured = tuple(t for t in range(stride, count, stride) if t in part)
    if first is None or not measured:
        raise MediaError(
            f"{clip.name}: expected a frame to measure beside the first, got none of {count}; take a longer "
            "clip, a smaller --stride or more --frames"
        )
    picture = Picture(to_image(squared(first, FramePackConfig(size))))
    return PictureTrial(clip, picture, measured, size)


def _pictures(clip: Path) -> Iterator[Frame]:
    source = footage(clip)
    return iter(source) if isinstance(source, PackFrames) else clip_pictures(clip)


def picture_animators(animators: Mapping[str, Animator], asked: tuple[str, ...]) -> dict[str, Animator]:
    """Those that need pictures alone; baselines that do not are left out.

    Args:
        animators: by the name that the report has for them.
        asked: names that were asked for, without labels of checkpoints and guidance.

    Raises:
        HeadwarpError: one that was asked for needs more.
    """
    chosen = {}
    for label, animator in animators.items():
        more = sorted({*animator.needs_source, *animator.needs_driving} - _ALONE)
        if not more:
            chosen[label] = animator
        elif re.split("[:+]", label)[0] in asked:
            raise HeadwarpError(
                f"--no-faces: {label} needs {', '.join(more)}, which come from a fitted face; name animators "
                "that take pictures alone, such as fomm, or leave --no-faces out"
            )
    return chosen
