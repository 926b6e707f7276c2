"""The animators of an evaluation: names, several checkpoints of one, made ready on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ...geom.errors import HeadwarpError
from ...warping.animators import Animator, load_animator, registration
from ...warping.checkpoints import ANIMATOR, Checkpoint, load_checkpoint
from ...warping.inference import InferenceConfig, preparable, prepare_animator_
from ..performance import ready

BASELINES = ("copy", "similarity", "tps")


def names_of(animators: str | Sequence[str]) -> tuple[str, ...]:
    """Names from one, several, or some joined by commas; each once, in order.

    Raises:
        HeadwarpError: none, or an unknown one.

    Example:
        >>> names_of(["geometry,tps", "geometry"])
        ('geometry', 'tps')
    """
    given = [animators] if isinstance(animators, str) else animators
    names = [name.strip() for item in given for name in item.split(",") if name.strip()]
    if not names:
        raise HeadwarpError("--animator: expected at least one name, got none")
    for name in names:
        registration(name)
    return tuple(dict.fromkeys(names))


def load_animators(
    names: Sequence[str],
    checkpoints: Sequence[Path] = (),
    *,
    device: torch.device | str = "cpu",
    inference: InferenceConfig | None = None,
) -> dict[str, Animator]:
    """The baselines and the animators named, by the name that a report has for them.

    A checkpoint belongs to the animator that its header names. With several of one animator each is measured,
    as ``NAME:STEM`` after its file. Networks are prepared for use alone, as ``inference`` says.

    Args:
        names: of the animators.
        checkpoints: files of weights.
        device: where they work.
        inference: how networks are prepared; None: as `prepare_animator_` does by itself.

    Raises:
        HeadwarpError: a checkpoint of an animator that is not measured, two of one file name, or what
            `prepare_animator_` raises, also where no animator has a network to compile.
        ModelFileError: a checkpoint that cannot be read.
    """
    device = torch.device(device)
    found: dict[str, list[Checkpoint]] = {}
    for path in checkpoints:
        checkpoint = load_checkpoint(path, kind=ANIMATOR)
        if checkpoint.name not in names:
            raise HeadwarpError(
                f"--checkpoint {path}: holds weights of {checkpoint.name!r}, but measured are "
                f"{', '.join(names)}; add --animator {checkpoint.name}"
            )
        found.setdefault(checkpoint.name, []).append(checkpoint)
    animators: dict[str, Animator] = {}
    for name in dict.fromkeys([*BASELINES, *names]):
        own = found.get(name, [])
        if not own:
            animators[name] = ready(load_animator(name), device)
        for checkpoint in own:
            label = name if len(own) == 1 else f"{name}:{checkpoint.path.stem}"
            if label in animators:
                raise HeadwarpError(
                    f"--checkpoint {checkpoint.path}: another one is called {label} too; rename one"
                )
            animators[label] = ready(checkpoint.build(registration(name)), device)
    with_network = [each for each in animators.values() if preparable(each)]
    for animator in with_network or animators.values():
        prepare_animator_(animator, inference)
    return animators
