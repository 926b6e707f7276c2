"""A fit as what glTF can play: a rest mesh, morph targets, a skeleton and their keys, exactly.

glTF knows linear morph targets and linear blend skinning with fixed bind matrices. FLAME has two things more:

- Pose correctives are linear in ``vec(R_j - I)``, so the nine columns of a joint become nine morph
  targets whose weights are keyed per frame.
- Joints follow the expression, while bind matrices stay. With rest joint ``a``, its parent's ``b`` and
  the joint's shift ``d`` by the expression, a local translation ``a - b + (I - R) d`` puts every bone
  where FLAME has it.

Both are exact at the keys. Axes are FLAME's and glTF's alike: x to the subject's left, y up, z to the
front, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...geom.transforms import axis_angle_to_matrix, axis_angle_to_quaternion
from ..model import HeadModel
from ..params import HeadParams
from ..skinning import pose_features
from ._frames import check_finite

NEGLIGIBLE = 1e-9  # metres: a morph target that never moves a vertex farther is left out


@dataclass(frozen=True)
class Rig:
    """Everything in float64, T frames.

    Attributes:
        vertices: the person's rest mesh, ``(V, 3)`` metres.
        joints: rest joints, ``(J, 3)``.
        morphs: displacements, ``(M, V, 3)``.
        morph_names: M names.
        morph_weights: ``(T, M)``.
        rotations: of each joint against its parent, quaternions xyzw (glTF's order) without sign jumps,
            ``(T, J, 4)``.
        translations: of each joint in its parent's frame, ``(T, J, 3)``; of a root, in the scene.
    """

    vertices: np.ndarray
    joints: np.ndarray
    morphs: np.ndarray
    morph_names: tuple[str, ...]
    morph_weights: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray


def make_rig(model: HeadModel, params: HeadParams) -> Rig:
    """The rig of a person and the keys of its frames.

    Raises:
        HeadwarpError: a parameter is not finite.
    """
    check_finite(params)
    shape, expression = params.shape.double(), params.expression.double()
    turns = _turns(model, params)  # (T, J, 3)
    matrices = axis_angle_to_matrix(turns)
    vertices = model.template.double() + _combined(model.shape_basis, shape)
    joints = model.joint_template.double() + _combined(model.joint_shape_basis, shape)
    morphs = [
        *_expression_morphs(model, expression),
        *_eyelid_morphs(model, params),
        *_corrective_morphs(model, matrices),
    ]
    kept = [m for m in morphs if float(m[1].abs().max() * m[2].abs().max()) > NEGLIGIBLE]
    shift = torch.einsum("jcs,ts->tjc", _leading(model.joint_expression_basis, expression), expression)
    return Rig(
        vertices=vertices.numpy(),
        joints=joints.numpy(),
        morphs=_stacked([m[1] for m in kept], (0, len(vertices), 3)),
        morph_names=tuple(m[0] for m in kept),
        morph_weights=_stacked([m[2] for m in kept], (0, params.frames)).T,
        rotations=continuous(axis_angle_to_quaternion(turns).numpy())[..., [1, 2, 3, 0]],  # wxyz -> xyzw
        translations=_translations(model, joints, shift, matrices, params.translation.double()).numpy(),
    )


def continuous(quaternions: np.ndarray) -> np.ndarray:
    """The same rotations ``(T, ..., 4)`` with signs such that neighbours in time lie on one side.

    An interpolation between keys then takes the short way.
    """
    dots = (quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True)
    signs = np.cumprod(np.where(dots < 0, -1.0, 1.0), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs])


def _stacked(parts: list[Tensor], empty: tuple[int, ...]) -> np.ndarray:
    return torch.stack(parts).numpy() if parts else np.zeros(empty)


def _leading(basis: Tensor, coefficients: Tensor) -> Tensor:
    """As many columns of a basis as there are coefficients, float64 on the CPU."""
    return basis[..., : coefficients.shape[-1]].detach().cpu().double()


def _combined(basis: Tensor, coefficients: Tensor) -> Tensor:
    return _leading(basis, coefficients) @ coefficients


def _turns(model: HeadModel, params: HeadParams) -> Tensor:
    """Axis-angles ``(T, J, 3)``; joints that no parameter names rest."""
    known = {
        "root": params.rotation,
        "neck": params.neck,
        "jaw": params.jaw,
        "left_eye": params.eyes[:, :3],
        "right_eye": params.eyes[:, 3:],
    }
    rest = torch.zeros(params.frames, 3)
    return torch.stack([known.get(name, rest).double() for name in model.joint_names], 1)


Morph = tuple[str, Tensor, Tensor]  # name, displacement (V, 3), weights (T,)


def _expression_morphs(model: HeadModel, expression: Tensor) -> list[Morph]:
    basis = _leading(model.expression_basis, expression)
    names = model.expression_names or [f"expression_{i:03d}" for i in range(expression.shape[1])]
    return [(names[i], basis[..., i], expression[:, i]) for i in range(expression.shape[1])]


def _eyelid_morphs(model: HeadModel, params: HeadParams) -> list[Morph]:
    basis, amounts = model.eyelid_basis.double(), params.eyelids.double()
    return [(f"eyelid_{side}", basis[..., i], amounts[:, i]) for i, side in enumerate(("left", "right"))]


def _corrective_morphs(model: HeadModel, matrices: Tensor) -> list[Morph]:
    morphs = []
    for joint in model.pose_joints:
        columns = model.pose_basis[..., 9 * (joint - 1) : 9 * joint].double()
        features = pose_features(matrices[:, joint : joint + 1])  # (T, 9)
        name = f"corrective_{model.joint_names[joint]}"
        morphs += [(f"{name}_{i // 3}{i % 3}", columns[..., i], features[:, i]) for i in range(9)]
    return morphs


def _translations(
    model: HeadModel, joints: Tensor, shift: Tensor, matrices: Tensor, translation: Tensor
) -> Tensor:
    """Local translations ``(T, J, 3)``; see the module."""
    turned = shift - (matrices @ shift[..., None])[..., 0]  # (T, J, 3)
    origin = [joints[parent] if parent >= 0 else torch.zeros(3).double() for parent in model.parents]
    local = joints - torch.stack(origin) + turned
    local[:, [j for j, parent in enumerate(model.parents) if parent < 0]] += translation[:, None]
    return local
