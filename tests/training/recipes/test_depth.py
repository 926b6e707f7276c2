"""The recipe of depth: its modes, its loss at the truth, and that it descends."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headwarp.geom.depth import DepthConfig, disparity_to_relief, middle_window, stretched
from headwarp.geom.depth_pose import DepthPoseConfig, Views
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.flow import pixel_grid, sample
from headwarp.geom.relative_pose import HeadPose, HeadPoseNetwork, PoseConfig, RelativePose
from headwarp.geom.rigid_alignment import AlignmentConfig, seen_at, surface_of_pose
from headwarp.geom.transforms import rotation_angle
from headwarp.geom.view_synthesis import intrinsics_matrix
from headwarp.training.data.frames.batch import FrameBatch
from headwarp.training.engine.config import EngineConfig
from headwarp.training.engine.loop import train
from headwarp.training.recipes import GENERATED, load_recipe, recipe_names
from headwarp.training.recipes.depth import MODES, OWN
from headwarp.warping.observers import load_depth_observer

SIZE = 32


EVERY = {**OWN, **MODES}


def small(mode, **changes):
    config = EVERY[mode]
    depth = dataclasses.replace(config.network.depth, width=4)
    pose = dataclasses.replace(config.network.pose, width=4)
    network = DepthPoseConfig(depth, pose)
    return load_recipe(f"depth/{mode}", config=dataclasses.replace(config, network=network, **changes))


EVERY_FRAMES = {"own": 5, "paper": 3, "monodepth2": 3}


def moving(pixels, batch=2, frames=3):
    """A soft texture that moves to the left from frame to frame, new texture coming in."""
    torch.manual_seed(0)
    coarse = torch.rand(batch, 3, 12, 16)
    wide = torch.nn.functional.interpolate(coarse, (SIZE, SIZE + 16), mode="bicubic").clamp(0, 1)
    starts = [8 + pixels * number for number in range(-(frames // 2), frames // 2 + 1)]
    frames = torch.stack([wide[..., start : start + SIZE] for start in starts], dim=1)
    return FrameBatch(frames, ("a",) * batch)


def plane(shift, batch=2):
    """A plane at depth 1 before a camera of focal length 1 width, that moves by so many pixels."""
    K = intrinsics_matrix(torch.full((batch, 2), float(SIZE)), torch.full((batch, 2), SIZE / 2))
    still = torch.zeros(batch, 3)
    after = torch.tensor([[-shift / SIZE, 0.0, 0.0]]).expand(batch, -1)
    disparities = tuple(torch.full((batch, 1, SIZE >> k, SIZE >> k), 0.5) for k in range(4))
    return Views(disparities, (RelativePose(still, -after, K), RelativePose(still, after, K)))


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
    recipe, batch = small(mode), moving(2)
    network = dataclasses.replace(recipe.config.network, depth=depth)
    recipe = load_recipe(f"depth/{mode}", config=dataclasses.replace(recipe.config, network=network))
    totals = [
        float(recipe.losses("depth", {}, batch, plane(shift))["photometric"]) for shift in (2, 1, 3, -2)
    ]
    assert min(totals) == totals[0]
    assert min(totals[1:]) > 2 * totals[0]  # which is not zero: something leaves the frame
    inner = recipe._errors(batch, plane(2), plane(2).disparities[0])
    assert inner.error[..., 4:-4, 4:-4].max() < 1e-4


@pytest.mark.parametrize("mode", list(EVERY))
def test_it_descends_and_every_network_learns(mode):
    torch.manual_seed(0)
    recipe, batch = small(mode), moving(1, frames=EVERY_FRAMES[mode])
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


def turning(batch=2, size=64):
    """Five frames of a bulge that turns before a camera, and what the networks would say of them."""
    torch.manual_seed(1)
    network = dataclasses.replace(OWN["own"].network.pose, width=4, focal=2.0)
    steps = torch.linspace(-1, 1, 5)
    none = torch.zeros(batch)
    heads = tuple(
        HeadPose(
            torch.stack([0.05 * step + none, 0.2 * step + none, none], dim=1),
            torch.stack([0.04 * step + none, none], dim=1),
            0.1 * step + none,
            none,
            torch.zeros(batch, 2),
        )
        for step in steps
    )
    poses = HeadPoseNetwork(network)
    others = (*heads[:2], *heads[3:])
    motions = tuple(poses.between(heads[2], other, (size, size)) for other in others)
    grid = (torch.arange(size) + 0.5) / size - 0.5
    bulge = torch.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 0.2**2))
    disparity = (0.4 + 0.3 * bulge).expand(batch, 1, size, size)
    coarse = torch.rand(batch, 3, 12, 12)
    texture = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    relief = disparity_to_relief(disparity, DepthConfig(mapping="relief"))
    frames = [_shown(texture, relief, surface_of_pose(motion, size)) for motion in motions]
    batch_of = FrameBatch(torch.stack([*frames[:2], texture, *frames[2:]], dim=1), ("a",) * batch)
    return batch_of, Views((disparity,), motions, heads), relief


def _shown(texture, relief, motion):
    """The texture carried to where the motion takes it: the map from target to source inverted by search."""
    there = seen_at(relief, motion)
    size = texture.shape[2]
    pixels = pixel_grid((size, size)).to(texture)
    back = pixels.expand_as(there).clone()
    for _ in range(30):
        back = back + pixels - sample(there, back)
    return sample(texture, back)


def test_our_own_has_the_least_error_at_the_true_relief_and_finds_true_motions():
    batch, made, relief = turning()
    pose = dataclasses.replace(OWN["own"].network.pose, focal=2.0)
    network = dataclasses.replace(OWN["own"].network, pose=pose)
    recipe = load_recipe("depth/own", config=dataclasses.replace(OWN["own"], network=network))
    terms = {}
    for scale in (0.0, 0.5, 1.0, 1.5):
        middle = made.disparities[0].mean()
        changed = middle + scale * (made.disparities[0] - middle)
        terms[scale] = recipe.losses("depth", {}, batch, dataclasses.replace(made, disparities=(changed,)))
    photometric = {scale: float(term["photometric"]) for scale, term in terms.items()}
    assert min(photometric, key=photometric.get) == 1.0
    assert photometric[0.0] > 1.25 * photometric[1.0]  # whose rest is at the frame's border
    truth = terms[1.0]
    assert float(truth["rotation"]) < 0.02  # of 0.28 for the frame that turned most
    assert float(truth["place"]) < 0.01
    assert float(truth["perspective"]) < 0.1  # of 0.25
    target, others = batch.frames[:, 2], torch.cat([batch.frames[:, n] for n in (0, 1, 3, 4)])
    poses = HeadPoseNetwork(dataclasses.replace(pose, width=4))
    heads = [dataclasses.replace(head, rotation=0.7 * head.rotation) for head in made.heads]
    guess = tuple(poses.between(heads[2], other, (64, 64)) for other in (*heads[:2], *heads[3:]))
    found, _ = recipe._aligned(
        target, others, relief, middle_window(relief), dataclasses.replace(made, motions=guess)
    )
    true = torch.cat([surface_of_pose(motion, 64).rotation for motion in made.motions])
    assert rotation_angle(found.motion.rotation, true).max() < 0.05


def test_nothing_is_learned_from_pictures_that_do_not_align():
    batch, made, _ = turning()
    strict = load_recipe("depth/own", config=dataclasses.replace(OWN["own"], accepted=1e-6))
    terms = strict.losses("depth", {}, batch, made)
    assert all(
        float(terms[name]) == 0 for name in ("photometric", "rotation", "place", "distance", "perspective")
    )
    other = dataclasses.replace(batch, frames=batch.frames.clone())
    other.frames[:, 0] = torch.rand(2, 3, 64, 64)  # one of the four shows something else
    own = load_recipe("depth/own")
    with_noise, without = (own.losses("depth", {}, b, made)["photometric"] for b in (other, batch))
    assert float(with_noise) < 1.5 * float(without)


def test_a_target_has_the_same_say_whatever_it_stands_beside():
    batch, made, relief = turning()
    recipe, weight = load_recipe("depth/own"), middle_window(relief)
    target, others = batch.frames[:, 2], torch.cat([batch.frames[:, n] for n in (0, 1, 3, 4)])
    found, _ = recipe._aligned(target, others, relief, weight, made)
    slopes = []
    for second in (1.0, 0.0):  # the second target's pairs are taken, or none of them
        leaf = relief.clone().requires_grad_()
        taken = torch.tensor([1.0, second]).repeat(4)
        recipe._error(target, others, leaf, weight, found.motion, taken, 2)[0].backward()
        slopes.append(leaf.grad)
    assert slopes[0][0].abs().max() > 0
    assert slopes[0][1].abs().max() > 0
    torch.testing.assert_close(slopes[0][0], slopes[1][0])
    assert not slopes[1][1].any()


def test_the_relief_is_held_at_its_mean():
    batch, made, relief = turning()
    recipe = load_recipe("depth/own")
    window = middle_window(relief)
    deviation = (
        float(((relief - (relief * window).sum()).square() * window).sum().sqrt()) / len(relief) ** 0.5
    )
    held = load_recipe("depth/own", config=dataclasses.replace(OWN["own"], relief=2 * deviation))
    own = load_recipe("depth/own", config=dataclasses.replace(OWN["own"], relief=deviation))
    assert float(own.losses("depth", {}, batch, made)["relief"]) < 1e-3
    expected = OWN["own"].relief_weight * 0.6931**2
    assert float(held.losses("depth", {}, batch, made)["relief"]) == pytest.approx(expected, rel=0.05)
    assert recipe.frames == 5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"frames": 4}, "odd number of frames"),
        ({"accepted": 0.0}, "accepted > 0"),
        ({"network": DepthPoseConfig()}, "relief"),
    ],
)
def test_our_own_refuses_what_it_cannot_train(changes, told):
    with pytest.raises(HeadwarpError, match=told):
        load_recipe("depth/own", config=dataclasses.replace(OWN["own"], **changes))


def test_our_own_shows_pictures():
    recipe, batch = small("own"), turning(size=32)[0]
    networks = {name: network.eval() for name, network in recipe.networks().items()}
    with torch.no_grad():
        pictures = recipe.pictures(networks, batch)
    assert {GENERATED, "source", "driving", "disparity"} == set(pictures)
    assert torch.equal(pictures["driving"], batch.frames[:, 2])
    assert torch.equal(pictures["source"], batch.frames[:, 4])


def test_pictures_and_the_checkpoint():
    recipe, batch = small("paper"), moving(1)
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
    config = OWN["own"].network
    assert (config.depth.mapping, config.pose.form) == ("relief", "head")
    assert PoseConfig().form == "pair"


def test_a_training_leaves_a_checkpoint_of_depth(tmp_path):
    recipe = small("own", reductions=(4,), alignment=AlignmentConfig((8, 16), steps=1))

    def batches(first, *, rank, world):
        while True:
            yield moving(1, frames=5)

    config = EngineConfig(steps=2, ema=None, pictures_every=100, first_pictures=100)
    report = train(recipe, batches, output=tmp_path, config=config, held_out=[moving(1, frames=5)])
    assert (report["kind"], report["animator"]) == ("depth", None)
    assert report["made"] == str(tmp_path / "depth.safetensors")
    assert report["final"]["l1"] > 0
    observer = load_depth_observer(tmp_path / "depth.safetensors")
    assert observer.network.config == recipe.config.network
