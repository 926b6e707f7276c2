"""Relative pose and intrinsics of a pair of pictures ([DaGAN] Eq. 2).

One network sees target and source side by side and gives rotation and translation of points from the
target's to the source's camera axes, ``X_s = R X_t + t``, and the intrinsics K that both share.

The public code has heads for K, too, but they learn nothing: it writes whole numbers over K before it is used
(``trunc``), whose gradient is zero everywhere. Its principal point starts at 1.19 picture widths and cannot
come below half of one. Nothing of that is repeated here: the ``"official"`` form keeps the public heads for
the public weights, but its K has a gradient as that of our own form has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .errors import HeadwarpError, ShapeError
from .nets.resnet import ResNet, ResNetConfig
from .view_synthesis import intrinsics_matrix

MOTION_SCALE = 0.01
"""Of rotation and translation, so that a new network moves little; as in the public code."""


@dataclass(frozen=True)
class PoseConfig:
    """Size of a pose network, and how K is made of its numbers.

    Attributes:
        layers, width: of the encoder.
        form: ``"own"``: the focal length is its start times an exponential, the principal point a sigmoid of
            the picture, in its middle at the start. ``"official"``: softplus of both, as in the public code.
        focal: of a new network, in picture widths (own form).
        shared_focal: one focal length for x and y, as cameras with square pixels have (own form).
        principal: share of the picture's side that the principal point may be off its middle; 0.5 reaches
            the border, 0 keeps it there (own form).
    """

    layers: Literal[18, 50] = 18
    width: int = 64
    form: Literal["own", "official"] = "own"
    focal: float = 2.0
    shared_focal: bool = True
    principal: float = 0.1


@dataclass(frozen=True)
class RelativePose:
    """The motion between two pictures, and their camera.

    Attributes:
        rotation: axis times angle in radians, ``(B, 3)``; camera axes.
        translation: ``(B, 3)``, in the unit of the depth that it was trained with. ``X_s = R X_t + t``.
        intrinsics: K in pixels of the pictures, ``(B, 3, 3)``.
    """

    rotation: Float[Tensor, "B 3"]
    translation: Float[Tensor, "B 3"]
    intrinsics: Float[Tensor, "B 3 3"]


class PoseNetwork(nn.Module):
    """Motion and intrinsics of pairs. Keys are those of the public files: ``encoder.*`` and ``net.*``.

    Args:
        config: size and form.

    Raises:
        HeadwarpError: a size or range that makes no sense.
    """

    def __init__(self, config: PoseConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PoseConfig()
        if not (math.isfinite(config.focal) and config.focal > 0 and 0 <= config.principal <= 0.5):
            got = f"focal={config.focal}, principal={config.principal}"
            raise HeadwarpError(f"PoseConfig: expected focal > 0 and principal in [0, 0.5], got {got}")
        self.encoder = ResNet(ResNetConfig(config.layers, channels=6, width=config.width))
        hidden = 4 * config.width
        self.net = nn.ModuleList(
            [
                nn.Conv2d(self.encoder.outputs[-1], hidden, 1),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.Conv2d(hidden, 12, 1),
                nn.Conv2d(hidden, 2, 3, padding=1),
                nn.Conv2d(hidden, 2, 3, padding=1),
            ]
        )
        if config.form == "own":
            for head in self.net[4:]:
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)

    def forward(self, pair: Float[Tensor, "B 6 H W"]) -> RelativePose:
        """Pose of a pair: target and source picture on the channel axis, RGB in [0, 1].

        The second half of the twelve motion numbers is not used: the public network has it.

        Raises:
            ShapeError: not (B, 6, H, W).
        """
        if pair.ndim != 4 or pair.shape[1] != 6:
            raise ShapeError(f"pair: expected (B, 6, H, W), got {tuple(pair.shape)}; torch.cat(.., dim=1)")
        size = (int(pair.shape[2]), int(pair.shape[3]))
        values = F.relu(self.net[0](self.encoder(pair)[-1]))
        values = F.relu(self.net[2](F.relu(self.net[1](values))))
        motion = MOTION_SCALE * self.net[3](values).mean((2, 3))  # (B, 12)
        focal, principal = intrinsics_of(self.config, self.net[4](values), self.net[5](values))
        unit = values.new_tensor([size[1], size[0]])
        across = unit[:1] if self.config.form == "own" else unit  # square pixels: both in widths
        matrix = intrinsics_matrix(focal * across, principal * unit)
        return RelativePose(motion[:, :3], motion[:, 3:6], matrix)


def intrinsics_of(
    config: PoseConfig, focal: Float[Tensor, "B 2 h w"], principal: Float[Tensor, "B 2 h w"]
) -> tuple[Float[Tensor, "B 2"], Float[Tensor, "B 2"]]:
    """Focal lengths and principal point, in shares of the picture, from a network's maps.

    Args:
        config: the form.
        focal, principal: any numbers; in our own form zero is the start. Our form takes their means, the
            public code the means of their softplus.

    Returns:
        Own form: focal lengths in widths, between a fifth and five times the start. Official: in shares of
        the side that they belong to, without bound.

    Example:
        >>> found = intrinsics_of(PoseConfig(focal=1.5), torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))
        >>> [value.tolist() for value in found]
        [[[1.5, 1.5]], [[0.5, 0.5]]]
    """
    if config.form == "official":
        return F.softplus(focal).mean((2, 3)), F.softplus(principal).mean((2, 3)) + 0.5
    focal, principal = focal.mean((2, 3)), principal.mean((2, 3))
    if config.shared_focal:
        focal = focal.mean(1, keepdim=True).expand(-1, 2)
    lengths = config.focal * torch.exp(math.log(5.0) * torch.tanh(focal / math.log(5.0)))
    return lengths, 0.5 + config.principal * (2 * torch.sigmoid(principal) - 1)
