"""``--guidance``: which geometry source guides an animator or a training, and the networks that it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..geom.errors import HeadwarpError, ModelFileError
from ..geom.nets.weights import sha256_of
from ..warping.animators import Animator
from ..warping.guide_record import SHOWN, GuideRecord, RecordKind, record_of
from ..warping.guided import GuidedAnimator
from ..warping.guides import GUIDE_KINDS, NETWORK_KINDS, GuideConfig, GuideKind, load_guide
from .performance import ready, warn

GuidanceName = RecordKind
SIDE = 256


@dataclass(frozen=True)
class GuidanceOptions:
    """What a command line says of guidance.

    Attributes:
        name: of the source; None: what the animator was trained with, see `settled`; of an untrained one the
            mesh.
        depth_checkpoint: of a training of depth, for ``depth``.
        keypoints_checkpoint: of ``fomm`` or ``dagan``, for ``keypoints``.
        side: longer side of the pictures that the network sees; None: what it saw in the animator's training,
            else `SIDE`.
        aligned: whether depth's motion is made better by the pictures; None: it is.
    """

    name: str | None = None
    depth_checkpoint: Path | None = None
    keypoints_checkpoint: Path | None = None
    side: int | None = None
    aligned: bool | None = None

    def file(self, kind: str) -> Path | None:
        """The file of the network of a kind of guidance."""
        return {"depth": self.depth_checkpoint, "keypoints": self.keypoints_checkpoint}.get(kind)


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
    for owner in NETWORK_KINDS:
        if options.file(owner) is not None and owner != options.name:
            raise HeadwarpError(
                f"--{owner}-checkpoint: belongs to --guidance {owner}; add that or leave it out"
            )
    if options.name not in NETWORK_KINDS:
        if options.side is not None:
            raise HeadwarpError("--guide-side: belongs to --guidance depth or keypoints; leave it out")
        return GuideConfig("landmarks", side=None) if options.name == "landmarks" else None
    kind: GuideKind = "depth" if options.name == "depth" else "keypoints"
    file = options.file(kind)
    if file is None:
        made = "headwarp train depth" if kind == "depth" else "headwarp train fomm"
        raise HeadwarpError(
            f"--guidance {kind}: expected --{kind}-checkpoint FILE, got none; `{made}` makes one, and an "
            "untrained network guides nowhere"
        )
    side, aligned = SIDE if options.side is None else options.side, options.aligned is not False
    return GuideConfig(kind, file, side, aligned)


def settled(
    options: GuidanceOptions, record: GuideRecord | None, *, name: str, fixed: bool = False
) -> GuidanceOptions:
    """The options with what guided a training where they name no guidance.

    Where they name one, that is taken; a line on the error stream says so if another one guided the training.

    Args:
        options: of the command line.
        record: of the training; None: nothing was trained.
        name: of what was trained, for messages.
        fixed: no other guidance can be asked for; messages offer none.

    Raises:
        HeadwarpError: a network guided the training and its file is not given, or another one is.
        ModelFileError: the file cannot be read.
    """
    if record is None or record.kind not in GUIDE_KINDS:
        if record is not None and options.name in GUIDE_KINDS:
            warn(f"{name} was trained with {record.kind} guidance and is guided by {options.name}, as asked")
        return options
    if options.name not in (None, record.kind):
        warn(f"{name} was trained with {record.kind} guidance and is guided by {options.name}, as asked")
        return options
    if record.kind in NETWORK_KINDS:
        _check_file(options, record, name=name, fixed=fixed)
    side = record.side if options.side is None else options.side
    aligned = record.aligned if options.aligned is None else options.aligned
    return dataclasses.replace(options, name=record.kind, side=side, aligned=aligned)


def _check_file(options: GuidanceOptions, record: GuideRecord, *, name: str, fixed: bool) -> None:
    """Refuse another network than the one that guided a training, unless guidance is asked for by name."""
    file, option = options.file(record.kind), f"--{record.kind}-checkpoint"
    asked = options.name is not None
    if file is None and not asked:
        other = "" if fixed else ", or --guidance mesh to let the mesh guide all the same"
        raise HeadwarpError(
            f"{name} was trained with {record.kind} guidance: expected {option} FILE with {record.named}, "
            f"got none; give it{other}"
        )
    if file is None:
        return  # `guide_of` says what is missing
    digest = sha256_of(file)
    if digest == record.sha256:
        return
    found = f"{file} (SHA-256 {digest[:SHOWN]}...)"
    if asked:
        warn(f"{name} was trained with {record.named} and is guided by {found}, as asked")
        return
    other = "" if fixed else f", or add --guidance {record.kind} to be guided by this one all the same"
    raise ModelFileError(
        f"{option}: {name} was trained with {record.named}, got {found}; give that file{other}"
    )


def guided_by(animator: Animator) -> GuideRecord | None:
    """What guided an animator's training; None of those that have none or take no guidance."""
    record: GuideRecord | None = getattr(animator, "guided_by", None)
    return record


def warn_of_mesh(animator: Animator) -> None:
    """Say so where the mesh guides an animator that was trained with something else."""
    record = guided_by(animator)
    if record is not None and record.kind in GUIDE_KINDS:
        warn(
            f"{type(animator).__name__} was trained with {record.kind} guidance, and the mesh guides it: "
            "warping.guided.GuidedAnimator puts it together with its geometry source"
        )


def guide_animator(
    animator: Animator, options: GuidanceOptions, *, name: str, device: torch.device | str = "cpu"
) -> Animator:
    """The animator, guided as asked for.

    Args:
        animator: loaded.
        options: of the command line, `settled`.
        name: of the animator, for messages.
        device: where the animator is, and its guide goes.

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
        return ready(GuidedAnimator(animator, loaded.source, loaded.observer), device)
    if options.name is not None:
        own = _own(animator)
        if own != options.name:
            said = f"is guided by {own}" if own else "takes none"
            raise HeadwarpError(f"--guidance {options.name}: {name} {said}; leave it out")
    return animator


def guided_each(
    animators: Mapping[str, Animator], config: Any, *, device: torch.device | str = "cpu"
) -> dict[str, Animator]:
    """The animators of an evaluation, those that take guidance by each source that is asked for, or by what
    each was trained with.

    Where depth, keypoints or landmarks are asked for, one is called ``NAME+depth``; the others keep their
    names.

    Args:
        animators: by the name that a report has for them.
        config: of a command with ``guidance`` (several names), the checkpoints and ``guide_side``.
        device: where the animators are.

    Raises:
        HeadwarpError: what `guide_animator` raises, or no animator that takes guidance.
    """
    names, options = tuple(dict.fromkeys(config.guidance)), guidance_of(config)
    if not names:
        return _as_trained(animators, dataclasses.replace(options, name=None), device)
    takers = [name for name, animator in animators.items() if hasattr(animator, "encode_guided")]
    if not takers:
        raise HeadwarpError("--guidance: expected an animator that takes it (geometry, pwm), got none")
    made: dict[str, Animator] = {}
    for label, animator in animators.items():
        if label not in takers:
            made[label] = animator
        for name in names if label in takers else ():
            chosen = settled(_of_one(options, name, names), guided_by(animator), name=label)
            made[f"{label}+{name}" if name in GUIDE_KINDS else label] = guide_animator(
                animator, chosen, name=label, device=device
            )
    return made


def _as_trained(
    animators: Mapping[str, Animator], options: GuidanceOptions, device: torch.device | str
) -> dict[str, Animator]:
    """Each animator with the guide of its training; what none of them asks for is refused."""
    chosen = {
        label: _only(settled(options, guided_by(animator), name=label))
        for label, animator in animators.items()
    }
    guiding = {each.name for each in chosen.values()}
    left = {f"{kind}_checkpoint": None for kind in NETWORK_KINDS if kind in guiding}
    unused = dataclasses.replace(options, **left, side=None if left else options.side)
    guide_of(unused)
    return {
        label: guide_animator(animator, chosen[label], name=label, device=device)
        for label, animator in animators.items()
    }


def _only(options: GuidanceOptions) -> GuidanceOptions:
    """Without the files of other networks, which are other animators'."""
    files = {f"{kind}_checkpoint": None for kind in NETWORK_KINDS if kind != options.name}
    side = options.side if options.name in NETWORK_KINDS else None
    return dataclasses.replace(options, **files, side=side)


def _of_one(options: GuidanceOptions, name: str, names: Sequence[str]) -> GuidanceOptions:
    """The options of one source among several: the files of the others are not its."""
    files = {f"{kind}_checkpoint": None for kind in NETWORK_KINDS if kind != name and kind in names}
    side = options.side if name in NETWORK_KINDS or not set(names) & set(NETWORK_KINDS) else None
    return dataclasses.replace(options, name=name, side=side, **files)


def _own(animator: Any) -> str | None:
    """What an animator was made for: ``mesh``, ``codes`` or ``both``; None where it takes no guidance."""
    if not hasattr(animator, "encode_guided"):
        return None
    network = getattr(getattr(animator, "config", None), "network", None)
    return record_of(None, getattr(network, "guidance", "mesh")).kind
