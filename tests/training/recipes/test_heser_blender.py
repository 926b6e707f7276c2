"""The recipe of HeSer's blender: its modes, what its terms teach, what stands in, the command."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_packs import ToySegmenter, oval, toy_training, write_toy_footage

import headwarp.flame.detect
import headwarp.training.data.blends.maker
from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.tools.train import Train, run
from headwarp.training.blender_discriminator import BlenderDiscriminator, BlenderDiscriminatorConfig
from headwarp.training.data.blends.batch import blank_blends
from headwarp.training.recipes import load_recipe, recipe_entry
from headwarp.training.recipes.heser_blender import HeserBlenderRecipe, sized
from headwarp.warping.blending_unet import ResidualUNetConfig
from headwarp.warping.heser_files import load_heser_blender

MODES = ("own", "paper", "unofficial")


def small(mode, **fields):
    """A mode with a handful of channels."""
    config = recipe_entry(f"heser_blender/{mode}").config
    unet = dataclasses.replace(config.network.unet, widths=(8, 8))
    network = dataclasses.replace(config.network, unet=unet, channels=16)
    fields = {"network": network, "discriminator": BlenderDiscriminatorConfig((4, 8)), **fields}
    return HeserBlenderRecipe(dataclasses.replace(config, **fields))


def moves(parameter):
    return parameter.grad is not None and bool(parameter.grad.any())


def learnt(networks):
    """Names of the networks that have gradients; these are taken away."""
    found = {n for n, net in networks.items() if any(map(moves, net.parameters()))}
    for network in networks.values():
        network.zero_grad()
    return found


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_has_its_terms_and_each_turn_teaches_its_network(mode):
    recipe = small(mode)
    assert recipe.name == f"heser_blender/{mode}+surface+structure"
    assert len(recipe.stand_ins) == 2
    torch.manual_seed(0)
    networks = recipe.networks()
    batch = blank_blends(32).joined(blank_blends(32))
    made = recipe.generate(networks, batch)
    for turn in recipe.turns:
        terms = recipe.losses(turn, networks, batch, made)
        assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
        expected = {"pixel", "structure", "cycle", "cycle_other", "adversarial"}
        assert set(terms) == ({"judged"} if turn == "discriminator" else expected)
        sum(terms.values()).backward(retain_graph=True)
        own = learnt(networks)
        assert own == {turn} if turn == "discriminator" else "generator" in own
    pictures = recipe.pictures(networks, batch)
    assert all(tuple(value.shape) == (2, 3, 32, 32) for value in pictures.values())
    assert recipe.checkpoint(networks)[0] == "heser_blender"


def test_the_published_numbers():
    paper, unofficial = (recipe_entry(f"heser_blender/{mode}").config for mode in ("paper", "unofficial"))
    assert paper.adversarial.kind == "hinge"
    assert (paper.learning_rate, paper.discriminator_rate, paper.betas) == (1e-4, 4.0, (0.9, 0.999))
    assert (paper.pixel_weight, unofficial.pixel_weight) == (2.0, 2.0)  # of values in [0, 1]
    assert paper.network.unet == ResidualUNetConfig((64, 128, 256, 512), "batch", True)
    assert unofficial.adversarial.kind == "least_squares"
    assert (unofficial.network.temperature, unofficial.network.dilation) == (1e-3, 17)
    assert load_recipe("heser_blender").name.startswith("heser_blender/own")
    assert sized(paper, "tiny").discriminator.channels == (16, 32, 64, 128)
    assert len(small("own", adversarial=None).turns) == 1
    alone = small("own", cycle_weight=0.0)
    batch = blank_blends(32)
    assert alone.generate(alone.networks(), batch).cycled is None


def test_learning_makes_the_picture_the_truth():
    recipe, batch = small("own", adversarial=None), blank_blends(32)
    torch.manual_seed(0)
    networks = recipe.networks()
    step = recipe.optimizer("generator", networks["generator"])
    for group in step.param_groups:
        group["lr"] = 1e-2
    losses = []
    for _ in range(20):
        terms = recipe.losses("generator", networks, batch, recipe.generate(networks, batch))
        step.zero_grad()
        sum(terms.values()).backward()
        step.step()
        losses.append(float(terms["pixel"].detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_random_weights_are_refused(tmp_path):
    file = tmp_path / "vgg19.pth"
    file.write_bytes(b"nothing")
    with pytest.raises((HeadwarpError, ModelFileError), match=r"vgg19\.pth"):
        small("own", vgg=file)


def test_the_discriminator_reads_the_masks():
    torch.manual_seed(0)
    judge = BlenderDiscriminator(BlenderDiscriminatorConfig((4, 8))).eval()
    image, none = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    plain = judge(image, none, none).logits[0]
    for masks in ((none + 1, none), (none, none + 1)):
        assert float((judge(image, *masks).logits[0] - plain).detach().abs().max()) > 1e-3
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\) and two masks"):
        judge(image, none, none[..., 1:])
    with pytest.raises(HeadwarpError, match="channels: expected some"):
        BlenderDiscriminatorConfig(())


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Two clips with fits beside them, and their head."""
    return write_toy_footage(tmp_path_factory.mktemp("footage"))


def asked(footage, output, **changes):
    return Train("heser_blender", output=output, **toy_training(footage, **changes))


def test_clips_become_a_blender(footage, tmp_path, monkeypatch):
    monkeypatch.setattr(headwarp.flame.detect, "segment_person", oval)
    monkeypatch.setattr(headwarp.training.data.blends.maker, "RenderedSegmenter", ToySegmenter)
    report = run(asked(footage, tmp_path))
    assert (report["ok"], report["steps"], report["kind"]) == (True, 2, "blender")
    assert report["recipe"] == "heser_blender/own+surface+structure"
    assert report["final"]["copy_l1"] > 0
    network = load_heser_blender(tmp_path / "blender.safetensors")
    assert network.config.unet.widths == (16, 24, 32, 48)
    further = run(asked(footage, tmp_path, steps=3))
    assert further["steps"] == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"guidance": "codes"}, "--guidance: belongs to pwm; heser_blender/own is guided by the regions"),
        ({"time_flip": 0.1}, "--time-flip: belongs to recipes that train on frames alone"),
        ({"augment": False}, "--augment: belongs to pwm"),
    ],
)
def test_options_of_other_recipes_are_refused(footage, tmp_path, changes, told):
    with pytest.raises(HeadwarpError, match=told):
        run(asked(footage, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()
