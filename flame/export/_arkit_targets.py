"""ARKit's blendshapes as displacements of face-mesh landmarks, left and right, with the landmarks that
stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..expressions import expression_targets, mirrored_table
from ..landmarks import FACE_OVAL, LEFT_BROW, LEFT_EYE_RIM, LIPS, RIGHT_BROW, RIGHT_EYE_RIM, mirror_map
from . import _arkit_tables as tables
from ._arkit_tables import BROW_INNER_SHARE, Table

_BROWS, _EYES = (*LEFT_BROW, *RIGHT_BROW), (*LEFT_EYE_RIM, *RIGHT_EYE_RIM)
_NOSE = (1, 4, 5, 6, 168, 195, 197, 2, 48, 278)
_LIPS = (0, 17, 61, 291)
_FOR_MOUTH = (*FACE_OVAL, *_NOSE, *_EYES, *_BROWS, 151, 337, 108)
_FOR_BROWS = (*FACE_OVAL[3:34], *_NOSE, *_EYES, *LIPS, 50, 280)
_FOR_LIDS = (*FACE_OVAL, *_NOSE, *_BROWS, *_EYES, *_LIPS)
_FOR_CHEEKS = (*FACE_OVAL, *_NOSE, *_BROWS, *_LIPS)
_FOR_NOSE = (*FACE_OVAL, *_EYES, *_BROWS, 17, 61, 291, 6, 168)


@dataclass(frozen=True)
class Target:
    """One blendshape at 1.0.

    Attributes:
        moves: displacement of landmarks by number, metres, model axes.
        still: landmarks that stay.
        contact: whether shut lips stay shut.
    """

    moves: Table
    still: tuple[int, ...]
    contact: bool = True


def arkit_targets(left: Iterable[int]) -> dict[str, Target]:
    """Targets by ARKit's names, of the blendshapes that are seen on the skin and are no joint.

    Args:
        left: numbers of the landmarks of the subject's left half, the midline not among them.
    """
    named = {name: table for name, (table, _) in expression_targets().items()}
    half = frozenset(left)
    return {**_paired(named, half), **_unpaired(named)}


def _unpaired(named: dict[str, Table]) -> dict[str, Target]:
    inner, _ = _split_brows(named["brows_up"])
    return {
        "browInnerUp": Target(inner, _FOR_BROWS),
        "mouthPucker": Target(named["pucker"], _FOR_MOUTH),
        "mouthLeft": Target(named["mouth_left"], _FOR_MOUTH),
        "mouthRight": Target(named["mouth_right"], _FOR_MOUTH),
        "mouthFunnel": Target(_whole(tables.MOUTH_FUNNEL), _FOR_MOUTH, contact=False),
        "mouthRollLower": Target(_whole(tables.MOUTH_ROLL_LOWER), _FOR_MOUTH),
        "mouthRollUpper": Target(_whole(tables.MOUTH_ROLL_UPPER), _FOR_MOUTH),
        "mouthShrugLower": Target(_whole(tables.MOUTH_SHRUG_LOWER), _FOR_MOUTH),
        "mouthShrugUpper": Target(_whole(tables.MOUTH_SHRUG_UPPER), _FOR_MOUTH),
    }


def _paired(named: dict[str, Table], left: frozenset[int]) -> dict[str, Target]:
    mouth_frown = {i: move for i, move in named["frown"].items() if i not in (*_BROWS, 9)}
    _, outer = _split_brows(named["brows_up"])
    of_left = {
        "browDown": Target(_half(named["brows_down"], left), _FOR_BROWS),
        "browOuterUp": Target(_half(outer, left), _FOR_BROWS),
        "cheekSquint": Target(_metres(tables.CHEEK_SQUINT), _FOR_CHEEKS),
        "eyeBlink": Target(named["blink_left"], _FOR_LIDS),
        "eyeSquint": Target(_metres(tables.EYE_SQUINT), _FOR_LIDS),
        "eyeWide": Target(_metres(tables.EYE_WIDE), _FOR_LIDS),
        "mouthDimple": Target(_metres(tables.MOUTH_DIMPLE), _FOR_MOUTH),
        "mouthFrown": Target(_half(mouth_frown, left), _FOR_MOUTH),
        "mouthLowerDown": Target(_metres(tables.MOUTH_LOWER_DOWN), _FOR_MOUTH, contact=False),
        "mouthPress": Target(_metres(tables.MOUTH_PRESS), _FOR_MOUTH),
        "mouthSmile": Target(_half(named["smile"], left), _FOR_MOUTH),
        "mouthStretch": Target(_metres(tables.MOUTH_STRETCH), _FOR_MOUTH),
        "mouthUpperUp": Target(_metres(tables.MOUTH_UPPER_UP), _FOR_MOUTH, contact=False),
        "noseSneer": Target(_metres(tables.NOSE_SNEER), _FOR_NOSE),
    }
    twin = mirror_map()
    both = {}
    for name, target in of_left.items():
        mirrored = mirrored_table(target.moves)
        still = {*target.still, *(int(twin[i]) for i in target.still)}  # and the other half of the face:
        both[f"{name}Left"] = Target(target.moves, tuple(still | mirrored.keys()), target.contact)
        both[f"{name}Right"] = Target(mirrored, tuple(still | target.moves.keys()), target.contact)
    return both


def _metres(table: Table) -> Table:
    return {i: (x / 1000, y / 1000, z / 1000) for i, (x, y, z) in table.items()}


def _whole(table: Table) -> Table:
    metres = _metres(table)
    return {**mirrored_table(metres), **metres}


def _half(table: Table, left: frozenset[int]) -> Table:
    """The left of a symmetric table; the midline takes half, so that both halves make the whole."""
    twin = mirror_map()
    middle = {i: (x / 2, y / 2, z / 2) for i, (x, y, z) in table.items() if int(twin[i]) == i}
    return {**{i: move for i, move in table.items() if i in left}, **middle}


def _split_brows(table: Table) -> tuple[Table, Table]:
    """brows_up as browInnerUp (both sides) and what is left for browOuterUp."""
    twin = mirror_map()
    share = {**{int(twin[i]): s for i, s in BROW_INNER_SHARE.items()}, **BROW_INNER_SHARE}
    inner = {i: (share[i] * x, share[i] * y, share[i] * z) for i, (x, y, z) in table.items()}
    outer = {i: (x - a, y - b, z - c) for i, (x, y, z) in table.items() for a, b, c in (inner[i],)}
    return _without_zeros(inner), _without_zeros(outer)


def _without_zeros(table: Table) -> Table:
    return {i: move for i, move in table.items() if max(map(abs, move)) > 1e-9}
