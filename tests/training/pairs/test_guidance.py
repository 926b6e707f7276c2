"""Pairs are what `headwarp evaluate` sees of the same frames, whatever was made before them."""

import dataclasses

import pytest
import torch
from toy_head import toy_head
from toy_packs import PAN, toy_pack

from headwarp.flame.landmarks import LIPS_INNER_LOWER
from headwarp.flame.residual import residual_field
from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.training.data.camera_motion import CameraMotion
from headwarp.training.data.pairs.batch import stack_pairs
from headwarp.training.data.pairs.guidance import MakerConfig, PairMaker, Recent, to_mask
from headwarp.training.data.pairs.pack import PackConfig
from headwarp.training.data.pairs.sampler import PairIndex
from headwarp.training.data.portrait import Portrait, to_image
from headwarp.warping.animators import load_animator
from headwarp.warping.posed_layers import PosedLayers, compose

PAIR = PairIndex(0, 1, 0, 4)
LAYERS = [field.name for field in dataclasses.fields(PosedLayers)]


@pytest.fixture(scope="module")
def head():
    return toy_head(22, 23)  # landmarks beyond those of the lips


@pytest.fixture(scope="module")
def packs(head, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    return [
        toy_pack(folder, head, "run", config=PackConfig(size=64), seed=3),
        toy_pack(folder, head, "walk", config=PackConfig(size=64), person="bob"),
    ]


def same(a, b):
    for name in ("source", "driving", "driving_mask", "source_verts", "driving_verts", "faces"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)
    for name in LAYERS:
        torch.testing.assert_close(getattr(a.layers, name), getattr(b.layers, name), rtol=0, atol=0)
    assert a.names == b.names


def test_a_pair_is_what_the_geometry_animator_is_given_in_evaluation(head, packs):
    made = PairMaker(packs, head).make(PAIR)
    fit = packs[0].fit()
    field = residual_field(head, fit.landmark_indices)
    image, target = to_image(packs[0].frame(1)), to_image(packs[0].frame(4))
    portrait = Portrait(head, image, fit.select([1]), to_mask(packs[0].mask(1)), field)
    source = portrait.source()
    driving = portrait.driving(fit.select([4]), camera_motion=CameraMotion(source).follow(target))
    animator = load_animator("geometry")
    cache = animator.encode([source])
    torch.testing.assert_close(made.source, image, rtol=0, atol=0)
    torch.testing.assert_close(made.driving, target, rtol=0, atol=0)
    torch.testing.assert_close(made.source_verts, source.posed_vertices, rtol=0, atol=0)
    torch.testing.assert_close(made.driving_verts, driving.posed_vertices, rtol=0, atol=0)
    picture = animator.animate(cache, driving).image
    torch.testing.assert_close(compose(made.layers).image.clamp(0, 1), picture, rtol=0, atol=0)
    assert made.names == ("ann/run/1>4",)


def test_the_toy_scene_moves_and_has_a_mouth(head, packs):
    made = PairMaker(packs, head).make(PAIR)
    assert made.layers.known.mean() > 0.05
    assert made.layers.flow.abs().max() > 2
    assert max(LIPS_INNER_LOWER) < len(head.template)
    assert made.source_verts.shape[1] > len(head.template)
    assert len(made.faces) > len(head.faces)


@pytest.mark.parametrize("config", [MakerConfig(), MakerConfig(sources=2, fits=1)])
def test_a_pair_is_the_same_whatever_came_before(head, packs, config, monkeypatch):
    fresh = PairMaker(packs, head).make(PAIR)
    monkeypatch.setattr(CameraMotion, "follow", lambda *_: pytest.fail("starts from another frame"))
    used = PairMaker(packs, head, config=config)
    for pair in (PairIndex(1, 0, 1, 2), PairIndex(0, 1, 0, 2), PairIndex(1, 3, 1, 2), PairIndex(0, 4, 0, 1)):
        used.make(pair)
    same(used.make(PAIR), fresh)


def test_the_cameras_motion_is_found(head, packs):
    motion = PairMaker(packs, head).prepare(0, 1).camera.of_frame(to_image(packs[0].frame(4)))
    torch.testing.assert_close(motion[0, :, 2], torch.tensor([-3.0 * PAN * 64 / 256, 0.0]), rtol=0, atol=0.3)


def test_a_source_is_prepared_once_while_it_is_remembered(head, packs):
    maker = PairMaker(packs, head, config=MakerConfig(sources=2))
    for driving in (2, 3, 4, 5):
        maker.make(PairIndex(0, 1, 0, driving))
    assert maker._sources.made == 1


def test_recent_values_stay_and_the_oldest_gives_way():
    recent = Recent(2)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert recent.get(key, lambda key=key: key * 2) == key * 2
    assert recent.made == 4  # a, b, c, and b again


def test_pairs_stack_and_stacked_layers_compose_as_each_alone(head, packs):
    maker = PairMaker(packs, head)
    pairs = [maker.make(pair) for pair in (PAIR, PairIndex(1, 0, 1, 5))]
    batch = stack_pairs(pairs)
    assert batch.names == ("ann/run/1>4", "bob/walk/0>5")
    alone = torch.cat([compose(pair.layers).image for pair in pairs])
    torch.testing.assert_close(compose(batch.layers).image, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(batch.driving_verts[1:], pairs[1].driving_verts, rtol=0, atol=0)


def test_across_clips_no_camera_is_followed_and_the_name_says_so(head, packs, monkeypatch):
    monkeypatch.setattr(CameraMotion, "of_frame", lambda self, image: pytest.fail("followed"))
    made = PairMaker(packs, head).make(PairIndex(0, 1, 1, 2))
    assert made.names == ("ann/run/1>walk/2",)
    torch.testing.assert_close(made.driving, to_image(packs[1].frame(2)), rtol=0, atol=0)


def test_a_still_camera_moves_no_background(head, packs):
    maker = PairMaker(packs, head, config=MakerConfig(still_camera=True))
    made = maker.make(PAIR)
    torch.testing.assert_close(
        made.layers.background, maker.prepare(0, 1).cache.layers.background, rtol=0, atol=0
    )


def test_packs_of_another_head_are_refused_before_any_work(packs):
    with pytest.raises(ModelFileError, match="expected fits of head"):
        PairMaker(packs, toy_head(22, 23, shapes=4))
    with pytest.raises(HeadwarpError, match="expected packs of clips, got none"):
        PairMaker([], toy_head())


def test_meshes_of_two_heads_do_not_stack(head, packs):
    one = PairMaker(packs, head).make(PAIR)
    other = dataclasses.replace(one, faces=one.faces[:-1])
    with pytest.raises(ShapeError, match="meshes of one head"):
        stack_pairs([one, other])
