"""What other trackers' formats leave out and headwarp adds: which head, which frames are missing, how large.

In a file of arrays under keys that begin with ``headwarp_``, which other readers pass over; in a folder as
``headwarp.json`` beside the frames. Files without them are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...geom.errors import ModelFileError
from ..params import DETECTED, MISSING, HeadFit
from ._content import Tree, parse_json
from ._source import read_limited
from ._tree import array, holds, text

SIDECAR = "headwarp.json"
PREFIX = "headwarp_"
_MOST_FRAMES = 10_000_000
_LARGEST_SIDE = 1_000_000


@dataclass(frozen=True)
class Extras:
    """Facts about a fit of T frames beside its numbers.

    Attributes:
        model_id: of the head whose coefficients they are; "" where the file does not say.
        size: (H, W) of the original frames; None where the file does not say.
        status: (T,) int8, as `HeadFit.status`.
        confidence: (T,) float32 in 0..1.
    """

    model_id: str
    size: tuple[int, int] | None
    status: np.ndarray
    confidence: np.ndarray

    @property
    def frames(self) -> int:
        return len(self.status)


def extras_of_fit(fit: HeadFit) -> Extras:
    """Those of a fit."""
    return Extras(
        fit.model_id, fit.size, fit.status.numpy().astype(np.int8), fit.confidence.numpy().astype(np.float32)
    )


def assumed(frames: int, present: np.ndarray) -> Extras:
    """Those of a file of others: what is there was detected."""
    status = np.full(frames, MISSING, np.int8)
    status[present] = DETECTED
    return Extras("", None, status, (status == DETECTED).astype(np.float32))


def as_keys(extras: Extras) -> dict[str, np.ndarray]:
    """For a file of arrays."""
    return {
        f"{PREFIX}model_id": np.array(extras.model_id),
        f"{PREFIX}size": np.array(extras.size, dtype=np.int64),
        f"{PREFIX}status": extras.status,
        f"{PREFIX}confidence": extras.confidence,
    }


def from_keys(tree: Tree, frames: int) -> Extras | None:
    """From a file of arrays; None where they are not there.

    Raises:
        ModelFileError: they are damaged, or of another number of frames.
    """
    if not holds(tree, f"{PREFIX}status"):
        return None
    content = {
        "model_id": text(tree, f"{PREFIX}model_id"),
        "size": array(tree, f"{PREFIX}size").reshape(-1).tolist(),
        "status": array(tree, f"{PREFIX}status").reshape(-1).tolist(),
        "confidence": array(tree, f"{PREFIX}confidence").reshape(-1).tolist(),
    }
    extras = from_json(content)
    if extras.frames != frames:
        raise ModelFileError(f"{PREFIX}status: expected {frames} frames, got {extras.frames}")
    return extras


def as_json(extras: Extras) -> dict[str, object]:
    """For JSON."""
    return {
        "model_id": extras.model_id,
        "size": extras.size,
        "status": extras.status.tolist(),
        "confidence": [round(float(value), 6) for value in extras.confidence],
    }


def from_json(content: object) -> Extras:
    """From what `as_json` gave.

    Raises:
        ModelFileError: damaged.
    """
    if not isinstance(content, Mapping):
        raise ModelFileError(f"headwarp: expected an object, got {type(content).__name__}")
    status, confidence = (_list(content, key) for key in ("status", "confidence"))
    size = _list(content, "size")
    if len(size) != 2 or any(not 0 < side < _LARGEST_SIDE or side != int(side) for side in size):
        raise ModelFileError(f"size: expected (H, W) in pixels, got {size[:4]}")
    if any(value not in (0, 1, 2) for value in status) or len(confidence) != len(status) or not status:
        raise ModelFileError(
            f"status: expected 0, 1 or 2 a frame with its confidence, got {status[:4]} for {len(status)} "
            f"and {len(confidence)} frames"
        )
    return Extras(
        model_id=str(content.get("model_id") or ""),
        size=(int(size[0]), int(size[1])),
        status=np.array(status, np.int8),
        confidence=np.clip(np.array(confidence, np.float32), 0, 1),
    )


def read_sidecar(folder: Path) -> Extras | None:
    """From a folder's ``headwarp.json``; None where there is none.

    Raises:
        ModelFileError: damaged.
    """
    path = folder / SIDECAR
    if not path.is_file():
        return None
    try:
        return from_json(parse_json(read_limited(path)))
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__


def _list(content: Mapping[str, object], key: str) -> list[float]:
    value = content.get(key)
    if not isinstance(value, list) or len(value) > _MOST_FRAMES:
        raise ModelFileError(f"{key}: expected a list of numbers, got {type(value).__name__}")
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not abs(v) < 1e300 for v in value):
        raise ModelFileError(f"{key}: expected a list of finite numbers")
    return value


def json_bytes(content: object) -> bytes:
    """JSON that other tools read, and people."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
