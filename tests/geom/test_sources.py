"""Geometry sources: every file keeps the protocol; the mesh source is the displacement, prepared once; the
codes source adds codes in both poses.
"""

import dataclasses
import importlib
import pkgutil

import pytest
import torch
from toy_mesh import bulge, sheet, sheet_faces, texture

from headwarp.geom import sources
from headwarp.geom.codes import TexelCodes, VertexCodes, render_codes
from headwarp.geom.displacement import DisplacementConfig, border, geometric_displacement
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.guidance import PRODUCERS, Driving, GeometrySource, Guidance, Source
from headwarp.geom.sources.codes import CodesSource, CodesSourceConfig, fixed_codes
from headwarp.geom.sources.mesh import MeshSource, MeshSourceConfig

SIZE = (40, 50)
FACES = sheet_faces(9, 9)
VERTS = bulge(sheet((12, 8, 36, 32), rows=9, columns=9), 5.0)
NAMES = sorted(module.name for module in pkgutil.iter_modules(sources.__path__))


def photo(**fields):
    return Source(**{"image": texture(SIZE), "posed_vertices": VERTS, "faces": FACES, **fields})


def moved(x, y=0.0, **fields):
    return Driving(posed_vertices=VERTS + torch.tensor([x, y, 0.0]), **fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_holds_a_source_and_its_frozen_config(name):
    module = importlib.import_module(f"headwarp.geom.sources.{name}")
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    made = [c for c in own if hasattr(c, "prepare")]
    configs = [c for c in own if c.__name__.endswith("Config")]
    assert len(made) == 1
    assert len(configs) == 1
    assert made[0].__name__ + "Config" == configs[0].__name__
    assert dataclasses.is_dataclass(configs[0])
    assert configs[0].__dataclass_params__.frozen
    source = made[0]()
    assert isinstance(source, GeometrySource)
    assert set(source.needs_source) <= {f.name for f in dataclasses.fields(Source)} & set(PRODUCERS)
    assert set(source.needs_driving) <= {f.name for f in dataclasses.fields(Driving)} & set(PRODUCERS)


@pytest.mark.parametrize("need", MeshSource.needs_source)
def test_a_missing_need_of_the_source_names_its_producer(need):
    with pytest.raises(HeadwarpError) as caught:
        MeshSource().prepare(photo(**{need: None}))
    assert str(caught.value).startswith(f"mesh source: Source.{need}: expected a tensor, got None")
    assert PRODUCERS[need] in str(caught.value)


def test_a_missing_need_of_the_driver_names_its_producer():
    source = MeshSource()
    with pytest.raises(HeadwarpError, match=r"mesh source: Driving\.posed_vertices: .* flame\.posing"):
        source.guide(source.prepare(photo()), Driving(landmarks=torch.zeros(1, 68, 2)))


@pytest.mark.parametrize("masked", [True, False])
def test_guides_as_the_displacement_does(masked):
    mask = (texture(SIZE)[:, :1] > 0.4).float() if masked else None
    source = MeshSource()
    state = source.prepare(photo(mask=mask))
    for shift in (0.0, 4.0, -3.5):
        guidance = source.guide(state, moved(shift))
        expected = geometric_displacement(VERTS, moved(shift).posed_vertices, FACES, size=SIZE, mask=mask)
        assert isinstance(guidance, Guidance)
        for field in ("flow", "known", "visible"):
            assert torch.equal(getattr(guidance, field), getattr(expected, field))
        assert guidance.codes is None
        assert guidance.flow.shape == (1, 2, *SIZE)
        assert ((guidance.known == 0) | (guidance.known == 1)).all()


def test_a_batch_of_drivers_is_its_frames():
    source = MeshSource()
    state = source.prepare(photo())
    shifts = torch.tensor([[0.0, 0, 0], [5, -2, 0], [400, 0, 0]])
    together = source.guide(state, Driving(posed_vertices=VERTS + shifts[:, None]))
    for index in range(3):
        alone = source.guide(state, Driving(posed_vertices=VERTS + shifts[index]))
        assert torch.equal(together.known[index], alone.known[0])
        torch.testing.assert_close(together.flow[index], alone.flow[0], rtol=0, atol=1e-6)


def test_the_mask_and_the_config_gate_what_is_known():
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :24] = 1
    everything, part = (
        MeshSource().guide(MeshSource().prepare(photo(mask=m)), moved(6.0)) for m in (None, mask)
    )
    assert 0 < part.known.sum() < everything.known.sum()
    assert not part.known[..., 33:].any()
    strict = MeshSource(MeshSourceConfig(displacement=DisplacementConfig(normal_threshold=0.999)))
    assert strict.guide(strict.prepare(photo()), moved(6.0)).known.sum() < everything.known.sum()


def test_the_frame_border_rests_or_follows_the_camera():
    source = MeshSource()
    state = source.prepare(photo())
    edge = border(SIZE, "tblr", VERTS).expand(1, 2, -1, -1)
    assert not source.guide(state, moved(3.0)).flow[edge].any()
    pan = torch.tensor([[[1.0, 0, -4], [0, 1, 2]]])
    panned = source.guide(state, moved(3.0, camera_motion=pan))
    assert panned.flow[0, 0][edge[0, 0]].eq(-4).all()
    assert panned.flow[0, 1][edge[0, 1]].eq(2).all()
    known = panned.known[0, 0] > 0.5
    torch.testing.assert_close(
        panned.flow[0, 0][known], torch.full((int(known.sum()),), -3.0), rtol=0, atol=1e-4
    )


def test_a_mesh_that_left_the_frame_gives_rest_and_nothing_known():
    guidance = MeshSource().guide(MeshSource().prepare(photo()), moved(1000.0))
    assert not guidance.known.any()
    assert not guidance.flow.any()


def test_another_mesh_is_refused():
    source = MeshSource()
    with pytest.raises(ShapeError, match="pose both with one head model"):
        source.guide(source.prepare(photo()), Driving(posed_vertices=VERTS[:, 1:]))


def test_preparing_and_guiding_leave_the_input_alone_and_repeat_bit_for_bit():
    source, driving = photo(mask=torch.ones(1, 1, *SIZE)), moved(2.5, 1.0)
    before = [source.image.clone(), source.posed_vertices.clone(), driving.posed_vertices.clone()]
    state = MeshSource().prepare(source)
    first, second = (MeshSource().guide(state, driving).flow for _ in range(2))
    assert torch.equal(first, second)
    after = [source.image, source.posed_vertices, driving.posed_vertices]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("need", CodesSource.needs_source)
def test_a_missing_need_of_the_codes_names_its_producer(need):
    with pytest.raises(HeadwarpError) as caught:
        CodesSource().prepare(photo(**{need: None}))
    assert str(caught.value).startswith(f"codes source: Source.{need}: expected a tensor, got None")
    source = CodesSource()
    for call in (source.guide, source.codes):
        with pytest.raises(HeadwarpError, match=r"codes source: Driving\.posed_vertices: .* flame\.posing"):
            call(source.prepare(photo()), Driving())


def test_codes_guide_with_codes_in_both_poses_beside_the_flow_of_the_mesh():
    learned = VertexCodes(81, 4)
    source, plain = CodesSource(codes=learned), MeshSource()
    camera = torch.tensor([[[1.0, 0, -4], [0, 1, 2]]])
    driving = moved(4.0, camera_motion=camera)
    state = source.prepare(photo())
    guidance, expected = source.guide(state, driving), plain.guide(plain.prepare(photo()), driving)
    for field in ("flow", "known", "visible"):
        assert torch.equal(getattr(guidance, field), getattr(expected, field))
    for made, verts in ((guidance.source_codes, VERTS), (guidance.codes, driving.posed_vertices)):
        assert torch.equal(made, render_codes(verts, FACES, learned.codes, size=SIZE))
    assert torch.equal(source.codes(state, driving), guidance.codes)


def test_codes_of_a_batch_of_drivers_learn_from_both_poses():
    learned = VertexCodes(81, 4)
    source = CodesSource(codes=learned)
    shifts = torch.tensor([[0.0, 0, 0], [5, -2, 0], [400, 0, 0]])
    guidance = source.guide(source.prepare(photo()), Driving(posed_vertices=VERTS + shifts[:, None]))
    assert guidance.codes.shape == guidance.source_codes.shape == (3, 4, *SIZE)
    assert torch.equal(guidance.codes[0], guidance.source_codes[2])
    assert not guidance.codes[2].any()
    (guidance.codes.sum() + guidance.source_codes.sum()).backward()
    weight = learned.codes.grad.sum(0)
    pixels = (guidance.codes[:, :1] > 0).sum() + (guidance.source_codes[:, :1] > 0).sum()
    torch.testing.assert_close(weight, pixels.expand(4).float(), rtol=1e-5, atol=0)


def test_codes_without_learned_ones_are_fixed_by_their_seed():
    made = [
        source.guide(source.prepare(photo()), moved(2.0)).codes
        for source in (CodesSource(), CodesSource(), CodesSource(CodesSourceConfig(seed=1, channels=3)))
    ]
    assert torch.equal(made[0], made[1])
    assert made[0].shape[1] == 16
    assert made[2].shape[1] == 3
    assert not torch.equal(made[0][:, :3], made[2])
    assert torch.equal(
        made[0], render_codes(VERTS + torch.tensor([2.0, 0, 0]), FACES, fixed_codes(VERTS).codes, size=SIZE)
    )
    assert not made[0].requires_grad


def test_texel_codes_guide_too_and_codes_of_another_head_are_refused():
    uv = VERTS[0, :, :2] / torch.tensor([50.0, 40.0])
    texels = TexelCodes(uv, FACES, faces=FACES, channels=3, resolution=16)
    source = CodesSource(codes=texels)
    state = source.prepare(photo())
    torch.testing.assert_close(source.codes(state, moved(0.0)), state.source_codes)
    assert state.source_codes.any()
    with pytest.raises(ShapeError, match="codes belong to one head model"):
        CodesSource(codes=VertexCodes(82)).prepare(photo())
