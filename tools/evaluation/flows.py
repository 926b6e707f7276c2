"""Flow and visibility against the truth that lies beside synthetic clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from ...flame.model import HeadModel
from ...geom.errors import ModelFileError
from ...training.data.synthetic import SyntheticClip, TrueFlow, load_clip, true_flow
from ...training.metrics.motion import flow_epe, visibility_iou
from ...warping.animators import Animation

TrueMotion = Callable[[int, int], TrueFlow]
"""Source frame, driving frame -> where the driving frame's pixels come from."""


def known_clip(clip: Path, model: HeadModel) -> SyntheticClip | None:
    """What is known of a clip of `headwarp synth`, ``truth/NAME.npz`` beside its folder; None where there is
    nothing or it is of another head.
    """
    file = clip.parent.parent / "truth" / f"{clip.stem}.npz"
    if not file.is_file():
        return None
    try:
        return load_clip(file, model)
    except ModelFileError:
        return None


def true_motion(clip: Path, model: HeadModel) -> TrueMotion | None:
    """The true flow of a clip of `headwarp synth`; None where it is not known."""
    known = known_clip(clip, model)
    if known is None:
        return None
    return lambda source, driving: true_flow(known.view(source), known.view(driving))


def motion_scores(animation: Animation, maps: Mapping[str, Tensor], truth: TrueFlow) -> dict[str, float]:
    """End-point error, and agreement on what the source hides.

    Args:
        animation: its flow is measured where the source shows the person.
        maps: of the animator's ``explain``: what comes from the source, as ``occlusion`` or else ``known``,
            is measured on the person's pixels that its mesh has ``covered``; without these maps it is not.
        truth: of the same frames.
    """
    found: dict[str, float] = {}
    person = truth.person > 0.5
    if animation.flow is not None and animation.flow.shape == truth.flow.shape:
        found["flow_epe"] = float(flow_epe(animation.flow.cpu(), truth.flow, person & (truth.visible > 0.5)))
    shown = maps.get("occlusion", maps.get("known"))
    if shown is not None and "covered" in maps and shown.shape == truth.visible.shape:
        counted = person & (maps["covered"].cpu() > 0.5)
        found["visibility_iou"] = float(visibility_iou(shown.cpu(), truth.visible, counted))
    return found
