"""GDPW checkpoints: their keys, the import of all three kinds, and equal pictures."""

from __future__ import annotations

import hashlib

import pytest
import torch
from gdpw_file import KINDS, discriminator_shapes, generator, generator_shapes
from gdpw_reference import reference

from headwarp.geom.errors import ModelFileError
from headwarp.geom.nets.folding import fold_norms_
from headwarp.warping.importers.gdpw import NAMES, import_gdpw
from headwarp.warping.progressive import ProgressiveWarping, guidance_maps, official

OURS = {theirs: ours for ours, theirs in NAMES.items()}
SMALL = {"width": 4, "cap": 24, "embedding": 3}
PUBLISHED = {  # of the sorted "name shape" lines of the published files
    "neural_codes": "6e639ad5051f01e5b215f70df4756a21ea763ba6820665425cf872dd0149fae3",
    "geom_disp": "0a42554f10db4e4f073a92a411e1342ec39c260f23eedc16b249e4ac72ba0d72",
    "both": "d46e95011c8148358c6a141b28037bded93dc9e8ab17e0c468994b3850ae2e8a",
    "discriminator": "7ccfa0e228641585c46e722cfc8e17685ac068e9c2e50c2ba95e861f2dc0ebb2",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_helper_knows_the_published_names_and_shapes(name):
    shapes = discriminator_shapes() if name == "discriminator" else generator_shapes(name)
    lines = "\n".join(f"{key} {shape}" for key, shape in sorted(shapes.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == PUBLISHED[name]


def drawn(weights: dict[str, torch.Tensor], size: tuple[int, int]):
    """A source, a displacement in normalised coordinates, and codes in both poses."""
    torch.manual_seed(5)
    image, flow = torch.rand(1, 3, *size), 0.4 * torch.rand(1, 2, *size) - 0.2
    if "embeds" not in weights:
        return image, flow, None
    channels = weights["embeds"].shape[1]
    return image, flow, (torch.rand(1, channels, *size), torch.rand(1, channels, *size))


def parity(kind: str, weights: dict[str, torch.Tensor], size: tuple[int, int]) -> None:
    """The imported network against the restatement; plain and folded."""
    imported = import_gdpw({"generator": weights, "global_step": 3}, name="x.pth")
    assert imported.report.complete
    network = ProgressiveWarping(imported.config).eval()
    network.load_state_dict(imported.weights, strict=True)
    image, flow, codes = drawn(weights, size)
    height, width = size
    pixels = flow * torch.tensor([width / 2, height / 2])[:, None, None]
    guidance = guidance_maps(imported.config, pixels, None if codes is None else codes[0])
    source = image if codes is None else torch.cat([image, codes[1]], 1)
    with torch.no_grad():
        expected = reference(weights, kind, image, flow, codes)
        outputs = [network(source, guidance, pixels), fold_norms_(network)(source, guidance, pixels)]
    for output in outputs:
        torch.testing.assert_close(output.image, expected.image, rtol=0, atol=1e-4)
        torch.testing.assert_close(output.alpha, expected.alpha, rtol=0, atol=1e-4)
        torch.testing.assert_close(output.warped, expected.warped, rtol=0, atol=1e-4)
    unsaturated = (expected.image > 0.02) & (expected.image < 0.98)
    assert unsaturated.float().mean() > 0.3
    assert expected.image.std() > 0.05
    assert (expected.warped - image).abs().mean() > 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "levels"), [((64, 64), 6), ((64, 96), 5)])
def test_pictures_equal_the_public_codes(kind, size, levels):
    parity(kind, generator(kind, levels=levels, **SMALL), size)


@pytest.mark.slow
def test_pictures_equal_the_public_codes_at_full_width():
    parity("geom_disp", generator("geom_disp"), (64, 64))


def test_the_spectral_norms_vectors_matter():
    weights = generator("geom_disp", **SMALL)
    image, flow, _ = drawn(weights, (64, 64))
    first = reference(weights, "geom_disp", image, flow, None).image
    weights["up_layers.x2_up.conv.weight_v"] = weights["up_layers.x2_up.conv.weight_v"].roll(1)
    assert (reference(weights, "geom_disp", image, flow, None).image - first).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_off_the_file(kind):
    weights = generator(kind, **SMALL)
    content = {"generator": weights, "discriminator": {}, "global_step": 70}
    imported = import_gdpw(content, name="x.pth")
    assert (imported.config.guidance, imported.config.width, imported.step) == (OURS[kind], 4, 70)
    assert imported.config.legacy_grid
    assert not imported.config.align_corners
    assert imported.notes[0] == "the discriminator is left out: it is not an animator's"
    dropped = {key for key, _ in imported.report.dropped}
    assert {key.split(".")[0] for key in dropped} == {"downsamples", "mesh_renderer", "shortcut_layers"}
    assert len(imported.report.loaded) + len(dropped) == len(weights)
    assert (imported.codes is None) == (kind == "geom_disp")
    if imported.codes is not None:
        assert torch.equal(imported.animator_weights()["network.codes.codes"], weights["embeds"])
        assert imported.notes[1:] == (
            "its codes lie on 5023 vertices: pose the head model that has them (FLAME: 5023)",
        )


@pytest.mark.parametrize("kind", KINDS)
def test_published_sizes_are_the_official_config(kind):
    zero = {True: torch.zeros((), dtype=torch.int64), False: torch.zeros(())}
    weights = {
        key: zero[key.endswith("num_batches_tracked")].expand(shape)
        for key, shape in generator_shapes(kind).items()
        if not key.startswith("downsamples.")
    }
    imported = import_gdpw(weights, name="x.pth")
    assert imported.report.complete
    assert imported.config == official(OURS[kind])


@pytest.mark.parametrize("sizes", [{"levels": 4, "width": 5, "cap": 1000}, {"width": 3, "cap": 6}])
def test_other_sizes(sizes):
    imported = import_gdpw(generator("both", **sizes), name="x.pth")
    assert imported.report.complete
    assert imported.config.levels == sizes.get("levels", 6)


def test_data_parallel_names():
    weights = {f"module.{key}": value for key, value in generator("geom_disp", **SMALL).items()}
    assert import_gdpw(weights, name="x.pth").report.complete


@pytest.mark.parametrize(
    ("change", "missing", "unexpected", "mismatched"),
    [
        (lambda w: w.pop("up_layers.x4_flow.bias"), ("up_layers.x4_flow.bias",), (), ()),
        (lambda w: w.update(extra=torch.ones(1)), (), ("extra",), ()),
        (
            lambda w: w.update({"up_layers.x4_flow.bias": torch.ones(3)}),
            (),
            (),
            (("up_layers.x4_flow.bias", "(2,)", "(3,)"),),
        ),
        (
            lambda w: w.pop("up_layers.x8_up.conv.weight_v"),
            ("up_layers.x8_up.conv.parametrizations.weight.0._v",),
            (),
            (),
        ),
    ],
)
def test_what_is_amiss_is_named(change, missing, unexpected, mismatched):
    weights = generator("geom_disp", **SMALL)
    change(weights)
    report = import_gdpw(weights, name="x.pth").report
    assert (report.missing, report.unexpected, report.mismatched) == (missing, unexpected, mismatched)
    assert not report.complete


def _other_blur(weights):
    weights["downsamples.x8.weight"] = torch.full((2, 1, 29, 29), 1 / 841)


def _other_channels(weights):
    for key in list(weights):
        if key.startswith("down_layers.x2.conv.weight_orig"):
            weights[key] = torch.ones(9, 4, 3, 3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_other_blur, "downsamples.x8.weight: expected a Gaussian of 29 x 29 taps .* other guidance"),
        (_other_channels, r"expected channels that double from level to level, got \[4, 9, 16"),
        (
            lambda w: w.pop("down_layers.x4.conv.weight_orig"),
            r"expected levels x1, x2, x4, .., got \[1, 2, 8",
        ),
        (
            lambda w: w.update({"embeds": torch.ones(7, 5)}),
            "expected guidance of 2 channels without embeds, or of 5 or 7 with it, got 2|",
        ),
        (
            lambda w: w.pop("up_layers.x1_out.weight"),
            "expected weights of the public code of .PWM. .GDPW.: geom",
        ),
    ],
)
def test_networks_that_ours_is_not(change, text):
    weights = generator("geom_disp", **SMALL)
    change(weights)
    with pytest.raises(ModelFileError, match=text) as caught:
        import_gdpw(weights, name="x.pth")
    assert "x.pth" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"kp_detector": {}, "generator": {}}, "got a keypoint animator of another project"),
        ({"Epor": {}, "G": {}}, "got a checkpoint of HeSer"),
        ({}, "got something else .it holds nothing."),
        ({"generator": 3}, "got something else .it holds generator."),
    ],
)
def test_files_of_another_kind(content, text):
    with pytest.raises(ModelFileError, match=text):
        import_gdpw(content, name="x.pth")
