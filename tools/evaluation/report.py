"""The report of an evaluation: means, definitions beside them, differences, and the table for a person."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from ...geom.errors import HeadwarpError
from ...training.metrics.bootstrap import paired_difference
from ...training.metrics.definitions import DEFINITIONS, HIGHER_IS_BETTER, definition_id, definitions_of
from ...training.metrics.frechet import feature_statistics, frechet_distance
from .measure import Outcome, Scores, shown_steps
from .networks import Networks
from .pictures import OF_BODIES, OF_FACES, WHY

Item = TypeVar("Item")
SECOND = 25  # frames that are kept together in the bootstrap
COUNTS = ("frames",)  # of a clip's entry, no metrics
TABLE = (
    *("l1", "psnr", "ssim", "ms_ssim", "lpips", "akd", "fid", "csim", "aed_id"),
    *("apd", "prmse", "aed_exp_l1", "aucon", "aucon_active", "jitter", "missing_face_rate"),
    *("flow_epe", "visibility_iou"),
)


def report_of(
    outcomes: Mapping[str, Outcome],
    names: Sequence[str],
    networks: Networks,
    *,
    failed: Mapping[str, str],
    protocol: Mapping[str, Any],
    against: str | None = None,
) -> dict[str, Any]:
    """What `headwarp evaluate` writes.

    Args:
        outcomes: by clip or pair, at least one.
        names: of the animators, in order.
        networks: those whose weights were there.
        failed: reason by clip or pair.
        protocol: how it was measured; ``head`` names the fitted head and ``stride`` the step between frames;
            ``faces`` is False where none was sought.
        against: the animator that the others are compared with.

    Returns:
        ``ok``, ``protocol``, ``metrics`` by animator, ``clips`` by clip and animator, ``failed``,
        ``definitions`` and ``definition_ids`` by metric, ``absent`` metrics with the reason; with ``against``
        also ``difference``.
    """
    clips = {clip: _entries(outcome, names) for clip, outcome in outcomes.items()}
    keys = list(dict.fromkeys(k for clip in clips.values() for entry in clip.values() for k in entry))
    keys = [key for key in keys if key not in COUNTS and _measured(key, clips.values(), names)]
    clips = {
        clip: {name: {k: entry[k] for k in (*keys, *COUNTS) if k in entry} for name, entry in values.items()}
        for clip, values in clips.items()
    }
    metrics = {name: {key: _mean_of(key, clips.values(), name) for key in keys} for name in names}
    distances, counts = _set_distances(outcomes, names, truth=bool(protocol.get("truth")))
    for name, distance in distances.items():
        metrics[name]["fid"] = distance
    keys += ["fid"] if distances else []
    report: dict[str, Any] = {
        "ok": not failed,
        "protocol": {"mean": "over clips of per-clip means", **protocol, **counts},
        "metrics": metrics,
        "clips": clips,
        "failed": dict(failed),
        "definitions": definitions_of(keys),
        "definition_ids": {
            key: definition_id(key, {**networks.ids, "head": str(protocol["head"])}) for key in keys
        },
        "absent": _absent(keys, networks, protocol),
    }
    if against is not None:
        report["difference"] = _differences(outcomes, names, against, stride=int(protocol["stride"]))
    return report


def _entries(outcome: Outcome, names: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        name: {**outcome.scores[name].means, "frames": outcome.scores[name].count}
        for name in names
        if name in outcome.scores
    }


def _measured(key: str, clips: Iterable[Mapping[str, Mapping[str, float]]], names: Sequence[str]) -> bool:
    return any(not math.isnan(clip[n].get(key, math.nan)) for clip in clips for n in names if n in clip)


def _mean_of(key: str, clips: Iterable[Mapping[str, Mapping[str, float]]], name: str) -> float:
    """Mean over the clips that have a number."""
    values = [clip[name].get(key, math.nan) for clip in clips if name in clip]
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _set_distances(
    outcomes: Mapping[str, Outcome], names: Sequence[str], *, truth: bool
) -> tuple[dict[str, float], dict[str, Any]]:
    """FID of every animator over all frames, and the counts of pictures; nothing without features."""
    reference = [vector for outcome in outcomes.values() for vector in outcome.reference]
    if not truth:  # every source once; of true frames two that are alike count twice, as generated ones do
        reference = list({vector.numpy().tobytes(): vector for vector in reference}.values())
    generated = {
        name: [
            v
            for outcome in outcomes.values()
            if name in outcome.scores
            for v in outcome.scores[name].features
        ]
        for name in names
    }
    generated = {name: vectors for name, vectors in generated.items() if len(vectors) > 1}
    if len(reference) < 2 or not generated:
        return {}, {}
    true = feature_statistics([torch.stack(reference)])
    found = {
        name: frechet_distance(feature_statistics([torch.stack(vectors)]), true)
        for name, vectors in generated.items()
    }
    counts = {name: len(vectors) for name, vectors in generated.items()}
    return found, {"fid_pictures": {"reference": len(reference), "generated": counts}}


def _absent(keys: Sequence[str], networks: Networks, protocol: Mapping[str, Any]) -> dict[str, str]:
    """Metrics of the protocol that were not measured, with the reason."""
    reasons = networks.absent()
    if not protocol.get("faces", True):
        reasons |= {**dict.fromkeys(OF_FACES, WHY), "missing_keypoint_rate": OF_BODIES}
    elif "jitter" not in keys:
        reasons["jitter"] = "needs three neighbouring frames with a face: --stride 1"
    if protocol.get("truth"):
        why = "needs clips of headwarp synth with their truth beside them, whole, of this head and version"
        reasons |= dict.fromkeys(("flow_epe", "visibility_iou"), why)
        reasons["ms_ssim"] = "needs frames of 176 px or more"
    else:
        why = "driven by another person: there is no true frame"
        reasons |= dict.fromkeys(("l1", "psnr", "ssim", "ms_ssim", "lpips", "akd"), why)
    return {name: reason for name, reason in reasons.items() if name not in keys}


def _differences(
    outcomes: Mapping[str, Outcome], names: Sequence[str], against: str, *, stride: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Of every other animator less the one named, metric by metric, with its interval.

    A trial without a metric (its frames are too small, or show no face) counts for nothing in that metric,
    and keeps no other trial from counting.
    """
    block = max(1, math.ceil(SECOND / stride))
    keys = dict.fromkeys(key for o in outcomes.values() for key in o.scores[against].frames)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in (other for other in names if other != against):
        found[name] = {}
        for key in keys:
            mine, theirs = (
                [_line(o.scores[animator], key) for o in outcomes.values()] for animator in (name, against)
            )
            if not any(bool(np.isfinite(a - b).any()) for a, b in zip(mine, theirs, strict=True)):
                continue
            difference = paired_difference(mine, theirs, block=block)
            better = (difference.mean > 0) == (key in HIGHER_IS_BETTER) and difference.mean != 0
            facts = {"against": against, "block": block, "better": better}
            found[name][key] = {**asdict(difference), "excludes_zero": difference.excludes_zero, **facts}
    return found


def _line(scores: Scores, key: str) -> Float[ndarray, " T"]:
    """A metric frame by frame; NaN where the trial has none."""
    return scores.frames[key] if key in scores.frames else np.full(scores.count, np.nan)


def check_against(against: str | None, names: Sequence[str]) -> None:
    """Raise HeadwarpError unless the animator to compare with is measured."""
    if against is not None and against not in names:
        raise HeadwarpError(f"--against: expected one of {', '.join(names)}, got {against!r}")


def write_sheet_of(path: Path | None, outcomes: Mapping[str, Outcome], names: Sequence[str]) -> None:
    """The rows of all trials under the names of the animators, each named; nothing without a path.

    Args:
        path: of the PNG, or None.
        outcomes: by clip.
        names: of the animators.
    """
    if path is None:
        return
    from ..sheets import write_sheet

    rows = [row for outcome in outcomes.values() for row in outcome.rows]
    told = [
        f"{clip}, frame {outcome.times[step]}"
        for clip, outcome in outcomes.items()
        for step in sorted(shown_steps(len(outcome.times), len(outcome.rows)))[: len(outcome.rows)]
    ]
    write_sheet(Path(path), rows, ["source", "driver", *names], names=told)


def progress(items: Collection[Item], unit: str) -> Iterator[Item]:
    """The same items under a progress bar."""
    from tqdm import tqdm

    yield from tqdm(items, desc="evaluate", unit=unit, disable=None)


def describe(report: Mapping[str, Any]) -> str:
    """The table for a person, the definitions under it, and what is absent or differs."""
    keys = [key for key in TABLE if key in report["definition_ids"]]
    wide = max(12, *(len(name) + 1 for name in report["metrics"]))
    columns = [max(10, len(_title(key)) + 2) for key in keys]
    rows = [" " * wide + "".join(f"{_title(k):>{w}s}" for k, w in zip(keys, columns, strict=True))]
    for name, values in report["metrics"].items():
        cells = (f"{values[k]:{w}.4f}" for k, w in zip(keys, columns, strict=True))
        rows.append(f"{name:{wide}s}" + "".join(cells))
    lines = [f"  {report['definition_ids'][key]}: {DEFINITIONS[key]}" for key in keys]
    lines += [f"  no {name}: {reason}" for name, reason in report["absent"].items()]
    for name, differences in report.get("difference", {}).items():
        lines += [_difference_line(name, key, values) for key, values in differences.items()]
    return "\n".join([*rows, *lines])


def _title(key: str) -> str:
    return "missing" if key == "missing_face_rate" else key


def _difference_line(name: str, key: str, values: Mapping[str, Any]) -> str:
    certain = "" if values["excludes_zero"] else ", 0 is not excluded"
    side = "better" if values["better"] else "not better"
    return (
        f"  {name} - {values['against']}: {key} {values['mean']:+.4f} "
        f"({values['level']:.0%}: {values['low']:+.4f} to {values['high']:+.4f}{certain}; {side})"
    )
