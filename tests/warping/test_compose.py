"""The picture of posed layers: the compiled pass against its plain twin, and who takes which."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headwarp.warping import posed_layers
from headwarp.warping.posed_layers import PosedLayers, compose, compose_ref

NAMES = ("image", "matte", "colours")


def layers(size=(23, 38), batch=3, *, own=1, reach=3.0, line=15.0) -> PosedLayers:
    """Drawn by chance, flow from beyond all edges; ``own``: the batch of what belongs to the source."""
    random = torch.Generator().manual_seed(0)

    def draw(channels, count, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(count, channels, *size, generator=random)

    return PosedLayers(
        matte=draw(1, own),
        colours=draw(3, own),
        residual=draw(3, own, -0.2, 0.2),
        background=draw(3, own),
        flow=draw(2, batch, -50, 50),
        displacement=draw(2, batch),
        covered=draw(1, batch).round(),
        known=draw(1, batch).round(),
        person=draw(1, batch),
        hollow=draw(1, batch),
        dark=torch.rand(own, 3, 1, 1, generator=random),
        reach=torch.full((own, 1, 1, 1), reach),
        torso_line=torch.full((own, 1, 1, 1), line),
    )


def assert_twins(given: PosedLayers, **changes) -> None:
    with torch.no_grad():
        fast, plain = compose(given, **changes), compose_ref(given, **changes)
    for name in NAMES:
        torch.testing.assert_close(getattr(fast, name), getattr(plain, name), rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (23, 38), (32, 32)])
@pytest.mark.parametrize("own", [1, 3])
def test_equals_its_twin(size, own):
    assert_twins(layers(size, own=own))


@pytest.mark.parametrize("threads", [1, 2])
def test_changes_of_flow_and_matte_on_any_number_of_threads(threads):
    given, before = layers(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        change = torch.linspace(-1, 1, 3 * 23 * 38).reshape(3, 1, 23, 38)
        assert_twins(given, flow=given.flow / 9, matte_change=change)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("line", [0.0, float("inf")])
@pytest.mark.parametrize("step", [0.0, 3.0])
def test_whole_pixels_are_exact(step, line):
    """Nothing of a colour is lost where it is only moved."""
    given = layers((16, 20), batch=1, line=line)
    flow = torch.full_like(given.flow, step)
    with torch.no_grad():
        made = compose(given, flow=flow)
    wide = given.colours[:, :, int(step) :, int(step) :]
    assert torch.equal(made.colours[:, :, : wide.shape[2], : wide.shape[3]], wide)


def test_flow_that_is_no_number_shows_some_pixel():
    given = layers(batch=1)
    flow = given.flow.clone()
    flow[..., 3, 4], flow[..., 5, 6] = torch.nan, torch.inf
    with torch.no_grad():
        made = compose(given, flow=flow)
    assert float(made.colours.min()) >= 0
    assert float(made.colours.max()) <= 1
    assert torch.isfinite(made.image[..., 0, 0]).all()


def test_who_wants_a_gradient_or_another_type_gets_the_twin(monkeypatch):
    taken = []
    plain = compose_ref
    monkeypatch.setattr(posed_layers, "compose_ref", lambda *a, **k: taken.append(1) or plain(*a, **k))
    given = layers()
    compose(given)
    assert not taken
    flow = given.flow.clone().requires_grad_()
    compose(given, flow=flow).image.sum().backward()
    assert flow.grad.abs().sum() > 0
    assert len(taken) == 1
    assert compose(given.map(torch.Tensor.double)).image.dtype == torch.float64
    assert len(taken) == 2
    with torch.no_grad():
        compose(given, flow=flow)
    assert len(taken) == 2


def test_layers_of_another_layout_are_understood():
    given = layers(own=3)
    mirrored = dataclasses.replace(given, colours=given.colours.flip(3), flow=given.flow.mT.contiguous().mT)
    assert_twins(mirrored)
