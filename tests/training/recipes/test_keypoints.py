"""Recipes of FOMM and DaGAN: what each mode is made of, what its terms teach, depth from a file alone."""

import dataclasses
import itertools

import pytest
import torch
from toy_mesh import texture

from headwarp.geom.depth import DepthConfig
from headwarp.geom.depth_pose import DepthPoseConfig, DepthPoseNetwork
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.relative_pose import PoseConfig
from headwarp.tools.recipes import with_changes
from headwarp.training.data.frames.batch import FrameBatch
from headwarp.training.engine.config import EngineConfig
from headwarp.training.engine.loop import train
from headwarp.training.engine.store import newest
from headwarp.training.recipes import load_recipe, recipe_entry
from headwarp.training.recipes._keypoint_networks import SIZES, read_depth
from headwarp.training.recipes._keypoints import sized
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import load_checkpoint, save_checkpoint
from headwarp.warping.keypoint_network import tiny

FOMM = ("fomm/own", "fomm/official", "fomm/official-adv", "fomm/paper")
DAGAN = ("dagan/own", "dagan/official", "dagan/paper", "dagan/baseline")
DEPTH = DepthConfig(width=8, mapping="relief")
SHIFT = 4


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    """A file of a depth network, as its training leaves it."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("depth") / "depth.safetensors"
    config = DepthPoseConfig(DEPTH, PoseConfig(width=8))
    return save_checkpoint(path, DepthPoseNetwork(config), config=config, name="depth", kind="depth")


def frames(count=2, seed=0):
    """A texture and the same pushed to the right."""
    wall = texture((64, 64), cell=8, seed=seed)
    pairs = [torch.stack([wall[0], wall[0].roll(SHIFT * (slot + 1), -1)]) for slot in range(count)]
    return FrameBatch(torch.stack(pairs), tuple(f"toy/a/0>{slot}" for slot in range(count)))


def small(name, *, changes=(), depth=None, **fields):
    """A mode with a handful of channels."""
    config = sized(recipe_entry(name).config, "tiny")
    network = tiny(config.network, width=4)
    discriminator = dataclasses.replace(config.discriminator, channels=(4, 4, 4))
    config = dataclasses.replace(config, network=network, discriminator=discriminator, depth_weights=depth)
    return load_recipe(name, config=dataclasses.replace(with_changes(config, changes), **fields))


def gradients(recipe, networks, batch, turn="generator"):
    """Terms of a turn by name, and the gradients that their sum leaves, by parameter."""
    for network in networks.values():
        network.zero_grad()
    made = recipe.generate(networks, batch)
    terms = recipe.losses(turn, networks, batch, made)
    sum(terms.values()).backward()
    found = {
        f"{name}.{key}": parameter.grad
        for name, network in networks.items()
        for key, parameter in network.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.any())
    }
    return terms, found


def descended(recipe, steps, batch=None):
    """Terms of the generator before and after some steps, and the networks."""
    torch.manual_seed(0)
    networks, batch, history = recipe.networks(), batch or frames(), []
    optimizers = {turn: recipe.optimizer(turn, networks[turn]) for turn in recipe.turns}
    for _ in range(steps):
        made = recipe.generate(networks, batch)
        for turn in recipe.turns:
            optimizers[turn].zero_grad()
            terms = recipe.losses(turn, networks, batch, made)
            sum(terms.values()).backward()
            optimizers[turn].step()
            if turn == "generator":
                history.append({name: float(value.detach()) for name, value in terms.items()})
    return history, networks


# Modes

GAME = {"adversarial", "matching"}
FOLLOWED = {"structure", "equivariance_value", "equivariance_jacobian"}
TERMS = {
    "fomm/own": FOLLOWED | {"pixel", "distance"},
    "fomm/official": FOLLOWED,
    "fomm/official-adv": FOLLOWED | GAME,
    "fomm/paper": FOLLOWED,
    "dagan/own": FOLLOWED | GAME | {"pixel", "distance"},
    "dagan/official": FOLLOWED | GAME | {"distance"},
    "dagan/paper": {"structure", "equivariance_value", "distance"} | GAME,
    "dagan/baseline": {"structure", "equivariance_value", "distance", "pixel"} | GAME,
}


@pytest.mark.parametrize("name", [*FOMM, *DAGAN])
def test_a_mode_has_its_terms_and_each_turn_teaches_its_network(name, depth):
    recipe, batch = small(name, depth=depth), frames()
    assert recipe.name == f"{name}+structure"
    assert "stands in for the perceptual loss" in recipe.stand_ins[0]
    assert (recipe.needs, recipe.frames) == ("frames", 2)
    torch.manual_seed(0)
    networks = recipe.networks()
    terms, found = gradients(recipe, networks, batch)
    assert set(terms) == TERMS[name]
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    assert any(key.startswith("generator.network.kp_detector.kp") for key in found)
    assert not any(key.startswith("generator.network.depth") for key in found)
    assert ("discriminator" in recipe.turns) == bool(GAME & set(terms)) == ("discriminator" in networks)
    if "discriminator" in recipe.turns:
        terms, found = gradients(recipe, networks, batch, "discriminator")
        assert set(terms) == {"judged"}
        assert found
        assert all(key.startswith("discriminator.") for key in found)


def test_the_papers_and_their_public_code_differ_where_the_notes_say():
    fomm = {
        name: recipe_entry(f"fomm/{name}").config for name in ("own", "official", "official-adv", "paper")
    }
    dagan = {name: recipe_entry(f"dagan/{name}").config for name in ("own", "official", "paper", "baseline")}
    for config in (fomm["official"], dagan["official"]):
        assert (config.maps.axes, config.maps.radius) == ("diagonal", "city_block")
        assert (config.maps.affine_sigma, config.maps.bend_sigma) == (0.05, 0.005)
        assert config.network.motion.align_corners
        assert config.network.keypoints.padding == 0
        assert config.network.motion.condition_guard is config.equivariance.condition_guard is None
        assert (config.equivariance.value_weight, config.equivariance.jacobian_weight) == (10, 10)
        assert (config.learning_rate, config.betas) == (2e-4, (0.5, 0.999))
        assert (config.perceptual.weight, config.perceptual.strides) == (10, (1, 2, 4, 8))
        assert (config.matching.weight, config.pixel_weight) == (10, 0)
    assert fomm["paper"].maps.affine_sigma ** 2 == pytest.approx(0.05)
    assert fomm["paper"].maps.bend_sigma ** 2 == pytest.approx(0.005)
    assert fomm["official"].adversarial is fomm["paper"].adversarial is fomm["own"].adversarial is None
    assert fomm["official-adv"].adversarial.kind == dagan["official"].adversarial.kind == "least_squares"
    assert (
        fomm["official-adv"].discriminator.keypoints,
        fomm["official-adv"].discriminator.spectral_norm,
    ) == (
        10,
        False,
    )
    assert fomm["official"].distance is fomm["paper"].distance is None
    assert (dagan["official"].distance.kind, dagan["official"].distance.distance) == ("sign", "euclidean")
    assert (dagan["paper"].distance.kind, dagan["paper"].distance.distance) == ("sign", "city_block")
    assert (dagan["paper"].equivariance.reduction, dagan["paper"].equivariance.jacobian_weight) == ("sum", 0)
    assert dagan["paper"].network.keypoints.jacobians == "none"
    for own in (fomm["own"], dagan["own"], dagan["baseline"]):
        assert (own.distance.kind, own.maps.axes, own.network.motion.align_corners) == (
            "hinge",
            "both",
            False,
        )
        assert own.network.motion.condition_guard == own.equivariance.condition_guard == 100


def test_own_learns():
    history, _ = descended(small("fomm/own", learning_rate=5e-3), 15)
    first, last = (
        {name: terms[name] for name in ("pixel", "structure")} for terms in (history[0], history[-1])
    )
    assert sum(last.values()) < 0.7 * sum(first.values())


def test_a_published_distance_changes_the_number_and_no_gradient(depth):
    for name, changes in (("dagan/official", True), ("dagan/own", False)):
        found = []
        for kept in (True, False):
            recipe = small(name, depth=depth, **({} if kept else {"distance": None}))
            torch.manual_seed(0)
            networks = recipe.networks()
            torch.manual_seed(1)
            terms, slopes = gradients(recipe, networks, frames())
            assert ("distance" in terms) == kept
            assert not kept or terms["distance"] > 0
            found.append(slopes)
        same = found[0].keys() == found[1].keys() and all(
            torch.equal(found[0][key], found[1][key]) for key in found[0]
        )
        assert same == changes


def test_what_looks_back_at_the_picture_teaches_the_generator(depth):
    recipe = small("dagan/own", depth=depth, scale_weight=1.0, depth_weight=1.0, adversarial=None)
    torch.manual_seed(0)
    networks = recipe.networks()
    made = recipe.generate(networks, frames())
    terms = recipe.losses("generator", networks, frames(), made)
    for name in ("scale", "depth"):
        (slope,) = torch.autograd.grad(terms[name], made.output.pair.image, retain_graph=True)
        assert slope.abs().sum() > 0
    assert small("fomm/own", scale_weight=1.0).generate(networks, frames()).output.made is not None


def test_a_frozen_detector_stays():
    recipe = small("fomm/own", detector_rate=0.0)
    torch.manual_seed(0)
    before = {key: value.clone() for key, value in recipe.networks()["generator"].named_parameters()}
    _, networks = descended(recipe, 2)
    moved = {
        key for key, value in networks["generator"].named_parameters() if not torch.equal(value, before[key])
    }
    assert moved
    assert not any("kp_detector" in key for key in moved)
    rates = recipe.optimizer("generator", small("fomm/own").networks()["generator"]).param_groups
    assert [group["lr"] for group in rates] == [recipe.config.learning_rate, 0.0]


@pytest.mark.parametrize("name", ["fomm/own", "dagan/own"])
def test_sizes_grow(name):
    sizes = [sized(recipe_entry(name).config, size) for size in SIZES]
    widths = [
        (
            config.network.generator.width,
            config.network.motion.hourglass.width,
            config.discriminator.channels[0],
        )
        for config in sizes
    ]
    assert widths == [(8, 8, 8), (32, 32, 32), (64, 64, 64)]
    assert sizes[2] == recipe_entry(name).config
    assert [config.network.multiple for config in sizes] == [32, 64, 128]
    with pytest.raises(HeadwarpError, match="size: expected one of tiny, small, paper, got 'huge'"):
        sized(recipe_entry(name).config, "huge")


# Depth

ROWS = {
    ("dagan/baseline",): ("none", False),
    ("dagan/baseline", "depth_keypoints=true"): ("none", True),
    ("dagan/baseline", "attention=depth"): ("depth", False),
    ("dagan/baseline", "attention=self", "depth_keypoints=true"): ("self", True),
    ("dagan/baseline", "attention=depth", "depth_keypoints=true"): ("depth", True),
    ("fomm/own",): ("none", False),
    ("fomm/own", "depth_keypoints=true"): ("none", True),
    ("fomm/own", "attention=depth"): ("depth", False),
    ("fomm/own", "attention=depth", "depth_keypoints=true"): ("depth", True),
    ("dagan/own", "attention=none", "depth_keypoints=false"): ("none", False),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_table_4_is_a_setting_away(row, depth):
    name, *changes = row
    attention, seen = ROWS[row]
    recipe = small(name, changes=changes, depth=depth)
    network = recipe.networks()["generator"].network
    assert (network.config.attention, network.config.depth_keypoints) == (attention, seen)
    assert network.config.keypoints.channels == (4 if seen else 3)
    assert (network.depth is not None) == (seen or attention == "depth")
    if network.depth is None:
        return
    assert network.config.depth == DEPTH
    trained = load_checkpoint(depth).tensors
    assert all(torch.equal(v, trained[f"depth.{key}"]) for key, v in network.depth.state_dict().items())
    with pytest.raises(HeadwarpError, match=r"need one that was trained before; name .* depth_weights=FILE"):
        small(name, changes=changes)


def test_the_depth_network_stays_as_it_came(depth):
    _, networks = descended(small("dagan/own", depth=depth), 2)
    network = networks["generator"].train().network
    assert not any(module.training for module in network.depth.modules())
    trained = load_checkpoint(depth).tensors
    assert all(torch.equal(v, trained[f"depth.{key}"]) for key, v in network.depth.state_dict().items())


def test_depth_comes_from_an_animators_file_too(depth, tmp_path):
    recipe = small("dagan/baseline", changes=["depth_keypoints=true"], depth=depth)
    name, config, module = recipe.checkpoint(recipe.networks())
    path = save_checkpoint(tmp_path / "a.safetensors", module, config=config, name=name)
    config, weights = read_depth(path)
    assert config == DEPTH
    trained = load_checkpoint(depth).tensors
    assert all(torch.equal(value, trained[f"depth.{key}"]) for key, value in weights.items())


def test_files_without_a_depth_network_are_refused(tmp_path):
    recipe = small("fomm/own")
    name, config, module = recipe.checkpoint(recipe.networks())
    path = save_checkpoint(tmp_path / "a.safetensors", module, config=config, name=name)
    with pytest.raises(ModelFileError, match="expected a depth network, got animator 'fomm'"):
        small("dagan/own", depth=path)
    with pytest.raises(ModelFileError, match="no such checkpoint"):
        small("dagan/own", depth=tmp_path / "none.safetensors")


# Runs


def test_training_starts_from_a_checkpoint(tmp_path):
    recipe = small("fomm/official")
    _, networks = descended(recipe, 1)
    name, config, module = recipe.checkpoint(networks)
    path = save_checkpoint(tmp_path / "vox.safetensors", module, config=config, name=name)
    begun = small("fomm/official-adv", start=path).networks()["generator"].state_dict()
    assert all(torch.equal(value, begun[key]) for key, value in module.state_dict().items())
    with pytest.raises(ModelFileError, match="expected a checkpoint of name 'dagan', got 'fomm'"):
        small("dagan/baseline", start=path).networks()


@pytest.mark.parametrize("name", ["fomm/own", "dagan/own"])
def test_the_checkpoint_animates_as_the_generator_does(name, depth, tmp_path):
    recipe, batch = small(name, depth=depth), frames(1)
    _, networks = descended(recipe, 2)
    name, config, module = recipe.checkpoint(networks)
    path = save_checkpoint(tmp_path / "a.safetensors", module, config=config, name=name)
    animator = load_animator(name, path)
    networks["generator"].eval()
    with torch.no_grad():
        made = networks["generator"](batch.source, batch.driving).pair.image
        cache = animator.encode([Source(image=batch.source)])
        shown = animator.animate(cache, Driving(image=batch.driving)).image
    torch.testing.assert_close(shown, made, rtol=0, atol=1e-5)


def test_pictures_are_a_row_a_pair():
    recipe = small("fomm/own")
    networks = recipe.networks()
    networks["generator"].eval()
    with torch.no_grad():
        pictures = recipe.pictures(networks, frames())
    assert list(pictures) == ["source", "driving", "warped", "occlusion", "generated"]
    assert all(p.shape == (2, 3, 64, 64) and p.min() >= 0 and p.max() <= 1 for p in pictures.values())


def test_a_game_that_was_interrupted_goes_on_to_the_same_bits(tmp_path, depth):
    def batches(first, *, rank, world):
        for number in itertools.count(first):
            yield frames(seed=number)

    states = []
    for name, ends in (("whole", (2,)), ("parts", (1, 2))):
        for steps in ends:
            config = EngineConfig(steps=steps, ema=0.9, pictures_every=1)
            train(small("dagan/own", depth=depth), batches, output=tmp_path / name, config=config)
        states.append(newest(tmp_path / name / "checkpoints", say=print)[0].tensors)
    one, other = states
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
