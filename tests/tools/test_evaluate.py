"""`headwarp evaluate` on a clip whose numbers are known: the astronaut moved by whole pixels."""

import json

import numpy as np
import pytest
from face_pictures import blank, moved, needs_mediapipe, portrait
from PIL import Image

from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.tools import cli
from headwarp.tools.evaluate import (
    BASELINES,
    Evaluate,
    _clip_means,
    clip_paths,
    describe,
    evaluate,
    parse_share,
    prepare_clip,
    run,
)
from headwarp.tools.sheets import HEADER
from headwarp.training.data.media import VideoReader, VideoWriter
from headwarp.training.metrics.definitions import DEFINITIONS

STEP = 4  # pixels a frame, to the right
METRICS = {"l1", "psnr", "ssim", "akd", "akd_detected", "akd_l1", "missing_face_rate"}


def write_clip(path, frames):
    with VideoWriter(path, 10, crf=1) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def shifted(count):
    return [moved(portrait(), STEP * index, 0) for index in range(count)]


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "evaluate", "evaluate:Evaluate")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "walk.mp4", shifted(4))


@pytest.fixture(scope="module")
def measured(clip, tmp_path_factory):
    """Exit code, report and sheet of one run of the command."""
    pytest.importorskip("mediapipe")
    folder = tmp_path_factory.mktemp("report")
    words = ["evaluate", "--clips", str(clip.parent), "--json", str(folder / "r.json")]
    code = 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(cli.COMMANDS, "evaluate", "evaluate:Evaluate")
        code = cli.main([*words, "--sheet", str(folder / "sheet.png")])
    return code, json.loads((folder / "r.json").read_text()), folder / "sheet.png"


# The report


def test_exit_code_is_zero_and_the_keys_are_the_designs(measured):
    code, report, _ = measured
    assert code == 0
    assert {"protocol", "metrics", "clips", "definitions"} <= set(report)
    assert set(report["metrics"]) == {*BASELINES, "geometry"}
    assert set(report["clips"]) == {"walk"}
    for numbers in report["metrics"].values():
        assert set(numbers) == METRICS
    for numbers in report["clips"]["walk"].values():
        assert set(numbers) == METRICS | {"frames"}
        assert numbers["frames"] == 3
    assert report["failed"] == {}
    assert report["ok"] is True


def test_every_number_is_defined(measured):
    _, report, _ = measured
    assert set(report["definitions"]) == METRICS | {"mean"}
    assert all(report["definitions"][key] == DEFINITIONS[key] for key in METRICS)


def test_the_protocol_says_what_was_measured(measured):
    _, report, _ = measured
    assert report["protocol"]["source"] == "first frame with the face"
    assert report["protocol"]["stride"] == 1
    assert report["protocol"]["frames"] == "0:1"
    assert report["protocol"]["head"].startswith("builtin-")


def test_copy_has_the_known_error(measured, clip):
    with VideoReader(clip) as reader:
        frames = np.stack(list(reader)).astype(np.float64) / 255
    copy = measured[1]["metrics"]["copy"]
    assert copy["l1"] == pytest.approx(np.abs(frames[1:] - frames[0]).mean(), abs=1e-5)
    square = np.square(frames[1:] - frames[0]).mean((1, 2, 3))
    assert copy["psnr"] == pytest.approx((-10 * np.log10(square)).mean(), abs=1e-2)
    shift = STEP * 256 / 300 * np.arange(1, 4).mean()  # pixels of a 256 px frame
    assert copy["akd"] == pytest.approx(shift, abs=0.3)
    assert copy["akd_l1"] == pytest.approx(shift / 2, abs=0.2)  # half the coordinates do not move
    assert copy["missing_face_rate"] == 0


def test_what_moves_the_picture_beats_copy_and_similarity_is_almost_exact_here(measured):
    numbers = measured[1]["metrics"]
    assert numbers["similarity"]["l1"] < 0.3 * numbers["copy"]["l1"]
    for name in ("similarity", "tps", "geometry"):
        assert numbers[name]["akd"] < 0.15 * numbers["copy"]["akd"]
        assert numbers[name]["ssim"] > numbers["copy"]["ssim"]


def test_one_clips_mean_is_the_mean(measured):
    report = measured[1]
    for name, numbers in report["metrics"].items():
        own = {key: value for key, value in report["clips"]["walk"][name].items() if key != "frames"}
        assert numbers == pytest.approx(own)


def test_the_sheet_has_a_column_for_everybody(measured):
    sheet = np.asarray(Image.open(measured[2]))
    assert sheet.shape == (HEADER + 3 * 192, 192 * 6, 3)
    first = sheet[HEADER : HEADER + 192, :192].astype(float)
    copied = sheet[HEADER : HEADER + 192, 2 * 192 : 3 * 192].astype(float)
    assert np.array_equal(first, copied)  # source and copy
    assert np.abs(first - sheet[HEADER : HEADER + 192, 192:384]).mean() > 5  # source and driver


def test_describe_is_a_table_of_all_animators(measured):
    lines = describe(measured[1]).splitlines()
    assert lines[0].split() == ["l1", "psnr", "ssim", "akd", "missing"]
    assert [line.split()[0] for line in lines[1:]] == [*BASELINES, "geometry"]
    assert float(lines[1].split()[1]) == pytest.approx(measured[1]["metrics"]["copy"]["l1"], abs=1e-4)


# Which frames


@needs_mediapipe
@pytest.mark.parametrize(
    ("stride", "share", "expected"),
    [(1, (0.0, 1.0), (1, 2, 3)), (2, (0.0, 1.0), (2,)), (3, (0.0, 1.0), (3,)), (1, (0.5, 1.0), (2, 3))],
)
def test_stride_and_share_choose_frames_after_the_source(clip, stride, share, expected):
    from headwarp.flame.io import load_head

    data = prepare_clip(clip, load_head("builtin"), None, stride=stride, share=share)
    assert data.measured == expected
    assert data.first == 0
    assert data.fit.frames == 4
    assert data.points.shape == (4, 478, 3)


@needs_mediapipe
def test_the_source_is_the_first_frame_with_the_face_and_none_to_measure_is_an_error(tmp_path):
    from headwarp.flame.io import load_head

    head = load_head("builtin")
    late = write_clip(tmp_path / "late.mp4", [blank(300, 300)] * 2 + shifted(3))
    data = prepare_clip(late, head, None, stride=1, share=(0.0, 1.0))
    assert data.first == 2
    assert data.measured == (3, 4)
    with pytest.raises(
        NoFaceError, match=r"late\.mp4: expected a face in a frame to measure, got none in the 0"
    ):
        prepare_clip(late, head, data.portrait.field, stride=3, share=(0.0, 1.0))


# What cannot be measured


@needs_mediapipe
def test_clips_that_fail_are_named_and_the_exit_code_says_so(clip, tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "walk.mp4").write_bytes(clip.read_bytes())
    write_clip(folder / "wall.mp4", [blank(120, 160)] * 3)
    (folder / "broken.mp4").write_bytes(b"this is no clip")
    target = tmp_path / "r.json"
    code = cli.main(
        ["evaluate", "--clips", str(folder), "--animator", "copy", "--stride", "3", "--json", str(target)]
    )
    report = json.loads(target.read_text())
    assert code == 1
    assert report["ok"] is False
    assert set(report["failed"]) == {"broken", "wall"}
    assert "no face" in report["failed"]["wall"]
    assert set(report["clips"]) == {"walk"}
    assert set(report["metrics"]) == set(BASELINES)
    assert "wall.mp4" in capsys.readouterr().err


@needs_mediapipe
def test_nothing_but_failures_is_an_error(tmp_path, capsys):
    write_clip(tmp_path / "wall.mp4", [blank(120, 160)] * 2)
    assert cli.main(["evaluate", "--clips", str(tmp_path)]) == 1
    assert (
        "expected at least one clip with a face, got none: wall.mp4: no face found" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--clips", "nowhere"], 1, "--clips: expected a clip or a folder, found nothing at nowhere"),
        (["--clips", "."], 1, "--clips: expected clips (.avi"),
        (["--clips", ".", "--frames", "1:0"], 1, "--frames: expected START:END with 0 <= START < END <= 1"),
        (["--clips", ".", "--stride", "0"], 1, "--stride: expected 1 or more, got 0"),
        (["--clips", ".", "--animator", "nobody"], 1, "animator: expected one of"),
        ([], 2, "clips"),
        (["--clips", ".", "--colour", "red"], 2, "colour"),
    ],
)
def test_wrong_arguments_end_with_one_sentence_and_the_right_code(
    words, code, text, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", *words]) == code
    assert text in capsys.readouterr().err


def test_clip_paths_are_the_clips_sorted(tmp_path):
    for name in ("b.mp4", "a.MOV", ".hidden.mp4", "notes.txt", "c.webm"):
        (tmp_path / name).touch()
    assert [path.name for path in clip_paths(tmp_path)] == ["a.MOV", "b.mp4", "c.webm"]
    assert clip_paths(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]  # a file that is named is tried


@pytest.mark.parametrize(
    ("text", "expected"), [("0:1", (0, 1)), ("0.8:1.0", (0.8, 1)), (" 0.25 : .5", (0.25, 0.5))]
)
def test_a_share_is_read(text, expected):
    assert parse_share(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0.5", "1:0", "0.5:0.5", "-0.1:1", "0:1.1", "a:b", "0:1:1", "nan:1", "0:inf"]
)
def test_what_is_no_share_is_refused(text):
    with pytest.raises(HeadwarpError, match=r"--frames: expected START:END with 0 <= START < END <= 1, got"):
        parse_share(text)


def test_run_is_evaluate_with_the_config(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(
        "headwarp.tools.evaluate.evaluate", lambda **options: seen.update(options) or {"ok": True}
    )
    assert run(Evaluate(clips=tmp_path, stride=5, still_camera=True)) == {"ok": True}
    assert seen["stride"] == 5
    assert seen["still_camera"] is True
    assert seen["animator"] == "geometry"


# The mean of a clip


def test_a_frame_without_a_generated_face_counts_as_copys():
    truth = np.zeros((2, 68, 2))
    made = np.stack([np.full((68, 2), [3.0, 4.0]), np.full((68, 2), np.nan)])
    copied = np.full((68, 2), [0.0, 10.0])
    means = _clip_means([(0.1, 20.0, 0.5), (0.3, 30.0, 0.7)], made, copied, truth, (256, 200))
    assert means["akd"] == pytest.approx(7.5)
    assert means["akd_detected"] == pytest.approx(5.0)
    assert means["missing_face_rate"] == 0.5
    assert (means["l1"], means["psnr"], means["ssim"]) == pytest.approx((0.2, 25.0, 0.6))
    assert means["frames"] == 2
    larger = _clip_means([(0.1, 20.0, 0.5)] * 2, made, copied, truth, (512, 100))
    assert larger["akd"] == pytest.approx(3.75)


@needs_mediapipe
def test_a_clip_is_measured_twice_alike(clip):
    first, second = (evaluate(clip, "geometry", stride=3) for _ in range(2))
    assert first == second
