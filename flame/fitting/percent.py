"""The residual of a fit in percent of the eye distance: what reports, captions and curves call residual.

The eye distance is that between the outer canthi in 3D, of the head model's mean face, times the camera's
scale at the middle of the landmarks. It is not that of the fitted person: which of two faces alike is larger
and farther away, a picture does not tell.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, WeakPerspective
from ...geom.transforms import axis_angle_to_matrix
from ..model import HeadModel
from ..params import DETECTED, HeadFit
from ._prepared import FACE_POINTS, OUTER_CANTHI

__all__ = ["eye_distance", "eye_pixels", "residual_percent"]


def residual_percent(head: HeadModel, fit: HeadFit) -> Float[ndarray, " T"]:
    """Mean residual of every frame in percent of the eye distance, NaN where no face was detected.

    The mean is over the landmarks that were fitted and seen: not the irises of the face mesh, which turn the
    eyes, and none whose residual is 0. Its mean over frames is ``report["reprojection_percent_iod"]`` of the
    fit.

    Args:
        head: the head of the fit.
        fit: T frames.
    """
    lengths = fit.residual.double().norm(dim=-1)  # (T, L)
    counted = lengths > 0
    if fit.report.get("family", "mediapipe") == "mediapipe":
        counted &= fit.landmark_indices < FACE_POINTS
    mean = (lengths * counted).sum(1) / counted.sum(1).clamp(min=1)
    percent = 100 * mean.numpy() / eye_pixels(head, fit)
    return np.where((fit.status == DETECTED).numpy(), percent, np.nan)


def eye_pixels(head: HeadModel, fit: HeadFit) -> Float[ndarray, " T"]:
    """The eye distance in pixels of the frame, a frame each."""
    family = fit.report.get("family", "mediapipe")
    if isinstance(fit.camera, WeakPerspective):
        scale = fit.camera.scale.double()
    else:
        scale = fit.camera.focal[:, 0].double() / _depth(head, fit, family)
    return eye_distance(head, family) * scale.numpy()


def eye_distance(head: HeadModel, family: str = "mediapipe") -> float:
    """Metres between the outer canthi of the mean face, by landmarks of a family; of a head that lacks these,
    one and a half times those between its eye joints.
    """
    embedding = head.landmarks.get(family)
    if embedding is not None:
        place = {int(index): row for row, index in enumerate(embedding.indices.tolist())}
        if all(canthus in place for canthus in OUTER_CANTHI[family]):
            rows = [place[canthus] for canthus in OUTER_CANTHI[family]]
            right, left = _rest(head, family, torch.tensor(rows))
            return float((right - left).norm())
    names = head.joint_names
    joints = head.joint_template
    return 1.5 * float((joints[names.index("left_eye")] - joints[names.index("right_eye")]).norm())


def _rest(head: HeadModel, family: str, rows: Tensor) -> Float[Tensor, "L 3"]:
    """Landmarks of the mean face, model axes, metres."""
    embedding = head.landmarks[family]
    corners = head.template[head.faces[embedding.faces[rows]]]  # (L, 3, 3)
    return (embedding.bary[rows][..., None] * corners).sum(1)


def _depth(head: HeadModel, fit: HeadFit, family: str) -> Float[Tensor, " T"]:
    """Of the middle of the mean face's landmarks, or of the head's origin where it has none, metres."""
    params = fit.params
    middle = torch.zeros(3)
    if family in head.landmarks:
        indices = head.landmarks[family].indices
        fitted = indices < (FACE_POINTS if family == "mediapipe" else len(indices))
        middle = _rest(head, family, torch.nonzero(fitted)[:, 0]).mean(0)
    root = head.joint_template[0] + head.joint_shape_basis[0] @ params.shape
    turned = axis_angle_to_matrix(params.rotation) @ (middle - root) + root + params.translation
    return (turned @ MODEL_TO_CAMERA.to(turned).T)[:, 2].double()
