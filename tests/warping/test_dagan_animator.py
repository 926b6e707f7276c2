"""`dagan`: depth where it is needed and no more, maps of depth and attention, prepared networks."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.guidance import Driving, Source
from headwarp.geom.keypoints import to_pixels
from headwarp.geom.nets.packing import PackedConvolution, packing_works
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.dagan import DaganAnimator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.inference import prepare_animator_
from headwarp.warping.keypoint_network import (
    dagan,
    dagan_official,
    dagan_paper,
    fomm,
    tiny,
    with_attention,
    with_depth_keypoints,
)

SIZE = (64, 32)


def loaded(config=None) -> DaganAnimator:
    torch.manual_seed(0)
    animator = load_animator("dagan", config=config or tiny(dagan()))
    if hasattr(animator.network.generator, "AttnModule") and animator.config.attention_form.residual:
        animator.network.generator.AttnModule.gamma.fill_(0.7)
    return animator


def pictures(count=1, seed=0):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_depth_of_the_source_once_and_of_a_driver_where_keypoints_are_found(monkeypatch):
    animator, seen = loaded(), []
    animator.network.depth.register_forward_hook(lambda *given: seen.append(len(given[1][0])))
    cache = animator.encode([Source(image=pictures())])
    assert seen == [1]
    found = animator.keypoints(cache, Driving(image=pictures(3, 1)))
    assert seen == [1, 3]
    given = Driving(keypoints=to_pixels(found.points, SIZE), jacobians=found.jacobians)
    moved = animator.animate(cache, given)
    assert seen == [1, 3]
    torch.testing.assert_close(moved.image, animator.animate(cache, Driving(image=pictures(3, 1))).image)


def test_maps_of_depth_and_attention():
    animator = loaded()
    cache, drive = animator.encode([Source(image=pictures())]), Driving(image=pictures(2, 1))
    maps = animator.explain(cache, drive)
    assert torch.equal(maps["disparity_source"], animator.network.disparity(pictures()))
    assert torch.equal(maps["disparity_driving"], animator.network.disparity(pictures(2, 1)))
    assert maps["attention"].shape == (2, 15, SIZE[0] // 4, SIZE[1] // 4)
    torch.testing.assert_close(maps["attention"].sum((2, 3)), torch.ones(2, 15))
    assert torch.equal(maps["animated"], animator.animate(cache, drive).image)
    found = animator.keypoints(cache, drive)
    expected = animator.network.attention_map(cache.features, found, found.points)
    torch.testing.assert_close(maps["attention"], expected)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (with_attention(fomm(), "self"), {"attention"}),
        (with_attention(fomm()), {"attention", "disparity_source"}),
        (with_depth_keypoints(fomm()), {"disparity_source", "disparity_driving"}),
        (fomm(), set()),
    ],
)
def test_maps_are_those_of_what_the_network_has(config, names):
    animator = loaded(tiny(config))
    maps = animator.explain(animator.encode([Source(image=pictures())]), Driving(image=pictures(1, 1)))
    assert {name for name in maps if name.startswith(("attention", "disparity"))} == names


@pytest.mark.parametrize("mode", [dagan, dagan_official, dagan_paper])
def test_prepared_pictures_are_the_same(mode):
    animator, drive = loaded(tiny(mode())), Driving(image=pictures(2, 1))
    for module in animator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.normal_(module.bias)
    expected = animator.explain(animator.encode([Source(image=pictures())]), drive)
    prepare_animator_(animator)
    made = animator.explain(animator.encode([Source(image=pictures())]), drive)
    for name in ("animated", "flow", "disparity_source", "attention"):
        torch.testing.assert_close(made[name], expected[name], rtol=0, atol=1e-3)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in animator.modules())
    assert any(isinstance(part, PackedConvolution) for part in animator.modules()) == packing_works()


def test_a_checkpoint_holds_depth_too(tmp_path):
    animator, drive = loaded(), Driving(image=pictures(1, 1))
    path = save_checkpoint(tmp_path / "a.safetensors", animator, config=animator.config, name="dagan", step=3)
    again = load_animator("dagan", path)
    assert again.config == animator.config
    first, second = (
        each.animate(each.encode([Source(image=pictures())]), drive).image for each in (animator, again)
    )
    assert torch.equal(first, second)
