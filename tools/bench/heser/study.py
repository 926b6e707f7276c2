"""What a study gives: a report, a table, figures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....training.data.atomic import atomic_path
from ..charts import Picture


@dataclass(frozen=True)
class Study:
    """Results of one study.

    Attributes:
        report: in the types of JSON.
        table: rows with the same keys.
        figures: by what is added to the study's name; none is added to that of the chart itself.
    """

    report: Mapping[str, Any]
    table: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Picture]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """``mean``, ``deviation`` and ``count`` of the finite ones; of none the first two are None.

    Example:
        >>> summary([1.0, 3.0, float("nan")])
        {'mean': 2.0, 'deviation': 1.0, 'count': 2}
    """
    known = np.asarray([value for value in values if np.isfinite(value)])
    if not known.size:
        return {"mean": None, "deviation": None, "count": 0}
    return {"mean": float(known.mean()), "deviation": float(known.std()), "count": int(known.size)}


def write_study(folder: Path, name: str, study: Study) -> list[str]:
    """``NAME.csv``, ``NAME.png`` and what else is drawn; returns their paths.

    Args:
        folder: is made where it is not there.
        name: of the study.
        study: its table and figures.
    """
    from ....training.data.media import write_image

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(study.table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(study.table)
    written = [str(path)]
    for part, picture in study.figures.items():
        drawn = folder / f"{name}{part}.png"
        write_image(drawn, picture, provenance=None)
        written.append(str(drawn))
    return written
