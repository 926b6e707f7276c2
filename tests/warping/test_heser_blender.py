"""HeSer's blender: references, masks, exact background, features, cycles, its file."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.geom.nets.vgg import Vgg19
from headwarp.warping.blending_unet import ResidualUNet, ResidualUNetConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.heser_blender import HeserBlender, HeserBlenderConfig, LabelledPicture, sized_blender
from headwarp.warping.heser_cycle import Cycled, HeserBlenderTraining
from headwarp.warping.heser_files import load_heser_blender
from headwarp.warping.heser_regions import RING, SCENE, composed_labels, dilated, grown, head_mask, subsampled
from headwarp.warping.surface_features import CHANNELS, surface_features

SIDE = 32
UNET = ResidualUNetConfig((8, 8), norm="group", spectral_norm=False)
TINY = HeserBlenderConfig(unet=UNET, channels=32, stride=2)


def picture(skin=(0.8, 0.5, 0.4), hair=(0.1, 0.1, 0.1), *, scene=(0.0, 0.0, 1.0), shift=0):
    """A face under hair before a wall, every region of one colour; a nose in the middle."""
    labels = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    labels[:, 6:26, 8:24] = 1
    labels[:, 6:11, 8:24] = 17
    labels[:, 16:19, 14:18] = 10
    labels = labels.roll(shift, 2)
    colours = torch.zeros(19, 3)
    colours[0], colours[1], colours[10], colours[17] = (torch.tensor(c) for c in (scene, skin, skin, hair))
    return LabelledPicture(colours[labels].permute(0, 3, 1, 2), labels)  # (1, 3, H, W)


def test_an_untrained_blender_gives_a_head_the_targets_colours_and_leaves_the_rest():
    torch.manual_seed(0)
    animated, target = picture((0.2, 0.7, 0.2), (0.9, 0.9, 0.1)), picture(shift=3)
    network = HeserBlender(TINY)
    blend = network(animated, target)
    skin, hair = (animated.labels == 1)[:, None], (animated.labels == 17)[:, None]
    for region, colour in ((skin, (0.8, 0.5, 0.4)), (hair, (0.1, 0.1, 0.1))):
        found = blend.head_colours[region.expand(-1, 3, -1, -1)].unflatten(0, (3, -1))
        assert float((found.detach().median(1).values - torch.tensor(colour)).abs().max()) < 0.05
        made = blend.image[region.expand(-1, 3, -1, -1)].unflatten(0, (3, -1))
        assert float((made.detach().median(1).values - torch.tensor(colour)).abs().max()) < 0.1
    rest = ~(blend.head | blend.ring)
    assert torch.equal(blend.image * rest, target.image * rest)
    assert bool((target.image != blend.image).any())
    gap = (head_mask(target.labels) & ~blend.head).expand(-1, 3, -1, -1)
    wall = blend.filling[gap].unflatten(0, (3, -1))
    assert gap.any()
    assert float((wall.detach().median(1).values - torch.tensor([0.0, 0.0, 1.0])).abs().max()) < 0.05


def test_a_target_is_encoded_once_for_many_heads():
    torch.manual_seed(0)
    network, target = HeserBlender(TINY), picture(shift=2)
    encoded = network.encode(target)
    for animated in (picture(), picture((0.3, 0.2, 0.1))):
        assert torch.equal(network.blend(animated, encoded).image, network(animated, target).image)


def test_the_animated_heads_colours_do_not_go_in_but_its_greys_do():
    network, target = HeserBlender(TINY), picture()
    torch.manual_seed(0)
    for weights in network.unet.out.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    luma = torch.tensor([0.299, 0.587, 0.114])
    grey = torch.tensor([0.8, 0.5, 0.4]) @ luma
    same = network(picture((grey, grey, grey)), target).image
    torch.testing.assert_close(network(picture(), target).image, same, atol=1e-4, rtol=0)
    darker = network(picture((0.4, 0.25, 0.2)), target).image
    assert float((darker - same).detach().abs().max()) > 0.01


@pytest.mark.parametrize("anchored", [True, False])
def test_every_part_learns(anchored):
    torch.manual_seed(0)
    network = HeserBlender(dataclasses.replace(TINY, anchored=anchored))
    textured = picture(shift=2)
    noise = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    textured = dataclasses.replace(textured, image=(textured.image + noise) / 2)
    network(picture(), textured).image.square().mean().backward()
    silent = {name for name, weights in network.named_parameters() if not weights.grad.abs().sum()}
    assert not {name for name in silent if name.startswith("of_")}
    assert silent == ({n for n in silent if not n.startswith("unet.out")} if anchored else set())


def test_masks_and_labels():
    labels = picture().labels
    head = head_mask(labels)
    assert int(head.sum()) == 20 * 16
    grew = dilated(head, 49)  # 3 of 32 pixels: one on all sides
    assert int(grew.sum()) == 22 * 18
    assert torch.equal(dilated(head, 1), head)
    ring = grew & ~head
    whole = composed_labels(labels, ring, scene=True)
    assert int((whole == RING).sum()) == int(ring.sum())
    assert set(whole.unique().tolist()) == {1, 10, 17, RING, SCENE}
    assert not composed_labels(labels, ring, scene=False)[:, 0].any()
    assert subsampled(labels, 4).shape == (1, 8, 8)
    assert set(subsampled(labels, 4).unique().tolist()) <= {0, 1, 10, 17}
    with pytest.raises(HeadwarpError, match="dilation: expected 1 or more pixels, got 0"):
        dilated(head, 0)


def test_references_are_grown_from_known_cells_alone():
    known = torch.zeros(1, 1, 8, 8)
    known[..., 2:4, 2:4] = 1
    drawn = grown(torch.full((1, 3, 8, 8), 0.7) * known + 5 * (1 - known), known, (32, 32))
    torch.testing.assert_close(drawn[..., 4:20, 4:20], torch.full((1, 3, 16, 16), 0.7))
    assert not drawn[..., 28:, 28:].any()


def test_surface_features_follow_the_head_not_colours():
    scene = picture()
    places = torch.rand(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    places[:, 3] = 1
    mask = head_mask(scene.labels)
    found = surface_features(scene.image, mask, places, 4)
    assert found.shape == (1, CHANNELS, 8, 8)
    grey = scene.image.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    uncoloured = (scene.image * grey).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(surface_features(uncoloured, mask, places, 4), found, atol=1e-4, rtol=1e-4)
    wide = [
        F.pad(tensor.float(), [16] * 4, mode=mode)
        for tensor, mode in ((scene.image, "replicate"), (mask, "constant"), (places, "constant"))
    ]
    still, moved = (
        surface_features(wide[0].roll(shift, 3), wide[1].roll(shift, 3) > 0, wide[2].roll(shift, 3), 4)
        for shift in (0, 4)
    )
    torch.testing.assert_close(moved[..., 4:-2], still.roll(1, 3)[..., 4:-2], atol=1e-4, rtol=1e-4)


def test_the_training_network_carries_colours_back():
    torch.manual_seed(0)
    first, second = picture(), picture((0.2, 0.3, 0.9), shift=1)
    two = LabelledPicture(torch.cat([first.image, second.image]), torch.cat([first.labels, second.labels]))
    training = HeserBlenderTraining(TINY, cycle=True, limit_mb=1.0)
    made = training(two, two, two.image)
    assert made.cycled is not None
    assert made.other is not None
    assert float(made.cycled.error().detach()) < 0.05
    assert torch.equal(made.other.truth, made.cycled.truth.roll(1, 0))
    made.cycled.error().backward()
    one = LabelledPicture(two.image[:1], two.labels[:1])
    assert training(one, one, one.image).other is None
    assert HeserBlenderTraining(TINY, cycle=False, limit_mb=1.0)(one, one, one.image).cycled is None
    wrong = Cycled(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.bool))
    assert float(wrong.error()) == 0
    assert float(dataclasses.replace(wrong, counted=~wrong.counted).error()) == 1


def test_vgg_features_are_frozen_part_of_the_weights():
    torch.manual_seed(0)
    network = HeserBlender(dataclasses.replace(TINY, features="vgg"))
    vgg = Vgg19()
    network.load_features(vgg)
    assert torch.equal(network.state_dict()["backbone.features.25.weight"], vgg.features["25"].weight)
    assert not any(weights.requires_grad for weights in network.backbone.parameters())
    assert network.multiple == 8
    assert network(picture(), picture()).query.shape == (1, 32, 4, 4)
    with pytest.raises(HeadwarpError, match="no use for VGG-19's weights"):
        HeserBlender(TINY).load_features(vgg)


def test_a_file_gives_the_same_pictures(tmp_path):
    torch.manual_seed(0)
    network = HeserBlender(TINY).eval()
    path = save_checkpoint(
        tmp_path / "b.safetensors", network, config=TINY, name="heser_blender", kind="blender"
    )
    again = load_heser_blender(path)
    assert torch.equal(again(picture(), picture(shift=1)).image, network(picture(), picture(shift=1)).image)
    other = save_checkpoint(tmp_path / "a.safetensors", network, config=TINY, name="heser_blender")
    with pytest.raises(ModelFileError, match="blender"):
        load_heser_blender(other)


def test_sizes_and_what_does_not_fit():
    assert sized_blender(HeserBlenderConfig(), "paper").unet.widths == (64, 128, 256, 512)
    assert sized_blender(HeserBlenderConfig(), "tiny").channels == 64
    with pytest.raises(HeadwarpError, match="size: expected one of paper, small, tiny, got 'huge'"):
        sized_blender(HeserBlenderConfig(), "huge")
    with pytest.raises(HeadwarpError, match="expected features surface or vgg"):
        HeserBlenderConfig(features="random")
    with pytest.raises(HeadwarpError, match="widths: expected two or more multiples of 8"):
        ResidualUNetConfig((8, 12))
    with pytest.raises(ShapeError, match="expected sides that are multiples of 2, got"):
        ResidualUNet(3, 3, UNET)(torch.rand(1, 3, 9, 8))
    network, small = HeserBlender(TINY), picture()
    wrong = LabelledPicture(small.image, small.labels)
    object.__setattr__(wrong, "labels", small.labels[:, 1:])  # the tests' own check of shapes comes first
    with pytest.raises(ShapeError, match="animated: expected labels"):
        network(wrong, small)
    cut = LabelledPicture(small.image[..., :16], small.labels[..., :16])
    with pytest.raises(ShapeError, match="as the target, got"):
        network(cut, small)
    with pytest.raises(ShapeError, match="multiples of 2, got"):
        network(LabelledPicture(small.image[..., :15], small.labels[..., :15]), small)
