"""The parametric head: shape, expression, pose correctives and linear blend skinning in FLAME's order.

One code path poses every head (FLAME, an ICT-FaceKit conversion, the built-in one). The mathematics are pure
functions; :class:`HeadModel` owns the buffers and nothing else. Axes are FLAME's: x to the subject's left,
y up, z out of the face, metres; rotations are axis-angle in radians.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..geom.errors import ShapeError
from ._head_data import (
    FLAME_PARENTS,
    JOINT_NAMES,
    ContourTable,
    HeadData,
    LandmarkEmbedding,
    checked_arrays,
    checked_contour,
    checked_expressions,
    checked_landmarks,
    checked_masks,
    checked_names,
    checked_uv,
    digest,
)
from ._pose_arguments import (
    coefficients,
    common_batch,
    given_turns,
    joint_rotations,
    part,
    vector,
    vertex_indices,
)
from .skinning import (
    add_basis,
    columns_first,
    joint_transforms,
    linear_blend_skinning,
    pose_features,
    shaped_vertices,
)

__all__ = [
    "FLAME_PARENTS",
    "JOINT_NAMES",
    "ContourTable",
    "HeadData",
    "HeadModel",
    "LandmarkEmbedding",
    "LandmarkModel",
    "joint_transforms",
    "landmark_points",
    "linear_blend_skinning",
    "pose_vertices",
    "posed_joints",
    "restrict",
    "restrict_to",
    "shaped_vertices",
    "with_landmarks",
]


@dataclass(frozen=True)
class LandmarkModel:
    """A head seen only at its L landmarks: what a fit to landmarks touches instead of the mesh.

    ``mean (L,3)``, ``shape_basis (L,3,S)``, ``expression_basis (L,3,E)``, ``eyelid_basis (L,3,2)``,
    ``pose_basis (L,3,9*(J-1))``, ``weights (L,J)``, ``joint_template (J,3)``, ``joint_shape_basis (J,3,S)``,
    ``joint_expression_basis (J,3,E)``, ``indices (L,)``: which landmarks of the family these are.
    """

    mean: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    eyelid_basis: Tensor
    pose_basis: Tensor
    weights: Tensor
    joint_template: Tensor
    joint_shape_basis: Tensor
    joint_expression_basis: Tensor
    indices: Tensor
    parents: tuple[int, ...] = FLAME_PARENTS
    joint_names: tuple[str, ...] = JOINT_NAMES

    @property
    def template(self) -> Tensor:
        """The rest positions ``(L, 3)``, under the name a :class:`HeadModel` gives them."""
        return self.mean

    @property
    def pose_joints(self) -> tuple[int, ...]:
        """Joints that have pose correctives: all but the root."""
        return tuple(range(1, len(self.parents)))


class HeadModel(nn.Module):
    """A parametric head: buffers of ``dtype`` that move and cast with ``.to(..)``.

    ``dtype=torch.float64`` keeps every digit of the arrays; ``.double()`` afterwards widens rounded ones.

    Buffers: ``template (V,3)``, ``faces (F,3)`` int64, ``shape_basis (V,3,S)``, ``expression_basis (V,3,E)``,
    ``pose_basis (V,3,9*(J-1))``, ``joint_regressor (J,V)``, ``weights (V,J)``, ``eyelid_basis (V,3,2)``, and
    from these ``joint_template (J,3)``, ``joint_shape_basis (J,3,S)``, ``joint_expression_basis (J,3,E)``
    (of the file itself where ``explicit_joints``).
    Attributes: ``name``, ``licence``, ``version``, ``model_id`` (name and 12 hex digits of a sha256 over what
    gives the parameters their meaning), ``parents``, ``joint_names``, ``landmarks``, ``contour``,
    ``region_masks``, ``uv``, ``uv_faces``, ``stored_expressions``, ``shape_names`` and ``expression_names``
    (of the columns, or empty), ``pose_joints`` (those whose correctives are not all zero).

    Raises:
        ShapeError: an array has not the shape of :class:`HeadData`, or an index points outside the mesh.
    """

    template: Tensor
    faces: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    pose_basis: Tensor
    joint_regressor: Tensor
    weights: Tensor
    eyelid_basis: Tensor
    joint_template: Tensor
    joint_shape_basis: Tensor
    joint_expression_basis: Tensor

    def __init__(self, data: HeadData, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        arrays = checked_arrays(data, dtype)
        self.explicit_joints = "joint_template" in arrays
        for key, value in arrays.items():
            self.register_buffer(key, columns_first(value) if key.endswith("_basis") else value)
        self.name, self.licence, self.version = data.name, data.licence, data.version
        self.parents, self.joint_names = tuple(data.parents), tuple(data.joint_names)
        self.landmarks = checked_landmarks(data.landmarks, len(self.faces), dtype)
        self.contour = checked_contour(data.contour, len(self.faces), dtype)
        self.region_masks = checked_masks(data.region_masks, len(self.template))
        self.uv, self.uv_faces = checked_uv(data, len(self.faces), dtype)
        width = self.expression_basis.shape[2]
        self.stored_expressions = checked_expressions(data.named_expressions, width, dtype)
        self._derived_expressions: dict[str, Tensor] = {}
        self.shape_names = checked_names("shape_names", data.shape_names, self.shape_basis.shape[2])
        self.expression_names = checked_names(
            "expression_names", data.expression_names, self.expression_basis.shape[2]
        )
        self.model_id = f"{data.name}-{digest(arrays, self.parents, self.joint_names)[:12]}"
        used = self.pose_basis.reshape(-1, len(self.parents) - 1, 9).abs().amax((0, 2)) > 0
        self.pose_joints = tuple(j for j in range(1, len(self.parents)) if used[j - 1])
        for key, value in _joint_bases(self).items():
            self.register_buffer(key, value, persistent=False)

    @property
    def named_expressions(self) -> dict[str, Tensor]:
        """Expression coefficients ``(E,)`` by name (``smile``..): the file's, else derived at first use."""
        if self.stored_expressions:
            return dict(self.stored_expressions)
        if not self._derived_expressions:
            from .expressions import named_expressions

            self._derived_expressions = dict(named_expressions(self))
        return dict(self._derived_expressions)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HeadModel:
        """Moves and casts what is not a buffer too; joints are derived anew so that float64 is float64."""
        before = self.template.dtype
        super()._apply(fn, recurse)
        self.landmarks = {
            k: replace(v, indices=fn(v.indices), faces=fn(v.faces), bary=fn(v.bary))
            for k, v in self.landmarks.items()
        }
        if self.contour is not None:
            table = self.contour
            self.contour = replace(table, faces=fn(table.faces), bary=fn(table.bary))
        self.region_masks = {k: fn(v) for k, v in self.region_masks.items()}
        self.stored_expressions = {k: fn(v) for k, v in self.stored_expressions.items()}
        self._derived_expressions = {k: fn(v) for k, v in self._derived_expressions.items()}
        self.uv = None if self.uv is None else fn(self.uv)
        self.uv_faces = None if self.uv_faces is None else fn(self.uv_faces)
        if self.template.dtype != before:
            for key, value in _joint_bases(self).items():
                setattr(self, key, value)
        return self


def with_landmarks(model: HeadModel, landmarks: Mapping[str, LandmarkEmbedding]) -> HeadModel:
    """The same head, arrays shared, with these landmark embeddings in place of its own.

    Args:
        model: any head.
        landmarks: embeddings by family.

    Raises:
        ShapeError: an embedding points outside the mesh.
    """
    twin = copy.copy(model)
    twin._buffers = dict(model._buffers)  # so that moving one leaves the other where it is
    checked = checked_landmarks(landmarks, len(model.faces))
    device = model.template.device
    twin.landmarks = {
        k: replace(v, indices=v.indices.to(device), faces=v.faces.to(device), bary=v.bary.to(model.template))
        for k, v in checked.items()
    }
    twin._derived_expressions = {}
    return twin


def pose_vertices(
    model: HeadModel | LandmarkModel,
    shape: Float[Tensor, "... s"],
    expression: Float[Tensor, "#B e"],
    *,
    rotation: Float[Tensor, "#B 3"] | None = None,
    translation: Float[Tensor, "#B 3"] | None = None,
    neck: Float[Tensor, "#B 3"] | None = None,
    jaw: Float[Tensor, "#B 3"] | None = None,
    eyes: Float[Tensor, "#B 6"] | None = None,
    eyelids: Float[Tensor, "#B 2"] | None = None,
    vertices: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, "B N 3"]:
    """The posed points of a head in the model frame, metres, in FLAME's order.

    Template + shape + expression; joints from that; + eyelids + pose correctives vec(R_j - I); skinning;
    + translation. Eyelids come before skinning, so that they turn with the head (some trackers err here).

    Args:
        model: a head, or its landmarks (:func:`restrict`); dtype and device of the result are the model's.
        shape: ``(s,)`` or ``(B, s)``, s <= S: leading columns are used.
        expression: ``(B, e)``, e <= E; ``(B, 0)`` for none.
        rotation: of the root about the root joint; axis-angle. None, here and below: zero at no cost.
        translation: metres, after everything.
        neck: axis-angle, relative to the root.
        jaw: axis-angle; +x opens.
        eyes: axis-angle of the left, then of the right eye.
        eyelids: left, right; 0 rest, 1 closed.
        vertices: pose only these points (an index tensor); results equal the same rows of the whole mesh.

    Returns:
        Points; every batch is B or 1, the result has the largest. Differentiable in all parameters.

    Raises:
        ShapeError: a parameter has a wrong shape, or the model lacks the joint.

    Example:
        >>> from headwarp.flame.io import load_head
        >>> head, none = load_head("builtin"), torch.zeros(1, 0)
        >>> verts = pose_vertices(head, none, none, jaw=torch.tensor([[0.2, 0.0, 0.0]]))
        >>> verts.shape == (1, *head.template.shape)
        True
    """
    rows = None if vertices is None else vertex_indices(vertices, len(model.template))
    shape = coefficients(model, "shape", shape, model.shape_basis.shape[2])
    expression = coefficients(model, "expression", expression, model.expression_basis.shape[2])
    turns = given_turns(model, rotation, neck, jaw, eyes)
    eyelids = vector(model, "eyelids", eyelids, 2)
    translation = vector(model, "translation", translation, 3)
    given = [shape, expression, *turns.values(), eyelids, translation]
    batch = common_batch([v for v in given if v is not None])

    joints = _resting_joints(model, shape, expression).expand(batch, -1, -1)
    template = model.template if rows is None else model.template[rows]
    flat = shaped_vertices(
        template,
        shape_basis=part(model.shape_basis, rows, stop=shape.shape[1]),
        shape=shape,
        expression_basis=part(model.expression_basis, rows, stop=expression.shape[1]),
        expression=expression,
    ).flatten(1)
    if eyelids is not None:
        flat = add_basis(flat, part(model.eyelid_basis, rows, stop=2), eyelids)
    rotations, moving = joint_rotations(model, turns, batch)
    if moving:  # the columns from the first moving joint to the last, though one between may rest
        first, last = min(moving), max(moving)
        basis = part(model.pose_basis, rows, start=9 * (first - 1), stop=9 * last)
        flat = add_basis(flat, basis, pose_features(rotations[:, first : last + 1]))
    transforms = joint_transforms(joints, rotations, parents=model.parents)
    weights = model.weights if rows is None else model.weights[rows]
    posed = linear_blend_skinning(flat.unflatten(1, template.shape), transforms, weights=weights)
    return posed if translation is None else posed + translation[:, None]


def posed_joints(
    model: HeadModel | LandmarkModel,
    shape: Float[Tensor, "... s"],
    expression: Float[Tensor, "#B e"],
    *,
    rotation: Float[Tensor, "#B 3"] | None = None,
    translation: Float[Tensor, "#B 3"] | None = None,
    neck: Float[Tensor, "#B 3"] | None = None,
    jaw: Float[Tensor, "#B 3"] | None = None,
    eyes: Float[Tensor, "#B 6"] | None = None,
) -> Float[Tensor, "B J 3"]:
    """Where the joints of the posed head are, model frame, metres, in the order of ``model.joint_names``.

    Joints follow shape and expression; the arguments, their gradients and errors are those of
    :func:`pose_vertices`. The root's own rotation leaves the root joint in place: it is the pivot.

    Example:
        >>> from headwarp.flame.io import load_head
        >>> head, none, turn = load_head("builtin"), torch.zeros(1, 0), torch.tensor([[0.0, 1.0, 0.0]])
        >>> joints = posed_joints(head, none, none, rotation=turn)
        >>> torch.allclose(joints[0, 0], head.joint_template[0])
        True
    """
    shape = coefficients(model, "shape", shape, model.shape_basis.shape[2])
    expression = coefficients(model, "expression", expression, model.expression_basis.shape[2])
    turns = given_turns(model, rotation, neck, jaw, eyes)
    translation = vector(model, "translation", translation, 3)
    given = [shape, expression, *turns.values(), translation]
    batch = common_batch([v for v in given if v is not None])
    resting = _resting_joints(model, shape, expression).expand(batch, -1, -1)
    rotations, _ = joint_rotations(model, turns, batch)
    transforms = joint_transforms(resting, rotations, parents=model.parents)
    placed = (transforms[..., :3] @ resting[..., None])[..., 0] + transforms[..., 3]  # (B, J, 3)
    return placed if translation is None else placed + translation[:, None]


def landmark_points(model: HeadModel, verts: Float[Tensor, "B V 3"], family: str) -> Float[Tensor, "B L 3"]:
    """The landmarks of a family (``"mediapipe"``, ``"ibug68"``) on posed vertices, in their frame and unit.

    Row l is landmark ``model.landmarks[family].indices[l]``. Differentiable in ``verts``.

    Args:
        model: whose landmarks they are.
        verts: posed vertices of the whole mesh, in any frame and unit.
        family: of the landmarks.

    Raises:
        ShapeError: the model has no such landmarks, or ``verts`` are not those of its whole mesh.

    Example:
        >>> from headwarp.flame.io import load_head
        >>> head = load_head("builtin")
        >>> landmark_points(head, head.template[None], "mediapipe").shape
        torch.Size([1, 478, 3])
    """
    embedding = _embedding(model, family)
    count = len(model.template)
    if verts.ndim != 3 or verts.shape[1:] != (count, 3):
        raise ShapeError(
            f"verts: expected (B, {count}, 3), got {tuple(verts.shape)}; pose the whole mesh first"
        )
    corners = model.faces[embedding.faces].to(verts.device)  # (L, 3)
    return torch.einsum("blkc,lk->blc", verts[:, corners], embedding.bary.to(verts))


def restrict(model: HeadModel, family: str) -> LandmarkModel:
    """The head at the landmarks of one family: bases and skinning weights, combined barycentrically.

    :func:`pose_vertices` takes the result. It equals the landmarks of the posed mesh where the corners
    of a landmark's face share their skinning weights, or the joints move rigidly together; elsewhere weights
    and positions multiply, and the difference is of second order in the size of the triangle.

    Args:
        model: any head.
        family: of its landmarks: ``"mediapipe"``, ``"ibug68"``.

    Raises:
        ShapeError: the model has no such landmarks.
    """
    return restrict_to(model, _embedding(model, family))


def restrict_to(model: HeadModel, embedding: LandmarkEmbedding) -> LandmarkModel:
    """The head at any points of its mesh, as :func:`restrict`.

    Args:
        model: any head.
        embedding: points on its triangles.
    """
    corners = model.faces[embedding.faces]  # (L, 3)

    def at_landmarks(values: Tensor) -> Tensor:
        return torch.einsum("lk...,lk->l...", values[corners], embedding.bary)

    return LandmarkModel(
        mean=at_landmarks(model.template),
        shape_basis=at_landmarks(model.shape_basis),
        expression_basis=at_landmarks(model.expression_basis),
        eyelid_basis=at_landmarks(model.eyelid_basis),
        pose_basis=at_landmarks(model.pose_basis),
        weights=at_landmarks(model.weights),
        joint_template=model.joint_template,
        joint_shape_basis=model.joint_shape_basis,
        joint_expression_basis=model.joint_expression_basis,
        indices=embedding.indices,
        parents=model.parents,
        joint_names=model.joint_names,
    )


def _joint_bases(model: HeadModel) -> dict[str, Tensor]:
    """The joints as affine functions of the coefficients, so that no pose needs the whole mesh for them.

    Where the head's file gave joints of their own, only the rest: no expression moves them.
    """
    if model.explicit_joints:
        count, width = len(model.parents), model.expression_basis.shape[2]
        return {"joint_expression_basis": model.template.new_zeros(count, 3, width)}
    regressor = model.joint_regressor.detach().double()
    rows = (regressor != 0).any(0).nonzero()[:, 0]

    def of_joints(values: Tensor) -> Tensor:
        return torch.einsum("jv,v...->j...", regressor[:, rows], values[rows].double()).to(
            model.template.dtype
        )

    return {
        "joint_template": of_joints(model.template),
        "joint_shape_basis": of_joints(model.shape_basis),
        "joint_expression_basis": of_joints(model.expression_basis),
    }


def _resting_joints(model: HeadModel | LandmarkModel, shape: Tensor, expression: Tensor) -> Tensor:
    """The joints of the unposed head ``(#B, J, 3)``."""
    return shaped_vertices(
        model.joint_template,
        shape_basis=model.joint_shape_basis,
        shape=shape,
        expression_basis=model.joint_expression_basis,
        expression=expression,
    )


def _embedding(model: HeadModel, family: str) -> LandmarkEmbedding:
    if family not in model.landmarks:
        known = ", ".join(sorted(model.landmarks)) or "none"
        raise ShapeError(
            f"landmarks: expected the family {family!r}, this head ({model.model_id}) has {known}; "
            "load it with an embedding file: load_head(FILE, landmarks=...)"
        )
    return model.landmarks[family]
