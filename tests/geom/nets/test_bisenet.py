"""BiSeNet: the public parsers' keys, shapes and values, restated plainly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.geom.nets.bisenet import BiSeNet
from headwarp.geom.nets.weights import known_weights, load_backbone_file


def norm(name, channels):
    shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,))
    return {f"{name}.{key}": shape for key, shape in shapes.items()} | {f"{name}.num_batches_tracked": ()}


def block(name, inputs, outputs, kernel=3):
    return {f"{name}.conv.weight": (outputs, inputs, kernel, kernel)} | norm(f"{name}.bn", outputs)


def public_shapes(width=64, classes=19):
    """Keys and shapes of the published file, written down from its description."""
    w = width
    keys = {"cp.resnet.conv1.weight": (w, 3, 7, 7)} | norm("cp.resnet.bn1", w)
    inputs = w
    for stage in range(4):
        outputs = w << stage
        for place in range(2):
            name = f"cp.resnet.layer{stage + 1}.{place}"
            keys[f"{name}.conv1.weight"] = (outputs, inputs, 3, 3)
            keys[f"{name}.conv2.weight"] = (outputs, outputs, 3, 3)
            keys |= norm(f"{name}.bn1", outputs) | norm(f"{name}.bn2", outputs)
            if stage and not place:
                keys[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                keys |= norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    for name, channels in (("arm16", 4 * w), ("arm32", 8 * w)):
        keys |= block(f"cp.{name}.conv", channels, 2 * w)
        keys[f"cp.{name}.conv_atten.weight"] = (2 * w, 2 * w, 1, 1)
        keys |= norm(f"cp.{name}.bn_atten", 2 * w)
    keys |= block("cp.conv_head32", 2 * w, 2 * w) | block("cp.conv_head16", 2 * w, 2 * w)
    keys |= block("cp.conv_avg", 8 * w, 2 * w, kernel=1) | block("ffm.convblk", 4 * w, 4 * w, kernel=1)
    keys |= {"ffm.conv1.weight": (w, 4 * w, 1, 1), "ffm.conv2.weight": (4 * w, w, 1, 1)}
    for name, channels, inner in (("", 4, 4), ("16", 2, 1), ("32", 2, 1)):
        keys |= block(f"conv_out{name}.conv", channels * w, inner * w)
        keys[f"conv_out{name}.conv_out.weight"] = (classes, inner * w, 1, 1)
    return keys


def published(width=64, classes=19):
    """Weights as in the published file, of random values."""
    generator = torch.Generator().manual_seed(1)

    def values(key, shape):
        if key.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if key.endswith("running_var"):
            return torch.rand(shape, generator=generator) + 0.5
        return torch.randn(shape, generator=generator) / max(1, torch.Size(shape[1:]).numel()) ** 0.5

    return {key: values(key, shape) for key, shape in public_shapes(width, classes).items()}


def plain_scores(weights, image):
    """The network once more, from its weights and torch's functions alone."""

    def normed(values, name):
        keys = (f"{name}.running_mean", f"{name}.running_var", f"{name}.weight", f"{name}.bias")
        return F.batch_norm(values, *(weights[key] for key in keys))

    def conv(values, name, stride=1):
        kernel = weights[f"{name}.weight"]
        return F.conv2d(values, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def unit(values, name):
        return F.relu(normed(conv(values, f"{name}.conv"), f"{name}.bn"))

    def refined(values, name):
        values = unit(values, f"{name}.conv")
        pooled = F.adaptive_avg_pool2d(values, 1)
        return values * torch.sigmoid(normed(conv(pooled, f"{name}.conv_atten"), f"{name}.bn_atten"))

    def up(values, like):
        return F.interpolate(values, size=like.shape[2:], mode="nearest")

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values = (image - mean[:, None, None]) / deviation[:, None, None]
    values = F.relu(normed(conv(values, "cp.resnet.conv1", 2), "cp.resnet.bn1"))
    values = F.max_pool2d(values, 3, 2, 1)
    maps = []
    for stage in range(1, 5):
        for place in range(2):
            name = f"cp.resnet.layer{stage}.{place}"
            stride = 2 if stage > 1 and place == 0 else 1
            inner = F.relu(normed(conv(values, f"{name}.conv1", stride), f"{name}.bn1"))
            inner = normed(conv(inner, f"{name}.conv2"), f"{name}.bn2")
            if stride == 2:
                values = F.conv2d(values, weights[f"{name}.downsample.0.weight"], stride=2)
                values = normed(values, f"{name}.downsample.1")
            values = F.relu(values + inner)
        maps.append(values)
    _, eighth, sixteenth, last = maps
    whole = unit(F.adaptive_avg_pool2d(last, 1), "cp.conv_avg")
    coarse = unit(up(refined(last, "cp.arm32") + up(whole, last), sixteenth), "cp.conv_head32")
    fine = unit(up(refined(sixteenth, "cp.arm16") + coarse, eighth), "cp.conv_head16")
    fused = unit(torch.cat([eighth, fine], 1), "ffm.convblk")
    weight = F.relu(conv(F.adaptive_avg_pool2d(fused, 1), "ffm.conv1"))
    fused = fused + fused * torch.sigmoid(conv(weight, "ffm.conv2"))
    scores = conv(unit(fused, "conv_out.conv"), "conv_out.conv_out")
    return F.interpolate(scores, size=image.shape[2:], mode="bilinear", align_corners=True)


def used(weights):
    return {
        key: value for key, value in weights.items() if not key.startswith(("conv_out16.", "conv_out32."))
    }


def test_keys_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        own = BiSeNet().state_dict()
    assert {key: tuple(value.shape) for key, value in own.items()} == used(public_shapes())
    trained = [
        shape for key, shape in public_shapes().items() if not key.endswith(("mean", "var", "tracked"))
    ]
    assert sum(torch.Size(shape).numel() for shape in trained) == 13_300_416


def test_values_are_those_of_a_plain_restatement():
    network = BiSeNet(classes=5, width=8).eval()
    weights = used(published(8, 5))
    network.load_state_dict(weights)
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    scores = network(image)
    assert scores.shape == (2, 5, 64, 96)
    torch.testing.assert_close(scores, plain_scores(weights, image), rtol=1e-4, atol=1e-4)
    assert float(scores.std()) > 0.05


def test_a_file_of_the_published_layout_loads_and_another_does_not(tmp_path):
    weights = published()
    path = tmp_path / "79999_iter.pth"
    torch.save(weights, path)
    backbone = load_backbone_file(path, ["bisenet"])
    assert backbone.name == "bisenet"
    key = "cp.arm32.conv_atten.weight"
    assert torch.equal(backbone.network.state_dict()[key], weights[key])
    assert not any(value.is_meta for value in backbone.network.buffers())
    del weights["ffm.conv1.weight"]
    torch.save(weights, path)
    with pytest.raises(ModelFileError, match="expected weights of bisenet"):
        load_backbone_file(path, ["bisenet"])
    known = known_weights("bisenet")
    assert known.size == 53_289_463
    assert known.sha256.startswith("468e13ca")


def test_sizes_and_widths_that_cannot_be():
    with pytest.raises(ShapeError, match="multiples of 32"):
        BiSeNet(width=8)(torch.rand(1, 3, 48, 64))
    with pytest.raises(HeadwarpError, match="multiple of 8"):
        BiSeNet(width=12)
