"""Tables that a process makes of a head once, where commands that follow each other would make them anew.

A command is a process of its own for a user; a test runs twenty in one, and these functions, whose results
depend on their arguments alone, would take half of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest
import torch

from headwarp.flame import io, residual
from headwarp.flame.detect import rendered_regions

_KEPT: dict[Hashable, Any] = {}


def remember(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in head, the field of its landmarks' residuals and its parts are made once a process."""
    for module, name, key in (
        (io, "_load_builtin", lambda embeddings, dtype: None if embeddings else dtype),
        (residual, "residual_field", _field_key),
        (rendered_regions, "face_parts", id),
    ):
        monkeypatch.setattr(module, name, _remembering(getattr(module, name), name, key))


def _field_key(model, indices: torch.Tensor, family: str = "mediapipe", *, moving=()) -> Hashable:
    return id(model), tuple(indices.tolist()), family, tuple(moving)


def _remembering(make: Callable[..., Any], name: str, key: Callable[..., Hashable]) -> Callable[..., Any]:
    def made(*given: Any, **named: Any) -> Any:
        about = key(*given, **named)
        if about is None:
            return make(*given, **named)
        if (name, about) not in _KEPT:
            _KEPT[name, about] = (
                make(*given, **named),
                given,
            )  # what is asked about lives as long as the answer
        return _KEPT[name, about][0]

    return made
