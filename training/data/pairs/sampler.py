"""Which pair of frames comes at which step: a pure function of seed, step and slot, so that nothing needs to
be kept to go on from a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ....geom.errors import HeadwarpError
from ..draws import ClipDraws, Weight, check_share, check_weight
from ..shares import frames_of_share
from .index import PackIndex

Mode = Literal["random", "first", "official"]
MODES = ("random", "first", "official")


@dataclass(frozen=True)
class PairConfig:
    """How pairs are drawn.

    Attributes:
        mode: ``random``: two frames of a clip of a person, in either order. ``official``: in order of time
            ([FOMM]'s loader, which the public code of [PWM] uses). ``first``: the source is the first usable
            frame of the clip, as `headwarp evaluate --clips` has it.
        min_gap: least distance of the two in frames of the clip.
        share: part of every clip that pairs are taken from, START and END in 0..1, counted as by `evaluate
            --frames`; in the mode ``first`` the source may lie before it.
        weight: after the person, one of its clips: each as likely (``clip``), or by its pairs (``length``).
            ``length`` weighs persons by their pairs too.
        across: how many of the pairs take the driving frame from another clip of the person, 0..1, where
            the heads of both frames are about as large and in the same place.
        pool: draw from this many fixed pairs a clip, so that what is kept of a pair is met again; 0: all.
    """

    mode: Mode = "random"
    min_gap: int = 1
    share: tuple[float, float] = (0.0, 1.0)
    weight: Weight = "clip"
    across: float = 0.0
    pool: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise HeadwarpError(f"mode: expected one of {', '.join(MODES)}, got {self.mode!r}")
        check_weight(self.weight)
        check_share(self.share)
        if self.min_gap < 1 or self.pool < 0 or not 0 <= self.across <= 1:
            raise HeadwarpError(
                f"pairs: expected min_gap >= 1, pool >= 0 and 0 <= across <= 1, got {self.min_gap}, "
                f"{self.pool} and {self.across}"
            )


class Timed(Protocol):
    """What an index says of time: see `PackIndex`."""

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of the frames that are there."""

    @property
    def clip_frames(self) -> int:
        """How many the clip has."""


@dataclass(frozen=True)
class PairIndex:
    """Two frames by the numbers of their packs and their positions in them."""

    source_pack: int
    source: int
    driving_pack: int
    driving: int


@dataclass(frozen=True)
class ClipPairs:
    """The pairs of one clip, numbered: by their first frame, then by the second, counted from the end.

    Attributes:
        positions: in the pack, of the frames that pairs are taken from.
        ends: running sum of how many partners each of them has.
    """

    positions: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def pair(self, number: int) -> tuple[int, int]:
        """Positions in the pack, the earlier one first."""
        first = int(np.searchsorted(self.ends, number, side="right"))
        from_end = number - (int(self.ends[first - 1]) if first else 0)
        return int(self.positions[first]), int(self.positions[len(self.positions) - 1 - from_end])


class PairSampler:
    """Draws pairs of frames of one person.

    Args:
        clips: indices of the packs, in the order of the packs.
        seed: of all draws.
        config: see `PairConfig`.

    Raises:
        HeadwarpError: no clip has a pair as asked for, or a negative seed.

    Example:
        >>> from headwarp.geom.crops import Crop
        >>> still = {"scale": (1.0,) * 3, "centre": ((0.0, 0.0),) * 3, "window": Crop(0, 0, 64)}
        >>> clip = PackIndex("m", 64, "raw", "ann", "walk", "walk.mp4", (0, 5, 9), 12, **still)
        >>> sampler = PairSampler([clip], seed=3)
        >>> sampler.pair(1000, 0) == PairSampler([clip], seed=3).pair(1000, 0)
        True
    """

    def __init__(
        self, clips: Sequence[PackIndex], *, seed: int = 0, config: PairConfig | None = None
    ) -> None:
        self.config = config or PairConfig()
        self._clips = [clip_pairs(clip, self.config) for clip in clips]
        persons, counts = [clip.person for clip in clips], [own.count for own in self._clips]
        self._draws = ClipDraws(persons, counts, seed=seed, weight=self.config.weight)
        self.seed, self.persons = seed, self._draws.persons
        self.left_out = tuple(clip.clip for clip, count in zip(clips, counts, strict=True) if not count)
        if not self.persons:
            raise HeadwarpError(
                f"pairs: expected a clip with two usable frames at least {self.config.min_gap} apart in its "
                f"part {self.config.share[0]}:{self.config.share[1]}, got none of {len(clips)}"
            )
        across = self.config.across
        self._across = _Across(clips, self._clips, self._draws.of_person) if across else None

    @property
    def pairs(self) -> int:
        """How many different pairs within clips there are (of the pool, if there is one)."""
        counts = [clip.count for clip in self._clips]
        pool = self.config.pool
        return sum(min(pool, count) for count in counts) if pool else sum(counts)

    def pair(self, step: int, slot: int) -> PairIndex:
        """The pair at a place of a batch; ``slot`` counts over all processes."""
        draw = self.draw(step, slot)
        person = self._draws.person(draw)
        clip = self._draws.clip(draw, person)
        earlier, later = self._clips[clip].pair(self._pair_number(draw, clip))
        swapped = self.config.mode == "random" and bool(draw.integers(2))
        first, second = (later, earlier) if swapped else (earlier, later)
        if self._across is not None and draw.random() < self.config.across:
            other = self._across.partner(draw, person, clip, first)
            if other is not None:
                return PairIndex(clip, first, *other)
        return PairIndex(clip, first, clip, second)

    def draw(self, step: int, slot: int, *, stream: int = 0) -> np.random.Generator:
        """Random numbers of a place of a batch, the same whatever was drawn before.

        Args:
            step: of the training.
            slot: place in the batch.
            stream: a number that tells uses of the same place apart.
        """
        return self._draws.at(step, slot, stream=stream)

    def _pair_number(self, draw: np.random.Generator, clip: int) -> int:
        count, pool = self._clips[clip].count, self.config.pool
        if not pool or pool >= count:
            return int(draw.integers(count))
        # the pool: evenly spread numbers, shuffled by a step that shares no divisor with the count
        stride = _coprime(count)
        start = int(self.draw(0, clip, stream=1).integers(count))
        return (start + stride * int(draw.integers(pool))) % count


def _coprime(count: int) -> int:
    """A number near the golden share of ``count`` without a common divisor: multiples of it spread evenly."""
    number = max(1, round(count * 0.6180339887))
    while math.gcd(number, count) != 1:
        number += 1
    return number


def clip_pairs(clip: Timed, config: PairConfig) -> ClipPairs:
    """The pairs of a clip that ``mode``, ``min_gap`` and ``share`` allow."""
    numbers = np.asarray(clip.frames)
    part = frames_of_share(config.share, clip.clip_frames)
    inside = np.flatnonzero((numbers >= part.start) & (numbers < part.stop))
    if config.mode == "first":
        driven = inside[numbers[inside] >= numbers[0] + config.min_gap]
        positions = np.concatenate([[0], driven]).astype(np.int64)
        return ClipPairs(positions, np.asarray([len(driven)], np.int64))
    later = len(inside) - np.searchsorted(numbers[inside], numbers[inside] + config.min_gap)
    return ClipPairs(inside, np.cumsum(later))


class _Across:
    """Partners in other clips of a person: heads as large within a fifth, and within a tenth of the frame."""

    def __init__(
        self, clips: Sequence[PackIndex], pairs: Sequence[ClipPairs], persons: Sequence[Sequence[int]]
    ) -> None:
        self._clips, self._pairs, self._persons = clips, pairs, persons

    def partner(
        self, draw: np.random.Generator, person: int, clip: int, source: int
    ) -> tuple[int, int] | None:
        """Pack and position of a driving frame; None where no other clip has one."""
        others = [other for other in self._persons[person] if other != clip]
        if not others:
            return None
        other = others[int(draw.integers(len(others)))]
        here, there = self._clips[clip], self._clips[other]
        positions = self._pairs[other].positions
        scale = np.asarray(there.scale)[positions] / here.scale[source]
        away = np.asarray(there.centre)[positions] - np.asarray(here.centre[source])
        near = (np.abs(np.log(scale)) < math.log(1.2)) & (np.hypot(*away.T) < 0.1 * here.size)
        fitting = positions[near]
        return (other, int(fitting[int(draw.integers(len(fitting)))])) if len(fitting) else None
