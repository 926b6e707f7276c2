"""Tracks of landmarks as what drives another face: smoothed, and carried over relative to a reference frame.

A track is vectors of 2 L numbers (x0, y0, x1, ..), 136 for 68 landmarks, in pixels of any frame: of a
detector, of a file, or drawn by hand. No picture of the driver is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.one_euro import Filtered, filter_value, first_value
from ..geom.transforms import umeyama


@dataclass(frozen=True)
class SmoothingConfig:
    """A One Euro filter [Casiez 2012] of every coordinate: steady where a face rests, quick where it moves.

    Attributes:
        fps: frames a second of the track.
        min_cutoff: cut-off frequency in Hz at rest; lower is steadier.
        beta: how much the cut-off rises with speed, in Hz for every face's size a second, a face's size being
            the root mean square distance of its first landmarks from their mean. 0: a filter of one cut-off.
        speed_cutoff: cut-off of the speed itself in Hz, 1 in the paper.
    """

    fps: float = 25.0
    min_cutoff: float = 2.0
    beta: float = 4.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if not min(self.fps, self.min_cutoff, self.speed_cutoff) > 0 or not self.beta >= 0:
            raise HeadwarpError(
                "smoothing: expected fps, min_cutoff and speed_cutoff above 0 and beta of at least 0, got "
                f"{self}"
            )


@dataclass(frozen=True)
class TrackConfig:
    """How a track drives a source.

    Attributes:
        relative: what changes since the reference frame is added to the source's own landmarks, turned and
            scaled as the reference's landmarks lie best on them; else the track's places are taken as they
            are, in pixels of the source's frame.
        reference: frame of the track, from 0, that corresponds to the source.
        smoothing: of the track; None: as it is.
    """

    relative: bool = True
    reference: int = 0
    smoothing: SmoothingConfig | None = None


def landmarks_of(vectors: Float[Tensor, "T N"]) -> Float[Tensor, "T L 2"]:
    """Vectors x0, y0, x1, .. as points.

    Raises:
        ShapeError: not an even number of numbers a frame.

    Example:
        >>> landmarks_of(torch.arange(4.0)[None]).tolist()
        [[[0.0, 1.0], [2.0, 3.0]]]
    """
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.shape[1] % 2:
        raise ShapeError(
            f"vectors: expected (T, 2 L) of x and y of L landmarks a frame, got {tuple(vectors.shape)}"
        )
    return vectors.unflatten(1, (-1, 2))


def driving_landmarks(
    source: Float[Tensor, "1 L 2"], track: Float[Tensor, "T L 2"], config: TrackConfig | None = None
) -> Float[Tensor, "T L 2"]:
    """The landmarks that drive a source, frame by frame, in pixels of its frame.

    Args:
        source: its own landmarks.
        track: the driver's, as many a frame, finite.
        config: how; `TrackConfig()` if None.

    Raises:
        ShapeError: landmarks that do not match, are not finite, or all lie in one place.
        HeadwarpError: a reference frame beyond the track.

    Example:
        >>> face = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]])
        >>> track = face + torch.tensor([[[100.0, 50.0]], [[101.0, 50.0]]])  # elsewhere in its frame
        >>> driving_landmarks(face, track)[:, 0].round().tolist()
        [[0.0, 0.0], [1.0, 0.0]]
    """
    config = config or TrackConfig()
    if track.ndim != 3 or len(track) < 1 or track.shape[1:] != source.shape[1:]:
        raise ShapeError(
            f"track: expected (T, {source.shape[1]}, 2) as the source has, got {tuple(track.shape)}"
        )
    if not bool(torch.isfinite(track).all()):
        raise ShapeError("track: expected finite landmarks, got NaN or infinity; leave such frames out")
    if not 0 <= config.reference < len(track):
        raise HeadwarpError(f"reference: expected 0 to {len(track) - 1}, got {config.reference}")
    if config.smoothing is not None:
        track = torch.stack(list(smoothed(track, config.smoothing)))
    return relative_landmarks(source, track, track[config.reference]) if config.relative else track


def relative_landmarks(
    source: Float[Tensor, "1 L 2"], driving: Float[Tensor, "T L 2"], reference: Float[Tensor, "L 2"]
) -> Float[Tensor, "T L 2"]:
    """The source's landmarks moved as the driver's did since its reference frame: ``p_s + s R (p_d - p_d0)``.

    ``s R`` is of the similarity that lays the reference's landmarks best on the source's [Umeyama 1991], so
    that a driver in another size, or with its head on one side, moves the source in the source's own frame.

    Args:
        source: p_s, in pixels of its frame.
        driving: p_d, in pixels of the driver's frame.
        reference: p_d0: the driver's landmarks that correspond to the source's.

    Returns:
        The source's own landmarks, exactly, where driving and reference are equal.

    Raises:
        ShapeError: landmarks that do not match, are not finite, or all lie in one place.

    Example:
        >>> face = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]])
        >>> driver = 2 * face  # twice as large
        >>> moved = driver + torch.tensor([4.0, 0.0])
        >>> (relative_landmarks(face, moved, driver[0]) - face)[0, 0].round().tolist()
        [2.0, 0.0]
    """
    fit = umeyama(reference, source[0].to(reference))
    turn = fit.scale * fit.rotation
    return source.to(driving) + (driving - reference) @ turn.to(driving).T


def smoothed(
    track: Iterable[Float[Tensor, "L 2"]], config: SmoothingConfig | None = None
) -> Iterator[Float[Tensor, "L 2"]]:
    """A track without its jitter, frame by frame as it comes: nothing is known of later frames.

    Args:
        track: landmarks of every frame, finite.
        config: of the filter.

    Returns:
        As many frames; the first one, and a track at rest, as they are.
    """
    config = config or SmoothingConfig()
    before: Filtered | None = None
    size = 1.0
    for points in track:
        if before is None:
            before = first_value(points)
            spread = float((points - points.mean(0)).square().sum(-1).mean().sqrt())
            size = spread if spread > 0 else 1.0
        else:
            before = filter_value(
                before,
                points,
                fps=config.fps,
                min_cutoff=config.min_cutoff,
                beta=config.beta,
                unit=size,
                speed_cutoff=config.speed_cutoff,
            )
        yield before.value
