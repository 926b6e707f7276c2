"""viser's server with one session for every browser tab; nothing else imports viser."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...geom.errors import HeadwarpError, MissingDependencyError
from ...training.data.portrait import Frame
from .arrivals import refuse_large_uploads
from .controls import Controls, Portrait
from .document import Document
from .engine import Engine
from .files import Results
from .saving import Signature
from .scene import HeadScene, face_the_camera
from .screen import State
from .session import Session

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_SESSIONS = 8
PORTRAIT_WIDTH = 480
_LOG = logging.getLogger("headwarp")


@dataclass(frozen=True)
class Place:
    """Where the editor is served, and what visitors may do.

    Attributes:
        host, port: of the server; port 0 takes a free one.
        most_bytes: of an upload.
        camera: number of a camera of this machine, or a video file in its place; None for none.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    most_bytes: int = 200_000_000
    camera: str | None = None

    @property
    def public(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in LOOPBACK


@dataclass(frozen=True)
class _Parts:
    """What a tab shows."""

    portrait: Portrait
    controls: Controls
    scene: HeadScene


class ViserScreen:
    """A session's `Screen` in a browser tab; see there. Nothing is sent to a tab that is gone."""

    def __init__(self, server: Any, client: Any) -> None:
        self._server, self._client = server, client
        self._built: _Parts | None = None

    @property
    def there(self) -> bool:
        """Whether the tab is still connected."""
        return self._client.client_id in self._server.get_clients()

    @property
    def _parts(self) -> _Parts | None:
        return self._built if self.there else None

    def build(self, session: Session, engine: Engine, *, names_files: bool) -> None:
        """Everything that is seen."""
        self._client.gui.main_panel.dock_right()
        self._client.gui.main_panel.set_width(340)
        refuse_large_uploads(self._client, session.most_bytes)
        scene = HeadScene(self._client, engine.head, _turner(session))
        controls = Controls(self._client, session, engine.head, names_files=names_files)
        self._built = _Parts(Portrait(self._client, session, width=PORTRAIT_WIDTH), controls, scene)
        self.controls(session.state())

    def picture(self, frame: Frame, words: str) -> None:
        if parts := self._parts:
            parts.portrait.show(frame, words)

    def mesh(self, points: NDArray[Any]) -> None:
        if parts := self._parts:
            parts.scene.show(points)

    def controls(self, state: State) -> None:
        if parts := self._parts:
            parts.controls.show(state)

    def status(self, state: State) -> None:
        if parts := self._parts:
            parts.controls.status(state)

    def tell(self, title: str, text: str, *, bad: bool = False) -> None:
        if self.there:
            self._client.add_notification(
                title, text, auto_close_seconds=20.0 if bad else 6.0, color="red" if bad else "blue"
            )

    def busy(self, title: str, text: str) -> Callable[[str | None], None]:
        if not self.there:
            return lambda words: None
        note = self._client.add_notification(title, text, loading=True, with_close_button=False)

        def told(words: str | None) -> None:
            if words is None:
                note.remove()
            elif self.there:
                note.body = words

        return told

    def saved(self, path: Path, command: str) -> None:
        self.tell("Saved", str(path))
        if self.there:
            self._client.send_file_download(path.name, path.read_bytes())


def _turner(session: Session) -> Callable[[str, float, float, bool], None]:
    """What a drag of the head does: it goes on from the pose at its start."""
    start: list[Any] = [session.document.pose]

    def turn(phase: str, right: float, down: float, tilt: bool) -> None:
        if phase == "start":
            start[0] = session.document.pose
        pose = start[0]
        if tilt:
            session.turn(yaw=pose.yaw, pitch=pose.pitch, roll=pose.roll + right / 2)
        else:
            session.turn(yaw=pose.yaw - right, pitch=pose.pitch + down, roll=pose.roll)

    return turn


@dataclass
class Editor:
    """A running server.

    Attributes:
        engine: shared by all sessions.
        place: where it is served.
        results: the output folder.
        document: what a session begins with; its source is opened at once.
        signature: of what is saved.
        sessions: by the client's number, as long as it is connected.
    """

    engine: Engine
    place: Place
    results: Results
    document: Document = field(default_factory=Document)
    signature: Signature = field(default_factory=Signature)
    sessions: dict[int, Session] = field(default_factory=dict)
    _server: Any = None
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> str:
        """Serve; returns the address.

        Raises:
            MissingDependencyError: viser is not installed.
            HeadwarpError: the host or port cannot be had.
        """
        self._server = _open_server(self.place)
        self._server.gui.configure_theme(
            dark_mode=False, show_logo=False, show_share_button=False, brand_color=(46, 108, 190)
        )
        face_the_camera(self._server)
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._farewell)
        host = "localhost" if self.place.host in ("0.0.0.0", "::") else self.place.host
        return f"http://{host}:{self._server.get_port()}"

    def stop(self) -> None:
        """End all sessions and the server."""
        with self._lock:
            self._stopped = True  # whoever comes now finds no session
        for number in list(self.sessions):
            self._end(number)
        if self._server is not None:
            with contextlib.redirect_stdout(io.StringIO()):
                self._server.stop()

    def _welcome(self, client: Any) -> None:
        with self._lock:
            if self._stopped:
                return
            if len(self.sessions) >= MOST_SESSIONS:
                client.add_notification(
                    "Full", f"{MOST_SESSIONS} tabs edit here already; close one and reload", color="red"
                )
                return
            screen = ViserScreen(self._server, client)
            session = Session(
                self.engine,
                screen,
                self.results,
                document=Document(maker=self.document.maker, size=self.document.size),
                signature=self.signature,
                most_bytes=self.place.most_bytes,
                camera=self.place.camera,
            )
            self.sessions[client.client_id] = session
        if not screen.there:  # it left before its session was on the list
            self._end(client.client_id)
            return
        screen.build(session, self.engine, names_files=not self.place.public)
        source = self.document.source
        if source is not None:
            session.open(source.path, source.name, frame=source.frame)

    def _farewell(self, client: Any) -> None:
        self._end(client.client_id)

    def _end(self, number: int) -> None:
        with self._lock:
            session = self.sessions.pop(number, None)
        if session is not None:
            session.close()


def _open_server(place: Place) -> Any:
    try:
        import viser
    except ImportError as error:
        raise MissingDependencyError(
            "headwarp view: expected viser, it is not installed; pip install 'headwarp[view]'"
        ) from error
    logging.getLogger("websockets").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its banner; the command has its own line
            return viser.ViserServer(host=place.host, port=place.port, label="headwarp", verbose=False)
    except (OSError, RuntimeError) as error:
        raise HeadwarpError(
            f"--host {place.host}, --port {place.port}: cannot be served ({error})"
        ) from error
