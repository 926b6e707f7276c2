"""Harmonic fill: the smoothest field that keeps given values; flow outside a mesh, colours behind a person.

Laplace's equation with the known pixels as Dirichlet data and a free (Neumann) frame border, solved coarse to
fine: every level starts from the next coarser one and is relaxed by red-black SOR, many sweeps up to
``coarse`` pixels, few beyond, where the solution is already smooth. `harmonic_fill_ref` solves the same
system exactly; `push_pull_fill` leaves the relaxation out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .errors import ShapeError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COARSE_SWEEPS = 24
FINE_SWEEPS = 4


def harmonic_fill(
    values: Float[Tensor, "B C H W"],
    known: Float[Tensor, "B 1 H W"] | Bool[Tensor, "B 1 H W"],
    *,
    coarse: int = 128,
) -> Float[Tensor, "B C H W"]:
    """Replace the values of unknown pixels by a harmonic interpolation of the known ones.

    Args:
        values: any field; what unknown pixels hold is ignored.
        known: a pixel is known where this exceeds 0.5. An image without any known pixel becomes 0.
        coarse: longest side up to which levels are relaxed thoroughly.

    Returns:
        A new tensor of the same type; known pixels are unchanged bit for bit, the others computed in float32
        and for a smooth field within 3 % of its range of the exact solution. Not differentiable (guidance is
        data).

    Raises:
        ShapeError: shapes do not match.

    Example:
        >>> known = torch.zeros(1, 1, 4, 8); known[..., 0] = known[..., -1] = 1
        >>> values = torch.zeros(1, 1, 4, 8); values[..., -1] = 7.0
        >>> harmonic_fill(values, known)[0, 0, 0].round().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    _check(values, known)
    with torch.no_grad():
        given = known > 0.5
        if values.device.type == "cpu":
            from ._fill_numba import fill

            array, mask = values.detach().float().contiguous().numpy(), given[:, 0].contiguous().numpy()
            out = torch.from_numpy(fill(array, mask, coarse, COARSE_SWEEPS, FINE_SWEEPS))
            if values.dtype == torch.float32:
                return out  # known pixels are copied there
        else:
            out = _fill_torch(values.float(), given, coarse)
        return torch.where(given, values, out.to(values.dtype))  # float64 would lose bits on the way


def push_pull_fill(
    values: Float[Tensor, "B C H W"], known: Float[Tensor, "B 1 H W"] | Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, "B C H W"]:
    """Replace the values of unknown pixels by those of coarser levels: known ones are averaged over 2 x 2
    pixels, down to 4 pixels a side where their mean stands for the rest, then brought back bilinearly where
    the finer level knows nothing.

    The pull and push of [Gortler 1996] sec. 3.4, with weights that are at once 1 where anything is known, and
    2 x 2 means in place of its wider kernels. Quick and smooth, but no solution of an equation: the same on
    every device. Arguments, result and errors as of `harmonic_fill`.

    Example:
        >>> known = torch.zeros(1, 1, 2, 4); known[..., :2] = 1
        >>> push_pull_fill(torch.full((1, 1, 2, 4), 3.0), known)[0, 0, 0].tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    _check(values, known, "push_pull_fill")
    with torch.no_grad():
        given = known > 0.5
        out = _fill_torch(values.float(), given, 0, sweeps=(0, 0))
        return torch.where(given, values, out.to(values.dtype))


def _check(values: Tensor, known: Tensor, name: str = "harmonic_fill") -> None:
    if values.ndim != 4 or known.shape != (values.shape[0], 1, *values.shape[2:]):
        raise ShapeError(
            f"{name}: expected values (B, C, H, W) and known (B, 1, H, W), got "
            f"{tuple(values.shape)} and {tuple(known.shape)}"
        )


def _fill_torch(
    values: Tensor,
    known: Tensor,
    coarse: int,
    *,
    sweeps: tuple[int, int] = (2 * COARSE_SWEEPS, 2 * FINE_SWEEPS),
) -> Tensor:
    """The same scheme for any device, with damped Jacobi in place of SOR (twice the sweeps)."""
    batch, channels, height, width = values.shape
    count = known.float()
    values = torch.where(known, values, torch.zeros_like(values))
    if max(height, width) <= 4:
        total = count.sum((2, 3), keepdim=True)
        mean = values.sum((2, 3), keepdim=True) / total.clamp(min=1.0)
        start = torch.where(known, values, mean.expand(batch, channels, height, width))
    else:
        half = ((height + 1) // 2, (width + 1) // 2)
        pad = (0, half[1] * 2 - width, 0, half[0] * 2 - height)
        weight = F.avg_pool2d(F.pad(count, pad), 2)
        small = F.avg_pool2d(F.pad(values, pad), 2) / weight.clamp(min=1e-6)
        below = _fill_torch(small, weight > 0, coarse, sweeps=sweeps)
        upper = F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
        start = torch.where(known, values, upper[..., :height, :width])
    for _ in range(sweeps[0] if max(height, width) <= coarse else sweeps[1]):
        start = torch.where(known, values, start + 0.9 * (_neighbour_mean(start) - start))
    return start


def _neighbour_mean(values: Tensor) -> Tensor:
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return around / 4


def harmonic_fill_ref(
    values: Float[Tensor, "B C H W"], known: Float[Tensor, "B 1 H W"] | Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, "B C H W"]:
    """Plain twin of `harmonic_fill`: one sparse direct solve per image, float64 inside.

    Raises:
        ShapeError: shapes do not match.
    """
    _check(values, known)
    from scipy.sparse.linalg import spsolve

    out = values.detach().double().cpu().numpy().copy()
    for image, given in zip(out, known[:, 0].cpu().numpy() > 0.5, strict=True):
        if not given.any():
            image[:] = 0
            continue
        laplacian = _grid_laplacian(*given.shape)
        inside, outside = np.flatnonzero(~given.ravel()), np.flatnonzero(given.ravel())
        if not len(inside):
            continue
        flat = image.reshape(len(image), -1)
        right = -laplacian[inside][:, outside] @ flat[:, outside].T
        flat[:, inside] = spsolve(laplacian[inside][:, inside].tocsc(), right).reshape(len(inside), -1).T
    return torch.from_numpy(out).to(values)


def _grid_laplacian(height: int, width: int) -> csr_matrix:
    """Degree minus adjacency of the four-neighbour grid, pixels in row order."""
    import scipy.sparse as sp

    def path(count: int) -> csr_matrix:
        degree = np.full(count, 2.0)
        degree[0] = degree[-1] = 1.0
        if count == 1:
            degree[:] = 0.0
        off = -np.ones(count - 1)
        return sp.diags([off, degree, off], [-1, 0, 1], shape=(count, count), format="csr")

    return (sp.kron(path(height), sp.eye(width)) + sp.kron(sp.eye(height), path(width))).tocsr()
