"""Clips made ready to train on where no face is needed: found, and packed where no pack is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..geom.errors import HeadwarpError, MediaError, ModelFileError
from ..training.data.frames.clips import clip_pictures, find_frame_clips, is_row
from ..training.data.frames.pack import (
    FramePack,
    FramePackConfig,
    open_frame_packs,
    open_frames,
    pack_frames,
)
from ..training.data.pairs.clips import FoundClip
from ..training.data.pairs.index import FILE
from ..training.data.pairs.pack import LEAST_FRAMES, ClipLabel
from .pack import JPEG_SHARE, check_disk, free_bytes, listed_packs, reasons, stamp, with_listed_persons

PACKED_PER_SECOND = 150  # frames decoded and resized on one core, for the estimate


@dataclass(frozen=True)
class FrameDataConfig:
    """What is trained on; as `pack.DataConfig` without fits.

    Attributes:
        data: clips, folders of them, VoxCeleb trees, lists; or folders of packs, of pairs too.
        cache: where packs are kept.
        persons: CSV list that says who is in the clips.
        exclude: CSV list whose persons are left out.
        packing: size, codec and shape of the packs.
    """

    data: Path | Sequence[Path]
    cache: Path
    persons: Path | None = None
    exclude: Path | None = None
    packing: FramePackConfig = field(default_factory=FramePackConfig)


@dataclass(frozen=True)
class FramePlan:
    """What is there and what is to be done, known before any long work; as `pack.PackPlan`."""

    packed: tuple[FramePack, ...]
    to_pack: tuple[FoundClip, ...]
    left_out: Mapping[str, str]
    frames: int = 0
    disk_bytes: int = 0
    free_bytes: int = 0

    @property
    def clips(self) -> int:
        """How many will be trained on."""
        return len(self.packed) + len(self.to_pack)

    def report(self) -> dict[str, Any]:
        """As JSON, with the keys of `pack.PackPlan`."""
        return {
            "packed": len(self.packed),
            "to_pack": len(self.to_pack),
            "to_fit": 0,
            "frames": self.frames,
            "disk_bytes": self.disk_bytes,
            "free_bytes": self.free_bytes,
            "seconds": round(self.frames / PACKED_PER_SECOND),
            "left_out": dict(self.left_out),
        }


def plan_frames(asked: FrameDataConfig) -> FramePlan:
    """What `prepare_frames` would do, from headers alone.

    Raises:
        MediaError: no clips.
        ModelFileError: packs that are damaged or of another size.
        HeadwarpError: nothing that can be trained on, or the disk is too small.
    """
    there = _packs_at(asked)
    return _plan_clips(asked) if there is None else there


def _packs_at(asked: FrameDataConfig) -> FramePlan | None:
    """A plan without work if ``data`` are folders of packs; None if they are something else."""
    folders = [asked.data] if isinstance(asked.data, Path) else list(asked.data)
    holding = [any(folder.glob(f"*/{FILE}")) for folder in folders]
    if not any(holding):
        return None
    if not all(holding):
        raise HeadwarpError(
            f"--data: expected clips or folders of packs, got packs in {folders[holding.index(True)]} and "
            f"none in {folders[holding.index(False)]}; clips are packed below --cache: name that folder"
        )
    packs = [pack for folder in folders for pack in open_frame_packs(folder)]
    for pack in packs:
        if pack.index.size != asked.packing.size:
            raise ModelFileError(
                f"{pack.folder.parent}: expected packs of {asked.packing.size} pixels, got "
                f"{pack.index.size}; pass that --size"
            )
    chosen, left_out = listed_packs([pack.index for pack in packs], asked.persons, asked.exclude)
    kept = tuple(_of_person(packs[number], person) for number, person in chosen.items())
    return _checked(FramePlan(kept, (), left_out))


def _of_person(pack: FramePack, person: str) -> FramePack:
    return dataclasses.replace(pack, index=dataclasses.replace(pack.index, person=person))


def _plan_clips(asked: FrameDataConfig) -> FramePlan:
    clips, left_out = with_listed_persons(find_frame_clips(asked.data), asked.persons, asked.exclude)
    packed: list[FramePack] = []
    to_pack: list[FoundClip] = []
    frames = 0
    for clip in clips:
        pack = _present(clip, asked)
        if pack is not None:
            packed.append(pack)
            continue
        try:
            frames += _count(clip.path)
            to_pack.append(clip)
        except MediaError as error:
            left_out[clip.name] = str(error)
    share = 1.0 if asked.packing.codec == "raw" else JPEG_SHARE
    disk = round(3 * asked.packing.size**2 * share * frames)
    plan = FramePlan(tuple(packed), tuple(to_pack), left_out, frames, disk, free_bytes(asked.cache))
    check_disk(asked.cache, frames=frames, needed=plan.disk_bytes, free=plan.free_bytes)
    return _checked(plan)


def _checked(plan: FramePlan) -> FramePlan:
    if not plan.clips:
        raise HeadwarpError(f"--data: expected a clip to train on, got none: {reasons(plan.left_out)}")
    return plan


def _count(clip: Path) -> int:
    """Frames of a clip as far as its header tells; 0 where it does not."""
    from ..training.data.media import probe

    found = probe(clip)
    if is_row(clip):
        return found.width // found.height
    if found.frames is not None and found.frames < LEAST_FRAMES:
        raise MediaError(f"{clip.name}: expected a clip of two frames or more, got {found.frames}")
    return found.frames or 0


def _folder(asked: FrameDataConfig) -> Path:
    return asked.cache / f"frames{asked.packing.size}-{asked.packing.codec}"


def _made_of(clip: FoundClip, asked: FrameDataConfig) -> str:
    return f"clip {stamp(clip.path)}, {asked.packing.shape}"


def _present(clip: FoundClip, asked: FrameDataConfig) -> FramePack | None:
    """The clip's pack if it is whole and was made of the same clip and settings."""
    try:
        pack = open_frames(_folder(asked) / clip.name)
    except ModelFileError:
        return None
    return _of_person(pack, clip.person) if pack.index.made_of == _made_of(clip, asked) else None


def prepare_frames(asked: FrameDataConfig) -> FramePlan:
    """Packs of every clip that can be trained on, as a plan without work left.

    What is packed already is taken as it is; run again after an interrupt, it goes on where it stopped.
    Folders of packs are opened.

    Raises:
        HeadwarpError: see `plan_frames`.
    """
    from tqdm import tqdm

    plan = plan_frames(asked)
    packs, left_out = list(plan.packed), dict(plan.left_out)
    for clip in tqdm(plan.to_pack, desc="pack", unit="clip", disable=None):
        label = ClipLabel(clip.person, clip.name, str(clip.path), _made_of(clip, asked))
        try:
            frames = clip_pictures(clip.path)
            packs.append(pack_frames(frames, folder=_folder(asked), label=label, config=asked.packing))
        except MediaError as error:
            left_out[clip.name] = str(error)
    packs.sort(key=lambda pack: pack.index.clip)
    return _checked(FramePlan(tuple(packs), (), left_out))
