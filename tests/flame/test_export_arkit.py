"""ARKit: known inputs come back in the right columns; the CSV has the layout of Live Link Face."""

from __future__ import annotations

import csv
import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe
from scipy.optimize import lsq_linear
from toy_fit import toy_fit
from toy_head import toy_head

from headwarp.flame._head_data import HeadData, LandmarkEmbedding
from headwarp.flame.export._arkit_lids import left_over
from headwarp.flame.export._arkit_tables import ARKIT_NAMES, UNSEEN
from headwarp.flame.export.arkit import arkit_track, bounded_least_squares, timecode, write_arkit_csv
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadModel, landmark_points, restrict
from headwarp.flame.params import MISSING
from headwarp.flame.posing import JAW_OPEN_RADIANS, camera_rotation, project_head
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.transforms import euler_to_matrix, matrix_to_axis_angle


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("builtin")


def found(head: HeadModel, frames: int = 1, **params: torch.Tensor) -> dict[str, np.ndarray]:
    return by_name(arkit_track(head, toy_fit(head, frames, **params)).weights)


def by_name(weights: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(ARKIT_NAMES, weights.T, strict=True))


def test_names_are_apples():
    assert len(set(ARKIT_NAMES)) == 52
    assert (ARKIT_NAMES[0], ARKIT_NAMES[17], ARKIT_NAMES[51]) == ("eyeBlinkLeft", "jawOpen", "tongueOut")
    twins = {name.replace("Left", "Right") for name in ARKIT_NAMES if "Left" in name}
    assert twins == {name for name in ARKIT_NAMES if "Right" in name}


def test_a_resting_face_is_all_zero(head):
    assert max(abs(value).max() for value in found(head).values()) < 1e-6


@pytest.mark.parametrize(
    ("expression", "wanted", "others"),
    [
        ("smile", ("mouthSmileLeft", "mouthSmileRight"), ()),
        ("frown", ("mouthFrownLeft", "mouthFrownRight"), ("browDownLeft", "browDownRight")),
        ("brows_up", ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), ("eyeWideLeft", "eyeWideRight")),
        ("brows_down", ("browDownLeft", "browDownRight"), ("eyeBlinkLeft", "eyeBlinkRight")),
        ("pucker", ("mouthPucker",), ()),
        ("mouth_left", ("mouthLeft",), ()),
        ("mouth_right", ("mouthRight",), ()),
        ("blink_left", ("eyeBlinkLeft",), ("eyeSquintLeft",)),
        ("blink_right", ("eyeBlinkRight",), ("eyeSquintRight",)),
    ],
)
def test_named_expressions_land_in_their_columns(head, expression, wanted, others):
    """``others``: what the expression moves along on this head."""
    columns = found(head, expression=head.named_expressions[expression][None])
    assert min(float(columns[name][0]) for name in wanted) > 0.75
    rest = {name: float(value[0]) for name, value in columns.items() if name not in (*wanted, *others)}
    assert max(rest.values()) < 0.2, max(rest, key=rest.get)


def test_amounts_come_back_in_a_mixture(head):
    named = head.named_expressions
    columns = found(
        head,
        expression=(0.5 * named["smile"] + 0.6 * named["brows_up"])[None],
        jaw=torch.tensor([[0.5 * JAW_OPEN_RADIANS, 0.0, 0.0]]),
    )
    for name, amount in {
        "mouthSmileLeft": 0.5,
        "mouthSmileRight": 0.5,
        "browOuterUpLeft": 0.6,
        "jawOpen": 0.5,
    }.items():
        assert float(columns[name][0]) == pytest.approx(amount, abs=0.1), name


def test_the_jaw_joint(head):
    turns = torch.tensor(
        [[0.6 * JAW_OPEN_RADIANS, 0, 0], [0, 0.06, 0], [0, -0.06, 0], [JAW_OPEN_RADIANS, 0, 0]]
    )
    columns = found(head, 4, jaw=turns)
    np.testing.assert_allclose(columns["jawOpen"], [0.6, 0, 0, 1], atol=0.05)
    np.testing.assert_allclose(columns["jawLeft"], [0, 0.5, 0, 0], atol=0.03)
    np.testing.assert_allclose(columns["jawRight"], [0, 0, 0.5, 0], atol=0.03)
    others = [value.max() for name, value in columns.items() if not name.startswith("jaw")]
    assert max(others) < 0.1


def test_mirrored_faces_give_mirrored_columns(head):
    left, right = (
        found(head, expression=head.named_expressions[f"mouth_{s}"][None]) for s in ("left", "right")
    )
    for name, value in left.items():
        twin = name.replace("Left", "_").replace("Right", "Left").replace("_", "Right")
        assert float(value[0]) == pytest.approx(float(right[twin][0]), abs=0.01), name


def test_the_eyelids_of_a_short_fit_against_the_models_own(head):
    columns = found(head, 3, eyelids=torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]))
    np.testing.assert_allclose(columns["eyeBlinkLeft"], [0, 1, 0.57], atol=0.06)
    np.testing.assert_allclose(columns["eyeBlinkRight"], [0, 0, 0.57], atol=0.06)


def test_a_clip_says_itself_what_open_eyes_are(head):
    """Eyes wider than the model's all along, shut in two frames."""
    lids = torch.full((40, 2), -0.5)
    lids[20:22] = 1.0
    columns = found(head, 40, eyelids=lids)
    for side in ("Left", "Right"):
        blink = columns[f"eyeBlink{side}"]
        assert blink[20:22].min() > 0.95
        assert np.delete(blink, [20, 21]).max() < 0.02
        assert columns[f"eyeWide{side}"].max() < 0.02
        assert np.delete(columns[f"eyeSquint{side}"], [20, 21]).max() < 0.02


def test_a_residual_in_the_image_plane_is_turned_back_exactly(head):
    """2 mm across the camera's view, in pixels, are the same 2 mm in the axes of a head turned about all
    axes."""
    fit = toy_fit(head, 1, rotation=torch.tensor([[0.4, -0.7, 0.9]]), scale=500.0)
    seen = torch.tensor([0.0012, 0.0016, 0.0])
    fit = dataclasses.replace(fit, residual=(500 * seen[:2]).expand_as(fit.residual))
    face = restrict(head, "mediapipe")
    wanted = camera_rotation(fit.params)[0].T @ seen
    np.testing.assert_allclose(left_over(face, fit)[0], wanted.expand(478, 3), atol=1e-8)


@pytest.mark.parametrize("angles", [(25.0, 5.0, 10.0), (0.0, 0.0, -120.0)])
def test_lids_that_the_fit_did_not_follow_are_seen_in_its_residual(head, angles):
    """The mesh keeps its eyes open; the detected landmarks of frame 3 shut them, in a turned head."""
    turned = euler_to_matrix(*torch.deg2rad(torch.tensor(angles)))
    turn = matrix_to_axis_angle(turned).expand(30, 3)
    lids = torch.zeros(30, 2)
    lids[3] = 1.0
    shut = toy_fit(head, 30, rotation=turn, eyelids=lids)
    opened = toy_fit(head, 30, rotation=turn)
    fit = dataclasses.replace(opened, landmarks=shut.landmarks, residual=shut.landmarks - opened.landmarks)
    columns = by_name(arkit_track(head, fit).weights)
    assert columns["eyeBlinkLeft"][3] > 0.85
    assert columns["eyeBlinkRight"][3] > 0.85
    assert np.delete(columns["eyeBlinkLeft"], 3).max() < 0.02


def test_gaze(head):
    """Both eyes 15 degrees to the subject's left, then 10 degrees down."""
    yaw, down = math.radians(15), math.radians(10)
    columns = found(head, 2, eyes=torch.tensor([[0, yaw, 0, 0, yaw, 0], [down, 0, 0, down, 0, 0]]))
    np.testing.assert_allclose(columns["eyeLookOutLeft"], [0.5, 0], atol=1e-5)
    np.testing.assert_allclose(columns["eyeLookInRight"], [0.5, 0], atol=1e-5)
    np.testing.assert_allclose(columns["eyeLookDownLeft"], [0, 0.4], atol=1e-5)
    np.testing.assert_allclose(columns["eyeLookDownRight"], [0, 0.4], atol=1e-5)
    assert columns["eyeLookInLeft"].max() == columns["eyeLookUpLeft"].max() == 0


def test_rotations_are_radians_about_the_models_axes(head):
    angles = torch.tensor([[0.4, -0.2, 0.1]])
    track = arkit_track(head, toy_fit(head, 1, rotation=matrix_to_axis_angle(euler_to_matrix(*angles.T))))
    np.testing.assert_allclose(track.rotations[0, :3], angles[0], atol=1e-5)
    np.testing.assert_allclose(track.rotations[0, 3:], 0, atol=1e-6)


def test_what_no_camera_shows_is_named_and_zero(head):
    track = arkit_track(head, toy_fit(head, 2))
    assert set(UNSEEN) == set(track.unseen)
    assert not by_name(track.weights)["tongueOut"].any()


def test_the_residual_is_what_stays_unexplained(head):
    smile = head.named_expressions["smile"][None]
    track = arkit_track(head, toy_fit(head, 1, expression=smile))
    assert 0 < track.residual[0] < 0.1 * track.moved[0]
    noise = torch.randn(1, 69, generator=torch.Generator().manual_seed(0))
    track = arkit_track(head, toy_fit(head, 1, expression=noise))
    assert track.residual[0] > 0.3 * track.moved[0]


def test_a_head_with_some_of_the_landmarks(head):
    """As FLAME's embedding of 105: eyes, brows, nose, lips."""
    from headwarp.flame.landmarks import LEFT_BROW, LEFT_EYE_RIM, LIPS, RIGHT_BROW, RIGHT_EYE_RIM

    kept = sorted({*LEFT_BROW, *RIGHT_BROW, *LEFT_EYE_RIM, *RIGHT_EYE_RIM, *LIPS, 1, 4, 5, 6, 168, 195, 197})
    whole = head.landmarks["mediapipe"]
    part = load_head("builtin")
    part.landmarks["mediapipe"] = LandmarkEmbedding(whole.indices[kept], whole.faces[kept], whole.bary[kept])
    columns = found(part, expression=head.named_expressions["smile"][None])
    assert float(columns["mouthSmileLeft"][0]) > 0.7
    assert not columns["cheekSquintLeft"].any()


def test_a_head_without_face_mesh_landmarks_is_refused(tmp_path):
    head = toy_head()
    fit = toy_fit(head, 1)
    head.landmarks = {}
    with pytest.raises(ShapeError, match=r"expected the landmark family 'mediapipe', this head .* has none"):
        write_arkit_csv(head, fit, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_bounded_least_squares_is_the_minimum():
    rng = np.random.default_rng(0)
    columns, targets = rng.normal(size=(30, 6)), rng.normal(size=(8, 30)) * 3
    least = np.linspace(0, 0.5, 6)
    got = bounded_least_squares(columns, targets, ridge=0.3, least=least)
    assert ((got == 1).any(), (got == 0).any()) == (True, True)

    def cost(w: np.ndarray, target: np.ndarray) -> float:
        price = 2 * (least * np.linalg.norm(columns, axis=0)) @ w
        return float(np.square(columns @ w - target).sum() + 0.09 * np.square(w).sum() + price)

    for row, target in zip(got, targets, strict=True):
        for _ in range(200):
            other = np.clip(row + rng.normal(size=6) * rng.choice([1e-3, 0.1, 1.0]), 0, 1)
            assert cost(row, target) <= cost(other, target) + 1e-9
    plain = bounded_least_squares(columns, targets, ridge=1e-6, least=np.zeros(6))
    np.testing.assert_allclose(plain[0], lsq_linear(columns, targets[0], bounds=(0, 1)).x, atol=1e-5)


@pytest.mark.parametrize(
    ("frame", "rate", "text"),
    [
        (0, Fraction(25), "00:00:00:00.000"),
        (26, Fraction(25), "00:00:01:01.000"),
        (59, Fraction(60000, 1001), "00:00:00:59.000"),
        (90_000, Fraction(25), "01:00:00:00.000"),
        (3, Fraction(1, 2), "00:00:03:00.000"),
    ],
)
def test_timecode(frame, rate, text):
    assert timecode(frame, rate) == text


def test_the_layout_is_that_of_live_link_face(head, tmp_path):
    jaw = torch.zeros(3, 3)
    jaw[1, 0] = JAW_OPEN_RADIANS
    fit = toy_fit(head, 3, jaw=jaw)
    fit.status[2] = MISSING
    report = write_arkit_csv(head, fit, tmp_path / "a.csv", fps=30)
    with (tmp_path / "a.csv").open(newline="", encoding="ascii") as file:
        rows = list(csv.reader(file))
    assert [len(row) for row in rows] == [63] * 4
    assert rows[0][:4] == ["Timecode", "BlendshapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
    assert rows[0][16:20] == ["JawForward", "JawRight", "JawLeft", "JawOpen"]
    assert rows[0][53:] == [
        *("TongueOut", "HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll"),
        *("RightEyeYaw", "RightEyePitch", "RightEyeRoll"),
    ]
    assert [row[:2] for row in rows[1:]] == [[f"00:00:00:0{i}.000", "61"] for i in range(3)]
    assert float(rows[2][19]) == pytest.approx(1, abs=0.03)
    assert (report.frames, report.fps, report.not_detected) == (3, 30, (2,))


def test_refusals(head, tmp_path):
    with pytest.raises(HeadwarpError, match=r"ending in \.csv, got \.txt"):
        write_arkit_csv(head, toy_fit(head, 1), tmp_path / "a.txt")
    jaw = torch.full((1, 3), math.inf)
    with pytest.raises(HeadwarpError, match="NaN or infinity in 'jaw'"):
        write_arkit_csv(head, toy_fit_with(head, jaw), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def toy_fit_with(head: HeadModel, jaw: torch.Tensor):
    fit = toy_fit(head, 1)
    return dataclasses.replace(fit, params=dataclasses.replace(fit.params, jaw=jaw))


def test_the_helper_projects_what_it_says(head):
    """Guards the residual test: the toy fit's landmarks are the projected mesh."""
    fit = toy_fit(head, 1)
    points = landmark_points(head, project_head(head, fit.params, fit.camera), "mediapipe")[..., :2]
    assert torch.equal(points, fit.landmarks)


def named_head() -> HeadModel:
    """The built-in head with three of its expressions as its only columns, under ICT-FaceKit's names."""
    builtin = load_head("builtin")
    named = builtin.named_expressions
    columns = torch.stack([named["mouth_left"], named["brows_up"], 0.5 * named["brows_up"]], dim=1)
    return HeadModel(
        HeadData(
            name="named",
            template=builtin.template,
            faces=builtin.faces,
            shape_basis=builtin.shape_basis,
            expression_basis=builtin.expression_basis @ columns,
            joint_regressor=builtin.joint_regressor,
            weights=builtin.weights,
            eyelid_basis=builtin.eyelid_basis,
            landmarks=builtin.landmarks,
            expression_names=("mouthLeft", "browInnerUp_L", "browInnerUp_R"),
        )
    )


def test_a_heads_own_blendshapes_are_read_off():
    head = named_head()
    expression = torch.tensor([[0.7, 0.4, 0.2], [0.0, 0.0, 0.0], [1.6, -0.5, 0.0]])
    columns = found(head, 3, expression=expression, jaw=torch.tensor([[0.5 * JAW_OPEN_RADIANS, 0, 0]] * 3))
    np.testing.assert_allclose(columns["mouthLeft"], [0.7, 0, 1], atol=1e-6)
    np.testing.assert_allclose(columns["browInnerUp"], [0.3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(columns["jawOpen"][:2], 0.5, atol=0.05)
    own = ("mouthLeft", "browInnerUp", "jawOpen", "eye")  # the lids are moved along
    others = [value[:2].max() for name, value in columns.items() if not name.startswith(own)]
    assert max(others) < 0.05


@pytest.mark.slow
@needs_mediapipe
def test_an_ict_folder(test_data):
    """Part of the real blendshapes: what is posed comes back to the digit."""
    from headwarp.tools.heads import ready_head

    head = ready_head(test_data / "ict_facekit" / "FaceXModel")
    amounts = torch.linspace(0.2, 0.9, head.expression_basis.shape[2])[None]
    columns = found(head, expression=amounts)
    for name, arkit in (("mouthSmile_L", "mouthSmileLeft"), ("mouthPucker", "mouthPucker")):
        wanted = float(amounts[0, head.expression_names.index(name)])
        assert float(columns[arkit][0]) == pytest.approx(wanted, abs=1e-5)
