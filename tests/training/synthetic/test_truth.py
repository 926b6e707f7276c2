"""Flow, visibility, depth and labels against a brute force over all triangles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headwarp.flame.io import load_head
from headwarp.flame.model import pose_vertices
from headwarp.flame.residual import field_of
from headwarp.geom.errors import ShapeError
from headwarp.geom.rasterizer import interpolate, rasterize
from headwarp.training.data.portrait import Portrait, to_image
from headwarp.training.data.synthetic import (
    Material,
    Recipe,
    View,
    synthesise,
    true_fit,
    true_flow,
    truth_of,
    visible_vertices,
)
from headwarp.warping.animators import load_animator

STILL = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.fixture(scope="module")
def clip():
    """Someone with long hair before a camera that moves."""
    return synthesise(load_head("builtin"), Recipe(seed=4, number=5, frames=30, size=64))


def square(left: float, depth: float, *, size: float = 4.0) -> torch.Tensor:
    corners = [[0, 0], [0, size], [size, size], [size, 0]]
    return torch.tensor([[left + x, 2.0 + y, depth] for x, y in corners])


def two_squares(left: float, window: torch.Tensor = STILL) -> View:
    """A large far square, a small near one that starts at ``left``."""
    verts = torch.cat([square(2.0, 9.0, size=8.0), square(left, 4.0)])[None]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    material = torch.tensor([int(Material.SKIN)] * 2 + [int(Material.OBJECT)] * 2)
    return View(verts, faces, material, verts[..., 2] / 10, window, (12, 16))


def first_at(view: View, point: np.ndarray) -> tuple[int, np.ndarray, float]:
    """The nearest triangle at a place of the picture, its weights there and its depth: every one is tried."""
    corners = view.verts[0].double().numpy()[view.faces.numpy()]
    to = corners[:, :, :2] - point
    cross = np.stack(
        [to[:, i, 0] * to[:, j, 1] - to[:, i, 1] * to[:, j, 0] for i, j in ((1, 2), (2, 0), (0, 1))], 1
    )
    area = cross.sum(1)
    weights = cross / np.where(area == 0, np.inf, area)[:, None]
    depth = np.where((weights >= -1e-9).all(1) & (area != 0), (weights * corners[:, :, 2]).sum(1), np.inf)
    nearest = int(depth.argmin())
    return (nearest if np.isfinite(depth[nearest]) else -1), weights[nearest], depth[nearest]


def test_a_frame_flows_to_itself_exactly(clip):
    view = clip.view(0)
    found = true_flow(view, view)
    assert found.visible.min() == 1
    assert found.flow.abs().max() < 2e-5


def test_a_square_that_moves_hides_and_uncovers_by_whole_pixels():
    source, target = two_squares(4.0), two_squares(6.0)
    found = true_flow(source, target)
    flow, visible = found.flow[0, 0], found.visible[0, 0]
    assert (flow[2:6, 6:10] == -2).all()
    assert (visible[2:6, 6:10] == 1).all()
    assert (flow[2:6, 2:6] == 0).all()  # the far one rests
    assert (visible[2:6, 4:6] == 0).all()
    assert (visible[2:6, 2:4] == 1).all()
    assert found.person[0, 0].sum() == 64 - 16


def test_the_background_moves_with_the_windows_and_may_leave_the_frame():
    moved = torch.tensor([[2.0, 0.0, 3.0], [0.0, 2.0, -1.0]])
    found = true_flow(two_squares(4.0), two_squares(4.0, moved))
    assert found.flow[0, :, 11, 15].tolist() == [(15.5 - 3) / 2 - 15.5, (11.5 + 1) / 2 - 11.5]
    back = true_flow(two_squares(4.0, moved), two_squares(4.0))
    assert back.visible[0, 0, 11, 15] == 0
    assert back.flow[0, 0, 11, 15] == 2 * 15.5 + 3 - 15.5


def test_flow_leads_to_the_same_point_of_the_same_triangle_and_visibility_is_that_of_all_triangles(clip):
    source, target = clip.view(0), clip.view(29)
    found = true_flow(source, target)
    place = clip.person.rest
    fragments = rasterize(target.verts, target.faces, target.size)
    rest = interpolate(fragments, place[None], target.faces)[0].double().numpy()
    rows = np.random.default_rng(0).choice(
        np.flatnonzero((fragments.face[0] >= 0).numpy()), 60, replace=False
    )
    seen = 0
    for row, column in zip(*np.unravel_index(rows, target.size), strict=True):
        there = np.array([column + 0.5, row + 0.5]) + found.flow[0, :, row, column].double().numpy()
        face, weights, _ = first_at(source, there)
        inside = (there >= 0).all() and (there < 64).all()
        same = face >= 0 and inside
        if same:
            point = weights @ place[source.faces[face]].double().numpy()
            same = bool(np.abs(point - rest[:, row, column]).max() < 2e-4)
        assert same == bool(found.visible[0, 0, row, column])
        seen += same
    assert 20 < seen < 60


def test_depth_labels_and_visible_vertices(clip):
    view = clip.view(10)
    truth = truth_of(view)
    empty = truth.label == Material.BACKGROUND
    assert (truth.depth[empty] == 0).all()
    assert (truth.depth[~empty] > 0.2).all()
    assert {int(Material.SKIN), int(Material.CLOTH)} <= set(truth.label.unique().tolist())
    shown = visible_vertices(view, 468)
    assert shown[1]  # the nose
    assert shown.float().mean() > 0.5
    back = clip.person.rest[: len(clip.person.head.template), 2].argmin()
    assert not visible_vertices(view)[back]


def test_the_head_of_a_view_is_the_posed_head_model(clip):
    head, params = clip.person.head, clip.motion.params.select([7])
    points = pose_vertices(
        head,
        params.shape,
        params.expression,
        rotation=params.rotation,
        translation=params.translation,
        neck=params.neck,
        jaw=params.jaw,
        eyes=params.eyes,
        eyelids=params.eyelids,
    )
    focal, principal = clip.motion.camera.focal[7], clip.motion.camera.principal[7]
    pixels = points[0, :, :2] * torch.tensor([1.0, -1.0]) / -points[0, :, 2:] * focal + principal
    assert torch.allclose(clip.view(7).verts[0, : len(pixels), :2], pixels, atol=1e-3)


def test_views_of_two_meshes_are_refused(clip):
    with pytest.raises(ShapeError, match="two views of one mesh"):
        true_flow(two_squares(4.0), clip.view(0))


def test_the_animator_given_true_fits_moves_visible_skin_as_the_truth_does(clip):
    head, fit = clip.person.head, true_fit(clip)
    mask = truth_of(clip.view(0)).person[None, None].float()
    portrait = Portrait(
        head, to_image(clip.picture(0)), fit.select([0]), mask, field_of(head, fit.select([0]))
    )
    animator = load_animator("geometry")
    flow = animator.animate(animator.encode([portrait.source()]), portrait.driving(fit.select([29]))).flow
    found = true_flow(clip.view(0), clip.view(29))
    skin = truth_of(clip.view(29)).label == Material.SKIN
    rows = skin & (found.visible[0, 0] > 0)
    error = (flow - found.flow).norm(dim=1)[0][rows]
    assert rows.sum() > 300
    assert found.flow.norm(dim=1)[0][rows].median() > 2
    assert error.median() < 0.1
    assert error.mean() < 0.5
