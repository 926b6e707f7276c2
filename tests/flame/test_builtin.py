"""The built-in head: topology, symmetry, weights, bases, blink, jaw, asset, and the statistics behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from toy_head import toy_head

from headwarp.flame.builtin import build, load, statistics
from headwarp.flame.builtin.bases import project_out, similarity_fields
from headwarp.flame.builtin.eyelids import RETREAT
from headwarp.flame.builtin.parts import EYE_RADIUS
from headwarp.flame.builtin.topology import head_topology
from headwarp.flame.model import HeadModel, landmark_points, pose_vertices
from headwarp.geom.errors import ModelFileError, ShapeError
from headwarp.geom.mesh import adjacency, boundary_loops

TOPOLOGY = head_topology()
NONE = torch.zeros(1, 0)
FACE = slice(0, 468)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load.load_builtin()


def posed(head: HeadModel, **pose: list[float]) -> np.ndarray:
    values = {name: torch.tensor([value]) for name, value in pose.items()}
    return pose_vertices(head, NONE, NONE, **values)[0].double().numpy()


def mirror_of(points: np.ndarray) -> np.ndarray:
    distance, twin = cKDTree(points).query(points * [-1, 1, 1])
    assert distance.max() < 1e-6
    return twin


# topology


def test_surface_is_manifold_with_one_rim_at_the_neck(head: HeadModel) -> None:
    faces = head.faces.numpy()
    half_edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(half_edges, axis=0)) == len(half_edges)
    assert len(np.unique(np.sort(faces, axis=1), axis=0)) == len(faces)
    (rim,) = boundary_loops(faces)
    assert len(rim) == 72
    assert torch.allclose(head.template[rim, 1], torch.tensor(-0.18), atol=1e-3)


def test_head_and_two_eyeballs_are_the_connected_parts(head: HeadModel) -> None:
    links = adjacency(head.faces, len(head.template))
    assert connected_components(links, directed=False)[0] == 3


@pytest.mark.parametrize("part", ["left_eyeball", "right_eyeball", "skin"])
def test_faces_wind_outwards(head: HeadModel, part: str) -> None:
    first, last = TOPOLOGY.faces_of[part]
    corners = head.template.double()[head.faces[first:last]]
    middle = corners.reshape(-1, 3).mean(0)
    a, b, c = (corners - middle).unbind(1)
    volume = torch.linalg.det(torch.stack([a, b, c], 1)).sum() / 6
    assert volume > 0
    if part == "skin":
        assert 0.004 < volume < 0.007  # cubic metres of a head with its neck
    else:
        assert volume == pytest.approx(4 / 3 * np.pi * EYE_RADIUS**3, rel=0.12)


def test_no_face_is_degenerate(head: HeadModel) -> None:
    a, b, c = head.template.double()[head.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2
    assert area.min() > 1e-10


# symmetry and weights


def test_template_and_weights_are_mirror_symmetric(head: HeadModel) -> None:
    twin = mirror_of(head.template.double().numpy())
    assert np.array_equal(twin[twin], np.arange(len(twin)))
    weights = head.weights.numpy()
    assert np.abs(weights[twin][:, [0, 1, 2, 4, 3]] - weights).max() < 1e-5


def test_weights_are_a_partition_of_unity(head: HeadModel) -> None:
    assert head.weights.min() >= 0
    assert torch.allclose(head.weights.sum(1), torch.ones(len(head.weights)), atol=1e-6)


def test_regions_name_disjoint_sides_and_cover_the_skin(head: HeadModel) -> None:
    masks = head.region_masks
    expected = "face skull neck ears left_eye_region right_eye_region lips nose forehead"
    expected += " left_eyeball right_eyeball mouth_interior body jaw"
    assert set(expected.split()) <= set(masks)
    assert all(mask.any() for mask in masks.values())
    skin = masks["face"] | masks["skull"] | masks["neck"] | masks["ears"]
    assert int(skin.sum()) == TOPOLOGY.subdivision.shape[0]
    assert (head.template[masks["left_eye_region"], 0] > 0).all()
    assert not (masks["left_eye_region"] & masks["right_eye_region"]).any()
    assert masks["left_eye_region"].sum() == masks["right_eye_region"].sum()
    assert (head.weights[masks["body"], 0] > 0.98).all()


def test_texture_coordinates_are_inside_and_unfolded(head: HeadModel) -> None:
    assert head.uv.min() >= 0
    assert head.uv.max() <= 1
    assert not torch.equal(head.uv_faces, head.faces)
    first, last = TOPOLOGY.faces_of["skin"]
    a, b, c = head.uv.double()[head.uv_faces[first:last]].unbind(1)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).all()


# landmarks and joints


def test_landmarks_are_the_mean_face(head: HeadModel) -> None:
    points = landmark_points(head, head.template[None], "mediapipe")[0].double().numpy()
    mean = build.read_mean_face()
    assert points.shape == mean.shape == (478, 3)
    assert np.abs(points[FACE] - mean[FACE]).max() < 1e-4
    assert np.abs(points[[468, 473], :2] - mean[[468, 473], :2]).max() < 1e-4
    assert np.linalg.norm(points[468:] - mean[468:], axis=1).max() < 6e-3  # on the eyeballs, not the lids
    assert np.linalg.norm(mean[33] - mean[263]) == pytest.approx(0.0926, abs=1e-6)


def test_68_landmarks_are_face_mesh_points(head: HeadModel) -> None:
    points = landmark_points(head, head.template[None], "ibug68")[0]
    assert points.shape == (68, 3)
    assert points[45, 0] > 0  # outer corner of the subject's left eye
    assert points[8, 1] == points[:, 1].min()


def test_joints_are_where_they_should_be(head: HeadModel) -> None:
    joints = head.joint_template.double().numpy()
    expected = np.array(list(build.JOINTS.values()))
    assert np.abs(joints[:3] - expected).max() < 1e-6
    for row, side in enumerate(("left", "right"), start=3):
        eyeball = head.template[TOPOLOGY.part(f"{side}_eyeball")].double().numpy()
        assert np.abs(np.linalg.norm(eyeball - joints[row], axis=1) - EYE_RADIUS).max() < 1e-6


def test_no_expression_moves_the_body_joints(head: HeadModel) -> None:
    assert head.joint_expression_basis[:3].abs().max() < 1e-6


# bases


@pytest.mark.parametrize(("name", "count"), [("shape_basis", 87), ("expression_basis", 69)])
def test_bases_have_no_similarity_part_and_are_orthogonal(head: HeadModel, name: str, count: int) -> None:
    basis = getattr(head, name)[FACE].double().numpy()
    assert basis.shape == (468, 3, count)
    fields = similarity_fields(head.template[FACE].double().numpy())
    assert np.abs(basis - project_out(basis, fields)).max() < 3e-6
    gram = np.einsum("nck,ncl->kl", basis, basis)
    size = np.sqrt(np.diag(gram))
    assert np.abs(gram / np.outer(size, size) - np.eye(count)).max() < 5e-3
    assert (np.diff(size) < 1e-6).all()
    spread = np.sqrt((basis**2).sum((1, 2)).mean())
    assert 0.001 < spread < 0.004  # metres, a vertex at coefficients N(0, 1)


def test_bases_end_where_they_should(head: HeadModel) -> None:
    rim = boundary_loops(head.faces)[0]
    assert head.shape_basis[rim].abs().max() < 1e-7
    behind = np.flatnonzero(TOPOLOGY.ring > 6)
    assert head.expression_basis[behind].abs().max() < 1e-5  # interpolation rings, in micrometres
    assert head.expression_basis[FACE].abs().max() > 1e-3


def test_eyeballs_move_rigidly_with_the_lids(head: HeadModel) -> None:
    for side in ("left", "right"):
        eyeball = head.shape_basis[TOPOLOGY.part(f"{side}_eyeball")]
        rim = head.shape_basis[TOPOLOGY.rims[side]].mean(0)
        assert (eyeball - rim).abs().max() < 1e-6


# eyes and mouth


@pytest.mark.parametrize("amount", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("column", [0, 1])
def test_lids_stay_in_front_of_the_eyeball(head: HeadModel, amount: float, column: int) -> None:
    lids = [0.0, 0.0]
    lids[column] = amount
    vertices = posed(head, eyelids=lids)
    centre = head.joint_template[3 + column].double().numpy() - [0, 0, RETREAT * amount]
    first, last = TOPOLOGY.faces_of["skin"]
    corners = vertices[TOPOLOGY.faces[first:last]]
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    inside = np.einsum("ks,fsc->fkc", shares, corners).reshape(-1, 3)
    near = inside[(np.abs(inside - centre) < 0.02).all(1) & (inside[:, 2] > centre[2])]
    assert len(near) > 1000
    assert np.linalg.norm(near - centre, axis=1).min() > EYE_RADIUS


def test_full_blink_shuts_one_eye_and_leaves_the_other(head: HeadModel) -> None:
    for column, side in enumerate(("left", "right")):
        lids = [0.0, 0.0]
        lids[column] = 1.0
        vertices = posed(head, eyelids=lids)
        rim, other = TOPOLOGY.rims[side], TOPOLOGY.rims["right" if side == "left" else "left"]
        gap = np.linalg.norm(vertices[rim[1:16]] - vertices[rim[:16:-1]], axis=1)
        assert gap.max() < 1e-3
        at_rest = head.template.double().numpy()
        assert np.linalg.norm(at_rest[rim[1:16]] - at_rest[rim[:16:-1]], axis=1).max() > 6e-3
        assert np.abs(vertices[other] - at_rest[other]).max() < 1e-7


def test_blinks_mirror_each_other(head: HeadModel) -> None:
    twin = mirror_of(head.template.double().numpy())
    basis = head.eyelid_basis.double().numpy()
    assert np.abs(basis[twin][..., 1] * np.array([-1, 1, 1]) - basis[..., 0]).max() < 1e-5


def test_mouth_pocket_is_hidden_behind_shut_lips(head: HeadModel) -> None:
    template = head.template.double().numpy()
    rim, pocket = template[TOPOLOGY.rims["mouth"]], template[TOPOLOGY.part("mouth")]
    rings = pocket[:-1].reshape(4, 40, 3)
    assert (rings[..., 2] < rim[:, 2]).all()
    upper, lower = rim[1:20], rim[:20:-1]
    gap = upper[:, 1] - lower[:, 1]
    assert gap.min() > 1.9e-4
    assert gap.max() < 1e-3
    assert (rings[:, 1:20, 1] > rings[:, :20:-1, 1]).all()


@pytest.mark.parametrize(("degrees", "least", "most"), [(10, 0.012, 0.022), (20, 0.026, 0.042)])
def test_jaw_opens_the_mouth_alone(head: HeadModel, degrees: float, least: float, most: float) -> None:
    vertices = posed(head, jaw=[float(np.radians(degrees)), 0.0, 0.0])
    assert least < vertices[13, 1] - vertices[14, 1] < most
    at_rest = head.template.double().numpy()
    above = at_rest[:, 1] > 0.005
    assert np.abs(vertices - at_rest)[above].max() < 1e-5
    body = head.region_masks["body"].numpy()
    assert np.abs(vertices - at_rest)[body].max() < 1e-5


def test_eyes_turn_in_place(head: HeadModel) -> None:
    vertices = posed(head, eyes=[0.0, 0.3, 0.0, 0.0, 0.0, 0.0])
    moved = np.abs(vertices - head.template.double().numpy()).max(1) > 1e-7
    assert set(np.flatnonzero(moved)) <= set(TOPOLOGY.part("left_eyeball"))
    assert vertices[TOPOLOGY.part("left_eyeball")[0], 0] > head.template[TOPOLOGY.part("left_eyeball")[0], 0]


# the asset


def test_rebuilding_gives_the_asset() -> None:
    built = build.build_head(build.read_mean_face())
    with np.load(build.ASSET, allow_pickle=False) as file:
        assert set(file.files) == set(built)
        for key in file.files:
            stored, made = file[key], built[key]
            assert stored.shape == made.shape
            assert stored.dtype == made.dtype
            if key not in ("shape_control_mm", "expression_control_mm"):
                assert np.abs(stored.astype(float) - made.astype(float)).max() < 1e-4, key
        for key in ("shape_control_mm", "expression_control_mm"):  # eigenvectors of equal values may turn
            assert _covariance_gap(file[key], built[key]) < 1e-2, key


def _covariance_gap(first: np.ndarray, second: np.ndarray) -> float:
    rows = np.random.default_rng(0).choice(first[..., 0].size, 300, replace=False)
    one, two = (b.reshape(-1, b.shape[-1]).astype(float)[rows] for b in (first, second))
    return float(np.abs(one @ one.T - two @ two.T).max() / np.abs(one @ one.T).max())


def test_asset_is_small_and_its_origin_is_stated() -> None:
    assert build.ASSET.stat().st_size < 1.5e6
    assert build.MEAN_FACE.stat().st_size < 2e4
    with np.load(build.MEAN_FACE, allow_pickle=False) as file:
        assert file.files == ["landmarks"]
        assert file["landmarks"].shape == (478, 3)
    stated = json.loads(build.MEAN_FACE.with_name("provenance.json").read_text())
    mean = stated["assets"]["mean_face.npz"]
    assert mean["persons"] >= 40
    assert mean["frames"] >= mean["clips"] >= mean["persons"]
    assert ".mp4" not in json.dumps(stated)
    assert stated["tables"]["face mesh triangles"]["licence"] == "Apache-2.0"


def test_loading_is_reproducible(head: HeadModel) -> None:
    again = load.load_builtin()
    assert again.model_id == head.model_id
    assert head.model_id.startswith("builtin-")
    assert head.licence == "Apache-2.0"
    assert head.template.dtype == torch.float32


def test_missing_and_foreign_assets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"expected the asset at .*python -m"):
        load.load_builtin(tmp_path / "none.npz")
    np.savez(tmp_path / "old.npz", version=np.array(0))
    with pytest.raises(ModelFileError, match="expected version 1, got 0"):
        load.load_builtin(tmp_path / "old.npz")


# statistics


def synthetic_tracks(head: HeadModel, persons: int = 8, frames: int = 8) -> list[np.ndarray]:
    """Tracks in pixels of random persons who move and open the mouth in a random pose each frame."""
    draw = np.random.default_rng(5)
    tracks = []
    for _ in range(persons):
        shape = torch.tensor(draw.normal(size=(1, 87)), dtype=torch.float32)
        expression = torch.tensor(draw.normal(size=(frames, 69)) * 0.3, dtype=torch.float32)
        jaw = torch.zeros(frames, 3)
        jaw[:, 0] = torch.linspace(0, 0.2, frames)
        turn = torch.tensor(draw.uniform(-0.3, 0.3, (frames, 3)), dtype=torch.float32)
        verts = pose_vertices(head, shape, expression, jaw=jaw, rotation=turn)
        points = landmark_points(head, verts, "mediapipe").double().numpy()
        scale = draw.uniform(500, 1500, (frames, 1, 1))
        tracks.append(points * [1, -1, -1] * scale + draw.uniform(0, 200, (frames, 1, 3)))
    return tracks


def test_mean_face_ignores_pose_and_size(head: HeadModel) -> None:
    truth = build.read_mean_face()
    draw = np.random.default_rng(1)

    def frame() -> np.ndarray:
        turned = truth @ Rotation.from_rotvec(draw.uniform(-0.3, 0.3, 3)).as_matrix().T
        return turned * [1, -1, -1] * draw.uniform(500, 2000) + draw.uniform(0, 300, 3)

    measured = statistics.mean_face([np.stack([frame() for _ in range(4)]) for _ in range(3)])
    assert (measured.persons, measured.frames) == (3, 12)
    assert np.abs(measured.landmarks - truth).max() < 3e-4  # the lip gap is set anew
    mirrored = (measured.landmarks * [-1, 1, 1])[statistics.mirror_map()]
    assert np.abs(mirrored - measured.landmarks).max() < 1e-12


def test_mean_face_leaves_out_turned_and_missing_frames(head: HeadModel) -> None:
    (track,) = synthetic_tracks(head, persons=1)
    with_gaps = np.concatenate([track, np.full((2, 478, 3), np.nan)])
    assert statistics.mean_face([with_gaps]).frames == len(track)
    with pytest.raises(ShapeError, match=r"less than 0\.001 degrees"):
        statistics.mean_face([track], max_yaw_deg=0.001)
    with pytest.raises(ShapeError, match=r"expected \(T, 478, 3\), got \(3, 468, 3\)"):
        statistics.mean_face([np.zeros((3, 468, 3))])


def test_jaw_is_found_and_undone(head: HeadModel) -> None:
    hinge = statistics.Hinge.of(head)
    opened = torch.linspace(0, 0.3, 7)
    jaw = torch.stack([opened, 0 * opened, 0 * opened], dim=1)
    frames = pose_vertices(head, NONE, NONE, jaw=jaw)[:, FACE].double().numpy()
    rest, angles = statistics.without_jaw(frames, hinge.face, hinge)
    assert np.abs(angles[:, 0] - opened.numpy()).max() < 0.01
    assert np.abs(rest).max() < 5e-4


def test_learned_bases_describe_their_own_persons(head: HeadModel) -> None:
    tracks = synthetic_tracks(head)
    learned = statistics.learn_basis(tracks, head, shape_count=12, expression_count=20)
    assert learned.shape_basis.shape == (len(head.template), 3, 12)
    assert learned.expression_basis.shape[2] == 20
    assert learned.model_id.startswith("learned-")
    assert torch.equal(learned.template, head.template)
    basis = learned.shape_basis[FACE].double().numpy().reshape(-1, 12)
    hinge = statistics.Hinge.of(head)
    frames = [statistics.usable_frames(t, max_yaw_deg=40)[:, FACE] for t in tracks]
    persons = np.stack([statistics.align(np.median(f, 0)[None], hinge.face)[0][0] for f in frames])
    persons = (persons - hinge.face).reshape(len(persons), -1).T
    left = persons - basis @ np.linalg.lstsq(basis, persons, rcond=None)[0]
    assert np.linalg.norm(left) < 0.6 * np.linalg.norm(persons)


def test_learning_needs_the_builtin_head_and_enough_people(head: HeadModel) -> None:
    tracks = synthetic_tracks(head, persons=1)
    with pytest.raises(ShapeError, match=r"at least 2 persons with 5 frames .* got 1"):
        statistics.learn_basis(tracks, head)
    with pytest.raises(ShapeError, match="expected the built-in head"):
        statistics.learn_basis(tracks, toy_head())
