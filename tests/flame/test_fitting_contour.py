"""68 points with a contour that follows the outline: the solver's view of it, and fits to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_export import write_head_as_flame

from headwarp.flame.contour import contour_candidates, fit_contour, ibug68_points
from headwarp.flame.fitting import FitConfig, fit_landmarks
from headwarp.flame.fitting._prepared import prepared_head
from headwarp.flame.fitting.contour import MOST_COLUMNS, contour_landmarks, contour_of_points
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadModel, LandmarkEmbedding, with_landmarks
from headwarp.flame.params import HeadFit, HeadParams
from headwarp.flame.posing import head_pose, project_head
from headwarp.flame.residual import field_of
from headwarp.geom.cameras import WeakPerspective
from headwarp.geom.errors import HeadwarpError


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


# ----------------------------------------------------------------------------------- fits to 68 points


def seen_points(head: HeadModel, params: HeadParams, camera: WeakPerspective) -> np.ndarray:
    """The 68 points of a posed head as a detector marks them: the outline that is seen."""
    projected = project_head(head, params, camera)
    return ibug68_points(head, projected, fit_contour(head, params, camera))[..., :2].double().numpy()


@pytest.fixture(scope="module")
def turning(builtin: HeadModel) -> tuple[HeadParams, WeakPerspective, np.ndarray]:
    params, camera = turned(builtin, [-0.6, -0.35, 0.0, 0.3, 0.55])
    draw = torch.Generator().manual_seed(2)
    shape = torch.zeros(builtin.shape_basis.shape[2])
    shape[:8] = torch.randn(8, generator=draw)
    params = dataclasses.replace(params, shape=shape)
    return params, camera, seen_points(builtin, params, camera)


def errors(head: HeadModel, fit: HeadFit, params: HeadParams) -> tuple[float, float]:
    """Of the head's yaw, degrees, and of the face's shape, millimetres root mean square."""
    yaw = (head_pose(fit.params) - head_pose(params))[:, 0].abs().max()
    shape = (head.shape_basis[:468] @ (fit.params.shape - params.shape)).square().sum(1).mean().sqrt()
    return float(yaw), 1000 * float(shape)


def test_a_turning_head_is_found_by_its_outline(builtin: HeadModel, turning: tuple) -> None:
    """A contour that rests explains the far cheek by a wrong turn and a wrong shape."""
    params, _, points = turning
    fits = {
        kind: fit_landmarks(builtin, points, (256, 256), family="ibug68", config=FitConfig(contour=kind))
        for kind in ("visible", "rest")
    }
    residual = {kind: fit.report["reprojection_percent_iod"] for kind, fit in fits.items()}
    assert residual["visible"] < 0.6 * residual["rest"]
    yaw, shape = errors(builtin, fits["visible"], params)
    worse_yaw, worse_shape = errors(builtin, fits["rest"], params)
    assert yaw < 3.0
    assert yaw < 0.6 * worse_yaw
    assert shape < worse_shape
    assert fits["visible"].report["moving_landmarks"] == list(range(17))
    assert "moving_landmarks" not in fits["rest"].report
    assert fits["visible"].report["family"] == "ibug68"


def test_a_flame_file_with_decas_table_is_fitted_to_68_points(
    builtin: HeadModel, turning: tuple, tmp_path: Path
) -> None:
    """Its 51 fixed points alone would be all it has; the table gives it the outline."""
    flame = load_head(write_head_as_flame(tmp_path, builtin, beside="deca"))
    params, _, points = turning
    fit = fit_landmarks(flame, points, (256, 256), family="ibug68")
    assert sorted(fit.landmark_indices.tolist()) == list(range(68))
    assert fit.report["landmark_origin"] == "deca"
    assert fit.report["reprojection_percent_iod"] < 1.0
    assert (head_pose(fit.params) - head_pose(params))[:, 0].abs().max() < 3.0
    field = field_of(flame, fit)
    outline = fit.landmark_indices < 17
    assert not field.matrix[:, outline].any(), "an outline's residual belongs to no point of the mesh"
    assert field.matrix[:, ~outline].any(0).all()


def test_other_families_and_counts_have_no_outline(builtin: HeadModel) -> None:
    assert contour_of_points(builtin, "mediapipe", 478) is None
    assert contour_of_points(builtin, "ibug68", 51) is None
    assert contour_of_points(builtin, "ibug68", 68) is contour_landmarks(builtin), "made once"
    with pytest.raises(HeadwarpError, match="contour: expected visible or rest, got 'hidden'"):
        FitConfig(contour="hidden")  # type: ignore[arg-type]
