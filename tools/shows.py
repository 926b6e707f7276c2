"""What `animate` writes, before its first frame: one face or several, of a photo or of a clip."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import torch

from ..flame.driving import Transfer
from ..flame.model import HeadModel
from ..flame.params import STATUS_NAMES
from ..geom.errors import HeadwarpError, NoFaceError
from ..training.data.portrait import Frame
from ..warping.animators import Animator
from .drivers import Driver
from .faces import FaceChoice, find_faces, fit_face, naming
from .filmed_head import FilmedHead, film, with_head_driven
from .motion import Motion
from .performance import animated, progress
from .portrait import as_frames
from .stage import Stage
from .timeline import in_step, picked, together

Audio = Literal["driver", "source", "none"]


@dataclass(frozen=True)
class Role:
    """A face and what drives it.

    Attributes:
        face: of the source, by rank; None: the largest.
        driving: the driver's file.
        driving_face: of the driver, by rank; None: the largest.
    """

    face: int | None
    driving: Path
    driving_face: int | None = None


@dataclass(frozen=True)
class Show:
    """Frames to be made.

    Attributes:
        frames: made one by one; anew at every call.
        count: how many; None where only making them tells.
        fps: frames per second.
        drivers: of every face; the first with sound gives it.
        source_sound: the source clip, where it has sound.
        facts: of the report.
    """

    frames: Callable[[], Iterator[Frame]]
    count: int | None
    fps: Fraction | float
    drivers: tuple[Driver, ...]
    source_sound: Path | None
    facts: Mapping[str, Any]

    def sound(self, asked: Audio | None) -> tuple[str, Path | None]:
        """Whose sound is taken along, and its file; asked for nothing: the driver's, else the source's.

        Raises:
            HeadwarpError: there is none where it is asked for.
        """
        driver = next((each.audio_from for each in self.drivers if each.audio_from), None)
        found: dict[str, Path | None] = {"driver": driver, "source": self.source_sound}
        if asked in found and found[asked] is None:
            raise HeadwarpError(
                f"--audio {asked}: the {asked} has no sound; take --audio none, or leave it out"
            )
        chosen: str = asked or next((name for name, path in found.items() if path), "none")
        return chosen, found.get(chosen)


def read_role(word: str) -> Role:
    """``FACE=FILE`` or ``FACE=FILE@FACE_IN_THE_FILE``: a driver, or of a swap the head that is put in.

    Raises:
        HeadwarpError: something else.

    Example:
        >>> read_role("1=you.mp4@2")
        Role(face=1, driving=PosixPath('you.mp4'), driving_face=2)
    """
    found = re.fullmatch(r"(\d+)=(.+?)(?:@(\d+))?", word)
    if found is None:
        raise HeadwarpError(f"--also: expected FACE=FILE, such as 1=you.mp4 or 1=you.mp4@0, got {word!r}")
    face, driving, of_driver = found.groups()
    return Role(int(face), Path(driving), None if of_driver is None else int(of_driver))


def check_faces(faces: Sequence[int | None]) -> None:
    """Refuse one face twice.

    Raises:
        HeadwarpError: so, or a face without its number beside others.
    """
    if len(faces) > 1 and (None in faces or len(set(faces)) < len(faces)):
        raise HeadwarpError(
            "--also: expected every face by another number, the first one by --face, got "
            f"{', '.join('none' if face is None else str(face) for face in faces)}"
        )


def is_film(source: Sequence[Path]) -> bool:
    """Whether the source is a clip; a file that cannot be read says so later."""
    from ..training.data.media import MediaError, probe

    try:
        return len(source) == 1 and probe(source[0]).kind == "video"
    except MediaError:
        return False


def photo_show(
    stages: Sequence[Stage],
    photo: Callable[[], Frame],
    made: Callable[[Stage], Iterator[Frame]],
    animator: Animator,
    *,
    fps: float | None,
    loop: bool,
) -> Show:
    """A photo whose faces are driven, one stage a face, the farthest first.

    Args:
        stages: one or several.
        photo: reads the whole picture.
        made: the frames of a single stage.
        animator: of all.
        fps: frames per second; None: the first driver's.
        loop: shorter drivers begin again.
    """
    rate = fps or stages[0].driver.fps
    timed = [_in_time(stage, rate, several=len(stages) > 1) for stage in stages]
    if len(stages) > 1:
        counted = [each for each in timed if each is not None]
        timed = list(together(counted, loop=loop))
    staged = [
        stage if indices is None else stage.at(indices) for stage, indices in zip(stages, timed, strict=True)
    ]

    def several() -> Iterator[Frame]:
        whole: Iterator[Frame] = repeat(photo())
        for stage in sorted(staged, key=lambda each: each.nearness):
            whole = stage.pasted(animated(animator, stage.cache, stage.drivings()), onto=whole)
        return whole

    faces = {} if len(staged) == 1 else {"faces": [dict(stage.facts) for stage in staged]}
    return Show(
        several if len(staged) > 1 else lambda: made(staged[0]),
        staged[0].count,
        rate,
        tuple(stage.driver for stage in staged),
        None,
        {**staged[0].facts, **faces},
    )


def _in_time(stage: Stage, rate: Fraction | float, *, several: bool) -> list[int] | None:
    """Numbers of the driving frames; None: all of them as they are."""
    if stage.count is None or (not several and (rate == stage.driver.fps or not stage.driver.timed)):
        return None
    return in_step(stage.count, stage.driver.fps if stage.driver.timed else rate, rate)


def film_show(
    source: Path,
    roles: Sequence[tuple[Role, Driver]],
    model: HeadModel,
    animator: Animator,
    *,
    transfer: Transfer,
    size: int | None,
    landmarks: str,
    fps: float | None,
    loop: bool,
    device: torch.device,
    motion: Motion,
) -> Show:
    """A clip whose faces are driven; each of its frames by what the driver does at the same time.

    Args:
        source: the clip.
        roles: which face follows which driver.
        model: the head of all.
        animator: that makes the pictures.
        transfer: how a driver's motion becomes its own.
        size: side of the windows in pixels; None: as large as the heads are.
        landmarks: a detector's name, or a file of landmarks.
        fps: of the result; None: the clip's own.
        loop: a driver that ends before the source begins anew.
        device: where the animator works.
        motion: how much of the motion is taken over.

    Raises:
        NoFaceError: no face in the source, or none of that number.
    """
    from ..training.data.media import probe

    info = probe(source)
    own = info.fps or roles[0][1].fps
    rate = fps or own
    with naming(source):
        tracks = find_faces(progress(as_frames(source), info.frames, "fit source"), landmarks=landmarks)
    heads: list[FilmedHead] = []
    for role, driver in roles:
        if not 0 <= (role.face or 0) < len(tracks):
            raise NoFaceError(f"--face {role.face}: the source has {len(tracks)} face(s), numbered from 0")
        fit = fit_face(FaceChoice(tuple(tracks), role.face or 0), model)
        heads.append(film(model, fit, driver, transfer, size=size, motion=motion))
    shown = in_step(heads[0].fit.frames, own, rate)
    moved = [in_step(_length(driver), driver.fps if driver.timed else rate, rate) for _, driver in roles]
    single = [len(each) == 1 for each in moved]  # a photo or one pose holds through the whole clip
    moved = [each * len(shown) if alone else each for each, alone in zip(moved, single, strict=True)]
    numbers, *driving = together([shown, *moved], loop=loop, length=len(shown))

    def frames() -> Iterator[Frame]:
        made: Iterator[Frame] = picked(lambda: as_frames(source), numbers)
        for head, drives in sorted(zip(heads, driving, strict=True), key=lambda pair: pair[0].metre):
            made = with_head_driven(
                made, list(zip(numbers, drives, strict=True)), head, animator, device=device
            )
        return made

    return Show(
        frames,
        len(numbers),
        rate,
        tuple(driver for _, driver in roles),
        source if info.has_audio else None,
        _film_facts(heads, numbers, len(shown)),
    )


def _film_facts(heads: Sequence[FilmedHead], numbers: Sequence[int], whole: int) -> dict[str, Any]:
    faces = [
        {
            "relative": bool(head.transfer.relative),
            "reference_frame": head.reference,
            "source": _counts(head.fit),
            "driver": None if head.driver.fit is None else _counts(head.driver.fit),
            "unchanged_frames": sum(not head.shown(number) for number in numbers),
        }
        for head in heads
    ]
    several = {"faces": faces} if len(faces) > 1 else {}
    end = "driver" if len(numbers) < whole else "source"
    return {**faces[0], "window": "face", "ends_with": end, **several}


def _counts(fit: Any) -> dict[str, int]:
    return {name: int((fit.status == number).sum()) for number, name in enumerate(STATUS_NAMES)}


def _length(driver: Driver) -> int:
    return len(driver.poses or ()) if driver.fit is None else driver.fit.frames
