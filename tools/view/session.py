"""One person at the editor: a history, the subject, the picture that follows. No browser, only a `Screen`.

Three threads besides the caller's: one makes the latest picture (`worker`), one does what takes long
(`tasks`), one counts time while the film plays (`player`). What they share stands in one place (`standing`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...flame.params import HeadFit, Pose
from ...geom.errors import HeadwarpError
from ..drivers import Driver
from .camera import Camera
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
    with_strength,
    without_key,
)
from .engine import Engine, Subject, check_driven, mesh, posed, range_note, shown
from .files import Results, Uploads, source_of
from .film import Film
from .player import Player
from .saving import Signature, Stopped, save_film, save_picture, save_track
from .screen import Screen, State
from .sights import caption, sight
from .standing import Stage, Step
from .tasks import Tasks, Told
from .worker import Count, LatestWins

FPS = Fraction(25)
GESTURE_PAUSE = 0.8  # seconds without a change: the next one is a step of its own
REST = (
    0.3  # seconds without a change: the head in 3D and the command line follow, which would delay a picture
)
_LOG = logging.getLogger("headwarp")


@dataclass(frozen=True)
class _Job:
    """A picture: of a pose or, with a film, of a moment of it."""

    subject: Subject
    document: Document
    sight: str
    pose: Pose
    film: Film | None
    time: float

    @property
    def fit(self) -> HeadFit:
        if self.film is None:
            return posed(self.subject, [self.pose], self.document.shape)
        return self.film.fit(self.document, self.film.frame_at(self.time))


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
        self._engine, self._screen, self._results = engine, screen, results
        self._signature = signature or Signature()
        self._stage = Stage(engine, document or Document())
        self._sight, self._time = "picture", 0.0
        self._last_gesture, self._last_moment = "", 0.0
        self._stop_saving = threading.Event()
        self._closed = False
        self._device = camera
        self._camera: Camera | None = None
        self._live: Driver | None = None  # what the camera saw
        self._uploads = Uploads(most_bytes)
        self._unseen: tuple[Subject, HeadFit] | None = None
        self._tasks = Tasks(screen.busy, failed=self._fail)
        self._player = Player(self._moved, ended=self._film_ended)
        self._worker: LatestWins[_Job] = LatestWins(
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
        """A driver for the head, or None: the sliders alone again."""
        source = None if path is None else Source(path, name or str(path))
        self._propose(
            lambda document: replace(document, driver=source), "Driver", "every frame of the clip is fitted"
        )

    @property
    def has_camera(self) -> bool:
        """Whether there is one to follow."""
        return self._device is not None

    def follow_camera(self, follow: bool) -> None:
        """Let the head follow the camera, or no longer.

        Raises:
            HeadwarpError: no photo is open.
        """

        def work(_: Told) -> None:
            if follow and self._camera is None and self._device is not None:
                subject = self._stage.now.ready
                if subject is None:
                    raise HeadwarpError("there is nobody who could follow the camera: open a photo first")
                check_driven(subject)
                self._camera = Camera(
                    self._device, self._engine.head, seen=self._see, failed=self._camera_failed
                )
            if not follow or self._closed:
                self._end_camera()
            self._follow_up()

        self._tasks.do("Camera", "look straight into it, with the mouth shut", work)

    def _see(self, driver: Driver) -> None:
        if self._camera is not None:
            self._live = driver
            self._ask()

    def _camera_failed(self, error: Exception) -> None:
        self._fail(error)
        self.follow_camera(False)

    def _end_camera(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
        self._live = None

    # the film

    def scrub(self, moment: float) -> None:
        """The film at a time in seconds; with key frames the pose goes there too."""
        self._time = moment
        now = self._stage.now
        if now.film is None and now.document.keys and not self._player.playing:
            self._say(lambda document: replace(document, pose=_pose_at(document, moment)), "time")
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
        """The present picture into the output folder.

        Raises:
            HeadwarpError: no photo is open.
        """
        job = self._job()

        def work(_: Told) -> None:
            if job is None:
                raise HeadwarpError("there is no picture yet: open a photo first")
            path = save_picture(self._results, job.subject, job.document, job.fit, signature=self._signature)
            self._screen.saved(path, "" if job.film else self._command(job.document, path.name))

        self._tasks.do("Saving", "the picture is written", work)

    def save_track(self) -> None:
        """The key frames into the output folder, one row a frame."""

        def work(_: Told) -> None:
            document = self.document
            path = save_track(self._results, document, float(FPS))
            self._screen.saved(path, self._track_command(document, path))

        self._tasks.do("Saving", "the track is written", work)

    def save_film(self) -> None:
        """The film into the output folder.

        Raises:
            HeadwarpError: no photo is open.
        """
        self._stop_saving.clear()

        def work(told: Told) -> None:
            job = self._job(live=False)
            if job is None:
                raise HeadwarpError("there is no film yet: open a photo first")
            document, driving = job.document, job.film
            path = save_film(
                self._results,
                job.subject,
                document,
                driving.fit(document)
                if driving
                else posed(job.subject, film(document, float(FPS)), document.shape),
                fps=driving.driver.fps if driving else FPS,
                signature=self._signature,
                stop=self._stop_saving,
                told=lambda done, count: told(f"frame {done} of {count}"),
                audio_from=driving.driver.audio_from if driving else None,
            )
            self._screen.saved(path, self._command(document, path.name) if driving else "")

        self._tasks.do("Saving the film", "frame by frame", work)

    def stop_saving(self) -> None:
        """Give a film up that is being saved."""
        self._stop_saving.set()

    def close(self) -> None:
        """Stop everything and let go of all memory and uploads."""
        self._closed = True
        self._stage.close()
        self._player.stop()
        self._stop_saving.set()
        self._tasks.close()
        self._end_camera()
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
            self._command(now.document),
            self._camera is not None,
        )

    def _command(self, document: Document, output: str = "") -> str:
        head = self._engine.options.head
        if self._camera is not None:
            return "what a camera sees has no command line"
        try:
            if document.driver is not None:
                return as_driven_command(document, output=output or "driven.mp4", head=head)
        except HeadwarpError as error:
            return str(error)
        return as_command(document, output=output or "edited.png", head=head)

    def _track_command(self, document: Document, track: Path) -> str:
        output, head = track.with_suffix(".mp4").name, self._engine.options.head
        return as_film_command(document, str(track), fps=float(FPS), output=output, head=head)

    def _say(self, change: Callable[[Document], Document], gesture: str = "") -> None:
        """A change that needs no new subject: the picture follows."""
        self._stage.take(_saying(change, self._gesture(gesture)))
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

    def _job(self, *, live: bool = True) -> _Job | None:
        """What the picture is to show now; None before there is a photo, or while another is made ready."""
        now, moment = self._stage.now, self._time
        subject, document = now.ready, now.document
        if subject is None:
            return None
        playing = self._player.playing and now.film is None and document.keys
        pose = _pose_at(document, moment) if playing else document.pose
        seen, film = self._live if live else None, now.film
        if seen is not None:
            film = Film(subject, Source(Path("camera"), "camera"), seen, self._engine.regions)
        return _Job(subject, document, self._sight, pose, film, math.inf if seen else moment)

    def _ask(self) -> None:
        if (job := self._job()) is not None:
            self._worker.ask(job)

    def _draw(self, job: _Job) -> None:
        made = next(shown(job.subject, job.fit))
        words = "\n\n".join(filter(None, (range_note(job.subject, made.fit), caption(job.sight))))
        self._screen.picture(sight(job.subject, made, job.sight), words)
        self._unseen = job.subject, made.fit
        if self._last_gesture.startswith("drag@") or self._player.playing:
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
        if isinstance(error, Stopped):
            self._screen.tell("Stopped", str(error))
        elif isinstance(error, HeadwarpError):
            self._screen.tell("That did not work", str(error), bad=True)
        else:
            _LOG.error("view: internal error", exc_info=error)
            text = f"{type(error).__name__}: {error}; the terminal shows more"
            self._screen.tell("Internal error", text, bad=True)
        self._screen.controls(self.state())


def _saying(change: Callable[[Document], Document], gesture: str = "") -> Step:
    return lambda history: history.said(change(history.present), gesture)


def _pose_at(document: Document, moment: float) -> Pose:
    """Of the key frames' film."""
    poses = film(document, float(FPS))
    return poses[min(max(round(moment * float(FPS)), 0), len(poses) - 1)]
