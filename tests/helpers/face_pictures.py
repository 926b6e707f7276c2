"""Pictures with and without a face that anybody has: the astronaut, moved; blanks and noise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="mediapipe is not installed"
)


def astronaut() -> np.ndarray:
    """The public-domain portrait, (512, 512, 3) uint8, face about 100 px."""
    import skimage.data

    return skimage.data.astronaut()


def portrait() -> np.ndarray:
    """Its head and shoulders, (300, 300, 3) uint8."""
    return np.ascontiguousarray(astronaut()[0:300, 80:380])


def moved(image: np.ndarray, x: int, y: int) -> np.ndarray:
    """Shift by whole pixels, edges repeated."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) - y, 0, height - 1)
    columns = np.clip(np.arange(width) - x, 0, width - 1)
    return np.ascontiguousarray(image[rows][:, columns])


def sway(count: int, *, step: int = 3) -> list[np.ndarray]:
    """A clip in which the portrait moves right by `step` pixels a frame."""
    return [moved(portrait(), step * index, index % 2) for index in range(count)]


def blank(height: int, width: int, level: int = 127) -> np.ndarray:
    """A grey picture."""
    return np.full((height, width, 3), level, np.uint8)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Independent random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def read_photo(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8."""
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def frames_of(path: Path) -> list[np.ndarray]:
    """All frames of a clip."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
