"""Which pairs are measured, and how: the options of `--pairs`, and what was found of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...geom.errors import HeadwarpError
from ...training.data.pair_lists import ListedPair, Pair, find_pairs, read_pairs
from ...warping.animators import Animator


@dataclass(frozen=True)
class PairOptions:
    """How a list of pairs is measured; see `tools.evaluate.Evaluate`."""

    pairs: Path
    root: Path | None = None
    relative: bool = False
    absolute: bool = False
    same_person: bool = False
    per_pair: int = 24
    size: int = 256
    still_camera: bool = False

    def __post_init__(self) -> None:
        if self.per_pair < 1:
            raise HeadwarpError(f"--per-pair: expected 1 or more, got {self.per_pair}")
        if self.size < 16:
            raise HeadwarpError(f"--size: expected 16 pixels or more, got {self.size}")
        if self.same_person and (self.relative or self.absolute):
            raise HeadwarpError(
                "--same-person: the driving frame is the truth; leave out --relative and --absolute"
            )

    @property
    def modes(self) -> Mapping[str, bool | None]:
        """What is added to the animators' names -> relative motion; None: but for drivers of one frame."""
        if self.relative and self.absolute:
            return {" relative": True, " absolute": False}
        return {"": True if self.relative else False if self.absolute else None}

    @property
    def motion(self) -> str:
        """The modes in words, for the report."""
        if self.same_person:
            return "the same person's"
        words = {True: "relative", False: "absolute", None: "relative, absolute for drivers of one frame"}
        return " and ".join(words[mode] for mode in self.modes.values())


@dataclass(frozen=True)
class ListFacts:
    """What a list held and what was found of it.

    Attributes:
        listed: rows of the list.
        pairs: those whose files are there, by name.
        missing: entries without a file.
        root: where they were sought.
    """

    listed: Sequence[ListedPair]
    pairs: Mapping[str, Pair]
    missing: Sequence[str]
    root: Path

    def protocol(self) -> dict[str, Any]:
        """Counts for the report."""
        return {"listed": len(self.listed), "found": len(self.pairs), "files_missing": len(self.missing)}

    def failed(self) -> dict[str, str]:
        """One entry for all that is not on the disk."""
        lost = len(self.listed) - len(self.pairs)
        if not lost:
            return {}
        some = ", ".join(self.missing[:3]) + (" .." if len(self.missing) > 3 else "")
        return {"pairs": f"{lost} of {len(self.listed)} pairs: no file under {self.root} for {some}"}


def open_list(options: PairOptions) -> ListFacts:
    """Read a list and find its files.

    Raises:
        HeadwarpError: the list makes no sense, or none of its pairs is there.
    """
    listed = read_pairs(options.pairs)
    root = options.root or options.pairs.absolute().parent
    pairs, missing = find_pairs(listed, root)
    if not pairs:
        raise HeadwarpError(
            f"--pairs {options.pairs}: found none of its {len(listed)} pairs under {root}; sought, for one, "
            f"{missing[0]}; name the folder with --root"
        )
    return ListFacts(listed, _by_name(pairs), missing, root)


def _by_name(pairs: Sequence[Pair]) -> dict[str, Pair]:
    named: dict[str, Pair] = {}
    for pair in pairs:
        name, number = pair.name, 2
        while name in named:
            name, number = f"{pair.name} {number}", number + 1
        named[name] = pair
    return named


def labels(options: PairOptions, animators: Mapping[str, Animator]) -> list[str]:
    """The animators' names in a report of pairs, in the order of the sheet's columns."""
    return [
        name + suffix * bool(animator.needs_driving)
        for number, suffix in enumerate(options.modes)
        for name, animator in animators.items()
        if animator.needs_driving or not number
    ]
