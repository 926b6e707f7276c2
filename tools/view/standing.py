"""What stands: a history and what its present needs, a subject and a film; all of it changes at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..drivers import Driver
from .document import Document, History, Source
from .engine import Engine, Subject
from .film import Film

Step = Callable[[History], History]


@dataclass(frozen=True)
class Standing:
    """One moment of a session.

    Attributes:
        history: of what was said.
        subject: ready for the present document; of an earlier one where that has no source.
        film: of the present document's driver; None without one.
    """

    history: History
    subject: Subject | None = None
    film: Film | None = None

    @property
    def document(self) -> Document:
        """The present one."""
        return self.history.present

    @property
    def length(self) -> float:
        """Of the film, or of the key frames, in seconds; 0 without."""
        if self.film is not None:
            return self.film.length
        return self.document.keys[-1].time if self.document.keys else 0.0

    @property
    def ready(self) -> Subject | None:
        """The subject if it is the document's, else None."""
        return self.subject if _fits(self.subject, self.document) else None


class Stage:
    """The standing of a session: read without waiting, changed by one thread at a time.

    A step is given as a function, and taken from where the history is when all is ready for it: what was said
    meanwhile still holds.
    """

    def __init__(self, engine: Engine, document: Document) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._now = Standing(History(document))
        self._driver: tuple[Source, Driver] | None = None  # the last one, fitted
        self._closed = False

    @property
    def now(self) -> Standing:
        """As it stands."""
        return self._now

    def take(self, step: Step) -> bool:
        """Take a step if what it shows is ready; False if `settle` has to make it so."""
        with self._lock:
            return self._take(step, self._now.subject, self._now.film)

    def settle(self, step: Step) -> None:
        """Make ready what a step shows, then take it. One thread at a time may be in here.

        Raises:
            HeadwarpError: it cannot be; all stands as it was.
        """
        done = self.take(step)
        while not done:
            subject, film = self._prepared(step(self._now.history).present)
            with self._lock:
                done = self._take(step, subject, film)

    def close(self) -> None:
        """Let go of everything, now and of what is being made ready."""
        with self._lock:
            self._closed, self._driver = True, None
            self._now = Standing(self._now.history)

    def _take(self, step: Step, subject: Subject | None, film: Film | None) -> bool:
        after = _served(step(self._now.history), subject, film)
        if self._closed or after is None:
            return self._closed
        self._now = after
        if after.film is not None:
            self._driver = after.film.source, after.film.driver
        return True

    def _prepared(self, document: Document) -> tuple[Subject | None, Film | None]:
        subject, film, known = self._now.subject, self._now.film, self._driver
        if document.source is not None and not _fits(subject, document):
            subject = self._engine.subject(document, subject)
        if document.driver is None or subject is None or _drives(film, subject, document):
            return subject, film
        if known is not None and known[0] == document.driver:
            return subject, Film(subject, *known, self._engine.regions)
        driver = self._engine.driver(document.driver.path)
        return subject, Film(subject, document.driver, driver, self._engine.regions)


def _served(history: History, subject: Subject | None, film: Film | None) -> Standing | None:
    """The history with what it needs; None if these are not it."""
    document = history.present
    if document.source is not None and not _fits(subject, document):
        return None
    if document.driver is None or subject is None:
        return Standing(history, subject)
    return Standing(history, subject, film) if _drives(film, subject, document) else None


def _fits(subject: Subject | None, document: Document) -> bool:
    return subject is not None and (subject.opened.source, subject.maker, subject.size) == (
        document.source,
        document.maker,
        document.size,
    )


def _drives(film: Film | None, subject: Subject, document: Document) -> bool:
    return film is not None and film.subject is subject and film.source == document.driver
