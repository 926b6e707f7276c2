"""The recipe of HeSer's aligner: what each mode is made of, what its terms teach, its checkpoint, tuning."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_animators import ALIGNER, shaken
from toy_mesh import texture

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.guidance import Driving, Source
from headwarp.tools.recipes import RecipeOptions, recipe_of
from headwarp.training.aligner_discriminator import AlignerDiscriminatorConfig
from headwarp.training.data.frames.batch import FrameBatch
from headwarp.training.recipes import load_recipe, recipe_entry
from headwarp.training.recipes.heser_aligner import drawn_weights, framed, sized, split
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint

MODES = ("own", "paper", "unofficial")
GAME = {"adversarial", "matching"}


def batch(count=2, size=32):
    """Textures pushed to the right from frame to frame, two samples of three."""
    wall = texture((size, size), cell=8)
    rows = [torch.stack([wall[0].roll(3 * n + 5 * slot, -1) for n in range(3)]) for slot in range(count)]
    return FrameBatch(torch.stack(rows), tuple(f"toy/a/{slot}" for slot in range(count)))


def toy(mode, **fields):
    """A mode with a handful of channels."""
    config = recipe_entry(f"heser_aligner/{mode}").config
    judge = dataclasses.replace(config.discriminator, channels=4, most_channels=8, blocks=3)
    fields = {"network": ALIGNER, "discriminator": judge, "shots": 2, **fields}
    return load_recipe(f"heser_aligner/{mode}", config=dataclasses.replace(config, **fields))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of a network off its start."""
    torch.manual_seed(0)
    recipe = toy("own")
    networks = recipe.networks()
    shaken(networks["generator"])
    name, config, module = recipe.checkpoint(networks)
    path = tmp_path_factory.mktemp("aligner") / "a.safetensors"
    return save_checkpoint(path, module, config=config, name=name), networks


def learnt(networks):
    """Names of the parts that have gradients; these are taken away."""
    found = {
        f"{name}.{key}"
        for name, network in networks.items()
        for key, parameter in network.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.any())
    }
    for network in networks.values():
        network.zero_grad()
    return found


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_has_its_terms_and_each_turn_teaches_its_network(mode):
    recipe = toy(mode)
    assert recipe.name == f"heser_aligner/{mode}+structure+identity"
    assert [text.split(",")[0].split(";")[0] for text in recipe.stand_ins][1].startswith(
        "the identity encoder"
    )
    torch.manual_seed(0)
    networks, samples = recipe.networks(), batch()
    made = recipe.generate(networks, samples)
    assert made.image.shape == (2, 3, 32, 32)
    terms = recipe.losses("generator", networks, samples, made)
    expected = {"pixel", "structure", "adversarial"} | (set() if mode == "unofficial" else {"matching"})
    assert set(terms) == expected
    sum(terms.values()).backward(retain_graph=True)
    parts = {key.split(".")[2] for key in learnt(networks) if key.startswith("generator")}
    assert parts == {"portrait", "identity", "pose", "expression", "generator"}
    judged = recipe.losses("discriminator", networks, samples, made)
    assert set(judged) == {"judged"}
    judged["judged"].backward()
    assert {key.split(".")[0] for key in learnt(networks)} == {"discriminator"}


def test_the_published_numbers():
    paper, unofficial = (recipe_entry(f"heser_aligner/{mode}").config for mode in ("paper", "unofficial"))
    assert (paper.network.generator.hidden, unofficial.network.generator.hidden) == (768, 1536)
    assert (paper.adversarial.kind, unofficial.adversarial.kind) == ("hinge", "least_squares")
    assert (paper.learning_rate, paper.discriminator_rate) == (1e-4, 4.0)
    assert (unofficial.learning_rate, unofficial.discriminator_rate) == (1e-3, 4.0)
    assert (paper.betas, paper.network.identity) == ((0.9, 0.999), "arcface")
    assert paper.network.generator.widths() == (512, 512, 512, 512, 512, 256, 128, 64)
    assert recipe_entry("heser_aligner").name == "heser_aligner/own"
    assert recipe_entry("heser_aligner").needs == "frames"
    assert load_recipe("heser_aligner/paper").frames == 5


def test_the_target_is_the_middle_one():
    sources, target = split(batch().frames)
    assert torch.equal(target, batch().frames[:, 1])
    assert torch.equal(sources, batch().frames[:, [0, 2]])
    sources, target = split(batch().frames[:, :2])
    assert torch.equal(target, batch().frames[:, 1])
    assert sources.shape[1] == 1


def test_weights_by_lot_are_of_one_source_to_all():
    torch.manual_seed(0)
    weights = drawn_weights(torch.zeros(4000, 4, 1, 1, 1).expand(-1, -1, 3, 1, 1))
    torch.testing.assert_close(weights.sum(1), torch.ones(4000))
    assert weights.min() >= 0
    shares = torch.bincount((weights > 0).sum(1), minlength=5)[1:] / 4000
    assert (shares - 0.25).abs().max() < 0.03
    assert (weights.mean(0) - 0.25).abs().max() < 0.02


def test_it_learns_to_make_the_target():
    torch.manual_seed(0)
    recipe = toy("own", learning_rate=3e-3, adversarial=None)
    networks, history = recipe.networks(), []
    optimizer = recipe.optimizer("generator", networks["generator"])
    for _ in range(15):
        optimizer.zero_grad()
        samples = batch()
        terms = recipe.losses("generator", networks, samples, recipe.generate(networks, samples))
        sum(terms.values()).backward()
        optimizer.step()
        history.append(float(terms["pixel"].detach()))
    assert recipe.turns == ("generator",)
    assert sum(history[-3:]) < 0.85 * sum(history[:3])


def test_the_checkpoint_animates_as_the_generator_does(saved):
    path, networks = saved
    samples = batch()
    sources, target = split(samples.frames[:1])
    animator = load_animator("heser", path)
    cache = animator.encode([Source(image=sources[:, place]) for place in range(2)])
    shown = animator.animate(cache, Driving(image=target)).image
    with torch.no_grad():
        made = toy("own").pictures(networks, samples)
    torch.testing.assert_close(shown, made["generated"][:1], rtol=0, atol=1e-5)
    alone = animator.animate(animator.encode([Source(image=sources[:, 0])]), Driving(image=target)).image
    torch.testing.assert_close(alone, made["one_shot"][:1], rtol=0, atol=1e-5)
    assert not torch.allclose(alone, shown, atol=1e-3)


def test_larger_frames_are_seen_at_the_size_of_the_training(saved):
    animator, samples = load_animator("heser", saved[0]), batch()
    source, target = samples.frames[:1, 0], samples.frames[:1, 1]
    large = [picture.repeat_interleave(4, 2).repeat_interleave(4, 3) for picture in (source, target)]
    small = animator.animate(animator.encode([Source(image=source)]), Driving(image=target)).image
    made = animator.animate(animator.encode([Source(image=large[0])]), Driving(image=large[1])).image
    assert made.shape == (1, 3, 128, 128)
    enlarged = torch.nn.functional.interpolate(small, (128, 128), mode="bilinear", align_corners=False)
    torch.testing.assert_close(made, enlarged, rtol=0, atol=1e-4)


# Tuning to one person


def test_tuning_learns_the_generator_and_the_persons_vector_alone(saved):
    path, networks = saved
    recipe = toy("tune", start=path)
    tuned, samples = recipe.networks(), batch()
    with torch.no_grad():
        before = recipe.pictures({"generator": tuned["generator"].eval()}, samples)["generated"]
        same = recipe.pictures(networks, samples)["generated"]
    assert torch.equal(before, same)
    tuned["generator"].train()
    assert not tuned["generator"].network.pose.training
    terms = recipe.losses("generator", tuned, samples, recipe.generate(tuned, samples))
    sum(terms.values()).backward()
    parts = {key.split(".")[2] for key in learnt(tuned) if key.startswith("generator")}
    assert parts == {"generator", "offset"}
    kept = recipe.optimizer("generator", tuned["generator"]).param_groups[0]["params"]
    assert len(kept) == 1 + len(list(tuned["generator"].network.generator.parameters()))
    assert recipe.checkpoint(tuned)[1].subject


def test_tuning_wants_a_start_of_the_frames_size(saved):
    path, _ = saved
    with pytest.raises(HeadwarpError, match="expected a checkpoint to tune, got none"):
        toy("tune").networks()
    larger = dataclasses.replace(framed(recipe_entry("heser_aligner/tune").config, 64), start=path)
    with pytest.raises(HeadwarpError, match="makes pictures of 32 px, the frames have 64; pass --size 32"):
        load_recipe("heser_aligner/tune", config=larger)


# Sizes and what is refused


def test_sizes_follow_the_command_line():
    recipe = recipe_of(RecipeOptions("heser_aligner/own", "tiny", side=64), None)
    assert recipe.config.network.generator.size == 64
    assert recipe.config.network.generator.doublings == 4
    config = recipe_entry("heser_aligner/own").config
    counts = [sized(config, size).network.portrait.width for size in ("tiny", "small", "paper")]
    assert counts == [16, 32, 64]
    with pytest.raises(HeadwarpError, match="size: expected one of tiny, small, paper, got 'huge'"):
        sized(config, "huge")
    with pytest.raises(HeadwarpError, match=r"size: expected a power of two.*got 96"):
        framed(config, 96)
    with pytest.raises(HeadwarpError, match=r"shots: expected 1, 2, 4, 6 or 8 .* got 3"):
        dataclasses.replace(config, shots=3)


def test_no_file_is_no_arcface(tmp_path):
    with pytest.raises(ModelFileError, match="no such file of weights; expected one of ir_se50"):
        toy("own", arcface=tmp_path / "none.pth").networks()


def test_discriminators_judge_pictures_alone():
    for kind, last in (("residual", (2, 1, 1, 1)), ("patch", (2, 1, 4, 4))):
        config = AlignerDiscriminatorConfig(kind, 4, 8, 3)
        recipe = toy("own", discriminator=config)
        judgement = recipe.networks()["discriminator"](torch.rand(2, 3, 32, 32))
        assert tuple(judgement.logits[0].shape) == last
        assert len(judgement.features[0]) == 3
    with pytest.raises(HeadwarpError, match="expected residual or patch"):
        AlignerDiscriminatorConfig("odd")
