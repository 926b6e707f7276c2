"""The discriminator of [HeSer]'s blender: pictures judged beside the masks that they were made by.

Patches are judged as in `discriminators` ([HeSer] leaves its layers open); the masks of head and ring are
two more channels ([HeSer] Eq. 10-11).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from .discriminators import Judgement, PatchDiscriminator

MASKS = 2


@dataclass(frozen=True)
class BlenderDiscriminatorConfig:
    """Size of a `BlenderDiscriminator`.

    Attributes:
        channels: of its blocks, each of which halves the picture.
        spectral_norm: of its convolutions ([HeSer] sec. 3.2: of all).
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    spectral_norm: bool = True

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise HeadwarpError(f"discriminator: channels: expected some of at least 1, got {self.channels}")


class BlenderDiscriminator(nn.Module):
    """See the module; one scale.

    Args:
        config: its size.

    Example:
        >>> judge = BlenderDiscriminator(BlenderDiscriminatorConfig((4, 8)))
        >>> masks = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
        >>> tuple(judge(torch.rand(1, 3, 32, 32), *masks).logits[0].shape)
        (1, 1, 9, 9)
    """

    def __init__(self, config: BlenderDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or BlenderDiscriminatorConfig()
        self.patches = PatchDiscriminator(
            self.config.channels, spectral_norm=self.config.spectral_norm, inputs=3 + MASKS
        )

    def forward(
        self, image: Float[Tensor, "B 3 H W"], head: Float[Tensor, "B 1 H W"], ring: Float[Tensor, "B 1 H W"]
    ) -> Judgement:
        """Judge pictures, RGB in [0, 1], by what was made in them.

        Args:
            image: RGB in [0, 1].
            head: 1 where the head was made.
            ring: 1 around it, where it was painted in.

        Raises:
            ShapeError: shapes that do not go together.
        """
        if image.ndim != 4 or head.shape != ring.shape or image[:, :1].shape != head.shape:
            got = ", ".join(str(tuple(tensor.shape)) for tensor in (image, head, ring))
            raise ShapeError(f"discriminator: expected (B, 3, H, W) and two masks (B, 1, H, W), got {got}")
        features, logits = self.patches(torch.cat([image, head, ring], dim=1))
        return Judgement((features,), (logits,))
