"""[HeSer]'s Head2Scene Blender: a head of other colours becomes part of a target picture.

Colours of the target's head are carried to the animated head's pixels by correspondence within semantic
regions (`geom.region_correlation`), and so is what lies about the target's head to where the new head leaves
a gap; a network makes the picture of both references, the animated head's greys and the target around it.

What [HeSer] leaves open follows the unofficial code where the config says so. Ours besides, each a field:

* ``anchored``: the network says what is to be added to the references themselves, with the animated head's
  fine greys on them, so that colours need not go through it; else it makes the whole picture;
* ``pasted``: the target beyond the masks is taken as it is, bit for bit.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.nets.vgg import Vgg19, imagenet_denormalized
from ..geom.region_correlation import LIMIT_MB, Exemplar, directions, region_correlation
from .blending_unet import ResidualUNet, ResidualUNetConfig
from .colorvid_unet import ColorVidUNet
from .heser_regions import (
    RING,
    RULES,
    cell_means,
    composed_labels,
    dilated,
    grown,
    head_mask,
    resized_corners,
    subsampled,
)
from .surface_features import CHANNELS, surface_features

TAP, TAP_CHANNELS, TAP_STRIDE = "relu4_4", 512, 8
"""Of VGG-19: what the unofficial code correlates; [HeSer] says "VGG-19" alone."""
_BEHIND_TAP = ("28", "30", "32", "34")
PLANES = 12
"""Of the blending network: colours of the head 3, of the ring 3, head mask, target about it 3, ring mask,
greys."""
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class HeserBlenderConfig:
    """What the blender is made of; the defaults are ours.

    Attributes:
        form: ``unofficial`` is what the unofficial code computes, wherever it lies open: the network of
            `colorvid_unet` (its width the first of ``unet``), VGG-19 fed with colours in [-1, 1] as they are,
            features that keep some of their length, references resized by corners.
        features: what is correlated: ``vgg``, VGG-19's ``relu4_4``, or ``surface``, which needs no weights
            (`surface_features`) and stands in for it.
        stride: side of a cell of ``surface`` features in pixels; that of ``vgg`` is 8.
        channels: of the projections of either picture's features.
        temperature: of the softmax; the unofficial code 0.001, [HeSer] gives the symbol alone.
        regions: of `heser_regions.RULES`.
        dilation: width of the window that masks grow by, in pixels of a picture of 512; the unofficial
            code's is 17.
        unet: of the blending network.
        anchored, pasted: see the module.
        limit_mb: most that correlations take at a time, see `region_correlation`.
    """

    form: Literal["ours", "unofficial"] = "ours"
    features: Literal["surface", "vgg"] = "surface"
    stride: int = 4
    channels: int = 256
    temperature: float = 0.01
    regions: Literal["paper", "unofficial"] = "paper"
    dilation: int = 33
    unet: ResidualUNetConfig = field(default_factory=lambda: ResidualUNetConfig(norm="group"))
    anchored: bool = True
    pasted: bool = True
    limit_mb: float = LIMIT_MB

    def __post_init__(self) -> None:
        if self.features not in ("surface", "vgg") or self.regions not in RULES:
            raise HeadwarpError(
                "blender: expected features surface or vgg and regions paper or unofficial, got "
                f"{self.features!r} and {self.regions!r}"
            )
        if self.form not in ("ours", "unofficial") or (self.form != "ours" and self.anchored):
            raise HeadwarpError(f"blender: expected ours, or unofficial and not anchored, got {self.form!r}")
        if self.stride not in (2, 4, 8) or self.channels < 1 or self.temperature <= 0 or self.dilation < 1:
            raise HeadwarpError(
                "blender: expected stride 2, 4 or 8, channels and dilation of at least 1, temperature > 0"
            )

    @property
    def cell(self) -> int:
        """Side of a cell of features in pixels."""
        return TAP_STRIDE if self.features == "vgg" else self.stride


SIZES = {"paper": (64, 128, 256, 512), "small": (32, 64, 128, 256), "tiny": (16, 24, 32, 48)}


def sized_blender(config: HeserBlenderConfig, size: str) -> HeserBlenderConfig:
    """The config with a blending network of another size.

    Raises:
        HeadwarpError: no such size.
    """
    if size not in SIZES:
        raise HeadwarpError(f"size: expected one of {', '.join(SIZES)}, got {size!r}")
    channels = 64 if size == "tiny" else config.channels
    unet = dataclasses.replace(config.unet, widths=SIZES[size])
    return dataclasses.replace(config, unet=unet, channels=channels)


@dataclass(frozen=True)
class LabelledPicture:
    """A picture of a head, and what is known of its pixels.

    Attributes:
        image: RGB in [0, 1].
        labels: regions of `geom.face_regions`.
        surface: where on the head at rest each pixel lies, x, y and z in shares of its size, and 1 where it
            shows the head, ``(B, 4, H, W)``; None: it is not known, places about the head's middle must do.
    """

    image: Float[Tensor, "B 3 H W"]
    labels: Int[Tensor, "B H W"]
    surface: Float[Tensor, "B 4 H W"] | None = None

    @property
    def where(self) -> Float[Tensor, "B 4 H W"]:
        """``surface``, or zeros."""
        if self.surface is not None:
            return self.surface
        return self.image.new_zeros(len(self.image), 4, *self.image.shape[2:])


@dataclass(frozen=True)
class EncodedTarget:
    """What depends on the target alone, computed once for any number of heads.

    Attributes:
        picture: the target.
        head: its head's mask.
        key: features of its cells, unit vectors.
        labels: of its cells, with `heser_regions.RING` and ``SCENE``.
        colours: of its cells, means over those of their pixels that have their label.
    """

    picture: LabelledPicture
    head: Bool[Tensor, "B 1 H W"]
    key: Float[Tensor, "B C h w"]
    labels: Int[Tensor, "B h w"]
    colours: Float[Tensor, "B 3 h w"]


@dataclass(frozen=True)
class Blend:
    """A head in its scene, and what it was made of.

    Attributes:
        image: RGB; in training it may leave [0, 1] where it is anchored.
        head: mask of the animated head.
        ring: mask of what had to be filled about it.
        head_colours: of the target at the animated head's pixels, 0 elsewhere.
        filling: of the target's surroundings at the ring's pixels, 0 elsewhere.
        query: features of the animated picture's cells.
        labels: of its cells.
        exemplar: what its cells found in the target.
    """

    image: Float[Tensor, "B 3 H W"]
    head: Bool[Tensor, "B 1 H W"]
    ring: Bool[Tensor, "B 1 H W"]
    head_colours: Float[Tensor, "B 3 H W"]
    filling: Float[Tensor, "B 3 H W"]
    query: Float[Tensor, "B C h w"]
    labels: Int[Tensor, "B h w"]
    exemplar: Exemplar


class HeserBlender(nn.Module):
    """See the module. With ``vgg`` features its weights are part of the checkpoint; a fresh one has random
    weights there until `load_features` is given pretrained ones.

    Args:
        config: what it is made of.
    """

    def __init__(self, config: HeserBlenderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HeserBlenderConfig()
        self.backbone: Vgg19 | None = None
        if config.features == "vgg":
            self.backbone = Vgg19()
            for key in _BEHIND_TAP:
                del self.backbone.features[key]
            self.backbone.requires_grad_(False)
        width = TAP_CHANNELS if config.features == "vgg" else CHANNELS
        self.of_animated = nn.Conv2d(width, config.channels, 1)  # phi
        self.of_target = nn.Conv2d(width, config.channels, 1)  # theta
        nn.init.orthogonal_(self.of_animated.weight)
        self.of_target.load_state_dict(self.of_animated.state_dict())  # alike pixels begin alike
        self.unet: ResidualUNet | ColorVidUNet = ResidualUNet(PLANES, 3, config.unet, zero=config.anchored)
        if config.form == "unofficial":
            self.unet = ColorVidUNet(PLANES, 3, config.unet.widths[0])
        self.rule = RULES[config.regions]
        self.limit_mb = config.limit_mb

    @property
    def multiple(self) -> int:
        """Sides of the pictures are multiples of this."""
        return max(self.unet.multiple, self.config.cell)

    def load_features(self, vgg: Vgg19) -> None:
        """Take over the weights of a pretrained VGG-19; they stay as they are in training.

        Raises:
            HeadwarpError: the config has no use for them.
        """
        if self.backbone is None:
            raise HeadwarpError("blender: its features are the surface's; it has no use for VGG-19's weights")
        own = self.backbone.state_dict()
        self.backbone.load_state_dict({key: vgg.state_dict()[key] for key in own})

    def encode(self, target: LabelledPicture) -> EncodedTarget:
        """What depends on the target alone.

        Raises:
            ShapeError: sides that are no multiples of `multiple`, or labels of another size.
        """
        _check(target, self.multiple, "target")
        config, head = self.config, head_mask(target.labels)
        ring = dilated(head, config.dilation) & ~head
        whole = composed_labels(target.labels, ring, scene=True)
        labels = subsampled(whole, config.cell)
        if config.form == "unofficial":
            colours = resized_corners(target.image, (labels.shape[1], labels.shape[2]))
        else:
            colours = cell_means(target.image, whole, labels)
        return EncodedTarget(target, head, self.features(target, self.of_target), labels, colours)

    def blend(
        self,
        animated: LabelledPicture,
        target: EncodedTarget,
        *,
        scene: Float[Tensor, "B 3 H W"] | None = None,
    ) -> Blend:
        """The animated head in the target's scene.

        Args:
            animated: the head, aligned with where it shall be.
            target: what gives colours, and the hole that its own head leaves.
            scene: the picture around the head; the target's by default. In training, where colours come from
                another picture, it is the truth.

        Raises:
            ShapeError: pictures of other sizes.
        """
        _check(animated, self.multiple, "animated")
        if animated.image.shape != target.picture.image.shape:
            raise ShapeError(
                f"blender: animated: expected {tuple(target.picture.image.shape)} as the target, got "
                f"{tuple(animated.image.shape)}; resize one"
            )
        config, head = self.config, head_mask(animated.labels)
        ring = dilated(head | target.head, config.dilation) & ~head
        labels = subsampled(composed_labels(animated.labels, ring, scene=False), config.cell)
        query = self.features(animated, self.of_animated)
        exemplar = self.carried(query, target.key, target.colours, labels, target.labels)
        size = (head.shape[2], head.shape[3])
        in_ring = (labels == RING)[:, None]
        parts, masks = (~in_ring, in_ring), (head, ring)
        if config.form == "unofficial":
            planes = [
                resized_corners((2 * exemplar.values - 1) * exemplar.known * part, size) for part in parts
            ]
            references = [(plane + 1) / 2 * mask for plane, mask in zip(planes, masks, strict=True)]
        else:
            references = [
                grown(exemplar.values, exemplar.known * part, size) * mask
                for part, mask in zip(parts, masks, strict=True)
            ]
            planes = [(2 * value - 1) * mask for value, mask in zip(references, masks, strict=True)]
        around = target.picture.image if scene is None else scene
        image = self._image(animated.image, around, masks, references, planes)
        return Blend(image, head, ring, references[0], references[1], query, labels, exemplar)

    def forward(self, animated: LabelledPicture, target: LabelledPicture) -> Blend:
        """Both steps for one picture of each."""
        return self.blend(animated, self.encode(target))

    def features(self, picture: LabelledPicture, projection: nn.Conv2d) -> Float[Tensor, "B C h w"]:
        """Unit vectors of cells, in single precision."""
        if self.backbone is not None:
            with torch.no_grad():
                shown = picture.image
                if self.config.form == "unofficial":
                    shown = imagenet_denormalized(2 * shown - 1)  # taps normalises it again
                (raw,) = self.backbone.taps(shown, (TAP,))
        else:
            head = head_mask(picture.labels)
            raw = surface_features(picture.image, head, picture.where, self.config.stride)
        with torch.autocast(raw.device.type, enabled=False):
            projected = F.conv2d(raw.float(), projection.weight, projection.bias)
            return directions(projected, uncentred=self.config.form == "unofficial")

    def carried(
        self,
        query: Float[Tensor, "B C h w"],
        key: Float[Tensor, "B C h w"],
        values: Float[Tensor, "B D h w"],
        query_labels: Int[Tensor, "B h w"],
        key_labels: Int[Tensor, "B h w"],
    ) -> Exemplar:
        """`region_correlation` as the config has it, in single precision.

        Args:
            query: features of the picture that is coloured.
            key: features of the reference.
            values: the reference's colours.
            query_labels: regions of the picture.
            key_labels: regions of the reference.
        """
        with torch.autocast(query.device.type, enabled=False):
            return region_correlation(
                query.float(),
                key.float(),
                values.float(),
                query_labels,
                key_labels,
                rule=self.rule,
                temperature=self.config.temperature,
                limit_mb=self.limit_mb,
            )

    def _image(
        self,
        animated: Tensor,
        around: Tensor,
        masks: tuple[Tensor, Tensor],
        references: list[Tensor],
        carried: list[Tensor],
    ) -> Float[Tensor, "B 3 H W"]:
        """The picture: of the network alone, or of the references with what it adds."""
        (head, ring), (colours, filling) = masks, references
        rest = ~(head | ring)
        grey = (animated * animated.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
        planes = torch.cat(
            [
                *carried,
                head.float(),
                (2 * around - 1) * rest,
                ring.float(),
                (2 * grey - 1) * head,
            ],
            dim=1,
        )
        made = self.unet(planes).float()
        if self.config.anchored:
            fine = grey - _smoothed(grey, head.float(), self.config.cell)
            made = made + (colours + fine) * head + filling * ring
        else:
            made = (torch.tanh(made) + 1) / 2
        return torch.where(rest, around, made) if self.config.pasted else made


def _smoothed(
    grey: Float[Tensor, "B 1 H W"], mask: Float[Tensor, "B 1 H W"], cell: int
) -> Float[Tensor, "B 1 H W"]:
    """Mean grey of a mask's pixels in cells, drawn as references are."""
    pooled = F.avg_pool2d(torch.cat([grey * mask, mask], 1), cell)
    return grown(pooled[:, :1] / pooled[:, 1:].clamp_min(1e-6), pooled[:, 1:], (mask.shape[2], mask.shape[3]))


def _check(picture: LabelledPicture, multiple: int, name: str) -> None:
    batch, _, height, width = picture.image.shape
    if tuple(picture.labels.shape) != (batch, height, width) or (
        picture.surface is not None and tuple(picture.surface.shape) != (batch, 4, height, width)
    ):
        raise ShapeError(
            f"blender: {name}: expected labels {(batch, height, width)} and surface "
            f"{(batch, 4, height, width)} as its image, got {tuple(picture.labels.shape)} and "
            f"{None if picture.surface is None else tuple(picture.surface.shape)}"
        )
    if height % multiple or width % multiple:
        raise ShapeError(
            f"blender: {name}: expected sides that are multiples of {multiple}, got {(height, width)}; "
            "resize the picture"
        )
