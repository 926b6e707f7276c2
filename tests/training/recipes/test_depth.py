"""The recipe of depth: its modes, its loss at the truth, and that it descends."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headwarp.geom.depth import DepthConfig
from headwarp.geom.depth_pose import DepthPoseConfig, Triplet
from headwarp.geom.relative_pose import PoseConfig, RelativePose
from headwarp.geom.view_synthesis import intrinsics_matrix
from headwarp.training.data.frames.batch import FrameBatch
from headwarp.training.engine.config import EngineConfig
from headwarp.training.engine.loop import train
from headwarp.training.recipes import GENERATED, load_recipe, recipe_names
from headwarp.training.recipes.depth import MODES, stretched
from headwarp.warping.observers import load_depth_observer

SIZE = 32


def small(mode, **changes):
    config = MODES[mode]
    depth = dataclasses.replace(config.network.depth, width=4)
    pose = dataclasses.replace(config.network.pose, width=4)
    network = DepthPoseConfig(depth, pose)
    return load_recipe(f"depth/{mode}", config=dataclasses.replace(config, network=network, **changes))


def moving(pixels, batch=2):
    """A soft texture that moves to the left from frame to frame, new texture coming in."""
    torch.manual_seed(0)
    coarse = torch.rand(batch, 3, 12, 16)
    wide = torch.nn.functional.interpolate(coarse, (SIZE, SIZE + 16), mode="bicubic").clamp(0, 1)
    starts = [8 + pixels * number for number in (-1, 0, 1)]
    frames = torch.stack([wide[..., start : start + SIZE] for start in starts], dim=1)
    return FrameBatch(frames, ("a",) * batch)


def plane(shift, batch=2):
    """A plane at depth 1 before a camera of focal length 1 width, that moves by so many pixels."""
    K = intrinsics_matrix(torch.full((batch, 2), float(SIZE)), torch.full((batch, 2), SIZE / 2))
    still = torch.zeros(batch, 3)
    after = torch.tensor([[-shift / SIZE, 0.0, 0.0]]).expand(batch, -1)
    disparities = tuple(torch.full((batch, 1, SIZE >> k, SIZE >> k), 0.5) for k in range(4))
    return Triplet(disparities, RelativePose(still, -after, K), RelativePose(still, after, K))


def test_three_modes_and_ours_comes_first():
    assert {"depth/own", "depth/paper", "depth/monodepth2"} <= set(recipe_names())
    assert load_recipe("depth").name == "depth/own"
    recipe = load_recipe("depth/paper")
    assert (recipe.needs, recipe.frames, recipe.turns) == ("frames", 3, ("depth",))
    assert recipe.config.photometric.alpha == 0.8
    assert MODES["monodepth2"].network.pose.form == "official"


@pytest.mark.parametrize("mode", list(MODES))
def test_the_truth_has_the_least_error(mode):
    depth = DepthConfig(width=4, min_depth=1 / 1.5, max_depth=2.0)  # 1 at disparity 0.5
    recipe, batch = small(mode, reductions=(1,)), moving(2)
    if mode != "own":
        network = dataclasses.replace(recipe.config.network, depth=depth)
        recipe = load_recipe(f"depth/{mode}", config=dataclasses.replace(recipe.config, network=network))
    totals = [
        float(recipe.losses("depth", {}, batch, plane(shift))["photometric"]) for shift in (2, 1, 3, -2)
    ]
    assert min(totals) == totals[0]
    assert min(totals[1:]) > 2 * totals[0]  # which is not zero: something leaves the frame
    inner = recipe._errors(batch, plane(2), plane(2).disparities[0], (SIZE, SIZE), 1)
    assert inner.error[..., 4:-4, 4:-4].max() < 1e-4


@pytest.mark.parametrize("mode", list(MODES))
def test_it_descends_and_every_network_learns(mode):
    torch.manual_seed(0)
    recipe, batch = small(mode), moving(1)
    networks = recipe.networks()
    optimizer = torch.optim.Adam(networks["depth"].parameters(), 3e-4)
    totals = []
    for _ in range(16):
        terms = recipe.losses("depth", networks, batch, recipe.generate(networks, batch))
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert min(totals[-5:]) < 0.98 * totals[0]
    names = ["depth.encoder.conv1.weight", "depth.decoder.10.conv.weight", "pose.encoder.conv1.weight"]
    parameters = dict(networks["depth"].named_parameters())
    for name in names:
        assert parameters[name].grad.abs().max() > 0


def test_pictures_and_the_checkpoint():
    recipe, batch = small("own"), moving(1)
    networks = {name: network.eval() for name, network in recipe.networks().items()}
    with torch.no_grad():
        pictures = recipe.pictures(networks, batch)
    assert {GENERATED, "source", "driving", "disparity", "moving"} == set(pictures)
    assert all(p.shape == (2, 3, SIZE, SIZE) and p.min() >= 0 and p.max() <= 1 for p in pictures.values())
    assert torch.equal(pictures["driving"], batch.frames[:, 1])
    name, config, module = recipe.checkpoint(networks)
    assert (name, recipe.kind, config) == ("depth", "depth", recipe.config.network)
    assert module is networks["depth"]


def test_a_constant_map_is_stretched_to_zero():
    assert (stretched(torch.full((1, 1, 2, 2), 0.3)) == 0).all()


def test_own_networks_see_relief_and_heads():
    config = MODES["own"].network
    assert (config.depth.mapping, config.pose.form) == ("relief", "head")
    assert PoseConfig().form == "pair"


def test_a_training_leaves_a_checkpoint_of_depth(tmp_path):
    recipe = small("own", reductions=(4,))

    def batches(first, *, rank, world):
        while True:
            yield moving(1)

    config = EngineConfig(steps=2, ema=None, pictures_every=100, first_pictures=100)
    report = train(recipe, batches, output=tmp_path, config=config, held_out=[moving(1)])
    assert (report["kind"], report["animator"]) == ("depth", None)
    assert report["made"] == str(tmp_path / "depth.safetensors")
    assert report["final"]["l1"] > 0
    observer = load_depth_observer(tmp_path / "depth.safetensors")
    assert observer.network.config == recipe.config.network
