"""A camera of this machine that drives the head: fitted frame by frame, what is late left out."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ...flame.detect import FaceTracker
from ...flame.fitting import FitConfig, StreamFitter
from ...flame.model import HeadModel
from ...flame.params import DETECTED, HeadFit
from ...geom.errors import HeadwarpError, MissingDependencyError
from ...training.data.portrait import Frame
from ..drivers import Driver
from .worker import LatestWins

ACQUAINTED = 16  # frames with a face from which the person's shape is taken
USUAL_FPS = 25.0


class Camera:
    """Two threads: one takes every frame from the device, so that none grows old in it, one fits the newest.

    A video file in place of the device is played at its own speed, again and again.
    """

    def __init__(
        self,
        device: str,
        head: HeadModel,
        *,
        seen: Callable[[Driver], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Open it and begin.

        Args:
            device: number of a camera, or a video file.
            head: that is fitted.
            seen: takes a driver of two frames whenever there is a newer head: the person at first, and now.
            failed: takes an error that ends it.

        Raises:
            MissingDependencyError: OpenCV is not installed.
            HeadwarpError: no such camera.
        """
        self._head, self._seen, self._failed = head, seen, failed
        self._capture = _opened(device)
        self._device, self._played = device, not device.isdigit()
        self._ended = threading.Event()
        self._tracker = FaceTracker()
        self._fitter: StreamFitter | None = None
        self._first: HeadFit | None = None
        self._worker: LatestWins[Frame] = LatestWins(self._fit, failed=failed)
        self._thread = threading.Thread(target=self._read, name="headwarp-view-camera", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; the device is free when this returns."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)
        self._worker.close()
        self._tracker.close()

    def _read(self) -> None:
        cv2 = importlib.import_module("cv2")
        pause = 1 / (self._capture.get(cv2.CAP_PROP_FPS) or USUAL_FPS) if self._played else 0.0
        due = time.monotonic()
        while not self._ended.is_set():
            there, frame = self._capture.read()
            if not there and self._played:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                there, frame = self._capture.read()
            if not there:
                self._failed(HeadwarpError(f"--camera {self._device}: it gives no more pictures"))
                break
            self._worker.ask(np.ascontiguousarray(frame[..., ::-1]))  # BGR
            due = max(due + pause, time.monotonic())
            self._ended.wait(due - time.monotonic())
        self._capture.release()

    def _fit(self, frame: Frame) -> None:
        if self._ended.is_set():
            return
        if self._fitter is None:
            self._fitter = StreamFitter(
                self._head, (frame.shape[0], frame.shape[1]), config=FitConfig(warm_up=ACQUAINTED)
            )
        faces = self._tracker.step(frame)
        face = faces[0] if faces else None
        fit = self._fitter.step(face.landmarks, face.score) if face is not None else self._fitter.step(None)
        if face is None or not self._fitter.settled or int(fit.status[0]) != DETECTED:
            return
        if self._first is None:
            self._first = fit
        self._seen(Driver(self._first.followed_by(fit), None, None, Fraction(25)))


def check_camera(device: str) -> None:
    """Raise HeadwarpError where a device is neither a number nor a file."""
    if not device.isdigit() and not Path(device).is_file():
        raise HeadwarpError(
            f"--camera: expected the number of a camera (0, 1, ..) or a video file, got {device}"
        )


def _opened(device: str) -> Any:
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise MissingDependencyError(
            "--camera: expected OpenCV, it is not installed; pip install 'headwarp[mediapipe]'"
        ) from error
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    if not capture.isOpened():
        capture.release()
        where = f" (on Linux /dev/video{device})" if device.isdigit() else ""
        raise HeadwarpError(
            f"--camera {device}: there is none that can be read{where}; is it there, and free for this?"
        )
    return capture
