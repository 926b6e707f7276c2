"""A camera that the head follows, with a clip in its place."""

from __future__ import annotations

import importlib.util
import threading

import numpy as np
import pytest
from face_pictures import needs_mediapipe, portrait, sway
from media_files import write_clip, write_photo

from headwarp.flame.params import Pose
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.view import View, opened
from headwarp.tools.view.camera import ACQUAINTED, Camera
from headwarp.tools.view.document import Document
from headwarp.tools.view.engine import Engine
from headwarp.tools.view.files import Results
from headwarp.tools.view.session import Session

NEEDS_CV2 = pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="not installed: opencv")
pytestmark = [needs_mediapipe, NEEDS_CV2]
STEP = 2


@pytest.fixture(scope="module")
def engine():
    return Engine()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The portrait rests while it is got to know, then goes to the right and rests again."""
    frames = [portrait()] * (ACQUAINTED + 4) + sway(10, step=STEP)
    return str(write_clip(tmp_path_factory.mktemp("camera") / "c.mp4", [*frames, *[frames[-1]] * 60]))


def test_the_head_is_fitted_as_it_is_filmed(engine, clip):
    seen, failed, gone = [], [], threading.Event()

    def see(driver):
        seen.append(driver.fit)
        shift = driver.fit.camera.center[1, 0] - driver.fit.camera.center[0, 0]
        if abs(shift) > 0.4 * 9 * STEP:  # which of the frames are seen is the machine's affair
            gone.set()

    camera = Camera(clip, engine.head, seen=see, failed=failed.append)
    try:
        assert gone.wait(120)
    finally:
        camera.close()
    count = len(seen)
    assert not failed
    assert all(fit.frames == 2 for fit in seen)
    assert all((fit.camera.center[0] == seen[0].camera.center[0]).all() for fit in seen)
    camera.close()  # again, without harm
    assert len(seen) == count


class Screen:
    """What matters here of a screen."""

    def __init__(self):
        self.frames, self.said, self.new = [], [], threading.Event()

    def picture(self, frame, words):
        self.frames.append(frame)
        self.new.set()

    def tell(self, title, text, *, bad=False):
        self.said.append(text)

    def busy(self, title, text):
        return lambda words: None

    def mesh(self, points):
        """Not looked at."""

    controls = status = mesh


def test_a_session_follows_the_camera_and_goes_back_to_the_sliders(engine, clip, tmp_path):
    photo = write_photo(tmp_path / "a.png", portrait())
    screen = Screen()
    session = Session(engine, screen, Results(tmp_path), document=Document(size=64), camera=clip)
    session.follow_camera(True)
    session.wait()
    assert "open a photo first" in screen.said[-1]
    session.open(photo)
    session.wait()
    still = screen.frames[-1]
    session.move("blink", 0.5)
    session.wait()
    screen.new.clear()
    session.follow_camera(True)
    assert screen.new.wait(90)
    assert session.state().filming
    while session._filming.live is None:
        assert screen.new.wait(90)
        screen.new.clear()
    fit = session._job().fit
    lids = fit.params.eyelids - session._stage.now.subject.portrait.fit.params.eyelids
    assert lids.min() > 0.2  # the slider is on top
    session.follow_camera(False)
    session.wait()
    assert (session.state().filming, session._filming.live) == (False, None)
    session.undo()
    session.wait()
    assert session.document.pose == Pose()
    assert np.array_equal(screen.frames[-1], still)
    session.follow_camera(True)
    session.close()
    session._tasks._pool.shutdown(wait=True)
    assert not session._filming.on


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"camera": "none.mp4"}, "--camera"),
        ({"camera": "0", "host": "0.0.0.0"}, "loopback"),
        ({"camera": "0", "landmarks": "face-alignment"}, "mediapipe"),
    ],
)
def test_what_cannot_be_filmed_is_a_sentence(tmp_path, change, why):
    with pytest.raises(HeadwarpError, match=why):
        opened(View(output=tmp_path, **change))


def test_no_camera_is_a_sentence(engine):
    with pytest.raises(HeadwarpError, match="--camera 97: there is none that can be read"):
        Camera("97", engine.head, seen=print, failed=print)
