"""One person at the editor: a history, the subject, the picture that follows. No browser, only a `Screen`.

Three threads besides the caller's: one makes the latest picture (`worker`), one does what takes long
(`tasks`), one counts time while the film plays (`player`). What they share stands in one place (`standing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...flame.params import HeadFit
from ...geom.errors import HeadwarpError
from ..drivers import Driver
from .document import (
    Document,
    History,
    Source,
    at_rest,
    turned,
    with_channel,
    with_key,
    with_shape,
    with_strength,
    without_key,
)
from .engine import Engine, Subject, check_driven, mesh, shown
from .files import Results, Uploads, source_of
from .film import Film
from .filming import Filming
from .gestures import Gestures
from .jobs import Job, pose_at
from .keeping import Keeping
from .notes import channels_beyond, notes
from .player import Player
from .saving import Signature
from .screen import Screen, State
from .sights import caption, sight
from .standing import Stage, Step
from .tasks import Tasks, Told
from .troubles import tell_error
from .worker import Count, LatestWins

REST = (
    0.3  # seconds without a change: the head in 3D and the command line follow, which would delay a picture
)


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
        camera: str | None = None,
    ) -> None:
        self._engine, self._screen = engine, screen
        self._stage = Stage(engine, document or Document())
        self._sight, self._time = "picture", 0.0
        self._gestures = Gestures()
        self._closed = False
        self._filming = Filming(camera, engine.head, moved=self._ask, failed=self._camera_failed)
        self._uploads = Uploads(most_bytes)
        self._unseen: tuple[Subject, HeadFit] | None = None
        self._tasks = Tasks(screen.busy, failed=self._fail)
        marks, head = signature or Signature(), engine.options.head
        self._keeping = Keeping(screen, results, self._tasks, signature=marks, head=head)
        self._player = Player(self._moved, ended=self._film_ended)
        self._worker: LatestWins[Job] = LatestWins(
            self._draw, failed=self._fail, rested=self._rest, pause=REST
        )

    # what a person says

    @property
    def document(self) -> Document:
        """As it is now."""
        return self._stage.now.document

    @property
    def most_bytes(self) -> int:
        """Of an upload."""
        return self._uploads.most_bytes

    @property
    def count(self) -> Count:
        """Pictures asked for, made and dropped."""
        return self._worker.count

    def move(self, channel: str, value: float) -> None:
        """One number of the pose."""
        self._say(lambda document: with_channel(document, channel, value), channel)

    def reshape(self, number: int, value: float) -> None:
        """One shape coefficient."""
        self._say(lambda document: with_shape(document, number, value), f"shape {number}")

    def drive(self, region: str, strength: float) -> None:
        """How much of the driver's motion a region takes over."""
        self._say(lambda document: with_strength(document, region, strength), f"strength of {region}")

    def turn(self, *, yaw: float, pitch: float, roll: float) -> None:
        """The head, as it is dragged in 3D.

        Args:
            yaw, pitch, roll: degrees.
        """
        self._say(lambda document: turned(document, yaw=yaw, pitch=pitch, roll=roll), "drag")
        self._screen.controls(self.state())

    def reset(self) -> None:
        """The photo as it is."""
        self._say(at_rest)
        self._screen.controls(self.state())

    def undo(self) -> None:
        """One step back."""
        self._step(History.undone, "Preparing", "the photo is made ready")

    def redo(self) -> None:
        """One step forward again."""
        self._step(History.redone, "Preparing", "the photo is made ready")

    def choose(self, **changes: Any) -> None:
        """Other values for fields of the document: ``maker``, ``size``, ``full_frame``."""
        self._propose(lambda document: replace(document, **changes), "Preparing", "the photo is made ready")

    def look(self, name: str) -> None:
        """Another of the `sights`."""
        self._sight = name
        self._ask()

    def open(self, path: Path, name: str | None = None, *, frame: int = 0) -> None:
        """Another photo, or another frame of a clip; the pose goes back to rest for another file.

        Args:
            path: of the file.
            name: that a person sees; None: its own.
            frame: of a clip.
        """

        def work(_: Told) -> None:
            source = replace(source_of(path, name), frame=frame)

            def opened(document: Document) -> Document:
                other = document.source is None or document.source.path != path
                fresh = replace(at_rest(document), keys=(), driver=None) if other else document
                return replace(fresh, source=source)

            self._settle(_saying(opened))

        self._tasks.do("Opening", "the head is found and fitted", work)

    def upload(self, name: str, content: bytes, *, driver: bool = False) -> None:
        """A file that came from the browser.

        Args:
            name: of the file.
            content: of it.
            driver: whether it drives; else it is the photo.
        """

        def keep() -> None:
            path = self._uploads.keep(name, content)
            if driver:
                self.follow(path, path.name)
            else:
                self.open(path, path.name)

        self._guarded(keep)

    def follow(self, path: Path | None, name: str | None = None) -> None:
        """A driver for the head, or None: the sliders alone again; what a camera saw is forgotten."""
        self._forget_take()
        source = None if path is None else Source(path, name or str(path))
        self._propose(
            lambda document: replace(document, driver=source), "Driver", "every frame of the clip is fitted"
        )

    @property
    def has_camera(self) -> bool:
        """Whether there is one to follow."""
        return self._filming.there

    def follow_camera(self, follow: bool) -> None:
        """Let the head follow the camera, or no longer.

        Raises:
            HeadwarpError: no photo is open.
        """

        def work(_: Told) -> None:
            if follow and not self._filming.on and self._filming.there:
                subject = self._stage.now.ready
                if subject is None:
                    raise HeadwarpError("there is nobody who could follow the camera: open a photo first")
                check_driven(subject)
                self._filming.begin()
            if not follow or self._closed:
                self._filming.end()
            self._follow_up()

        self._tasks.do("Camera", "look straight into it, with the mouth shut", work)

    def _camera_failed(self, error: Exception) -> None:
        self._fail(error)
        self.follow_camera(False)

    def _forget_take(self) -> None:
        if not self._filming.on:
            self._filming.forget()

    # the film

    def scrub(self, moment: float) -> None:
        """The film at a time in seconds; with key frames the pose goes there too."""
        self._time = moment
        now = self._stage.now
        if now.film is None and now.document.keys and not self._player.playing:
            self._say(lambda document: replace(document, pose=pose_at(document, moment)), "time")
            self._screen.controls(self.state())
        else:
            self._ask()

    def set_key(self) -> None:
        """The present pose as a key frame at the present time; what a camera saw is forgotten."""
        self._forget_take()
        self._guarded(lambda: self._say(lambda document: with_key(document, self._time)))
        self._screen.controls(self.state())

    def drop_key(self) -> None:
        """Take the nearest key frame away."""
        self._guarded(lambda: self._say(lambda document: without_key(document, self._time)))
        self._screen.controls(self.state())

    def play(self) -> None:
        """Run the film in a loop, or stop it."""
        if self._player.stop():
            return
        if self.length() <= 0:
            text = "set key frames at two times, or choose a driver"
            self._screen.tell("There is no film yet", text, bad=True)
            return
        self._player.start(self._time if self._time < self.length() else 0.0, length=self.length)
        self._screen.controls(self.state())

    def length(self) -> float:
        """Of the film, in seconds; 0 without one."""
        return self._stage.now.length

    # saving

    def save_picture(self) -> None:
        """The present picture into the output folder; without a photo that is told."""
        self._keeping.picture(self._job(), live=self._filming.on)

    def save_track(self) -> None:
        """What moves the head into the output folder: what the camera saw, the driver, or the key frames."""
        self._keeping.track(lambda: self.document, self._followed)

    def save_film(self) -> None:
        """The film into the output folder: what the camera saw, the driver's, or that of the key frames."""
        self._keeping.film(self._film_job)

    def stop_saving(self) -> None:
        """Give a film up that is being saved."""
        self._keeping.stop()

    def _followed(self) -> Driver | None:
        """What the head follows or, of a camera, followed."""
        taken, film = self._filming.take.driver(), self._stage.now.film
        return taken or (None if film is None else film.driver)

    def _film_job(self) -> Job | None:
        job, taken = self._job(live=False), self._filming.take.driver()
        if job is None or taken is None:
            return job
        return replace(job, film=self._camera_film(job.subject, taken))

    def _camera_film(self, subject: Subject, driver: Driver) -> Film:
        return Film(subject, Source(Path("camera"), "camera"), driver, self._engine.regions)

    def close(self) -> None:
        """Stop everything and let go of all memory and uploads."""
        self._closed = True
        self._stage.close()
        self._player.stop()
        self._keeping.stop()
        self._tasks.close()
        self._filming.end()
        self._filming.forget()
        self._worker.close()
        self._unseen = None
        self._uploads.close()

    def wait(self, seconds: float = 60.0) -> None:
        """Until what was asked for is done; for tests and measurements."""
        self._tasks.wait(seconds)
        self._worker.wait(seconds)

    # inside

    def state(self) -> State:
        """What the controls show."""
        now = self._stage.now
        return State(
            now.document,
            bool(now.history.past),
            bool(now.history.future),
            min(self._time, now.length) if now.film else self._time,
            now.length,
            self._player.playing,
            self._sight,
            self._keeping.command(now.document, live=self._filming.on),
            self._filming.on,
            self._filming.take.seconds,
            channels_beyond(now.ready, now.document.pose),
        )

    def _say(self, change: Callable[[Document], Document], gesture: str = "") -> None:
        """A change that needs no new subject: the picture follows."""
        self._stage.take(_saying(change, self._gestures.named(gesture)))
        self._ask()

    def _propose(self, change: Callable[[Document], Document], title: str, text: str) -> None:
        """A change that may need another subject or film."""
        self._step(_saying(change), title, text)

    def _step(self, step: Step, title: str, text: str) -> None:
        """Another history: at once where all that it shows is ready, else after it was made so."""
        if self._stage.take(step):
            self._follow_up()
        else:
            self._tasks.do(title, text, lambda _: self._settle(step))

    def _settle(self, step: Step) -> None:
        self._stage.settle(step)
        self._follow_up()

    def _follow_up(self) -> None:
        self._screen.controls(self.state())
        self._ask()

    def _job(self, *, live: bool = True) -> Job | None:
        """What the picture is to show now; None before there is a photo, or while another is made ready."""
        now, moment = self._stage.now, self._time
        subject, document = now.ready, now.document
        if subject is None:
            return None
        playing = self._player.playing and now.film is None and document.keys
        pose = pose_at(document, moment) if playing else document.pose
        seen, film = self._filming.live if live else None, now.film
        if seen is not None:
            film = self._camera_film(subject, seen)
        return Job(subject, document, self._sight, pose, film, math.inf if seen else moment)

    def _ask(self) -> None:
        if (job := self._job()) is not None:
            self._worker.ask(job)

    def _draw(self, job: Job) -> None:
        made = next(shown(job.subject, job.fit))
        words = "\n\n".join(filter(None, (*notes(job.subject, made.fit), caption(job.sight))))
        self._screen.picture(sight(job.subject, made, job.sight), words)
        self._unseen = job.subject, made.fit
        if self._gestures.was("drag") or self._player.playing:
            self._show_mesh()

    def _rest(self) -> None:
        self._show_mesh()
        if not self._player.playing:
            self._screen.status(self.state())

    def _show_mesh(self) -> None:
        unseen, self._unseen = self._unseen, None
        if unseen is not None:
            self._screen.mesh(mesh(*unseen))

    def _moved(self, moment: float) -> None:
        self._time = moment
        self._ask()

    def _film_ended(self) -> None:
        if not self._closed:
            self.scrub(min(self._time, self.length()))
            self._screen.controls(self.state())

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (whatever it is, the person is told and the editor lives on)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Say what went wrong; the controls go back to what is."""
        if self._closed:
            return
        tell_error(self._screen, error)
        self._screen.controls(self.state())


def _saying(change: Callable[[Document], Document], gesture: str = "") -> Step:
    return lambda history: history.said(change(history.present), gesture)
