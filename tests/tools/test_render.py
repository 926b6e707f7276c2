"""``headwarp render``: every mode against a known answer, every kind of output, every refusal."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import decode_clip, moving_frames, picture, write_clip, write_photo, write_sound
from PIL import Image
from posed_fits import posed_fit
from toy_head import toy_head

import headwarp
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.params import MISSING
from headwarp.flame.texture import TextureSpace
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.tools._stacks import write_stacks
from headwarp.tools.cli import main
from headwarp.tools.draw import flow_to_color, hue_colour, mark_boxes, mark_points, region_names, view_of
from headwarp.tools.maps import MODES
from headwarp.tools.render import ModeName, make_scene, measure, render
from headwarp.training.data.media import VideoReader, probe
from headwarp.training.data.provenance import ENHANCED, read_provenance

SIZE = (96, 128)


@pytest.fixture(scope="module")
def builtin():
    return load_head("builtin")


@pytest.fixture(scope="module")
def toy():
    return toy_head()


@pytest.fixture
def clip_fit(toy):
    return posed_fit(toy, [0.0, 10.0, 20.0])


@pytest.fixture
def saved(tmp_path, clip_fit, toy, tmp_path_factory, monkeypatch):
    """The file of a fit, and the environment that names its head."""
    monkeypatch.setenv("HEADWARP_HEAD", str(save_head_npz(toy, tmp_path_factory.mktemp("head") / "toy.npz")))
    return clip_fit.save(tmp_path / "fit.npz")


def first(fit, head, **options):
    return next(iter(render(fit, head=head, **options)))


# what the modes show


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_draws_every_frame_at_the_fits_size(builtin, toy, mode):
    texture = picture(*SIZE) if mode == "textured" else None
    head = builtin if MODES[mode].needs else toy
    frames = list(render(posed_fit(head, [0.0, 10.0, 20.0]), head=head, mode=mode, texture=texture))
    assert [frame.shape for frame in frames] == [(96, 128, 3)] * 3
    assert all(frame.dtype == np.uint8 for frame in frames)
    assert frames[2].std() > 10
    assert not np.array_equal(frames[0], frames[2])
    if not MODES[mode].whole:
        assert not frames[0][:, :20].any()  # the head fills the middle


def test_the_command_line_knows_every_mode():
    assert set(ModeName.__args__) == set(MODES)


def test_normals_of_a_face_look_at_the_camera(toy):
    scene = make_scene(posed_fit(toy), mode="normals", head=toy)
    normals = next(measure(scene))["normals"]
    middle = normals[:, 40:56, 56:72]
    assert torch.allclose(normals.square().sum(0)[normals.abs().sum(0) > 0], torch.tensor(1.0), atol=1e-5)
    assert float(middle[2].mean()) < -0.8  # towards the viewer
    colour = first(posed_fit(toy), toy, mode="normals")[48, 64].astype(int)
    assert colour[2] > 200  # blue


def test_depth_is_smallest_at_the_nose_and_drawn_brightest(builtin):
    fit = posed_fit(builtin)
    depth = next(measure(make_scene(fit, mode="depth", head=builtin)))["depth"][0]
    y, x = divmod(int(depth.argmin()), 128)
    nose = fit.landmarks[0, fit.landmark_indices.tolist().index(1)]
    assert abs(x + 0.5 - float(nose[0])) < 4
    assert abs(y + 0.5 - float(nose[1])) < 6
    assert torch.isinf(depth[0, 0])
    drawn = first(fit, builtin, mode="depth")
    assert drawn.max() == drawn[y, x].max()


def test_texture_coordinates_lie_in_the_unit_square(builtin):
    maps = next(measure(make_scene(posed_fit(builtin), mode="uv", head=builtin)))
    inside = maps["uv"][:, maps["covered"][0] > 0]
    assert 0 <= float(inside.min()) < float(inside.max()) <= 1
    assert not maps["uv"][:, maps["covered"][0] == 0].any()


def test_regions_are_named_and_the_smaller_one_lies_on_top(builtin):
    maps = next(measure(make_scene(posed_fit(builtin), mode="regions", head=builtin)))
    names = region_names(builtin)
    seen = {names[number] for number in maps["regions"].unique().tolist() if number >= 0}
    assert {"face", "nose", "lips", "neck"} <= seen
    sizes = [int(builtin.region_masks[name].sum()) for name in names]
    assert sizes == sorted(sizes, reverse=True)
    assert int(maps["regions"][0, 0, 0]) == -1


def test_displacement_of_a_moved_head_is_the_motion(toy):
    fit = posed_fit(toy, [0.0, 0.0], shift=[(0.0, 0.0), (5.0, -3.0)])
    maps = list(measure(make_scene(fit, mode="displacement", head=toy)))
    assert float(maps[0]["flow"].abs().max()) < 1e-4  # the first frame is the source
    known = maps[1]["known"][0] > 0
    rigid = known.clone()
    rigid[60:] = False  # the neck follows the body in part
    flow = maps[1]["flow"][:, rigid]
    assert int(rigid.sum()) > 500
    assert torch.allclose(flow, torch.tensor([[-5.0], [3.0]]).expand_as(flow), atol=1e-3)
    assert not maps[1]["flow"][:, 0].any()  # the border rests
    assert torch.equal(maps[1]["visible"], maps[1]["known"])


def test_displacement_from_another_fit(toy):
    still, moved = posed_fit(toy), posed_fit(toy, shift=[(4.0, 0.0)])
    scene = make_scene(moved, mode="displacement", head=toy, source=still)
    maps = next(measure(scene))
    rigid = maps["known"][0] > 0
    rigid[60:] = False
    assert torch.allclose(maps["flow"][0][rigid], torch.tensor(-4.0), atol=1e-3)


def test_displacement_scales_with_the_size(toy):
    fit = posed_fit(toy, [0.0, 0.0], shift=[(0.0, 0.0), (5.0, 0.0)])
    maps = list(measure(make_scene(fit, mode="displacement", head=toy, size=256)))[1]
    assert maps["flow"].shape == (2, 192, 256)
    rigid = maps["known"][0] > 0
    rigid[120:] = False
    assert torch.allclose(maps["flow"][0][rigid], torch.tensor(-10.0), atol=1e-2)


def test_the_source_is_the_first_frame_with_a_face(toy):
    fit = posed_fit(toy, [0.0, 0.0, 0.0], shift=[(0.0, 0.0), (5.0, 0.0), (6.0, 0.0)])
    status = fit.status.clone()
    status[0] = MISSING
    maps = list(measure(make_scene(dataclasses.replace(fit, status=status), mode="displacement", head=toy)))
    assert not maps[0]["known"].any()
    assert not maps[0]["flow"].any()
    assert float(maps[1]["flow"].abs().max()) < 1e-4


def test_visibility_falls_as_the_head_turns_away(builtin):
    fit = posed_fit(builtin, [0.0, 50.0])
    front, turned = measure(make_scene(fit, mode="visibility", head=builtin))
    share = [float(m["visible"].sum() / m["covered"].sum()) for m in (front, turned)]
    assert share[0] > share[1] + 0.1
    drawn = first(fit, builtin, mode="visibility", frame=1).astype(int)
    hidden = (turned["covered"] > 0) & (turned["visible"] == 0)
    assert (drawn[..., 0] > drawn[..., 1])[hidden[0].numpy()].mean() > 0.95  # red


def test_the_texture_at_rest_is_the_photo(toy):
    photo = picture(*SIZE)
    fit = posed_fit(toy)
    maps = next(measure(make_scene(fit, mode="textured", head=toy, texture=photo)))
    drawn = first(fit, toy, mode="textured", texture=photo)
    seen = maps["known"][0].numpy() > 0
    assert seen.sum() > 1000
    assert np.abs(drawn.astype(int) - photo.astype(int))[seen].max() <= 1


def test_the_texture_follows_the_head(toy):
    photo = picture(*SIZE)
    fit = posed_fit(toy, [0.0, 0.0], shift=[(0.0, 0.0), (6.0, 0.0)])
    moved = list(render(fit, head=toy, mode="textured", texture=photo))[1]
    assert np.abs(moved[40:56, 56:72].astype(int) - photo[40:56, 50:66].astype(int)).max() <= 1


def test_a_texture_space_is_drawn_by_the_heads_coordinates(builtin, tmp_path):
    """Red above the middle of the texture and green below it, where v is 1 at the top."""
    mean = torch.zeros(4, 4, 3)
    mean[:2, :, 0], mean[2:, :, 1] = 1.0, 1.0
    space = TextureSpace("flame", mean, torch.zeros(4, 4, 3, 1))
    fit = posed_fit(builtin)
    maps = next(measure(make_scene(fit, mode="textured", head=builtin, texture=space)))
    v = next(measure(make_scene(fit, mode="uv", head=builtin)))["uv"][1]
    image, covered = maps["image"], maps["known"][0] > 0
    above, below = covered & (v > 0.7), covered & (v < 0.3)
    assert min(int(above.sum()), int(below.sum())) > 50
    assert (image[0] > 0.3)[above].all()
    assert not image[1][above].any()
    assert (image[1] > 0.3)[below].all()
    assert not image[:, ~covered].any()
    np.savez(tmp_path / "skin.npz", mean=255 * mean.numpy()[..., ::-1], tex_dir=np.zeros((4, 4, 3, 2)))
    drawn = first(fit, builtin, mode="textured", texture=tmp_path / "skin.npz")
    assert np.abs(drawn / 255 - image.permute(1, 2, 0).numpy()).max() < 0.01
    other = dataclasses.replace(space, uv=torch.zeros(3, 2), uv_faces=torch.zeros(7, 3, dtype=torch.int64))
    with pytest.raises(ModelFileError, match=r"texture: expected one of \d+ triangles, .* got 7"):
        make_scene(fit, mode="textured", head=builtin, texture=other)


def test_a_head_and_a_texture_without_coordinates_are_an_error(toy):
    space = TextureSpace("bfm", torch.zeros(4, 4, 3), torch.zeros(4, 4, 3, 1))
    with pytest.raises(ModelFileError, match="has no texture coordinates, nor has the file"):
        make_scene(posed_fit(toy), mode="textured", head=toy, texture=space)


def test_frames_without_a_face_are_empty(toy, clip_fit):
    status = clip_fit.status.clone()
    status[1] = MISSING
    fit = dataclasses.replace(clip_fit, status=status)
    frames = list(render(fit, head=toy))
    assert not frames[1].any()
    assert frames[2].any()
    photo = picture(*SIZE)
    assert np.array_equal(list(render(fit, head=toy, over=photo))[1], photo)


# drawing over pictures


def test_over_a_photo_only_the_head_changes(toy, clip_fit):
    photo = picture(*SIZE)
    frames = list(render(clip_fit, head=toy, over=photo))
    assert len(frames) == 3
    assert np.array_equal(frames[0][:, :20], photo[:, :20])
    assert np.abs(frames[0].astype(int) - photo)[30:60, 54:74].mean() > 20


def test_over_a_clip_each_frame_has_its_own(toy, clip_fit):
    clip = np.stack(moving_frames(3, *SIZE))
    frames = list(render(clip_fit, head=toy, over=clip))
    assert all(
        np.array_equal(drawn[:, -20:], given[:, -20:]) for drawn, given in zip(frames, clip, strict=True)
    )
    only = list(render(clip_fit, head=toy, over=clip, frame=2))
    assert len(only) == 1
    assert np.array_equal(only[0], frames[2])


def test_over_a_file_the_frame_is_sought(toy, clip_fit, tmp_path):
    path = write_clip(tmp_path / "c.mp4", moving_frames(3, *SIZE))
    frames = list(render(clip_fit, head=toy, over=path))
    assert np.array_equal(first(clip_fit, toy, over=path, frame=2), frames[2])
    photo = write_photo(tmp_path / "p.png", picture(*SIZE))
    assert first(clip_fit, toy, over=photo, frame=2).shape == (96, 128, 3)


def test_a_fit_of_a_part_is_drawn_over_that_part(toy, clip_fit, tmp_path):
    path = write_clip(tmp_path / "c.mp4", moving_frames(7, *SIZE))
    part = dataclasses.replace(clip_fit, report={**clip_fit.report, "start": 3})
    with VideoReader(path, start=3, stop=6) as reader:
        expected = list(render(clip_fit, head=toy, over=np.stack(list(reader))))
    drawn = list(render(part, head=toy, over=path))
    assert all(np.array_equal(a, b) for a, b in zip(drawn, expected, strict=True))
    assert np.array_equal(first(part, toy, over=path, frame=2), expected[2])


def test_over_at_another_size_is_scaled(toy, clip_fit):
    drawn = first(clip_fit, toy, over=picture(*SIZE), size=64)
    assert drawn.shape == (48, 64, 3)
    assert np.abs(drawn[24, 4].astype(int) - picture(*SIZE)[48, 8]).max() < 20


@pytest.mark.parametrize(
    ("over", "text"),
    [
        (picture(50, 128), "--over: expected the picture that was fitted, 128 x 96, got 128 x 50"),
        (np.stack(moving_frames(2, *SIZE)), "--over: expected 3 frames, as the fit has, got 2"),
        (np.stack(moving_frames(4, *SIZE)), "--over: expected 3 frames, as the fit has, got more"),
    ],
)
def test_pictures_that_do_not_belong_to_the_fit_are_refused(toy, clip_fit, over, text):
    with pytest.raises(HeadwarpError) as caught:
        list(render(clip_fit, head=toy, over=over))
    assert text in str(caught.value)


# refusals


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "pretty"}, "--mode: expected one of shaded, normals"),
        ({"size": 0}, "--size: expected 1 to 16384 pixels, got 0"),
        ({"frame": 3}, "--frame: expected 0 to 2, the frames of this fit, got 3"),
        ({"frame": 0, "mode": "displacement"}, "one frame does not move; name the pose it starts from"),
        ({"mode": "textured"}, "expected the fitted picture in --texture, got none"),
        ({"mode": "textured", "texture": picture(20, 20)}, "--texture: expected the picture that was fitted"),
    ],
)
def test_requests_that_make_no_sense(toy, clip_fit, options, text):
    with pytest.raises(HeadwarpError) as caught:
        render(clip_fit, head=toy, **options)  # at once, not when the first frame is drawn
    assert text in str(caught.value)


def test_a_source_of_another_size_and_a_fit_of_another_head(toy, builtin, clip_fit):
    with pytest.raises(
        HeadwarpError, match="expected a fit of a 128 x 96 picture, like the fit that is drawn"
    ):
        render(clip_fit, head=toy, mode="displacement", source=posed_fit(toy, size=(64, 64)))
    with pytest.raises(ModelFileError, match="fit: expected coefficients of head toy"):
        render(posed_fit(builtin), head=toy)


def test_a_head_without_regions_or_texture_coordinates(toy):
    with pytest.raises(HeadwarpError, match="has no region masks; use another head"):
        render(posed_fit(toy), head=toy, mode="regions")
    with pytest.raises(HeadwarpError, match="has no texture coordinates"):
        render(posed_fit(toy), head=toy, mode="uv")


# the command


def test_one_frame_becomes_a_picture_that_says_how_it_was_made(saved, tmp_path, capsys):
    target = tmp_path / "n.png"
    assert main(["render", str(saved), "--mode", "normals", "--frame", "1", "--output", str(target)]) == 0
    assert Image.open(target).size == (128, 96)
    made = read_provenance(target)
    assert made is not None
    assert made.animator == "render normals"
    assert made.digital_source_type.endswith("dataDrivenMedia")
    assert "n.png: normals, 1 frame(s) of 128 x 96" in capsys.readouterr().out


def test_provenance_can_be_left_out_and_the_report_says_so(saved, tmp_path):
    target, report = tmp_path / "n.png", tmp_path / "r.json"
    words = ["--frame", "1", "--output", str(target), "--no-provenance", "--json", str(report)]
    assert main(["render", str(saved), *words]) == 0
    assert read_provenance(target) is None
    content = json.loads(report.read_text())
    assert content["provenance"] is False
    assert (content["mode"], content["frames"], content["size"]) == ("shaded", 1, [96, 128])


def test_many_frames_become_a_clip_of_the_inputs_rate(saved, tmp_path):
    assert main(["render", str(saved), "--mode", "displacement"]) == 0
    target = tmp_path / "fit_displacement.mp4"
    info = probe(target)
    assert (info.frames, info.fps, info.width, info.height) == (3, Fraction(10), 128, 96)


def test_over_a_clip_with_sound_the_sound_comes_along(saved, tmp_path):
    frames = moving_frames(3, *SIZE)
    clip = write_clip(tmp_path / "c.mp4", frames, fps=Fraction(10), audio_seconds=0.3)
    target = tmp_path / "o.mp4"
    assert main(["render", str(saved), "--over", str(clip), "--output", str(target)]) == 0
    assert probe(target).has_audio
    made = read_provenance(target)
    assert made is not None
    assert made.digital_source_type == ENHANCED
    assert np.abs(decode_clip(target)[0][:, :20].astype(int) - frames[0][:, :20]).mean() < 4


def test_odd_sizes(saved, tmp_path):
    target = tmp_path / "o.mp4"
    assert main(["render", str(saved), "--size", "101", "--output", str(target)]) == 0
    with VideoReader(target) as reader:
        assert next(iter(reader)).shape == (76, 101, 3)


def test_an_npz_holds_the_numbers(saved, tmp_path, clip_fit, toy, capsys):
    target = tmp_path / "g.npz"
    assert main(["render", str(saved), "--mode", "displacement", "--output", str(target)]) == 0
    with np.load(target, allow_pickle=False) as archive:
        arrays = dict(archive)
    expected = list(measure(make_scene(clip_fit, mode="displacement", head=toy)))
    for name in ("flow", "known", "visible"):
        assert np.array_equal(arrays[name], torch.stack([maps[name] for maps in expected]).numpy())
    assert arrays["flow"].shape == (3, 2, 96, 128)
    assert str(arrays["model_id"]) == toy.model_id
    assert "flow: backward displacement to the source in pixels" in str(arrays["about"])
    assert "flow: float32 (3, 2, 96, 128)" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.npz", "g.npz"]


def test_region_names_stand_in_the_npz(builtin, tmp_path):
    saved, target = posed_fit(builtin).save(tmp_path / "fit.npz"), tmp_path / "g.npz"
    words = ["--mode", "regions", "--output", str(target), "--head", "builtin"]
    assert main(["render", str(saved), *words]) == 0
    with np.load(target, allow_pickle=False) as archive:
        assert tuple(archive["region_names"].tolist()) == region_names(builtin)
        assert archive["regions"].dtype == np.int64


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--output", "o.png"], "o.png holds one frame, the fit has 3; name an .mp4"),
        (["--output", "o.gif"], "--output: expected a name in .png"),
        (["--output", "fit.npz"], "--output: fit.npz is one of the inputs"),
        (["--output", "o.npz", "--over", "p.png"], "an .npz holds numbers"),
        (["--output", "o.mp4", "--over", "none.png"], "none.png"),
        (["--output", "o.mp4", "--over", "tone.m4a"], "has no video stream"),
        (["--output", "o.mp4", "--source", "p.png"], "expected a fit (.npz)"),
        (["--output", "o.mp4", "--head", "none.pkl"], "none.pkl"),
        (["--output", "o.mp4", "--over", "short.mp4"], "--over: expected 3 frames, as the fit has, got 2"),
        (["--output", "p.png/o.mp4"], "cannot write p.png/o.mp4"),
    ],
)
def test_a_refusal_is_one_sentence_and_leaves_nothing(saved, tmp_path, words, text, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo(Path("p.png"), picture(*SIZE))
    write_sound(Path("tone.m4a"), 0.2)
    write_clip(Path("short.mp4"), moving_frames(2, *SIZE))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["render", "fit.npz", *words]) == 1
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_is_no_fit_is_refused(tmp_path, capsys):
    photo = write_photo(tmp_path / "p.png", picture(*SIZE))
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    for name, text in ((photo, "expected a fit (.npz)"), (tmp_path / "a.npz", "expected a headwarp fit")):
        assert main(["render", str(name)]) == 1
        assert text in capsys.readouterr().err
    assert main(["render", str(tmp_path / "none.npz")]) == 1
    assert "found none; make one with `headwarp fit" in capsys.readouterr().err


def test_render_is_exported(saved):
    assert headwarp.render is render
    assert len(list(headwarp.render(saved))) == 3


# drawing


@pytest.mark.parametrize(
    ("direction", "colour"),
    [((1.0, 0.0), (1.0, 0.0, 0.0)), ((-1.0, 0.0), (0.0, 1.0, 1.0)), ((0.0, 1.0), (0.5, 1.0, 0.0))],
)
def test_the_colour_of_a_direction(direction, colour):
    flow = torch.tensor(direction)[:, None, None] * 3
    assert torch.allclose(flow_to_color(flow, full=3.0).flatten(), torch.tensor(colour), atol=1e-5)
    assert torch.allclose(flow_to_color(flow, full=6.0).flatten(), (1 + torch.tensor(colour)) / 2, atol=1e-5)
    assert torch.equal(flow_to_color(flow, full=1.0), flow_to_color(flow, full=3.0))  # no brighter than full


def test_hues_lie_between_black_and_white():
    assert all(0 <= value <= 1 for hue in np.linspace(0, 1, 13) for value in hue_colour(float(hue)))


def test_marks_are_drawn_on_a_copy():
    frame = np.zeros((60, 80, 3), np.uint8)
    dots = mark_points(frame, np.array([[10.0, 20.0], [np.nan, 1.0]]), colour=(9, 8, 7))
    assert dots[20, 10].tolist() == [9, 8, 7]
    boxed = mark_boxes(frame, [np.array([20.0, 20, 50, 50])], ["--face 1"])
    assert boxed[20, 30].any()
    assert not frame.any()


def test_nothing_is_seen_where_the_mesh_is_not_finite(toy):
    verts = torch.full((1, len(toy.template), 3), torch.nan)
    assert not view_of(toy, verts, (8, 8)).covered.any()


def test_stacks_hold_what_was_promised(tmp_path):
    target = tmp_path / "s.npz"
    frames = [{"a": np.full((1, 2, 2), number, np.float32)} for number in range(3)]
    for count in (2, 4):
        with pytest.raises(HeadwarpError, match=f"expected {count} frames, got"):
            write_stacks(target, frames, count, facts={})
        assert list(tmp_path.iterdir()) == []
    assert write_stacks(target, frames, 3, facts={"n": 7}) == {"a": "float32 (3, 1, 2, 2)"}
    before = target.read_bytes()
    write_stacks(target, frames, 3, facts={"n": 7})
    assert target.read_bytes() == before  # no clock inside
    with np.load(target, allow_pickle=False) as archive:
        assert archive["a"][:, 0, 0, 0].tolist() == [0, 1, 2]
        assert int(archive["n"]) == 7
