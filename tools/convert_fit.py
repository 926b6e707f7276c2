"""``headwarp convert fit``: fits between trackers' formats, and to another head."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from ..geom.errors import HeadwarpError

if TYPE_CHECKING:
    from ..flame.formats import Reading, WriteOptions, Writing
    from ..flame.model import HeadModel
    from ..flame.params import HeadFit

DATASET = "vhap-dataset"
EXPORTED = {".glb": "gltf", ".gltf": "gltf", ".csv": "arkit", "": "obj"}
"""Suffix -> formats of other programs, which are written and not read."""
EXPORT_OPTIONS = {"fps": ("gltf", "arkit"), "texture": ("gltf",), "axes": ("obj",), "normals": ("obj",)}


@dataclass(frozen=True)
class ConvertFit:
    """Turn other trackers' files into fits and fits into their files, or move a fit to another head.

    Formats: headwarp (ours), vhap, vhap-dataset (transforms.json, for GaussianAvatars), deca, emoca, smirk,
    metrical, pixel3dmm. They hold FLAME's parameters and need the FLAME file they belong to. What a format
    cannot hold is said, and by how many pixels what was written differs. For other programs, of any head:
    gltf (X.glb, X.gltf), arkit (X.csv), obj (a folder).
    """

    input: Positional[Path]
    """A file or folder of any of the formats; its content says which."""
    output: Path
    """Name of the file or folder to write."""
    format: str | None = None
    """Format of the output; without it, what its name says (X.npz from another tracker's file: ours)."""
    head: str | None = None
    """The input's head: a FLAME file, or builtin; without it, what $HEADWARP_HEAD names, else builtin."""
    to_head: str | None = None
    """Carry the fit over to this head: a FLAME file, or builtin."""
    focal: float | None = None
    """Focal length in pixels that a weak-perspective fit gets in a format with a perspective camera; without
    it, as long as --tolerance asks for."""
    tolerance: float = 0.1
    """Pixels by which no vertex may lie off because of that."""
    size: tuple[int, int] | None = None
    """Height and width of the original frames, where the input does not say."""
    clip: Path | None = None
    """The photo or clip that was fitted: vhap-dataset gets its pictures."""
    masks: bool = False
    """With --clip: masks of the person too, and the pictures on white, as GaussianAvatars trains on."""
    fps: float | None = None
    """gltf, arkit: frames a second; without it, those of the fit, else 25."""
    texture: Path | None = None
    """gltf: a PNG or JPEG in the head's texture coordinates."""
    axes: Literal["model", "camera"] = "model"
    """obj: the head model's axes, or those of the camera (x right, y down, z forward)."""
    normals: bool = False
    """obj: write vertex normals."""
    each: bool = False
    """Write a fit for every frame, each with its own shape, into a folder: photos of different people."""


def run(config: ConvertFit) -> dict[str, Any]:
    """The command.

    Returns:
        ``input``, ``input_format``, ``output``, ``format``, ``model_id``, ``frames``, ``missing``,
        ``written`` (records, or files with ``--each``), ``pixel_difference`` (between the fit and what was
        written, largest of any vertex, read back; None where it is not read), ``notes``; ``transfer`` with
        ``--to-head``, ``export`` (see `export.export`) for gltf, arkit and obj.

    Raises:
        HeadwarpError: the input is none of the formats, the head is not its, the output's format is not
            clear, or it cannot be written.
    """
    from ..flame.formats import FORMATS, ReadOptions, WriteOptions, get_format, read_fit, sniff
    from ..flame.io import load_head

    source = sniff(config.input)
    target = config.format or _named_by_output(config, source)
    if target not in EXPORTED.values():
        get_format(target)
    _check(config, target)
    head = load_head(config.head)
    reading = read_fit(config.input, head, options=ReadOptions(size=config.size))
    fit = reading.fit
    facts: dict[str, Any] = {"input": config.input, "input_format": source, "format": target}
    if config.each:
        return {**facts, **_write_each(config, reading, head)}
    if config.to_head is not None:
        fit, head = _carried_over(fit, head, config.to_head)
        facts["transfer"] = fit.report.get("transfer")
    if target not in FORMATS:
        return {**facts, **_export(config, fit, head, notes=reading.notes)}
    options = WriteOptions(focal=config.focal, tolerance_px=config.tolerance, masks=config.masks)
    writing = _write(config, fit, head, target=target, options=options)
    return {**facts, **_facts(fit, head, writing, notes=reading.notes)}


def describe(report: Mapping[str, Any]) -> str:
    """What was written, what it lost, by how much."""
    lines = [
        f"{report['output']}: {report['format']}, {report['written']} of {report['frames']} frames",
        f"  from {report['input']} ({report['input_format']}), head {report['model_id']}",
    ]
    if report.get("transfer"):
        moved = report["transfer"]
        lines.append(f"  moved from {moved['from']}: surfaces {moved['rms_mm']:.2g} mm apart")
    if report["pixel_difference"] is not None:
        lines.append(f"  largest difference of a vertex: {report['pixel_difference']:.3g} px")
    if "export" in report:
        from .export import describe as exported

        lines.append(exported(report["export"]))
    return "\n".join([*lines, *(f"  note: {note}" for note in report["notes"])])


def _named_by_output(config: ConvertFit, source: str | None) -> str:
    """The format that the name of the output leaves."""
    from ..flame.formats import FORMATS

    suffix = config.output.suffix.lower()
    ours = suffix == ".npz" and (source != "headwarp" or config.to_head is not None)
    if config.output.name.startswith("tracked_flame_params_"):
        return "vhap"
    if config.each or ours:
        return "headwarp"
    if suffix and suffix in EXPORTED:
        return EXPORTED[suffix]
    fitting = [name for name, known in FORMATS.items() if suffix in known.output and name != "headwarp"]
    if len(fitting) == 1:
        return fitting[0]
    known = f"one of {', '.join(fitting)}" if fitting else f"{', '.join(FORMATS)} and a name of its own"
    raise HeadwarpError(f"--format: {config.output} does not say which format it should be of: give {known}")


def _check(config: ConvertFit, target: str) -> None:
    """Raise what is wrong with the options before anything is read."""
    if config.each and (target != "headwarp" or config.to_head is not None):
        raise HeadwarpError(
            "--each: writes our own fits for the input's own head; leave out --format, --to-head"
        )
    named = config.output.suffix.lower()
    if target in EXPORTED.values() and EXPORTED.get(named) != target:
        wanted = " or ".join(suffix or "no suffix" for suffix, kind in EXPORTED.items() if kind == target)
        raise HeadwarpError(f"--output: {target} expects a name with {wanted}, got {config.output}")
    for name, kinds in EXPORT_OPTIONS.items():
        given = getattr(config, name) != ConvertFit.__dataclass_fields__[name].default
        if given and target not in kinds:
            raise HeadwarpError(f"--{name}: belongs to {' and '.join(kinds)}, not to {target}; leave it out")
    if config.clip is not None and target != DATASET:
        raise HeadwarpError(f"--clip: belongs to --format {DATASET}, the output is {target}; leave it out")
    if config.masks and config.clip is None:
        raise HeadwarpError("--masks: needs the pictures; give --clip, the photo or clip that was fitted")
    if config.size is not None and min(config.size) < 1:
        raise HeadwarpError(f"--size: expected height and width in pixels, got {config.size}")
    if not config.tolerance > 0:
        raise HeadwarpError(f"--tolerance: expected pixels > 0, got {config.tolerance}")


def _carried_over(fit: HeadFit, head: HeadModel, to_head: str) -> tuple[HeadFit, HeadModel]:
    """The fit with the parameters of another head, which are found where both have the same points."""
    import torch

    from ..flame.io import load_head
    from ..flame.transfer import transfer_fit
    from .heads import ready_head

    target = load_head(to_head)
    if not torch.equal(head.faces, target.faces) or len(fit.landmark_indices):
        head, target = ready_head(head), ready_head(target)
    return transfer_fit(fit, head, target), target


def _write(
    config: ConvertFit, fit: HeadFit, head: HeadModel, *, target: str, options: WriteOptions
) -> Writing:
    from ..flame.formats import whole_folder, write_fit

    if config.clip is None:
        return write_fit(fit, head, config.output, name=target, options=options)
    with whole_folder(config.output) as folder:
        writing = write_fit(fit, head, folder, name=target, options=options)
        _add_pictures(config.clip, fit, folder, masks=config.masks)
    return dataclasses.replace(writing, path=config.output)


def _facts(fit: HeadFit, head: HeadModel, writing: Writing, *, notes: tuple[str, ...]) -> dict[str, Any]:
    """About what was written, as reading it back shows it."""
    from ..flame.formats import largest_difference, read_fit

    back = read_fit(writing.path, head)
    return {
        "output": writing.path,
        "model_id": head.model_id,
        "frames": fit.frames,
        "missing": _missing(fit),
        "written": writing.frames,
        "pixel_difference": largest_difference(head, fit, back.fit),
        "notes": [*notes, *writing.notes],
    }


def _export(config: ConvertFit, fit: HeadFit, head: HeadModel, *, notes: tuple[str, ...]) -> dict[str, Any]:
    from .export import export

    report = export(
        fit,
        config.output,
        head=head,
        fps=config.fps,
        texture=config.texture,
        axes=config.axes,
        normals=config.normals,
    )
    return {
        "output": config.output,
        "model_id": head.model_id,
        "frames": fit.frames,
        "missing": _missing(fit),
        "written": fit.frames,
        "pixel_difference": None,
        "notes": list(notes),
        "export": report,
    }


def _missing(fit: HeadFit) -> int:
    from ..flame.params import MISSING

    return int((fit.status == MISSING).sum())


def _write_each(config: ConvertFit, reading: Reading, head: HeadModel) -> dict[str, Any]:
    """A fit of one frame for every frame that is there, with the shape that the input has for it."""
    from ..flame.formats import write_fit
    from ..flame.params import MISSING
    from .inputs import check_folder

    check_folder(config.output)
    fit, written = reading.fit, 0
    for frame in range(fit.frames):
        if int(fit.status[frame]) == MISSING:
            continue
        alone = fit.select([frame])
        params = dataclasses.replace(alone.params, shape=reading.shapes[frame])
        path = config.output / f"{config.input.stem}_{frame:05d}.npz"
        write_fit(dataclasses.replace(alone, params=params), head, path, name="headwarp")
        written += 1
    return {
        "output": config.output,
        "model_id": head.model_id,
        "frames": fit.frames,
        "missing": fit.frames - written,
        "written": written,
        "pixel_difference": None,
        "notes": [note for note in reading.notes if not note.startswith("the shape differs")],
    }


def _add_pictures(clip: Path, fit: HeadFit, folder: Path, *, masks: bool) -> None:
    """The frames that are not missing, as the dataset names them; with masks on white.

    Raises:
        HeadwarpError: the clip has another size or fewer frames than the fit.
    """
    from ..flame.formats.nerf_dataset import image_paths
    from ..flame.params import MISSING
    from .portrait import fitted_frames

    there = [frame for frame in range(fit.frames) if int(fit.status[frame]) != MISSING]
    paths = dict(zip(there, image_paths(folder, len(there)), strict=True))
    found = 0
    for frame, picture in enumerate(itertools.islice(fitted_frames(clip, fit), fit.frames)):
        if picture.shape[:2] != fit.size:
            height, width = picture.shape[:2]
            raise HeadwarpError(
                f"{clip}: expected the frames that were fitted, {fit.size[1]} x {fit.size[0]}, "
                f"got {width} x {height}"
            )
        if frame in paths:
            _write_picture(picture, *paths[frame], masks=masks)
            found += 1
    if found < len(there):
        raise HeadwarpError(f"{clip}: expected the {fit.frames} frames that were fitted, the clip is shorter")


def _write_picture(picture: Any, image: Path, mask: Path, *, masks: bool) -> None:
    import numpy as np

    from ..flame.detect import segment_person
    from ..training.data.media import write_image

    if masks:
        share = segment_person(picture)[..., None]
        picture = np.rint(picture * share + 255 * (1 - share)).astype(np.uint8)
        write_image(mask, np.repeat(np.rint(255 * share).astype(np.uint8), 3, 2))
    write_image(image, picture)
