"""What a page of an evaluation is made of, kept beside its report, so that it can be made anew.

The file is safetensors, ``R.kept.safetensors`` beside ``R.json``. Its metadata hold one text, ``evaluation``,
a JSON object: ``format``; ``report``, the SHA-256 of the report's file; ``options`` and ``versions`` of the
run; ``videos``, by clip, relative to the file; ``clips``, an object each: ``name``, the ``animators`` that
performed it, their ``metrics`` that have a value a frame, the ``steps`` whose pictures are shown. Tensors, N
being the number of a clip and A that of an animator in it:

    N/times             int64 (T,), numbers of the measured frames in their clip
    N/A/METRIC          float64 (T,), NaN where not scored
    N/pictures/R/C      uint8, a JPEG: row R of the steps; column 0 source, 1 driver, 2 + A the animators

Means and definitions stand in the report.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import HeadwarpError
from ...training.data.atomic import atomic_path
from ..pages.pictures import LARGE, SIDE, jpeg
from .measure import Outcome, Scores, shown_steps

FORMAT = 1
SUFFIX = ".kept.safetensors"
FEW = 12  # clips; of each of more than these one row of pictures is shown
FEWER = 4  # clips whose pictures are shown in large
_KEY = "evaluation"


@dataclass(frozen=True)
class ShownRow:
    """Pictures of a step, as JPEG.

    Attributes:
        step: of the measured frames.
        pictures: source, driver, every animator.
    """

    step: int
    pictures: tuple[bytes, ...]


@dataclass(frozen=True)
class Kept:
    """What a page shows beside the report.

    Attributes:
        outcomes: by clip, without pictures.
        pictures: by clip, as `page_pictures` makes them.
        options: of the run that were given, by name.
        versions: of what measured.
    """

    outcomes: Mapping[str, Outcome]
    pictures: Mapping[str, Sequence[ShownRow]]
    options: Mapping[str, str]
    versions: Mapping[str, Any]


def page_pictures(outcomes: Mapping[str, Outcome]) -> dict[str, list[ShownRow]]:
    """The pictures of every clip, as many and as large as a page shows of so many clips."""
    side = LARGE if len(outcomes) <= FEWER else SIDE
    found = {}
    for clip, outcome in outcomes.items():
        steps = sorted(shown_steps(len(outcome.times), len(outcome.rows))) if outcome.rows else []
        rows = list(zip(steps, outcome.rows, strict=True))
        rows = rows if len(outcomes) <= FEW else rows[len(rows) // 2 :][:1]
        found[clip] = [ShownRow(step, tuple(jpeg(p, side=side) for p in row)) for step, row in rows]
    return found


def kept_beside(report: Path) -> Path:
    """The file beside a report."""
    return report.with_name(report.stem + SUFFIX)


def write_kept(report: Path, kept: Kept, *, videos: Mapping[str, Sequence[Path]]) -> Path:
    """Write the file beside a report that is there.

    Raises:
        HeadwarpError: it cannot be written.
    """
    from safetensors.numpy import save

    path = kept_beside(report)
    tensors: dict[str, NDArray[Any]] = {}
    clips = []
    for number, (name, outcome) in enumerate(kept.outcomes.items()):
        rows = kept.pictures[name]
        tensors[f"{number}/times"] = np.array(outcome.times, np.int64)
        for place, scores in enumerate(outcome.scores.values()):
            for key, values in scores.frames.items():
                tensors[f"{number}/{place}/{key}"] = np.ascontiguousarray(values, np.float64)
        for place, row in enumerate(rows):
            for column, picture in enumerate(row.pictures):
                tensors[f"{number}/pictures/{place}/{column}"] = np.frombuffer(picture, np.uint8)
        metrics = [list(scores.frames) for scores in outcome.scores.values()]
        steps = [row.step for row in rows]
        clips.append({"name": name, "animators": list(outcome.scores), "metrics": metrics, "steps": steps})
    folder = report.absolute().parent
    told = {
        "format": FORMAT,
        "report": _digest(report),
        "options": dict(kept.options),
        "versions": dict(kept.versions),
        "videos": {
            clip: [os.path.relpath(file.absolute(), folder) for file in files]
            for clip, files in videos.items()
        },
        "clips": clips,
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={_KEY: json.dumps(told)}))
    return path


def read_kept(report: Path) -> tuple[dict[str, Any], Kept]:
    """A report with what was kept beside it.

    Returns:
        The report as `report_of` made it, missing numbers as NaN; and what its page is made of.

    Raises:
        HeadwarpError: a file that is not there, is damaged, or belongs to another report.
    """
    path = kept_beside(report)
    content = _read_report(report)
    told, tensors = _read_tensors(path)
    try:
        if told["format"] != FORMAT:
            raise HeadwarpError(f"{path}: expected format {FORMAT}, got {told['format']!r}; measure again")
        if told["report"] != _digest(report):
            raise HeadwarpError(
                f"{path}: belongs to another report than {report}, which was changed or written anew; "
                "measure again"
            )
        outcomes = {
            clip["name"]: _outcome(number, clip, tensors, content["clips"][clip["name"]])
            for number, clip in enumerate(told["clips"])
        }
        pictures = {clip["name"]: _rows(number, clip, tensors) for number, clip in enumerate(told["clips"])}
        videos = {clip: [report.parent / file for file in files] for clip, files in told["videos"].items()}
        options = {str(name): str(value) for name, value in told["options"].items()}
        kept = Kept(outcomes, pictures, options, dict(told["versions"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise HeadwarpError(f"{path}: damaged ({type(error).__name__}: {error}); measure again") from error
    if not outcomes:
        raise HeadwarpError(f"{path}: expected a clip at least, got none; measure again")
    return {**content, **({"videos": videos} if videos else {})}, kept


def _read_report(path: Path) -> dict[str, Any]:
    """The JSON report; what had no number is NaN again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HeadwarpError(f"--from: no report {path}; it is what --json wrote") from error
    except (OSError, ValueError, RecursionError) as error:
        raise HeadwarpError(f"--from: {path} is no report of headwarp evaluate ({error})") from error
    wanted = ("protocol", "metrics", "clips", "failed", "definitions", "definition_ids", "absent")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in wanted):
        raise HeadwarpError(f"--from: {path} is no report of headwarp evaluate; name what --json wrote")
    try:
        content["metrics"] = {name: _numbers(values) for name, values in content["metrics"].items()}
        content["clips"] = {
            clip: {name: _numbers(values) for name, values in animators.items()}
            for clip, animators in content["clips"].items()
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise HeadwarpError(f"--from: {path} is no report of headwarp evaluate ({error})") from error
    return content


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: math.nan if value is None else value + 0 for key, value in values.items()}


def _read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise HeadwarpError(
            f"{path}: no such file; headwarp evaluate writes it beside --json, and the page is made from both"
        )
    try:
        with safe_open(path, framework="np") as file:
            told = json.loads((file.metadata() or {})[_KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise HeadwarpError(f"{path}: is not what headwarp evaluate keeps; measure again") from error
    if not isinstance(told, dict):
        raise HeadwarpError(f"{path}: is not what headwarp evaluate keeps; measure again")
    return told, tensors


def _outcome(
    number: int, clip: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], means: Mapping[str, Any]
) -> Outcome:
    times = tensors[f"{number}/times"]
    scores = {}
    for place, (animator, keys) in enumerate(zip(clip["animators"], clip["metrics"], strict=True)):
        frames = {key: tensors[f"{number}/{place}/{key}"] for key in keys}
        if any(values.dtype != np.float64 or values.shape != times.shape for values in frames.values()):
            raise ValueError(f"values of {animator}")
        scores[animator] = Scores(frames, dict(means[animator]), len(times))
    if times.dtype != np.int64 or times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any():
        raise ValueError("times")
    return Outcome(scores, (), [], tuple(times.tolist()))


def _rows(number: int, clip: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> list[ShownRow]:
    rows = []
    for place, step in enumerate(clip["steps"]):
        if not 0 <= step < len(tensors[f"{number}/times"]):
            raise ValueError(f"step {step}")
        columns = range(2 + len(clip["animators"]))
        pictures = tuple(tensors[f"{number}/pictures/{place}/{c}"].tobytes() for c in columns)
        rows.append(ShownRow(step, tuple(_checked(picture) for picture in pictures)))
    return rows


def _checked(picture: bytes) -> bytes:
    """A JPEG that a page may hold."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(picture), formats=["JPEG"]) as image:
            if max(image.size) > LARGE:
                raise ValueError(f"a picture of {image.size} pixels")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError("a picture") from error
    return picture


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
