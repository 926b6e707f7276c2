"""Eyes and lips: openness is what it says whatever way a head looks, and is met when asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from posed_fits import posed_fit
from toy_head import toy_head

from headwarp.flame.io import load_head
from headwarp.flame.model import landmark_points, pose_vertices
from headwarp.flame.openness import driven_eyes, openness, with_openness
from headwarp.flame.params import HeadFit, Pose
from headwarp.flame.posing import apply_pose
from headwarp.geom.errors import HeadwarpError

MODEL = load_head("builtin")
SOURCE = posed_fit(MODEL, size=(256, 256))
FIT = apply_pose(
    MODEL, SOURCE, [Pose(blink=blink, jaw=jaw, yaw=40 * blink) for blink, jaw in ((0, 0.2), (0.5, 0.6))]
)


def test_at_rest_it_is_measured_on_the_template():
    points = landmark_points(MODEL, MODEL.template[None], "mediapipe")[0]
    ids = MODEL.landmarks["mediapipe"].indices.tolist()
    at = lambda *indices: points[[ids.index(i) for i in indices]]  # noqa: E731
    gap = (at(386, 385, 387) - at(374, 380, 373))[:, 1].mean()
    width = (at(263) - at(362)).norm()
    torch.testing.assert_close(openness(MODEL, SOURCE).eyes[0, 0], gap / width, atol=1e-4, rtol=0)
    assert openness(MODEL, SOURCE).lips.abs() < 0.05


@pytest.mark.parametrize("pose", [Pose(yaw=50), Pose(pitch=30), Pose(roll=80)])
def test_it_does_not_hang_on_where_a_head_looks(pose):
    open_mouth = apply_pose(MODEL, SOURCE, Pose(jaw=0.6))
    turned = apply_pose(MODEL, open_mouth, pose)
    for name in ("eyes", "lips"):
        there, here = getattr(openness(MODEL, turned), name), getattr(openness(MODEL, open_mouth), name)
        torch.testing.assert_close(there, here, atol=1e-4, rtol=0)


def test_what_is_asked_for_is_met():
    eyes, lips = torch.tensor([[0.05, 0.2], [0.1, 0.0]]), torch.tensor([0.3, 0.0])
    made = with_openness(MODEL, FIT, eyes=eyes, lips=lips)
    measured = openness(MODEL, made)
    torch.testing.assert_close(measured.eyes, eyes, atol=1e-4, rtol=0)
    torch.testing.assert_close(measured.lips, lips, atol=1e-4, rtol=0)
    for name in ("rotation", "expression", "eyes"):
        assert torch.equal(getattr(made.params, name), getattr(FIT.params, name))
    same = with_openness(MODEL, FIT, eyes=openness(MODEL, FIT).eyes)
    torch.testing.assert_close(same.params.eyelids, FIT.params.eyelids, atol=1e-3, rtol=0)


def test_residuals_count():
    draw = torch.Generator().manual_seed(0)
    moved = dataclasses.replace(FIT, residual=torch.randn(FIT.residual.shape, generator=draw))
    made = with_openness(MODEL, moved, eyes=torch.zeros(1, 2))
    assert openness(MODEL, made).eyes.abs().max() < 1e-4
    assert (
        made.params.eyelids - with_openness(MODEL, FIT, eyes=torch.zeros(1, 2)).params.eyelids
    ).abs().max() > 0.01


def test_beyond_what_lids_and_jaw_can_do_they_go_as_far_as_they_can():
    made = with_openness(MODEL, FIT, eyes=torch.full((1, 2), 0.99), lips=torch.tensor([5.0]))
    assert (made.params.eyelids == -0.5).all()
    torch.testing.assert_close(made.params.jaw[:, 0], torch.full((2,), 0.7))


def test_eyes_of_any_size_shut_with_the_drivers():
    """The driver's eyes are half as large as the source's and shut to a twentieth."""
    driver = torch.tensor([0.15] * 20 + [0.01, 0.08])[:, None].expand(-1, 2)
    made = driven_eyes(torch.tensor([[0.3, 0.32]]), driver)
    torch.testing.assert_close(made[0], torch.tensor([0.3, 0.32]))
    assert (made[20] == 0).all()
    assert (made[21] > 0.1).all()


def test_eyes_without_a_width_stay_as_they_are():
    def narrow(fit: HeadFit) -> HeadFit:
        verts = pose_vertices(MODEL, fit.params.shape, fit.params.expression)
        assert verts.isfinite().all()
        camera = dataclasses.replace(fit.camera, scale=torch.zeros(fit.frames))
        return dataclasses.replace(fit, camera=camera)

    made = with_openness(MODEL, narrow(FIT), eyes=torch.zeros(1, 2))
    assert torch.equal(made.params.eyelids, FIT.params.eyelids)
    assert torch.isnan(openness(MODEL, narrow(FIT)).eyes).all()
    nothing = with_openness(MODEL, FIT, eyes=torch.full((1, 2), torch.nan))
    assert torch.equal(nothing.params.eyelids, FIT.params.eyelids)


def test_heads_that_cannot_are_told():
    toy = toy_head()
    with pytest.raises(HeadwarpError, match="expected landmarks of eyes and lips"):
        openness(toy, dataclasses.replace(SOURCE, model_id=toy.model_id))
    still = load_head("builtin")
    still.eyelid_basis = torch.zeros_like(still.eyelid_basis)
    with pytest.raises(HeadwarpError, match="whose eyelids open and shut"):
        with_openness(still, FIT, eyes=torch.zeros(1, 2))
