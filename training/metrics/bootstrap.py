"""How certain a difference between two animators is: a paired bootstrap over clips and blocks of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ...geom.errors import ShapeError

__all__ = ["Difference", "paired_difference"]


@dataclass(frozen=True)
class Difference:
    """Mean difference of two animators with its interval.

    Attributes:
        mean: first less second, the mean over clips of per-clip means.
        low: lower end of the interval.
        high: upper end.
        level: share of the bootstrap's means between both, such as 0.95.
        clips: how many clips had a frame that both were scored in.
        frames: how many such frames.
    """

    mean: float
    low: float
    high: float
    level: float
    clips: int
    frames: int

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends lie on one side of 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: Sequence[Float[ndarray, " T"]],
    second: Sequence[Float[ndarray, " T"]],
    *,
    block: int = 8,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Bootstrap the mean difference of two animators that were measured on the same frames.

    Frames that stand beside each other err alike, so that drawing single frames would make the interval too
    narrow: each draw takes as many clips as there are, with replacement, and of each drawn clip blocks of
    neighbouring frames that begin anywhere (past the end they go on at the start: the circular block
    bootstrap [Politis 1992]). With one clip the frames' blocks alone are drawn, and the interval speaks of
    that clip only.

    Args:
        first: per clip, its values frame by frame, in their order; NaN where not scored.
        second: the other animator's, clip by clip and frame by frame the same.
        block: frames that are kept together; at most a clip's own.
        draws: how often.
        level: share of the drawn means that lies in the interval.
        seed: of the draws.

    Raises:
        ShapeError: clips or lengths that do not agree, no frame that both were scored in, or a setting out of
            its range.

    Example:
        >>> wave = np.sin(np.arange(200.0))
        >>> found = paired_difference([wave + 0.1], [wave])
        >>> round(found.low, 6), round(found.high, 6), found.excludes_zero
        (0.1, 0.1, True)
    """
    if not 0 < level < 1 or block < 1 or draws < 1:
        raise ShapeError(
            "bootstrap: expected a level in (0, 1), blocks and draws of 1 or more, got "
            f"{level}, {block}, {draws}"
        )
    if len(first) != len(second) or any(
        np.shape(a) != np.shape(b) for a, b in zip(first, second, strict=True)
    ):
        raise ShapeError("bootstrap: expected the same clips and frames of both, got others")
    differences = [
        np.asarray(a, np.float64) - np.asarray(b, np.float64) for a, b in zip(first, second, strict=True)
    ]
    scored = [kept for values in differences if len(kept := values[~np.isnan(values)])]
    if not scored:
        raise ShapeError("bootstrap: expected a frame that both were scored in, got none")
    generator = np.random.default_rng(seed)
    of_clips = np.stack([_block_means(values, block, draws, generator) for values in scored])  # (N, draws)
    chosen = generator.integers(0, len(scored), of_clips.shape)
    # a clip that is drawn twice has frames of its own each time: the n-th place looks n draws further
    column = (np.arange(draws)[None] + np.arange(len(scored))[:, None]) % draws
    means = of_clips[chosen, column].mean(0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = float(np.mean([values.mean() for values in scored]))
    return Difference(mean, float(low), float(high), level, len(scored), sum(map(len, scored)))


def _block_means(
    values: Float[ndarray, " T"], block: int, draws: int, generator: np.random.Generator
) -> Float[ndarray, " draws"]:
    """Means of a clip drawn anew from circular blocks; as many frames as it has, the last block cut."""
    length = len(values)
    block = min(block, length)
    count, rest = divmod(length, block)
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values]))])
    starts = generator.integers(0, length, (count, draws))
    total = (sums[starts + block] - sums[starts]).sum(0)
    if rest:
        last = generator.integers(0, length, draws)
        total = total + sums[last + rest] - sums[last]
    return total / length
