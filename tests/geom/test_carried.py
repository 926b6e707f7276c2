"""Keypoints that go with a posed mesh."""

import torch
from toy_scene import FACES, KEYPOINTS, SIZE, VERTS

from headwarp.geom.carried import carried_keypoints

EYES = torch.eye(2).expand(1, 10, 2, 2)


def carried(verts, jacobians=EYES, points=KEYPOINTS):
    return carried_keypoints(points, jacobians, VERTS, verts, FACES, size=SIZE)


def test_at_rest_they_stay_exactly():
    points, jacobians = carried(VERTS)
    torch.testing.assert_close(points, KEYPOINTS, rtol=0, atol=1e-4)
    torch.testing.assert_close(jacobians, EYES, rtol=0, atol=1e-4)
    assert carried(VERTS, None)[1] is None


def test_on_the_mesh_they_go_with_it_and_their_frames_turn_with_it():
    centre = VERTS.mean(1, keepdim=True)[..., :2]
    turn = torch.tensor([[0.9, -0.3], [0.3, 0.9]])
    flat = (VERTS[..., :2] - centre) @ turn.T + centre + torch.tensor([2.0, -1.0])
    moved = torch.cat([flat, VERTS[..., 2:]], -1)
    inner = torch.tensor([[[37.0, 30.0], [34.0, 26.0]]])
    points, jacobians = carried(torch.cat([VERTS, moved]), EYES[:, :2], inner)
    torch.testing.assert_close(points[:1], inner, rtol=0, atol=1e-4)
    expected = (inner - centre) @ turn.T + centre + torch.tensor([2.0, -1.0])
    torch.testing.assert_close(points[1:], expected, rtol=0, atol=0.15)
    torch.testing.assert_close(jacobians[1], turn.expand(2, 2, 2), rtol=0, atol=0.08)


def test_off_the_mesh_they_follow_less_and_less():
    shifted = VERTS + torch.tensor([4.0, 0.0, 0.0])
    points, _ = carried(shifted, None, torch.tensor([[[37.0, 30.0], [60.0, 30.0], [71.0, 30.0]]]))
    on, near, far = (points[0, :, 0] - torch.tensor([37.0, 60.0, 71.0])).tolist()
    assert 3.9 < on < 4.1
    assert 0.5 < near < 3.5
    assert abs(far) < 0.5
