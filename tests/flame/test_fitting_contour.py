"""68 points with a contour that follows the outline: the solver's view of it, and fits to it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from headwarp.flame.contour import contour_candidates, fit_contour
from headwarp.flame.fitting._prepared import prepared_head
from headwarp.flame.fitting.contour import MOST_COLUMNS, contour_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadModel, LandmarkEmbedding, with_landmarks
from headwarp.flame.params import HeadParams
from headwarp.flame.posing import project_head
from headwarp.geom.cameras import WeakPerspective


@pytest.fixture(scope="module")
def builtin() -> HeadModel:
    return load_head("builtin")


def turned(model: HeadModel, yaws: list[float]) -> tuple[HeadParams, WeakPerspective]:
    frames = len(yaws)
    neutral = HeadParams.neutral(model.shape_basis.shape[2], model.expression_basis.shape[2], frames)
    params = dataclasses.replace(neutral, rotation=torch.tensor([[0.05, y, 0.02] for y in yaws]).mul(1.0))
    return params, WeakPerspective(torch.full((frames,), 900.0), torch.full((frames, 2), 128.0))


def test_the_solvers_choice_is_that_of_the_mesh(builtin: HeadModel) -> None:
    moving = contour_landmarks(builtin)
    assert moving.numbers.tolist() == list(range(17))
    params, camera = turned(builtin, [-0.6, -0.2, 0.0, 0.4])
    projected = project_head(builtin, params, camera)
    points = projected[:, builtin.faces[moving.candidates.faces]]
    posed = torch.einsum("tmkc,mk->tmc", points, moving.candidates.bary).double().numpy()
    rows = moving.choose(posed)
    contour = fit_contour(builtin, params, camera)
    wanted = torch.einsum(
        "tkic,tki->tkc",
        projected[torch.arange(4)[:, None, None], builtin.faces[contour.faces]],
        contour.bary,
    ).numpy()
    apart = np.linalg.norm((posed[np.arange(4)[:, None], rows] - wanted)[..., :2], axis=-1)
    assert apart.max() < 6.0, "millimetres, about"
    assert np.sqrt(np.square(apart).mean()) < 1.0
    singly = np.concatenate([moving.choose(frame[None] * 7.0 + 3.0) for frame in posed])
    np.testing.assert_array_equal(rows, singly, err_msg="each frame by itself, at any scale and place")


def test_points_whose_path_is_hidden_are_left_out(builtin: HeadModel) -> None:
    """Point 12's path is put behind the right cheek."""
    moving = contour_landmarks(builtin)
    params, camera = turned(builtin, [0.0])
    points = project_head(builtin, params, camera)[:, builtin.faces[moving.candidates.faces]]
    posed = torch.einsum("tmkc,mk->tmc", points, moving.candidates.bary).double().numpy()
    columns = len(moving.candidates.faces) // 19
    posed[:, 12 * columns : 13 * columns] = posed[:, 3 * columns + columns // 2, None] + [0.0, 0.0, 90.0]
    rows = moving.choose(posed)
    assert rows[0, 12] == -1
    assert (np.delete(rows[0], [11, 12, 13]) >= 0).all()


def test_long_paths_are_thinned_and_start_at_rest(builtin: HeadModel) -> None:
    options = contour_candidates(builtin)
    thin = options.every(3)
    assert thin.faces.shape[1] == -(-options.faces.shape[1] // 3)
    assert torch.equal(thin.faces[:, 0], options.faces[:, 0])
    assert int(thin.patch.max()) == thin.faces.numel() + thin.cover_faces.numel() - 1
    assert contour_landmarks(builtin).candidates.faces.numel() <= 19 * MOST_COLUMNS


def test_a_head_without_contour_has_none(builtin: HeadModel) -> None:
    few = LandmarkEmbedding(torch.arange(3), torch.arange(3), torch.eye(3))
    assert contour_landmarks(with_landmarks(builtin, {"mediapipe": few})) is None


def test_the_unit_is_the_eye_distance_in_any_order_of_the_points(builtin: HeadModel) -> None:
    """FLAME's 51 points, or 68 with the contour last: the outer corners are 36 and 45 by number."""
    own = builtin.landmarks["ibug68"]
    wanted = prepared_head(builtin, "ibug68", 68).unit
    for rows in (list(range(17, 68)), [*range(17, 68), *range(17)]):
        part = dataclasses.replace(own, indices=own.indices[rows], faces=own.faces[rows], bary=own.bary[rows])
        head = with_landmarks(builtin, {"ibug68": part})
        assert prepared_head(head, "ibug68", 68).unit == pytest.approx(wanted, rel=1e-6)
