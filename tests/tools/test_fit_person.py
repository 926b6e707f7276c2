"""``headwarp fit`` on several inputs of one person, as a stream, steadily, with an unknown focal length."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from face_pictures import moved, needs_mediapipe, portrait, sway
from media_files import write_clip, write_photo

from headwarp.flame.fitting import FitConfig, fit_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.params import HeadFit
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.bench.synthetic_faces import SIDE, head_track
from headwarp.tools.cli import main


def _fits(folder):
    return {path.stem: HeadFit.load(path) for path in sorted(folder.glob("*.npz"))}


def _run(*arguments):
    return main(["fit", *map(str, arguments)])


@needs_mediapipe
@pytest.mark.slow
def test_inputs_of_one_person_share_the_shape(tmp_path):
    large = np.kron(portrait(), np.ones((2, 2, 1), np.uint8))
    inputs = [
        write_photo(tmp_path / "a.png", portrait()),
        write_photo(tmp_path / "b.png", moved(large, 30, 8)),
        write_clip(tmp_path / "c.mp4", sway(4)),
    ]
    blank = write_photo(tmp_path / "blank.png", np.full((64, 64, 3), 127, np.uint8))
    out = tmp_path / "out"
    assert _run(*inputs, blank, "--output", out, "--one-person", "--no-overlay") == 1  # blank has no face
    fits = _fits(out)
    assert sorted(fits) == ["a", "b", "c"]
    assert torch.equal(fits["a"].params.shape, fits["b"].params.shape)
    assert torch.equal(fits["a"].params.shape, fits["c"].params.shape)
    assert float(fits["a"].params.shape.abs().max()) > 0.1
    assert fits["b"].size == (600, 600)
    report = json.loads((out / "report.json").read_text())
    assert report["protocol"]["one_person"] is True
    assert list(report["failed"]) == ["blank"]
    before = {path.name: path.read_bytes() for path in out.glob("*.npz")}
    assert _run(*inputs, blank, "--output", out, "--one-person", "--no-overlay") == 1
    assert {path.name: path.read_bytes() for path in out.glob("*.npz")} == before
    # another input makes another person of them: not silently
    assert _run(*inputs[:2], "--output", out, "--one-person", "--no-overlay") != 0
    assert {path.name: path.read_bytes() for path in out.glob("*.npz")} == before


@pytest.fixture(scope="module")
def points():
    return head_track(load_head("builtin"), 40)


def test_stream_and_steady_and_focal_are_passed_on(tmp_path, points):
    few = points[::5]
    for name, own in (("few", few), ("all", points)):
        write_clip(tmp_path / f"{name}.mp4", [np.zeros((SIDE, SIDE, 3), np.uint8)] * len(own))
        np.save(tmp_path / f"{name}.npy", own)
    shapes = {}
    for name, clip, options in (
        ("plain", "few", []),
        ("stream", "all", ["--mode", "stream"]),  # longer than what it solves together
        ("steady", "few", ["--steady"]),
        ("lens", "few", ["--focal", "estimate"]),
    ):
        given = [tmp_path / f"{clip}.mp4", "--landmarks", tmp_path / f"{clip}.npy", "--no-overlay"]
        assert _run(*given, "--output", tmp_path / name, *options) == 0
        shapes[name] = HeadFit.load(tmp_path / name / f"{clip}.npz")
    assert shapes["stream"].report["together"] == 32
    assert shapes["lens"].report["focal_deviation"] > 0
    assert not torch.equal(shapes["plain"].params.rotation, shapes["steady"].params.rotation)
    assert "together" not in shapes["plain"].report


def test_focal_lengths_that_make_no_sense_are_refused(tmp_path, capsys):
    photo = write_photo(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    assert _run(photo, "--output", tmp_path / "o", "--focal", "-3") != 0
    assert "--focal: expected a number above 0" in capsys.readouterr().err
    assert _run(photo, "--output", tmp_path / "o", "--focal", "guess") != 0


def test_a_known_shape_is_kept_and_the_rest_found(points):
    head = load_head("builtin")
    whole = fit_landmarks(head, points, (SIDE, SIDE))
    shape = tuple(whole.params.shape.tolist())
    for mode in ("clip", "stream"):
        fit = fit_landmarks(head, points, (SIDE, SIDE), config=FitConfig(mode=mode, shape=shape))
        assert torch.equal(fit.params.shape, whole.params.shape)
        assert fit.report["reprojection_percent_iod"] < 1.2 * whole.report["reprojection_percent_iod"]
    wrong = fit_landmarks(head, points, (SIDE, SIDE), config=FitConfig(shape=(0.0,)))
    assert wrong.report["reprojection_percent_iod"] > 1.5 * whole.report["reprojection_percent_iod"]
    torch.testing.assert_close(fit.params.rotation, whole.params.rotation, atol=0.03, rtol=0)
    short = fit_landmarks(head, points, (SIDE, SIDE), config=FitConfig(shape=(0.5, -0.5)))
    assert short.params.shape[:3].tolist() == [0.5, -0.5, 0.0]
    with pytest.raises(HeadwarpError, match="shape: expected at most 87 finite coefficients"):
        fit_landmarks(head, points, (SIDE, SIDE), config=FitConfig(shape=(0.0,) * 88))
