"""A session without a browser: the pixels of ``headwarp edit``, stale requests dropped, errors said."""

from __future__ import annotations

import shlex
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from face_pictures import blank, frames_of, needs_mediapipe, portrait, read_photo
from media_files import write_photo

from headwarp.flame.params import Pose
from headwarp.flame.pose_limit import CUT_DEG
from headwarp.flame.posing import apply_pose
from headwarp.tools import cli
from headwarp.tools.view.document import Document, History, Maker
from headwarp.tools.view.engine import Engine, posed
from headwarp.tools.view.files import Results, source_of
from headwarp.tools.view.session import Session
from headwarp.tools.view.sights import SIGHTS
from headwarp.tools.view.standing import Standing
from headwarp.tools.view.worker import LatestWins
from headwarp.training.data.provenance import ENHANCED, read_provenance

SIZE = 64
pytestmark = needs_mediapipe


class Recorder:
    """A screen that remembers."""

    def __init__(self):
        self.frames, self.meshes, self.states, self.said, self.files, self.open = [], [], [], [], [], 0
        self.words = ""

    def picture(self, frame, words):
        self.frames.append(frame)
        self.words = words

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


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    return write_photo(tmp_path_factory.mktemp("photo") / "a.png", portrait())


@pytest.fixture(scope="module")
def subject(engine, photo):
    """Fitted once for all sessions."""
    return engine.subject(Document(source=source_of(photo), size=SIZE))


@pytest.fixture
def session(engine, subject, tmp_path):
    document = Document(source=subject.opened.source, size=SIZE)
    made = Session(engine, Recorder(), Results(tmp_path / "out"), document=document)
    made.screen = made._screen
    made._stage._now = Standing(History(document), subject)
    made.reset()
    made.wait()
    yield made
    made.close()


def until(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


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
    session.follow(None)
    assert session.document.driver is None


def test_regions_are_driven_and_sliders_come_on_top(session, tmp_path, monkeypatch):
    track = tmp_path / "t.csv"
    track.write_text("frame,yaw,jaw,blink\n0,0,0,0\n2,25,0.6,1\n")
    session.follow(track)
    session.wait()
    session.scrub(session.length())
    for region, strength in (("pose", 0.0), ("eyes", 0.0), ("mouth", 0.5)):
        session.drive(region, strength)
    session.save_film()
    session.wait()
    clip, command = session.screen.files[-1]
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)[1:]) == 0
    again = frames_of(tmp_path / clip.name)
    assert len(again) == 3
    assert all(np.array_equal(a, b) for a, b in zip(frames_of(clip), again, strict=True))

    session.move("yaw", 10.0)
    fit, said = session._job().fit, posed(session._stage.now.subject, [Pose(yaw=10.0, jaw=0.3)], {})
    for name in ("rotation", "jaw", "eyelids", "eyes"):
        torch.testing.assert_close(
            getattr(fit.params, name), getattr(said.params, name), atol=1e-4, rtol=0, msg=name
        )
    assert "on top" in session.state().command
    session.reset()
    assert not session.document.strengths


def test_a_turn_at_which_the_animator_does_not_hold_is_said(session):
    limit = session._stage.now.subject.animator.holds.yaw_deg
    for yaw, said in ((limit + 2, True), (limit - 2, False)):
        session.move("yaw", yaw)
        session.wait()
        assert (f"the {limit:g} degrees" in session.screen.words) == said
        assert session.state().beyond == ({"yaw": limit} if said else {})
    session.move("pitch", 20.0)  # both together
    assert set(session.state().beyond) == {"yaw", "pitch"}


def test_a_face_that_the_border_cuts_is_said(session):
    now = session._stage.now
    opened = now.subject.opened
    cut = replace(opened.fit, landmarks=opened.fit.landmarks - torch.tensor([opened.photo.shape[1] / 2, 0.0]))
    session._stage._now = replace(now, subject=replace(now.subject, opened=replace(opened, fit=cut)))
    session.move("yaw", CUT_DEG + 1)
    session.wait()
    assert "The left border of the picture cuts the face (" in session.screen.words
    assert session.state().beyond == {"yaw": CUT_DEG}


def filmed(session, count=6):
    """As if a camera had seen the photo's own person turn away, a head every tenth of a second."""
    fit = session._stage.now.subject.portrait.fit
    for number in range(count):
        turned = apply_pose(session._engine.head, fit, Pose(yaw=3.0 * number, jaw=0.1 * number))
        session._filming.take.add(fit.followed_by(turned), 5.0 + number / 10)


def test_what_a_camera_saw_is_saved_as_film_and_as_track(session, tmp_path, monkeypatch):
    filmed(session)
    assert session.state().taken == pytest.approx(0.5)
    session.move("yaw", 5.0)
    session.save_film()
    session.wait()
    on_top = frames_of(session.screen.files[-1][0])
    session.reset()
    session.save_film()
    session.save_track()
    session.wait()
    (film, said), (track, command) = session.screen.files[-2:]
    assert (film.suffix, said, track.suffix) == (".mp4", "", ".npz")
    frames = frames_of(film)
    assert len(frames) == len(on_top) == 7  # the person at first, then what was seen
    assert not np.array_equal(frames[6], on_top[6])
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)[1:]) == 0
    again = frames_of(tmp_path / track.with_suffix(".mp4").name)
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))
    session.move("jaw", 0.3)
    session.set_key()  # what comes after is a film of its own
    assert session.state().taken == 0
    session.save_track()
    session.wait()
    assert session.screen.files[-1][0].suffix == ".csv"


def test_a_closed_session_does_nothing_and_keeps_nothing(session):
    uploads = session._uploads._folder
    session.close()
    count = len(session.screen.frames)
    session.move("yaw", 5.0)
    session.save_picture()
    assert len(session.screen.frames) == count
    assert session._stage.now.subject is None
    assert not uploads.exists()


@pytest.fixture
def slow(engine, monkeypatch):
    """Photos are made ready when told so: an event that says it was begun, and one that lets it end."""
    begun, gate, make = threading.Event(), threading.Event(), engine.subject

    def waiting(document, before=None):
        begun.set()
        assert gate.wait(20)
        return make(document, before)

    monkeypatch.setattr(engine, "subject", waiting)
    return begun, gate


def test_what_is_made_ready_when_a_session_closes_is_let_go(session, slow):
    begun, gate = slow
    session.choose(size=96)
    assert begun.wait(20)
    states = len(session.screen.states)
    session.close()
    gate.set()
    session._tasks._pool.shutdown(wait=True)
    assert session._stage.now.subject is None
    assert len(session.screen.states) <= states + 1  # a closed tab takes no more; see `ViserScreen`
    assert session.screen.open == 0


def test_what_is_said_while_a_photo_is_made_ready_still_holds(session, slow):
    begun, gate = slow
    session.move("yaw", 5.0)
    session.choose(size=96)
    assert begun.wait(20)
    session.move("yaw", 7.0)
    gate.set()
    session.wait()
    assert (session.document.size, session.document.pose.yaw) == (96, 7.0)
    assert session.screen.frames[-1].shape == (96, 96, 3)


def test_undo_twice_goes_back_twice_though_a_film_is_being_saved(session):
    for channel in ("yaw", "pitch"):
        session.move(channel, 5.0)
    gate = threading.Event()
    session._tasks.do("Saving", "", lambda told: gate.wait(20))
    session.undo()
    session.undo()
    assert session.document.pose == Pose()
    gate.set()


def test_while_a_slider_moves_only_the_picture_is_sent(session):
    frames, meshes, states = (
        len(seen) for seen in (session.screen.frames, session.screen.meshes, session.screen.states)
    )
    session._worker._pause = 60.0
    session.move("yaw", 9.0)
    until(lambda: len(session.screen.frames) > frames)
    assert len(session.screen.frames) == frames + 1
    assert (len(session.screen.meshes), len(session.screen.states)) == (meshes, states)
    session.wait()
    assert len(session.screen.meshes) == meshes + 1
    assert "--yaw 9" in session.screen.states[-1].command


def test_the_head_in_3d_follows_its_drag_at_once(session):
    meshes = len(session.screen.meshes)
    session._worker._pause = 60.0
    session.turn(yaw=9.0, pitch=0.0, roll=0.0)
    until(lambda: len(session.screen.meshes) > meshes)
    assert len(session.screen.meshes) == meshes + 1


def test_a_rest_comes_once_after_the_pause():
    done = []
    worker = LatestWins(done.append, failed=done.append, rested=lambda: done.append("rest"), pause=0.05)
    assert worker.wait(5)
    assert done == []
    for job in (1, 2):
        worker.ask(job)
        assert worker.wait(5)
        time.sleep(0.15)
    worker.ask(3)
    until(lambda: len(done) == 6)  # nobody waits: the pause ends by itself
    worker.close()
    assert done == [1, "rest", 2, "rest", 3, "rest"]


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
