"""What a pack says of itself: ``pack.json``."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....geom.crops import Crop
from ....geom.errors import HeadwarpError, ModelFileError
from .frame_store import CODECS

KIND = "headwarp-pairs"
VERSION = 1
FILE = "pack.json"


@dataclass(frozen=True)
class PackIndex:
    """A pack without its pictures; small, so that every one of a large set is held.

    Attributes:
        model_id: of the head model that the fit belongs to.
        size: side of the frames in pixels.
        codec: how frames are kept, of `frame_store.CODECS`.
        person: clips of one person may be paired.
        clip: name of the clip, one of its kind in a set.
        source: file that the frames were taken from, for reports.
        frames: which frames of the clip these are, rising, counted from 0.
        clip_frames: how many the clip has.
        window: the part of the clip's picture that was packed.
        scale: pixels per metre at the head in every frame; with ``centre`` what tells whether the frames of
            two clips may be paired.
        centre: where the neck joint lies, x and y in pixels.
        made_of: tells one making from another: the clip's and the fit's files, and the settings.
        left_out: why frames of the clip are not here, and how many.
        version: of this layout.
    """

    model_id: str
    size: int
    codec: str
    person: str
    clip: str
    source: str
    frames: tuple[int, ...]
    clip_frames: int
    window: Crop
    scale: tuple[float, ...]
    centre: tuple[tuple[float, float], ...]
    made_of: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    version: int = VERSION


def is_plain(name: str) -> bool:
    """Whether a clip's name is that of a folder, and of none elsewhere."""
    return bool(name) and not name.startswith(".") and not set(name) & set("/\\\0")


def index_json(index: PackIndex) -> dict[str, Any]:
    """The index as JSON."""
    return {"kind": KIND, **dataclasses.asdict(index)}


def read_index(folder: Path) -> PackIndex:
    """The index of a pack's folder.

    Raises:
        ModelFileError: no pack, of a newer version, or with values that make no sense.
    """
    path = folder / FILE
    found = load_index(folder, {KIND: VERSION})
    try:
        index = _built(found)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, HeadwarpError) as error:
        raise ModelFileError(f"{path}: expected the index of a pack, {error}; make it again") from error
    _check(path, index)
    return index


def load_index(folder: Path, versions: Mapping[str, int]) -> dict[str, Any]:
    """The JSON of a pack's index.

    Args:
        folder: of the pack.
        versions: the kinds of pack that will do, each with its newest version.

    Raises:
        ModelFileError: no pack, of another kind, or of a newer version.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(f"{folder}: expected a pack with {FILE}, found none") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: cannot be read as JSON ({error}); make the pack again") from error
    kind = str(found.get("kind")) if isinstance(found, dict) else ""
    if kind not in versions:
        kinds = " or ".join(map(repr, versions))
        raise ModelFileError(
            f"{path}: expected the index of a pack (kind {kinds}), got {kind!r}; make the pack again"
        )
    version = found.get("version")
    if not isinstance(version, int) or version > versions[kind]:
        raise ModelFileError(
            f"{path}: expected a pack of version {versions[kind]} or older, got {version!r}; upgrade "
            "headwarp or make the pack again"
        )
    return found


def _built(found: Mapping[str, Any]) -> PackIndex:
    names = {f.name for f in dataclasses.fields(PackIndex)}
    missing = sorted(names - set(found))
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    values = {name: found[name] for name in names}
    values["frames"] = tuple(int(number) for number in values["frames"])
    values["scale"] = tuple(float(number) for number in values["scale"])
    values["centre"] = tuple((float(x), float(y)) for x, y in values["centre"])
    values["window"] = Crop(**{key: float(value) for key, value in values["window"].items()})
    return PackIndex(**values)


def _check(path: Path, index: PackIndex) -> None:
    texts = (index.model_id, index.codec, index.person, index.clip, index.source, index.made_of)
    rising = all(a < b for a, b in zip(index.frames, index.frames[1:], strict=False))
    counts = {len(index.frames), len(index.scale), len(index.centre)}
    finite = all(math.isfinite(number) for row in (index.scale, *index.centre) for number in row)
    good = (
        all(isinstance(text, str) for text in texts)
        and is_plain(index.clip)
        and index.codec in CODECS
        and isinstance(index.size, int)
        and isinstance(index.clip_frames, int)
        and index.size > 0
        and len(counts) == 1
        and len(index.frames) > 0
        and rising
        and finite
        and min(index.scale) > 0
        and index.frames[0] >= 0
        and index.frames[-1] < index.clip_frames
    )
    if not good:
        raise ModelFileError(
            f"{path}: values do not go together; remove the pack {path.parent} and make it again"
        )
