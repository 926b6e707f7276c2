"""Pose tracks: keyframes in a CSV or JSON file, and one `Pose` for every frame between them.

A row (CSV) or object (JSON) is a keyframe: ``time`` in seconds or ``frame`` as a number, and any of ``yaw``,
``pitch``, ``roll``, ``gaze_x``, ``gaze_y`` (degrees), ``jaw``, ``blink`` (0..1) and named expressions. A name
that is absent, or an empty cell, sets no key there. Between its keys every channel is interpolated by the
monotone cubic of Fritsch and Carlson, which passes through the keys and never overshoots them (two keys
alone: a straight line); before the first and after the last key it holds.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geom.errors import HeadwarpError
from .params import Pose

CHANNELS = ("yaw", "pitch", "roll", "jaw", "gaze_x", "gaze_y", "blink")
MAX_FRAMES = 1_000_000
_CLOCKS = ("time", "frame")
_RELATIVE = "relative"


def read_pose_track(
    path: str | Path, fps: float | Fraction, *, expressions: Collection[str] | None = None
) -> list[Pose]:
    """One pose for every frame, from time 0 to the last keyframe.

    Args:
        path: ``.csv`` with a header line, or ``.json``: a list of objects, or ``{"relative": ...,
            "keyframes": [...]}``. A column ``relative`` (0 or 1, one value in the whole file) or the JSON
            member says whether the poses are added to the fit's own (1, default) or replace it.
        fps: frames per second of the result; a ``frame`` column counts these.
        expressions: names that may stand in the file; None allows any.

    Returns:
        Frame i is the pose at i / fps seconds.

    Raises:
        HeadwarpError: missing or malformed file, unknown name, times that do not rise, more than `MAX_FRAMES`
            frames.
    """
    path = Path(path)
    rate = _rate(fps)
    rows = _read_rows(path)
    if not rows:
        raise HeadwarpError(f"{path}: expected at least one keyframe, got none")
    keys = [_numbers(row, f"{path}: keyframe {index}") for index, row in enumerate(rows, start=1)]
    relative = _one_meaning([key.pop(_RELATIVE) for key in keys if _RELATIVE in key], path)
    times = _times(keys, rate, path)
    names = list(dict.fromkeys(name for key in keys for name in key))
    _check_names(names, expressions, path)
    channels = {}
    for name in names:
        at = [index for index, key in enumerate(keys) if name in key]
        channels[name] = (times[at], np.array([keys[index][name] for index in at]))
    count = math.floor(times[-1] * rate + 1e-6) + 1
    if count > MAX_FRAMES:
        raise HeadwarpError(
            f"{path}: expected at most {MAX_FRAMES} frames, got {count}; are the times in seconds?"
        )
    return _poses(channels, np.arange(count) / rate, relative=relative, name=str(path))


def write_pose_track(path: str | Path, poses: Sequence[Pose], fps: float | Fraction) -> Path:
    """Write one keyframe a pose, in seconds: reading at ``fps`` gives the poses again. Whole or not at all.

    Args:
        path: ``.csv`` or ``.json``.
        poses: all relative or all absolute.
        fps: frames per second of ``poses``.

    Raises:
        HeadwarpError: no pose, relative and absolute ones mixed, another suffix, or the file cannot be
            written.

    Example:
        >>> track = write_pose_track("nod.csv", [Pose(), Pose(pitch=10), Pose()], 25)
        >>> [pose.pitch for pose in read_pose_track(track, 25)]
        [0.0, 10.0, 0.0]
    """
    path, rate = Path(path), _rate(fps)
    if not poses:
        raise HeadwarpError(f"{path}: expected at least one pose, got none")
    if len({pose.relative for pose in poses}) > 1:
        raise HeadwarpError(f"{path}: expected relative or absolute poses, got both; write two tracks")
    names = sorted({name for pose in poses for name in pose.expressions})
    rows = [{"time": index / rate, **_values(pose, names)} for index, pose in enumerate(poses)]
    relative = poses[0].relative
    suffix = path.suffix.lower()
    if suffix == ".json":
        text = json.dumps({_RELATIVE: relative, "keyframes": rows}, indent=1) + "\n"
    elif suffix == ".csv":
        text = _csv_text(rows if relative else [{**row, _RELATIVE: 0} for row in rows])
    else:
        raise HeadwarpError(f"{path}: expected a name in .csv or .json, got {suffix or 'no suffix'!r}")
    return _write_text(path, text)


def interpolate_poses(times: Sequence[float], poses: Sequence[Pose], fps: float | Fraction) -> list[Pose]:
    """One pose for every frame, as `read_pose_track`, from keyframes made in code that set every channel.

    Args:
        times: seconds, rising.
        poses: a keyframe for each time; all relative or all absolute.
        fps: frames per second of the result.

    Raises:
        HeadwarpError: times do not rise, or their count is not that of the poses.

    Example:
        >>> [pose.yaw for pose in interpolate_poses([0, 1, 2], [Pose(), Pose(yaw=20), Pose(yaw=20)], 2)]
        [0.0, 13.75, 20.0, 20.0, 20.0]
    """
    rate = _rate(fps)
    if len(times) != len(poses) or not poses:
        raise HeadwarpError(f"poses: expected one per time, got {len(poses)} for {len(times)} times")
    names = sorted({name for pose in poses for name in pose.expressions})
    values = [_values(pose, names) for pose in poses]
    at = _times([{"time": float(time)} for time in times], rate, Path("poses"))
    channels = {name: (at, np.array([value[name] for value in values])) for name in values[0]}
    count = math.floor(at[-1] * rate + 1e-6) + 1
    return _poses(channels, np.arange(count) / rate, relative=poses[0].relative, name="poses")


def absolute(poses: Sequence[Pose]) -> list[Pose]:
    """The same poses, replacing a fit's own instead of being added to it."""
    return [dataclasses.replace(pose, relative=False) for pose in poses]


def _rate(fps: float | Fraction) -> float:
    rate = float(fps)
    if not (math.isfinite(rate) and 0 < rate <= 1000):
        raise HeadwarpError(f"fps: expected a number above 0 and at most 1000, got {fps}")
    return rate


def _read_rows(path: Path) -> list[Mapping[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise HeadwarpError(f"{path}: expected a pose track in .csv or .json, got {suffix or 'no suffix'!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise HeadwarpError(f"{path}: no such pose track; sought in {path.absolute().parent}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise HeadwarpError(f"{path}: expected a text file, it cannot be read ({error})") from error
    return _csv_rows(text, path) if suffix == ".csv" else _json_rows(text, path)


def _csv_rows(text: str, path: Path) -> list[Mapping[str, Any]]:
    try:
        lines = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise HeadwarpError(f"{path}: expected comma-separated values ({error})") from error
    if not lines:
        return []
    header = [cell.strip().lower() for cell in lines[0]]
    if len(set(header)) != len(header) or "" in header:
        raise HeadwarpError(f"{path}: expected a header of distinct names, got {','.join(lines[0])!r}")
    rows: list[Mapping[str, Any]] = []
    for number, cells in enumerate(lines[1:], start=1):
        if len(cells) > len(header):
            raise HeadwarpError(f"{path}: keyframe {number}: expected {len(header)} cells, got {len(cells)}")
        named = zip(header, (cell.strip() for cell in cells), strict=False)
        rows.append({name: cell for name, cell in named if cell})
    return rows


def _json_rows(text: str, path: Path) -> list[Mapping[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HeadwarpError(f"{path}: expected JSON ({error})") from error
    shared = {}
    if isinstance(content, dict):
        unknown = sorted(set(content) - {_RELATIVE, "keyframes"})
        if unknown or "keyframes" not in content:
            raise HeadwarpError(
                f"{path}: expected members relative and keyframes, got {', '.join(sorted(content)) or 'none'}"
            )
        shared = {_RELATIVE: content[_RELATIVE]} if _RELATIVE in content else {}
        content = content["keyframes"]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise HeadwarpError(f"{path}: expected a list of keyframe objects")
    return [{**shared, **row} for row in content]


def _numbers(row: Mapping[str, Any], place: str) -> dict[str, float]:
    numbers = {}
    for name, value in row.items():
        try:
            number = float(value) if isinstance(value, (str, int, float)) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise HeadwarpError(f"{place}: {name}: expected a finite number, got {value!r}")
        numbers[name] = number
    return numbers


def _one_meaning(values: Sequence[float], path: Path) -> bool:
    if len(set(values)) > 1 or any(value not in (0.0, 1.0) for value in values):
        raise HeadwarpError(
            f"{path}: relative: expected 0 or 1, the same in all keyframes, got {sorted(set(values))}"
        )
    return bool(values[0]) if values else True


def _times(keys: Sequence[dict[str, float]], rate: float, path: Path) -> NDArray[np.float64]:
    """Seconds of the keyframes, taken out of ``keys``."""
    clocks = {name for key in keys for name in _CLOCKS if name in key}
    if len(clocks) != 1 or any(not clocks <= set(key) for key in keys):
        got = " and ".join(sorted(clocks)) or "neither"
        raise HeadwarpError(f"{path}: expected time (seconds) or frame (number) in every keyframe, got {got}")
    clock = clocks.pop()
    times = np.array([key.pop(clock) for key in keys]) / (rate if clock == "frame" else 1.0)
    if times[0] < 0 or np.any(np.diff(times) <= 0):
        raise HeadwarpError(
            f"{path}: {clock}: expected numbers of 0 or more that rise from keyframe to keyframe"
        )
    return times


def _check_names(names: Sequence[str], expressions: Collection[str] | None, path: Path) -> None:
    if expressions is None:
        return
    unknown = [name for name in names if name not in CHANNELS and name not in expressions]
    if unknown:
        known = ", ".join([*_CLOCKS, *CHANNELS, *sorted(expressions), _RELATIVE])
        raise HeadwarpError(f"{path}: no channel or expression {', '.join(unknown)}; known are {known}")


def _poses(
    channels: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    at: NDArray[np.float64],
    *,
    relative: bool,
    name: str,
) -> list[Pose]:
    values = {channel: _interpolated(times, keys, at) for channel, (times, keys) in channels.items()}
    poses = []
    for index, time in enumerate(at):
        here = {channel: float(value[index]) for channel, value in values.items()}
        gaze = (here.pop("gaze_x", 0.0), here.pop("gaze_y", 0.0))
        own = {channel: here.pop(channel) for channel in CHANNELS if channel in here}
        try:
            poses.append(Pose(**own, gaze=gaze, expressions=here, relative=relative))
        except HeadwarpError as error:
            raise HeadwarpError(f"{name}: at {time:.3f} s: {error}") from error
    return poses


def _interpolated(
    times: NDArray[np.float64], values: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Monotone cubic through the keys, held outside them."""
    from scipy.interpolate import PchipInterpolator

    if len(times) == 1:
        return np.full(len(at), values[0])
    return PchipInterpolator(times, values)(np.clip(at, times[0], times[-1]))


def _values(pose: Pose, names: Sequence[str]) -> dict[str, float]:
    gaze = {"gaze_x": float(pose.gaze[0]), "gaze_y": float(pose.gaze[1])}
    own = {name: float(getattr(pose, name)) for name in CHANNELS if name not in gaze}
    return {**own, **gaze, **{name: float(pose.expressions.get(name, 0.0)) for name in names}}


def _csv_text(rows: Sequence[Mapping[str, float]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _write_text(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise HeadwarpError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path
