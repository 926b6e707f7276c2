"""Warping: exact where it must be, and the same as its plain twin in value and gradient everywhere."""

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import ShapeError
from headwarp.geom.flow import (
    compose,
    flow_to_grid,
    grid_to_flow,
    pixel_grid,
    resize_flow,
    sample,
    sample_ref,
    warp,
    warp_points,
    warp_ref,
)

SIZES = [(1, 1), (1, 7), (5, 3), (16, 16), (31, 33), (64, 48), (100, 256), (224, 224), (257, 129)]
MODES = ["bilinear", "bicubic", "nearest"]
PADDINGS = ["border", "zeros"]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def smooth_flow(size, generator, amplitude, dtype=torch.float32):
    coarse = torch.randn(1, 2, 4, 4, generator=generator, dtype=dtype) * amplitude
    return F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("function", [warp, warp_ref])
def test_zero_flow_is_the_image_bit_for_bit(size, mode, padding_mode, function, generator):
    image = torch.randn(2, 3, *size, generator=generator) * 1e3
    flow = torch.zeros(2, 2, *size)
    assert torch.equal(function(image, flow, padding_mode=padding_mode, mode=mode), image)


@pytest.mark.parametrize("size", [(5, 11), (64, 48), (100, 256), (224, 224), (257, 129)])
@pytest.mark.parametrize("shift", [(1, 0), (-3, 2), (4, -1)])
@pytest.mark.parametrize("mode", MODES)
def test_whole_pixel_shifts_are_exact_and_leave_the_frame_by_the_padding(size, shift, mode, generator):
    image = torch.rand(1, 2, *size, generator=generator)
    dx, dy = shift
    flow = torch.tensor([dx, dy], dtype=torch.float32)[None, :, None, None].expand(1, 2, *size)
    rows, columns = torch.arange(size[0]) + dy, torch.arange(size[1]) + dx
    border = image[:, :, rows.clamp(0, size[0] - 1)][:, :, :, columns.clamp(0, size[1] - 1)]
    inside = ((rows >= 0) & (rows < size[0]))[:, None] & ((columns >= 0) & (columns < size[1]))
    assert torch.equal(warp(image, flow, mode=mode), border)
    assert torch.equal(warp(image, flow, padding_mode="zeros", mode=mode), border * inside)


def test_plain_grid_sample_is_not_exact_which_is_why_warp_pads(generator):
    image = torch.rand(1, 3, 224, 200, generator=generator)
    grid = flow_to_grid(torch.zeros(1, 2, 224, 200))
    plain = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    assert not torch.equal(plain, image)
    torch.testing.assert_close(plain, image, rtol=0, atol=1e-4)


def test_flow_is_backward_and_in_pixels():
    image = torch.arange(8.0)[None, None, None].expand(1, 1, 4, 8)
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0] = 0.25
    assert warp(image, flow)[0, 0, 0].tolist() == [0.25, 1.25, 2.25, 3.25, 4.25, 5.25, 6.25, 7.0]
    assert warp(image, flow, padding_mode="zeros")[0, 0, 0, -1] == pytest.approx(7 * 0.75)


@pytest.mark.parametrize("size", [(13, 9), (16, 32)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("amplitude", [0.7, 30.0])
def test_equals_the_plain_twin_in_value_and_gradients(size, mode, padding_mode, amplitude, generator):
    image = torch.randn(1, 3, *size, generator=generator, dtype=torch.float64)
    flow = smooth_flow(size, generator, amplitude, torch.float64)
    seed = torch.randn(1, 3, *size, generator=generator, dtype=torch.float64)
    results = []
    for function in (warp, warp_ref):
        leaves = image.clone().requires_grad_(), flow.clone().requires_grad_()
        output = function(*leaves, padding_mode=padding_mode, mode=mode)
        gradients = torch.autograd.grad(output, leaves, seed, allow_unused=mode == "nearest")
        results.append((output, *gradients))
    (fast, fast_image, fast_flow), (plain, plain_image, plain_flow) = results
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(fast_image, plain_image)
    if mode != "nearest":
        torch.testing.assert_close(fast_flow, plain_flow)


@pytest.mark.parametrize("size", [(3, 5), (4, 4)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding_mode", PADDINGS)
def test_gradcheck(size, mode, padding_mode, generator):
    image = torch.randn(1, 1, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    flow = torch.randn(1, 2, *size, generator=generator, dtype=torch.float64).mul(2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda i, f: warp(i, f, padding_mode=padding_mode, mode=mode), (image, flow)
    )


@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_gradient_at_rest_is_the_forward_difference_and_flat_at_the_border(size, generator):
    image = torch.randn(1, 1, *size, generator=generator)
    flow = torch.zeros(1, 2, *size, requires_grad=True)
    warp(image, flow).sum().backward()
    difference = image[0, 0, :, 1:] - image[0, 0, :, :-1]
    torch.testing.assert_close(flow.grad[0, 0, 1:-1, 1:-1], difference[1:-1, 1:])
    assert flow.grad[0, 0, :, [0, -1]].abs().max() == 0


def test_a_flow_of_another_size_shows_the_same_frame_at_its_size(generator):
    image = torch.rand(1, 3, 12, 20, generator=generator)
    half = torch.zeros(1, 2, 6, 10)
    torch.testing.assert_close(warp(image, half), F.avg_pool2d(image, 2))
    half[:, 0] = 1  # one pixel of its own is two of the image
    torch.testing.assert_close(warp(image, half)[..., :-1], F.avg_pool2d(image, 2)[..., 1:])
    torch.testing.assert_close(warp(image, half, mode="bicubic"), warp_ref(image, half, mode="bicubic"))


def test_one_source_serves_a_batch_of_flows_and_the_other_way_round(generator):
    images, flows = torch.rand(3, 2, 6, 7, generator=generator), torch.randn(3, 2, 6, 7, generator=generator)
    for function in (warp, warp_ref):
        one_image = function(images[:1], flows)
        one_flow = function(images, flows[:1])
        for index in range(3):
            row = slice(index, index + 1)
            torch.testing.assert_close(one_image[row], function(images[:1], flows[row]))
            torch.testing.assert_close(one_flow[row], function(images[row], flows[:1]))


def test_half_precision_images_are_sampled_in_float32(generator):
    image = torch.rand(1, 3, 200, 300, generator=generator).half()
    flow = torch.zeros(1, 2, 200, 300)
    assert torch.equal(warp(image, flow), image)
    assert warp(image, flow.half()).dtype == torch.float16


@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("size", [(6, 5), (8, 8)])
def test_flow_beyond_all_bounds_is_finite(padding_mode, size):
    image = torch.ones(1, 1, *size)
    for value in (1e9, -1e9, float("inf"), -float("inf")):
        for mode in MODES:
            warped = warp(image, torch.full((1, 2, *size), value), padding_mode=padding_mode, mode=mode)
            assert torch.equal(warped, image if padding_mode == "border" else torch.zeros_like(image))


@pytest.mark.parametrize("padding_mode", ["border", "zeros"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_nan_flow_has_a_backward_pass(mode, padding_mode):
    image = torch.rand(2, 7, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    flow = torch.zeros(2, 2, 16, 16)
    flow[0, :, 3, 3] = float("nan")
    flow.requires_grad_()
    for _ in range(5):  # without care it is a matter of luck whether the process survives
        warp(image, flow, mode=mode, padding_mode=padding_mode).sum().backward()
    assert torch.isfinite(image.grad).all()
    assert flow.grad is None or torch.isfinite(flow.grad).all()


def test_nan_flow_shows_some_pixel():
    warped = warp(torch.ones(1, 1, 6, 5), torch.full((1, 2, 6, 5), float("nan")))
    assert torch.equal(warped, torch.ones(1, 1, 6, 5))


def test_strided_and_permuted_inputs(generator):
    image = torch.rand(1, 9, 12, 3, generator=generator).permute(0, 3, 1, 2)
    flow = torch.randn(1, 18, 12, 2, generator=generator).permute(0, 3, 1, 2)[:, :, ::2]
    torch.testing.assert_close(warp(image, flow), warp(image.contiguous(), flow.contiguous()))


def test_sample_reads_absolute_positions(generator):
    image = torch.rand(1, 2, 9, 14, generator=generator)
    assert torch.equal(sample(image, pixel_grid((9, 14))), image)
    positions = torch.rand(1, 2, 4, 6, generator=generator) * 14
    torch.testing.assert_close(sample(image, positions), sample_ref(image, positions), rtol=1e-4, atol=1e-5)
    corner = torch.full((1, 2, 1, 1), 1.0)  # where four pixels meet
    torch.testing.assert_close(sample(image, corner)[0, :, 0, 0], image[0, :, :2, :2].mean((1, 2)))


def test_compose_is_one_warp_for_two(generator):
    size = (40, 36)
    outer, inner = smooth_flow(size, generator, 2), smooth_flow(size, generator, 2)
    zero = torch.zeros_like(outer)
    assert torch.equal(compose(outer, zero), outer)
    assert torch.equal(compose(zero, inner), inner)
    ramp = pixel_grid(size)  # linear, so that interpolating twice loses nothing
    twice = warp(warp(ramp, inner), outer)
    once = warp(ramp, compose(outer, inner))
    torch.testing.assert_close(once[..., 8:-8, 8:-8], twice[..., 8:-8, 8:-8], rtol=0, atol=2e-5)


def test_compose_keeps_the_order():
    stretch = pixel_grid((8, 8)) - 4  # samples at 2 p - 4
    step = torch.zeros(1, 2, 8, 8)
    step[:, 0] = 1
    middle = (..., 3, 3)  # p = 3.5
    assert compose(step, stretch)[0, 0][middle] == pytest.approx(1 + 0.5)  # stretch read at 4.5
    assert compose(stretch, step)[0, 0][middle] == pytest.approx(-0.5 + 1)


def test_resize_flow_scales_values_with_the_frame(generator):
    flow = torch.empty(1, 2, 8, 6)
    flow[:, 0], flow[:, 1] = 3.0, -2.0
    for size in ((16, 18), (4, 3), (5, 11)):
        resized = resize_flow(flow, size)
        torch.testing.assert_close(resized[:, 0], torch.full((1, *size), 3.0 * size[1] / 6))
        torch.testing.assert_close(resized[:, 1], torch.full((1, *size), -2.0 * size[0] / 8))
    assert resize_flow(flow, (8, 6)) is flow


def test_resize_flow_keeps_what_is_shown():
    scale = 0.1 * (pixel_grid((16, 16)) - 8)  # an affine zoom
    large = 0.1 * (pixel_grid((64, 64)) - 32)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(resize_flow(scale, (64, 64))[inner], large[inner], rtol=0, atol=1e-5)
    torch.testing.assert_close(resize_flow(large, (16, 16))[inner], scale[inner], rtol=0, atol=1e-5)


def test_resize_flow_low_passes_where_it_shrinks():
    stripes = torch.zeros(1, 2, 8, 48)
    stripes[..., ::4] = 4.0
    small = resize_flow(stripes, (8, 12))
    torch.testing.assert_close(small[:, 1, :, 1:-1], torch.ones(1, 8, 10), rtol=0, atol=0.2)
    torch.testing.assert_close(small[:, 0], small[:, 1] / 4)


@pytest.mark.parametrize("align_corners", [False, True])
def test_grids_for_grid_sample_show_the_same_and_lead_back(align_corners, generator):
    image, flow = torch.rand(1, 3, 20, 31, generator=generator), smooth_flow((20, 31), generator, 5)
    grid = flow_to_grid(flow, align_corners=align_corners)
    sampled = F.grid_sample(image, grid, padding_mode="border", align_corners=align_corners)
    torch.testing.assert_close(sampled, warp(image, flow), rtol=0, atol=1e-4)
    torch.testing.assert_close(grid_to_flow(grid, align_corners=align_corners), flow, rtol=0, atol=1e-5)


def test_grid_edges():
    zero = torch.zeros(1, 2, 4, 2)
    assert flow_to_grid(zero)[0, 0, 0].tolist() == [-0.5, -0.75]
    assert flow_to_grid(zero, align_corners=True)[0, 0, 0].tolist() == [-1, -1]


def test_warp_points_goes_with_the_flow():
    flow = torch.zeros(1, 2, 10, 10)
    flow[:, 0] = pixel_grid((10, 10))[:, 0] * 0.5
    flow[:, 1] = -1
    points = torch.tensor([[[2.5, 3.5], [4.0, 8.0], [5.25, 1.0]]])
    expected = torch.tensor([[[3.75, 2.5], [6.0, 7.0], [7.875, 0.0]]])
    torch.testing.assert_close(warp_points(points, flow), expected)
    assert warp_points(points[:, :0], flow).shape == (1, 0, 2)


def test_warp_points_gradcheck(generator):
    flow = torch.randn(2, 2, 7, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    points = torch.rand(2, 4, 2, generator=generator, dtype=torch.float64).mul(5).add(0.7).requires_grad_()
    assert torch.autograd.gradcheck(warp_points, (points, flow))


def test_pixel_grid():
    grid = pixel_grid((2, 3), dtype=torch.float64)
    assert grid.dtype == torch.float64
    assert grid[0].tolist() == [[[0.5, 1.5, 2.5]] * 2, [[0.5] * 3, [1.5] * 3]]


IMAGE, FLOW = torch.zeros(1, 3, 4, 5), torch.zeros(1, 2, 4, 5)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: warp(IMAGE[0], FLOW), r"image: expected floats \(B, C, H, W\), .* image\[None\]"),
        (lambda: warp(IMAGE.byte(), FLOW), r"image: .*got torch.uint8 .*scale bytes by 1 / 255"),
        (lambda: warp(IMAGE[..., :0], FLOW), r"image: expected .*\(1, 3, 4, 0\)"),
        (lambda: warp(IMAGE, FLOW[0]), r"flow: expected floats \(B, 2, H, W\).*flow\[None\]"),
        (
            lambda: warp(IMAGE, FLOW.permute(0, 2, 3, 1)),
            r"flow: .*\(1, 4, 5, 2\); a sampling grid goes",
        ),
        (lambda: warp(IMAGE, IMAGE), r"flow: .*x then y on axis 1"),
        (lambda: warp(IMAGE.expand(3, -1, -1, -1), FLOW.expand(2, -1, -1, -1)), r"batch of 3 .*got 2"),
        (lambda: warp(IMAGE, FLOW.to("meta")), r"flow: expected on cpu .*got meta"),
        (lambda: warp(IMAGE, FLOW, mode="cubic"), r"mode: expected 'bilinear', .*got 'cubic'"),
        (lambda: warp(IMAGE, FLOW, padding_mode="reflection"), r"padding_mode: .*got 'reflection'"),
        (lambda: compose(FLOW, FLOW[..., :3]), r"inner: expected the size of outer \(4, 5\), got \(4, 3\)"),
        (lambda: resize_flow(FLOW, (0, 4)), r"size: expected \(H, W\) of positive"),
        (lambda: pixel_grid((2.5, 4)), r"size: expected \(H, W\) of positive"),
        (lambda: warp_points(torch.zeros(4, 2), FLOW), r"points: .*\(4, 2\); add a batch axis"),
        (lambda: grid_to_flow(FLOW), r"grid: expected \(B, H, W, 2\)"),
        (lambda: flow_to_grid(FLOW[..., :1], align_corners=True), r"flow: expected at least 2 x 2"),
    ],
)
def test_errors_say_what_was_expected_and_what_to_do(call, text):
    with pytest.raises(ShapeError, match=text):
        call()
