"""Head files of other makers made hostile: a sentence, in bounded time and memory, and nothing is run."""

import io

import numpy as np
import pytest
from hostile import bomb, edited, edits, npy_header, read_hostile, repacked
from hypothesis import HealthCheck, given, settings

from headwarp.flame._gnm_landmarks import sparse_landmarks
from headwarp.flame._ict_tables import VERTICES
from headwarp.flame._obj import read_mesh, read_text
from headwarp.flame.ict import ict_head
from headwarp.flame.io import load_head
from headwarp.geom.nearest import nearest_on_surface

FEW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
OBJ = (
    b"# a mesh\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\n"
    b"usemtl A\nf 1/1 2/2 3/3 4/1\nf 1/1 2/2 4/3\n"
)


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """Packages that look at the machine when they are first imported are here before the watch begins."""
    corners = np.eye(3)
    nearest_on_surface(np.zeros((1, 3)), corners, np.array([[0, 1, 2]]))


def tiny_gnm() -> bytes:
    """A file of GNM's schema with 12 vertices."""
    rng = np.random.default_rng(0)
    count = 12
    weights = np.zeros((4, count), np.float32)
    weights[1] = 1
    arrays = {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": rng.normal(size=(count, 3)).astype(np.float32),
        "template_joint_positions": np.zeros((4, 3), np.float32),
        "vertex_identity_basis": np.zeros((2, count, 3), np.float32),
        "joint_identity_basis": np.zeros((2, 4, 3), np.float32),
        "expression_basis": np.zeros((3, count, 3), np.float32),
        "expression_names": np.array(["a", "b", "tongue"]),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "joint_parent_indices": np.array([0, 0, 1, 1]),
        "skinning_weights": weights,
        "pose_correctives_regressor": np.zeros((36, 3 * count), np.float32),
        "triangles": np.arange(count, dtype=np.int32).reshape(-1, 3),
        "triangle_uvs": np.zeros((4, 3, 2), np.float32),
        "vertex_groups": np.ones((1, count), np.float32),
        "vertex_group_names": np.array(["skin"]),
    }
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_the_tiny_file_is_sound(tmp_path):
    (tmp_path / "gnm_head.npz").write_bytes(tiny_gnm())
    assert load_head(tmp_path / "gnm_head.npz").name == "gnm"


@FEW
@given(changes=edits())
def test_gnm_files(tmp_path, changes):
    read_hostile(repacked(tiny_gnm(), changes), tmp_path / "gnm_head.npz", load_head)


@pytest.mark.parametrize("shape", ["(4000000000, 3)", "(36, 99999999999)", "(1,)", "()"])
def test_gnm_headers_that_lie(tmp_path, shape):
    data = bomb("template_vertex_positions.npy", 1, head=npy_header(shape))
    read_hostile(data, tmp_path / "gnm_head.npz", load_head)


@FEW
@given(changes=edits())
def test_meshes(tmp_path, changes):
    read_hostile(edited(OBJ, changes), tmp_path / "mesh.obj", lambda path: read_mesh(read_text(path), path))


@FEW
@given(changes=edits())
def test_landmark_texts(tmp_path, changes):
    rng = np.random.default_rng(0)
    vertices, triangles = rng.normal(size=(90, 3)), np.arange(90).reshape(-1, 3)
    rows = "\n".join(f"{k} 0.5 {k + 1} 0.25 {k + 2} 0.25" for k in range(68))
    read_hostile(
        edited(rows.encode(), changes),
        tmp_path / "points.txt",
        lambda path: sparse_landmarks(path, vertices, triangles),
    )


@FEW
@given(changes=edits())
def test_tables_of_ict_folders(tmp_path, changes):
    text = f'{{"expressions": ["jawOpen"], "idx_to_landmark_verts": {list(range(68))}}}'
    read_hostile(
        edited(text.encode(), changes), tmp_path / "vertex_indices.json", lambda path: ict_head(path.parent)
    )


def test_a_mesh_of_one_endless_line(tmp_path):
    line = b"v " + b"1 " * 3 * VERTICES + b"\nf " + b"1 " * 500_000
    read_hostile(
        line, tmp_path / "mesh.obj", lambda path: read_mesh(read_text(path), path), megabytes=128, seconds=20
    )
