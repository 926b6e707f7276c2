"""Another project's keys brought to ours by an ordered table of renames, and a report on every one of them.

Strict: a key is loaded, or dropped with a reason that is written down, or it is an error. Nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...geom.errors import ModelFileError

_SHOWN = 20


@dataclass(frozen=True)
class Rename:
    """One step of a key's way: where the pattern is found, it is replaced (`re.sub`)."""

    pattern: str
    replacement: str


SPECTRAL_NORM = (
    Rename(r"\.weight_orig$", ".parametrizations.weight.original"),
    Rename(r"\.weight_u$", ".parametrizations.weight.0._u"),
    Rename(r"\.weight_v$", ".parametrizations.weight.0._v"),
)
"""Renames from torch's old spectral norm to its parametrisation. ``weight_v`` matters: in evaluation the
largest singular value is computed from both vectors."""

COUNTERS = "num_batches_tracked"
"""Ends the names of what batch norms count, which very old files lack; it changes no picture."""


@dataclass(frozen=True)
class Drop:
    """Keys that stay out on purpose, before any rename.

    Attributes:
        pattern: matches the whole key.
        reason: for the report.
    """

    pattern: str
    reason: str


@dataclass(frozen=True)
class KeyReport:
    """What became of every key.

    Attributes:
        loaded: (key in the file, our key), in the file's order.
        missing: our keys that the file does not give.
        unexpected: keys in the file that nothing of ours takes.
        mismatched: (key in the file, shape or type expected, got).
        dropped: (key in the file, reason).
        supplied: our keys that a file may lack, with the value of a new network.
    """

    loaded: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, str, str], ...]
    dropped: tuple[tuple[str, str], ...]
    supplied: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Every key of ours has its tensor, and every key of the file is accounted for."""
        return not (self.missing or self.unexpected or self.mismatched)

    def table(self) -> str:
        """The counts by the first part of the name, the drops with their reasons, then every key amiss.

        Example:
            >>> print(KeyReport((("a.b", "a.b"),), ("a.c",), (), (), ()).table())
            loaded 1, missing 1, unexpected 0, of another shape 0, dropped 0
              loaded a: 1
              missing a.c
        """
        counts = (self.loaded, self.missing, self.unexpected, self.mismatched, self.dropped)
        names = ("loaded", "missing", "unexpected", "of another shape", "dropped")
        lines = [", ".join(f"{name} {len(keys)}" for name, keys in zip(names, counts, strict=True))]
        lines += _grouped("loaded", (key for key, _ in self.loaded))
        for reason in dict.fromkeys(reason for _, reason in self.dropped):
            lines += _grouped("dropped", (key for key, why in self.dropped if why == reason), f" ({reason})")
        lines += _grouped("not in the file, as new", self.supplied)
        lines += _listed("missing", self.missing)
        lines += _listed("unexpected", self.unexpected)
        lines += _listed(
            "of another shape",
            [f"{key}: expected {wanted}, got {got}" for key, wanted, got in self.mismatched],
        )
        return "\n".join(lines)


def joined(*reports: KeyReport) -> KeyReport:
    """One report of several.

    Example:
        >>> report = KeyReport((("w", "w"),), (), ("x",), (), ())
        >>> joined(prefixed(report, file="a.pth: "), report).unexpected
        ('a.pth: x', 'x')
    """
    return KeyReport(
        loaded=tuple(entry for report in reports for entry in report.loaded),
        missing=tuple(entry for report in reports for entry in report.missing),
        unexpected=tuple(entry for report in reports for entry in report.unexpected),
        mismatched=tuple(entry for report in reports for entry in report.mismatched),
        dropped=tuple(entry for report in reports for entry in report.dropped),
        supplied=tuple(entry for report in reports for entry in report.supplied),
    )


def beside(content: Mapping[str, Any], parts: Collection[str], *, left_out: Mapping[str, str]) -> KeyReport:
    """What became of a file's entries that are none of its networks.

    Args:
        content: of the file.
        parts: names of the networks.
        left_out: what is dropped, and why; anything else is unexpected.
    """
    rest = [key for key in content if key not in parts]
    return KeyReport(
        loaded=(),
        missing=(),
        unexpected=tuple(key for key in rest if key not in left_out),
        mismatched=(),
        dropped=tuple((key, left_out[key]) for key in rest if key in left_out),
    )


def prefixed(report: KeyReport, *, file: str = "", own: str = "") -> KeyReport:
    """The report of a part: the file's keys, and ours, with what stands before them in the whole.

    Args:
        report: of the part.
        file: prefix of the file's keys.
        own: prefix of ours.
    """
    return KeyReport(
        loaded=tuple((file + key, own + ours) for key, ours in report.loaded),
        missing=tuple(own + ours for ours in report.missing),
        unexpected=tuple(file + key for key in report.unexpected),
        mismatched=tuple((file + key, wanted, got) for key, wanted, got in report.mismatched),
        dropped=tuple((file + key, reason) for key, reason in report.dropped),
        supplied=tuple(own + ours for ours in report.supplied),
    )


def without_module(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the names without data parallelism's leading ``module.``, if every key has it."""
    prefix = module_prefix(tensors)
    return {key.removeprefix(prefix): value for key, value in tensors.items()}


def module_prefix(keys: Iterable[str]) -> str:
    """``module.`` if all of some keys begin so, and nothing otherwise."""
    kept = list(keys)
    return "module." if kept and all(key.startswith("module.") for key in kept) else ""


def match_keys(
    tensors: Mapping[str, Any],
    expected: Mapping[str, Tensor],
    *,
    renames: Sequence[Rename] = (),
    drops: Sequence[Drop] = (),
    optional: str | None = None,
) -> tuple[KeyReport, dict[str, Tensor]]:
    """Bring a file's tensors to our keys.

    A leading ``module.``, which data parallelism adds, is taken off every tensor's key if each has it; inside
    a name it stays.

    Args:
        tensors: of the file; what is no tensor is dropped or unexpected.
        expected: ours, for names, shapes and types; tensors of device ``meta`` will do.
        renames: applied one after the other to every key that is not dropped.
        drops: keys to leave out, by the name without ``module.``.
        optional: ends keys of ours that a file may lack, such as `COUNTERS`; they are 0 then.

    Returns:
        The report, and the tensors that were loaded by our keys, in the types of ``expected``.

    Raises:
        ModelFileError: two keys of the file become one of ours.
    """
    loaded, taken = [], {}
    unexpected, mismatched, dropped = [], [], []
    prefix = module_prefix(key for key, value in tensors.items() if isinstance(value, Tensor))
    for key, value in tensors.items():
        bare = key.removeprefix(prefix)
        reason = next((drop.reason for drop in drops if re.fullmatch(drop.pattern, bare)), None)
        if reason is not None:
            dropped.append((key, reason))
            continue
        own = renamed(bare, renames)
        if own in taken:
            raise ModelFileError(f"{key}: a second key of the file for {own}; the file mixes two networks")
        if own not in expected or not isinstance(value, Tensor):
            unexpected.append(key)
            continue
        problem = _unlike(value, expected[own])
        if problem is not None:
            mismatched.append((key, *problem))
        else:
            loaded.append((key, own))
        taken[own] = value.to(expected[own].dtype) if problem is None else value
    missing = [own for own in expected if own not in taken]
    supplied = [own for own in missing if optional is not None and own.endswith(optional)]
    report = KeyReport(
        loaded=tuple(loaded),
        missing=tuple(own for own in missing if own not in supplied),
        unexpected=tuple(unexpected),
        mismatched=tuple(mismatched),
        dropped=tuple(dropped),
        supplied=tuple(supplied),
    )
    kept = {own: taken[own] for _, own in loaded}
    return report, kept | {own: torch.zeros_like(expected[own], device="cpu") for own in supplied}


def renamed(key: str, renames: Iterable[Rename]) -> str:
    """A key after every rename, in their order.

    Args:
        key: of the file.
        renames: in the order in which they are applied.

    Example:
        >>> renamed("a.conv.weight_u", SPECTRAL_NORM)
        'a.conv.parametrizations.weight.0._u'
    """
    for rule in renames:
        key = re.sub(rule.pattern, rule.replacement, key)
    return key


def _unlike(value: Tensor, expected: Tensor) -> tuple[str, str] | None:
    """What was expected and what came, or None if the value can be taken."""
    if value.shape != expected.shape:
        return str(tuple(expected.shape)), str(tuple(value.shape))
    if value.is_floating_point() != expected.is_floating_point():
        return str(expected.dtype), str(value.dtype)
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        return "finite numbers", "NaN or infinity among them"
    return None


def _grouped(what: str, keys: Iterable[str], remark: str = "") -> list[str]:
    """A line for every first part of the names, with how many there are."""
    counts: dict[str, int] = {}
    for key in keys:
        first = key.removeprefix("module.").split(".")[0]
        counts[first] = counts.get(first, 0) + 1
    return [f"  {what} {first}: {count}{remark}" for first, count in counts.items()]


def _listed(what: str, keys: Sequence[str]) -> list[str]:
    lines = [f"  {what} {key}" for key in keys[:_SHOWN]]
    return lines + ([f"  {what}: {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else [])
