"""The pieces that pictures are made of: noise, openness, light, shadows, parts, backgrounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headwarp.flame.io import load_head
from headwarp.training.data.synthetic.albedo import to_display, to_linear
from headwarp.training.data.synthetic.anatomy import anatomy_of
from headwarp.training.data.synthetic.background import draw_background, through_window
from headwarp.training.data.synthetic.light import Light, Surface, draw_light, lit, reached, shadow_map
from headwarp.training.data.synthetic.noise import lattice, smoothstep, solid_noise
from headwarp.training.data.synthetic.occlusion import ambient_occlusion, sphere_directions, view_from
from headwarp.training.data.synthetic.parts import grid_faces


def plate(height: float, half: float, *, steps: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """A level net of points at a height."""
    line = torch.linspace(-half, half, steps)
    z, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, torch.full_like(x, height), z], -1).reshape(-1, 3)
    return points, torch.from_numpy(grid_faces(steps, steps))


def test_noise_is_exact_on_its_grid_and_has_unit_variance():
    field = lattice(np.random.default_rng(0), 2)
    at = torch.tensor([[3.0, 5.0, 7.0], [31.5, 0.0, 0.0]])
    found = solid_noise(at, field, wavelength=1.0)
    assert torch.allclose(found[0], field[0, :, 7, 5, 3], atol=1e-5)
    assert torch.allclose(found[1], (field[0, :, 0, 0, 31] + field[0, :, 0, 0, 0]) / 2, atol=1e-4)
    assert abs(float(field.std()) - 1) < 0.02


def test_smoothstep_rises_and_falls():
    value = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert smoothstep(value, 0, 1).tolist() == [0, 0, 0.5, 1, 1]
    assert smoothstep(value, 1, 0).tolist() == [1, 1, 0.5, 0, 0]


def test_colours_go_there_and_back():
    value = torch.linspace(0, 1, 101)
    assert torch.allclose(to_display(to_linear(value)), value, atol=1e-5)


def test_an_open_plate_is_open_and_a_covered_one_is_not():
    floor, faces = plate(0.0, 0.05)
    upwards = torch.tensor([0.0, 1.0, 0.0]).expand(len(floor), 3)
    assert ambient_occlusion(floor, upwards, faces).min() > 0.99
    roof, _ = plate(0.02, 0.05)
    both = torch.cat([floor, roof])
    both_up = torch.cat([upwards, upwards])
    covered = ambient_occlusion(both, both_up, torch.cat([faces, faces + len(floor)]))
    middle = len(floor) // 2
    assert covered[middle] < 0.2 < 0.99 < covered[len(floor) + middle]


def test_directions_are_even_and_views_keep_distances():
    directions = sphere_directions(200)
    assert directions.mean(0).abs().max() < 0.01
    assert torch.allclose(directions.norm(dim=1), torch.ones(200))
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    low, high = torch.full((3,), -1.0), torch.ones(3)
    seen = view_from(points, directions[7], size=100, low=low, high=high)
    assert torch.allclose(torch.cdist(seen, seen), torch.cdist(points, points) * 50 / math.sqrt(3), atol=1e-3)
    towards = view_from(directions[7:8], directions[7], size=100, low=low, high=high)
    assert torch.allclose(towards[0, :2], torch.tensor([50.0, 50.0]), atol=1e-4)
    assert towards[0, 2] < 0


def surface(normal: tuple[float, float, float], **changes: float) -> Surface:
    one = torch.ones(1)
    return Surface(
        points=torch.zeros(1, 3),
        normals=torch.tensor([normal], dtype=torch.float32),
        tangents=torch.zeros(1, 3),
        view=torch.tensor([[0.0, 0.0, -1.0]]),
        albedo=torch.full((1, 3), 0.5),
        ambient=one * changes.get("ambient", 1.0),
        gloss=one * changes.get("gloss", 0.0),
        sharp=20 * one,
        wrap=one * changes.get("wrap", 0.0),
    )


def test_light_of_a_lamp_and_of_an_even_sky():
    sky = torch.zeros(9, 3)
    sky[0] = math.sqrt(4 * math.pi) * 0.4
    light = Light(sky, torch.tensor([0.0, 0.0, -1.0]), torch.ones(3))
    lamp, none = torch.ones(1), torch.zeros(1)
    assert torch.allclose(lit(surface((0, 0, -1)), light, lamp), torch.full((1, 3), 0.7), atol=1e-5)
    assert torch.allclose(lit(surface((0, 0, -1)), light, none), torch.full((1, 3), 0.2), atol=1e-5)
    assert torch.allclose(lit(surface((1, 0, 0)), light, lamp), torch.full((1, 3), 0.2), atol=1e-5)
    wrapped = lit(surface((1, 0, 0), wrap=1.0), light, lamp)[0]
    assert wrapped[0] > wrapped[1] > wrapped[2] > 0.2  # skin's edge of the shadow is red
    assert lit(surface((0, 0, -1), gloss=0.2), light, lamp).min() > 0.85
    assert lit(surface((0, 0, -1), ambient=0.2), light, none).max() < 0.15


def test_a_roof_throws_a_shadow():
    floor, faces = plate(0.0, 0.1)
    roof, _ = plate(0.05, 0.03)
    points = torch.cat([floor, roof])
    light = Light(torch.zeros(9, 3), torch.tensor([0.0, 1.0, 0.0]), torch.ones(3))
    shadow = shadow_map(
        points, torch.cat([faces, faces + len(floor)]), light, centre=torch.zeros(3), reach=0.15
    )
    there = torch.tensor([[0.0, 0.0, 0.0], [0.08, 0.0, 0.08], [0.0, 0.05, 0.0]])
    assert reached(there, shadow).tolist() == pytest.approx([0, 1, 1])


def test_drawn_lights_are_moderate():
    for seed in range(50):
        light = draw_light(np.random.default_rng(seed))
        bright = lit(surface((0, 0, -1)), light, torch.ones(1)) / 0.5
        assert 0.4 < float(bright.mean()) < 1.9
        assert abs(float(light.lamp.norm()) - 1) < 1e-5


def test_a_window_moves_the_background_by_whole_pixels():
    background = draw_background(np.random.default_rng(1), 40)
    assert background.shape == (3, 60, 60)
    assert 0 <= background.min() <= background.max() <= 1
    still = through_window(background, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), 40)
    moved = through_window(background, torch.tensor([[1.0, 0, 3.0], [0, 1.0, -2.0]]), 40)
    assert torch.allclose(moved[:, :-2, 3:], still[:, 2:, :-3], atol=1e-5)
    assert torch.allclose(still, background[:, 10:50, 10:50], atol=1e-5)


def test_anatomy_of_the_built_in_head():
    head = load_head("builtin")
    anatomy = anatomy_of(head)
    order = {int(i): row for row, i in enumerate(head.landmarks["mediapipe"].indices)}
    corner = lambda index: int(head.faces[head.landmarks["mediapipe"].faces[order[index]], 0])  # noqa: E731
    assert anatomy.scale == pytest.approx(1.0, abs=0.06)
    inside, nose, chin, top = (corner(i) for i in (13, 1, 152, 10))
    assert anatomy.lips[inside] > 0 > anatomy.lips[nose]
    assert anatomy.beard[chin] > 0 > anatomy.beard[top]
    assert anatomy.lids[nose] > 0.02
    crown = int(head.template[:, 1].argmax())
    assert anatomy.scalp[crown] > 0.03 > 0 > anatomy.scalp[nose]
    assert (anatomy.scalp[head.region_masks["ears"].numpy()] < 0).all()
