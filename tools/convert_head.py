"""``headwarp convert head``: a FLAME or GNM file or an ICT-FaceKit folder becomes our own ``.npz``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..geom.errors import MissingDependencyError, NoFaceError


@dataclass(frozen=True)
class ConvertHead:
    """Turn a FLAME or GNM file or an ICT-FaceKit folder into an .npz of plain arrays that loads fast.

    Chumpy is not needed. Face-mesh points that no file gives are found by drawing the head.
    """

    input: Positional[Path]
    """FLAME model file (2019, 2020, 2023) or an .npz with FLAME's keys, with the embeddings, eyelids and
    masks beside it; GNM's gnm_head.npz; or the FaceXModel folder of ICT-FaceKit."""
    output: Path
    """Name of the .npz to write."""
    landmarks: Path | None = None
    """Landmark embedding file; wins over those beside the model."""


def run(config: ConvertHead) -> dict[str, Any]:
    """The command: see :func:`convert_head`."""
    return convert_head(config.input, config.output, landmarks=config.landmarks)


def convert_head(source: Path, output: Path, *, landmarks: Path | None = None) -> dict[str, Any]:
    """Convert a head file and say what is in it.

    Args:
        source: what `load_head` takes.
        output: the ``.npz`` to write.
        landmarks: an embedding that wins over those beside the head.

    Returns:
        ``input``, ``output``, ``model_id``, ``licence``, ``version`` (what can be told of the release),
        ``vertices``, ``faces``, ``shape``, ``expression`` (columns), ``landmarks`` (family -> count),
        ``landmark_origins`` (family -> whose choice of points; ``rendered``: found by drawing the head),
        ``contour`` (whose table, or None), ``regions`` (names), ``eyelids`` (whether the head has them),
        ``missing`` and ``unused`` (blendshapes of ICT-FaceKit that the folder lacks, and meshes of it that
        are none), ``messages``.

    Raises:
        ModelFileError: the source is refused or the output cannot be written.
    """
    from ..flame import io
    from .heads import ready_head

    model = io.load_head(source, landmarks=() if landmarks is None else landmarks)
    messages = []
    try:
        model = ready_head(model)
    except (MissingDependencyError, NoFaceError) as error:
        messages = [f"no face-mesh points: {error}"]
    io.save_head_npz(model, output)
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
        **_modes(source),
        "messages": messages,
    }


def _modes(source: Path) -> dict[str, list[str]]:
    """Which blendshapes an ICT-FaceKit folder lacks; nothing of a file."""
    from ..flame.ict import ict_modes

    if not source.is_dir():
        return {"missing": [], "unused": []}
    modes = ict_modes(source)
    return {"missing": list(modes.missing), "unused": list(modes.unused)}


def describe(report: Mapping[str, Any]) -> str:
    """What was written, and what a person should mend: a head without landmarks cannot be fitted."""
    from ..flame.ict import listed

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
        *(
            f"  {kind} ({len(report[kind])}): {listed(report[kind])}"
            for kind in ("missing", "unused")
            if report[kind]
        ),
        f"  licence: {report['licence']}",
        *(f"note: {text}" for text in report["messages"]),
    ]
    return "\n".join(lines)
