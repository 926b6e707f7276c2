"""The fitter: recovery of known heads, gaps, bad input, files."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch
from toy_head import toy_head

from headwarp.flame.builtin.load import load_builtin
from headwarp.flame.detect import detect_faces
from headwarp.flame.fitting import FitConfig, SolverConfig, accept, fit_landmarks
from headwarp.flame.fitting._prepared import prepared_head
from headwarp.flame.fitting.proportions import PROPORTIONS, proportions_deviation
from headwarp.flame.model import landmark_points, pose_vertices, restrict
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING, HeadFit, HeadParams
from headwarp.flame.posing import camera_rotation, head_pose, project_head
from headwarp.geom.cameras import MODEL_TO_CAMERA, WeakPerspective
from headwarp.geom.errors import HeadwarpError, ModelFileError, NoFaceError, ShapeError
from headwarp.geom.transforms import euler_to_matrix, matrix_to_axis_angle
from headwarp.training.data.media import read_image


@pytest.fixture(scope="module")
def head():
    return toy_head()


def _params(head, frames=6, seed=0, motion=1.0):
    rng = np.random.default_rng(seed)
    tensor = lambda a: torch.as_tensor(np.asarray(a), dtype=torch.float32)  # noqa: E731
    angles = motion * np.radians(
        np.stack([30 * np.sin(np.arange(frames)), 10 * np.cos(np.arange(frames)), np.arange(frames)], 1)
    )
    flip = MODEL_TO_CAMERA
    rotation = flip @ euler_to_matrix(*(tensor(angles[:, i]) for i in range(3))) @ flip
    jaw = np.zeros((frames, 3))
    jaw[:, 0] = 0.15 * (np.arange(frames) % 2)
    neutral = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2], frames)
    return dataclasses.replace(
        neutral,
        shape=tensor(rng.normal(size=head.shape_basis.shape[2])),
        expression=tensor(rng.normal(size=(frames, head.expression_basis.shape[2])) * 0.5),
        rotation=matrix_to_axis_angle(rotation),
        jaw=tensor(jaw),
    )


def _camera(frames):
    steps = torch.arange(frames).float()
    return WeakPerspective(900 + 20 * steps, torch.stack([128 + 3 * steps, 120 - steps], 1))


def _landmarks(head, params, camera):
    verts = project_head(head, params, camera)
    points = landmark_points(head, verts, "mediapipe")[..., :2]
    full = np.full((params.frames, 468, 2), np.nan)
    full[:, head.landmarks["mediapipe"].indices.numpy()] = points.numpy()
    return full[:, : int(head.landmarks["mediapipe"].indices.max()) + 1]


def test_known_head_is_recovered(head):
    params, camera = _params(head), _camera(6)
    fit = fit_landmarks(
        head,
        _landmarks(head, params, camera),
        (256, 256),
        config=FitConfig(solver=SolverConfig(sigma=0.05, smooth=0.0, iterations=30, tolerance=1e-9)),
    )
    turn = camera_rotation(fit.params) @ camera_rotation(params).mT
    angle = torch.rad2deg(torch.arccos(((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))
    assert float(angle.max()) < 1.0
    assert float(fit.residual.abs().max()) < 0.2
    assert fit.report["reprojection_percent_iod"] < 0.05
    assert torch.equal(fit.status, torch.full((6,), DETECTED, dtype=torch.int8))


def test_projection_plus_residual_is_the_detection_exactly(head):
    params, camera = _params(head), _camera(6)
    landmarks = _landmarks(head, params, camera)
    fit = fit_landmarks(head, landmarks, (256, 256), config=FitConfig(solver=SolverConfig(iterations=1)))
    points = landmark_points(head, project_head(head, fit.params, fit.camera), "mediapipe")[..., :2]
    torch.testing.assert_close(points + fit.residual, fit.landmarks, atol=2e-3, rtol=0)


def test_gap_is_filled_between_its_neighbours_and_every_frame_has_a_record(head):
    params, camera = _params(head, frames=9, motion=0.2), _camera(9)
    landmarks = _landmarks(head, params, camera)
    landmarks[3:5] = np.nan
    landmarks[8] = np.nan
    fit = fit_landmarks(head, landmarks, (256, 256))
    assert fit.status.tolist() == [DETECTED] * 3 + [INTERPOLATED] * 2 + [DETECTED] * 3 + [MISSING]
    assert fit.frames == 9
    assert torch.isfinite(fit.params.rotation).all()
    assert float(fit.confidence[3]) == 0
    assert float(fit.residual[3].abs().max()) == 0
    low, high = sorted((float(fit.camera.scale[2]), float(fit.camera.scale[5])))
    assert low - 5 <= float(fit.camera.scale[3]) <= high + 5
    assert float(fit.covariance[3, 0, 0]) > float(
        fit.covariance[1, 0, 0]
    )  # less is known where nothing was seen


def test_covariance_is_largest_in_the_middle_of_a_gap(head):
    params, camera = _params(head, frames=11, motion=0.2), _camera(11)
    landmarks = _landmarks(head, params, camera)
    landmarks[3:8] = np.nan
    fit = fit_landmarks(head, landmarks, (256, 256))
    yaw = fit.covariance[:, 1, 1]
    assert yaw[2] < yaw[3] < yaw[4] < yaw[5] > yaw[6] > yaw[7] > yaw[8]
    assert bool((torch.linalg.eigvalsh(fit.covariance.double()) > 0).all())


def test_head_is_prepared_once_and_forgotten_with_the_model():
    model = toy_head()
    first = prepared_head(model, "mediapipe", 478)
    assert prepared_head(model, "mediapipe", 478) is first
    assert prepared_head(model, "mediapipe", 478, shape_count=2).head.shape_count == 2
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_batching_does_not_matter_without_smoothing(head):
    params, camera = _params(head), _camera(6)
    landmarks = _landmarks(head, params, camera)
    once = fit_landmarks(head, landmarks, (256, 256), config=FitConfig(solver=SolverConfig(smooth=0)))
    doubled = fit_landmarks(
        head,
        np.concatenate([landmarks, landmarks]),
        (256, 256),
        config=FitConfig(solver=SolverConfig(smooth=0)),
    )
    torch.testing.assert_close(doubled.params.rotation[:6], doubled.params.rotation[6:])
    torch.testing.assert_close(once.params.rotation, doubled.params.rotation[:6], atol=0.02, rtol=0)


def test_perspective_recovers_distance(head):
    params = _params(head, frames=4)
    focal = 600.0
    place = torch.tensor([[0.0, 0.0, -0.7]]).expand(4, 3)  # model axes: 0.7 m before the camera
    points = pose_vertices(
        head, params.shape, params.expression, rotation=params.rotation, jaw=params.jaw, translation=place
    )
    camera_points = points @ MODEL_TO_CAMERA.T
    pixels = focal * camera_points[..., :2] / camera_points[..., 2:] + 128
    landmarks = np.full((4, 468, 2), np.nan)
    landmarks[:, head.landmarks["mediapipe"].indices.numpy()] = landmark_points(
        head, torch.cat([pixels, camera_points[..., 2:]], -1), "mediapipe"
    )[..., :2].numpy()
    landmarks = landmarks[:, : int(head.landmarks["mediapipe"].indices.max()) + 1]
    config = FitConfig(focal=focal, solver=SolverConfig(sigma=0.05, smooth=0, iterations=40, tolerance=0))
    fit = fit_landmarks(head, landmarks, (256, 256), config=config)
    assert fit.report["reprojection_percent_iod"] < 0.2
    torch.testing.assert_close(fit.params.translation[:, 2], place[:, 2], atol=0.05, rtol=0)


def test_scale_and_place_of_the_picture_do_not_matter(head):
    params, camera = _params(head), _camera(6)
    landmarks = _landmarks(head, params, camera)
    small = fit_landmarks(head, landmarks, (256, 256))
    large = fit_landmarks(head, landmarks * 10 + 700, (4000, 4000))
    torch.testing.assert_close(small.params.rotation, large.params.rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(small.params.expression, large.params.expression, atol=1e-3, rtol=0)
    torch.testing.assert_close(large.camera.scale, small.camera.scale * 10, rtol=1e-4, atol=0)


def test_bad_input_says_what_and_why(head):
    with pytest.raises(NoFaceError, match="at least one frame"):
        fit_landmarks(head, np.full((2, 156, 2), np.nan), (64, 64))
    with pytest.raises(ShapeError, match="add a frame axis"):
        fit_landmarks(head, np.zeros((156, 2)), (64, 64))
    with pytest.raises(HeadwarpError, match="ibug68"):
        fit_landmarks(head, np.zeros((1, 68, 2)), (64, 64), family="ibug68")


@pytest.mark.parametrize(
    ("name", "value"), [("sigma", 0.0), ("smooth", -0.1), ("iterations", 0), ("tolerance", float("nan"))]
)
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(HeadwarpError, match=f"{name}: expected"):
        SolverConfig(**{name: value})


@pytest.mark.parametrize("counts", [(0, None), (None, 0), (0, 0), (3, 2)])
def test_fewer_coefficients_are_fitted_and_the_others_stay_zero(head, counts):
    config = FitConfig(shape_count=counts[0], expression_count=counts[1])
    fit = fit_landmarks(head, _landmarks(head, _params(head), _camera(6)), (256, 256), config=config)
    for count, values in zip(counts, (fit.params.shape, fit.params.expression), strict=True):
        assert values.abs().sum() > 0 or count == 0
        assert count is None or not values[..., count:].any()
    assert torch.isfinite(fit.covariance).all()


def test_degenerate_landmarks_do_not_crash(head):
    same_point = np.full((2, 156, 2), 50.0)
    fit = fit_landmarks(head, same_point, (64, 64))
    assert torch.isfinite(fit.params.rotation).all()


def test_unconfirmed_nonsense_is_refused(head):
    rng = np.random.default_rng(0)
    fit = fit_landmarks(head, rng.uniform(0, 64, (1, 156, 2)), (64, 64))
    accept(fit, confirmed=True)
    with pytest.raises(NoFaceError, match="human face"):
        accept(fit, confirmed=False)


@pytest.fixture(scope="module")
def builtin():
    return load_builtin()


def _shape_with(head, name, amount):
    """Identity coefficients that change one proportion of the mean face by so many standard deviations."""
    pairs, _mean, spread = PROPORTIONS[name]
    slope = torch.zeros(head.shape_basis.shape[2], dtype=torch.float64)
    for a, b in pairs:
        arm = (head.template[a] - head.template[b]).double()
        slope += (head.shape_basis[a] - head.shape_basis[b]).double().T @ (arm / arm.norm()) / len(pairs)
    unit = float((head.template[33] - head.template[263]).norm())
    return (slope / (slope @ slope) * amount * spread * unit).float()


def test_proportions_of_the_mean_face_are_peoples_and_a_changed_one_is_seen(builtin):
    reduced = restrict(builtin, "mediapipe")
    plain = proportions_deviation(reduced, torch.zeros(builtin.shape_basis.shape[2]))
    assert plain < 0.7
    last = plain
    for amount in (4.0, 8.0, 12.0):
        changed = proportions_deviation(reduced, _shape_with(builtin, "eyes_to_mouth", amount))
        assert changed > last
        last = changed
    assert last > 1.6
    long = proportions_deviation(reduced, _shape_with(builtin, "eyes_to_mouth", 12.0), frames=100)
    assert long == pytest.approx(last / 1.36)


def test_proportions_need_the_face_mesh(head):
    assert proportions_deviation(restrict(head, "mediapipe"), torch.zeros(6)) is None
    fit = fit_landmarks(head, _landmarks(head, _params(head), _camera(6)), (256, 256))
    assert "proportions_deviation" not in fit.report


def _track_of(head, shape, yaw_deg=0.0):
    params = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2])
    turn = torch.tensor([[0.0, -np.radians(yaw_deg), 0.0]], dtype=torch.float32)
    camera = WeakPerspective(torch.tensor([1100.0]), torch.tensor([[128.0, 128.0]]))
    params = dataclasses.replace(params, shape=shape, rotation=turn)
    reduced = restrict(head, "mediapipe")
    return project_head(reduced, params, camera)[:, torch.argsort(reduced.indices), :2].numpy()


def test_unconfirmed_face_of_strange_proportions_is_refused_unless_in_profile(builtin):
    person, animal = torch.zeros(87), _shape_with(builtin, "nose_length", -14.0)
    accept(fit_landmarks(builtin, _track_of(builtin, person), (256, 256)), confirmed=False)
    strange = fit_landmarks(builtin, _track_of(builtin, animal), (256, 256))
    assert strange.report["reprojection_percent_iod"] < 3
    with pytest.raises(NoFaceError, match="proportions"):
        accept(strange, confirmed=False)
    assert accept(strange, confirmed=True) is strange
    accept(fit_landmarks(builtin, _track_of(builtin, animal, yaw_deg=60), (256, 256)), confirmed=False)


@pytest.mark.parametrize(
    ("name", "accepted"), [("dev/photos/p08_full_profile.jpg", True), ("ood/o08_dog.jpg", False)]
)
def test_profile_passes_and_a_dog_does_not(builtin, test_data, name, accepted):
    pytest.importorskip("mediapipe")
    face = detect_faces(read_image(test_data / name))[0]
    fit = fit_landmarks(builtin, face.landmarks[None], (512, 512))
    if accepted:
        accept(fit, confirmed=False)
    else:
        assert not face.confirmed
        with pytest.raises(NoFaceError):
            accept(fit, confirmed=face.confirmed)


def test_fit_file_round_trip_is_exact_and_equal_fits_give_equal_bytes(head, tmp_path):
    fit = fit_landmarks(head, _landmarks(head, _params(head), _camera(6)), (256, 256))
    first, second = fit.save(tmp_path / "a.npz"), fit.save(tmp_path / "b.npz")
    assert first.read_bytes() == second.read_bytes()
    again = HeadFit.load(first)
    per_frame = ("landmarks", "residual", "status", "confidence", "covariance", "deviation")
    for name in (*per_frame, "landmark_indices"):
        torch.testing.assert_close(getattr(again, name), getattr(fit, name), rtol=0, atol=0, equal_nan=True)
    for field in dataclasses.fields(fit.params):
        assert torch.equal(getattr(again.params, field.name), getattr(fit.params, field.name))
    assert again.report == fit.report
    assert again.size == fit.size
    assert again.model_id == fit.model_id
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_fit_file_of_schema_1_is_read_without_deviations(head, tmp_path):
    fit = fit_landmarks(head, _landmarks(head, _params(head), _camera(6)), (256, 256))
    with np.load(fit.save(tmp_path / "new.npz")) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "deviation"}
    np.savez(tmp_path / "old.npz", **{**arrays, "schema_version": np.array(1)})
    old = HeadFit.load(tmp_path / "old.npz")
    assert old.deviation is None
    assert old.select([0, 2]).deviation is None
    assert old.model_id == fit.model_id
    assert torch.equal(old.params.jaw, fit.params.jaw)


def test_deviations_are_below_the_priors_and_follow_the_frames(head):
    fit = fit_landmarks(head, _landmarks(head, _params(head), _camera(6)), (256, 256))
    assert fit.deviation.shape == (6, 5 + head.expression_basis.shape[2])
    assert bool((fit.deviation > 0).all())
    assert bool((fit.deviation[:, :3] < torch.tensor([0.2, 0.04, 0.04])).all())
    assert bool((fit.deviation[:, 5:] < 1).all())
    assert torch.equal(fit.select([4]).deviation[0], fit.deviation[4])
    with pytest.raises(ShapeError, match=r"jaw \(3\), eyelids \(2\), expression"):
        dataclasses.replace(fit, deviation=fit.deviation[:, :-1])


def test_fit_file_refuses_other_files(tmp_path):
    with pytest.raises(ModelFileError, match="headwarp fit"):
        HeadFit.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ModelFileError, match="does not read"):
        HeadFit.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ModelFileError, match="keys a"):
        HeadFit.load(tmp_path / "other.npz")
    np.savez(tmp_path / "newer.npz", schema_version=99)
    with pytest.raises(ModelFileError, match="upgrade"):
        HeadFit.load(tmp_path / "newer.npz")


def test_head_pose_signs():
    params = HeadParams.neutral(1, 1)
    flip = MODEL_TO_CAMERA
    angles = torch.deg2rad(torch.tensor([20.0, -10.0, 5.0]))
    turn = flip @ euler_to_matrix(angles[0], angles[1], angles[2]) @ flip
    params = dataclasses.replace(params, rotation=matrix_to_axis_angle(turn)[None])
    torch.testing.assert_close(head_pose(params)[0], torch.tensor([20.0, -10.0, 5.0]), atol=1e-4, rtol=0)
    nose = camera_rotation(params)[0] @ torch.tensor([0.0, 0.0, 1.0])
    assert nose[0] < 0
    assert nose[1] < 0
