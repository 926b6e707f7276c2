"""The recipes of PWM: what each mode is made of, that its terms teach the right network, its checkpoint."""

import dataclasses
import itertools

import pytest
import torch
from safetensors.torch import save_file
from toy_scene import FACES, VERTS, driving, source

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.nets.vgg import Vgg19
from headwarp.geom.nets.weights import load_backbone
from headwarp.training.data.pairs.batch import PairBatch
from headwarp.training.engine.config import EngineConfig
from headwarp.training.engine.loop import train
from headwarp.training.engine.store import newest
from headwarp.training.losses.perceptual import perceptual_loss
from headwarp.training.losses.warped import WarpedLevel
from headwarp.training.recipes import load_recipe, recipe_entry
from headwarp.training.recipes.pwm import RESIDUAL_SIZES, SIZES, sized
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.geometry import GeometryAnimator, GeometryConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.progressive import ProgressiveConfig
from headwarp.warping.pwm import CodesConfig
from headwarp.warping.residual import ResidualConfig

MODES = ("pwm/residual", "pwm/personal", "pwm/paper", "pwm/official")
SHIFTS = torch.tensor([[3.0, -1], [-5, 2]])
CODES = CodesConfig(count=VERTS.shape[1])


def cut(observation):
    """64 x 64: a size that every mode takes."""
    kept = {}
    for field in dataclasses.fields(observation):
        value = getattr(observation, field.name)
        image = isinstance(value, torch.Tensor) and value.ndim >= 3 and value.shape[-2:] == (64, 72)
        kept[field.name] = value[..., :64].contiguous() if image else value
    return dataclasses.replace(observation, **{**kept, "guidance": None})


def pairs():
    src, drive = cut(source()), cut(driving(SHIFTS))
    geometry = GeometryAnimator(GeometryConfig())
    layers = geometry.layers(geometry.encode([src]), drive).map(lambda t: t.expand(2, *t.shape[1:]))
    return PairBatch(
        source=src.image.expand(2, -1, -1, -1),
        driving=torch.roll(src.image, 2, 3).expand(2, -1, -1, -1),
        driving_mask=src.mask.expand(2, -1, -1, -1),
        layers=layers,
        source_verts=src.posed_vertices.expand(2, -1, -1),
        driving_verts=drive.posed_vertices,
        faces=FACES,
        names=("toy/a/0>1", "toy/a/0>2"),
    )


def small(name, guidance="displacement", **changes):
    """A mode with a handful of channels."""
    config = recipe_entry(name).config
    codes = CODES if guidance != "displacement" else None
    chosen = sized(config, "tiny", guidance=guidance, codes=codes)
    inner = chosen.network.network
    inner = (
        dataclasses.replace(inner, channels=(8, 8, 12, 16), detail=4)
        if isinstance(inner, ResidualConfig)
        else dataclasses.replace(inner, width=2, min_channels=4, max_channels=16)
    )
    network = dataclasses.replace(chosen.network, network=inner)
    disc = dataclasses.replace(config.discriminator, channels=(4, 8))
    return load_recipe(
        name, config=dataclasses.replace(chosen, network=network, discriminator=disc, **changes)
    )


def descended(recipe, steps=1, seed=0):
    """Terms of each turn after some steps, and the networks."""
    torch.manual_seed(seed)
    networks, batch, history = recipe.networks(), pairs(), []
    optimizers = {turn: recipe.optimizer(turn, networks[turn]) for turn in recipe.turns}
    for _ in range(steps):
        made, terms = recipe.generate(networks, batch), {}
        for turn in recipe.turns:
            optimizers[turn].zero_grad()
            found = recipe.losses(turn, networks, batch, made)
            sum(found.values()).backward()
            optimizers[turn].step()
            terms |= {name: float(value.detach()) for name, value in found.items()}
        history.append(terms)
    return history, networks


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("pwm/residual", {"pixel", "structure"}),
        ("pwm/personal", {"pixel", "structure"}),
        (
            "pwm/paper",
            {"structure", "structure_warped", "adversarial", "adversarial_warped"}
            | {"matching", "matching_warped", "judged", "judged_warped"},
        ),
        (
            "pwm/official",
            {"pixel", "structure", "structure_warped", "adversarial", "adversarial_warped"}
            | {"matching", "matching_warped", "judged", "judged_warped"},
        ),
    ],
)
def test_a_mode_has_its_terms_and_they_are_finite(name, terms):
    history, _ = descended(small(name), steps=2)
    assert set(history[-1]) == terms
    assert all(value == value and abs(value) < 1e6 for value in history[-1].values())


@pytest.mark.parametrize("name", MODES)
def test_what_stands_in_is_in_the_name_and_said(name):
    recipe = load_recipe(name)
    assert recipe.name == f"{name}+structure"
    assert "stands in for the perceptual loss" in recipe.stand_ins[0]


def test_the_paper_and_its_public_code_differ_where_the_notes_say():
    paper, official = (recipe_entry(f"pwm/{mode}").config for mode in ("paper", "official"))
    assert (paper.adversarial.kind, official.adversarial.kind) == ("hinge", "least_squares")
    assert (paper.discriminator.scales, official.discriminator.scales) == (("x1", "x2", "x4"), ("x1",))
    assert (paper.perceptual.strides, official.perceptual.strides) == ((1, 2, 4), (1, 2, 4, 8))
    assert (paper.pixel_weight, official.pixel_weight) == (0.0, 10.0)
    assert (paper.warped, official.warped) == ("last", "every")
    assert (paper.learning_rate, official.learning_rate) == (2e-4, 2e-4)
    assert (paper.betas, paper.weight_decay) == (official.betas, official.weight_decay) == ((0.9, 0.999), 0.0)
    assert paper.perceptual.taps == ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")
    assert official.perceptual.taps == tuple(f"relu{block}_1" for block in range(1, 6))
    for family in ("perceptual", "matching", "adversarial"):
        summed, averaged = getattr(paper, family), getattr(official, family)
        assert (summed.reduction, averaged.reduction) == ("sum", "mean")
        assert (summed.weight, averaged.weight) == (1.0, 1.0 if family == "adversarial" else 10.0)
    exact, legacy = paper.network.network, official.network.network
    assert (exact.alpha, exact.legacy_grid, exact.padding_mode) == ("none", False, "border")
    assert (legacy.alpha, legacy.legacy_grid, legacy.padding_mode) == ("ignored", True, "zeros")


@pytest.mark.parametrize("name", ["pwm/paper", "pwm/official"])
def test_what_stands_in_is_no_less_than_what_it_plays_with(name):
    recipe, batch = small(name), pairs()
    torch.manual_seed(0)
    networks = recipe.networks()
    made = recipe.generate(networks, batch)
    terms = recipe.losses("generator", networks, batch, made)
    pulls = {
        term: float(torch.autograd.grad(terms[term], made.image, retain_graph=True)[0].norm())
        for term in ("structure", "matching")
    }
    assert pulls["structure"] > 0.1 * pulls["matching"]


def test_residual_learns_more_than_geometry():
    history, _ = descended(small("pwm/residual", learning_rate=3e-3), steps=40)
    assert history[-1]["pixel"] < 0.8 * history[0]["pixel"]


def test_the_public_codes_warped_pictures_are_black_beyond_the_source():
    recipe, batch = small("pwm/official"), pairs()
    networks, dark = recipe.networks(), dataclasses.replace(batch, driving=torch.zeros_like(batch.driving))
    made = recipe.generate(networks, batch)
    away = dataclasses.replace(made, flows=tuple(torch.full_like(flow, 1000.0) for flow in made.flows))
    terms = recipe.losses("generator", networks, dark, away)
    assert terms["structure_warped"] == 0


@pytest.mark.parametrize("name", ["pwm/paper", "pwm/official"])
def test_turns_teach_their_own_network_alone(name):
    recipe, batch = small(name), pairs()
    networks = recipe.networks()
    made = recipe.generate(networks, batch)
    sum(recipe.losses("discriminator", networks, batch, made).values()).backward()
    assert all(p.grad is None for p in networks["generator"].parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in networks["discriminator"].parameters())
    sum(recipe.losses("generator", networks, batch, made).values()).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in networks["generator"].parameters())


def test_a_game_that_was_interrupted_goes_on_to_the_same_bits(tmp_path):
    def batches(first, *, rank, world):
        for number in itertools.count(first):
            whole = pairs()
            yield dataclasses.replace(whole, driving=torch.roll(whole.driving, number, 3))

    states = []
    for name, ends in (("whole", (2,)), ("parts", (1, 2))):
        for steps in ends:
            config = EngineConfig(steps=steps, ema=0.9, pictures_every=1)
            train(small("pwm/paper", "both"), batches, output=tmp_path / name, config=config)
        states.append(newest(tmp_path / name / "checkpoints", say=print)[0].tensors)
    one, other = states
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
    assert any(key.endswith("running_var") for key in one if key.startswith("network/discriminator"))
    assert any(key.endswith("._v") for key in one if key.startswith("network/discriminator"))


@pytest.mark.parametrize("guidance", ["codes", "both"])
@pytest.mark.parametrize("name", MODES)
def test_codes_are_trained_with_the_network(name, guidance):
    recipe = small(name, guidance)
    _, networks = descended(recipe, steps=2)
    codes = networks["generator"].codes.codes
    assert codes.grad is not None
    assert bool(codes.grad.any())


@pytest.mark.parametrize("name", MODES)
def test_the_checkpoint_animates_as_the_generator_does(name, tmp_path):
    recipe = small(name)
    _, networks = descended(recipe, steps=2)
    animator_name, config, module = recipe.checkpoint(networks)
    path = save_checkpoint(tmp_path / "a.safetensors", module, config=config, name=animator_name)
    animator = load_animator("pwm", path)
    networks["generator"].eval()
    with torch.no_grad():
        made = recipe.generate(networks, pairs()).image
        shown = animator.animate(animator.encode([cut(source())]), cut(driving(SHIFTS))).image
    torch.testing.assert_close(shown, made, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODES)
def test_pictures_are_a_row_a_pair(name):
    recipe = small(name)
    _, networks = descended(recipe)
    pictures = recipe.pictures(networks, pairs())
    assert list(pictures) == ["source", "driving", "geometry", "warped", "generated"]
    assert all(p.shape == (2, 3, 64, 64) and p.min() >= 0 and p.max() <= 1 for p in pictures.values())


@pytest.mark.parametrize("name", MODES)
def test_sizes_grow(name):
    config, counts = recipe_entry(name).config, []
    for size in SIZES:
        inner = sized(config, size).network.network
        widths = (
            inner.channels
            if isinstance(inner, ResidualConfig)
            else [inner.channels(stride) for stride in inner.strides]
        )
        counts.append(sum(width * width for width in widths))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_one_persons_footage_may_teach_paint_that_strangers_may_not():
    held, free = (
        sized(recipe_entry(f"pwm/{mode}").config, "small").network.network
        for mode in ("residual", "personal")
    )
    assert (held.trust, held.shade, free.trust, free.shade) == (1.0, 8, 1.0, 0)
    assert held.channels == free.channels == RESIDUAL_SIZES["small"].channels


def test_official_keeps_its_grids_in_every_size():
    inner = sized(recipe_entry("pwm/official").config, "tiny").network.network
    assert isinstance(inner, ProgressiveConfig)
    assert inner.legacy_grid
    assert set(RESIDUAL_SIZES) == set(SIZES)


def test_an_unknown_size_is_refused():
    with pytest.raises(HeadwarpError, match="size: expected one of tiny, small, paper, got 'huge'"):
        sized(recipe_entry("pwm/residual").config, "huge")


# Pretrained weights


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """A file of VGG-19's keys and shapes: nothing is published about a .safetensors, so any hash will do."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vgg19.safetensors"
    save_file(Vgg19().state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["pwm/paper", "pwm/official"])
def test_with_weights_the_perceptual_loss_takes_the_structure_losss_place(name, vgg):
    strides = dataclasses.replace(recipe_entry(name).config.perceptual, strides=(1, 2))
    recipe = small(name, vgg=vgg, perceptual=strides)
    assert recipe.name == name
    assert recipe.stand_ins == ()
    networks, batch = recipe.networks(), pairs()
    made = recipe.generate(networks, batch)
    near = WarpedLevel(made.image, batch.driving)
    like = recipe._alike([near])
    expected = perceptual_loss(
        made.image,
        batch.driving,
        lambda x: load_backbone("vgg19", vgg).network.taps(x, strides.taps),
        strides,
    )
    torch.testing.assert_close(like, expected)
    like.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in networks["generator"].parameters())
    assert recipe._alike([WarpedLevel(batch.driving, batch.driving)]) == 0
    if name == "pwm/official":  # its fourth size would be 8 px, where VGG-19 has no pixel left
        three = dataclasses.replace(strides, strides=(1, 2, 4))
        assert small(name, vgg=vgg)._alike([near]) == small(name, vgg=vgg, perceptual=three)._alike([near])
    terms = recipe.losses(
        "generator", networks, batch, made
    )  # in 64 px there are levels too small for VGG-19
    assert {key for key in terms if "perceptual" in key} == {"perceptual", "perceptual_warped"}
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file; expected weights of vgg19"),
        (b"not these", "expected sha256 dcbb9e9d"),
    ],
)
def test_weights_that_are_not_vggs_are_refused_as_the_recipe_is_made(content, text, tmp_path):
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=text):
        small("pwm/official", vgg=path)
