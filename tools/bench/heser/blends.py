"""The studies of the blender, in one pass over samples of packs: attention, skin colours, inpainting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....geom.errors import HeadwarpError
from ....training.data.blends.batch import BlendBatch
from ....training.data.portrait import Frame, to_frame
from ....training.data.sheets import contact_sheet
from ....training.metrics.skin_colour import DEFINITIONS as COLOUR_DEFINITIONS
from ....warping.heser_blender import HeserBlender
from ..blender import SAID as WAYS_SAID
from ..blender import WAYS, drawn_rows, skin_pictures, skin_rows
from ..charts import draw_bars, draw_matrix
from .attention import PARTS, REGIONS, Attention, attention_of, attention_table
from .inpainting import FILLS, MEASURES, ring_fills, ring_rows
from .inpainting import SAID as FILLS_SAID
from .study import Study, summary

_ROWS = 8  # samples of a sheet
_SURFACE = (
    "features: surface (no VGG-19 weights in the checkpoint): where on the head a pixel lies is part of what "
    "is correlated, so that attention to the own region is partly built in"
)


def run_blends(
    network: HeserBlender, batches: Iterable[BlendBatch], *, device: str = "cpu"
) -> dict[str, Study]:
    """``attention``, ``colours`` and ``inpainting`` of a blender.

    Args:
        network: in evaluation mode, on the device.
        batches: heads in other colours, each beside a reference.
        device: of the work.

    Raises:
        HeadwarpError: no sample shows skin, or none has a ring.
    """
    attentions: list[Attention] = []
    skins: list[dict[str, Any]] = []
    rings: list[dict[str, Any]] = []
    sheets: dict[str, list[list[Frame]]] = {"attention": [], "colours": [], "inpainting": []}
    for batch in batches:
        placed = batch.map(lambda tensor: tensor.to(device))
        with torch.no_grad():
            target = network.encode(placed.reference)
            blend = network.blend(placed.animated, target, scene=placed.truth)
        attentions.append(attention_of(network, blend, target))
        heads, fills = skin_pictures(placed, blend), ring_fills(placed, blend)
        skins += skin_rows(placed, heads)
        rings += ring_rows(placed, blend, fills)
        room = _ROWS - len(sheets["colours"])
        sheets["attention"] += attention_rows(placed, attentions[-1])[: max(0, room)]
        sheets["colours"] += drawn_rows(placed, heads, room)
        hole = {"hole": torch.where(blend.head | blend.ring, 0.5, placed.truth)}
        sheets["inpainting"] += drawn_rows(placed, {**hole, **fills}, room)
    if not skins or not rings:
        raise HeadwarpError(
            "--heser.data: expected frames that show skin and a ring about the head, got none"
        )
    return {
        "attention": _attention(attentions, sheets["attention"], network.config.features),
        "colours": _compared("colours", skins, WAYS, sheets["colours"]),
        "inpainting": _compared("inpainting", rings, FILLS, sheets["inpainting"]),
    }


def _attention(parts: Sequence[Attention], sheet: list[list[Frame]], features: str) -> Study:
    table = attention_table(parts)
    rows, shown = [], []
    for number, region in enumerate(REGIONS):
        if not int(table.count[number]):
            continue
        mass = dict(zip(PARTS, table.mass[number].tolist(), strict=True))
        own = {"own": mass[region], "deviation": float(table.deviation[number])}
        rows.append(
            {
                "region": region,
                "count": int(table.count[number]),
                **own,
                "even": float(table.share[number]),
                **{f"on {part}": value for part, value in mass.items()},
            }
        )
        shown.append(list(mass.values()))
    if not rows:
        raise HeadwarpError("--heser.data: expected heads with a region that their reference shows, got none")
    drawn = draw_matrix(
        np.array(shown),
        [row["region"] for row in rows],
        PARTS,
        "attention of a head's regions, %, by target part",
    )
    report = {
        "regions": rows,
        "own": summary([row["own"] for row in rows]),
        "samples": sum(len(part.mass) for part in parts),
        "notes": [_SURFACE] if features == "surface" else [],
        "definitions": {
            "on PART": "share of the softmax over all cells of the target, whatever their label, mean over "
            "the head's cells of a region, then over samples whose reference shows the region too",
            "own": "the region's on itself, deviation from sample to sample",
            "even": "the region's share of the target's cells: its mass if attention were even",
        },
    }
    columns = ["head", "reference", *REGIONS]
    return Study(report, rows, {"": drawn, "_sheet": contact_sheet(sheet, columns, tile=96)})


def attention_rows(batch: BlendBatch, attention: Attention) -> list[list[Frame]]:
    """Recoloured head, reference, and each region's attention over the darkened reference, as in Fig. 5."""
    size = (batch.truth.shape[2], batch.truth.shape[3])
    peak = attention.maps.amax((2, 3), keepdim=True).clamp_min(1e-9)
    maps = F.interpolate((attention.maps / peak).sqrt(), size, mode="nearest")  # (B, R, H, W)
    return [
        [
            to_frame(batch.animated.image[n]),
            to_frame(batch.reference.image[n]),
            *(to_frame(_lit(batch.reference.image[n], one)) for one in maps[n]),
        ]
        for n in range(len(maps))
    ]


def _lit(image: Tensor, light: Tensor) -> Tensor:
    return image * (0.15 + 0.85 * light)


def _compared(
    name: str, rows: Sequence[Mapping[str, Any]], ways: Sequence[str], sheet: list[list[Frame]]
) -> Study:
    """Ways to the same pictures by what they are off."""
    measures = MEASURES if name == "inpainting" else COLOUR_DEFINITIONS
    said = FILLS_SAID if name == "inpainting" else WAYS_SAID
    means = {way: {key: summary([row[way][key] for row in rows]) for key in measures} for way in ways}
    bars = {
        f"{key} ({len(rows)} samples, line: one deviation)": {
            way: (means[way][key]["mean"], means[way][key]["deviation"]) for way in ways
        }
        for key in measures
    }
    table = [
        {"name": row["name"], "way": way, **{key: row[way][key] for key in measures}}
        for row in rows
        for way in ways
    ]
    best = {key: min(ways, key=lambda way: means[way][key]["mean"]) for key in measures}
    report = {
        "ways": means,
        "best": best,
        "samples": len(rows),
        "definitions": {**measures, **{way: said[way] for way in ways}},
    }
    titles = {"colours": "skin: how far from its true colour", "inpainting": "ring: how far from the truth"}
    columns = ["truth", "reference", *(("hole",) if name == "inpainting" else ()), *ways]
    return Study(
        report,
        table,
        {"": draw_bars(bars, titles[name]), "_sheet": contact_sheet(sheet, columns, tile=_tile(sheet))},
    )


def _tile(sheet: Sequence[Sequence[Frame]]) -> int:
    """Side of a sheet's tiles: that of its pictures within bounds."""
    return min(max(sheet[0][0].shape[0], 64), 192)
