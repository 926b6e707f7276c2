"""Named expressions for any head: hand-set landmark displacements, projected on the head's expression basis.

The table knows face-mesh landmarks only, so it serves every head with a ``"mediapipe"`` embedding, all of its
points or some. The jaw takes no part: opening the mouth is a joint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..geom.errors import ShapeError
from .landmarks import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE_RIM,
    LIPS,
    LIPS_INNER_LOWER,
    LIPS_INNER_UPPER,
    RIGHT_BROW,
    RIGHT_EYE_RIM,
    mirror_map,
)

if TYPE_CHECKING:
    from .model import HeadModel

NOISE = (
    0.0007  # metres: how exactly the table is meant; the ridge's strength against unit-variance coefficients
)
HOLD_WEIGHT = 0.5  # of landmarks that should stay, against those that should move
LID_WEIGHT = 1.2  # of lids that should stay
LIP_CONTACT_WEIGHT = 3.0  # of shut lips staying shut
MAX_GAIN = 2.0
STRONGEST = 0.8  # of the largest displacement: landmarks that set the amount
FEWEST_LANDMARKS = 6

Displacements = Mapping[int, tuple[float, float, float]]

# Millimetres, x to the subject's left, y up, z out of the face; the left half, mirrored by symmetric_table.
_SMILE: Displacements = {
    291: (5.5, 7.0, -2.5),
    306: (5.3, 6.8, -2.4),
    292: (5.1, 6.5, -2.3),
    308: (5.0, 6.3, -2.2),
    409: (4.2, 4.6, -2.2),
    270: (2.5, 2.2, -1.6),
    269: (1.2, 0.7, -1.1),
    0: (0.0, -0.2, -0.8),
    375: (4.4, 4.8, -2.0),
    321: (2.8, 2.4, -1.3),
    405: (1.2, 0.8, -0.8),
    17: (0.0, 0.2, -0.5),
    415: (4.0, 4.6, -1.9),
    310: (2.9, 3.0, -1.5),
    311: (1.9, 1.6, -1.1),
    312: (0.9, 0.6, -0.8),
    13: (0.0, 0.3, -0.6),
    324: (4.0, 4.6, -1.9),
    318: (2.9, 3.0, -1.5),
    402: (1.9, 1.6, -1.1),
    317: (0.9, 0.6, -0.8),
    14: (0.0, 0.3, -0.6),
    432: (4.5, 4.0, -1.5),
    436: (3.5, 4.2, -0.3),
    426: (3.2, 3.6, 0.4),
    425: (1.8, 3.6, 1.6),
    280: (1.2, 2.8, 1.2),
    352: (0.8, 1.8, 0.6),
    358: (1.0, 0.6, 0.0),
    374: (0.0, 0.6, 0.1),
    373: (0.0, 0.6, 0.1),
    380: (0.0, 0.5, 0.1),
}
_FROWN: Displacements = {
    291: (1.2, -6.0, -0.8),
    306: (1.1, -5.8, -0.8),
    292: (1.0, -5.5, -0.7),
    308: (1.0, -5.3, -0.7),
    409: (0.8, -3.8, -0.4),
    270: (0.4, -1.6, 0.0),
    269: (0.2, -0.4, 0.2),
    0: (0.0, 0.3, 0.3),
    375: (0.8, -4.2, -0.3),
    321: (0.4, -1.8, 0.2),
    405: (0.2, 0.0, 0.5),
    17: (0.0, 0.8, 0.7),
    415: (0.8, -3.8, -0.5),
    310: (0.5, -2.2, -0.2),
    311: (0.3, -0.8, 0.1),
    13: (0.0, 0.4, 0.3),
    324: (0.8, -3.8, -0.5),
    318: (0.5, -2.2, -0.2),
    402: (0.3, -0.8, 0.1),
    14: (0.0, 0.4, 0.3),
    200: (0.0, 1.0, 0.6),
    432: (0.8, -4.0, -0.4),
    436: (0.6, -2.4, 0.0),
    285: (-1.6, -2.2, 0.4),
    336: (-1.6, -2.2, 0.4),
    295: (-1.0, -1.6, 0.3),
    9: (0.0, -1.4, 0.3),
}
_BROWS_UP: Displacements = {
    300: (0.0, 5.5, -0.8),
    293: (0.0, 7.6, -1.2),
    334: (0.0, 8.2, -1.3),
    296: (0.0, 8.0, -1.2),
    336: (0.0, 7.0, -0.9),
    276: (0.0, 5.0, -0.6),
    283: (0.0, 6.8, -0.8),
    282: (0.0, 7.4, -0.9),
    295: (0.0, 7.2, -0.8),
    285: (0.0, 6.4, -0.7),
    9: (0.0, 4.5, -0.4),
    8: (0.0, 2.6, -0.2),
    151: (0.0, 4.6, -0.7),
    337: (0.0, 5.2, -0.8),
    299: (0.0, 5.0, -0.9),
    333: (0.0, 5.2, -1.0),
    298: (0.0, 4.4, -0.9),
    257: (0.0, 2.2, -0.2),
    259: (0.0, 2.2, -0.2),
    258: (0.0, 2.0, -0.2),
    386: (0.0, 0.8, 0.0),
}
_BROWS_DOWN: Displacements = {
    336: (-2.6, -5.2, 0.7),
    296: (-1.8, -4.8, 0.6),
    334: (-0.8, -3.4, 0.5),
    293: (-0.2, -2.0, 0.3),
    300: (0.0, -0.8, 0.1),
    285: (-2.6, -5.2, 0.8),
    295: (-1.8, -4.6, 0.7),
    282: (-0.8, -3.2, 0.5),
    283: (-0.2, -2.0, 0.3),
    276: (0.0, -0.8, 0.1),
    9: (0.0, -3.6, 0.8),
    8: (0.0, -2.8, 0.9),
    168: (0.0, -1.2, 0.4),
    151: (0.0, -2.0, 0.2),
    337: (-0.8, -2.4, 0.3),
    257: (-0.3, -1.8, 0.2),
    258: (-0.4, -2.0, 0.2),
    386: (0.0, -0.8, 0.0),
}
_PUCKER: Displacements = {
    291: (-6.0, 0.0, 2.2),
    306: (-5.7, 0.0, 2.2),
    292: (-5.4, 0.0, 2.2),
    308: (-5.2, 0.0, 2.2),
    409: (-4.2, 0.5, 3.4),
    270: (-2.4, 0.9, 4.2),
    269: (-1.1, 0.7, 4.7),
    0: (0.0, 0.4, 5.0),
    375: (-4.2, -0.5, 3.4),
    321: (-2.4, -0.9, 4.2),
    405: (-1.1, -0.7, 4.6),
    17: (0.0, -0.4, 4.8),
    415: (-4.2, 0.2, 3.2),
    310: (-2.8, 0.3, 3.9),
    311: (-1.7, 0.3, 4.2),
    312: (-0.8, 0.3, 4.4),
    13: (0.0, 0.3, 4.4),
    324: (-4.2, -0.2, 3.2),
    318: (-2.8, -0.3, 3.9),
    402: (-1.7, -0.3, 4.2),
    317: (-0.8, -0.3, 4.4),
    14: (0.0, -0.3, 4.4),
    432: (-3.0, 0.0, 0.8),
    436: (-2.4, 0.0, 1.0),
    426: (-1.4, 0.0, 0.8),
    200: (0.0, 0.2, 1.2),
}
_MOUTH_LEFT: Displacements = {
    291: (5.2, 1.8, -3.0),
    308: (5.2, 1.7, -2.7),
    61: (5.6, -0.2, 1.6),
    78: (5.6, -0.2, 1.4),
    409: (5.5, 1.2, -2.2),
    375: (5.5, 1.2, -2.2),
    185: (5.8, 0.0, 1.0),
    146: (5.8, 0.0, 1.0),
    270: (6.0, 0.7, -1.2),
    321: (6.0, 0.7, -1.2),
    40: (6.0, 0.1, 0.6),
    91: (6.0, 0.1, 0.6),
    0: (6.2, 0.3, -0.2),
    17: (6.2, 0.3, -0.2),
    13: (6.2, 0.3, -0.3),
    14: (6.2, 0.3, -0.3),
    310: (5.9, 0.8, -1.2),
    318: (5.9, 0.8, -1.2),
    80: (5.9, 0.1, 0.6),
    88: (5.9, 0.1, 0.6),
    432: (3.5, 0.8, -1.0),
    436: (3.2, 0.8, -0.6),
    212: (3.8, 0.0, 0.6),
    216: (3.4, 0.0, 0.4),
    426: (2.0, 0.4, 0.0),
    206: (2.0, 0.0, 0.0),
    200: (1.6, 0.1, 0.0),
}
_BLINK_LEFT: Displacements = {
    466: (0.0, -1.4, -0.2),
    388: (0.0, -3.0, 0.1),
    387: (0.0, -5.4, 0.3),
    386: (0.0, -7.2, 0.4),
    385: (0.0, -6.6, 0.3),
    384: (0.0, -4.4, 0.1),
    398: (0.0, -2.0, 0.0),
    249: (0.0, 0.2, 0.0),
    390: (0.0, 0.4, 0.0),
    373: (0.0, 0.7, 0.0),
    374: (0.0, 0.9, 0.0),
    380: (0.0, 0.8, 0.0),
    381: (0.0, 0.5, 0.0),
    257: (0.0, -2.4, 0.2),
    258: (0.0, -2.4, 0.2),
    259: (0.0, -2.0, 0.1),
    263: (0.0, 0.0, 0.0),
    362: (0.0, 0.0, 0.0),
}
_NOSE = (1, 4, 5, 6, 168, 195, 197, 2, 48, 278)
_EYES = LEFT_EYE_RIM + RIGHT_EYE_RIM
_BROWS = LEFT_BROW + RIGHT_BROW
_MOUTH_STILL = (*FACE_OVAL, *_NOSE, *_EYES, *_BROWS, 151, 337, 108)
_BROW_STILL = (*FACE_OVAL[3:34], *_NOSE, *_EYES, *LIPS, 50, 280)
_BLINK_STILL = (*FACE_OVAL, *_NOSE, *_BROWS, *RIGHT_EYE_RIM, *LIPS, 50, 280)


def symmetric_table(left: Displacements) -> dict[int, tuple[float, float, float]]:
    """A table of the left half and the midline with its mirror image added."""
    return {**mirrored_table(left), **left}


def mirrored_table(table: Displacements) -> dict[int, tuple[float, float, float]]:
    """The same expression in a mirrored face."""
    twin = mirror_map()
    return {int(twin[i]): (-x, y, z) for i, (x, y, z) in table.items()}


def expression_targets() -> dict[str, tuple[dict[int, tuple[float, float, float]], tuple[int, ...]]]:
    """The table: by name, displacements in metres of face-mesh landmarks, and the landmarks that stay.

    x to the subject's left, y up, z out of the face. 1.0 is a full natural expression: a mouth corner moves
    9 mm in ``smile``, a brow 8 mm in ``brows_up``.

    Example:
        >>> move, still = expression_targets()["smile"]
        >>> move[291], 10 in still
        ((0.0055, 0.007, -0.0025), True)
    """
    mirrored_still = tuple(int(i) for i in mirror_map()[list(_BLINK_STILL)])
    table = {
        "smile": (symmetric_table(_SMILE), _MOUTH_STILL),
        "frown": (symmetric_table(_FROWN), (*FACE_OVAL, *_NOSE, *_EYES)),
        "brows_up": (symmetric_table(_BROWS_UP), _BROW_STILL),
        "brows_down": (symmetric_table(_BROWS_DOWN), _BROW_STILL),
        "blink_left": (dict(_BLINK_LEFT), _BLINK_STILL),
        "blink_right": (mirrored_table(_BLINK_LEFT), mirrored_still),
        "pucker": (symmetric_table(_PUCKER), _MOUTH_STILL),
        "mouth_left": (dict(_MOUTH_LEFT), _MOUTH_STILL),
        "mouth_right": (mirrored_table(_MOUTH_LEFT), _MOUTH_STILL),
    }
    return {
        name: (
            {i: (x / 1000, y / 1000, z / 1000) for i, (x, y, z) in moves.items()},
            tuple(sorted(set(still) - set(moves))),
        )
        for name, (moves, still) in table.items()
    }


def named_expressions(model: HeadModel) -> dict[str, Tensor]:
    """Expression coefficients of the table's expressions on a head.

    A ridge projection on the head's expression basis at its landmarks. A small rigid motion is fitted along
    and dropped, so that no expression turns the head; lips stay in contact; the result is scaled up (at most
    twice) until the landmarks that move most move as far as the table says.

    The values are expression coefficients only. ``blink_left`` and ``blink_right`` are thus as good as the
    expression basis is at the lids; a head with an eyelid basis (the built-in one) closes its eyes fully by
    the ``eyelids`` parameter, which is where ``Pose.blink`` goes.

    Args:
        model: any head with landmarks ``"mediapipe"``, all or some.

    Returns:
        ``(E,)`` of the model's dtype and device by name; an expression of which the head has fewer than 6
        landmarks is left out. Not differentiable.

    Raises:
        ShapeError: the head has no ``"mediapipe"`` landmarks.

    Example:
        >>> from headwarp.flame.io import load_head
        >>> sorted(named_expressions(load_head("builtin")))[:3]
        ['blink_left', 'blink_right', 'brows_down']
    """
    from .model import restrict

    if "mediapipe" not in model.landmarks:
        raise ShapeError(
            f"landmarks: expected the family 'mediapipe', this head ({model.model_id}) has "
            f"{', '.join(sorted(model.landmarks)) or 'none'}; load it with an embedding file"
        )
    face = restrict(model, "mediapipe")
    rows = {int(index): row for row, index in enumerate(face.indices.tolist())}
    points = face.mean.detach().cpu().double().numpy()
    basis = face.expression_basis.detach().cpu().double().numpy()
    found = {}
    for name, (moves, still) in expression_targets().items():
        if sum(i in rows for i in moves) < FEWEST_LANDMARKS:
            continue
        vector = project_displacements(points, basis, rows, moves=moves, still=still)
        found[name] = torch.as_tensor(vector).to(model.expression_basis)
    return found


def project_displacements(
    points: np.ndarray,
    basis: np.ndarray,
    rows: Mapping[int, int],
    *,
    moves: Displacements,
    still: tuple[int, ...],
    contact: bool = True,
) -> np.ndarray:
    """Coefficients (E,) of one expression; see `named_expressions`.

    Args:
        points: landmarks (L, 3), metres.
        basis: the head's expression basis at the landmarks, (L, 3, E).
        rows: face-mesh number -> row.
        moves, still: an entry of `expression_targets`.
        contact: keep the lips in contact; False for a mouth that opens.
    """
    ids = [i for i in (*moves, *still) if i in rows]
    place = [rows[i] for i in ids]
    target = np.array([moves.get(i, (0.0, 0.0, 0.0)) for i in ids])
    weight = np.array([1.0 if i in moves else LID_WEIGHT if i in _EYES else HOLD_WEIGHT for i in ids])
    fields = rigid_fields(points[place])  # (N, 3, 6)
    design = np.concatenate([basis[place], fields], axis=2) * weight[:, None, None]
    lips = _lip_contact(basis, rows if contact else {})
    system = np.concatenate([design.reshape(-1, design.shape[2]), np.pad(lips, ((0, 0), (0, 6)))])
    wanted = np.concatenate([(target * weight[:, None]).reshape(-1), np.zeros(len(lips))])
    ridge = np.full(system.shape[1], NOISE**2)
    solution = np.linalg.solve(system.T @ system + np.diag(ridge), system.T @ wanted)
    coefficients = solution[: basis.shape[2]]
    size = np.linalg.norm(target, axis=1)
    strongest = size >= STRONGEST * size.max()
    reached = float(((basis[place] @ coefficients) * target)[strongest].sum())
    gain = float((target[strongest] ** 2).sum()) / max(reached, 1e-12)
    return coefficients * float(np.clip(gain, 1.0, MAX_GAIN))


def _lip_contact(basis: np.ndarray, rows: Mapping[int, int]) -> np.ndarray:
    """Equations (P, E) that keep the lips in contact: pairs of inner lip points move up and down together."""
    pairs = zip(LIPS_INNER_UPPER[1:-1], LIPS_INNER_LOWER[1:-1], strict=True)
    known = [(rows[u], rows[v]) for u, v in pairs if u in rows and v in rows]
    gaps = [basis[u, 1] - basis[v, 1] for u, v in known]
    return LIP_CONTACT_WEIGHT * np.array(gaps).reshape(-1, basis.shape[2])


def rigid_fields(points: np.ndarray) -> np.ndarray:
    """Shifts and rotations about the mean, (N, 3, 6), each a millimetre in size."""
    loose = points - points.mean(axis=0)
    shifts = np.broadcast_to(np.eye(3), (len(points), 3, 3))
    turns = np.stack([np.cross(axis, loose) for axis in np.eye(3)], axis=-1) / np.abs(loose).max()
    return 1e-3 * np.concatenate([shifts, turns], axis=-1)
