"""Frames in step with time: which frame of each input belongs to a frame of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np

from ..training.data.media import exact_fps

Item = TypeVar("Item")
Indices = Sequence[int]


def in_step(count: int, own: Fraction | float, rate: Fraction | float) -> list[int]:
    """The frame of an input that is seen at each frame of a result of another rate, to the input's end.

    Args:
        count: frames of the input.
        own, rate: frames per second of the input and of the result.

    Example:
        >>> in_step(4, 25, 25), in_step(4, 25, 50), in_step(5, 25, 10)
        ([0, 1, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3], [0, 2])
    """
    step = exact_fps(own) / exact_fps(rate)
    total = -(-count * step.denominator // step.numerator)
    return (np.arange(total, dtype=object) * step.numerator // step.denominator).tolist()


def together(inputs: Sequence[Indices], *, loop: bool, length: int | None = None) -> list[list[int]]:
    """Inputs cut to the shortest; or, looped, begun again until the longest ends.

    Args:
        inputs: of each, its frame at every frame of the result.
        loop: begin again.
        length: of the result where it is looped.

    Example:
        >>> together([[0, 1, 2], [0, 1]], loop=False), together([[0, 1, 2], [0, 1]], loop=True)
        ([[0, 1], [0, 1]], [[0, 1, 2], [0, 1, 0]])
    """
    lengths = [len(each) for each in inputs]
    total = (length or max(lengths)) if loop else min(lengths)
    return [[each[k % len(each)] for k in range(total)] for each in inputs]


def picked(make: Callable[[], Iterator[Item]], indices: Indices) -> Iterator[Item]:
    """Items of an iterator by rising number, one or none or several times; begun anew where numbers fall."""
    at, items, item = -1, iter(make()), None
    for index in indices:
        if index < at:
            at, items = -1, iter(make())
        while at < index:
            item = next(items, None)
            at += 1
        if item is None:
            return
        yield item
