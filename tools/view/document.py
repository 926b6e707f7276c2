"""What a person said in the editor, as an immutable document: changed by pure functions, undone and redone.

Nothing here knows a browser, a picture or a network. `as_command` gives the line of ``headwarp edit`` that
makes the same pixels.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...flame.params import Pose
from ...flame.pose_track import interpolate_poses
from ...flame.retargeting import Retargeting
from ...geom.errors import HeadwarpError
from ...warping.guide_record import RecordKind

LONGEST_FILM = 600.0  # seconds
REGIONS = MappingProxyType(
    {
        "pose": ("yaw", "pitch", "roll", "position"),
        "mouth": ("mouth",),
        "eyes": ("eyes", "gaze"),
        "face": ("brows", "rest"),
    }
)
"""What a driver drives, by the name the editor has for it: the parts of `Retargeting`."""
REACH = MappingProxyType(
    {
        "yaw": (-60.0, 60.0),
        "pitch": (-40.0, 40.0),
        "roll": (-40.0, 40.0),
        "jaw": (0.0, 1.0),
        "gaze_x": (-30.0, 30.0),
        "gaze_y": (-20.0, 20.0),
        "blink": (0.0, 1.0),
    }
)
"""Least and most of each channel that the editor offers, in the units of `Pose`."""


@dataclass(frozen=True)
class Source:
    """Whom the portrait shows.

    Attributes:
        path: the file as this machine reads it.
        name: the file as the person knows it, for command lines: an upload lies elsewhere on this machine.
        frame: which frame of a clip.
        frames: how many the file has; 1 for a photo.
    """

    path: Path
    name: str
    frame: int = 0
    frames: int = 1


@dataclass(frozen=True)
class Maker:
    """What makes the pixels; fields as the options of ``headwarp edit``."""

    animator: str = "geometry"
    checkpoint: Path | None = None
    guidance: RecordKind | None = None
    depth_checkpoint: Path | None = None
    keypoints_checkpoint: Path | None = None
    guide_side: int | None = None


@dataclass(frozen=True)
class Key:
    """A key frame: a pose at a time in seconds."""

    time: float
    pose: Pose


@dataclass(frozen=True)
class Document:
    """Everything that was said.

    Attributes:
        source: None before a photo is opened.
        pose: of the head, relative to the photo's own.
        shape: amounts added to shape coefficients, by number.
        maker: of the pixels.
        size: side of the window in pixels.
        full_frame: the whole photo is saved, the window pasted back.
        keys: key frames, in the order of their times, each time once.
        driver: a clip that the head follows in place of the key frames, the pose on top; None for none.
        strengths: how much of the driver's motion is taken over, of each of `REGIONS`; 1 where not given.
    """

    source: Source | None = None
    pose: Pose = field(default_factory=Pose)
    shape: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    maker: Maker = field(default_factory=Maker)
    size: int = 256
    full_frame: bool = False
    keys: tuple[Key, ...] = ()
    driver: Source | None = None
    strengths: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def retargeting(self) -> Retargeting:
        """The strengths by part."""
        parts = {part: self.strengths.get(name, 1.0) for name, all_of in REGIONS.items() for part in all_of}
        return Retargeting(**parts)


def with_channel(document: Document, channel: str, value: float) -> Document:
    """One number of the pose changed: ``yaw``, ``jaw``, ``gaze_x``, ..., or an expression by its name.

    An expression of amount 0 is left out, so that a slider moved back says nothing.

    Args:
        document: as it is.
        channel: name of it.
        value: degrees for angles, else an amount.
    """
    return replace(document, pose=changed_pose(document.pose, channel, value))


def changed_pose(pose: Pose, channel: str, value: float) -> Pose:
    """The pose with one channel of a pose track changed.

    Args:
        pose: as it is.
        channel: name of it.
        value: degrees for angles, else an amount.

    Example:
        >>> changed_pose(Pose(), "gaze_y", 4.0).gaze
        (0.0, 4.0)
    """
    if channel == "gaze_x":
        return replace(pose, gaze=(value, pose.gaze[1]))
    if channel == "gaze_y":
        return replace(pose, gaze=(pose.gaze[0], value))
    if channel in REACH:
        one: dict[str, Any] = {channel: value}
        return replace(pose, **one)
    rest = {name: amount for name, amount in pose.expressions.items() if name != channel}
    return replace(pose, expressions=MappingProxyType(rest | ({channel: value} if value else {})))


def channel_of(pose: Pose, channel: str) -> float:
    """The value of a channel; 0 for an expression that is not in the pose."""
    if channel in ("gaze_x", "gaze_y"):
        return float(pose.gaze[channel == "gaze_y"])
    return float(getattr(pose, channel) if channel in REACH else pose.expressions.get(channel, 0.0))


def with_shape(document: Document, number: int, value: float) -> Document:
    """One shape coefficient changed; 0 leaves it out.

    Args:
        document: as it is.
        number: of the coefficient.
        value: standard deviations.
    """
    rest = {key: amount for key, amount in document.shape.items() if key != number}
    return replace(document, shape=MappingProxyType(rest | ({number: value} if value else {})))


def with_strength(document: Document, region: str, value: float) -> Document:
    """How much of a driver's motion one of `REGIONS` takes over; 1 leaves it out.

    Args:
        document: as it is.
        region: one of `REGIONS`.
        value: 0 to 2; 1 as driven.
    """
    rest = {name: amount for name, amount in document.strengths.items() if name != region}
    return replace(document, strengths=MappingProxyType(rest | ({region: value} if value != 1 else {})))


def turned(document: Document, *, yaw: float, pitch: float, roll: float = 0.0) -> Document:
    """The head turned to angles in degrees, tenths of them, kept within `REACH`.

    Args:
        document: as it is.
        yaw, pitch, roll: degrees.
    """
    angles = {"yaw": yaw, "pitch": pitch, "roll": roll}
    kept: dict[str, Any] = {
        name: round(max(REACH[name][0], min(REACH[name][1], value)), 1) for name, value in angles.items()
    }
    return replace(document, pose=replace(document.pose, **kept))


def at_rest(document: Document) -> Document:
    """The photo as it is, or as driven: pose, shape and strengths back to nothing said; all else stays."""
    nothing: Mapping[Any, float] = MappingProxyType({})
    return replace(document, pose=Pose(), shape=nothing, strengths=nothing)


def with_key(document: Document, time: float) -> Document:
    """The present pose as a key frame at a time, in place of the one that is there.

    Raises:
        HeadwarpError: a time outside the film.
    """
    if not 0 <= time <= LONGEST_FILM:
        raise HeadwarpError(f"key frame: expected 0 to {LONGEST_FILM:.0f} seconds, got {time}")
    time = round(time, 3)
    rest = [key for key in document.keys if key.time != time]
    keys = sorted([*rest, Key(time, document.pose)], key=lambda key: key.time)
    return replace(document, keys=tuple(keys))


def without_key(document: Document, time: float) -> Document:
    """The document without the key frame nearest to a time.

    Raises:
        HeadwarpError: there is none.
    """
    if not document.keys:
        raise HeadwarpError("key frames: there is none to take away; set one first")
    nearest = min(document.keys, key=lambda key: abs(key.time - time))
    return replace(document, keys=tuple(key for key in document.keys if key is not nearest))


def film(document: Document, fps: float) -> list[Pose]:
    """The pose of every frame from time 0 to the last key frame; see `interpolate_poses`.

    Raises:
        HeadwarpError: no key frame.
    """
    if not document.keys:
        raise HeadwarpError("film: expected key frames, got none; pose the head and set a key")
    return interpolate_poses([key.time for key in document.keys], [key.pose for key in document.keys], fps)


@dataclass(frozen=True)
class History:
    """A document, what it was before, and what was undone.

    Attributes:
        present: the document.
        past: older ones, the latest last.
        future: undone ones, the next last.
        gesture: what made the present one; a gesture that goes on adds no step of its own.
    """

    present: Document = field(default_factory=Document)
    past: tuple[Document, ...] = ()
    future: tuple[Document, ...] = ()
    gesture: str = ""

    def said(self, document: Document, gesture: str = "") -> History:
        """The history with a new document.

        Args:
            document: the new present.
            gesture: a name; equal names in a row are one step, as a slider's drag is. "" is always its own.
        """
        if document == self.present:
            return self
        if gesture and gesture == self.gesture and self.past:
            return replace(self, present=document, future=())
        past = (*self.past, self.present)[-STEPS:]
        return History(document, past, (), gesture)

    def undone(self) -> History:
        """One step back; the same where there is none."""
        if not self.past:
            return self
        return History(self.past[-1], self.past[:-1], (*self.future, self.present))

    def redone(self) -> History:
        """One undone step again; the same where there is none."""
        if not self.future:
            return self
        return History(self.future[-1], (*self.past, self.present), self.future[:-1])


STEPS = 200


def as_command(document: Document, *, output: str = "edited.png", head: str | None = None) -> str:
    """The line of ``headwarp edit`` that makes the document's picture, pixel by pixel.

    Args:
        document: what is seen.
        output: name of the picture.
        head: file of the head; None: the built-in one.

    Example:
        >>> said = with_channel(Document(Source(Path("a.jpg"), "a.jpg")), "yaw", 20.0)
        >>> as_command(said)
        'headwarp edit a.jpg --yaw 20 --size 256 --output edited.png'
    """
    source, pose = document.source, document.pose
    words = ["headwarp", "edit", "PHOTO" if source is None else source.name]
    words += [word for name in ("yaw", "pitch", "roll", "jaw") for word in _option(name, getattr(pose, name))]
    if pose.gaze != (0.0, 0.0):
        words += ["--gaze", *map(number, pose.gaze)]
    words += _option("blink", pose.blink)
    words += _pairs("expression", pose.expressions) + _pairs("shape", document.shape)
    return shlex.join([*words, *_common(document, head), "--output", output])


def as_film_command(document: Document, track: str, *, fps: float, output: str, head: str | None) -> str:
    """The line of ``headwarp edit`` that makes the film of a saved track.

    Args:
        document: what is seen.
        track: name of its pose track.
        fps: of the film.
        output: name of the film.
        head: file of the head; None: the built-in one.
    """
    source = document.source
    words = ["headwarp", "edit", "PHOTO" if source is None else source.name, "--track", track]
    words += ["--fps", number(fps), *_pairs("shape", document.shape)]
    return shlex.join([*words, *_common(document, head), "--output", output])


def as_driven_command(document: Document, *, output: str, head: str | None = None) -> str:
    """The line of ``headwarp animate`` that makes the driver's film.

    Args:
        document: what is seen.
        output: name of the film.
        head: file of the head; None: the built-in one.

    Raises:
        HeadwarpError: no driver; or another shape or a pose on top, which that command does not make.
    """
    source, driver = document.source, document.driver
    if driver is None:
        raise HeadwarpError("driver: expected a clip that the head follows, got none")
    if document.shape or (source is not None and source.frame):
        raise HeadwarpError("headwarp animate takes the photo's own shape and a clip's first frame")
    if document.pose != Pose():
        raise HeadwarpError("headwarp animate puts no pose on top of a driver's; Reset takes it away")
    words = ["headwarp", "animate", "--source", "PHOTO" if source is None else source.name]
    words += ["--driving", driver.name, *_pairs("strength", _strengths(document))]
    return shlex.join([*words, *_common(document, head), "--output", output])


def _strengths(document: Document) -> dict[str, float]:
    """As ``--strength`` names them: its ``pose`` is the angles alone."""
    said: dict[str, float] = {}
    for region, amount in document.strengths.items():
        parts = ("pose", "position") if region == "pose" else REGIONS[region]
        said |= dict.fromkeys(parts, amount)
    return said


def _common(document: Document, head: str | None) -> list[str]:
    maker = document.maker
    words = (
        []
        if document.source is None or not document.source.frame
        else ["--frame", str(document.source.frame)]
    )
    words += [] if maker.animator == "geometry" else ["--animator", maker.animator]
    named = {
        "checkpoint": maker.checkpoint,
        "guidance": maker.guidance,
        "depth-checkpoint": maker.depth_checkpoint,
        "keypoints-checkpoint": maker.keypoints_checkpoint,
        "guide-side": maker.guide_side,
        "head": head,
    }
    words += [
        word for name, value in named.items() if value is not None for word in (f"--{name}", str(value))
    ]
    words += ["--full-frame"] if document.full_frame else []
    return [*words, "--size", str(document.size)]


def _option(name: str, value: float) -> list[str]:
    return [f"--{name}", number(value)] if value else []


def _pairs(option: str, amounts: Mapping[str, float] | Mapping[int, float]) -> list[str]:
    """``--option a=1 b=2``, or nothing."""
    return [f"--{option}", *(f"{name}={number(value)}" for name, value in amounts.items())] if amounts else []


def number(value: float) -> str:
    """The shortest text that reads as the same number.

    Example:
        >>> number(20.0), number(0.1)
        ('20', '0.1')
    """
    return str(int(value)) if value == int(value) else repr(float(value))
