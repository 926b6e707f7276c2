"""The jaw contour by visibility: nothing hidden at any turn, rest from the front, tables of either sign."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_export import write_deca_file, write_head_as_flame
from flame_schema import flame_arrays_of, write_flame_pickle
from ray_casting import hidden_by_rays
from torch import Tensor

from headwarp.flame.contour import (
    Contour,
    ContourCandidates,
    choose_contour,
    choose_on_patch,
    contour_candidates,
    fit_contour,
    ibug68_points,
)
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadModel, landmark_points, pose_vertices
from headwarp.flame.params import HeadParams
from headwarp.flame.posing import project_head
from headwarp.geom.cameras import Perspective, WeakPerspective
from headwarp.geom.errors import HeadwarpError, ShapeError

TURNS = [-45, -30, -15, 15, 30, 45]
MODEL_FRONT = np.array([0.0, 0.0, 1.0, 0.0])  # towards a camera without perspective, model axes


@pytest.fixture(scope="module")
def builtin() -> HeadModel:
    return load_head("builtin")


@pytest.fixture(scope="module", params=[1, -1], ids=["table", "table of the other sign"])
def flame(
    request: pytest.FixtureRequest, builtin: HeadModel, tmp_path_factory: pytest.TempPathFactory
) -> HeadModel:
    """The built-in geometry as a FLAME file, with a contour table in DECA's embedding."""
    folder = tmp_path_factory.mktemp("flame")
    write_flame_pickle(folder / "flame.pkl", flame_arrays_of(builtin))
    write_deca_file(folder / "landmark_embedding.npy", builtin, sign=request.param)
    return load_head(folder / "flame.pkl")


def turned(
    model: HeadModel, degrees: list[int], *, joint: str = "rotation", pitch: float = 0.0
) -> HeadParams:
    turns = torch.tensor([[pitch, float(d), 0.0] for d in degrees]).deg2rad()
    neutral = HeadParams.neutral(model.shape_basis.shape[2], model.expression_basis.shape[2], len(degrees))
    return dataclasses.replace(neutral, **{joint: turns})


def far(frames: int) -> WeakPerspective:
    return WeakPerspective(torch.full((frames,), 1000.0), torch.full((frames, 2), 128.0))


def in_metres(model: HeadModel, params: HeadParams) -> Tensor:
    names = ("rotation", "translation", "neck", "jaw", "eyes", "eyelids")
    moved = {name: getattr(params, name) for name in names}
    return pose_vertices(model, params.shape, params.expression, **moved)


def hidden_points(
    model: HeadModel, params: HeadParams, contour: Contour, eye: np.ndarray = MODEL_FRONT
) -> list[int]:
    verts = in_metres(model, params)
    corners = verts[torch.arange(len(verts))[:, None, None], model.faces[contour.faces]]
    points = torch.einsum("tlkc,tlk->tlc", corners, contour.bary)
    faces = model.faces.numpy()
    return [
        int(hidden_by_rays(p.numpy(), v.numpy(), faces, eye=eye).sum())
        for p, v in zip(points, verts, strict=True)
    ]


def resting(model: HeadModel, contour: Contour) -> Contour:
    """The same frames with every point at its rest."""
    options, frames = contour_candidates(model), len(contour.faces)
    faces, bary = options.faces[:, 0].expand(frames, -1), options.bary[:, 0].expand(frames, -1, -1)
    return dataclasses.replace(contour, faces=faces, bary=bary, choice=0 * contour.choice)


@pytest.mark.parametrize("joint", ["rotation", "neck"])
def test_no_point_is_hidden_at_any_turn(builtin: HeadModel, joint: str) -> None:
    params = turned(builtin, TURNS, joint=joint)
    contour = fit_contour(builtin, params, far(6))
    assert hidden_points(builtin, params, contour) == [0] * 6
    assert min(hidden_points(builtin, params, resting(builtin, contour))) >= 4, (
        "the jaw line at rest would be hidden"
    )
    assert bool(contour.visible.all())


@pytest.mark.parametrize("joint", ["rotation", "neck"])
def test_a_table_is_used_whichever_way_it_turns(flame: HeadModel, joint: str) -> None:
    assert flame.contour is not None
    params = turned(flame, TURNS, joint=joint)
    contour = fit_contour(flame, params, far(6))
    assert hidden_points(flame, params, contour) == [0] * 6
    table = {(k, int(f)) for row in flame.contour.faces.tolist() for k, f in enumerate(row)}
    taken = [(k, int(f)) in table for row in contour.faces[1:5].tolist() for k, f in enumerate(row)]
    assert all(taken), "up to 39 degrees the table's own points serve"


def test_from_the_front_the_contour_rests(builtin: HeadModel, flame: HeadModel) -> None:
    for model, faces in ((builtin, builtin.landmarks["ibug68"].faces[:17]), (flame, flame.contour.faces[0])):
        contour = fit_contour(model, turned(model, [0]), far(1))
        assert contour.choice.tolist() == [[0] * 17]
        assert torch.equal(contour.faces[0], faces)


def test_each_side_moves_only_when_it_turns_away(builtin: HeadModel) -> None:
    """About the model's y: positive turns the nose to the subject's left, which hides that side (9 .. 16)."""
    contour = fit_contour(builtin, turned(builtin, [30, -30]), far(2))
    moved = (contour.choice > 0).tolist()
    assert moved[0][:9] == [False] * 9
    assert all(moved[0][11:])
    assert moved[1] == moved[0][::-1], "the head is symmetric"


def test_neck_pitch_and_perspective_count(builtin: HeadModel) -> None:
    params = turned(builtin, [-30, 30], pitch=20.0)
    assert hidden_points(builtin, params, fit_contour(builtin, params, far(2))) == [0, 0]
    near = dataclasses.replace(turned(builtin, [-30, 30]), translation=torch.tensor([[0.0, 0.0, -0.4]] * 2))
    camera = Perspective(torch.full((2, 2), 400.0), torch.full((2, 2), 128.0))
    contour = fit_contour(builtin, near, camera)
    assert hidden_points(builtin, near, contour, eye=np.zeros(3)) == [0, 0]
    assert not torch.equal(contour.choice, fit_contour(builtin, near, far(2)).choice)
    half = dataclasses.replace(turned(builtin, [15, -15]), neck=turned(builtin, [15, -15]).rotation)
    whole = fit_contour(builtin, turned(builtin, [30, -30]), far(2)).choice
    assert (fit_contour(builtin, half, far(2)).choice - whole).abs().max() <= 2


def test_smplx_look_up_ignores_the_neck(flame: HeadModel) -> None:
    """Its chain ends at joint 0, so a head turned by the neck keeps bin 0, which is hidden; ours is not."""
    lbs = pytest.importorskip("smplx.lbs")
    body_models = pytest.importorskip("smplx.body_models")
    assert body_models.FLAME.NECK_IDX == 0
    pose = torch.zeros(2, 15)
    pose[:, 4] = torch.tensor([30.0, -30.0]).deg2rad()
    table = flame.contour
    args = (torch.zeros(2, 1, 3), pose, table.faces, table.bary)
    faces, bary = lbs.find_dynamic_lmk_idx_and_bcoords(*args, torch.tensor([0]))
    assert torch.equal(faces, table.faces[[0, 0]])
    params = turned(flame, [30, -30], joint="neck")
    ours = fit_contour(flame, params, far(2))
    assert min(hidden_points(flame, params, dataclasses.replace(ours, faces=faces, bary=bary))) >= 4
    assert hidden_points(flame, params, ours) == [0, 0]
    with_neck, _ = lbs.find_dynamic_lmk_idx_and_bcoords(*args, torch.tensor([1, 0]))
    assert not torch.equal(with_neck, faces), "the chain that others use sees it"


def test_equals_plain_loops_over_rays(builtin: HeadModel) -> None:
    """Restated: walk from the rest forward, stop at the first point that no triangle hides."""
    options = contour_candidates(builtin)
    params = turned(builtin, [20, -35], pitch=-10.0)
    projected = project_head(builtin, params, far(2))
    contour = choose_contour(builtin, projected)
    places, faces = options.points(builtin, projected).double().numpy(), builtin.faces.numpy()
    spread = np.sqrt(np.square(places - places.mean((1, 2), keepdims=True)).sum(-1).mean((1, 2)))
    towards = np.array([0.0, 0.0, -1.0, 0.0])
    for frame, k in itertools.product(range(2), (0, 3, 5, 8, 12, 15)):
        hidden = hidden_by_rays(
            places[frame, k],
            projected[frame].double().numpy(),
            faces,
            eye=towards,
            margin=0.02 * spread.mean(),
        )
        first = int(np.flatnonzero(~hidden)[0])
        moved = np.linalg.norm(places[frame, k, first, :2] - places[frame, k, 0, :2])
        wanted = 0 if moved <= float(options.slack[k]) * spread[frame] else first
        assert int(contour.choice[frame, k]) == wanted, (frame, k)


def test_where_everything_is_hidden_it_says_so(builtin: HeadModel) -> None:
    contour = fit_contour(builtin, turned(builtin, [180]), far(1))
    assert not bool(contour.visible[0, 3:14].any())
    assert set(contour.choice[0, 3:14].tolist()) == {contour_candidates(builtin).faces.shape[1] - 1}


@pytest.mark.parametrize("pitch", [-15.0, 0.0, 15.0])
def test_the_patch_alone_chooses_nearly_the_same(builtin: HeadModel, pitch: float) -> None:
    """The candidates among themselves cover the cheeks: enough for a solver that never sees the mesh."""
    options = contour_candidates(builtin)
    params = turned(builtin, [*range(-45, 46, 5)], pitch=pitch)
    projected = project_head(builtin, params, far(19))
    points = options.points(builtin, projected)
    choice, _ = choose_on_patch(options, points, options.cover(builtin, projected))
    whole = choose_contour(builtin, projected).choice
    frames, rows = torch.arange(19)[:, None], torch.arange(17)
    apart = (points[frames, rows, choice] - points[frames, rows, whole])[..., :2].norm(dim=-1)
    assert apart.max() < 6.0, "millimetres in the picture"
    assert apart.square().mean().sqrt() < 1.0


def test_paths_lead_forward_and_inward(builtin: HeadModel, flame: HeadModel) -> None:
    for model in (builtin, flame):
        options = contour_candidates(model)
        paths = options.points(model, model.template[None])[0]  # (17, C, 3)
        sides = [k for k in range(17) if abs(float(paths[k, 0, 0])) > 0.02]
        assert len(sides) == 14
        assert (paths[sides, -1, 2] > paths[sides, 0, 2]).all()
        assert paths[sides, -1, 0].abs().max() < 0.001, "up to the middle of the face"
        assert (paths[sides, :, 1] - paths[sides, :1, 1]).abs().max() < 1e-4, "at one height"
        step = (paths[:, 1:] - paths[:, :-1]).norm(dim=-1)
        assert step.max() < 0.012, "no jump to another part of the mesh"


def test_the_68_points_come_in_ibug_order(builtin: HeadModel, flame: HeadModel) -> None:
    for model in (builtin, flame):
        params = turned(model, [0, 25])
        verts = in_metres(model, params)
        points = ibug68_points(model, verts, fit_contour(model, params, far(2)))
        assert points.shape == (2, 68, 3)
        inner = landmark_points(model, verts, "ibug68")[:, -51:]
        assert torch.equal(points[:, 17:], inner)
    front = landmark_points(builtin, builtin.template[None], "ibug68")[0]
    verts = in_metres(builtin, turned(builtin, [0]))
    both = [ibug68_points(m, verts, fit_contour(m, turned(m, [0]), far(1)))[0] for m in (builtin, flame)]
    assert torch.allclose(both[0], front, atol=1e-6)
    assert torch.allclose(both[1], front, atol=1e-6), "the table's rest is the same line"


def test_points_are_differentiable(builtin: HeadModel) -> None:
    verts = builtin.template[None].double().clone().requires_grad_()
    ibug68_points(builtin, verts, fit_contour(builtin, turned(builtin, [0]), far(1))).sum().backward()
    assert float(verts.grad.sum()) == pytest.approx(3 * 68, rel=1e-6)


def test_a_head_without_contour_says_what_to_give(builtin: HeadModel, tmp_path: Path) -> None:
    bare = load_head(write_head_as_flame(tmp_path, builtin, beside=""), landmarks=())
    bare.landmarks = {}
    assert contour_candidates(bare) is None
    with pytest.raises(HeadwarpError, match=r"expected a head with contour points, flame-\w+ has none; give"):
        choose_contour(bare, bare.template[None])
    contour = fit_contour(builtin, turned(builtin, [0]), far(1))
    with pytest.raises(HeadwarpError, match=r"expected a head with the landmarks ibug68 17 to 67"):
        ibug68_points(bare, bare.template[None], contour)
    with pytest.raises(
        ShapeError, match=r"projected: expected \(T, 5413, 3\), got \(1, 4, 3\); pose the whole"
    ):
        choose_contour(builtin, torch.zeros(1, 4, 3))


def test_face_mesh_points_serve_where_ibug_lacks(builtin: HeadModel) -> None:
    head = load_head("builtin")
    del head.landmarks["ibug68"]
    options, wanted = contour_candidates(head), contour_candidates(builtin)
    assert isinstance(options, ContourCandidates)
    assert torch.equal(options.faces, wanted.faces)
