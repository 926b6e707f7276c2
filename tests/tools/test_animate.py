"""``headwarp animate``: every kind of driver, motion in place, sound and rate kept, frames as made."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from face_pictures import blank, frames_of, moved, needs_mediapipe, portrait, read_photo, sway
from media_files import mean_error, write_clip, write_photo

import headwarp
from headwarp.flame.driving import Transfer, transfer_motion
from headwarp.flame.io import load_head
from headwarp.flame.params import Pose
from headwarp.flame.pose_track import write_pose_track
from headwarp.flame.retargeting import Retargeting
from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.tools import cli
from headwarp.tools.animate import Animate, animate, describe, run
from headwarp.tools.drivers import open_driver
from headwarp.tools.faces import fit_frames
from headwarp.tools.motion import Motion
from headwarp.tools.portrait import open_portrait
from headwarp.training.data.portrait import to_frame
from headwarp.training.data.provenance import COMPOSITE_WITH_TRAINED, read_provenance, sidecar_path
from headwarp.warping.animators import Animation

SIZE = 64
FPS = Fraction(24000, 1001)


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    return write_photo(tmp_path_factory.mktemp("photo") / "a.png", portrait())


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Five frames with sound in which the portrait sways to the right."""
    path = tmp_path_factory.mktemp("clip") / "d.mp4"
    return write_clip(path, sway(5), fps=FPS, audio_seconds=0.3)


@pytest.fixture(scope="module")
def window(head):
    return to_frame(open_portrait(portrait(), head=head, size=SIZE).image)


class Mirror:
    """An animator that shows the driving picture it was given."""

    needs_source, needs_driving = ("image",), ("image",)

    def __init__(self):
        self.asked = 0

    def encode(self, sources):
        return sources

    def animate(self, cache, driving):
        self.asked += 1
        return Animation(image=driving.image)

    def explain(self, cache, driving):
        return {}


@needs_mediapipe
def test_a_clip_of_the_same_photo_starts_with_the_photo(photo, clip, head, window):
    frames = list(animate(photo, clip, head=head, size=SIZE))
    assert [(frame.dtype, frame.shape) for frame in frames] == [(np.uint8, (SIZE, SIZE, 3))] * 5
    assert mean_error(frames[0], window) < 2
    assert mean_error(frames[4], window) > mean_error(frames[0], window) + 2


@needs_mediapipe
@pytest.mark.parametrize("relative", [True, False])
def test_a_head_that_shifts_shifts_the_source_as_far(photo, head, relative):
    side, step = 256, 16
    driver = [portrait(), moved(portrait(), step, 0)]
    frames = list(animate(photo, driver, head=head, size=side, transfer=Transfer(relative=relative)))
    crop = open_portrait(portrait(), head=head, size=side).crop
    first, last = (fit_frames([frame], head).landmarks[0].mean(0) for frame in frames)
    assert (last - first).tolist() == pytest.approx([step * crop.scale(side), 0], abs=5)


@needs_mediapipe
def test_the_drivers_pictures_lie_over_the_source_window(photo, clip, head, window):
    mirror = Mirror()
    frames = animate(photo, clip, animator=mirror, head=head, size=SIZE, transfer=Transfer(relative=False))
    assert mirror.asked == 0
    assert mean_error(next(frames), window) < 4
    assert mirror.asked == 1
    assert len(list(frames)) == 4
    with pytest.raises(HeadwarpError, match=r"Driving\.image: expected a tensor, got None"):
        next(animate(photo, [Pose()], animator=NeedsImage(), head=head, size=SIZE))


class NeedsImage(Mirror):
    def animate(self, cache, driving):
        from headwarp.geom.guidance import require

        return Animation(image=require(driving, ("image",), by="toy").image)


@needs_mediapipe
def test_the_command_keeps_rate_and_sound_and_says_how_it_was_made(photo, clip, tmp_path, capsys):
    output, report = tmp_path / "o.mp4", tmp_path / "r.json"
    words = [
        "animate",
        "--source_image",
        str(photo),
        f"--driving_video={clip}",
        "--result_video",
        str(output),
    ]
    assert cli.main([*words, "--adapt_scale", "--relative", "--size", str(SIZE), "--json", str(report)]) == 0
    with av.open(str(output)) as made:
        assert made.streams.video[0].average_rate == FPS
        assert len(made.streams.audio) == 1
    said = json.loads(report.read_text())
    assert (said["frames"], said["relative"], said["reference_frame"], said["audio"]) == (5, True, 0, True)
    assert said["driver"] == {"missing": 0, "interpolated": 0, "detected": 5}
    known = read_provenance(output)
    assert (known.digital_source_type, len(known.inputs)) == (COMPOSITE_WITH_TRAINED, 2)
    assert sidecar_path(output).is_file()
    shown = capsys.readouterr().out
    assert "with sound" in shown
    assert "motion: relative, reference frame 0" in shown


@needs_mediapipe
def test_panels_stand_side_by_side_and_no_provenance_is_kept_to(photo, clip, tmp_path, window):
    output = tmp_path / "o.mp4"
    report = run(Animate((photo,), clip, output, absolute=True, panels=True, size=SIZE, provenance=False))
    assert not report["relative"]
    frame = frames_of(output)[0]
    assert frame.shape == (SIZE, 3 * SIZE, 3)
    for part in range(3):
        assert mean_error(frame[:, part * SIZE : (part + 1) * SIZE], window) < 6
    assert read_provenance(output) is None
    assert "provenance: none, as asked" in describe(report)


@needs_mediapipe
def test_another_rate_shows_other_frames_in_step_with_the_sound(photo, clip, tmp_path):
    report = run(Animate((photo,), clip, tmp_path / "o.mp4", fps=10, size=SIZE))
    assert (report["fps"], report["audio"]) == (10, True)
    assert report["frames"] == 3  # of 5 frames in 0.21 seconds


@needs_mediapipe
def test_a_photo_drives_absolutely_into_a_picture(photo, tmp_path, window):
    report = run(Animate((photo,), photo, tmp_path / "o.png", size=SIZE))
    assert (report["frames"], report["relative"]) == (1, False)
    assert mean_error(read_photo(tmp_path / "o.png"), window) < 2
    with pytest.raises(HeadwarpError, match="use --absolute for a photo"):
        run(Animate((photo,), photo, tmp_path / "o.png", relative=True, size=SIZE))


@needs_mediapipe
def test_a_folder_a_fit_and_a_track_drive_too(photo, clip, head, tmp_path):
    for index, frame in enumerate(sway(3)):
        write_photo(tmp_path / f"frames{index}.png", frame)
    fitted = fit_frames(sway(3), head)
    pattern = open_driver(tmp_path / "frames*.png", head)
    assert torch.equal(pattern.fit.params.rotation, fitted.params.rotation)
    stored = open_driver(str(fitted.save(tmp_path / "d.npz")), head)
    assert torch.equal(stored.fit.residual, fitted.residual)
    assert stored.pictures is None
    frames = [list(animate(photo, driver, head=head, size=SIZE)) for driver in (tmp_path / "d.npz", fitted)]
    assert [mean_error(a, b) for a, b in zip(*frames, strict=True)] == [0, 0, 0]
    poses = [Pose(yaw=5.0 * index) for index in range(3)]
    assert open_driver(write_pose_track(tmp_path / "t.json", poses, 25), head).poses == tuple(poses)
    assert len(list(animate(photo, poses, animator="copy", head=head, size=SIZE))) == 3


@needs_mediapipe
def test_the_rate_of_a_fit_is_that_of_its_clip(head):
    fit = fit_frames([portrait()], head)
    assert open_driver(fit, head).fps == 25
    noted = dataclasses.replace(fit, report={**fit.report, "fps": "30000/1001"})
    assert open_driver(noted, head).fps == Fraction(30000, 1001)
    assert open_driver(noted, head, fps=12).fps == 12


@needs_mediapipe
def test_a_motion_reaches_the_frames_and_turns_beyond_are_told(photo, head, capsys):
    poses = [Pose(), Pose(yaw=70)]
    plain, held, kept = (
        list(animate(photo, poses, head=head, size=SIZE, motion=motion))
        for motion in (None, Motion(clamp=True), Motion(Retargeting(yaw=0.0)))
    )
    told = capsys.readouterr().err.splitlines()
    assert ["--clamp stops there" in line for line in told] == [True, False]  # the third turns nothing
    assert "clamped" in told[1]
    assert mean_error(plain[1], plain[0]) > mean_error(held[1], plain[0]) > 2
    assert mean_error(kept[1], kept[0]) < 0.01
    with pytest.raises(HeadwarpError, match="a pose track has no driver's face"):
        animate(photo, poses, head=head, size=SIZE, motion=Motion(eyes="driver"))


@needs_mediapipe
def test_the_best_frame_is_found(photo, head):
    driver = [
        *headwarp.edit_track(photo, [Pose(yaw=18), Pose(yaw=9), Pose(), Pose(yaw=-9)], head=head, size=200)
    ]
    fit = fit_frames(driver, head)
    own = open_portrait(portrait(), head=head, size=SIZE).fit
    assert transfer_motion(head, own, fit, Transfer(find_best_frame=True)).reference == 2


@needs_mediapipe
def test_the_full_frame_is_the_photo_but_for_the_head(photo, clip, tmp_path):
    output = tmp_path / "o.mp4"
    run(Animate((photo,), clip, output, full_frame=True, size=SIZE))
    last, own = frames_of(output)[-1], portrait()
    assert last.shape == own.shape
    assert mean_error(last[:10], own[:10]) < 3  # the codec's
    assert mean_error(last[40:160, 100:220], own[40:160, 100:220]) > 5


@needs_mediapipe
def test_what_cannot_drive_is_said_before_the_first_frame(photo, head, tmp_path):
    with pytest.raises(NoFaceError, match="expected a face, found none"):
        animate(photo, [blank(64, 64)] * 2, head=head, size=SIZE)
    with pytest.raises(NoFaceError, match="expected a face, found none"):
        animate(blank(64, 64), [Pose()], head=head, size=SIZE)
    with pytest.raises(HeadwarpError, match="expected one source picture, got 2"):
        animate([photo, photo], [Pose()], head=head, size=SIZE)
    with pytest.raises(HeadwarpError, match="pose track, which needs no reference"):
        animate(photo, [Pose()], head=head, size=SIZE, transfer=Transfer(best_frame=0))
    track = write_pose_track(tmp_path / "t.csv", [Pose()] * 2, 25)
    with pytest.raises(HeadwarpError, match=r"expected a clip .* for 2 frames, got o\.png"):
        run(Animate((photo,), track, tmp_path / "o.png", size=SIZE))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"relative": True, "absolute": True}, "--relative, --absolute: expected one of them, got both"),
        ({"panels": True, "full_frame": True}, "--panels or --full-frame, got both"),
        ({"output": Path("o.gif")}, r"--output: expected a name in \.mp4.*, got o.gif"),
        ({"size": 3}, "--size: expected 16 pixels or more"),
        ({"device": "abacus"}, "--device abacus: not available here"),
        ({"animator": "magic"}, "expected one of .*, got 'magic'"),
        ({"driving": Path("nowhere.mp4")}, "nowhere.mp4: no such file"),
        ({"driving": Path("nowhere.npz")}, "nowhere.npz: expected a fit file, found none"),
        ({"driving": Path("nowhere.csv")}, "nowhere.csv: no such pose track"),
    ],
)
def test_wrong_options_are_a_sentence_and_leave_no_file(tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    given = {"source": (Path("a.png"),), "driving": Path("d.mp4"), "output": Path("o.mp4")} | options
    with pytest.raises(HeadwarpError, match=text):
        run(Animate(**given))
    assert not list(tmp_path.iterdir())


def parsed(*words):
    return cli.parse(cli.load_command("animate"), words)[0]


def test_foreign_names_and_ours_are_the_same():
    ours = parsed("--source", "a", "--driving", "d", "--output", "o", "--find-best-frame", "--no-adapt-scale")
    theirs = parsed(
        "--source_image",
        "a",
        "--driving_video=d",
        "--result_video",
        "o",
        "--find_best_frame",
        "--no_adapt_scale",
    )
    assert ours == theirs
    assert ours.find_best_frame
    assert not ours.adapt_scale
    both = parsed("--source", "a", "--source_image", "b", "--driving", "d", "--output", "o", "--absolute")
    assert both.source == (Path("a"), Path("b"))
    assert both.absolute
    with pytest.raises(cli.ArgumentError, match="--output: given twice"):
        parsed("--source", "a", "--driving", "d", "--output", "o", "--result_video", "p")


def test_the_library_name_is_the_tool():
    assert headwarp.animate is animate


@needs_mediapipe
def test_the_callers_gradient_mode_is_left_alone(photo, head):
    with torch.enable_grad():
        assert next(animate(photo, [Pose()], head=head, size=SIZE)).dtype == np.uint8
        assert torch.is_grad_enabled()
