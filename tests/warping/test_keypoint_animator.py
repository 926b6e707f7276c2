"""`fomm`: given and found keypoints, relative motion, maps, prepared and compiled networks, checkpoints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_animators import loaded, shallow
from toy_scene import SIZE, driving, source

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.keypoints import to_pixels
from headwarp.geom.nets.packing import PackedConvolution, packing_works
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import load_checkpoint, save_checkpoint
from headwarp.warping.inference import InferenceConfig, bfloat16_pays, prepare_animator_
from headwarp.warping.keypoint_network import fomm, fomm_official

MOVED = torch.tensor([[3.0, -2.0]])


def pictures(count: int = 1, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.rand(count, 3, *SIZE)


def test_keypoints_given_are_those_that_are_found():
    """Found, made pixels and given again: the same picture, from source and driver."""
    animator, photo, frames = loaded("fomm"), pictures(), pictures(2, 1)
    cache = animator.encode([Source(image=photo)])
    expected = animator.animate(cache, Driving(image=frames))
    given = []
    for kind, images in ((Source, photo), (Driving, frames)):
        found = animator.network.detect(images)
        points = to_pixels(found.points, SIZE)
        given.append(kind(image=images, keypoints=points, jacobians=found.jacobians))
    again = animator.animate(animator.encode([given[0]]), given[1])
    torch.testing.assert_close(again.image, expected.image, rtol=0, atol=1e-5)
    torch.testing.assert_close(again.flow, expected.flow, rtol=0, atol=1e-3)


def test_given_keypoints_move_the_picture():
    """All of them by as many pixels: so is the flow, without a background that stands still."""
    animator = loaded("fomm")
    animator.network.generator.dense_motion_network.mask.bias[0] = -1e4
    moved = animator.animate(animator.encode([source()]), driving(MOVED, image=None))
    torch.testing.assert_close(moved.flow, -MOVED[..., None, None].expand(1, 2, *SIZE), rtol=0, atol=1e-4)


def test_relative_motion_starts_from_the_source():
    animator, photo, frames = loaded("fomm"), pictures(), pictures(3, 1)
    cache = animator.encode([Source(image=photo)])
    started = animator.refer(cache, Driving(image=frames[:1]), adapt_scale=False)
    flows = [animator.animate(started, Driving(image=frame[None])).flow for frame in frames]
    assert torch.equal(flows[0], torch.zeros(1, 2, *SIZE))
    assert flows[1].abs().max() > 0
    assert animator.animate(cache, Driving(image=frames[:1])).flow.abs().max() > 0
    assert cache.reference is None


def test_any_frame_can_be_the_reference_and_none_hangs_on_another():
    animator, photo, frames = loaded("fomm"), pictures(), pictures(4, 1)
    cache = animator.encode([Source(image=photo)])
    cache = animator.refer(cache, Driving(image=frames[2:3]))
    together = animator.animate(cache, Driving(image=frames))
    backward = [animator.animate(cache, Driving(image=frames[i : i + 1])) for i in (3, 2, 1, 0)]
    for index, alone in zip((3, 2, 1, 0), backward, strict=True):
        torch.testing.assert_close(alone.image[0], together.image[index])
    assert torch.equal(backward[1].flow, torch.zeros(1, 2, *SIZE))


def test_one_reference_frame():
    animator = loaded("fomm")
    cache = animator.encode([source()])
    with pytest.raises(HeadwarpError, match="fomm: expected one reference frame, got 2"):
        animator.refer(cache, driving(torch.zeros(2, 2)))


def test_jacobians_go_with_given_keypoints():
    with pytest.raises(HeadwarpError, match=r"fomm: Source\.jacobians: expected a tensor, got None"):
        loaded("fomm").encode([source(jacobians=None)])


def test_maps():
    animator = loaded("fomm")
    cache = animator.encode([source()])
    maps = animator.explain(cache, driving(MOVED))
    small, count = (SIZE[0] // 4, SIZE[1] // 4), 10
    assert {name: tuple(each.shape[1:]) for name, each in maps.items()} == {
        "animated": (3, *SIZE),
        "deformed": (3, *SIZE),
        "flow": (2, *SIZE),
        "occlusion": (1, *small),
        "masks": (count + 1, *small),
        "sparse_flows": (2 * (count + 1), *small),
        "sparse_deformed": (3 * (count + 1), *small),
        "keypoints_source": (count, *small),
        "keypoints_driving": (count, *small),
        "keypoints_moved": (count, *small),
    }
    assert torch.equal(maps["animated"], animator.animate(cache, driving(MOVED)).image)
    torch.testing.assert_close(maps["masks"].sum(1), torch.ones(1, *small))
    assert maps["sparse_flows"][:, :2].abs().max() == 0  # the background's
    moves = maps["sparse_flows"][0, 2:].unflatten(0, (count, 2))
    torch.testing.assert_close(moves, (-MOVED[0] / 4)[:, None, None].expand_as(moves), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        maps["sparse_deformed"][:, :3], animator.network.generator.dense_motion_network.reduce(source().image)
    )


@pytest.mark.parametrize("official", [False, True])
def test_prepared_pictures_are_the_same(official):
    torch.manual_seed(0)
    animator = load_animator("fomm", config=shallow(fomm_official() if official else fomm()))
    for module in animator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    drive = Driving(image=pictures(2, 1))
    expected = animator.animate(animator.encode([Source(image=pictures())]), drive)
    assert prepare_animator_(animator) is animator
    made = animator.animate(animator.encode([Source(image=pictures())]), drive)
    torch.testing.assert_close(made.image, expected.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(made.flow, expected.flow, rtol=0, atol=1e-3)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in animator.modules())
    assert any(isinstance(part, PackedConvolution) for part in animator.modules()) == packing_works()
    with pytest.raises(
        HeadwarpError, match="fomm: this animator was prepared to animate and cannot be saved"
    ):
        animator.state_dict()


def test_bfloat16_needs_compile():
    with pytest.raises(HeadwarpError, match="bfloat16: expected compile with it"):
        prepare_animator_(loaded("fomm"), InferenceConfig(bfloat16=True))


def test_a_checkpoint_gives_the_same_picture(tmp_path):
    animator = loaded("fomm")
    path = save_checkpoint(tmp_path / "a.safetensors", animator, config=animator.config, name="fomm", step=3)
    again = load_animator("fomm", path)
    assert again.config == animator.config
    assert load_checkpoint(path).step == 3
    first, second = (
        each.animate(each.encode([source()]), driving(MOVED)).image for each in (animator, again)
    )
    assert torch.equal(first, second)


TRACED = f"""
import functools, sys, torch
sys.path.insert(0, "tests/helpers")
from toy_animators import loaded
from headwarp.geom.guidance import Driving, Source
from headwarp.warping.animators import load_animator
from headwarp.warping.inference import InferenceConfig, prepare_animator_
from headwarp.warping.keypoint_network import dagan, tiny
photo, frames = torch.rand(2, 1, 3, 64, 32).unbind(0)
chosen = InferenceConfig(compile=True, bfloat16={bfloat16_pays()})
torch.compile = functools.partial(torch.compile, backend="eager", fullgraph=True)  # quick: traced alone
deep = load_animator("dagan", config=tiny(dagan()))
torch.nn.init.constant_(deep.network.generator.AttnModule.gamma, 0.7)
for animator in (loaded("fomm"), deep):
    expected = animator.explain(animator.encode([Source(image=photo)]), Driving(image=frames))
    prepare_animator_(animator, chosen)
    cache = animator.encode([Source(image=photo)])
    shown = animator.explain(cache, Driving(image=frames))
    for name, each in shown.items():
        torch.testing.assert_close(each.float(), expected[name], rtol=0, atol=0.1)
    still = animator.refer(cache, Driving(image=frames), adapt_scale=False)
    assert animator.animate(still, Driving(image=frames)).flow.abs().max() == 0
"""


@pytest.mark.slow
def test_compiled_pictures():
    """In a process of its own: what checks the shapes here is not to be compiled."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", TRACED], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr[-2000:]
