"""Backward displacement fields: sampling, warping, composing, resizing, and other libraries' grids.

A flow is ``(B, 2, h, w)``, x then y, in pixels of its own h x w: output pixel p shows the source at
``p + flow(p)``. Pixel centres lie at +0.5. Zero flow and whole-pixel shifts give the source's values bit for
bit.

How the fast path is exact: ``grid_sample`` wants coordinates in [-1, 1] and undoes that scaling with one
rounding a step, which for a general width leaves a pixel centre 1e-5 px off. With a width that is a power
of two every step is exact. So the frame is continued to the next power of two by its edge, and coordinates
are clamped to the true frame first. The result keeps torch's native, differentiable kernels on every
device.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError

Padding = Literal["border", "zeros"]
Mode = Literal["bilinear", "bicubic", "nearest"]


def pixel_grid(
    size: tuple[int, int], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "1 2 H W"]:
    """Pixel centres of a frame, x then y, in pixels: 0.5 .. W - 0.5 and 0.5 .. H - 0.5.

    Args:
        size: (H, W).
        device: of the result.
        dtype: of the result.

    Raises:
        ShapeError: the size is not two positive whole numbers.

    Example:
        >>> pixel_grid((1, 3))[0].tolist()
        [[[0.5, 1.5, 2.5]], [[0.5, 0.5, 0.5]]]
    """
    height, width = _check_size(size)
    grid = torch.empty(1, 2, height, width, device=device, dtype=dtype)
    grid[:, 0] = torch.arange(width, device=device, dtype=dtype) + 0.5  # (W,) over the rows
    grid[:, 1] = (torch.arange(height, device=device, dtype=dtype) + 0.5)[:, None]
    return grid


def warp(
    image: Float[Tensor, "#B C H W"],
    flow: Float[Tensor, "#B 2 h w"],
    *,
    padding_mode: Padding = "border",
    mode: Mode = "bilinear",
) -> Float[Tensor, "#B C h w"]:
    """Output pixel p shows the image at ``p + flow(p)``.

    A flow of another size than the image shows the same frame at that size: its displacements are in its own
    pixels and the result has its size (no low-pass filter: for a smaller result reduce the image first).

    Args:
        image: any channels and value range; computed in float32 at least and returned in its own type. The
            batch of either argument may be 1.
        flow: backward displacement in pixels. NaN shows some pixel of the image, never an error.
        padding_mode: ``"border"`` repeats the edge pixels outside the frame, ``"zeros"`` blends into zero.
        mode: ``"bilinear"``, ``"bicubic"`` (a = -0.75, sharper, may overshoot) or ``"nearest"``.

    Returns:
        The warped image, differentiable in ``image`` and, except with ``"nearest"``, in ``flow`` (one-sided
        derivative at pixel centres, as everywhere with bilinear sampling).

    Raises:
        ShapeError: shapes, batch sizes, types, devices or mode names do not fit.

    Example:
        >>> image = torch.rand(1, 3, 5, 7)
        >>> bool((warp(image, torch.zeros(1, 2, 5, 7)) == image).all())
        True
    """
    _check_image(image, "image", padding_mode, mode)
    _check_flow(flow, "flow")
    _check_pair(image, flow, "flow")
    size = _size(flow)
    dtype = _work_dtype(image, flow)
    factor = _grid_factor(image, flow, dtype)
    centres = pixel_grid(size, device=image.device, dtype=dtype) * factor - 1
    return _sample_grid(image, torch.addcmul(centres, flow.to(dtype), factor), padding_mode, mode)


def sample(
    image: Float[Tensor, "#B C H W"],
    positions: Float[Tensor, "#B 2 h w"],
    *,
    padding_mode: Padding = "border",
    mode: Mode = "bilinear",
) -> Float[Tensor, "#B C h w"]:
    """The image at absolute positions, x then y, in its pixels (centres at +0.5).

    Options, derivatives and errors as :func:`warp`, which is ``sample(image, pixel_grid(size) + flow)``.

    Args:
        image: any channels and value range; the batch of either argument may be 1.
        positions: in pixels of the image, whatever the result's size is.
        padding_mode: what lies outside the frame: ``"border"`` or ``"zeros"``.
        mode: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``.

    Example:
        >>> row = torch.tensor([[[[0.0, 10.0, 20.0]]]])
        >>> sample(row, torch.tensor([[[[1.0, 1.5]], [[0.5, 0.5]]]])).tolist()
        [[[[5.0, 10.0]]]]
    """
    _check_image(image, "image", padding_mode, mode)
    _check_flow(positions, "positions")
    _check_pair(image, positions, "positions")
    dtype = _work_dtype(image, positions)
    factor = _grid_factor(image, image, dtype)
    return _sample_grid(image, positions.to(dtype) * factor - 1, padding_mode, mode)


def sample_ref(
    image: Float[Tensor, "#B C H W"],
    positions: Float[Tensor, "#B 2 h w"],
    *,
    padding_mode: Padding = "border",
    mode: Mode = "bilinear",
) -> Float[Tensor, "#B C h w"]:
    """Plain twin of :func:`sample`: the neighbours are gathered by index and weighted in pixel units."""
    _check_image(image, "image", padding_mode, mode)
    _check_flow(positions, "positions")
    _check_pair(image, positions, "positions")
    dtype = _work_dtype(image, positions)
    (height, width), batch = _size(image), max(len(image), len(positions))
    x, y = positions.to(dtype).expand(batch, -1, -1, -1).unbind(1)  # each (B, h, w)
    flat = image.to(dtype).expand(batch, -1, -1, -1).flatten(2)  # (B, C, H W)
    result = flat.new_zeros(batch, flat.shape[1], *_size(positions))
    for row, row_weight in _taps(y - 0.5, height, padding_mode, mode):
        for column, column_weight in _taps(x - 0.5, width, padding_mode, mode):
            index = (row * width + column).flatten(1)[:, None].expand(-1, flat.shape[1], -1)  # (B, C, h w)
            value = flat.gather(2, index).unflatten(2, _size(positions))
            result = result + value * (row_weight * column_weight)[:, None]
    return result.to(image.dtype)


def warp_ref(
    image: Float[Tensor, "#B C H W"],
    flow: Float[Tensor, "#B 2 h w"],
    *,
    padding_mode: Padding = "border",
    mode: Mode = "bilinear",
) -> Float[Tensor, "#B C h w"]:
    """Plain twin of :func:`warp`."""
    _check_image(image, "image", padding_mode, mode)
    _check_flow(flow, "flow")
    (height, width), size = _size(image), _size(flow)
    dtype = _work_dtype(image, flow)
    unit = torch.tensor([width / size[1], height / size[0]], device=flow.device, dtype=dtype)[:, None, None]
    positions = (pixel_grid(size, device=flow.device, dtype=dtype) + flow.to(dtype)) * unit
    return sample_ref(image, positions, padding_mode=padding_mode, mode=mode)


def compose(outer: Float[Tensor, "#B 2 H W"], inner: Float[Tensor, "#B 2 H W"]) -> Float[Tensor, "#B 2 H W"]:
    """The flow of two warps one after the other: ``outer(p) + inner(p + outer(p))``.

    ``warp(image, compose(outer, inner))`` shows what ``warp(warp(image, inner), outer)`` shows, with one
    interpolation instead of two. Beyond the frame ``inner`` continues with its edge values. Composing with
    zero is exact from both sides.

    Args:
        outer: flow of the warp applied last.
        inner: flow of the warp applied first, of the same size.

    Raises:
        ShapeError: sizes, batches or devices disagree.

    Example:
        >>> right, down = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
        >>> right[:, 0], down[:, 1] = 1.0, 2.0
        >>> compose(right, down)[0, :, 0, 0].tolist()
        [1.0, 2.0]
    """
    _check_flow(outer, "outer")
    _check_flow(inner, "inner")
    if _size(outer) != _size(inner):
        raise ShapeError(
            f"inner: expected the size of outer {_size(outer)}, got {_size(inner)}; "
            "bring one of them over with resize_flow"
        )
    return outer + warp(inner, outer, padding_mode="border", mode="bilinear")


def resize_flow(flow: Float[Tensor, "B 2 H W"], size: tuple[int, int]) -> Float[Tensor, "B 2 h w"]:
    """The same displacement for a frame of another size: resampled, and its values scaled with the frame.

    Bilinear with half-pixel centres; low-passed where it gets smaller.

    Args:
        flow: in pixels of its own size.
        size: (h, w) of the result.

    Raises:
        ShapeError: ``flow`` is not (B, 2, H, W) or the size is not two positive whole numbers.

    Example:
        >>> resize_flow(torch.ones(1, 2, 8, 8), (16, 4))[0, :, 0, 0].tolist()
        [0.5, 2.0]
    """
    _check_flow(flow, "flow")
    (old_height, old_width), (height, width) = _size(flow), _check_size(size)
    if (old_height, old_width) == (height, width):
        return flow
    smaller = height < old_height or width < old_width
    resampled = F.interpolate(
        flow, size=(height, width), mode="bilinear", align_corners=False, antialias=smaller
    )
    scale = flow.new_tensor([width / old_width, height / old_height])
    return resampled * scale[:, None, None]


def warp_points(points: Float[Tensor, "#B N 2"], flow: Float[Tensor, "#B 2 H W"]) -> Float[Tensor, "#B N 2"]:
    """Where points of the output frame come from in the source: ``p + flow(p)``, in pixels.

    It goes with the flow, from driving to source; bilinear between pixel centres, edge values outside.

    Args:
        points: x, y in pixels of the flow's frame, centres at +0.5.
        flow: backward displacement.

    Returns:
        Points in the source frame; differentiable in both arguments.

    Raises:
        ShapeError: a shape, batch size or device does not fit.

    Example:
        >>> flow = torch.zeros(1, 2, 8, 8)
        >>> flow[:, 0] = 3.0
        >>> warp_points(torch.tensor([[[2.5, 4.5]]]), flow).tolist()
        [[[5.5, 4.5]]]
    """
    if points.ndim != 3 or points.shape[-1] != 2:
        hint = "; add a batch axis with points[None]" if points.ndim == 2 else ""
        raise ShapeError(f"points: expected (B, N, 2), got {tuple(points.shape)}{hint}")
    _check_flow(flow, "flow")
    if points.shape[1] == 0:
        return points
    planar = points.transpose(1, 2)[:, :, None]  # (B, 2, 1, N)
    moved = sample(flow, planar, padding_mode="border", mode="bilinear")
    return points + moved[:, :, 0].transpose(1, 2).to(points.dtype)  # (B, N, 2)


def in_frame(flow: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
    """1 where a pixel's origin lies in the frame.

    Example:
        >>> flow = torch.zeros(1, 2, 1, 3)
        >>> flow[:, 0] = 2.0
        >>> in_frame(flow)[0, 0].tolist()
        [[1.0, 0.0, 0.0]]
    """
    height, width = flow.shape[2:]
    origin = flow + pixel_grid((height, width), device=flow.device, dtype=flow.dtype)
    x, y = origin[:, :1], origin[:, 1:]
    return ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).to(flow)


def flow_to_grid(flow: Float[Tensor, "B 2 H W"], *, align_corners: bool = False) -> Float[Tensor, "B H W 2"]:
    """The sampling grid of a flow for ``torch.nn.functional.grid_sample`` on a source of the same size.

    Within this library use :func:`warp`, which does not lose the last bits; this is for other people's
    networks.

    Args:
        flow: backward displacement in pixels.
        align_corners: the flag that ``grid_sample`` will be given; -1 and 1 are the frame's outer edges
            (False) or the outermost pixel centres (True).

    Raises:
        ShapeError: ``flow`` is not (B, 2, H, W), or is one pixel wide or high with ``align_corners=True``.

    Example:
        >>> flow_to_grid(torch.zeros(1, 2, 1, 2)).tolist()
        [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    _check_flow(flow, "flow")
    offset, scale = _edges(flow, align_corners)
    positions = pixel_grid(_size(flow), device=flow.device, dtype=flow.dtype) + flow
    return ((positions - offset) * scale - 1).permute(0, 2, 3, 1)  # (B, H, W, 2)


def grid_to_flow(grid: Float[Tensor, "B H W 2"], *, align_corners: bool = False) -> Float[Tensor, "B 2 H W"]:
    """Backward displacement in pixels of a ``grid_sample`` grid; inverse of :func:`flow_to_grid`.

    Args:
        grid: xy in [-1, 1].
        align_corners: the flag that ``grid_sample`` was given.

    Raises:
        ShapeError: ``grid`` is not (B, H, W, 2), or is one pixel wide or high with ``align_corners=True``.

    Example:
        >>> flow = torch.full((1, 2, 4, 6), 1.5)
        >>> bool(torch.allclose(grid_to_flow(flow_to_grid(flow)), flow, atol=1e-5))
        True
    """
    if grid.ndim != 4 or grid.shape[-1] != 2:
        raise ShapeError(
            f"grid: expected (B, H, W, 2), got {tuple(grid.shape)}; permute a planar one by (0, 2, 3, 1)"
        )
    planar = grid.permute(0, 3, 1, 2)  # (B, 2, H, W)
    _check_flow(planar, "grid")
    offset, scale = _edges(planar, align_corners)
    return (planar + 1) / scale + offset - pixel_grid(_size(planar), device=grid.device, dtype=grid.dtype)


def _sample_grid(image: Tensor, grid: Tensor, padding_mode: str, mode: str) -> Tensor:
    """``grid_sample`` on the image continued to powers of two; ``grid`` (B, 2, h, w), -1 and 1 its edges."""
    (height, width), dtype = _size(image), grid.dtype
    padded_height, padded_width = _power_of_two(height), _power_of_two(width)
    source = image.to(dtype)
    if (padded_height, padded_width) != (height, width):
        extra = (0, padded_width - width, 0, padded_height - height)
        source = F.pad(source, extra, mode="replicate" if padding_mode == "border" else "constant")
    if padding_mode == "zeros" or mode == "bicubic" or source.shape != image.shape:
        margin = 0.5 if padding_mode == "border" else -2.5  # px kept inside the frame
        low = _pair(grid, 2 * margin / padded_width - 1, 2 * margin / padded_height - 1)
        high = _pair(grid, 2 * (width - margin) / padded_width - 1, 2 * (height - margin) / padded_height - 1)
        grid = torch.clamp(grid, low, high)
    if torch.is_grad_enabled() and (grid.requires_grad or source.requires_grad):
        # torch's CPU kernel walks out of memory in its backward pass where a position is NaN
        grid = torch.nan_to_num(grid, nan=0.0, posinf=float("inf"), neginf=float("-inf"))
    batch = max(len(source), len(grid))
    return F.grid_sample(
        source.expand(batch, -1, -1, -1),
        grid.permute(0, 2, 3, 1).expand(batch, -1, -1, -1),  # (B, h, w, 2)
        mode=mode,
        padding_mode=padding_mode,
        align_corners=False,
    ).to(image.dtype)


def _taps(index: Tensor, count: int, padding_mode: str, mode: str) -> list[tuple[Tensor, Tensor]]:
    """Neighbours along one axis and their weights; ``index`` counts pixels from the first centre."""
    if padding_mode == "border":
        inside = torch.nan_to_num(index, nan=0.0).clamp(0, count - 1)
        free = (index > 0) & (index < count - 1)
        index = torch.where(free, inside, inside.detach())
    else:
        index = index.clamp(-3, count + 2)
    first = index.round() if mode == "nearest" else index.floor()
    t = index - first.detach()
    if mode == "nearest":
        weights = [(0, torch.ones_like(t))]
    elif mode == "bilinear":
        weights = [(0, 1 - t), (1, t)]
    else:
        weights = [(step, _cubic(t - step)) for step in (-1, 0, 1, 2)]
    taps = []
    for step, weight in weights:
        position = first.long() + step
        if padding_mode == "zeros":
            weight = torch.where((position >= 0) & (position < count), weight, torch.zeros_like(weight))
        taps.append((position.clamp(0, count - 1), weight))
    return taps


def _cubic(distance: Tensor, a: float = -0.75) -> Tensor:
    d = distance.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, far)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _grid_factor(image: Tensor, flow: Tensor, dtype: torch.dtype) -> Tensor:
    """(1, 2, 1, 1): what one flow pixel is in the [-1, 1] of the image continued to powers of two."""
    (height, width), (flow_height, flow_width) = _size(image), _size(flow)
    x = 2 / _power_of_two(width) * (width / flow_width)
    y = 2 / _power_of_two(height) * (height / flow_height)
    return _pair(image.new_empty(0, dtype=dtype), x, y)


def _pair(like: Tensor, x: float, y: float) -> Tensor:
    """(1, 2, 1, 1), filled on the device: no copy from the host, no wait."""
    return torch.cat([like.new_full((1, 1, 1, 1), x), like.new_full((1, 1, 1, 1), y)], dim=1)


def _edges(planar: Tensor, align_corners: bool) -> tuple[float, Tensor]:
    """Position of the grid's -1 in pixels, and grid units a pixel (2, 1, 1)."""
    height, width = _size(planar)
    if align_corners and min(height, width) < 2:
        raise ShapeError(
            f"flow: expected at least 2 x 2 pixels with align_corners=True, got {height} x {width}"
        )
    shrink = 1 if align_corners else 0
    scale = planar.new_tensor([2 / (width - shrink), 2 / (height - shrink)])[:, None, None]
    return shrink / 2, scale


def _size(tensor: Tensor) -> tuple[int, int]:
    return int(tensor.shape[-2]), int(tensor.shape[-1])


def _work_dtype(image: Tensor, flow: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or any(int(side) != side or side < 1 for side in size):
        raise ShapeError(f"size: expected (H, W) of positive whole numbers, got {tuple(size)}")
    return int(size[0]), int(size[1])


def _check_image(image: Tensor, name: str, padding_mode: str, mode: str) -> None:
    if image.ndim != 4 or not image.is_floating_point() or 0 in image.shape[1:]:
        remedy = "add a batch axis with image[None]" if image.ndim == 3 else "scale bytes by 1 / 255"
        raise ShapeError(
            f"{name}: expected floats (B, C, H, W), got {image.dtype} {tuple(image.shape)}; {remedy}"
        )
    if padding_mode not in ("border", "zeros"):
        raise ShapeError(f"padding_mode: expected 'border' or 'zeros', got {padding_mode!r}")
    if mode not in ("bilinear", "bicubic", "nearest"):
        raise ShapeError(f"mode: expected 'bilinear', 'bicubic' or 'nearest', got {mode!r}")


def _check_flow(flow: Tensor, name: str) -> None:
    if flow.ndim != 4 or flow.shape[1] != 2 or not flow.is_floating_point() or 0 in flow.shape[2:]:
        remedy = "x then y on axis 1"
        if flow.ndim == 4 and flow.shape[-1] == 2:
            remedy = "a sampling grid goes through grid_to_flow"
        elif flow.ndim == 3:
            remedy = f"add a batch axis with {name}[None]"
        raise ShapeError(
            f"{name}: expected floats (B, 2, H, W), got {flow.dtype} {tuple(flow.shape)}; {remedy}"
        )


def _check_pair(image: Tensor, flow: Tensor, name: str) -> None:
    if len(image) != len(flow) and 1 not in (len(image), len(flow)):
        raise ShapeError(f"{name}: expected a batch of {len(image)} (the image's) or 1, got {len(flow)}")
    if image.device != flow.device:
        raise ShapeError(
            f"{name}: expected on {image.device} (the image's), got {flow.device}; move one of them"
        )
