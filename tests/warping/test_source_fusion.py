"""Several sources of one person: each counts by what it shows of what the driver's pose needs."""

from __future__ import annotations

import torch
from toy_animators import loaded
from toy_scene import VERTS, driving, source

from headwarp.geom.guidance import Source
from headwarp.warping.source_fusion import fusion_weights, visibilities

HALVES = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])


def test_weights_sum_to_one_and_follow_what_is_needed():
    left, right = torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[0.0, 0, 0.5, 1]])
    weights = fusion_weights(HALVES, torch.cat([left, right, torch.zeros(1, 4)]))
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert weights[0, 0] > 0.95
    assert weights[1, 1] > 0.95
    torch.testing.assert_close(weights[2], torch.tensor([0.5, 0.5]))  # nothing is needed: all count alike


def test_two_alike_share_what_one_would_get():
    alone = fusion_weights(HALVES)[0]
    doubled = fusion_weights(HALVES[[0, 0, 1]])[0]
    torch.testing.assert_close(doubled[0], doubled[1])
    assert doubled[2] > 1 / 3
    torch.testing.assert_close(alone, torch.tensor([0.5, 0.5]))


def test_without_a_mesh_or_with_another_one_nothing_is_known():
    assert visibilities([source(), source(posed_vertices=None)]) is None
    assert visibilities([Source(image=source().image)]) is None
    assert visibilities([source(), source()]).shape == (2, VERTS.shape[1])


def test_the_animator_turns_to_the_source_that_shows_the_pose():
    """One source shows the head turned half away, by its mesh; the driver is turned so too, or faces on."""
    turned = VERTS * torch.tensor([-1.0, 1, 1]) + torch.tensor(
        [74.0, 0, 0]
    )  # seen from behind: shows nothing
    other = source(posed_vertices=turned, image=source().image.flip(1))
    animator = loaded("heser")
    cache = animator.encode([source(), other])
    weights = animator.explain(cache, driving())["weights"][0, :, 0, 0]
    assert weights[0] > 0.9
    assert animator.explain(cache, driving())["alone"].shape[1] == 6
    bare = animator.encode([Source(image=source().image), Source(image=other.image)])
    even = animator.explain(bare, driving())["weights"][0, :, 0, 0]
    torch.testing.assert_close(even, torch.tensor([0.5, 0.5]))
