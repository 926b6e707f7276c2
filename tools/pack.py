"""Clips made ready to train on: found, fitted where no fit is at hand, packed where no pack is."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..flame.model import HeadModel
from ..flame.params import HeadFit, check_model
from ..geom.crops import Crop, crop_image
from ..geom.errors import HeadwarpError, MediaError, MissingDependencyError, ModelFileError, NoFaceError
from ..training.data.frames.index import FrameIndex
from ..training.data.pairs.clips import FoundClip, find_clips, read_persons, with_persons, without_persons
from ..training.data.pairs.index import FILE, PackIndex
from ..training.data.pairs.pack import (
    LEAST_FRAMES,
    ClipLabel,
    Pack,
    PackConfig,
    Segment,
    open_pack,
    open_packs,
    pack_clip,
    too_few,
    usable_frames,
)
from ..training.data.portrait import Frame
from ..training.data.synthetic.files import person_masks, truth_beside
from .faces import fit_frames
from .portrait import as_frames, fitted_frames

FITTED_PER_SECOND = 30  # frames found, fitted and segmented on one core, for the estimate
JPEG_SHARE = 0.15  # of the raw size
STAMP = "made_of"  # in the report of a fit that is kept beside the packs: the clip's size and time


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Attributes:
        data: clips, folders of them, VoxCeleb trees, lists; or folders of packs.
        cache: where packs and fits are kept.
        fits: folder of fits that `headwarp fit` made, found by the clips' names.
        persons: CSV list that says who is in the clips.
        exclude: CSV list whose persons are left out.
        packing: size and codec of the packs.
    """

    data: Path | Sequence[Path]
    cache: Path
    fits: Path | None = None
    persons: Path | None = None
    exclude: Path | None = None
    packing: PackConfig = field(default_factory=PackConfig)


@dataclass(frozen=True)
class PackPlan:
    """What is there and what is to be done, known before any long work.

    Attributes:
        packed: packs that are there already.
        to_pack: clips with the file of their fit; None where they must be fitted.
        left_out: clip -> why it is not trained on.
        frames: of the clips in ``to_pack``.
        disk_bytes: that their packs will take.
        free_bytes: on the disk of the cache.
    """

    packed: tuple[Pack, ...]
    to_pack: tuple[tuple[FoundClip, Path | None], ...]
    left_out: Mapping[str, str]
    frames: int
    disk_bytes: int
    free_bytes: int

    def report(self) -> dict[str, Any]:
        """As JSON: numbers of clips, disk in bytes, an estimate of the time in seconds on one core."""
        return {
            "packed": len(self.packed),
            "to_pack": len(self.to_pack),
            "to_fit": sum(fit is None for _, fit in self.to_pack),
            "frames": self.frames,
            "disk_bytes": self.disk_bytes,
            "free_bytes": self.free_bytes,
            "seconds": round(self.frames / FITTED_PER_SECOND),
            "left_out": dict(self.left_out),
        }


def prepare_packs(
    data: str | Path | Sequence[str | Path],
    cache: str | Path,
    head: HeadModel,
    *,
    fits: str | Path | None = None,
    persons: str | Path | None = None,
    exclude: str | Path | None = None,
    config: PackConfig | None = None,
) -> tuple[list[Pack], dict[str, Any]]:
    """Packs of every clip that can be trained on.

    What is packed already is taken as it is; run again after an interrupt, it goes on where it stopped.
    Folders of packs are opened.

    Args:
        data: clips, folders of them, VoxCeleb trees, lists; or folders of packs.
        cache: where packs and fits are kept.
        head: the head of the fits.
        fits: folder of fits that `headwarp fit` made, found by the clips' names.
        persons: CSV list that says who is in the clips.
        exclude: CSV list whose persons are left out.
        config: size and codec of the packs.

    Returns:
        The packs, sorted by clip, and a report: ``packs``, ``made``, ``frames``, ``persons``, ``left_out``
        (clip -> reason).

    Raises:
        HeadwarpError: nothing can be trained on, or the disk is too small; before any long work where that
            can be known.
        ModelFileError: a fit belongs to another head.
    """
    from tqdm import tqdm

    asked = DataConfig(_paths(data), Path(cache), _path(fits), _path(persons), _path(exclude))
    asked = dataclasses.replace(asked, packing=config or PackConfig())
    plan = packs_at(asked, head) or plan_packs(asked, head)
    packs, left_out = list(plan.packed), dict(plan.left_out)
    for clip, fit in tqdm(plan.to_pack, desc="pack", unit="clip", disable=None):
        try:
            packs.append(_packed(clip, fit, asked, head))
        except (NoFaceError, MediaError) as error:
            left_out[clip.name] = str(error)
    if not packs:
        raise HeadwarpError(f"--data: expected a clip to train on, got none: {reasons(left_out)}")
    packs.sort(key=lambda pack: pack.index.clip)
    return packs, _report(packs, made=len(packs) - len(plan.packed), left_out=left_out)


def packs_at(asked: DataConfig, head: HeadModel) -> PackPlan | None:
    """A plan without work if ``data`` is a folder of packs, or several; None if it is something else.

    Raises:
        ModelFileError: they are damaged, or of another head or size.
        HeadwarpError: clips and packs together, fits for packs, or none of a person that may be trained on.
    """
    folders = [asked.data] if isinstance(asked.data, Path) else list(asked.data)
    holding = [any(folder.glob(f"*/{FILE}")) for folder in folders]
    if not any(holding):
        return None
    if not all(holding):
        with_packs, without = folders[holding.index(True)], folders[holding.index(False)]
        raise HeadwarpError(
            f"--data: expected clips or folders of packs, got packs in {with_packs} and none in {without}; "
            "clips are packed below --cache: name that folder"
        )
    if asked.fits is not None:
        raise HeadwarpError(f"--fits {asked.fits}: packs hold the fits they were made with; leave it out")
    packs = [pack for folder in folders for pack in open_packs(folder, head=head)]
    size = asked.packing.size
    for pack in packs:
        if pack.index.size != size:
            raise ModelFileError(
                f"{pack.folder.parent}: expected packs of {size} pixels, got {pack.index.size}; pass that "
                "--size"
            )
    kept, left_out = _wanted_packs(packs, asked)
    if not kept:
        raise HeadwarpError(f"--data: expected a clip to train on, got none: {reasons(left_out)}")
    return PackPlan(tuple(kept), (), left_out, 0, 0, 0)


def _wanted_packs(packs: Sequence[Pack], asked: DataConfig) -> tuple[list[Pack], dict[str, str]]:
    """Packs under the persons of the list, without those that are to be left out."""
    chosen, left_out = listed_packs([pack.index for pack in packs], asked.persons, asked.exclude)
    relabelled = {
        number: dataclasses.replace(packs[number].index, person=who) for number, who in chosen.items()
    }
    return [dataclasses.replace(packs[number], index=index) for number, index in relabelled.items()], left_out


def plan_packs(asked: DataConfig, head: HeadModel) -> PackPlan:
    """What `prepare_packs` would do, from headers and fits alone.

    Raises:
        MediaError: no clips.
        HeadwarpError: none that can be trained on, or the disk is too small for the packs.
        ModelFileError: a fit belongs to another head.
        MissingDependencyError: what makes masks of the person is not installed, and a clip needs it.
    """
    if asked.fits is not None and not asked.fits.is_dir():
        raise HeadwarpError(f"--fits {asked.fits}: expected a folder of fits, found none; see `headwarp fit`")
    clips, left_out = with_listed_persons(find_clips(asked.data), asked.persons, asked.exclude)
    packed: list[Pack] = []
    to_pack: list[tuple[FoundClip, Path | None]] = []
    frames = 0
    for clip in clips:
        try:
            fit = _fit_file(clip, asked, head)
            pack = _present(clip, fit, asked, head)
            if pack is None:
                frames += _count(clip, fit, asked.packing)
                to_pack.append((clip, fit))
            else:
                packed.append(pack)
        except (NoFaceError, MediaError) as error:
            left_out[clip.name] = str(error)
    if not packed and not to_pack:
        raise HeadwarpError(f"--data: expected a clip to train on, got none: {reasons(left_out)}")
    each = 4 * asked.packing.size**2 * (1.0 if asked.packing.codec == "raw" else JPEG_SHARE)
    disk = round(each * frames)
    plan = PackPlan(tuple(packed), tuple(to_pack), left_out, frames, disk, free_bytes(asked.cache))
    check_disk(asked.cache, frames=frames, needed=plan.disk_bytes, free=plan.free_bytes)
    if any(fit is None or truth_beside(clip.path) is None for clip, fit in to_pack):
        _try_segmenter()
    return plan


def _try_segmenter() -> None:
    """Say now, not after the first clip was fitted, that masks cannot be made."""
    from ..flame.detect import segment_person

    try:
        segment_person(np.zeros((64, 64, 3), np.uint8))
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error}; clips of `headwarp synth` have theirs with them and need none"
        ) from error


def check_disk(cache: Path, *, frames: int, needed: int, free: int) -> None:
    """There is room for the packs.

    Args:
        cache: where they go.
        frames: how many there are.
        needed: bytes.
        free: bytes.

    Raises:
        HeadwarpError: there is not.
    """
    if needed > free:
        raise HeadwarpError(
            f"{cache}: expected {needed / 1e9:.1f} GB of free disk for the packs of {frames} "
            f"frames, got {free / 1e9:.1f} GB; take another --cache, a smaller --size or the "
            "codec jpeg"
        )


def with_listed_persons(
    clips: Sequence[FoundClip], persons: Path | None, exclude: Path | None
) -> tuple[list[FoundClip], dict[str, str]]:
    """Clips under the persons of a list, without those of another, and why those are left out.

    Args:
        clips: those that were found.
        persons: a list that says who is in which clip, or None.
        exclude: a list of persons that are left out, or None.
    """
    named = list(clips) if persons is None else with_persons(clips, read_persons(persons))
    return (named, {}) if exclude is None else without_persons(named, read_persons(exclude))


def listed_packs(
    indices: Sequence[PackIndex | FrameIndex], persons: Path | None, exclude: Path | None
) -> tuple[dict[int, str], dict[str, str]]:
    """Which of some packs are wanted, with their persons, and why the others are left out.

    Args:
        indices: of the packs.
        persons: a list that says who is in which clip, or None.
        exclude: a list of persons that are left out, or None.
    """
    clips = [
        FoundClip(Path(index.source or index.clip), index.clip, str(number), index.person)
        for number, index in enumerate(indices)
    ]
    kept, left_out = with_listed_persons(clips, persons, exclude)
    return {int(clip.place): clip.person for clip in kept}, left_out


def _fit_file(clip: FoundClip, asked: DataConfig, head: HeadModel) -> Path | None:
    """The clip's fit: in the folder of fits, beside the clip, or made by an earlier run; None if nowhere."""
    places = [] if asked.fits is None else [asked.fits / f"{n}.npz" for n in (clip.place, clip.name)]
    if asked.fits is not None:
        places.append(asked.fits / f"{clip.path.stem}.npz")
    found = next((p for p in [*places, clip.path.with_suffix(".npz")] if p.is_file()), None)
    if found is not None:
        try:
            check_model(HeadFit.load(found), head.model_id)
        except ModelFileError as error:
            reason = str(error).removeprefix("fit: ").removeprefix(f"{found}: ")
            raise ModelFileError(f"{found}: {reason}") from error
        return found
    own = _own_fit(clip, asked)
    if not own.is_file():
        return None
    try:
        fit = HeadFit.load(own)
    except ModelFileError:  # a damaged one of ours is made again
        return None
    return own if (fit.model_id, fit.report.get(STAMP)) == (head.model_id, stamp(clip.path)) else None


def _own_fit(clip: FoundClip, asked: DataConfig) -> Path:
    return asked.cache / "fits" / f"{clip.name}.npz"


def _pack_folder(asked: DataConfig) -> Path:
    return asked.cache / f"packs{asked.packing.size}-{asked.packing.codec}"


def _present(clip: FoundClip, fit: Path | None, asked: DataConfig, head: HeadModel) -> Pack | None:
    """The clip's pack if it is whole and was made of the same clip, fit and settings."""
    folder = _pack_folder(asked) / clip.name
    if fit is None or not folder.is_dir():
        return None
    try:
        pack = open_pack(folder)
    except ModelFileError:
        return None
    same = pack.index.made_of == _made_of(clip, fit, asked) and pack.index.model_id == head.model_id
    if not same:
        return None
    return dataclasses.replace(pack, index=dataclasses.replace(pack.index, person=clip.person))


def stamp(path: Path) -> str:
    """Tells a file from a changed one."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _made_of(clip: FoundClip, fit: Path, asked: DataConfig) -> str:
    options = asked.packing
    stamps = [stamp(path) for path in (clip.path, fit)]
    taken = f"{'interpolated' if options.interpolated else 'detected'} from {options.least_confidence}"
    masks = "" if truth_beside(clip.path) is None else ", masks of its truth"
    return f"clip {stamps[0]}, fit {stamps[1]}, {taken}{masks}"


def _count(clip: FoundClip, fit: Path | None, packing: PackConfig) -> int:
    """Frames that will be packed, as far as headers and the fit tell."""
    from ..training.data.media import probe

    frames = probe(clip.path).frames
    if fit is None:
        if frames is not None and frames < LEAST_FRAMES:
            raise MediaError(f"{clip.path.name}: expected a clip of two frames or more, got {frames}")
        return frames or 0
    usable = usable_frames(HeadFit.load(fit), packing)
    if len(usable.frames) < LEAST_FRAMES:
        raise NoFaceError(f"{clip.name}: {too_few(usable)}")
    return len(usable.frames)


def _packed(clip: FoundClip, fit_file: Path | None, asked: DataConfig, head: HeadModel) -> Pack:
    if fit_file is None:
        fit = fit_frames(as_frames(clip.path), head)
        fit = dataclasses.replace(fit, report={**fit.report, STAMP: stamp(clip.path)})
        fit_file = fit.save(_own_fit(clip, asked))
    else:
        fit = HeadFit.load(fit_file)
    label = ClipLabel(clip.person, clip.name, str(clip.path), _made_of(clip, fit_file, asked))
    frames = fitted_frames(clip.path, fit)
    segment = _true_segment(clip, fit, asked.packing)
    return pack_clip(
        frames,
        fit,
        head=head,
        folder=_pack_folder(asked),
        label=label,
        config=asked.packing,
        segment=segment,
    )


def _true_segment(clip: FoundClip, fit: HeadFit, packing: PackConfig) -> Segment | None:
    """The masks that a synthetic clip was drawn with, one after the other as frames are packed; None for
    footage.
    """
    truth = truth_beside(clip.path)
    masks = None if truth is None else person_masks(truth)
    if masks is None or masks.shape != (fit.frames, *fit.size) or fit.size[0] != fit.size[1]:
        return None
    window = Crop(0, 0, fit.size[0])
    frames = iter(usable_frames(fit, packing).frames)

    def segment(picture: Frame) -> NDArray[np.floating]:
        mask = torch.from_numpy(masks[next(frames)])[None, None]
        return crop_image(mask, window, packing.size)[0, 0].clamp(0, 1).numpy()

    return segment


def _report(packs: Sequence[Pack], *, made: int, left_out: Mapping[str, str]) -> dict[str, Any]:
    return {
        "packs": len(packs),
        "made": made,
        "frames": sum(map(len, packs)),
        "persons": len({pack.index.person for pack in packs}),
        "left_out": dict(left_out),
    }


def reasons(left_out: Mapping[str, str]) -> str:
    """Why clips are left out, of the first five."""
    told = [f"{clip}: {reason.removeprefix(f'{clip}: ')}" for clip, reason in left_out.items()]
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")


def free_bytes(cache: Path) -> int:
    """On the disk that a folder, made or not, lies on."""
    there = next((p for p in (cache, *cache.absolute().parents) if p.exists()), Path(os.sep))
    return shutil.disk_usage(there).free


def _paths(data: str | Path | Sequence[str | Path]) -> Path | tuple[Path, ...]:
    return Path(data) if isinstance(data, (str, Path)) else tuple(map(Path, data))


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
