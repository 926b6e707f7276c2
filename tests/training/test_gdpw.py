"""Clips with posed vertices as the authors of [PWM] keep them: read, placed in our pixels, or refused."""

import dataclasses

import numpy as np
import pytest
import torch
from lz4_frames import MESH, posed_vertices, stored, write_gdpw_clip
from PIL import Image

from headwarp.geom.errors import MediaError
from headwarp.training.data.gdpw import list_gdpw, read_frame, read_frames, read_vertices

PLACE = "id10001/abc/000075#001030"


def test_the_tree_is_listed_by_person_video_and_clip(tmp_path):
    for place in ("id2/v/000010#000020", PLACE, "id10001/abc/loose"):
        write_gdpw_clip(tmp_path, place, frames=2)
    (tmp_path / "id10001/abc/empty#1").mkdir()
    (tmp_path / "README").write_text("x")
    clips = list_gdpw(tmp_path)
    assert [(c.person, c.video, c.start, c.end) for c in clips] == [
        ("id10001", "abc", 75, 1030),
        ("id10001", "abc", None, None),
        ("id2", "v", 10, 20),
    ]
    assert clips[0].frames == ("0000000", "0000001")
    for name in ("_img.jpg", "_posed_vertx.lz4"):
        (clips[0].path / f"0000000{name}").rename(clips[0].path / f"12{name}")
        (clips[0].path / f"0000001{name}").rename(clips[0].path / f"9{name}")
    assert list_gdpw(tmp_path)[0].frames == ("9", "12")


def test_frames_come_in_order_in_our_pixels(tmp_path):
    meshes = write_gdpw_clip(tmp_path, PLACE, frames=12)
    (clip,) = list_gdpw(tmp_path)
    assert clip.frames[-2:] == ("0000010", "0000011")
    for frame, mesh in zip(read_frames(clip, vertices=30), meshes, strict=True):
        assert frame.image.shape == (64, 64, 3)
        assert frame.verts.dtype == torch.float32
        scale = torch.tensor([1, 1, 32 * 1.25 / 1.35])
        expected = torch.from_numpy(mesh) * scale + torch.tensor([0.5, 0.5, 0])
        torch.testing.assert_close(frame.verts[0], expected)
    faces = torch.tensor([[0, 1, 2]])
    source, driving = frame.source(faces), frame.driving()
    assert source.image.shape == driving.image.shape == (1, 3, 64, 64)
    assert source.posed_vertices is driving.posed_vertices is frame.verts
    assert source.faces is faces


@pytest.mark.parametrize("kind", ["float16", "float32", "int16"])
def test_arrays_of_every_type_that_is_written(tmp_path, kind):
    values = np.arange(12).reshape(4, 3).astype(kind)
    path = tmp_path / "a.lz4"
    path.write_bytes(posed_vertices(values))
    read = read_vertices(path)
    assert read.dtype == np.float32
    assert np.array_equal(read, values)


def test_a_compressed_file_of_the_reference_implementation(tmp_path):
    path = tmp_path / "a.lz4"
    path.write_bytes(MESH)
    y, x = np.mgrid[0:5, 0:6]
    expected = np.stack([20 * x + 60, 25 * y + 50, 0 * x - 0.5], -1).reshape(-1, 3)
    assert np.array_equal(read_vertices(path), expected)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"nothing of the kind", "expected posed vertices; LZ4: expected a frame that begins with"),
        (MESH[:60], "expected posed vertices; LZ4: the data is cut off"),
        (stored(b"1234567"), "expected an array, got 7 bytes"),
        (posed_vertices(np.zeros((4, 3))), "float32, got numpy type number 12 with 2 axes"),
        (posed_vertices(np.zeros((4, 3, 1), np.float32)), "got numpy type number 11 with 3 axes"),
        (posed_vertices(np.zeros((4, 2), np.float32)), "expected (V, 3), got (4, 2) with 32 bytes"),
        (posed_vertices(np.zeros((0, 3), np.float32)), "expected (V, 3), got (0, 3) with 0 bytes"),
        (stored(np.array([11, 2, 5, 3, 0], "<i4").tobytes()), "expected (V, 3), got (5, 3) with 4 bytes"),
        (stored(np.array([11, 2, -1, 3], "<i4").tobytes()), "expected (V, 3), got (-1, 3)"),
        (posed_vertices(np.full((2, 3), np.nan, np.float32)), "expected finite numbers, got NaN"),
        (bytes(5 << 20), "in at most 4194304 bytes, got 5242880"),
    ],
)
def test_what_is_no_array_of_vertices_is_told_with_its_file(tmp_path, data, text):
    path = tmp_path / "a_posed_vertx.lz4"
    path.write_bytes(data)
    with pytest.raises(MediaError) as caught:
        read_vertices(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert text in str(caught.value)


def test_frames_of_another_head_or_without_a_picture(tmp_path):
    write_gdpw_clip(tmp_path, PLACE)
    (clip,) = list_gdpw(tmp_path)
    with pytest.raises(MediaError, match="expected 5023 vertices, got 30; they are of another head"):
        read_frame(clip, "0000001")
    assert read_frame(clip, "0000001", vertices=None).verts.shape == (1, 30, 3)
    (clip.path / "0000001_img.jpg").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"0000001_img\.jpg"):
        read_frame(clip, "0000001", vertices=None)
    gone = dataclasses.replace(clip, frames=("0000009",))
    Image.new("RGB", (64, 64)).save(clip.path / "0000009_img.jpg")
    with pytest.raises(MediaError, match=r"0000009_posed_vertx\.lz4: cannot be read \(No such file"):
        list(read_frames(gone))


def test_a_picture_without_its_mesh_and_folders_without_clips(tmp_path):
    with pytest.raises(MediaError, match=r"no such folder \(sought in"):
        list_gdpw(tmp_path / "none")
    with pytest.raises(MediaError, match=r"expected PERSON/VIDEO/START#END/NNNNNNN_img\.jpg in it"):
        list_gdpw(tmp_path)
    write_gdpw_clip(tmp_path, PLACE)
    (tmp_path / PLACE / "0000001_posed_vertx.lz4").unlink()
    with pytest.raises(MediaError, match=r"0000001_posed_vertx\.lz4 beside its twin.*\(1 such frames\)"):
        list_gdpw(tmp_path)
    (tmp_path / PLACE / "0000001_img.jpg").unlink()
    (tmp_path / PLACE / "0000002_img.jpg").unlink()
    with pytest.raises(MediaError, match=r"expected 0000002_img\.jpg beside its twin"):
        list_gdpw(tmp_path)
