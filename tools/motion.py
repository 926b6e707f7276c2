"""How a head takes over motion: part by part, how far open, how steadily, and within what range."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..flame.model import HeadModel
from ..flame.openness import driven_eyes, openness, with_openness
from ..flame.params import HeadFit
from ..flame.pose_limit import Beyond, cut_sides, limited_pose, narrowed
from ..flame.retargeting import Retargeting, retargeted
from ..flame.smoothing import FitSmoothing, smoothed_fit
from ..geom.errors import HeadwarpError
from ..geom.pose_range import PoseRange
from .performance import warn

DRIVER = "driver"


@dataclass(frozen=True)
class Motion:
    """How motion is taken over, by `animate`, `edit` and `swap` alike.

    Attributes:
        retargeting: how much of each part.
        eyes, lips: how far they are open in every frame, 0 (shut) to 1, as a share of their width;
            ``"driver"``: as the driver's; None: as the motion has it.
        smooth: a One Euro filter takes the jitter away; blinks keep their depth.
        clamp: stop the head softly at the turns from its photo at which the animator holds; else turns beyond
            them are told.
        holds: these turns; None: those that the animator says, if it does.
        animator: its name, for what is told.

    Raises:
        HeadwarpError: an openness that is none.

    Example:
        >>> Motion(Retargeting(mouth=1.3), eyes="driver", smooth=True).needs_driver
        True
    """

    retargeting: Retargeting = field(default_factory=Retargeting)
    eyes: float | str | None = None
    lips: float | str | None = None
    smooth: bool = False
    clamp: bool = False
    holds: PoseRange | None = None
    animator: str = "the animator"

    def __post_init__(self) -> None:
        for name in ("eyes", "lips"):
            check_openness(getattr(self, name), what=f"Motion.{name}")

    @property
    def needs_driver(self) -> bool:
        """Whether another head's openness is looked at."""
        return DRIVER in (self.eyes, self.lips)

    def held_by(self, animator: Any, name: str) -> Motion:
        """The same within what an animator holds, unless ``holds`` is said already.

        Args:
            animator: whose ``holds`` counts.
            name: of it, for what is told.
        """
        return dataclasses.replace(
            self, holds=self.holds or getattr(animator, "holds", None), animator=name or self.animator
        )

    def filtered(self, model: HeadModel, driver: HeadFit, fps: float) -> HeadFit:
        """The driver's fit as it drives.

        Args:
            model: the head of the fit.
            driver: T frames.
            fps: frames a second.

        Returns:
            The fit, without its jitter where ``smooth``.
        """
        return smoothed_fit(model, driver, FitSmoothing(fps=fps)).fit if self.smooth else driver

    def turned(self, model: HeadModel, source: HeadFit, driven: HeadFit) -> Moved:
        """The driven head with each part's strength, and within the animator's range where it is to be.

        Args:
            model: the head of all fits.
            source: one frame.
            driven: T frames.
        """
        moved = retargeted(model, source, driven, self.retargeting)
        if self.holds is None:
            return Moved(moved, Beyond())
        made = limited_pose(model, source, moved, narrowed(self.holds, source))
        return Moved(made.fit if self.clamp else moved, made.beyond)

    def opened(
        self, model: HeadModel, source: HeadFit, moved: HeadFit, driver: HeadFit | None = None
    ) -> HeadFit:
        """The moved head with its eyes and lips as far open as they are to be.

        Args:
            model: the head of all fits.
            source: one frame.
            moved: T frames.
            driver: whose openness is followed, T frames; None for poses that a person says.
        """
        if self.eyes is None and self.lips is None:
            return moved
        theirs = None if driver is None else openness(model, driver)
        eyes, lips = _number(self.eyes, moved), _number(self.lips, moved)
        if self.eyes == DRIVER and theirs is not None:
            eyes = driven_eyes(openness(model, source).eyes, theirs.eyes)
        if self.lips == DRIVER and theirs is not None:
            lips = theirs.lips
        eyes = eyes[:, None] if eyes is not None and eyes.ndim == 1 else eyes
        return with_openness(model, moved, eyes=eyes, lips=lips)

    def moved(
        self, model: HeadModel, source: HeadFit, driven: HeadFit, driver: HeadFit | None = None
    ) -> Moved:
        """`turned`, then `opened`.

        Args:
            model: the head of all fits.
            source: one frame.
            driven: the source's head in T frames, as the driver moves it.
            driver: whose openness is followed, T frames; None for poses that a person says.
        """
        made = self.turned(model, source, driven)
        return dataclasses.replace(made, fit=self.opened(model, source, made.fit, driver))

    def applied(
        self, model: HeadModel, source: HeadFit, driven: HeadFit, driver: HeadFit | None = None
    ) -> HeadFit:
        """The fit of `moved`; warnings of a face that is cut and of turns beyond the animator's range.

        Args:
            model: the head of all fits.
            source: one frame.
            driven: the source's head in T frames, as the driver moves it.
            driver: whose openness is followed, T frames; None for poses that a person says.
        """
        made = self.moved(model, source, driven, driver)
        for words in cut_notes(source):
            warn(words)
        self.tell(made.beyond)
        return made.fit

    def tell(self, beyond: Beyond) -> None:
        """One warning of what lies beyond the animator's range, if anything does."""
        if beyond.frames:
            warn(
                f"rotation of {beyond.farthest_deg:.0f} degrees from the photo is beyond the "
                f"{beyond.limit_deg:.0f} that {self.animator} holds, in {beyond.frames} frame(s); "
                + ("clamped" if self.clamp else "--clamp stops there")
            )


@dataclass(frozen=True)
class Moved:
    """A driven head as a `Motion` has it.

    Attributes:
        fit: T frames.
        beyond: what of it lies, or lay, beyond the range that the animator holds.
    """

    fit: HeadFit
    beyond: Beyond


def check_openness(value: float | str | None, *, what: str) -> None:
    """Raise HeadwarpError unless it is None, ``"driver"`` or a number from 0 to 1."""
    if value is None or value == DRIVER:
        return
    if isinstance(value, str) or not (math.isfinite(value) and 0 <= value <= 1):
        raise HeadwarpError(f"{what}: expected driver, or a number from 0 to 1, got {value!r}")


def check_poses(motion: Motion) -> None:
    """Raise HeadwarpError where another head is asked for and a person says the poses."""
    for option, value in (("--eyes-open", motion.eyes), ("--lips-open", motion.lips)):
        if value == DRIVER:
            raise HeadwarpError(f"{option} driver: a pose track has no driver's face; give a number")


def check_still(motion: Motion | None, *, what: str) -> None:
    """Raise HeadwarpError for a motion that says anything where no head is fitted."""
    if motion not in (None, Motion()):
        raise HeadwarpError(f"motion: belongs to fitted heads, and {what} fits none; leave it out")


def _number(wanted: float | str | None, driven: HeadFit) -> Tensor | None:
    if wanted is None or isinstance(wanted, str):
        return None
    return torch.full((driven.frames,), float(wanted))


def cut_notes(source: HeadFit) -> list[str]:
    """A sentence for each border of the picture that cuts the face.

    Args:
        source: one frame, see `flame.pose_limit.cut_sides`.
    """
    return [
        f"the {side} border of the picture cuts the face ({100 * share:.0f} % of it lies beyond): a "
        "head that turns shows there what is not in the picture; take one of the whole face"
        for side, share in cut_sides(source).items()
    ]
