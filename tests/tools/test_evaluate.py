"""`headwarp evaluate` on a clip whose numbers are known: the astronaut moved by whole pixels."""

import dataclasses
import json
import math

import numpy as np
import pytest
from face_pictures import blank, moved, needs_mediapipe, portrait
from PIL import Image
from toy_animators import SPARSE, shaken

from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError, ModelFileError, NoFaceError, ShapeError
from headwarp.tools import cli
from headwarp.tools.evaluate import Evaluate, describe, evaluate, run
from headwarp.tools.evaluation.animators import BASELINES, load_animators, names_of
from headwarp.tools.evaluation.clips import parse_share, prepare_clip, with_count
from headwarp.tools.evaluation.footage import clip_paths, footage
from headwarp.tools.evaluation.measure import Setting, _Comparison, measure
from headwarp.tools.evaluation.sights import Sight, Sights
from headwarp.tools.sheets import HEADER
from headwarp.training.data.frames.pack import FramePackConfig, pack_frames
from headwarp.training.data.media import VideoReader, VideoWriter, write_image
from headwarp.training.data.pairs.pack import ClipLabel
from headwarp.training.metrics.definitions import DEFINITIONS
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.tps import TpsConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.sparse2dense import with_landmarks

NETWORKS = {"csim", "aed_id", "aed_id_sq", "fid", "lpips"}
STEP = 4  # pixels a frame, to the right
METRICS = {
    *("l1", "psnr", "ssim", "ms_ssim", "akd", "akd_detected", "akd_l1", "missing_face_rate"),
    *("jitter", "jitter_driver", "apd", "prmse", "aed_exp_l1", "aucon"),
}


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


def test_what_needs_weights_is_absent_and_the_report_says_why(measured):
    _, report, _ = measured
    assert set(report["absent"]) == {*NETWORKS, "flow_epe", "visibility_iou"}
    assert report["absent"]["fid"] == "needs weights: --inception FILE; no other network stands in"


def test_a_definition_id_names_the_head_and_the_points(measured):
    ids = measured[1]["definition_ids"]
    assert ids["aed_exp_l1"].startswith("aed_exp_l1/builtin-")
    assert ids["akd"] == "akd/mesh68"
    assert ids["l1"] == "l1"


def test_heads_of_generated_frames_are_those_of_the_drivers(measured):
    numbers = measured[1]["metrics"]
    assert numbers["geometry"]["apd"] < 1.0
    assert numbers["geometry"]["aed_exp_l1"] < 0.2
    assert numbers["copy"]["jitter"] < 0.6  # the detector, which looks where the driver is
    assert numbers["geometry"]["jitter_driver"] == numbers["copy"]["jitter_driver"] < 1.0


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
    assert sheet.shape == (HEADER + 3 * (HEADER + 192), 192 * 6, 3)
    sheet = sheet[HEADER:]  # below the titles: a name over every row
    assert sheet[:HEADER].min() < 120
    first = sheet[HEADER : HEADER + 192, :192].astype(float)
    copied = sheet[HEADER : HEADER + 192, 2 * 192 : 3 * 192].astype(float)
    assert np.array_equal(first, copied)  # source and copy
    assert np.abs(first - sheet[HEADER : HEADER + 192, 192:384]).mean() > 5  # source and driver


def test_describe_is_a_table_of_all_animators(measured):
    lines = describe(measured[1]).splitlines()
    columns = lines[0].split()
    assert columns[:3] == ["l1", "psnr", "ssim"]
    assert columns[-1] == "missing"
    assert [line.split()[0] for line in lines[1:5]] == [*BASELINES, "geometry"]
    assert lines[5] == f"  l1: {DEFINITIONS['l1']}"
    assert "  no csim: needs weights: --arcface FILE; no other network stands in" in lines
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


@needs_mediapipe
def test_a_network_of_the_face_meshs_landmarks_is_measured_by_them():
    mesh = shaken(load_animator("sparse2dense", config=with_landmarks(SPARSE, 478)))
    setting = Setting({"copy": load_animator("copy"), "mesh": mesh}, load_head("builtin"), shown=0)
    frames = [frame[:296, :296] for frame in shifted(2)]  # sides that the network takes
    clip = prepare_clip(frames, setting.model, None, stride=1, share=(0.0, 1.0), still_camera=True)
    with pytest.raises(ShapeError, match=r"landmarks: expected \(B, 478, 2\), got \(1, 68, 2\)"):
        measure(clip, setting)
    scores = measure(with_count(clip, setting.landmarks), setting).scores
    assert 0 < scores["mesh"].means["l1"] < 1
    assert scores["mesh"].count == 1


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
        "expected at least one clip that can be measured, got none: wall.mp4: no face found"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--clips", "nowhere"], 1, "--clips: expected a clip or a folder, found nothing at nowhere"),
        (["--clips", "."], 1, "--clips: expected clips (.avi"),
        (["--clips", ".", "--frames", "1:0"], 1, "--frames: expected START:END with 0 <= START < END <= 1"),
        (["--clips", ".", "--stride", "0"], 1, "--stride: expected 1 or more, got 0"),
        (["--clips", ".", "--animator", "nobody"], 1, "animator: expected one of"),
        (["--clips", ".", "--animator", "geometry,nobody"], 1, "animator: expected one of"),
        (
            ["--clips", ".", "--against", "nobody"],
            1,
            "--against: expected one of copy, similarity, tps, geometry",
        ),
        (["--clips", ".", "--device", "abacus"], 1, "--device abacus: not available here"),
        (["--clips", ".", "--checkpoint", "no.safetensors"], 1, "no.safetensors: no such checkpoint"),
        ([], 1, "expected --clips or --pairs, got neither"),
        (["--clips", ".", "--pairs", "p.csv"], 1, "expected --clips or --pairs, got both"),
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


def test_folders_of_frames_and_packs_are_clips(tmp_path):
    frames = [blank(32, 32)] * 8
    for number, frame in enumerate(frames):
        write_image(tmp_path / "numbered" / f"{number:03d}.png", frame, provenance=None)
    pack = pack_frames(frames, folder=tmp_path, label=ClipLabel("ann", "packed"), config=FramePackConfig(32))
    (tmp_path / "other").mkdir()
    (tmp_path / "a.mp4").touch()
    assert [path.name for path in clip_paths(tmp_path)] == ["a.mp4", "numbered", "packed"]
    for alone in ("numbered", "packed"):
        assert clip_paths(tmp_path / alone) == [tmp_path / alone]
    assert footage(tmp_path / "numbered") == tmp_path / "numbered"
    assert footage(pack.folder).pack == pack
    with pytest.raises(HeadwarpError, match=r"folders of numbered frames or packs in .*, found none"):
        clip_paths(tmp_path / "other")


@needs_mediapipe
def test_a_pack_is_measured_as_its_clip(tmp_path):
    frames = shifted(5)
    config = FramePackConfig(frames[0].shape[0])
    whole = pack_frames(frames, folder=tmp_path, label=ClipLabel("ann", "whole"), config=config)
    model = load_head("builtin")
    options = {"stride": 1, "share": (0.4, 1.0)}
    known = prepare_clip(frames, model, None, **options)
    found = prepare_clip(footage(whole.folder), model, known.portrait.field, name="whole", **options)
    assert found.measured == known.measured == (2, 3, 4)
    assert found.times is None
    assert (found.points == known.points).all()
    thin = dataclasses.replace(footage(whole.folder), pack=whole.thinned([0, 1, 3]))
    part = prepare_clip(thin, model, known.portrait.field, name="thin", **options)
    assert part.measured == (2,)  # frame 3 of the clip: 1 is before the share
    assert part.times == (0, 1, 3)
    assert [step.time for step in part.steps()] == [3]


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


# The mean of a clip


def seen(x, y):
    return Sight(np.full((478, 3), [x, y, 0.0], np.float32))


def sights(points):
    return Sights.of([seen(*xy) for xy in points])


def compared(size):
    """Two frames against a truth at (0, 0); the source stands ten pixels lower."""
    driver, source = sights([(0, 0)] * 2), seen(0, 10)
    return _Comparison(True, [3, 4], driver, source, size, size, None)


def test_a_frame_without_a_generated_face_counts_as_copys():
    made = sights([(3, 4), (np.nan, np.nan)])
    frames, means = compared((256, 200))._keypoints(made)
    assert means["akd"] == pytest.approx(7.5)
    assert means["akd_detected"] == pytest.approx(5.0)
    assert means["akd_l1"] == pytest.approx((3.5 + 5) / 2)
    assert frames["akd"].tolist() == pytest.approx([5, 10])
    present, rate = compared((256, 200))._presence(made)
    assert rate["missing_face_rate"] == 0.5
    assert present["missing_face_rate"].tolist() == [0, 1]
    assert compared((512, 100))._keypoints(made)[1]["akd"] == pytest.approx(3.75)


def test_jitter_is_of_neighbouring_frames_only():
    steps = sights([(0, 0), (1, 0), (0, 0), (50, 0)])
    compare = dataclasses.replace(compared((256, 256)), times=[4, 5, 6, 9], drivers=steps)
    assert compare._presence(steps)[1]["jitter"] == pytest.approx(2.0)
    apart = dataclasses.replace(compare, times=[0, 2, 4, 6])
    assert math.isnan(apart._presence(steps)[1]["jitter"])


def test_a_sequence_without_a_generated_face_has_no_heads_to_compare():
    nothing = sights([(np.nan, np.nan)] * 2)
    frames, _ = compared((256, 256))._heads(nothing)
    assert set(frames) == {"apd", "prmse", "aed_exp_l1", "aucon", "aucon_active"}
    assert all(np.isnan(values).all() for values in frames.values())


@needs_mediapipe
def test_a_clip_is_measured_twice_alike(clip):
    first, second = (evaluate(clip, ["geometry"], stride=3) for _ in range(2))
    assert first == second


# Differences


@needs_mediapipe
def test_against_adds_intervals_of_the_difference(clip):
    report = run(Evaluate(clips=clip, animator=("tps",), against="copy"))
    assert set(report["difference"]) == {"similarity", "tps"}
    found = report["difference"]["tps"]["l1"]
    metrics = report["metrics"]
    assert found["mean"] == pytest.approx(metrics["tps"]["l1"] - metrics["copy"]["l1"])
    assert found["low"] <= found["mean"] <= found["high"] < 0
    assert (found["better"], found["excludes_zero"], found["block"]) == (True, True, 25)
    assert report["difference"]["tps"]["ssim"]["better"] is True
    assert "  tps - copy: l1 -" in describe(report)


# Animators and checkpoints


def test_names_come_one_by_one_or_joined():
    assert names_of(("geometry, copy", "tps", "copy")) == ("geometry", "copy", "tps")
    with pytest.raises(HeadwarpError, match="--animator: expected at least one name"):
        names_of((" ,",))


def test_a_checkpoint_belongs_to_the_animator_that_it_names(tmp_path):
    first = save_checkpoint(tmp_path / "a.safetensors", {}, config=TpsConfig(anchors=6), name="tps")
    second = save_checkpoint(tmp_path / "b.safetensors", {}, config=TpsConfig(anchors=2), name="tps")
    loaded = load_animators(("geometry", "tps"), [first])
    assert list(loaded) == [*BASELINES, "geometry"]
    assert loaded["tps"].config.anchors == 6
    several = load_animators(("tps",), [first, second])
    assert list(several) == ["copy", "similarity", "tps:a", "tps:b"]
    assert several["tps:b"].config.anchors == 2
    with pytest.raises(
        HeadwarpError, match=r"holds weights of 'tps', but measured are geometry; add --animator tps"
    ):
        load_animators(("geometry",), [first])
    (tmp_path / "other").mkdir()
    again = save_checkpoint(tmp_path / "other" / "a.safetensors", {}, config=TpsConfig(), name="tps")
    with pytest.raises(HeadwarpError, match="another one is called tps:a too; rename one"):
        load_animators(("tps",), [first, again])


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    config = TpsConfig()
    file = save_checkpoint(tmp_path / "o.safetensors", {}, config=config, name="tps", kind="optimizer")
    with pytest.raises(ModelFileError, match="expected a checkpoint of kind 'animator', got 'optimizer'"):
        load_animators(("tps",), [file])
