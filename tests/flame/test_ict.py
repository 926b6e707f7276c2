"""ICT-FaceKit folders: joints of an invented one are found, the private one is as measured; bad folders."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from ict_folder import (
    ANGLE,
    EYE_RADIUS,
    EYES,
    PIVOT,
    blendshapes,
    jaw_share,
    neutral,
    obj_text,
    write_ict_folder,
)
from posed_fits import posed_fit

from headwarp.flame._ict_joints import rotation_about_x
from headwarp.flame._ict_tables import EXPRESSIONS, IDENTITIES, KEPT, RANGES
from headwarp.flame.ict import ict_head, ict_modes, is_ict_folder, listed, missing_modes
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.model import (
    HeadModel,
    LandmarkEmbedding,
    landmark_points,
    pose_vertices,
    with_landmarks,
)
from headwarp.flame.mouth import open_mouth
from headwarp.flame.posing import posed_vertices
from headwarp.flame.transfer import transfer_fit
from headwarp.geom.errors import ModelFileError
from headwarp.tools.cli import main
from headwarp.tools.heads import ready_head

NONE = torch.zeros(1, 0)


def jaw(angle):
    return torch.tensor([[angle, 0.0, 0.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ict_folder(tmp_path_factory.mktemp("ict"))


@pytest.fixture(scope="module")
def head(folder):
    return load_head(folder)


@pytest.fixture(scope="module")
def rest():
    """The invented vertices that are kept, metres."""
    return 0.01 * neutral()[:KEPT]


def displaced(name):
    return 0.01 * blendshapes(neutral())[name][:KEPT]


# what it becomes


def test_counts_names_and_units(head, rest):
    assert len(head.template) == KEPT
    assert np.allclose(head.template, rest, atol=1e-7)
    assert head.shape_names == ("identity000", "identity003")
    assert head.expression_names == ("mouthPucker", "mouthSmile_L", "mouthSmile_R")
    assert head.shape_basis.shape[2], head.expression_basis.shape[2] == (2, 3)
    assert np.allclose(head.shape_basis[..., 1], displaced("identity003"), atol=1e-7)
    assert np.allclose(head.expression_basis[..., 0], displaced("mouthPucker"), atol=1e-7)
    assert head.joint_names == ("root", "neck", "jaw", "left_eye", "right_eye")
    assert "MIT License, Copyright (c) 2020 USC" in head.licence
    assert head.version == "ICT-FaceKit light with 2 identities and 6 expressions, 145 missing"


def test_quads_are_split_and_dropped_parts_have_no_faces(head):
    assert int(head.faces.max()) < KEPT
    assert head.faces[:2].tolist() == [[0, 1, 2], [0, 2, 3]]  # the first quad
    used = torch.zeros(KEPT, dtype=torch.bool)
    used[head.faces.reshape(-1)] = True
    assert all(used[slice(*RANGES[part])].float().mean() > 0.99 for part in ("face", "teeth", "left_eyeball"))
    corners = head.uv[head.uv_faces]
    index = head.faces.double()
    assert torch.allclose(corners[..., 0].double(), index % 100 / 100, atol=1e-6)


def test_the_jaws_hinge_is_found_in_the_lower_teeth(head):
    assert torch.allclose(head.joint_template[2], torch.tensor(0.01 * PIVOT).float(), atol=1e-5)
    low = slice(*RANGES["lower_teeth"])
    assert torch.allclose(head.weights[low, 2], torch.ones(()), atol=1e-5)


def test_the_open_jaw_is_the_models_own(head, rest):
    opened = pose_vertices(head, NONE, NONE, jaw=jaw(ANGLE))[0]
    assert np.allclose(opened, rest + displaced("jawOpen"), atol=2e-6)


def test_half_open_is_a_rotation_and_half_the_corrective(head, rest):
    half = pose_vertices(head, NONE, NONE, jaw=jaw(ANGLE / 2))[0].double().numpy()
    low = slice(*RANGES["lower_teeth"])
    turned = (rest[low] - 0.01 * PIVOT) @ rotation_about_x(ANGLE / 2).T + 0.01 * PIVOT
    assert np.allclose(half[low], turned, atol=2e-6)
    linear = rest + displaced("jawOpen") / 2
    assert np.abs(half - linear)[low].max() > 5e-4  # a blendshape would shorten the arc
    assert np.linalg.norm(half - linear, axis=1).max() < 0.006
    sine = np.sin(ANGLE / 2) / np.sin(ANGLE)
    features = (rotation_about_x(ANGLE / 2) - np.eye(3)).reshape(-1)
    whole = (rotation_about_x(ANGLE) - np.eye(3)).reshape(-1)
    columns = head.pose_basis[..., 9:18].double().numpy()
    assert np.allclose(columns @ features, sine * (columns @ whole), atol=1e-9)


def test_weights_follow_the_displacement_and_sum_to_one(head, rest):
    assert torch.allclose(head.weights.sum(1), torch.ones(KEPT), atol=1e-6)
    assert head.weights.min() >= 0
    share = jaw_share(neutral())[:KEPT]
    plain = (share == 0) | (share == 1)
    assert np.allclose(head.weights[plain, 2], share[plain], atol=1e-4)
    high, low = rest[:, 1] > -0.1, rest[:, 1] < -0.165
    skin = np.arange(KEPT) < RANGES["face"][1]
    assert head.weights[high, 0].max() == 0
    assert torch.allclose(
        head.weights[low & skin, 0] + head.weights[low & skin, 2], torch.ones(()), atol=1e-6
    )


@pytest.mark.parametrize(("side", "joint"), [("left", 3), ("right", 4)])
def test_eyes_turn_about_the_middle_of_the_sclera(head, side, joint):
    centre = torch.from_numpy(0.01 * EYES[side]).float()
    assert torch.allclose(head.joint_template[joint], centre, atol=2e-5)
    turn = torch.tensor([[0.3, -0.4, 0.0, 0.3, -0.4, 0.0]])
    posed = pose_vertices(head, NONE, NONE, eyes=turn)[0]
    sclera = head.template[slice(*RANGES[f"{side}_sclera"])]
    moved = posed[slice(*RANGES[f"{side}_sclera"])]
    back = ((sclera - centre).norm(dim=1) - 0.01 * EYE_RADIUS).abs() < 1e-5
    assert back.float().mean() > 0.9
    assert ((moved - centre).norm(dim=1)[back] - 0.01 * EYE_RADIUS).abs().max() < 5e-5
    assert (moved - sclera)[back].norm(dim=1).max() > 0.005
    assert torch.allclose(posed[: RANGES["face"][1]], head.template[: RANGES["face"][1]], atol=1e-7)


def test_an_eye_joint_follows_the_eyeball_of_the_identity(head):
    wide = head.joint_template + head.joint_shape_basis @ torch.tensor([1.0, 0.0])
    assert wide[3, 0] == pytest.approx(0.01 * EYES["left"][0] * 1.06, abs=2e-4)


def test_eyelids_are_the_blinks_left_first(head):
    assert np.allclose(head.eyelid_basis[..., 0], displaced("eyeBlink_L"), atol=1e-7)
    shut = pose_vertices(head, NONE, NONE, eyelids=torch.tensor([[0.0, 1.0]]))[0]
    assert np.allclose(shut - head.template, displaced("eyeBlink_R"), atol=1e-6)


def test_named_expressions_are_sums_of_blendshapes(head):
    named = head.named_expressions
    assert named["smile"].tolist() == [0, 1, 1]
    assert named["pucker"].tolist() == named["mouthPucker"].tolist() == [1, 0, 0]
    assert "frown" not in named  # its blendshapes are not in the folder


def test_landmarks_and_regions(head, folder):
    table = json.loads((folder / "vertex_indices.json").read_text())["idx_to_landmark_verts"]
    points = landmark_points(head, head.template[None], "ibug68")[0]
    assert torch.equal(points, head.template[table])
    masks = head.region_masks
    assert masks["left_eyeball"].nonzero()[0, 0] == RANGES["left_eyeball"][0]
    assert masks["mouth_interior"][slice(*RANGES["teeth"])].all()
    assert not (masks["mouth_interior"] & (masks["face"] | masks["left_eyeball"])).any()
    assert torch.equal(masks["skull"] ^ masks["neck"], _range_mask("head_and_neck"))


def _range_mask(name):
    mask = torch.zeros(KEPT, dtype=torch.bool)
    mask[slice(*RANGES[name])] = True
    return mask


def test_the_file_keeps_names_and_id(head, tmp_path):
    again = load_head(save_head_npz(head, tmp_path / "ict.npz"))
    assert again.model_id == head.model_id
    assert (again.shape_names, again.expression_names) == (head.shape_names, head.expression_names)
    assert missing_modes(again) == missing_modes(head)


def test_its_own_teeth_do_not_stand_before_the_photos(head):
    """An animator hangs the photo's teeth behind the lips, where the model has teeth and gums of its own."""
    corner = torch.zeros(478, dtype=torch.long)
    anywhere = LandmarkEmbedding(torch.arange(478), corner, torch.eye(3)[corner])
    ready = with_landmarks(head, {"mediapipe": anywhere})
    fit = posed_fit(ready)
    mouth = open_mouth(ready, posed_vertices(ready, fit), fit)
    kept = torch.zeros(len(mouth.cavity), dtype=torch.bool)
    kept[mouth.faces.reshape(-1)] = True
    assert not kept[slice(*RANGES["teeth"])].any()
    assert not kept[slice(*RANGES["gums"])].any()
    assert kept[slice(*RANGES["mouth_socket"])].float().mean() > 0.99
    assert mouth.cavity[slice(*RANGES["mouth_socket"])].all()


# what is not there


def test_missing_blendshapes_are_listed(head, folder):
    modes = ict_modes(folder.parent)  # the folder around it will do
    assert len(modes.missing) == len(IDENTITIES) + len(EXPRESSIONS) - 8
    assert set(modes.missing) == set(missing_modes(head))
    assert modes.unused == ()
    assert missing_modes(load_head("builtin")) == ()
    nameless = dataclasses.replace(ict_head(folder), shape_names=())
    assert missing_modes(HeadModel(nameless)) == ()
    assert listed(modes.missing).startswith(
        "identity001, identity002, identity004 .. identity099, browDown_L"
    )


def test_a_folder_of_the_neutral_alone_is_a_head_that_can_still_open_its_mouth(tmp_path, rest):
    head = HeadModel(ict_head(write_ict_folder(tmp_path, [])))
    assert head.shape_basis.shape[2] == head.expression_basis.shape[2] == 0
    assert not head.eyelid_basis.any()
    assert not head.pose_basis.any()
    assert head.stored_expressions == {}
    opened = (pose_vertices(head, NONE, NONE, jaw=jaw(0.3))[0] - head.template).norm(dim=1)
    upper, lower = RANGES["teeth"][0], RANGES["lower_teeth"][0]
    assert opened[upper:lower].max() < 1e-6
    assert opened[lower : RANGES["teeth"][1]].min() > 0.01
    assert head.joint_template[2].tolist() == pytest.approx([0, -0.00547, 0.01819], abs=1e-5)


def test_one_eyelid_alone(tmp_path):
    head = HeadModel(ict_head(write_ict_folder(tmp_path, ["eyeBlink_R"])))
    assert not head.eyelid_basis[..., 0].any()
    assert head.eyelid_basis[..., 1].any()
    assert "eyeBlink_L" in missing_modes(head)
    assert "eyeBlink_R" not in missing_modes(head)


def test_a_mesh_that_is_no_blendshape_is_not_used(folder, tmp_path):
    inner = shutil.copytree(folder, tmp_path / "FaceXModel")
    shutil.copy(inner / "mouthPucker.obj", inner / "PupilDilate_L.obj")
    (inner / "identity007.obj").mkdir()
    assert ict_modes(inner).unused == ("PupilDilate_L",)
    assert "identity007" in ict_modes(inner).missing
    assert load_head(inner).model_id == load_head(folder).model_id


# bad folders


def test_folders_that_are_none(tmp_path):
    assert not is_ict_folder(tmp_path)
    with pytest.raises(ModelFileError, match="the FaceXModel folder of ICT-FaceKit, got another folder"):
        load_head(tmp_path)
    (tmp_path / "vertex_indices.json").write_text("{}")
    with pytest.raises(ModelFileError, match="expected the list idx_to_landmark_verts, found none"):
        load_head(tmp_path)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "FaceXModel")


def test_a_missing_neutral_or_table_is_named(copy):
    (copy / "generic_neutral_mesh.obj").rename(copy / "neutral.obj")
    with pytest.raises(ModelFileError, match=r"expected ICT-FaceKit's generic_neutral_mesh\.obj, found none"):
        load_head(copy)
    (copy / "neutral.obj").rename(copy / "generic_neutral_mesh.obj")
    (copy / "vertex_indices.json").unlink()
    with pytest.raises(ModelFileError, match=r"expected ICT-FaceKit's vertex_indices\.json, found none"):
        load_head(copy)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("[]", "expected the list idx_to_landmark_verts"),
        ('{"idx_to_landmark_verts": 3}', "expected the list"),
        ('{"idx_to_landmark_verts": [1, 2]}', "expected 68 vertices below 24999, got 2 entries"),
        (json.dumps({"idx_to_landmark_verts": [30_000] * 68}), "expected 68 vertices below 24999"),
        (json.dumps({"idx_to_landmark_verts": [True] * 68}), "expected 68 vertices"),
        ("", "the file is empty"),
    ],
)
def test_a_bad_table_is_refused(copy, text, complaint):
    (copy / "vertex_indices.json").write_text(text)
    with pytest.raises(ModelFileError, match=complaint):
        load_head(copy)


def test_another_topology_is_refused(copy):
    path = copy / "mouthPucker.obj"
    text = path.read_text()
    path.write_text(text.replace("f 1/1 2/2 3/3 4/4", "f 1/1 3/3 2/2 4/4"))
    with pytest.raises(
        ModelFileError, match=r"mouthPucker.obj: expected the topology of generic_neutral_mesh"
    ):
        load_head(copy)
    path.write_text(obj_text(neutral()[:-1], faces=text[text.index("usemtl") :]))
    with pytest.raises(ModelFileError, match="another with 26718 vertices"):
        load_head(copy)
    (copy / "generic_neutral_mesh.obj").write_text(obj_text(neutral()[:300], faces="f 1/1 2/2 3/3"))
    with pytest.raises(ModelFileError, match="expected the 26719 vertices of ICT-FaceKit light, got 300"):
        load_head(copy)


def test_a_mesh_in_another_unit_is_refused(copy):
    path = copy / "identity000.obj"
    path.write_text(obj_text(10 * neutral()))  # millimetres
    with pytest.raises(
        ModelFileError, match=r"within 30 cm of the neutral ones, got \d+; .* in another unit"
    ):
        load_head(copy)


def test_a_folder_takes_no_identity_count(folder):
    with pytest.raises(ModelFileError, match="the meshes of this folder say themselves which are identity"):
        load_head(folder, shape_count=3)


# the command, and the private part of the model


def test_the_command_lists_what_is_missing(folder, tmp_path, capsys):
    output = tmp_path / "ict.npz"
    assert main(["convert", "head", str(folder), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "2 shape and 3 expression" in said
    assert "missing (145): identity001, identity002, identity004 .. identity099" in said
    assert load_head(output).model_id == load_head(folder).model_id


@pytest.fixture(scope="module")
def real(test_data):
    return load_head(test_data / "ict_facekit")


def test_the_model_is_as_measured(real):
    assert torch.allclose(real.joint_template[2], torch.tensor([0.0, -0.00547, 0.01819]), atol=1e-5)
    for joint, sign in ((3, 1), (4, -1)):
        assert torch.allclose(
            real.joint_template[joint], torch.tensor([sign * 0.031134, 0.036028, 0.07942]), atol=2e-5
        )
    assert len(real.shape_names) == 10
    assert len(missing_modes(real)) == 132


def test_its_lower_teeth_turn_rigidly_and_its_scleras_stay_round(real):
    low = slice(*RANGES["lower_teeth"])
    for share in (0.5, 1.0):
        posed = pose_vertices(real, NONE, NONE, jaw=jaw(share * np.radians(25.334)))[0].double().numpy()
        rest = real.template.double().numpy()
        pivot = real.joint_template[2].double().numpy()
        turned = (rest[low] - pivot) @ rotation_about_x(share * np.radians(25.334)).T + pivot
        assert np.linalg.norm(posed[low] - turned, axis=1).max() < 0.00024 * (0.6 if share < 1 else 1)
    posed = pose_vertices(real, NONE, NONE, eyes=torch.tensor([[0.2, 0.3, 0.0, 0.2, 0.3, 0.0]]))[0]
    sclera = slice(*RANGES["left_sclera"])
    centre = real.joint_template[3]
    before, after = (points[sclera].sub(centre).norm(dim=1) for points in (real.template, posed))
    assert torch.allclose(before, after, atol=1e-6)
    white = real.template[sclera, 2] < 0.085  # behind the cornea
    assert (before[white] - 0.0156).abs().max() < 0.0009  # as round as the model's own eye is


def test_its_own_landmarks_are_found_by_drawing_it(real):
    pytest.importorskip("mediapipe")
    from headwarp.flame.render_embedding import distances_mm, render_embedding

    apart = distances_mm(real, render_embedding(real))["ibug68"]
    assert np.median(apart[36:48]) < 1.5  # eyes
    assert np.median(apart[27:36]) < 3.0  # nose
    assert np.median(apart[48:68]) < 4.0  # lips: the two families place some along the lip
    assert np.median(apart[17:27]) < 6.0  # brows: painted where an average face has them


def test_a_fit_is_carried_over_to_it(real):
    pytest.importorskip("mediapipe")
    builtin, ict = load_head("builtin"), ready_head(real)
    moved = transfer_fit(posed_fit(builtin, [-20.0, 0.0, 25.0], size=(512, 512)), builtin, ict)
    facts = moved.report["transfer"]
    assert facts["projected_percent_iod"] < 4  # ten of a hundred identities
    back = transfer_fit(moved, ict, builtin).report["transfer"]
    assert back["projected_percent_iod"] < 2
    assert back["rms_mm"] < 3
