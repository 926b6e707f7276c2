"""Solving the normal equations of a clip: a chain of frame blocks, and a block that all frames share.

    [ H_1   U_1   V            C_1 ]        H_t (n x n) of a frame, with damping,
    [ U_1'  H_2   U_2   V      C_2 ]        U_t to the next frame and V to the one after it: diagonal priors,
    [ V     U_2'  H_3   ..     C_3 ]        V with entries for k of the unknowns only,
    [       V     ..    ..     ..  ]        C_t (n x q) the coupling to what all frames share,
    [ C_1'  C_2'  C_3'  ..     H_s ]        H_s (q x q) that block itself.

Frames are eliminated one after the other. With M = H^-1 and K = M [C | g], all that frame t leaves to its
two successors is scaled rows of these: a diagonal U makes U' M U and U' K elementwise products; only the k
columns that V fills in U take products of matrices. A frame costs n^3 + 2 n^2 (q + 1) + 2 n q^2 + 2 n k (2 n
+ q) flops: 4 MFLOP for n = 80, q = 87, k = 33.

M and K of a frame take 130 kB. Up to `KEPT` frames they are kept for going back; of longer chains those of
the last `KEPT_OF_LONG`, and of earlier frames only what every `CHUNK` th hands to the next, from which they
are computed again: memory stays flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from ._projection import CHUNK
from ._rotations import Array

FLOOR = 1e-6  # added to every diagonal element
KEPT, KEPT_OF_LONG = 1536, 256


@dataclass(frozen=True)
class Ties:
    """What couples frames: weights of differences in time.

    Attributes:
        first: (T - 1, n) of those between a frame and the next.
        second: (T - 2, n) of second differences, by the first of their three frames; no rows if T < 3.
    """

    first: Array
    second: Array

    @property
    def frames(self) -> int:
        return len(self.first) + 1

    @cached_property
    def fast(self) -> int:
        """k: how many unknowns, from the first, have second differences."""
        return int(np.flatnonzero(self.second.any(0)).max(initial=-1)) + 1

    @cached_property
    def tied(self) -> bool:
        return bool(self.first.any() or self.second.any())

    @cached_property
    def own(self) -> Array:
        """(T, n): what the ties add to the diagonal blocks."""
        total = np.zeros((self.frames, self.first.shape[1]))
        total[:-1] += self.first
        total[1:] += self.first
        for place, factor in enumerate((1.0, 4.0, 1.0)):
            total[place : place + len(self.second)] += factor * self.second
        return total

    @cached_property
    def next(self) -> Array:
        """(T, n): diagonal of U, the coupling to the next frame."""
        total = np.zeros((self.frames, self.first.shape[1]))
        total[:-1] -= self.first
        for place in (0, 1):
            total[place : place + len(self.second)] -= 2 * self.second
        return total

    @cached_property
    def after(self) -> Array:
        """(T, n): diagonal of V, the coupling to the frame after the next."""
        total = np.zeros((self.frames, self.first.shape[1]))
        total[: len(self.second)] = self.second
        return total


@dataclass
class _Carried:
    """What eliminated frames leave to the two next ones; arrays that are changed in place."""

    rows: Array  # (n, n + q + 1) to be added to the next frame's
    fill: Array  # (n, k) to be added to the first columns of the next frame's U
    late: Array  # (k, k + q + 1) to be added to the first rows of the frame after the next

    @staticmethod
    def nothing(count: int, shared: int, fast: int) -> _Carried:
        return _Carried(
            np.zeros((count, count + shared + 1)),
            np.zeros((count, fast)),
            np.zeros((fast, fast + shared + 1)),
        )

    def copy(self) -> _Carried:
        return _Carried(self.rows.copy(), self.fill.copy(), self.late.copy())


@dataclass
class _Segment:
    """Some frames after the forward pass: inverses M (c, n, n), K (c, n, q + 1), fill of U (c, n, k)."""

    part: slice
    inverse: Array
    solved: Array
    fill: Array


@dataclass(frozen=True)
class Chain:
    """A chain after the forward pass.

    Attributes:
        ties: between frames.
        frames: T.
        shared: (q, q) and (q,) that elimination takes from the shared block and its gradient.
        damping: share of every block's diagonal that was added to it.
        starts: what every segment takes over from the one before.
        kept: the segments that were kept, by number.
        again: gives the rows of a part once more.
    """

    ties: Ties
    frames: int
    shared: tuple[Array, Array]
    damping: float
    starts: list[_Carried]
    kept: dict[int, _Segment]
    again: Callable[[slice], Array]

    def backwards(self) -> Iterator[_Segment]:
        """The segments from the last to the first."""
        for number in reversed(range(len(self.starts))):
            segment = self.kept.get(number)
            if segment is None:
                part = _part(number, self.frames)
                rows = self.again(part)
                segment = _Segment(part, *_room(rows.shape, self.ties.fast))
                _eliminate(rows, segment, self.starts[number].copy(), self)
            yield segment


def _part(number: int, frames: int) -> slice:
    return slice(number * CHUNK, min((number + 1) * CHUNK, frames))


def _room(shape: tuple[int, ...], fast: int) -> tuple[Array, Array, Array]:
    frames, count, width = shape
    return (
        np.empty((frames, count, count)),
        np.empty((frames, count, width - count)),
        np.empty((frames, count, fast)),
    )


def eliminate(
    rows_of: Callable[[slice], Array],
    sizes: tuple[int, int, int],
    *,
    ties: Ties,
    damping: float,
    again: Callable[[slice], Array] | None = None,
    reuse: Chain | None = None,
) -> Chain | None:
    """The forward pass over rows [block | coupling | gradient] (c, n, n + q + 1), which are overwritten.

    Args:
        rows_of: gives the rows of a part of the frames, asked once for each, in order.
        sizes: T, n, q.
        damping: share of every block's diagonal that is added to it.
        again: gives them once more without side effects; ``rows_of`` if None.
        reuse: a chain of these sizes that is not needed any more: its arrays are overwritten.

    Returns:
        None if a pivot is not positive definite.
    """
    frames, count, shared = sizes
    fast = ties.fast
    chain = Chain(
        ties, frames, (np.zeros((shared, shared)), np.zeros(shared)), damping, [], {}, again or rows_of
    )
    spare = {} if reuse is None else reuse.kept
    if reuse is not None:
        reuse.starts.clear()
    carried = _Carried.nothing(count, shared, ties.fast)
    for number in range(-(-frames // CHUNK)):
        part = _part(number, frames)
        chain.starts.append(carried.copy())
        rows = rows_of(part)
        segment = spare.get(number) or _Segment(part, *_room(rows.shape, fast))
        if not _eliminate(rows, segment, carried, chain):
            return None
        rest = len(rows) * count
        taken = rows[..., count:-1].reshape(rest, shared).T @ segment.solved.reshape(rest, shared + 1)
        chain.shared[0][:] += taken[:, :-1]
        chain.shared[1][:] += taken[:, -1]
        if part.stop > frames - (KEPT if frames <= KEPT else KEPT_OF_LONG):
            chain.kept[number] = segment
    return chain


def _eliminate(rows: Array, segment: _Segment, carried: _Carried, chain: Chain) -> bool:
    """Eliminate the frames of a segment; ``carried`` becomes what they leave to the next.

    Returns:
        False if a pivot is not positive definite.
    """
    ties, part = chain.ties, segment.part
    count, diagonal = rows.shape[1], np.arange(rows.shape[1])
    rows[:, diagonal, diagonal] += ties.own[part]
    rows[:, diagonal, diagonal] *= 1 + chain.damping
    rows[:, diagonal, diagonal] += FLOOR
    following, after = ties.next[part], ties.after[part]
    for place, row in enumerate(rows):
        if ties.tied:
            row += carried.rows
        inverse, solved = segment.inverse[place], segment.solved[place]
        if not _invert(row[:, :count], inverse):
            return False
        np.matmul(inverse, row[:, count:], out=solved)
        if ties.tied:
            segment.fill[place] = carried.fill
            _hand_on(carried, inverse, solved, following=following[place], after=after[place])
    return True


def _hand_on(carried: _Carried, inverse: Array, solved: Array, *, following: Array, after: Array) -> None:
    """What a frame takes from its two successors: from the rows of the next, U' [M U | K], from that one's
    coupling to the other, U' M V, from the rows of the other, V' [M V | K].

    Args:
        following: (n,) diagonal part of U; ``carried.fill`` is the rest.
        after: (n,) diagonal of V.
    """
    count, fast = len(inverse), carried.fill.shape[1]
    weighted, column, rows = inverse * following, -following[:, None], carried.rows  # weighted = M U
    if fast:
        weighted[:, :fast] += inverse @ carried.fill
    np.multiply(weighted, column, out=rows[:, :count])
    np.multiply(solved, column, out=rows[:, count:])
    if not fast:
        return
    rows[:fast, :count] -= carried.fill.T @ weighted
    rows[:fast, count:] -= carried.fill.T @ solved
    rows[:fast, :fast] += carried.late[:, :fast]
    rows[:fast, count:] += carried.late[:, fast:]
    strength = after[:fast]
    np.multiply(weighted[:fast].T, -strength, out=carried.fill)
    np.multiply(inverse[:fast, :fast], -strength, out=carried.late[:, :fast])
    carried.late[:, fast:] = -solved[:fast]
    carried.late *= strength[:, None]


def _invert(block: Array, inverse: Array) -> bool:
    """The inverse of a symmetric block; False if it is not positive definite."""
    inverse[:] = block
    lower, failed = dpotrf(inverse.T, lower=1, clean=0, overwrite_a=1)  # in Fortran's order: of the transpose
    if failed:
        return False
    half, failed = dpotri(lower, lower=1, overwrite_c=1)
    half = half.T  # the upper triangle, in C order
    np.copyto(inverse, half)
    np.copyto(inverse, half.T, where=above(len(block)).T)
    return not failed


@lru_cache(maxsize=8)
def above(count: int) -> NDArray[np.bool_]:
    """Where a square matrix is above its diagonal."""
    return np.tri(count, k=-1, dtype=bool).T


def back_substitute(chain: Chain, shared: Array) -> Array:
    """The frames' part of the solution (T, n), given that of the shared unknowns (q,)."""
    ties, (frames, count) = chain.ties, chain.ties.own.shape
    right = np.append(-shared, 1.0)
    solution = np.zeros((frames + 2, count))
    for segment in chain.backwards():
        start = segment.part.start
        solution[segment.part] = segment.solved @ right
        if not ties.tied:
            continue
        for frame in reversed(range(start, segment.part.stop)):
            if frame == frames - 1:
                continue
            pull = ties.next[frame] * solution[frame + 1] + ties.after[frame] * solution[frame + 2]
            pull += segment.fill[frame - start] @ solution[frame + 1, : ties.fast]
            solution[frame] -= segment.inverse[frame - start] @ pull
    return solution[:frames]


@dataclass(frozen=True)
class Spread:
    """Marginal covariance (T, k, k) of a frame's first unknowns, and variances (T, m) of combinations."""

    covariance: Array
    variance: Array


def marginals(chain: Chain, shared_covariance: Array, *, first: int, combined: Array) -> Spread:
    """What is known of every frame, all other frames and what they share being uncertain too.

    Args:
        shared_covariance: (q, q): the inverse of the shared block after elimination.
        first: how many unknowns, from the first, whose covariance is wanted.
        combined: (m, n) linear combinations of a frame's unknowns whose variances are wanted.
    """
    ties, fast = chain.ties, chain.ties.fast
    frames, count = ties.own.shape
    root = np.linalg.cholesky(shared_covariance)
    result = Spread(np.empty((frames, first, first)), np.empty((frames, len(combined))))
    # of the frame that follows: covariance, that with the fast unknowns of its own next, slopes by the shared
    next_own, cross = np.zeros((count, count)), np.zeros((count, fast))
    far_own = np.zeros((fast, fast))
    slopes, later = np.zeros((2, count, len(root)))
    for segment in chain.backwards():
        for place in reversed(range(len(segment.inverse))):
            frame, inverse = segment.part.start + place, segment.inverse[place]
            by = segment.solved[place, :, :-1]
            covariance = inverse
            if ties.tied and frame < frames - 1:
                gain = -inverse * ties.next[frame]  # of the next frame
                gain[:, :fast] -= inverse @ segment.fill[place]
                far = -inverse[:, :fast] * ties.after[frame, :fast]  # of the fast unknowns after it
                to_next = gain @ next_own + far @ cross.T
                to_far = gain @ cross + far @ far_own
                covariance = inverse + to_next @ gain.T + to_far @ far.T
                covariance = (covariance + covariance.T) / 2  # else rounding grows from frame to frame
                by = by + gain @ slopes + far @ later[:fast]
                cross = to_next[:, :fast]
            far_own = next_own[:fast, :fast]
            next_own, slopes, later = covariance, by, slopes
            through = by @ root
            total = covariance + through @ through.T
            result.covariance[frame] = total[:first, :first]
            np.einsum("mn,mn->m", combined @ total, combined, out=result.variance[frame])
    return result
