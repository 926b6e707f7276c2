"""Animators: a source once, then a picture for every driving frame.

One file an animator. A file registers a frozen config dataclass and its class with `register`; the name is
the file's. `load_animator` imports only the file it needs. Contract tests run over every name in
`animator_names`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, Source
from .._registry import Registration as Registration
from .._registry import Registry, file_names


@dataclass(frozen=True)
class Animation:
    """What an animator makes of one driving frame (or a batch).

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        flow: backward flow of the person layer in pixels, ``(B, 2, H, W)``, or None.
        occlusion: 1 where the picture shows the person, 0 where it shows background, ``(B, 1, H, W)``: what
            a larger picture takes of this one; without a person mask, 1 where the picture comes from the
            source. None: nothing is told apart, all of it counts.
    """

    image: Float[Tensor, "B 3 H W"]
    flow: Float[Tensor, "B 2 H W"] | None = None
    occlusion: Float[Tensor, "B 1 H W"] | None = None


class Animator(Protocol):
    """``needs_source`` and ``needs_driving`` name the `Source` and `Driving` fields read; see
    `geom.guidance.require`.
    """

    needs_source: tuple[str, ...]
    needs_driving: tuple[str, ...]

    def encode(self, sources: Sequence[Source]) -> Any:
        """Everything that depends on the sources alone; called once.

        Args:
            sources: one, or several where the animator fuses them.
        """

    def animate(self, cache: Any, driving: Driving) -> Animation:
        """The source as the driving frame poses it.

        Args:
            cache: what `encode` returned.
            driving: a frame or a batch; its B is the result's.
        """

    def explain(self, cache: Any, driving: Driving) -> Mapping[str, Tensor]:
        """Named maps ``(B, C, H, W)`` for pictures: flows, masks, layers.

        Args:
            cache: what `encode` returned.
            driving: as for `animate`.
        """


_REGISTRY: Registry[Animator] = Registry(__name__)
register = _REGISTRY.register


def animator_names() -> tuple[str, ...]:
    """Names that `load_animator` knows: the files of this folder."""
    return file_names(__path__)


def registration(name: str) -> Registration[Animator]:
    """The registration behind a name; imports its file. Raises HeadwarpError for an unknown name."""
    if name not in animator_names():
        raise HeadwarpError(f"animator: expected one of {', '.join(animator_names())}, got {name!r}")
    return _REGISTRY.registration(name)


def load_animator(
    name: str = "geometry", checkpoint: str | Path | None = None, *, config: Any = None
) -> Animator:
    """An animator by name, ready to `encode`.

    Args:
        name: one of `animator_names`.
        checkpoint: a file of ``warping.checkpoints`` that holds the animator's weights and config; without
            it, and without a config, the weights that the package ships for it, if it does.
        config: an instance of the animator's config class, for an untrained one; its defaults otherwise.

    Raises:
        HeadwarpError: unknown name, foreign config, a checkpoint of another animator, or neither checkpoint
            nor config for one that shows nothing before it has learned (its ``needs_weights``).

    Example:
        >>> load_animator("copy").needs_source
        ('image',)
    """
    entry = registration(name)
    if checkpoint is None and config is None:
        checkpoint = shipped_weights(name)
    if checkpoint is not None:
        from ..checkpoints import ANIMATOR, load_checkpoint

        return load_checkpoint(checkpoint, name=name, kind=ANIMATOR).build(entry)
    if config is None and getattr(entry.build, "needs_weights", False):
        recipe = getattr(entry.build, "trained_by", name)
        raise HeadwarpError(
            f"{name}: expected a checkpoint, got none: it shows nothing before it has learned; train one "
            f"with `headwarp train {recipe}`, or bring a published one over with `headwarp convert "
            "checkpoint`"
        )
    return entry.made(config, what=f"animator {name!r}")


def shipped_weights(name: str) -> Path | None:
    """The checkpoint of an animator that comes with the package: ``NAME.safetensors`` beside its file."""
    path = Path(__file__).parent / f"{name}.safetensors"
    return path if path.is_file() else None


def frame_multiple(animator: Animator) -> int:
    """Sides of the frames that an animator takes are multiples of this, its ``frame_multiple``; 1 for any.

    Example:
        >>> frame_multiple(load_animator("copy"))
        1
    """
    return int(getattr(animator, "frame_multiple", 1))


def single(sources: Sequence[Source], *, by: str) -> Source:
    """The only source, or an error: these animators take one.

    Args:
        sources: what an animator was given.
        by: its name, for the message.

    Raises:
        HeadwarpError: none, or several.
    """
    if len(sources) != 1:
        raise HeadwarpError(
            f"{by}: expected one source picture, got {len(sources)}; this animator fuses none"
        )
    return sources[0]
