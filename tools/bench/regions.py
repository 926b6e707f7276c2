"""Suite of the segmenters: the rendered regions of a posed head, against the network for the same labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .suites import Case

_SIDES = (256, 512)


def region_cases() -> Sequence[Case]:
    """A frame whose fit and person mask are known; the rival is BiSeNet (no weights change its speed)."""
    from .suites import Case

    rival = ("bisenet", _network())
    return [Case("regions/rendered", side, 1, *_rendered(side, rival)) for side in _SIDES]


def _network() -> Callable[[], object]:
    import torch

    from ...flame.detect.parsers import SIZE
    from ...geom.nets.bisenet import BiSeNet

    network, image = BiSeNet().eval().requires_grad_(False), torch.rand(1, 3, SIZE, SIZE)
    return lambda: network(image)


def _rendered(
    side: int, rival: tuple[str, Callable[[], object]]
) -> tuple[Callable[[], object], tuple[str, Callable[[], object]], Callable[[], Mapping[str, float]]]:
    """The segmenter on the head of a track, its hair a dark cap and its mask known."""
    import numpy as np

    from ...flame.detect.regions import load_segmenter
    from ...flame.fitting import fit_landmarks
    from ...flame.io import load_head
    from ...flame.posing import window_fit
    from ...geom.crops import Crop
    from ...geom.face_regions import FaceRegion
    from .synthetic_faces import SIDE, head_track

    head = load_head("builtin")
    fit = window_fit(fit_landmarks(head, head_track(head, 1), (SIDE, SIDE)), Crop(0, 0, float(SIDE)), side)
    segmenter = load_segmenter(head=head)
    rows, columns = np.mgrid[:side, :side] / side
    person = (np.hypot(columns - 0.5, 0.8 * (rows - 0.45)) < 0.3) | (rows > 0.8)
    noise = np.random.default_rng(0).normal(0, 6, (side, side, 3))
    picture = np.where(person[..., None], (70, 50, 40), (150, 160, 150)) + noise
    image, mask = picture.clip(0, 255).astype(np.uint8), person.astype(np.float32)

    def work() -> object:
        return segmenter.segment(image, fit=fit, person=mask)

    def facts() -> Mapping[str, float]:
        labels = segmenter.segment(image, fit=fit, person=mask).labels
        return {"hair_share": float((labels == FaceRegion.HAIR).mean())}

    return work, rival, facts
