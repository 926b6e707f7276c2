"""Head pose from each source: known rotations come back in the same degrees."""

import pytest
import torch

from headwarp.flame.io import load_head
from headwarp.flame.posing import head_pose, project_head
from headwarp.geom.cameras import MODEL_TO_CAMERA
from headwarp.geom.errors import ShapeError
from headwarp.geom.head_pose import (
    affine_of_jacobians,
    affine_of_keypoints,
    angles_of,
    pose_error,
    pose_of_affine,
    pose_of_keypoints,
    pose_of_mesh,
    pose_of_points,
    pose_of_relative,
    rotation_of,
    tilt_of_affine,
    turn_about,
)
from headwarp.training.data.synthetic import Recipe, synthesise

ANGLES = torch.tensor([[20.0, -5, 3], [-50, 20, -30], [0, 0, 0], [70, -30, 100], [5, 60, -170]])
CLOSE = {"rtol": 0.0, "atol": 1e-2}


@pytest.fixture(scope="module")
def reference():
    """Forty vertices of the built-in head facing the camera."""
    template = load_head("builtin").template.float() @ MODEL_TO_CAMERA
    return template[torch.linspace(0, len(template) - 1, 40).long()]


def posed(reference, angles):
    """In pixels with depth in pixel units, as a scaled orthographic camera sees it."""
    return reference @ rotation_of(angles).mT * 900 + torch.tensor([100.0, 120.0, 50.0])


def test_angles_are_those_of_the_convention():
    nose = torch.tensor([0.0, 0.0, -1.0])  # towards the camera
    yaw, pitch, roll = rotation_of(torch.diag(torch.tensor([20.0, 20.0, 20.0])))
    assert (yaw @ nose)[0] < 0  # to the image's left
    assert (pitch @ nose)[1] > 0  # down
    assert (roll @ torch.tensor([1.0, 0.0, 0.0]))[1] > 0  # the right side goes down: clockwise
    torch.testing.assert_close(angles_of(rotation_of(ANGLES)), ANGLES, **CLOSE)


def test_a_mesh_tells_all_three(reference):
    torch.testing.assert_close(pose_of_mesh(posed(reference, ANGLES), reference), ANGLES, **CLOSE)


def test_a_posed_head_has_the_pose_of_its_parameters():
    clip = synthesise(load_head("builtin"), Recipe(seed=5, number=2, frames=9, size=32))
    head, params = clip.person.head, clip.motion.params
    still = params.select([0] * 9)
    rigid = type(params)(**{**vars(still), "rotation": params.rotation, "neck": torch.zeros(9, 3)})
    rest = head.template.float() @ MODEL_TO_CAMERA
    found = pose_of_mesh(project_head(head, rigid, clip.motion.camera), rest)
    assert pose_error(found, head_pose(rigid)).max() < 4.0  # another face than the template, in perspective


def test_points_tell_all_three_and_most_of_them_with_noise(reference):
    points = posed(reference, ANGLES)[..., :2]
    torch.testing.assert_close(pose_of_points(points, reference), ANGLES, **CLOSE)
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    assert pose_error(pose_of_points(points + noise, reference), ANGLES).max() < 2.0


def test_a_relative_pose_goes_on_from_the_sources():
    start, change = ANGLES[:1], ANGLES[1:]
    pose = turn_about(rotation_of(change), torch.tensor([[0.1, 0.2, 2.0]]))
    torch.testing.assert_close(pose_of_relative(pose), change, **CLOSE)
    expected = angles_of(rotation_of(change) @ rotation_of(start))
    torch.testing.assert_close(pose_of_relative(pose, start), expected, **CLOSE)


def test_keypoints_with_depth_tell_all_three(reference):
    start, change = ANGLES[:1], torch.tensor([[15.0, 4.0, -8.0], [-30.0, 0.0, 0.0]])
    source = posed(reference, start)
    turn = rotation_of(change)
    driving = (source - source.mean(1)) @ turn.mT * 1.2
    found = pose_of_keypoints(source[..., :2], driving[..., :2], source[0, :, 2], start)
    torch.testing.assert_close(found, angles_of(turn @ rotation_of(start)), **CLOSE)


def test_keypoints_alone_tell_the_roll_and_how_far_something_flat_tilted():
    angles = torch.tensor([[0.0, 0, 25], [30.0, 0, 25], [-30.0, 0, 25], [0.0, 40, -10], [20.0, 10, 170]])
    flat = torch.tensor([[[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0.3, 0.2, 0]]])
    driving = (flat @ rotation_of(angles).mT)[..., :2] * 1.3 + 7
    affine = affine_of_keypoints(flat[..., :2], driving)
    found = pose_of_affine(affine)
    torch.testing.assert_close(found[:, 2], angles[:, 2], **CLOSE)
    assert found[:, :2].isnan().all()  # what it cannot tell it does not make up
    torch.testing.assert_close(tilt_of_affine(affine[:4]), torch.tensor([0.0, 30, 30, 40]), rtol=0, atol=0.1)
    jacobians = affine[:, None].repeat(1, 5, 1, 1)
    jacobians[:, 1] *= -7.0  # one that slipped
    torch.testing.assert_close(affine_of_jacobians(jacobians), affine)
    assert pose_of_affine(affine[:1], torch.tensor([[0.0, 0.0, 170.0]]))[0, 2] == pytest.approx(
        -165, abs=1e-3
    )


def test_pose_error_is_the_angle_between_and_not_a_number_where_one_is_not_known():
    first = torch.tensor([[10.0, 0, 0], [179.0, 0, 0], [torch.nan, 0, 0]])
    second = torch.tensor([[-10.0, 0, 0], [-179.0, 0, 0], [0.0, 0, 0]])
    found = pose_error(first, second)
    torch.testing.assert_close(found[:2], torch.tensor([20.0, 2.0]), **CLOSE)
    assert found[2].isnan()


def test_other_shapes_are_refused(reference):
    with pytest.raises(
        ShapeError, match=r"expected \(B, N, 2\) and \(N, 3\) of the same points, got \(1, 39, 2\)"
    ):
        pose_of_points(torch.zeros(1, 39, 2), reference)
    with pytest.raises(ShapeError, match="expected at least 4 to tell a pose, got 3"):
        pose_of_points(torch.zeros(1, 3, 2), reference[:3])
    with pytest.raises(ShapeError, match=r"expected \(B, N, 3\)"):
        pose_of_mesh(torch.zeros(1, 40, 2), reference)
