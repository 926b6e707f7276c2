"""VGG-19's convolutions ([VGG], configuration E) with torchvision's key names: ``features.N.weight``.

The layers are named by block and place: ``conv3_4`` is the fourth convolution of the third block,
``relu3_4`` its activation, ``pool3`` what the block hands on. The classifier is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of each block; every block but the first starts from the pool before it."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_normalized(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """RGB in [0, 1] as torchvision's ImageNet networks read it: less the mean, by the deviation.

    Example:
        >>> import torch
        >>> imagenet_normalized(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)).flatten().tolist()
        [0.0, 0.0, 0.0]
    """
    mean, deviation = (image.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
    return (image - mean) / deviation


def imagenet_denormalized(values: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """What `imagenet_normalized` makes these values of."""
    mean, deviation = (values.new_tensor(numbers).view(3, 1, 1) for numbers in (_MEAN, _STD))
    return values * deviation + mean


def layer_names() -> tuple[str, ...]:
    """Every layer that `Vgg19` can be tapped at, in order.

    Example:
        >>> layer_names()[:5], len(layer_names())
        (('conv1_1', 'relu1_1', 'conv1_2', 'relu1_2', 'pool1'), 37)
    """
    return tuple(name for name, _ in _layers())


class Vgg19(nn.Module):
    """The network. New weights are random and mean nothing: `geom.nets.weights` reads files."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict()
        keys = [key for name, key in _layers() if name.startswith("conv")]
        widths = [width for width, count in BLOCKS for _ in range(count)]
        for key, inputs, outputs in zip(keys, [3, *widths[:-1]], widths, strict=True):
            self.features[key] = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 512 h w"]:
        """What the last block hands on, ``pool5``."""
        return self.taps(image, ("pool5",))[0]

    def taps(self, image: Float[Tensor, "B 3 H W"], names: Sequence[str]) -> tuple[Tensor, ...]:
        """The outputs of named layers, in the order of ``names``; nothing behind the last is computed.

        Args:
            image: RGB in [0, 1]; `imagenet_normalized` is part of this.
            names: of `layer_names`.

        Raises:
            HeadwarpError: no names, or one that is no layer.
            ShapeError: the picture is too small: a pool would have nothing to hand on.
        """
        known = layer_names()
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            got = ", ".join(map(repr, unknown)) or "none"
            raise HeadwarpError(f"Vgg19.taps: expected names of {known[0]}, {known[1]}, .., pool5, got {got}")
        wanted, found = set(names), {}
        values = imagenet_normalized(image)
        for name, key in _layers():
            values = self._layer(name, key, values, in_place=name.replace("relu", "conv") not in wanted)
            if name in wanted:
                found[name] = values
                if len(found) == len(wanted):
                    break
        return tuple(found[name] for name in names)

    def _layer(self, name: str, key: str, values: Tensor, *, in_place: bool) -> Tensor:
        if name.startswith("conv"):
            return self.features[key](values)
        if name.startswith("relu"):
            return F.relu_(values) if in_place else F.relu(values)
        if min(values.shape[2:]) < 2:
            got = f"{tuple(values.shape[2:])} before {name}"
            raise ShapeError(f"Vgg19: image: expected at least 2 px a side at every pool, got {got}")
        return F.max_pool2d(values, 2)


def _layers() -> Iterator[tuple[str, str]]:
    """Name of every layer and its key in torchvision's ``features``."""
    key = 0
    for block, (_, count) in enumerate(BLOCKS, start=1):
        for place in range(1, count + 1):
            yield f"conv{block}_{place}", str(key)
            yield f"relu{block}_{place}", str(key + 1)
            key += 2
        yield f"pool{block}", str(key)
        key += 1
