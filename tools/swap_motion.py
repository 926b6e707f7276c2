"""How much of a target's motion the head that is put in takes over."""

from __future__ import annotations

import dataclasses

import torch

from ..flame.model import HeadModel
from ..flame.params import HeadFit
from ..flame.replacement import Amendment, replaced_head, turned_residual
from ..geom.errors import HeadwarpError
from ..warping.swap_engines import SwapEngine
from .motion import Motion, Moved


def check_led(motion: Motion, engine: SwapEngine, *, name: str) -> None:
    """Refuse what a swap cannot follow, before anything is fitted.

    Args:
        motion: what was asked for.
        engine: that swaps.
        name: of it, for messages.

    Raises:
        HeadwarpError: a place of its own for a head that sits on the target's neck, or any motion but the
            target's for an engine that sees the motion in the target's picture.
    """
    if motion.retargeting.position != 1:
        raise HeadwarpError("--strength position: the head sits on the target's neck; leave it out")
    if engine.checkpoints and dataclasses.replace(motion, holds=None, animator=Motion.animator) != Motion():
        raise HeadwarpError(
            f"motion: {name} sees in the target's picture how the head is held; for --strength, --eyes-open, "
            "--lips-open, --smooth and --clamp take --engine geometry"
        )


def led_head(
    model: HeadModel,
    source: HeadFit,
    target: HeadFit,
    motion: Motion,
    *,
    fps: float,
    amended: Amendment | None = None,
) -> Moved:
    """The source's head in the target's place, moved by as much of the target's motion as is asked for.

    `replaced_head` is what a driver's transferred motion is in `animate`: a strength of 0 keeps the angle,
    the mouth, the gaze of the source's photo. The neck joint stays where the target has it. The source's
    residual belongs to the person: it is put on after the turn, so that it turns with the head.

    Args:
        model: the head of both.
        source: one frame.
        target: T frames, in pixels of the frames into which the head is put.
        motion: default: all of the target's.
        fps: of the target, for a motion that smooths.
        amended: of `replaced_head`.

    Raises:
        HeadwarpError: what `replaced_head` raises.
    """
    steady = motion.filtered(model, target, fps)
    replaced = replaced_head(model, source, steady, amended=amended)
    bare = [dataclasses.replace(fit, residual=torch.zeros_like(fit.residual)) for fit in (source, replaced)]
    moved = motion.turned(model, *bare)
    residual = moved.fit.residual + turned_residual(source, moved.fit)
    fit = dataclasses.replace(moved.fit, residual=residual)
    return Moved(motion.opened(model, source, fit, steady), moved.beyond)
