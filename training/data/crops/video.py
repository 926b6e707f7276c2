"""One video into the clips of a dataset, and the record of what became of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ....flame.detect.tracking import FaceTracker, Steps, TrackerConfig
from ....geom.errors import HeadwarpError, NoFaceError
from ..vox import PARTITIONS, ClipName, clean_part, format_name
from .cutting import Cut, write_clips
from .plan import CropConfig, Planned, check_config, plan_track
from .rate import Timeline, timeline
from .shots import ShotConfig
from .table import CropRow, VideoRecord
from .watch import Seen, watch
from .windows import get_window, reached

__all__ = ["PrepareConfig", "check_prepare", "partition_of", "prepare_video"]


@dataclass(frozen=True)
class PrepareConfig:
    """How videos become clips.

    Attributes:
        crop: the windows and where clips end.
        shots: what counts as a cut.
        tracker: how faces are followed.
        identity: ``track``: every face track is a person of its own. ``person``: a face that is alone, or the
            largest in the picture, is the person the caller names; others are numbered persons.
        test_share: share of the identities, by their hash, whose clips are test clips.
        test_ids: identities that are test ones in any case.
        audio: keep the sound.
        crf: quality of the clips, 0 (near lossless) to 51.
    """

    crop: CropConfig = field(default_factory=CropConfig)
    shots: ShotConfig = field(default_factory=ShotConfig)
    tracker: TrackerConfig = field(default_factory=lambda: TrackerConfig(max_faces=8))
    identity: Literal["track", "person"] = "track"
    test_share: float = 0.0
    test_ids: tuple[str, ...] = ()
    audio: bool = True
    crf: int = 16


@dataclass(frozen=True)
class _Stretch:
    """A planned clip of a track and whose it is."""

    track: int
    plan: Planned
    identity: str


def check_prepare(config: PrepareConfig) -> None:
    """Raise HeadwarpError for a config that makes no sense; the text names the option."""
    check_config(config.crop)
    if not 0 <= config.test_share <= 1:
        raise HeadwarpError(f"--test-share: expected 0 to 1, got {config.test_share:g}")
    if not 0 <= config.crf <= 51:
        raise HeadwarpError(f"--crf: expected 0 to 51, got {config.crf}")


def prepare_video(
    path: str | os.PathLike[str],
    config: PrepareConfig,
    output: str | os.PathLike[str],
    *,
    video: str | None = None,
    person: str | None = None,
    frames: tuple[int, int | None] = (0, None),
    start_tracker: Callable[[], Steps] | None = None,
) -> VideoRecord:
    """Cut the clips of one video into ``output/train`` and ``output/test``.

    The file is read twice, once to follow the faces and once to cut; memory does not grow with its length but
    for a box and a time a frame. Each clip is whole or not there. Running it again writes the same clips,
    byte for byte where the size is a multiple of 128 (x264 is not repeatable at some other widths).

    Args:
        path: a video, an animation, or a folder of numbered pictures.
        config: how.
        output: the dataset's folder.
        video: name of the video in the dataset; None for the file's own.
        person: who is seen, where ``config.identity`` is ``person``; None for the video's name.
        frames: look only at those from the first to before the second; None for the end.
        start_tracker: makes what follows the faces; None for a :class:`FaceTracker` of this video's own.

    Raises:
        MediaError: the file cannot be read, is a photo, or a clip cannot be written.
        NoFaceError: no face in it.
        HeadwarpError: the config makes no sense, or the disk is full.
    """
    check_prepare(config)
    name = clean_part(video if video is not None else Path(path).stem)
    seen = watch(
        path,
        start_tracker=start_tracker or (lambda: FaceTracker(config.tracker)),
        shots=config.shots,
        start=frames[0],
        stop=frames[1],
    )
    if not seen.faces:
        raise NoFaceError(f"{os.fspath(path)}: no face was found in {len(seen.times)} frame(s).")
    line = timeline(seen.times, seen.info.fps, fps=config.crop.fps, first=seen.start)
    stretches = _stretches(seen, line, config, names=(name, clean_part(person or name)))
    rows = tuple(_row(stretch, name, seen=seen, line=line, config=config) for stretch in stretches)
    cuts = [
        Cut(Path(output) / row.clip, item.plan.tube.start, item.plan.tube.end, item.plan.square)
        for item, row in zip(stretches, rows, strict=True)
        if not row.dropped
    ]
    write_clips(path, cuts, seen, line, size=config.crop.size, audio=config.audio, crf=config.crf)
    return VideoRecord(name, rows, len(seen.times), float(line.fps), _notes(seen, line))


def _stretches(
    seen: Seen, line: Timeline, config: PrepareConfig, *, names: tuple[str, str]
) -> list[_Stretch]:
    """The clips and dropped stretches of all tracks; ``names`` are the video's and the person's."""
    size = (seen.info.height, seen.info.width)
    breaks = _breaks(line, seen.cuts)
    window = get_window(config.crop.window)
    planned = []
    for track, face in sorted(seen.faces.items()):
        faces = face.rows(len(seen.times))[line.sources]
        for plan in plan_track(reached(faces, window), faces, breaks, config.crop, size=size):
            planned.append((track, plan if face.confirmed else _unconfirmed(plan)))
    video, person = names
    if config.identity == "track":
        return [_Stretch(track, plan, f"{video}-{track:02d}") for track, plan in planned]
    plans = [plan for _, plan in planned]
    return [
        _Stretch(track, plan, person if _leads(plan, plans) else f"{person}-{track:02d}")
        for track, plan in planned
    ]


def _breaks(line: Timeline, cuts: Sequence[int]) -> np.ndarray:
    """(N,) bool: positions at which a shot begins, or time jumps."""
    shot = np.searchsorted(cuts, line.sources, side="right")
    return np.concatenate([[False], (np.diff(shot) > 0) | (np.diff(line.numbers) > 1)])


def _unconfirmed(plan: Planned) -> Planned:
    """A face that no detector confirmed may be a pattern that looks like one."""
    if plan.dropped:
        return plan
    return Planned(plan.tube, plan.square, "unconfirmed", "no detector confirmed the face")


def _leads(plan: Planned, others: Sequence[Planned]) -> bool:
    """Whether no larger face is there for half of the time."""
    own = plan.tube
    return not any(
        min(own.end, other.tube.end) - max(own.start, other.tube.start) > own.frames / 2
        and np.prod(other.tube.box[2:] - other.tube.box[:2]) > np.prod(own.box[2:] - own.box[:2])
        for other in others
    )


def partition_of(identity: str, config: PrepareConfig) -> str:
    """``train`` or ``test``: by the name alone, so that a dataset can grow.

    Example:
        >>> partition_of("anna", PrepareConfig(test_ids=("anna",)))
        'test'
    """
    number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big") / 2**32
    return PARTITIONS[identity in config.test_ids or number < config.test_share]


def _row(stretch: _Stretch, video: str, *, seen: Seen, line: Timeline, config: PrepareConfig) -> CropRow:
    plan, identity = stretch.plan, stretch.identity
    first, last = (int(line.numbers[position]) for position in (plan.tube.start, plan.tube.end - 1))
    partition = partition_of(identity, config)
    clip = f"{partition}/{format_name(ClipName(identity, video, first, last + 1))}.mp4"
    return CropRow(
        video_id=f"{video}#{identity}",
        start=first,
        end=last + 1,
        bbox=plan.square.box,
        fps=float(line.fps),
        width=seen.info.width,
        height=seen.info.height,
        partition=partition,
        identity=identity,
        track=stretch.track,
        clip="" if plan.dropped else clip,
        dropped=plan.dropped,
        detail=plan.detail,
        missing=plan.tube.missing,
        audio=config.audio and seen.info.has_audio and not plan.dropped,
    )


def _notes(seen: Seen, line: Timeline) -> tuple[str, ...]:
    notes = [seen.truncated] if seen.truncated else []
    if seen.damaged:
        notes.append(f"{seen.damaged} damaged packet(s) or picture(s) were left out.")
    if line.repeated or line.left_out:
        notes.append(
            f"Frames do not come evenly: at {float(line.fps):g} a second {line.repeated} are repeated and "
            f"{line.left_out} left out."
        )
    return tuple(notes)
