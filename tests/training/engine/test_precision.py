"""Low precision stays within the networks: warps and flows of the real ones are in single precision."""

from __future__ import annotations

import pytest
import torch
from toy_head import toy_head

from headwarp.geom import flow as flow_module
from headwarp.tools.recipes import RecipeOptions, recipe_of
from headwarp.training.data.pairs.blank import blank_pair
from headwarp.training.engine.config import EngineConfig
from headwarp.training.engine.dry_run import dry_run
from headwarp.training.engine.precision import InPrecision

NAMES = ("pwm/residual", "pwm/official", "pwm/paper")


def bf16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def pair():
    return blank_pair(toy_head(), 96)


@pytest.mark.parametrize("guidance", ["displacement", "both"])
@pytest.mark.parametrize("name", NAMES)
def test_positions_of_warps_are_in_single_precision(name, guidance, pair, monkeypatch):
    recipe, seen = recipe_of(RecipeOptions(name, "tiny", guidance), toy_head()), []
    sample = flow_module._sample_grid

    def watched(image, grid, *rest):
        seen.append(grid.dtype)
        return sample(image, grid, *rest)

    monkeypatch.setattr(flow_module, "_sample_grid", watched)
    found = dry_run(recipe, pair, EngineConfig(steps=1, precision="bf16-mixed"))
    assert len(seen) >= 5  # `compose` samples by itself where nothing is learned
    assert set(seen) == {torch.float32}
    assert all(torch.isfinite(torch.tensor(value)) for value in found.losses.values())


@pytest.mark.parametrize("name", NAMES)
def test_flows_are_not_rounded(name, pair):
    """Most flow values of a network in bfloat16 are no bfloat16 numbers, and near those in full."""
    torch.manual_seed(0)
    recipe = recipe_of(RecipeOptions(name, "tiny"), toy_head())
    network = recipe.networks()["generator"].eval()
    for parameter in network.parameters():
        if parameter.ndim == 4 and not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.01)  # heads that start at zero
    with torch.no_grad():
        full = recipe.generate({"generator": network}, pair)
        low = recipe.generate({"generator": InPrecision(network, bf16)}, pair)
    assert low.image.dtype == low.flow.dtype == torch.float32
    rounded = low.flow == low.flow.bfloat16().float()
    assert float(rounded.float().mean()) < 0.2
    assert float((low.flow - full.flow).abs().mean()) < 0.1
    assert float((low.image - full.image).abs().mean()) < 0.02
