"""GNM Head files: posed as GNM poses them, joints by their own basis, landmarks in order; what is refused."""

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe
from gnm_file import COUNTS, gnm_arrays, gnm_vertices, sparse_rows, write_gnm_file

from headwarp.flame._embedding_open import opened_mouth
from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.landmarks import LIPS_INNER_LOWER, LIPS_INNER_UPPER
from headwarp.flame.model import HeadData, HeadModel, landmark_points, pose_vertices, with_landmarks
from headwarp.flame.posing import body_vertices, skull_vertices
from headwarp.geom.errors import ModelFileError, ShapeError
from headwarp.tools.cli import main
from headwarp.tools.heads import ready_head


@pytest.fixture(scope="module")
def builtin():
    return load_head("builtin")


@pytest.fixture(scope="module")
def arrays(builtin):
    return gnm_arrays(builtin)


@pytest.fixture(scope="module")
def path(builtin, arrays, tmp_path_factory):
    return write_gnm_file(tmp_path_factory.mktemp("gnm"), arrays, sparse_rows(builtin))


@pytest.fixture(scope="module")
def head(path):
    return load_head(path, dtype=torch.float64)


@pytest.fixture
def written(builtin, arrays, tmp_path):
    """Writes a changed file; None leaves a key out."""

    def write(landmarks=None, **changed):
        return write_gnm_file(tmp_path, {**arrays, **changed}, landmarks)

    return write


def draw(arrays, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=len(arrays["vertex_identity_basis"])),
        rng.normal(size=len(arrays["expression_basis"])),
        rng.normal(0, 0.4, (4, 3)),
        rng.normal(0, 0.1, 3),
    )


# the model


@pytest.mark.parametrize("seed", range(3))
def test_it_is_posed_as_gnm_poses_it(head, arrays, seed):
    identity, expression, rotations, translation = draw(arrays, seed)
    names = arrays["expression_names"].tolist()
    ours = torch.tensor([expression[names.index(name)] for name in head.expression_names])
    row = lambda values: torch.from_numpy(np.atleast_2d(values))  # noqa: E731
    posed = pose_vertices(
        head,
        torch.from_numpy(identity),
        row(ours.numpy()),
        rotation=row(rotations[0]),
        neck=row(rotations[1]),
        eyes=row(rotations[2:].reshape(-1)),
        translation=row(translation),
    )[0]
    expected = gnm_vertices(arrays, identity, expression, rotations, translation)
    assert np.abs(posed.numpy() - expected).max() < 1e-12


def test_joints_follow_the_identity_by_their_own_basis_and_no_expression(head, arrays):
    identity, *_ = draw(arrays)
    joints = head.joint_template + head.joint_shape_basis @ torch.from_numpy(identity)
    expected = arrays["template_joint_positions"].astype(float) + np.tensordot(
        identity, arrays["joint_identity_basis"].astype(float), 1
    )
    assert np.allclose(joints[[0, 1, 3, 4]], expected, atol=1e-12)
    assert head.explicit_joints
    assert not head.joint_expression_basis.any()
    by_regressor = head.joint_regressor @ head.shape_basis[..., 0]
    assert (by_regressor - head.joint_shape_basis[..., 0]).abs()[0].max() > 1e-4  # which is not used


def test_the_jaw_is_there_and_moves_nothing(head, builtin):
    none = torch.zeros(1, 0)
    opened = pose_vertices(head, none, none, jaw=torch.tensor([[0.5, 0.1, 0.0]]))[0]
    assert torch.equal(opened, pose_vertices(head, none, none)[0])
    assert head.joint_names == builtin.joint_names
    assert (head.joint_template[2] - builtin.joint_template[2].double()).norm() < 0.02


def test_the_root_holds_the_body_and_the_neck_the_skull(head, builtin):
    assert (body_vertices(head) ^ body_vertices(builtin)).float().mean() < 0.01
    assert (skull_vertices(head) ^ skull_vertices(builtin)).float().mean() < 0.02


def test_components_are_sorted_by_size_with_tongue_and_pupils_last(head, arrays):
    sizes = head.expression_basis.square().sum((0, 1))
    face = sum(COUNTS[:3])
    assert (sizes[:face].diff() <= 0).all()
    assert all(name.startswith(("tongue", "pupils")) for name in head.expression_names[face:])
    regions = [name.rsplit("_", 1)[0] for name in head.expression_names[:face]]
    assert regions != sorted(regions, key=("left_eye_region", "right_eye_region", "lower_face_region").index)
    assert sorted(head.expression_names) == sorted(arrays["expression_names"].tolist())
    assert head.shape_names == tuple(arrays["identity_names"].tolist())


def test_masks_texture_and_licence(head, builtin, arrays):
    masks = head.region_masks
    assert torch.equal(masks["left_eyeball"], builtin.region_masks["left_eyeball"])
    assert torch.equal(masks["lips"], builtin.region_masks["lips"])
    assert torch.equal(masks["mouth_interior"], masks["mouth_sock"])
    corners = head.uv[head.uv_faces]
    assert np.array_equal(corners.numpy(), arrays["triangle_uvs"].astype(np.float64))
    assert len(head.uv) < len(arrays["triangle_uvs"]) * 3 / 2
    assert "Apache-2.0" in head.licence
    assert head.version == "GNM Head 3.0"


def test_quads_serve_where_there_are_no_triangles(written):
    quads = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int32)
    uvs = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    head = load_head(written(triangles=None, triangle_uvs=None, quads=quads, quad_uvs=uvs))
    assert head.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    assert head.uv[head.uv_faces[1]].tolist() == [[0, 1], [4, 5], [6, 7]]


def test_a_file_without_the_optional_arrays(written):
    optional = ("vertex_groups", "pose_correctives_regressor", "joint_regressor", "triangle_uvs")
    names = ("expression_names", "identity_names")
    head = load_head(written(**dict.fromkeys((*optional, *names))))
    assert list(head.region_masks) == ["body"]
    assert not head.pose_basis.any()
    assert (head.uv, head.shape_names, head.expression_names) == (None, (), ())


def test_our_own_file_keeps_joints_and_id(path, tmp_path, arrays):
    head = load_head(path)
    again = load_head(save_head_npz(head, tmp_path / "own.npz"))
    assert again.model_id == head.model_id
    assert again.explicit_joints
    assert torch.equal(again.joint_shape_basis, head.joint_shape_basis)
    wide = again.double()
    assert wide.joint_template.dtype == wide.joint_expression_basis.dtype == torch.float64
    assert torch.equal(wide.joint_template, head.joint_template.double())


def test_explicit_joints_are_part_of_the_id_and_come_in_pairs(builtin):
    same = {
        name: getattr(builtin, name)
        for name in ("template", "faces", "shape_basis", "expression_basis", "joint_regressor", "weights")
    }
    joints = {"joint_template": builtin.joint_template, "joint_shape_basis": builtin.joint_shape_basis}
    plain, given = HeadModel(HeadData(name="a", **same)), HeadModel(HeadData(name="a", **same, **joints))
    assert plain.model_id != given.model_id
    with pytest.raises(ShapeError, match="joint_template, joint_shape_basis: expected both or neither"):
        HeadModel(HeadData(name="a", **same, joint_template=builtin.joint_template))
    with pytest.raises(ShapeError, match=r"joint_template: expected \(5, 3\)"):
        HeadModel(HeadData(name="a", **same, **{**joints, "joint_template": torch.zeros(4, 3)}))


# fitting


def test_a_head_without_a_jaw_is_fitted(path, builtin):
    """The mouth is expression: a solver that asks the jaw for it must do without."""
    head = with_landmarks(load_head(path), builtin.landmarks)
    rng = np.random.default_rng(1)
    shape, expression = torch.zeros(14), torch.zeros(3, 30)
    shape[:6] = torch.from_numpy(rng.normal(size=6))
    expression[:, :8] = torch.from_numpy(rng.normal(size=(3, 8)))
    verts = pose_vertices(head, shape, expression, rotation=torch.tensor([[0.0, 0.2, 0.05]] * 3))
    points = landmark_points(head, verts, "mediapipe")
    pixels = points[..., :2] * torch.tensor([900.0, -900.0]) + 256
    fit = fit_landmarks(head, pixels.numpy(), (512, 512))
    assert fit.report["reprojection_percent_iod"] < 0.6
    assert fit.params.jaw.abs().max() < 1e-6
    assert torch.isfinite(fit.covariance).all()
    turned = torch.tensor([0.0, 0.2, 0.05])
    assert (fit.params.rotation - turned).abs().max() < 0.03


# landmarks


def test_the_68_beside_the_file_are_taken(head, builtin):
    points = landmark_points(head, head.template[None], "ibug68")
    own = landmark_points(builtin, builtin.template[None], "ibug68")
    assert torch.allclose(points.float(), own, atol=2e-6)
    assert head.landmarks["ibug68"].origin == "gnm"


def test_points_in_reverse_are_put_in_order(builtin, arrays, tmp_path):
    head = load_head(write_gnm_file(tmp_path, arrays, sparse_rows(builtin, reverse=True)))
    points = landmark_points(head, head.template[None], "ibug68")
    assert torch.allclose(points, landmark_points(builtin, builtin.template[None], "ibug68"), atol=2e-6)
    assert head.landmarks["ibug68"].origin == "gnm, points 2 to 6 put in order"


def test_they_are_found_in_gnms_own_folders_and_as_an_option(builtin, arrays, tmp_path):
    folder = tmp_path / "data" / "versions" / "v3_0"
    folder.mkdir(parents=True)
    path = write_gnm_file(folder, arrays)
    assert load_head(path).landmarks == {}
    text = tmp_path / "points.txt"
    text.write_text(sparse_rows(builtin))
    assert len(load_head(path, landmarks=text).landmarks["ibug68"].indices) == 68
    (tmp_path / "data" / "landmarks").mkdir()
    (tmp_path / "data" / "landmarks" / "head_sparse_68.txt").write_text(sparse_rows(builtin))
    assert len(load_head(path).landmarks["ibug68"].indices) == 68


def shuffled(text):
    rows = text.splitlines()
    rows[1], rows[12] = rows[12], rows[1]
    return "\n".join(rows)


def mirrored(text):
    rows = text.splitlines()
    return "\n".join([*rows[16::-1], *rows[17:]])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (shuffled, r"its first 17 are no even contour \(longest step"),
        (mirrored, "expected point 0 on the subject's right"),
        (lambda text: text[: len(text) // 2], "expected 68 rows of i0 w0 i1 w1 i2 w2"),
        (lambda text: text.replace("0.000000", "0.5"), "expected weights that sum to 1"),
        (lambda text: "99999" + text[text.index(" ") :], "expected vertices below 5413"),
        (lambda text: "-1" + text[text.index(" ") :], "expected vertices below 5413"),
        (lambda text: "1.5" + text[text.index(" ") :], "expected vertices below 5413"),
        (lambda text: "nan" + text[text.index(" ") :], "expected vertices below 5413"),
        (lambda text: "x " + text, "expected 68 rows"),
        (lambda text: "é" + text, "expected 68 rows"),
        (lambda text: "", "the file is empty"),
    ],
)
def test_bad_landmark_texts(written, builtin, change, complaint):
    with pytest.raises(ModelFileError, match=complaint):
        load_head(written(change(sparse_rows(builtin))))


# refusals


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"skinning_weights": None}, "expected the keys of a GNM head, skinning_weights missing"),
        ({"version": np.array("2.1")}, "expected GNM Head of version 3, got 'head' '2.1'"),
        ({"variant": np.array("body")}, "expected GNM Head of version 3, got 'body' '3.0'"),
        ({"joint_names": np.array(["a", "b", "c", "d"])}, "joint_names: expected neck, head, left_eye"),
        ({"joint_parent_indices": np.array([0, 0, 0, 0])}, "expected head on neck and eyes on head"),
        ({"joint_parent_indices": np.array([])}, "joint_parent_indices"),
        (
            {"template_vertex_positions": np.array(1.0)},
            r"template_vertex_positions: expected numbers \(1, 3\)",
        ),
        ({"expression_basis": np.zeros((3, 4, 3))}, r"expression_basis: expected numbers \(\*, 5413, 3\)"),
        ({"skinning_weights": np.array(["a"])}, "skinning_weights: expected numbers"),
        (
            {"joint_identity_basis": np.zeros((3, 4, 3))},
            r"as many identities of joints as of vertices \(14\)",
        ),
        ({"expression_names": np.array(["one"])}, "expression_names: expected 30 names, got 1"),
        (
            {"pose_correctives_regressor": np.zeros((9, 9))},
            r"pose_correctives_regressor: expected numbers \(36",
        ),
        ({"triangles": None}, "expected triangles or quads, got neither"),
        ({"triangles": np.array([[0, 1, 9999]])}, "triangles: expected vertices below 5413, got 9999"),
        ({"triangles": np.array([[0, 1, -2]])}, "triangles: expected vertices below 5413"),
        ({"triangles": np.zeros((3, 3))}, "triangles: expected whole numbers"),
        ({"triangle_uvs": np.zeros((2, 3, 2))}, "triangle_uvs: expected numbers"),
        ({"vertex_group_names": np.array(["skin"])}, r"vertex_groups: expected numbers \(1, 5413\)"),
        ({"joint_regressor": np.zeros((5, 5413))}, "joint_regressor: expected numbers"),
    ],
)
def test_other_files_are_refused(written, changed, complaint):
    with pytest.raises(ModelFileError, match=complaint):
        load_head(written(**changed))


def test_a_corrective_of_the_first_joint_is_refused(written, arrays):
    regressor = arrays["pose_correctives_regressor"].copy()
    regressor[3, 5] = 1e-3
    with pytest.raises(ModelFileError, match="expected zeros for the first joint, the neck, which turns"):
        load_head(written(pose_correctives_regressor=regressor))


def test_numbers_that_are_not_finite_are_refused(written, arrays):
    template = arrays["template_vertex_positions"].copy()
    template[7] = np.nan
    with pytest.raises(ModelFileError, match="template_vertex_positions: expected finite numbers"):
        load_head(written(template_vertex_positions=template))


def test_an_identity_count_is_refused(path):
    with pytest.raises(ModelFileError, match="the components of GNM say themselves which are identity"):
        load_head(path, shape_count=3)


def test_the_command_converts_it(path, tmp_path, capsys):
    output = tmp_path / "gnm.npz"
    assert main(["convert", "head", str(path), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "14 shape and 30 expression" in said
    assert "ibug68 68 (gnm)" in said
    assert load_head(output).model_id == load_head(path).model_id


@needs_mediapipe
def test_lips_are_told_apart_by_expression_where_the_jaw_moves_nothing(path, builtin):
    drawn = ready_head(path).landmarks["mediapipe"]
    jaw = torch.einsum("lk,lk->l", builtin.weights[builtin.faces[drawn.faces], 2], drawn.bary)
    assert jaw[list(LIPS_INNER_UPPER[3:-3])].max() < 0.2
    assert jaw[list(LIPS_INNER_LOWER[3:-3])].min() > 0.8


def test_a_mouth_that_nothing_opens_stays_shut(builtin):
    stiff = HeadModel(
        HeadData(
            name="stiff",
            template=builtin.template,
            faces=builtin.faces,
            shape_basis=builtin.shape_basis[..., :1],
            expression_basis=builtin.expression_basis[..., :0],
            joint_regressor=builtin.joint_regressor,
            weights=torch.eye(5)[torch.ones(len(builtin.template), dtype=torch.long)],
        )
    )
    assert opened_mouth(stiff, builtin.landmarks["mediapipe"], scale=1.0) is None
