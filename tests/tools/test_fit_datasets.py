"""``headwarp fit`` over datasets: what goes in, where outputs go, going on, and disks that do not take it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from face_pictures import needs_mediapipe, portrait, sway
from media_files import moving_frames, write_clip, write_photo
from posed_fits import detected_points, posed_fit
from small_disk import fill, mount, small_disk
from tar_files import write_shard

from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.params import HeadFit
from headwarp.tools.cli import main


@pytest.fixture(scope="module")
def posed():
    """Four frames of the built-in head."""
    return posed_fit(load_head("builtin"), [0.0, 5.0, 10.0, 15.0])


@pytest.fixture
def one(tmp_path, posed) -> list[str]:
    """Words that fit one clip with the points of a perfect detector."""
    clip = write_clip(tmp_path / "c.mp4", moving_frames(4, *posed.size))
    np.save(tmp_path / "points.npy", detected_points(posed))
    return ["fit", str(clip), "--landmarks", str(tmp_path / "points.npy"), "--no-overlay", "--output"]


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def times_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}


# going on


def test_what_is_fitted_is_not_fitted_again(tmp_path, one):
    out = tmp_path / "out"
    assert main([*one, str(out)]) == 0
    before, report = times_in(out), report_of(out)
    assert main([*one, str(out)]) == 0
    assert times_in(out) == before
    again = report_of(out)
    assert again["clips"] == report["clips"]
    assert again["startup_seconds"] == 0
    (out / "c.npz").unlink()
    assert main([*one, str(out)]) == 0
    assert files_in(out) == ["c.npz", "manifest.jsonl", "report.json"]


def test_a_changed_input_is_fitted_again(tmp_path, one, posed):
    out = tmp_path / "out"
    assert main([*one, str(out)]) == 0
    before = times_in(out)
    write_clip(tmp_path / "c.mp4", moving_frames(4, *posed.size)[::-1])
    assert main([*one, str(out)]) == 0
    assert times_in(out) != before


def test_pictures_of_an_earlier_run_are_no_inputs(tmp_path, one, capsys):
    folder = tmp_path / "both"
    folder.mkdir()
    os.rename(one[1], folder / "c.mp4")
    one[1] = str(folder)
    write_photo(folder / "sheet.png", np.zeros((64, 64, 3), np.uint8))
    assert main([*one, str(folder)]) == 1
    assert "sheet.png: would be written over by the pictures of this run" in capsys.readouterr().err
    (folder / "sheet.png").unlink()
    assert main([*one, str(folder)]) == 0
    write_photo(folder / "sheet.png", np.zeros((64, 64, 3), np.uint8))
    (folder / "overlays").mkdir()
    write_photo(folder / "overlays" / "c.png", np.zeros((64, 64, 3), np.uint8))
    assert main([*one, str(folder), "--recursive"]) == 0
    assert report_of(folder)["frames"] == 4
    one[1] = str(folder / "overlays" / "c.png")
    assert main([*one, str(folder)]) == 1
    assert "c.png: would be written over" in capsys.readouterr().err


def test_another_input_of_the_same_name_gets_another_name(tmp_path, one):
    out = tmp_path / "out"
    assert main([*one, str(out)]) == 0
    before = times_in(out)
    (tmp_path / "other").mkdir()
    clip = shutil.copy(one[1], tmp_path / "other" / "c.mp4")
    assert main(["fit", str(clip), *one[2:], str(out)]) == 0
    assert set(times_in(out)) == {"c.npz", "c_mp4.npz"}
    assert times_in(out)["c.npz"] == before["c.npz"]


def test_a_failure_is_remembered_until_it_is_to_be_tried_again(tmp_path, one, capsys):
    out, points = tmp_path / "out", np.load(one[3])
    np.save(one[3], np.full_like(points, np.nan))
    assert main([*one, str(out)]) == 1
    assert main([*one, str(out)]) == 1
    assert "1 input(s) failed in an earlier run; --retry-failed tries them again" in capsys.readouterr().out
    assert main([*one, str(out), "--retry-failed"]) == 1
    assert "earlier run" not in capsys.readouterr().out
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 3
    np.save(one[3], points)
    assert main([*one, str(out)]) == 0  # other landmarks, and nothing was done with the old ones


def test_other_options_are_refused_until_asked_for(tmp_path, one, capsys):
    out = tmp_path / "out"
    assert main([*one, str(out)]) == 0
    before = (out / "c.npz").read_bytes()
    assert main([*one, str(out), "--sigma", "5"]) == 1
    assert "(sigma: 3.0 then, 5.0 now); name another folder, or add --restart" in capsys.readouterr().err
    assert (out / "c.npz").read_bytes() == before
    assert main([*one, str(out), "--sigma", "5", "--restart"]) == 0
    assert (out / "c.npz").read_bytes() != before
    assert files_in(out) == ["c.npz", "manifest-1.jsonl", "manifest.jsonl", "report.json"]


def test_fits_of_another_head_are_not_overwritten(tmp_path, one, capsys):
    out = tmp_path / "out"
    head = load_head("builtin")
    other = head.model_id.replace("builtin", "other")
    save_head_npz(head, tmp_path / "same.npz")
    with np.load(tmp_path / "same.npz") as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "name": "other", "model_id": other})
    assert main([*one, str(out)]) == 0
    before = (out / "c.npz").read_bytes()
    words = [*one, str(out), "--head", str(tmp_path / "other.npz")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert f"head: {head.model_id} then" in error
    assert error.count("\n") == 1
    (out / "manifest.jsonl").unlink()
    assert main(words) == 1
    assert f"c.npz: is a fit of head {head.model_id} and stays" in capsys.readouterr().err
    assert (out / "c.npz").read_bytes() == before


def test_a_file_that_is_no_fit_is_not_overwritten(tmp_path, one, capsys):
    out = tmp_path / "out"
    out.mkdir()
    np.savez(out / "c.npz", landmarks=np.zeros(3))
    before = (out / "c.npz").read_bytes()
    assert main([*one, str(out)]) == 1
    assert "c.npz: is no fit of this version and stays; name another folder" in capsys.readouterr().err
    assert (out / "c.npz").read_bytes() == before


# what goes in


@needs_mediapipe
def test_trees_lists_shards_and_sequences_through_two_workers(tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", sway(3))
    tree = tmp_path / "vox"
    for place in ("id1/va/00001.mp4", "id2/vb/00001.mp4", "id2/vb/id2#vb#000001#000006.mp4"):
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tree / place)
    (tree / "id2" / "vb" / "00002.mp4").write_bytes(b"damaged")
    write_photo(tmp_path / "k2.jpg", portrait())
    members = {"k1.mp4": clip.read_bytes(), "k2.jpg": (tmp_path / "k2.jpg").read_bytes(), "k1.json": b"{}"}
    shard = write_shard(tmp_path / "shard-000000.tar", {**members, "../out.mp4": b"x"})
    (tmp_path / "list.csv").write_text("path,name,start,stop\nclip.mp4,named/a,1,3\n")
    out = tmp_path / "out"
    words = ["fit", str(tree), str(shard), str(tmp_path / "list.csv"), "--output", str(out), "--workers", "2"]
    assert main(words) == 1
    names = ["id1/va/00001", "id2/vb/00001", "id2/vb/id2#vb#000001#000006", "named/a"]
    names += ["shard-000000/k1", "shard-000000/k2"]
    made = files_in(out)
    assert {name for name in made if name.endswith(".npz")} == {f"{name}.npz" for name in names}
    assert {f"overlays/{name}.png" for name in names} < set(made)
    assert not [name for name in made if "/." in f"/{name}"]
    part = HeadFit.load(out / "named" / "a.npz")
    assert (part.frames, part.report["start"]) == (2, 1)
    report = report_of(out)
    assert set(report["failed"]) == {"id2/vb/00002", "shard-000000/out"}
    assert [entry["name"] for entry in report["clips"] if entry["ok"]] == [
        *names[:3],
        "shard-000000/k1",
        "shard-000000/k2",
        "named/a",
    ]
    error = capsys.readouterr().err
    assert f"{tree}/id2/vb/00002.mp4: is not a photo or clip that can be read" in error
    assert f"{shard}:../out.mp4: the name leads out of the shard" in error
    assert not (tmp_path / "out.mp4").exists()
    one = (out / "id1/va/00001.npz").read_bytes()
    assert one == (out / "id2/vb/00001.npz").read_bytes() == (out / "shard-000000/k1.npz").read_bytes()


# disks


@needs_mediapipe
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path, capsys):
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(3):
        write_clip(clips / f"{number}.mp4", sway(3))
    words = ["fit", str(clips), "--no-overlay", "--output"]
    assert main([*words, str(tmp_path / "roomy")]) == 0
    size = (tmp_path / "roomy" / "0.npz").stat().st_size
    with small_disk(tmp_path / "out", 400) as out:
        words.append(str(out))
        filler = fill(out, spare=3 * size // 2 + 8192)
        assert main(words) == 1
        error = capsys.readouterr().err
        assert "no space left on device" in error.lower()
        assert "1 job(s) are done and recorded; run the same command again" in error
        assert error.count("\n") == 1
        assert sorted(os.listdir(out)) == ["0.npz", "filler", "manifest.jsonl"]
        HeadFit.load(out / "0.npz")
        filler.unlink()
        before = times_in(out)
        assert main(words) == 0
        assert files_in(out) == ["0.npz", "1.npz", "2.npz", "manifest.jsonl", "report.json"]
        assert times_in(out)["0.npz"] == before["0.npz"]


def test_a_disk_with_no_room_for_a_line_is_one_sentence(tmp_path, one, capsys):
    with small_disk(tmp_path / "out", 64) as out:
        filler = fill(out, spare=0)
        assert main([*one, str(out)]) == 1
        assert "manifest.jsonl: cannot be written (no space left on device)" in capsys.readouterr().err
        filler.unlink()
        assert main([*one, str(out)]) == 0


def test_a_read_only_folder_is_one_sentence_and_its_fits_stay(tmp_path, one, capsys):
    with small_disk(tmp_path / "out", 400) as out:
        assert main([*one, str(out)]) == 0
        mount(["-o", "remount,ro", str(out)])
        for words in ([], ["--restart"]):
            assert main([*one, str(out), *words]) == 1
            error = capsys.readouterr().err
            assert "read-only file system" in error or "cannot be written" in error
            assert error.count("\n") == 1
        HeadFit.load(out / "c.npz")
