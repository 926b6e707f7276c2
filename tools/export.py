"""A fit for other programs, by the name of the output: glTF, OBJ sequence, ARKit CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..flame.export import arkit, gltf, obj
from ..flame.io import load_head
from ..flame.model import HeadModel
from ..flame.params import HeadFit
from ..geom.errors import HeadwarpError
from ._info_meshes import grouped
from .heads import ready_head

_KINDS = {".glb": "gltf", ".gltf": "gltf", ".csv": "arkit", "": "obj"}


def export(
    fit: HeadFit | str | Path,
    output: str | Path,
    *,
    head: str | Path | HeadModel | None = None,
    fps: float | None = None,
    texture: str | Path | None = None,
    axes: Literal["model", "camera"] = "model",
    normals: bool = False,
) -> dict[str, Any]:
    """Write a fit for other programs: `write_gltf`, `write_arkit_csv` or `write_obj_sequence`, by the
    output's name.

    Args:
        fit: a fit, or its file.
        output: X.glb, X.gltf, X.csv, or a folder (a name without a suffix).
        head: the head of the fit: ``"builtin"``, a file, a loaded model; None: ``$HEADWARP_HEAD``, else the
            built-in.
        fps: see `write_gltf` and `write_arkit_csv`.
        texture: see `write_gltf`.
        axes: see `write_obj_sequence`.
        normals: see `write_obj_sequence`.

    Returns:
        ``format``, ``output``, and the fields of the writer's report.

    Raises:
        ModelFileError: no fit, or one of another head; a file that cannot be written.
        HeadwarpError: an unknown suffix, and what the writers raise.
    """
    output = Path(output)
    kind = _kind(output)
    fit = fit if isinstance(fit, HeadFit) else HeadFit.load(fit)
    model = head if isinstance(head, HeadModel) else load_head(head)
    if kind == "arkit":  # which needs the face-mesh landmarks that some heads come without
        model = ready_head(model)
    _make_parent(output)
    report: Any
    if kind == "gltf":
        report = gltf.write_gltf(model, fit, output, fps=fps, texture=texture)
    elif kind == "arkit":
        report = arkit.write_arkit_csv(model, fit, output, fps=fps)
    else:
        report = obj.write_obj_sequence(model, fit, output, axes=axes, normals=normals)
    return {"format": kind, "output": output, **dataclasses.asdict(report)}


def _kind(output: Path) -> str:
    if output.suffix.lower() not in _KINDS:
        hint = "; an OBJ sequence goes into a folder" if output.suffix.lower() == ".obj" else ""
        raise HeadwarpError(f"--output: expected X.glb, X.gltf, X.csv or a folder, got {output}{hint}")
    return _KINDS[output.suffix.lower()]


def _make_parent(output: Path) -> None:
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadwarpError(
            f"--output: cannot make the folder of {output} ({error.strerror or error})"
        ) from error


def describe(report: Mapping[str, Any]) -> str:
    """What was written, in a line or two."""
    missed = len(report.get("not_detected", ()))
    rest = f", {missed} of them without a detected face" if missed else ""
    if report["format"] == "arkit":
        return (
            f"{report['output']}: {report['frames']} frame(s) at {report['fps']:g} fps{rest}\n"
            f"  explained but for {report['residual_mm']:.2f} of {report['moved_mm']:.2f} mm; "
            f"always 0: {', '.join(report['unseen'])}"
        )
    if report["format"] == "obj":
        return f"{report['output']}: {report['frames']} OBJ file(s), {report['axes']} axes, metres{rest}"
    morphs = grouped(report["morph_targets"]) or "none"
    lines = [
        f"{report['output']}: {report['frames']} frame(s) at {report['fps']:g} fps, "
        f"{report['vertices']} vertices",
        f"  morph targets: {morphs}; joints a vertex: {report['influences']}",
        f"  camera: {report['camera']['kind']}",
    ]
    if report["second_set"]:
        lines.append(
            "  more than four joints a vertex: readers of one set of weights lose "
            f"{report['second_set']:.2%} at most"
        )
    return "\n".join(lines)
