"""Fitting a head to landmarks: one Gauss-Newton solver for photos and clips.

`fit_landmarks` takes arrays and gives a `HeadFit`; `accept` judges whether what was fitted can be a face.
"""

from .acceptance import accept
from .clip import fit_landmarks
from .config import FitConfig
from .moving import MovingLandmarks
from .solver import SolverConfig
from .stream import StreamFitter
from .views import fit_views

__all__ = [
    "FitConfig",
    "MovingLandmarks",
    "SolverConfig",
    "StreamFitter",
    "accept",
    "fit_landmarks",
    "fit_views",
]
