"""The recipe of Sparse-to-Dense: its two phases, what its terms teach, its checkpoint, the command."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_animators import SPARSE, shaken
from toy_packs import oval, toy_training, write_toy_footage
from toy_scene import FACES, LANDMARKS, SIZE, driving, source

import headwarp.flame.detect
import headwarp.tools.recipes
from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.guidance import Driving, Source
from headwarp.tools.recipes import landmarks_of, with_changes
from headwarp.tools.train import Train, run
from headwarp.training.data.pairs.batch import PairBatch
from headwarp.training.plain_discriminator import PlainDiscriminatorConfig
from headwarp.training.recipes import load_recipe, recipe_entry
from headwarp.training.recipes.sparse2dense import (
    Sparse2DenseRecipe,
    background_variation,
    landmark_flow_error,
    sized,
)
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.geometry import GeometryAnimator, GeometryConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.sparse2dense import REGIONS

SHIFTS = torch.tensor([[3.0, -1], [-5, 2]])
MODES = ("own", "own-adv", "paper", "paper-adv")
GAME = {"adversarial", "matching"}


@pytest.fixture(scope="module")
def pairs():
    """A head that moves, two pairs; 64 x 72."""
    geometry = GeometryAnimator(GeometryConfig())
    layers = geometry.layers(geometry.encode([source()]), driving(SHIFTS))
    return PairBatch(
        source=source().image.expand(2, -1, -1, -1),
        driving=torch.roll(source().image, 2, 3).expand(2, -1, -1, -1),
        driving_mask=source().mask.expand(2, -1, -1, -1),
        layers=layers.map(lambda t: t.expand(2, *t.shape[1:])),
        source_verts=source().posed_vertices.expand(2, -1, -1),
        driving_verts=driving(SHIFTS).posed_vertices,
        faces=FACES,
        names=("toy/a/0>1", "toy/a/0>2"),
    )


def points_of(verts):
    return verts[:, :68, :2]


def small(mode, **fields):
    """A mode with a handful of channels."""
    config = recipe_entry(f"sparse2dense/{mode}").config
    fields = {"network": SPARSE, "discriminator": PlainDiscriminatorConfig((4, 8)), **fields}
    return Sparse2DenseRecipe(dataclasses.replace(config, **fields), points_of)


def moves(parameter):
    return parameter.grad is not None and bool(parameter.grad.any())


def learnt(networks):
    """Names of the networks that have gradients; these are taken away."""
    found = {n for n, net in networks.items() if any(map(moves, net.parameters()))}
    for network in networks.values():
        network.zero_grad()
    return found


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_has_its_terms_and_each_turn_teaches_its_network(mode, pairs):
    recipe = small(mode)
    assert recipe.name == f"sparse2dense/{mode}+structure"
    torch.manual_seed(0)
    networks = recipe.networks()
    made = recipe.generate(networks, pairs)
    expected = {"structure"} | ({"pixel", "landmarks", "background"} if mode.startswith("own") else set())
    for turn in recipe.turns:
        terms = recipe.losses(turn, networks, pairs, made)
        assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
        if turn == "discriminator":
            assert set(terms) == {"judged"}
        else:
            assert set(terms) == expected | (GAME if mode.endswith("-adv") else set())
        sum(terms.values()).backward(retain_graph=True)
        own = learnt(networks)
        assert own == {turn} if turn == "discriminator" else "generator" in own
    assert recipe.turns == (("generator", "discriminator") if mode.endswith("-adv") else ("generator",))


def test_the_published_numbers():
    paper, second = (recipe_entry(f"sparse2dense/{mode}").config for mode in ("paper", "paper-adv"))
    assert paper.adversarial is None
    assert second.adversarial.kind == "least_squares"
    assert (paper.learning_rate, second.learning_rate) == (2e-4, 2e-4)
    assert second.discriminator.channels == (128, 256, 512, 1024)
    recipe = small("paper-adv")
    rates = [recipe.optimizer(turn, recipe.networks()[turn]).param_groups[0]["lr"] for turn in recipe.turns]
    assert rates == pytest.approx([2e-4, 2e-6])
    assert recipe_entry("sparse2dense").name == "sparse2dense/own"


def test_the_second_phase_goes_on_from_the_first(tmp_path):
    torch.manual_seed(0)
    first = small("own")
    networks = first.networks()
    shaken(networks["generator"])
    name, config, module = first.checkpoint(networks)
    path = save_checkpoint(tmp_path / "a.safetensors", module, config=config, name=name)
    begun = small("own-adv", start=path).networks()["generator"].state_dict()
    assert all(torch.equal(begun[key], value) for key, value in module.state_dict().items())


def test_the_checkpoint_animates_as_the_generator_does(tmp_path, pairs):
    recipe = small("own")
    networks = recipe.networks()
    shaken(networks["generator"])
    name, config, module = recipe.checkpoint(networks)
    path = save_checkpoint(tmp_path / "a.safetensors", module, config=config, name=name)
    animator = load_animator("sparse2dense", path)
    cache = animator.encode([Source(image=source().image, landmarks=LANDMARKS)])
    shown = animator.animate(cache, Driving(landmarks=points_of(pairs.driving_verts))).image
    with torch.no_grad():
        made = recipe.generate(networks, pairs).output.image
        pictures = recipe.pictures(networks, pairs)
    torch.testing.assert_close(shown, made, rtol=0, atol=1e-4)
    assert {tuple(each.shape) for each in pictures.values()} == {(2, 3, *SIZE)}
    assert torch.equal(pictures["generated"], made)


def test_it_learns_where_landmarks_go(pairs):
    torch.manual_seed(0)
    recipe = small("own", learning_rate=3e-3)
    networks, errors = recipe.networks(), []
    optimizer = recipe.optimizer("generator", networks["generator"])
    for _ in range(25):
        optimizer.zero_grad()
        terms = recipe.losses("generator", networks, pairs, recipe.generate(networks, pairs))
        sum(terms.values()).backward()
        optimizer.step()
        errors.append(float(terms["landmarks"].detach()))
    assert errors[-1] < 0.8 * errors[0]


# The landmarks' loss


def test_a_flow_that_carries_landmarks_over_has_no_error():
    own, there = LANDMARKS.expand(2, -1, -1), LANDMARKS + SHIFTS[:, None]
    right = -SHIFTS[:, :, None, None].expand(-1, -1, *SIZE)
    assert landmark_flow_error(right, own, there) < 1e-6
    still = torch.zeros(2, 2, *SIZE)
    expected = (SHIFTS / torch.tensor([SIZE[1] / 2, SIZE[0] / 2])).abs().mean()
    torch.testing.assert_close(landmark_flow_error(still, own, there), expected)


def test_landmarks_beyond_the_frame_do_not_count():
    still = torch.zeros(1, 2, *SIZE, requires_grad=True)
    error = landmark_flow_error(still, LANDMARKS, LANDMARKS + 1000)
    error.backward()
    assert error == 0
    assert torch.isfinite(still.grad).all()


def test_flow_varies_beyond_the_person_alone():
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, :, :, 3:] = 2.0  # a step of 2 px in x and y along one column
    assert background_variation(flow, torch.ones(1, 1, 4, 6)) == 0
    assert background_variation(flow, torch.zeros(1, 1, 4, 6)) == pytest.approx(4 * 4 / (4 * 5))
    half = torch.zeros(1, 1, 4, 6)
    half[:, :, :2] = 1
    assert background_variation(flow, half) == pytest.approx(2 * 4 / (4 * 5))


def test_478_landmarks_by_name_take_the_regions_of_the_face_mesh():
    config = with_changes(sized(recipe_entry("sparse2dense").config, "tiny"), ["network.landmarks=478"])
    assert config.network.parts == REGIONS[478]
    head = load_head()
    recipe = Sparse2DenseRecipe(config, landmarks_of(head, 478))
    points = recipe._points(head.template[None].float())
    assert points.shape == (1, 478, 2)
    torch.testing.assert_close(
        points[:, 1], landmarks_of(head)(head.template[None].float())[:, 30], rtol=0, atol=0.02
    )


# What is refused


def test_sizes():
    config = recipe_entry("sparse2dense/own").config
    multiples = [sized(config, size).network.multiple for size in ("tiny", "small", "paper")]
    assert multiples == [32, 64, 128]
    with pytest.raises(HeadwarpError, match="size: expected one of tiny, small, paper, got 'huge'"):
        sized(config, "huge")


def test_a_head_without_landmarks_and_other_ones(pairs):
    for without in (None, lambda _: None):
        recipe = Sparse2DenseRecipe(small("own").config, without)
        with pytest.raises(HeadwarpError, match="expected the 68 landmarks of a head, got none"):
            recipe.generate(recipe.networks(), pairs)
    recipe = Sparse2DenseRecipe(small("own").config, lambda verts: verts[:, :5, :2])
    with pytest.raises(ShapeError, match="68, 2"):
        recipe.generate(recipe.networks(), pairs)
    assert load_recipe("sparse2dense/own").needs == "geometry"


# The command


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Two clips with fits beside them, and their head."""
    return write_toy_footage(tmp_path_factory.mktemp("footage"))


def asked(footage, output, **changes):
    return Train("sparse2dense", output=output, **toy_training(footage, **changes))


def test_clips_become_an_animator(footage, tmp_path, monkeypatch):
    """The toy head has no 68 landmarks: at first that is told, then it gets some."""
    monkeypatch.setattr(headwarp.flame.detect, "segment_person", oval)
    with pytest.raises(HeadwarpError, match="expected the 68 landmarks of a head, got none"):
        run(asked(footage, tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    some = torch.arange(68)
    chosen = lambda _, verts, _count: verts[:, some % verts.shape[1], :2]  # noqa: E731
    monkeypatch.setattr(headwarp.tools.recipes, "face_points", chosen)
    report = run(asked(footage, tmp_path))
    assert (report["ok"], report["steps"]) == (True, 2)
    assert report["recipe"] == "sparse2dense/own+structure"
    animator = load_animator("sparse2dense", tmp_path / "animator.safetensors")
    assert (animator.config.landmarks, animator.frame_multiple) == (68, 32)


@pytest.mark.parametrize("guidance", ["landmarks", "codes"])
def test_guidance_is_refused(footage, tmp_path, guidance):
    with pytest.raises(HeadwarpError, match="--guidance: belongs to pwm; sparse2dense/own is driven by"):
        run(asked(footage, tmp_path, guidance=guidance))
