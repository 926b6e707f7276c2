"""A mirrored batch of pairs is what the mirrored pictures give; mirrored twice it is what it was."""

import dataclasses

import pytest
import torch
from toy_mesh import texture
from toy_scene import FACES, GRID, SIZE, driving, person, source

from headwarp.flame.mirror import mirror_vertices
from headwarp.geom.errors import ShapeError
from headwarp.training.data.pairs.batch import PairBatch
from headwarp.training.data.pairs.mirror import mirror_layers, mirror_pairs
from headwarp.warping.animators import load_animator
from headwarp.warping.posed_layers import PosedLayers, compose

TWINS = torch.arange(GRID * GRID).view(GRID, GRID).flip(1).flatten()
SHIFTS = torch.tensor([[4.0, -1.0], [-6.5, 2.0], [0.0, 0.0]])
OFF = torch.tensor([0.27, 0.19, 0.0])
MESHES = ("source_verts", "driving_verts")


def seen(**fields):
    """The toy scene off the pixel centres, where outlines have no ties, and with a mouth."""
    hollow = torch.zeros(GRID, GRID, dtype=torch.bool)
    hollow[4:6, 2:6] = True
    return source(posed_vertices=source().posed_vertices + OFF, cavity=hollow.flatten(), **fields)


def driven():
    drive = driving(SHIFTS)
    return dataclasses.replace(drive, posed_vertices=drive.posed_vertices + OFF)


@pytest.fixture(scope="module")
def batch():
    """Three pairs of the toy scene, the person moved each time."""
    animator, src, drive = load_animator("geometry"), seen(), driven()
    layers = animator.layers(animator.encode([src]), drive)
    count = len(SHIFTS)
    return PairBatch(
        source=src.image.expand(count, -1, -1, -1).clone(),
        driving=torch.cat([texture(SIZE, seed=seed) for seed in range(count)]),
        driving_mask=person().expand(count, -1, -1, -1).clone(),
        layers=layers.map(lambda value: value.expand(count, *value.shape[1:]).clone()),
        source_verts=src.posed_vertices.expand(count, -1, -1).clone(),
        driving_verts=drive.posed_vertices,
        faces=FACES,
        names=("a/b/0>1", "a/b/0>2", "a/c/3>3"),
    )


def tensors(batch):
    """Every tensor by name, the layers' too."""
    own = {
        f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name not in ("layers", "names")
    }
    inner = {f"layers.{f.name}": getattr(batch.layers, f.name) for f in dataclasses.fields(batch.layers)}
    return own | inner


def test_twice_is_the_identity_bit_for_bit(batch):
    on_grid = {name: getattr(batch, name).mul(2**16).round().div(2**16) for name in MESHES}
    batch = dataclasses.replace(batch, **on_grid)  # so that width - x loses no digit
    once = mirror_pairs(batch, TWINS)
    twice = mirror_pairs(once, TWINS)
    plain, other = tensors(batch), tensors(twice)
    for name, value in plain.items():
        assert torch.equal(other[name], value), name
    assert twice.names == batch.names
    changed = {name for name, value in tensors(once).items() if not torch.equal(value, plain[name])}
    constant = {"faces", "layers.dark", "layers.reach", "layers.torso_line"}
    assert changed == set(plain) - constant


def test_mirrored_flow_points_to_the_mirrored_place(batch):
    width, y, x = SIZE[1], 20, 33
    for name in ("flow", "displacement"):
        flow, mirrored = getattr(batch.layers, name)[0], getattr(mirror_layers(batch.layers), name)[0]
        there, other = x + 0.5 + flow[0, y, x], width - 1 - x
        assert flow[0, y, x].abs() > 1
        torch.testing.assert_close(other + 0.5 + mirrored[0, y, other], width - there)
        assert mirrored[1, y, other] == flow[1, y, x]


def test_the_mirrored_layers_compose_the_mirrored_picture(batch):
    change = 0.3 * texture(SIZE, seed=7)[:, :1] - 0.1
    for options, mirrored in (
        ({}, {}),
        ({"matte_change": change}, {"matte_change": change.flip(-1)}),
        (
            {"flow": 0.5 * batch.layers.flow},
            {"flow": 0.5 * mirror_layers(batch.layers).flow},
        ),
    ):
        plain = compose(batch.layers, **options)
        other = compose(mirror_layers(batch.layers), **mirrored)
        for name in ("image", "matte", "colours"):
            torch.testing.assert_close(getattr(other, name), getattr(plain, name).flip(-1), atol=2e-5, rtol=0)


def test_the_mirrored_batch_is_that_of_the_mirrored_pictures(batch):
    """The animator, shown the mirrored source and driver, makes the mirrored layers."""
    made = mirror_pairs(batch, TWINS)
    width = SIZE[1]
    faces = TWINS[FACES][:, [0, 2, 1]]  # the toy's quads cut as in the mirror
    plain = seen()
    src = dataclasses.replace(
        plain,
        image=plain.image.flip(-1),
        mask=plain.mask.flip(-1),
        posed_vertices=mirror_vertices(plain.posed_vertices, width, TWINS),
        cavity=plain.cavity[TWINS],
        faces=faces,
    )
    drive = driven()
    drive = dataclasses.replace(drive, posed_vertices=mirror_vertices(drive.posed_vertices, width, TWINS))
    animator = load_animator("geometry")
    layers = animator.layers(animator.encode([src]), drive)
    image = compose(layers).image
    error = (image - compose(made.layers).image).abs().amax(1)
    assert float((error > 0.02).float().mean()) < 0.01
    torch.testing.assert_close(made.source[:1], src.image, atol=0, rtol=0)
    torch.testing.assert_close(made.driving_verts, drive.posed_vertices, atol=0, rtol=0)


def test_twins_of_another_mesh_are_refused(batch):
    with pytest.raises(ShapeError, match="twins belong to one mesh"):
        mirror_pairs(batch, TWINS[1:])


def test_every_field_has_a_rule():
    """A new field of pairs or layers is a map, mirrored, unless it is named here and in the module."""
    kinds = {field.name: field.type for field in dataclasses.fields(PairBatch)}
    maps = {name for name, kind in kinds.items() if "H W" in kind}
    assert set(kinds) == maps | {*MESHES, "faces", "names", "layers"}
    layer_kinds = {field.name: field.type for field in dataclasses.fields(PosedLayers)}
    assert {name for name, kind in layer_kinds.items() if " 2 H W" in kind} == {"flow", "displacement"}
    assert all("H W" in kind or "1 1" in kind for kind in layer_kinds.values())
