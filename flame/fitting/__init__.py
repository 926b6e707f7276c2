"""Fitting a head to landmarks: one Gauss-Newton solver for photos and clips.

`fit_landmarks` takes arrays and gives a `HeadFit`; `accept` judges whether what was fitted can be a face.
"""

from .acceptance import accept
from .clip import FitConfig, fit_landmarks
from .moving import MovingLandmarks
from .solver import SolverConfig

__all__ = ["FitConfig", "MovingLandmarks", "SolverConfig", "accept", "fit_landmarks"]
