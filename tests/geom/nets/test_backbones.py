"""Backbones: sizes and key names of the published files, and what they compute, written out from the keys."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.nets.arcface import IResNet, IrSe50, face_normalized
from headwarp.geom.nets.inception import Inception, inception_input
from headwarp.geom.nets.vgg import Vgg19, imagenet_normalized, layer_names


def on_meta(build):
    with torch.device("meta"):
        return build()


def lived_in(network: nn.Module) -> nn.Module:
    """Batch norms as after training, so that forgetting one is seen; evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(part.bias, 0, 0.3, generator=generator)
    return network.eval().requires_grad_(False)


def norm(values, state, key, eps=1e-5):
    mean, variance = state[f"{key}.running_mean"], state[f"{key}.running_var"]
    shape = (-1,) + (1,) * (values.ndim - 2)
    scale = state[f"{key}.weight"] / (variance + eps).sqrt()
    return values * scale.view(shape) + (state[f"{key}.bias"] - mean * scale).view(shape)


def prelu(values, state, key):
    return torch.where(values > 0, values, values * state[f"{key}.weight"].view(-1, 1, 1))


# VGG-19

# torchvision's table: numbers are convolutions, M is a pool
VGG_TABLE = [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"]
PLACES = {
    "relu1_2": 4,
    "relu2_2": 9,
    "relu3_4": 18,
    "relu4_4": 27,
    "relu5_4": 36,
    "relu5_1": 30,
    "conv3_1": 11,
}


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return Vgg19().eval().requires_grad_(False)


def vgg_layers(state, image):
    """Every output of torchvision's ``features``, by index."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values, outputs = (image - mean.view(3, 1, 1)) / deviation.view(3, 1, 1), []
    for entry in VGG_TABLE:
        if entry == "M":
            values = F.max_pool2d(values, 2, 2)
            outputs.append(values)
            continue
        key = f"features.{len(outputs)}"
        outputs.append(F.conv2d(values, state[f"{key}.weight"], state[f"{key}.bias"], padding=1))
        values = outputs[-1].clamp_min(0)
        outputs.append(values)
    return outputs


def test_vgg_has_the_size_and_keys_of_torchvision():
    network = on_meta(Vgg19)
    assert sum(p.numel() for p in network.parameters()) == 20_024_384  # 143,667,240 less the classifier
    numbers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    assert set(network.state_dict()) == {
        f"features.{n}.{part}" for n in numbers for part in ("weight", "bias")
    }


def test_vgg_written_out(vgg):
    image = torch.rand(2, 3, 32, 48)
    expected = vgg_layers(vgg.state_dict(), image)
    assert len(expected) == len(layer_names()) == 37
    for found, wanted in zip(vgg.taps(image, layer_names()), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_vgg_taps_are_the_slices_that_losses_name(vgg):
    """``relu3_4`` ends torchvision's ``features[:18]``, and so on."""
    names = list(PLACES)
    image = torch.rand(1, 3, 32, 32)
    expected = vgg_layers(vgg.state_dict(), image)
    for name, found in zip(names, vgg.taps(image, names), strict=True):
        torch.testing.assert_close(found, expected[PLACES[name] - 1], rtol=1e-4, atol=1e-5)


def test_vgg_taps_keep_the_order_asked_for_and_stop_early(vgg):
    image = torch.rand(1, 3, 8, 8)  # too small for the fourth pool
    late, early = vgg.taps(image, ("relu3_1", "relu1_1"))
    assert (late.shape[1], early.shape[1]) == (256, 64)
    assert vgg(torch.rand(1, 3, 32, 32)).shape == (1, 512, 1, 1)


def test_vgg_hands_its_gradient_to_the_picture(vgg):
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    conv, relu = vgg.taps(image, ("conv2_1", "relu2_1"))
    assert (conv < 0).any()  # the ReLU behind it did not write over it
    (conv.sum() + relu.sum()).backward()
    assert (image.grad != 0).all()


@pytest.mark.parametrize("names", [(), ("relu6_1",), ("relu1_1", "conv1_3")])
def test_vgg_refuses_layers_that_are_none(vgg, names):
    with pytest.raises(HeadwarpError, match="expected names of conv1_1, relu1_1"):
        vgg.taps(torch.rand(1, 3, 16, 16), names)


def test_vgg_refuses_pictures_that_vanish(vgg):
    with pytest.raises(ShapeError, match="at least 2 px a side at every pool"):
        vgg.taps(torch.rand(1, 3, 8, 8), ("relu5_1",))


def test_ranges_in_and_out():
    black, white = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    assert imagenet_normalized(black).flatten().tolist() == pytest.approx(
        [-2.1179, -2.0357, -1.8044], abs=1e-4
    )
    assert imagenet_normalized(white).flatten().tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)
    assert (face_normalized(black) == -1).all()
    assert (face_normalized(white) == 1).all()
    assert inception_input(black).shape == (1, 3, 299, 299)
    assert (inception_input(black) == -1).all()
    torch.testing.assert_close(inception_input(white), torch.ones(1, 3, 299, 299))


# Faces


@pytest.fixture(scope="module")
def face():
    return torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))


def iresnet_written_out(state, image, counts):
    values = F.conv2d(image * 2 - 1, state["conv1.weight"], padding=1)
    values = prelu(norm(values, state, "bn1"), state, "prelu")
    for stage, count in enumerate(counts, start=1):
        for place in range(count):
            key, stride = f"layer{stage}.{place}", 2 if place == 0 else 1
            inner = F.conv2d(norm(values, state, f"{key}.bn1"), state[f"{key}.conv1.weight"], padding=1)
            inner = prelu(norm(inner, state, f"{key}.bn2"), state, f"{key}.prelu")
            inner = F.conv2d(inner, state[f"{key}.conv2.weight"], stride=stride, padding=1)
            if place == 0:
                values = F.conv2d(values, state[f"{key}.downsample.0.weight"], stride=2)
                values = norm(values, state, f"{key}.downsample.1")
            values = norm(inner, state, f"{key}.bn3") + values
    values = norm(values, state, "bn2").flatten(1) @ state["fc.weight"].T + state["fc.bias"]
    values = norm(values, state, "features")
    return values / values.norm(dim=1, keepdim=True)


def ir_se_written_out(state, image):
    values = F.conv2d(image * 2 - 1, state["input_layer.0.weight"], padding=1)
    values = prelu(norm(values, state, "input_layer.1"), state, "input_layer.2")
    strided = {0, 3, 7, 21}
    for place in range(24):
        key, stride = f"body.{place}", 2 if place in strided else 1
        res = f"{key}.res_layer"
        inner = F.conv2d(norm(values, state, f"{res}.0"), state[f"{res}.1.weight"], padding=1)
        inner = prelu(inner, state, f"{res}.2")
        inner = norm(F.conv2d(inner, state[f"{res}.3.weight"], stride=stride, padding=1), state, f"{res}.4")
        means = inner.mean((2, 3), keepdim=True)
        gate = F.conv2d(
            F.conv2d(means, state[f"{res}.5.fc1.weight"]).clamp_min(0), state[f"{res}.5.fc2.weight"]
        )
        if f"{key}.shortcut_layer.0.weight" in state:
            values = F.conv2d(values, state[f"{key}.shortcut_layer.0.weight"], stride=stride)
            values = norm(values, state, f"{key}.shortcut_layer.1")
        else:
            values = values[..., ::stride, ::stride]
        values = values + inner / (1 + torch.exp(-gate))
    values = norm(values, state, "output_layer.0").flatten(1)
    values = values @ state["output_layer.3.weight"].T + state["output_layer.3.bias"]
    values = norm(values, state, "output_layer.4")
    return values / values.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("depth", "parameters", "entries"),
    [(18, 24_025_600, 187), (34, 34_139_328, 331), (50, 43_590_848, 475), (100, 65_156_160, 925)],
)
def test_iresnets_have_the_size_of_insightfaces(depth, parameters, entries):
    network = on_meta(lambda: IResNet(depth))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == entries


def test_iresnet_has_insightfaces_keys():
    keys = set(on_meta(lambda: IResNet(18)).state_dict())
    some = {
        "conv1.weight",
        "bn1.running_var",
        "prelu.weight",
        "layer1.0.downsample.0.weight",
        "layer4.1.bn3.bias",
        "layer2.0.prelu.weight",
        "bn2.weight",
        "fc.bias",
        "features.running_mean",
    }
    assert some <= keys
    assert {key.split(".")[0] for key in keys} == {
        "conv1",
        "bn1",
        "prelu",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
        "bn2",
        "fc",
        "features",
    }


def test_iresnet_written_out(face):
    torch.manual_seed(0)
    network = lived_in(IResNet(18))
    embeddings = network(face)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    expected = iresnet_written_out(network.state_dict(), face, (2, 2, 2, 2))
    torch.testing.assert_close(embeddings, expected, rtol=1e-3, atol=1e-4)


def test_ir_se_has_the_size_and_keys_of_the_published_file():
    network = on_meta(IrSe50)
    state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == 43_797_696
    assert {key.split(".")[0] for key in state} == {"input_layer", "body", "output_layer"}
    assert state["output_layer.3.weight"].shape == (512, 25088)
    assert state["body.23.res_layer.5.fc1.weight"].shape == (32, 512, 1, 1)
    assert "body.0.shortcut_layer.0.weight" not in state  # 64 to 64 channels: every second pixel as it is
    assert state["body.3.shortcut_layer.0.weight"].shape == (128, 64, 1, 1)


def test_ir_se_written_out(face):
    torch.manual_seed(0)
    network = lived_in(IrSe50())
    expected = ir_se_written_out(network.state_dict(), face)
    torch.testing.assert_close(network(face), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 128, 128), (3, 112, 112), (1, 1, 112, 112)])
@pytest.mark.parametrize("build", [IrSe50, lambda: IResNet(18)])
def test_faces_must_be_cut_first(build, shape):
    network = on_meta(build)
    with pytest.raises(ShapeError, match="expected aligned faces"):
        network(torch.rand(shape))


def test_an_unknown_depth_is_refused():
    with pytest.raises(HeadwarpError, match="expected 18, 34, 50 or 100, got 101"):
        IResNet(101)


# Inception


def inception_written_out(state, image, variant):
    """From the keys alone: kernels by their shapes, wiring by the names."""

    def conv(values, key, stride=1, padded=True):
        weight = state[f"{key}.conv.weight"]
        padding = tuple(side // 2 for side in weight.shape[2:]) if padded else 0
        return norm(F.conv2d(values, weight, None, stride, padding), state, f"{key}.bn", 1e-3).clamp_min(0)

    def row(values, key, *names):
        for name in names:
            values = conv(values, f"{key}.{name}")
        return values

    def mean(values):
        total = F.avg_pool2d(values, 3, 1, padding=1)
        if variant == "torchvision":
            return total
        share = F.avg_pool2d(torch.ones_like(values), 3, 1, padding=1)
        return total / share

    def block_a(values, key):
        dbl = row(values, key, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        parts = [row(values, key, "branch1x1"), row(values, key, "branch5x5_1", "branch5x5_2"), dbl]
        return torch.cat([*parts, conv(mean(values), f"{key}.branch_pool")], 1)

    def block_c(values, key):
        seven = row(values, key, "branch7x7_1", "branch7x7_2", "branch7x7_3")
        dbl = row(values, key, *(f"branch7x7dbl_{i}" for i in range(1, 6)))
        pool = conv(mean(values), f"{key}.branch_pool")
        return torch.cat([row(values, key, "branch1x1"), seven, dbl, pool], 1)

    def block_e(values, key, pooled):
        three, dbl = row(values, key, "branch3x3_1"), row(values, key, "branch3x3dbl_1", "branch3x3dbl_2")
        forks = [row(three, key, f"branch3x3_2{c}") for c in "ab"] + [
            row(dbl, key, f"branch3x3dbl_3{c}") for c in "ab"
        ]
        return torch.cat([row(values, key, "branch1x1"), *forks, conv(pooled, f"{key}.branch_pool")], 1)

    values = F.interpolate(image, (299, 299), mode="bilinear", align_corners=False) * 2 - 1
    values = conv(conv(values, "Conv2d_1a_3x3", 2, False), "Conv2d_2a_3x3", 1, False)
    values = conv(F.max_pool2d(conv(values, "Conv2d_2b_3x3"), 3, 2), "Conv2d_3b_1x1")
    values = F.max_pool2d(conv(values, "Conv2d_4a_3x3", 1, False), 3, 2)
    for name in ("5b", "5c", "5d"):
        values = block_a(values, f"Mixed_{name}")
    dbl = conv(
        row(values, "Mixed_6a", "branch3x3dbl_1", "branch3x3dbl_2"), "Mixed_6a.branch3x3dbl_3", 2, False
    )
    values = torch.cat([conv(values, "Mixed_6a.branch3x3", 2, False), dbl, F.max_pool2d(values, 3, 2)], 1)
    for name in ("6b", "6c", "6d", "6e"):
        values = block_c(values, f"Mixed_{name}")
    three = conv(row(values, "Mixed_7a", "branch3x3_1"), "Mixed_7a.branch3x3_2", 2, False)
    seven = row(values, "Mixed_7a", *(f"branch7x7x3_{i}" for i in (1, 2, 3)))
    seven = conv(seven, "Mixed_7a.branch7x7x3_4", 2, False)
    values = torch.cat([three, seven, F.max_pool2d(values, 3, 2)], 1)
    values = block_e(values, "Mixed_7b", mean(values))
    pooled = F.max_pool2d(values, 3, 1, 1) if variant == "fid" else mean(values)
    return block_e(values, "Mixed_7c", pooled).mean((2, 3))


@pytest.mark.parametrize(("variant", "parameters"), [("fid", 23_850_960), ("torchvision", 23_834_568)])
def test_inception_has_the_size_of_torchvisions(variant, parameters):
    """27,161,264 less 3,326,696 of the auxiliary classifier; FID's has 1008 classes in place of 1000."""
    network = on_meta(lambda: Inception(variant))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == 566
    assert {part.eps for part in network.modules() if isinstance(part, nn.BatchNorm2d)} == {0.001}
    assert network.state_dict()["fc.weight"].shape == ({"fid": 1008, "torchvision": 1000}[variant], 2048)
    assert "Mixed_7c.branch3x3dbl_3b.bn.running_var" in network.state_dict()


@pytest.mark.parametrize("variant", ["fid", "torchvision"])
def test_inception_written_out(variant):
    torch.manual_seed(0)
    network = lived_in(Inception(variant))
    image = torch.rand(1, 3, 40, 56)
    features = network(image)
    expected = inception_written_out(network.state_dict(), image, variant)
    assert features.shape == (1, 2048)
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_the_variants_do_not_agree():
    torch.manual_seed(0)
    fid, other = lived_in(Inception("fid")), on_meta(lambda: Inception("torchvision"))
    state = {k: v for k, v in fid.state_dict().items() if not k.startswith("fc.")}
    other.load_state_dict(
        state | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, assign=True
    )
    image = torch.rand(1, 3, 64, 64)
    difference = (fid(image) - other.eval()(image)).abs().mean() / fid(image).abs().mean()
    assert difference > 0.003


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: Inception("tf"), HeadwarpError, "expected fid or torchvision, got 'tf'"),
        (lambda: on_meta(Inception)(torch.rand(1, 4, 64, 64)), ShapeError, r"expected \(B, 3, H, W\)"),
    ],
)
def test_inception_refuses(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
