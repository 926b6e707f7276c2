"""`pwm` trained with depth, keypoints or landmarks in place of the mesh: they move layers in the batch."""

import dataclasses

import pytest
import torch
from guide_files import guide_file
from toy_head import toy_head

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.guidance import Driving, Source
from headwarp.training.data.pairs.blank import blank_pair
from headwarp.training.recipes import recipe_entry
from headwarp.training.recipes.pwm import PwmRecipe, sized
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.guided import GuidedAnimator
from headwarp.warping.guides import GUIDE_KINDS, NETWORK_KINDS, GuideConfig, load_guide
from headwarp.warping.pwm import CodesConfig


@pytest.fixture(scope="module", params=GUIDE_KINDS)
def guide(request, tmp_path_factory):
    if request.param not in NETWORK_KINDS:
        return GuideConfig(request.param, side=None)
    return GuideConfig(request.param, guide_file(tmp_path_factory.mktemp("guide"), request.param))


def points_of(verts):
    """Some vertices as landmarks."""
    return verts[:, 20::9, :2]


def recipe_with(guide, mode="residual"):
    config = sized(recipe_entry(f"pwm/{mode}").config, "tiny")
    config = dataclasses.replace(config, guide=guide)
    marked = guide is not None and guide.kind == "landmarks"  # below them depth would let shoulders rest
    return PwmRecipe(config, None, points_of if marked else None)


def animated(pair, guide, checkpoint=None):
    """What the command makes of the same pair."""
    made = load_guide(guide)
    name = "geometry" if checkpoint is None else "pwm"
    animator = GuidedAnimator(load_animator(name, checkpoint), made.source, made.observer)
    source, driving = Source(image=pair.source), Driving(image=pair.driving)
    if guide.kind == "landmarks":
        source = dataclasses.replace(source, landmarks=points_of(pair.source_verts))
        driving = dataclasses.replace(driving, landmarks=points_of(pair.driving_verts))
    return animator.animate(animator.encode([source]), driving).image


def test_the_untrained_network_makes_the_pictures_of_geometry_guided_alike(guide):
    pair, recipe = blank_pair(toy_head(), 64), recipe_with(guide)
    networks = recipe.networks()
    with torch.no_grad():
        shown = recipe.pictures(networks, pair)
    assert torch.equal(shown["generated"], shown["geometry"])
    assert torch.equal(shown["geometry"], animated(pair, guide))
    assert (shown["geometry"] - pair.source).abs().mean() > 1e-3  # it is moved
    plain = recipe_with(None).pictures(networks, pair)
    assert not torch.equal(shown["geometry"], plain["geometry"])


def test_it_learns_and_animates_as_it_was_trained(guide, tmp_path):
    pair, recipe = blank_pair(toy_head(), 64), recipe_with(guide)
    networks = recipe.networks()
    optimizer = recipe.optimizer("generator", networks["generator"])
    totals = []
    for _ in range(8):
        optimizer.zero_grad()
        made = recipe.generate(networks, pair)
        total = sum(recipe.losses("generator", networks, pair, made).values())
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < totals[0]
    networks["generator"].eval()
    name, config, module = recipe.checkpoint(networks)
    plain = recipe_with(None).networks()["generator"].state_dict()
    assert len(module.state_dict()) == len(plain)  # the frozen network is not among the weights
    file = save_checkpoint(tmp_path / "pwm.safetensors", module, config=config, name=name)
    with torch.no_grad():
        drawn = recipe.generate(networks, pair).image
    torch.testing.assert_close(animated(pair, guide, file), drawn, rtol=0, atol=1e-5)


def test_landmarks_let_shoulders_rest(tmp_path):
    guide = GuideConfig("depth", guide_file(tmp_path, "depth"))
    config = dataclasses.replace(sized(recipe_entry("pwm/residual").config, "tiny"), guide=guide)
    pair = blank_pair(toy_head(), 64)
    chin = torch.tensor([[[10.0, 10.0], [10.0, 20.0]]])
    free, held = (PwmRecipe(config, None, points) for points in (None, lambda verts: chin))
    with torch.no_grad():
        rigid, rests = (recipe.generate(recipe.networks(), pair).flow for recipe in (free, held))
    assert rigid[..., 50:60, 20:40].abs().max() > 0.1
    assert rests[..., 50:60, 20:40].abs().max() < 1e-3


def test_a_head_without_landmarks_cannot_be_guided_by_them():
    config = sized(recipe_entry("pwm/residual").config, "tiny")
    config = dataclasses.replace(config, guide=GuideConfig("landmarks", side=None))
    for points in (None, lambda verts: None):
        recipe = PwmRecipe(config, None, points)
        with pytest.raises(
            HeadwarpError, match="guide: expected the 68 landmarks of a head to guide by, got"
        ):
            recipe.generate(recipe.networks(), blank_pair(toy_head(), 64))


def test_codes_and_missing_files_are_refused_when_the_recipe_is_made(guide, tmp_path):
    config = sized(recipe_entry("pwm/residual").config, "tiny", guidance="codes", codes=CodesConfig(count=9))
    with pytest.raises(HeadwarpError, match=f"guide: .*'codes': codes lie on the mesh, and {guide.kind} has"):
        dataclasses.replace(config, guide=guide)
    if guide.kind in NETWORK_KINDS:
        with pytest.raises(ModelFileError, match="no such checkpoint"):
            recipe_with(dataclasses.replace(guide, checkpoint=tmp_path / "gone.safetensors"))
