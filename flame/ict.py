"""ICT-FaceKit's light model (the user's ``FaceXModel`` folder) as a head with joints, eyelids and landmarks.

The folder holds one mesh a blendshape: a neutral, 100 identities, 53 expressions. It has no joints: the
jaw's is found in ``jawOpen``, the eyes' in the eyeballs, the neck is a ramp (`_ict_joints`). ``jawOpen`` and
the two ``eyeBlink`` are therefore no expressions here but what the jaw at 25.3 degrees and the eyelids at 1
do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from ..geom.errors import ModelFileError
from ._files import read_bytes
from ._head_data import HeadData, LandmarkEmbedding
from ._ict_joints import ict_joints
from ._ict_tables import (
    AS_JOINTS,
    BLINKS,
    EXPRESSIONS,
    IDENTITIES,
    JAW_OPEN,
    KEPT,
    LICENCE,
    NAMED,
    NEUTRAL,
    RANGES,
    TABLE,
    VERTICES,
)
from ._obj import ObjMesh, read_mesh, read_text, read_vertices, same_faces
from .model import HeadModel

NAME = "ict"
CENTIMETRE = 0.01
MOST_MOVED = 0.3  # metres: no blendshape of a head moves a vertex further
_KEY = "idx_to_landmark_verts"
_MOUTH = ("mouth_socket", "gums", "teeth")


@dataclass(frozen=True)
class IctModes:
    """What a folder holds of the model's blendshapes.

    Attributes:
        identities, expressions: names found, in the model's order; expressions with those that joints make.
        missing: names of the model that the folder lacks.
        unused: meshes of the folder that the model's table does not list.
    """

    identities: tuple[str, ...]
    expressions: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def sentence(self) -> str:
        """How much of the model this is."""
        counts = f"{len(self.identities)} identities and {len(self.expressions)} expressions"
        return f"ICT-FaceKit light with {counts}" + (f", {len(self.missing)} missing" if self.missing else "")


def is_ict_folder(path: Path) -> bool:
    """Whether a folder is, or holds, a ``FaceXModel``: with the neutral mesh or the vertex table in it."""
    folder = _model_folder(path)
    return (folder / f"{NEUTRAL}.obj").is_file() or (folder / TABLE).is_file()


def ict_modes(path: Path) -> IctModes:
    """The blendshapes in a folder, complete or not, by their file names."""
    return _modes(_model_folder(path))


def missing_modes(model: HeadModel) -> tuple[str, ...]:
    """Which of ICT-FaceKit's blendshapes a head that was made of it lacks; none of any other head, or of one
    whose columns have no names.
    """
    named = len(model.shape_names) == model.shape_basis.shape[2]
    if model.name != NAME or not named or len(model.expression_names) != model.expression_basis.shape[2]:
        return ()
    lids = [bool(model.eyelid_basis[..., side].any()) for side in (0, 1)]
    has = {
        *model.shape_names,
        *model.expression_names,
        *(b for b, lid in zip(BLINKS, lids, strict=True) if lid),
    }
    has |= {JAW_OPEN} if bool(model.pose_basis.any()) else set()
    return tuple(name for name in (*IDENTITIES, *EXPRESSIONS) if name not in has)


def listed(names: Sequence[str]) -> str:
    """Names for people, runs of numbered ones as their ends.

    Example:
        >>> listed(["identity003", "identity004", "identity005", "jawOpen"])
        'identity003 .. identity005, jawOpen'
    """
    runs: list[list[str]] = []
    for name in names:
        if runs and _next(runs[-1][-1]) == name:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(f"{run[0]} .. {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _next(name: str) -> str:
    """The name with the following number; itself where it has none."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return f"{stem}{int(digits) + 1:0{len(digits)}d}" if digits else name


def ict_head(path: str | Path) -> HeadData:
    """The head in a ``FaceXModel`` folder, or in the folder around it; 3 seconds for the whole model.

    Units become metres, quads two triangles; the layers over the eyes and the lashes are left out. A folder
    that lacks blendshapes gives a head with fewer (`ict_modes` lists them); without ``jawOpen`` the jaw is a
    rough wedge, without ``eyeBlink`` there are no eyelids. Landmarks are the model's own 68.

    Raises:
        ModelFileError: no neutral mesh or table, or a mesh that does not read or has another topology.
    """
    folder = _model_folder(Path(path))
    points = _table(folder)
    modes = _modes(folder)
    mesh, text = _neutral(folder)
    neutral = mesh.vertices[:KEPT] * CENTIMETRE
    moves = {
        name: _displacement(folder / f"{name}.obj", text, neutral)
        for name in (*modes.identities, *modes.expressions)
    }
    columns = [name for name in modes.expressions if name not in AS_JOINTS]
    moved = np.zeros(len(neutral))
    for name in modes.expressions:
        moved = np.maximum(moved, np.linalg.norm(moves[name], axis=1))
    joints = ict_joints(neutral, moves.get(JAW_OPEN), moved)
    inside = (mesh.faces < KEPT).all(1)
    uv, uv_faces = _texture(mesh, inside)
    return HeadData(
        name=NAME,
        licence=LICENCE,
        template=neutral,
        faces=mesh.faces[inside],
        shape_basis=_stacked(moves, modes.identities, neutral),
        expression_basis=_stacked(moves, columns, neutral),
        joint_regressor=joints.regressor,
        weights=joints.weights,
        pose_basis=joints.pose_basis,
        eyelid_basis=_eyelids(moves, neutral),
        landmarks={"ibug68": _landmarks(points, mesh.faces[inside])},
        region_masks=region_masks(joints.weights),
        uv=uv,
        uv_faces=uv_faces,
        named_expressions=_named(columns),
        version=modes.sentence(),
        shape_names=modes.identities,
        expression_names=tuple(columns),
    )


def region_masks(weights: Float[np.ndarray, "V 5"]) -> dict[str, np.ndarray]:
    """Masks ``(V,)`` by the model's vertex ranges; what a neck, a jaw and a body are, by the weights.

    ``mouth_interior`` is all that lies in the mouth: its socket, gums with the tongue, teeth.
    """
    index = np.arange(len(weights))
    masks = {name: (index >= first) & (index < last) for name, (first, last) in RANGES.items()}
    head = masks.pop("head_and_neck")
    skin = masks["face"] | head
    del masks["lower_teeth"], masks["left_sclera"], masks["right_sclera"]
    return masks | {
        "mouth_interior": np.logical_or.reduce([masks[name] for name in _MOUTH]),
        "skull": head & (weights[:, 0] <= 0.02),
        "neck": head & (weights[:, 0] > 0.02),
        "body": skin & (weights[:, 0] > 0.98),
        "jaw": weights[:, 2] > 0.5,
    }


def _model_folder(path: Path) -> Path:
    inner = path / "FaceXModel"
    return inner if inner.is_dir() else path


def _table(folder: Path) -> list[int]:
    """The 68 landmark vertices of the vertex table, iBUG's order."""
    path = folder / TABLE
    if not path.is_file():
        raise ModelFileError(
            f"{folder}: expected ICT-FaceKit's {TABLE}, found none; name the FaceXModel folder of "
            "https://github.com/USC-ICT/ICT-FaceKit"
        )
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: expected JSON, got something else: {error}") from error
    points = content.get(_KEY) if isinstance(content, dict) else None
    if not isinstance(points, list):
        raise ModelFileError(f"{path}: expected the list {_KEY}, found none")
    if len(points) != 68 or not all(type(p) is int and 0 <= p < KEPT for p in points):
        raise ModelFileError(
            f"{path}: {_KEY}: expected 68 vertices below {KEPT}, got {len(points)} entries"
            + ("" if len(points) != 68 else f" from {min(map(str, points))} to {max(map(str, points))}")
        )
    return points


def _modes(folder: Path) -> IctModes:
    there = {file.stem for file in folder.glob("*.obj") if file.is_file()}
    return IctModes(
        identities=tuple(name for name in IDENTITIES if name in there),
        expressions=tuple(name for name in EXPRESSIONS if name in there),
        missing=tuple(name for name in (*IDENTITIES, *EXPRESSIONS) if name not in there),
        unused=tuple(sorted(there - {NEUTRAL, *IDENTITIES, *EXPRESSIONS})),
    )


def _neutral(folder: Path) -> tuple[ObjMesh, bytes]:
    path = folder / f"{NEUTRAL}.obj"
    if not path.is_file():
        raise ModelFileError(
            f"{folder}: expected ICT-FaceKit's {NEUTRAL}.obj, found none; name the FaceXModel folder of "
            "https://github.com/USC-ICT/ICT-FaceKit"
        )
    text = read_text(path)
    mesh = read_mesh(text, path)
    if len(mesh.vertices) != VERTICES:
        raise ModelFileError(
            f"{path}: expected the {VERTICES} vertices of ICT-FaceKit light, got {len(mesh.vertices)}"
        )
    return mesh, text


def _displacement(path: Path, neutral_text: bytes, neutral: np.ndarray) -> Float[np.ndarray, "V 3"]:
    """How a blendshape at 1 moves the kept vertices, metres."""
    text = read_text(path)
    vertices = read_vertices(text, path)
    if len(vertices) != VERTICES or not same_faces(text, neutral_text):
        raise ModelFileError(
            f"{path}: expected the topology of {NEUTRAL}.obj ({VERTICES} vertices, the same faces), got "
            f"another with {len(vertices)} vertices; do not export the meshes anew"
        )
    move = vertices[: len(neutral)] * CENTIMETRE - neutral
    most = float(np.abs(move).max())
    if most > MOST_MOVED:
        raise ModelFileError(
            f"{path}: expected vertices within {100 * MOST_MOVED:.0f} cm of the neutral ones, got "
            f"{100 * most:.0f}; the file is damaged or in another unit"
        )
    return move


def _stacked(
    moves: dict[str, np.ndarray], names: Sequence[str], neutral: np.ndarray
) -> Float[np.ndarray, "V 3 K"]:
    empty = np.zeros((*neutral.shape, 0))
    return np.stack([moves[name] for name in names], axis=-1) if names else empty


def _eyelids(moves: dict[str, np.ndarray], neutral: np.ndarray) -> np.ndarray | None:
    """Left, right; a missing one is its twin's absence, not its mirror."""
    if not any(name in moves for name in BLINKS):
        return None
    return np.stack([moves.get(name, np.zeros_like(neutral)) for name in BLINKS], axis=-1)


def _named(columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Expressions of `Pose` whose blendshapes are all there, and every blendshape under its own name."""
    unit = {name: np.eye(len(columns))[place] for place, name in enumerate(columns)}
    common = {
        name: np.sum([unit[part] for part in parts], axis=0)
        for name, parts in NAMED.items()
        if all(part in unit for part in parts)
    }
    return common | unit


def _landmarks(vertices: Sequence[int], faces: Int[np.ndarray, "F 3"]) -> LandmarkEmbedding:
    """The 68 vertices as corners of triangles."""
    corners = faces.reshape(-1)
    order = np.argsort(corners, kind="stable")
    place = order[np.searchsorted(corners[order], vertices)]
    return LandmarkEmbedding(
        indices=torch.arange(len(vertices)),
        faces=torch.from_numpy(place // 3),
        bary=torch.from_numpy(np.eye(3)[place % 3]),
        origin="ict",
    )


def _texture(mesh: ObjMesh, inside: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Texture coordinates of the kept triangles; those of tiles beside the face's lie outside [0, 1]."""
    if mesh.uv is None or mesh.uv_faces is None:
        return None, None
    used, corners = np.unique(mesh.uv_faces[inside], return_inverse=True)
    return mesh.uv[used], corners.reshape(-1, 3)
