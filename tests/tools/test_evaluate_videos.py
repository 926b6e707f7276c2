"""The videos of `headwarp evaluate`: each frame is seen once, as it was measured, and none is kept."""

import os
import weakref
from fractions import Fraction

import numpy as np
import pytest
from media_files import write_clip
from toy_frames import moving_frames

from headwarp.geom.errors import HeadwarpError, MediaError, ShapeError
from headwarp.tools import cli
from headwarp.tools.evaluate import Evaluate, run
from headwarp.tools.evaluation import videos
from headwarp.tools.evaluation.measure import Setting, measure
from headwarp.tools.evaluation.pictures import prepare_pictures
from headwarp.tools.evaluation.side_by_side import HEADER, STRIP, WIDEST, heat, layout_of, side_by_side
from headwarp.tools.evaluation.trials import Made, Moment
from headwarp.tools.evaluation.videos import Video, measure_shown, plan_videos, video_rate
from headwarp.tools.film import COLOURS, PAPER, curve_points
from headwarp.training.data import _video_writer
from headwarp.training.data.media import VideoReader, probe
from headwarp.warping.animators import load_animator

SIDE = 64
GREY = np.full((SIDE, SIDE, 3), 100, np.uint8)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "walk.mp4", moving_frames(8, size=(SIDE, SIDE)))
    return folder


def config(clips, folder, **more):
    settings = {"animator": ("copy",), "faces": False, "size": SIDE, "videos": folder}
    return Evaluate(**{"clips": clips, **settings, **more})


def setting(**animators):
    return Setting(animators or {"copy": load_animator("copy")}, None, shown=0)


def moment(pictures, *, truth=GREY, face=None):
    made = {name: Made(picture, truth, 0.1, face) for name, picture in pictures.items()}
    return Moment(7, GREY, GREY, made)


def shown(layout, made, **more):
    lines = {name: np.full(4, 0.1) for name in layout.animators}
    return side_by_side(layout, made, **{"title": "walk", "second": 0.28, "lines": lines, **more})


def under(frame, layout, column, line, row):
    left, top = layout.corner(column, line, row)
    return frame[top : top + layout.tile[0], left : left + layout.tile[1]]


# A run


def test_every_measured_frame_is_in_the_video_of_its_clip(clips, tmp_path):
    report = run(config(clips, tmp_path / "v", stride=2))
    assert report["videos"] == {"walk": [tmp_path / "v" / "walk.mp4"]}
    info = probe(tmp_path / "v" / "walk.mp4")
    assert (info.frames, info.fps) == (3, Fraction(probe(clips / "walk.mp4").fps) / 2)
    assert sorted(file.name for file in (tmp_path / "v").iterdir()) == ["walk.mp4", "walk.mp4.json"]
    layout = layout_of((SIDE, SIDE), ["copy"], errors=True)
    frames = list(VideoReader(tmp_path / "v" / "walk.mp4"))
    assert frames[0].shape[:2] == layout.size
    source, copied = under(frames[2], layout, 0, 0, 0), under(frames[2], layout, 2, 0, 0)
    assert np.abs(source.astype(int) - copied).mean() < 4
    assert np.abs(source.astype(int) - under(frames[2], layout, 1, 0, 0)).mean() > 8  # the driver moved on


def test_numbers_do_not_depend_on_being_filmed(clips, tmp_path):
    filmed = run(config(clips, tmp_path / "v"))
    filmed.pop("videos")
    assert filmed == run(config(clips, None))
    assert "videos" not in run(config(clips, None))


def test_what_is_watched_is_what_is_measured_and_nothing_is_kept(clips):
    """The error that a video counts up to is the report's; pictures of earlier frames are gone."""
    trial = prepare_pictures(clips / "walk.mp4", size=SIDE, stride=1, share=(0, 1))
    seen, errors, alive = [], [], []

    def watch(now):
        seen.append(weakref.ref(now.made["copy"].picture))
        alive.append(sum(reference() is not None for reference in seen))
        errors.append(now.made["copy"].l1)
        assert now.made["copy"].error.mean() == pytest.approx(errors[-1], abs=1e-6)  # copy: 8 bit as they are

    outcome = measure(trial, setting(), watch)
    assert outcome.scores["copy"].means["l1"] == np.mean(errors)
    assert len(seen) == len(trial.numbers) == 7
    assert max(alive) <= 2


def test_an_animator_that_breaks_off_leaves_no_file(clips, tmp_path):
    class Breaking:
        needs_source = needs_driving = ()

        def encode(self, sources):
            return load_animator("copy").encode(sources), []

        def animate(self, cache, driving):
            kept, count = cache
            count.append(0)
            if len(count) == 3:
                raise ShapeError("too much")
            return load_animator("copy").animate(kept, driving)

    trial = prepare_pictures(clips / "walk.mp4", size=SIDE, stride=1, share=(0, 1))
    video = Video(tmp_path / "v" / "walk.mp4", "walk", (clips / "walk.mp4",))
    with pytest.raises(ShapeError):
        measure_shown(trial, setting(breaking=Breaking()), video)
    assert list((tmp_path / "v").iterdir()) == []


# What cannot be


@pytest.mark.parametrize("what", ["footage", "file", "locked"])
def test_a_folder_that_cannot_be_is_refused_before_the_work(clips, tmp_path, capsys, monkeypatch, what):
    folder, told = tmp_path / "v", "expected a folder, got the file"
    if what == "footage":
        folder, told = clips, "walk.mp4 is footage that is measured; name another folder"
    elif what == "file":
        folder.write_text("no folder")
    else:
        folder.mkdir()
        monkeypatch.setattr(os, "access", lambda *arguments: False)  # root writes everywhere
        told = "cannot be written to"
    before = (clips / "walk.mp4").read_bytes()
    words = ["--no-faces", "--animator", "copy", "--size", str(SIDE), "--videos", str(folder)]
    assert cli.main(["evaluate", "--clips", str(clips), *words]) == 1
    error = capsys.readouterr().err
    assert "--videos" in error
    assert told in error
    assert (clips / "walk.mp4").read_bytes() == before


def test_without_an_encoder_nothing_begins(clips, tmp_path, monkeypatch):
    import av

    monkeypatch.setattr(av, "codecs_available", {"h264"})
    with pytest.raises(MediaError, match=r"expected an encoder libx264 or mpeg4"):
        run(config(clips, tmp_path / "v"))
    assert not (tmp_path / "v").exists()
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    assert _video_writer.check_encoder() == "mpeg4"


def test_names_make_files_of_their_own(tmp_path):
    footage = [tmp_path / "a.mp4"]
    plan = plan_videos(tmp_path / "v", {"a>b": footage, "a by b": footage, "v1.5": footage, "../x": footage})
    files = [video.path.relative_to(tmp_path / "v") for video in plan.values()]
    assert len({str(file).lower() for file in files}) == 4
    assert all(".." not in file.parts for file in files)
    assert plan["v1.5"].path.name == "v1.5.mp4"
    (tmp_path / "f").touch()
    with pytest.raises(HeadwarpError, match="--videos: expected a folder"):
        plan_videos(tmp_path / "f", {})


# The picture


def test_errors_are_dark_where_right_and_light_where_wrong():
    error = np.zeros((2, 3), np.float32)
    error[0, 0], error[1, 2] = 0.25, 0.9
    colours = heat(error, (2, 3)).astype(int).sum(-1)
    assert colours[0, 0] == colours[1, 2] > 600
    assert colours[0, 1] == colours[1, 1] < 10
    small = heat(np.repeat(error, 2, axis=0), (2, 3))
    assert np.array_equal(small, heat(error, (2, 3)))


def test_pictures_stand_under_their_animators_and_errors_under_these():
    layout = layout_of((SIDE, SIDE), ["right", "wrong"], errors=True)
    frame = shown(layout, moment({"right": GREY, "wrong": GREY + 100}))
    assert [int(under(frame, layout, c, 0, 0).mean()) for c in range(4)] == [100, 100, 100, 200]
    right, wrong = (under(frame, layout, c, 0, 1).astype(int).sum(-1) for c in (2, 3))
    assert right.max() < 10
    assert wrong.min() > 600
    curve = under(frame, layout, 0, 0, 1).reshape(-1, 3)
    assert (curve == COLOURS[1]).all(-1).any()  # both have error 0.1: the second lies on the first


def test_without_truth_there_is_neither_error_nor_room_for_it():
    layout = layout_of((SIDE, SIDE), ["a"], errors=False)
    frame = shown(layout, moment({"a": GREY}, truth=None))
    assert frame.shape[0] == layout.size[0] < HEADER + 2 * (STRIP + layout.tile[0])


def test_a_face_that_is_not_found_is_told():
    layout = layout_of((SIDE, SIDE), ["a"], errors=False)
    frames = [shown(layout, moment({"a": GREY}, truth=None, face=face)) for face in (None, True, False)]
    left, top = layout.corner(2, 0, 0)
    labels = [frame[top - STRIP : top, left:] for frame in frames]
    assert np.array_equal(labels[0], labels[1])
    assert labels[2][..., 0].astype(int).sum() > 1.5 * labels[0][..., 0].astype(int).sum()


@pytest.mark.parametrize("size", [(270, 480), (480, 270), (256, 256), (40, 400), (400, 40), (16, 16)])
@pytest.mark.parametrize("count", [1, 5, 14])
def test_any_number_of_animators_fits_on_a_screen_in_the_shape_of_the_clip(size, count):
    names = [f"animator {number}" * 9 for number in range(count)]
    layout = layout_of(size, names, errors=True)
    height, width = layout.size
    assert (height % 2, width % 2) == (0, 0)
    assert width <= WIDEST + 2
    picture = np.full((*size, 3), 255, np.uint8)
    lines = {name: np.full(4, np.nan) for name in names}
    for line in lines.values():
        line[0] = 0.1
    frame = shown(layout, moment(dict.fromkeys(names, picture), truth=picture), lines=lines)
    assert frame.shape == (height, width, 3)
    line, column = divmod(count - 1, layout.across)
    tile = under(frame, layout, column + 2, line, 0)
    assert tile.shape[:2] == layout.tile
    rows, columns = np.nonzero((tile == 255).all(-1))
    seen = (np.ptp(rows) + 1) / (np.ptp(columns) + 1)
    slack = 1 + 1.5 / min(np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert size[0] / size[1] / slack < seen < size[0] / size[1] * slack
    gap = frame[layout.corner(2, 0, 1)[1] - STRIP - 1, :]
    assert (gap == PAPER).all()  # no picture and no word crosses the gap between the rows


def test_a_curve_has_a_point_a_pixel_however_long_it_is():
    box = (10, 0, 110, 50)
    whole = curve_points(np.full(10_000, 0.5), box, 1.0)
    assert len(whole) <= 101
    assert {y for _, y in whole} == {25.0}
    begun = np.full(11, np.nan)
    begun[:3] = [0.0, 1.0, 3.0]
    assert curve_points(begun, box, 2.0) == [(10, 50.0), (20, 25.0), (30, 0.0)]
    assert curve_points(np.full(3, np.nan), box, 1.0) == []


@pytest.mark.parametrize(
    ("numbers", "fps", "rate"),
    [
        ([5], 25, 4),
        ([0, 1, 2], None, 25),
        ([0, 10, 20, 30], 25, 4),  # no slower than can be looked at
        ([*range(9), 12, 13], 30, 30),  # a face was lost for a moment
        ([0, 1, 2, 48, 49, 50], 30, 4),
    ],
)
def test_videos_keep_the_time_of_their_clip(numbers, fps, rate):
    assert video_rate(numbers, None if fps is None else Fraction(fps)) == rate


def test_pictures_have_no_rate(tmp_path):
    assert videos.footage_rate(tmp_path) is None
