"""Which of the studies can be run, running them, and their report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....geom.errors import HeadwarpError
from ....training.data.blends.changes import BlendChanges
from ....training.data.pairs.pack import open_packs
from ....warping.animators import load_animator
from ....warping.heser_files import load_heser_blender
from ...blend_supply import held_out_blends
from ...evaluation.clips import parse_share
from ...evaluation.networks import load_networks
from ...heads import ready_head
from ...performance import check_device
from . import HeserStudies
from .blends import run_blends
from .shots import run_shots
from .study import Study, write_study

OF_BLENDER = ("attention", "colours", "inpainting")


def run(config: HeserStudies) -> dict[str, Any]:
    """See `run_studies`."""
    missing = missing_of(config)
    if set(missing) >= {"shots", *OF_BLENDER}:
        raise HeadwarpError(f"--suite heser: nothing to study; {'; '.join(dict.fromkeys(missing.values()))}")
    check_device(config.device)
    found: dict[str, Study] = {}
    if "shots" not in missing:
        found["shots"] = _shots(config)
    if "attention" not in missing:
        found |= _blends(config)
    files = []
    if config.output is not None:
        files = [path for name, study in found.items() for path in write_study(config.output, name, study)]
    return {
        "studies": {name: study.report for name, study in found.items()},
        "missing": missing,
        "files": files,
    }


def missing_of(config: HeserStudies) -> dict[str, str]:
    """By study, or by curve of one, what it lacks."""
    missing = {}
    if (config.aligner or config.tuned) is None or config.clips is None:
        missing["shots"] = "shots needs --heser.clips, and --heser.aligner or --heser.tuned or both"
    else:
        for name in ("aligner", "tuned"):
            if getattr(config, name) is None:
                missing[f"shots/{name}"] = f"shots has no curve of --heser.{name}, which was not given"
    if config.blender is None or config.data is None:
        said = "attention, colours and inpainting need --heser.blender and --heser.data, a folder of packs"
        missing |= dict.fromkeys(OF_BLENDER, said)
    return missing


def _shots(config: HeserStudies) -> Study:
    paths = {"meta": config.aligner, "tuned": config.tuned}
    animators: dict[str, Any] = {
        name: load_animator("heser", path).to(config.device)  # type: ignore[attr-defined]
        for name, path in paths.items()
        if path is not None
    }
    networks = load_networks(arcface=config.arcface, device=config.device)
    return run_shots(config, animators, ready_head(config.head), networks)


def _blends(config: HeserStudies) -> dict[str, Study]:
    assert config.blender is not None
    assert config.data is not None
    head = ready_head(config.head)
    network = load_heser_blender(config.blender, device=config.device)
    batches = held_out_blends(
        open_packs(config.data, head=head),
        head,
        share=parse_share(config.frames),
        count=config.count,
        changes=BlendChanges(other=1.0, flip=0.0),
    )
    return run_blends(network, batches, device=config.device)


def describe(report: Mapping[str, Any]) -> str:
    """See `describe_studies`."""
    studies = report["studies"]
    lines = list(_told_shots(studies["shots"])) if "shots" in studies else []
    if "attention" in studies:
        own = studies["attention"]["regions"]
        lines.append("attention of a region on itself, and if it were even:")
        lines += [
            f"  {row['region']:15} {100 * row['own']:5.1f} %  {100 * row['even']:5.1f} %" for row in own
        ]
    for name in ("colours", "inpainting"):
        if name in studies:
            lines += _told_ways(name, studies[name])
    lines += [note for study in studies.values() for note in study.get("notes", ())]
    lines += [f"missing: {said}" for said in dict.fromkeys(report["missing"].values())]
    return "\n".join([*lines, *report["files"]])


def _told_shots(study: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, metrics in study["curves"].items():
        for metric, rows in metrics.items():
            cells = [f"K {row['shots']}: {_number(row)}" for row in rows]
            lines.append(f"{name:6} {metric:18} {', '.join(cells)}")
    lines += [f"copy   {metric:18} {_number(row)}" for metric, row in study["copy"].items()]
    return [*lines, f"same person, mm {_number(study['same_person_mm'])}"]


def _told_ways(name: str, study: Mapping[str, Any]) -> list[str]:
    lines = [f"{name} on {study['samples']} samples:"]
    for way, measures in study["ways"].items():
        lines.append(f"  {way:10} " + ", ".join(f"{key} {_number(row)}" for key, row in measures.items()))
    return lines


def _number(row: Mapping[str, Any]) -> str:
    return "-" if not row["count"] else f"{row['mean']:.3g} +- {row['deviation']:.2g}"
