"""`depth`: depth, relative pose and intrinsics from clips alone ([DaGAN] sec. 3.2, [Monodepth2]).

Modes: ``depth/own`` is ours, ``depth/paper`` the paper's text, ``depth/monodepth2`` what its public code is
made of. Nothing but frames of clips is needed: no face, no fit, no camera. In all modes K is learned; in the
public code it is not (`geom.relative_pose` says why).

The published modes descend the photometric error in depth, pose and K at once; their differences are fields
of `DepthRecipeConfig`. From a start that is far off this finds no focal length: to first order pictures of a
turned head say only products, angle times relief and angle times perspective, and the error's slope in each
factor follows the error of the others. Ours (`AlignedDepthConfig`) takes them apart. The depth network alone
descends the photometric error, over several frames of a clip at once; poses are those that bring the
pictures to agree, found at every step by Gauss-Newton from what the pose network says
(`geom.rigid_alignment`), which learns them as labels, perspective among them; and the scale that products
leave open is given: how much heads stand out of their mean surface, in the mean over all of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...geom.depth import DepthConfig, disparity_to_relief, middle_window, stretched, tiny
from ...geom.depth_pose import DepthPoseConfig, DepthPoseNetwork, OtherView, Views, depth_of
from ...geom.errors import HeadwarpError
from ...geom.flow import sample
from ...geom.relative_pose import PoseConfig, RelativePose
from ...geom.rigid_alignment import (
    Aligned,
    AlignmentConfig,
    SurfaceMotion,
    align_surfaces,
    at_rest,
    likeliest_start,
    seen_at,
    surface_of_pose,
)
from ...geom.transforms import axis_angle_to_matrix, rotation_angle
from ...geom.view_synthesis import synthesise_view
from ..data.frames.batch import FrameBatch
from ..losses.head_pose import HeadPoseLossConfig, head_pose_losses, head_pose_targets
from ..losses.photometric import (
    MONODEPTH2,
    PAPER,
    LeastError,
    PhotometricConfig,
    least_error,
    photometric_error,
    weighted_mean,
)
from ..losses.relief_consistency import relief_disagreement
from ..losses.smoothness import smoothness_loss
from . import GENERATED, register
from ._depth_frames import about_middle, joined, reduced, resized, rows

WIDTHS = {"tiny": 16, "small": 32, "paper": 64}
"""Of both networks, by the size that the command line names."""
KIND = "depth"
"""Of the checkpoint that a training leaves."""


@dataclass(frozen=True)
class DepthRecipeConfig:
    """What is trained and on what; the defaults are ``depth/paper``'s.

    Attributes:
        mode: which of the two this is; it stands in the recipe's name.
        network: both networks.
        learning_rate, betas, weight_decay: of Adam. 1e-4, (0.9, 0.999) and 0 in the public code; the paper
            gives none.
        photometric: form and weight of [DaGAN] Eq. 5.
        sources: which frames explain the target: ``"both"`` its neighbours, the better one pixel by pixel, or
            ``"next"`` alone ([DaGAN] sec. 3.2).
        still: leave out pixels that a neighbour explains as it is (monodepth2's auto-masking).
        scales: disparities that are compared, finest first; coarser ones are enlarged first. 4 in
            monodepth2.
        smoothness: of disparity, halved at every scale. 1e-3 in the public code, none in the paper.
    """

    mode: Literal["paper", "monodepth2"] = "paper"
    network: DepthPoseConfig = field(default_factory=DepthPoseConfig)
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    photometric: PhotometricConfig = PAPER
    sources: Literal["both", "next"] = "next"
    still: bool = False
    scales: int = 1
    smoothness: float = 0.0


MODES = {
    "paper": DepthRecipeConfig(),
    "monodepth2": DepthRecipeConfig(
        mode="monodepth2",
        network=DepthPoseConfig(pose=PoseConfig(form="official")),
        photometric=MONODEPTH2,
        sources="both",
        still=True,
        scales=4,
        smoothness=1e-3,
    ),
}


@dataclass(frozen=True)
class AlignedDepthConfig:
    """What ``depth/own`` trains and on what.

    Attributes:
        network: both networks; depth of the mapping ``"relief"``, pose of the form ``"head"`` with the
            principal point in the middle.
        frames: of a clip that are seen together, an odd number: the target and what it is compared with.
        accepted: largest cost of an alignment (`Aligned.cost`) that anything is learned from. From a dome and
            no motion, synthetic heads align to 0.9 to 3.5 degrees below 0.35 and to 20 and more above 0.4:
            they turned too far, are hidden, or move by themselves.
        learning_rate, betas, weight_decay: of Adam.
        photometric: form and weight of [DaGAN] Eq. 5.
        reductions: by how much pictures are reduced before they are compared, one term each. Small ones
            see far: flat skin has a gradient there, and motion of many pixels is a small step.
        alignment: of every pair, from what the pose network says or from no motion, whichever leads farther.
        perspective_steps: steps in which the perspective is free, too, for the one pair a target that turned
            most; the others say it with noise alone.
        relief: deviation of the relief over the frame's middle, what lies about the head included, in frame
            widths, in the mean over heads: nothing in the pictures says it apart from the poses' angles. With
            0.112 the log depth of synthetic heads deviates by 0.94 of the truth, true focal length given.
        relief_weight: of the squared logarithm of its ratio.
        consistency: weight of `relief_disagreement` of the target and one of the others; 0: depth of the
            target alone is told. With true poses 1 makes depth better, with poses that are found it did not.
        smoothness: of disparity.
        poses: weights of the pose network's losses.
        perspective_weight: of the absolute difference of one over the focal length in widths. Alignment
            says it with noise that is as often above as below: differences of logarithms would be pulled to
            long lenses.
        centre_weight: of where the target's middle is, in widths from the frame's: alignment says only where
            it goes.
    """

    network: DepthPoseConfig = field(
        default_factory=lambda: DepthPoseConfig(
            tiny(DepthConfig(mapping="relief")),
            PoseConfig(width=16, form="head", focal=4.5, principal=0.0, pivot=0.3, reduction=2),
        )
    )
    frames: int = 5
    accepted: float = 0.35
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    photometric: PhotometricConfig = MONODEPTH2
    reductions: tuple[int, ...] = (2, 4, 8)
    alignment: AlignmentConfig = field(default_factory=lambda: AlignmentConfig((16, 32, 64), steps=2))
    perspective_steps: int = 4
    relief: float = 0.112
    relief_weight: float = 0.3
    consistency: float = 0.0
    smoothness: float = 1e-3
    poses: HeadPoseLossConfig = field(default_factory=HeadPoseLossConfig)
    perspective_weight: float = 0.5
    centre_weight: float = 0.5


OWN = {"own": AlignedDepthConfig()}


Config = TypeVar("Config", DepthRecipeConfig, AlignedDepthConfig)


def sized(config: Config, size: str) -> Config:
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


class _DepthTraining:
    """What both recipes share: networks, their optimizer, the forward pass and the checkpoint."""

    needs: Literal["frames"] = "frames"
    kind = KIND
    turns: tuple[str, ...] = ("depth",)
    stand_ins: tuple[str, ...] = ()

    def __init__(self, config: DepthRecipeConfig | AlignedDepthConfig) -> None:
        self.config: Any = config

    def networks(self) -> Mapping[str, nn.Module]:
        """Both networks as one."""
        return {"depth": DepthPoseNetwork(self.config.network)}

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay."""
        config = self.config
        return torch.optim.AdamW(
            network.parameters(), config.learning_rate, config.betas, weight_decay=config.weight_decay
        )

    def generate(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Views:
        """Disparity of the middle frame, and motion to the others."""
        made = networks["depth"](batch.frames)
        assert isinstance(made, Views)
        return made

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """Both networks, of the kind ``depth``."""
        return KIND, self.config.network, networks["depth"]


@dataclass(frozen=True)
class _Perspective:
    """One over the focal length in widths, and 1 where anything says it, both (B,)."""

    value: Float[Tensor, " B"]
    known: Float[Tensor, " B"]


@register(OWN)
class AlignedDepthRecipe(_DepthTraining):
    """``depth/own``; see the module. The target is the middle one of the frames.

    Args:
        config: what is trained and on what.
    """

    config: AlignedDepthConfig

    def __init__(self, config: AlignedDepthConfig) -> None:
        super().__init__(config)
        self.name = "depth/own"
        self.frames = config.frames
        network = config.network
        if network.depth.mapping != "relief" or network.pose.form != "head" or network.pose.principal:
            raise HeadwarpError(
                'depth/own: network: expected depth of the mapping "relief" and pose of the form "head" '
                f"with principal 0, got {network.depth.mapping!r}, {network.pose.form!r} and "
                f"{network.pose.principal}"
            )
        if config.frames < 3 or config.frames % 2 == 0 or not config.accepted > 0:
            got = f"frames={config.frames}, accepted={config.accepted}"
            raise HeadwarpError(f"depth/own: expected an odd number of frames and accepted > 0, got {got}")

    def generate(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Views:
        """Disparity of the middle frame and of one of the others, drawn by lot, and motion to all of them."""
        other = int(torch.randint(self.frames - 1, ())) if self.config.consistency else None
        made = networks["depth"](batch.frames, other=other)
        assert isinstance(made, Views)
        return made

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: FrameBatch, made: Views
    ) -> Mapping[str, Tensor]:
        """The photometric term, consistency and smoothness of depth, and what the poses are taught."""
        assert made.heads is not None
        config = self.config
        target, others = about_middle(batch.frames.unbind(1))
        pictures = torch.cat(others)
        disparity = made.disparities[0]
        relief = disparity_to_relief(disparity, config.network.depth)
        weight = middle_window(relief)
        found, perspective = self._aligned(target, pictures, relief, weight, made)
        taken = (found.cost < config.accepted).to(relief)
        compared = [
            self._error(target, pictures, relief, weight, found.motion, taken, reduction)
            for reduction in config.reductions
        ]
        centred = relief - (relief * weight).sum((2, 3), keepdim=True)
        deviation = (centred.square() * weight).sum((1, 2, 3)).clamp_min(torch.finfo(relief.dtype).eps).sqrt()
        terms = {
            "photometric": torch.stack([error for error, _ in compared]).mean(),
            "relief": config.relief_weight * (deviation.log().mean() - math.log(config.relief)).square(),
            **self._taught(made, found.motion, taken),
        }
        said = torch.exp(-made.heads[0].focal) / config.network.pose.focal
        off = (said - perspective.value).abs() * perspective.known
        terms["perspective"] = config.perspective_weight * off.sum() / perspective.known.sum().clamp_min(1)
        if made.other is not None:
            moving = weight * resized(compared[0][1].to(weight), weight.shape[2:])
            terms["consistency"] = config.consistency * self._disagreement(
                made.other, relief, moving, found.motion, taken
            )
        if config.smoothness:
            terms["smoothness"] = config.smoothness * smoothness_loss(disparity, target)
        return terms

    def _disagreement(
        self, other: OtherView, relief: Tensor, weight: Tensor, motion: SurfaceMotion, taken: Tensor
    ) -> Float[Tensor, ""]:
        """Mean `relief_disagreement` of the targets and one of the others, over the pairs that are taken."""
        pairs = slice(other.number * len(relief), (other.number + 1) * len(relief))
        second = disparity_to_relief(other.disparity, self.config.network.depth)
        off = relief_disagreement(relief, second, rows(motion, pairs), weight)
        return (off * taken[pairs]).mean()

    def pictures(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Mapping[str, Tensor]:
        """A frame, the target, the frame warped to it with the motion that was found, and disparity."""
        made = self.generate(networks, batch)
        target, others = about_middle(batch.frames.unbind(1))
        relief = disparity_to_relief(made.disparities[0], self.config.network.depth)
        found, _ = self._aligned(target, torch.cat(others), relief, middle_window(relief), made)
        last = rows(found.motion, slice(-len(target), None))
        return {
            "source": others[-1],
            "driving": target,
            GENERATED: sample(others[-1], seen_at(relief, last)),
            "disparity": stretched(made.disparities[0]).expand(-1, 3, -1, -1),
        }

    @torch.no_grad()
    def _aligned(
        self, target: Tensor, pictures: Tensor, relief: Tensor, weight: Tensor, made: Views
    ) -> tuple[Aligned, _Perspective]:
        """Motions to all other frames (N B, 3, H, W), one frame after the other, and the perspective of every
        target as the frame says it that turned most.
        """
        config, count = self.config, len(made.motions)
        guess = joined([surface_of_pose(motion, int(target.shape[3])) for motion in made.motions])
        pairs = (target.repeat(count, 1, 1, 1), pictures, relief.repeat(count, 1, 1, 1))
        starts = (guess, at_rest(guess.perspective))
        start = likeliest_start(*pairs, starts, weight=weight, config=config.alignment)
        found = align_surfaces(*pairs, start, weight=weight, config=config.alignment)
        angle = rotation_angle(found.motion.rotation, starts[1].rotation).masked_fill(
            found.cost >= config.accepted, -1.0
        )
        most, number = angle.unflatten(0, (count, -1)).max(0)
        row = number * len(target) + torch.arange(len(target), device=number.device)
        freed = align_surfaces(
            target,
            pictures[row],
            relief,
            rows(found.motion, row),
            weight=weight,
            config=dataclasses.replace(
                config.alignment,
                sides=config.alignment.sides[-1:],
                steps=1,
                perspective_steps=config.perspective_steps,
            ),
        )
        return found, _Perspective(freed.perspective, (most >= 0).to(relief))

    def _error(
        self,
        target: Tensor,
        pictures: Tensor,
        relief: Tensor,
        weight: Tensor,
        motion: SurfaceMotion,
        taken: Tensor,
        reduction: int,
    ) -> tuple[Float[Tensor, ""], Tensor]:
        """Weighted photometric error of one size over the pairs that are taken, (N B,), one frame after the
        other; and where the target moved.

        What frames show as they are teaches nothing, as in monodepth2: backgrounds rest. A target of which no
        pair is taken counts as 0 in the mean over the batch, and is not left out of it: a target has the same
        say whatever it stands beside, where else a single one of a batch that hardly aligned would have that
        of a whole batch.
        """
        config, count = self.config, len(pictures) // len(target)
        size = (target.shape[2] // reduction, target.shape[3] // reduction)
        seen, frames = reduced(target, size).repeat(count, 1, 1, 1), reduced(pictures, size)
        view = sample(frames, seen_at(reduced(relief, size).repeat(count, 1, 1, 1), motion))
        share = taken[:, None, None, None]
        moved, still = (
            (share * photometric_error(shown, seen, config.photometric)).unflatten(0, (count, -1)).sum(0)
            for shown in (view, frames)
        )
        pairs = share.unflatten(0, (count, -1)).sum(0).clamp_min(1)  # (B, 1, 1, 1)
        least = least_error([moved / pairs], [still / pairs])
        return weighted_mean(least.error, reduced(weight, size)), least.moving

    def _taught(self, made: Views, motion: SurfaceMotion, taken: Tensor) -> dict[str, Tensor]:
        """Losses of the poses against the motions of the pairs that are taken."""
        assert made.heads is not None
        middle, others = about_middle(made.heads)
        target, source = joined([middle] * len(others)), joined(others)
        targets = head_pose_targets(target, motion, pivot=self.config.network.pose.pivot)
        centre = self.config.centre_weight * middle.place.abs().mean()
        return {
            **head_pose_losses(target, source, targets, self.config.poses, weight=taken),
            "centre": centre,
        }


@register(MODES)
class DepthRecipe(_DepthTraining):
    """The published trainings of `geom.depth_pose.DepthPoseNetwork`.

    Args:
        config: what is trained and on what.
    """

    frames = 3
    config: DepthRecipeConfig

    def __init__(self, config: DepthRecipeConfig) -> None:
        super().__init__(config)
        self.name = f"depth/{config.mode}"

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: FrameBatch, made: Views
    ) -> Mapping[str, Tensor]:
        """The photometric term and smoothness, means over scales."""
        config, target = self.config, batch.frames[:, 1]
        size = (int(target.shape[2]), int(target.shape[3]))
        photometric, smooth = [], []
        for scale in range(config.scales):
            disparity = made.disparities[scale]
            finer = disparity if scale == 0 else resized(disparity, size)
            photometric.append(self._errors(batch, made, finer).error.mean())
            picture = target if scale == 0 else resized(target, disparity.shape[2:])
            smooth.append(smoothness_loss(disparity, picture) / 2**scale)
        terms = {"photometric": torch.stack(photometric).mean()}
        if config.smoothness:
            terms["smoothness"] = config.smoothness * torch.stack(smooth).mean()
        return terms

    def pictures(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Mapping[str, Tensor]:
        """The next frame, the target, the next frame warped to it, what moves, and disparity."""
        made, target, following = self.generate(networks, batch), batch.frames[:, 1], batch.frames[:, 2]
        found = self._errors(batch, made, made.disparities[0])
        return {
            "source": following,
            "driving": target,
            GENERATED: self._view(following, made.disparities[0], made.motions[1]),
            "moving": found.moving.to(target).expand(-1, 3, -1, -1),
            "disparity": stretched(made.disparities[0]).expand(-1, 3, -1, -1),
        }

    def _errors(self, batch: FrameBatch, made: Views, disparity: Tensor) -> LeastError:
        """Of every pixel of the target."""
        config = self.config
        previous, target, following = batch.frames.unbind(1)
        pairs = [(following, made.motions[1])]
        if config.sources == "both":
            pairs.insert(0, (previous, made.motions[0]))
        moved = [
            photometric_error(self._view(frame, disparity, pose), target, config.photometric)
            for frame, pose in pairs
        ]
        still = (
            [photometric_error(frame, target, config.photometric) for frame, _ in pairs]
            if config.still
            else []
        )
        return least_error(moved, still)

    def _view(self, source: Tensor, disparity: Tensor, pose: RelativePose) -> Tensor:
        """The target as the source and its motion show it."""
        depth = depth_of(self.config.network, disparity, pose.intrinsics)
        rotation = axis_angle_to_matrix(pose.rotation)
        return synthesise_view(source, depth, rotation, pose.translation, pose.intrinsics)
