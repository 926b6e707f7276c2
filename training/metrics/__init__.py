"""Metrics of pictures (``image``) and ``landmarks``, with their ``definitions``."""

from __future__ import annotations

from .definitions import DEFINITIONS, definitions_of, mean_over_clips
from .image import PSNR_LIMIT_DB, l1, psnr, ssim
from .landmarks import KeypointScore, akd, akd_l1, missing_face_rate, temporal_jitter, to_256

__all__ = [
    "DEFINITIONS",
    "PSNR_LIMIT_DB",
    "KeypointScore",
    "akd",
    "akd_l1",
    "definitions_of",
    "l1",
    "mean_over_clips",
    "missing_face_rate",
    "psnr",
    "ssim",
    "temporal_jitter",
    "to_256",
]
