"""Options on how a driver's motion is taken over, which `animate` and `edit` share, and what they come to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..flame.model import HeadModel
from ..flame.openness import driven_eyes, openness, with_openness
from ..flame.params import HeadFit
from ..flame.pose_limit import limited_pose
from ..flame.retargeting import Retargeting, retargeted
from ..flame.smoothing import FitSmoothing, smoothed_fit
from ..geom.errors import HeadwarpError
from ..geom.pose_range import PoseRange
from .performance import warn

PARTS = tuple(part.name for part in dataclasses.fields(Retargeting))
GROUPS = {"pose": ("yaw", "pitch", "roll")}
DRIVER = "driver"


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


@dataclass(frozen=True)
class Motion:
    """What the options come to.

    Attributes:
        retargeting: strengths.
        eyes, lips: wanted openness, ``"driver"``, or None: as the motion has it.
        smooth: filter the driver.
        clamp: keep the head within the turns at which the animator holds.
        holds: these turns; None: not known.
        animator: its name, for the warning.
    """

    retargeting: Retargeting = field(default_factory=Retargeting)
    eyes: float | str | None = None
    lips: float | str | None = None
    smooth: bool = False
    clamp: bool = False
    holds: PoseRange | None = None
    animator: str = ""

    @property
    def needs_driver(self) -> bool:
        """Whether another head's openness is looked at."""
        return DRIVER in (self.eyes, self.lips)

    def filtered(self, model: HeadModel, driver: HeadFit, fps: float) -> HeadFit:
        """The driver's fit as it drives."""
        return smoothed_fit(model, driver, FitSmoothing(fps=fps)).fit if self.smooth else driver

    def within(self, model: HeadModel, source: HeadFit, driven: HeadFit) -> HeadFit:
        """The driven head within the animator's range where it is to be; a warning of what is beyond it."""
        if self.holds is None:
            return driven
        made = limited_pose(model, source, driven, self.holds)
        if made.frames:
            warn(
                f"rotation of {made.farthest_deg:.0f} degrees from the photo is beyond the "
                f"{made.limit_deg:.0f} that {self.animator} holds, in {made.frames} frame(s); "
                + ("clamped" if self.clamp else "--clamp stops there")
            )
        return made.fit if self.clamp else driven

    def applied(
        self, model: HeadModel, source: HeadFit, driven: HeadFit, driver: HeadFit | None = None
    ) -> HeadFit:
        """The driven head as the options say.

        Args:
            source: one frame.
            driven: T frames.
            driver: whose openness is followed, T frames; None for poses that a person says.
        """
        moved = self.within(model, source, retargeted(model, source, driven, self.retargeting))
        if self.eyes is None and self.lips is None:
            return moved
        theirs = None if driver is None else openness(model, driver)
        eyes, lips = _number(self.eyes, driven), _number(self.lips, driven)
        if self.eyes == DRIVER and theirs is not None:
            eyes = driven_eyes(openness(model, source).eyes, theirs.eyes)
        if self.lips == DRIVER and theirs is not None:
            lips = theirs.lips
        eyes = eyes[:, None] if eyes is not None and eyes.ndim == 1 else eyes
        return with_openness(model, moved, eyes=eyes, lips=lips)


def motion_of(options: MotionOptions, animator: Any = None, *, name: str = "") -> Motion:
    """The options, checked.

    Args:
        animator: whose range of poses is kept to, or warned of.
        name: of the animator.

    Raises:
        HeadwarpError: an unknown part, no number, or one out of range.

    Example:
        >>> motion_of(MotionOptions(strength=("pose=0.5", "mouth=1.5"))).retargeting.roll
        0.5
    """
    strengths: dict[str, float] = {}
    for name, amount in parse_amounts(options.strength, option="--strength").items():
        if name not in (*PARTS, *GROUPS):
            known = ", ".join((*GROUPS, *PARTS))
            raise HeadwarpError(f"--strength: expected one of {known}, got {name!r}")
        strengths |= {
            part: amount for part in GROUPS.get(name, (name,)) if part == name or part not in strengths
        }
    return Motion(
        Retargeting(**strengths),
        _openness(options.eyes_open, "--eyes-open"),
        _openness(options.lips_open, "--lips-open"),
        options.smooth,
        options.clamp,
        getattr(animator, "holds", None),
        name,
    )


def check_poses(motion: Motion) -> None:
    """Raise HeadwarpError where another head is asked for and a person says the poses."""
    for option, value in (("--eyes-open", motion.eyes), ("--lips-open", motion.lips)):
        if value == DRIVER:
            raise HeadwarpError(f"{option} driver: a pose track has no driver's face; give a number")


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
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise HeadwarpError(f"{option}: expected driver, or a number from 0 to 1, got {text!r}")
    return value


def _number(wanted: float | str | None, driven: HeadFit) -> Tensor | None:
    if wanted is None or isinstance(wanted, str):
        return None
    return torch.full((driven.frames,), wanted)
