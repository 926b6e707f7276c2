"""Networks of metrics that need a user's weights: which are there, what they are called, what they see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

EmbedFace = Callable[[Tensor], Tensor]
"""Aligned faces, RGB in [0, 1], ``(B, 3, 112, 112)`` -> embeddings ``(B, D)``."""
Features = Callable[[Tensor], Tensor]
"""Pictures, RGB in [0, 1], ``(B, 3, H, W)`` -> features ``(B, 2048)``."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""Two pictures, RGB in [0, 1] -> distances ``(B,)``."""

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
            metric: f"needs weights of {option}; no other network stands in"
            for option, metrics in NEEDS.items()
            if getattr(self, option) is None
            for metric in metrics
        }
