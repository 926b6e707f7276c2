"""The video of a fitted clip: a frame for every frame, and what was not fitted is not drawn."""

import dataclasses

import numpy as np
import pytest
import torch
from media_files import moving_frames, write_clip
from posed_fits import detected_points, posed_fit

from headwarp.flame.io import load_head
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING
from headwarp.tools.cli import main
from headwarp.tools.film import BAD, DOUBTFUL, PAPER
from headwarp.tools.fit_film import _GAP, _HEADER, FAR, LARGEST, SMALLEST, film_frames, screen_of
from headwarp.tools.overlay import FOUND
from headwarp.training.data.media import VideoReader, probe
from headwarp.training.data.provenance import read_provenance

STATES = [MISSING, DETECTED, INTERPOLATED]


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def fit(head):
    """Three frames: without a fit, with a face, with a fit and no face; one landmark in five is far off."""
    found = posed_fit(head, [0.0, 5.0, 10.0])
    residual = torch.zeros_like(found.residual)
    residual[:, ::5] = 0.1 * found.size[1]
    report = {**found.report, "fps": "25/2"}
    status = torch.tensor(STATES, dtype=torch.int8)
    return dataclasses.replace(found, residual=residual, status=status, report=report)


@pytest.fixture(scope="module")
def shown(fit, head):
    screen = screen_of(head, fit, "a name " * 30)
    grey = np.full((*fit.size, 3), 90, np.uint8)
    return screen, list(film_frames([grey] * 9, head, fit, screen))


def tile(screen, frame, column):
    left = column * (screen.tile[1] + _GAP)
    return frame[_HEADER : _HEADER + screen.tile[0], left : left + screen.tile[1]]


def has(picture, colour):
    return bool((picture == colour).all(-1).any())


def test_every_frame_has_one_of_a_size_that_encoders_take(shown, fit):
    screen, frames = shown
    assert len(frames) == fit.frames
    assert {frame.shape for frame in frames} == {(*screen.size, 3)}
    assert {extent % 2 for extent in screen.size} == {0}
    assert SMALLEST <= max(screen.tile) <= LARGEST


def test_a_mesh_lies_where_something_was_fitted_and_only_there(shown):
    screen, frames = shown
    inner = [tile(screen, frame, 1)[4:-4, 4:-4] for frame in frames]
    drawn = [float((picture.astype(int) - 90 != 0).any(-1).mean()) for picture in inner]
    assert drawn[0] == 0
    assert min(drawn[1:]) > 0.05
    for frame in frames:
        assert (tile(screen, frame, 0) == 90).all()


def test_frames_without_a_face_are_framed_and_have_no_points(shown):
    screen, frames = shown
    right = [tile(screen, frame, 1) for frame in frames]
    for picture, colour in ((right[0], BAD), (right[2], DOUBTFUL)):
        assert (picture[0] == colour).all()
        assert not has(picture, FOUND)
    assert has(right[1], FOUND)
    assert not (right[1][0] == BAD).all()


def test_points_far_from_the_mesh_are_red(shown, fit, head):
    screen, frames = shown
    assert has(tile(screen, frames[1], 1), BAD)
    near = dataclasses.replace(fit, residual=0.01 * fit.residual)
    grey = np.full((*fit.size, 3), 90, np.uint8)
    frame = list(film_frames([grey] * 3, head, near, screen))[1]
    assert not has(tile(screen, frame, 1), BAD)
    assert FAR == 5.0


def test_the_curve_is_shaded_where_no_face_was_and_the_line_moves_on(shown):
    screen, frames = shown
    below = [frame[_HEADER + screen.tile[0] + 30 : -12] for frame in frames]
    places = [
        np.flatnonzero((part == colour).all(-1).sum(0) > 0.5 * len(part))
        for part, colour in zip(below, (BAD, (235, 237, 240), DOUBTFUL), strict=True)
    ]
    assert [len(place) for place in places] == [1, 1, 1]
    assert places[0][0] < places[1][0] < places[2][0]
    shaded = ~(below[1] == PAPER).all(-1)
    middle = places[1][0]
    assert shaded[:, places[0][0]].mean() > 0.9  # missing
    assert shaded[:, middle + 20].mean() < 0.3


def test_times_are_the_files(fit, head):
    assert screen_of(head, fit, "c").times.tolist() == [0.0, 0.08, 0.16]
    uneven = dataclasses.replace(fit, report={**fit.report, "times": [0.0, 0.1, 0.5]})
    assert screen_of(head, uneven, "c").times.tolist() == [0.0, 0.1, 0.5]
    assert screen_of(head, dataclasses.replace(fit, report={}), "c").times is None


def test_a_tiny_tall_and_a_large_clip_have_a_screen(fit, head):
    for size in ((40, 20), (2160, 3840), (1920, 1080)):
        screen = screen_of(head, dataclasses.replace(fit, size=size), "c")
        assert 480 <= screen.size[1] <= 2 * LARGEST + _GAP
        assert screen.size[0] <= LARGEST + 150


def test_the_command_writes_it_beside_the_overlays(tmp_path, head, capsys):
    posed = posed_fit(head, [0.0, 5.0, 10.0, 15.0])
    clip = write_clip(tmp_path / "c.mp4", moving_frames(4, *posed.size), fps=10)
    points = detected_points(posed)
    points[0] = np.nan
    np.save(tmp_path / "p.npy", points)
    out = tmp_path / "out"
    words = ["fit", str(clip), "--output", str(out), "--landmarks", str(tmp_path / "p.npy")]
    assert main([*words, "--overlay-video"]) == 0
    video = out / "overlays" / "c.mp4"
    assert (probe(video).frames, probe(video).fps) == (4, 10)
    assert read_provenance(video).animator == "fit overlay"
    assert len(list(VideoReader(video))) == 4
    assert 'href="./overlays/c.mp4"' in (out / "report.html").read_text(encoding="utf-8")
    before, page = (out / "c.npz").stat().st_mtime_ns, (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert main([*words, "--overlay-video"]) == 0  # nothing is fitted, the page is written
    assert ((out / "c.npz").stat().st_mtime_ns, (out / "report.html").read_bytes()) == (before, page)
    video.unlink()
    assert main([*words, "--overlay-video"]) == 0  # what is missing is made again, as fits are
    assert video.exists()
    assert main(words) == 1
    assert "overlay_video" in capsys.readouterr().err
