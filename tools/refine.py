"""A landmark fit refined by the pictures it was made from; clips pass by in chunks and are read twice."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..flame.fitting.appearance import AlbedoSpace
from ..flame.fitting.photometric import PhotometricConfig, refine_photometric
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit, HeadParams
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame, to_image
from .heads import ready_head
from .portrait import fitted_frames

KEY_FRAMES = 12  # from which the albedo of a clip is taken
CHUNK = 16  # frames in memory at a time


def refine(
    fit: HeadFit,
    frames_or_path: Any,
    *,
    head: str | Path | HeadModel | None = None,
    config: PhotometricConfig | None = None,
    device: str = "cpu",
) -> HeadFit:
    """Refine a fit photometrically; see `flame.fitting.photometric`.

    A clip's albedo is taken from key frames spread over it (each vertex its own, unless the config says
    otherwise) and then held, while every frame has light of its own.

    Args:
        fit: as `headwarp.fit` gives it.
        frames_or_path: the same photo or clip (of a part, the whole file), in the kinds `headwarp.fit`
            takes; an iterator of frames will not do for clips, they are read twice.
        head: the head of the fit.
        config: None for smooth albedos of a photo, free ones of a clip.
        device: where the work is done.

    Returns:
        The refined fit; ``report["photometric"]`` says what was gained.

    Raises:
        HeadwarpError: other frames than those of the fit, or no face among them.
    """
    if isinstance(frames_or_path, Iterator):
        raise HeadwarpError(
            "refine: expected a file or a list of frames, got an iterator; read it into a list"
        )
    model = ready_head(head).to(device)
    config = config or PhotometricConfig(albedo="low_rank" if fit.frames == 1 else "free")
    seen = torch.nonzero(fit.status == DETECTED)[:, 0]
    if len(seen) == 0:
        raise HeadwarpError("refine: expected a fit with a face in it, got none; fit the input again")
    keys = seen[torch.linspace(0, len(seen) - 1, min(KEY_FRAMES, len(seen))).round().long()].unique()
    pictures = _chosen(fitted_frames(frames_or_path, fit), set(keys.tolist()), fit)
    first = refine_photometric(model, fit.select(keys), pictures.to(device), config=config)
    if fit.frames == 1:
        return first.fit
    held = AlbedoSpace(
        first.appearance.albedo, torch.zeros(len(model.template), 3, 0), torch.zeros(0)
    )  # nothing left to choose
    own = dataclasses.replace(config, albedo="low_rank")
    parts = [
        _refined_part(model, part, pictures.to(device), config=own, space=held)
        for part, pictures in _chunks(fit, fitted_frames(frames_or_path, fit))
    ]
    return _joined(fit, parts)


def _refined_part(
    model: HeadModel, part: HeadFit, pictures: Tensor, *, config: PhotometricConfig, space: AlbedoSpace
) -> HeadFit:
    """A chunk refined; one without any face as it was."""
    if not (part.status == DETECTED).any():
        return part
    return refine_photometric(model, part, pictures, config=config, space=space).fit


def _chosen(frames: Iterable[Frame], wanted: set[int], fit: HeadFit) -> Tensor:
    kept = [_checked(frame, fit) for index, frame in enumerate(frames) if index in wanted]
    if len(kept) != len(wanted):
        raise HeadwarpError(f"refine: expected the {fit.frames} frames of the fit, the input has fewer")
    return torch.cat(kept)


def _chunks(fit: HeadFit, frames: Iterator[Frame]) -> Iterator[tuple[HeadFit, Tensor]]:
    for start in range(0, fit.frames, CHUNK):
        pictures = [_checked(frame, fit) for frame in itertools.islice(frames, CHUNK)]
        stop = min(start + CHUNK, fit.frames)
        if len(pictures) < stop - start:
            raise HeadwarpError(f"refine: expected the {fit.frames} frames of the fit, the input has fewer")
        yield fit.select(slice(start, stop)), torch.cat(pictures[: stop - start])


def _checked(frame: Frame, fit: HeadFit) -> Tensor:
    if frame.shape[:2] != fit.size:
        raise HeadwarpError(
            f"refine: expected frames of (H, W) {fit.size} as the fit's, got {frame.shape[:2]}"
        )
    return to_image(frame)


def _joined(fit: HeadFit, parts: list[HeadFit]) -> HeadFit:
    """The chunks put together; the numbers of their reports as means over the refined frames."""

    def cat(values: list[Tensor]) -> Tensor:
        return torch.cat(values)

    names = [f.name for f in dataclasses.fields(HeadParams) if f.name != "shape"]
    params = {name: cat([getattr(part.params, name) for part in parts]) for name in names}
    lens = [f.name for f in dataclasses.fields(fit.camera)]
    camera = type(fit.camera)(*(cat([getattr(part.camera, name) for part in parts]) for name in lens))
    reports = [part.report["photometric"] for part in parts if "photometric" in part.report]
    counts = np.array([report["frames"] for report in reports])
    means = {
        key: float(np.average([report[key] for report in reports], weights=counts))
        for key in reports[0]
        if key != "frames"
    }
    told = {"photometric": {**means, "frames": int(counts.sum())}}
    if "reprojection_percent_iod" in fit.report:
        percents = [part.report["reprojection_percent_iod"] for part in parts if "photometric" in part.report]
        ratio = float(np.average(percents, weights=counts)) / fit.report["reprojection_percent_iod"]
        told |= {"reprojection_percent_iod": fit.report["reprojection_percent_iod"] * ratio}
    return dataclasses.replace(
        fit,
        params=HeadParams(shape=fit.params.shape, **params),
        camera=camera,
        residual=cat([part.residual for part in parts]),
        report={**fit.report, **told},
    )
