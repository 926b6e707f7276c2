"""Cuts and jumps in clips whose cuts are known."""

from __future__ import annotations

import numpy as np
import pytest
from media_files import moving_frames, picture

from headwarp.training.data.crops.shots import ShotWatcher, shot_cuts, thumbnail


def cuts_of(frames: list[np.ndarray]) -> list[int]:
    watcher = ShotWatcher()
    for frame in frames:
        watcher.step(frame)
    return shot_cuts(watcher.changes)


def noisy(frame: np.ndarray, seed: int, *, light: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (frame.astype(int) + rng.integers(-4, 5, frame.shape) + light).clip(0, 255).astype(np.uint8)


def test_another_scene() -> None:
    first, second = picture(seed=0), picture(seed=5)
    frames = [noisy(first, i) for i in range(12)] + [noisy(second, i) for i in range(12)]
    assert cuts_of(frames) == [12]
    assert cuts_of(frames[:12]) == []


def test_a_jump_within_the_scene() -> None:
    frames = moving_frames(80)
    assert cuts_of(frames) == []
    assert cuts_of(frames[:30] + frames[42:]) == [30]


def test_a_flash_is_no_cut() -> None:
    frames = [noisy(picture() // 2, i, light=90 if i == 10 else 0) for i in range(24)]
    assert cuts_of(frames) == []


def test_a_slide_show_has_as_many_shots_as_slides() -> None:
    frames = [picture(seed=seed) for seed in (0, 5, 9) for _ in range(6)]
    assert cuts_of(frames) == [6, 12]


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 900, 3), (1080, 16, 3)])
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    small = thumbnail(np.full(shape, 100, np.uint8))
    assert small.shape == (32, 32)
    assert np.abs(small).max() == 0
    assert cuts_of([np.full(shape, 100, np.uint8)] * 3) == []
