"""``pose``, ``displacement`` and ``codes``: fits posed and compared without pictures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from posed_fits import posed_fit
from toy_fit import toy_fit, varied
from toy_head import toy_head

import headwarp
from headwarp.flame.mouth import open_mouth, strip_vertices
from headwarp.flame.params import Pose
from headwarp.flame.posing import head_pose, posed_vertices
from headwarp.geom.cameras import WeakPerspective
from headwarp.geom.codes import VertexCodes, render_codes, vertex_codes
from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.geom.flow import warp
from headwarp.warping.animators.copy import CopyConfig
from headwarp.warping.checkpoints import save_checkpoint

HEAD = toy_head()
FIT = toy_fit(HEAD, residual=2.0)


def test_pose_turns_a_fit():
    made = headwarp.pose(FIT, [Pose(yaw=10), Pose(yaw=-10)], head=HEAD)
    torch.testing.assert_close(head_pose(made.params)[:, 0], torch.tensor([10.0, -10.0]), atol=1e-3, rtol=0)
    assert headwarp.pose(FIT, Pose(), head=HEAD).frames == 1


def test_a_head_at_rest_has_no_displacement():
    guidance = headwarp.displacement(FIT, FIT, head=HEAD)
    assert guidance.flow.shape == (1, 2, 240, 256)
    assert guidance.flow.abs().max() < 1e-3
    assert guidance.known.sum() > 500


@pytest.mark.parametrize("size", [None, 256, 128])
def test_a_shifted_head_comes_from_where_it_was_at_every_size(size):
    camera = WeakPerspective(
        FIT.camera.scale.expand(2), FIT.camera.center + torch.tensor([[8.0, 0.0], [0.0, -6.0]])
    )
    driving = dataclasses.replace(FIT.select([0, 0]), camera=camera)
    guidance = headwarp.displacement(FIT, driving, size, head=HEAD)
    side = size or 256
    assert guidance.flow.shape == (2, 2, 240 * side // 256, side)
    for frame, shift in enumerate(([-8.0, 0.0], [0.0, 6.0])):
        known = guidance.known[frame, 0] > 0
        moved = guidance.flow[frame][:, known].mean(1)
        torch.testing.assert_close(moved, torch.tensor(shift) * side / 256, atol=0.05, rtol=0)


def test_the_residual_is_part_of_it():
    bare = dataclasses.replace(FIT, residual=torch.zeros_like(FIT.residual))
    assert headwarp.displacement(bare, FIT, head=HEAD).flow.abs().max() > 0.5


def test_what_does_not_fit():
    clip = toy_fit(HEAD, 2, **varied(HEAD, 2))
    with pytest.raises(ShapeError, match="source of one frame and equal sizes, got 2 frame"):
        headwarp.displacement(clip, FIT, head=HEAD)
    with pytest.raises(ShapeError, match="equal sizes"):
        headwarp.displacement(FIT, dataclasses.replace(FIT, size=(100, 100)), head=HEAD)
    with pytest.raises(HeadwarpError, match="fit of one frame, got 2"):
        headwarp.pose(clip, Pose(), head=HEAD)
    with pytest.raises(ModelFileError, match="expected coefficients of head builtin"):
        headwarp.pose(FIT, Pose())


def test_codes_stand_beside_the_displacement_and_follow_it():
    driving = headwarp.pose(FIT, [Pose(yaw=12), Pose(pitch=-8)], head=HEAD)
    guidance = headwarp.codes(FIT, driving, 128, head=HEAD)
    plain = headwarp.displacement(FIT, driving, 128, head=HEAD)
    assert torch.equal(guidance.flow, plain.flow)
    assert torch.equal(guidance.known, plain.known)
    assert guidance.codes.shape == guidance.source_codes.shape == (2, 16, 120, 128)
    carried = warp(guidance.source_codes, guidance.flow)
    error = (carried - guidance.codes).abs().mean(1, keepdim=True)[guidance.known > 0]
    assert float(error.mean()) < 0.05  # equal codes mark equal places; the pixels' grid is another
    unrelated = (guidance.codes.flip(0) - guidance.codes).abs().mean(1, keepdim=True)[guidance.known > 0]
    assert float(error.mean()) < 0.25 * float(unrelated.mean())


@pytest.mark.parametrize("strips", [False, True])
def test_learned_codes_are_drawn_with_or_without_rows_for_the_mouths_strips(tmp_path, strips):
    head = headwarp.load_head("builtin")
    fit, count = posed_fit(head), len(head.template)
    mouth = open_mouth(head, posed_vertices(head, fit), fit)
    assert len(mouth.cavity) == count + strip_vertices(head)
    learned = VertexCodes(count + strips * strip_vertices(head), 4)
    path = save_checkpoint(tmp_path / "n.safetensors", learned, config=CopyConfig(), name="copy")
    guidance = headwarp.codes(fit, fit, head=head, checkpoint=path)
    expected = render_codes(
        posed_vertices(head, fit), head.faces, learned.codes.detach()[:count].contiguous(), size=fit.size
    )
    torch.testing.assert_close(guidance.codes, expected)


@pytest.mark.parametrize("count", [7, 157])
def test_codes_of_another_head_are_refused(tmp_path, count):
    learned = vertex_codes(torch.rand(count, 2))
    path = save_checkpoint(tmp_path / "n.safetensors", learned, config=CopyConfig(), name="copy")
    text = rf"expected codes of head toy-\w+ with 156 vertices .* got codes of {count} vertices"
    with pytest.raises(ShapeError, match=text):
        headwarp.codes(FIT, FIT, head=HEAD, checkpoint=path)
    with pytest.raises(ShapeError, match="codes: expected a source of one frame and equal sizes"):
        headwarp.codes(FIT.select([0, 0]), FIT, head=HEAD)
