"""What DECA, EMOCA and SMIRK share: codes of FLAME, an orthographic camera in a crop, a row a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...geom.cameras import WeakPerspective, from_deca, to_deca
from ...geom.errors import ModelFileError
from ..model import HeadModel
from ..params import HeadFit, HeadParams
from ._bridge import (
    Decoded,
    as_weak,
    camera_points,
    columns,
    double_params,
    neck_note,
    ready_to_write,
    to_reading,
    without_neck,
    zeroed_note,
)
from ._content import Content, Tree
from ._crops import CROP, crop_around, crop_of_tform, crops_end, stacked, tform_of_crop
from ._extras import Extras, as_keys, assumed, extras_of_fit, from_keys, read_sidecar
from ._files import CONTAINERS, write_codes
from ._source import Source
from ._tree import frame_count, holds, rows
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing

NEUTRAL_LIGHT = np.sqrt(4 * np.pi)
"""First spherical-harmonics coefficient of a light that leaves the texture as it is."""


def neutral_light() -> np.ndarray:
    """Spherical harmonics (9, 3) of white light from everywhere."""
    light = np.zeros((9, 3))
    light[0] = NEUTRAL_LIGHT
    return light


@dataclass(frozen=True)
class Codes:
    """The names of a tool's arrays, the first those that are written, and how many columns it takes.

    Attributes:
        title: of the tool.
        shape, expression, rotation, jaw, cam, eyelids, neck, eyes: names; ``()`` where there is none.
        shape_count, expression_count: columns that the tool's model has.
        joined_jaw: rotation and jaw are one array of six.
        middles: see `_crops`.
        carried: arrays that a fit cannot hold, and what is written in their place.
        lids: how the tool's eyelids differ from ours, where they do.
    """

    title: str
    shape: tuple[str, ...]
    expression: tuple[str, ...]
    rotation: tuple[str, ...]
    cam: tuple[str, ...]
    shape_count: int
    expression_count: int
    jaw: tuple[str, ...] = ()
    eyelids: tuple[str, ...] = ()
    neck: tuple[str, ...] = ()
    eyes: tuple[str, ...] = ()
    middles: bool = False
    lids: str = ""
    carried: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def joined_jaw(self) -> bool:
        return not self.jaw


def matches_codes(tree: Tree, codes: Codes) -> bool:
    """Whether the arrays that make these codes are in a tree."""
    needed = (codes.shape, codes.expression, codes.rotation)
    return all(any(holds(tree, name) for name in names) for names in needed)


def summarise(source: Source, content: Content, codes: Codes) -> dict[str, object]:
    """For `describe`, from the first part."""
    tree = content.tree
    shape, expression = (rows(tree, names, None) for names in (codes.shape, codes.expression))
    cam = any(holds(tree, name) for name in codes.cam)
    here = rows(tree, codes.rotation, 6 if codes.joined_jaw else 3)
    camera = f"orthographic in a crop of {CROP} px" if cam else "none in the file"
    where = "; tform leads to the original" if holds(tree, "tform") else "; no tform: pixels of the crop"
    return {
        "frames": len(source.parts) if source.per_frame else len(here),
        "shape": shape.shape[1],
        "expression": expression.shape[1],
        "camera": camera + (where if cam else ""),
    }


def read_codes(source: Source, head: HeadModel, options: ReadOptions, codes: Codes) -> Reading:
    """A source of these codes as a fit; see `Reading`.

    Raises:
        ModelFileError: something is missing, has another shape, or is not finite.
    """
    first = source.content().tree
    joined = _joined([_numbers_of(source, index, codes) for index in range(len(source.parts))])
    counted = {name: value for name, value in joined.items() if name != "whole"}
    records = frame_count(counted)
    present, extras = _frames(source, first, records)
    camera, size, notes = _camera(joined, first, options, codes, extras=extras)
    pose = joined["pose"]
    decoded = Decoded(
        shape=joined["shape"],
        expression=joined["expression"],
        rotation=pose[:, :3],
        jaw=pose[:, 3:],
        eyelids=joined.get("eyelids"),
        neck=joined.get("neck"),
        eyes=joined.get("eyes"),
        camera=camera,
        size=size,
        present=present,
        extras=extras,
        notes=(*notes, *_not_carried(first, codes), *_lid_note(joined.get("eyelids"), codes)),
    )
    return to_reading(decoded, head, source=source.path.name)


def _numbers_of(source: Source, index: int, codes: Codes) -> dict[str, np.ndarray]:
    """Of one part, which may hold pictures, too: no more than one is in memory."""
    try:
        return _numbers(source.content(index).tree, codes)
    except ModelFileError as error:
        text, part = str(error), str(source.parts[index])
        raise ModelFileError(text if text.startswith(part) else f"{part}: {text}") from error.__cause__


def _numbers(tree: Tree, codes: Codes) -> dict[str, np.ndarray]:
    """The arrays of one part by our names, each (B, .)."""
    found = {name: rows(tree, getattr(codes, name), None) for name in ("shape", "expression")}
    if codes.joined_jaw:
        found["pose"] = rows(tree, codes.rotation, 6)
    else:
        turn, jaw = rows(tree, codes.rotation, 3), rows(tree, codes.jaw, 3)
        count = frame_count({"rotation": turn, "jaw": jaw})
        found["pose"] = np.concatenate([np.broadcast_to(v, (count, 3)) for v in (turn, jaw)], 1)
    for part, width in (("eyelids", 2), ("neck", 3), ("eyes", 6)):
        names = getattr(codes, part)
        if any(holds(tree, name) for name in names):
            found[part] = rows(tree, names, width)
    if any(holds(tree, name) for name in codes.cam):
        found["cam"] = rows(tree, codes.cam, 3)
    if holds(tree, "tform"):
        found["tform"] = rows(tree, "tform", 9)
    return found


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """All parts' rows one after the other.

    Raises:
        ModelFileError: an array is in some parts only, or has other columns in them.
    """
    names = {name for part in parts for name in part}
    joined = {}
    for name in sorted(names):
        absent = [index for index, part in enumerate(parts) if name not in part]
        if absent:
            raise ModelFileError(f"{name}: expected in every frame, missing in {len(absent)} of {len(parts)}")
        if len({part[name].shape[1] for part in parts}) > 1:
            raise ModelFileError(f"{name}: expected the same number of columns in every frame")
        joined[name] = np.concatenate([part[name] for part in parts])
    return joined


def _frames(source: Source, first: Tree, records: int) -> tuple[np.ndarray, Extras]:
    """Which frames the records are, and the facts about all of them."""
    if not source.per_frame or len(source.parts) == 1 or records != len(source.parts):
        everyone = np.arange(records)
        return everyone, from_keys(first, records) or assumed(records, everyone)
    return frames_of_parts(source)


def frames_of_parts(source: Source) -> tuple[np.ndarray, Extras]:
    """The frame of every part of a folder, and the facts about all frames, with gaps as missing ones.

    Raises:
        ModelFileError: the sidecar does not fit the parts.
    """
    numbers = np.array(source.numbers)
    said = read_sidecar(source.path) if source.path.is_dir() else None
    if said is None:
        present = numbers - numbers[0]
        return present, assumed(int(present[-1]) + 1, present)
    if numbers[-1] >= said.frames:
        raise ModelFileError(f"{source.path}: expected frames up to {said.frames - 1}, got {numbers[-1]}")
    absent = np.setdiff1d(np.flatnonzero(said.status), numbers)
    if len(absent):
        raise ModelFileError(
            f"{source.path}: the file of frame {absent[0]} is missing ({len(absent)} in all)"
        )
    return numbers, said


def _camera(
    joined: Mapping[str, np.ndarray], tree: Tree, options: ReadOptions, codes: Codes, *, extras: Extras
) -> tuple[WeakPerspective, tuple[int, int], tuple[str, ...]]:
    """In pixels of the original where a tform leads there, else of the crop."""
    notes = []
    cam = joined.get("cam")
    if cam is None:
        notes.append(
            f"the file holds no camera ({codes.cam[0]}), {codes.title} does not save it: the head stands in "
            "the middle of the crop, it cannot be put over the image"
        )
        cam = np.array([[8.0, 0.0, 0.0]])
    elif not (np.abs(cam[:, 0]) > 1e-6).all():
        raise ModelFileError(f"{codes.cam[0]}: expected a scale that is not zero in every frame")
    if "tform" in joined:
        origin, side = crop_of_tform(joined["tform"].reshape(-1, 3, 3), middles=codes.middles)
        size = options.size or extras.size or _original_size(tree)
        if size is None:
            size = crops_end(origin, side)
            notes.append(
                f"the file does not say how large the original was: {size[0]} x {size[1]} (H x W), where "
                "the crops end, was taken; give --size"
            )
    else:
        origin, side, size = np.zeros((1, 2)), np.full(1, float(CROP)), (CROP, CROP)
        notes.append(f"no tform: pixels are those of the {CROP} px crop, not of the original image")
    count = max(len(cam), len(side))
    wide = [torch.from_numpy(np.broadcast_to(v, (count, *v.shape[1:])).copy()) for v in (cam, origin, side)]
    return from_deca(wide[0], crop_origin=wide[1], crop_size=wide[2]), size, tuple(notes)


def _original_size(tree: Tree) -> tuple[int, int] | None:
    image = tree.get("original_image")
    if isinstance(image, np.ndarray) and image.ndim in (3, 4):
        return int(image.shape[-2]), int(image.shape[-1])
    return None


def _not_carried(tree: Tree, codes: Codes) -> tuple[str, ...]:
    """Arrays with content that a fit has no place for."""
    left = [
        name
        for name, neutral in codes.carried.items()
        if holds(tree, name) and not _is_neutral(tree[name], neutral)
    ]
    return (f"not carried over: {', '.join(left)}",) if left else ()


def _lid_note(eyelids: np.ndarray | None, codes: Codes) -> tuple[str, ...]:
    return (codes.lids,) if codes.lids and eyelids is not None and eyelids.any() else ()


def _is_neutral(value: object, neutral: np.ndarray) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "biuf"
        and value.shape[-neutral.ndim :] == neutral.shape
        and np.allclose(value, neutral)
    )


def encode(
    fit: HeadFit, head: HeadModel, codes: Codes
) -> tuple[dict[str, np.ndarray], tuple[str, ...], HeadParams]:
    """The arrays of a fit under a tool's names, T rows each, float32; what was lost; what was written.

    The crop is chosen around the vertices as DECA chooses it, and ``tform`` written with it, so that the
    tool's own way back to the original image gives the fit's pixels.

    Raises:
        ModelFileError: the fit is not of this head, or the head no FLAME.
    """
    ready_to_write(fit, head)
    bare = _kept_parts(fit, head, codes)
    params, camera, worst = as_weak(head, bare, fit.camera)
    points = camera_points(head, params)[..., :2]
    pixels = points * camera.scale[:, None, None] + camera.center[:, None]
    tform = tform_of_crop(*stacked(*crop_around(pixels)), middles=codes.middles)
    origin, side = crop_of_tform(tform.astype(np.float64), middles=codes.middles)  # of what is written
    cam = to_deca(camera, crop_origin=torch.from_numpy(origin), crop_size=torch.from_numpy(side))
    shape, cut = columns(params.shape[None].numpy(), codes.shape_count, "shape")
    expression, cut_too = columns(params.expression.numpy(), codes.expression_count, "expression")
    frames = fit.frames
    arrays = {
        codes.shape[0]: np.repeat(shape, frames, 0),
        codes.expression[0]: expression,
        codes.cam[0]: cam.numpy(),
        "tform": tform,
    }
    turn, jaw = params.rotation.numpy(), params.jaw.numpy()
    if codes.joined_jaw:
        arrays[codes.rotation[0]] = np.concatenate([turn, jaw], 1)
    else:
        arrays |= {codes.rotation[0]: turn, codes.jaw[0]: jaw}
    if codes.eyelids:
        arrays[codes.eyelids[0]] = params.eyelids.numpy()
    for part in ("neck", "eyes"):  # the tool's layer takes them, its network does not give them
        names = getattr(codes, part)
        if names and getattr(params, part).any():
            arrays[names[0]] = getattr(params, part).numpy()
    arrays |= {name: np.repeat(value[None], frames, 0) for name, value in codes.carried.items()}
    lost = zeroed_note(fit, codes.title, *(n for n in ("eyes", "eyelids") if not getattr(codes, n)))
    neck = () if codes.neck else neck_note(fit, codes.title)
    lids = _lid_note(params.eyelids.numpy(), codes)
    notes = (*cut, *cut_too, *neck, *lost, *lids, *_ortho_note(fit, worst))
    return {name: value.astype(np.float32) for name, value in arrays.items()}, notes, params


def _kept_parts(fit: HeadFit, head: HeadModel, codes: Codes) -> HeadParams:
    """The head of a fit with what the tool has of it, float64; a neck that it lacks goes into the root."""
    kept = double_params(fit.params) if codes.neck else without_neck(head, fit.params)
    gone = [part for part in ("eyes", "eyelids") if not getattr(codes, part)]
    return dataclasses.replace(kept, **{part: torch.zeros_like(getattr(kept, part)) for part in gone})


def _ortho_note(fit: HeadFit, worst: float) -> tuple[str, ...]:
    if isinstance(fit.camera, WeakPerspective):
        return ()
    return (f"the perspective camera became an orthographic one, {worst:.2g} px off at most",)


def write_rows(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions, codes: Codes) -> Writing:
    """All frames into one file, T rows with ``tform``; its suffix says which kind. No option changes it.

    Raises:
        ModelFileError: see `encode`; or the file cannot be written.
    """
    if path.suffix not in CONTAINERS:
        raise ModelFileError(f"{path}: expected a name that ends in one of {', '.join(CONTAINERS)}")
    arrays, notes, _ = encode(fit, head, codes)
    write_codes(path, {**arrays, **as_keys(extras_of_fit(fit))})
    return Writing(path, fit.frames, notes)


def codes_format(
    name: str, codes: Codes, title: str, *, matches: Callable[[Source, Content], bool]
) -> Format:
    """The format of a tool whose dict of codes lies in one file, or in one a frame."""
    return Format(
        name,
        title,
        CONTAINERS,
        matches,
        partial(summarise, codes=codes),
        partial(read_codes, codes=codes),
        partial(write_rows, codes=codes),
    )
