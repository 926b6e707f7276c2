"""Which clip of which person comes at which step: a pure function of seed, step and slot, so that nothing
needs to be kept to go on from a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ...geom.errors import HeadwarpError

Weight = Literal["clip", "length"]
WEIGHTS = ("clip", "length")


class ClipDraws:
    """Draws a person, then one of their clips.

    Args:
        persons: who is in each clip.
        counts: samples of each clip; one without any is never drawn.
        seed: of all draws.
        weight: each person and each clip of them as likely (``clip``), or by their samples (``length``).

    Attributes:
        persons: those with samples, sorted.

    Raises:
        HeadwarpError: a negative seed.

    Example:
        >>> draws = ClipDraws(["ann", "bob", "ann"], [3, 0, 5], seed=1)
        >>> draws.persons, draws.clip(draws.at(7, 0), 0) in (0, 2)
        (('ann',), True)
    """

    def __init__(
        self, persons: Sequence[str], counts: Sequence[int], *, seed: int, weight: Weight = "clip"
    ) -> None:
        if not 0 <= seed < 2**63:
            raise HeadwarpError(f"seed: expected 0 or more, got {seed}")
        self.seed, self.weight = seed, weight
        found: dict[str, list[int]] = {}
        for number, (person, count) in enumerate(zip(persons, counts, strict=True)):
            if count:
                found.setdefault(person, []).append(number)
        self.persons = tuple(sorted(found))
        self.of_person = [found[name] for name in self.persons]
        self._clip_ends = [np.cumsum([counts[clip] for clip in own]) for own in self.of_person]
        self._person_ends = np.cumsum([int(ends[-1]) for ends in self._clip_ends])

    def at(self, step: int, slot: int, *, stream: int = 0) -> np.random.Generator:
        """Random numbers of a place of a batch, the same whatever was drawn before.

        Args:
            step: of the training.
            slot: place in the batch.
            stream: a number that tells uses of the same place apart.
        """
        return np.random.Generator(np.random.Philox(key=[self.seed, stream], counter=[0, 0, slot, step]))

    def person(self, draw: np.random.Generator) -> int:
        """Number of a person."""
        if self.weight == "clip":
            return int(draw.integers(len(self.persons)))
        return int(np.searchsorted(self._person_ends, draw.integers(self._person_ends[-1]), side="right"))

    def clip(self, draw: np.random.Generator, person: int) -> int:
        """Number of one of a person's clips."""
        own, ends = self.of_person[person], self._clip_ends[person]
        if self.weight == "clip":
            return own[int(draw.integers(len(own)))]
        return own[int(np.searchsorted(ends, draw.integers(ends[-1]), side="right"))]


def check_share(share: tuple[float, float]) -> None:
    """Raise HeadwarpError for a part of a clip that is none."""
    start, end = share
    if not 0 <= start < end <= 1:
        raise HeadwarpError(f"share: expected START:END with 0 <= START < END <= 1, got {start}:{end}")


def check_weight(weight: str) -> None:
    """Raise HeadwarpError for a name that is not in `WEIGHTS`."""
    if weight not in WEIGHTS:
        raise HeadwarpError(f"weight: expected clip or length, got {weight!r}")
