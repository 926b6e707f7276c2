"""A driven head kept within the turns from its photo at which an animator holds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from ..geom.pose_range import SOFT_FROM, PoseRange, limited_turn
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from .model import HeadModel
from .params import MISSING, HeadFit
from .posing import camera_rotation, neck_held

CUT = 0.02  # of the landmarks beyond a side of the picture
CUT_DEG = 5.0  # by eye: the streaks in the place of a cut cheek are then narrower than an eye


@dataclass(frozen=True)
class Beyond:
    """What of a motion lies beyond a range.

    Attributes:
        frames: how many, of those that show the head.
        farthest_deg: the turn that is furthest beyond it, or the one that comes nearest to it.
        limit_deg: the range in the direction of that turn.
    """

    frames: int = 0
    farthest_deg: float = 0.0
    limit_deg: float = 180.0

    def joined(self, other: Beyond) -> Beyond:
        """Both motions together."""
        worst = max(self, other, key=lambda each: each.farthest_deg - each.limit_deg)
        return dataclasses.replace(worst, frames=self.frames + other.frames)


def cut_sides(fit: HeadFit) -> dict[str, float]:
    """The sides of a picture that cut its face, with the share of the landmarks that lie beyond them.

    Args:
        fit: one frame, in pixels of the picture, or of a window that reaches beyond the face wherever the
            picture does.

    Returns:
        Of ``left``, ``right``, ``top`` and ``bottom`` those beyond which `CUT` or more of the landmarks lie.
    """
    height, width = fit.size
    points = fit.landmarks[0][fit.landmarks[0].isfinite().all(-1)]
    if not len(points):
        return {}
    x, y = points.unbind(-1)
    beyond = {"left": x < 0, "right": x > width, "top": y < 0, "bottom": y > height}
    shares = {side: float(there.float().mean()) for side, there in beyond.items()}
    return {side: share for side, share in shares.items() if share >= CUT}


def narrowed(limits: PoseRange, fit: HeadFit) -> PoseRange:
    """The range of a face that its picture's border cuts: a turn soon shows what was never in the picture.

    Args:
        limits: of the animator.
        fit: of the photo, one frame.
    """
    cut = cut_sides(fit)
    yaw = CUT_DEG if {"left", "right"} & set(cut) else limits.yaw_deg
    pitch = CUT_DEG if {"top", "bottom"} & set(cut) else limits.pitch_deg
    return PoseRange(min(yaw, limits.yaw_deg), min(pitch, limits.pitch_deg))


@dataclass(frozen=True)
class Limited:
    """A fit within a range.

    Attributes:
        fit: softly stopped; the neck joint stays where it was in the picture.
        beyond: the range, as it was.
    """

    fit: HeadFit
    beyond: Beyond


def limited_pose(model: HeadModel, source: HeadFit, driven: HeadFit, limits: PoseRange) -> Limited:
    """Stop a driven head softly at turns from the source's pose; see `geom.pose_range.limited_turn`.

    Args:
        model: the head of both fits.
        source: one frame.
        driven: T frames.
        limits: of the animator.
    """
    heads = [camera_rotation(fit.params) @ axis_angle_to_matrix(fit.params.neck) for fit in (source, driven)]
    made = limited_turn(heads[1] @ heads[0].mT, limits)
    over = (made.angle_deg - made.limit_deg).masked_fill(driven.status == MISSING, -torch.inf)
    worst = int(over.argmax())
    changed = made.turn @ heads[0] @ heads[1].mT  # camera axes, to be put before the root's own turn
    flip = camera_rotation(dataclasses.replace(source.params, rotation=source.params.rotation * 0))[0]
    rotation = matrix_to_axis_angle(flip.T @ changed @ flip @ axis_angle_to_matrix(driven.params.rotation))
    kept = (made.angle_deg <= SOFT_FROM * made.limit_deg)[:, None]
    params = dataclasses.replace(driven.params, rotation=driven.params.rotation.where(kept, rotation))
    fit = driven
    if not bool(kept.all()):
        camera = neck_held(model, driven, params, driven.camera)
        fit = dataclasses.replace(driven, params=params, camera=camera)
    beyond = Beyond(int((over > 0).sum()), float(made.angle_deg[worst]), float(made.limit_deg[worst]))
    return Limited(fit, beyond)
