"""headwarp: animate real portraits from 3D geometry.

Names are loaded on first use (PEP 562), so that ``import headwarp`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_EXPORTS: dict[str, str] = {
    "Driving": ".geom.guidance",
    "Guidance": ".geom.guidance",
    "HeadFit": ".flame.params",
    "HeadModel": ".flame.model",
    "HeadParams": ".flame.params",
    "HeadwarpError": ".geom.errors",
    "MediaError": ".geom.errors",
    "MissingDependencyError": ".geom.errors",
    "ModelFileError": ".geom.errors",
    "Motion": ".tools.motion",
    "NoFaceError": ".geom.errors",
    "Pose": ".flame.params",
    "Retargeting": ".flame.retargeting",
    "ShapeError": ".geom.errors",
    "Source": ".geom.guidance",
    "Transfer": ".flame.driving",
    "animate": ".tools.animate",
    "codes": ".tools.posed",
    "displacement": ".tools.posed",
    "edit": ".tools.edit",
    "edit_track": ".tools.edit",
    "evaluate": ".tools.evaluate",
    "export": ".tools.export",
    "export_network": ".tools.export_network",
    "fit": ".tools.fit",
    "fit_all": ".tools.fit",
    "load_animator": ".warping.animators",
    "load_head": ".flame.io",
    "pose": ".tools.posed",
    "refine": ".tools.refine",
    "render": ".tools.render",
    "swap": ".tools.swap",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:  # the same names for editors and type checkers
    from .flame.driving import Transfer as Transfer
    from .flame.io import load_head as load_head
    from .flame.model import HeadModel as HeadModel
    from .flame.params import HeadFit as HeadFit
    from .flame.params import HeadParams as HeadParams
    from .flame.params import Pose as Pose
    from .flame.retargeting import Retargeting as Retargeting
    from .geom.errors import HeadwarpError as HeadwarpError
    from .geom.errors import MediaError as MediaError
    from .geom.errors import MissingDependencyError as MissingDependencyError
    from .geom.errors import ModelFileError as ModelFileError
    from .geom.errors import NoFaceError as NoFaceError
    from .geom.errors import ShapeError as ShapeError
    from .geom.guidance import Driving as Driving
    from .geom.guidance import Guidance as Guidance
    from .geom.guidance import Source as Source
    from .tools.animate import animate as animate
    from .tools.edit import edit as edit
    from .tools.edit import edit_track as edit_track
    from .tools.evaluate import evaluate as evaluate
    from .tools.export import export as export
    from .tools.export_network import export_network as export_network
    from .tools.fit import fit as fit
    from .tools.fit import fit_all as fit_all
    from .tools.motion import Motion as Motion
    from .tools.posed import codes as codes
    from .tools.posed import displacement as displacement
    from .tools.posed import pose as pose
    from .tools.refine import refine as refine
    from .tools.render import render as render
    from .tools.swap import swap as swap
    from .warping.animators import load_animator as load_animator


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_EXPORTS[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
