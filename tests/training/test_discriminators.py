"""Discriminators: size, names and layers of the public code, scales that are independent, gradients."""

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.pyramid import guidance_pyramid
from headwarp.training.discriminators import OFFICIAL, Discriminator, DiscriminatorConfig
from headwarp.training.losses.adversarial import OFFICIAL as SQUARES
from headwarp.training.losses.adversarial import discriminator_loss, generator_loss
from headwarp.training.losses.matching import MatchingConfig, feature_matching

TINY = DiscriminatorConfig(channels=(4, 6))


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_size_and_names_of_the_public_code():
    network = Discriminator(OFFICIAL)
    assert sum(parameter.numel() for parameter in network.parameters()) == 695_201
    names = {
        name.replace("parametrizations.weight.original", "weight") for name, _ in network.named_parameters()
    }
    block = {f"discs.x1.layers.{i}.{part}" for i in range(4) for part in ("conv.weight", "conv.bias")}
    norms = {f"discs.x1.layers.{i}.norm.{part}" for i in range(4) for part in ("weight", "bias")}
    assert names == block | norms | {"discs.x1.out_convs.0.weight", "discs.x1.out_convs.0.bias"}


def test_three_scales_are_three_networks():
    network = Discriminator()
    assert list(network.discs) == ["x1", "x2", "x4"]
    assert sum(parameter.numel() for parameter in network.parameters()) == 3 * 695_201


def test_shapes_at_256():
    judgement = Discriminator().eval()(torch.rand(1, 3, 256, 256))
    assert [tuple(f.shape[1:]) for f in judgement.features[0]] == [
        (32, 128, 128),
        (64, 64, 64),
        (128, 32, 32),
        (256, 16, 16),
    ]
    assert [logits.shape[2] for logits in judgement.logits] == [17, 9, 5]


def test_a_scale_is_its_layers_written_out(image):
    """Convolution with the normalised weight, batch norm, leaky ReLU 0.1, halving; then the logits."""
    network = Discriminator(TINY).eval()
    judgement = network(image)
    for scale, stride in enumerate((1, 2, 4)):
        disc = network.discs[f"x{stride}"]
        (values,) = guidance_pyramid(image, [stride])
        for block, found in zip(disc.layers, judgement.features[scale], strict=True):
            values = F.conv2d(values, block.conv.weight, block.conv.bias, padding=2)
            norm = block.norm
            values = (values - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps)[
                :, None, None
            ].sqrt()
            values = values * norm.weight[:, None, None] + norm.bias[:, None, None]
            values = F.avg_pool2d(torch.where(values > 0, values, 0.1 * values), 2)
            torch.testing.assert_close(found, values)
        out = disc.out_convs[0]
        torch.testing.assert_close(judgement.logits[scale], F.conv2d(values, out.weight, out.bias, padding=2))


def test_the_blocks_have_a_spectral_norm_and_the_logits_none():
    network = Discriminator(TINY).eval()
    for block in network.discs["x1"].layers:
        assert torch.linalg.matrix_norm(block.conv.weight.detach().flatten(1), 2) == pytest.approx(
            1, abs=0.05
        )
    assert not hasattr(network.discs["x1"].out_convs[0], "parametrizations")
    plain = Discriminator(DiscriminatorConfig(channels=(4,), spectral_norm=False))
    assert not hasattr(plain.discs["x1"].layers[0].conv, "parametrizations")


def test_both_players_learn_from_every_scale(image):
    network, made = Discriminator(TINY), image.flip(3).clone().requires_grad_()
    real, fake = network(image), network(made.detach())
    discriminator_loss(real.logits, fake.logits).backward()
    for scale in network.discs.values():
        assert scale.out_convs[0].weight.grad.abs().min() > 0  # its bias is in balance while all is undecided
        assert all(block.norm.weight.grad.abs().sum() > 0 for block in scale.layers)
    judged = network(made)
    matching = feature_matching(network(image).features, judged.features, MatchingConfig("mean"))
    for term in (generator_loss(judged.logits), matching):
        (slope,) = torch.autograd.grad(term, made, retain_graph=True)
        assert slope.abs().min() > 0


def test_it_learns_to_tell_two_kinds_apart(image):
    network = Discriminator(DiscriminatorConfig(scales=("x1",), channels=(8,)))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    bright, dark = image * 0.3 + 0.7, image * 0.3
    for _ in range(40):
        optimizer.zero_grad()
        loss = discriminator_loss(network(bright).logits, network(dark).logits, SQUARES)
        loss.backward()
        optimizer.step()
    assert loss < 0.5


@pytest.mark.parametrize("size", [(32, 32), (4, 4), (100, 52)])
def test_other_sizes(size):
    judgement = Discriminator(TINY).eval()(torch.rand(1, 3, *size))
    assert all(torch.isfinite(logits).all() and logits.numel() for logits in judgement.logits)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (DiscriminatorConfig(scales=("x3",)), "expected x1, x2, x4, x8 or x16, got 'x3'"),
        (DiscriminatorConfig(scales=("x1", "x1")), "different scales"),
        (DiscriminatorConfig(scales=()), "different scales"),
        (DiscriminatorConfig(channels=()), "some channels"),
    ],
)
def test_configs_that_make_no_network_are_refused(config, text):
    with pytest.raises(HeadwarpError, match=text):
        Discriminator(config)


@pytest.mark.parametrize(
    ("shape", "text"),
    [((1, 4, 32, 32), r"expected \(B, 3, H, W\)"), ((1, 3, 30, 32), "multiples of the stride 4")],
)
def test_pictures_that_do_not_fit_are_refused(shape, text):
    with pytest.raises(ShapeError, match=text):
        Discriminator(TINY)(torch.rand(shape))
