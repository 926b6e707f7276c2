"""Options on how motion is taken over, which `animate`, `edit` and `swap` share, and what they come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..flame.retargeting import Retargeting
from ..geom.errors import HeadwarpError
from .motion import DRIVER, Motion, check_openness

PARTS = tuple(part.name for part in dataclasses.fields(Retargeting))
GROUPS = {"pose": ("yaw", "pitch", "roll")}


@dataclass(frozen=True)
class MotionOptions:
    """How motion is taken over; part of the commands that drive a head."""

    strength: tuple[str, ...] = ()
    """PART=AMOUNT, 0 as in the photo, 1 as driven, to 2: pose (yaw, pitch, roll), position, mouth, eyes,
    gaze, brows, rest; may be repeated."""
    eyes_open: str | None = None
    """driver: eyes shut when the driver's do, whatever their size. A number: so far open in every frame, as a
    share of the eye's width; 0 is shut."""
    lips_open: str | None = None
    """driver: lips as far open as the driver's. A number: so far open in every frame, as a share of the inner
    mouth's width; 0 is shut."""
    smooth: bool = False
    """A One Euro filter takes the jitter of the motion away; blinks keep their depth."""
    clamp: bool = False
    """Stop the head softly at the turns from the photo at which the animator holds; else they are told."""


def motion_of(options: MotionOptions, animator: Any = None, *, name: str = "") -> Motion:
    """The options, checked.

    Args:
        options: as the command line has them.
        animator: whose range of poses is kept to, or warned of.
        name: of the animator.

    Raises:
        HeadwarpError: an unknown part, no number, or one out of range.

    Example:
        >>> motion_of(MotionOptions(strength=("pose=0.5", "mouth=1.5"))).retargeting.roll
        0.5
    """
    strengths: dict[str, float] = {}
    for word, amount in parse_amounts(options.strength, option="--strength").items():
        if word not in (*PARTS, *GROUPS):
            known = ", ".join((*GROUPS, *PARTS))
            raise HeadwarpError(f"--strength: expected one of {known}, got {word!r}")
        parts = GROUPS.get(word, (word,))
        strengths |= {part: amount for part in parts if part == word or part not in strengths}
    motion = Motion(
        Retargeting(**strengths),
        _openness(options.eyes_open, "--eyes-open"),
        _openness(options.lips_open, "--lips-open"),
        options.smooth,
        options.clamp,
    )
    return motion.held_by(animator, name)


def check_no_head(options: MotionOptions) -> None:
    """Raise HeadwarpError for options of heads where none is looked for."""
    for name, default in MotionOptions.__dataclass_fields__.items():
        if getattr(options, name) != default.default:
            option = name.replace("_", "-")
            raise HeadwarpError(f"--{option}: belongs to heads, and none is fitted here; leave it out")


def parse_amounts(words: Sequence[str], *, option: str) -> Mapping[str, float]:
    """``["smile=0.7"]`` to a mapping.

    Raises:
        HeadwarpError: not NAME=AMOUNT, or a name twice.

    Example:
        >>> dict(parse_amounts(["smile=0.7", "brows_up=-0.2"], option="--expression"))
        {'smile': 0.7, 'brows_up': -0.2}
    """
    amounts: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        try:
            amount = float(text)
        except ValueError:
            equals = ""
        if not (name and equals) or name in amounts:
            raise HeadwarpError(f"{option}: expected NAME=AMOUNT, each name once, got {word!r}")
        amounts[name] = amount
    return MappingProxyType(amounts)


def _openness(text: str | None, option: str) -> float | str | None:
    if text is None or text == DRIVER:
        return text
    try:
        value: float | str = float(text)
    except ValueError:
        value = text
    check_openness(value, what=option)
    return value
