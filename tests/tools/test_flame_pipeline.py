"""fit, edit, animate, evaluate and demo, whole, with --head on a FLAME file that holds the built-in geometry.

With FLAME's own 105 face-mesh points beside it, with DECA's file (68 points, no face mesh), and with nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_pictures import frames_of, needs_mediapipe, portrait, read_photo
from flame_export import Beside, write_head_as_flame
from media_files import write_photo

import headwarp
from headwarp.flame.detect import detect_faces
from headwarp.flame.io import load_head
from headwarp.flame.landmarks import MEDIAPIPE_68
from headwarp.flame.params import HeadFit
from headwarp.tools import cli
from headwarp.training.data.media import VideoWriter

pytestmark = [needs_mediapipe, pytest.mark.slow]


@pytest.fixture(scope="module")
def flame(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_head_as_flame(tmp_path_factory.mktemp("flame"), load_head("builtin"), beside=request.param)


def beside(kind: Beside) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("flame", [kind], indirect=True, ids=[kind or "nothing"])


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    write_photo(path, portrait())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The astronaut turning her head and opening her mouth, made with the built-in head."""
    poses = [
        headwarp.Pose(yaw=2.5 * i, pitch=-i, jaw=0.1 * i, expressions={"smile": 0.1 * i}) for i in range(5)
    ]
    path = tmp_path_factory.mktemp("clips") / "turn.mp4"
    with VideoWriter(path, 10, crf=4) as writer:
        for frame in headwarp.edit_track(portrait(), poses):
            writer.write(frame)
    return path


def run(command: str, *words: object, tmp_path: Path) -> dict[str, Any]:
    report = tmp_path / f"{command}.json"
    assert cli.main([command, *map(str, words), "--json", str(report)]) == 0
    return json.loads(report.read_text())


@beside("mediapipe")
def test_a_photo_is_fitted_and_edited(flame: Path, photo: Path, tmp_path: Path) -> None:
    report = run("fit", photo, "--output", tmp_path / "fits", "--head", flame, tmp_path=tmp_path)
    fit = HeadFit.load(tmp_path / "fits" / "astronaut.npz")
    assert report["protocol"]["head"] == fit.model_id == load_head(flame).model_id
    assert fit.report["reprojection_percent_iod"] < 2
    assert read_photo(tmp_path / "fits" / "overlays" / "astronaut.png").ndim == 3
    words = ("--yaw", 20, "--jaw", 0.5, "--expression", "smile=0.5", "--head", flame, "--size", 96)
    run("edit", photo, *words, "--output", tmp_path / "edited.png", tmp_path=tmp_path)
    assert read_photo(tmp_path / "edited.png").std() > 20


@beside("deca")
def test_68_points_of_a_file_serve(flame: Path, photo: Path, tmp_path: Path) -> None:
    """As a detector of 68 points gives them; the outline comes from the table in DECA's file."""
    points = detect_faces(portrait())[0].landmarks[list(MEDIAPIPE_68)]
    np.save(tmp_path / "points.npy", points)
    words = ("--landmarks", tmp_path / "points.npy", "--head", flame)
    run("fit", photo, *words, "--output", tmp_path / "fits", tmp_path=tmp_path)
    fit = HeadFit.load(tmp_path / "fits" / "astronaut.npz")
    assert fit.report["family"] == "ibug68"
    assert fit.report["landmark_origin"].startswith("deca")
    assert fit.report["moving_landmarks"] == list(range(17))
    assert fit.report["reprojection_percent_iod"] < 4
    run("edit", photo, *words, "--yaw", 20, "--size", 64, "--output", tmp_path / "x.png", tmp_path=tmp_path)
    assert read_photo(tmp_path / "x.png").std() > 20


@beside("")
def test_a_clip_is_driven_and_measured(flame: Path, clip: Path, photo: Path, tmp_path: Path) -> None:
    """Better than warping by landmarks alone; on real clips it is within 5 % of the built-in head."""
    words = ("--source", photo, "--driving", clip, "--size", 96, "--output", tmp_path / "out.mp4")
    run("animate", *words, "--head", flame, tmp_path=tmp_path)
    frames = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 5
    assert np.abs(np.float32(frames[-1]) - frames[0]).mean() > 2
    report = run("evaluate", "--clips", clip, "--head", flame, "--stride", 2, tmp_path=tmp_path)
    measured = report["metrics"]
    assert measured["geometry"]["l1"] < 0.85 * measured["tps"]["l1"]
    assert measured["geometry"]["missing_face_rate"] == 0


@beside("deca")
def test_the_demo_runs(flame: Path, tmp_path: Path) -> None:
    words = ("--seconds", 0.2, "--size", 64, "--output", tmp_path / "demo")
    report = run("demo", *words, "--head", flame, tmp_path=tmp_path)
    assert report["head"] == load_head(flame).model_id
    assert report["reprojection_percent_iod"] < 2
