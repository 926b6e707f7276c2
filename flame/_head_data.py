"""What a head file holds before it becomes a model: the arrays, their checks and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..geom.errors import ShapeError

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
FLAME_PARENTS = (-1, 0, 1, 1, 1)
CONTOUR_BINS, CONTOUR_COUNT = 79, 17
Array = np.ndarray | Tensor


@dataclass(frozen=True)
class LandmarkEmbedding:
    """Landmarks fixed to a mesh: number ``indices[l]`` of the family is on face ``faces[l]`` at ``bary[l]``.

    Shapes: ``indices (L,)`` int64, ``faces (L,)`` int64, ``bary (L, 3)`` float, each row summing to 1.
    ``origin`` says whose choice of points it is (``deca``, ``flame-static``..), empty where nobody said: two
    embeddings of one family need not agree.
    """

    indices: Tensor
    faces: Tensor
    bary: Tensor
    origin: str = ""

    def completed_by(self, other: LandmarkEmbedding) -> LandmarkEmbedding:
        """These landmarks, and those of another embedding of the family that are not among them."""
        missing = ~torch.isin(other.indices, self.indices)
        if not missing.any():
            return self
        return LandmarkEmbedding(
            indices=torch.cat([self.indices, other.indices[missing]]),
            faces=torch.cat([self.faces, other.faces[missing]]),
            bary=torch.cat([self.bary, other.bary[missing].to(self.bary)]),
            origin=f"{self.origin or 'given'} + {other.origin or 'given'}",
        )


@dataclass(frozen=True)
class ContourTable:
    """FLAME's table of the 17 contour points by yaw: row 0 at rest, 1 .. 39 one way, 40 .. 78 the other way.

    Shapes: ``faces (79, 17)`` int64, ``bary (79, 17, 3)`` float. Which way is left is not part of it:
    published code disagrees (see `contour`).
    """

    faces: Tensor
    bary: Tensor
    origin: str = ""


@dataclass(frozen=True)
class HeadData:
    """The arrays of a head (numpy or torch), before they are checked and become a :class:`HeadModel`.

    Shapes: ``template (V,3)``, ``faces (F,3)``, ``shape_basis (V,3,S)``, ``expression_basis (V,3,E)``,
    ``joint_regressor (J,V)``, ``weights (V,J)``, ``pose_basis (V,3,9*(J-1))``, ``eyelid_basis (V,3,2)``
    (left, right; closed at 1), ``uv (N,2)``, ``uv_faces (F,3)``, each region mask ``(V,)`` bool, each named
    expression ``(E,)``. Missing bases are zeros. ``parents[j] < j``, the root's parent is -1. ``version``
    is a sentence for people: which release it is, and what that was told by. ``shape_names`` and
    ``expression_names`` say what the columns are, where the model has names for them; else they are empty.
    ``joint_template (J,3)`` and ``joint_shape_basis (J,3,S)``, both or neither, give the joints themselves
    where a model has a basis for them; then the regressor is not used, and no expression moves a joint.
    """

    name: str
    template: Array
    faces: Array
    shape_basis: Array
    expression_basis: Array
    joint_regressor: Array
    weights: Array
    licence: str = "unknown"
    pose_basis: Array | None = None
    eyelid_basis: Array | None = None
    parents: tuple[int, ...] = FLAME_PARENTS
    joint_names: tuple[str, ...] = JOINT_NAMES
    landmarks: Mapping[str, LandmarkEmbedding] = field(default_factory=dict)
    contour: ContourTable | None = None
    region_masks: Mapping[str, Array] = field(default_factory=dict)
    uv: Array | None = None
    uv_faces: Array | None = None
    named_expressions: Mapping[str, Array] = field(default_factory=dict)
    version: str = ""
    shape_names: tuple[str, ...] = ()
    expression_names: tuple[str, ...] = ()
    joint_template: Array | None = None
    joint_shape_basis: Array | None = None


def checked_arrays(data: HeadData, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The buffers of a model, ``dtype`` and int64, every shape and index range checked."""
    template, faces = as_float("template", data.template, dtype), as_index("faces", data.faces)
    expect("template", template, (None, 3))
    expect("faces", faces, (None, 3))
    count, joints = len(template), len(data.parents)
    _check_tree(data.parents, data.joint_names)
    _check_range("faces", faces, count, "vertices")
    arrays = {
        "template": template,
        "faces": faces,
        "shape_basis": as_float("shape_basis", data.shape_basis, dtype),
        "expression_basis": as_float("expression_basis", data.expression_basis, dtype),
        "pose_basis": _or_zeros("pose_basis", data.pose_basis, (count, 3, 9 * (joints - 1)), dtype),
        "joint_regressor": as_float("joint_regressor", data.joint_regressor, dtype),
        "weights": as_float("weights", data.weights, dtype),
        "eyelid_basis": _or_zeros("eyelid_basis", data.eyelid_basis, (count, 3, 2), dtype),
    }
    expect("shape_basis", arrays["shape_basis"], (count, 3, None))
    expect("expression_basis", arrays["expression_basis"], (count, 3, None))
    expect("pose_basis", arrays["pose_basis"], (count, 3, 9 * (joints - 1)))
    expect("joint_regressor", arrays["joint_regressor"], (joints, count))
    expect("weights", arrays["weights"], (count, joints))
    expect("eyelid_basis", arrays["eyelid_basis"], (count, 3, 2))
    if (data.joint_template is None) != (data.joint_shape_basis is None):
        raise ShapeError("joint_template, joint_shape_basis: expected both or neither, got one of them")
    if data.joint_template is not None and data.joint_shape_basis is not None:
        arrays["joint_template"] = as_float("joint_template", data.joint_template, dtype)
        arrays["joint_shape_basis"] = as_float("joint_shape_basis", data.joint_shape_basis, dtype)
        expect("joint_template", arrays["joint_template"], (joints, 3))
        expect("joint_shape_basis", arrays["joint_shape_basis"], (joints, 3, arrays["shape_basis"].shape[2]))
    for key, value in arrays.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ShapeError(f"{key}: expected finite numbers, got NaN or infinity")
    return arrays


def checked_landmarks(
    landmarks: Mapping[str, LandmarkEmbedding], faces: int, dtype: torch.dtype = torch.float32
) -> dict[str, LandmarkEmbedding]:
    """Embeddings with int64 indices and weights of ``dtype`` that point inside the mesh."""
    checked = {}
    for family, embedding in landmarks.items():
        name = f"landmarks[{family!r}]"
        indices = as_index(f"{name}.indices", embedding.indices)
        face = as_index(f"{name}.faces", embedding.faces)
        bary = as_float(f"{name}.bary", embedding.bary, dtype)
        expect(f"{name}.indices", indices, (None,))
        expect(f"{name}.faces", face, (len(indices),))
        expect(f"{name}.bary", bary, (len(indices), 3))
        _check_range(f"{name}.faces", face, faces, "faces")
        _check_bary(f"{name}.bary", bary)
        checked[family] = LandmarkEmbedding(indices, face, bary, embedding.origin)
    return checked


def checked_contour(
    table: ContourTable | None, faces: int, dtype: torch.dtype = torch.float32
) -> ContourTable | None:
    """A contour table that points inside the mesh."""
    if table is None:
        return None
    face, bary = as_index("contour.faces", table.faces), as_float("contour.bary", table.bary, dtype)
    expect("contour.faces", face, (CONTOUR_BINS, CONTOUR_COUNT))
    expect("contour.bary", bary, (CONTOUR_BINS, CONTOUR_COUNT, 3))
    _check_range("contour.faces", face, faces, "faces")
    _check_bary("contour.bary", bary.flatten(0, 1))
    return ContourTable(face, bary, table.origin)


def checked_masks(masks: Mapping[str, Array], count: int) -> dict[str, Tensor]:
    """Region masks as bool ``(V,)``."""
    checked = {}
    for name, mask in masks.items():
        if _dtype_kind(mask) != "b":
            raise ShapeError(f"region_masks[{name!r}]: expected bool ({count},), got {mask.dtype}")
        checked[name] = torch.from_numpy(np.array(mask, dtype=bool))
        expect(f"region_masks[{name!r}]", checked[name], (count,))
    return checked


def checked_expressions(
    named: Mapping[str, Array], width: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Named expression vectors ``(E,)``."""
    checked = {name: as_float(f"named_expressions[{name!r}]", value, dtype) for name, value in named.items()}
    for name, vector in checked.items():
        expect(f"named_expressions[{name!r}]", vector, (width,))
    return checked


def checked_names(name: str, names: Sequence[str], width: int) -> tuple[str, ...]:
    """Names of a basis's columns: none, or one each."""
    if names and len(names) != width:
        raise ShapeError(f"{name}: expected {width}, one a column, or none, got {len(names)}")
    return tuple(str(text) for text in names)


def checked_uv(
    data: HeadData, faces: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor | None, Tensor | None]:
    """Texture coordinates and their faces, both or neither."""
    if (data.uv is None) != (data.uv_faces is None):
        raise ShapeError("uv, uv_faces: expected both or neither, got one of them")
    if data.uv is None or data.uv_faces is None:
        return None, None
    uv, uv_faces = as_float("uv", data.uv, dtype), as_index("uv_faces", data.uv_faces)
    expect("uv", uv, (None, 2))
    expect("uv_faces", uv_faces, (faces, 3))
    _check_range("uv_faces", uv_faces, len(uv), "uv points")
    return uv, uv_faces


def digest(arrays: Mapping[str, Tensor], parents: Sequence[int], joint_names: Sequence[str]) -> str:
    """The sha256 of what gives the parameters their meaning: bases, skinning, joints; not landmarks or masks.

    Taken over little-endian float32 and int64 bytes with their names and shapes, so that a file and its
    conversion agree, and a head read in float64 is the same head. Eyelids count only where a head has them.
    """
    total = hashlib.sha256(repr((tuple(parents), tuple(joint_names))).encode())
    for key, value in arrays.items():
        if key == "eyelid_basis" and not value.any():
            continue
        array = (value.float() if value.is_floating_point() else value).cpu().numpy()
        total.update(f"{key}{array.shape}".encode())
        total.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return total.hexdigest()


def expect(name: str, value: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raises unless ``value`` has ``shape`` (None: any size)."""
    if value.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, value.shape, strict=True)):
        return
    wanted = ", ".join("*" if s is None else str(s) for s in shape) + ("," if len(shape) == 1 else "")
    raise ShapeError(f"{name}: expected ({wanted}), got {tuple(value.shape)}")


def as_float(name: str, values: Array, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy as floats."""
    _check_kind(name, values, "fiu", "numbers")
    if isinstance(values, Tensor):
        return values.detach().to("cpu", dtype, copy=True).contiguous()
    kind = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(np.array(values, dtype=kind, order="C")).to(dtype)


def as_index(name: str, values: Array) -> Tensor:
    """An int64 copy."""
    _check_kind(name, values, "iu", "integers")
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.int64, copy=True).contiguous()
    return torch.from_numpy(np.array(values, dtype=np.int64, order="C"))


def _check_kind(name: str, values: Array, kinds: str, wanted: str) -> None:
    if _dtype_kind(values) not in kinds:
        raise ShapeError(f"{name}: expected {wanted}, got {getattr(values, 'dtype', type(values).__name__)}")


def _dtype_kind(values: Array) -> str:
    if isinstance(values, Tensor):
        values = torch.empty(0, dtype=values.dtype).numpy()
    return np.asarray(values).dtype.kind


def _check_bary(name: str, bary: Tensor) -> None:
    if len(bary) and not (bary.sum(1) - 1).abs().max() < 1e-3:
        worst = int((bary.sum(1) - 1).abs().argmax())
        raise ShapeError(f"{name}: expected rows that sum to 1, row {worst} is {bary[worst].tolist()}")


def _or_zeros(name: str, values: Array | None, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.zeros(shape, dtype=dtype) if values is None else as_float(name, values, dtype)


def _check_range(name: str, values: Tensor, limit: int, of: str) -> None:
    if values.numel() and (int(values.min()) < 0 or int(values.max()) >= limit):
        got = f"{int(values.min())}..{int(values.max())}"
        raise ShapeError(f"{name}: expected indices below {limit} ({of}), got {got}")


def _check_tree(parents: Sequence[int], names: Sequence[str]) -> None:
    if len(parents) != len(names):
        raise ShapeError(f"joint_names: expected {len(parents)}, one a parent, got {len(names)}")
    if not parents or parents[0] != -1 or any(not 0 <= p < j for j, p in enumerate(parents) if j):
        raise ShapeError(f"parents: expected -1 first, then parents[j] < j, got {tuple(parents)}")
