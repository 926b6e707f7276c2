"""An animator guided by a geometry source of the caller's choice in place of its own posed mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.guidance import Driving, GeometrySource, Source
from .animators import Animation, Animator, single


@runtime_checkable
class Observer(Protocol):
    """Adds to observations what their pictures tell, mostly by networks; see `observers`.

    ``produces_source`` and ``produces_driving`` name the fields that it fills where they are None, of the
    picture and nothing else.
    """

    produces_source: tuple[str, ...]
    produces_driving: tuple[str, ...]

    def source(self, source: Source) -> Source:
        """The source with its fields; once per source."""

    def driving(self, source: Source, driving: Driving) -> Driving:
        """The driving frame with its fields; ``source`` is what `source` returned."""

    def reference(self, source: Source, driving: Driving) -> Driving:
        """A driving frame with what `referred` reads of the one that motion is counted from; once for it."""

    def referred(self, source: Source, reference: Driving, driving: Driving, *, adapt_scale: bool) -> Driving:
        """The driving frame as if the source had moved as the driver did since a reference frame.

        Args:
            source: what `source` returned.
            reference: what `reference` returned.
            driving: as it is; `driving` need not have seen it.
            adapt_scale: shifts are in sizes of what is driven; else in pixels.
        """


@runtime_checkable
class Referring(Protocol):
    """An animator that looks at its driver and takes its motion relative to one of its frames, if told so:
    `GuidedAnimator` and `keypoint_animator.KeypointAnimator`.
    """

    def refer(self, cache: Any, driving: Driving, *, adapt_scale: bool = True) -> Any:
        """The cache for motion that is counted from a driving frame.

        Args:
            cache: what `encode` returned.
            driving: one frame: the reference, with its picture.
            adapt_scale: shifts are in sizes of what is driven; else in pixels.
        """


def refers(animator: object) -> TypeGuard[Referring]:
    """Whether an animator takes its motion from its driver's pictures; others are told a motion that is
    relative already.
    """
    return isinstance(animator, Referring) and "image" in getattr(animator, "needs_driving", ())


@dataclass(frozen=True)
class GuidedSource:
    """What depends on the source alone.

    Attributes:
        source: with what the observer saw.
        state: of the geometry source.
        cache: of the animator.
        reference: the driver's frame that corresponds to the source, for relative motion; None: absolute.
        adapt_scale: of relative motion, see `Observer.referred`.
    """

    source: Source
    state: Any
    cache: Any
    reference: Driving | None = None
    adapt_scale: bool = True


class GuidedAnimator(nn.Module):
    """`Animator` of an animator that takes guidance (it has ``encode_guided``) and a geometry source.

    Args:
        animator: such as `load_animator` ``("pwm", checkpoint)``.
        source: such as `geom.sources.depth.DepthSource`.
        observer: makes what the source reads from the pictures; None: the caller gives it.

    What the geometry source reads and no observer makes is needed; the driving picture where one looks at it.

    Raises:
        HeadwarpError: the animator takes no guidance.

    Example:
        >>> from headwarp import load_animator
        >>> from headwarp.geom.sources.depth import DepthSource
        >>> GuidedAnimator(load_animator("geometry"), DepthSource()).needs_driving
        ('relative_pose', 'intrinsics')
    """

    def __init__(self, animator: Animator, source: GeometrySource, observer: Observer | None = None) -> None:
        super().__init__()
        if not hasattr(animator, "encode_guided"):
            raise HeadwarpError(
                f"guidance: expected an animator that a geometry source can guide (geometry, pwm), got "
                f"{type(animator).__name__}"
            )
        self.animator, self.geometry_source, self.observer = animator, source, observer
        by_source = () if observer is None else observer.produces_source
        by_driving = () if observer is None else observer.produces_driving
        needs = dict.fromkeys(("image", *source.needs_source))
        self.needs_source: tuple[str, ...] = tuple(need for need in needs if need not in by_source)
        given = tuple(need for need in source.needs_driving if need not in by_driving)
        looks = ("image",) if len(given) < len(source.needs_driving) else ()
        self.needs_driving: tuple[str, ...] = (*looks, *given)

    @property
    def frame_multiple(self) -> int:
        """That of the animator."""
        return int(getattr(self.animator, "frame_multiple", 1))

    def prepare_(self, config: Any) -> None:
        """See `inference.prepare_animator_`: the animator's own network is prepared, if it has one."""
        from .inference import prepare_animator_

        prepare_animator_(self.animator, config)

    def encode(self, sources: Sequence[Source]) -> GuidedSource:
        """Guidance's part and the animator's part of the source."""
        source = single(sources, by="guidance")
        if self.observer is not None:
            source = self.observer.source(source)
        state = self.geometry_source.prepare(source)
        return GuidedSource(source, state, self.animator.encode_guided([source]))

    def refer(self, cache: GuidedSource, driving: Driving, *, adapt_scale: bool = True) -> GuidedSource:
        """The source driven relative to a driving frame, see `keypoint_animator.KeypointAnimator.refer`.

        Args:
            cache: what `encode` returned.
            driving: one frame: the reference, with its picture.
            adapt_scale: see `Observer.referred`.

        Raises:
            HeadwarpError: no observer: the caller gives the motion and makes it relative.
        """
        if self.observer is None:
            raise HeadwarpError("refer: expected an observer of the driver's pictures, got none")
        reference = self.observer.reference(cache.source, driving)
        return dataclasses.replace(cache, reference=reference, adapt_scale=adapt_scale)

    def guided(self, cache: GuidedSource, driving: Driving) -> Driving:
        """The driving frame with its guidance."""
        if self.observer is not None and cache.reference is not None:
            driving = self.observer.referred(
                cache.source, cache.reference, driving, adapt_scale=cache.adapt_scale
            )
        elif self.observer is not None:
            driving = self.observer.driving(cache.source, driving)
        return dataclasses.replace(driving, guidance=self.geometry_source.guide(cache.state, driving))

    def animate(self, cache: GuidedSource, driving: Driving) -> Animation:
        """The source as the guidance moves it."""
        return self.animator.animate(cache.cache, self.guided(cache, driving))

    def explain(self, cache: GuidedSource, driving: Driving) -> Mapping[str, Tensor]:
        """The animator's own maps."""
        return self.animator.explain(cache.cache, self.guided(cache, driving))
