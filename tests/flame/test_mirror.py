"""The mirror of a head: twins, landmarks, strips and pictures; asymmetric heads are told so."""

import copy

import pytest
import torch
from posed_fits import posed_fit
from toy_head import toy_head

from headwarp.flame import mirror
from headwarp.flame.io import load_head
from headwarp.flame.landmarks import IBUG_MIRROR
from headwarp.flame.mirror import landmark_mirror, mesh_mirror, mirror_rows, mirror_vertices, vertex_mirror
from headwarp.flame.model import landmark_points
from headwarp.flame.mouth import open_mouth, strip_vertices, with_mouth
from headwarp.flame.posing import posed_vertices
from headwarp.geom.codes import render_codes
from headwarp.geom.errors import HeadwarpError, ShapeError

WIDTH = 128


@pytest.fixture(scope="module")
def builtin():
    return load_head("builtin")


@pytest.fixture(scope="module")
def turned(builtin):
    """Posed vertices of a turned head with an open mouth's strips, ``(1, W, 3)``."""
    fit = posed_fit(builtin, [17.0])
    verts = posed_vertices(builtin, fit)
    return with_mouth(builtin, open_mouth(builtin, verts, fit), verts, fit)


def moved(head, change):
    """The head with another template."""
    twin = copy.deepcopy(head)
    twin.template += change(twin.template)
    return twin


# twins


def test_the_twins_of_the_builtin_head_are_exact_and_an_involution(builtin):
    twin = vertex_mirror(builtin)
    assert torch.equal(twin[twin], torch.arange(len(twin)))
    assert torch.equal(builtin.template[twin], builtin.template * torch.tensor([-1.0, 1, 1]))
    for side, other in (("left", "right"), ("right", "left")):
        for part in ("eyeball", "eye_socket", "eye_region"):
            own = builtin.region_masks[f"{side}_{part}"]
            assert torch.equal(own[twin], builtin.region_masks[f"{other}_{part}"])
    assert 100 < int((twin == torch.arange(len(twin))).sum()) < 200  # the middle line


def test_twins_are_found_where_the_template_is_symmetric_only_about(builtin):
    """As measured heads are: smoothly up to a millimetre off, while lids and lips are as dense as that."""

    def waves(template):
        generator = torch.Generator().manual_seed(0)
        frequency, phase = 60 * torch.randn(3, 9, generator=generator), torch.rand(9, generator=generator)
        weight = torch.randn(9, 3, generator=generator)
        wave = torch.sin(template @ frequency + 6.28 * phase) @ weight
        return 0.001 * wave / wave.abs().max()

    exact = vertex_mirror(builtin)
    assert float((vertex_mirror(moved(builtin, waves)) == exact).float().mean()) > 0.999
    shifted = moved(builtin, lambda t: torch.tensor([0.02, 0.0, 0.0]).expand_as(t))
    assert torch.equal(vertex_mirror(shifted), exact)


def test_vertices_at_one_place_are_told_apart_by_their_neighbours():
    """Closed lips: two rows of a sheet at one place; the upper one's twins are in the upper one."""
    head = toy_head(12, 13)
    grid = torch.arange(12 * 13).view(12, 13)
    head.template[grid[7]] = head.template[grid[6]]
    expected = grid.flip(1).flatten()
    assert torch.equal(vertex_mirror(head), expected)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda t: torch.nn.functional.pad(torch.full((20, 1), 0.03), (0, 2, 0, len(t) - 20)),
            "mirrored place",
        ),
        (lambda t: (torch.arange(len(t)) == 7)[:, None] * torch.tensor([0, 0.005, 0]), r"lies 5\.0 mm from"),
        (lambda t: 0.6 * t[:, :1].clamp(min=0) * torch.tensor([0.0, 0, 1]), "mirrored place"),
    ],
    ids=["vertices moved aside", "one vertex moved a little", "one cheek swollen"],
)
def test_an_asymmetric_head_is_told_so(change, text):
    with pytest.raises(HeadwarpError, match=r"head toy-\w+ is not symmetric about its middle: .*" + text):
        vertex_mirror(moved(toy_head(), change))


def test_twins_in_a_ring_are_no_mirror(monkeypatch):
    """Ties between vertices at one place may match them in a ring."""
    ring = torch.arange(156).roll(1).numpy()
    monkeypatch.setattr(mirror, "_matched_smoothly", lambda *_, **__: ring)
    with pytest.raises(HeadwarpError, match="the twin of a vertex's twin is not always the vertex"):
        vertex_mirror(toy_head())


def test_twins_of_a_head_of_25000_vertices(test_data):
    path = test_data / "ict_facekit"
    if not path.is_dir():
        pytest.skip("no ict_facekit in HEADWARP_TEST_DATA")
    head = load_head(path)
    twin = vertex_mirror(head)
    assert torch.equal(twin[twin], torch.arange(len(twin)))
    apart = (head.template[twin] - head.template * torch.tensor([-1.0, 1, 1])).norm(dim=1)
    assert float(apart.max()) < 0.001
    assert torch.equal(head.region_masks["left_eyeball"][twin], head.region_masks["right_eyeball"])


# meshes and landmarks


def test_twice_is_the_identity_and_once_mirrored_comes_back_bit_for_bit(builtin, turned):
    twins = mesh_mirror(builtin, turned.shape[1])
    once = mirror_vertices(turned, WIDTH, twins)
    twice = mirror_vertices(once, WIDTH, twins)
    assert torch.equal(twice[..., 1:], turned[..., 1:])
    assert float((twice - turned).abs().max()) <= WIDTH * 2**-24
    assert torch.equal(mirror_vertices(twice, WIDTH, twins), once)


def test_a_symmetric_head_in_the_middle_is_its_own_mirror_image_with_its_mouth(builtin):
    fit = posed_fit(builtin)
    verts = posed_vertices(builtin, fit)
    whole = with_mouth(builtin, open_mouth(builtin, verts, fit), verts, fit)
    assert whole.shape[1] == len(builtin.template) + strip_vertices(builtin)
    twins = mesh_mirror(builtin, whole.shape[1])
    assert torch.equal(twins[twins], torch.arange(len(twins)))
    torch.testing.assert_close(mirror_vertices(whole, WIDTH, twins), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", ["mediapipe", "ibug68"])
def test_landmarks_of_the_mirrored_mesh_are_the_mirrored_landmarks(builtin, turned, family):
    verts = turned[:, : len(builtin.template)]
    mirrored = mirror_vertices(verts, WIDTH, vertex_mirror(builtin))
    expected = landmark_points(builtin, mirrored, family)
    rows = landmark_mirror(builtin, family)
    assert torch.equal(rows[rows], torch.arange(len(rows)))
    points = landmark_points(builtin, verts, family)
    torch.testing.assert_close(mirror_vertices(points, WIDTH, rows), expected, atol=0.02, rtol=0)
    planar = mirror_vertices(points[..., :2], WIDTH, rows)
    assert torch.equal(planar, mirror_vertices(points, WIDTH, rows)[..., :2])


def test_rows_of_some_landmarks():
    table = torch.tensor(IBUG_MIRROR)
    some = torch.tensor([16, 30, 0, 36, 45])
    assert mirror_rows(some, table).tolist() == [2, 1, 0, 4, 3]
    with pytest.raises(HeadwarpError, match="the twin of each among them, 45 is missing"):
        mirror_rows(some[:4], table)
    with pytest.raises(HeadwarpError, match="the twin of each among them"):
        landmark_mirror(toy_head(), "mediapipe")  # its landmarks are the first 156
    with pytest.raises(HeadwarpError, match=r"can be mirrored \(mediapipe\), got 'ibug68'"):
        landmark_mirror(toy_head(), "ibug68")


# pictures


def test_a_mirrored_mesh_shows_the_mirrored_picture_where_triangles_are_mirrored_too():
    """A sheet cut along mirrored diagonals, off the pixel centres: no tie, no other diagonal."""
    rows, columns = 4, 5
    index = torch.arange(rows * columns).view(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    left = torch.cat([torch.stack([a, d, c], -1)[:, :2], torch.stack([a, c, b], -1)[:, :2]])
    right = torch.cat([torch.stack([b, d, c], -1)[:, 2:], torch.stack([a, d, b], -1)[:, 2:]])
    faces = torch.cat([left.reshape(-1, 3), right.reshape(-1, 3)])
    y, x = torch.meshgrid(torch.linspace(3.1, 17.3, rows), torch.linspace(4.2, 27.9, columns), indexing="ij")
    noise = torch.rand(rows, columns, 3, generator=torch.Generator().manual_seed(1))
    verts = (torch.stack([x, y, 0 * x], -1) + noise).view(1, -1, 3)
    twins, codes = index.flip(1).flatten(), noise.view(-1, 3)
    plain = render_codes(verts, faces, codes, size=(20, 33))
    other = render_codes(mirror_vertices(verts, 33, twins), faces, codes[twins], size=(20, 33))
    torch.testing.assert_close(other, plain.flip(-1), atol=1e-4, rtol=0)
    assert plain.any()


def test_a_mirrored_head_shows_the_mirrored_picture(builtin, turned):
    fit = posed_fit(builtin, [17.0])
    mouth = open_mouth(builtin, posed_vertices(builtin, fit), fit)
    places = turned[0] / 100
    codes = torch.cat([places, (torch.arange(len(places)) >= len(builtin.template))[:, None]], 1)
    twins = mesh_mirror(builtin, turned.shape[1])
    size = (96, WIDTH)
    plain = render_codes(turned, mouth.faces, codes, size=size).flip(-1)
    other = render_codes(mirror_vertices(turned, WIDTH, twins), mouth.faces, codes[twins], size=size)
    error = (other - plain).abs().amax(1)
    assert float((plain != 0).any(1).float().mean()) > 0.15
    assert float((error > 0.01).float().mean()) < 0.002  # along outlines, where quads are cut otherwise


# errors


def test_meshes_of_other_counts_are_refused(builtin, turned):
    with pytest.raises(ShapeError, match=r"expected 5413 of head builtin-\w+, or 5523 with a mouth.s strips"):
        mesh_mirror(builtin, 5414)
    with pytest.raises(ShapeError, match=r"expected 156 of head toy-\w+, got 157"):
        mesh_mirror(toy_head(), 157)
    with pytest.raises(ShapeError, match="twins belong to one mesh"):
        mirror_vertices(turned, WIDTH, vertex_mirror(builtin))
