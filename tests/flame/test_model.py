"""The head model against FLAME restated in plain loops; known answers, invariants, gradients, bad input."""

from __future__ import annotations

import copy
import dataclasses
import sys
import types

import numpy as np
import pytest
import torch
from flame_schema import flame_arrays
from scipy.spatial.transform import Rotation

from headwarp.flame import skinning
from headwarp.flame.model import (
    FLAME_PARENTS,
    HeadData,
    HeadModel,
    LandmarkEmbedding,
    landmark_points,
    pose_vertices,
    restrict,
)
from headwarp.geom.errors import ShapeError

NONE = torch.zeros(1, 0)


def head_data(**changes: object) -> HeadData:
    arrays = flame_arrays(shape_count=6, expression_count=4)
    draw = np.random.default_rng(5)
    faces = len(arrays["f"])
    embedding = LandmarkEmbedding(
        torch.arange(3, 15),
        torch.from_numpy(draw.integers(0, faces, 12)),
        torch.from_numpy(draw.multinomial(64, draw.dirichlet(np.ones(3), 12)) / 64),  # sum to 1 exactly
    )
    data = HeadData(
        name="sheet",
        template=arrays["v_template"],
        faces=arrays["f"].astype(np.int64),
        shape_basis=arrays["shapedirs"][..., :6],
        expression_basis=arrays["shapedirs"][..., 6:],
        pose_basis=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        eyelid_basis=draw.normal(0, 1e-3, (*arrays["v_template"].shape, 2)),
        landmarks={"mediapipe": embedding},
        region_masks={"top": np.arange(len(arrays["v_template"])) < 14},
    )
    return dataclasses.replace(data, **changes)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel(head_data()).double()


def random_pose(batch: int, *, scale: float = 0.3, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    widths = {"rotation": 3, "translation": 3, "neck": 3, "jaw": 3, "eyes": 6, "eyelids": 2}
    return {k: scale * torch.randn(batch, w, generator=draw, dtype=torch.float64) for k, w in widths.items()}


def coefficients(batch: int, shape_count: int = 6, expression_count: int = 4) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(9)
    sizes = [(shape_count,), (batch, expression_count)]
    return [torch.randn(*size, generator=draw, dtype=torch.float64) for size in sizes]


def flame_by_loops(
    head: HeadModel, shape: np.ndarray, expression: np.ndarray, pose: dict[str, np.ndarray]
) -> np.ndarray:
    """FLAME for one frame, vertex by vertex, from its definition; shares no code with the package."""
    template, regressor, weights = (
        getattr(head, k).numpy() for k in ("template", "joint_regressor", "weights")
    )
    shaped = np.array(
        [
            template[v]
            + sum(shape[s] * head.shape_basis.numpy()[v, :, s] for s in range(len(shape)))
            + sum(expression[e] * head.expression_basis.numpy()[v, :, e] for e in range(len(expression)))
            for v in range(len(template))
        ]
    )
    joints = [sum(regressor[j, v] * shaped[v] for v in range(len(shaped))) for j in range(5)]
    vectors = [pose["rotation"], pose["neck"], pose["jaw"], pose["eyes"][:3], pose["eyes"][3:]]
    turns = [Rotation.from_rotvec(v).as_matrix() for v in vectors]
    feature = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    world: list[np.ndarray] = []
    for j, parent in enumerate((-1, 0, 1, 1, 1)):
        local = np.eye(4)
        local[:3, :3] = turns[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    posed = []
    for v in range(len(shaped)):
        point = (
            shaped[v] + head.eyelid_basis.numpy()[v] @ pose["eyelids"] + head.pose_basis.numpy()[v] @ feature
        )
        moved = np.zeros(3)
        for j in range(5):
            back = np.eye(4)
            back[:3, 3] = -joints[j]
            moved += weights[v, j] * (world[j] @ back @ np.append(point, 1.0))[:3]
        posed.append(moved + pose["translation"])
    return np.array(posed)


def test_equals_flame_written_as_loops(head: HeadModel) -> None:
    pose = random_pose(3)
    shape, expression = coefficients(3)
    got = pose_vertices(head, shape, expression, **pose)
    for frame in range(3):
        one = {k: v[frame].numpy() for k, v in pose.items()}
        wanted = flame_by_loops(head, shape.numpy(), expression[frame].numpy(), one)
        np.testing.assert_allclose(got[frame].numpy(), wanted, atol=1e-12)


def test_at_rest_it_is_the_template(head: HeadModel) -> None:
    zeros = {k: torch.zeros_like(v) for k, v in random_pose(2).items()}
    wanted = head.template.expand(2, -1, -1)
    torch.testing.assert_close(
        pose_vertices(head, NONE, NONE.expand(2, 0), **zeros), wanted, rtol=0, atol=1e-15
    )
    torch.testing.assert_close(pose_vertices(head, NONE, NONE), head.template[None], rtol=0, atol=1e-15)


def test_without_a_pose_it_is_the_shaped_template(head: HeadModel) -> None:
    shape, expression = coefficients(2)
    wanted = (
        head.template
        + head.shape_basis @ shape
        + torch.einsum("vce,be->bvc", head.expression_basis, expression)
    )
    torch.testing.assert_close(pose_vertices(head, shape, expression), wanted, rtol=0, atol=1e-14)


def test_rotation_is_rigid_about_the_root_joint(head: HeadModel) -> None:
    pose = random_pose(2, scale=1.0)
    shape, expression = coefficients(2)
    rest = pose_vertices(head, shape, expression)
    joint = torch.einsum("v,bvc->bc", head.joint_regressor[0], rest)
    turn = torch.from_numpy(Rotation.from_rotvec(pose["rotation"].numpy()).as_matrix())
    wanted = torch.einsum("bij,bvj->bvi", turn, rest - joint[:, None]) + joint[:, None]
    got = pose_vertices(head, shape, expression, rotation=pose["rotation"])
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-13)
    assert (wanted - torch.einsum("bij,bvj->bvi", turn, rest)).abs().max() > 1e-3, (
        "the pivot must matter here"
    )


def test_rotation_leaves_a_posed_face_rigid(head: HeadModel) -> None:
    pose = random_pose(1)
    still = {k: v for k, v in pose.items() if k not in ("rotation", "translation")}
    shape, expression = coefficients(1)
    flat = pose_vertices(head, shape, expression, **still)[0]
    turned = pose_vertices(head, shape, expression, **pose)[0]
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(flat, flat), rtol=0, atol=1e-7)


def test_jaw_moves_only_what_hangs_on_it() -> None:
    head = HeadModel(head_data(pose_basis=None)).double()
    moved = pose_vertices(head, NONE, NONE, jaw=torch.tensor([[0.4, 0.0, 0.0]]))[0] - head.template
    free = head.weights[:, 2] == 0
    assert free.sum() >= 14
    assert moved[free].abs().max() < 1e-15
    assert moved[~free].norm(dim=1).min() > 0


def test_jaw_opens_downwards() -> None:
    weights = np.zeros((56, 5))
    weights[:, 2] = 1
    head = HeadModel(head_data(pose_basis=None, weights=weights)).double()
    front = head.template[:, 2] > head.joint_template[2, 2] + 5e-3
    assert front.sum() > 9
    opened = pose_vertices(head, NONE, NONE, jaw=torch.tensor([[0.01, 0.0, 0.0]]))[0]
    assert (opened[front, 1] < head.template[front, 1]).all()


def test_eyelids_turn_with_the_head(head: HeadModel) -> None:
    pose = {"rotation": torch.tensor([[0.0, 1.2, 0.0]], dtype=torch.float64)}
    lids = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    shift = pose_vertices(head, NONE, NONE, eyelids=lids, **pose) - pose_vertices(head, NONE, NONE, **pose)
    turn = torch.from_numpy(Rotation.from_rotvec(pose["rotation"].numpy()).as_matrix())
    torch.testing.assert_close(shift[0], head.eyelid_basis @ lids[0] @ turn[0].T, rtol=0, atol=1e-14)


def test_translation_comes_last(head: HeadModel) -> None:
    pose = random_pose(2)
    moved = pose_vertices(head, NONE, NONE, **pose)
    still = pose_vertices(head, NONE, NONE, **(pose | {"translation": torch.zeros(2, 3)}))
    torch.testing.assert_close(
        moved - still, pose["translation"][:, None].expand_as(moved), rtol=0, atol=1e-14
    )


def test_a_batch_is_its_frames(head: HeadModel) -> None:
    pose = random_pose(4)
    shape, expression = coefficients(4)
    whole = pose_vertices(head, shape, expression, **pose)
    for frame in range(4):
        one = {k: v[frame : frame + 1] for k, v in pose.items()}
        alone = pose_vertices(head, shape, expression[frame : frame + 1], **one)
        torch.testing.assert_close(whole[frame : frame + 1], alone, rtol=0, atol=1e-14)


def test_batches_of_one_broadcast(head: HeadModel) -> None:
    pose = random_pose(3)
    shape, expression = coefficients(1)
    wide = pose_vertices(head, shape.expand(3, -1), expression.expand(3, -1), **pose)
    torch.testing.assert_close(pose_vertices(head, shape, expression, **pose), wide, rtol=0, atol=1e-14)
    many = pose_vertices(head, shape.expand(3, -1), expression, jaw=pose["jaw"][:1])
    torch.testing.assert_close(many, many[:1].expand(3, -1, -1), rtol=0, atol=1e-14)


def test_blocks_do_not_change_skinning(head: HeadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pose = random_pose(5)
    shape, expression = coefficients(5)
    whole = pose_vertices(head, shape, expression, **pose)
    monkeypatch.setattr(skinning, "_POINTS_AT_ONCE", 2 * len(head.template))
    torch.testing.assert_close(pose_vertices(head, shape, expression, **pose), whole, rtol=0, atol=1e-15)


def test_short_vectors_use_the_leading_columns(head: HeadModel) -> None:
    shape, expression = coefficients(2)
    cut = pose_vertices(head, shape[:3], expression[:, :1], **random_pose(2))
    shape, expression = shape.clone(), expression.clone()
    shape[3:], expression[:, 1:] = 0, 0
    torch.testing.assert_close(
        cut, pose_vertices(head, shape, expression, **random_pose(2)), rtol=0, atol=1e-14
    )


def test_vertex_subset_equals_the_rows_of_the_mesh(head: HeadModel) -> None:
    pose = random_pose(2)
    shape, expression = coefficients(2)
    rows = torch.tensor([50, 3, 3, 17])
    whole = pose_vertices(head, shape, expression, **pose)
    subset = pose_vertices(head, shape, expression, **pose, vertices=rows)
    torch.testing.assert_close(subset, whole[:, rows], rtol=0, atol=1e-14)
    assert pose_vertices(head, shape, expression, vertices=rows[:0]).shape == (2, 0, 3)


def test_only_active_correctives_are_multiplied() -> None:
    basis = flame_arrays(shape_count=6, expression_count=4)["posedirs"].copy()
    basis[..., :9], basis[..., 18:27] = 0, 0  # neck and left eye have none
    head = HeadModel(head_data(pose_basis=basis)).double()
    assert head.pose_joints == (2, 4)
    pose = random_pose(1)
    wanted = flame_by_loops(head, np.zeros(0), np.zeros(0), {k: v[0].numpy() for k, v in pose.items()})
    np.testing.assert_allclose(pose_vertices(head, NONE, NONE, **pose)[0].numpy(), wanted, atol=1e-12)
    assert HeadModel(head_data(pose_basis=None)).pose_joints == ()


def test_other_joint_trees_work() -> None:
    data = head_data(
        parents=(-1, 0, 1), joint_names=("root", "neck", "jaw"), pose_basis=None,
        weights=head_data().weights[:, :3], joint_regressor=head_data().joint_regressor[:3],
    )  # fmt: skip
    head = HeadModel(data)
    assert pose_vertices(head, NONE, NONE, jaw=torch.zeros(2, 3)).shape == (2, 56, 3)
    with pytest.raises(ShapeError, match=r"left_eye.*no such joint"):
        pose_vertices(head, NONE, NONE, eyes=torch.zeros(1, 6))


def test_gradients_are_right(head: HeadModel) -> None:
    pose = {k: v.requires_grad_() for k, v in random_pose(2).items()}
    shape, expression = (c.requires_grad_() for c in coefficients(2))
    rows = torch.tensor([0, 9, 40])

    def posed(*values: torch.Tensor) -> torch.Tensor:
        return pose_vertices(head, *values[:2], **dict(zip(pose, values[2:], strict=True)), vertices=rows)

    assert torch.autograd.gradcheck(posed, (shape, expression, *pose.values()))


def test_gradients_are_right_at_rest(head: HeadModel) -> None:
    at_zero = [torch.zeros(1, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def posed(rotation: torch.Tensor, jaw: torch.Tensor) -> torch.Tensor:
        return pose_vertices(head, NONE, NONE, rotation=rotation, jaw=jaw)

    assert torch.autograd.gradcheck(posed, at_zero)


def test_landmarks_lie_on_their_faces(head: HeadModel) -> None:
    verts = pose_vertices(head, *coefficients(2), **random_pose(2))
    got = landmark_points(head, verts, "mediapipe")
    embedding = head.landmarks["mediapipe"]
    for row in range(12):
        corners = verts[1, head.faces[embedding.faces[row]]]
        torch.testing.assert_close(got[1, row], embedding.bary[row] @ corners, rtol=0, atol=1e-15)


def test_restricted_landmarks_equal_those_of_the_mesh() -> None:
    rigid = np.zeros((56, 5))
    rigid[:, 1] = 1  # all on the neck: corners share their weights, so the restriction is exact
    head = HeadModel(head_data(weights=rigid)).double()
    pose, (shape, expression) = random_pose(3), coefficients(3)
    wanted = landmark_points(head, pose_vertices(head, shape, expression, **pose), "mediapipe")
    small = restrict(head, "mediapipe")
    assert torch.equal(small.indices, torch.arange(3, 15))
    torch.testing.assert_close(pose_vertices(small, shape, expression, **pose), wanted, rtol=0, atol=1e-13)


def test_restricted_landmarks_with_mixed_weights_err_to_second_order(head: HeadModel) -> None:
    """Exact without joint motion; the error with it shrinks with the angle."""
    shape, expression = coefficients(1)
    small = restrict(head, "mediapipe")
    still = {k: v for k, v in random_pose(1).items() if k in ("rotation", "translation", "eyelids")}
    wanted = landmark_points(head, pose_vertices(head, shape, expression, **still), "mediapipe")
    torch.testing.assert_close(pose_vertices(small, shape, expression, **still), wanted, rtol=0, atol=1e-13)
    errors = []
    for angle in (0.02, 0.2):
        jaw = torch.tensor([[angle, 0.0, 0.0]])
        wanted = landmark_points(head, pose_vertices(head, shape, expression, jaw=jaw), "mediapipe")
        errors.append((pose_vertices(small, shape, expression, jaw=jaw) - wanted).norm(dim=2).max())
    assert errors[0] < 0.12 * errors[1]
    assert errors[1] < 0.2 * 0.03  # angle times half an edge of this coarse sheet


def test_float32_agrees_with_float64(head: HeadModel) -> None:
    pose, (shape, expression) = random_pose(2), coefficients(2)
    single = pose_vertices(HeadModel(head_data()), shape, expression, **pose)
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), pose_vertices(head, shape, expression, **pose), rtol=0, atol=1e-6
    )


def test_double_takes_everything_along() -> None:
    head = HeadModel(
        head_data(
            named_expressions={"smile": np.ones(4)}, uv=np.zeros((3, 2)), uv_faces=np.zeros((84, 3), int)
        )
    )
    double = copy.deepcopy(head).double()
    exact = double.joint_regressor @ double.template
    torch.testing.assert_close(double.joint_template, exact, rtol=0, atol=1e-15)
    assert (
        double.landmarks["mediapipe"].bary.dtype == double.named_expressions["smile"].dtype == torch.float64
    )
    assert double.landmarks["mediapipe"].faces.dtype == torch.int64
    assert double.region_masks["top"].dtype == torch.bool
    assert double.uv is not None
    assert double.uv.dtype == torch.float64
    assert head.template.dtype == torch.float32
    assert double.model_id == head.model_id


def test_model_id_follows_what_parameters_mean() -> None:
    names = HeadModel(head_data()).model_id.split("-")
    assert names[0] == "sheet"
    assert len(names[1]) == 12
    same = head_data(landmarks={}, region_masks={}, licence="other")
    assert HeadModel(same).model_id == HeadModel(head_data()).model_id
    shifted = head_data().expression_basis.copy()
    shifted[0, 0, 0] += 1e-3
    for change in ({"expression_basis": shifted}, {"eyelid_basis": None}, {"parents": (-1, 0, 1, 1, 2)}):
        assert HeadModel(head_data(**change)).model_id != HeadModel(head_data()).model_id, change
    none, zeros = head_data(eyelid_basis=None), head_data(eyelid_basis=np.zeros((56, 3, 2)))
    assert HeadModel(none).model_id == HeadModel(zeros).model_id


def test_named_expressions_are_derived_once_and_stored_ones_win(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[HeadModel] = []
    module = types.ModuleType("headwarp.flame.expressions")
    module.named_expressions = lambda m: calls.append(m) or {"smile": torch.ones(4)}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "headwarp.flame.expressions", module)
    head = HeadModel(head_data())
    assert head.named_expressions["smile"].tolist() == [1.0] * 4
    assert set(head.named_expressions) == {"smile"}
    assert calls == [head]
    stored = HeadModel(head_data(named_expressions={"frown": np.zeros(4)}))
    assert set(stored.named_expressions) == {"frown"}
    assert calls == [head]


def test_the_model_does_not_share_memory_with_its_source() -> None:
    data = head_data()
    template = data.template.astype(np.float32)
    head = HeadModel(dataclasses.replace(data, template=template))
    before = head.template.clone()
    template[:] = 0
    assert torch.equal(head.template, before)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"template": np.zeros((5, 2))}, r"template: expected \(\*, 3\), got \(5, 2\)"),
        ({"template": np.full((56, 3), np.nan)}, "template: expected finite numbers"),
        ({"faces": np.full((2, 3), 56)}, r"faces: expected indices below 56 \(vertices\), got 56..56"),
        ({"faces": np.zeros((2, 3))}, "faces: expected integers, got float64"),
        ({"shape_basis": np.zeros((55, 3, 2))}, r"shape_basis: expected \(56, 3, \*\), got \(55, 3, 2\)"),
        ({"pose_basis": np.zeros((56, 3, 9))}, r"pose_basis: expected \(56, 3, 36\)"),
        ({"weights": np.zeros((56, 4))}, r"weights: expected \(56, 5\)"),
        ({"parents": (-1, 0, 3, 1, 1)}, "parents: expected -1 first, then"),
        ({"parents": (-1, 0)}, "joint_names: expected 2"),
        ({"region_masks": {"lips": np.zeros(56)}}, r"region_masks\['lips'\]: expected bool \(56,\)"),
        ({"named_expressions": {"smile": np.zeros(3)}}, r"named_expressions\['smile'\]: expected \(4,\)"),
        ({"uv": np.zeros((4, 2))}, "uv, uv_faces: expected both or neither"),
        ({"uv": np.zeros((4, 2)), "uv_faces": np.full((84, 3), 4)}, "uv_faces: expected indices below 4"),
    ],
)  # fmt: skip
def test_bad_arrays_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        HeadModel(head_data(**change))


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("faces", torch.full((12,), 84), r"faces: expected indices below 84 \(faces\), got 84"),
        ("faces", torch.zeros(11, dtype=torch.long), r"faces: expected \(12,\), got \(11,\)"),
        ("bary", torch.ones(12, 3), r"bary: expected rows that sum to 1, row 0 is"),
        ("bary", torch.full((12, 3), torch.nan), "bary: expected rows that sum to 1"),
    ],
)
def test_bad_embeddings_are_refused(field: str, value: torch.Tensor, text: str) -> None:
    embedding = dataclasses.replace(head_data().landmarks["mediapipe"], **{field: value})
    with pytest.raises(ShapeError, match=r"landmarks\['mediapipe'\]\." + text):
        HeadModel(head_data(landmarks={"mediapipe": embedding}))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"shape": torch.zeros(7)}, r"shape: expected \(6,\) or \(B, 6\).* got \(7,\)"),
        ({"expression": torch.zeros(1, 2, 2)}, r"expression: expected \(4,\)"),
        ({"jaw": torch.zeros(3)}, r"jaw: expected \(B, 3\), got \(3,\)"),
        ({"eyes": torch.zeros(1, 3)}, r"eyes: expected \(B, 6\)"),
        (
            {"jaw": torch.zeros(2, 3), "neck": torch.zeros(3, 3)},
            r"expected one batch size or 1, got \[2, 3\]",
        ),
        ({"vertices": torch.zeros(56, dtype=torch.bool)}, r"turn a mask into indices"),
        ({"vertices": torch.tensor([0, 56])}, r"vertices: expected indices from 0 to 55, got 0..56"),
    ],
)
def test_bad_parameters_are_refused(head: HeadModel, arguments: dict[str, torch.Tensor], text: str) -> None:
    given = {"shape": NONE, "expression": NONE} | arguments
    with pytest.raises(ShapeError, match=text):
        pose_vertices(head, given.pop("shape"), given.pop("expression"), **given)


def test_missing_landmarks_say_what_there_is(head: HeadModel) -> None:
    with pytest.raises(ShapeError, match=r"'ibug68', this head \(sheet-.*\) has mediapipe; load it with"):
        restrict(head, "ibug68")
    with pytest.raises(ShapeError, match=r"verts: expected \(B, 56, 3\), got \(1, 5, 3\)"):
        landmark_points(head, torch.zeros(1, 5, 3), "mediapipe")


def test_empty_batches_are_allowed(head: HeadModel) -> None:
    assert pose_vertices(head, NONE, torch.zeros(0, 4), jaw=torch.zeros(0, 3)).shape == (0, 56, 3)


def test_parents_are_flames() -> None:
    assert FLAME_PARENTS == (-1, 0, 1, 1, 1)


def test_an_embedding_is_completed_by_another() -> None:
    one = LandmarkEmbedding(torch.tensor([3, 1]), torch.tensor([0, 1]), torch.eye(3)[:2], "deca")
    two = LandmarkEmbedding(torch.tensor([1, 5]), torch.tensor([7, 8]), torch.eye(3)[1:].double())
    both = one.completed_by(two)
    assert both.indices.tolist() == [3, 1, 5]
    assert both.faces.tolist() == [0, 1, 8]
    assert torch.equal(both.bary, torch.eye(3))
    assert both.origin == "deca + given"
    assert both.completed_by(one) is both
