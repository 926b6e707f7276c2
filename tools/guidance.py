"""``--guidance``: which geometry source guides an animator or a training, and the networks that it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..geom.errors import HeadwarpError
from ..warping.animators import Animator
from ..warping.guided import GuidedAnimator
from ..warping.guides import GUIDE_KINDS, NETWORK_KINDS, GuideConfig, GuideKind, load_guide

GuidanceName = Literal["mesh", "codes", "both", "depth", "keypoints", "landmarks"]
SIDE = 256


@dataclass(frozen=True)
class GuidanceOptions:
    """What a command line says of guidance.

    Attributes:
        name: of the source; None: what the animator was trained with, which is the mesh.
        depth_checkpoint: of a training of depth, for ``depth``.
        keypoints_checkpoint: of ``fomm`` or ``dagan``, for ``keypoints``.
        side: longer side of the pictures that the network sees.
    """

    name: str | None = None
    depth_checkpoint: Path | None = None
    keypoints_checkpoint: Path | None = None
    side: int = SIDE


def guidance_of(config: Any) -> GuidanceOptions:
    """The options of a command that has them."""
    return GuidanceOptions(
        config.guidance, config.depth_checkpoint, config.keypoints_checkpoint, config.guide_side
    )


def guide_of(options: GuidanceOptions) -> GuideConfig | None:
    """What guides in place of the mesh; None where that does.

    Raises:
        HeadwarpError: guidance by a network without its weights, or weights that nothing asks for.
    """
    files = {"depth": options.depth_checkpoint, "keypoints": options.keypoints_checkpoint}
    for owner, given in files.items():
        if given is not None and owner != options.name:
            raise HeadwarpError(
                f"--{owner}-checkpoint: belongs to --guidance {owner}; add that or leave it out"
            )
    if options.name not in NETWORK_KINDS:
        if options.side != SIDE:
            raise HeadwarpError("--guide-side: belongs to --guidance depth or keypoints; leave it out")
        return GuideConfig("landmarks", side=None) if options.name == "landmarks" else None
    kind: GuideKind = "depth" if options.name == "depth" else "keypoints"
    file = files[kind]
    if file is None:
        made = "headwarp train depth" if kind == "depth" else "headwarp train fomm"
        raise HeadwarpError(
            f"--guidance {kind}: expected --{kind}-checkpoint FILE, got none; `{made}` makes one, and an "
            "untrained network guides nowhere"
        )
    return GuideConfig(kind, file, options.side)


def guide_animator(animator: Animator, options: GuidanceOptions, *, name: str) -> Animator:
    """The animator, guided as asked for.

    Args:
        animator: loaded.
        options: of the command line.
        name: of the animator, for messages.

    Raises:
        HeadwarpError: what `guide_of` raises, an animator that takes no guidance, or a network that was
            trained with other codes.
    """
    guide = guide_of(options)
    if guide is not None:
        if not hasattr(animator, "encode_guided"):
            raise HeadwarpError(
                f"--guidance {guide.kind}: {name} takes none; expected geometry or pwm, or no --guidance"
            )
        loaded = load_guide(guide)
        return GuidedAnimator(animator, loaded.source, loaded.observer)
    if options.name is not None:
        own = _own(animator)
        if own != options.name:
            said = f"is guided by {own}" if own else "takes none"
            raise HeadwarpError(f"--guidance {options.name}: {name} {said}; leave it out")
    return animator


def guided_each(animators: Mapping[str, Animator], config: Any) -> dict[str, Animator]:
    """The animators of an evaluation, those that take guidance by each source that is asked for.

    Guided by depth, keypoints or landmarks one is called ``NAME+depth``; the others keep their names.

    Args:
        animators: by the name that a report has for them.
        config: of a command with ``guidance`` (several names), the checkpoints and ``guide_side``.

    Raises:
        HeadwarpError: what `guide_animator` raises, or no animator that takes guidance.
    """
    names = tuple(dict.fromkeys(config.guidance))
    if not names:
        guide_of(dataclasses.replace(guidance_of(config), name=None))
        return dict(animators)
    takers = [name for name, animator in animators.items() if hasattr(animator, "encode_guided")]
    if not takers:
        raise HeadwarpError("--guidance: expected an animator that takes it (geometry, pwm), got none")
    made: dict[str, Animator] = {}
    for label, animator in animators.items():
        if label not in takers:
            made[label] = animator
        for name in names if label in takers else ():
            options = _of_one(guidance_of(config), name, names)
            made[f"{label}+{name}" if name in GUIDE_KINDS else label] = guide_animator(
                animator, options, name=label
            )
    return made


def _of_one(options: GuidanceOptions, name: str, names: Sequence[str]) -> GuidanceOptions:
    """The options of one source among several: the files of the others are not its."""
    files = {f"{kind}_checkpoint": None for kind in NETWORK_KINDS if kind != name and kind in names}
    side = options.side if name in NETWORK_KINDS or not set(names) & set(NETWORK_KINDS) else SIDE
    return dataclasses.replace(options, name=name, side=side, **files)


def _own(animator: Any) -> str | None:
    """What an animator was made for: ``mesh``, ``codes`` or ``both``; None where it takes no guidance."""
    if not hasattr(animator, "encode_guided"):
        return None
    network = getattr(getattr(animator, "config", None), "network", None)
    own = getattr(network, "guidance", "mesh")
    return own if own in ("codes", "both") else "mesh"
