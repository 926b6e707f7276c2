"""The table of pretrained weights, and the networks that read them.

A hash stands here only where independent public records agree on it; torch writes the first eight digits into
the names of its files. Where no direct address is known the origin says in words how to come by the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..errors import HeadwarpError
from .arcface import IResNet, IrSe50
from .bisenet import BiSeNet
from .inception import Inception
from .vgg import Vgg19


@dataclass(frozen=True)
class KnownWeights:
    """One file of weights.

    Attributes:
        name: what it is called here and on the command line.
        network: what it fits, for `build`.
        file: the name it is sought by.
        url: where `headwarp weights fetch` gets it; None where only a person can.
        sha256: of the file, all 64 digits or the first ones; None where unknown.
        size: of the file in bytes; None where unknown.
        licence: what its origin says, in a few words.
        origin: where it is from, in words.
        aliases: other names it is sought by, within a folder of weights.
        unused: beginnings of keys that the file has and the network leaves out.
    """

    name: str
    network: str
    file: str
    url: str | None
    sha256: str | None
    size: int | None
    licence: str
    origin: str
    aliases: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


_ZOO = "InsightFace's model zoo, https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch"
_RESEARCH = "non-commercial research only (InsightFace)"

_IMAGENET = "BSD-3-Clause (torchvision); trained on ImageNet, research only"

KNOWN: tuple[KnownWeights, ...] = (
    KnownWeights(
        name="vgg19",
        network="vgg19",
        file="vgg19-dcbb9e9d.pth",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        size=574_673_361,
        licence=_IMAGENET,
        origin="torchvision",
        unused=("classifier.",),
    ),
    KnownWeights(
        name="ir_se50",
        network="ir_se50",
        file="model_ir_se50.pth",
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",
        sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
        size=None,
        licence="MIT (InsightFace_Pytorch); trained on MS-Celeb-1M, non-commercial research",
        origin="InsightFace_Pytorch; the address is a copy of the same bytes",
        aliases=("recognition_arcface_ir_se50.pth",),
    ),
    KnownWeights(
        name="iresnet50_ms1mv3",
        network="iresnet50",
        file="ms1mv3_arcface_r50_fp16.pth",
        url=None,
        sha256="ef005ba502a2d0f40e7b94245054d3a23e375776f7035080fcbce45ae49cfb01",
        size=174_680_546,
        licence=_RESEARCH,
        origin=f"{_ZOO}, folder ms1mv3_arcface_r50_fp16, file backbone.pth",
        aliases=("ms1mv3_arcface_r50_fp16/backbone.pth",),
    ),
    KnownWeights(
        name="iresnet100_ms1mv3",
        network="iresnet100",
        file="ms1mv3_arcface_r100_fp16.pth",
        url=None,
        sha256="a566a62357f0c55b679d9ff2f022a294486568be0c00665d39029d0e46a8109b",
        size=261_223_796,
        licence=_RESEARCH,
        origin=f"{_ZOO}, folder ms1mv3_arcface_r100_fp16, file backbone.pth",
        aliases=("ms1mv3_arcface_r100_fp16/backbone.pth",),
    ),
    KnownWeights(
        name="iresnet100_glint360k",
        network="iresnet100",
        file="glint360k_cosface_r100_fp16_0.1.pth",
        url=None,
        sha256="5f631718e783448b41631e15073bdc622eaeef56509bbad4e5085f23bd32db83",
        size=261_223_796,
        licence=_RESEARCH,
        origin=f"{_ZOO}, folder glint360k_cosface_r100_fp16_0.1, file backbone.pth",
        aliases=("glint360k_cosface_r100_fp16_0.1/backbone.pth",),
    ),
    KnownWeights(
        name="iresnet34_glint360k",
        network="iresnet34",
        file="glint360k_cosface_r34_fp16_0.1.pth",
        url=None,
        sha256=None,
        size=None,
        licence=_RESEARCH,
        origin=f"{_ZOO}, folder glint360k_cosface_r34_fp16_0.1, file backbone.pth",
        aliases=("glint360k_cosface_r34_fp16_0.1/backbone.pth",),
    ),
    KnownWeights(
        name="iresnet18_glint360k",
        network="iresnet18",
        file="glint360k_cosface_r18_fp16_0.1.pth",
        url=None,
        sha256=None,
        size=None,
        licence=_RESEARCH,
        origin=f"{_ZOO}, folder glint360k_cosface_r18_fp16_0.1, file backbone.pth",
        aliases=("glint360k_cosface_r18_fp16_0.1/backbone.pth",),
    ),
    KnownWeights(
        name="inception_fid",
        network="inception_fid",
        file="pt_inception-2015-12-05-6726825d.pth",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        size=95_628_359,
        licence="Apache-2.0 (TensorFlow's, ported by pytorch-fid)",
        origin="pytorch-fid",
    ),
    KnownWeights(
        name="inception_torchvision",
        network="inception_torchvision",
        file="inception_v3_google-0cc3c7bd.pth",
        url="https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        sha256="0cc3c7bd",
        size=None,
        licence=_IMAGENET,
        origin="torchvision",
        unused=("AuxLogits.",),
    ),
    KnownWeights(
        name="bisenet",
        network="bisenet",
        file="79999_iter.pth",
        url="https://github.com/xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth",
        sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        size=53_289_463,
        licence="MIT (face-parsing.PyTorch); trained on CelebAMask-HQ, non-commercial research",
        origin="face-parsing.PyTorch; the address is a copy of the same bytes",
        aliases=("parsing_bisenet.pth",),
        unused=("conv_out16.", "conv_out32."),
    ),
)


def build(network: str) -> nn.Module:
    """A network by the name that the table uses, with random weights.

    Raises:
        HeadwarpError: no such network.
    """
    builders: dict[str, Callable[[], nn.Module]] = {
        "vgg19": Vgg19,
        "ir_se50": IrSe50,
        "iresnet18": lambda: IResNet(18),
        "iresnet34": lambda: IResNet(34),
        "iresnet50": lambda: IResNet(50),
        "iresnet100": lambda: IResNet(100),
        "inception_fid": lambda: Inception("fid"),
        "inception_torchvision": lambda: Inception("torchvision"),
        "bisenet": BiSeNet,
    }
    if network not in builders:
        raise HeadwarpError(f"network: expected one of {', '.join(builders)}, got {network!r}")
    return builders[network]()
