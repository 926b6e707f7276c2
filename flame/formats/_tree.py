"""Taking checked arrays out of a tree: every shape, kind and number is looked at, and errors name the key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...geom.errors import ModelFileError
from ._content import Tree


def holds(tree: Tree, *keys: str) -> bool:
    """Whether all these are in the tree, as arrays."""
    return all(isinstance(tree.get(key), np.ndarray) for key in keys)


def branch(tree: Tree, key: str) -> Tree:
    """A dict in the tree.

    Raises:
        ModelFileError: it is missing or no dict.
    """
    value = tree.get(key)
    if not isinstance(value, Mapping):
        raise ModelFileError(f"{key}: expected a dict of arrays, got {_kind(value)}")
    return value


def array(tree: Tree, *names: str) -> np.ndarray:
    """The first of these arrays that is there, float64.

    Raises:
        ModelFileError: none is there, or it is no array of finite numbers.
    """
    name = next((n for n in names if n in tree), names[0])
    value = tree.get(name)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise ModelFileError(f"{name}: expected an array of numbers, got {_kind(value)}")
    numbers = value.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ModelFileError(f"{name}: expected finite numbers, got NaN or infinity")
    return numbers


def rows(tree: Tree, names: str | Sequence[str], width: int | None) -> np.ndarray:
    """An array as (B, width): a record a row; a single record may come without its axis.

    Args:
        tree: where it is.
        names: of the array; the first that is there.
        width: numbers in a record, whatever axes they have; None: the last of at most two axes.

    Raises:
        ModelFileError: another shape, no records, or not finite.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    value = array(tree, *names)
    if width is None:
        flat = np.atleast_2d(value) if value.ndim in (1, 2) else None
    else:
        flat = _records(value, width)
    if flat is None or len(flat) == 0 or flat.shape[1] == 0:
        wanted = "(B, N) or (N,)" if width is None else f"(B, {width})"
        raise ModelFileError(f"{names[0]}: expected {wanted}, got {value.shape}")
    return flat


def _records(value: np.ndarray, width: int) -> np.ndarray | None:
    """The trailing axes that together make a record, flattened."""
    for axes in range(value.ndim + 1):
        if math.prod(value.shape[value.ndim - axes :]) == width and axes > 0:
            return value.reshape(-1, width)
    return None


def frame_count(parts: Mapping[str, np.ndarray]) -> int:
    """How many records several arrays hold together; one row stands for all.

    Raises:
        ModelFileError: they differ.
    """
    counts = {name: len(part) for name, part in parts.items()}
    most = max(counts.values())
    wrong = [f"{name} {count}" for name, count in counts.items() if count not in (1, most)]
    if wrong:
        raise ModelFileError(f"expected {most} records of each (or one for all), got {', '.join(wrong)}")
    return most


def text(tree: Tree, key: str) -> str | None:
    """A string in the tree, as such or as an array of one."""
    value = tree.get(key)
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.size == 1:
        return str(value.reshape(-1)[0])
    return value if isinstance(value, str) else None


def shapes(tree: Tree) -> dict[str, str]:
    """Names and kinds of everything, for people: ``float32 (3, 100)``; dicts with dots."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": kind for name, kind in shapes(value).items()}
        else:
            found[key] = _kind(value)
    return found


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return "text" if isinstance(value, str) else f"a {type(value).__name__}"
