"""FOMM's and DaGAN's discriminator: names, sizes and values of the public code, what it sees, losses."""

from __future__ import annotations

import pytest
import torch
from dagan_file import dagan_discriminator_shapes
from fomm_file import discriminator_shapes, drawn
from fomm_reference import discriminate

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.training.keypoint_discriminator import (
    DAGAN,
    VOX,
    VOX_ADVERSARIAL,
    KeypointDiscriminator,
    KeypointDiscriminatorConfig,
)
from headwarp.training.losses.adversarial import OFFICIAL as SQUARES
from headwarp.training.losses.adversarial import discriminator_loss, generator_loss
from headwarp.training.losses.matching import OFFICIAL as MEANS
from headwarp.training.losses.matching import feature_matching
from headwarp.warping.importers.key_table import SPECTRAL_NORM, match_keys, renamed

PUBLISHED = {
    "vox": (VOX, discriminator_shapes, 2_758_849),
    "vox-adv": (VOX_ADVERSARIAL, lambda: discriminator_shapes(heatmaps=10, spectral=False), 2_769_089),
    "dagan": (DAGAN, dagan_discriminator_shapes, 2_774_209),
}
CHANNELS = (4, 6, 8)
TINY = KeypointDiscriminatorConfig(channels=CHANNELS)
SEEING = KeypointDiscriminatorConfig(channels=CHANNELS, keypoints=2, spectral_norm=False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def image():
    return torch.rand(2, 3, 40, 29)


@pytest.fixture
def keypoints():
    return torch.rand(2, 2, 2) - 0.5


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_shapes_and_sizes(name):
    config, shapes, parameters = PUBLISHED[name]
    with torch.device("meta"):
        made = KeypointDiscriminator(config)
    expected = {renamed(key, SPECTRAL_NORM): shape for key, shape in shapes().items()}
    assert {key: tuple(value.shape) for key, value in made.state_dict().items()} == expected
    assert sum(each.numel() for each in made.parameters()) == parameters


def test_sizes_at_256():
    with torch.device("meta"):
        judgement = KeypointDiscriminator(DAGAN)(torch.empty(1, 3, 256, 256), torch.empty(1, 15, 2))
    assert [tuple(each.shape[1:]) for each in judgement.features[0]] == [
        (64, 126, 126),
        (128, 61, 61),
        (256, 29, 29),
        (512, 26, 26),
    ]
    assert judgement.logits[0].shape == (1, 1, 26, 26)


@pytest.mark.parametrize("seeing", [False, True])
def test_public_code_restated(image, keypoints, seeing):
    weights = drawn(discriminator_shapes(width=2, blocks=3, heatmaps=2 * seeing, spectral=not seeing))
    config = KeypointDiscriminatorConfig(
        channels=(4, 8, 16), keypoints=2 * seeing, spectral_norm=not seeing, align_corners=True
    )
    made = KeypointDiscriminator(config).eval()
    report, state = match_keys(weights, made.state_dict(), renames=SPECTRAL_NORM)
    assert report.complete, report.table()
    made.load_state_dict(state)
    points = keypoints if seeing else None
    judgement = made(image, points)
    features, logits = discriminate(weights, image, points)
    for ours, theirs in zip((*judgement.features[0], *judgement.logits), (*features, logits), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_both_players_learn(image, keypoints):
    for config, points in ((TINY, None), (SEEING, keypoints)):
        network, made = KeypointDiscriminator(config), image.flip(3).clone().requires_grad_()
        real, fake = network(image, points), network(made.detach(), points)
        discriminator_loss(real.logits, fake.logits, SQUARES).backward()
        weights = {name: each for name, each in network.named_parameters() if each.ndim == 4}
        assert not [name for name, each in weights.items() if not each.grad.abs().sum() > 0]
        judged = network(made, points)
        matching = feature_matching(network(image, points).features, judged.features, MEANS)
        for term in (generator_loss(judged.logits, SQUARES), matching):
            (slope,) = torch.autograd.grad(term, made, retain_graph=True)
            assert slope.abs().max() > 0


def test_it_sees_where_keypoints_are_and_teaches_them_nothing(image, keypoints):
    network, points = KeypointDiscriminator(SEEING), keypoints.requires_grad_()
    judged = network(image, points).logits[0]
    assert not torch.allclose(judged, network(image, points + 0.3).logits[0], atol=1e-4)
    judged.sum().backward()
    assert points.grad is None


def test_it_learns_to_tell_right_places_from_wrong_ones(image, keypoints):
    network = KeypointDiscriminator(SEEING)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss = discriminator_loss(
            network(image, keypoints).logits, network(image, -keypoints).logits, SQUARES
        )
        loss.backward()
        optimizer.step()
    assert loss < 0.25


def test_the_smallest_picture(keypoints):
    assert (VOX.least, SEEING.least) == (61, 29)
    least = torch.rand(2, 3, 29, 30)
    assert KeypointDiscriminator(SEEING)(least, keypoints).logits[0].numel() > 0
    with pytest.raises(ShapeError, match=r"of at least 29 px a side, got \(2, 3, 28, 30\)"):
        KeypointDiscriminator(SEEING)(least[:, :, 1:], keypoints)


def test_odd_input_is_refused(image, keypoints):
    with pytest.raises(HeadwarpError, match="keypoints: expected 2, got none"):
        KeypointDiscriminator(SEEING)(image)
    with pytest.raises(HeadwarpError, match="keypoints: expected none, got 2"):
        KeypointDiscriminator(TINY)(image, keypoints)
    with pytest.raises(ShapeError, match=r"keypoints: expected \(2, 2, 2\), got \(1, 2, 2\)"):
        KeypointDiscriminator(SEEING)(image, keypoints[:1])
    with pytest.raises(ShapeError, match=r"image: expected \(B, 3, H, W\)"):
        KeypointDiscriminator(TINY)(image[:, :1])
    with pytest.raises(HeadwarpError, match="expected some channels"):
        KeypointDiscriminatorConfig(channels=())
