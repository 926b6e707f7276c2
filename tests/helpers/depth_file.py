"""``encoder.pth``, ``depth.pth``, ``pose.pth`` with the names and shapes of [DaGAN]'s face depth network.

Sizes are torchvision's ResNets' by default; ``width`` is their first convolution's.
"""

from __future__ import annotations

from fomm_file import Shapes, conv, norm

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
DECODER = (16, 32, 64, 128, 256)


def resnet_shapes(layers: int = 18, *, width: int = 64, channels: int = 3, classes: int = 1000) -> Shapes:
    """Of an encoder, its unused classifier among it (``classes`` 0: without)."""
    shapes: Shapes = {"encoder.conv1.weight": (width, channels, 7, 7)} | norm("encoder.bn1", width)
    inputs, expansion = width, 1 if layers == 18 else 4
    for stage, count in enumerate(BLOCKS[layers]):
        inner = width << stage
        for number in range(count):
            name = f"encoder.layer{stage + 1}.{number}"
            taps = (3, 3) if layers == 18 else (1, 3, 1)
            sizes = [inputs, *[inner] * (len(taps) - 1), inner * expansion]
            for part, size in enumerate(taps):
                shapes[f"{name}.conv{part + 1}.weight"] = (sizes[part + 1], sizes[part], size, size)
                shapes |= norm(f"{name}.bn{part + 1}", sizes[part + 1])
            if number == 0 and (stage or expansion > 1):
                shapes[f"{name}.downsample.0.weight"] = (sizes[-1], inputs, 1, 1)
                shapes |= norm(f"{name}.downsample.1", sizes[-1])
            inputs = sizes[-1]
    if classes:
        shapes |= {"encoder.fc.weight": (classes, inputs), "encoder.fc.bias": (classes,)}
    return shapes


def encoder_channels(layers: int = 18, *, width: int = 64) -> tuple[int, ...]:
    """Of the five levels that an encoder gives."""
    expansion = 1 if layers == 18 else 4
    return (width, *((width << stage) * expansion for stage in range(4)))


def decoder_shapes(encoder: tuple[int, ...] | None = None, own: tuple[int, ...] = DECODER) -> Shapes:
    """Of a decoder of four disparities, for an encoder's channels."""
    encoder = encoder_channels() if encoder is None else encoder
    shapes: Shapes = {}
    for step, level in enumerate(reversed(range(5))):
        before = encoder[-1] if level == 4 else own[level + 1]
        beside = encoder[level - 1] if level else 0
        shapes |= conv(f"decoder.{2 * step}.conv.conv", before, own[level], 3)
        shapes |= conv(f"decoder.{2 * step + 1}.conv.conv", own[level] + beside, own[level], 3)
    for level in range(4):
        shapes |= conv(f"decoder.{10 + level}.conv", own[level], 1, 3)
    return shapes


def pose_shapes(features: int = 512, own: int = 256) -> Shapes:
    """Of the decoder of motion and intrinsics, for the features of the last level of a ResNet."""
    shapes = conv("net.0", features, own, 1) | conv("net.1", own, own, 3) | conv("net.2", own, own, 3)
    return shapes | conv("net.3", own, 12, 1) | conv("net.4", own, 2, 3) | conv("net.5", own, 2, 3)
