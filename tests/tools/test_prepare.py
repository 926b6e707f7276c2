"""``headwarp prepare``: footage to a dataset, resumed, with every kind of bad input beside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from face_pictures import blank, needs_mediapipe, portrait, sway
from footage import clicks, write_footage
from media_files import write_photo, write_sound
from small_disk import fill, mount, small_disk

from headwarp.geom.errors import HeadwarpError
from headwarp.tools.cli import main
from headwarp.tools.prepare import Prepare, describe, prepare_config, run
from headwarp.tools.prepare_jobs import person_of, prepare_jobs
from headwarp.training.data.crops.table import read_table
from headwarp.training.data.inputs import Input
from headwarp.training.data.media import probe
from headwarp.training.data.vox import list_clips

LITTLE = ("--size", "128", "--min-frames", "6", "--min-box", "40")


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("manifest")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two persons' folders with a talking portrait each, one with sound."""
    folder = tmp_path_factory.mktemp("footage")
    for name in ("anna", "bert"):
        (folder / name).mkdir()
    write_footage(folder / "anna" / "talk.mp4", sway(10, step=1), sound=clicks(0.4, [0.1]))
    write_footage(folder / "bert" / "talk.mp4", [frame[:, ::-1] for frame in sway(8, step=1)])
    return folder


def test_crops_are_not_put_among_the_footage(footage: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["prepare", str(footage), "--output", f"{footage}/anna/.."]) == 1
    assert "is one of the inputs, where crops would be cut again" in capsys.readouterr().err


@needs_mediapipe
def test_a_dataset(footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "vox"
    words = [
        "prepare",
        str(footage),
        "--output",
        str(output),
        "--id",
        "folder",
        "--test-ids",
        "bert",
        *LITTLE,
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 clip(s) of 2 person(s), 18 frames, 0.7 s, from 2 video(s)" in said
    clips = list_clips(output)
    assert [clip.path.relative_to(output).as_posix() for clip in clips] == [
        "train/anna#talk#000000#000010.mp4",
        "test/bert#talk#000000#000008.mp4",
    ]
    rows = {row.identity: row for row in read_table(output / "metadata.csv")}
    assert [rows["anna"].audio, rows["bert"].audio] == [True, False]
    assert [probe(clip.path).has_audio for clip in clips] == [True, False]
    assert [(probe(clip.path).width, probe(clip.path).frames) for clip in clips] == [(128, 10), (128, 8)]
    assert json.loads((output / "report.json").read_text())["partitions"] == {"test": 1, "train": 1}
    assert not [name for name in files_in(output) if "/." in f"/{name}"]


@needs_mediapipe
def test_running_again_repeats_nothing(footage: Path, tmp_path: Path) -> None:
    words = ["prepare", str(footage / "anna"), "--output", str(tmp_path / "vox"), *LITTLE]
    assert main(words) == 0
    before = files_in(tmp_path / "vox")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "vox").rglob("*.mp4")}
    assert main(["prepare", str(footage), "--output", str(tmp_path / "vox"), *LITTLE]) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(list_clips(tmp_path / "vox")) == 2
    for name in [name for name in before if name.endswith(".mp4")]:
        assert files_in(tmp_path / "vox")[name] == before[name]


@needs_mediapipe
def test_other_options_do_not_mix(footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["prepare", str(footage / "bert"), "--output", str(tmp_path / "vox"), *LITTLE]
    assert main(words) == 0
    assert main([*words, "--crf", "30"]) == 1
    assert "crf: 16 then, 30 now" in capsys.readouterr().err
    assert main([*words, "--crf", "30", "--restart"]) == 0


@needs_mediapipe
def test_bad_footage_is_told_and_the_rest_goes_on(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.mp4").write_bytes(b"")
    (bad / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    write_sound(bad / "sound.mp4", 1.0)
    write_footage(bad / "grey.mp4", [blank(64, 64)] * 3)
    good = (footage / "bert" / "talk.mp4").read_bytes()
    (bad / "good.mp4").write_bytes(good)
    (bad / "cut.mp4").write_bytes(good[: len(good) // 2])
    write_photo(bad / "photo.png", portrait())
    output = tmp_path / "vox"
    report_file = tmp_path / "r.json"
    words = ["prepare", str(bad), str(bad / "absent.mp4"), "--output", str(output), *LITTLE]
    assert main([*words, "--json", str(report_file)]) == 1
    said = capsys.readouterr()
    report = json.loads(report_file.read_text())
    reasons = {
        "empty": "is empty",
        "noise": "is not a photo or clip",
        "sound": "has no video stream",
        "grey": "no face was found in 3 frame(s)",
        "cut": "damaged or cut off",
        "absent": "no such file",
    }
    assert set(report["failed"]) == set(reasons)
    for name, text in reasons.items():
        assert text in report["failed"][name]
        assert f"{name}.mp4" in report["failed"][name]
        assert report["failed"][name] in said.err
    assert report["clips"] == 1
    assert "1 photo(s) passed over" in said.out
    assert [row.identity for row in read_table(output / "metadata.csv")] == ["good-00"]
    assert main(words) == 1  # they failed before: nothing is tried again, and the exit code still says so


@needs_mediapipe
def test_all_dropped_is_no_success(footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["prepare", str(footage / "bert"), "--output", str(tmp_path / "vox")]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "0 clip(s)" in said
    assert "dropped, short: 1 (--min-frames)" in said
    assert "no clip was made; the rows of metadata.csv say why" in said


@needs_mediapipe
@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(footage: Path, tmp_path: Path) -> None:
    source = tmp_path / "many"
    source.mkdir()
    for index in range(6):
        name = ("anna", "bert")[index % 2]
        (source / f"v{index}.mp4").write_bytes((footage / name / "talk.mp4").read_bytes())
    words = ["prepare", str(source), *LITTLE, "--output"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    command = [sys.executable, "-m", "headwarp.tools.cli", *words, str(tmp_path / "killed")]
    for clips in (1, 3):
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(tmp_path.glob("killed/train/*.mp4"))) < clips:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert main([*words, str(tmp_path / "killed")]) == 0
    whole, killed = files_in(tmp_path / "whole"), files_in(tmp_path / "killed")
    whole.pop("report.json")
    killed.pop("report.json")  # names the output folder
    assert killed == whole


def test_names_of_videos_and_persons() -> None:
    tree = [
        Input("/d/vox/id00012/abc/00001.mp4", "id00012/abc/00001.mp4", "vox"),
        Input("/d/vox/id00012/abc/00002.mp4", "id00012/abc/00002.mp4", "vox"),
    ]
    jobs = prepare_jobs(tree, ["id00012/abc/00001", "id00012/abc/00002"], Path("/out"), identity="folder")
    assert [(job.argument.person, job.argument.video) for job in jobs] == [
        ("id00012", "abc-00001"),
        ("id00012", "abc-00002"),
    ]
    plain = [
        Input("/d/a/b.mp4", "a/b.mp4", "d"),
        Input("/d/a-b.mp4", "a-b.mp4", "d"),
        Input("/d/c.mp4", "c.mp4", "d"),
    ]
    jobs = list(prepare_jobs(plain, ["a/b", "a-b", "c"], Path("/out"), identity="track"))
    assert len({job.argument.video for job in jobs}) == 3
    assert jobs[2].argument.video == "c"
    assert {job.argument.person for job in jobs} == {None}
    (job,) = prepare_jobs(plain[2:], ["c"], Path("/out"), identity="carl")
    assert job.argument.person == "carl"
    assert person_of(Input("/x/anna/talk.mp4", "talk.mp4")) == "anna"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 100001}, "--size"),
        ({"fps": -1.0}, "fps: expected a number above 0"),
        ({"fps": float("nan")}, "fps: expected a number above 0"),
        ({"max_faces": 0}, "--max-faces: expected 1 or more, got 0"),
        ({"window": "fomm"}, "window: expected one of"),
        ({"test_share": -0.1}, "--test-share"),
        ({"workers": 0}, "--workers: expected 1 or more"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict, text: str) -> None:
    with pytest.raises(HeadwarpError, match=text):
        run(Prepare(input=(tmp_path,), output=tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_rows_of_a_list_with_a_face_are_refused(tmp_path: Path) -> None:
    from headwarp.tools.prepare_jobs import Named, PrepareWork

    work = PrepareWork(prepare_config(Prepare(input=(), output=tmp_path)))
    with pytest.raises(HeadwarpError, match="leave the column face out"):
        work._cut(Named(Input("a.mp4", "a.mp4", face=1), "a", None), tmp_path)


def test_description_names_the_option_that_would_keep_a_clip() -> None:
    report = {
        "output": "out",
        "clips": 0,
        "identities": 0,
        "frames": 0,
        "length_seconds": 0.0,
        "videos": 1,
        "dropped": {"border": 2, "short": 1, "small": 3, "unconfirmed": 1},
        "notes": {"a": ["The file breaks off."]},
        "messages": [],
        "failed": {},
    }
    said = describe(report)
    assert "dropped, border: 2 (--border shift or pad)" in said
    assert "a: The file breaks off." in said


@needs_mediapipe
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["prepare", str(footage), *LITTLE, "--output"]
    assert main([*words, str(tmp_path / "roomy")]) == 0
    capsys.readouterr()
    size = next((tmp_path / "roomy" / "train").glob("*anna*")).stat().st_size
    with small_disk(tmp_path / "out", 400) as out:
        filler = fill(out, spare=size + 3 * 4096)
        assert main([*words, str(out)]) == 1
        error = capsys.readouterr().err
        assert "no space left on device" in error.lower()
        assert error.count("\n") == 1
        assert len(list(out.rglob("*.mp4"))) <= 1
        filler.unlink()
        assert main([*words, str(out)]) == 0
        assert sorted(path.name for path in out.rglob("*.mp4")) == sorted(
            path.name for path in (tmp_path / "roomy").rglob("*.mp4")
        )


@needs_mediapipe
def test_a_read_only_folder_is_one_sentence(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["prepare", str(footage / "bert"), *LITTLE, "--output"]
    with small_disk(tmp_path / "out", 400) as out:
        mount(["-o", "remount,ro", str(out)])
        assert main([*words, str(out)]) == 1
        error = capsys.readouterr().err
        assert "read-only file system" in error or "cannot be written" in error
        assert error.count("\n") == 1


@needs_mediapipe
def test_a_manifest_cut_in_a_line_does_that_video_again(footage: Path, tmp_path: Path) -> None:
    words = ["prepare", str(footage), *LITTLE, "--output", str(tmp_path / "vox")]
    assert main(words) == 0
    before = files_in(tmp_path / "vox")
    manifest = tmp_path / "vox" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "vox").rglob("*.mp4")}
    assert main(words) == 0
    after = files_in(tmp_path / "vox")
    assert "1 damaged line(s)" in after.pop("report.json").decode()
    assert {**after, "report.json": before["report.json"]} == before
    assert sum(path.stat().st_mtime_ns != time for path, time in changed.items()) == 1
