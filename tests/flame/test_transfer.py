"""A fit carried over to another model: the same mesh, the same surface in another mesh, refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from posed_fits import posed_fit

from headwarp.flame.correspondence import corresponding_points
from headwarp.flame.io import load_head
from headwarp.flame.landmarks import FACE_MESH_COUNT, INNER_LIP_LOOP
from headwarp.flame.model import HeadData, HeadModel, LandmarkEmbedding, with_landmarks
from headwarp.flame.params import MISSING
from headwarp.flame.posing import posed_vertices
from headwarp.flame.transfer import TransferConfig, transfer_fit
from headwarp.geom.cameras import Perspective
from headwarp.geom.errors import HeadwarpError, ModelFileError


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def fit(head):
    """Five frames of a person with jaw, expression, neck and gaze, 500 px a metre or so."""
    rng = torch.Generator().manual_seed(3)
    draw = lambda *size: torch.randn(*size, generator=rng)  # noqa: E731
    still = posed_fit(head, [-30.0, -10.0, 0.0, 10.0, 30.0], size=(512, 512))
    expression = torch.zeros(5, head.expression_basis.shape[2])
    expression[:, :20] = 0.7 * draw(5, 20)
    shape = torch.zeros(head.shape_basis.shape[2])
    shape[:30] = 0.7 * draw(30)
    params = dataclasses.replace(
        still.params,
        shape=shape,
        expression=expression,
        jaw=torch.tensor([[0.3, 0.02, -0.01]]) * torch.linspace(0, 1, 5)[:, None],
        neck=0.1 * draw(5, 3),
        eyes=0.2 * draw(5, 6),
        eyelids=torch.rand(5, 2, generator=rng),
    )
    return dataclasses.replace(still, params=params)


def shuffled(head, **changed):
    """The same head with its vertices in another order, and the permutation: new vertex i was order[i]."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(head.template)))
    place = torch.argsort(order)
    arrays = {
        name: getattr(head, name)[order]
        for name in ("template", "shape_basis", "expression_basis", "pose_basis", "weights", "eyelid_basis")
    }
    data = HeadData(
        name="shuffled",
        faces=place[head.faces],
        joint_regressor=head.joint_regressor[:, order],
        landmarks=head.landmarks,
        region_masks={name: mask[order] for name, mask in head.region_masks.items()},
        **arrays,
    )
    return HeadModel(dataclasses.replace(data, **changed)), order


def apart_mm(head, fit, other_head, other_fit, order=None):
    """Distance of the vertices in the picture, in mm."""
    here, there = (posed_vertices(h, f)[..., :2] for h, f in ((head, fit), (other_head, other_fit)))
    here = here if order is None else here[:, order]
    return 1000 * (here - there).norm(dim=-1) / fit.camera.scale[:, None]


def test_the_same_model_gets_its_parameters_back(head, fit):
    moved = transfer_fit(fit, head, head)
    assert apart_mm(head, fit, head, moved).max() < 0.01
    for name in ("shape", "expression", "rotation", "jaw", "eyelids", "neck", "eyes"):
        gap = (getattr(moved.params, name) - getattr(fit.params, name)).abs().max()
        assert gap < 0.002, name
    assert not moved.params.translation.any()
    assert torch.equal(moved.camera.scale, fit.camera.scale)
    facts = moved.report["transfer"]
    assert facts["exact"]
    assert facts["from"] == head.model_id
    assert max(facts["rms_mm"], facts["identity_rms_mm"], facts["projected_px"]) < 0.02


def test_another_order_of_a_basis_is_found(head, fit):
    flipped, _ = _with_basis(head, head.shape_basis.flip(2), -head.expression_basis)
    moved = transfer_fit(fit, head, flipped)
    assert apart_mm(head, fit, flipped, moved).max() < 0.01
    assert torch.allclose(moved.params.shape.flip(0), fit.params.shape, atol=0.002)
    assert torch.allclose(-moved.params.expression, fit.params.expression, atol=0.002)
    assert moved.model_id == flipped.model_id


def _with_basis(head, shapes, expressions):
    same = {
        name: getattr(head, name)
        for name in ("template", "faces", "joint_regressor", "weights", "eyelid_basis", "landmarks")
    }
    data = HeadData(name="other", shape_basis=shapes, expression_basis=expressions, **same)
    return HeadModel(data), None


def test_the_same_surface_in_another_mesh(head, fit):
    other, order = shuffled(head)
    moved = transfer_fit(fit, head, other)
    facts = moved.report["transfer"]
    assert not facts["exact"]
    assert facts["points"] > 1000
    face = head.region_masks["face"][order]
    assert apart_mm(head, fit, other, moved, order)[:, face].mean() < 0.2
    assert facts["rms_mm"] < 0.2
    assert facts["projected_percent_iod"] < 0.3


def test_a_model_with_less_to_say_comes_as_near_as_it_can(head, fit):
    other, _ = shuffled(
        head,
        shape_basis=head.shape_basis[shuffled(head)[1]][..., :10],
        expression_basis=head.expression_basis[shuffled(head)[1]][..., :5],
    )
    facts = transfer_fit(fit, head, other).report["transfer"]
    loose = transfer_fit(fit, head, other, config=TransferConfig(noise=0.05)).report["transfer"]
    assert 0.2 < facts["rms_mm"] < loose["rms_mm"] < 10


def test_a_perspective_camera_is_kept_and_the_translation_found(head, fit):
    camera = Perspective(torch.full((5, 2), 900.0), torch.full((5, 2), 256.0))
    ahead = dataclasses.replace(fit.params, translation=torch.tensor([[0.02, 0.0, -0.9]]).expand(5, 3))
    posed = dataclasses.replace(fit, camera=camera, params=ahead)
    moved = transfer_fit(posed, head, head)
    assert moved.camera is camera
    assert torch.allclose(moved.params.translation, ahead.translation, atol=2e-4)
    gap = (posed_vertices(head, posed) - posed_vertices(head, moved))[..., :2].norm(dim=-1)
    assert gap.max() < 0.12  # px, a millimetre each


def test_records_are_kept_and_residuals_are_the_new_surfaces(head, fit):
    status = fit.status.clone()
    status[1] = MISSING
    landmarks = fit.landmarks.clone()
    landmarks[1] = torch.nan
    gap = dataclasses.replace(fit, status=status, landmarks=landmarks, deviation=torch.ones(5, 74))
    few = with_landmarks(head, {"mediapipe": _some(head, 100)})
    moved = transfer_fit(gap, head, few)
    assert moved.frames == 5
    assert moved.status.tolist() == status.tolist()
    assert moved.deviation is None
    assert moved.landmark_indices.tolist() == list(range(100))
    assert not moved.residual[1].any()
    from headwarp.flame.model import restrict
    from headwarp.flame.posing import project_head

    projected = project_head(restrict(few, "mediapipe"), moved.params, moved.camera)[..., :2]
    assert torch.allclose(moved.residual[0], landmarks[0, :100] - projected[0], atol=1e-3)
    assert moved.report["family"] == "mediapipe"


def _some(head, count):
    own = head.landmarks["mediapipe"]
    return LandmarkEmbedding(own.indices[:count], own.faces[:count], own.bary[:count])


def test_points_of_two_meshes_are_the_same_places(head):
    other, _ = shuffled(head)
    both = corresponding_points(head, other)
    assert torch.allclose(both.source.mean, both.target.mean, atol=1e-6)
    assert len(both.source.mean) > FACE_MESH_COUNT
    lips = head.template[list(INNER_LIP_LOOP)].double()
    between = both.source.mean[FACE_MESH_COUNT:]
    assert torch.cdist(between, lips).min() > 0.0005  # none at the lip line but the landmarks themselves


def test_what_is_refused(head, fit):
    other, _ = shuffled(head)
    with pytest.raises(ModelFileError, match="expected coefficients of head shuffled-"):
        transfer_fit(fit, other, head)
    with pytest.raises(HeadwarpError, match=r"face-mesh landmarks on both heads, shuffled-.* has none"):
        transfer_fit(fit, head, with_landmarks(other, {}))
    with pytest.raises(HeadwarpError, match="at least 40 face-mesh landmarks on both heads, got 30"):
        transfer_fit(fit, head, with_landmarks(other, {"mediapipe": _some(other, 30)}))
    with pytest.raises(HeadwarpError, match="expected 'mediapipe' landmarks on builtin-"):
        transfer_fit(fit, head, with_landmarks(head, {}))
    with pytest.raises(HeadwarpError, match="noise: expected a number above 0, got 0"):
        TransferConfig(noise=0)
