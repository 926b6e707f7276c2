"""Cross-modal attention ([DaGAN] sec. 3.4, Eq. 9): depth asks, appearance answers.

Every position of the source's depth features is a query; keys and values come from the warped appearance.
With queries from the appearance itself it is the paper's comparison "Ours (SA)".

**Memory.** The map of all queries times all keys has 4096 x 4096 entries for a frame of 256 px (features at
a quarter), 64 MiB in float32, and 16384 x 16384 at 512 px, 1 GiB; the public code has it twice, as scores and
as weights. Here it never exists: `attend` takes as many queries at a time as ``block_bytes`` allow, forward
and backward (where every block is computed again). Scores and weights of a block are 8 MiB at any size; with
the result and a copy of the values (256 channels) a frame takes 16 MiB at 256 px and 40 at 512, a training
step 21 and 40, against 196 MiB and 3 GiB with the whole map. On a GPU torch's memory-efficient kernel does
the same. (Its kernel for the CPU wants keys as wide as values, here 32 and 256; filled up with zeros they
take it longer than the blocks take.)
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.nets.products import product

BLOCK_BYTES = 4 << 20
"""Of scores in float32 that are computed at a time: they stay in the processor's cache."""


@dataclass(frozen=True)
class AttentionConfig:
    """Form of a `CrossModalAttention`; the defaults are the paper's.

    Attributes:
        reduction: queries and keys have the features' channels divided by it; 8 in the public code (32 of
            256), the paper does not say.
        activation: a ReLU after each of the three 1 x 1 convolutions (public code); [DaGAN] Eq. 9 has linear
            projections.
        residual: ``F_w + gamma * attention`` with gamma learned from 0 (public code), so that an untrained
            module changes nothing; in [DaGAN] Eq. 9 the attention replaces the features.
    """

    reduction: int = 8
    activation: bool = False
    residual: bool = False

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise HeadwarpError(f"reduction: expected at least 1, got {self.reduction}")


PAPER = AttentionConfig()
OFFICIAL = AttentionConfig(activation=True, residual=True)


class CrossModalAttention(nn.Module):
    """[DaGAN]'s module after the warp; parameters carry the public checkpoints' names (``AttnModule``).

    Args:
        channels: of the features, warped and of depth.
        config: its form; the paper's if None.

    Example:
        >>> module = CrossModalAttention(16, OFFICIAL)
        >>> depth, warped = torch.rand(1, 16, 8, 8), torch.rand(2, 16, 8, 8)
        >>> torch.equal(module(warped, module.queries(depth)), warped)  # gamma is 0
        True
    """

    def __init__(self, channels: int, config: AttentionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AttentionConfig()
        self.block_bytes: int | None = BLOCK_BYTES
        keys = max(1, channels // config.reduction)
        self.query_conv = nn.Conv2d(channels, keys, 1)
        self.key_conv = nn.Conv2d(channels, keys, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        if config.residual:
            self.gamma = nn.Parameter(torch.zeros(1))

    def queries(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N E"]:
        """One a position, row by row: ``N = H W``. Those of the source's depth are made once a source."""
        return self._projected(self.query_conv, features)

    def forward(
        self, warped: Float[Tensor, "B C H W"], queries: Float[Tensor, "#B N E"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Refined features F_g.

        Args:
            warped: F_w, features of the source, warped and masked by the occlusion.
            queries: of `queries`, as many as the features have positions; a batch of 1 serves every frame.
                None: those of ``warped``, self attention.

        Raises:
            ShapeError: there are more or fewer queries than positions.
        """
        batch, channels, height, width = warped.shape
        queries = self.queries(warped) if queries is None else queries
        if queries.shape[1] != height * width:
            raise ShapeError(
                f"queries: expected {height * width}, one for each of {height} x {width} positions, "
                f"got {queries.shape[1]}; make them from features of the same size"
            )
        values = self._projected(self.value_conv, warped)
        keys = self._projected(self.key_conv, warped)
        attended = attend(queries.expand(batch, -1, -1), keys, values, block_bytes=self.block_bytes)
        refined = attended.transpose(1, 2).reshape(batch, channels, height, width)
        return warped + self.gamma * refined if self.config.residual else refined

    def attention_map(
        self,
        warped: Float[Tensor, "B C H W"],
        points: Float[Tensor, "#B P 2"],
        queries: Float[Tensor, "#B N E"] | None = None,
    ) -> Float[Tensor, "B P H W"]:
        """Where single positions look: rows of the attention map A, each summing to 1.

        Only the rows that are asked for are computed. Not differentiable in the points.

        Args:
            warped: as in `forward`.
            points: x, y in [-1, 1], the frame's outer edges; the position whose cell holds it is taken, the
                nearest one for a point outside.
            queries: as in `forward`.
        """
        batch, _, height, width = warped.shape
        queries = self.queries(warped) if queries is None else queries
        cells = (points + 1) / 2 * points.new_tensor([width, height])
        column, row = cells[..., 0].long().clamp(0, width - 1), cells[..., 1].long().clamp(0, height - 1)
        place = (row * width + column).expand(batch, -1)  # (B, P)
        asked = queries.expand(batch, -1, -1).gather(1, place[..., None].expand(-1, -1, queries.shape[2]))
        weights = attention_weights(asked, self._projected(self.key_conv, warped))
        return weights.view(batch, -1, height, width)

    def _projected(self, layer: nn.Conv2d, features: Tensor) -> Float[Tensor, "B N E"]:
        made = layer(features)
        return (made.relu() if self.config.activation else made).flatten(2).transpose(1, 2)


def attention_weights(query: Float[Tensor, "B N E"], key: Float[Tensor, "B M E"]) -> Float[Tensor, "B N M"]:
    """``softmax(Q K^T)`` over the keys, not divided by the root of their width ([DaGAN] Eq. 9); in float32
    at least, since bfloat16 would be off by a tenth where scores reach 30.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    with _full_precision(query.device):
        return torch.softmax(query.to(dtype) @ key.to(dtype).transpose(1, 2), dim=-1)


def attend(
    query: Float[Tensor, "B N E"],
    key: Float[Tensor, "B M E"],
    value: Float[Tensor, "B M D"],
    *,
    block_bytes: int | None = BLOCK_BYTES,
) -> Float[Tensor, "B N D"]:
    """``softmax(Q K^T) V`` without the map of all queries and keys; see the module.

    Args:
        query, key, value: any numbers of positions and channels.
        block_bytes: of scores at a time; at least one query is taken. None: all at once, for programs that
            know no loops (`graphs`).

    Returns:
        In the type of ``value``. Weights are computed in float32, their product with half precision values
        in that precision. Differentiable once in all three.

    Raises:
        ShapeError: queries and keys of different width, or not as many keys as values.
    """
    if query.shape[2] != key.shape[2] or key.shape[:2] != value.shape[:2] or len(query) != len(key):
        raise ShapeError(
            "attend: expected query (B, N, E), key (B, M, E), value (B, M, D), got "
            f"{tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    if block_bytes is None:
        return attend_ref(query, key, value)
    dtype = torch.promote_types(query.dtype, torch.float32)
    query, key = query.to(dtype), key.to(dtype)
    with _full_precision(query.device):
        if _has_kernel(query, value):
            return _fused(query, key, value.to(dtype)).to(value.dtype)
        if torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value)):
            return _Attend.apply(query, key, value, block_bytes)
        return _in_blocks(query, key, value, block_bytes)


def attend_ref(
    query: Float[Tensor, "B N E"], key: Float[Tensor, "B M E"], value: Float[Tensor, "B M D"]
) -> Float[Tensor, "B N D"]:
    """Plain twin of :func:`attend`: the whole map, and its product with the values."""
    return (attention_weights(query, key) @ value.to(torch.promote_types(value.dtype, torch.float32))).to(
        value.dtype
    )


def _full_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """No autocast, on devices that know it."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else contextlib.nullcontext()


def _has_kernel(query: Tensor, value: Tensor) -> bool:
    """Whether torch has a kernel that makes no map: on CUDA, widths in multiples of 8, not in float64."""
    aligned = query.shape[2] % 8 == 0 and value.shape[2] % 8 == 0
    return query.device.type == "cuda" and query.dtype == torch.float32 and aligned


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    heads = query[:, None], key[:, None], value[:, None]  # (B, 1, N, E)
    return F.scaled_dot_product_attention(heads[0], heads[1], heads[2], scale=1.0)[:, 0]


def _rows(query: Tensor, key: Tensor, block_bytes: int) -> int:
    return max(1, block_bytes // (key.shape[1] * query.element_size()))


def _in_blocks(query: Tensor, key: Tensor, value: Tensor, block_bytes: int) -> Tensor:
    rows, made = _rows(query, key, block_bytes), value.new_empty(*query.shape[:2], value.shape[2])
    for sample, columns in enumerate(value.transpose(1, 2).contiguous()):  # (D, M)
        for start in range(0, query.shape[1], rows):
            block = query[sample, start : start + rows]
            made[sample, start : start + rows] = _block(block, key[sample], columns)
    return made


def _block(query: Tensor, key: Tensor, columns: Tensor) -> Tensor:
    weights = torch.softmax(product(query, key), dim=-1)
    return product(weights.to(columns.dtype), columns)


class _Attend(torch.autograd.Function):
    """Blocks forward; backward computes each block's weights again, so that none are kept."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, block_bytes: int) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.block_bytes = block_bytes
        return _in_blocks(query, key, value, block_bytes)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        value_slope = torch.zeros_like(value, dtype=query.dtype)
        slopes = torch.empty_like(query), torch.zeros_like(key), value_slope
        wide, slope = value.to(query.dtype), slope.to(query.dtype)
        rows = _rows(query, key, ctx.block_bytes)
        for sample in range(len(query)):
            _backward(*(each[sample] for each in (query, key, wide, slope, *slopes)), rows=rows)
        return slopes[0], slopes[1], value_slope.to(value.dtype), None


def _backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    slope: Tensor,
    query_slope: Tensor,
    key_slope: Tensor,
    value_slope: Tensor,
    *,
    rows: int,
) -> None:
    """Fill in the slopes of one sample, ``(N, E)``, ``(M, E)``, ``(M, D)``, block by block."""
    for asked, wanted, here in zip(
        query.split(rows), slope.split(rows), query_slope.split(rows), strict=True
    ):
        weights = torch.softmax(product(asked, key), dim=-1)  # (n, M)
        value_slope.addmm_(weights.T, wanted)
        scores = product(wanted, value)  # of the weights, then of the scores
        scores = weights * (scores - (weights * scores).sum(1, keepdim=True))
        torch.mm(scores, key, out=here)
        key_slope.addmm_(scores.T, asked)
