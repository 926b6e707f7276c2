"""What a person saves, done beside the editor; and the lines that make the same from a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ...geom.errors import HeadwarpError
from ..drivers import Driver
from .document import Document, Source, as_command, as_driven_command, as_film_command, film
from .engine import posed
from .files import Results
from .jobs import FPS, Job
from .saving import Signature, save_film, save_motion, save_picture, save_track
from .screen import Screen
from .tasks import Tasks, Told

CAMERA_LINE = "what a camera sees has no command line; Save track keeps it as a driver, with one"


class Keeping:
    """Saves into the output folder, one thing after another; the screen is told of each."""

    def __init__(
        self, screen: Screen, results: Results, tasks: Tasks, *, signature: Signature, head: str | None
    ) -> None:
        """Nothing is saved yet.

        Args:
            screen: is told.
            results: the output folder.
            tasks: where it is done.
            signature: how files are marked.
            head: file of the head, for command lines; None: the built-in one.
        """
        self._screen, self._results, self._tasks = screen, results, tasks
        self._signature, self._head = signature, head
        self._stop = threading.Event()

    def stop(self) -> None:
        """Give a film up that is being saved."""
        self._stop.set()

    def picture(self, job: Job | None, *, live: bool) -> None:
        """A picture.

        Args:
            job: what is seen; None: nothing yet, which is told.
            live: it is what a camera sees.
        """

        def work(_: Told) -> None:
            if job is None:
                raise HeadwarpError("there is no picture yet: open a photo first")
            path = save_picture(self._results, job.subject, job.document, job.fit, signature=self._signature)
            told = "" if job.film else self.command(job.document, path.name, live=live)
            self._screen.saved(path, told)

        self._tasks.do("Saving", "the picture is written", work)

    def track(self, document: Callable[[], Document], driver: Callable[[], Driver | None]) -> None:
        """What moves the head: the key frames, one row a frame, or a driver as fitted.

        Args:
            document: what is seen, asked for when it is saved.
            driver: what the head follows in place of key frames; None: nothing.
        """

        def work(_: Told) -> None:
            said, moving = document(), driver()
            if moving is None:
                path = save_track(self._results, said, float(FPS))
                output = path.with_suffix(".mp4").name
                line = as_film_command(said, str(path), fps=float(FPS), output=output, head=self._head)
            else:
                path = save_motion(self._results, said, moving)
                source = Source(path, str(path))
                line = self.command(replace(said, driver=source), path.with_suffix(".mp4").name, live=False)
            self._screen.saved(path, line)

        self._tasks.do("Saving", "the track is written", work)

    def film(self, job: Callable[[], Job | None]) -> None:
        """The film, frame by frame.

        Args:
            job: what is seen, asked for when it is saved; None: nothing yet, which is told.
        """
        self._stop.clear()

        def work(told: Told) -> None:
            made = job()
            if made is None:
                raise HeadwarpError("there is no film yet: open a photo first")
            document, driving = made.document, made.film
            path = save_film(
                self._results,
                made.subject,
                document,
                driving.fit(document)
                if driving
                else posed(made.subject, film(document, float(FPS)), document.shape),
                fps=driving.driver.fps if driving else FPS,
                signature=self._signature,
                stop=self._stop,
                told=lambda done, count: told(f"frame {done} of {count}"),
                audio_from=driving.driver.audio_from if driving else None,
            )
            named = driving is not None and document.driver is not None
            self._screen.saved(path, self.command(document, path.name, live=False) if named else "")

        self._tasks.do("Saving the film", "frame by frame", work)

    def command(self, document: Document, output: str = "", *, live: bool) -> str:
        """The line that makes the document's picture or film, or why there is none.

        Args:
            document: what is seen.
            output: name of the file; "" for a usual one.
            live: it is what a camera sees.
        """
        if live:
            return CAMERA_LINE
        try:
            if document.driver is not None:
                return as_driven_command(document, output=output or "driven.mp4", head=self._head)
        except HeadwarpError as error:
            return str(error)
        return as_command(document, output=output or "edited.png", head=self._head)
