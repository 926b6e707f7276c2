"""Checkpoints of tiny untrained networks of depth and of keypoints, whose guidance is far from rest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from headwarp.geom.depth import DepthConfig
from headwarp.geom.depth_pose import DepthPoseConfig, DepthPoseNetwork
from headwarp.geom.relative_pose import PoseConfig
from headwarp.warping.animators import registration
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.keypoint_network import KeypointNetwork, KeypointNetworkConfig, fomm, tiny


def depth_network(form: Literal["head", "pair"] = "head", principal: float = 0.1) -> DepthPoseNetwork:
    """Pictures turn by different angles; the dome is flat enough that no pixel grazes it."""
    torch.manual_seed(0)
    depth = DepthConfig(width=4, mapping="relief" if form == "head" else "inverse", dome=0.3)
    network = DepthPoseNetwork(
        DepthPoseConfig(depth, PoseConfig(width=4, form=form, principal=principal))
    ).eval()
    for parameter in network.pose.net.parameters():
        torch.nn.init.normal_(parameter, std=0.05 if form == "head" else 0.3)
    return network


def keypoint_network(config: KeypointNetworkConfig | None = None) -> KeypointNetwork:
    """Keypoints turn and stretch what is around them."""
    torch.manual_seed(0)
    made = KeypointNetwork(config or tiny(fomm())).eval()
    for layer in (made.kp_detector.jacobian, made.generator.dense_motion_network.mask):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return made


def guide_file(folder: Path, kind: Literal["depth", "keypoints"]) -> Path:
    """The checkpoint of either, as its training leaves it."""
    if kind == "depth":
        network = depth_network()
        path = folder / "depth.safetensors"
        return save_checkpoint(path, network, config=network.config, name="depth", kind="depth")
    config = tiny(fomm())
    animator = registration("fomm").build(config)
    animator.network.load_state_dict(keypoint_network(config).state_dict())
    return save_checkpoint(folder / "fomm.safetensors", animator, config=config, name="fomm")
