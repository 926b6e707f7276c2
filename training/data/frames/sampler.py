"""Which frames of which clip come at which step: a pure function of seed, step and slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ....geom.errors import HeadwarpError
from ..draws import ClipDraws, Weight, check_share, check_weight
from ..pairs.sampler import ClipPairs, Mode, PairConfig, Timed, clip_pairs
from ..shares import frames_of_share
from .index import FrameIndex

Order = Literal["random", "time", "first"]
ORDERS = ("random", "time", "first")
PAIR, TRIPLET, MOST = 2, 3, 9
_DRAWS = 1000  # of the others, for every target


@dataclass(frozen=True)
class FrameConfig:
    """How samples are drawn.

    Attributes:
        count: frames of a sample: two, source and driving; three, the previous, the target and the next; or
            another odd number up to 9, a target in the middle of others that are drawn about it.
        order: of two: ``random``, either may be the source; ``time``, the earlier one is ([FOMM]'s loader);
            ``first``, the clip's first frame is, as `headwarp evaluate --clips` has it.
        replacement: the two may be one and the same frame, as in [FOMM]'s loader.
        min_gap: least distance of two in frames of the clip.
        step: distance of three, from one to the next, in frames of the clip; of more, the least distance
            from the target.
        most_step: largest such distance; every one from ``step`` on is drawn. None: of three ``step`` alone,
            of more any.
        share: part of every clip that frames are taken from, START and END in 0..1, counted as by `evaluate
            --frames`; with the order ``first`` the source may lie before it.
        identity: draw a person and then one of their clips ([FOMM]'s ``id_sampling``); else a clip at once.
        weight: clips (and persons) as likely each (``clip``), or by their samples (``length``).
    """

    count: int = PAIR
    order: Order = "random"
    replacement: bool = False
    min_gap: int = 1
    step: int = 1
    most_step: int | None = None
    share: tuple[float, float] = (0.0, 1.0)
    identity: bool = True
    weight: Weight = "clip"

    def __post_init__(self) -> None:
        check_weight(self.weight)
        check_share(self.share)
        if self.order not in ORDERS:
            raise HeadwarpError(f"order: expected one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.count != PAIR and not (TRIPLET <= self.count <= MOST and self.count % 2):
            raise HeadwarpError(
                f"count: expected 2 frames or an odd number from 3 to {MOST}, got {self.count}"
            )
        if self.min_gap < 1 or self.step < 1:
            raise HeadwarpError(
                f"frames: expected min_gap >= 1 and step >= 1, got {self.min_gap} and {self.step}"
            )
        if self.most_step is not None and self.most_step < self.step:
            raise HeadwarpError(
                f"frames: most_step: expected at least step {self.step}, got {self.most_step}"
            )
        if self.replacement and (self.count != PAIR or self.order == "first" or self.min_gap > 1):
            raise HeadwarpError(
                "replacement: belongs to two frames in random order or that of time, min_gap 1; leave it out"
            )


@dataclass(frozen=True)
class FrameSample:
    """Frames of one pack by its number and their positions in it."""

    pack: int
    positions: tuple[int, ...]


class Samples(Protocol):
    """The samples of one clip, numbered."""

    @property
    def count(self) -> int:
        """How many."""

    def pick(self, number: int) -> tuple[int, ...]:
        """Positions in the pack."""


class FrameSampler:
    """Draws frames of one clip.

    Args:
        clips: indices of the packs, in the order of the packs.
        seed: of all draws.
        config: see `FrameConfig`.

    Attributes:
        left_out: names of clips without a sample.

    Raises:
        HeadwarpError: no clip has a sample as asked for, or a negative seed.

    Example:
        >>> clip = FrameIndex(64, "raw", "ann", "walk", "walk.mp4", (0, 1, 2, 3), 4)
        >>> FrameSampler([clip], config=FrameConfig(count=3)).sample(7, 0).positions in ((0, 1, 2), (1, 2, 3))
        True
    """

    def __init__(
        self, clips: Sequence[FrameIndex], *, seed: int = 0, config: FrameConfig | None = None
    ) -> None:
        self.config = config or FrameConfig()
        self._clips = [clip_samples(clip, self.config) for clip in clips]
        persons = [clip.person if self.config.identity else clip.clip for clip in clips]
        counts = [own.count for own in self._clips]
        self._draws = ClipDraws(persons, counts, seed=seed, weight=self.config.weight)
        self.left_out = tuple(clip.clip for clip, count in zip(clips, counts, strict=True) if not count)
        self.samples = sum(counts)
        if not self.samples:
            raise HeadwarpError(
                f"frames: expected a clip {self._wanted()}, got none of {len(clips)}; give longer clips, or "
                "frames nearer to each other"
            )

    def sample(self, step: int, slot: int) -> FrameSample:
        """The sample at a place of a batch; ``slot`` counts over all processes."""
        draw = self.draw(step, slot)
        clip = self._draws.clip(draw, self._draws.person(draw))
        positions = self._clips[clip].pick(int(draw.integers(self._clips[clip].count)))
        swapped = self.config.order == "random" and self.config.count == PAIR and bool(draw.integers(2))
        return FrameSample(clip, positions[::-1] if swapped else positions)

    def draw(self, step: int, slot: int, *, stream: int = 0) -> np.random.Generator:
        """Random numbers of a place of a batch, the same whatever was drawn before.

        Args:
            step: of the training.
            slot: place in the batch.
            stream: a number that tells uses of the same place apart.
        """
        return self._draws.at(step, slot, stream=stream)

    def _wanted(self) -> str:
        config = self.config
        part = f"in its part {config.share[0]}:{config.share[1]}"
        if config.count == TRIPLET:
            return f"with three frames {config.step} apart {part}"
        if config.count > TRIPLET:
            most = "" if config.most_step is None else f" and at most {config.most_step}"
            return f"with two frames at least {config.step}{most} apart {part}"
        return (
            f"with a frame {part}"
            if config.replacement
            else f"with two at least {config.min_gap} apart {part}"
        )


@dataclass(frozen=True)
class _Pairs:
    """Two different frames, the earlier one first."""

    pairs: ClipPairs

    @property
    def count(self) -> int:
        return self.pairs.count

    def pick(self, number: int) -> tuple[int, ...]:
        return self.pairs.pair(number)


@dataclass(frozen=True)
class _Replaced:
    """Two frames drawn one after the other, the earlier one first: the same one once in as many."""

    positions: NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.positions) ** 2

    def pick(self, number: int) -> tuple[int, ...]:
        return tuple(int(self.positions[place]) for place in sorted(divmod(number, len(self.positions))))


@dataclass(frozen=True)
class _Triplets:
    """Rows of three positions."""

    rows: NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.rows)

    def pick(self, number: int) -> tuple[int, ...]:
        return tuple(int(place) for place in self.rows[number])


@dataclass(frozen=True)
class _About:
    """A target in the middle of others whose frames are ``step`` to ``most`` from its own, each `_DRAWS`
    times; where they are few they are drawn again and again.

    Who is near is found when it is asked for: kept for all, it would grow with the square of a clip's length.
    """

    positions: NDArray[np.int64]
    frames: NDArray[np.int64]
    targets: NDArray[np.int64]
    step: int
    most: int
    others: int

    @property
    def count(self) -> int:
        return len(self.targets) * _DRAWS

    def pick(self, number: int) -> tuple[int, ...]:
        own = self.targets[number // _DRAWS]
        apart = np.abs(self.frames - self.frames[own])
        near = self.positions[(apart >= self.step) & (apart <= self.most)]
        draw = np.random.default_rng(number)
        chosen = draw.choice(near, self.others, replace=len(near) < self.others).tolist()
        return (*chosen[: self.others // 2], int(self.positions[own]), *chosen[self.others // 2 :])


def clip_samples(clip: Timed, config: FrameConfig) -> Samples:
    """The samples of a clip that the config allows, two frames in order of time."""
    if config.count == PAIR and not config.replacement:
        mode: Mode = (
            "first" if config.order == "first" else "official"
        )  # in order of time, swapped afterwards
        return _Pairs(clip_pairs(clip, PairConfig(mode, config.min_gap, config.share)))
    numbers, part = np.asarray(clip.frames), frames_of_share(config.share, clip.clip_frames)
    inside = np.flatnonzero((numbers >= part.start) & (numbers < part.stop))
    if config.count == PAIR:
        return _Replaced(inside)
    if config.count > TRIPLET:
        return _about(inside, numbers[inside], config)
    most = config.step if config.most_step is None else config.most_step
    return _Triplets(
        np.concatenate([inside[_triplets(numbers[inside], step)] for step in range(config.step, most + 1)])
    )


def _about(positions: NDArray[np.int64], frames: NDArray[np.int64], config: FrameConfig) -> _About:
    """Those without others near enough are no targets."""
    step = config.step
    most = config.most_step if config.most_step is not None else int(np.ptp(frames)) if len(frames) else 0
    before, after = (
        np.searchsorted(frames, frames + last, side="right") - np.searchsorted(frames, frames + first)
        for first, last in ((-most, -step), (step, most))
    )
    targets = np.flatnonzero((before > 0) | (after > 0))
    return _About(positions, frames, targets, step, most, config.count - 1)


def _triplets(numbers: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Places of three frames whose numbers are ``step`` apart, ``(n, 3)``."""
    wanted = numbers[:, None] + step * np.arange(TRIPLET)
    found = np.searchsorted(numbers, wanted).clip(max=max(len(numbers) - 1, 0))
    if not len(numbers):
        return found
    return found[(numbers[found] == wanted).all(1)]
