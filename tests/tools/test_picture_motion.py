"""``headwarp animate --animator fomm``: pictures without a face, relative from any frame, panels, errors."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe, portrait, sway
from guide_files import guide_file
from media_files import mean_error, write_clip, write_photo
from PIL import Image
from toy_animators import loaded

from headwarp.flame.driving import Transfer
from headwarp.flame.io import load_head
from headwarp.flame.params import Pose
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Driving, Source
from headwarp.tools import cli
from headwarp.tools.animate import Animate, animate, run
from headwarp.tools.drivers import open_clip
from headwarp.tools.panels import panels
from headwarp.tools.picture_motion import open_pictures, stage
from headwarp.training.data.portrait import to_frame, to_image
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.guided import GuidedAnimator
from headwarp.warping.guides import GuideConfig, load_guide

SIZE, FPS = 64, Fraction(24000, 1001)


def scene(shift: int = 0) -> np.ndarray:
    """No face: a bright square on a grey ramp, 72 x 96."""
    picture = np.repeat(np.linspace(40, 90, 96, dtype=np.uint8)[None, :, None], 72, 0).repeat(3, 2)
    picture[20:44, 30 + shift : 54 + shift] = (220, 160, 60)
    return picture


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_photo(folder / "s.png", scene())
    write_clip(folder / "d.mp4", [scene(4 * step - 8) for step in range(5)], fps=FPS, audio_seconds=0.3)
    animator = loaded("fomm")
    save_checkpoint(folder / "w.safetensors", animator, config=animator.config, name="fomm")
    return folder


def words(folder: Path, *more: str, output: str = "o.mp4") -> list[str]:
    """The command's words; those of ``more`` take the place of others."""
    given = {
        "--source": "s.png",
        "--driving": "d.mp4",
        "--output": output,
        "--checkpoint": "w.safetensors",
    }
    paired = {name: [name, str(folder / file)] for name, file in given.items() if name not in more}
    paired |= {} if "--size" in more else {"--size": ["--size", str(SIZE)]}
    return ["animate", *(word for pair in paired.values() for word in pair), "--animator", "fomm", *more]


def test_the_command_needs_no_face(files, monkeypatch):
    monkeypatch.setattr("headwarp.tools.openings.ready_head", lambda *_: pytest.fail("a head was asked for"))
    report = files / "r.json"
    options = ("--relative", "--no-adapt-scale", "--best-frame", "2", "--json", str(report))
    assert cli.main(words(files, *options)) == 0
    with av.open(str(files / "o.mp4")) as made:
        assert made.streams.video[0].average_rate == FPS
        assert len(made.streams.audio) == 1
    said = json.loads(report.read_text())
    assert (said["frames"], said["width"], said["height"]) == (5, SIZE, SIZE)
    assert (said["relative"], said["reference_frame"], said["reference_by"]) == (True, 2, "named")
    assert (said["window"], said["driver"], said["head"], said["audio"]) == ("whole", None, None, True)


def test_relative_motion_is_from_the_named_frame():
    animator = loaded("fomm")
    photo, frames = scene(), [scene(4 * step - 8) for step in range(5)]
    clip = open_clip(frames)
    for transfer, number in (
        (Transfer(adapt_scale=False), 0),
        (Transfer(adapt_scale=False, best_frame=3), 3),
    ):
        opened = stage(open_pictures(photo, clip, size=SIZE, transfer=transfer), animator)
        flows = [animator.animate(opened.cache, each).flow for each in opened.drivings()]
        assert [bool(flow.abs().max()) for flow in flows] == [index != number for index in range(5)]
        assert opened.facts["reference_frame"] == number


def test_the_best_frame_is_found_without_a_face():
    animator = loaded("fomm")
    frames = [scene(4 * step - 8) for step in range(5)]
    motion = open_pictures(scene(), open_clip(frames), size=SIZE, transfer=Transfer(find_best_frame=True))
    opened = stage(motion, animator)
    assert (opened.facts["reference_frame"], opened.facts["reference_by"]) == (2, "keypoints")


@needs_mediapipe
def test_the_best_frame_is_found_by_the_face():
    frames = [np.array(Image.fromarray(portrait()).rotate(angle)) for angle in (-16, -8, 0, 8, 16)]
    motion = open_pictures(frames[3], open_clip(frames), size=SIZE, transfer=Transfer(find_best_frame=True))
    opened = stage(motion, loaded("fomm"))
    assert (opened.facts["reference_frame"], opened.facts["reference_by"]) == (3, "landmarks")


def test_one_driving_frame_is_absolute(files):
    write_photo(files / "one.png", scene(5))
    config = Animate(
        (files / "s.png",),
        files / "one.png",
        files / "o.png",
        size=SIZE,
        animator="fomm",
        checkpoint=files / "w.safetensors",
    )
    assert run(config)["relative"] is False
    with pytest.raises(HeadwarpError, match="relative: expected a driver of several frames, got one"):
        next(
            animate(scene(), [scene()], animator=loaded("fomm"), transfer=Transfer(relative=True), size=SIZE)
        )


def test_panels_show_how_it_came_about(files):
    assert cli.main(words(files, "--panels", "--no-adapt-scale", output="p.mp4")) == 0
    with av.open(str(files / "p.mp4")) as made:
        frame = next(made.decode(video=0))
        assert (frame.height, frame.width) == (2 * SIZE, 4 * SIZE)
    animator, source, driver = loaded("fomm"), to_image(scene()[:64, :64]), to_image(scene(4)[:64, :64])
    with torch.no_grad():
        opened = stage(open_pictures(scene()[:64, :64], open_clip([scene(4)[:64, :64]]), size=SIZE), animator)
        (drive,) = opened.drivings()
        shown = panels(animator.explain(opened.cache, drive), source, driver)
    assert shown.shape == (2 * SIZE, 4 * SIZE, 3)
    squares = [shown[:SIZE, SIZE * k : SIZE * (k + 1)] for k in range(4)]
    assert mean_error(squares[2], to_frame(animator.animate(opened.cache, drive).image)) < 1
    changed = (squares[0].astype(int) != to_frame(source)).any(-1)
    assert 0.001 < changed.mean() < 0.6  # dots, and no more


def test_the_square_goes_back_into_the_whole_picture(files):
    assert cli.main(words(files, "--full-frame", "--no-adapt-scale", output="f.mp4")) == 0
    with av.open(str(files / "f.mp4")) as made:
        frame = next(made.decode(video=0)).to_ndarray(format="rgb24")
    assert frame.shape == (72, 96, 3)
    assert mean_error(frame[:, :10], scene()[:, :10]) < 4


@needs_mediapipe
def test_a_window_around_the_head_when_asked_for():
    animator = loaded("fomm")
    options = {"head": load_head("builtin"), "size": SIZE, "window": "face"}
    motion = Transfer(relative=True, adapt_scale=False)
    frames = list(animate(portrait(), sway(3), animator=animator, transfer=motion, **options))
    assert [frame.shape for frame in frames] == [(SIZE, SIZE, 3)] * 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--best-frame", "9"), "best frame: expected 0 to 4, got 9"),
        (("--best-frame", "1", "--find-best-frame"), "--best-frame N or --find-best-frame, got both"),
        (("--best-frame", "1", "--absolute"), "best frame: expected relative motion with it"),
        (("--face", "1"), "--face: fomm looks at pictures alone"),
        (("--size", "60"), "--size: fomm takes multiples of 8 pixels, got 60; take 64"),
        (("--source", "s.png", "t.png"), "--source: expected one picture, got 2"),
        (("--driving", "d.csv"), "driving: expected pictures (a clip, photo or folder), got d.csv"),
    ],
)
def test_what_cannot_work_is_said(files, options, text, capsys):
    assert cli.main(words(files, *options)) == 1
    assert text in capsys.readouterr().err


def test_a_checkpoint_is_wanted(files, capsys):
    given = words(files)
    at = given.index("--checkpoint")
    assert cli.main([*given[:at], *given[at + 2 :]]) == 1
    assert "fomm: expected a checkpoint, got none" in capsys.readouterr().err


# Guided by keypoints


def guided(name: str, file: Path, kind: str = "keypoints") -> GuidedAnimator:
    side = {"side": SIZE} if kind != "landmarks" else {"side": None}
    guide = load_guide(GuideConfig(kind, None if kind == "landmarks" else file, **side))
    return GuidedAnimator(load_animator(name), guide.source, guide.observer)


@pytest.fixture(scope="module")
def guides(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("guides")
    return {kind: guide_file(folder, kind) for kind in ("depth", "keypoints")}


@pytest.mark.parametrize("name", ["geometry", "pwm"])
def test_keypoints_guide_whole_pictures_without_a_face(files, guides, name, monkeypatch):
    monkeypatch.setattr("headwarp.tools.openings.ready_head", lambda *_: pytest.fail("a head was asked for"))
    report = files / "r.json"
    options = ["--guidance", "keypoints", "--keypoints-checkpoint", str(guides["keypoints"])]
    options += ["--guide-side", str(SIZE), "--best-frame", "2", "--no-adapt-scale", "--json", str(report)]
    given = [word for word in words(files) if word not in ("--checkpoint", str(files / "w.safetensors"))]
    given[given.index("fomm")] = name
    assert cli.main([*given, "--window", "whole", *options]) == 0
    said = json.loads(report.read_text())
    assert (said["frames"], said["width"], said["window"], said["head"]) == (5, SIZE, "whole", None)
    assert (said["guidance"], said["relative"], said["reference_frame"]) == ("keypoints", True, 2)
    assert cli.main([*given, "--window", "whole", "--panels", *options]) == 0
    with av.open(str(files / "o.mp4")) as made:
        assert next(made.decode(video=0)).width == 3 * SIZE


def test_guided_whole_pictures_are_the_animators_own(guides):
    animator, frames = guided("geometry", guides["keypoints"]), [scene(4 * step - 8) for step in range(5)]
    made = list(
        animate(
            scene(), frames, animator=animator, window="whole", size=SIZE, transfer=Transfer(relative=False)
        )
    )
    squares = [open_pictures(frame, open_clip([frame]), size=SIZE).image for frame in (scene(), *frames)]
    with torch.no_grad():
        cache = animator.encode([Source(image=squares[0])])
        for frame, square in zip(made, squares[1:], strict=True):
            expected = to_frame(animator.animate(cache, Driving(image=square)).image)
            assert np.array_equal(frame, expected)
    assert max(mean_error(frame, to_frame(squares[0])) for frame in made) > 0.1


def test_guided_relative_motion_is_from_the_named_or_the_nearest_frame(guides):
    animator, frames = guided("geometry", guides["keypoints"]), [scene(4 * step - 8) for step in range(5)]
    named = Transfer(adapt_scale=False, best_frame=3)
    opened = stage(open_pictures(scene(), open_clip(frames), size=SIZE, transfer=named), animator)
    with torch.no_grad():
        flows = [animator.animate(opened.cache, each).flow.abs().max() for each in opened.drivings()]
    assert int(torch.stack(flows).argmin()) == 3
    assert flows[3] < 0.02
    assert flows[0] > 0.05
    best = Transfer(adapt_scale=False, find_best_frame=True)
    opened = stage(open_pictures(scene(), open_clip(frames), size=SIZE, transfer=best), animator)
    assert (opened.facts["reference_frame"], opened.facts["reference_by"]) == (2, "keypoints")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("depth", "depth turns what it sees as one head, and would turn all of GuidedAnimator's picture"),
        ("landmarks", "GuidedAnimator moves a head and looks for one"),
    ],
)
def test_what_knows_heads_alone_refuses_whole_pictures(guides, kind, why):
    animator = guided("geometry", guides["depth"], kind)
    with pytest.raises(HeadwarpError, match=f"--window whole: {why}; leave it out, or take --guidance keyp"):
        next(animate(scene(), [scene()], animator=animator, window="whole", size=SIZE))
    with pytest.raises(HeadwarpError, match="animator: expected one of pictures alone, got GuidedAnimator"):
        stage(open_pictures(scene(), open_clip([scene()]), size=SIZE), animator)


def test_heads_have_windows_of_their_own():
    with pytest.raises(HeadwarpError, match="--window whole: geometry moves a head"):
        next(animate(scene(), [Pose()], window="whole"))
    with pytest.raises(HeadwarpError, match="driving: expected pictures"):
        next(animate(scene(), [Pose()], animator=loaded("fomm"), size=SIZE))
