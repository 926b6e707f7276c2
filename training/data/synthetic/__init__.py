"""People that nobody is: heads with hair, clothes, light and background, and everything about them known.

`synthesise` makes a clip from a `Recipe`; `SyntheticClip.picture` draws a frame, `SyntheticClip.view` gives
its posed meshes, `true_flow` the exact flow between two of them, `true_fit` what a fit would have to find.
"""

from __future__ import annotations

from .clip import Recipe, SyntheticClip, synthesise, true_fit
from .files import TruthFile, clip_name, load_clip, load_truth, write_clip
from .parts import Material
from .truth import TrueFlow, Truth, View, true_flow, truth_of, visible_vertices

__all__ = [
    "Material",
    "Recipe",
    "SyntheticClip",
    "TrueFlow",
    "Truth",
    "TruthFile",
    "View",
    "clip_name",
    "load_clip",
    "load_truth",
    "synthesise",
    "true_fit",
    "true_flow",
    "truth_of",
    "visible_vertices",
    "write_clip",
]
