"""Cross identity: a photo driven by another person, whose frames are no truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ...flame.driving import Driven, Transfer, transfer_motion
from ...flame.model import HeadModel, landmark_points
from ...flame.params import DETECTED, HeadFit
from ...geom.crops import crop_image
from ...geom.errors import HeadwarpError, MediaError
from ...training.data.pair_lists import Found, ListedPair, Pair, find_pairs, read_pairs
from ...training.data.portrait import Frame, Portrait, to_image
from ...warping.animators import Animator
from ..faces import find_face, fit_face
from ..portrait import as_frames, open_portrait
from .clips import ClipTrial, prepare_clip
from .measure import Outcome, Setting, measure
from .report import progress
from .trials import Place, Step

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
    """

    portrait: Portrait
    place: Place
    driver: PairDriver
    driven: Driven
    wants_pictures: bool = False

    @property
    def truth(self) -> bool:
        """There is none."""
        return False

    @property
    def driver_size(self) -> tuple[float, float]:
        """The square of the driver's frame that lies over the source's window."""
        return (self.driven.crop.side, self.driven.crop.side)

    def steps(self) -> Iterator[Step]:
        """The measured frames."""
        for row, t in enumerate(self.driver.times):
            frame = self.driver.frames[row]
            fit = self.driven.fit.select([t])
            image = None
            if self.wants_pictures:
                image = crop_image(to_image(frame), self.driven.crop, fit.size[0])
            driving = self.portrait.driving(fit, image=image)
            expected = (face_box(self.portrait, driving.posed_vertices), self.place)
            yield Step(t, driving, frame, self.driver.points[row], expected)


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
        count: about how many are wanted; a multiple of three.

    Example:
        >>> spread_runs(range(100), 9)
        (0, 1, 2, 48, 49, 50, 97, 98, 99)
    """
    if len(seen) <= count:
        return tuple(seen)
    starts = np.linspace(0, len(seen) - RUN, max(1, count // RUN)).astype(int)
    return tuple(seen[start + step] for start in starts for step in range(RUN))


def open_pair_driver(found: Found, model: HeadModel, count: int) -> PairDriver:
    """Read and fit a driver; of a clip the frames that `spread_runs` takes are kept.

    Raises:
        NoFaceError: no face in it.
        MediaError: it cannot be read.
    """
    choice = find_face(_frames(found))
    fit = fit_face(choice, model)
    seen = np.flatnonzero((fit.status == DETECTED).numpy()).tolist()
    times = spread_runs(seen, count)
    wanted = set(times)
    frames = tuple(frame for t, frame in enumerate(_frames(found)) if t in wanted)
    return PairDriver(fit, times, frames, choice.track.landmarks[list(times)])


def _frames(found: Found) -> Iterator[Frame]:
    if found.frame is None:
        return as_frames(found.path)
    from ...training.data.media import VideoReader

    return iter(list(VideoReader(found.path, start=found.frame, stop=found.frame + 1)))


def open_source(found: Found, model: HeadModel, size: int) -> tuple[Portrait, Place]:
    """The source's portrait in a square window, and the place of its face there.

    Raises:
        NoFaceError: no face in it.
        MediaError: it cannot be read.
    """
    frame = next(_frames(found), None)
    if frame is None:
        raise MediaError(f"{found.path}: expected frame {found.frame}, the clip is shorter")
    portrait = open_portrait(frame, head=model, size=size)
    return portrait, face_box(portrait, portrait.source().posed_vertices)


@dataclass(frozen=True)
class PairOptions:
    """How a list of pairs is measured; see `tools.evaluate.Evaluate`."""

    pairs: Path
    root: Path | None = None
    relative: bool = False
    absolute: bool = False
    same_person: bool = False
    per_pair: int = 24
    size: int = 256
    still_camera: bool = False

    def __post_init__(self) -> None:
        if self.per_pair < 1:
            raise HeadwarpError(f"--per-pair: expected 1 or more, got {self.per_pair}")
        if self.size < 16:
            raise HeadwarpError(f"--size: expected 16 pixels or more, got {self.size}")
        if self.same_person and (self.relative or self.absolute):
            raise HeadwarpError(
                "--same-person: the driving frame is the truth; leave out --relative and --absolute"
            )

    @property
    def modes(self) -> Mapping[str, bool | None]:
        """What is added to the animators' names -> relative motion; None: but for drivers of one frame."""
        if self.relative and self.absolute:
            return {" relative": True, " absolute": False}
        return {"": True if self.relative else False if self.absolute else None}

    @property
    def motion(self) -> str:
        """The modes in words, for the report."""
        if self.same_person:
            return "the same person's"
        words = {True: "relative", False: "absolute", None: "relative, absolute for drivers of one frame"}
        return " and ".join(words[mode] for mode in self.modes.values())


@dataclass(frozen=True)
class ListFacts:
    """What a list held and what was found of it.

    Attributes:
        listed: rows of the list.
        pairs: those whose files are there, by name.
        missing: entries without a file.
        root: where they were sought.
    """

    listed: Sequence[ListedPair]
    pairs: Mapping[str, Pair]
    missing: Sequence[str]
    root: Path

    def protocol(self) -> dict[str, Any]:
        """Counts for the report."""
        return {"listed": len(self.listed), "found": len(self.pairs), "files_missing": len(self.missing)}

    def failed(self) -> dict[str, str]:
        """One entry for all that is not on the disk."""
        lost = len(self.listed) - len(self.pairs)
        if not lost:
            return {}
        some = ", ".join(self.missing[:3]) + (" .." if len(self.missing) > 3 else "")
        return {"pairs": f"{lost} of {len(self.listed)} pairs: no file under {self.root} for {some}"}


def open_list(options: PairOptions) -> ListFacts:
    """Read a list and find its files.

    Raises:
        HeadwarpError: the list makes no sense, or none of its pairs is there.
    """
    listed = read_pairs(options.pairs)
    root = options.root or options.pairs.absolute().parent
    pairs, missing = find_pairs(listed, root)
    if not pairs:
        raise HeadwarpError(
            f"--pairs {options.pairs}: found none of its {len(listed)} pairs under {root}; sought, for one, "
            f"{missing[0]}; name the folder with --root"
        )
    return ListFacts(listed, _by_name(pairs), missing, root)


def _by_name(pairs: Sequence[Pair]) -> dict[str, Pair]:
    named: dict[str, Pair] = {}
    for pair in pairs:
        name, number = pair.name, 2
        while name in named:
            name, number = f"{pair.name} {number}", number + 1
        named[name] = pair
    return named


def measure_pairs(
    facts: ListFacts, options: PairOptions, setting: Setting
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Measure the pairs of a list, those of one driver after each other, so that it is fitted once.

    Returns:
        Outcomes, and the reasons of failures, by pair in the order of the list.
    """
    order = sorted(
        facts.pairs.items(), key=lambda item: (str(item[1].driving.path), item[1].driving.frame or 0)
    )
    outcomes: dict[str, Outcome] = {}
    failed: dict[str, str] = {}
    driver: tuple[Found, PairDriver] | None = None
    for name, pair in progress(order, "pair"):
        try:
            if options.same_person:
                outcomes[name] = measure(_same_person(name, pair, options, setting.model), setting)
                continue
            if driver is None or driver[0] != pair.driving:
                driver = (pair.driving, open_pair_driver(pair.driving, setting.model, options.per_pair))
            outcomes[name] = _cross(pair, driver[1], options, setting)
        except HeadwarpError as error:
            failed[name] = f"{name}: {error}"
    if not outcomes:
        some = "; ".join(list(failed.values())[:3])
        raise HeadwarpError(f"evaluate: expected at least one pair that can be measured, got none: {some}")
    return ({name: outcomes[name] for name in facts.pairs if name in outcomes}, failed)


def _cross(pair: Pair, driver: PairDriver, options: PairOptions, setting: Setting) -> Outcome:
    """All animators in all modes; what takes no motion is measured in the first mode alone."""
    portrait, place = open_source(pair.source, setting.model, options.size)
    outcomes = []
    for number, (suffix, relative) in enumerate(options.modes.items()):
        moved = {name: a for name, a in setting.animators.items() if a.needs_driving or not number}
        chosen = {name + suffix * bool(a.needs_driving): a for name, a in moved.items()}
        transfer = Transfer(relative=relative, best_frame=pair.listed.reference if relative else None)
        driven = transfer_motion(setting.model, portrait.fit, driver.fit, transfer)
        looks = any("image" in a.needs_driving for a in chosen.values())
        trial = PairTrial(portrait, place, driver, driven, looks)
        outcomes.append(measure(trial, dataclasses.replace(setting, animators=chosen)))
    scores = {name: values for outcome in outcomes for name, values in outcome.scores.items()}
    rows = [list(row) for row in outcomes[0].rows]
    for outcome in outcomes[1:]:
        rows = [[*row, *more[2:]] for row, more in zip(rows, outcome.rows, strict=True)]
    return Outcome(scores, outcomes[0].reference, rows)


def labels(options: PairOptions, animators: Mapping[str, Animator]) -> list[str]:
    """The animators' names in a report of pairs, in the order of the sheet's columns."""
    return [
        name + suffix * bool(animator.needs_driving)
        for number, suffix in enumerate(options.modes)
        for name, animator in animators.items()
        if animator.needs_driving or not number
    ]


def _same_person(name: str, pair: Pair, options: PairOptions, model: HeadModel) -> ClipTrial:
    """The source's frame and the driver's as one clip, whose frames after the first are the truth."""
    frames = [next(_frames(pair.source)), *_frames(pair.driving)]
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
    )
