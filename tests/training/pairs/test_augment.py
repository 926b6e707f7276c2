"""Colours of a pair change together: what the layers compose to is the changed picture."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.flame.mirror import mesh_mirror
from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.pairs.augment import LUMA, AugmentConfig, augmented, colour_map, recoloured
from headwarp.training.data.pairs.guidance import PairMaker
from headwarp.training.data.pairs.loader import LoaderConfig, PairLoader
from headwarp.training.data.pairs.mirror import mirror_pairs
from headwarp.training.data.pairs.sampler import PairIndex, PairSampler
from headwarp.warping.posed_layers import compose

CHANGE = colour_map(1.08, 0.9, 1.1, 0.07, grey=0.4)


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def packs(head, tmp_path_factory):
    return [toy_pack(tmp_path_factory.mktemp("packs"), head)]


@pytest.fixture(scope="module")
def pair(packs, head):
    made = PairMaker(packs, head).make(PairIndex(0, 0, 0, 3))
    assert made.layers.residual.abs().max() > 0.05  # else a wrong residual would not be seen
    return made


def picture(size=8, seed=0):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_layers_in_other_colours_compose_to_the_picture_in_other_colours(pair):
    expected = CHANGE(compose(pair.layers).image)
    torch.testing.assert_close(compose(recoloured(pair, CHANGE).layers).image, expected, rtol=0, atol=1e-6)


def test_the_mouths_inside_is_changed_too(pair):
    hollow = torch.zeros_like(pair.layers.hollow)
    hollow[..., 20:30, 20:30] = 0.7
    open_mouth = dataclasses.replace(pair, layers=dataclasses.replace(pair.layers, hollow=hollow))
    expected = CHANGE(compose(open_mouth.layers).image)
    torch.testing.assert_close(
        compose(recoloured(open_mouth, CHANGE).layers).image, expected, rtol=0, atol=1e-6
    )


def test_a_residual_is_a_difference(pair):
    shifted = colour_map(1.0, 0.9, 1.0, 0.0, grey=0.5)
    assert shifted.shift.abs().min() > 0.04
    changed = recoloured(pair, shifted)
    torch.testing.assert_close(changed.layers.residual, 0.9 * pair.layers.residual)


def test_frames_change_as_the_layers_do_and_stay_pictures(pair):
    changed = recoloured(pair, colour_map(1.1, 1.1, 1.0, 0.0, grey=0.5))
    for before, after in ((pair.source, changed.source), (pair.driving, changed.driving)):
        torch.testing.assert_close(after, (1.1 * 1.1 * before - 0.055).clamp(0, 1), rtol=0, atol=1e-6)
    for name in ("driving_mask", "source_verts", "driving_verts"):
        assert getattr(changed, name) is getattr(pair, name)
    for name in ("matte", "flow", "displacement", "known", "hollow"):
        assert getattr(changed.layers, name) is getattr(pair.layers, name)


def test_nothing_changes_by_nothing(pair):
    same = recoloured(pair, colour_map(1.0, 1.0, 1.0, 0.0, grey=0.3))
    torch.testing.assert_close(same.source, pair.source, rtol=0, atol=1e-6)
    torch.testing.assert_close(same.layers.residual, pair.layers.residual, rtol=0, atol=1e-6)


def test_greys_stay_grey_whatever_saturation_and_hue():
    grey = torch.full((1, 3, 2, 2), 0.3)
    torch.testing.assert_close(colour_map(1, 1, 1.4, 0.2, grey=0.5)(grey), grey, rtol=0, atol=1e-6)
    torch.testing.assert_close(colour_map(1, 0.5, 1.4, 0.2, grey=0.5)(grey), torch.full_like(grey, 0.4))


def test_without_saturation_only_luma_is_left():
    before = picture()
    luma = (before * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(colour_map(1, 1, 0, 0.1, grey=0.5)(before), luma.expand(-1, 3, -1, -1))


def test_hue_keeps_luma_and_turns_red_towards_green_and_back_after_a_whole_turn():
    before, luma = picture(), torch.tensor(LUMA)[:, None, None]
    turned = colour_map(1, 1, 1, 0.1, grey=0.5)(before)
    torch.testing.assert_close((turned * luma).sum(1), (before * luma).sum(1))
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    third = colour_map(1, 1, 1, 1 / 3, grey=0.5)(red)[0, :, 0, 0]
    assert int(third.argmax()) == 1
    torch.testing.assert_close(colour_map(1, 1, 1, 1.0, grey=0.5)(before), before)


def test_equal_generators_give_equal_changes_within_their_bounds(pair):
    config = AugmentConfig(flip=0.0)
    one, other = (augmented(pair, config, np.random.default_rng(3)) for _ in range(2))
    torch.testing.assert_close(one.source, other.source, rtol=0, atol=0)
    torch.testing.assert_close(one.layers.colours, other.layers.colours, rtol=0, atol=0)
    third = augmented(pair, config, np.random.default_rng(4))
    assert (third.source - one.source).abs().max() > 0.01
    still = augmented(pair, AugmentConfig(0.0, 0.0, 0.0, 0.0, flip=0.0), np.random.default_rng(3))
    torch.testing.assert_close(still.source, pair.source, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"brightness": 1.5}, {"hue": 0.6}, {"contrast": -0.1}, {"flip": 1.1}])
def test_amounts_out_of_range_are_told(options):
    with pytest.raises(HeadwarpError, match=f"{next(iter(options))}: expected 0 to "):
        AugmentConfig(**options)


def test_the_loader_augments_by_step_and_slot_alone(packs, head):
    sampler = PairSampler([pack.index for pack in packs], seed=4)
    config = LoaderConfig(augment=AugmentConfig(flip=0.0))
    whole = list(itertools.islice(PairLoader(packs, head, sampler, batch_size=2, config=config), 3))
    (later,) = itertools.islice(
        PairLoader(packs, head, sampler, batch_size=2, start_step=2, config=config), 1
    )
    torch.testing.assert_close(later.source, whole[2].source, rtol=0, atol=0)
    plain = next(iter(PairLoader(packs, head, sampler, batch_size=2)))
    assert (plain.source - whole[0].source).abs().amax((1, 2, 3)).min() > 0.005
    torch.testing.assert_close(plain.layers.flow, whole[0].layers.flow, rtol=0, atol=0)


def test_the_chosen_share_is_mirrored_whole(pair, packs, head):
    twins = mesh_mirror(head, pair.source_verts.shape[1])
    still = AugmentConfig(0.0, 0.0, 0.0, 0.0, flip=0.5)
    made = [augmented(pair, still, np.random.default_rng(seed), twins=twins) for seed in range(40)]
    mirrored = mirror_pairs(pair, twins)
    flips = 0
    for one in made:
        flipped = not torch.allclose(one.source, pair.source, atol=1e-4)
        flips += flipped
        expected = mirrored if flipped else pair
        torch.testing.assert_close(one.source, expected.source, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.driving_verts, expected.driving_verts, rtol=0, atol=0)
        torch.testing.assert_close(one.layers.flow, expected.layers.flow, rtol=0, atol=0)
    assert 10 <= flips <= 30
    with pytest.raises(HeadwarpError, match="flip: expected the twins of the mesh, got none"):
        augmented(pair, AugmentConfig(flip=1.0), np.random.default_rng(0))


def test_a_mirrored_pair_in_other_colours_composes_to_its_picture(pair, head):
    twins = mesh_mirror(head, pair.source_verts.shape[1])
    made = augmented(pair, AugmentConfig(flip=1.0), np.random.default_rng(1), twins=twins)
    plain = augmented(pair, AugmentConfig(flip=0.0), np.random.default_rng(1))
    expected = compose(plain.layers).image.flip(-1)
    torch.testing.assert_close(compose(made.layers).image, expected, rtol=0, atol=1e-4)


def test_the_loader_mirrors_and_a_head_without_symmetry_is_told_first(packs, head, monkeypatch):
    sampler = PairSampler([pack.index for pack in packs], seed=4)
    plain = next(iter(PairLoader(packs, head, sampler, batch_size=2)))
    always = LoaderConfig(augment=AugmentConfig(0.0, 0.0, 0.0, 0.0, flip=1.0))
    flipped = next(iter(PairLoader(packs, head, sampler, batch_size=2, config=always)))
    torch.testing.assert_close(flipped.source, plain.source.flip(-1), rtol=0, atol=1e-5)

    def asymmetric(*_):
        raise HeadwarpError("head toy is not symmetric")

    monkeypatch.setattr("headwarp.training.data.pairs.loader.mesh_mirror", asymmetric)
    with pytest.raises(HeadwarpError, match="not symmetric"):
        PairLoader(packs, head, sampler, batch_size=2, config=always)
