"""Skin colour that a trained [HeSer] blender gives a recoloured head, beside what needs no network.

``python -m headwarp.tools.bench.blender --checkpoint RUN/blender.safetensors --data PACKS --json R.json``:
frames of PACKS (packs of ``headwarp train``) are recoloured as in training and blended by a reference.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.face_regions import FaceRegion, regions_mask
from ...training.data.atomic import write_json
from ...training.data.blends.batch import BlendBatch
from ...training.data.blends.changes import BlendChanges
from ...training.data.pairs.pack import open_packs
from ...training.data.sheets import contact_sheet
from ...training.metrics.skin_colour import DEFINITIONS, skin_colour_error
from ...warping.heser_blender import Blend
from ...warping.heser_files import load_heser_blender
from ..blend_supply import held_out_blends
from ..evaluation.clips import parse_share
from ..heads import ready_head

SKIN = (FaceRegion.SKIN, FaceRegion.NOSE)
WAYS = ("input", "statistics", "carried", "blender")
SAID = {
    "input": "the recoloured head as it is",
    "statistics": "its skin with mean and deviation of the reference's skin, channel by channel",
    "carried": "the head colour reference, what the blending network is given",
    "blender": "the picture made",
    "reduction": "1 - blender / input",
    "worse": "share of the samples whose skin is further off than the input's, by mean colour",
}
_ROWS = 12


@dataclass(frozen=True)
class BlenderBench:
    """What is measured.

    Attributes:
        checkpoint: of ``headwarp train heser_blender``.
        data: folder of packs; those of people who were not trained on, or a part of clips that was not.
        frames: part of every clip, START:END.
        count: samples, about.
        other: share of the references that are another frame.
        flip: share of the references that are mirrored.
        head: of the packs' fits.
        device: cpu or cuda.
        json: where the report goes.
        sheet: where a picture of the first samples goes.
    """

    checkpoint: Path
    data: Path
    frames: str = "0:1"
    count: int = 64
    other: float = 1.0
    flip: float = 0.0
    head: str | None = None
    device: str = "cpu"
    json: Path | None = None
    sheet: Path | None = None


def run(config: BlenderBench) -> dict[str, Any]:
    """Measure.

    Raises:
        HeadwarpError: the checkpoint is no blender's, or no sample shows skin.
    """
    head = ready_head(config.head)
    network = load_heser_blender(config.checkpoint, device=config.device)
    changes = BlendChanges(other=config.other, flip=config.flip)
    packs = open_packs(config.data, head=head)
    share = parse_share(config.frames)
    batches = held_out_blends(packs, head, share=share, count=config.count, changes=changes)
    rows: list[dict[str, Any]] = []
    drawn: list[list[Any]] = []
    for batch in batches:
        placed = batch.map(lambda tensor: tensor.to(config.device))
        with torch.no_grad():
            blend = network.blend(placed.animated, network.encode(placed.reference), scene=placed.truth)
        pictures = skin_pictures(placed, blend)
        rows += skin_rows(placed, pictures)
        drawn += drawn_rows(placed, pictures, _ROWS - len(drawn))
    report = _report(rows, config)
    if config.json is not None:
        write_json(config.json, report)
    if config.sheet is not None:
        from ...training.data.media import write_image

        write_image(config.sheet, contact_sheet(drawn, ["truth", "reference", *WAYS]))
    return report


def skin_of(labels: Tensor) -> Bool[Tensor, "B 1 H W"]:
    """Skin and nose."""
    return regions_mask(labels, SKIN)[:, None]


def skin_pictures(batch: BlendBatch, blend: Blend) -> dict[str, Float[Tensor, "B 3 H W"]]:
    """Heads in true scenes, by `WAYS`."""
    head, animated = blend.head, batch.animated
    styled = matched_statistics(
        animated.image, skin_of(animated.labels), batch.reference.image, skin_of(batch.reference.labels)
    )
    return {
        "input": torch.where(head, animated.image, batch.truth),
        "statistics": torch.where(head, styled, batch.truth),
        "carried": torch.where(head, blend.head_colours, batch.truth),
        "blender": blend.image.clamp(0, 1),
    }


def matched_statistics(
    image: Float[Tensor, "B 3 H W"],
    region: Bool[Tensor, "B 1 H W"],
    reference: Float[Tensor, "B 3 H W"],
    its_region: Bool[Tensor, "B 1 H W"],
) -> Float[Tensor, "B 3 H W"]:
    """A picture whose region has mean and deviation of another's, by channel ([Reinhard 2001], in RGB).

    Args:
        image: RGB in [0, 1].
        region: of it.
        reference: RGB in [0, 1].
        its_region: whose colours are wanted.
    """
    mean, deviation = _moments(image, region)
    wanted, spread = _moments(reference, its_region)
    return ((image - mean) * (spread / deviation.clamp_min(1e-3)) + wanted).clamp(0, 1)


def _moments(image: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    count = region.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (image * region).sum((2, 3), keepdim=True) / count
    return mean, (((image - mean).square() * region).sum((2, 3), keepdim=True) / count).sqrt()


def skin_rows(batch: BlendBatch, pictures: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """``name``, and by `WAYS` what `skin_colour_error` says, of every picture that shows skin."""
    skin = skin_of(batch.animated.labels)
    found = {way: skin_colour_error(pictures[way], batch.truth, skin) for way in WAYS}
    return [
        {
            "name": name,
            **{way: {key: float(getattr(found[way], key)[n]) for key in DEFINITIONS} for way in WAYS},
        }
        for n, name in enumerate(batch.names)
        if bool(skin[n].any())
    ]


def _report(rows: Sequence[Mapping[str, Any]], config: BlenderBench) -> dict[str, Any]:
    if not rows:
        raise HeadwarpError(f"{config.data}: expected frames that show skin, got none")
    means = {
        way: {key: sum(row[way][key] for row in rows) / len(rows) for key in DEFINITIONS} for way in WAYS
    }
    reduction = {key: 1 - means["blender"][key] / means["input"][key] for key in DEFINITIONS}
    worse = sum(row["blender"]["mean_colour"] > row["input"]["mean_colour"] for row in rows) / len(rows)
    asked = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return {
        "asked": asked,
        "samples": len(rows),
        **means,
        "reduction": reduction,
        "worse": worse,
        "definitions": {**DEFINITIONS, **SAID},
        "each": list(rows),
    }


def drawn_rows(batch: BlendBatch, pictures: Mapping[str, Tensor], count: int) -> list[list[Any]]:
    """Rows of a sheet, at most ``count``: truth, reference and the pictures, uint8 ``(H, W, 3)``.

    Args:
        batch: of heads.
        pictures: by name, RGB in [0, 1].
        count: of rows.
    """
    columns = [batch.truth, batch.reference.image, *pictures.values()]
    whole = [
        (column.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        for column in columns
    ]
    return [list(row) for row in zip(*whole, strict=True)][: max(0, count)]


def told(report: Mapping[str, Any]) -> str:
    """What a person reads."""
    lines = [f"skin colour on {report['samples']} samples, delta E of mean colours and of pixels"]
    lines += [f"{way:10} {report[way]['mean_colour']:6.2f} {report[way]['pixel']:6.2f}" for way in WAYS]
    less = report["reduction"]
    lines.append(
        f"lower than the input's by {100 * less['mean_colour']:.0f} % and {100 * less['pixel']:.0f} %; "
        f"{100 * report['worse']:.0f} % of the samples got worse"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    import tyro

    sys.stdout.write(told(run(tyro.cli(BlenderBench))) + "\n")
