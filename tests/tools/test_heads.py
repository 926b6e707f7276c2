"""Heads without landmarks are made ready once, said so, and fitted like others."""

import logging

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe, portrait
from flame_export import FLAME_105, write_head_as_flame
from flame_schema import flame_arrays_of, write_flame_pickle

import headwarp
from headwarp.flame.io import load_head
from headwarp.flame.model import with_landmarks
from headwarp.geom.errors import MissingDependencyError, NoFaceError
from headwarp.tools import heads
from headwarp.tools.cli import main
from headwarp.tools.heads import head_notes, ready_head


@pytest.fixture(scope="module")
def flame_file(tmp_path_factory):
    """A FLAME pickle alone in its folder, with the built-in head's geometry."""
    path = tmp_path_factory.mktemp("flame") / "flame.pkl"
    write_flame_pickle(path, flame_arrays_of(load_head("builtin")))
    return path


@pytest.fixture
def forgotten(monkeypatch):
    """Nothing was made in this process yet."""
    monkeypatch.setattr(heads, "_MADE", {})


def test_a_head_with_landmarks_stays_itself():
    head = load_head("builtin")
    assert ready_head(head) is head
    assert head_notes(head) == []


@needs_mediapipe
def test_landmarks_are_found_once_and_said(flame_file, forgotten, caplog, monkeypatch):
    with caplog.at_level(logging.WARNING, logger="headwarp"):
        ready = ready_head(flame_file)
        monkeypatch.setattr(heads, "render_embedding", lambda model: pytest.fail("drawn again"))
        again = ready_head(str(flame_file))
        loaded = load_head(flame_file)
        assert ready_head(loaded) is ready_head(loaded)
    assert [record.message for record in caplog.records] == head_notes(ready)
    assert "found by drawing it from 15 sides (a face in 15" in caplog.records[0].message
    assert len(ready.landmarks["mediapipe"].indices) == 478
    assert len(again.landmarks["ibug68"].indices) == 68
    assert loaded.landmarks == {}
    assert list(flame_file.parent.iterdir()) == [flame_file]


@needs_mediapipe
def test_other_landmarks_of_the_head_are_kept(flame_file):
    own = load_head("builtin").landmarks["ibug68"]
    ready = ready_head(with_landmarks(load_head(flame_file), {"ibug68": own}))
    assert torch.equal(ready.landmarks["ibug68"].faces, own.faces)
    assert "mediapipe" in ready.landmarks


@needs_mediapipe
def test_flames_105_points_are_completed_by_the_rim_of_the_face(tmp_path, forgotten):
    """They say nothing about cheeks and jaw: a face fitted to them alone has no width."""
    ready = ready_head(write_head_as_flame(tmp_path, load_head("builtin"), beside="mediapipe"))
    embedding, exact = ready.landmarks["mediapipe"], load_head("builtin").landmarks["mediapipe"]
    assert embedding.origin == "flame-mediapipe+irises + rendered"
    assert sorted(embedding.indices.tolist()) == list(range(478))
    own = embedding.indices[:105]
    assert own.tolist() == list(FLAME_105)
    assert torch.equal(embedding.faces[:105], exact.faces[own]), "the file's own stay"
    assert head_notes(ready)[0].split(":")[1].startswith(" no face-mesh landmarks of the rim of the face in")


@pytest.mark.parametrize("problem", [MissingDependencyError("no mediapipe"), NoFaceError("no face")])
def test_without_a_detector_other_landmarks_must_do(flame_file, forgotten, monkeypatch, problem):
    def fails(model):
        raise problem

    monkeypatch.setattr(heads, "render_embedding", fails)
    bare = load_head(flame_file)
    with pytest.raises(type(problem)):
        ready_head(bare)
    half = with_landmarks(bare, {"ibug68": load_head("builtin").landmarks["ibug68"]})
    assert ready_head(half) is half


@needs_mediapipe
def test_a_pickle_alone_is_fitted_as_well_as_the_built_in_head(flame_file):
    own, fitted = (headwarp.fit(portrait(), head=head) for head in ("builtin", flame_file))
    assert fitted.report["reprojection_percent_iod"] < 1.5 * own.report["reprojection_percent_iod"]
    assert torch.rad2deg((fitted.params.rotation - own.params.rotation).norm()) < 4
    assert fitted.camera.scale.item() == pytest.approx(own.camera.scale.item(), rel=0.05)
    posed = headwarp.pose(fitted, headwarp.Pose(expressions={"smile": 0.5}), head=flame_file)
    assert posed.model_id == fitted.model_id


@needs_mediapipe
def test_the_command_writes_an_embedding_that_is_read_again(flame_file, tmp_path, capsys):
    output, picture = tmp_path / "points.npz", tmp_path / "points.png"
    assert (
        main(["convert", "landmarks", str(flame_file), "--output", str(output), "--picture", str(picture)])
        == 0
    )
    assert "478 face-mesh points on flame-" in capsys.readouterr().out
    assert picture.is_file()
    read = load_head(flame_file, landmarks=output)
    ready = ready_head(flame_file)
    for family in ("mediapipe", "ibug68"):
        assert torch.equal(read.landmarks[family].faces, ready.landmarks[family].faces)
    with np.load(output) as file:
        assert file["spread_mm"].shape == file["seen"].shape == (478,)
        assert str(file["model_id"]) == read.model_id


@needs_mediapipe
def test_the_command_compares_with_the_heads_own_points(tmp_path, capsys):
    assert main(["convert", "landmarks", "builtin", "--output", str(tmp_path / "points.npz")]) == 0
    assert "against its own mediapipe (478): median 1." in capsys.readouterr().out


def test_the_command_refuses_another_kind_of_file(tmp_path, capsys):
    assert main(["convert", "landmarks", "builtin", "--output", str(tmp_path / "points.txt")]) == 1
    assert "expected a name that ends in .npz" in capsys.readouterr().err
