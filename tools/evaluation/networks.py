"""Networks of metrics that need a user's weights: which are there, what they are called, what they see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...training.metrics.lpips import load_lpips

EmbedFace = Callable[[Tensor], Tensor]
"""Aligned faces, RGB in [0, 1], ``(B, 3, 112, 112)`` -> embeddings ``(B, D)``."""
Features = Callable[[Tensor], Tensor]
"""Pictures, RGB in [0, 1], ``(B, 3, H, W)`` -> features ``(B, 2048)``."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""Two pictures, RGB in [0, 1] -> distances ``(B,)``."""

ARCFACE = (
    *("ir_se50", "iresnet50_ms1mv3", "iresnet100_ms1mv3", "iresnet100_glint360k"),
    *("iresnet34_glint360k", "iresnet18_glint360k"),
)
INCEPTION = ("inception_fid", "inception_torchvision")
NEEDS = {
    "arcface": ("csim", "aed_id", "aed_id_sq"),
    "inception": ("fid",),
    "lpips": ("lpips",),
}
"""Option that names the weights -> metrics that need them."""


@dataclass(frozen=True)
class Networks:
    """The networks of a run; None for one whose weights were not given.

    Attributes:
        arcface: embeds faces.
        inception: features of pictures.
        lpips: distance of pictures.
        ids: by option, the network and the start of its file's hash.
    """

    arcface: EmbedFace | None = None
    inception: Features | None = None
    lpips: Distance | None = None
    ids: Mapping[str, str] = field(default_factory=dict)

    def absent(self) -> dict[str, str]:
        """Metrics that cannot be measured, with the reason."""
        return {
            metric: f"needs weights: --{option} FILE; no other network stands in"
            for option, metrics in NEEDS.items()
            if getattr(self, option) is None
            for metric in metrics
        }


def load_networks(
    *,
    arcface: Path | None = None,
    inception: Path | None = None,
    lpips: Path | None = None,
    device: torch.device | str = "cpu",
) -> Networks:
    """The networks whose weights are named, on a device, for inference.

    Args:
        arcface: weights for identity metrics; None: those are not measured.
        inception: for the Frechet distance, likewise.
        lpips: for LPIPS, likewise.
        device: where they work.

    Raises:
        ModelFileError: a file that is missing or holds other weights.
    """
    from ...geom.nets.weights import load_backbone_file, require_pretrained, sha256_of

    place = torch.device(device)
    found: dict[str, Any] = {}
    ids: dict[str, str] = {}
    for option, path, names in (("arcface", arcface, ARCFACE), ("inception", inception, INCEPTION)):
        if path is None:
            continue
        backbone = load_backbone_file(path, names)
        network = require_pretrained(backbone, by=f"--{option}").to(place)
        found[option] = _on(network, place)
        ids[option] = f"{backbone.name}-{str(backbone.sha256)[:8]}"
    if lpips is not None:
        network = load_lpips(lpips)
        found["lpips"] = _on(network.to(place), place)
        ids["lpips"] = f"{network.backbone}-{sha256_of(lpips)[:8]}"
    return Networks(**found, ids=ids)


def _on(network: nn.Module, place: torch.device) -> Callable[..., Tensor]:
    """The network as a function of pictures anywhere, its answer on the CPU."""

    @torch.no_grad()
    def answer(*pictures: Tensor) -> Tensor:
        return network(*(picture.to(place) for picture in pictures)).cpu()

    return answer
