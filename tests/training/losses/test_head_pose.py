"""Losses of heads' poses: nothing at the alignment's own motion, and towards it from elsewhere."""

from __future__ import annotations

import dataclasses

import torch

from headwarp.geom.relative_pose import HeadPose, HeadPoseNetwork, PoseConfig
from headwarp.geom.rigid_alignment import surface_of_pose
from headwarp.training.losses.head_pose import (
    HeadPoseLossConfig,
    head_pose_losses,
    head_pose_targets,
)

PIVOT = 0.3


def pose(seed, batch=3):
    draw = torch.Generator().manual_seed(seed)
    angle, place, rest = (torch.randn(batch, n, generator=draw, dtype=torch.float64) for n in (3, 2, 2))
    nothing = torch.zeros(batch, 2, dtype=torch.float64)
    focal = torch.full((batch,), 0.2, dtype=torch.float64)
    return HeadPose(0.3 * angle, 0.1 * place, 0.1 * rest[:, 0], focal, nothing)


def between(target, source):
    network = HeadPoseNetwork(PoseConfig(width=4, form="head", principal=0.0, pivot=PIVOT)).double()
    return surface_of_pose(network.between(target, source, (64, 64)), 64)


def test_the_motion_between_two_poses_is_their_label():
    target, source = pose(0), pose(1)
    targets = head_pose_targets(target, between(target, source), pivot=PIVOT)
    assert torch.allclose(targets.place, source.place, atol=1e-9)
    assert torch.allclose(targets.distance, source.distance - target.distance, atol=1e-9)
    terms = head_pose_losses(target, source, targets)
    assert set(terms) == {"rotation", "place", "distance"}
    assert terms["rotation"] < 0.004  # the rounding under the root
    assert max(terms["place"], terms["distance"]) < 1e-9


def test_known_distances_and_the_weights():
    still = dataclasses.replace(pose(0), rotation=torch.zeros(3, 3, dtype=torch.float64))
    turned = dataclasses.replace(still, rotation=torch.tensor([[0.0, 0.01, 0.0]]).double().expand(3, 3))
    targets = head_pose_targets(still, between(still, still), pivot=PIVOT)
    term = head_pose_losses(still, turned, targets, HeadPoseLossConfig(rotation=2.0))["rotation"]
    assert abs(float(term) - 2 * (2 * 0.01**2 + 1e-5) ** 0.5) < 1e-5
    farther = dataclasses.replace(still, distance=still.distance + 0.5)
    assert abs(float(head_pose_losses(still, farther, targets)["distance"]) - 2 * 0.5) < 1e-9
    aside = dataclasses.replace(still, place=still.place + torch.tensor([0.3, 0.1]))
    term = head_pose_losses(still, aside, targets, HeadPoseLossConfig(place=3.0))["place"]
    assert abs(float(term) - 3 * 0.2) < 1e-6


def test_a_middle_behind_the_camera_is_a_label_just_before_it():
    still = pose(0)
    motion = between(still, still)
    motion = dataclasses.replace(motion, distance=motion.distance - 9, perspective=0 * motion.perspective)
    targets = head_pose_targets(still, motion, pivot=PIVOT)
    assert torch.allclose(targets.distance.exp(), torch.full((3,), 0.05, dtype=torch.float64))


def test_descent_finds_the_motion():
    target, wanted = pose(2), pose(3)
    targets = head_pose_targets(target, between(target, wanted), pivot=PIVOT)
    parts = {
        name: getattr(pose(4), name).clone().requires_grad_() for name in ("rotation", "place", "distance")
    }
    optimizer = torch.optim.Adam(parts.values(), 0.02)
    for _ in range(300):
        terms = head_pose_losses(target, dataclasses.replace(pose(4), **parts), targets)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        assert all(part.grad.abs().max() > 0 for part in parts.values())
        optimizer.step()
    assert total < 0.2
    assert (parts["place"] - wanted.place).abs().max() < 0.03


def test_pairs_without_weight_say_nothing():
    target, source = pose(0), pose(1)
    targets = head_pose_targets(target, between(target, source), pivot=PIVOT)
    wrong = dataclasses.replace(source, place=source.place + torch.tensor([[0.0], [0.0], [9.0]]))
    weight = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    assert head_pose_losses(target, wrong, targets, weight=weight)["place"] < 1e-9
    assert head_pose_losses(target, wrong, targets)["place"] > 1
    nothing = head_pose_losses(target, wrong, targets, weight=torch.zeros_like(weight))
    assert all(float(term) == 0 for term in nothing.values())
