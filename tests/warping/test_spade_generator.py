"""The SPADE decoder: names, shapes and values of the public code, inference, gradients, what is refused."""

from __future__ import annotations

import copy

import dagan_reference
import pytest
import torch
from dagan_file import spade_shapes
from fomm_file import drawn

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.nets.folding import fold_norms_
from headwarp.warping.importers.key_table import SPECTRAL_NORM, match_keys, renamed
from headwarp.warping.spade_generator import SpadeDecoder, SpadeDecoderConfig

SMALL = SpadeDecoderConfig(channels=16, hidden=6, middle=32, doublings=(16, 4))


def small() -> SpadeDecoder:
    torch.manual_seed(0)
    return SpadeDecoder(SMALL).eval()


def seen(batch=2, size=(8, 12)):
    torch.manual_seed(1)
    return torch.randn(batch, 16, *size), torch.rand(batch, 3, 4 * size[0], 4 * size[1])


def decoder_only(shapes):
    return {key: shape for key, shape in shapes.items() if key.startswith("decoder.")}


def test_names_and_shapes_of_the_public_checkpoint():
    with torch.device("meta"):
        state = torch.nn.ModuleDict({"decoder": SpadeDecoder()}).state_dict()
    public = decoder_only(spade_shapes())
    assert len(public) == 124
    expected = {renamed(key, SPECTRAL_NORM): shape for key, shape in public.items()}
    assert {key: tuple(value.shape) for key, value in state.items()} == expected


def test_values_of_the_public_code():
    weights = drawn(decoder_only(spade_shapes(width=4, hidden=6)))
    report, state = match_keys(
        {key.removeprefix("decoder."): value for key, value in weights.items()},
        small().state_dict(),
        renames=SPECTRAL_NORM,
    )
    assert report.complete, report.table()
    network = small()
    network.load_state_dict(state)
    features, picture = seen()
    with torch.no_grad():
        made = network(features, picture)
    assert made.std() > 0.01
    torch.testing.assert_close(
        made, dagan_reference.spade_decoder(weights, features, picture), rtol=0, atol=2e-5
    )


def test_folded_for_inference_it_makes_the_same_picture():
    network, given = small(), seen()
    with torch.no_grad():
        expected = network(*given)
        ready = fold_norms_(copy.deepcopy(network))
        torch.testing.assert_close(ready(*given), expected, rtol=0, atol=1e-6)
    assert not any("parametrizations" in name for name, _ in ready.named_parameters())


def test_every_parameter_and_both_inputs_matter():
    network = small().train()
    features, picture = (each.requires_grad_() for each in seen(1))
    (network(features, picture) - 0.3).square().mean().backward()
    # a bias that is constant over a picture does not survive the instance norm
    assert not [name for name, p in network.named_parameters() if p.grad is None]
    assert not [
        name for name, p in network.named_parameters() if "weight" in name and not p.grad.abs().sum() > 0
    ]
    assert features.grad.abs().sum() > 0
    assert picture.grad.abs().sum() > 0


def test_the_norm_takes_out_scale_and_shift_of_every_feature():
    norm = small().G_middle_0.norm_0
    x, guidance = torch.randn(1, 32, 8, 8), torch.rand(1, 7, 8, 8)
    torch.testing.assert_close(norm(3 * x + 5, guidance), norm(x, guidance), rtol=0, atol=1e-3)


def test_odd_input_is_refused():
    features, picture = seen()
    with pytest.raises(ShapeError, match=r"a picture 4 times as large, got \(2, 16, 8, 12\) and \(2, 3, 32"):
        small()(features, picture[..., :-4])
    with pytest.raises(ShapeError, match=r"expected features \(B, 16, h, w\)"):
        small()(features[:, :8], picture)
    with pytest.raises(HeadwarpError, match="expected positive channels"):
        SpadeDecoderConfig(hidden=0)
