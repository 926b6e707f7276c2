"""The sliders and buttons of one client, on viser; what they do stands in `session`."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...flame.model import HeadModel
from ...flame.retargeting import STRONGEST
from ...training.data.portrait import Frame
from ...warping.animators import animator_names
from .document import REACH, channel_of
from .files import DRIVERS, PORTRAITS
from .filming import LONGEST_TAKE
from .page import extras
from .screen import State
from .session import Session
from .sights import SIGHTS

LABELS = {
    "yaw": ("Turn", "Degrees; to the right: the nose moves to the picture's left"),
    "pitch": ("Nod", "Degrees; to the right: looking down"),
    "roll": ("Tilt", "Degrees; to the right: clockwise"),
    "jaw": ("Open mouth", "0 as it is, 1 wide open"),
    "gaze_x": ("Look aside", "Degrees of the eyes; to the right: to the picture's left"),
    "gaze_y": ("Look down", "Degrees of the eyes"),
    "blink": ("Close eyes", "0 as they are, 1 closed"),
}
REGION_LABELS = {
    "pose": (
        "Its pose",
        "Turns and place: 0 as in the photo, 1 as driven, 2 twice that",
    ),
    "mouth": ("Its mouth", "Jaw and lips: 0 as in the photo, 1 as driven"),
    "eyes": ("Its eyes", "Lids and gaze: 0 as in the photo, 1 as driven"),
    "face": ("Its face", "Brows, cheeks and all the rest: 0 as in the photo, 1 as driven"),
}
FOLLOW = "The head follows the person in a video."
FILMED = f"The last {LONGEST_TAKE:.0f} s are kept for *Save mp4* and *Save track*."
TAKEN = (
    "**{:.0f} s** of the camera are kept for *Save mp4* and *Save track*, until a driver is opened or a key "
    "frame is set."
)
FOLLOWING = "Following **{}**. How much of its motion is taken over is set above; all sliders come on top."
BEYOND = "{} \u26a0 holds to {:.0f}\u00b0"
STEPS = {"jaw": 0.01, "blink": 0.01}
EXPRESSION_REACH = (-0.5, 1.5)
COEFFICIENTS = 8  # of shape and of expression that have a slider
DEVIATIONS = 3.0
SIZES = ("192", "256", "384", "512", "768")
JPEG_QUALITY = 88


class Portrait:
    """The panel with the picture, docked to the left."""

    def __init__(self, client: Any, session: Session, *, width: int) -> None:
        panel = client.gui.add_panel()
        panel.dock_left()
        panel.set_width(width)
        with panel.add_tab("Portrait"):
            client.gui.add_html(extras(session.most_bytes))
            blank = np.full((16, 16, 3), 245, np.uint8)
            self._image = client.gui.add_image(blank, format="jpeg", jpeg_quality=JPEG_QUALITY)
            self._words = client.gui.add_markdown(WELCOME)
            self._sight = client.gui.add_dropdown(
                "Show", tuple(SIGHTS), initial_value="picture", hint="The picture, or how it came about"
            )
        self._client = client
        _on_update(self._sight, lambda value: session.look(value))

    def show(self, frame: Frame, words: str) -> None:
        """The picture at once, ahead of all else that waits to be sent."""
        self._image.image = frame
        if self._words.content != words:
            self._words.content = words
        self._client.flush()


WELCOME = """### Open a photo to begin

1. **Open photo or clip** on the right. Nothing leaves this machine.
2. Move a slider, or **drag the 3D head**: the portrait follows.
3. **Save** the picture; set **key frames** for a film.
"""


class Controls:
    """The panel on the right."""

    def __init__(self, client: Any, session: Session, head: HeadModel, *, names_files: bool) -> None:
        """Build it.

        Args:
            client: viser's handle.
            session: what the controls talk to.
            head: whose expressions and coefficients are offered.
            names_files: whether a file of this machine may be named; not for visitors from elsewhere.
        """
        self._client, self._session, self._head = client, session, head
        self._sliders: dict[str, Any] = {}
        self._shapes: dict[int, Any] = {}
        self._strengths: dict[str, Any] = {}
        gui = client.gui
        self._top(gui, names_files)
        tabs = gui.add_tab_group()
        with tabs.add_tab("Pose"):
            self._pose(gui)
        with tabs.add_tab("Face"):
            self._face(gui)
        with tabs.add_tab("Film"):
            self._film(gui, names_files)
        with tabs.add_tab("More"):
            self._more(gui)
        with gui.add_folder("Save"):
            self._save(gui)
        self._keys()

    # parts

    def _top(self, gui: Any, names_files: bool) -> None:
        session = self._session
        upload = gui.add_upload_button("Open photo or clip", mime_type=PORTRAITS, icon="photo")
        upload.on_upload(lambda _: session.upload(upload.value.name, upload.value.content))
        if names_files:
            named = gui.add_text("or a file here", "", hint="The path of a photo or clip on this machine")
            _on_update(named, lambda text: _named(session.open, text))
        self._frame = gui.add_slider("Frame", 0, 1, 1, 0, visible=False, hint="Which frame of the clip")
        _on_update(self._frame, self._other_frame)
        self._steps = gui.add_button_group("Steps", ("Undo", "Redo", "Reset"))
        acts = {"Undo": session.undo, "Redo": session.redo, "Reset": session.reset}
        self._steps.on_click(lambda _: acts[self._steps.value]())

    def _pose(self, gui: Any) -> None:
        for channel, (low, high) in REACH.items():
            label, hint = LABELS[channel]
            self._slider(gui, channel, label, (low, high), STEPS.get(channel, 0.1), hint)

    def _face(self, gui: Any) -> None:
        for name in sorted(self._head.named_expressions):
            words = name.replace("_", " ").capitalize()
            self._slider(gui, name, words, EXPRESSION_REACH, 0.01, "0 as it is, 1 a full natural expression")
        hint = "Standard deviations of the head model"
        span = (-DEVIATIONS, DEVIATIONS)
        with gui.add_folder("Shape of the head", expand_by_default=False):
            for number in range(min(COEFFICIENTS, self._head.shape_basis.shape[2])):
                slider = gui.add_slider(f"Shape {number}", *span, 0.05, 0.0, hint=hint)
                _on_update(slider, partial(self._session.reshape, number))
                self._shapes[number] = slider
        with gui.add_folder("Expression coefficients", expand_by_default=False):
            for number in range(min(COEFFICIENTS, self._head.expression_basis.shape[2])):
                self._slider(gui, str(number), f"Coefficient {number}", span, 0.05, hint)

    def _slider(
        self, gui: Any, channel: str, label: str, span: tuple[float, float], step: float, hint: str
    ) -> None:
        slider = gui.add_slider(label, *span, step, 0.0, hint=hint)
        _on_update(slider, lambda value: self._session.move(channel, value))
        self._sliders[channel] = slider

    def _film(self, gui: Any, names_files: bool) -> None:
        session = self._session
        self._strip = gui.add_html(_strip(State(session.document)))
        self._time = gui.add_slider("Time", 0.0, 10.0, 0.04, 0.0, hint="Seconds")
        _on_update(self._time, session.scrub)
        keys = gui.add_button_group("Key frame", ("Set", "Remove"))
        keys.on_click(lambda _: session.set_key() if keys.value == "Set" else session.drop_key())
        self._play = gui.add_button("Play", icon="player-play")
        self._play.on_click(lambda _: session.play())
        with gui.add_folder("Follow a driver", expand_by_default=False):
            upload = gui.add_upload_button("Open a driving clip", mime_type=DRIVERS, icon="video")
            upload.on_upload(lambda _: session.upload(upload.value.name, upload.value.content, driver=True))
            if names_files:
                hint = "Video, photo, fit (.npz) or pose track"
                named = gui.add_text("or a file here", "", hint=hint)
                _on_update(named, lambda text: _named(session.follow, text))
            self._film_live = gui.add_button("Follow the camera", icon="camera", visible=session.has_camera)
            self._film_live.on_click(lambda _: session.follow_camera(not session.state().filming))
            for region, (label, hint) in REGION_LABELS.items():
                slider = gui.add_slider(label, 0.0, STRONGEST, 0.05, 1.0, visible=False, hint=hint)
                _on_update(slider, partial(session.drive, region))
                self._strengths[region] = slider
            self._release = gui.add_button("Back to the sliders", visible=False)
            self._release.on_click(lambda _: session.follow(None))
            self._driver = gui.add_markdown(FOLLOW)

    def _more(self, gui: Any) -> None:
        session, document = self._session, self._session.document
        names = tuple(dict.fromkeys((document.maker.animator, *animator_names())))
        self._animator = gui.add_dropdown("Animator", names, initial_value=document.maker.animator)
        _on_update(self._animator, lambda name: self._remake(animator=name, checkpoint=None))
        own = "its own"
        kinds = (own, "mesh", "codes", "both", "depth", "keypoints", "landmarks")
        self._guidance = gui.add_dropdown("Guidance", kinds, initial_value=document.maker.guidance or own)
        _on_update(self._guidance, lambda name: self._remake(guidance=None if name == own else name))
        sizes = tuple(dict.fromkeys((str(document.size), *SIZES)))
        self._size = gui.add_dropdown(
            "Window", sizes, initial_value=str(document.size), hint="Side in pixels"
        )
        _on_update(self._size, lambda text: session.choose(size=int(text)))
        self._whole = gui.add_checkbox(
            "Save the whole photo", document.full_frame, hint="The window is pasted back into the photo"
        )
        _on_update(self._whole, lambda value: session.choose(full_frame=value))

    def _save(self, gui: Any) -> None:
        session = self._session
        gui.add_button("Save picture", icon="device-floppy").on_click(lambda _: session.save_picture())
        film = gui.add_button_group("Film", ("Save mp4", "Save track", "Stop"))
        acts = {"Save mp4": session.save_film, "Save track": session.save_track, "Stop": session.stop_saving}
        film.on_click(lambda _: acts[film.value]())
        self._command = gui.add_html("")

    def _keys(self) -> None:
        for label, act, key, held in (
            ("Undo", self._session.undo, "Z", "cmd/ctrl"),
            ("Redo", self._session.redo, "Z", "cmd/ctrl+shift"),
            ("Play or stop", self._session.play, None, None),
            ("Save picture", self._session.save_picture, None, None),
        ):
            command = self._client.gui.add_command(label, hotkey=key, modifier=held)
            command.on_trigger(lambda _, act=act: act())

    # from the session

    def show(self, state: State) -> None:
        """Every control as the state says; nothing is sent for what shows it already."""
        document = state.document
        for channel, slider in self._sliders.items():
            slider.value = _within(slider, channel_of(document.pose, channel))
        for number, slider in self._shapes.items():
            slider.value = _within(slider, document.shape.get(number, 0.0))
        several = document.source is not None and document.source.frames > 1
        if several and document.source is not None:
            _changed(self._frame, max=float(document.source.frames - 1))
            self._frame.value = document.source.frame
        _changed(self._frame, visible=several)
        self._animator.value, self._size.value = document.maker.animator, str(document.size)
        self._guidance.value = document.maker.guidance or "its own"
        self._whole.value = document.full_frame
        self._show_film(state)
        self.status(state)

    def _show_film(self, state: State) -> None:
        driver = state.document.driver
        _changed(self._time, max=max(state.length, 0.04) if driver else max(10.0, 1.5 * state.length))
        self._time.value = _within(self._time, state.time)
        _changed(self._play, label="Stop" if state.playing else "Play")
        _changed(self._release, visible=driver is not None)
        for region, slider in self._strengths.items():
            _changed(slider, visible=driver is not None or state.filming)
            slider.value = state.document.strengths.get(region, 1.0)
        _changed(self._film_live, label="Stop the camera" if state.filming else "Follow the camera")
        name = "the camera" if state.filming else driver and Path(driver.name).name
        words = [FOLLOWING.format(name) if name else FOLLOW]
        if state.filming:
            words.append(FILMED)
        elif state.taken:
            words.append(TAKEN.format(state.taken))
        _changed(self._driver, content="\n\n".join(words))
        _changed(self._strip, content=_strip(state))

    def status(self, state: State) -> None:
        """The line that makes the picture, and at a slider that turns the head too far how far it holds."""
        for channel in ("yaw", "pitch"):
            label, limit = LABELS[channel][0], state.beyond.get(channel)
            shown = label if limit is None else BEYOND.format(label, limit)
            _changed(self._sliders[channel], label=shown)
        _changed(self._command, content=_copied(state.command))

    def _remake(self, **changes: Any) -> None:
        maker = dataclasses.replace(self._session.document.maker, **changes)
        self._session.choose(maker=maker)

    def _other_frame(self, number: int) -> None:
        source = self._session.document.source
        if source is not None:
            self._session.open(source.path, source.name, frame=int(number))


def _on_update(handle: Any, act: Callable[[Any], None]) -> None:
    """Do something when the person, not the session, changed a control; in the order of the changes."""

    async def changed(event: Any) -> None:
        if event.client is not None:
            act(event.target.value)

    handle.on_update(changed)


def _named(act: Callable[[Path], None], text: str) -> None:
    """Do something with a file that the person named; an empty line names none."""
    if text.strip():
        act(Path(text.strip()).expanduser())


def _changed(handle: Any, **properties: Any) -> None:
    """Set what is different."""
    for name, value in properties.items():
        if getattr(handle, name) != value:
            setattr(handle, name, value)


def _within(slider: Any, value: float) -> float:
    return max(slider.min, min(slider.max, value))


def _strip(state: State) -> str:
    """Key frames as diamonds on a line of time."""
    keys, length = state.document.keys, max(state.length, 1e-9)
    if not keys:
        return _NOTE.format("Pose the head, choose a time, set a key frame; then another.")
    marks = "".join(
        f'<span title="{key.time:g} s" style="position:absolute;left:{100 * key.time / length:.2f}%;top:3px;'
        'width:10px;height:10px;margin-left:-5px;transform:rotate(45deg);background:#3b7dd8"></span>'
        for key in keys
    )
    style = "position:relative;height:16px;margin:6px 14px;border-bottom:2px solid #bbb"
    return f'<div style="{style}">{marks}</div>' + _NOTE.format(f"{len(keys)} key frame(s), {length:.2f} s")


_NOTE = '<div style="font-size:12px;color:#777;margin:2px 14px 6px">{}</div>'


def _copied(command: str) -> str:
    """A line with a button that copies it."""
    if not command:
        return ""
    text = "this.parentNode.querySelector('code').textContent"
    act = f"navigator.clipboard.writeText({text});this.textContent='Copied'"
    return (
        '<div style="margin:4px 14px 8px;font-size:12px"><span style="color:#777">'
        "The same from the command line</span> "
        f'<button type="button" style="float:right;cursor:pointer" onclick="{act}">Copy</button>'
        '<code style="display:block;clear:both;margin-top:4px;padding:6px;background:#8882;border-radius:4px;'
        f'white-space:pre-wrap;overflow-wrap:anywhere;user-select:all">{html.escape(command)}</code></div>'
    )
