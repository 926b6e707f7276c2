"""One person at the editor: a history, the subject, the picture that follows. No browser, only a `Screen`.

Three threads besides the caller's: one makes the latest picture, one does what takes long (opening,
saving), one counts time while the film plays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...flame.params import HeadFit
from ...geom.errors import HeadwarpError
from ..drivers import Driver
from .document import (
    Document,
    History,
    Source,
    as_command,
    as_driven_command,
    as_film_command,
    at_rest,
    film,
    turned,
    with_channel,
    with_key,
    with_shape,
    without_key,
)
from .engine import Engine, Subject, driven, mesh, posed, shown
from .files import Results, Uploads, source_of
from .saving import Signature, Stopped, save_film, save_picture, save_track
from .screen import Screen, State
from .sights import caption, sight
from .worker import Count, LatestWins

FPS = Fraction(25)
GESTURE_PAUSE = 0.8  # seconds without a change: the next one is a step of its own
REST = (
    0.3  # seconds without a change: the head in 3D and the command line follow, which would delay a picture
)
_LOG = logging.getLogger("headwarp")


@dataclass(frozen=True)
class _Film:
    """A head in every frame of a driver, in a subject's window."""

    fit: HeadFit
    driver: Driver

    @property
    def length(self) -> float:
        return (self.fit.frames - 1) / float(self.driver.fps)


@dataclass(frozen=True)
class _Job:
    subject: Subject
    document: Document
    sight: str
    fit: HeadFit | None


class Session:
    """See the module. Methods return at once; what takes long is told on the screen."""

    def __init__(
        self,
        engine: Engine,
        screen: Screen,
        results: Results,
        *,
        document: Document | None = None,
        signature: Signature | None = None,
        most_bytes: int = 200_000_000,
    ) -> None:
        self._engine, self._screen, self._results = engine, screen, results
        self._signature = signature or Signature()
        self._lock = threading.RLock()
        self._history = History(document or Document())
        self._subject: Subject | None = None
        self._film: _Film | None = None
        self._drivers: dict[Path, Driver] = {}
        self._sight, self._time = "picture", 0.0
        self._last_gesture, self._last_moment = "", 0.0
        self._playing, self._stop_saving = threading.Event(), threading.Event()
        self._closed = False
        self._uploads = Uploads(most_bytes)
        self._tasks = ThreadPoolExecutor(1, thread_name_prefix="headwarp-view-task")
        self._unseen: tuple[Subject, HeadFit] | None = None
        self._worker: LatestWins[_Job] = LatestWins(
            self._draw, failed=self._fail, rested=self._rest, pause=REST
        )

    # what a person says

    @property
    def document(self) -> Document:
        """As it is now."""
        return self._history.present

    @property
    def count(self) -> Count:
        """Pictures asked for, made and dropped."""
        return self._worker.count

    def move(self, channel: str, value: float) -> None:
        """One number of the pose."""
        self._say(lambda document: with_channel(document, channel, value), channel)

    def reshape(self, number: int, value: float) -> None:
        """One shape coefficient."""
        self._say(lambda document: with_shape(document, number, value), f"shape {number}", redo_film=True)

    def turn(self, *, yaw: float, pitch: float, roll: float) -> None:
        """The head, as it is dragged in 3D."""
        self._say(lambda document: turned(document, yaw=yaw, pitch=pitch, roll=roll), "drag")
        self._screen.controls(self.state())

    def reset(self) -> None:
        """The photo as it is."""
        self._say(at_rest, redo_film=True)
        self._screen.controls(self.state())

    def undo(self) -> None:
        """One step back."""
        self._travel(History.undone)

    def redo(self) -> None:
        """One step forward again."""
        self._travel(History.redone)

    def choose(self, **changes: Any) -> None:
        """Other values for fields of the document: ``maker``, ``size``, ``full_frame``."""
        self._propose(replace(self.document, **changes), "Preparing", "the photo is made ready")

    def look(self, name: str) -> None:
        """Another of the `sights`."""
        self._sight = name
        self._ask()

    def open(self, path: Path, name: str | None = None, *, frame: int = 0) -> None:
        """Another photo, or another frame of a clip; the pose goes back to rest for another file."""

        def work() -> None:
            source = replace(source_of(path, name), frame=frame)
            document = self.document
            other = document.source is None or document.source.path != path
            fresh = replace(at_rest(document), keys=(), driver=None) if other else document
            self._settle(replace(fresh, source=source))

        self._task("Opening", "the head is found and fitted", work)

    def upload(self, name: str, content: bytes, *, driver: bool = False) -> None:
        """A file that came from the browser."""

        def keep() -> None:
            path = self._uploads.keep(name, content)
            if driver:
                self.follow(path, path.name)
            else:
                self.open(path, path.name)

        self._guarded(keep)

    def follow(self, path: Path | None, name: str | None = None) -> None:
        """A driver for the head, or None: the sliders again."""
        if path is None:
            self._say(lambda document: replace(document, driver=None))
            self._film = None
            self._screen.controls(self.state())
            return
        source = Source(path, name or str(path))
        self._propose(replace(self.document, driver=source), "Driver", "every frame of the clip is fitted")

    # the film

    def scrub(self, moment: float) -> None:
        """The film at a time in seconds; with key frames the pose goes there too."""
        self._time = moment
        if self._film is None and self.document.keys and not self._playing.is_set():
            self._say(lambda document: replace(document, pose=self._pose_at(document)), "time")
            self._screen.controls(self.state())
        else:
            self._ask()

    def set_key(self) -> None:
        """The present pose as a key frame at the present time."""
        self._guarded(lambda: self._say(lambda document: with_key(document, self._time)))
        self._screen.controls(self.state())

    def drop_key(self) -> None:
        """Take the nearest key frame away."""
        self._guarded(lambda: self._say(lambda document: without_key(document, self._time)))
        self._screen.controls(self.state())

    def play(self) -> None:
        """Run the film in a loop, or stop it."""
        if self._playing.is_set():
            self._playing.clear()
            return
        if self.length() <= 0:
            text = "set key frames at two times, or choose a driver"
            self._screen.tell("There is no film yet", text, bad=True)
            return
        self._playing.set()
        threading.Thread(target=self._play, name="headwarp-view-film", daemon=True).start()

    def length(self) -> float:
        """Of the film, in seconds; 0 without one."""
        if self._film is not None:
            return self._film.length
        keys = self.document.keys
        return keys[-1].time if keys else 0.0

    # saving

    def save_picture(self) -> None:
        """The present picture into the output folder."""
        subject, document, fit = self._subject, self.document, self._film_fit()

        def work() -> None:
            if subject is None:
                raise HeadwarpError("there is no picture yet: open a photo first")
            path = save_picture(self._results, subject, document, signature=self._signature, fit=fit)
            self._screen.saved(path, self._command(document, path.name) if fit is None else "")

        self._task("Saving", "the picture is written", work)

    def save_track(self) -> None:
        """The key frames into the output folder, one row a frame."""

        def work() -> None:
            path = save_track(self._results, self.document, float(FPS))
            self._screen.saved(path, self._track_command(path))

        self._task("Saving", "the track is written", work)

    def save_film(self) -> None:
        """The film into the output folder."""
        document = self.document
        self._stop_saving.clear()

        def work(told: Callable[[str | None], None]) -> None:
            subject, driving = self._subject, self._film
            if subject is None:
                raise HeadwarpError("there is no film yet: open a photo first")
            fit = driving.fit if driving else posed(subject, film(document, float(FPS)), document.shape)
            path = save_film(
                self._results,
                subject,
                document,
                fit,
                fps=driving.driver.fps if driving else FPS,
                signature=self._signature,
                stop=self._stop_saving,
                told=lambda done, count: told(f"frame {done} of {count}"),
                audio_from=driving.driver.audio_from if driving else None,
            )
            self._screen.saved(path, self._command(document, path.name) if driving else "")

        self._task("Saving the film", "frame by frame", work, telling=True)

    def stop_saving(self) -> None:
        """Give a film up that is being saved."""
        self._stop_saving.set()

    def close(self) -> None:
        """Stop everything and let go of all memory and uploads."""
        self._closed = True
        self._playing.clear()
        self._stop_saving.set()
        self._tasks.shutdown(wait=False, cancel_futures=True)
        self._worker.close()
        self._uploads.close()
        self._subject, self._film, self._unseen = None, None, None
        self._drivers.clear()

    def wait(self, seconds: float = 60.0) -> None:
        """Until what was asked for is done; for tests and measurements."""
        for _ in range(2):  # a task may ask for another one
            self._tasks.submit(lambda: None).result(seconds)
        self._worker.wait(seconds)

    # inside

    def state(self) -> State:
        """What the controls show."""
        history = self._history
        return State(
            history.present,
            bool(history.past),
            bool(history.future),
            self._time,
            self.length(),
            self._playing.is_set(),
            self._sight,
            self._command(history.present),
        )

    def _command(self, document: Document, output: str = "") -> str:
        head = self._engine.options.head
        try:
            if document.driver is not None:
                return as_driven_command(document, output=output or "driven.mp4", head=head)
        except HeadwarpError as error:
            return str(error)
        return as_command(document, output=output or "edited.png", head=head)

    def _track_command(self, track: Path) -> str:
        return as_film_command(
            self.document,
            str(track),
            fps=float(FPS),
            output=track.with_suffix(".mp4").name,
            head=self._engine.options.head,
        )

    def _say(
        self, change: Callable[[Document], Document], gesture: str = "", *, redo_film: bool = False
    ) -> None:
        """A change that needs no new subject: the picture follows."""
        with self._lock:
            self._history = self._history.said(change(self.document), self._gesture(gesture))
        if redo_film and self.document.driver is not None:
            self._propose(self.document, "Driver", "the head's new shape is driven")
        self._ask()

    def _gesture(self, name: str) -> str:
        """The name of a gesture, another one after a pause."""
        now = time.monotonic()
        if name and (
            not self._last_gesture.startswith(f"{name}@") or now - self._last_moment > GESTURE_PAUSE
        ):
            self._last_gesture = f"{name}@{now}"
        self._last_moment = now
        return self._last_gesture if name else ""

    def _travel(self, step: Callable[[History], History]) -> None:
        """Through the history; where the subject is another one there, it is made ready first."""
        with self._lock:
            history = step(self._history)
        self._task("Preparing", "the photo is made ready", lambda: self._settle(history.present, history))

    def _propose(self, document: Document, title: str, text: str) -> None:
        self._task(title, text, lambda: self._settle(document))

    def _settle(self, document: Document, history: History | None = None) -> None:
        """Make the document's subject and film ready, and only then make it the present."""
        subject, driving = self._subject, None
        if document.source is not None and not _fits(subject, document):
            subject = self._engine.subject(document, subject)
        if document.driver is not None and subject is not None:
            path = document.driver.path
            driver = self._drivers.get(path) or self._engine.driver(path)
            self._drivers = {path: driver}
            driving = _Film(driven(subject, driver, document.shape)[0], driver)
        with self._lock:
            self._history = history or self._history.said(document)
            self._subject, self._film = subject, driving
            self._time = min(self._time, self.length())
        self._screen.controls(self.state())
        self._ask()

    def _ask(self) -> None:
        subject, document = self._subject, self.document
        if subject is not None and _fits(subject, document):
            self._worker.ask(_Job(subject, document, self._sight, self._film_fit()))

    def _film_fit(self) -> HeadFit | None:
        """The head at the present time of a driver's film or, while they play, of the key frames."""
        subject, driving = self._subject, self._film
        if driving is not None:
            frame = round(self._time * float(driving.driver.fps))
            return driving.fit.select([min(max(frame, 0), driving.fit.frames - 1)])
        if subject is None or not self._playing.is_set():
            return None
        return posed(subject, [self._pose_at(self.document)], self.document.shape)

    def _pose_at(self, document: Document) -> Any:
        poses = film(document, float(FPS))
        return poses[min(max(round(self._time * float(FPS)), 0), len(poses) - 1)]

    def _draw(self, job: _Job) -> None:
        fit = posed(job.subject, [job.document.pose], job.document.shape) if job.fit is None else job.fit
        made = next(shown(job.subject, fit))
        self._screen.picture(sight(job.subject, made, job.sight), caption(job.sight))
        self._unseen = job.subject, made.fit
        if self._last_gesture.startswith("drag@") or self._playing.is_set():
            self._show_mesh()

    def _rest(self) -> None:
        self._show_mesh()
        if not self._playing.is_set():
            self._screen.status(self.state())

    def _show_mesh(self) -> None:
        unseen, self._unseen = self._unseen, None
        if unseen is not None:
            self._screen.mesh(mesh(*unseen))

    def _play(self) -> None:
        began, start = time.monotonic(), self._time if self._time < self.length() else 0.0
        self._screen.controls(self.state())
        while self._playing.is_set() and not self._closed and (length := self.length()) > 0:
            self._time = (start + time.monotonic() - began) % (length + 1 / float(FPS))
            self._ask()
            time.sleep(1 / float(FPS))
        self._playing.clear()
        if not self._closed:
            self.scrub(min(self._time, self.length()))
            self._screen.controls(self.state())

    def _task(self, title: str, text: str, work: Callable[..., None], *, telling: bool = False) -> None:
        """Do something that takes long, one at a time."""

        def run() -> None:
            if self._closed:
                return
            told = self._screen.busy(title, text)
            try:
                self._guarded(lambda: work(told) if telling else work())
            finally:
                told(None)

        if not self._closed:
            self._tasks.submit(run)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (whatever it is, the person is told and the editor lives on)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Say what went wrong; the controls go back to what is."""
        if self._closed:
            return
        if isinstance(error, Stopped):
            self._screen.tell("Stopped", str(error))
        elif isinstance(error, HeadwarpError):
            self._screen.tell("That did not work", str(error), bad=True)
        else:
            _LOG.error("view: internal error", exc_info=error)
            text = f"{type(error).__name__}: {error}; the terminal shows more"
            self._screen.tell("Internal error", text, bad=True)
        self._screen.controls(self.state())


def _fits(subject: Subject | None, document: Document) -> bool:
    """Whether a subject is the one that a document asks for."""
    return subject is not None and (subject.opened.source, subject.maker, subject.size) == (
        document.source,
        document.maker,
        document.size,
    )
