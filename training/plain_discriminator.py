"""The discriminator of [S2D] sec. 1: every patch of a picture, by blocks of plain layers.

Four blocks of a 4 x 4 convolution, batch norm, ReLU and halving, then a 1 x 1 convolution to one logit a
patch ([PatchGAN]). The paper does not say how the convolutions are padded; here a block halves its picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.nets.plain import DownBlock
from .discriminators import Judgement

TAPS = 4


@dataclass(frozen=True)
class PlainDiscriminatorConfig:
    """Size of a `PlainDiscriminator`.

    Attributes:
        channels: of the blocks; the defaults are those of [S2D] sec. 1.
    """

    channels: tuple[int, ...] = (128, 256, 512, 1024)

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise HeadwarpError(f"discriminator: channels: expected some of at least 1, got {self.channels}")


class PlainDiscriminator(nn.Module):
    """See the module; one scale.

    Args:
        config: its size; the paper's if None.

    Example:
        >>> import torch
        >>> judgement = PlainDiscriminator(PlainDiscriminatorConfig((4, 8)))(torch.rand(1, 3, 32, 32))
        >>> [tuple(each.shape) for each in (*judgement.features[0], *judgement.logits)]
        [(1, 4, 16, 16), (1, 8, 8, 8), (1, 1, 8, 8)]
    """

    def __init__(self, config: PlainDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or PlainDiscriminatorConfig()
        channels = self.config.channels
        pairs = zip((3, *channels[:-1]), channels, strict=True)
        self.blocks = nn.ModuleList(DownBlock(inputs, outputs, TAPS) for inputs, outputs in pairs)
        self.conv = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Judgement:
        """Judge pictures, RGB in [0, 1].

        Raises:
            ShapeError: not (B, 3, H, W), or too small a side to be halved so often.
        """
        least = 1 << len(self.blocks)
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < least:
            raise ShapeError(
                f"discriminator: image: expected (B, 3, H, W) of at least {least} px a side, "
                f"got {tuple(image.shape)}"
            )
        features = []
        for block in self.blocks:
            image = block(image)
            features.append(image)
        return Judgement((tuple(features),), (self.conv(image),))
