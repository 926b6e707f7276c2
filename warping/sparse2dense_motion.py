"""Dense motion from landmark vectors, the networks of [S2D] sec. 1: the whole face's and those of its parts.

One network is an encoder of a source picture and a decoder of its motion. Its last encoding blocks are told
where the source's landmarks lie and its first decoding blocks where the driver's do, by adaptive instance
norms; between them stands what the driver's landmarks are beyond the source's (*Add Motion*). The encoder
sees nothing of a driving frame and runs once a source.

Here are the layers and the patches about eyes and mouth; `sparse2dense` puts them together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.flow import sample
from ..geom.grids import lattice
from ..geom.nets.plain import DownBlock, UpBlock

TAPS = 3
EPSILON = 1e-5


@dataclass(frozen=True)
class MotionNetworkConfig:
    """Size of a `MotionNetwork`; the defaults are the whole face's.

    Attributes:
        encoder: channels of the halving blocks ([S2D] sec. 1).
        decoder: channels of the doubling blocks, as many.
        adaptive: so many last encoding and first decoding blocks are told the landmarks: 4 ([S2D] sec. 1).
        hidden: width of the two layers that make a norm's scale and shift of a landmark vector; [S2D] does
            not say, nor whether there are two.
    """

    encoder: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 1024)
    decoder: tuple[int, ...] = (1024, 1024, 512, 256, 128, 64, 32)
    adaptive: int = 4
    hidden: int = 256

    def __post_init__(self) -> None:
        if not self.encoder or len(self.encoder) != len(self.decoder):
            raise HeadwarpError(
                "encoder, decoder: expected as many blocks of both, at least one, got "
                f"{len(self.encoder)} and {len(self.decoder)}"
            )
        if min(*self.encoder, *self.decoder, self.hidden) < 1 or not 0 <= self.adaptive <= len(self.encoder):
            raise HeadwarpError(
                "channels, hidden, adaptive: expected at least 1, 1 and 0 to the number of blocks, got "
                f"{(self.encoder, self.decoder, self.hidden, self.adaptive)}"
            )

    @property
    def multiple(self) -> int:
        """Both sides of a picture are multiples of this."""
        return 1 << len(self.encoder)


WHOLE = MotionNetworkConfig()
PART = MotionNetworkConfig((16, 32, 64, 128, 256), (256, 128, 64, 32, 16), adaptive=3)
"""Of an eye or the mouth ([S2D] sec. 1)."""


class AdaptiveNorm(nn.Module):
    """An instance norm whose scale and shift a vector says: ``(1 + a) (x - mean) / deviation + b``.

    [S2D] has AdaIN layers and does not say what makes a and b of a landmark vector: two layers here, whose
    last one begins at 0, so that the norm begins as a plain one. Under autocast landmarks and moments stay
    in single precision: places in bfloat16 are a quarter of a pixel apart in a frame of 128, and a mean that
    is rounded before it is subtracted leaves what was rounded as signal.

    Args:
        channels: of the features.
        told: numbers in the vector.
        hidden: width between the layers.
    """

    def __init__(self, channels: int, told: int, hidden: int) -> None:
        super().__init__()
        self.perceptron = nn.Sequential(
            nn.Linear(told, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 2 * channels)
        )
        for parameter in self.perceptron[2].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, features: Float[Tensor, "B C H W"], vector: Float[Tensor, "B N"]
    ) -> Float[Tensor, "B C H W"]:
        """The features of every sample normed by themselves, in their type; constant ones give the shift."""
        with torch.autocast(features.device.type, enabled=False):
            told = self.perceptron(_single(vector))
            scale, shift = told[..., None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
            exact = _single(features)
            centred = exact - exact.mean((2, 3), keepdim=True)
            deviation = (centred.square().mean((2, 3), keepdim=True) + EPSILON).sqrt()
            return torch.addcmul(shift, centred / deviation, 1 + scale).to(features.dtype)


class AdaptiveDownBlock(nn.Module):
    """Convolution, `AdaptiveNorm` in the place of the batch norm, ReLU, halving."""

    def __init__(self, inputs: int, outputs: int, *, told: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, TAPS, padding=TAPS // 2)
        self.norm = AdaptiveNorm(outputs, told, hidden)

    def forward(
        self, features: Float[Tensor, "B C H W"], vector: Float[Tensor, "B N"]
    ) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / 2, W / 2)``."""
        return F.avg_pool2d(F.relu(self.norm(self.conv(features), vector)), 2)


class AdaptiveUpBlock(AdaptiveDownBlock):
    """Doubling, convolution, `AdaptiveNorm`, ReLU."""

    def forward(
        self, features: Float[Tensor, "B C H W"], vector: Float[Tensor, "B N"]
    ) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, 2 H, 2 W)``."""
        doubled = F.interpolate(features, scale_factor=2, mode="nearest")
        return F.relu(self.norm(self.conv(doubled), vector))


class AddMotion(nn.Module):
    """What the driver's landmarks are beyond the source's, added to every place of hidden features.

    [S2D] sec. 1 names the layer and draws it in a figure; that what is added is a linear map of the
    difference is our reading. It has no bias: landmarks that did not move add exactly nothing.

    Args:
        told: numbers in the vector.
        channels: of the features.
    """

    def __init__(self, told: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(told, channels, bias=False)

    def forward(
        self, hidden: Float[Tensor, "#B C h w"], motion: Float[Tensor, "#B N"]
    ) -> Float[Tensor, "B C h w"]:
        """The hidden features with the motion added, in single precision at least; the batch of either may be
        1.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            return _single(hidden) + self.linear(_single(motion))[:, :, None, None]


class MotionNetwork(nn.Module):
    """See the module: a source picture and two landmark vectors to maps of the picture's size.

    Args:
        config: its size.
        told: numbers in a landmark vector.
        outputs: maps; they begin at 0 everywhere.
    """

    def __init__(self, config: MotionNetworkConfig, *, told: int, outputs: int) -> None:
        super().__init__()
        blocks, plain = len(config.encoder), len(config.encoder) - config.adaptive
        sizes = (3, *config.encoder, *config.decoder)
        pairs = list(itertools.pairwise(sizes))
        self.encoder = nn.ModuleList(
            DownBlock(*pair) if level < plain else AdaptiveDownBlock(*pair, told=told, hidden=config.hidden)
            for level, pair in enumerate(pairs[:blocks])
        )
        self.add_motion = AddMotion(told, config.encoder[-1])
        self.decoder = nn.ModuleList(
            AdaptiveUpBlock(*pair, told=told, hidden=config.hidden)
            if level < config.adaptive
            else UpBlock(*pair)
            for level, pair in enumerate(pairs[blocks:])
        )
        self.head = nn.Conv2d(config.decoder[-1], outputs, TAPS, padding=TAPS // 2)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def encode(self, image: Float[Tensor, "B 3 H W"], own: Float[Tensor, "B N"]) -> Float[Tensor, "B C h w"]:
        """Hidden features, which depend on no driving frame.

        Args:
            image: the source, RGB in [0, 1].
            own: the source's landmarks, x and y of each after the other.
        """
        return _through(self.encoder, image, own)

    def decode(
        self,
        hidden: Float[Tensor, "#B C h w"],
        own: Float[Tensor, "#B N"],
        driving: Float[Tensor, "B N"],
    ) -> Float[Tensor, "B M H W"]:
        """Maps of the motion from the source's landmarks to the driver's, in single precision at least.

        Args:
            hidden: features of the source.
            own: the source's landmarks, x and y of each after the other.
            driving: the driver's, likewise.
        """
        features = _through(self.decoder, self.add_motion(hidden, driving - own), driving)
        with torch.autocast(features.device.type, enabled=False):
            return self.head(_single(features))


def _single(tensor: Tensor) -> Tensor:
    """In single precision where it was in less."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _through(blocks: nn.ModuleList, features: Tensor, vector: Tensor) -> Tensor:
    for block in blocks:
        adaptive = isinstance(block, AdaptiveDownBlock)
        features = block(features, vector) if adaptive else block(features)
    return features


@dataclass(frozen=True)
class Patch:
    """Squares of a frame about some of its landmarks.

    Attributes:
        centre: mean of the landmarks, normalised, ``(B, 2)``.
        half: half a side in normalised units of the frame, x and y.
    """

    centre: Float[Tensor, "B 2"]
    half: tuple[float, float]

    def of_frame(self, points: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N 2"]:
        """Places of the frame in the patch's own units: -1 and 1 at its edges."""
        return (points - self.centre[:, None]) / points.new_tensor(self.half)

    def cut(self, image: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C S S"]:
        """The picture in the patch, ``side`` pixels a side; beyond the frame its edge goes on."""
        height, width = image.shape[2:]
        inner = lattice((side, side), align_corners=False, device=image.device, dtype=image.dtype)
        half = image.new_tensor(self.half)[:, None, None]
        places = self.centre[:, :, None, None] + inner * half  # (B, 2, S, S), normalised
        pixels = (places + 1) / 2 * image.new_tensor([width, height])[:, None, None]
        return sample(image, pixels, padding_mode="border")

    def placed(
        self, maps: Float[Tensor, "B C s s"], size: tuple[int, int], *, feather: float
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B 1 H W"]]:
        """Maps of the patch where it lies in a frame, and how much they count there.

        Args:
            maps: of the patch.
            size: (H, W) of the frame.
            feather: width of the edge, in half sides, over which they count less and less.

        Returns:
            The maps, their edges going on outside; and a window: 1 inside, 0 from the patch's edge on, not
            differentiated.
        """
        frame = lattice(size, align_corners=False, device=maps.device, dtype=maps.dtype)
        half = maps.new_tensor(self.half)[:, None, None]
        inner = (frame - self.centre[:, :, None, None]) / half  # (B, 2, H, W)
        window = ((1 - inner.abs()) / feather).clamp(0, 1).prod(dim=1, keepdim=True).detach()
        side = maps.shape[2]
        return sample(maps, (inner.clamp(-1, 1) + 1) / 2 * side, padding_mode="border"), window


def patch_about(
    points: Float[Tensor, "B L 2"], region: tuple[int, ...], size: tuple[int, int], *, share: float
) -> Patch:
    """The patch about some landmarks.

    Args:
        points: landmarks, normalised.
        region: rows of those that it is about.
        size: (H, W) of the frame.
        share: its side as a share of the frame's shorter one.
    """
    height, width = size
    least = min(size)
    return Patch(points[:, list(region)].mean(1), (share * least / width, share * least / height))
