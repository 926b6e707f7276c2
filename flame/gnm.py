"""Google's GNM Head (``gnm_head.npz``, version 3) as a head of this library.

GNM has four joints (neck, head, two eyes) and no jaw: its mouth is expression. Its neck is the root here and
its head joint the neck, which move the same vertices by the same turns; a jaw joint is added that moves
nothing. Joints follow the identity by a basis of their own, not by a regressor. Facts from the field list of
GNM 3.0 and its published formal definition; [GNM] in docs/references.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ..geom.errors import ModelFileError
from ._gnm_landmarks import LANDMARK_FILE, sparse_landmarks
from ._head_data import HeadData

NAME = "gnm"
LICENCE = "GNM, Apache-2.0, Copyright 2026 Google LLC: github.com/google/GNM"
JOINTS = ("neck", "head", "left_eye", "right_eye")
MARK = "template_vertex_positions"
_PARENTS = (0, 1, 1)  # of all but the first
_KEYS = (
    *(MARK, "template_joint_positions", "vertex_identity_basis", "joint_identity_basis", "expression_basis"),
    *("skinning_weights", "joint_parent_indices", "joint_names", "version", "variant"),
)
_ROWS = (0, 1, 3, 4)  # of GNM's joints among root, neck, jaw, left eye, right eye
_JAW_FROM_EYES = np.array([0.0, -0.038, -0.057])  # metres, as in the built-in head
_NO_FACE = ("tongue", "pupils", "eyeballs")  # expressions that no landmark of the face shows
_MEMBER = 0.5
_UNIONS: dict[str, tuple[str, ...]] = {
    "face": ("hockey_mask",),
    "left_eyeball": ("left_eye",),
    "right_eyeball": ("right_eye",),
    "lips": ("upper_lip", "lower_lip"),
    "teeth": ("upper_teeth_and_gums", "lower_teeth_and_gums", "teeth"),
    "mouth_interior": (
        "mouth_sock",
        "teeth",
        "upper_teeth_and_gums",
        "lower_teeth_and_gums",
        "gums",
        "tongue",
    ),
}


def is_gnm(content: Mapping[str, object]) -> bool:
    """Whether the arrays are those of a GNM model."""
    return MARK in content


def gnm_head(content: Mapping[str, object], path: Path) -> HeadData:
    """The head in GNM's arrays.

    Expression columns are sorted by how far they move the head, the largest first (GNM lists them by region,
    so that its first hundred move one eye alone); those of tongue and pupils come last. ``expression_names``
    and ``shape_names`` say which is which. Landmarks are the 68 of ``head_sparse_68.txt`` where it lies
    beside the file, or in GNM's own folders.

    Raises:
        ModelFileError: keys are missing, shapes or the version are not GNM Head 3's, or a corrective of the
            first joint is not zero: it turns with the whole head here, and must not deform it.
    """
    arrays = _checked(content, path)
    triangles, uv, uv_faces = _triangles(content, path, len(arrays[MARK]))
    names = _names(content, "expression_names", len(arrays["expression_basis"]), path)
    order = _by_size(arrays["expression_basis"], names)
    template = arrays[MARK]
    joints = arrays["template_joint_positions"]
    moves = arrays["joint_identity_basis"].transpose(1, 2, 0)  # (4, 3, S)
    weights = np.zeros((len(template), 5))
    weights[:, _ROWS] = arrays["skinning_weights"].T
    found = next((file for file in _landmark_files(path) if file.is_file()), None)
    landmarks = {} if found is None else {"ibug68": sparse_landmarks(found, template, triangles)}
    return HeadData(
        name=NAME,
        licence=LICENCE,
        version=f"GNM Head {content['version']}",
        template=template,
        faces=triangles,
        shape_basis=arrays["vertex_identity_basis"].transpose(1, 2, 0),  # (V, 3, S)
        expression_basis=arrays["expression_basis"][order].transpose(1, 2, 0),  # (V, 3, E)
        pose_basis=_correctives(content, path, len(template)),
        joint_regressor=_regressor(content, path, len(template)),
        joint_template=_with_jaw(joints, joints[2:].mean(0) + _JAW_FROM_EYES),
        joint_shape_basis=_with_jaw(moves, moves[2:].mean(0)),
        weights=weights,
        landmarks=landmarks,
        region_masks=_masks(content, path, weights),
        uv=uv,
        uv_faces=uv_faces,
        shape_names=tuple(_names(content, "identity_names", len(arrays["vertex_identity_basis"]), path)),
        expression_names=tuple(names[place] for place in order) if names else (),
    )


def _landmark_files(path: Path) -> tuple[Path, ...]:
    """Beside the model, or where GNM's repository has it from there."""
    return path.parent / LANDMARK_FILE, path.parent.parent.parent / "landmarks" / LANDMARK_FILE


def _checked(content: Mapping[str, object], path: Path) -> dict[str, np.ndarray]:
    """The arrays of numbers, float, of GNM's shapes."""
    absent = [key for key in _KEYS if not isinstance(content.get(key), np.ndarray)]
    if absent:
        raise ModelFileError(f"{path}: expected the keys of a GNM head, {', '.join(absent)} missing")
    version, variant = str(content["version"]), str(content["variant"])
    if version.split(".")[0] != "3" or variant != "head":
        raise ModelFileError(f"{path}: expected GNM Head of version 3, got {variant!r} {version!r}")
    names = tuple(str(name) for name in np.ravel(np.asarray(content["joint_names"])))
    if names != JOINTS:
        raise ModelFileError(f"{path}: joint_names: expected {', '.join(JOINTS)}, got {', '.join(names)}")
    parents = np.ravel(np.asarray(content["joint_parent_indices"])).tolist()
    if len(parents) != 4 or tuple(parents[1:]) != _PARENTS:
        raise ModelFileError(
            f"{path}: joint_parent_indices: expected head on neck and eyes on head, got {parents}"
        )
    count = len(np.atleast_1d(np.asarray(content[MARK])))
    wanted: dict[str, tuple[int | None, ...]] = {
        MARK: (count, 3),
        "template_joint_positions": (4, 3),
        "vertex_identity_basis": (None, count, 3),
        "joint_identity_basis": (None, 4, 3),
        "expression_basis": (None, count, 3),
        "skinning_weights": (4, count),
    }
    arrays = {key: _numbers(content[key], shape, f"{path}: {key}") for key, shape in wanted.items()}
    persons = [len(arrays[key]) for key in ("vertex_identity_basis", "joint_identity_basis")]
    if persons[0] != persons[1]:
        raise ModelFileError(
            f"{path}: expected as many identities of joints as of vertices ({persons[0]}), got {persons[1]}"
        )
    return arrays


def _numbers(value: object, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    array = np.asarray(value)
    fits = array.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "fiu":
        wanted = ", ".join("*" if s is None else str(s) for s in shape)
        raise ModelFileError(f"{name}: expected numbers ({wanted}), got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise ModelFileError(f"{name}: expected finite numbers, got NaN or infinity")
    return array if array.dtype.kind == "f" and array.itemsize >= 4 else array.astype(np.float32)


def _names(content: Mapping[str, object], key: str, count: int, path: Path) -> list[str]:
    """Names of a basis's components; empty where the file has none."""
    names = [str(name) for name in np.ravel(np.asarray(content.get(key, ())))]
    if names and len(names) != count:
        raise ModelFileError(f"{path}: {key}: expected {count} names, got {len(names)}")
    return names


def _by_size(basis: Float[np.ndarray, "E V 3"], names: list[str]) -> Int[np.ndarray, " E"]:
    """Order of the components: those of the face by how far they move the head, then tongue and pupils."""
    size = np.sqrt(np.square(basis.astype(np.float64)).sum((1, 2)))
    late = np.array([name.startswith(_NO_FACE) for name in names] or [False] * len(basis))
    return np.lexsort((-size, late))


def _with_jaw(values: Float[np.ndarray, "4 *K"], jaw: Float[np.ndarray, "*K"]) -> Float[np.ndarray, "5 *K"]:
    """Rows of GNM's joints with one for the jaw between."""
    rows = np.empty((5, *values.shape[1:]), values.dtype)
    rows[list(_ROWS)], rows[2] = values, jaw
    return rows


def _correctives(content: Mapping[str, object], path: Path, count: int) -> Float[np.ndarray, "V 3 36"] | None:
    """GNM's ``(36, 3 V)`` as ours: the head's columns are the neck's, the jaw has none."""
    if "pose_correctives_regressor" not in content:
        return None
    name = f"{path}: pose_correctives_regressor"
    given = _numbers(content["pose_correctives_regressor"], (36, 3 * count), name)
    if not given.any():
        return None
    if given[:9].any():
        raise ModelFileError(
            f"{name}: expected zeros for the first joint, the neck, which turns the whole head here, got a "
            "corrective; this is not the released GNM Head 3.0"
        )
    columns = given[9:].reshape(3, 9, count, 3).transpose(2, 3, 0, 1)  # (V, 3, joint, 9)
    basis = np.zeros((count, 3, 4, 9), given.dtype)
    basis[:, :, [0, 2, 3]] = columns  # neck, jaw, left eye, right eye
    return basis.reshape(count, 3, 36)


def _regressor(content: Mapping[str, object], path: Path, count: int) -> Float[np.ndarray, "5 V"]:
    """GNM's own, which it does not use; zeros for the jaw."""
    regressor = np.zeros((5, count), np.float32)
    if "joint_regressor" in content:
        name = f"{path}: joint_regressor"
        regressor[list(_ROWS)] = _numbers(content["joint_regressor"], (4, count), name)
    return regressor


def _triangles(
    content: Mapping[str, object], path: Path, count: int
) -> tuple[Int[np.ndarray, "F 3"], np.ndarray | None, np.ndarray | None]:
    """Triangles (or quads split along their first diagonal) and the texture coordinates of their corners."""
    kind = next((kind for kind in ("triangles", "quads") if kind in content), None)
    if kind is None:
        raise ModelFileError(f"{path}: expected triangles or quads, got neither")
    width = 3 if kind == "triangles" else 4
    polygons = np.asarray(content[kind])
    if polygons.ndim != 2 or polygons.shape[1] != width or polygons.dtype.kind not in "iu":
        raise ModelFileError(
            f"{path}: {kind}: expected whole numbers (*, {width}), got {polygons.dtype} {polygons.shape}"
        )
    if polygons.size and not 0 <= polygons.min() <= polygons.max() < count:
        raise ModelFileError(f"{path}: {kind}: expected vertices below {count}, got {polygons.max()}")
    corners = [[0, 1, 2]] if width == 3 else [[0, 1, 2], [0, 2, 3]]
    triangles = polygons.astype(np.int64)[:, corners].reshape(-1, 3)
    key = f"{kind[:-1]}_uvs"
    if key not in content:
        return triangles, None, None
    places = _numbers(content[key], (len(polygons), width, 2), f"{path}: {key}")[:, corners].reshape(-1, 2)
    uv, index = np.unique(places, axis=0, return_inverse=True)
    return triangles, uv, index.reshape(-1, 3).astype(np.int64)


def _masks(
    content: Mapping[str, object], path: Path, weights: Float[np.ndarray, "V 5"]
) -> dict[str, np.ndarray]:
    """GNM's vertex groups, and the regions that this library asks for made of them."""
    body = {"body": weights[:, 0] > 0.98}
    if "vertex_groups" not in content:
        return body
    names = [str(name) for name in np.ravel(np.asarray(content.get("vertex_group_names", ())))]
    groups = _numbers(content["vertex_groups"], (len(names), len(weights)), f"{path}: vertex_groups")
    own = {name: group > _MEMBER for name, group in zip(names, groups, strict=True)}
    unions = {
        name: np.logical_or.reduce([own[part] for part in parts if part in own])
        for name, parts in _UNIONS.items()
        if any(part in own for part in parts)
    }
    return own | unions | body
