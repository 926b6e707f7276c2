"""A file of landmarks that drives: which files they are, gaps, counts, relative and absolute motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe, portrait
from media_files import write_photo
from toy_animators import SPARSE, shaken

from headwarp.flame.io import load_head
from headwarp.flame.landmarks import MEDIAPIPE_68
from headwarp.flame.params import Pose
from headwarp.geom.errors import HeadwarpError, NoFaceError, ShapeError
from headwarp.geom.guidance import Driving
from headwarp.tools.animate import Animate, run
from headwarp.tools.edit import edit_track
from headwarp.tools.landmark_motion import common_count, is_landmark_file, read_track, with_landmarks_of
from headwarp.tools.motion_options import MotionOptions
from headwarp.tools.portrait import open_portrait
from headwarp.warping.animators import load_animator
from headwarp.warping.sparse2dense import with_landmarks

SIZE = 64


def track(frames=4, count=68):
    """A face that goes right by 2 px a frame, in a frame of its own."""
    face = np.random.default_rng(0).uniform(300, 500, (1, count, 2))
    return face + 2.0 * np.arange(frames)[:, None, None] * np.array([1.0, 0.0])


def written(folder, suffix, points) -> Path:
    path = folder / f"points{suffix}"
    if suffix == ".csv":
        np.savetxt(path, points.reshape(len(points), -1), delimiter=",")
    elif suffix == ".npy":
        np.save(path, points)
    else:
        np.savez(path, landmarks=points)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_files_of_landmarks_are_read(tmp_path, suffix):
    path = written(tmp_path, suffix, track())
    assert is_landmark_file(path)
    made = read_track(path, 68)
    torch.testing.assert_close(made.points, torch.from_numpy(track()).float())
    assert (made.missing, made.first) == (0, 0)


def test_other_drivers_are_none(tmp_path):
    keys = tmp_path / "turn.csv"
    keys.write_text("time,yaw\n0,0\n1,20\n")
    fit = tmp_path / "fit.npz"
    np.savez(fit, model_id="builtin", landmarks=track())
    assert not any(map(is_landmark_file, (keys, fit, tmp_path / "none.npy", tmp_path, np.zeros((1, 68, 2)))))


def test_rows_of_numbers_are_landmarks_even_where_one_is_missing(tmp_path):
    path = written(tmp_path, ".csv", track(count=67))
    assert is_landmark_file(path)
    with pytest.raises(ShapeError, match=r"rows of 68, 468 or 478 points .* got rows of 134 cells"):
        read_track(path, 68)


def test_gaps_are_bridged_and_a_track_without_a_face_is_told(tmp_path):
    points = track(5)
    points[[0, 2], 7] = np.nan
    made = read_track(written(tmp_path, ".npy", points), 68)
    assert (made.missing, made.first) == (2, 1)
    torch.testing.assert_close(made.points[1:], torch.from_numpy(track(5)[1:]).float())
    torch.testing.assert_close(made.points[0], made.points[1])
    with pytest.raises(NoFaceError, match="expected all landmarks in some frame, found none"):
        read_track(written(tmp_path, ".npy", np.full((2, 68, 2), np.nan)), 68)


def test_the_68_are_found_in_the_face_mesh_but_not_the_other_way_round(tmp_path):
    mesh = track(2, 478)
    made = read_track(written(tmp_path, ".npz", mesh), 68)
    torch.testing.assert_close(made.points, torch.from_numpy(mesh[:, list(MEDIAPIPE_68)]).float())
    with pytest.raises(HeadwarpError, match=r"expected 478 landmarks a frame, .* got 68"):
        read_track(written(tmp_path, ".npz", track()), 478)


@needs_mediapipe
def test_a_file_drives_a_photo_relative_and_absolute(tmp_path):
    photo = write_photo(tmp_path / "a.png", portrait())
    opened = open_portrait(photo, head=load_head("builtin"), size=SIZE)
    own, tps = opened.source(), load_animator("tps")
    file = written(tmp_path, ".csv", track(2))
    options = {"source": (photo,), "driving": file, "animator": "tps", "size": SIZE, "provenance": False}
    report = run(Animate(output=tmp_path / "a.mp4", **options))
    assert (report["frames"], report["relative"], report["reference_frame"]) == (2, True, 0)
    crop = opened.crop
    whole = own.landmarks / crop.scale(SIZE) + own.landmarks.new_tensor([crop.x, crop.y])
    shifted = own.landmarks + own.landmarks.new_tensor([2.0, 1.0])
    away = whole + own.landmarks.new_tensor([2.0, 1.0]) / crop.scale(SIZE)
    written(tmp_path, ".csv", away.numpy().astype(np.float64))
    assert run(Animate(output=tmp_path / "b.png", **options))["relative"] is False
    from headwarp.tools.portrait import as_frames

    shown = torch.from_numpy(next(as_frames(tmp_path / "b.png"))).permute(2, 0, 1) / 255
    expected = tps.animate(tps.encode([own]), Driving(landmarks=shifted)).image[0]
    assert (shown - expected).abs().max() < 0.02


@needs_mediapipe
def test_what_does_not_go_with_a_file_is_told(tmp_path):
    photo = write_photo(tmp_path / "a.png", portrait())
    file = written(tmp_path, ".npy", track())
    refused = {
        "landmarks drives sparse2dense, tps": {"animator": "geometry"},
        "say nothing of their frame": {"adapt_scale": False},
        "has one face": {"driving_face": 1},
        "expected relative motion": {"absolute": True, "best_frame": 1},
    }
    for told, options in refused.items():
        asked = {"animator": "tps", "size": SIZE, **options}
        with pytest.raises(HeadwarpError, match=told):
            run(Animate(source=(photo,), driving=file, output=tmp_path / "a.mp4", **asked))
    strong = MotionOptions(strength=("mouth=0.5",), smooth=True)
    with pytest.raises(HeadwarpError, match="--strength: belongs to heads"):
        run(Animate((photo,), file, tmp_path / "a.mp4", animator="tps", size=SIZE, motion=strong))


@needs_mediapipe
def test_a_portrait_has_the_landmarks_that_its_animator_takes():
    opened = open_portrait(portrait(), size=SIZE)
    assert with_landmarks_of(opened, load_animator("tps")) is opened

    class Mesh:
        config = type("Config", (), {"landmarks": 478})()

    mesh = with_landmarks_of(opened, Mesh())
    assert mesh.source().landmarks.shape == mesh.driving(mesh.fit).landmarks.shape == (1, 478, 2)


def test_animators_beside_each_other_have_one_number_of_landmarks():
    made = {count: load_animator("sparse2dense", config=with_landmarks(SPARSE, count)) for count in (68, 478)}
    others = {name: load_animator(name) for name in ("copy", "tps")}
    assert common_count(others) == common_count({**others, "a": made[68]}) == 68
    assert common_count({**others, "b": made[478]}) == 478
    with pytest.raises(HeadwarpError, match="got a 68, b 478; measure them one by one"):
        common_count({"a": made[68], "b": made[478]})


@needs_mediapipe
def test_a_photo_is_edited_by_a_network_of_the_face_meshs_landmarks():
    mesh = shaken(load_animator("sparse2dense", config=with_landmarks(SPARSE, 478)))
    (frame,) = edit_track(portrait(), [Pose(yaw=10)], animator=mesh, size=SIZE)
    assert frame.shape == (SIZE, SIZE, 3)
