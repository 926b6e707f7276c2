"""Shading: the light's integral by brute force is the reference."""

import math

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.geom.shading import HARMONIC_NAMES, head_light, shade, spherical_harmonics


def sphere(count=20000):
    """Evenly spread unit vectors (Fibonacci), (count, 3) float64."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / count
    turn = math.pi * (1 + math.sqrt(5)) * index
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), z], -1)


def planes(vectors):
    return vectors.T[None, :, None]  # (1, 3, 1, N)


@pytest.fixture
def normals():
    vectors = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_harmonics_are_orthonormal():
    basis = spherical_harmonics(planes(sphere()))[0, :, 0]  # (9, N)
    gram = basis @ basis.T * (4 * math.pi / basis.shape[1])
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=1e-4, rtol=0)


def test_order_and_sign_of_the_harmonics():
    x, y, z = torch.eye(3, dtype=torch.float64)
    basis = spherical_harmonics(planes(torch.stack([x, y, z])))[0, :, 0]
    for axis, name in enumerate("xyz"):
        assert basis[HARMONIC_NAMES.index(name), axis] == pytest.approx(math.sqrt(3 / (4 * math.pi)))
    diagonal = spherical_harmonics(planes(torch.stack([x + y, y + z, x + z]) / math.sqrt(2)))[0, :, 0]
    for column, name in enumerate(("xy", "yz", "xz")):
        assert diagonal[HARMONIC_NAMES.index(name), column] == pytest.approx(math.sqrt(15 / (16 * math.pi)))


def test_shade_is_the_irradiance_integral(normals):
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(1, 9, 3, generator=generator, dtype=torch.float64)
    directions = sphere()
    radiance = spherical_harmonics(planes(directions))[0, :, 0].T @ coefficients[0]  # (N, 3)
    cosine = (normals @ directions.T).clamp(min=0)  # (7, N)
    expected = cosine @ radiance * (4 * math.pi / len(directions)) / math.pi
    torch.testing.assert_close(shade(planes(normals), coefficients)[0, :, 0].T, expected, atol=1e-3, rtol=0)


def test_even_light_gives_its_radiance(normals):
    coefficients = torch.zeros(1, 9, 3, dtype=torch.float64)
    coefficients[0, 0] = torch.tensor([0.2, 0.5, 1.0]) * math.sqrt(4 * math.pi)
    shading = shade(planes(normals), coefficients)[0, :, 0]
    torch.testing.assert_close(shading, torch.tensor([[0.2], [0.5], [1.0]]).double().expand(3, 7))


def test_empty_pixels_stay_zero(normals):
    mixed = planes(normals).clone()
    mixed[..., 2] = 0
    coefficients = torch.ones(1, 9, 3, dtype=torch.float64)
    assert shade(mixed, coefficients)[..., 2].abs().max() == 0
    assert head_light(mixed)[..., 2].abs().max() == 0
    assert head_light(mixed)[..., 3].min() > 0


def test_one_light_serves_a_batch(normals):
    batch = torch.cat([planes(normals), -planes(normals)])
    coefficients = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(shade(batch, coefficients[:1])[1], shade(batch[1:], coefficients[:1])[0])
    torch.testing.assert_close(shade(batch, coefficients)[1], shade(batch[1:], coefficients[1:])[0])


def test_gradcheck(normals):
    leaf = planes(normals[:3]).clone().requires_grad_()
    coefficients = torch.randn(1, 9, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shade, (leaf, coefficients))
    assert torch.autograd.gradcheck(lambda n: head_light(n, direction=(0.3, 0.2, -1)), leaf)


def test_head_light_is_brightest_towards_the_camera():
    facing, edge, away = torch.tensor([[0.0, 0, -1], [1, 0, 0], [0, 0, 1]])
    light = head_light(planes(torch.stack([facing, edge, away])), colour=(1.0, 0.5, 0.0), ambient=0.2)
    torch.testing.assert_close(light[0, :, 0, 0], torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(light[0, 0, 0, 1:], torch.tensor([0.2, 0.2]))
    lamp = head_light(planes(edge[None]), colour=(1.0, 1.0, 1.0), direction=(5.0, 0.0, 0.0))
    torch.testing.assert_close(lamp, torch.ones(1, 3, 1, 1))


MAP, LIGHT = torch.zeros(2, 3, 4, 5), torch.zeros(2, 9, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: shade(MAP[0], LIGHT), r"normals: expected floats \(B, 3, H, W\), .*\(3, 4, 5\)"),
        (lambda: shade(MAP.permute(0, 2, 3, 1), LIGHT), r"normals: .*permute\(0, 3, 1, 2\)"),
        (lambda: shade(MAP, LIGHT.transpose(1, 2)), r"coefficients: expected \(2, 9, 3\), got \(2, 3, 9\)"),
        (lambda: shade(MAP[:1], LIGHT), r"coefficients: expected \(1, 9, 3\), got \(2, 9, 3\)"),
        (lambda: spherical_harmonics(MAP.long()), r"normals: .*torch.int64"),
        (lambda: head_light(MAP, ambient=1.5), r"ambient: expected 0 .. 1, got 1.5"),
        (lambda: head_light(MAP, direction=(0.0, 0.0, 0.0)), r"direction: expected a vector"),
    ],
)
def test_errors_say_what_was_expected(call, text):
    with pytest.raises(ShapeError, match=text):
        call()
