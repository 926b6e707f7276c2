"""OBJ files: faces of three and four corners, numbers in blocks, and what is no mesh."""

import numpy as np
import pytest

from headwarp.flame._obj import read_mesh, read_text, read_vertices, same_faces
from headwarp.geom.errors import ModelFileError

SQUARE = "# made by hand\nmtllib x.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1.5e-1\n"
TEXTURE = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACES = "usemtl A\nf 1/1 2/2 3/3 4/4\nusemtl B\nf 1/4 2/3 5/2\nf 2/1 3/1 4/2 5/3\n"


def mesh(text, tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_mesh(read_text(path), path)


def test_quads_become_two_triangles_in_order(tmp_path):
    found = mesh(SQUARE + TEXTURE + FACES, tmp_path)
    assert found.vertices.tolist()[-1] == [0, 0, 0.15]
    assert found.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 4], [1, 2, 3], [1, 3, 4]]
    assert found.uv.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert found.uv_faces.tolist() == [[0, 1, 2], [0, 2, 3], [3, 2, 1], [0, 0, 1], [0, 1, 2]]


def test_windows_line_ends_and_no_last_line_end(tmp_path):
    found = mesh((SQUARE + TEXTURE + FACES).replace("\n", "\r\n").rstrip(), tmp_path)
    assert found.faces.shape == (5, 3)


def test_faces_without_texture(tmp_path):
    found = mesh(SQUARE + "f 1 2 3\nf 1 3 4 5\n", tmp_path)
    assert found.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert found.uv is None
    assert found.uv_faces is None


def test_the_first_line_may_be_a_vertex(tmp_path):
    assert mesh("v 1 2 3\nv 4 5 6\nv 7 8 9\nf 1 2 3", tmp_path).vertices.tolist()[0] == [1, 2, 3]


def test_same_faces_whatever_stands_before_or_between(tmp_path):
    one = (SQUARE + TEXTURE + FACES).encode()
    other = (SQUARE.replace("1.5e-1", "7") + FACES.replace("usemtl B\n", "")).encode()
    assert same_faces(one, other)
    assert not same_faces(one, other.replace(b"f 1/4", b"f 2/4"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello\n", "expected an OBJ mesh with v lines, got none"),
        ("v 1 2\nv 3 4 5\nf 1 2 3\n", "expected 2 v lines of 3 numbers in one block, got 5 numbers"),
        ("v 1 2 x\nf 1 1 1\n", "expected v lines of 3 numbers"),
        ("v 1 2 3\nvt 0 0\nv 4 5 6\nf 1 2 1\n", "expected v lines of 3 numbers in one block"),
        ("v 1 2 nan\nf 1 1 1\n", "expected finite numbers"),
        ("v 1 2 1e999\nf 1 1 1\n", "expected finite numbers"),
        ("v 1 2 \u00e9\nf 1 1 1\n", "expected v lines of 3 numbers"),
        (SQUARE, "expected faces"),
        (SQUARE + "f 1 2\n", "expected faces of 3 or 4 corners, got one of 2"),
        (SQUARE + "f 1 2 3 4 5\n", "expected faces of 3 or 4 corners, got one of 5"),
        (SQUARE + "f 1 2 9\n", "expected face indices from 1 to 5, got 1 to 9"),
        (SQUARE + "f 0 1 2\n", "expected face indices from 1 to 5, got 0 to 2"),
        (SQUARE + "f -1 -2 -3\n", "expected face indices from 1"),
        (SQUARE + "f 1.5 2 3\n", "expected face indices from 1"),
        (SQUARE + TEXTURE + "f 1/1 2/2 3\n", "got a mixture of kinds"),
        (SQUARE + TEXTURE + "f 1//1 2//2 3//3\n", "got a mixture of kinds"),
        (SQUARE + TEXTURE + "f 1/1 2/2 3/7\n", "expected face indices from 1 to 4, got 1 to 7"),
        (SQUARE + "f a b c\n", "expected faces as f 1/1 2/2 3/3"),
        ("v 1 2 3\nf 1 1 1".encode("utf-16"), "expected an OBJ mesh"),
        (b"", "the file is empty"),
        (b"<html>", "a web page was saved"),
    ],
)
def test_what_is_no_mesh(tmp_path, text, complaint):
    with pytest.raises(ModelFileError, match=complaint):
        mesh(text, tmp_path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_text(tmp_path / "none.obj")
    huge = tmp_path / "huge.obj"
    with huge.open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(ModelFileError, match="expected at most"):
        read_text(huge)


def test_many_vertices_come_back_as_written(tmp_path):
    values = np.random.default_rng(0).normal(size=(5000, 3))
    text = "\n".join(f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in values).encode()
    assert np.allclose(read_vertices(text, tmp_path), values, rtol=1e-8)
