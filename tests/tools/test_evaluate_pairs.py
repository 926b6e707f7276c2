"""`headwarp evaluate --pairs`: a photo driven by another clip, published lists, users' networks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from face_pictures import blank, moved, needs_mediapipe, portrait, sway
from PIL import Image
from toy_animators import loaded

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.tools import cli
from headwarp.tools.evaluate import Evaluate, describe, run
from headwarp.tools.evaluation.clips import prepare_clip
from headwarp.tools.evaluation.measure import Outcome, Scores, Setting, measure
from headwarp.tools.evaluation.networks import Networks, load_networks
from headwarp.tools.evaluation.pair_options import PairOptions, labels, open_list
from headwarp.tools.evaluation.pairs import open_pair_driver, spread_runs
from headwarp.tools.evaluation.report import report_of
from headwarp.tools.evaluation.side_by_side import layout_of
from headwarp.tools.portrait import open_portrait
from headwarp.tools.sheets import HEADER
from headwarp.training.data.media import VideoWriter, probe
from headwarp.training.data.pair_lists import Found
from headwarp.training.data.portrait import to_frame, to_image
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.keypoint_animator import KeypointAnimator


def write_clip(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 10, crf=1) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def write_photo(path, frame):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A photo, a clip of six frames, a photo without a face, and a folder of frames."""
    folder = tmp_path_factory.mktemp("root")
    write_photo(folder / "photos" / "a.png", portrait())
    write_photo(folder / "photos" / "wall.png", blank(200, 200))
    write_clip(folder / "clips" / "b.mp4", sway(6))
    for number in (0, 3):
        write_photo(folder / "frames" / "id1#c.mp4" / f"{number:07d}.png", moved(portrait(), 4 * number, 0))
    return folder


@pytest.fixture(scope="module")
def measured(root, tmp_path_factory):
    """Exit code, report and sheet of one run of the command in both modes."""
    pytest.importorskip("mediapipe")
    folder = tmp_path_factory.mktemp("report")
    table = folder / "pairs.csv"
    table.write_text("source,driving\na.png,/their/clips/b.mp4\nwall.png,b.mp4\na.png,gone.mp4\n")
    (folder / "all").mkdir()
    for file in (root / "photos" / "a.png", root / "photos" / "wall.png", root / "clips" / "b.mp4"):
        (folder / "all" / file.name).write_bytes(file.read_bytes())
    words = ["evaluate", "--pairs", str(table), "--root", str(folder / "all"), "--per-pair", "3"]
    words += ["--relative", "--absolute", "--size", "128", "--animator", "geometry"]
    words += ["--sheet", str(folder / "s.png"), "--videos", str(folder / "v")]
    code = cli.main([*words, "--json", str(folder / "r.json")])
    return code, json.loads((folder / "r.json").read_text()), folder / "s.png"


NAMES = ["copy", "similarity relative", "tps relative", "geometry relative"]
NAMES += ["similarity absolute", "tps absolute", "geometry absolute"]


def test_both_modes_stand_in_one_table_and_copy_once(measured):
    code, report, _ = measured
    assert code == 1  # two of three pairs could not be measured
    assert list(report["metrics"]) == NAMES
    assert list(report["clips"]) == ["a>b"]
    assert report["protocol"]["motion"] == "relative and absolute"
    assert report["protocol"]["pairs"] == {"listed": 3, "found": 2, "files_missing": 1}
    assert all(entry["frames"] == 3 for entry in report["clips"]["a>b"].values())


def test_what_is_missing_and_what_failed_is_said(measured):
    failed = measured[1]["failed"]
    assert failed["pairs"].startswith("1 of 3 pairs: no file under ")
    assert failed["pairs"].endswith("for gone.mp4")
    assert failed["wall>b"].startswith("wall>b: ")
    assert "face" in failed["wall>b"]


def test_without_a_truth_there_is_no_distance_from_it(measured):
    _, report, _ = measured
    keys = set(report["metrics"]["copy"])
    assert {"apd", "prmse", "aed_exp_l1", "aucon", "jitter", "missing_face_rate"} <= keys
    assert not keys & {"l1", "psnr", "ssim", "akd", "akd_l1", "akd_detected"}
    assert report["absent"]["akd"] == "driven by another person: there is no true frame"
    assert "  no l1: driven by another person" in describe(report)


def test_who_moves_agrees_with_the_driver_more_than_copy(measured):
    numbers = measured[1]["metrics"]
    assert all(values["missing_face_rate"] == 0 for values in numbers.values())
    assert numbers["geometry absolute"]["apd"] < 2.0
    assert numbers["geometry absolute"]["prmse"] >= numbers["geometry absolute"]["apd"]


def test_the_sheet_has_a_row_a_pair(measured):
    sheet = np.asarray(Image.open(measured[2]))
    assert sheet.shape[1] == 192 * (2 + len(NAMES))
    assert sheet.shape[0] < 2 * (192 + HEADER) + 100


def test_each_mode_has_a_video_without_a_map_of_error(measured):
    """What moves not at all is in the first; the driver is seen in the window that is generated."""
    videos = measured[1]["videos"]
    assert list(videos) == ["a>b"]
    assert [Path(file).name for file in videos["a>b"]] == ["a by b.relative.mp4", "a by b.absolute.mp4"]
    for file, names in zip(videos["a>b"], (NAMES[:4], NAMES[4:]), strict=True):
        layout = layout_of((128, 128), names, errors=False)
        info = probe(file)
        assert (info.height, info.width, info.frames) == (*layout.size, 3)


# Lists of frames


@needs_mediapipe
def test_frames_of_one_person_are_measured_against_the_truth(root, tmp_path):
    table = tmp_path / "self.csv"
    frames = "/data/them/id1#c.mp4/0000000.png,/data/them/id1#c.mp4/0000003.png"
    table.write_text(f"source,driving,best_frame\n{frames}\n")
    report = run(
        Evaluate(
            pairs=table, root=root / "frames", animator=("similarity",), same_person=True, against="copy"
        )
    )
    assert report["ok"] is True
    numbers = report["metrics"]
    truth = np.abs(moved(portrait(), 12, 0).astype(float) - portrait().astype(float)).mean() / 255
    assert numbers["copy"]["l1"] == pytest.approx(truth, abs=1e-4)
    assert numbers["similarity"]["akd"] < 0.2 * numbers["copy"]["akd"]
    assert report["protocol"]["motion"] == "the same person's"


@needs_mediapipe
def test_frames_of_a_list_are_no_neighbours(root, builtin):
    """They are fitted without smoothing, and jitter is not measured from one run to the next."""
    frames, times = [portrait(), moved(portrait(), 20, 0), portrait()], (0, 40, 80)
    loose = prepare_clip(frames, builtin, None, stride=1, share=(0.0, 1.0), times=times)
    tied = prepare_clip(frames, builtin, None, stride=1, share=(0.0, 1.0))
    wanted = 20.0  # pixels that the head moved
    loose_by, tied_by = (float(c.fit.camera.center[1, 0] - c.fit.camera.center[0, 0]) for c in (loose, tied))
    assert abs(loose_by - wanted) < abs(tied_by - wanted)
    assert [step.time for step in loose.steps()] == [40, 80]
    outcome = measure(loose, Setting({"copy": load_animator("copy")}, builtin))
    assert np.isnan(outcome.scores["copy"].means["jitter_driver"])


@needs_mediapipe
def test_frames_beyond_the_end_of_a_clip_are_told(root, tmp_path):
    table = tmp_path / "self.csv"
    for row in ("b.mp4/0000099.png,b.mp4/0000001.png", "b.mp4/0000001.png,b.mp4/0000099.png"):
        table.write_text(f"source,driving\n{row}\n")
        with pytest.raises(HeadwarpError, match=r"none: .*(expected frame 99|frame 99)"):
            run(Evaluate(pairs=table, root=root / "clips", animator=("copy",), same_person=True))


@needs_mediapipe
def test_one_driving_frame_drives_absolutely_and_cannot_drive_relatively(root, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("source,driving\nphotos/a.png,frames/id1#c.mp4/0000003.png\n")
    options = Evaluate(pairs=table, root=root, animator=("copy",), size=128)
    report = run(options)
    assert report["protocol"]["motion"] == "relative, absolute for drivers of one frame"
    assert set(report["metrics"]) == {"copy", "similarity", "tps"}
    with pytest.raises(
        HeadwarpError, match=r"expected at least one pair that can be measured.*use --absolute"
    ):
        run(dataclasses.replace(options, relative=True))


@needs_mediapipe
def test_a_reference_picture_makes_one_driving_frame_relative(root, tmp_path):
    table = tmp_path / "p.csv"
    frames = "frames/id1#c.mp4/0000003.png,frames/id1#c.mp4/0000000.png"
    table.write_text(f"source,driving,best_frame\nphotos/a.png,{frames}\n")
    options = Evaluate(pairs=table, root=root, animator=("geometry",), size=128, relative=True)
    report = run(options)
    assert report["clips"]["a>id1#c.mp4/0000003"]["geometry"]["frames"] == 1
    same = run(dataclasses.replace(options, relative=False))  # two frames: relative by itself
    assert same["metrics"] == report["metrics"]


@needs_mediapipe
def test_an_animator_of_pictures_starts_from_the_reference_picture(root, tmp_path, monkeypatch):
    """Of `fomm` relative motion starts from the window of the reference frame, absolute from none."""
    animator, seen = loaded("fomm"), []
    path = save_checkpoint(tmp_path / "f.safetensors", animator, config=animator.config, name="fomm")
    refer = KeypointAnimator.refer

    def watched(self, cache, driving):
        seen.append(driving.image)
        return refer(self, cache, driving, adapt_scale=False)

    monkeypatch.setattr(KeypointAnimator, "refer", watched)
    table = tmp_path / "p.csv"
    frames = "frames/id1#c.mp4/0000003.png,frames/id1#c.mp4/0000000.png"
    table.write_text(f"source,driving,best_frame\nphotos/a.png,{frames}\n")
    options = Evaluate(pairs=table, root=root, animator=("fomm", "geometry"), checkpoint=(path,), size=64)
    options = dataclasses.replace(options, guidance=("landmarks",))  # which are relative already
    report = run(dataclasses.replace(options, relative=True, absolute=True))
    assert {"fomm relative", "fomm absolute", "geometry+landmarks relative"} < set(report["metrics"])
    window = to_image(to_frame(open_portrait(portrait(), size=64).image))
    assert [tuple(image.shape) for image in seen] == [(1, 3, 64, 64)]
    assert (seen[0] - window).abs().mean() < 0.03


@needs_mediapipe
def test_a_frame_of_a_clips_file_is_read_from_it(root, builtin):
    driver = open_pair_driver(Found(root / "clips" / "b.mp4", 4), builtin, 24)
    assert driver.times == (0,)
    difference = np.abs(driver.frames[0].astype(int) - sway(6)[4].astype(int)).mean()
    assert difference < 3


@pytest.fixture(scope="module")
def builtin():
    from headwarp.flame.io import load_head

    return load_head("builtin")


# Options


def test_runs_of_three_are_spread():
    assert spread_runs(range(50, 60), 24) == tuple(range(50, 60))
    assert spread_runs(range(100), 6) == (0, 1, 2, 97, 98, 99)
    assert spread_runs(range(100), 1) == (0, 1, 2)
    assert len(set(spread_runs(range(25), 24))) <= 24
    assert spread_runs((4, 9), 1) == (4, 9)  # fewer than a run


def test_labels_are_the_columns():
    animators = {name: load_animator(name) for name in ("copy", "geometry")}
    both = PairOptions(pairs=None, relative=True, absolute=True)
    assert labels(both, animators) == ["copy", "geometry relative", "geometry absolute"]
    assert labels(PairOptions(pairs=None), animators) == ["copy", "geometry"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--pairs", "no.csv"], "no.csv: cannot be read as a list of pairs"),
        (["--pairs", "p.csv"], "found none of its 1 pairs under"),
        (["--pairs", "p.csv", "--root", "no"], "--root: expected the folder of the list's files"),
        (["--pairs", "p.csv", "--per-pair", "0"], "--per-pair: expected 1 or more, got 0"),
        (["--pairs", "p.csv", "--size", "8"], "--size: expected 16 pixels or more, got 8"),
        (
            ["--pairs", "p.csv", "--same-person", "--absolute"],
            "--same-person: the driving frame is the truth",
        ),
        (["--pairs", "p.csv", "--against", "tps relative"], "--against: expected one of copy, similarity"),
        (["--pairs", "p.csv", "--stride", "2"], "--stride: belongs to --clips; leave it out"),
        (["--pairs", "p.csv", "--still-camera"], "--still-camera: belongs to --clips; leave it out"),
        (["--clips", ".", "--per-pair", "3"], "--per-pair: belongs to --pairs; leave it out"),
        (["--clips", ".", "--absolute"], "--absolute: belongs to --pairs; leave it out"),
        (["--pairs", "p.csv", "--arcface", "no.pth"], "no.pth: no such file of weights"),
        (["--pairs", "p.csv", "--lpips", "no.pth"], "no.pth: no such file; expected LPIPS weights"),
    ],
)
def test_wrong_arguments_end_with_one_sentence(words, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("source,driving\na.png,b.mp4\n")
    assert cli.main(["evaluate", *words]) == 1
    assert text in capsys.readouterr().err


def test_a_list_is_seen_from_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "p.csv").write_text("source,driving\na.png,b.mp4\n")
    for name in ("a.png", "b.mp4"):
        (tmp_path / "here" / name).touch()
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    assert list(open_list(PairOptions(pairs=Path("here/p.csv"))).pairs) == ["a>b"]


# Networks


def mean_colour(pictures):
    """A network that every machine has: mean and spread of colours."""
    flat = pictures.flatten(2)
    return torch.cat([flat.mean(2), flat.std(2)], 1)


@needs_mediapipe
def test_networks_add_their_metrics_and_name_their_weights(root, builtin):
    clip = prepare_clip(root / "clips" / "b.mp4", builtin, None, stride=1, share=(0.0, 1.0))
    networks = Networks(
        arcface=mean_colour,
        inception=mean_colour,
        lpips=lambda a, b: (a - b).square().mean((1, 2, 3)),
        ids={"arcface": "faces-01", "inception": "pool-02", "lpips": "mse-03"},
    )
    animators = {name: load_animator(name) for name in ("copy", "geometry")}
    outcome = measure(clip, Setting(animators, builtin, networks))
    protocol = {"head": builtin.model_id, "stride": 1, "truth": True}
    report = report_of({"b": outcome}, list(animators), networks, failed={}, protocol=protocol)
    numbers = report["metrics"]
    assert report["definition_ids"]["csim"] == "csim/faces-01"
    assert report["definition_ids"]["fid"] == "fid/pool-02"
    assert report["protocol"]["fid_pictures"] == {"reference": 5, "generated": {"copy": 5, "geometry": 5}}
    assert numbers["geometry"]["csim"] > 0.99
    assert numbers["geometry"]["aed_id_sq"] == pytest.approx(0, abs=0.01)
    assert 0 <= numbers["geometry"]["fid"] < 0.05
    assert numbers["geometry"]["lpips"] < numbers["copy"]["lpips"]
    assert set(report["absent"]) == {"flow_epe", "visibility_iou"}  # no synthetic clip


def test_fid_takes_every_source_once():
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    scores = {"copy": Scores({}, {"apd": 1.0}, 4, tuple(vectors))}
    outcomes = {f"p{i}": Outcome(scores, (vectors[i % 2],), []) for i in range(4)}
    networks = Networks(inception=mean_colour, ids={"inception": "pool-02"})
    report = report_of(outcomes, ["copy"], networks, failed={}, protocol={"head": "h", "stride": 1})
    assert report["protocol"]["fid_pictures"] == {"reference": 2, "generated": {"copy": 16}}


def test_true_frames_that_are_alike_count_twice_in_fid():
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    still = (vectors[0], vectors[0], vectors[1])
    outcomes = {"still": Outcome({"copy": Scores({}, {"l1": 0.1}, 3, still)}, still, [])}
    networks = Networks(inception=mean_colour, ids={"inception": "pool-02"})
    protocol = {"head": "h", "stride": 1, "truth": True}
    report = report_of(outcomes, ["copy"], networks, failed={}, protocol=protocol)
    assert report["protocol"]["fid_pictures"]["reference"] == 3
    assert report["metrics"]["copy"]["fid"] == pytest.approx(0, abs=1e-9)


def test_a_trial_without_a_metric_hides_no_difference():
    """csim is not there in a clip whose generated frames show no face."""
    line = np.linspace(0.1, 0.3, 30)

    def trial(better, *, seen):
        one = {"l1": line} | ({"csim": line} if seen else {})
        other = {"l1": line - better} | ({"csim": line + better} if seen else {})
        return Outcome({"copy": Scores(one, {}, 30), "pwm": Scores(other, {}, 30)}, (), [])

    outcomes = {"lost": trial(0.01, seen=False), "seen": trial(0.03, seen=True)}
    protocol = {"head": "h", "stride": 1, "truth": True}
    networks = Networks(arcface=mean_colour, ids={"arcface": "faces-01"})
    report = report_of(outcomes, ["copy", "pwm"], networks, failed={}, protocol=protocol, against="copy")
    found = report["difference"]["pwm"]
    assert found["l1"]["mean"] == pytest.approx(-0.02)
    assert (found["csim"]["mean"], found["csim"]["clips"]) == (pytest.approx(0.03), 1)
    assert found["csim"]["better"] is True


def test_files_of_networks_are_checked(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pth")
    for option, text in (("arcface", "fit none of them"), ("inception", "fit none of them")):
        with pytest.raises(ModelFileError, match=text):
            load_networks(**{option: tmp_path / "a.pth"})
    with pytest.raises(ModelFileError, match=r"expected lpips\.LPIPS"):
        load_networks(lpips=tmp_path / "a.pth")
    assert load_networks().absent()["csim"] == "needs weights: --arcface FILE; no other network stands in"


def test_lpips_of_a_file_is_named_by_its_hash(tmp_path):
    from headwarp.training.metrics.lpips import Lpips

    torch.save(Lpips("alex").state_dict(), tmp_path / "alex.pth")
    networks = load_networks(lpips=tmp_path / "alex.pth")
    assert networks.ids["lpips"].startswith("alex-")
    picture = torch.rand(1, 3, 64, 64)
    assert networks.lpips(picture, picture).item() == 0


@needs_mediapipe
def test_no_picture_is_kept_without_a_sheet(root, builtin):
    clip = prepare_clip(root / "clips" / "b.mp4", builtin, None, stride=1, share=(0.0, 1.0))
    setting = Setting({"copy": load_animator("copy")}, builtin, shown=0)
    assert measure(clip, setting).rows == []
    assert len(measure(clip, dataclasses.replace(setting, shown=2)).rows) == 2
