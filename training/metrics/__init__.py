"""Metrics of pictures, faces, heads and motion, with their ``definitions``.

``image``, ``multiscale``, ``lpips``: pictures against the truth. ``frechet``: sets of pictures.
``landmarks``, ``steadiness``: points. ``identity``: embeddings of faces. ``head``: fitted heads.
``motion``: flows. ``bootstrap``: how certain a difference is.
"""

from __future__ import annotations

from .bootstrap import Difference, paired_difference
from .definitions import DEFINITIONS, HIGHER_IS_BETTER, definition_id, definitions_of, mean_over_clips
from .frechet import FeatureStatistics, feature_statistics, frechet_distance
from .head import aed_exp_l1, apd, aucon, aucon_active, prmse, unit_activations
from .identity import aed_id, aed_id_sq, aligned_faces, csim
from .image import PSNR_LIMIT_DB, l1, psnr, ssim
from .landmarks import (
    KeypointScore,
    akd,
    akd_l1,
    missing_face_rate,
    missing_keypoint_rate,
    temporal_jitter,
    to_256,
)
from .lpips import Lpips
from .motion import flow_epe, visibility_iou
from .multiscale import ms_ssim

__all__ = [
    "DEFINITIONS",
    "HIGHER_IS_BETTER",
    "PSNR_LIMIT_DB",
    "Difference",
    "FeatureStatistics",
    "KeypointScore",
    "Lpips",
    "aed_exp_l1",
    "aed_id",
    "aed_id_sq",
    "akd",
    "akd_l1",
    "aligned_faces",
    "apd",
    "aucon",
    "aucon_active",
    "csim",
    "definition_id",
    "definitions_of",
    "feature_statistics",
    "flow_epe",
    "frechet_distance",
    "l1",
    "mean_over_clips",
    "missing_face_rate",
    "missing_keypoint_rate",
    "ms_ssim",
    "paired_difference",
    "prmse",
    "psnr",
    "ssim",
    "temporal_jitter",
    "to_256",
    "unit_activations",
    "visibility_iou",
]
