"""The discriminator of [FOMM] and [DaGAN]: every patch of a picture, perhaps beside where its keypoints are.

Four blocks of a 4 x 4 convolution without padding, instance norm (not in the first), leaky ReLU and halving
(not in the last), then a 1 x 1 convolution to one logit a patch: 26 x 26 of a picture of 256 px. The public
configs have two of them: with spectral norms, and without them but with a heat map a keypoint beside the
colours. Parameters carry the public checkpoints' names (``discs.1.down_blocks.0.conv``), the spectral norm is
torch's parametrisation.

[DaGAN] A.2 says that it halves four times and predicts 512 x 26 x 26: that is the last block's output, which
three halvings make.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.keypoints import Keypoints
from ..geom.nets.blocks import convolution
from ..warping.dense_motion import keypoint_heat
from .discriminators import Judgement

SLOPE = 0.2
"""Of the leaky ReLUs below zero."""
TAPS = 4


@dataclass(frozen=True)
class KeypointDiscriminatorConfig:
    """Size and inputs; the defaults are those of ``vox-256``, which judges colours alone.

    Attributes:
        channels: of the blocks.
        keypoints: so many heat maps join the colours ("use_kp"); 0 for none.
        spectral_norm: of every convolution ("sn").
        variance: of a heat map's Gaussian in normalised units ("kp_variance").
        align_corners: the lattice of the keypoints; see `geom.grids`.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    keypoints: int = 0
    spectral_norm: bool = True
    variance: float = 0.01
    align_corners: bool = False

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1 or self.keypoints < 0 or self.variance <= 0:
            raise HeadwarpError(
                "discriminator: expected some channels, keypoints of 0 or more and a variance above 0, got "
                f"{self}"
            )

    @property
    def least(self) -> int:
        """Smallest side of a picture that leaves two patches, as an instance norm needs.

        Example:
            >>> KeypointDiscriminatorConfig().least
            61
        """
        side = 2
        for block in range(len(self.channels)):
            side = (side if block == 0 else 2 * side) + TAPS - 1
        return side


VOX = KeypointDiscriminatorConfig()
"""[FOMM]'s ``vox-256``: 2,758,849 parameters. (That config gives it the weight 0.)"""
VOX_ADVERSARIAL = KeypointDiscriminatorConfig(keypoints=10, spectral_norm=False)
"""[FOMM]'s ``vox-adv-256``: 2,769,089."""
DAGAN = KeypointDiscriminatorConfig(keypoints=15, spectral_norm=False)
"""[DaGAN]'s: 2,774,209."""


class PatchBlock(nn.Module):
    """Convolution without padding, instance norm, leaky ReLU, halving.

    Args:
        inputs, outputs: channels.
        norm: whether there is one.
        halve: whether the mean of every 2 x 2 pixels is taken.
        spectral_norm: of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, norm: bool, halve: bool, spectral_norm: bool) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, TAPS, padding=0, spectral_norm=spectral_norm)
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else None
        self.halve = halve

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H - 3, W - 3)``, or half of that."""
        features = self.conv(features)
        if self.norm is not None:
            features = self.norm(features)
        features = F.leaky_relu(features, SLOPE)
        return F.avg_pool2d(features, 2) if self.halve else features


class Patches(nn.Module):
    """One scale: blocks and logits."""

    def __init__(self, config: KeypointDiscriminatorConfig) -> None:
        super().__init__()
        sizes, last = (3 + config.keypoints, *config.channels), len(config.channels) - 1
        self.down_blocks = nn.ModuleList(
            PatchBlock(
                *sizes[level : level + 2],
                norm=level > 0,
                halve=level < last,
                spectral_norm=config.spectral_norm,
            )
            for level in range(last + 1)
        )
        self.conv = convolution(sizes[-1], 1, 1, spectral_norm=config.spectral_norm)

    def forward(self, seen: Float[Tensor, "B C H W"]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Features of every block, and the logits."""
        features = []
        for block in self.down_blocks:
            seen = block(seen)
            features.append(seen)
        return tuple(features), self.conv(seen)


class KeypointDiscriminator(nn.Module):
    """See the module; one scale, as in both papers' configs.

    Args:
        config: size and inputs; ``vox-256``'s if None.

    Example:
        >>> small = KeypointDiscriminatorConfig(channels=(4, 8), keypoints=2, spectral_norm=False)
        >>> judgement = KeypointDiscriminator(small)(torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 2))
        >>> [tuple(each.shape) for each in (*judgement.features[0], *judgement.logits)]
        [(1, 4, 14, 14), (1, 8, 11, 11), (1, 1, 11, 11)]
    """

    def __init__(self, config: KeypointDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or KeypointDiscriminatorConfig()
        self.discs = nn.ModuleDict({"1": Patches(self.config)})

    def forward(
        self, image: Float[Tensor, "B 3 H W"], keypoints: Float[Tensor, "B K 2"] | None = None
    ) -> Judgement:
        """Judge pictures.

        Args:
            image: RGB in [0, 1].
            keypoints: of the driving picture, for true and made pictures alike, in normalised coordinates;
                only with ``config.keypoints``. Detached here, as in the public code: the detector is not to
                learn what the discriminator likes.

        Raises:
            ShapeError: not (B, 3, H, W), a side below ``config.least``, or other keypoints.
            HeadwarpError: keypoints are missing, or nobody looks at them.
        """
        wanted, least = self.config.keypoints, self.config.least
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < least:
            raise ShapeError(
                f"discriminator: image: expected (B, 3, H, W) of at least {least} px a side, "
                f"got {tuple(image.shape)}"
            )
        if (keypoints is not None) != bool(wanted):
            got = "none" if keypoints is None else f"{keypoints.shape[1]}"
            raise HeadwarpError(f"discriminator: keypoints: expected {wanted or 'none'}, got {got}")
        if keypoints is not None:
            image = torch.cat([image, self._heat(image, keypoints)], dim=1)  # (B, 3 + K, H, W)
        features, logits = self.discs["1"](image)
        return Judgement((features,), (logits,))

    def _heat(self, image: Tensor, keypoints: Tensor) -> Float[Tensor, "B K H W"]:
        if keypoints.shape != (len(image), self.config.keypoints, 2):
            raise ShapeError(
                f"discriminator: keypoints: expected {(len(image), self.config.keypoints, 2)}, "
                f"got {tuple(keypoints.shape)}"
            )
        heat = keypoint_heat(
            Keypoints(keypoints.detach()),
            (image.shape[2], image.shape[3]),
            variance=self.config.variance,
            align_corners=self.config.align_corners,
        )
        return heat.to(image.dtype)
