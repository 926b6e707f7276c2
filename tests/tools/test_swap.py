"""``headwarp swap``: the head changes, the rest keeps its bits, bad input is a sentence and no file."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from face_pictures import blank, frames_of, needs_mediapipe, portrait, read_photo, sway
from media_files import mean_error, write_clip, write_photo
from PIL import Image

import headwarp
from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.geom.face_regions import FaceRegion
from headwarp.geom.nets.bisenet import BiSeNet
from headwarp.geom.pose_range import PoseRange
from headwarp.tools import cli, swap_scene
from headwarp.tools import swap as tools_swap
from headwarp.tools.faces import fit_frames
from headwarp.tools.motion import Motion
from headwarp.tools.swap import Swap, describe, run, swap
from headwarp.tools.swap_amended import seen_amendment
from headwarp.tools.swap_scene import SceneOptions, made_frames, open_scene
from headwarp.tools.swap_windows import head_windows
from headwarp.training.data.provenance import COMPOSITE_WITH_TRAINED, read_provenance
from headwarp.warping.swap_engines import load_engine

SIZE = 128


def other() -> np.ndarray:
    """The same head in another picture: mirrored, and of another skin."""
    return np.ascontiguousarray((portrait()[:, ::-1] * [0.9, 0.7, 0.6]).astype(np.uint8))


@pytest.fixture(autouse=True)
def one_look(monkeypatch):
    """Heads are looked at once and held as fitted: how they are mended is tested in `test_swap_amended`."""
    monkeypatch.setattr(
        swap_scene,
        "seen_amendment",
        lambda scene, landmarks, rounds: seen_amendment(scene, landmarks=landmarks, rounds=0),
    )


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("swap")
    write_photo(path / "source.png", other())
    write_photo(path / "target.png", portrait())
    write_photo(path / "grey.png", blank(96, 96))
    return path


@needs_mediapipe
def test_a_photo_keeps_all_but_the_head(head):
    (made,) = swap(other(), portrait(), head=head, size=SIZE)
    own = portrait()
    assert made.shape == own.shape
    changed = (made != own).any(-1)
    assert 0.05 < changed.mean() < 0.6
    assert not changed[-20:].any()
    assert not changed[:, :5].any()
    assert changed[80:140, 110:170].mean() > 0.9  # the face


@needs_mediapipe
def test_one_frame_a_frame_and_those_without_a_head_stay(head):
    frames = [*sway(3), blank(300, 300)]
    made = list(headwarp.swap(other(), frames, head=head, size=SIZE))
    assert len(made) == 4
    assert (made[0] != frames[0]).any()
    assert (made[3] == frames[3]).all()


@needs_mediapipe
def test_the_window_follows_the_head_and_may_leave_the_frame(head):
    fit = fit_frames([portrait()], head)
    (crop,) = head_windows(head, fit)
    face = fit.landmarks[0]
    assert crop.x < face[:, 0].min()
    assert crop.x + crop.side > face[:, 0].max()
    close = np.ascontiguousarray(portrait()[70:190, 95:215])  # larger than the frame
    (made,) = swap(other(), close, head=head, size=SIZE)
    assert made.shape == close.shape


@needs_mediapipe
def test_the_command_writes_a_clip_with_sound_and_a_report(folder, tmp_path, capsys):
    clip = write_clip(tmp_path / "t.mp4", sway(3), fps=Fraction(25), audio_seconds=0.12)
    report = tmp_path / "r.json"
    words = ["swap", "--source", folder / "source.png", folder / "source.png", "--target", clip]
    words += ["--output", tmp_path / "o.mp4", "--size", SIZE, "--mark", "--json", report]
    assert cli.main([str(word) for word in words]) == 0
    told = json.loads(report.read_text())
    assert (told["frames"], told["audio"], told["mark"], told["engine"]) == (3, True, True, "geometry")
    assert told["target"] == {"missing": 0, "interpolated": 0, "detected": 3}
    assert told["sources"]["views"] == 2
    assert 0 <= told["turned_deg"] <= 8
    assert told["sources"]["apart_mm"] == pytest.approx([0, 0], abs=1e-3)
    frames = frames_of(tmp_path / "o.mp4")
    assert len(frames) == 3
    assert frames[0][-4:, :40].mean() < 90  # the mark's bar
    record = read_provenance(tmp_path / "o.mp4")
    assert record is not None
    assert (record.animator, record.digital_source_type) == ("geometry", COMPOSITE_WITH_TRAINED)
    assert "3 frame(s)" in capsys.readouterr().out


@needs_mediapipe
def test_another_rate_keeps_the_sound_and_a_preview_comes_first(folder, tmp_path):
    clip = write_clip(tmp_path / "t.mp4", sway(4), fps=Fraction(20), audio_seconds=0.2)
    given = {"source": (folder / "source.png",), "target": clip, "size": SIZE, "pose_rounds": 0}
    report = run(Swap(**given, output=tmp_path / "o.mp4", fps=10, preview=True))
    assert (report["frames"], report["fps"], report["audio"]) == (2, 10, True)
    assert report["preview"] == str(tmp_path / "o.preview.mp4")
    with av.open(str(tmp_path / "o.mp4")) as made:
        assert made.streams.video[0].average_rate == 10
        assert len(made.streams.audio) == 1
    assert [len(frames_of(tmp_path / name)) for name in ("o.mp4", "o.preview.mp4")] == [2, 2]
    with pytest.raises(HeadwarpError, match="--preview: belongs to a clip"):
        run(Swap(**given | {"target": folder / "target.png"}, output=tmp_path / "o.png", preview=True))


@pytest.fixture(scope="module")
def scene(head):
    """A head in two frames, its pose not mended."""
    return open_scene(other(), sway(2), load_engine(), head, SceneOptions(size=SIZE, pose_rounds=0))


@needs_mediapipe
def test_a_frame_that_is_shown_twice_is_made_once(scene, monkeypatch):
    plain, asked = list(made_frames([scene])), []
    swapped = type(scene.engine).swap
    monkeypatch.setattr(type(scene.engine), "swap", lambda *given: asked.append(1) or swapped(*given))
    twice = list(made_frames([scene], [0, 0, 1, 1]))
    assert len(asked) == 2
    for made, there in zip(twice, [plain[0]] * 2 + [plain[1]] * 2, strict=True):
        assert np.array_equal(made, there)
    (last,) = made_frames([scene], [1])
    assert mean_error(last, plain[1]) < mean_error(last, plain[0])


@needs_mediapipe
def test_motion_reaches_the_picture_and_turns_beyond_are_told(scene, capsys):
    (plain,) = made_frames([scene], [0])
    (opened,) = made_frames([dataclasses.replace(scene, motion=Motion(lips=0.5))], [0])
    assert mean_error(plain[120:170, 110:170], opened[120:170, 110:170]) > 1
    assert mean_error(plain[:60], opened[:60]) < 0.1
    assert capsys.readouterr().err == ""
    narrow = Motion(holds=PoseRange(0.01, 0.01), animator="toy")
    (told,) = made_frames([dataclasses.replace(scene, motion=narrow)], [0])
    assert np.array_equal(told, plain)
    assert "that toy holds, in 2 frame(s); --clamp stops there" in capsys.readouterr().err


def test_the_librarys_motion_is_that_of_the_scenes(head, monkeypatch):
    given = {}

    def opened(puts, target, engine, model, options):
        given.update(puts=puts, motion=options.motion)
        raise HeadwarpError("enough")

    monkeypatch.setattr(tools_swap, "open_scenes", opened)
    with pytest.raises(HeadwarpError, match="enough"):
        swap("a", "t", head=head, face=1, also={0: "b"}, motion=Motion(lips=0.5))
    assert (given["motion"].lips, given["motion"].holds) == (0.5, load_engine().holds)
    assert [(put.source, put.face) for put in given["puts"]] == [("a", 1), ("b", 0)]
    with pytest.raises(HeadwarpError, match="every face by another number"):
        swap("a", "t", head=head, also={0: "b"})


@needs_mediapipe
def test_two_faces_take_a_head_each(folder, tmp_path, head):
    both = write_photo(tmp_path / "b.png", np.concatenate([portrait(), portrait()[:, ::-1]], axis=1))
    given = {"source": (folder / "source.png",), "target": both, "size": SIZE, "pose_rounds": 0}
    report = run(Swap(**given, output=tmp_path / "o.png", face=0, also=(f"1={folder / 'source.png'}",)))
    assert [face["target"]["detected"] for face in report["faces"]] == [1, 1]
    changed = (read_photo(tmp_path / "o.png") != read_photo(both)).any(-1)
    assert changed[80:140, 110:170].mean() > 0.9
    assert changed[80:140, 430:490].mean() > 0.9
    assert not changed[-20:].any()
    with pytest.raises(HeadwarpError, match="every face by another number, the first one by --face"):
        run(Swap(**given, output=tmp_path / "p.png", also=("1=x.png",)))


@needs_mediapipe
def test_two_persons_as_one_source_are_told(folder, tmp_path, head):
    narrow = Image.fromarray(portrait()).resize((190, 300))
    write_photo(tmp_path / "n.png", np.asarray(narrow))
    sources = (folder / "source.png", tmp_path / "n.png")
    report = run(Swap(source=sources, target=folder / "target.png", output=tmp_path / "o.png", size=SIZE))
    assert report["notes"]
    assert "of one person" in describe(report)
    assert read_photo(tmp_path / "o.png").shape == portrait().shape


@needs_mediapipe
@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"source": "grey.png"}, NoFaceError, r"--source: .*grey.png: expected a face, found none"),
        ({"target": "grey.png"}, NoFaceError, r"expected a face, found none"),
        ({"face": 3}, NoFaceError, r"--face 3"),
        ({"size": 32}, HeadwarpError, r"--size: expected 64 pixels or more"),
        ({"output": "o.txt"}, HeadwarpError, r"--output: expected a name in"),
        ({"checkpoint": ("x",)}, HeadwarpError, r"has no weights"),
        ({"engine": "aligner"}, HeadwarpError, r"--engine aligner: expected --checkpoint ALIGNER, got none"),
        ({"engine": "heser", "checkpoint": ("x",)}, HeadwarpError, r"--checkpoint ALIGNER BLENDER, got 1"),
        ({"target": "fit.npz"}, HeadwarpError, r"expected pictures"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_no_file(folder, tmp_path, changes, error, text):
    values = {"source": "source.png", "target": "target.png", "size": SIZE} | changes
    output = tmp_path / values.pop("output", "o.png")
    source, place = (folder / values.pop("source"),), folder / values.pop("target")
    with pytest.raises(error, match=text):
        run(Swap(source=source, target=place, output=output, **values))
    assert not list(tmp_path.iterdir())


@needs_mediapipe
def test_grey_pictures_work(head):
    grey = np.repeat(portrait().mean(-1, keepdims=True).astype(np.uint8), 3, axis=2)
    (made,) = swap(other(), grey, head=head, size=SIZE)
    spread = made.astype(int).max(-1) - made.astype(int).min(-1)
    assert np.median(spread[80:140, 110:170]) < 30  # a coloured head in a grey picture turns grey


@needs_mediapipe
def test_a_parser_of_the_users_tells_what_goes(folder, tmp_path):
    """A network that sees hair in every pixel takes all of the person away, one that sees clothes nothing."""
    network = BiSeNet().eval()
    changed = {}
    for region in (FaceRegion.HAIR, FaceRegion.CLOTH):
        with torch.no_grad():
            network.conv_out.conv_out.weight.zero_()[int(region)] = 1.0  # of features that are never negative
        weights, output = tmp_path / "w.pth", tmp_path / f"{region}.png"
        torch.save(network.state_dict(), weights)
        words = ["--source", folder / "source.png", "--target", folder / "target.png", "--output", output]
        words += ["--size", SIZE, "--segmentation", weights, "--pose-rounds", 0]
        assert cli.main(["swap", *map(str, words)]) == 0
        changed[region] = (read_photo(output) != portrait()).any(-1)
    assert changed[FaceRegion.HAIR].sum() > 1.2 * changed[FaceRegion.CLOTH].sum()
    assert changed[FaceRegion.CLOTH][80:140, 110:170].mean() > 0.9  # the new face is there


def test_frames_are_made_when_asked_for():
    assert torch.is_grad_enabled()
    with pytest.raises(HeadwarpError, match="--device"):
        swap(portrait(), portrait(), device="nowhere")
