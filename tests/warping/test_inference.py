"""Networks made ready: equal pictures, nothing left to train, and what cannot be compiled."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.nets.packing import PackedConvolution, packing_works
from headwarp.warping import inference
from headwarp.warping.inference import CompiledDecoder, bfloat16_pays, prepare_
from headwarp.warping.progressive import ProgressiveWarping, official, paper

SMALL = {"width": 2, "min_channels": 4, "max_channels": 12, "levels": 3, "code_channels": 5}


def network(mode=paper, kind="both") -> ProgressiveWarping:
    torch.manual_seed(0)
    return ProgressiveWarping(dataclasses.replace(mode(kind), **SMALL))


def inputs(net: ProgressiveWarping, size=(32, 48)):
    config = net.config
    return torch.rand(1, config.source_channels, *size), torch.rand(1, config.guidance_channels, *size)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("mode", [paper, official])
def test_equal_pictures(mode, pack):
    net = network(mode)
    source, guidance = inputs(net)
    flow = 4 * torch.randn(1, 2, 32, 48)
    with torch.no_grad():
        expected = net.eval()(source, guidance, flow)
        ready = prepare_(net, pack=pack)
        output = ready(source, guidance, flow)
    assert ready is net
    torch.testing.assert_close(output.image, expected.image, rtol=0, atol=1e-5)
    assert not ready.training
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    packed = any(isinstance(part, PackedConvolution) for part in ready.modules())
    assert packed == (pack and packing_works())


def test_unready_networks_are_not_compiled(monkeypatch):
    with pytest.raises(HeadwarpError, match="call prepare_ first"):
        CompiledDecoder(network().eval())
    if packing_works():
        with pytest.raises(HeadwarpError, match="prepare_ it with pack=False"):
            CompiledDecoder(prepare_(network()))


@pytest.mark.parametrize("kind", ["displacement", "codes"])
def test_a_decoder_is_warmed_on_the_shapes_that_it_will_see(monkeypatch, kind):
    monkeypatch.setattr(inference.torch, "compile", lambda function, **_: function)
    net = network(kind=kind)
    seen = []
    decode = net.decode

    def watched(features, guidance, flow):
        seen.append((guidance.shape, None if flow is None else flow.shape, torch.is_grad_enabled()))
        return decode(features, guidance, flow)

    monkeypatch.setattr(net, "decode", watched)
    CompiledDecoder(prepare_(net, pack=False), bfloat16=bfloat16_pays()).warm((32, 64), batch=2)
    flow = None if kind == "codes" else (2, 2, 32, 64)
    assert seen == [((2, net.config.guidance_channels, 32, 64), flow, False)] * 2


COMPILED = """
import copy, dataclasses, torch
from headwarp.warping.inference import CompiledDecoder, prepare_
from headwarp.warping.progressive import ProgressiveWarping, paper
config = dataclasses.replace(paper(), width=2, min_channels=4, max_channels=12, levels=2)
network = prepare_(ProgressiveWarping(config), pack=False)
source, flow = torch.rand(1, 3, 32, 48), torch.randn(1, 2, 32, 48)
with torch.no_grad():
    expected = network(source, flow / 9, flow)
    output = CompiledDecoder(network)(network.encode(source), flow / 9, flow)
torch.testing.assert_close(output.image, expected.image, rtol=0, atol=1e-5)
torch.testing.assert_close(output.flows[-1], expected.flows[-1], rtol=0, atol=1e-4)
"""


TRACED = """
import dataclasses
import functools
import sys
import torch
sys.path.insert(0, "tests/helpers")
from toy_animators import SPARSE, shaken
from toy_scene import driving, source
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.pwm import PwmAnimator
from headwarp.warping.inference import InferenceConfig, prepare_animator_
from headwarp.warping.pwm import PwmConfig
from headwarp.warping.residual import ResidualConfig
pwm = PwmAnimator(PwmConfig(ResidualConfig(channels=(4, 4, 4), stem=8, detail=4)))
for parameter in pwm.parameters():
    torch.nn.init.normal_(parameter, std=0.1)
spline = dataclasses.replace(SPARSE, initial_flow="thin_plate", blended=True)
sparse = [shaken(load_animator("sparse2dense", config=config), by=0.03) for config in (SPARSE, spline)]
drive = driving(torch.tensor([[2.0, 1.0]]))
torch.compile = functools.partial(torch.compile, backend="eager", fullgraph=True)  # quick: traced alone
for animator in (pwm, *sparse):
    expected = animator.animate(animator.encode([source()]), drive)
    prepare_animator_(animator, InferenceConfig(compile=True))
    shown = animator.animate(animator.encode([source()]), drive)
    torch.testing.assert_close(shown.image, expected.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(shown.flow, expected.flow, rtol=0, atol=1e-3)
    assert animator is pwm or animator.compiled._sizes
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [COMPILED, TRACED], ids=["progressive", "traced"])
def test_compiled_pictures(program):
    """In a process of its own: what checks the shapes here is not to be compiled."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr[-2000:]
