"""Dense motion: exact identity and shifts, the loop over keypoints, the guard, masks, errors."""

from dataclasses import replace

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.keypoints import Keypoints
from headwarp.geom.nets.hourglass import HourglassConfig
from headwarp.warping.dense_motion import (
    DenseMotion,
    DenseMotionConfig,
    keypoint_heat,
    sparse_motions,
    sparse_motions_ref,
)

SMALL = DenseMotionConfig(count=3, hourglass=HourglassConfig(4, 2, 8))
CORNERS = replace(
    SMALL, align_corners=True, sample_align_corners=True, padding_mode="zeros", condition_guard=None
)


def points(batch: int = 2, *, jacobians: bool = True, seed: int = 0, dtype=torch.float32) -> Keypoints:
    torch.manual_seed(seed)
    near = torch.eye(2, dtype=dtype) + 0.3 * torch.randn(batch, 3, 2, 2, dtype=dtype)
    return Keypoints(torch.rand(batch, 3, 2, dtype=dtype) - 0.5, near if jacobians else None)


def network(config: DenseMotionConfig = SMALL) -> DenseMotion:
    torch.manual_seed(0)
    return DenseMotion(config).eval()


@pytest.mark.parametrize("jacobians", [True, False])
@pytest.mark.parametrize("config", [SMALL, CORNERS])
def test_plain_twin_values_and_gradients(config, jacobians):
    leaves, results = [], []
    for seed in (0, 1):
        made = points(jacobians=jacobians, seed=seed, dtype=torch.float64)
        leaves += [part.requires_grad_() for part in (made.points, made.jacobians) if part is not None]
    half = len(leaves) // 2
    source, driving = Keypoints(*leaves[:half]), Keypoints(*leaves[half:])
    for function in (sparse_motions, sparse_motions_ref):
        motions = function(source, driving, (5, 6), config)
        weights = torch.linspace(-1, 1, motions.numel(), dtype=torch.float64).view_as(motions)
        results.append((motions, *torch.autograd.grad((weights * motions.sin()).sum(), leaves)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("size", [(32, 48), (64, 64)])
def test_equal_keypoints_move_nothing_exactly(size):
    source, keypoints = torch.rand(2, 3, *size), points()
    motion = network()(source, keypoints, keypoints)
    assert torch.equal(motion.displacement, torch.zeros_like(motion.displacement))
    small = network().reduce(source)
    assert torch.equal(motion.deformed, small[:, None].expand_as(motion.deformed))


def test_whole_pixels_are_exact():
    """All keypoints moved by two pixels of the small picture: each motion is that shift."""
    source = torch.rand(1, 3, 64, 64)
    keypoints = Keypoints(
        torch.tensor([[[0.0, 0.25], [-0.5, 0.125], [0.25, -0.25]]]), torch.eye(2).expand(1, 3, 2, 2)
    )
    moved = Keypoints(keypoints.points + torch.tensor([4 / 16, -2 / 16]), keypoints.jacobians)
    net = network()
    small, motion = net.reduce(source), net(source, moved, keypoints)
    assert torch.equal(
        motion.deformed[:, 1:, :, 1:, :-2], small[:, None, :, :-1, 2:].expand(-1, 3, -1, -1, -1)
    )
    assert torch.equal(motion.deformed[:, 0], small)


def test_motion_is_a_mix_of_its_parts():
    source, of_source, of_driving = torch.rand(1, 3, 32, 32), points(1), points(2, seed=1)
    motion = network()(source, of_source, of_driving)
    assert motion.displacement.shape == (2, 2, 8, 8)
    torch.testing.assert_close(motion.masks.sum(1), torch.ones(2, 8, 8))
    mixed = (motion.masks[:, :, None] * motion.sparse).sum(1)
    torch.testing.assert_close(motion.displacement, mixed)
    assert motion.flow.shape == (2, 8, 8, 2)
    assert motion.occlusion.min() >= 0
    assert motion.occlusion.max() <= 1
    assert motion.sparse[:, 0].abs().max() == 0


def test_reduced_source_is_used_as_it_is():
    source, of_source, of_driving = torch.rand(1, 3, 32, 32), points(1), points(2, seed=1)
    net = network()
    once = net.estimate(net.reduce(source), of_source, of_driving)
    assert torch.equal(once.displacement, net(source, of_source, of_driving).displacement)


def test_collapsed_jacobians_stay_finite():
    source, of_source, of_driving = torch.rand(1, 3, 32, 32), points(1), points(1, seed=1)
    flat = torch.ones(1, 3, 2, 2, requires_grad=True)
    motion = network()(source, of_source, replace(of_driving, jacobians=flat))
    motion.displacement.square().sum().backward()
    assert torch.isfinite(motion.displacement).all()
    assert torch.isfinite(flat.grad).all()
    assert flat.grad.abs().max() > 0
    broken = network(CORNERS)(source, of_source, replace(of_driving, jacobians=flat))
    assert not torch.isfinite(broken.displacement).all()


def test_without_occlusion_and_reduction():
    net = network(replace(SMALL, occlusion=False, scale=1))
    motion = net(torch.rand(1, 3, 8, 8), points(1), points(1, seed=1))
    assert motion.occlusion is None
    assert motion.displacement.shape == (1, 2, 8, 8)
    assert not any("down." in name or "occlusion" in name for name in net.state_dict() if "hour" not in name)


def test_heat_is_one_at_the_keypoint():
    centre = Keypoints(torch.tensor([[[1 / 16, -3 / 16]]]))
    heat = keypoint_heat(centre, (16, 16), variance=0.01, align_corners=False)
    assert heat[0, 0, 6, 8] == heat.max() == 1


def test_errors():
    net = network()
    with pytest.raises(ShapeError, match="source: expected sides that are multiples of 16, got 24 x 32"):
        net(torch.rand(1, 3, 24, 32), points(1), points(1))
    with pytest.raises(ShapeError, match=r"keypoints_driving: expected points \(B, 3, 2\), got \(1, 2, 2\)"):
        net(torch.rand(1, 3, 32, 32), points(1), Keypoints(torch.zeros(1, 2, 2)))
    with pytest.raises(HeadwarpError, match="centres are not read as corners"):
        replace(SMALL, sample_align_corners=True)
    with pytest.raises(HeadwarpError, match="count, channels, variance"):
        replace(SMALL, variance=0)
