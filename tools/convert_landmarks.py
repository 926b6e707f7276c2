"""``headwarp convert landmarks``: the face-mesh points of any head, found by drawing it, in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from ..flame.model import HeadModel
from ..flame.render_embedding import RenderedEmbedding


@dataclass(frozen=True)
class ConvertLandmarks:
    """Find the 478 face-mesh points of any head mesh by drawing it from many sides and detecting them."""

    head: Positional[str]
    """A head file (FLAME pickle, GNM's, .npz of ours), an ICT-FaceKit folder, or builtin."""
    output: Path
    """Name of the .npz to write; --landmarks of `headwarp convert head` reads it."""
    picture: Path | None = None
    """Draw the points on the head into this .png, to judge them by."""


def run(config: ConvertLandmarks) -> dict[str, Any]:
    """The command.

    Raises:
        HeadwarpError: no head, no face on it, or an output that cannot be written.
    """
    return convert_landmarks(config.head, config.output, picture=config.picture)


def convert_landmarks(
    head: str | Path | HeadModel, output: str | Path, *, picture: Path | None = None
) -> dict[str, Any]:
    """Find the points and write them.

    The file holds the families ``mediapipe`` (478) and ``ibug68`` (68) as ``landmarks.FAMILY.indices``,
    ``.faces``, ``.bary``, ``model_id``, and of each of the 478 the spread over the views ``spread_mm`` and in
    how many of them it was seen, ``seen``.

    Args:
        head: a file, or a loaded model.
        output: the ``.npz`` to write.
        picture: a PNG of the points on the head, to judge them by.

    Returns:
        ``output``, ``model_id``, ``picture``, the numbers of `RenderedEmbedding`, and ``against_own_mm``: for
        each family that the head has already, the median and largest distance of the points from its own.

    Raises:
        ModelFileError: no head, or an output that cannot be written.
        NoFaceError: no face is seen on the head.
        MissingDependencyError: mediapipe is not installed.
    """
    from ..flame.io import load_head
    from ..flame.render_embedding import distances_mm, render_embedding

    output = _checked(Path(output))
    model = head if isinstance(head, HeadModel) else load_head(head)
    found = render_embedding(model)
    _write(output, model, found)
    if picture is not None:
        _draw(picture, model, found)
    against = {
        family: {"median": float(np.median(mm)), "most": float(mm.max()), "points": len(mm)}
        for family, mm in distances_mm(model, found).items()
    }
    return {
        "output": str(output),
        "model_id": model.model_id,
        "picture": None if picture is None else str(picture),
        **found.numbers(),
        "against_own_mm": against,
    }


def describe(report: Mapping[str, Any]) -> str:
    """What was found, and how sure it is."""
    lines = [
        f"{report['output']}: 478 face-mesh points on {report['model_id']}",
        f"  a face in {report['views_with_face']} of {report['views']} views",
        f"  spread over the views: median {report['spread_mm_median']:.1f} mm, inner face "
        f"{report['spread_mm_inner_median']:.1f}, rim {report['spread_mm_rim_median']:.1f}",
    ]
    lines += [
        f"  against its own {family} ({mm['points']}): median {mm['median']:.1f} mm, most {mm['most']:.1f}"
        for family, mm in report["against_own_mm"].items()
    ]
    return "\n".join(lines)


def _checked(output: Path) -> Path:
    from ..geom.errors import ModelFileError

    if output.suffix != ".npz":
        raise ModelFileError(f"{output}: expected a name that ends in .npz")
    return output


def _write(output: Path, model: HeadModel, found: RenderedEmbedding) -> None:
    from ..flame._files import write_npz

    arrays = {"model_id": np.array(model.model_id), "spread_mm": found.spread_mm, "seen": found.seen}
    for family, embedding in (("mediapipe", found.mediapipe), ("ibug68", found.ibug68)):
        arrays |= {
            f"landmarks.{family}.{name}": getattr(embedding, name).numpy()
            for name in ("indices", "faces", "bary")
        }
    write_npz(output, arrays)


def _draw(picture: Path, model: HeadModel, found: RenderedEmbedding) -> None:
    from ..flame.render_embedding import embedding_pictures
    from .draw import mark_points
    from .sheets import write_sheet

    tiles = [
        mark_points(image, points, colour=(60, 255, 90)) for image, points in embedding_pictures(model, found)
    ]
    write_sheet(picture, [tiles], ["front", "yaw -35", "yaw 35", "jaw open"], tile=512)
