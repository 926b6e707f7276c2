"""Clips to packs: what is there is not made again, what cannot be used is told before any long work."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from face_pictures import blank, needs_mediapipe, sway
from toy_head import toy_head
from toy_packs import oval, toy_clip, toy_pack, without

import headwarp.flame.detect
from headwarp.flame.params import MISSING
from headwarp.geom.errors import HeadwarpError, MediaError, MissingDependencyError, ModelFileError
from headwarp.tools import pack as tool
from headwarp.tools.heads import ready_head
from headwarp.tools.pack import DataConfig, plan_packs, prepare_packs
from headwarp.training.data.media import VideoWriter
from headwarp.training.data.pairs.pack import PackConfig
from headwarp.training.data.synthetic import Material

SMALL = PackConfig(size=64)


def write_clip(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 10, crf=12) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(autouse=True)
def drawn_masks(monkeypatch, request):
    if "astronaut" not in request.node.name:
        monkeypatch.setattr(headwarp.flame.detect, "segment_person", oval)


@pytest.fixture(scope="module")
def footage(head, tmp_path_factory):
    """Clips walk and run with their fits in a folder of their own."""
    folder = tmp_path_factory.mktemp("footage")
    for seed, name in enumerate(("run", "walk")):
        frames, fit = toy_clip(head, 4, seed=seed)
        write_clip(folder / "clips" / f"{name}.mp4", frames)
        fit.save(folder / "fits" / f"{name}.npz")
    return folder


def prepared(footage, cache, head, **changes):
    options = {"fits": footage / "fits", "config": SMALL, **changes}
    return prepare_packs(footage / "clips", cache, head, **options)


def test_clips_with_fits_are_packed_once(footage, head, tmp_path, monkeypatch):
    packs, report = prepared(footage, tmp_path, head)
    assert [(pack.index.clip, len(pack)) for pack in packs] == [("run", 4), ("walk", 4)]
    assert report == {"packs": 2, "made": 2, "frames": 8, "persons": 2, "left_out": {}}
    json.dumps(report)
    monkeypatch.setattr(tool, "pack_clip", lambda *_, **__: pytest.fail("packed again"))
    again, report = prepared(footage, tmp_path, head)
    assert again == packs
    assert report["made"] == 0


def test_after_an_interrupt_only_what_is_missing_is_made(footage, head, tmp_path, monkeypatch):
    made = []
    whole = tool.pack_clip

    def dies_at_the_second(*arguments, **options):
        made.append(options["label"].clip)
        if len(made) == 2:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(tool, "pack_clip", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        prepared(footage, tmp_path, head)
    packs, report = prepared(footage, tmp_path, head)
    assert made == ["run", "walk", "walk"]
    assert (len(packs), report["made"]) == (2, 1)


@pytest.mark.parametrize("change", ["fit", "settings", "damage"])
def test_what_has_changed_is_packed_again(footage, head, tmp_path, change):
    packs, _ = prepared(footage, tmp_path / "cache", head)
    options = {}
    if change == "fit":
        fits = tmp_path / "fits"
        fits.mkdir()
        for path in (footage / "fits").iterdir():
            (fits / path.name).write_bytes(path.read_bytes())
        options = {"fits": fits}
    elif change == "settings":
        options = {"config": dataclasses.replace(SMALL, least_confidence=0.25)}
    else:
        (packs[0].folder / "frames.npy").write_bytes(b"")
    _, report = prepared(footage, tmp_path / "cache", head, **options)
    assert report["made"] == (1 if change == "damage" else 2)


def test_other_persons_do_not_pack_again(footage, head, tmp_path):
    prepared(footage, tmp_path, head)
    (tmp_path / "persons.csv").write_text("name,person\nrun.mp4,ann\nwalk.mp4,ann\n")
    packs, report = prepared(footage, tmp_path, head, persons=tmp_path / "persons.csv")
    assert {pack.index.person for pack in packs} == {"ann"}
    assert (report["made"], report["persons"]) == (0, 1)


def test_excluded_persons_are_left_out_with_the_reason(footage, head, tmp_path):
    (tmp_path / "test.csv").write_text("name,person\nother.mp4,walk\n")
    packs, report = prepared(footage, tmp_path, head, exclude=tmp_path / "test.csv")
    assert [pack.index.clip for pack in packs] == ["run"]
    assert report["left_out"] == {"walk": "test.csv names its person walk"}


def test_a_clip_with_one_usable_frame_is_left_out_by_name(footage, head, tmp_path):
    _, fit = toy_clip(head, 4, seed=1)
    fits = tmp_path / "fits"
    toy_clip(head, 4)[1].save(fits / "run.npz")
    without(fit, [0, 1, 2], status=MISSING).save(fits / "walk.npz")
    packs, report = prepared(footage, tmp_path / "cache", head, fits=fits)
    assert [pack.index.clip for pack in packs] == ["run"]
    assert report["left_out"] == {"walk": "walk: expected at least 2 usable frames, got 1 of 4 (3 no face)"}


def test_fits_of_another_head_are_refused_before_any_work(footage, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "pack_clip", lambda *_, **__: pytest.fail("packed"))
    other = toy_head(shapes=4)
    with pytest.raises(ModelFileError, match=r"run\.npz: expected coefficients of head toy-.*pass --head"):
        prepared(footage, tmp_path, other)


def test_a_folder_with_nothing_usable_says_why(head, tmp_path):
    (tmp_path / "clips").mkdir()
    with pytest.raises(MediaError, match="expected clips"):
        prepare_packs(tmp_path / "clips", tmp_path / "cache", head)
    (tmp_path / "clips" / "a.mp4").write_bytes(b"no clip")
    (tmp_path / "clips" / "b.mp4").write_bytes(b"")
    with pytest.raises(HeadwarpError, match=r"--data: expected a clip to train on, got none: a: .*; b: "):
        prepare_packs(tmp_path / "clips", tmp_path / "cache", head)
    assert not (tmp_path / "cache").exists()


def test_clips_whose_fits_are_no_numbers_are_told_before_any_work(footage, head, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "pack_clip", lambda *_, **__: pytest.fail("packed"))
    for seed, name in enumerate(("run", "walk")):
        fit = without(toy_clip(head, 4, seed=seed)[1], [0, 1, 2, 3], residual=np.nan)
        (tmp_path / "fits").mkdir(exist_ok=True)
        fit.save(tmp_path / "fits" / f"{name}.npz")
    with pytest.raises(HeadwarpError, match=r"none: run: expected .* got 0 of 4 \(4 not finite\); walk: "):
        prepared(footage, tmp_path / "cache", head, fits=tmp_path / "fits")


def test_a_full_disk_is_told_before_any_work(footage, head, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "free_bytes", lambda _: 1000)
    with pytest.raises(
        HeadwarpError, match=r"GB of free disk for the packs of 8 frames, got 0\.0 GB; take another"
    ):
        prepared(footage, tmp_path, head)


def test_a_folder_of_fits_that_is_none_is_told(footage, head, tmp_path):
    for fits in (tmp_path / "nothing", footage / "fits" / "run.npz"):
        with pytest.raises(HeadwarpError, match=r"--fits .*: expected a folder of fits, found none"):
            prepared(footage, tmp_path / "cache", head, fits=fits)


def test_a_plan_reads_headers_and_fits_alone(footage, head, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "as_frames", lambda _: pytest.fail("read"))
    asked = DataConfig(footage / "clips", tmp_path / "cache", fits=footage / "fits", packing=SMALL)
    report = plan_packs(asked, head).report()
    assert report["packed"] == 0
    assert (report["to_pack"], report["to_fit"], report["frames"]) == (2, 0, 8)
    assert report["disk_bytes"] == 8 * 64 * 64 * 4
    assert not (tmp_path / "cache").exists()
    unfitted = plan_packs(dataclasses.replace(asked, fits=None), head).report()
    assert (unfitted["to_fit"], unfitted["frames"]) == (2, 8)
    json.dumps(unfitted)


def test_a_folder_of_packs_is_opened(head, tmp_path):
    toy_pack(tmp_path / "packs", head, "walk")
    packs, report = prepare_packs(tmp_path / "packs", tmp_path / "cache", head, config=SMALL)
    assert [pack.index.clip for pack in packs] == ["walk"]
    assert report["made"] == 0
    with pytest.raises(ModelFileError, match="expected packs of 256 pixels, got 64"):
        prepare_packs(tmp_path / "packs", tmp_path / "cache", head)


def test_lists_of_persons_hold_for_packs_too(head, tmp_path):
    for number, name in enumerate(("walk", "run", "jump")):
        toy_pack(tmp_path / "packs", head, name, person=name, seed=number)
    (tmp_path / "persons.csv").write_text("name,person\nrun.mp4,P1\njump.mp4,P2\n")
    (tmp_path / "test.csv").write_text("name,person\nother.mp4,P2\n")
    lists = {"persons": tmp_path / "persons.csv", "exclude": tmp_path / "test.csv", "config": SMALL}
    packs, report = prepare_packs(tmp_path / "packs", tmp_path / "cache", head, **lists)
    assert [(p.index.clip, p.index.person) for p in packs] == [("run", "P1"), ("walk", "walk")]
    assert report["left_out"] == {"jump": "test.csv names its person P2"}
    (tmp_path / "test.csv").write_text("name,person\na.mp4,walk\nb.mp4,P1\nc.mp4,P2\n")
    with pytest.raises(HeadwarpError, match=r"expected a clip to train on, got none: jump: test\.csv"):
        prepare_packs(tmp_path / "packs", tmp_path / "cache", head, **lists)


def test_several_folders_of_packs_are_one_set_and_clips_among_them_are_told(footage, head, tmp_path):
    toy_pack(tmp_path / "a", head, "walk")
    toy_pack(tmp_path / "b", head, "run", seed=1)
    packs, _ = prepare_packs([tmp_path / "b", tmp_path / "a"], tmp_path / "cache", head, config=SMALL)
    assert [pack.index.clip for pack in packs] == ["run", "walk"]
    with pytest.raises(HeadwarpError, match=r"got packs in .*a and none in .*clips; clips are packed below"):
        prepare_packs([footage / "clips", tmp_path / "a"], tmp_path / "cache", head, config=SMALL)
    with pytest.raises(HeadwarpError, match=r"--fits fits: packs hold the fits .* leave it out"):
        prepare_packs(tmp_path / "a", tmp_path / "cache", head, fits="fits", config=SMALL)
    toy_pack(tmp_path / "c", head, "jump", config=PackConfig(size=32))
    with pytest.raises(ModelFileError, match=r"c: expected packs of 64 pixels, got 32; pass that --size"):
        prepare_packs([tmp_path / "a", tmp_path / "c"], tmp_path / "cache", head, config=SMALL)


def no_segmenter(*_, **__):
    raise MissingDependencyError("the mask of the person needs mediapipe")


def test_synthetic_clips_with_fits_take_the_masks_they_were_drawn_with(head, tmp_path, monkeypatch):
    monkeypatch.setattr(headwarp.flame.detect, "segment_person", no_segmenter)
    frames, fit = toy_clip(head, 4)
    clip = write_clip(tmp_path / "train" / "syn#clip#000000#000004.mp4", frames)
    status = fit.status.clone()
    status[1] = MISSING
    dataclasses.replace(fit, status=status).save(clip.with_suffix(".npz"))
    with pytest.raises(MissingDependencyError, match="mediapipe; clips of `headwarp synth` have theirs"):
        plan_packs(DataConfig(tmp_path, tmp_path / "cache", packing=SMALL), head)
    label = np.zeros((4, 256, 256), np.uint8)
    for number in range(4):
        label[number, 64 * number :, 128:] = Material.SKIN
    label[:, :, 192:] = Material.OBJECT
    (tmp_path / "truth").mkdir()
    np.savez(tmp_path / "truth" / f"{clip.stem}.npz", label=label)
    packs, report = prepare_packs(tmp_path, tmp_path / "cache", head, config=SMALL)
    assert (report["made"], packs[0].index.frames) == (1, (0, 2, 3))
    for position, first_row in enumerate((0, 32, 48)):
        mask = packs[0].mask(position)
        assert (mask[first_row + 2 :, 34:46] == 255).all()
        assert (mask[: max(0, first_row - 2)] == 0).all()
        assert (mask[:, :30] == 0).all()
        assert (mask[:, 50:] == 0).all()
    assert prepare_packs(tmp_path, tmp_path / "cache", head, config=SMALL)[1]["made"] == 0


@needs_mediapipe
def test_the_astronaut_without_a_fit_is_fitted_and_a_clip_without_a_face_left_out(tmp_path, monkeypatch):
    head = ready_head("builtin")
    write_clip(tmp_path / "clips" / "sway.mp4", sway(3))
    write_clip(tmp_path / "clips" / "wall.mp4", [blank(128, 128)] * 3)
    packs, report = prepare_packs(tmp_path / "clips", tmp_path / "cache", head, config=SMALL)
    assert [(pack.index.clip, len(pack)) for pack in packs] == [("sway", 3)]
    assert "found none" in report["left_out"]["wall"]
    mask = packs[0].mask(0)
    assert mask[40, 32] > 200
    assert mask[2, 2] < 50
    assert np.isfinite(packs[0].fit().landmarks).all()
    monkeypatch.setattr(tool, "fit_frames", lambda *_: pytest.fail("fitted again"))
    (tmp_path / "clips" / "wall.mp4").unlink()
    _, report = prepare_packs(tmp_path / "clips", tmp_path / "cache", head, config=PackConfig(size=96))
    assert report["made"] == 1
    monkeypatch.undo()
    (tmp_path / "cache" / "fits" / "sway.npz").write_bytes(b"damaged")
    _, report = prepare_packs(tmp_path / "clips", tmp_path / "cache", head, config=PackConfig(size=96))
    assert report["made"] == 1


WITHOUT = """
import sys
from pathlib import Path
for name in ("mediapipe", "av", "cv2"):
    sys.modules[name] = None  # importing it fails
sys.path.insert(0, sys.argv[1])
from toy_head import toy_head
from headwarp.tools.pack import prepare_packs
from headwarp.training.data.pairs.loader import PairLoader
from headwarp.training.data.pairs.pack import PackConfig
from headwarp.training.data.pairs.sampler import PairSampler
head = toy_head()
packs, _ = prepare_packs(Path(sys.argv[2]), Path(sys.argv[2]) / "cache", head, config=PackConfig(size=64))
batch = next(iter(PairLoader(packs, head, PairSampler([p.index for p in packs]), batch_size=1)))
assert batch.source.shape == (1, 3, 64, 64)
"""


def test_a_folder_of_packs_needs_neither_a_detector_nor_a_decoder(head, tmp_path):
    toy_pack(tmp_path, head)
    helpers = Path(toy_head.__code__.co_filename).parent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(helpers), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
