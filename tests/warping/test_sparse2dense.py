"""The networks of Sparse-to-Dense: what they are made of, Add Motion's exact zero, patches, cached source."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn
from toy_animators import SPARSE, shaken
from toy_scene import LANDMARKS, SIZE

from headwarp.flame.landmarks import MEDIAPIPE_68
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.flow import pixel_grid
from headwarp.geom.keypoints import to_normalised
from headwarp.geom.spline import SplineConfig, spline_flow
from headwarp.warping._config_json import config_from_json, config_to_json
from headwarp.warping.inference import prepare_
from headwarp.warping.sparse2dense import (
    REGIONS,
    Sparse2DenseConfig,
    Sparse2DenseNetwork,
    paper,
    regions_of,
    small,
    tiny,
    with_landmarks,
)
from headwarp.warping.sparse2dense_motion import (
    PART,
    WHOLE,
    AdaptiveDownBlock,
    AdaptiveNorm,
    AdaptiveUpBlock,
    AddMotion,
    MotionNetwork,
    MotionNetworkConfig,
    patch_about,
)

OWN = to_normalised(LANDMARKS, SIZE)


def shallow(**changes) -> Sparse2DenseConfig:
    """Few channels and blocks: multiples of 8 pixels."""
    return dataclasses.replace(SPARSE, **changes)


def network(**changes) -> Sparse2DenseNetwork:
    torch.manual_seed(0)
    return shaken(Sparse2DenseNetwork(shallow(**changes)))


def picture(count=1, seed=0):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def moved(count=2, seed=3):
    shake = torch.randn(count, *OWN.shape[1:], generator=torch.Generator().manual_seed(seed))
    return OWN + 0.05 * shake


# What is written


def test_the_paper_is_as_written():
    config = paper()
    assert (WHOLE.encoder, WHOLE.adaptive) == ((32, 64, 128, 256, 512, 1024, 1024), 4)
    assert WHOLE.decoder == (1024, 1024, 512, 256, 128, 64, 32)
    assert (PART.encoder, PART.decoder) == ((16, 32, 64, 128, 256), (256, 128, 64, 32, 16))
    assert PART.adaptive == 3
    assert (config.patch, len(config.parts), config.multiple) == (64, 3, 128)
    assert config.patch == config.patch_share * 256
    generator = config.generator  # one filtering block, two halvings, six residual blocks, and back
    assert (generator.down_blocks, generator.bottleneck, generator.decoder) == (2, 6, "johnson")
    with torch.device("meta"):
        made = Sparse2DenseNetwork(config)
    for part, size in ((made.whole, WHOLE), *((part, PART) for part in made.parts)):
        told = [isinstance(block, AdaptiveDownBlock) for block in part.encoder]
        assert told == [False] * (len(told) - size.adaptive) + [True] * size.adaptive
        told = [isinstance(block, AdaptiveUpBlock) for block in part.decoder]
        assert told == [True] * size.adaptive + [False] * (len(told) - size.adaptive)
    assert made.whole.add_motion.linear.in_features == 136


@pytest.mark.parametrize("config", [paper(), small(), tiny(), shallow()])
def test_configs_survive_json(config):
    assert config_from_json(Sparse2DenseConfig, config_to_json(config)) == config


def test_sizes_take_frames_of_their_multiples():
    assert (small().multiple, tiny().multiple, shallow().multiple) == (64, 32, 8)


def test_regions_of_the_face_mesh_are_those_of_the_68():
    for own, other in zip(REGIONS[68], REGIONS[478], strict=True):
        assert [MEDIAPIPE_68[row] for row in own] == list(other)
    assert sorted(row for region in REGIONS[68] for row in region) == [*range(17, 27), *range(36, 68)]
    with pytest.raises(HeadwarpError, match="expected 68 or 478, got 98; name the regions of others"):
        regions_of(98)


# Add Motion


def test_no_motion_adds_exactly_nothing():
    """Whatever the layer has learned and whatever its features are."""
    layer, hidden = shaken(AddMotion(6, 5)), torch.randn(2, 5, 2, 2) * 1e3
    assert torch.equal(layer(hidden, torch.zeros(2, 6)), hidden)
    assert not torch.equal(layer(hidden, torch.full((2, 6), 1e-3)), hidden)
    assert [name for name, _ in layer.named_parameters()] == ["linear.weight"]


def test_add_motion_is_told_the_drivers_landmarks_less_the_sources():
    made, told = network(), []
    for part in (made.whole, *made.parts):
        part.add_motion.register_forward_hook(lambda _, given, result: told.append((*given, result)))
    state = made.encode(picture(), OWN)
    made.decode(state, OWN)
    assert len(told) == 4
    for hidden, motion, result in told:
        assert not motion.any()
        assert torch.equal(hidden, result)
    told.clear()
    made.decode(state, moved(1))
    torch.testing.assert_close(told[0][1], (moved(1) - OWN).flatten(1))
    assert all(motion.any() for _, motion, _ in told)


def test_parts_do_not_see_where_their_patch_lies():
    """A head that is shifted moves nothing within its patches."""
    made, told = network(), []
    for part in made.parts:
        part.add_motion.register_forward_hook(lambda _, given, __: told.append(given[1]))
    made.decode(made.encode(picture(), OWN), OWN + torch.tensor([0.1, -0.2]))
    assert len(told) == 3
    assert all(motion.abs().max() < 1e-5 for motion in told)


# Adaptive norms


def test_an_adaptive_norm_is_an_instance_norm_with_scale_and_shift_of_the_vector():
    norm, features, vector = shaken(AdaptiveNorm(3, 4, 8)), torch.randn(2, 3, 5, 4), torch.randn(2, 4)
    scale, shift = norm.perceptron(vector).chunk(2, 1)
    expected = torch.stack(
        [
            torch.stack(
                [
                    (1 + scale[b, c]) * (channel - channel.mean()) / (channel.var(correction=0) + 1e-5).sqrt()
                    + shift[b, c]
                    for c, channel in enumerate(sample)
                ]
            )
            for b, sample in enumerate(features)
        ]
    )
    torch.testing.assert_close(norm(features, vector), expected)


def test_an_adaptive_norm_begins_as_a_plain_one():
    features = torch.randn(2, 3, 6, 6)
    made = AdaptiveNorm(3, 4, 8)(features, torch.randn(2, 4))
    torch.testing.assert_close(made, nn.functional.instance_norm(features))


def test_an_adaptive_norm_has_gradients_at_four_values_and_at_constant_ones():
    norm = AdaptiveNorm(3, 4, 8).double()
    features, vector = torch.randn(2, 3, 2, 2, dtype=torch.double), torch.randn(2, 4, dtype=torch.double)
    nn.init.normal_(norm.perceptron[2].weight)
    assert torch.autograd.gradcheck(norm, (features.requires_grad_(), vector.requires_grad_()))
    flat = torch.ones(2, 3, 2, 2, dtype=torch.double, requires_grad=True)
    norm(flat, vector).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_under_bfloat16_a_norm_takes_the_true_mean_away_and_knows_landmarks_to_a_fraction_of_a_pixel():
    random = torch.Generator().manual_seed(0)
    norm = shaken(AdaptiveNorm(3, 4, 8))
    features = 128.0 + torch.randint(2, (2, 3, 6, 6), generator=random)  # bfloat16 has these and none between
    vector = torch.tensor([[0.5, -0.5, 0.25, 0.75], [0.501, -0.501, 0.2505, 0.7505]])
    expected = norm(features, vector)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = norm(features.bfloat16(), vector)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), expected, rtol=2**-8, atol=1e-6)


def test_under_bfloat16_the_motion_that_is_added_is_exact():
    layer, motion = shaken(AddMotion(6, 5)), torch.linspace(-1e-2, 1e-2, 6)[None]
    hidden = torch.ones(1, 5, 2, 2)
    expected = layer(hidden, motion)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer(hidden.bfloat16(), motion)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


# Patches


def test_a_patch_is_cut_exactly_where_it_lies_on_whole_pixels():
    image = picture(2)
    points = torch.tensor([[[20.0, 16.0], [28.0, 16.0]], [[40.0, 30.0], [40.0, 34.0]]])  # means on edges
    patch = patch_about(to_normalised(points, SIZE), (0, 1), SIZE, share=0.25)
    cut = patch.cut(image, 16)  # 16 of 64 pixels
    torch.testing.assert_close(cut[0], image[0, :, 8:24, 16:32], rtol=0, atol=1e-5)
    torch.testing.assert_close(cut[1], image[1, :, 24:40, 32:48], rtol=0, atol=1e-5)


def test_what_was_cut_is_placed_back():
    image = picture()
    points = to_normalised(torch.tensor([[[24.0, 16.0]]]), SIZE)
    patch = patch_about(points, (0,), SIZE, share=0.25)
    placed, window = patch.placed(patch.cut(image, 16), SIZE, feather=0.25)
    inside = window[0, 0] > 0
    rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 23, 16, 31)
    torch.testing.assert_close(placed[..., inside], image[..., inside], rtol=0, atol=1e-4)
    assert window[0, 0, 16, 24] == 1
    assert 0 < window[0, 0, 8, 24] < 1
    assert window.max() == 1


def test_a_patch_beyond_the_frame_goes_on_as_its_edge():
    patch = patch_about(torch.tensor([[[9.0, 0.0]]]), (0,), SIZE, share=0.25)
    cut = patch.cut(picture(), 8)
    torch.testing.assert_close(cut, cut[..., :1].expand_as(cut))


# The whole network


def test_a_cached_source_gives_what_an_uncached_pass_gives():
    made, image, driving = network(), picture(), moved(3)
    state = made.encode(image, OWN)
    cached = made.decode(state, driving)
    whole = made(image.expand(3, -1, -1, -1), OWN.expand(3, -1, -1), driving)
    for part in ("image", "deformed"):
        torch.testing.assert_close(getattr(cached, part), getattr(whole, part), rtol=0, atol=1e-4)
    torch.testing.assert_close(cached.flow, whole.flow, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(cached.motion.masks, whole.motion.masks, rtol=0, atol=1e-5)


def test_a_decoded_frame_runs_no_encoder():
    made, ran = network(), []
    state = made.encode(picture(), OWN)
    encoders = [made.whole.encoder, *(part.encoder for part in made.parts), made.generator.down_blocks]
    for encoder in encoders:
        for block in encoder:
            block.register_forward_hook(lambda *_: ran.append(1))
    made.generator.first.register_forward_hook(lambda *_: ran.append(1))
    made.decode(state, moved())
    assert not ran


def test_shapes_and_ranges():
    made = network().decode(network().encode(picture(), OWN), moved(2))
    assert made.image.shape == (2, 3, *SIZE)
    assert made.flow.shape == (2, 2, *SIZE)
    assert made.motion.masks.shape == (2, 5, *SIZE)
    assert made.motion.sparse.shape == (2, 5, 2, *SIZE)
    torch.testing.assert_close(made.motion.masks.sum(1), torch.ones(2, *SIZE))
    assert made.motion.occlusion.min() >= 0
    assert made.motion.occlusion.max() <= 1
    assert not made.motion.sparse[:, 0].any()  # the background stands still


def test_a_part_counts_in_its_patch_alone():
    made = network()
    motion = made.motion(made.encode(picture(), OWN), moved(1))
    points, grid = moved(1), pixel_grid(SIZE)
    for row, region in enumerate(made.config.parts):
        patch = patch_about(points, region, SIZE, share=made.config.patch_share)
        inner = patch.of_frame(to_normalised(grid.flatten(2).mT, SIZE)).abs().amax(-1).view(SIZE)
        share = motion.masks[0, 2 + row]
        assert not share[inner >= 1].any()
        assert (share[inner < 0.9] > 0).all()


def test_untrained_parts_follow_their_landmarks_and_nothing_else_moves():
    torch.manual_seed(0)
    made = Sparse2DenseNetwork(shallow()).eval()
    shift = torch.tensor([4.0, -3.0])
    driving = to_normalised(LANDMARKS + shift, SIZE)
    with torch.no_grad():
        result = made.decode(made.encode(picture(), OWN), driving)
        still = made.decode(made.encode(picture(), OWN), OWN)
    pixels = result.motion.sparse * torch.tensor([SIZE[1] / 2, SIZE[0] / 2])[:, None, None]
    assert not result.motion.sparse[:, :2].any()
    torch.testing.assert_close(pixels[:, 2:], -shift[:, None, None].expand_as(pixels[:, 2:]))
    assert not still.flow.any()
    torch.testing.assert_close(still.deformed, picture(), rtol=0, atol=0)


def test_from_a_spline_an_untrained_network_moves_the_picture_as_tps_does():
    config = shallow(initial_flow="thin_plate", blended=True)
    made, driving = Sparse2DenseNetwork(config).eval(), LANDMARKS + torch.linspace(-3, 3, 68)[:, None]
    with torch.no_grad():
        result = made.decode(made.encode(picture(), OWN), to_normalised(driving, SIZE))
        still = made.decode(made.encode(picture(), OWN), OWN)
    spline = spline_flow(LANDMARKS[0], driving[0], SIZE, config=SplineConfig(step=4))
    torch.testing.assert_close(result.flow, spline, rtol=0, atol=0.02 * float(spline.abs().max()))
    assert spline.abs().max() > 2
    assert not still.flow.any()
    assert (still.image - picture()).abs().mean() < 0.06  # 12 % of it is an untrained generator's
    shown = result.motion.occlusion
    made.config = dataclasses.replace(config, blended=False)
    generated = made.decode(made.encode(picture(), OWN), to_normalised(driving, SIZE))
    assert not torch.equal(result.image, generated.image)
    assert (shown > 0.8).all()


@pytest.mark.parametrize("initial", ["zero", "thin_plate"])
def test_every_parameter_learns(initial):
    config = shallow(initial_flow=initial, blended=initial == "thin_plate")
    made, image, driving = shaken(Sparse2DenseNetwork(config)).train(), picture(2), moved(2)
    result = made(image, OWN.expand(2, -1, -1), driving)
    (result.image - image.flip(-1)).square().sum().backward()
    without = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in without if not n.endswith("conv.bias")] == []  # norms take biases away
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


@pytest.mark.parametrize("count", [1, 5, 68, 478])
def test_any_number_of_landmarks(count):
    regions = None if count in REGIONS else () if count == 1 else ((0, 1), (2, 3, 4))
    config = with_landmarks(shallow(), count, regions)
    made = shaken(Sparse2DenseNetwork(config))
    points = torch.rand(2, count, 2) - 0.5
    result = made(picture(2), points, points + 0.1)
    assert result.image.shape == (2, 3, *SIZE)
    assert result.motion.masks.shape[1] == 2 + len(config.parts)


def test_prepared_pictures_are_the_same():
    made = network()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    with torch.no_grad():
        expected = made.decode(made.encode(picture(), OWN), moved())
        prepare_(made)
        again = made.decode(made.encode(picture(), OWN), moved())
    torch.testing.assert_close(again.image, expected.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(again.flow, expected.flow, rtol=1e-4, atol=1e-3)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in made.modules())


@pytest.mark.parametrize("initial", ["zero", "thin_plate"])
def test_under_bfloat16_flow_is_in_single_precision_and_right_to_a_small_part_of_what_was_learnt(initial):
    torch.manual_seed(0)
    config = shallow(initial_flow=initial)
    begun = Sparse2DenseNetwork(config).eval()
    made = shaken(copy.deepcopy(begun))
    with torch.no_grad():
        start, exact = (each(picture(2), OWN.expand(2, -1, -1), moved(2)).flow for each in (begun, made))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            same, half = (each(picture(2), OWN.expand(2, -1, -1), moved(2)).flow for each in (begun, made))
    assert half.dtype == torch.float32
    assert torch.equal(same, start)  # nothing is learnt: where motion begins no bfloat16 comes in
    learnt = (exact - start).norm(dim=1)
    assert learnt.mean() > 2
    assert (half - exact).norm(dim=1).mean() < 0.02 * learnt.mean()


# What is refused


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"landmarks": 20}, r"landmarks: expected 68 or 478, got 20; name the regions of others"),
        (
            {"landmarks": 20, "regions": ((1, 20),)},
            r"regions of rows 0 to 19, .* regions_of has those of 68 and 478 landmarks",
        ),
        ({"regions": ((),)}, "landmarks, regions: expected at least 1"),
        ({"patch": 6}, "patch: expected a multiple of 4, .* got 6"),
        ({"patch_share": 0.0}, "patch_share, feather: expected above 0"),
        ({"feather": 1.5}, "patch_share, feather: expected above 0 and at most 1"),
    ],
)
def test_configs_that_make_no_sense(changes, told):
    with pytest.raises(HeadwarpError, match=told):
        shallow(**changes)


def test_blocks_that_do_not_match():
    with pytest.raises(HeadwarpError, match="as many blocks of both, at least one, got 2 and 1"):
        MotionNetworkConfig((4, 4), (4,), 1)
    with pytest.raises(HeadwarpError, match="0 to the number of blocks"):
        MotionNetworkConfig((4,), (4,), 2)


def test_landmarks_and_pictures_that_do_not_fit():
    made = network()
    with pytest.raises(ShapeError, match=r"landmarks: expected \(B, 68, 2\), got \(1, 5, 2\)"):
        made.encode(picture(), OWN[:, :5])
    with pytest.raises(ShapeError, match=r"landmarks: expected \(2, 68, 2\), got \(1, 68, 2\)"):
        made.encode(picture(2), OWN)
    with pytest.raises(ShapeError, match=r"driving landmarks: expected \(B, 68, 2\), got \(1, 136\)"):
        made.decode(made.encode(picture(), OWN), OWN.flatten(1)[..., None][..., 0])
    with pytest.raises(ShapeError, match="image: expected sides that are multiples of 8, got 64 x 60"):
        made.encode(picture()[..., :60], OWN)


def test_a_motion_network_alone():
    config = MotionNetworkConfig((4, 8), (8, 4), 1, 8)
    alone = MotionNetwork(config, told=6, outputs=2)
    maps = alone.decode(
        alone.encode(torch.rand(2, 3, 8, 12), torch.rand(2, 6)), torch.rand(2, 6), torch.rand(2, 6)
    )
    assert maps.shape == (2, 2, 8, 12)
    assert not maps.any()
