"""Heat and disparity in it: order, and what single pixels may not change."""

from __future__ import annotations

import torch

from headwarp.tools.depth_pictures import disparity_colours, heat_colours


def test_heat_grows_brighter():
    brightness = heat_colours(torch.linspace(0, 1, 50)).sum(-1)
    assert (brightness.diff() > 0).all()
    assert torch.equal(heat_colours(torch.tensor([-1.0, 2.0])), heat_colours(torch.tensor([0.0, 1.0])))


def test_near_is_bright_and_single_pixels_do_not_matter():
    disparity = torch.linspace(1, 0.2, 900).view(1, 30, 30)
    brightness = disparity_colours(disparity).sum(0).flatten()
    assert (brightness.diff() <= 0).all()
    assert brightness[0] > 10 * brightness[-1]
    spoiled = disparity.clone()
    spoiled[0, 0, 0], spoiled[0, -1, -1] = 1e3, -5.0
    torch.testing.assert_close(
        disparity_colours(spoiled)[:, 5:25], disparity_colours(disparity)[:, 5:25], atol=0.02, rtol=0
    )
    assert disparity_colours(torch.ones(1, 4, 4)).isfinite().all()
