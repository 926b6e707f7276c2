"""Heads ready to be fitted: loaded, and with face-mesh landmarks even where no file gives them."""

from __future__ import annotations

import logging
from pathlib import Path
from weakref import WeakKeyDictionary, WeakSet

from ..flame.io import load_head
from ..flame.landmarks import FACE_OVAL
from ..flame.model import HeadModel, with_landmarks
from ..flame.render_embedding import RenderedEmbedding, render_embedding
from ..geom.errors import MissingDependencyError, NoFaceError

FAMILY = "mediapipe"
_LOG = logging.getLogger("headwarp")
_MADE: dict[str, RenderedEmbedding] = {}  # by model id: it takes half a second
_READY: WeakKeyDictionary[HeadModel, HeadModel] = WeakKeyDictionary()
_DRAWN: WeakSet[HeadModel] = WeakSet()


def ready_head(head: str | Path | HeadModel | None = None) -> HeadModel:
    """A head that can be fitted: what `load_head` loads, or a loaded one.

    Where it has no face-mesh landmarks (a FLAME pickle without an embedding file), or none on the rim of the
    face (FLAME's own 105 leave out cheeks and jaw, without which a face has no width), they are found by
    drawing it (`render_embedding`), once a process for a model, which is logged. Its own stay as they are.
    Nothing is written. A head with some landmarks is returned as it is where that fails.

    Args:
        head: ``"builtin"``, a file, a loaded head; None: what ``$HEADWARP_HEAD`` names, else the built-in.

    Raises:
        ModelFileError: the file is missing, damaged or no head.
        NoFaceError: it has no landmarks, and no face is seen on it.
        MissingDependencyError: it has no landmarks, and the mediapipe detector is not installed.
    """
    model = head if isinstance(head, HeadModel) else load_head(head)
    if FAMILY in model.landmarks and set(FACE_OVAL) <= set(model.landmarks[FAMILY].indices.tolist()):
        return model
    if model not in _READY:
        try:
            _READY[model] = _completed(model)
        except (NoFaceError, MissingDependencyError):
            if not model.landmarks:  # else those of another detector may do
                raise
            return model
    return _READY[model]


def _completed(model: HeadModel) -> HeadModel:
    """The head with the landmarks that are found by drawing it, beside its own."""
    if model.model_id not in _MADE:
        _MADE[model.model_id] = render_embedding(model)
        _LOG.warning("%s", _note(model))
    made = _MADE[model.model_id]
    found = {"ibug68": made.ibug68, FAMILY: made.mediapipe}
    both = {k: v.completed_by(found[k]) if k in found else v for k, v in model.landmarks.items()}
    twin = with_landmarks(model, found | both)
    _DRAWN.add(twin)
    return twin


def head_notes(model: HeadModel) -> list[str]:
    """What a report says about a head: landmarks that were drawn, blendshapes that its folder lacked."""
    from ..flame.ict import listed, missing_modes

    notes = [_note(model)] if model in _DRAWN else []
    if missing := missing_modes(model):
        notes.append(f"head {model.model_id}: {model.version}: {listed(missing)}")
    return notes


def _lack(model: HeadModel) -> str:
    own = model.landmarks.get(FAMILY)
    few = own is not None and not own.origin.startswith("rendered")
    return "no face-mesh landmarks of the rim of the face" if few else "no face-mesh landmarks"


def _note(model: HeadModel) -> str:
    numbers = _MADE[model.model_id].numbers()
    return (
        f"head {model.model_id}: {_lack(model)} in its files; found by drawing it from "
        f"{numbers['views']} sides (a face in {numbers['views_with_face']}, spread "
        f"{numbers['spread_mm_median']:.1f} mm); `headwarp convert landmarks` keeps them in a file"
    )
