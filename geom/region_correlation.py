"""Exemplar warping region by region: what a picture's pixels look like elsewhere, asked within their region.

[HeSer] correlates the features of two pictures and carries colours from one to the other with a softmax over
the correlations, between pixels of the same semantic region alone. Regions that the other picture does not
show are asked for in a merged class, and then get a mean: see `RegionRule`.

`region_correlation` never holds more than a given number of bytes of correlations: blocks of queries meet
blocks of keys, the softmax goes on from block to block, and the backward pass makes the blocks again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from .errors import HeadwarpError, ShapeError

LIMIT_MB = 32.0
_BLOCKS = 2  # of correlations that live at a time: the weights, and in the backward pass their gradient
_DENSE = 6  # blocks that the dense form and its backward pass hold
_TINY = 1e-6
_ROWS = 32  # queries of a block, where keys are many


@dataclass(frozen=True)
class RegionRule:
    """Which keys answer for which queries.

    Attributes:
        levels: at each level the class of every label; 0 is none. A query looks at the keys of its class at
            the first level that has any.
        mean: labels whose keys are meant, all alike, where no level has a key of the class; without such
            keys all that have a class are.
    """

    levels: tuple[tuple[int, ...], ...]
    mean: tuple[int, ...]

    def __post_init__(self) -> None:
        count = len(self.levels[0]) if self.levels else 0
        if not count or any(len(level) != count or min(level) < 0 for level in self.levels):
            raise HeadwarpError(
                f"levels: expected one or more of equal length, classes from 0 on, got {self.levels}"
            )
        if not all(0 <= label < count for label in self.mean):
            raise HeadwarpError(f"mean: expected labels from 0 to {count - 1}, got {self.mean}")


@dataclass(frozen=True)
class Exemplar:
    """What the queries found.

    Attributes:
        values: mean of the keys' values by the softmax of correlations, ``(B, D, h, w)``; 0 where ``known``
            is 0.
        known: 1 where a query has a class and any key answers, ``(B, 1, h, w)``.
        level: at which level of the rule, ``(B, h, w)``: from 0 on; their number where it is the mean of
            ``rule.mean``, one more where it is that of all keys, -1 where not known.
    """

    values: Float[Tensor, "B D h w"]
    known: Float[Tensor, "B 1 h w"]
    level: Int[Tensor, "B h w"]


def directions(features: Float[Tensor, "B C h w"], *, uncentred: bool = False) -> Float[Tensor, "B C h w"]:
    """Features less their mean over channels, of length 1: what is correlated.

    Args:
        features: any.
        uncentred: divide by the length that they had before the mean was taken off, as [HeSer]'s unofficial
            code does; they are shorter than 1 then.
    """
    centred = features - features.mean(1, keepdim=True)
    measured = features if uncentred else centred
    return centred / (measured.square().sum(1, keepdim=True) + _TINY).sqrt()


def region_correlation(
    query: Float[Tensor, "B C h w"],
    key: Float[Tensor, "B C m n"],
    values: Float[Tensor, "B D m n"],
    query_labels: Int[Tensor, "B h w"],
    key_labels: Int[Tensor, "B m n"],
    *,
    rule: RegionRule,
    temperature: float,
    limit_mb: float = LIMIT_MB,
) -> Exemplar:
    """Values of another picture at the pixels of this one: ``sum_v softmax_v(q(u) k(v) / temperature) x(v)``
    over the keys v of u's region ([HeSer] sec. 2, Eq. 8).

    Differentiable once in ``query``, ``key`` and ``values``; the mean of a fallback in ``values`` alone.

    Args:
        query, key: unit vectors, see `directions`.
        values: what is carried over, such as colours.
        query_labels, key_labels: of the rule's levels.
        rule: which keys answer for which queries.
        temperature: of the softmax.
        limit_mb: most that blocks of correlations take together, in 10^6 bytes, in either pass; beside them
            there are the inputs, their gradients, copies of one region's rows of them, and the classes. Where
            the dense form takes no more than that it is the quicker one and is taken.

    Raises:
        ShapeError: shapes that do not go together.
        HeadwarpError: a label beyond the rule's, a temperature or limit that makes no sense.
    """
    _check(query, key, values, query_labels, key_labels)
    if temperature <= 0 or limit_mb * 1e6 < _BLOCKS * _ROWS * query.element_size():
        raise HeadwarpError(
            f"region_correlation: expected temperature > 0 and limit_mb of at least 0.001, got {temperature} "
            f"and {limit_mb}"
        )
    pairs = query.shape[0] * query_labels[0].numel() * key_labels[0].numel()
    if _DENSE * pairs * query.element_size() <= limit_mb * 1e6:
        return region_correlation_ref(
            query, key, values, query_labels, key_labels, rule=rule, temperature=temperature
        )
    asked = _asked(query_labels.flatten(1), key_labels.flatten(1), rule)
    block = int(limit_mb * 1e6 / (_BLOCKS * query.element_size()))
    rows = [tensor.flatten(2).transpose(1, 2) for tensor in (query, key, values)]  # (B, N or M, C or D)
    found = _Blocks.apply(*rows, list(_segments(asked)), temperature, block)
    return _exemplar(found, asked, query_labels)


def region_correlation_ref(
    query: Float[Tensor, "B C h w"],
    key: Float[Tensor, "B C m n"],
    values: Float[Tensor, "B D m n"],
    query_labels: Int[Tensor, "B h w"],
    key_labels: Int[Tensor, "B m n"],
    *,
    rule: RegionRule,
    temperature: float,
) -> Exemplar:
    """`region_correlation` with the whole matrix of correlations; arguments and errors as there."""
    _check(query, key, values, query_labels, key_labels)
    asked = _asked(query_labels.flatten(1), key_labels.flatten(1), rule)
    scores = torch.einsum("bcn,bcm->bnm", query.flatten(2), key.flatten(2)) / temperature
    scores = scores * (asked.level < asked.correlated)[..., None]  # a mean weighs all keys alike
    allowed = torch.zeros_like(scores, dtype=torch.bool)
    for level, (ours, theirs) in enumerate(zip(asked.query, asked.key, strict=True)):
        allowed |= (asked.level == level)[..., None] & (ours[..., None] == theirs[:, None])
    known = (asked.level >= 0)[..., None]
    weights = scores.masked_fill(~allowed & known, -torch.inf).softmax(-1) * known
    found = torch.einsum("bnm,bdm->bnd", weights, values.flatten(2))
    return _exemplar(found, asked, query_labels)


@dataclass(frozen=True)
class _Asked:
    """Classes of queries and keys by level, two for the means behind those of the rule; and whom is asked."""

    query: Int[Tensor, "L B N"]
    key: Int[Tensor, "L B M"]
    level: Int[Tensor, "B N"]
    correlated: int


def _asked(ours: Int[Tensor, "B N"], theirs: Int[Tensor, "B M"], rule: RegionRule) -> _Asked:
    table = torch.tensor(rule.levels)
    some = (table > 0).any(0).long()
    meant = torch.zeros_like(some)
    meant[list(rule.mean)] = 1
    query = torch.cat([table, some[None], some[None]]).to(ours.device)[:, ours.long()]  # (L, B, N)
    key = torch.cat([table, meant[None], some[None]]).to(theirs.device)[:, theirs.long()]  # (L, B, M)
    present = torch.zeros(*key.shape[:2], int(table.max()) + 1, dtype=torch.bool, device=key.device)
    present.scatter_(2, key, True)
    present[..., 0] = False
    there: Bool[Tensor, "L B N"] = present.gather(2, query)
    level = torch.where(there.any(0), there.int().argmax(0), -1)
    return _Asked(query, key, level, len(rule.levels))


@dataclass(frozen=True)
class _Segment:
    """Queries and the keys that answer for them, of one sample."""

    sample: int
    query: Int[Tensor, "n"]
    key: Int[Tensor, "m"]
    uniform: bool


def _segments(asked: _Asked) -> Iterator[_Segment]:
    """One a sample, level and class that is asked for."""
    for level, (ours, theirs) in enumerate(zip(asked.query, asked.key, strict=True)):
        for sample in range(len(ours)):
            here = ours[sample] * (asked.level[sample] == level)
            for number in here.unique().tolist():
                if number:
                    query = torch.nonzero(here == number)[:, 0]
                    key = torch.nonzero(theirs[sample] == number)[:, 0]
                    yield _Segment(sample, query, key, level >= asked.correlated)


class _Blocks(torch.autograd.Function):
    """Softmax of correlations times values, block by block; rows of unasked queries are 0."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        values: Tensor,
        segments: list[_Segment],
        temperature: float,
        block: int,
    ) -> Tensor:
        found = query.new_zeros(*query.shape[:2], values.shape[2])
        mass = query.new_zeros(query.shape[:2])  # log of the softmax's denominator
        for part in segments:
            scale = 0.0 if part.uniform else 1 / temperature
            keys, carried = key[part.sample, part.key], values[part.sample, part.key]
            height, width = _shape_of(part, block)
            for rows in part.query.split(height):
                asks = query[part.sample, rows] * scale
                found[part.sample, rows], mass[part.sample, rows] = _online(asks, keys, carried, width)
        ctx.save_for_backward(query, key, values, found, mass)
        ctx.segments, ctx.temperature, ctx.block = segments, temperature, block
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        query, key, values, found, mass = ctx.saved_tensors
        grad = incoming[0]
        grads = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(values)
        drawn = (grad * found).sum(-1, keepdim=True)
        for part in ctx.segments:
            scale = 0.0 if part.uniform else 1 / ctx.temperature
            height, width = _shape_of(part, ctx.block)
            for rows in part.query.split(height):
                asks, pull = query[part.sample, rows] * scale, grad[part.sample, rows]
                for columns in part.key.split(width):
                    keys = key[part.sample, columns]
                    weights = (asks @ keys.T).sub_(mass[part.sample, rows, None]).exp_()
                    grads[2][part.sample, columns] += weights.T @ pull
                    if part.uniform:
                        continue
                    slope = pull @ values[part.sample, columns].T
                    slope.sub_(drawn[part.sample, rows]).mul_(weights)
                    grads[0][part.sample, rows] += slope @ keys * scale
                    grads[1][part.sample, columns] += slope.T @ asks
        return (*grads, None, None, None)


def _shape_of(part: _Segment, block: int) -> tuple[int, int]:
    """Queries and keys of a block."""
    rows = min(len(part.query), max(_ROWS, block // len(part.key)))
    return rows, max(1, min(len(part.key), block // rows))


def _online(asks: Tensor, keys: Tensor, values: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The softmax's mean of values, and the log of its denominator, a block of keys after the other."""
    most = asks.new_full((len(asks), 1), -torch.inf)
    total, summed = torch.zeros_like(most), asks.new_zeros(len(asks), values.shape[1])
    for some, carried in zip(keys.split(width), values.split(width), strict=True):
        scores = asks @ some.T
        higher = torch.maximum(most, scores.amax(1, keepdim=True))
        scores.sub_(higher).exp_()
        kept = (most - higher).exp_()
        total = total * kept + scores.sum(1, keepdim=True)
        summed = summed * kept + scores @ carried
        most = higher
    return summed / total, (most + total.log())[:, 0]


def _exemplar(found: Float[Tensor, "B N D"], asked: _Asked, labels: Int[Tensor, "B h w"]) -> Exemplar:
    height, width = labels.shape[1:]
    values = found.transpose(1, 2).unflatten(2, (height, width))  # (B, D, h, w)
    level = asked.level.unflatten(1, (height, width))
    return Exemplar(values, (level >= 0)[:, None].to(values), level)


def _check(query: Tensor, key: Tensor, values: Tensor, ours: Tensor, theirs: Tensor) -> None:
    same = (
        query.ndim == key.ndim == values.ndim == 4
        and query.shape[:2] == key.shape[:2]
        and (len(values), *values.shape[2:]) == (len(key), *key.shape[2:])
        and ours.shape == (len(query), *query.shape[2:])
        and theirs.shape == (len(key), *key.shape[2:])
    )
    if not same:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (query, key, values, ours, theirs))
        raise ShapeError(
            "region_correlation: expected query (B, C, h, w), key (B, C, m, n), values (B, D, m, n) and "
            f"labels (B, h, w) and (B, m, n), got {shapes}"
        )
