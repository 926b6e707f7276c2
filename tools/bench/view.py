"""The suite of the editor in the browser: from a key pressed on a slider to the new picture on the page."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...geom.errors import HeadwarpError

if TYPE_CHECKING:
    from .suites import Case

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_VIEW = {"width": 900, "height": 500}
_MOVES = 60
_PRESS = """async ([moves, pause]) => {
    const times = [];
    const thumb = document.querySelector('[role=slider]');
    const picture = document.querySelector("img[src^='blob:']");
    const press = kind => thumb.dispatchEvent(new KeyboardEvent(
        kind, {key: 'ArrowRight', code: 'ArrowRight', bubbles: true, cancelable: true}));
    const another = () => new Promise((done, fail) => {
        const late = setTimeout(() => fail(new Error('no new picture in 10 seconds')), 10000);
        const watch = new MutationObserver(() => { watch.disconnect(); clearTimeout(late); done(); });
        watch.observe(picture, {attributes: true, attributeFilter: ['src']});
    });
    const painted = () => new Promise(done => requestAnimationFrame(() => {
        const after = new MessageChannel();
        after.port1.onmessage = done;
        after.port2.postMessage(0);
    }));
    thumb.focus();
    for (let move = 0; move < moves; move++) {
        const seen = another(), start = performance.now();
        press('keydown');
        press('keyup');
        await seen;
        await picture.decode().catch(() => 0);
        await painted();
        times.push(performance.now() - start);
        await new Promise(done => setTimeout(done, pause));
    }
    return times;
}"""
"""Presses a slider's arrow key and waits until the browser has painted a frame with the new picture."""


def view_cases() -> Sequence[Case]:
    """A slider's move at two sizes in headless Chromium; the server and the browser share this machine.

    Raises:
        HeadwarpError: viser, playwright or Chromium is not installed.
    """
    missing = [name for name in ("viser", "playwright") if importlib.util.find_spec(name) is None]
    missing += [] if _chromium() else ["chromium"]
    if missing:
        raise HeadwarpError(
            f"--suite view: expected viser, playwright and chromium, not installed: {', '.join(missing)}; "
            "pip install 'headwarp[view]' playwright, and chromium from the system's packages"
        )
    return [_case(size) for size in (256, 512)]


def _chromium() -> str | None:
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def _case(size: int) -> Case:
    from .suites import Case

    page = _Page(size)
    return Case("view/slider_to_picture", size, 1, page.move, facts=page.last_moves)


class _Page:
    """The editor of the shipped photograph and a browser that shows it, from the first move to the facts."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._page: Any = None
        self._closing = ExitStack()

    def move(self) -> None:
        """One press and its picture; the talk with the browser is in the time."""
        self._moves(1, 0)

    def last_moves(self) -> Mapping[str, float]:
        """Many presses timed in the page itself, a pause of 150 ms after each; then everything is closed."""
        import numpy as np

        with self._closing:
            times = self._moves(_MOVES, 150)
            self._page.wait_for_timeout(1000)  # what follows at rest still has somebody to see it
        self._page = None
        middle, most = np.percentile(times, (50, 95))
        return {"p50_ms": float(middle), "p95_ms": float(most)}

    def _moves(self, count: int, pause_ms: int) -> Sequence[float]:
        if self._page is None:
            self._page = self._opened()
        times: Sequence[float] = self._page.evaluate(_PRESS, [count, pause_ms])
        return times

    def _opened(self) -> Any:
        from PIL import Image
        from playwright.sync_api import sync_playwright
        from skimage.data import astronaut

        from ..view import View, opened

        folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory()))
        Image.fromarray(astronaut()).save(folder / "photo.png")
        editor = opened(View(folder / "photo.png", output=folder / "out", port=0, size=self._size))
        address = editor.start()
        self._closing.callback(editor.stop)
        playwright = self._closing.enter_context(sync_playwright())
        browser: Any = playwright.chromium.launch(executable_path=_chromium(), args=_FLAGS)
        self._closing.callback(browser.close)
        page = browser.new_page(viewport=_VIEW)
        page.goto(address)
        page.get_by_role("slider").first.wait_for()
        _wait_for_the_photo(editor)
        page.wait_for_timeout(3000)  # the first drawing of the head in 3D
        return page


def _wait_for_the_photo(editor: Any) -> None:
    end = time.monotonic() + 60
    while not editor.sessions and time.monotonic() < end:
        time.sleep(0.05)
    sessions = list(editor.sessions.values())
    while sessions and sessions[0].document.source is None and time.monotonic() < end:
        time.sleep(0.05)
    if not sessions or sessions[0].document.source is None:
        raise HeadwarpError("--suite view: expected the browser to show the photo within 60 seconds")
    sessions[0].wait()
