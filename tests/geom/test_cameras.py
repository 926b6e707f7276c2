"""Cameras: known pixels, round trips, and each foreign convention played to pixels by its own rules."""

import dataclasses

import pytest
import torch

from headwarp.geom.cameras import (
    MODEL_TO_CAMERA,
    Perspective,
    PyTorch3DCamera,
    WeakPerspective,
    extrinsics_from_pytorch3d,
    from_deca,
    perspective_from_opengl,
    perspective_from_pytorch3d,
    perspective_to_weak,
    project,
    to_deca,
    to_opengl,
    to_pytorch3d,
    unproject,
    weak_from_opengl,
    weak_from_pytorch3d,
    weak_to_perspective,
)
from headwarp.geom.errors import ShapeError
from headwarp.geom.transforms import axis_angle_to_matrix

SIZES = [(480, 640), (640, 480), (256, 256)]


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def weak():
    return WeakPerspective(tensor([900.0, 1100.0]), tensor([[300.0, 210.0], [310.0, 260.0]]))


@pytest.fixture
def perspective():
    return Perspective(tensor([[800.0, 820.0], [700.0, 710.0]]), tensor([[320.0, 250.0], [300.0, 230.0]]))


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 30, 3, generator=generator, dtype=torch.float64) * 0.1  # metres, around the origin


@pytest.fixture
def distant(points):
    return points + tensor([0.02, -0.03, 0.9])


def assert_fields(got, expected):
    for field in dataclasses.fields(expected):
        torch.testing.assert_close(getattr(got, field.name), getattr(expected, field.name))


def test_model_axes_to_camera_axes():
    left_up_out = torch.eye(3)
    assert (left_up_out @ MODEL_TO_CAMERA.T).tolist() == [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    assert torch.equal(MODEL_TO_CAMERA @ MODEL_TO_CAMERA, torch.eye(3))
    assert torch.det(MODEL_TO_CAMERA) == 1


def test_weak_perspective_known_answer():
    camera = WeakPerspective(torch.tensor([1000.0]), torch.tensor([[100.0, 50.0]]))
    nose = torch.tensor([[[0.0, 0.0, 0.1]]]) @ MODEL_TO_CAMERA  # 10 cm out of the face
    assert project(nose, camera).tolist() == [[[100.0, 50.0, -100.0]]]  # nearer is smaller
    up = torch.tensor([[[0.0, 0.01, 0.0]]]) @ MODEL_TO_CAMERA
    assert project(up, camera)[0, 0, 1] == 40  # up in the image


def test_perspective_known_answer():
    camera = Perspective(torch.tensor([[500.0, 400.0]]), torch.tensor([[100.0, 50.0]]))
    points = torch.tensor([[[0.2, -0.1, 1.0], [0.2, -0.1, 3.0]]])
    expected = torch.tensor([[[200.0, 10.0, 250.0], [100 + 100 / 3, 50 - 40 / 3, 750.0]]])
    torch.testing.assert_close(project(points, camera), expected)
    given = project(points, camera, mean_depth=torch.tensor([1.0]))
    torch.testing.assert_close(given[..., 2], torch.tensor([[500.0, 1500.0]]))


def test_unproject_leads_back(weak, perspective, points, distant):
    torch.testing.assert_close(unproject(project(points, weak), weak), points)
    pixels = project(distant, perspective)
    back = unproject(pixels, perspective, mean_depth=distant[..., 2].mean(1))
    torch.testing.assert_close(back, distant)
    depth = tensor([0.5])
    pixels = project(distant, perspective, mean_depth=depth)
    torch.testing.assert_close(unproject(pixels, perspective, mean_depth=depth), distant)


def test_one_camera_serves_all_frames_and_one_head_all_cameras(weak, perspective, points, distant):
    for camera, shape in ((weak, points), (perspective, distant)):
        first = type(camera)(*(getattr(camera, field.name)[:1] for field in dataclasses.fields(camera)))
        torch.testing.assert_close(project(shape, first)[1], project(shape[1:], first)[0])
        torch.testing.assert_close(project(shape[:1], camera)[0], project(shape[:1], first)[0])
        assert project(shape[:1], camera).shape == shape.shape
    pixels = project(distant, first)
    depths = distant[..., 2].mean(1)
    torch.testing.assert_close(unproject(pixels, first, mean_depth=depths), distant)


def test_gradcheck(weak, perspective, points, distant):
    def through(kind, *fields):
        return lambda p: project(p, kind(*fields))

    few, far = points[:, :3].clone().requires_grad_(), distant[:, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(through(WeakPerspective, weak.scale, weak.center), few)
    assert torch.autograd.gradcheck(through(Perspective, perspective.focal, perspective.principal), far)
    scale = weak.scale.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: project(points[:, :3], WeakPerspective(s, weak.center)), scale)


def test_weak_to_perspective_agrees_on_the_plane_and_converges(weak, points):
    flat = points.clone()
    flat[..., 2] = 0
    camera, translation = weak_to_perspective(weak, focal=1500.0, principal=(320.0, 240.0))
    moved = flat + translation[:, None]
    torch.testing.assert_close(project(moved, camera), project(flat, weak) + tensor([0, 0, 1500.0]))
    assert_fields(perspective_to_weak(camera, translation), weak)
    errors = []
    for focal in (1e3, 1e4, 1e5):
        camera, translation = weak_to_perspective(weak, focal=focal, principal=(320.0, 240.0))
        seen = project(points + translation[:, None], camera)[..., :2]
        errors.append(float((seen - project(points, weak)[..., :2]).abs().max()))
    assert errors[2] < errors[1] / 5 < errors[0] / 25


@pytest.mark.parametrize("size", SIZES)
def test_opengl_pixels(size, weak, perspective, points, distant):
    height, width = size
    for camera, shape, near, far in ((weak, points, -1.0, 2.0), (perspective, distant, 0.1, 5.0)):
        in_opengl = torch.cat([shape * tensor([1, -1, -1]), torch.ones_like(shape[..., :1])], -1)
        clip = in_opengl @ to_opengl(camera, size, near=near, far=far).transpose(1, 2)
        ndc = clip[..., :3] / clip[..., 3:]
        x = (ndc[..., 0] + 1) / 2 * width
        y = (1 - ndc[..., 1]) / 2 * height  # the view port's y goes up
        torch.testing.assert_close(torch.stack([x, y], -1), project(shape, camera)[..., :2])
        order = shape[..., 2].argsort(1)
        assert (ndc[..., 2].gather(1, order).diff(dim=1) > 0).all()  # nearer is smaller there, too
        ends = torch.zeros(1, 2, 4, dtype=torch.float64)
        ends[0, :, 2], ends[..., 3] = -tensor([near, far]), 1
        clip = ends @ to_opengl(camera, size, near=near, far=far).transpose(1, 2)
        torch.testing.assert_close((clip[..., 2] / clip[..., 3])[0], tensor([-1.0, 1.0]))


@pytest.mark.parametrize("size", SIZES)
def test_opengl_round_trip(size, weak, perspective):
    matrix = to_opengl(perspective, size, near=0.1, far=10.0)
    assert_fields(perspective_from_opengl(matrix, size), perspective)
    matrix = to_opengl(weak, size, near=-3.0, far=10.0)
    assert_fields(weak_from_opengl(matrix, size), weak)


def pytorch3d_pixels(camera, points, size, orthographic):
    """What PyTorch3D does: row vectors, then K, then NDC (x left, y up, shorter side 2) to the screen."""
    view = points @ camera.rotation + camera.translation[:, None]
    plane = view[..., :2] if orthographic else view[..., :2] / view[..., 2:]
    ndc = plane * camera.focal_length[:, None] + camera.principal_point[:, None]
    height, width = size
    half_range = tensor([width, height]) / min(size)  # NDC spans [-half_range, half_range]
    return (half_range - ndc) / (2 * half_range) * tensor([width, height])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("orthographic", [False, True])
def test_pytorch3d_pixels_and_round_trip(size, orthographic, weak, perspective, points):
    camera = weak if orthographic else perspective
    rotation = axis_angle_to_matrix(tensor([[0.2, -0.4, 0.1], [1.0, 0.5, -2.0]]))
    translation = tensor([[0.02, -0.01, 0.9], [0.0, 0.05, 1.2]])
    theirs = to_pytorch3d(camera, size, rotation=rotation, translation=translation)
    ours = project(points @ rotation.transpose(1, 2) + translation[:, None], camera)
    torch.testing.assert_close(pytorch3d_pixels(theirs, points, size, orthographic), ours[..., :2])
    back = weak_from_pytorch3d if orthographic else perspective_from_pytorch3d
    assert_fields(back(theirs, size), camera)
    got_rotation, got_translation = extrinsics_from_pytorch3d(theirs)
    torch.testing.assert_close(got_rotation, rotation)
    torch.testing.assert_close(got_translation, translation)
    assert torch.det(theirs.rotation[0]) == pytest.approx(1)


def test_pytorch3d_focal_is_in_units_of_half_the_shorter_side():
    camera = Perspective(torch.tensor([[480.0, 480.0]]), torch.tensor([[320.0, 240.0]]))
    theirs = to_pytorch3d(camera, (480, 640))
    assert theirs.focal_length.tolist() == [[2, 2]]
    assert theirs.principal_point.tolist() == [[0, 0]]
    assert theirs.rotation[0].tolist() == [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]
    right = dataclasses.replace(camera, principal=torch.tensor([[560.0, 240.0]]))
    assert to_pytorch3d(right, (480, 640)).principal_point.tolist() == [[-1, 0]]  # x points left


def test_deca_pixels_and_round_trip(weak, points):
    origin, side = tensor([[200.0, 100.0], [190.0, 130.0]]), tensor([224.0, 300.0])
    cam = to_deca(weak, crop_origin=origin, crop_size=side)
    model = points @ MODEL_TO_CAMERA.double()  # DECA's points are in model axes
    in_crop = cam[:, None, :1] * (model[..., :2] + cam[:, None, 1:])  # batch_orth_proj
    in_crop = in_crop * tensor([1, -1])
    pixels = origin[:, None] + (in_crop + 1) / 2 * side[:, None, None]
    torch.testing.assert_close(pixels, project(points, weak)[..., :2])
    assert_fields(from_deca(cam, crop_origin=origin, crop_size=side), weak)


def test_deca_known_answer():
    cam = torch.tensor([[8.0, 0.01, 0.02]])
    camera = from_deca(cam, crop_origin=torch.tensor([[0.0, 0.0]]), crop_size=torch.tensor([224.0]))
    assert camera.scale.tolist() == [8 * 112]
    torch.testing.assert_close(camera.center, torch.tensor([[112 + 8.96, 112 - 17.92]]))


ONE = WeakPerspective(torch.ones(1), torch.zeros(1, 2))
PINHOLE = Perspective(torch.ones(1, 2), torch.zeros(1, 2))
POINTS = torch.ones(1, 4, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: WeakPerspective(torch.tensor(1.0), torch.zeros(1, 2)), r"scale, center: .*add a frame axis"),
        (lambda: WeakPerspective(torch.ones(1), torch.zeros(2)), r"scale, center: .*\(1,\) and \(2,\)"),
        (lambda: Perspective(torch.ones(2), torch.zeros(2, 2)), r"focal, principal: expected \(T, 2\)"),
        (lambda: project(POINTS[0], ONE), r"points: expected \(T, N, 3\), got \(4, 3\); .*points\[None\]"),
        (lambda: project(POINTS.expand(3, -1, -1), two_frames()), r"points: expected 2 frames .*got 3"),
        (lambda: project(-POINTS, PINHOLE), r"expected z > 0 \(in front of the camera\), got -1 in frame 0"),
        (lambda: unproject(POINTS, PINHOLE), r"mean_depth: expected .*None; pass what project used"),
        (lambda: project(POINTS, PINHOLE, mean_depth=torch.ones(2)), r"mean_depth: expected \(1,\)"),
        (lambda: weak_to_perspective(ONE, focal=0, principal=(0, 0)), r"focal: expected pixels > 0, got 0"),
        (lambda: perspective_to_weak(PINHOLE, torch.ones(3)), r"translation: expected \(T, 3\)"),
        (lambda: perspective_to_weak(PINHOLE, -torch.ones(1, 3)), r"expected z > 0"),
        (lambda: to_opengl(PINHOLE, (4, 4), near=0.0, far=1.0), r"near, far: expected near < far"),
        (lambda: to_opengl(ONE, (4, 4), near=2.0, far=1.0), r"near, far: expected near < far"),
        (lambda: perspective_from_opengl(torch.eye(4)[None], (4, 4)), r"last row .*use weak_from_opengl"),
        (lambda: weak_from_opengl(torch.eye(4), (4, 4)), r"matrix: expected \(T, 4, 4\), got \(4, 4\)"),
        (lambda: weak_from_opengl(torch.ones(1, 4, 4).triu(), (4, 4)), r"matrix: expected no skew"),
        (lambda: weak_from_opengl(torch.eye(4)[None], (4, 8)), r"matrix: expected square pixels"),
        (lambda: weak_from_pytorch3d(oblong(), (4, 4)), r"focal_length: expected square pixels"),
        (lambda: from_deca(torch.ones(3), crop_origin=POINTS[0, :1, :2], crop_size=torch.ones(1)), r"cam: "),
    ],
)
def test_errors_say_what_was_expected(call, text):
    with pytest.raises(ShapeError, match=text):
        call()


def two_frames():
    return WeakPerspective(torch.ones(2), torch.zeros(2, 2))


def oblong():
    return PyTorch3DCamera(
        torch.eye(3)[None], torch.zeros(1, 3), torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)
    )
