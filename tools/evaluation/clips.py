"""Same identity: a clip's first face is driven by the clip, whose frames are the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...flame.fitting import fit_landmarks
from ...flame.model import HeadModel
from ...flame.params import DETECTED, HeadFit
from ...flame.residual import ResidualField
from ...geom.errors import HeadwarpError, NoFaceError
from ...geom.guidance import Driving
from ...training.data.camera_motion import CameraMotion
from ...training.data.portrait import Portrait, portrait_of, to_image
from ...training.data.shares import frames_of_share
from ..landmark_motion import with_landmark_count
from ..portrait import as_frames
from .flows import TrueMotion, true_motion
from .footage import PackFrames
from .measure import HEADS
from .trials import Place, Step


@dataclass(frozen=True)
class ClipTrial:
    """One clip ready to measure.

    Attributes:
        frames: the clip, as `tools.portrait.as_frames` reads it, again and again.
        points: detected face mesh of every frame in pixels, ``(T, 478, 3)``.
        fit: of every frame.
        portrait: the source.
        first: the frame it was taken from.
        measured: the frames that are measured.
        still_camera: do not follow the background's motion.
        motion: the true flow between frames, of a synthetic clip; None where it is not known.
        times: number of every frame in the clip that the frames were taken from; None: they are neighbours.
    """

    frames: Any
    points: NDArray[np.float32]
    fit: HeadFit
    portrait: Portrait
    first: int
    measured: tuple[int, ...]
    still_camera: bool = False
    motion: TrueMotion | None = None
    times: tuple[int, ...] | None = None

    @property
    def place(self) -> Place:
        """Where the source's face is."""
        return self.points[self.first]

    @property
    def truth(self) -> bool:
        """The clip's own frames are the truth."""
        return True

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the measured frames in their clip."""
        return tuple(self._number(t) for t in self.measured)

    @property
    def driver_size(self) -> tuple[float, float]:
        """Generated frames cover the clip's."""
        return self.fit.size

    @property
    def reference(self) -> Driving | None:
        """Motion is absolute: the driver is the source."""
        return None

    def steps(self) -> Iterator[Step]:
        """The measured frames, read as they are asked for."""
        camera = None if self.still_camera else CameraMotion(self.portrait.source())
        wanted = set(self.measured)
        for t, frame in enumerate(as_frames(self.frames)):
            if t not in wanted:
                continue
            target = to_image(frame)
            motion = None if camera is None else self._seen_by(camera, target)
            driving = self.portrait.driving(self.fit.select([t]), image=target, camera_motion=motion)
            known = None if self.motion is None else self.motion(self.first, t)
            yield Step(self._number(t), driving, frame, self.points[t], (self.points[t],), known)

    def _number(self, t: int) -> int:
        return t if self.times is None else self.times[t]

    def _seen_by(self, camera: CameraMotion, target: Tensor) -> Tensor | None:
        """The background's motion; of frames that are no neighbours each by itself."""
        return camera.follow(target) if self.times is None else camera.of_frame(target)


def with_count(clip: ClipTrial, landmarks: int) -> ClipTrial:
    """The clip with so many landmarks of source and drivers, see `with_landmark_count`."""
    return replace(clip, portrait=with_landmark_count(clip.portrait, landmarks))


def parse_share(text: str) -> tuple[float, float]:
    """``"0.8:1.0"`` to numbers.

    Raises:
        HeadwarpError: not START:END with 0 <= START < END <= 1.
    """
    try:
        start, end = (float(part) for part in text.split(":"))
    except ValueError:
        start, end = 1.0, 0.0
    if not 0 <= start < end <= 1:
        raise HeadwarpError(f"--frames: expected START:END with 0 <= START < END <= 1, got {text!r}")
    return start, end


def prepare_clip(
    frames: Any,
    model: HeadModel,
    field: ResidualField | None,
    *,
    stride: int,
    share: tuple[float, float],
    still_camera: bool = False,
    name: str | None = None,
    times: Sequence[int] | None = None,
) -> ClipTrial:
    """Detect and fit the whole clip; its first frame with the face becomes the source.

    Args:
        frames: the clip: a path, pictures in a list, or those of a pack, whose part is that of its clip.
        model: the head.
        field: spreads landmark residuals; of an earlier clip, None to make it.
        stride: every how many frames are measured.
        share: of the clip that is measured.
        still_camera: do not follow the background's motion.
        name: of the clip in messages; a path's own by default.
        times: the frames' numbers in the clip that they were taken from, where they are no neighbours: then
            heads are fitted without smoothing in time.

    Raises:
        NoFaceError: no face, or none in a frame that was asked for.
        MediaError: the clip cannot be read.
    """
    from ...flame.detect import track_clip

    name = name or (frames.name if isinstance(frames, Path) else "clip")
    packed = frames if isinstance(frames, PackFrames) else None
    times = packed.times if packed is not None and times is None else times
    tracks = track_clip(as_frames(frames))
    if not tracks:
        raise NoFaceError(f"{name}: no face found")
    track = tracks[0]
    config = None if times is None else HEADS
    fit = fit_landmarks(
        model, track.landmarks, track.size, scores=track.score, family=track.family, config=config
    )
    seen = np.flatnonzero((fit.status == DETECTED).numpy())
    first = int(seen[0])
    part = frames_of_share(share, fit.frames) if packed is None else packed.of_share(share)
    asked = [t for t in range(first + stride, fit.frames, stride) if t in part]
    detected = set(seen.tolist())
    measured = tuple(t for t in asked if t in detected)
    if not measured:
        raise NoFaceError(
            f"{name}: expected a face in a frame to measure, got none in the {len(asked)} asked for of "
            f"{fit.frames}; take a longer clip, a smaller --stride or more --frames"
        )
    frame = next(f for t, f in enumerate(as_frames(frames)) if t == first)
    portrait = portrait_of(frame, model, fit.select([first]), field=field)
    known = true_motion(frames, model) if isinstance(frames, Path) else None
    numbers = None if times is None else tuple(times)
    return ClipTrial(frames, track.landmarks, fit, portrait, first, measured, still_camera, known, numbers)
