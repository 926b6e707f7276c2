"""The guidance pyramid: the dense twin's values and gradients, known kernels, borders, refusals."""

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.geom.pyramid import (
    blur_kernel,
    downsampling_matrix,
    guidance_pyramid,
    guidance_pyramid_ref,
)

STRIDES = (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("size", "strides"), [((32, 32), STRIDES), ((64, 96), (4, 32)), ((160, 128), (2, 8)), ((48, 64), (16,))]
)
def test_equals_the_dense_twin_in_values_and_gradients(size, strides):
    torch.manual_seed(0)
    guidance = torch.randn(2, 2, *size, requires_grad=True)
    fast, plain = guidance_pyramid(guidance, strides), guidance_pyramid_ref(guidance, strides)
    for stride, one, other in zip(strides, fast, plain, strict=True):
        assert one.shape == (2, 2, size[0] // stride, size[1] // stride)
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6)
    incoming = [torch.randn_like(level) for level in fast]
    gradients = [torch.autograd.grad(levels, guidance, incoming)[0] for levels in (fast, plain)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


def test_gradient_against_differences():
    guidance = torch.randn(1, 1, 8, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda picture: guidance_pyramid(picture, (2, 4)), guidance)


@pytest.mark.parametrize(("stride", "taps"), zip(STRIDES, (1, 5, 13, 29, 61, 125), strict=True))
def test_kernels_are_those_of_the_public_code(stride, taps):
    kernel = blur_kernel(stride, dtype=torch.float64)
    assert len(kernel) == taps
    assert kernel.sum() == pytest.approx(1)
    torch.testing.assert_close(kernel, kernel.flip(0))
    if stride > 1:  # the ratio of neighbours says sigma
        centre = taps // 2
        sigma = (2 * (kernel[centre] / kernel[centre + 1]).log()).rsqrt()
        assert sigma == pytest.approx((stride - 1) / 2)


def test_a_constant_stays_inside_and_fades_at_the_border():
    (level,) = guidance_pyramid(torch.ones(1, 1, 256, 256), (8,))
    torch.testing.assert_close(level[0, 0, 2:-1, 2:-1], torch.ones(29, 29), rtol=0, atol=1e-5)
    edge = 0.5 + float(blur_kernel(8)[14]) / 2  # half the kernel and half of its middle
    assert float(level[0, 0, 0, 16]) == pytest.approx(edge, abs=1e-5)
    assert float(level[0, 0, 0, 0]) == pytest.approx(edge**2, abs=1e-5)


def test_a_spike_at_a_kept_pixel_is_the_kernels_middle():
    guidance = torch.zeros(1, 1, 64, 64)
    guidance[..., 32, 16] = 1
    (level,) = guidance_pyramid(guidance, (4,))
    assert level.flatten().argmax() == 8 * 16 + 4
    assert level.max() == pytest.approx(float(blur_kernel(4)[6] ** 2))


def test_stride_one_is_the_guidance_itself_bit_for_bit():
    guidance = torch.randn(1, 2, 5, 7)
    assert guidance_pyramid(guidance, (1,))[0] is guidance


def test_half_precision_is_computed_in_float32():
    guidance = torch.rand(1, 2, 64, 64).bfloat16()
    (level,) = guidance_pyramid(guidance, (8,))
    assert level.dtype == torch.bfloat16
    torch.testing.assert_close(level, guidance_pyramid(guidance.float(), (8,))[0].bfloat16(), rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (under,) = guidance_pyramid(guidance.float(), (8,))
    torch.testing.assert_close(under, guidance_pyramid(guidance.float(), (8,))[0], rtol=0, atol=0)


@pytest.mark.parametrize("size", [(8, 2), (32, 32)])
def test_matrix_rows_are_the_shifted_kernel(size):
    count, stride = size
    matrix = downsampling_matrix(count, stride, dtype=torch.float64)
    kernel = blur_kernel(stride, dtype=torch.float64)
    radius = len(kernel) // 2
    for row in range(count // stride):
        for column in range(count):
            tap = column - row * stride + radius
            expected = float(kernel[tap]) if 0 <= tap < len(kernel) else 0.0
            assert float(matrix[row, column]) == expected


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 2, 30, 32), "multiples of the stride 4, got 30 x 32; pad or resize it"),
        ((2, 32, 32), r"expected floats \(B, G, H, W\), got torch.float32 \(2, 32, 32\); add a batch axis"),
        ((1, 0, 32, 32), r"expected floats \(B, G, H, W\)"),
    ],
)
@pytest.mark.parametrize("pyramid", [guidance_pyramid, guidance_pyramid_ref])
def test_refusals(pyramid, shape, text):
    with pytest.raises(ShapeError, match=text):
        pyramid(torch.zeros(shape), (4,))


def test_a_size_that_the_stride_does_not_divide():
    with pytest.raises(ShapeError, match="multiple of the stride 8, got 20"):
        downsampling_matrix(20, 8)
