"""Codes on the built-in head with an open mouth: what lies where, seams and strips included."""

import pytest
import torch
from posed_fits import posed_fit

from headwarp.flame.io import load_head
from headwarp.flame.mouth import open_mouth, strip_vertices, with_mouth
from headwarp.flame.params import Pose
from headwarp.flame.posing import apply_pose, posed_vertices
from headwarp.geom.codes import TexelCodes, VertexCodes, facing, keep_faces
from headwarp.geom.rasterizer import rasterize
from headwarp.tools.draw import View, front, texture_coordinates

SIZE = (192, 256)


@pytest.fixture(scope="module")
def scene():
    """Head, posed vertices with strips, their triangles: turned, the mouth opened from closed lips."""
    head = load_head("builtin")
    closed = posed_fit(head, [14.0], size=SIZE)
    mouth = open_mouth(head, posed_vertices(head, closed), closed)
    fit = apply_pose(head, closed, [Pose(jaw=0.8)])
    return head, with_mouth(head, mouth, posed_vertices(head, fit), fit), mouth.faces


def test_texels_lie_at_the_heads_texture_coordinates_across_its_seams(scene):
    """A texture that holds u and v shows them as `render --mode uv` does."""
    head, verts, faces = scene
    codes = TexelCodes(head.uv, head.uv_faces, faces=head.faces, channels=2, resolution=256)
    middle = (torch.arange(256) + 0.5) / 256
    with torch.no_grad():
        codes.texture[0], codes.texture[1] = middle, (1 - middle)[:, None]
        made = codes(verts, faces, SIZE)[0]
    fragments = rasterize(verts, faces, SIZE)
    own = fragments.face < len(head.faces)  # the strips follow
    bare = View(head, verts[:, : len(head.template)], keep_faces(fragments, own_faces(head, faces)), SIZE)
    expected = texture_coordinates(bare) * front(bare)
    assert (~own).any()
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)
    assert not made[:, ~own[0]].any()


def own_faces(head, faces):
    return (torch.arange(len(faces)) < len(head.faces))[None]


def test_the_strips_show_through_the_open_mouth_with_codes_of_their_own_or_none(scene):
    head, verts, faces = scene
    count, strips = len(head.template), strip_vertices(head)
    fragments = rasterize(verts, faces, SIZE)
    shown = keep_faces(fragments, facing(verts, faces))
    on_strips = (shown.face >= len(head.faces))[:, None]
    assert int(on_strips.sum()) > 20
    plain, whole = VertexCodes(count, 3), VertexCodes(count + strips, 3)
    with torch.no_grad():
        whole.codes[:count] = plain.codes
        one, two = plain.at(fragments, verts, faces), whole.at(fragments, verts, faces)
    assert torch.equal(one, two * ~on_strips)
    assert (two * on_strips).any()
