"""A folder laid out like ICT-FaceKit light, with its vertex ranges and invented geometry of known joints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from headwarp.flame._ict_tables import RANGES, VERTICES

PIVOT = np.array([0.0, -0.5, 1.8])  # centimetres
ANGLE = np.radians(20.0)
EYES = {"left": np.array([3.1, 3.6, 7.9]), "right": np.array([-3.1, 3.6, 7.9])}
EYE_RADIUS = 1.5


def neutral() -> np.ndarray:
    """Vertices (26719, 3) in centimetres: an egg of skin, rows of teeth, two eyeballs with corneas."""
    rng = np.random.default_rng(5)
    vertices = np.zeros((VERTICES, 3))
    skin = RANGES["head_and_neck"][1]
    directions = rng.normal(size=(VERTICES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vertices[:skin] = directions[:skin] * [8, 18, 11]
    vertices[skin:] = directions[skin:] * 0.5 + [0, -4, 8]
    first, last = RANGES["teeth"]
    low = RANGES["lower_teeth"][0]
    vertices[first:low] = directions[first:low] * [2.5, 0.4, 1] + [0, -3.2, 8.5]
    vertices[low:last] = directions[low:last] * [2.5, 0.4, 1] + [0, -4.2, 8.5]
    for side, centre in EYES.items():
        first, last = RANGES[f"{side}_eyeball"]
        ball = directions[first:last].copy()
        ball[ball[:, 2] > 0.9] *= 1.1  # the cornea
        vertices[first:last] = EYE_RADIUS * ball + centre
    return vertices


def jaw_share(vertices: np.ndarray) -> np.ndarray:
    """How much of the jaw's rotation a vertex makes: none above the pivot, all of it low in front."""
    share = np.clip((PIVOT[1] - vertices[:, 1]) / 6, 0, 1) * np.clip((vertices[:, 2] - PIVOT[2]) / 4, 0, 1)
    for name in ("left_eyeball", "right_eyeball"):
        share[slice(*RANGES[name])] = 0
    share[slice(*RANGES["teeth"])] = 0
    share[slice(*RANGES["lower_teeth"])] = 1
    return share


def blendshapes(vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Displacements of a few blendshapes, centimetres; ``jawOpen`` is a shared rotation and a bulge."""
    x, y, z = vertices.T
    cosine, sine = np.cos(ANGLE), np.sin(ANGLE)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    arm = vertices - PIVOT
    share = jaw_share(vertices)
    bulge = (0.3 * np.sin(x) * (share > 0) * (share < 1))[:, None] * np.array([0.3, 1, 0.5])
    face = np.zeros(len(vertices))
    face[slice(*RANGES["face"])] = 1
    front = face * (z > 4)
    return {
        "identity000": 0.3 * np.stack([x, 0 * y, 0 * z], 1) * 0.2,
        "identity003": 0.2 * np.stack([0 * x, y, 0 * z], 1) * 0.2,
        "jawOpen": share[:, None] * (arm @ turn.T - arm) + bulge,
        "eyeBlink_L": -0.8 * (front * (x > 1) * (y > 2))[:, None] * [0, 1, 0],
        "eyeBlink_R": -0.8 * (front * (x < -1) * (y > 2))[:, None] * [0, 1, 0],
        "mouthSmile_L": 0.5 * (front * (x > 0) * (y < -1))[:, None] * [1, 1, 0],
        "mouthSmile_R": 0.5 * (front * (x < 0) * (y < -1))[:, None] * [-1, 1, 0],
        "mouthPucker": 0.4 * (front * (y < -1))[:, None] * [0, 0, 1],
    }


def obj_text(vertices: np.ndarray, *, faces: str | None = None) -> str:
    """An OBJ file of these vertices with quads and triangles through every part."""
    rows = "\n".join(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices)
    textured = "\n".join(f"vt {k % 100 / 100:.2f} {k // 100 / 300:.4f}" for k in range(len(vertices)))
    return f"# a comment\n\n{rows}\n{textured}\n{_faces(len(vertices)) if faces is None else faces}\n"


def _faces(count: int) -> str:
    """A strip of quads along the list of vertices and a triangle at its end, within each part."""
    lines = ["usemtl M_Face"]
    for first, last in sorted({*RANGES.values(), (24_999, count)}):
        if (first, last) in {(0, 6_706), RANGES["lower_teeth"], *(RANGES[f"{s}_sclera"] for s in EYES)}:
            continue  # parts of parts
        for k in range(first, last - 4, 3):
            lines.append("f " + " ".join(f"{i + 1}/{i + 1}" for i in (k, k + 1, k + 2, k + 3)))
        lines.append("f " + " ".join(f"{i + 1}/{i + 1}" for i in (last - 3, last - 2, last - 1)))
    return "\n".join(lines)


def write_ict_folder(folder: Path, names: Iterable[str] | None = None) -> Path:
    """A ``FaceXModel`` folder in ``folder`` with the named blendshapes (all invented ones by default)."""
    inner = folder / "FaceXModel"
    inner.mkdir(parents=True)
    vertices = neutral()
    faces = _faces(VERTICES)
    (inner / "generic_neutral_mesh.obj").write_text(obj_text(vertices, faces=faces))
    moves = blendshapes(vertices)
    for name in moves if names is None else names:
        (inner / f"{name}.obj").write_text(obj_text(vertices + moves[name], faces=faces))
    table = {"idx_to_landmark_verts": list(range(100, 9000, 130))[:68], "expressions": []}
    (inner / "vertex_indices.json").write_text(json.dumps(table))
    return inner
