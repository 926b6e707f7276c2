"""The head model against the ``smplx`` package's FLAME layer, fed with the same file, in float64.

Two faults of smplx are taken out first, so that nothing is left but the model: it rounds every array of the
file to float32 whatever ``dtype`` says (``to_np``), and its ``batch_rodrigues`` is off by 1e-8. Its landmarks
come inner 51 first and contour last, and its contour look-up (``NECK_IDX = 0``) never sees the neck turn.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flame_schema import flame_arrays, write_flame_pickle, write_landmark_files
from torch import Tensor

from headwarp.flame.io import convert_head, load_head
from headwarp.flame.model import HeadModel, landmark_points, pose_vertices, posed_joints

smplx = pytest.importorskip("smplx")
body_models = pytest.importorskip("smplx.body_models")

TOLERANCE = 1e-10
BATCH = 3
WIDTHS = {"shape": 300, "expression": 100, "rotation": 3, "neck": 3, "jaw": 3, "eyes": 6, "translation": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLAME file under the names that smplx expects, with the landmarks of both families beside it."""
    folder = tmp_path_factory.mktemp("flame")
    arrays = flame_arrays()
    np.savez(folder / "FLAME_NEUTRAL.npz", **arrays)
    paths = write_landmark_files(folder, len(arrays["f"]))
    paths["deca"].unlink()  # its 51 points are others; smplx reads the static file
    content = pickle.loads(paths["static"].read_bytes(), encoding="latin1")
    weights = {"lmk_face_idx": content["lmk_face_idx"], "lmk_b_coords": np.float64(content["lmk_b_coords"])}
    paths["static"].write_bytes(pickle.dumps(weights, protocol=2))
    return folder


@pytest.fixture(scope="module")
def head(folder: Path) -> HeadModel:
    return load_head(folder / "FLAME_NEUTRAL.npz", dtype=torch.float64)


@pytest.fixture(scope="module")
def layer(folder: Path) -> Any:
    exact = functools.partial(np.array, dtype=np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_models, "to_np", lambda array, dtype=np.float64: exact(array).astype(dtype))
        return smplx.FLAME(
            str(folder),
            num_betas=300,
            num_expression_coeffs=100,
            ext="npz",
            batch_size=BATCH,
            dtype=torch.float64,
        )


def drawn(scale: float = 0.4) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(4)
    values = {
        k: scale * torch.randn(BATCH, w, generator=draw, dtype=torch.float64) for k, w in WIDTHS.items()
    }
    return {key: value.requires_grad_() for key, value in values.items()}


def exact_matrices(vectors: Tensor) -> Tensor:
    """Rotations as the matrix exponential: no code of either package."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return torch.linalg.matrix_exp(rows.unflatten(-1, (3, 3)))


def by_smplx(layer: Any, values: dict[str, Tensor], matrices: Callable[[Tensor], Tensor] | None) -> Any:
    turn = (lambda v: v) if matrices is None else (lambda v: matrices(v)[:, None])
    return layer(
        betas=values["shape"],
        expression=values["expression"],
        global_orient=turn(values["rotation"]),
        neck_pose=turn(values["neck"]),
        jaw_pose=turn(values["jaw"]),
        leye_pose=turn(values["eyes"][:, :3]),
        reye_pose=turn(values["eyes"][:, 3:]),
        transl=values["translation"],
        pose2rot=matrices is None,
    )


def by_headwarp(head: HeadModel, values: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices, joints and the 51 landmarks."""
    verts = pose_vertices(head, **values)
    return verts, posed_joints(head, **values), landmark_points(head, verts, "ibug68")


def test_vertices_joints_and_landmarks_equal_smplx(head: HeadModel, layer: Any) -> None:
    values = drawn()
    theirs = by_smplx(layer, values, exact_matrices)
    verts, joints, points = by_headwarp(head, values)
    assert verts.dtype == theirs.vertices.dtype == torch.float64
    assert head.joint_names == ("root", "neck", "jaw", "left_eye", "right_eye")
    assert head.parents == tuple(layer.parents.tolist()) == (-1, 0, 1, 1, 1)
    assert theirs.joints.shape[1] == 5 + 51
    assert (verts - theirs.vertices).abs().max() < TOLERANCE
    assert (joints - theirs.joints[:, :5]).abs().max() < TOLERANCE
    assert (points - theirs.joints[:, 5:]).abs().max() < TOLERANCE


@pytest.mark.parametrize("key", WIDTHS)
def test_gradients_equal_those_of_smplx(head: HeadModel, layer: Any, key: str) -> None:
    values = drawn()
    theirs = by_smplx(layer, values, exact_matrices)
    verts, joints, points = by_headwarp(head, values)
    draw = torch.Generator().manual_seed(7)
    pull = [torch.randn(x.shape, generator=draw, dtype=torch.float64) for x in (verts, joints, points)]
    ours = sum((a * b).sum() for a, b in zip(pull, (verts, joints, points), strict=True))
    other = (pull[0] * theirs.vertices).sum() + (torch.cat(pull[1:], 1) * theirs.joints).sum()
    (mine,) = torch.autograd.grad(ours, values[key])
    (wanted,) = torch.autograd.grad(other, values[key])
    assert wanted.abs().min() > 1e-6
    assert ((mine - wanted).abs() / wanted.abs().clamp(min=1)).max() < TOLERANCE


@pytest.mark.parametrize("moved", ["rotation", "neck", "jaw", "eyes"])
def test_one_joint_at_a_time(head: HeadModel, layer: Any, moved: str) -> None:
    """No joint hides behind another: order, pivots and the correctives of each."""
    values = {k: v if k in ("shape", "expression", moved) else 0 * v for k, v in drawn().items()}
    theirs = by_smplx(layer, values, exact_matrices)
    assert (pose_vertices(head, **values) - theirs.vertices).abs().max() < TOLERANCE


def test_smplx_own_rotations_agree_to_its_bias(head: HeadModel, layer: Any) -> None:
    """With its ``batch_rodrigues`` smplx is off by 1e-8, and biased in the gradient at zero; ours is not."""
    values = drawn()
    error = (pose_vertices(head, **values) - by_smplx(layer, values, None).vertices).abs().max()
    assert 1e-11 < error < 1e-7


def test_the_root_turns_about_its_joint(head: HeadModel, layer: Any) -> None:
    values = {k: 0 * v if k == "translation" else v for k, v in drawn().items()}
    still = {k: 0 * v if k == "rotation" else v for k, v in values.items()}
    joints = posed_joints(head, **values)
    assert (joints[:, 0] - posed_joints(head, **still)[:, 0]).abs().max() < TOLERANCE
    assert (joints[:, 0] - by_smplx(layer, values, exact_matrices).joints[:, 0]).abs().max() < TOLERANCE
    assert joints[:, 0].norm(dim=1).min() > 1e-3, "the root joint of the test file must not be the origin"


def test_float64_is_kept_and_is_the_same_head(folder: Path, tmp_path: Path) -> None:
    path = folder / "FLAME_NEUTRAL.npz"
    exact, rounded = load_head(path, dtype=torch.float64), load_head(path)
    arrays = flame_arrays()
    np.testing.assert_array_equal(exact.shape_basis.numpy(), arrays["shapedirs"][..., :300])
    np.testing.assert_array_equal(exact.template.numpy(), arrays["v_template"])
    assert exact.landmarks["ibug68"].bary.dtype == torch.float64
    assert (exact.template - rounded.double().template).abs().max() > 0
    assert exact.model_id == rounded.model_id == convert_head(path, tmp_path / "own.npz").model_id
    write_flame_pickle(tmp_path / "released.pkl", arrays)
    assert load_head(tmp_path / "released.pkl", dtype=torch.float64).model_id == exact.model_id
    assert load_head("builtin", dtype=torch.float64).template.dtype == torch.float64
