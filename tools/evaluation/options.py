"""Options of `headwarp evaluate`: which belong to what, and what they mean together."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ...geom.errors import HeadwarpError
from .pair_options import PairOptions

if TYPE_CHECKING:
    from ..evaluate import Evaluate

OF_PAIRS: tuple[str, ...] = ("root", "relative", "absolute", "same_person", "per_pair", "size")
OF_CLIPS: tuple[str, ...] = ("stride", "frames", "faces", "sources", "source_checkpoint")
OF_FACES: tuple[str, ...] = ("head", "still_camera", "arcface", "sources", "source_checkpoint")
AGAIN: tuple[str, ...] = ("again", "html")
"""What a page that is made anew needs."""


def check_unused(config: Evaluate) -> None:
    """Refuse options that the protocol does not read, rather than drop them.

    Raises:
        HeadwarpError: one was given; the text names it.
    """
    if config.pairs is None:
        unread, other = OF_PAIRS[: None if config.faces else -1], "--pairs"  # the size counts without faces
    else:
        unread, other = OF_CLIPS if config.same_person else (*OF_CLIPS, "still_camera"), "--clips"
    for field in fields(config):
        given, option = getattr(config, field.name) != field.default, field.name.replace("_", "-")
        if given and field.name in unread:
            raise HeadwarpError(f"--{'no-' * (option == 'faces')}{option}: belongs to {other}; leave it out")
        if given and field.name in OF_FACES and not config.faces:
            raise HeadwarpError(f"--{option}: says nothing with --no-faces; leave it out")


def check_again(config: Evaluate) -> None:
    """Refuse options of a measurement where its page is made anew, and one without a page.

    Raises:
        HeadwarpError: there are such.
    """
    if config.html is None:
        raise HeadwarpError("--from: expected --html, the page that is made from the report")
    for field in fields(config):
        if field.name not in AGAIN and getattr(config, field.name) != field.default:
            option = field.name.replace("_", "-")
            raise HeadwarpError(f"--{option}: nothing is measured with --from; leave it out")


def sees_sources_alone(config: Evaluate) -> bool:
    """Whether the side of the pictures that networks see is that of the sources' and of no guide."""
    guides = {"depth", "keypoints"}.intersection(config.guidance)
    files = (config.depth_checkpoint, config.keypoints_checkpoint)
    return bool(config.source_checkpoint) and not guides and files == (None, None)


def pair_options(config: Evaluate) -> PairOptions:
    """Those of them that say how a list of pairs is measured.

    Raises:
        HeadwarpError: no list of pairs.
    """
    if config.pairs is None:
        raise HeadwarpError("expected --pairs")
    shared = {f.name: getattr(config, f.name) for f in fields(PairOptions)}
    return PairOptions(**shared)


def keeps_pictures(config: Evaluate) -> bool:
    """Whether pictures of the run are shown or kept."""
    return any(path is not None for path in (config.sheet, config.html, config.json))


def given(config: Evaluate) -> dict[str, str]:
    """Options that were given, but where the report goes; of files and folders the last names, for a page is
    passed on.
    """
    told = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name == "json":
            continue
        items = value if isinstance(value, tuple) else (value,)
        shown = [(item.name or str(item)) if isinstance(item, Path) else str(item) for item in items]
        told[f"--{field.name.replace('_', '-')}"] = " ".join(shown)
    return told
