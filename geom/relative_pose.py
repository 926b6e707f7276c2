"""Relative pose and intrinsics of a pair of pictures ([DaGAN] Eq. 2).

Target and source picture give rotation and translation of points from the target's to the source's camera
axes, ``X_s = R X_t + t``, and the intrinsics K that both share. `PoseNetwork` sees both pictures side by
side, as the paper's; `HeadPoseNetwork` sees one at a time and says how the head stands in it, so that the
motion of a pair is the difference of two poses, consistent over any number of frames.

The public code has heads for K, too, but they learn nothing: it writes whole numbers over K before it is used
(``trunc``), whose gradient is zero everywhere. Its principal point starts at 1.19 picture widths and cannot
come below half of one. Nothing of that is repeated here: the ``"official"`` form keeps the public heads for
the public weights, but its K has a gradient as that of our own forms has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .errors import HeadwarpError, ShapeError
from .nets.resnet import ResNet, ResNetConfig
from .transforms import axis_angle_to_matrix, matrix_to_axis_angle
from .view_synthesis import intrinsics_matrix

MOTION_SCALE = 0.01
"""Of rotation and translation of a pair, so that a new network moves little; as in the public code."""
_HEAD_SCALE = 0.3  # of place and size of a head in the frame
_CELLS, _HIDDEN = 4, 128
_REACH = math.log(5.0)  # most that a focal length may be off its start, as a logarithm
_FOCAL_SCALE = 5.0  # of the one focal length: Adam moves all parameters alike, and this one has far to go


@dataclass(frozen=True)
class PoseConfig:
    """Size of a pose network, and how K is made of its numbers.

    Attributes:
        layers, width: of the encoder.
        form: ``"head"``: our own, `HeadPoseNetwork`. ``"pair"``: the paper's network with a focal length that
            is its start times an exponential, and a principal point that is a sigmoid around the picture's
            middle. ``"official"``: the public code's softplus of both.
        focal: of a new network, in picture widths; not of the official form.
        shared_focal: one focal length for x and y, as cameras with square pixels have; the head form always.
        principal: share of the picture's side that the principal point may be off its middle: 0.5 reaches
            the border, 0 keeps it there; not of the official form.
        pivot: how far behind the mean surface the point lies that a head turns about, in picture widths; of
            the head form.
        reduction: by how much pictures are reduced before they are looked at; of the head form. Which way a
            head looks is seen in small pictures, at a fraction of the price.
        one_focal: one learned focal length for all pictures, instead of one that is read off each; of the
            head form. Where pictures hardly say it, the best constant errs less than their noise.
    """

    layers: Literal[18, 50] = 18
    width: int = 64
    form: Literal["head", "pair", "official"] = "pair"
    focal: float = 2.0
    shared_focal: bool = True
    principal: float = 0.1
    pivot: float = 0.25
    reduction: int = 1
    one_focal: bool = False


@dataclass(frozen=True)
class RelativePose:
    """The motion between two pictures, and their camera.

    Attributes:
        rotation: axis times angle in radians, ``(B, 3)``; camera axes.
        translation: ``(B, 3)``, in the unit of the depth that it was trained with. ``X_s = R X_t + t``.
        intrinsics: K in pixels of the pictures, ``(B, 3, 3)``.
    """

    rotation: Float[Tensor, "B 3"]
    translation: Float[Tensor, "B 3"]
    intrinsics: Float[Tensor, "B 3 3"]


@dataclass(frozen=True)
class HeadPose:
    """How heads stand before their cameras, up to one turn that is the same for all pictures.

    Attributes:
        rotation: axis times angle in radians, ``(B, 3)``.
        place: where the middle is, in widths from the principal point, x then y, ``(B, 2)``.
        distance: logarithm of the distance in an unknown unit, ``(B,)``.
        focal: logarithm of the focal length in widths over its start, ``(B,)``.
        principal: numbers that the principal point is a sigmoid of, ``(B, 2)``.
    """

    rotation: Float[Tensor, "B 3"]
    place: Float[Tensor, "B 2"]
    distance: Float[Tensor, " B"]
    focal: Float[Tensor, " B"]
    principal: Float[Tensor, "B 2"]


class PoseNetwork(nn.Module):
    """Motion and intrinsics of pairs. Keys are those of the public files: ``encoder.*`` and ``net.*``.

    Args:
        config: size and form, ``"pair"`` or ``"official"``.

    Raises:
        HeadwarpError: a size, range or form that makes no sense.
    """

    def __init__(self, config: PoseConfig | None = None) -> None:
        super().__init__()
        self.config = config = _checked(config or PoseConfig(), ("pair", "official"))
        self.encoder = ResNet(ResNetConfig(config.layers, channels=6, width=config.width))
        hidden = 4 * config.width
        layers = [
            nn.Conv2d(self.encoder.outputs[-1], hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.Conv2d(hidden, 12, 1),
        ]
        heads = [nn.Conv2d(hidden, 2, 3, padding=1) for _ in range(2)]
        self.net = nn.ModuleList([*layers, *heads])
        if config.form == "pair":
            for parameter in (parameter for head in heads for parameter in head.parameters()):
                nn.init.zeros_(parameter)

    def forward(self, pair: Float[Tensor, "B 6 H W"]) -> RelativePose:
        """Pose of a pair: target and source picture on the channel axis, RGB in [0, 1].

        The second half of the twelve motion numbers is not used: the public network has it.

        Raises:
            ShapeError: not (B, 6, H, W).
        """
        _check_pair(pair)
        values = F.relu(self.net[0](self.encoder(pair)[-1]))
        values = F.relu(self.net[2](F.relu(self.net[1](values))))
        motion = MOTION_SCALE * self.net[3](values).mean((2, 3))  # (B, 12)
        focal, principal = intrinsics_of(self.config, self.net[4](values), self.net[5](values))
        unit = values.new_tensor([pair.shape[3], pair.shape[2]])
        across = unit if self.config.form == "official" else unit[:1]  # square pixels: both in widths
        matrix = intrinsics_matrix(focal * across, principal * unit)
        return RelativePose(motion[:, :3], motion[:, 3:6], matrix)


class HeadPoseNetwork(nn.Module):
    """Poses of heads in single pictures, and from two of them motion and intrinsics.

    The unit of the translation is the target's mean depth, 1, as `depth.disparity_to_depth` with the mapping
    ``"relief"`` has it. Which way a head has to look to be turned by nothing is not said, and does not
    matter: motions are differences. Departure from [DaGAN] Eq. 2, whose network compares two pictures.

    Args:
        config: size; the form is ``"head"``.

    Raises:
        HeadwarpError: a size, range or form that makes no sense.
    """

    def __init__(self, config: PoseConfig | None = None) -> None:
        super().__init__()
        self.config = config = _checked(config or PoseConfig(form="head"), ("head",))
        self.encoder = ResNet(ResNetConfig(config.layers, width=config.width))
        cells = self.encoder.outputs[-1] * _CELLS**2
        first, last = nn.Linear(cells, _HIDDEN), nn.Linear(_HIDDEN, 9)
        self.net = nn.Sequential(first, nn.SiLU(), last)  # units of a ReLU die in fast trainings, all of them
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.weight *= 0.1
        self.focal = nn.Parameter(torch.zeros(())) if config.one_focal else None

    def forward(self, pair: Float[Tensor, "B 6 H W"]) -> RelativePose:
        """Pose of a pair: target and source picture on the channel axis, RGB in [0, 1].

        Raises:
            ShapeError: not (B, 6, H, W).
        """
        _check_pair(pair)
        target, source = self.poses(pair[:, :3]), self.poses(pair[:, 3:])
        return self.between(target, source, (int(pair.shape[2]), int(pair.shape[3])))

    def poses(self, image: Float[Tensor, "B 3 H W"]) -> HeadPose:
        """How the head of each picture stands; RGB in [0, 1].

        Raises:
            ShapeError: not (B, 3, H, W).
        """
        if self.config.reduction > 1:
            image = F.avg_pool2d(image, self.config.reduction)
        values = F.adaptive_avg_pool2d(self.encoder(image)[-1], _CELLS).flatten(1)
        turn, place, rest = self.net(values).split([3, 2, 4], dim=1)
        distance, focal = _HEAD_SCALE * rest[:, 0], rest[:, 1]
        if self.focal is not None:
            focal = _FOCAL_SCALE * self.focal.expand(len(image))
        return HeadPose(turn, _HEAD_SCALE * place, distance, _limited(focal), rest[:, 2:])

    def between(self, target: HeadPose, source: HeadPose, size: tuple[int, int]) -> RelativePose:
        """Motion from one pose to another, in frames of (H, W) that one camera took.

        Args:
            target: pose in the driving frame.
            source: pose in the source.
            size: (H, W) of both frames.
        """
        config = self.config
        focal = config.focal * torch.exp((target.focal + source.focal) / 2)  # (B,) in widths
        depth = 1 + config.pivot / focal
        nearer = torch.exp(source.distance - target.distance)
        middle_t = _middle(target.place, depth, focal)
        middle_s = _middle(source.place, depth, focal) * nearer[:, None]
        turn_t, turn_s = axis_angle_to_matrix(target.rotation), axis_angle_to_matrix(source.rotation)
        turn = turn_s @ turn_t.transpose(1, 2)
        translation = middle_s - (turn @ middle_t[:, :, None])[:, :, 0]
        offset = torch.sigmoid(target.principal) + torch.sigmoid(source.principal) - 1
        unit = focal.new_tensor([size[1], size[0]])
        lengths = (focal * size[1])[:, None].expand(-1, 2)
        matrix = intrinsics_matrix(lengths, (0.5 + config.principal * offset) * unit)
        return RelativePose(matrix_to_axis_angle(turn), translation, matrix)


def build_pose(config: PoseConfig) -> PoseNetwork | HeadPoseNetwork:
    """The network of a config's form."""
    return HeadPoseNetwork(config) if config.form == "head" else PoseNetwork(config)


def intrinsics_of(
    config: PoseConfig, focal: Float[Tensor, "B 2 h w"], principal: Float[Tensor, "B 2 h w"]
) -> tuple[Float[Tensor, "B 2"], Float[Tensor, "B 2"]]:
    """Focal lengths and principal point, in shares of the picture, from the maps of a pair's network.

    Args:
        config: the form.
        focal, principal: any numbers; but for the official form zero is the start. Our form takes their
            means, the public code the means of their softplus.

    Returns:
        Pair: focal lengths in widths, between a fifth and five times the start. Official: in shares of the
        side that they belong to, without bound.

    Example:
        >>> found = intrinsics_of(PoseConfig(focal=1.5), torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))
        >>> [value.tolist() for value in found]
        [[[1.5, 1.5]], [[0.5, 0.5]]]
    """
    if config.form == "official":
        return F.softplus(focal).mean((2, 3)), F.softplus(principal).mean((2, 3)) + 0.5
    focal, principal = focal.mean((2, 3)), principal.mean((2, 3))
    if config.shared_focal:
        focal = focal.mean(1, keepdim=True).expand(-1, 2)
    lengths = config.focal * torch.exp(_limited(focal))
    return lengths, 0.5 + config.principal * (2 * torch.sigmoid(principal) - 1)


def _limited(focal: Tensor) -> Tensor:
    """A number as a logarithm within `_REACH`, itself near zero."""
    return _REACH * torch.tanh(focal / _REACH)


def _middle(place: Tensor, depth: Tensor, focal: Tensor) -> Float[Tensor, "B 3"]:
    """The point that a head turns about, in camera axes."""
    return torch.cat([place * (depth / focal)[:, None], depth[:, None]], dim=1)


def _check_pair(pair: Tensor) -> None:
    if pair.ndim != 4 or pair.shape[1] != 6:
        raise ShapeError(f"pair: expected (B, 6, H, W), got {tuple(pair.shape)}; torch.cat(.., dim=1)")


def _checked(config: PoseConfig, forms: tuple[str, ...]) -> PoseConfig:
    if config.form not in forms:
        raise HeadwarpError(f"PoseConfig: form: expected {' or '.join(forms)}, got {config.form!r}")
    if config.one_focal and config.form != "head":
        raise HeadwarpError(f"PoseConfig: one_focal: expected the head form, got {config.form!r}")
    good = math.isfinite(config.focal) and config.focal > 0 and config.pivot >= 0
    if not (good and 0 <= config.principal <= 0.5 and config.reduction >= 1):
        got = f"focal={config.focal}, pivot={config.pivot}, principal={config.principal}"
        raise HeadwarpError(
            "PoseConfig: expected focal > 0, pivot >= 0, principal in [0, 0.5] and reduction >= 1, got "
            f"{got}, reduction={config.reduction}"
        )
    return config
