"""Index tables of the landmark families: MediaPipe's face mesh (468 + 10 iris points) and the 68 of iBUG.

Left and right are the subject's. Loops are ordered; all indices are 0-based. The eyes and the mouth of the
face mesh are holes (852 triangles, against 898 in the canonical model that fills them).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ._face_mesh_tables import MIRROR, TRIANGLES

FACE_MESH_COUNT = 468
MEDIAPIPE_COUNT = 478

FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The rim of the face mesh, from the top of the forehead over the subject's left side, 36 points."""

RIGHT_EYE_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_EYE_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_EYE_UPPER = (263, 466, 388, 387, 386, 385, 384, 398, 362)
LEFT_EYE_LOWER = (263, 249, 390, 373, 374, 380, 381, 382, 362)
"""Lid rims from the outer to the inner corner; both corners stand in both."""

RIGHT_EYE_RIM = RIGHT_EYE_LOWER + RIGHT_EYE_UPPER[-2:0:-1]
LEFT_EYE_RIM = LEFT_EYE_LOWER + LEFT_EYE_UPPER[-2:0:-1]
"""Closed lid rims, 16 points: outer corner, lower lid, inner corner, upper lid."""

LIPS_OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LIPS_OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LIPS_INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LIPS_INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Lip lines from the subject's right to left corner; both corners stand in both."""

INNER_LIP_LOOP = LIPS_INNER_LOWER + LIPS_INNER_UPPER[-2:0:-1]
"""The rim of the mouth hole, 20 points: right corner, lower lip, left corner, upper lip."""

LIPS_UPPER = (
    *LIPS_OUTER_UPPER[1:-1],
    *(184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(183, 42, 41, 38, 12, 268, 271, 272, 407),
    *LIPS_INNER_UPPER[1:-1],
)
LIPS_LOWER = (
    *LIPS_OUTER_LOWER[1:-1],
    *(77, 90, 180, 85, 16, 315, 404, 320, 307),
    *(96, 89, 179, 86, 15, 316, 403, 319, 325),
    *LIPS_INNER_LOWER[1:-1],
)
LIP_CORNERS = (61, 76, 62, 78, 291, 306, 292, 308)
LIPS = LIPS_UPPER + LIPS_LOWER + LIP_CORNERS
"""The red of the lips, 80 points: upper, lower, corners."""

RIGHT_BROW = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
LEFT_BROW = (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
"""Upper and then lower line of a brow, from the outer to the inner end."""

RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
"""Centre, then four points of the rim: image right, top, image left, bottom."""

MEDIAPIPE_68 = (
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""The face-mesh point nearest in meaning to each of iBUG's 68, in iBUG's order."""

IBUG_MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)
"""The twin of each of the 68 points in a mirrored face."""


def face_mesh_triangles() -> np.ndarray:
    """The 852 triangles of the face mesh, int64 (852, 3), counter-clockwise seen from the front.

    Vertices 0 .. 467; the eyes and the mouth are holes and the rim is :data:`FACE_OVAL`.

    Example:
        >>> face_mesh_triangles().shape
        (852, 3)
    """
    return _parsed(TRIANGLES).reshape(-1, 3).copy()


def mirror_map() -> np.ndarray:
    """The twin of each of the 478 points in a mirrored face, int64 (478,); an involution.

    The face mesh mirrors onto itself but for the diagonal of three quads a side.

    Example:
        >>> mirror_map()[[33, 263, 1, 468]].tolist()
        [263, 33, 1, 473]
    """
    return _parsed(MIRROR).copy()


@lru_cache(maxsize=2)
def _parsed(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=np.int64)
