"""Suites of the main job on the shipped photograph: detection, harmonic fill, animators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ...training.data.portrait import Portrait
    from .suites import Case

_YAW_DEG = 20.0


def detection_cases() -> Sequence[Case]:
    """A followed face: the mesh where the face was, in a 512 px frame; the detector on the whole frame beside
    it.
    """
    from skimage.data import astronaut

    from ...flame.detect import detect_faces, landmarks_in_roi
    from .suites import Case

    frame = astronaut()
    place = detect_faces(frame)[0].landmarks
    return [
        Case(
            "detect/followed_frame",
            frame.shape[0],
            1,
            lambda: landmarks_in_roi(frame, place),
            ("detector and mesh", lambda: detect_faces(frame)),
        )
    ]


def fill_cases() -> Sequence[Case]:
    """Harmonic fill of a flow around a disc, against the exact sparse solve."""
    from ...geom.fill import harmonic_fill, harmonic_fill_ref
    from .suites import Case

    cases = []
    for size in (128, 256):
        row = torch.linspace(-1, 1, size)
        disc = (row[:, None] ** 2 + row[None] ** 2 < 0.25).float()[None, None]
        values = torch.rand(1, 2, size, size) * disc
        disc[..., -1, :] = 1
        exact = ("sparse solve", partial(harmonic_fill_ref, values, disc))
        cases.append(Case("fill/harmonic", size, 1, partial(harmonic_fill, values, disc), exact))
    return cases


def animator_cases() -> Sequence[Case]:
    """One frame of the geometry animator, source encoded, posing included; the spline through landmarks
    beside it.
    """
    from skimage.data import astronaut

    from ..portrait import open_portrait
    from .suites import Case

    cases = []
    for size in (256, 512):
        portrait = open_portrait(astronaut(), size=size)
        cases.append(
            Case("animator/geometry", size, 1, _frame(portrait, "geometry"), ("tps", _frame(portrait, "tps")))
        )
    return cases


def _frame(portrait: Portrait, name: str) -> Callable[[], object]:
    from ...flame.params import Pose
    from ...flame.posing import apply_pose
    from ...warping.animators import load_animator

    animator = load_animator(name)
    cache = animator.encode([portrait.source()])
    fit = apply_pose(portrait.head, portrait.fit, Pose(yaw=_YAW_DEG))
    return lambda: animator.animate(cache, portrait.driving(fit))
