"""What a pack of frames says of itself: ``pack.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....geom.errors import ModelFileError
from ..pairs import index as pairs
from ..pairs.frame_store import CODECS
from ..pairs.index import FILE, is_plain, load_index, read_index

KIND = "headwarp-frames"
VERSION = 1
_FIELDS = {"size": int, "codec": str, "person": str, "clip": str, "source": str, "made_of": str}
_COMMON = (*_FIELDS, "frames", "clip_frames")


@dataclass(frozen=True)
class FrameIndex:
    """A pack of frames without its pictures.

    Attributes:
        size: side of the frames in pixels.
        codec: how frames are kept, of `frame_store.CODECS`.
        person: who or what is seen: clips of one identity have it in common.
        clip: name of the clip, one of its kind in a set.
        source: file that the frames were taken from, for reports.
        frames: which frames of the clip these are, rising, counted from 0.
        clip_frames: how many the clip has.
        made_of: tells one making from another: the clip's file and the settings.
        masks: whether person masks lie beside the frames, as in packs of pairs.
        version: of this layout.
    """

    size: int
    codec: str
    person: str
    clip: str
    source: str
    frames: tuple[int, ...]
    clip_frames: int
    made_of: str = ""
    masks: bool = False
    version: int = VERSION


def frame_index_json(index: FrameIndex) -> dict[str, Any]:
    """The index as JSON: the frames' numbers are those of all the clip's frames and not written."""
    values = dataclasses.asdict(index)
    del values["frames"], values["masks"]
    return {"kind": KIND, **values}


def read_frame_index(folder: Path) -> FrameIndex:
    """The index of a pack's folder; that of a pack of pairs is read as one of frames.

    Raises:
        ModelFileError: no pack, of a newer version, or with values that make no sense.
    """
    found = load_index(folder, {KIND: VERSION, pairs.KIND: pairs.VERSION})
    if found["kind"] == pairs.KIND:
        whole = read_index(folder)
        return FrameIndex(**{name: getattr(whole, name) for name in _COMMON}, masks=True)
    return _built(folder / FILE, found)


def _built(path: Path, found: Mapping[str, Any]) -> FrameIndex:
    kinds = {**_FIELDS, "clip_frames": int, "version": int}
    wrong = [name for name, kind in kinds.items() if type(found.get(name)) is not kind]
    if wrong:
        raise ModelFileError(
            f"{path}: expected the index of a pack, {', '.join(wrong)} missing or of another type; make the "
            "pack again"
        )
    values = {name: found[name] for name in kinds}
    good = values["size"] > 0 and values["clip_frames"] > 0 and values["codec"] in CODECS
    if not good or not is_plain(values["clip"]):
        raise ModelFileError(
            f"{path}: values do not go together; remove the pack {path.parent} and make it again"
        )
    return FrameIndex(**values, frames=tuple(range(values["clip_frames"])))
