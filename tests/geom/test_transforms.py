"""Rotations: against the matrix exponential and kornia, at rest, at half a turn, and for garbage."""

import math

import pytest
import torch
from scipy.linalg import expm
from torch.autograd.functional import hessian, jacobian

from headwarp.geom.errors import ShapeError
from headwarp.geom.transforms import (
    Similarity,
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_euler,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    rigid_apply,
    rigid_compose,
    rigid_inverse,
    rotation_6d_to_matrix,
    rotation_angle,
    skew,
    umeyama,
)

AXIS = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64)
ANGLES = [0, 1e-12, 1e-8, 1e-5, 1e-3, 9.9e-3, 1.01e-2, 0.1, 1.0, 2.5, 3.14, 3.14159265, math.pi]
EYE = torch.eye(3, dtype=torch.float64)


def random_rotations(count, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return axis_angle_to_matrix(torch.randn(count, 3, generator=generator, dtype=dtype) * 1.5)


def assert_rotation(matrix, atol=1e-12):
    torch.testing.assert_close(
        matrix @ matrix.transpose(-1, -2), EYE.to(matrix).expand_as(matrix), atol=atol, rtol=0
    )
    torch.testing.assert_close(torch.det(matrix), torch.ones_like(matrix[..., 0, 0]), atol=atol, rtol=0)


def exponential(vector):
    return torch.linalg.matrix_exp(skew(vector))


def test_skew_is_the_cross_product():
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1)).unbind(0)
    torch.testing.assert_close((skew(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_equals_the_matrix_exponential_with_its_derivatives(angle):
    vector = AXIS * angle
    matrix = axis_angle_to_matrix(vector)
    torch.testing.assert_close(matrix, torch.from_numpy(expm(skew(vector).numpy())), atol=4e-15, rtol=0)
    assert_rotation(matrix, 1e-14)
    torch.testing.assert_close(
        jacobian(axis_angle_to_matrix, vector), jacobian(exponential, vector), atol=1e-13, rtol=0
    )
    torch.testing.assert_close(
        hessian(lambda v: axis_angle_to_matrix(v)[0, 1], vector),
        hessian(lambda v: exponential(v)[0, 1], vector),
        atol=2e-13,
        rtol=0,
    )


@pytest.mark.parametrize("angle", ANGLES)
def test_logarithm_leads_back_with_unit_derivative(angle):
    vector = AXIS * angle

    def there_and_back(v):
        return matrix_to_axis_angle(axis_angle_to_matrix(v))

    back = there_and_back(vector)
    if angle == math.pi:
        back = back * torch.sign(back @ vector)  # either axis is right
    torch.testing.assert_close(back, vector, atol=1e-14, rtol=1e-12)
    if angle < math.pi:
        torch.testing.assert_close(jacobian(there_and_back, vector), EYE, atol=1e-12, rtol=0)
    assert torch.isfinite(jacobian(there_and_back, vector)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_turns_about_every_axis(dtype):
    directions = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)] * 3)
    directions = directions[directions.abs().sum(1) > 0]
    directions = directions / directions.norm(dim=1, keepdim=True)
    matrix = 2 * directions[:, :, None] * directions[:, None] - torch.eye(3, dtype=dtype)
    vector = matrix_to_axis_angle(matrix)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(
        vector.norm(dim=1), torch.full((26,), math.pi, dtype=dtype), atol=tolerance, rtol=0
    )
    torch.testing.assert_close(axis_angle_to_matrix(vector), matrix, atol=tolerance, rtol=0)


def test_angles_beyond_half_a_turn_come_back_as_the_short_way():
    vector = AXIS * (2 * math.pi - 0.5)
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(vector)), -AXIS * 0.5)


def test_float32_is_as_good_as_float32_can_be():
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(500, 3, generator=generator) * torch.logspace(-6, 0.1, 500)[:, None]
    matrix = axis_angle_to_matrix(vectors)
    torch.testing.assert_close(matrix.double(), exponential(vectors.double()), atol=5e-7, rtol=0)
    back = matrix_to_axis_angle(matrix).double()
    assert (exponential(back) - matrix.double()).abs().max() < 2e-6


def test_agrees_with_kornia_away_from_rest():
    conversions = pytest.importorskip("kornia.geometry.conversions")
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * torch.linspace(0.5, 3.0, 50)[:, None]
    matrix = axis_angle_to_matrix(vectors)
    torch.testing.assert_close(matrix, conversions.axis_angle_to_rotation_matrix(vectors), atol=3e-6, rtol=0)
    theirs = conversions.rotation_matrix_to_quaternion(matrix)
    theirs = theirs * theirs[:, :1].sign()
    torch.testing.assert_close(matrix_to_quaternion(matrix), theirs, atol=3e-6, rtol=0)


def test_quaternion_is_wxyz_with_positive_real_part():
    quarter = torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64)
    expected = torch.tensor([math.sqrt(0.5), 0, 0, math.sqrt(0.5)], dtype=torch.float64)
    torch.testing.assert_close(axis_angle_to_quaternion(quarter), expected)
    torch.testing.assert_close(matrix_to_quaternion(axis_angle_to_matrix(quarter)), expected)
    assert (matrix_to_quaternion(random_rotations(200))[:, 0] >= 0).all()


def test_quaternion_round_trips_and_ignores_sign_and_length():
    rotations = random_rotations(100)
    quaternions = matrix_to_quaternion(rotations)
    for factor in (1, -1, 3.7, -1e-3):
        torch.testing.assert_close(quaternion_to_matrix(quaternions * factor), rotations)
        torch.testing.assert_close(
            axis_angle_to_matrix(quaternion_to_axis_angle(quaternions * factor)), rotations
        )
    vectors = matrix_to_axis_angle(rotations)
    torch.testing.assert_close(axis_angle_to_quaternion(vectors), quaternions)


def test_zero_quaternion_is_the_identity():
    zero = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    matrix = quaternion_to_matrix(zero)
    assert torch.equal(matrix, EYE)
    (gradient,) = torch.autograd.grad(matrix.sum(), zero)
    assert torch.equal(gradient, torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-2, 0.7, 3.0])
def test_gradcheck_of_the_conversions(angle):
    vector = (AXIS * angle)[None].clone().requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vector)
    assert torch.autograd.gradgradcheck(axis_angle_to_matrix, vector)
    assert torch.autograd.gradcheck(axis_angle_to_quaternion, vector)
    matrix = axis_angle_to_matrix(vector.detach()).requires_grad_()
    quaternion = axis_angle_to_quaternion(vector.detach()).requires_grad_()
    assert torch.autograd.gradcheck(matrix_to_quaternion, matrix)
    assert torch.autograd.gradcheck(matrix_to_axis_angle, matrix)
    assert torch.autograd.gradcheck(quaternion_to_axis_angle, quaternion)
    assert torch.autograd.gradcheck(quaternion_to_matrix, quaternion)
    assert torch.autograd.gradcheck(matrix_to_euler, matrix)
    six = matrix_to_rotation_6d(matrix).detach().requires_grad_()
    assert torch.autograd.gradcheck(rotation_6d_to_matrix, six)


def angle(value):
    return torch.tensor(value, dtype=torch.float64)


def test_euler_signs_are_the_packages():
    zero, some = angle(0.0), angle(0.4)
    nose, right = torch.tensor([[0, 0, -1.0], [1.0, 0, 0]], dtype=torch.float64)  # facing the camera
    assert (euler_to_matrix(some, zero, zero) @ nose)[0] < -0.3  # yaw: to the image's left
    assert (euler_to_matrix(zero, some, zero) @ nose)[1] > 0.3  # pitch: down, y points down
    assert (euler_to_matrix(zero, zero, some) @ right)[1] > 0.3  # roll: clockwise in the image


def test_euler_is_ry_rx_rz():
    yaw, pitch, roll = (angle(value) for value in (0.3, -0.5, 0.8))
    x, y, z = EYE
    product = axis_angle_to_matrix(y * yaw) @ axis_angle_to_matrix(x * pitch) @ axis_angle_to_matrix(z * roll)
    torch.testing.assert_close(euler_to_matrix(yaw, pitch, roll), product)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_euler_round_trip_over_the_whole_range(dtype):
    turn = torch.linspace(-3.1, 3.1, 9, dtype=dtype)
    nod = torch.linspace(-1.55, 1.55, 9, dtype=dtype)
    yaw, pitch, roll = torch.cartesian_prod(turn, nod, turn).unbind(1)
    angles = matrix_to_euler(euler_to_matrix(yaw, pitch, roll))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for got, expected in zip(angles, (yaw, pitch, roll), strict=True):
        torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
def test_gimbal_lock_gives_no_roll_and_the_same_rotation(dtype, pitch):
    yaw, roll = torch.tensor([0.4, -1.0], dtype=dtype)
    matrix = euler_to_matrix(yaw, torch.tensor(pitch, dtype=dtype), roll).requires_grad_()
    angles = matrix_to_euler(matrix)
    assert angles.roll == 0
    torch.testing.assert_close(euler_to_matrix(*angles), matrix, atol=1e-6, rtol=0)
    (gradient,) = torch.autograd.grad(sum(angles), matrix)
    assert torch.isfinite(gradient).all()


def test_rotation_6d_is_the_first_two_columns():
    rotations = random_rotations(20)
    six = matrix_to_rotation_6d(rotations)
    assert torch.equal(six, torch.cat([rotations[..., 0], rotations[..., 1]], -1))
    torch.testing.assert_close(rotation_6d_to_matrix(six), rotations)
    scaled = six * torch.tensor([2.0] * 3 + [0.3] * 3)
    torch.testing.assert_close(rotation_6d_to_matrix(scaled), rotations)


@pytest.mark.parametrize("six", [[0] * 6, [0, 0, 0, 1, 0, 0], [1, 2, 3, -2, -4, -6], [0, 1, 0, 0, 1, 0]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_6d_is_still_a_rotation(six, dtype):
    vector = torch.tensor(six, dtype=dtype).requires_grad_()
    matrix = rotation_6d_to_matrix(vector)
    assert_rotation(matrix, 1e-6)
    (gradient,) = torch.autograd.grad(matrix.sum(), vector)
    assert torch.isfinite(gradient).all()


def test_rotation_angle():
    first = random_rotations(10)
    for size in (1e-9, 0.2, 3.0, math.pi):
        second = first @ axis_angle_to_matrix(AXIS * size)
        torch.testing.assert_close(
            rotation_angle(first, second), torch.full((10,), size, dtype=torch.float64), atol=1e-12, rtol=0
        )
    same = first.clone().requires_grad_()
    rotation_angle(same, first).sum().backward()
    assert torch.isfinite(same.grad).all()


def test_rigid_maps():
    generator = torch.Generator().manual_seed(4)
    a, b = random_rotations(2)
    t_a, t_b = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    points = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    one_by_one = rigid_apply(rigid_apply(points, b, t_b), a, t_a)
    torch.testing.assert_close(rigid_apply(points, *rigid_compose(a, t_a, b, t_b)), one_by_one)
    torch.testing.assert_close(rigid_apply(rigid_apply(points, a, t_a), *rigid_inverse(a, t_a)), points)
    batched = rigid_apply(points.expand(2, -1, -1), torch.stack([a, b]), torch.stack([t_a, t_b]))
    torch.testing.assert_close(batched[1], points @ b.T + t_b)


def similarity(dimension, scale=1.7):
    rotation = random_rotations(1)[0]
    if dimension == 2:
        rotation = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))[:2, :2]
    translation = torch.arange(1.0, dimension + 1, dtype=torch.float64)
    return Similarity(torch.tensor(scale, dtype=torch.float64), rotation, translation)


def points_of(count, dimension, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64)


def assert_same(got, expected, atol=1e-9):
    for name in ("scale", "rotation", "translation"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=atol, rtol=0)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("with_scale", [True, False])
def test_umeyama_recovers_a_similarity(dimension, with_scale):
    truth = similarity(dimension, 1.7 if with_scale else 1.0)
    source = points_of(12, dimension)
    assert_same(umeyama(source, truth.apply(source), with_scale=with_scale), truth)
    torch.testing.assert_close(truth.inverse().apply(truth.apply(source)), source)


def test_umeyama_ignores_points_without_weight_and_counts_weights():
    truth, source = similarity(3), points_of(12, 3)
    target = truth.apply(source)
    target[3:5] += 100
    weights = torch.ones(12, dtype=torch.float64)
    weights[3:5] = 0
    assert_same(umeyama(source, target, weights=weights), truth)
    noisy = target + points_of(12, 3, seed=6) * 0.1
    weights = torch.tensor([1.0, 2, 3] * 4, dtype=torch.float64)
    repeated = [tensor.repeat_interleave(weights.long(), 0) for tensor in (source, noisy)]
    assert_same(umeyama(source, noisy, weights=weights), umeyama(*repeated))


def test_umeyama_is_a_minimum():
    source = points_of(20, 3)
    target = similarity(3).apply(source) + points_of(20, 3, seed=7) * 0.2
    best = umeyama(source, target)

    def energy(fit):
        return (fit.apply(source) - target).square().sum()

    least = energy(best)
    for axis in EYE * 1e-3:
        turned = axis_angle_to_matrix(axis) @ best.rotation
        assert energy(Similarity(best.scale, turned, best.translation)) > least
        assert energy(Similarity(best.scale, best.rotation, best.translation + axis)) > least
    for factor in (0.999, 1.001):
        assert energy(Similarity(best.scale * factor, best.rotation, best.translation)) > least


@pytest.mark.parametrize("dimension", [2, 3])
def test_umeyama_never_reflects(dimension):
    source = points_of(9, dimension)
    target = source.clone()
    target[:, 0] *= -1
    fit = umeyama(source, target)
    assert torch.det(fit.rotation) == pytest.approx(1)
    for factor in (0.99, 1.01):  # the scale is the best one for that rotation
        other = umeyama(source, target, with_scale=False)
        scaled = Similarity(fit.scale * factor, other.rotation, target.mean(0))
        moved = Similarity(fit.scale, other.rotation, target.mean(0))
        centred = source - source.mean(0)
        assert (scaled.apply(centred) - target).norm() > (moved.apply(centred) - target).norm()
    flat = torch.cat([source[:, :-1], torch.zeros(9, 1, dtype=torch.float64)], 1)  # in a plane, or on a line
    fit = umeyama(flat, similarity(dimension).apply(flat))
    assert torch.det(fit.rotation) == pytest.approx(1)
    torch.testing.assert_close(fit.apply(flat), similarity(dimension).apply(flat))


def test_umeyama_few_points():
    one = torch.tensor([[1.0, 2.0, 3.0]])
    fit = umeyama(one, one + 1, with_scale=False)
    torch.testing.assert_close(fit.apply(one), one + 1)
    two = points_of(2, 3)
    torch.testing.assert_close(umeyama(two, similarity(3).apply(two)).apply(two), similarity(3).apply(two))


def test_umeyama_keeps_float32_accurate_far_from_the_origin():
    source = (points_of(30, 3) * 0.1 + 1000).float()
    target = (source.double() * 2 + 5).float()
    fit = umeyama(source, target)
    assert fit.scale.dtype == torch.float32
    assert float(fit.scale) == pytest.approx(float(umeyama(source.double(), target.double()).scale), rel=1e-6)


def test_umeyama_gradcheck():
    source, target = points_of(6, 3), similarity(3).apply(points_of(6, 3)) + points_of(6, 3, seed=8) * 0.3
    weights = torch.linspace(0.5, 2, 6, dtype=torch.float64, requires_grad=True)

    def maps(x, y, w):
        fit = umeyama(x, y, weights=w)
        return fit.scale, fit.rotation, fit.translation

    assert torch.autograd.gradcheck(maps, (source.requires_grad_(), target.requires_grad_(), weights))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 0, 3), (4, 2, 3)])
def test_leading_axes_are_free(shape):
    vectors = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    matrix = axis_angle_to_matrix(vectors)
    assert matrix.shape == (*shape[:-1], 3, 3)
    assert matrix_to_axis_angle(matrix).shape == shape
    assert matrix_to_quaternion(matrix).shape == (*shape[:-1], 4)
    assert matrix_to_rotation_6d(matrix).shape == (*shape[:-1], 6)
    assert matrix_to_euler(matrix).yaw.shape == shape[:-1]


THREE = torch.zeros(5, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: axis_angle_to_matrix(torch.zeros(4)), r"axis_angle: expected floats \(..., 3\), .*\(4,\)"),
        (lambda: axis_angle_to_matrix(torch.zeros(3).long()), r"axis_angle: .*torch.int64.*use float32"),
        (lambda: matrix_to_axis_angle(torch.zeros(3, 4)), r"matrix: expected floats \(..., 3, 3\)"),
        (lambda: quaternion_to_matrix(THREE), r"quaternion: expected floats \(..., 4\)"),
        (lambda: matrix_to_euler(THREE), r"matrix: expected"),
        (lambda: rotation_6d_to_matrix(THREE), r"rotation_6d: expected floats \(..., 6\)"),
        (lambda: rigid_apply(torch.zeros(5, 2), torch.eye(3), torch.zeros(3)), r"points: expected"),
        (lambda: umeyama(THREE, THREE[:4]), r"source, target: .*\(5, 3\) and \(4, 3\)"),
        (lambda: umeyama(THREE[:0], THREE[:0]), r"source, target: .*\(0, 3\)"),
        (lambda: umeyama(THREE, THREE), r"source: expected at least two different points.*with_scale=False"),
        (lambda: umeyama(THREE, THREE, weights=torch.zeros(5)), r"weights: expected >= 0 and not all zero"),
        (lambda: umeyama(THREE, THREE, weights=torch.tensor([1, 1, 1, 1, -1.0])), r"weights: expected >= 0"),
        (lambda: umeyama(THREE, THREE, weights=torch.ones(4)), r"weights: expected \(5,\), got \(4,\)"),
        (lambda: umeyama(THREE, THREE / 0), r"source, target: expected finite"),
    ],
)
def test_errors_say_what_was_expected(call, text):
    with pytest.raises(ShapeError, match=text):
        call()
