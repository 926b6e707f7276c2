"""What is to be said of a picture: a face that its border cuts, a head turned farther than holds."""

from __future__ import annotations

from collections.abc import Mapping

from ...flame.params import HeadFit, Pose
from ...flame.pose_limit import limited_pose, narrowed
from ...geom.pose_range import PoseRange
from ..motion import cut_notes
from .engine import Subject, posed


def notes(subject: Subject, fit: HeadFit) -> list[str]:
    """The sentences under a picture.

    Args:
        subject: the opened photo.
        fit: of what is seen, one frame.
    """
    cut = [f"{words[0].upper()}{words[1:]}." for words in cut_notes(subject.opened.fit)]
    limit = _beyond(subject, fit)
    if limit is None:
        return cut
    name = subject.maker.animator
    return [f"Turned farther than the {limit:.0f} degrees from the photo at which {name} holds.", *cut]


def channels_beyond(subject: Subject | None, pose: Pose) -> Mapping[str, float]:
    """Which of ``yaw`` and ``pitch`` turn the head farther than the animator holds, and how far that is, in
    degrees: those that do so alone or, where only both together do, both.

    Args:
        subject: the opened photo; None: nothing is beyond.
        pose: that the sliders say.
    """
    limits = None if subject is None else _holds(subject)
    if subject is None or limits is None or (pose.yaw, pose.pitch) == (0.0, 0.0):
        return {}
    most = {"yaw": limits.yaw_deg, "pitch": limits.pitch_deg}
    alone = {name: most[name] for name in most if abs(getattr(pose, name)) > most[name]}
    if alone or _beyond(subject, posed(subject, [Pose(yaw=pose.yaw, pitch=pose.pitch)], {})) is None:
        return alone
    return most


def _holds(subject: Subject) -> PoseRange | None:
    """The range of the animator for this photo; None where it has no limit."""
    limits = getattr(subject.animator, "holds", None)
    return None if limits is None else narrowed(limits, subject.opened.fit)


def _beyond(subject: Subject, fit: HeadFit) -> float | None:
    """The limit in the direction that a head is turned to, degrees, where it is beyond that; else None."""
    limits = _holds(subject)
    if limits is None:
        return None
    beyond = limited_pose(subject.portrait.head, subject.portrait.fit, fit, limits).beyond
    return beyond.limit_deg if beyond.frames else None
