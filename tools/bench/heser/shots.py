"""Heads made of K pictures: likeness and pose error over K, of a meta-trained and a tuned aligner.

[HeSer] sec. 4 of the supplement, Fig. 2. Sources are drawn from one part of a clip, drivers from another, so
that the driver's frame is the truth; the paper drives by other persons too. Codes of the sources are averaged
as in the paper. A draw of 32 sources begins with its draw of 16, and all checkpoints see the same draws.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ....flame.model import HeadModel
from ....flame.params import HeadParams
from ....flame.posing import head_pose
from ....geom.errors import HeadwarpError, NoFaceError
from ....geom.guidance import Driving, Source
from ....training.data.portrait import Frame, to_frame, to_image
from ....training.data.shares import frames_of_share
from ....training.metrics.head import prmse
from ....training.metrics.identity import csim
from ....training.metrics.image import l1
from ....warping.animators.heser import HeserAnimator, HeserCache
from ...evaluation.clips import parse_share
from ...evaluation.footage import PackFrames, clip_paths, footage
from ...evaluation.measure import fitted_heads
from ...evaluation.networks import Networks
from ...evaluation.sights import Sight, found_in, look, points_of
from ...fit_identity import shape_points
from ...portrait import as_frames
from ..charts import Band, BandPanel, Picture, draw_bands
from . import HeserStudies
from .study import Study, summary

CANDIDATES = 96  # frames of a clip that sources are drawn from
DEFINITIONS = {
    "pose_error_deg": "root of the mean squared difference of yaw, pitch and roll of the heads fitted to "
    "made and true pictures; pictures without a face do not count",
    "csim": "cosine of the embeddings of made and true pictures' faces by the network of --heser.arcface",
    "shape_mm": "distance of the shapes of the heads fitted to a draw's pictures and to the true ones, root "
    "mean square over the landmarks at rest; draws that show a face in less than half do not count",
    "l1": "mean absolute difference from the true frame, RGB in [0, 1]",
    "missing_face_rate": "share of the pictures in which no face is found",
    "deviation": "standard deviation over pictures; of shape_mm over draws and clips",
    "copy": "the first source of a draw shown for every driver",
    "same_person_mm": "shape_mm of true frames of the source part against the true ones: what fitting leaves",
    "other_clips_mm": "shape_mm between clips, over all pairs of them",
}
TITLES = {
    "pose_error_deg": "pose error, degrees",
    "csim": "identity similarity (csim)",
    "shape_mm": "shape distance, mm (stands in for identity)",
    "l1": "L1 to the true frame",
}
STAND_IN = (
    "identity: no ArcFace weights were given (--heser.arcface FILE), so there is no cosine; shape_mm stands "
    "in, the distance of fitted shapes: it is independent of the aligner, but tells geometry alone, no skin, "
    "hair or eyes. The aligner's own identity encoder is not asked: it was trained with what it would judge"
)
TEACHER = (
    "identity: csim is by the network of --heser.arcface; an aligner that was trained with the same "
    "network's identity loss is judged by its teacher"
)


@dataclass(frozen=True)
class ShotClip:
    """A clip cut into what is shown and what is to be made.

    Attributes:
        name: of the clip.
        sources: frames that sources are drawn from.
        drivers: frames that drive, and the truth.
        seen: the drivers' faces.
        params: of heads fitted to the drivers.
    """

    name: str
    sources: Sequence[Frame]
    drivers: Sequence[Frame]
    seen: Sequence[Sight]
    params: HeadParams

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.drivers[0].shape[0], self.drivers[0].shape[1]


Values = dict[str, list[float]]


@torch.no_grad()
def run_shots(
    config: HeserStudies, animators: Mapping[str, HeserAnimator], model: HeadModel, networks: Networks
) -> Study:
    """Measure aligners over the numbers of sources.

    Args:
        config: of the studies.
        animators: trained aligners by checkpoint.
        model: the head that is fitted.
        networks: of the metrics.

    Returns:
        Its report: ``curves``: by checkpoint and metric, a row a number of shots with ``shots, mean,
        deviation, count``; ``copy``: by metric the same without shots; ``same_person_mm``,
        ``other_clips_mm``; ``clips``; ``notes``; ``definitions``.

    Raises:
        NoFaceError: a clip whose drivers show no face.
        HeadwarpError: too few frames for one source, or options that make no sense.
    """
    _check(config)
    made: dict[tuple[str, int], Values] = {}
    copied: Values = {}
    clips, same, notes = [], [], [TEACHER if networks.arcface else STAND_IN]
    for number, path in enumerate(clip_paths(config.clips or Path())):
        clip = read_clip(path, config, model, networks)
        clips.append(clip)
        known = [k for k in config.shots if k <= len(clip.sources)]
        if len(known) < len(config.shots):
            notes.append(f"{clip.name}: {len(clip.sources)} frames to draw from, more shots are left out")
        caches = {name: cache_of(animator, clip.sources) for name, animator in animators.items()}
        same.append(_true_apart(model, clip))
        for draw in range(config.draws):
            order = np.random.default_rng([config.seed, number, draw]).permutation(len(clip.sources))
            _joined(copied, compared([clip.sources[order[0]]] * len(clip.drivers), clip, model, networks))
            for (name, animator), shots in itertools.product(animators.items(), known):
                pictures = animated(animator, caches[name], order[:shots], clip.drivers)
                values = compared(pictures, clip, model, networks)
                _joined(made.setdefault((name, shots), {}), values)
    curves = {name: _curves(made, name) for name in animators}
    report = {
        "curves": curves,
        "copy": {metric: summary(values) for metric, values in copied.items() if metric != "shape_mm"},
        "same_person_mm": summary(same),
        "other_clips_mm": summary([_apart(model, a, b) for a, b in itertools.combinations(clips, 2)]),
        "clips": [clip.name for clip in clips],
        "notes": notes,
        "definitions": DEFINITIONS,
    }
    table = [
        {"checkpoint": name, "metric": metric, **row}
        for name, metrics in curves.items()
        for metric, rows in metrics.items()
        for row in rows
    ]
    return Study(report, table, {"": shots_figure(report)})


def shots_figure(report: Mapping[str, Any]) -> Picture:
    """Pose error, likeness and distance from the truth over K, a band of one deviation about each mean."""
    curves, panels = report["curves"], []
    for metric, title in TITLES.items():
        having = {name: rows[metric] for name, rows in curves.items() if metric in rows}
        if not having or (metric == "shape_mm" and any("csim" in rows for rows in curves.values())):
            continue
        bands = {
            name: Band(*(np.array([row[key] for row in rows], float) for key in ("mean", "deviation")))
            for name, rows in having.items()
        }
        same = {"same person": report["same_person_mm"]} if metric == "shape_mm" else {}
        levels = {"copy": report["copy"][metric]} if metric in report["copy"] else same
        known = {name: level["mean"] for name, level in levels.items() if level["count"]}
        panels.append(BandPanel(title, bands, known))
    shots = sorted({row["shots"] for rows in curves.values() for row in rows["l1"]})
    return draw_bands(panels, [str(k) for k in shots], "heads made of K pictures, x: K; bands: one deviation")


def _check(config: HeserStudies) -> None:
    if not config.shots or min(config.shots) < 1 or min(config.draws, config.pictures) < 1:
        raise HeadwarpError(
            "--heser: expected shots, draws and pictures of at least 1, got "
            f"{config.shots}, {config.draws} and {config.pictures}"
        )


def read_clip(path: Path, config: HeserStudies, model: HeadModel, networks: Networks) -> ShotClip:
    """A clip's frames, evenly spaced in either part; of drivers those that show a face.

    Args:
        path: of the clip.
        config: of the studies.
        model: the head that is fitted.
        networks: of the metrics.

    Raises:
        NoFaceError: no driver shows one.
        HeadwarpError: a part of the clip without frames.
    """
    from ....flame.detect import detect_faces

    frames = footage(path)
    count = sum(1 for _ in as_frames(frames))
    wanted = [
        _spread(_part(frames, parse_share(share), count), most)
        for share, most in ((config.sources, CANDIDATES), (config.frames, config.pictures))
    ]
    if not all(wanted):
        raise HeadwarpError(
            f"{path.name}: expected frames in both parts, {config.sources} and {config.frames}, of {count} "
            "frames; name other parts with --heser.sources and --heser.frames"
        )
    read = {n: frame for n, frame in enumerate(as_frames(frames)) if n in {*wanted[0], *wanted[1]}}
    drivers, seen = [], []
    for number in wanted[1]:
        faces = detect_faces(read[number], max_faces=1)
        if faces:
            drivers.append(read[number])
            seen.append(look(read[number], [faces[0].landmarks], networks, certain=True))
    if not drivers:
        raise NoFaceError(f"{path.name}: no face found in the frames that drive, {config.frames}")
    size = (drivers[0].shape[0], drivers[0].shape[1])
    params = fitted_heads(model, points_of(seen), size)
    return ShotClip(path.stem, [read[number] for number in wanted[0]], drivers, seen, params)


def _part(frames: Any, share: tuple[float, float], count: int) -> list[int]:
    if isinstance(frames, PackFrames):
        return sorted(frames.of_share(share))
    return list(frames_of_share(share, count))


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    places = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)
    return [numbers[place] for place in np.unique(places)]


def cache_of(animator: HeserAnimator, frames: Sequence[Frame]) -> HeserCache:
    """Codes of all sources that may be drawn; no meshes, so that their mean is taken."""
    device = next(animator.parameters()).device
    return animator.encode([Source(image=to_image(frame).to(device)) for frame in frames])


def animated(
    animator: HeserAnimator, cache: HeserCache, chosen: Sequence[int] | np.ndarray, drivers: Sequence[Frame]
) -> Iterator[Frame]:
    """The person of some of the sources as each driver holds the head.

    Args:
        animator: a trained aligner.
        cache: of all sources.
        chosen: numbers of the sources that count.
        drivers: RGB.
    """
    some = dataclasses.replace(cache, codes=cache.codes[torch.as_tensor(np.asarray(chosen))])
    for driver in drivers:
        image = to_image(driver).to(cache.codes.device)
        yield to_frame(animator.animate(some, Driving(image=image)).image)


def compared(pictures: Any, clip: ShotClip, model: HeadModel, networks: Networks) -> Values:
    """Values of the pictures of a draw, one a driver: see `DEFINITIONS`.

    Args:
        pictures: one a driver.
        clip: of the drivers.
        model: the head that is fitted.
        networks: of the metrics.
    """
    values: Values = {"l1": []}
    sights = []
    for picture, driver, true in zip(pictures, clip.drivers, clip.seen, strict=True):
        sights.append(look(picture, [true.points], networks))
        values["l1"].append(float(l1(to_image(picture), to_image(driver))))
    found = found_in(points_of(sights))
    values["missing_face_rate"] = (~found).astype(float).tolist()
    rows = np.flatnonzero(found)
    if len(rows):
        params = fitted_heads(model, points_of(sights)[rows], clip.size)
        values["pose_error_deg"] = prmse(head_pose(params), head_pose(clip.params)[rows]).tolist()
        if 2 * len(rows) >= len(found):
            values["shape_mm"] = [shapes_apart(model, params.shape, clip.params.shape)]
    pairs = [(a.embedding, b.embedding) for a, b in zip(sights, clip.seen, strict=True)]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if known:
        values["csim"] = csim(*(torch.stack(part) for part in zip(*known, strict=True))).tolist()
    return values


def shapes_apart(model: HeadModel, first: Float[Tensor, " S"], second: Float[Tensor, " S"]) -> float:
    """Millimetres, root mean square over the landmarks at rest.

    Args:
        model: the head.
        first, second: coefficients.
    """
    one, other = shape_points(model, [shape.double().cpu().numpy() for shape in (first, second)])
    return float(1000 * np.sqrt(np.square(one - other).sum(1).mean()))


def _true_apart(model: HeadModel, clip: ShotClip) -> float:
    """Of as many true frames of the source part as there are drivers; NaN without a face."""
    from ....flame.detect import detect_faces

    some = [clip.sources[number] for number in _spread(range(len(clip.sources)), len(clip.drivers))]
    faces = [found[0].landmarks for frame in some if (found := detect_faces(frame, max_faces=1))]
    if not faces:
        return float("nan")
    return shapes_apart(model, fitted_heads(model, np.stack(faces), clip.size).shape, clip.params.shape)


def _apart(model: HeadModel, one: ShotClip, other: ShotClip) -> float:
    return shapes_apart(model, one.params.shape, other.params.shape)


def _joined(all_values: Values, more: Values) -> None:
    for metric, values in more.items():
        all_values.setdefault(metric, []).extend(values)


def _curves(made: Mapping[tuple[str, int], Values], name: str) -> dict[str, list[dict[str, Any]]]:
    mine = {shots: values for (owner, shots), values in sorted(made.items()) if owner == name}
    metrics = [metric for metric in DEFINITIONS if any(metric in values for values in mine.values())]
    return {
        metric: [{"shots": shots, **summary(values.get(metric, []))} for shots, values in mine.items()]
        for metric in metrics
    }
