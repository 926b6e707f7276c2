"""`depth`: depth, relative pose and intrinsics from clips alone ([DaGAN] sec. 3.2, [Monodepth2]).

Modes: ``depth/own`` is ours, ``depth/paper`` the paper's text, ``depth/monodepth2`` what its public code is
made of. Each difference is a field of `DepthRecipeConfig`. Nothing but frames of clips is needed: no face,
no fit, no camera. In all modes K is learned; in the public code it is not (`geom.relative_pose` says why).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...geom.depth import DepthConfig, middle_window, tiny
from ...geom.depth_pose import DepthPoseConfig, DepthPoseNetwork, Triplet, depth_of
from ...geom.errors import HeadwarpError
from ...geom.relative_pose import PoseConfig, RelativePose
from ...geom.transforms import axis_angle_to_matrix
from ...geom.view_synthesis import scale_intrinsics, synthesise_view
from ..data.frames.batch import FrameBatch
from ..losses.photometric import (
    MONODEPTH2,
    PAPER,
    LeastError,
    PhotometricConfig,
    least_error,
    photometric_error,
    weighted_mean,
)
from ..losses.smoothness import smoothness_loss
from . import GENERATED, register

WIDTHS = {"tiny": 16, "small": 32, "paper": 64}
"""Of both networks, by the size that the command line names."""
KIND = "depth"
"""Of the checkpoint that a training leaves."""


@dataclass(frozen=True)
class DepthRecipeConfig:
    """What is trained and on what; the defaults are ``depth/own``'s.

    Attributes:
        mode: which of the three this is; it stands in the recipe's name.
        network: both networks.
        learning_rate, betas, weight_decay: of Adam. 1e-4, (0.9, 0.999) and 0 in the public code; the paper
            gives none.
        photometric: form and weight of [DaGAN] Eq. 5.
        sources: which frames explain the target: ``"both"`` its neighbours, the better one pixel by pixel, or
            ``"next"`` alone ([DaGAN] sec. 3.2).
        still: leave out pixels that a neighbour explains as it is (monodepth2's auto-masking).
        reductions: by how much pictures are reduced before they are compared, one term each. Small ones
            see far: flat skin has a gradient there, and motion of many pixels is a small step.
        scales: disparities that are compared, finest first; coarser ones are enlarged first. 4 in
            monodepth2.
        weight: of the pixels: ``"all"`` alike, or falling off from the ``"middle"``, where heads are.
        smoothness: of disparity, halved at every scale. 1e-3 in the public code, none in the paper.
    """

    mode: Literal["own", "paper", "monodepth2"] = "own"
    network: DepthPoseConfig = field(
        default_factory=lambda: DepthPoseConfig(
            tiny(DepthConfig(mapping="relief")), PoseConfig(width=16, form="head", principal=0.05)
        )
    )
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    photometric: PhotometricConfig = MONODEPTH2
    sources: Literal["both", "next"] = "both"
    still: bool = True
    reductions: tuple[int, ...] = (2, 4, 8)
    scales: int = 1
    weight: Literal["all", "middle"] = "middle"
    smoothness: float = 1e-3


_PUBLISHED: dict[str, Any] = {
    "learning_rate": 1e-4,
    "betas": (0.9, 0.999),
    "weight_decay": 0.0,
    "reductions": (1,),
    "weight": "all",
}
MODES = {
    "own": DepthRecipeConfig(),
    "paper": DepthRecipeConfig(
        mode="paper",
        network=DepthPoseConfig(),
        photometric=PAPER,
        sources="next",
        still=False,
        smoothness=0.0,
        **_PUBLISHED,
    ),
    "monodepth2": DepthRecipeConfig(
        mode="monodepth2",
        network=DepthPoseConfig(pose=PoseConfig(form="official")),
        scales=4,
        **_PUBLISHED,
    ),
}


def sized(config: DepthRecipeConfig, size: str) -> DepthRecipeConfig:
    """A mode in another size.

    Args:
        config: of a mode.
        size: ``tiny``, ``small`` or ``paper``: both networks 16, 32 or 64 wide.

    Raises:
        HeadwarpError: no such size.
    """
    if size not in WIDTHS:
        raise HeadwarpError(f"size: expected one of {', '.join(WIDTHS)}, got {size!r}")
    network = config.network
    depth = dataclasses.replace(network.depth, width=WIDTHS[size])
    pose = dataclasses.replace(network.pose, width=WIDTHS[size])
    return dataclasses.replace(config, network=DepthPoseConfig(depth, pose))


@register(MODES)
class DepthRecipe:
    """A training of `geom.depth_pose.DepthPoseNetwork`.

    Args:
        config: what is trained and on what.
    """

    needs: Literal["frames"] = "frames"
    frames = 3
    kind = KIND
    turns: tuple[str, ...] = ("depth",)
    stand_ins: tuple[str, ...] = ()

    def __init__(self, config: DepthRecipeConfig) -> None:
        self.config = config
        self.name = f"depth/{config.mode}"

    def networks(self) -> Mapping[str, nn.Module]:
        """Both networks as one."""
        return {"depth": DepthPoseNetwork(self.config.network)}

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay."""
        config = self.config
        return torch.optim.AdamW(
            network.parameters(), config.learning_rate, config.betas, weight_decay=config.weight_decay
        )

    def generate(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Triplet:
        """Disparity and motion of every sample."""
        made = networks["depth"](batch.frames)
        assert isinstance(made, Triplet)
        return made

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: FrameBatch, made: Triplet
    ) -> Mapping[str, Tensor]:
        """The photometric term and smoothness, means over scales."""
        config, target = self.config, batch.frames[:, 1]
        size = (int(target.shape[2]), int(target.shape[3]))
        photometric, smooth = [], []
        for scale in range(config.scales):
            disparity = made.disparities[scale]
            finer = disparity if scale == 0 else _resized(disparity, size)
            photometric += [
                self._compared(self._errors(batch, made, finer, size, reduction))
                for reduction in config.reductions
            ]
            picture = target if scale == 0 else _resized(target, disparity.shape[2:])
            smooth.append(smoothness_loss(disparity, picture) / 2**scale)
        terms = {"photometric": torch.stack(photometric).mean()}
        if config.smoothness:
            terms["smoothness"] = config.smoothness * torch.stack(smooth).mean()
        return terms

    def pictures(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Mapping[str, Tensor]:
        """The next frame, the target, the next frame warped to it, what moves, and disparity."""
        made, target, following = self.generate(networks, batch), batch.frames[:, 1], batch.frames[:, 2]
        size = (int(target.shape[2]), int(target.shape[3]))
        found = self._errors(batch, made, made.disparities[0], size, 1)
        return {
            "source": following,
            "driving": target,
            GENERATED: self._view(following, made.disparities[0], made.following, size),
            "moving": found.moving.to(target).expand(-1, 3, -1, -1),
            "disparity": stretched(made.disparities[0]).expand(-1, 3, -1, -1),
        }

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """Both networks, of the kind ``depth``."""
        return KIND, self.config.network, networks["depth"]

    def _errors(
        self, batch: FrameBatch, made: Triplet, disparity: Tensor, size: tuple[int, int], reduction: int
    ) -> LeastError:
        """Of every pixel of the reduced target."""
        config = self.config
        smaller = (size[0] // reduction, size[1] // reduction)
        previous, target, following = (_reduced(frame, smaller) for frame in batch.frames.unbind(1))
        reduced = _reduced(disparity, smaller)
        pairs = [(following, made.following)]
        if config.sources == "both":
            pairs.insert(0, (previous, made.previous))
        moved = [
            photometric_error(self._view(frame, reduced, pose, size), target, config.photometric)
            for frame, pose in pairs
        ]
        still = (
            [photometric_error(frame, target, config.photometric) for frame, _ in pairs]
            if config.still
            else []
        )
        return least_error(moved, still)

    def _view(self, source: Tensor, disparity: Tensor, pose: RelativePose, size: tuple[int, int]) -> Tensor:
        """The target as the source and its motion show it, at the source's size; K is for ``size``."""
        smaller = (int(source.shape[2]), int(source.shape[3]))
        intrinsics = scale_intrinsics(pose.intrinsics, size, smaller)
        depth = depth_of(self.config.network, disparity, intrinsics)
        rotation = axis_angle_to_matrix(pose.rotation)
        return synthesise_view(source, depth, rotation, pose.translation, intrinsics)

    def _compared(self, found: LeastError) -> Tensor:
        weight = middle_window(found.error) if self.config.weight == "middle" else None
        return weighted_mean(found.error, weight)


def stretched(disparity: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """For the eye: from 0 at each map's least to 1 at its largest value; a constant one is 0."""
    least, most = disparity.amin((2, 3), keepdim=True), disparity.amax((2, 3), keepdim=True)
    return (disparity - least) / (most - least).clamp_min(torch.finfo(disparity.dtype).eps)


def _reduced(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Means of whole pixels."""
    return picture if tuple(picture.shape[2:]) == size else F.interpolate(picture, size=size, mode="area")


def _resized(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=False)
