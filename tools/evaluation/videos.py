"""The videos of an evaluation: a file a clip, written frame by frame while the clip is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...geom.errors import HeadwarpError
from ...training.data.inputs import Input, output_names
from ..drivers import DEFAULT_FPS
from ..inputs import check_folder
from .measure import Outcome, Setting, measure
from .side_by_side import layout_of, side_by_side
from .trials import Moment, Trial

SLOWEST = Fraction(4)  # frames a second; also of frames that are no neighbours
_EVEN = 0.9  # share of steps of one length from which on they are a clip
_CRF = 20


@dataclass(frozen=True)
class Video:
    """A video to be made.

    Attributes:
        path: of the file, .mp4.
        title: name of the clip, as it stands in the picture.
        footage: files that source and driver are from, the driver's last.
    """

    path: Path
    title: str
    footage: tuple[Path, ...]

    def of_mode(self, suffix: str) -> Video:
        """That of a mode of a pair, by what the mode adds to animators' names; itself of the only one."""
        if not suffix:
            return self
        path = self.path.with_name(f"{self.path.stem}.{suffix.strip()}.mp4")
        return replace(self, path=path, title=self.title + suffix)


def plan_videos(folder: Path, footage: Mapping[str, Sequence[Path]]) -> dict[str, Video]:
    """A video for every clip or pair by its name, no two of one name, none over a file that is read.

    Args:
        folder: where they go.
        footage: files of every clip or pair by its name, the driver's last.

    Raises:
        HeadwarpError: the folder cannot be written to, a video would lie where the footage is, or there is no
            encoder.
    """
    from ...training.data.media import check_encoder

    check_folder(folder, option="--videos")
    check_encoder()
    places = {name: name.replace(">", " by ") + ".mp4" for name in footage}
    files = output_names([Input(name, place) for name, place in places.items()])
    read = {path.resolve() for paths in footage.values() for path in paths}
    videos = {}
    for file, (name, paths) in zip(files, footage.items(), strict=True):
        path = folder / f"{file}.mp4"
        if path.resolve() in read:
            raise HeadwarpError(f"--videos: {path} is footage that is measured; name another folder")
        videos[name] = Video(path, name, tuple(paths))
    return videos


def measure_shown(trial: Trial, setting: Setting, video: Video | None) -> Outcome:
    """`measure`, and its video where one is asked for.

    Args:
        trial: what is measured.
        setting: by which animators.
        video: that is written; None: none.

    Raises:
        HeadwarpError: the file cannot be written.
    """
    if video is None:
        return measure(trial, setting)
    from ...training.data.media import VideoWriter
    from ...training.data.provenance import Provenance

    fps = footage_rate(video.footage[-1])
    files = [path for path in dict.fromkeys(video.footage) if path.is_file()]
    made = Provenance.now(", ".join(setting.animators), inputs=files)
    rate = video_rate(trial.numbers, fps)
    with VideoWriter(video.path, rate, provenance=made, crf=_CRF) as writer:
        lines = {name: np.full(len(trial.numbers), np.nan) for name in setting.animators}
        size = (int(trial.portrait.image.shape[2]), int(trial.portrait.image.shape[3]))
        layout = layout_of(size, list(setting.animators), errors=trial.truth)

        def watch(moment: Moment) -> None:
            for name, each in moment.made.items():
                lines[name][writer.frames] = np.nan if each.l1 is None else each.l1
            second = None if fps is None else float(moment.time / fps)
            writer.write(side_by_side(layout, moment, title=video.title, second=second, lines=lines))

        return measure(trial, setting, watch)


def footage_rate(path: Path) -> Fraction | None:
    """Frames a second of a file; None where it does not say, as folders of pictures do."""
    from ...training.data.media import probe

    if path.is_dir():
        return None
    fps = probe(path).fps
    return None if fps is None else Fraction(fps)


def video_rate(numbers: Sequence[int], fps: Fraction | None) -> Fraction:
    """Frames a second: in time with the clip where the frames are evenly taken, slow enough to look at where
    they leap.

    Args:
        numbers: of the frames in their clip, increasing.
        fps: of the clip; None for 25.

    Example:
        >>> video_rate([0, 2, 4, 6], Fraction(30)), video_rate([0, 1, 2, 60, 61, 62], Fraction(30))
        (Fraction(15, 1), Fraction(4, 1))
    """
    if not evenly_taken(numbers):
        return SLOWEST
    (step, _), *_ = Counter(np.diff(numbers).tolist()).most_common(1)
    return max(SLOWEST, (fps or DEFAULT_FPS) / int(step))


def evenly_taken(numbers: Sequence[int]) -> bool:
    """Whether frames follow each other at one step, but for a few, rather than in runs; no single one does.

    Example:
        >>> evenly_taken([0, 2, 4, 6]), evenly_taken([0, 1, 2, 60, 61, 62])
        (True, False)
    """
    steps = Counter(np.diff(numbers).tolist())
    return bool(steps) and max(steps.values()) >= _EVEN * steps.total()


def videos_report(
    videos: Mapping[str, Video], measured: Iterable[str], modes: Iterable[str] = ("",)
) -> dict[str, dict[str, list[Path]]]:
    """``videos`` of a report: the files of every clip that was measured; nothing where none was asked for.

    Args:
        videos: planned, by clip.
        measured: names of the clips that were measured.
        modes: suffixes of the modes in which pairs are measured.
    """
    suffixes = tuple(modes)
    files = {
        name: [videos[name].of_mode(suffix).path for suffix in suffixes]
        for name in measured
        if name in videos
    }
    return {"videos": files} if files else {}
