"""Checkpoints with the names and shapes of the public code of [DaGAN], as `fomm_file` has those of [FOMM]."""

from __future__ import annotations

from fomm_file import (
    Shapes,
    conv,
    detector_shapes,
    discriminator_shapes,
    encoder_shapes,
    generator_shapes,
    motion_shapes,
    spectral_conv,
)

KEYPOINTS = 15


def dagan_detector_shapes(**sizes: int) -> Shapes:
    """Of a detector of 15 keypoints in colours and disparity."""
    return detector_shapes(**({"count": KEYPOINTS, "maps": KEYPOINTS, "channels": 4} | sizes))


def dagan_discriminator_shapes(**sizes: int) -> Shapes:
    """Of the discriminator that sees 15 heat maps."""
    return discriminator_shapes(**({"heatmaps": KEYPOINTS, "spectral": False} | sizes))


def depth_aware_shapes(
    *, width: int = 64, cap: int = 512, downs: int = 2, bottleneck: int = 6, motion: Shapes | None = None
) -> Shapes:
    """Of a ``DepthAwareGenerator``."""
    motion = motion_shapes(count=KEYPOINTS) if motion is None else motion
    sizes = [min(cap, width << level) for level in range(downs + 1)]
    shapes = generator_shapes(width=width, cap=cap, downs=downs, bottleneck=bottleneck, motion=motion)
    return shapes | encoder_shapes("src_", 1, sizes) | attention_shapes(sizes[-1])


def spade_shapes(
    *, width: int = 64, downs: int = 2, hidden: int = 128, motion: Shapes | None = None
) -> Shapes:
    """Of a ``SPADEDepthAwareGenerator``; the public code has no other sizes of its decoder."""
    sizes = [width << level for level in range(downs + 1)]
    features = sizes[-1]
    shapes = dict(motion_shapes(count=KEYPOINTS) if motion is None else motion)
    shapes |= encoder_shapes("", 3, sizes) | encoder_shapes("src_", 1, sizes) | attention_shapes(features)
    shapes |= conv("decoder.compress", features, 4, 3) | conv("decoder.fc", features, 2 * features, 3)
    for number in range(3):
        shapes |= _block(f"decoder.G_middle_{number}", 2 * features, 2 * features, hidden)
    shapes |= _block("decoder.up_0", 2 * features, features, hidden)
    shapes |= _block("decoder.up_1", features, width, hidden)
    return shapes | conv("decoder.conv_img", width, 3, 3)


def attention_shapes(features: int) -> Shapes:
    """Of the attention: queries and keys of an eighth of the channels."""
    shapes: Shapes = {"AttnModule.gamma": (1,)}
    for name, outputs in (("query", features // 8), ("key", features // 8), ("value", features)):
        shapes |= conv(f"AttnModule.{name}_conv", features, outputs, 1)
    return shapes


def _block(name: str, inputs: int, outputs: int, hidden: int) -> Shapes:
    between, learned = min(inputs, outputs), inputs != outputs
    shapes = spectral_conv(f"{name}.conv_0", inputs, between, 3)
    shapes |= spectral_conv(f"{name}.conv_1", between, outputs, 3)
    if learned:
        shapes |= spectral_conv(f"{name}.conv_s", inputs, outputs, 1, bias=False)
    for norm, channels in (("0", inputs), ("1", between), *((("s", inputs),) if learned else ())):
        shapes |= conv(f"{name}.norm_{norm}.mlp_shared.0", 7, hidden, 3)
        shapes |= conv(f"{name}.norm_{norm}.mlp_gamma", hidden, channels, 3)
        shapes |= conv(f"{name}.norm_{norm}.mlp_beta", hidden, channels, 3)
    return shapes
