"""Checkpoints with the names and shapes of the public code of [PWM], and values by chance."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

VERTICES, FACES, EMBEDDING = 5023, 9976, 16
KINDS = ("neural_codes", "geom_disp", "both")
Shapes = dict[str, tuple[int, ...]]


def generator_shapes(
    kind: str,
    *,
    width: int = 32,
    cap: int = 1024,
    levels: int = 6,
    embedding: int = EMBEDDING,
    vertices: int = VERTICES,
) -> Shapes:
    """Names and shapes of a generator's state dict, in the public code's order."""
    codes = 0 if kind == "geom_disp" else embedding
    guidance = codes + (0 if kind == "neural_codes" else 2)
    strides = [2**level for level in range(levels)]
    channels = {stride: min(cap, width * stride) for stride in strides}
    shapes: Shapes = {"embeds": (vertices, embedding)} if codes else {}
    shapes["mesh_renderer.tri"] = (FACES, 3)
    for stride in strides:
        inputs = 3 + codes if stride == 1 else channels[stride // 2]
        shapes |= _block(f"down_layers.x{stride}", inputs, channels[stride])
    for stride in strides:
        shapes |= _block(f"shortcut_layers.x{stride}", channels[stride], channels[stride])
    for stride in strides:
        taps = 2 * round(4 * (stride - 1) / 2) + 1
        shapes[f"downsamples.x{stride}.weight"] = (guidance, 1, taps, taps)
    for stride in reversed(strides[1:]):
        count, name = channels[stride], f"up_layers.x{stride}"
        shapes |= _conv(f"{name}_spade.non_identity_shortcut", 2 * count, count, 1)
        for part, inner in ((1, 2 * count), (2, count)):
            spade = f"{name}_spade.spade{part}"
            shapes |= _statistics(f"{spade}.norm", inner)
            shapes |= _conv(f"{spade}.shared_conv.0", guidance, count, 3)
            shapes |= _conv(f"{spade}.gamma_conv", count, inner, 3)
            shapes |= _conv(f"{spade}.beta_conv", count, inner, 3)
            shapes |= _conv(f"{name}_spade.conv{part}", inner, count, 3)
        shapes |= {f"{name}_flow.weight": (2, count, 3, 3), f"{name}_flow.bias": (2,)}
        shapes |= _block(f"{name}_up", count, channels[stride // 2])
    return shapes | {"up_layers.x1_out.weight": (4, 2 * width, 3, 3), "up_layers.x1_out.bias": (4,)}


def discriminator_shapes() -> Shapes:
    """The same of the discriminator."""
    shapes: Shapes = {}
    channels = (3, 32, 64, 128, 256)
    for layer in range(4):
        shapes |= _block(f"discs.x1.layers.{layer}", channels[layer], channels[layer + 1], 4)
    shapes |= {"discs.x1.out_convs.0.weight": (1, 256, 4, 4), "discs.x1.out_convs.0.bias": (1,)}
    return shapes | {"downs.x1.weight": (3, 1, 1, 1)}


def generator(kind: str, *, seed: int = 0, **sizes: int) -> dict[str, Tensor]:
    """A generator's state dict with values by chance; the vectors of its spectral norms nearly fit them."""
    torch.manual_seed(seed)
    weights = {name: _value(name, shape) for name, shape in generator_shapes(kind, **sizes).items()}
    for name in [name for name in weights if name.endswith("weight_orig")]:
        matrix, stem = weights[name].flatten(1), name.removesuffix("orig")
        for _ in range(3):
            weights[f"{stem}v"] = normalize(matrix.T @ weights[f"{stem}u"], dim=0)
            weights[f"{stem}u"] = normalize(matrix @ weights[f"{stem}v"], dim=0)
    return weights


def _value(name: str, shape: tuple[int, ...]) -> Tensor:
    leaf = name.rpartition(".")[2]
    if name == "mesh_renderer.tri":
        return torch.randint(0, VERTICES, shape, dtype=torch.int32)
    if leaf == "num_batches_tracked":
        return torch.tensor(1000)
    if name.startswith("downsamples."):
        return blur(shape[-1], int(name.split(".")[1][1:])).expand(shape).clone()
    if leaf in ("weight_u", "weight_v"):
        return normalize(torch.rand(shape), dim=0)
    if leaf == "running_var":
        return torch.rand(shape) + 0.5
    if leaf == "weight" and len(shape) == 1:
        return torch.rand(shape) + 0.5
    if len(shape) == 4:
        return 2 * torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
    return torch.rand(shape) if name == "embeds" else torch.randn(shape)


def blur(taps: int, stride: int) -> Tensor:
    """The public code's Gaussian; at stride 1 it divides 0 by 0."""
    offset = torch.arange(taps, dtype=torch.float32) - (taps - 1) / 2
    weight = torch.exp(-(offset**2) / (2 * torch.tensor((stride - 1) / 2) ** 2))
    return weight[:, None] * weight / (weight[:, None] * weight).sum()


def _block(name: str, inputs: int, outputs: int, taps: int = 3) -> Shapes:
    affine = {f"{name}.norm.weight": (outputs,), f"{name}.norm.bias": (outputs,)}
    return _conv(f"{name}.conv", inputs, outputs, taps) | affine | _statistics(f"{name}.norm", outputs)


def _conv(name: str, inputs: int, outputs: int, taps: int) -> Shapes:
    return {
        f"{name}.bias": (outputs,),
        f"{name}.weight_orig": (outputs, inputs, taps, taps),
        f"{name}.weight_u": (outputs,),
        f"{name}.weight_v": (inputs * taps * taps,),
    }


def _statistics(name: str, channels: int) -> Shapes:
    return {
        f"{name}.running_mean": (channels,),
        f"{name}.running_var": (channels,),
        f"{name}.num_batches_tracked": (),
    }
