"""`headwarp segment`: the regions of a face picture as class maps, to look at, mend and give back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tyro.conf import Positional

from ..flame.detect.regions import RENDERED, RegionMap, RegionSegmenter, load_segmenter
from ..flame.model import HeadModel
from ..flame.params import HeadFit
from ..geom.errors import HeadwarpError
from ..geom.face_regions import REGION_NAMES
from ..training.data.atomic import atomic_folder, atomic_path
from .fit import fit as fit_head
from .heads import ready_head
from .inputs import check_folder
from .portrait import fitted_frames

COLOURS = (
    *((0, 0, 0), (230, 180, 150), (120, 60, 20), (170, 95, 40), (40, 120, 255), (90, 200, 255)),
    *((240, 240, 240), (255, 120, 0), (255, 180, 60), (255, 240, 0), (240, 100, 160), (120, 0, 0)),
    *((220, 30, 60), (160, 10, 90), (120, 200, 120), (200, 200, 0), (70, 110, 90), (150, 60, 220)),
    (90, 90, 90),
)
"""Of the regions in a class map's palette, by number."""


@dataclass(frozen=True)
class Segment:
    """The regions of a face picture, 19 classes, as a PNG of class numbers that shows colours.

    Of a clip a folder of them, one a frame. What was written, or mended by hand, is what --segmentation of
    headwarp swap takes.
    """

    input: Positional[Path]
    """Photo or clip."""
    output: Path
    """NAME.png for a photo, a new folder for a clip."""
    segmentation: str = RENDERED
    """rendered (the fitted head, and the picture's own colours), bisenet, or a file of its weights."""
    fit: Path | None = None
    """A fit of this input, as headwarp fit writes it; without it, the input is fitted."""
    head: str | None = None
    """builtin, or a head file; without it, what $HEADWARP_HEAD names, else builtin."""
    landmarks: str = "mediapipe"
    """mediapipe, face-alignment, or a file of landmarks."""
    face: int | None = None
    """Which face, by rank; without it, the largest confirmed one."""
    weights_dir: Path | None = None
    """Folder to look for weights in before those of $HEADWARP_WEIGHTS."""
    device: str = "cpu"
    """Where a network runs."""


def run(config: Segment) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``frames``, ``origin`` (what the maps were made by), ``shares`` (region -> mean share of
        the picture, those that were found).

    Raises:
        HeadwarpError: no such segmenter, no face, or the output is not possible.
    """
    _check_before(config)
    model = ready_head(config.head)
    segmenter = load_segmenter(
        config.segmentation, head=model, weights_dir=config.weights_dir, device=config.device
    )
    fit = _fit(config, model)
    _check_output(config.output, fit.frames)
    if fit.frames == 1:
        found = next(_segmented(segmenter, config.input, fit))
        write_class_map(config.output, found.labels)
        counts, frames, origin = _counts(found), 1, found.origin
    else:
        counts, frames, origin = np.zeros(len(REGION_NAMES)), 0, ""
        with atomic_folder(config.output) as folder:
            for number, found in enumerate(_segmented(segmenter, config.input, fit)):
                write_class_map(folder / f"{number:05d}.png", found.labels)
                counts, frames, origin = counts + _counts(found), number + 1, found.origin
    shares = {name: float(count / frames) for name, count in zip(REGION_NAMES, counts, strict=True) if count}
    return {"ok": True, "output": config.output, "frames": frames, "origin": origin, "shares": shares}


def describe(report: Mapping[str, Any]) -> str:
    """Where the maps are, and what is in them."""
    parts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in report["shares"].items())
    return f"{report['output']}: {report['frames']} class map(s), {report['origin']}\n  {parts}"


def write_class_map(path: Path, labels: UInt8[np.ndarray, "H W"]) -> None:
    """A PNG whose pixels are the numbers of `FaceRegion` and whose palette shows them in `COLOURS`.

    Raises:
        HeadwarpError: it cannot be written.
    """
    from PIL import Image

    picture = Image.fromarray(labels)
    picture.putpalette([value for colour in COLOURS for value in colour])
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def _fit(config: Segment, model: HeadModel) -> HeadFit:
    if config.fit is not None:
        return HeadFit.load(config.fit)
    return fit_head(config.input, head=model, landmarks=config.landmarks, face=config.face)


def _check_before(config: Segment) -> None:
    """Refuse an output that is not possible before the long work, as far as the file says what it holds."""
    from ..training.data.media import probe

    check_folder(config.output.parent)
    found = probe(config.input)
    frames = 1 if found.kind == "photo" else found.frames
    if frames is not None:
        _check_output(config.output, frames)


def _check_output(output: Path, frames: int) -> None:
    if frames == 1 and output.suffix.lower() != ".png":
        raise HeadwarpError(f"--output: expected a .png for one picture, got {output.name}")
    if frames > 1 and output.suffix:
        raise HeadwarpError(f"--output: expected a folder for a clip's class maps, got {output.name}")
    if frames > 1 and output.exists():
        raise HeadwarpError(f"--output: {output} is there already; name a new folder")


def _segmented(segmenter: RegionSegmenter, source: Path, fit: HeadFit) -> Iterator[RegionMap]:
    given = 0
    for number, frame in enumerate(fitted_frames(source, fit)):
        if number >= fit.frames:
            raise HeadwarpError(f"{source}: expected {fit.frames} frames, as the fit has, got more")
        yield segmenter.segment(frame, fit=fit, frame=number)
        given = number + 1
    if given < fit.frames:
        raise HeadwarpError(f"{source}: expected {fit.frames} frames, as the fit has, got {given}")


def _counts(found: RegionMap) -> np.ndarray:
    """Share of the picture by region."""
    return np.bincount(found.labels.ravel(), minlength=len(REGION_NAMES)) / found.labels.size
