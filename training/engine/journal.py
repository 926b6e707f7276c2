"""The log of a run: ``log.jsonl`` always, TensorBoard where it is installed.

The log holds what the run computed and no times, so that a run that was killed and resumed leaves the same
bytes as one in peace.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data.atomic import atomic_path, plain

LOG = "log.jsonl"


def read_log(path: Path, last_step: int | None = None) -> list[dict[str, Any]]:
    """Lines of a log up to a step; a line that was cut by a kill is left out."""
    lines = []
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if last_step is None or entry["step"] <= last_step:
                lines.append(entry)
    return lines


class Means:
    """Running means of loss terms, kept where they were computed: adding waits for no device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()
        self.steps = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Count one step's terms, scalars."""
        self.steps += 1
        for name, value in terms.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] += 1

    def values(self) -> dict[str, float]:
        """By name, over the steps that had the term; some have it from a later step on."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


class Journal:
    """Open log and TensorBoard writer of one session."""

    def __init__(self, folder: Path, *, last_step: int) -> None:
        """Forget what was logged after ``last_step`` and go on from there."""
        kept = read_log(folder / LOG, last_step)
        with atomic_path(folder / LOG) as temporary:
            temporary.write_text("".join(_line(entry) for entry in kept), encoding="utf-8")
        self._file = (folder / LOG).open("a", encoding="utf-8")
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=last_step + 1)

    def close(self) -> None:
        """Close both."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, step: int, entry: Mapping[str, Any], *, times: Mapping[str, float] | None = None) -> None:
        """A line of the log, its numbers as TensorBoard scalars; ``times`` go to TensorBoard alone.

        Args:
            step: of the training.
            entry: what the log says.
            times: seconds by name, for TensorBoard alone.
        """
        self._file.write(_line({"step": step, **entry}))
        self._file.flush()
        if self._board is not None:
            for name, value in _scalars({**entry, **(times or {})}):
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, sheet: NDArray[np.uint8]) -> None:
        """A picture ``(H, W, 3)`` for TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, sheet, step, dataformats="HWC")


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(plain(entry), ensure_ascii=False, allow_nan=False) + "\n"


def _scalars(entry: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Numbers of nested mappings by names joined with slashes."""
    found = []
    for name, value in entry.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", float(value)))
    return found
