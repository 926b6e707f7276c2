"""A picture that is asked for: of a pose, of a moment of a film, or of what a camera sees."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ...flame.params import HeadFit, Pose
from .document import Document, film
from .engine import Subject, posed
from .film import Film

FPS = Fraction(25)  # of key frames


@dataclass(frozen=True)
class Job:
    """A picture: of a pose or, with a film, of a moment of it.

    Attributes:
        subject: whose head.
        document: what is said.
        sight: name of what is shown.
        pose: of the head, where there is no film.
        film: what the head follows; None: the pose.
        time: of the film, in seconds.
    """

    subject: Subject
    document: Document
    sight: str
    pose: Pose
    film: Film | None
    time: float

    @property
    def fit(self) -> HeadFit:
        """The head, one frame in the subject's window."""
        if self.film is None:
            return posed(self.subject, [self.pose], self.document.shape)
        return self.film.fit(self.document, self.film.frame_at(self.time))


def pose_at(document: Document, moment: float) -> Pose:
    """Of the key frames' film at a time in seconds."""
    poses = film(document, float(FPS))
    return poses[min(max(round(moment * float(FPS)), 0), len(poses) - 1)]
