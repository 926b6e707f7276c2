"""Head swapping on a small scene: what is kept, what is filled, whose head and whose colours come out."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_scene import FACES, SIZE, VERTS, driving, person, source

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.face_regions import FaceRegion
from headwarp.geom.guidance import Driving
from headwarp.warping import head_swap, swap_engines
from headwarp.warping.head_swap import BODY_MARGIN, blurred, head_mask, skin_of, skin_weight, without_head
from headwarp.warping.swap_engines import SwapSource, SwapTarget, engine_names, load_engine
from headwarp.warping.swap_engines._scene import bearded, own_body

COUNT = VERTS.shape[1]
ROWS = torch.arange(COUNT) // 9
SURFACE = (ROWS < 7).float()


def given(**changes) -> SwapSource:
    src = dataclasses.replace(source(), cavity=None, region_map=None, **changes)
    head = head_mask(src.mask, VERTS, FACES, SURFACE)
    return SwapSource(src, head, ROWS < 6, SURFACE, torch.zeros(COUNT, dtype=torch.bool))


def target(shift=(0.0, 0.0), *, image=None, head=None) -> SwapTarget:
    posed = driving(torch.tensor([shift])).posed_vertices
    image = source().image.flip(1) if image is None else image
    head = head_mask(person(), VERTS, FACES, SURFACE) if head is None else head
    return SwapTarget(image, head, VERTS, Driving(posed_vertices=posed), person=person())


@pytest.fixture(scope="module")
def engine():
    return load_engine("geometry")


def test_the_picture_without_its_head_keeps_all_else():
    image = source().image
    head = torch.zeros(1, 1, *SIZE)
    head[..., 20:40, 25:45] = 1
    scene = without_head(image, head, margin=2)
    kept = scene.filled == 0
    assert 0.5 < kept.float().mean() < 0.9
    assert torch.equal(torch.where(kept, image, 0.0), torch.where(kept, scene.image, 0.0))
    assert bool((scene.filled[head > 0] == 1).all())


def test_a_flat_background_is_continued_exactly():
    image = torch.full((1, 3, *SIZE), 0.3)
    head = torch.zeros(1, 1, *SIZE)
    head[..., 20:40, 25:45] = 1
    painted = torch.where(head > 0, 0.9, image)
    assert torch.allclose(without_head(painted, head, margin=2).image, image, atol=1e-4)


def test_the_background_is_continued_without_the_body_and_the_neck_with_it():
    image = torch.full((1, 3, *SIZE), 0.2)
    body = torch.zeros(1, 1, *SIZE)
    body[..., 40:, :] = 1
    image = torch.where(body > 0, 0.8, image)
    head = torch.zeros(1, 1, *SIZE)
    head[..., 20:50, 25:45] = 1
    neck = torch.zeros(1, 1, *SIZE)
    neck[..., 40:, 30:40] = 1
    made = without_head(image, head, margin=2, person=torch.maximum(head, body), neck=neck).image
    assert made[0, 0, 30, 35] == pytest.approx(0.2, abs=0.02)
    assert made[0, 0, 46, 35] == pytest.approx(0.8, abs=0.05)


def test_its_own_neck_stays_up_to_the_head():
    image = source().image
    head = torch.zeros(1, 1, *SIZE)
    head[..., 20:44, 25:45] = 1
    body = torch.zeros(1, 1, *SIZE)
    body[..., 40:, 15:55] = 1  # its first rows lie under the head's mask: the underside of the jaw
    person = torch.maximum(head, body)
    kept, without = (
        without_head(image, head, margin=6, person=person, neck=body, body=each) for each in (body, None)
    )
    neck = (slice(None), slice(None), slice(40 + BODY_MARGIN + 2, 48), slice(28, 42))
    assert torch.equal(kept.image[neck], image[neck])
    assert not kept.filled[neck].any()
    assert bool((without.filled[neck] > 0.9).all())
    beside = (slice(None), slice(None), slice(20, 25), slice(16, 54))  # hair may reach further: as ever
    assert torch.equal(kept.filled[beside], without.filled[beside])


def test_a_body_is_what_its_regions_say_and_the_underside_of_the_jaw():
    labels = torch.full((1, *SIZE), int(FaceRegion.SKIN))
    labels[:, :, :30] = int(FaceRegion.HAIR)  # in front of the neck
    labels[:, -2:] = int(FaceRegion.CLOTH)
    seen = dataclasses.replace(target(), driving=dataclasses.replace(target().driving, region_map=labels))
    body = own_body(seen, given())[0, 0]
    rows = VERTS[0].unflatten(0, (9, 9))[:, 4, 1]
    assert not body[: int(rows[5]), :].any()
    assert bool(body[int(rows[7]) + 1 : int(rows[8]) - 1, 36].all())
    assert not body[int(rows[7]) + 1 : int(rows[8]) - 1, :30].any()
    assert bool(body[-2:].all())
    assert own_body(target(), given()) is None  # nothing told its regions


def test_a_beard_is_told_from_shade_by_how_red_it_is():
    skin = torch.tensor([[0.7, 0.5, 0.4]])
    colours = {"skin": skin[0], "shade": 0.4 * skin[0], "glow": torch.tensor([0.8, 0.75, 0.74])}
    colours |= {"beard": torch.tensor([0.24, 0.21, 0.2]), "black": torch.full((3,), 0.05)}
    for light in (1.0, 0.4):  # of the whole picture
        found = {
            name: bool(bearded(light * colour.view(1, 3, 1, 1).expand(1, 3, 8, 8), light * skin).all())
            for name, colour in colours.items()
        }
        assert found == {"skin": False, "shade": False, "glow": False, "beard": True, "black": True}


def test_a_beard_under_the_jaw_goes_with_the_head():
    labels = torch.full((1, *SIZE), int(FaceRegion.SKIN))
    image = torch.tensor([0.7, 0.5, 0.4]).view(1, 3, 1, 1).repeat(1, 1, *SIZE)
    rows = VERTS[0].unflatten(0, (9, 9))[:, 4, 1]
    under = slice(int(rows[7]) + 2, int(rows[8]) - 2)
    shaven = dataclasses.replace(
        target(image=image), driving=dataclasses.replace(target().driving, region_map=labels)
    )
    grown = image.clone()
    grown[:, :, under, :36] = 0.2
    kept, gone = (
        own_body(dataclasses.replace(shaven, image=each), given())[0, 0, under] for each in (image, grown)
    )
    assert bool((gone[:, 38:] == kept[:, 38:]).all())
    assert bool(kept[:, 34].all())
    assert not gone[:, 34].any()


def test_a_head_that_fills_the_frame_leaves_no_hole():
    image = source().image
    scene = without_head(image, torch.ones(1, 1, *SIZE), margin=3)
    assert bool(torch.isfinite(scene.image).all())
    assert bool((scene.filled == 1).all())


def test_the_head_mask_ends_at_the_neck():
    mask = head_mask(person(), VERTS, FACES, SURFACE)
    assert mask[0, 0, 26, 37] > 0.9
    assert mask[0, 0, -2, 37] < 0.1
    assert bool((mask <= person() + 1e-6).all())


def test_wide_and_narrow_blurs_keep_the_mean():
    mask = (torch.arange(64) < 32).float().expand(1, 1, 64, 64)
    for radius in (0, 2, 6):
        soft = blurred(mask, radius)
        assert soft.mean() == pytest.approx(0.5, abs=0.01)
        assert float(soft.min()) >= 0
        assert float(soft.max()) <= 1


def test_skin_is_what_looks_like_the_face():
    weight = skin_weight(VERTS, FACES, ROWS < 6, SIZE)
    image = torch.where(weight > 0.5, torch.tensor([0.7, 0.5, 0.4])[None, :, None, None], 0.05)
    skin = skin_of(image.expand(1, 3, *SIZE), weight, person(), reach=1)
    assert skin.statistics.mean[0].tolist() == pytest.approx([0.7, 0.5, 0.4], abs=0.02)
    assert skin.weight[0, 0, 26, 37] > 0.9
    assert skin.weight[0, 0, -3, 37] < 0.1


def test_outside_the_changed_mask_the_frame_is_the_targets(engine):
    frame = target()
    made = engine.swap(engine.encode([given()]), frame)
    same = made.changed == 0
    assert same.float().mean() > 0.3
    assert torch.equal(made.image[same.expand_as(made.image)], frame.image[same.expand_as(made.image)])
    assert made.image.min() >= 0
    assert made.image.max() <= 1


def test_the_head_is_the_sources_and_goes_where_it_is_posed(engine):
    src = given()
    cache = engine.encode([src])
    own = target(image=src.source.image)  # the same colours: nothing is relit
    still, moved = (
        engine.swap(cache, dataclasses.replace(own, driving=target(s).driving))
        for s in ((0.0, 0.0), (6.0, 0.0))
    )
    centre = (slice(None), slice(None), slice(20, 30), slice(32, 40))
    assert (still.image[centre] - src.source.image[centre]).abs().max() < 0.05
    there = (slice(None), slice(None), slice(20, 30), slice(38, 46))
    assert (moved.image[there] - src.source.image[centre]).abs().mean() < 0.05
    assert still.head[0, 0, 25, 36] > 0.95


def test_another_source_shows_what_the_main_one_does_not(engine):
    src = given()
    blind = given(mask=torch.zeros(1, 1, *SIZE), image=torch.zeros(1, 3, *SIZE))
    frame = target(image=src.source.image)
    alone, both = (engine.swap(engine.encode(each), frame) for each in ([blind], [blind, src]))
    centre = (slice(None), slice(None), slice(22, 30), slice(33, 40))
    wanted = src.source.image[centre]
    assert (both.image[centre] - wanted).abs().mean() < 0.05
    assert (alone.image[centre] - wanted).abs().mean() > 0.15


def test_skin_takes_the_targets_colours(engine):
    src = given()
    dark = src.source.image * 0.4
    made = engine.swap(engine.encode([src]), target(image=dark))
    face = made.head[0, 0] > 0.9
    assert made.image[0][:, face].mean() == pytest.approx(float(dark[0][:, face].mean()), abs=0.08)


def test_an_empty_target_mask_is_no_error(engine):
    made = engine.swap(engine.encode([given()]), target(head=torch.zeros(1, 1, *SIZE)))
    assert bool(torch.isfinite(made.image).all())


def test_engines_by_name():
    assert set(engine_names()) == set(swap_engines.NAMES)
    with pytest.raises(HeadwarpError, match="expected one of geometry, heser, aligner, got 'magic'"):
        load_engine("magic")
    with pytest.raises(HeadwarpError, match="--engine geometry has no weights"):
        load_engine("geometry", "x.safetensors")
    with pytest.raises(HeadwarpError, match="expected a config of class"):
        load_engine("geometry", config=object())
    with pytest.raises(HeadwarpError, match="at least one source"):
        load_engine("geometry").encode([])


@pytest.mark.parametrize("size", [(24, 31), (4, 3), (1, 1)])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_means_along_an_axis_have_the_bits_of_pooling(size, radius):
    values = torch.rand(1, 2, *size, generator=torch.manual_seed(0))
    for axis, kernel, pad in ((3, (1, 2 * radius + 1), (0, radius)), (2, (2 * radius + 1, 1), (radius, 0))):
        pooled = torch.nn.functional.avg_pool2d(values, kernel, 1, pad, count_include_pad=False)
        assert torch.equal(head_swap._row_mean(values, radius, axis=axis), pooled)


def test_one_channel_is_continued_as_each_of_three():
    random = torch.Generator().manual_seed(0)
    share, known = (torch.rand(2, 1, 40, 32, generator=random) > 0.5).float()[:, None]
    three = head_swap._continued(share.expand(1, 3, -1, -1), known)
    torch.testing.assert_close(head_swap._continued(share, known).expand_as(three), three, rtol=0, atol=1e-6)
