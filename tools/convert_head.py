"""``headwarp convert head``: a FLAME file becomes this library's own ``.npz``; chumpy is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional


@dataclass(frozen=True)
class ConvertHead:
    """Turn a FLAME pickle (2019, 2020, 2023) into an .npz of plain arrays that loads fast and safely."""

    input: Positional[Path]
    """FLAME model file, or an .npz with FLAME's keys. Embeddings, eyelids, masks beside it come along."""
    output: Path
    """Name of the .npz to write."""
    landmarks: Path | None = None
    """Landmark embedding file; wins over those beside the model."""


def run(config: ConvertHead) -> dict[str, Any]:
    """The command: see :func:`convert_head`."""
    return convert_head(config.input, config.output, landmarks=config.landmarks)


def convert_head(source: Path, output: Path, *, landmarks: Path | None = None) -> dict[str, Any]:
    """Convert a head file and say what is in it.

    Returns:
        ``input``, ``output``, ``model_id``, ``licence``, ``version`` (what can be told of the release),
        ``vertices``, ``faces``, ``shape``, ``expression`` (columns), ``landmarks`` (family -> count),
        ``landmark_origins`` (family -> whose choice of points), ``contour`` (whose table, or None),
        ``regions`` (names), ``eyelids`` (whether the head has them).

    Raises:
        ModelFileError: the source is refused or the output cannot be written.
    """
    from ..flame import io

    model = io.convert_head(source, output, landmarks=() if landmarks is None else landmarks)
    return {
        "input": str(source),
        "output": str(output),
        "model_id": model.model_id,
        "licence": model.licence,
        "version": model.version,
        "vertices": len(model.template),
        "faces": len(model.faces),
        "shape": model.shape_basis.shape[2],
        "expression": model.expression_basis.shape[2],
        "landmarks": {family: len(embedding.indices) for family, embedding in model.landmarks.items()},
        "landmark_origins": {family: embedding.origin for family, embedding in model.landmarks.items()},
        "contour": None if model.contour is None else model.contour.origin,
        "regions": sorted(model.region_masks),
        "eyelids": bool(model.eyelid_basis.any()),
    }


def describe(report: Mapping[str, Any]) -> str:
    """What was written, and what a person should mend: a head without landmarks cannot be fitted."""
    origins = report["landmark_origins"]
    found = ", ".join(
        f"{family} {count}" + (f" ({origins[family]})" if origins[family] else "")
        for family, count in report["landmarks"].items()
    )
    lines = [
        f"{report['output']}: {report['model_id']}",
        f"  {report['vertices']} vertices, {report['shape']} shape and {report['expression']} expression",
        f"  landmarks: {found or 'none: it cannot be fitted; give an embedding with --landmarks FILE'}",
        f"  eyelids: {'yes' if report['eyelids'] else 'no'}; regions: {len(report['regions'])}",
        *([f"  version: {report['version']}"] if report["version"] else []),
        f"  licence: {report['licence']}",
    ]
    return "\n".join(lines)
