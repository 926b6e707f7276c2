"""Matrix products of the CPU through oneDNN, for inference.

``torch.matmul`` of float32 goes to MKL, which computes with half of some processors' vector width; oneDNN's
product is there about twice as fast. The operation is the one that ``torch.compile`` emits for linear layers;
it is not documented, hence `products_work` tries it once against the plain product.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def product(rows: Float[Tensor, "N C"], columns: Float[Tensor, "M C"]) -> Float[Tensor, "N M"]:
    """``rows @ columns.T``; through oneDNN where that is possible, quick and nothing is to be learnt.

    Differentiable in both. While ``torch.compile`` traces it is the plain product.

    Args:
        rows, columns: of one type.

    Example:
        >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
        [[11.0, 2.0]]
    """
    learning = torch.is_grad_enabled() and (rows.requires_grad or columns.requires_grad)
    plain = rows.dtype != torch.float32 or rows.device.type != "cpu" or columns.dtype != torch.float32
    if learning or plain or torch.compiler.is_compiling() or not products_work():
        return product_ref(rows, columns)
    return _through_onednn(rows, columns)


def product_ref(rows: Float[Tensor, "N C"], columns: Float[Tensor, "M C"]) -> Float[Tensor, "N M"]:
    """Plain twin of :func:`product`."""
    return rows @ columns.T


@functools.cache
def products_work() -> bool:
    """Whether this build of torch has the operation and it computes what it should."""
    if not torch.backends.mkldnn.is_available():
        return False
    rows, columns = torch.linspace(-1, 1, 42).view(6, 7), torch.linspace(2, -1, 35).view(5, 7)
    try:
        made = _through_onednn(rows, columns)
    except (AttributeError, RuntimeError, TypeError):
        return False
    wanted = product_ref(rows, columns)
    return made.shape == wanted.shape and torch.allclose(made, wanted, atol=1e-4)


def _through_onednn(rows: Tensor, columns: Tensor) -> Tensor:
    operations: Any = torch.ops.mkldnn
    return operations._linear_pointwise(rows, columns, None, "none", [], "")
