"""Posed neural codes: what each pixel shows, what learns from it, and that one rasterisation serves all."""

import math

import pytest
import torch
from raster_meshes import sphere
from toy_mesh import bulge, sheet, sheet_faces

from headwarp.geom.codes import (
    TexelCodes,
    VertexCodes,
    codes_at,
    corners_of,
    facing,
    keep_faces,
    render_codes,
    texels_at,
)
from headwarp.geom.displacement import mesh_flow
from headwarp.geom.errors import ShapeError
from headwarp.geom.rasterizer import rasterize

SIZE = (32, 40)
FACES = sheet_faces()
SHEET = bulge(sheet((6, 5, 33, 28)), 6.0)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain_codes(verts, faces, codes, size, lookup=None):
    """Triangle after triangle, pixel after pixel, in Python floats; ``lookup`` replaces the mean of codes."""
    channels = codes.shape[1] if lookup is None else lookup(0, (1.0, 0.0, 0.0)).shape[0]
    out = torch.zeros(len(verts), channels, *size, dtype=torch.float64)
    for b, mesh in enumerate(verts.double()):
        seen = {}  # pixel -> depth, triangle, weights
        for f, corners in enumerate(mesh[faces].tolist()):
            for i, j in pixels_near(corners, size):
                weights = barycentric(corners, j + 0.5, i + 0.5)
                if weights is None or min(weights) < 0:
                    continue
                depth = sum(w * c[2] for w, c in zip(weights, corners, strict=True))
                if depth < seen.get((i, j), (math.inf,))[0]:
                    seen[i, j] = (depth, f, weights)
        for (i, j), (_, f, weights) in seen.items():
            if area(mesh[faces[f]].tolist()) < 0:
                mean = torch.tensor(weights, dtype=torch.float64) @ codes.double()[faces[f]]
                out[b, :, i, j] = mean if lookup is None else lookup(f, weights)
    return out


def pixels_near(corners, size):
    """Row and column of the pixels around a triangle."""
    spans = [[corner[axis] for corner in corners] for axis in (1, 0)]
    rows, columns = (
        range(max(math.floor(min(span)), 0), min(math.ceil(max(span)) + 1, extent))
        for span, extent in zip(spans, size, strict=True)
    )
    return [(i, j) for i in rows for j in columns]


def area(corners):
    (x0, y0, _), (x1, y1, _), (x2, y2, _) = corners
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)


def barycentric(corners, x, y):
    whole = area(corners)
    if whole == 0:
        return None
    point = (x, y, 0.0)
    swapped = ([point, corners[1], corners[2]], [corners[0], point, corners[2]], [*corners[:2], point])
    return [area(three) / whole for three in swapped]


def turned_sphere():
    """A sphere with a hole, so that some pixels show its inner side, off the pixel centres."""
    verts, faces = sphere(6, center=(16.3, 14.7), radius=11.0, seed=3)
    return verts, faces[20:]


# values


def test_codes_equal_the_plain_twin_with_back_faces_empty():
    verts, faces = turned_sphere()
    codes = random(verts.shape[1], 3, seed=1)
    made = render_codes(verts, faces, codes, size=(30, 34))
    torch.testing.assert_close(made.double(), plain_codes(verts, faces, codes, (30, 34)), atol=2e-5, rtol=0)
    fragments = rasterize(verts, faces, (30, 34))
    inner = (fragments.face >= 0) & ~facing(verts, faces)[0][fragments.face.clamp(min=0).long()]
    assert inner.any()  # or the test shows nothing of back faces
    assert not made[inner[:, None].expand_as(made)].any()


def test_linear_codes_are_linear_in_the_picture():
    verts = sheet((6, 5, 33, 28))
    made = render_codes(verts, FACES, verts[0, :, :2].contiguous(), size=SIZE)[0]
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    inside = (x > 6) & (x < 33) & (y > 5) & (y < 28)
    torch.testing.assert_close(made, torch.where(inside, torch.stack([x, y]), 0.0), atol=1e-4, rtol=0)


def test_codes_stay_on_the_surface_when_it_moves_and_turn_empty_when_it_turns_away():
    codes = random(25, 4)
    still, moved = (
        render_codes(SHEET + torch.tensor([dx, dy, 50.0 * dx]), FACES, codes, size=SIZE)
        for dx, dy in ((0.0, 0.0), (3.0, -2.0))
    )
    torch.testing.assert_close(moved[..., :-2, 3:], still[..., 2:, :-3], atol=1e-5, rtol=0)
    assert not render_codes(SHEET, FACES.flip(1), codes, size=SIZE).any()
    assert not render_codes(SHEET + 500, FACES, codes, size=SIZE).any()
    assert not render_codes(SHEET * torch.nan, FACES, codes, size=SIZE).any()


def test_a_batch_is_its_meshes_and_every_backend_agrees():
    codes, both = random(25, 5), torch.cat([SHEET, SHEET + torch.tensor([2.5, 1.5, 0])])
    together = render_codes(both, FACES, codes, size=SIZE)
    for index in range(2):
        alone = render_codes(both[index : index + 1], FACES, codes, size=SIZE)
        assert torch.equal(together[index], alone[0])
    for backend in ("reference", "torch"):
        other = render_codes(both, FACES, codes, size=SIZE, backend=backend)
        torch.testing.assert_close(other, together, atol=1e-6, rtol=0)


def test_one_rasterisation_serves_displacement_and_codes():
    codes, driving = random(25, 4), SHEET + torch.tensor([4.0, 1.0, 0])
    raw = mesh_flow(SHEET, driving, FACES, size=SIZE, visibility=torch.ones(1, 25))
    shared = codes_at(raw.fragments, codes, verts=driving, faces=FACES)
    assert torch.equal(shared, render_codes(driving, FACES, codes, size=SIZE))
    assert torch.equal(shared.abs().sum(1, keepdim=True) > 0, raw.covered > 0)


def test_kept_fragments_are_those_of_the_kept_triangles():
    verts, faces = turned_sphere()
    fragments = rasterize(verts, faces, (30, 34))
    some = torch.arange(len(faces)) % 3 > 0
    kept = keep_faces(fragments, some[None])
    shown = some[fragments.face.clamp(min=0).long()] & (fragments.face >= 0)
    assert torch.equal(kept.face, torch.where(shown, fragments.face, -1))
    assert torch.equal(kept.bary, fragments.bary * shown[..., None])
    assert torch.equal(kept.depth, torch.where(shown, fragments.depth, torch.inf))
    nothing = rasterize(verts, faces[:0], (30, 34))
    assert torch.equal(keep_faces(nothing, some[None, :0]).face, nothing.face)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_codes_come_in_their_own_type(kind):
    codes, texture = random(25, 3), random(3, 8, 8)
    uv, uv_faces = seamed()
    fragments = rasterize(SHEET, FACES, SIZE)
    for values, render in (
        (codes, lambda c: render_codes(SHEET, FACES, c, size=SIZE)),
        (texture, lambda t: texels_at(fragments, t, corners=uv[uv_faces], verts=SHEET, faces=FACES)),
    ):
        made = render(values.to(kind))
        assert made.dtype == kind
        torch.testing.assert_close(made.float(), render(values), atol=0.01, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("texels", [False, True])
def test_codes_on_a_device_are_those_on_the_cpu(texels):
    uv, uv_faces = seamed()

    def make():
        return TexelCodes(uv, uv_faces, faces=FACES, channels=4) if texels else VertexCodes(25, 4)

    here, there = make(), make()
    there.load_state_dict(here.state_dict())
    there.cuda()
    both, target = torch.cat([SHEET, SHEET + 1.7]), random(2, 4, *SIZE, seed=5)
    pictures = [here(both, FACES, SIZE), there(both.cuda(), FACES.cuda(), SIZE).cpu()]
    torch.testing.assert_close(pictures[1], pictures[0], atol=1e-4, rtol=0)
    for picture in pictures:
        (picture - target).square().sum().backward()
    for one, two in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(two.grad.cpu(), one.grad, atol=1e-3, rtol=1e-3)


# texels


def seamed():
    """A sheet whose left and right half lie on two islands: the middle column has two texture points."""
    uv = torch.cat([random(25, 2, seed=4), random(25, 2, seed=5)])
    return uv, FACES + 25 * (SHEET[0, FACES, 0].mean(1) > 19.5).long()[:, None]


def test_texels_equal_the_plain_twin_across_a_seam():
    verts, texture = SHEET + 0.13, random(3, 8, 8, seed=6)
    uv, uv_faces = seamed()
    corners = uv[uv_faces]

    def lookup(face, weights):
        u, v = (torch.tensor(weights) @ corners[face]).tolist()
        return bilinear(texture.double(), u * 8 - 0.5, (1 - v) * 8 - 0.5)

    made = texels_at(rasterize(verts, FACES, SIZE), texture, corners=corners, verts=verts, faces=FACES)
    plain = plain_codes(verts, FACES, torch.zeros(25, 1), SIZE, lookup)
    torch.testing.assert_close(made.double(), plain, atol=2e-4, rtol=0)


def bilinear(texture, x, y):
    """Edge texels repeated."""
    out = torch.zeros(texture.shape[0], dtype=texture.dtype)
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(x - j)) * (1 - abs(y - i))
            out += weight * texture[:, min(max(i, 0), 7), min(max(j, 0), 7)]
    return out


def test_the_texture_is_upright_with_v_up():
    """u to the right and v up over the sheet: the texture appears as it is stored."""
    verts = sheet((0, 0, 40, 32))
    uv = verts[0, :, :2] / torch.tensor([40.0, 32.0]) * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])
    codes = TexelCodes(uv, FACES, faces=FACES, channels=2, resolution=8)
    with torch.no_grad():
        codes.texture.copy_(random(2, 8, 8, seed=2))
    made = codes(verts, FACES, SIZE)[0]
    centres = made[:, 1::4, 2::5] / 2 + made[:, 2::4, 2::5] / 2  # the middle of each texel, 4 x 5 pixels
    torch.testing.assert_close(centres, codes.texture.detach(), atol=0.2, rtol=0)
    top, bottom = made[:, 0].mean(), made[:, -1].mean()
    torch.testing.assert_close(top, codes.texture[:, 0].mean(), atol=0.02, rtol=0)
    torch.testing.assert_close(bottom, codes.texture[:, -1].mean(), atol=0.02, rtol=0)


def test_triangles_without_texture_coordinates_are_empty_and_those_left_out_do_not_shift_the_rest():
    uv, uv_faces = seamed()
    codes = TexelCodes(uv, uv_faces, faces=FACES, channels=3, resolution=8)
    whole = codes(SHEET, FACES, SIZE)
    strip = torch.tensor([[0, 1, 6]])  # the corners in another order: another triangle
    behind = torch.cat([SHEET, SHEET[:, :1] + 1000], 1)  # a vertex more than the head has
    changed = torch.cat([FACES[5:], torch.tensor([[25, 6, 1]]), FACES[:3]])
    made = codes(behind, changed, SIZE)
    fragments = rasterize(behind, changed, SIZE)
    own = (fragments.face >= 0) & (fragments.face != len(FACES) - 5)
    torch.testing.assert_close(made, whole * own[:, None], atol=1e-6, rtol=0)
    assert corners_of(strip, known=FACES, corners=codes.corners).isnan().all()
    with pytest.raises(ShapeError, match="expected triangles of the head that the codes lie on, got 1"):
        codes(SHEET, strip, SIZE)
    assert corners_of(FACES[:0], known=FACES, corners=codes.corners).shape == (0, 3, 2)
    assert corners_of(FACES, known=FACES[:0], corners=codes.corners[:0]).isnan().all()


# gradients


def test_codes_learn_what_their_pixels_say():
    """The gradient of a sum of pixels is how much of each pixel a vertex owns; hidden ones get none."""
    codes = random(25, 2).requires_grad_()
    render_codes(SHEET, FACES, codes, size=SIZE).sum().backward()
    covered = (rasterize(SHEET, FACES, SIZE).face >= 0).sum()
    torch.testing.assert_close(codes.grad.sum(0), covered.expand(2).float(), rtol=1e-5, atol=0)
    away = random(25, 2).requires_grad_()
    render_codes(SHEET, FACES.flip(1), away, size=SIZE).sum().backward()
    assert not away.grad.any()


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_gradcheck_of_vertex_codes(backend):
    verts = (sheet((1.2, 1.3, 6.7, 5.9), rows=3, columns=3) + random(9, 3, seed=7) * 0.3).double()
    faces, codes = sheet_faces(3, 3), random(9, 2, dtype=torch.float64)
    check = (verts.requires_grad_(), codes.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda v, c: render_codes(v, faces, c, size=(7, 8), backend=backend), check
    )


def test_gradcheck_of_texel_codes():
    verts = (sheet((1.2, 1.3, 6.7, 5.9), rows=3, columns=3) + random(9, 3, seed=7) * 0.3).double()
    faces, texture = sheet_faces(3, 3), random(2, 5, 5, dtype=torch.float64)
    corners = random(8, 3, 2, seed=9, dtype=torch.float64)
    corners[3] = torch.nan

    def render(v, t):
        fragments = rasterize(v, faces, (7, 8), backend="reference")
        return texels_at(fragments, t, corners=corners, verts=v, faces=faces, backend="reference")

    assert torch.autograd.gradcheck(render, (verts.requires_grad_(), texture.requires_grad_()))


def test_gradients_of_the_fast_path_are_those_of_the_reference():
    verts, faces = turned_sphere()
    target = random(1, 3, 30, 34, seed=8)
    grads = []
    for backend in ("reference", "auto", "torch"):
        codes, mesh = random(verts.shape[1], 3, seed=1).requires_grad_(), verts.clone().requires_grad_()
        made = render_codes(mesh, faces, codes, size=(30, 34), backend=backend)
        (made - target).square().sum().backward()
        grads.append((codes.grad, mesh.grad))
    for other in grads[1:]:
        for one, two in zip(grads[0], other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-4)


# modules


def test_vertex_codes_start_in_the_unit_interval_and_repeat_with_their_seed():
    one, two = (VertexCodes(500, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.codes, two.codes)
    assert one.codes.shape == (500, 16)
    assert one.channels == 16
    assert 0 <= float(one.codes.detach().min()) < 0.01
    assert 0.99 < float(one.codes.detach().max()) < 1
    assert [name for name, _ in one.named_parameters()] == ["codes"]


def test_strips_appended_to_the_head_have_code_zero_or_rows_of_their_own():
    strip = sheet((0, 0, 8, 6), rows=2, columns=2, depth=-20.0)  # in front of the head's corner
    verts = torch.cat([SHEET, strip], 1)
    faces = torch.cat([FACES, 25 + sheet_faces(2, 2)])
    head, all_of_it = VertexCodes(25, 3), VertexCodes(29, 3)
    on_strip = rasterize(verts, faces, SIZE).face >= len(FACES)
    assert on_strip.any()
    without = head(verts, faces, SIZE)
    assert not without[on_strip[:, None].expand_as(without)].any()
    elsewhere = ~on_strip[:, None].expand_as(without)
    assert torch.equal(without[elsewhere], head(SHEET, FACES, SIZE)[elsewhere])
    assert all_of_it(verts, faces, SIZE)[on_strip[:, None].expand_as(without)].any()


def test_training_finds_the_codes_that_made_a_picture():
    verts = torch.cat([SHEET, SHEET + torch.tensor([3.0, 1.0, 0])])
    truth = render_codes(verts, FACES, random(25, 2, seed=11), size=SIZE)
    codes = VertexCodes(25, 2, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam(codes.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss = (codes(verts, FACES, SIZE) - truth).square().mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1e-5


def test_texel_codes_keep_texture_coordinates_with_their_state():
    uv, uv_faces = seamed()
    codes = TexelCodes(uv, uv_faces, faces=FACES, channels=3, resolution=8)
    other = TexelCodes(uv.flip(0), uv_faces, faces=FACES, channels=3, resolution=8)
    other.load_state_dict(codes.state_dict())
    assert torch.equal(other(SHEET, FACES, SIZE), codes(SHEET, FACES, SIZE))
    codes(SHEET, FACES, SIZE).sum().backward()
    assert codes.texture.grad.any()


# errors


def test_codes_of_another_head_are_refused():
    with pytest.raises(ShapeError, match=r"codes: expected \(25, C\), one row a vertex, got \(24, 3\)"):
        render_codes(SHEET, FACES, random(24, 3), size=SIZE)
    with pytest.raises(ShapeError, match=r"expected at least 26 vertices, one a code, got 25"):
        VertexCodes(26)(SHEET, FACES, SIZE)
    with pytest.raises(ShapeError, match="vertices: expected at least 1, got 0"):
        VertexCodes(0)


def test_texture_coordinates_of_another_head_are_refused():
    uv, uv_faces = seamed()
    with pytest.raises(ShapeError, match=r"uv_faces: expected \(32, 3\) like faces, got \(31, 3\)"):
        TexelCodes(uv, uv_faces[1:], faces=FACES)
    with pytest.raises(ShapeError, match=r"uv_faces: expected indices from 0 to 48 \(rows of uv\)"):
        TexelCodes(uv[:49], uv_faces, faces=FACES)
    with pytest.raises(ShapeError, match=r"corners: expected \(32, 3, 2\).* got \(31, 3, 2\)"):
        texels_at(
            rasterize(SHEET, FACES, SIZE),
            random(1, 4, 4),
            corners=uv[uv_faces][1:],
            verts=SHEET,
            faces=FACES,
        )
