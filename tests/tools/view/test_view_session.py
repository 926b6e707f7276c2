"""A session without a browser: the pixels of ``headwarp edit``, stale requests dropped, errors said."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from face_pictures import blank, frames_of, needs_mediapipe, portrait, read_photo
from media_files import write_photo

from headwarp.tools import cli
from headwarp.tools.view.document import Document, Maker
from headwarp.tools.view.engine import Engine
from headwarp.tools.view.files import Results
from headwarp.tools.view.session import Session
from headwarp.tools.view.sights import SIGHTS
from headwarp.tools.view.worker import LatestWins
from headwarp.training.data.provenance import ENHANCED, read_provenance

SIZE = 64
pytestmark = needs_mediapipe


class Recorder:
    """A screen that remembers."""

    def __init__(self):
        self.frames, self.meshes, self.states, self.said, self.files, self.open = [], [], [], [], [], 0

    def picture(self, frame, words):
        self.frames.append(frame)

    def mesh(self, points):
        self.meshes.append(points)

    def controls(self, state):
        self.states.append(state)

    def status(self, state):
        self.states.append(state)

    def tell(self, title, text, *, bad=False):
        self.said.append((title, text))

    def busy(self, title, text):
        self.open += 1

        def told(words):
            self.open -= words is None

        return told

    def saved(self, path, command):
        self.files.append((path, command))


@pytest.fixture(scope="module")
def engine():
    return Engine()


@pytest.fixture
def photo(tmp_path) -> Path:
    return write_photo(tmp_path / "a.png", portrait())


@pytest.fixture
def session(engine, photo, tmp_path):
    made = Session(engine, Recorder(), Results(tmp_path / "out"), document=Document(size=SIZE))
    made.screen = made._screen
    made.open(photo)
    made.wait()
    yield made
    made.close()


def test_the_copied_line_makes_the_saved_pixels(session, tmp_path, monkeypatch):
    moves = {"yaw": 15.0, "jaw": 0.4, "gaze_y": -5.0, "smile": 0.5, "1": 0.8}
    for channel, value in moves.items():
        session.move(channel, value)
    session.reshape(0, 1.5)
    session.wait()
    session.save_picture()
    session.wait()
    ((path, command),) = session.screen.files
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)[1:]) == 0
    saved = read_photo(path)
    assert np.array_equal(saved, read_photo(tmp_path / path.name))
    assert np.array_equal(saved, session.screen.frames[-1])
    assert not np.array_equal(saved, session.screen.frames[0])
    known = read_provenance(path)
    assert (known.digital_source_type, len(known.inputs)) == (ENHANCED, 1)


def test_undo_brings_the_picture_back_and_moves_the_mesh(session):
    first, mesh = session.screen.frames[-1], session.screen.meshes[-1]
    session.move("yaw", 25.0)
    session.wait()
    assert not np.array_equal(session.screen.frames[-1], first)
    assert np.abs(session.screen.meshes[-1] - mesh).max() > 0.01
    session.undo()
    session.wait()
    assert np.array_equal(session.screen.frames[-1], first)
    assert session.state().redo
    session.redo()
    session.wait()
    assert session.document.pose.yaw == 25.0


def test_every_sight_is_a_picture_of_its_own(session):
    session.move("yaw", 20.0)
    seen = []
    for name in SIGHTS:
        session.look(name)
        session.wait()
        seen.append(session.screen.frames[-1])
    assert all(frame.shape == (SIZE, SIZE, 3) for frame in seen)
    assert len({frame.tobytes() for frame in seen}) == len(SIGHTS)


def test_what_goes_wrong_is_said_and_leaves_all_as_it_was(session, tmp_path):
    before = session.document
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    for path, why in (
        (write_photo(tmp_path / "grey.png", blank(80, 80)), "found none"),
        (broken, "broken.jpg"),
        (tmp_path / "none.png", "none.png"),
    ):
        session.open(path)
        session.wait()
        assert why in session.screen.said[-1][1]
        assert session.document == before
    session.choose(maker=Maker("fomm"))
    session.wait()
    assert "checkpoint" in session.screen.said[-1][1]
    session.upload("x.png", b"")
    session.save_track()
    session.play()
    session.wait()
    assert [title for title, _ in session.screen.said[-3:]].count("There is no film yet") == 1
    assert session.document == before
    assert session.screen.open == 0


def test_a_film_is_what_its_track_says(session, tmp_path, monkeypatch):
    session.set_key()
    session.scrub(0.12)
    session.move("yaw", 20.0)
    session.set_key()
    session.save_track()
    session.save_film()
    session.wait()
    (track, command), (clip, _) = session.screen.files
    assert (track.suffix, clip.suffix) == (".csv", ".mp4")
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)[1:]) == 0
    again = frames_of(tmp_path / shlex.split(command)[-1])
    assert len(again) == 4
    assert all(np.array_equal(a, b) for a, b in zip(frames_of(clip), again, strict=True))


def test_a_track_drives(session, tmp_path):
    track = tmp_path / "t.csv"
    track.write_text("frame,yaw\n0,0\n3,25\n")
    session.follow(track)
    session.wait()
    still = session.screen.frames[-1]
    session.scrub(session.length())
    session.wait()
    assert not np.array_equal(session.screen.frames[-1], still)
    assert session.state().command.startswith("headwarp animate")
    session.save_film()
    session.wait()
    assert len(frames_of(session.screen.files[-1][0])) == 4


def test_a_closed_session_does_nothing_and_keeps_nothing(session):
    uploads = session._uploads._folder
    session.close()
    count = len(session.screen.frames)
    session.move("yaw", 5.0)
    session.save_picture()
    assert len(session.screen.frames) == count
    assert session._subject is None
    assert not uploads.exists()


def test_only_the_latest_of_what_waits_is_done():
    gate, begun, done, failed = threading.Event(), threading.Event(), [], []

    def work(job):
        begun.set()
        gate.wait(5)
        if job == 9:
            raise ValueError("nine")
        done.append(job)

    worker = LatestWins(work, failed=failed.append)
    worker.ask(0)
    assert begun.wait(5)
    for job in range(1, 10):
        worker.ask(job)
    gate.set()
    assert worker.wait(5)
    worker.ask(10)
    assert worker.wait(5)
    worker.close()
    assert (done, [str(error) for error in failed]) == ([0, 10], ["nine"])
    assert (worker.count.asked, worker.count.done, worker.count.dropped) == (11, 3, 8)
