"""What a session shows itself on, and what the controls say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ...training.data.portrait import Frame
from .document import Document


class Screen(Protocol):
    """What a session shows itself on."""

    def picture(self, frame: Frame, words: str) -> None:
        """The portrait, and what its colours mean."""

    def mesh(self, points: NDArray[Any]) -> None:
        """The head in 3D."""

    def controls(self, state: State) -> None:
        """Every control as the state says."""

    def status(self, state: State) -> None:
        """What may change while a slider is held: the command line, what can be undone."""

    def tell(self, title: str, text: str, *, bad: bool = False) -> None:
        """A sentence for the person.

        Args:
            title: a few words.
            text: the sentence.
            bad: something went wrong.
        """

    def busy(self, title: str, text: str) -> Callable[[str | None], None]:
        """Something takes long; call the result with a new text, or with None when it is over."""

    def saved(self, path: Path, command: str) -> None:
        """A file was written; the line that makes it again."""


@dataclass(frozen=True)
class State:
    """What the controls show.

    Attributes:
        document: as it is now.
        undo, redo: whether there is something to.
        time: of the film, in seconds.
        length: of the film, in seconds; 0 without one.
        playing: whether the film runs.
        sight: name of what is shown.
        command: the line that makes the picture.
        filming: whether the head follows the camera.
        taken: seconds of it that can be saved.
        beyond: channels that turn the head farther than the animator holds -> degrees to which it does.
    """

    document: Document
    undo: bool = False
    redo: bool = False
    time: float = 0.0
    length: float = 0.0
    playing: bool = False
    sight: str = "picture"
    command: str = ""
    filming: bool = False
    taken: float = 0.0
    beyond: Mapping[str, float] = field(default_factory=dict)
