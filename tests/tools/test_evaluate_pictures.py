"""`headwarp evaluate` on clips without faces: what pictures alone tell, and why the rest is absent."""

import dataclasses
import sys
import tracemalloc

import numpy as np
import pytest
from media_files import write_clip
from toy_frames import moving_frames
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.tools.evaluate import Evaluate, describe, run
from headwarp.tools.evaluation import protocols
from headwarp.tools.evaluation.measure import Setting, measure
from headwarp.tools.evaluation.pictures import OF_FACES, prepare_pictures
from headwarp.training.data.frames.pack import FramePackConfig, pack_frames
from headwarp.training.data.media import write_image
from headwarp.training.data.pairs.pack import ClipLabel
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.keypoint_network import KeypointNetwork, fomm, tiny


@pytest.fixture
def clips(tmp_path):
    """A clip as a folder of frames, one as a row of them."""
    folder = tmp_path / "clips"
    for number, frame in enumerate(moving_frames(8, size=(64, 64))):
        write_image(folder / "walk" / f"{number:03d}.png", frame, provenance=None)
    row = np.concatenate(moving_frames(4, size=(64, 64), seed=1), axis=1)
    write_image(folder / "rows" / "run.png", row, provenance=None)
    return folder


@pytest.fixture
def weights(tmp_path):
    """An untrained small network."""
    config = tiny(fomm(), width=4)
    weights = {f"network.{key}": value for key, value in KeypointNetwork(config).state_dict().items()}
    return save_checkpoint(tmp_path / "a.safetensors", weights, config=config, name="fomm")


def test_pictures_are_measured_without_a_detector(clips, weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)  # importing it fails
    config = Evaluate(clips=clips, animator=("fomm",), checkpoint=(weights,), faces=False, stride=3, size=64)
    report = run(config)
    assert report["ok"]
    assert set(report["metrics"]) == {"copy", "fomm"}
    assert {"l1", "psnr", "ssim"} == set(report["metrics"]["fomm"])
    assert report["clips"]["walk"]["fomm"]["frames"] == 2
    frames = moving_frames(8, size=(64, 64))
    moved = [np.abs(frames[t].astype(float) - frames[0]).mean() / 255 for t in (3, 6)]
    assert report["clips"]["walk"]["copy"]["l1"] == pytest.approx(np.mean(moved), abs=1e-5)
    assert all(report["absent"][name] == "no face is sought in these clips" for name in OF_FACES)
    assert (report["protocol"]["faces"], report["protocol"]["source"]) == (False, "first frame")
    assert "no akd: no face is sought in these clips" in describe(report)


def test_packs_are_measured_as_their_clips(clips, tmp_path):
    config = Evaluate(animator=("copy",), faces=False, frames="0.5:1", size=64)
    packs = tmp_path / "packs"
    frames = moving_frames(8, size=(64, 64))
    pack = pack_frames(frames, folder=packs, label=ClipLabel("a", "walk"), config=FramePackConfig(64))
    toy_pack(packs, toy_head(), "toy", frames=4)
    report = run(dataclasses.replace(config, clips=packs))
    assert set(report["clips"]) == {"toy", "walk"}
    own = run(dataclasses.replace(config, clips=clips / "walk"))["clips"]["walk"]
    assert (
        report["clips"]["walk"] == own == run(dataclasses.replace(config, clips=pack.folder))["clips"]["walk"]
    )
    assert own["copy"]["frames"] == 4
    (pack.folder / "frames.npy").unlink()
    damaged = run(dataclasses.replace(config, clips=packs))
    assert not damaged["ok"]
    assert "frames.npy" in damaged["failed"]["walk"]


def test_rows_of_frames_are_clips(clips):
    report = run(Evaluate(clips=clips / "rows", animator=("copy",), faces=False, frames="0.5:1"))
    assert report["clips"]["run"]["copy"]["frames"] == 2
    assert report["protocol"]["size"] == 256


def test_where_no_clip_shows_a_face_pictures_are_measured_anyhow(clips, tmp_path, monkeypatch):
    def none(*arguments, **named):
        raise NoFaceError("walk: no face found")

    monkeypatch.setattr(protocols, "prepare_clip", none)
    monkeypatch.setattr(protocols, "clip_paths", lambda path: [path / "walk"])
    assert run(Evaluate(clips=clips, animator=("copy",)))["protocol"]["faces"] is False
    with pytest.raises(HeadwarpError, match=r"expected at least one clip that can .*: walk"):
        run(Evaluate(clips=clips))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"animator": ("geometry",)}, "--no-faces: geometry needs .*posed_vertices"),
        (
            {"animator": ("geometry",), "guidance": ("landmarks",)},
            r"--no-faces: geometry\+landmarks needs landmarks, which come from a fitted face",
        ),
        ({"animator": ("copy",), "stride": 9}, "expected a frame to measure beside the first, got none of 8"),
        ({"animator": ("copy",), "still_camera": True}, "--still-camera: says nothing with --no-faces"),
        ({"animator": ("copy",), "size": 63}, "size: expected an even number of pixels"),
        ({"animator": ("copy",), "against": "tps"}, "--against: expected one of copy"),
    ],
)
def test_what_cannot_be_measured_is_told(clips, options, told):
    with pytest.raises(HeadwarpError, match=told):
        run(Evaluate(**{"clips": clips, "faces": False, "size": 64, **options}))


def test_pairs_need_faces(tmp_path):
    with pytest.raises(HeadwarpError, match="--no-faces: belongs to --clips; leave it out"):
        run(Evaluate(pairs=tmp_path / "list.csv", faces=False))


def test_what_is_kept_of_a_frame_is_its_numbers(tmp_path):
    """Small arrays a frame, an empty face mesh say, would also keep the memory that pictures were in."""
    setting = Setting({"copy": load_animator("copy")}, toy_head(), shown=0)
    kept = []
    for count in (3, 13, 53):  # the first loads what is no frame's
        frames = [np.full((32, 32, 3), number, np.uint8) for number in range(count)]
        clip = write_clip(tmp_path / f"{count}.mp4", frames)
        trial = prepare_pictures(clip, size=32, stride=1, share=(0.0, 1.0))
        if kept:
            tracemalloc.start()
        assert measure(trial, setting).scores["copy"].count == count - 1
        kept.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 0 < (kept[2] - kept[1]) / 40 < 2_000
