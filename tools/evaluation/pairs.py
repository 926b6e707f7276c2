"""Cross identity: a photo driven by another person, whose frames are no truth."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from ...flame.driving import Driven, Transfer, transfer_motion
from ...flame.model import HeadModel, landmark_points
from ...flame.params import DETECTED, HeadFit
from ...geom.crops import crop_image
from ...geom.errors import HeadwarpError, MediaError, NoFaceError
from ...geom.guidance import Driving
from ...training.data.pair_lists import Found, Pair
from ...training.data.portrait import Frame, Portrait, to_frame, to_image
from ..faces import find_face, fit_face
from ..landmark_motion import with_landmark_count
from ..portrait import as_frames, open_portrait
from .clips import ClipTrial, prepare_clip, with_count
from .measure import HEADS, Outcome, Setting, shown_steps
from .pair_options import ListFacts, PairOptions
from .report import progress
from .trials import Place, Step
from .videos import Video, measure_shown

MOST_ROWS = 60  # of a sheet
RUN = 3  # neighbouring frames: what jitter needs


@dataclass(frozen=True)
class PairDriver:
    """A driver, read and fitted.

    Attributes:
        fit: of all its frames.
        times: the frames that are measured.
        frames: their pictures.
        points: detected face mesh in them, ``(N, 478, 3)``.
    """

    fit: HeadFit
    times: tuple[int, ...]
    frames: tuple[Frame, ...]
    points: Float[ndarray, "N 478 3"]


@dataclass(frozen=True)
class PairTrial:
    """A photo driven by another person's frames.

    Attributes:
        portrait: the source.
        place: where its face is in its window.
        driver: what drives.
        driven: the source's head in every driving frame.
        wants_pictures: whether an animator looks at the driver's pictures.
        start: the driver's picture that relative motion starts from; None: absolute, or nobody looks.
    """

    portrait: Portrait
    place: Place
    driver: PairDriver
    driven: Driven
    wants_pictures: bool = False
    start: Frame | None = None

    @property
    def truth(self) -> bool:
        """There is none."""
        return False

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the measured frames in the driver's clip."""
        return self.driver.times

    @property
    def driver_size(self) -> tuple[float, float]:
        """The square of the driver's frame that lies over the source's window."""
        return (self.driven.crop.side, self.driven.crop.side)

    @property
    def reference(self) -> Driving | None:
        """The picture `start` in the window."""
        return None if self.start is None else Driving(image=self._window(self.start))

    def _window(self, frame: Frame) -> Tensor:
        return crop_image(to_image(frame), self.driven.crop, self.driven.fit.size[0])

    def steps(self) -> Iterator[Step]:
        """The measured frames."""
        for row, t in enumerate(self.driver.times):
            frame = self.driver.frames[row]
            fit = self.driven.fit.select([t])
            window = self._window(frame)
            image = window if self.wants_pictures else None
            driving = self.portrait.driving(fit, image=image)
            expected = (face_box(self.portrait, driving.posed_vertices), self.place)
            place = self.driver.points[row]
            yield Step(t, driving, frame, place, expected, window=to_frame(window))


def face_box(portrait: Portrait, verts: Any) -> Place:
    """Box (4,) of the landmarks of a posed head, pixels."""
    family = "mediapipe" if "mediapipe" in portrait.head.landmarks else next(iter(portrait.head.landmarks))
    count = portrait.head.template.shape[0]
    points = landmark_points(portrait.head, verts[:, :count], family)[0, :, :2].double().numpy()
    return np.concatenate([points.min(0), points.max(0)])


def spread_runs(seen: Sequence[int], count: int) -> tuple[int, ...]:
    """Frames in runs of three neighbours that are spread evenly over a clip; all of a clip with fewer.

    Args:
        seen: frames with a face, increasing.
        count: about how many are wanted; rounded down to a multiple of three, at least three.

    Example:
        >>> spread_runs(range(100), 9)
        (0, 1, 2, 48, 49, 50, 97, 98, 99)
    """
    if len(seen) <= max(count, RUN):
        return tuple(seen)
    starts = np.linspace(0, len(seen) - RUN, max(1, count // RUN)).astype(int)
    return tuple(seen[start + step] for start in starts for step in range(RUN))


def open_pair_driver(
    found: Found, model: HeadModel, count: int, *, reference: Found | None = None
) -> PairDriver:
    """Read and fit a driver; of a clip the frames that `spread_runs` takes are kept.

    Args:
        found: the driver.
        model: the head.
        count: about how many frames are measured.
        reference: a picture of the same person that stands before the driver's first frame, for relative
            motion; it is not measured. Frames are then not tied to each other in time.

    Raises:
        NoFaceError: no face in it.
        MediaError: it cannot be read.
    """

    def frames_of() -> Iterator[Frame]:
        return itertools.chain(() if reference is None else _frames(reference), _frames(found))

    choice = find_face(frames_of())
    fit = fit_face(choice, model, config=None if reference is None else HEADS)
    seen = np.flatnonzero((fit.status == DETECTED).numpy()).tolist()
    times = spread_runs([t for t in seen if reference is None or t > 0], count)
    if not times:
        raise NoFaceError(f"{found.path.name}: expected a face in a driving frame, found none")
    wanted = set(times)
    frames = tuple(frame for t, frame in enumerate(frames_of()) if t in wanted)
    return PairDriver(fit, times, frames, choice.track.landmarks[list(times)])


def _frames(found: Found) -> Iterator[Frame]:
    if found.frame is None:
        return as_frames(found.path)
    from ...training.data.media import VideoReader

    return iter(list(VideoReader(found.path, start=found.frame, stop=found.frame + 1)))


def open_source(found: Found, model: HeadModel, size: int) -> tuple[Portrait, Place]:
    """The source's portrait in a square window, and the place of its face there.

    Args:
        found: file of the source, and its frame.
        model: the head that is fitted.
        size: side of the window in pixels.

    Raises:
        NoFaceError: no face in it.
        MediaError: it cannot be read.
    """
    portrait = open_portrait(_first_frame(found), head=model, size=size)
    return portrait, face_box(portrait, portrait.source().posed_vertices)


def _first_frame(found: Found) -> Frame:
    frame = next(_frames(found), None)
    if frame is None:
        raise MediaError(f"{found.path}: expected frame {found.frame}, the clip is shorter")
    return frame


def measure_pairs(
    facts: ListFacts, options: PairOptions, setting: Setting, videos: Mapping[str, Video] | None = None
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Measure the pairs of a list, those of one driver after each other, so that it is fitted once.

    Args:
        facts: the list.
        options: how.
        setting: by whom.
        videos: those to be made, by pair.

    Returns:
        Outcomes, and the reasons of failures, by pair in the order of the list.

    Raises:
        HeadwarpError: no pair can be measured; the text gives the first reasons.
    """
    order = sorted(
        facts.pairs.items(), key=lambda item: (str(item[1].driving.path), item[1].driving.frame or 0)
    )
    outcomes: dict[str, Outcome] = {}
    failed: dict[str, str] = {}
    driver: tuple[tuple[Found, Found | None], PairDriver] | None = None
    shown = shown_steps(len(order), min(len(order), MOST_ROWS) * min(setting.shown, 1))
    for number, (name, pair) in enumerate(progress(order, "pair")):
        setting = dataclasses.replace(setting, shown=int(number in shown))
        video = (videos or {}).get(name)
        try:
            if options.same_person:
                clip = _same_person(name, pair, options, setting.model)
                trial = with_count(clip, setting.landmarks)
                outcomes[name] = measure_shown(trial, setting, video)
                continue
            key = (pair.driving, pair.reference)
            if driver is None or driver[0] != key:
                opened = open_pair_driver(
                    pair.driving, setting.model, options.per_pair, reference=pair.reference
                )
                driver = (key, opened)
            outcomes[name] = _cross(pair, driver[1], options, setting, video)
        except HeadwarpError as error:
            failed[name] = f"{name}: {error}"
    if not outcomes:
        some = "; ".join(list(failed.values())[:3])
        raise HeadwarpError(f"expected at least one pair that can be measured, got none: {some}")
    return ({name: outcomes[name] for name in facts.pairs if name in outcomes}, failed)


def _cross(
    pair: Pair, driver: PairDriver, options: PairOptions, setting: Setting, video: Video | None
) -> Outcome:
    """All animators in all modes; what takes no motion is measured in the first mode alone."""
    portrait, place = open_source(pair.source, setting.model, options.size)
    portrait = with_landmark_count(portrait, setting.landmarks)
    outcomes = []
    for number, (suffix, relative) in enumerate(options.modes.items()):
        moved = {name: a for name, a in setting.animators.items() if a.needs_driving or not number}
        chosen = {name + suffix * bool(a.needs_driving): a for name, a in moved.items()}
        transfer = Transfer(relative=relative, best_frame=_reference(pair) if relative else None)
        driven = transfer_motion(setting.model, portrait.fit, driver.fit, transfer)
        looks = any("image" in a.needs_driving for a in chosen.values())
        start = _driving_frame(pair, driven.reference) if driven.relative and looks else None
        trial = PairTrial(portrait, place, driver, driven, looks, start)
        shown = None if video is None else video.of_mode(suffix)
        outcomes.append(measure_shown(trial, dataclasses.replace(setting, animators=chosen), shown))
    scores = {name: values for outcome in outcomes for name, values in outcome.scores.items()}
    rows = [list(row) for row in outcomes[0].rows]
    for outcome in outcomes[1:]:
        rows = [[*row, *more[2:]] for row, more in zip(rows, outcome.rows, strict=True)]
    return Outcome(scores, outcomes[0].reference, rows, outcomes[0].times)


def _driving_frame(pair: Pair, number: int) -> Frame:
    """One of the frames that `open_pair_driver` reads."""
    before = () if pair.reference is None else _frames(pair.reference)
    return next(itertools.islice(itertools.chain(before, _frames(pair.driving)), number, None))


def _reference(pair: Pair) -> int | None:
    """Number of the reference frame among those of `open_pair_driver`; None for the first with a face."""
    return pair.listed.reference if isinstance(pair.listed.reference, int) else 0 if pair.reference else None


def _same_person(name: str, pair: Pair, options: PairOptions, model: HeadModel) -> ClipTrial:
    """The source's frame and the driver's as one clip, whose frames after the first are the truth."""
    frames = [_first_frame(pair.source), *_frames(pair.driving)]
    if len({frame.shape for frame in frames}) > 1:
        sizes = " and ".join(str(frame.shape[:2]) for frame in frames[:2])
        raise MediaError(f"expected frames of one clip, all of one size, got {sizes}")
    kept = [0, *spread_runs(range(1, len(frames)), options.per_pair)]
    return prepare_clip(
        [frames[t] for t in kept],
        model,
        None,
        stride=1,
        share=(0.0, 1.0),
        still_camera=options.still_camera,
        name=name,
        times=kept,
    )
