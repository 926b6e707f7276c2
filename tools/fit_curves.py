"""The curves of a fit: pose, mouth, eyes, residual and confidence over its frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..flame.fitting.percent import residual_percent
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit
from ..flame.posing import head_pose
from .curves import Frame, Panel, draw_curves

WORST = 3  # frames that are marked


def worst_frames(percent: NDArray[np.float64], count: int = WORST) -> list[int]:
    """Frames of the largest residual, each at least a twentieth of the clip from the others, worst first."""
    found: list[int] = []
    apart = max(1, len(percent) // 20)
    for frame in np.argsort(-np.nan_to_num(percent, nan=-1.0), kind="stable").tolist():
        if len(found) == count or not np.isfinite(percent[frame]):
            break
        if all(abs(frame - other) >= apart for other in found):
            found.append(frame)
    return found


def fit_series(model: HeadModel, fit: HeadFit) -> dict[str, NDArray[np.float64]]:
    """Numbers of a clip frame by frame, ``(T,)`` each, NaN where they are not known.

    Returns:
        ``residual`` of `residual_percent`; ``jitter``: mean length of the second difference in time of the
        projected points, in pixels of a 256 px frame, at the middle of three detected frames; ``yaw``,
        ``pitch``, ``roll`` in degrees.
    """
    from ..training.metrics.landmarks import to_256

    seen = (fit.status == DETECTED).numpy()
    points = to_256((fit.landmarks - fit.residual).double().numpy(), fit.size)
    bends = np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean(-1)  # (T - 2,)
    jitter = np.full(fit.frames, np.nan)
    jitter[1:-1] = np.where(seen[2:] & seen[1:-1] & seen[:-2], bends, np.nan)
    angles = np.where(seen[:, None], head_pose(fit.params).double().numpy(), np.nan)
    shown = dict(zip(("yaw", "pitch", "roll"), angles.T, strict=True))
    return {"residual": residual_percent(model, fit), "jitter": jitter, **shown}


def fit_curves(model: HeadModel, fit: HeadFit, title: str) -> Frame:
    """The picture: gaps and shading where the face was not detected, red lines at the worst frames.

    Args:
        model: the head of the fit.
        fit: T frames.
        title: above the curves.
    """
    percent = residual_percent(model, fit)
    angles = head_pose(fit.params).double().numpy()
    jaw = np.degrees(fit.params.jaw.double().numpy())
    lids = fit.params.eyelids.double().numpy()
    gaze = np.degrees(fit.params.eyes.double().numpy())
    seen = (fit.status == DETECTED).numpy()
    shown = dict(zip(("yaw", "pitch", "roll"), angles.T, strict=True))
    panels = [
        Panel("head, degrees", shown, least=10.0),
        Panel("jaw, degrees", {"open": jaw[:, 0], "sideways": jaw[:, 1]}, least=8.0),
        Panel("eyelids (0 as in the template, 1 shut)", {"left": lids[:, 0], "right": lids[:, 1]}, least=1.0),
        Panel(
            "gaze, degrees",
            {"left yaw": gaze[:, 1], "right yaw": gaze[:, 4], "left pitch": gaze[:, 0]},
            least=20.0,
        ),
        Panel("residual, % of the eye distance", {"residual": percent}, limits=(0.0, None), least=2.0),
        Panel("confidence", {"confidence": fit.confidence.double().numpy()}, limits=(0.0, 1.0)),
    ]
    return draw_curves(panels, title, absent=~seen, marks=worst_frames(percent))


def write_fit_curves(path: Path, model: HeadModel, fit: HeadFit, title: str) -> None:
    """Draw `fit_curves` and write them as PNG.

    Args:
        path: of the PNG.
        model, fit, title: as for `fit_curves`.
    """
    from ..training.data.media import write_image

    write_image(path, fit_curves(model, fit, title), provenance=None)
