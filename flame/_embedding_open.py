"""A resting head with its mouth open a little: by its jaw or, where that moves nothing, by expression."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .expressions import project_displacements
from .landmarks import FACE_MESH_COUNT, LIPS, LIPS_OUTER_LOWER, LIPS_OUTER_UPPER
from .model import HeadModel, LandmarkEmbedding, pose_vertices, restrict, with_landmarks

JAW_OPEN = 0.12  # radians: lips a centimetre apart; at 0.22 the detected inner lips lie 2 mm further off
_JAW_MOVES = 0.003  # metres: of a chin that follows the jaw
_MOVES = 0.002  # metres: of a landmark that follows the jaw
_LEAST_GAP = 0.003  # metres between the lips, to tell them apart
_MIDDLE = slice(3, -3)  # of a lip line, without the corners


def opened_mouth(model: HeadModel, shut: LandmarkEmbedding, *, scale: float) -> Float[Tensor, "V 3"] | None:
    """Vertices of the head with its mouth open; None if nothing of it opens the mouth.

    Args:
        model: the head.
        shut: its 478 face-mesh points, the inner lips perhaps on the wrong side of the mouth.
        scale: size of the face against an adult's.
    """
    opened = _by_jaw(model)
    return _by_expression(model, shut, scale) if opened is None else opened


def _by_jaw(model: HeadModel) -> Float[Tensor, "V 3"] | None:
    if "jaw" not in model.joint_names:
        return None
    none = model.template.new_zeros(1, 0)
    verts = pose_vertices(model, none, none, jaw=model.template.new_tensor([[JAW_OPEN, 0.0, 0.0]]))[0]
    moved = (verts - model.template).square().sum(1).max().sqrt()
    return verts if float(moved) > _JAW_MOVES else None


def _by_expression(model: HeadModel, shut: LandmarkEmbedding, scale: float) -> Float[Tensor, "V 3"] | None:
    """The expression nearest to an average face's opening jaw: chin and lower lip go, the rest stays."""
    if model.expression_basis.shape[2] == 0:
        return None
    face = restrict(with_landmarks(model, {"mediapipe": shut}), "mediapipe")
    basis = face.expression_basis.double().numpy()
    gone = scale * _average_opening()
    length = np.linalg.norm(gone, axis=1)
    unsure = {*LIPS} - {*LIPS_OUTER_LOWER, *LIPS_OUTER_UPPER}
    ids = [i for i in range(FACE_MESH_COUNT) if i not in unsure]
    moves = {i: (gone[i, 0], gone[i, 1], gone[i, 2]) for i in ids if length[i] > scale * _MOVES}
    still = tuple(i for i in ids if length[i] < scale * _MOVES / 10)
    coefficients = project_displacements(
        face.mean.double().numpy(), basis, {i: i for i in ids}, moves=moves, still=still, contact=False
    )
    reached = basis @ coefficients  # (478, 3)
    drop = reached[list(LIPS_OUTER_UPPER)[_MIDDLE], 1] - reached[list(LIPS_OUTER_LOWER)[_MIDDLE], 1]
    if drop.mean() < scale * _LEAST_GAP:
        return None
    return model.template + model.expression_basis @ torch.from_numpy(coefficients).to(model.template)


def _average_opening() -> Float[np.ndarray, "478 3"]:
    """How an average face's points move when its jaw opens, metres."""
    from .builtin.load import load_builtin
    from .model import landmark_points

    head = load_builtin()
    none = torch.zeros(1, 0)
    verts = torch.cat(
        [head.template[None], pose_vertices(head, none, none, jaw=torch.tensor([[JAW_OPEN, 0.0, 0.0]]))]
    )
    rest, opened = landmark_points(head, verts, "mediapipe").double().numpy()
    return opened - rest
