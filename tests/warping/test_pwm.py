"""The animator `pwm`: every mode from its checkpoint alone, codes learned, cached sources, clear refusals."""

import dataclasses

import pytest
import torch
from toy_scene import FACES, VERTS, driving, source

from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError
from headwarp.geom.nets.blocks import SameBlock, SpadeResBlock
from headwarp.geom.nets.packing import PackedConvolution, packing_works
from headwarp.geom.rasterizer import rasterize
from headwarp.warping import inference
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.geometry import GeometryAnimator, GeometryConfig
from headwarp.warping.animators.pwm import PwmAnimator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.inference import InferenceConfig, prepare_animator_
from headwarp.warping.posed_layers import soft_edge
from headwarp.warping.progressive import ProgressiveConfig, official, paper
from headwarp.warping.pwm import CodesConfig, PwmConfig, PwmNetwork, with_texture
from headwarp.warping.residual import ResidualConfig

SIZE = (64, 64)
SMALL = ResidualConfig(channels=(8, 8, 12, 16), detail=4)
CODES = CodesConfig(count=VERTS.shape[1])
TEXELS = CodesConfig("texel", len(FACES), resolution=8)


def narrow(config):
    return dataclasses.replace(config, width=2, min_channels=4, max_channels=16)


CONFIGS = {
    "residual": PwmConfig(SMALL),
    "residual-both": PwmConfig(dataclasses.replace(SMALL, guidance="both"), CODES),
    "residual-texels": PwmConfig(dataclasses.replace(SMALL, guidance="codes"), TEXELS),
    "paper": PwmConfig(narrow(paper())),
    "official-codes": PwmConfig(narrow(official("codes")), CODES),
    "official-both": PwmConfig(narrow(official("both")), CODES),
}


def cut(observation):
    """A toy observation at a size that every mode takes."""

    def smaller(value):
        images = isinstance(value, torch.Tensor) and value.ndim >= 3 and value.shape[-2:] == (64, 72)
        return value[..., :64].contiguous() if images else value

    fields = {f.name: smaller(getattr(observation, f.name)) for f in dataclasses.fields(observation)}
    return dataclasses.replace(observation, **{**fields, "guidance": None})


def animator(config):
    torch.manual_seed(5)
    made = PwmAnimator(config)
    if config.codes is not None and config.codes.kind == "texel":
        with_texture(made.network, VERTS[0, :, :2] / 72, FACES, faces=FACES)
    for parameter in made.parameters():
        if not bool(parameter.any()):  # heads that start at zero
            torch.nn.init.normal_(parameter, std=0.02)
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_a_checkpoint_rebuilds_the_animator(name, tmp_path):
    made = animator(CONFIGS[name])
    path = save_checkpoint(tmp_path / "a.safetensors", made, config=CONFIGS[name], name="pwm", step=7)
    again = load_animator("pwm", path)
    assert again.config == CONFIGS[name]
    shifts = torch.tensor([[0.0, 0], [3, -1]])
    with torch.no_grad():
        pictures = [a.animate(a.encode([cut(source())]), cut(driving(shifts))).image for a in (made, again)]
    assert torch.equal(*pictures)
    assert pictures[0].shape == (2, 3, *SIZE)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_prepared_animator_makes_the_same_pictures_and_is_not_saved(name, tmp_path):
    made, src = animator(CONFIGS[name]), cut(source())
    drive = cut(driving(torch.tensor([[0.0, 0], [3, -1]])))
    expected = made.animate(made.encode([src]), drive)
    assert prepare_animator_(made) is made
    shown = made.animate(made.encode([src]), drive)
    torch.testing.assert_close(shown.image, expected.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(shown.flow, expected.flow, rtol=0, atol=1e-3)
    if isinstance(CONFIGS[name].network, ProgressiveConfig):  # weights lie in memory once
        kinds = {type(part) for part in made.network.network.modules()}
        assert not kinds & {SameBlock, SpadeResBlock, torch.nn.utils.parametrize.ParametrizationList}
        assert (PackedConvolution in kinds) == packing_works()
    with pytest.raises(HeadwarpError, match="prepared to animate and cannot be saved or trained"):
        save_checkpoint(tmp_path / "a.safetensors", made, config=made.config, name="pwm")
    with pytest.raises(HeadwarpError, match="load its checkpoint again"):
        made.network.state_dict()


@pytest.mark.parametrize("name", ["residual-both", "paper", "official-both"])
def test_a_compiled_animator_runs_the_compiled_decoder(name, monkeypatch, caplog):
    made, src, drive = animator(CONFIGS[name]), cut(source()), cut(driving(torch.tensor([[3.0, -1]])))
    expected = made.animate(made.encode([src]), drive).image
    called = []

    def compiled(function, *, dynamic):
        assert not dynamic

        def run(*arguments):
            called.append((torch.is_grad_enabled(), torch._inductor.config.freezing))
            return function(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    prepare_animator_(made, InferenceConfig(compile=True))
    cache = made.encode([src])
    for _ in range(2):
        shown = made.animate(cache, drive).image
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-4)
    assert called == [(False, True)] * 2
    assert caplog.text.count("compiling for 1 frame(s) of 64 x 64") == 1


def test_bfloat16_is_for_compiled_networks_on_devices_that_have_it(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, *, dynamic: function)
    with pytest.raises(HeadwarpError, match="bfloat16: expected compile with it"):
        prepare_animator_(animator(CONFIGS["paper"]), InferenceConfig(bfloat16=True))
    monkeypatch.setattr(inference, "bfloat16_pays", lambda: False)
    both = InferenceConfig(compile=True, bfloat16=True)
    with pytest.raises(HeadwarpError, match="this cpu has no instructions for it"):
        prepare_animator_(animator(CONFIGS["paper"]), both)
    monkeypatch.setattr(inference, "bfloat16_pays", lambda: True)
    for name in ("paper", "residual"):
        made = prepare_animator_(animator(CONFIGS[name]), both)
        image = made.animate(made.encode([cut(source())]), cut(driving())).image
        assert image.dtype == torch.float32
        assert bool(image.isfinite().all())


def test_an_animator_without_a_network_is_prepared_as_it_is():
    plain = load_animator("geometry")
    assert prepare_animator_(plain) is plain
    with pytest.raises(HeadwarpError, match="such as pwm, got GeometryAnimator"):
        prepare_animator_(plain, InferenceConfig(compile=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_training_and_animating_make_the_same_picture(name):
    made = animator(CONFIGS[name])
    src, drive = cut(source()), cut(driving(torch.tensor([[2.0, 1.0]])))
    animated = made.animate(made.encode([src]), drive)
    geometry = GeometryAnimator(GeometryConfig())
    layers = geometry.layers(geometry.encode([src]), drive)
    trained = made.network(src.image, layers, src.posed_vertices, drive.posed_vertices, src.faces)
    torch.testing.assert_close(trained.image, animated.image, rtol=0, atol=1e-5)
    assert trained.flow.shape == (1, 2, *SIZE)
    assert trained.flows[-1].shape[2] in (SIZE[0], SIZE[0] // 4)


@pytest.mark.parametrize("name", ["residual-both", "residual-texels", "official-both"])
def test_codes_and_flow_share_one_rasterisation_of_the_driving_mesh(name, monkeypatch):
    made, drive = animator(CONFIGS[name]), cut(driving(torch.tensor([[2.0, 1.0]])))
    cache = made.encode([cut(source())])
    layers = made.geometry.layers(cache.geometry, drive)
    expected = made.network.decode(cache.features, layers, drive.posed_vertices, FACES).image
    drawn = []

    def counted(*arguments, **options):
        drawn.append(arguments)
        return rasterize(*arguments, **options)

    for module in ("codes", "displacement"):
        monkeypatch.setattr(f"headwarp.geom.{module}.rasterize", counted)
    assert torch.equal(made.animate(cache, drive).image, expected)
    assert len(drawn) == 1


@pytest.mark.parametrize("name", ["residual-both", "residual-texels", "official-codes"])
def test_codes_learn(name):
    network = PwmNetwork(CONFIGS[name]).train()
    if name == "residual-texels":
        uv = VERTS[0, :, :2] / 72
        with_texture(network, uv, FACES, faces=FACES)
    for parameter in network.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    src, drive = cut(source()), cut(driving(torch.tensor([[2.0, 1.0], [0, 0]])))
    geometry = GeometryAnimator(GeometryConfig())
    layers = geometry.layers(geometry.encode([src]), drive).map(lambda t: t.expand(2, *t.shape[1:]))
    made = network(
        src.image.expand(2, -1, -1, -1),
        layers,
        src.posed_vertices.expand(2, -1, -1),
        drive.posed_vertices,
        src.faces,
    )
    made.image.square().mean().backward()
    (codes,) = network.codes.parameters()
    assert bool(codes.grad.abs().sum() > 0)


def test_explain_names_its_maps():
    made = animator(CONFIGS["residual"])
    maps = made.explain(made.encode([source()]), driving())
    assert set(maps) == {"animated", "geometry", "warped", "flow", "covered", "known", "occlusion"}


@pytest.mark.parametrize("alpha", ["none", "ignored", "blended"])
def test_occlusion_is_told_only_where_the_source_is_blended_in(alpha):
    made = animator(PwmConfig(dataclasses.replace(narrow(official()), alpha=alpha)))
    cache = made.encode([cut(source())])
    assert made.animate(cache, cut(driving())).occlusion is None  # all of the window is the network's
    if alpha != "blended":
        assert "occlusion" not in made.explain(cache, cut(driving()))
        return
    made.network.network.up_layers["x1_out"].bias[3] = -100.0  # nothing is painted
    maps = made.explain(cache, cut(driving()))
    torch.testing.assert_close(maps["occlusion"], torch.ones(1, 1, *SIZE))
    torch.testing.assert_close(maps["animated"], maps["warped"])


def test_progressive_modes_say_the_remedy_for_other_sizes():
    made = animator(CONFIGS["paper"])
    with pytest.raises(ShapeError, match="multiples of 32"):
        made.encode([source()])


def test_texel_codes_that_lie_on_no_head_are_refused():
    with pytest.raises(ShapeError, match="expected triangles of the head that the codes lie on"):
        PwmAnimator(CONFIGS["residual-texels"]).encode([cut(source())])


def test_codes_belong_to_guidance_by_codes():
    with pytest.raises(HeadwarpError, match="expected a CodesConfig for guidance 'both', got None"):
        PwmConfig(dataclasses.replace(SMALL, guidance="both"))
    with pytest.raises(HeadwarpError, match="expected none with guidance 'displacement'"):
        PwmConfig(SMALL, CODES)


def test_codes_of_another_head_are_refused():
    made = animator(PwmConfig(dataclasses.replace(SMALL, guidance="both"), CodesConfig(count=5023)))
    with pytest.raises(ShapeError, match="codes belong to one head model"):
        made.encode([source()])


def test_a_checkpoint_with_a_weight_too_few_is_refused(tmp_path):
    made = animator(CONFIGS["residual"])
    weights = dict(list(made.state_dict().items())[1:])
    path = save_checkpoint(tmp_path / "a.safetensors", weights, config=made.config, name="pwm")
    with pytest.raises(ModelFileError, match="1 missing"):
        load_animator("pwm", path)


def test_a_texture_layout_is_for_texels():
    with pytest.raises(HeadwarpError, match="expected a network with texel codes"):
        with_texture(PwmNetwork(CONFIGS["residual"]), torch.zeros(1, 2), FACES, faces=FACES)


def test_a_soft_edge_is_the_mean_over_the_neighbours_inside_the_frame():
    mask = (torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    expected = torch.nn.functional.avg_pool2d(mask, 3, stride=1, padding=1, count_include_pad=False)
    assert torch.equal(soft_edge(mask), expected)
