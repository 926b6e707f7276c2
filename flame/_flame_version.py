"""Which FLAME a file is, as far as can be told; parameters of one release mean nothing in another."""

from __future__ import annotations

import re

import numpy as np

MESH = (5023, 9976)
_NAMES = (
    (r"2023.*no_?jaw", "FLAME 2023, no_jaw"),
    (r"2023.*open", "FLAME 2023 Open"),
    (r"2023", "FLAME 2023"),
    (r"2020", "FLAME 2020"),
    (r"2019", "FLAME 2019"),
    (r"2017", "FLAME 2017"),
)
_STILL = 1e-7  # metres at one standard deviation: a vertex that no expression moves


def told_version(name: str, vertices: int, faces: int, expressions: np.ndarray) -> str:
    """A sentence on the release, and what it was told by; the file holds no version of its own.

    Told by the file's name where it says so (``flame2023_no_jaw.pkl``; ``generic_model.pkl`` says nothing),
    and by the expression basis: up to 2019 it leaves the back of the head at rest, from 2020 all moves.

    Example:
        >>> told_version("flame2023_Open.pkl", 5023, 9976, np.ones((5023, 3, 100)))
        'FLAME 2023 Open (told by the name of the file)'
    """
    if (vertices, faces) != MESH:
        return f"not FLAME's mesh of {MESH[0]} vertices: {vertices} vertices, {faces} faces"
    reach = np.abs(expressions).max((1, 2)) if expressions.size else np.zeros(vertices)
    still = int((reach < _STILL).sum())
    measured = "FLAME 2019 or earlier" if still > vertices // 100 else "FLAME 2020 or later"
    evidence = f"told by its expressions: {still} of {vertices} vertices rest"
    for pattern, release in _NAMES:
        if re.search(pattern, name.lower()):
            early = int(release.split()[1].rstrip(",")) < 2020
            if early == measured.endswith("earlier"):
                return f"{release} (told by the name of the file)"
            return f"{release} by the name of the file, but {measured} by its expressions ({still} rest)"
    return f"{measured} ({evidence})"
