"""The editor end to end in headless Chromium: upload, move a slider, see the picture change, save."""

from __future__ import annotations

import io
import itertools
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from browser import CHROMIUM, FLAGS, needs_browser
from face_pictures import blank, needs_mediapipe, portrait, read_photo
from media_files import write_photo

from headwarp.flame.params import Pose
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.edit import edit
from headwarp.tools.view import View, opened, run
from headwarp.tools.view.arrivals import refuse_large_uploads

SIZE = 64
VIEW = {"width": 900, "height": 500}  # little room for the head in 3D, which is slow to draw without a GPU
PICTURE = "img[src^='blob:']"


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    made = opened(View(output=tmp_path_factory.mktemp("view") / "out", port=0, size=SIZE, upload_megabytes=1))
    made.address = made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def until(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def source_of(page):
    return page.locator(PICTURE).get_attribute("src")


def press(button):
    """Click, whatever note lies over the button."""
    button.evaluate("button => button.click()")


def upload(page, path):
    with page.expect_file_chooser() as chooser:
        press(page.get_by_role("button", name="Open photo or clip"))
    chooser.value.set_files(path)


def uploads_of(editor):
    """Names of the uploads that begin to arrive from now on."""
    from viser._messages import FileTransferStartUpload

    (client,) = editor._server.get_clients().values()
    names = []
    client.gui._websock_interface.register_handler(
        FileTransferStartUpload, lambda _, message: names.append(message.filename)
    )
    return names


@needs_mediapipe
@needs_browser
def test_upload_slide_look_save(editor, browser, tmp_path):
    page = browser.new_page(viewport=VIEW)
    page.set_default_timeout(90_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.goto(editor.address)
    page.get_by_text("Open a photo to begin").wait_for()
    sent = uploads_of(editor)

    upload(page, write_photo(tmp_path / "grey.png", blank(80, 80)))
    page.get_by_text("expected a face, found none").wait_for()

    (tmp_path / "large.mp4").write_bytes(bytes(1_000_001))
    upload(page, tmp_path / "large.mp4")
    page.get_by_text("large.mp4: expected at most 1 MB (--upload-megabytes), got 2 MB").wait_for()
    assert sent == ["grey.png"]

    photo = write_photo(tmp_path / "a.png", portrait())
    blank_source = source_of(page)
    upload(page, photo)
    assert until(lambda: source_of(page) != blank_source)
    still = source_of(page)

    session = next(iter(editor.sessions.values()))
    camera = next(iter(editor._server.get_clients().values())).camera
    place = camera.position.copy()
    slider = page.get_by_role("slider").first
    slider.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    assert until(lambda: source_of(page) != still)
    yaw = 4.0  # forty tenths of a degree
    assert until(lambda: session.document.pose.yaw == yaw)
    assert until(lambda: "--yaw 4 " in page.locator("code").last.inner_text())

    press(page.get_by_role("button", name="Save picture"))
    saved = editor.results.folder / "a_001.png"
    assert until(saved.is_file)
    assert np.array_equal(read_photo(saved), edit(photo, Pose(yaw=yaw), size=SIZE))
    assert until(lambda: nearly(shown(page), read_photo(saved)))

    assert np.array_equal(camera.position, place)  # the arrow keys of a slider are not the view's

    drag(page, until_it_is=lambda: session.document.pose.yaw < yaw - 5)
    turned = session.document.pose.yaw
    press(page.get_by_text("Undo", exact=True).first)
    assert until(lambda: session.document.pose.yaw > turned)

    session.move("yaw", 58.0)
    page.get_by_text("Turn \u26a0 holds to").wait_for()  # at the slider
    assert not wrong
    page.close()
    assert until(lambda: not editor.sessions)
    assert until(lambda: session._stage.now.subject is None)


def drag(page, *, until_it_is):
    """The head in 3D, in the middle of its view, to the right, as far as it takes."""
    notes = page.locator(".mantine-Notification-closeButton")  # they would lie over it
    notes.evaluate_all("all => all.forEach(each => each.click())")
    assert until(lambda: notes.count() == 0)
    box = page.locator("canvas").last.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    right = itertools.count(x + 1)

    def turned():
        page.mouse.move(min(next(right), x + box["width"] / 3), y)
        return until_it_is()

    assert until(turned)
    page.mouse.up()


def shown(page):
    """The pixels that the page shows."""
    from PIL import Image

    script = f"""async () => [...new Uint8Array(await (await fetch(
        document.querySelector("{PICTURE}").src)).arrayBuffer())]"""
    return np.asarray(Image.open(io.BytesIO(bytes(page.evaluate(script)))).convert("RGB"))


def nearly(shown_frame, frame):
    """But for the loss of JPEG."""
    return shown_frame.shape == frame.shape and np.abs(shown_frame.astype(int) - frame).mean() < 4


@needs_browser
def test_an_upload_that_is_larger_than_it_may_be_is_dropped_while_it_arrives():
    from viser._messages import FileTransferPart, FileTransferStartUpload

    handlers, notes, uploads = {}, [], {}
    gui = SimpleNamespace(
        _current_file_upload_states=uploads,
        _websock_interface=SimpleNamespace(register_handler=handlers.__setitem__),
    )
    client = SimpleNamespace(gui=gui, add_notification=lambda *words, **_: notes.append(words))
    refuse_large_uploads(client, 10)
    for kind, total, arrived, kept in (
        (FileTransferStartUpload, 10, 0, True),
        (FileTransferStartUpload, 11, 0, False),
        (FileTransferPart, 10, 10, True),
        (FileTransferPart, 10, 11, False),
    ):
        uploads["u"] = {"filename": "a.png", "total_bytes": total, "transferred_bytes": arrived}
        handlers[kind](0, SimpleNamespace(transfer_uuid="u"))
        assert ("u" in uploads) == kept
    assert len(notes) == 2
    handlers[FileTransferPart](0, SimpleNamespace(transfer_uuid="another"))


@needs_browser
def test_a_port_that_is_taken_and_options_out_of_range_are_sentences(tmp_path):
    for change, why in (
        ({"port": 70000}, "--port"),
        ({"size": 3}, "--size"),
        ({"upload_megabytes": 0}, "--upload"),
    ):
        with pytest.raises(HeadwarpError, match=why):
            run(View(output=tmp_path, **change))
    (tmp_path / "file").touch()
    with pytest.raises(HeadwarpError, match="--output"):
        run(View(output=tmp_path / "file"))
    with pytest.raises(HeadwarpError, match="no such file"):
        run(View(photo=Path("none.jpg"), output=tmp_path))


def test_a_missing_viser_gives_the_pip_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    with pytest.raises(HeadwarpError, match=r"pip install 'headwarp\[view\]'"):
        run(View(output=tmp_path))


def test_a_public_host_is_warned_of(tmp_path, capsys):
    assert opened(View(output=tmp_path, host="0.0.0.0")).place.public
    assert "anybody" in capsys.readouterr().err
