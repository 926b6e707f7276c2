"""Motion of one set of keypoints carried over to another ([FOMM] A.3): relative, in another size, from where.

Absolute motion takes the driver's keypoints as they are. Relative motion adds what changed since a reference
frame of the driver, D_0, to the source's own keypoints:

    p = p_s + s (p_d - p_d0),    J = J_d J_d0^-1 J_s

with s = 1 in [FOMM] A.3; the public code's "adapt_movement_scale" takes the ratio of the square roots of the
areas that source and reference keypoints span. In the reference frame both are the source's own, exactly.
Any frame can be the reference, and frames do not depend on each other: the public code's runs forward and
backward from its best frame give the same pictures as one run in order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.errors import HeadwarpError, NoFaceError, ShapeError
from ..geom.keypoints import Keypoints, jacobian_quotient

GUARD = 100.0
"""Condition number up to which a reference Jacobian is believed; see `geom.keypoints.jacobian_quotient`."""


def relative_keypoints(
    source: Keypoints,
    driving: Keypoints,
    reference: Keypoints,
    *,
    scale: float | Tensor = 1.0,
    condition_guard: float | None = GUARD,
) -> Keypoints:
    """The source's keypoints moved as the driver's did since its reference frame.

    Args:
        source, driving, reference: in one lattice; the batch of source and reference may be 1.
        scale: s of the shifts; see `adapted_scale`. Jacobians are ratios and have none.
        condition_guard: of the reference's Jacobians; None as in the public code.

    Returns:
        Keypoints without heat maps; the source's own, exactly, where driving and reference are equal.

    Raises:
        HeadwarpError: Jacobians of some but not of all.

    Example:
        >>> source, still = Keypoints(torch.tensor([[[0.1, 0.2]]])), Keypoints(torch.zeros(1, 1, 2))
        >>> relative_keypoints(source, Keypoints(still.points + 0.5), still).points.tolist()
        [[[0.6000000238418579, 0.699999988079071]]]
    """
    points = source.points + scale * (driving.points - reference.points)
    jacobians = [each.jacobians for each in (source, driving, reference)]
    if all(each is None for each in jacobians):
        return Keypoints(points)
    own, now, then = jacobians
    if own is None or now is None or then is None:
        raise HeadwarpError("jacobians: expected those of source, driving and reference, or of none of them")
    change = jacobian_quotient(now, then, condition_guard=condition_guard)
    return Keypoints(points, change @ own)


def adapted_scale(source: Float[Tensor, "1 K 2"], reference: Float[Tensor, "1 K 2"]) -> float:
    """How much larger the source's keypoints lie than the reference's: the square root of hull areas' ratio.

    Args:
        source: the source's keypoints.
        reference: those of the driver's reference frame, in the same lattice.

    Returns:
        s of `relative_keypoints`.

    Raises:
        HeadwarpError: either lie on one line.

    Example:
        >>> corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
        >>> adapted_scale(2 * corners, corners)
        2.0
    """
    areas = [hull_area(points[0]) for points in (source, reference)]
    if not min(areas) > 0:
        which = "source" if not areas[0] > 0 else "driver"
        raise HeadwarpError(
            f"adapt scale: expected keypoints that span an area, but those of the {which} lie on a line; "
            "leave it out (--no-adapt-scale)"
        )
    return math.sqrt(areas[0] / areas[1])


def nearest_frame(source: Float[Tensor, "1 P 2"], driving: Float[Tensor, "T P 2"]) -> int:
    """The driving frame that is most like the source, place and size aside: the best reference.

    As the public code's "find_best_frame": points about their mean, in units of the square root of their
    hull's area; least sum of squared differences. There they are 68 face landmarks; learned keypoints do as
    well, where there is no face.

    Args:
        source, driving: the same points in both; NaN in frames where nobody found them.

    Raises:
        ShapeError: other points in the driver than in the source.
        NoFaceError: no frame has points.

    Example:
        >>> source = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
        >>> other = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [2.0, 9.0]]])
        >>> nearest_frame(source, torch.cat([other, 5 * source + 1]))
        1
    """
    if source.shape[1:] != driving.shape[1:]:
        raise ShapeError(
            f"driving: expected the source's points {tuple(source.shape[1:])}, got {tuple(driving.shape[1:])}"
        )
    own = _normalised(source[0])
    distances = [float((_normalised(points) - own).square().sum()) for points in driving]
    known = [index for index, distance in enumerate(distances) if math.isfinite(distance)]
    if not known:
        raise NoFaceError("find best frame: expected a face in the source and in a driving frame, found none")
    return min(known, key=lambda index: distances[index])


def _normalised(points: Float[Tensor, "P 2"]) -> Float[Tensor, "P 2"]:
    points = points.double()
    return (points - points.mean(0)) / math.sqrt(hull_area(points) or math.nan)


def hull_area(points: Float[Tensor, "P 2"]) -> float:
    """Area of the convex hull; 0 for points on a line, NaN where one is not finite.

    Example:
        >>> hull_area(torch.tensor([[0.0, 0], [2, 0], [2, 1], [0, 1], [1, 0.5]]))
        2.0
    """
    if not torch.isfinite(points).all():
        return math.nan
    corners = convex_hull(points.double().tolist())
    after = corners[1:] + corners[:1]
    return 0.5 * sum(_cross((0.0, 0.0), one, other) for one, other in zip(corners, after, strict=True))


def convex_hull(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Corners of the convex hull against the clock (x right, y up), no three on a line: Andrew's chains.

    Example:
        >>> convex_hull([(0, 0), (1, 0), (2, 0), (1, 1), (1, 0.2)])
        [(0, 0), (2, 0), (1, 1)]
    """
    ordered = sorted({(x, y) for x, y in points})
    if len(ordered) < 3:
        return ordered
    lower, upper = _chain(ordered), _chain(ordered[::-1])
    return lower[:-1] + upper[:-1]


def _chain(ordered: list[tuple[float, float]]) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for point in ordered:
        while len(kept) > 1 and _cross(kept[-2], kept[-1], point) <= 0:
            kept.pop()
        kept.append(point)
    return kept


def _cross(origin: Sequence[float], one: Sequence[float], other: Sequence[float]) -> float:
    return (one[0] - origin[0]) * (other[1] - origin[1]) - (one[1] - origin[1]) * (other[0] - origin[0])
