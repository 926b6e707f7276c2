"""``--guidance``: which source guides an animator, by which file, and what is refused before any work."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from face_pictures import needs_mediapipe, read_photo, sway
from face_pictures import portrait as picture
from guide_files import guide_file
from media_files import write_clip, write_photo

from headwarp.flame.io import load_head
from headwarp.flame.params import Pose
from headwarp.flame.posing import apply_pose, head_pose
from headwarp.flame.residual import field_of
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Driving
from headwarp.geom.head_pose import angles_of
from headwarp.tools.animate import Animate
from headwarp.tools.animate import run as run_animate
from headwarp.tools.edit import Edit
from headwarp.tools.edit import run as run_edit
from headwarp.tools.evaluate import Evaluate
from headwarp.tools.guidance import (
    GuidanceOptions,
    guidance_of,
    guide_animator,
    guide_of,
    guided_each,
)
from headwarp.tools.performance import has_weights, perform
from headwarp.tools.posed_drivings import posed_drivings, relative_poses
from headwarp.training.data.portrait import Portrait, to_image
from headwarp.training.data.provenance import COMPOSITE_WITH_TRAINED, ENHANCED
from headwarp.training.data.synthetic import Recipe, synthesise, true_fit, truth_of
from headwarp.training.data.synthetic.motions import true_intrinsics
from headwarp.warping.animators import load_animator
from headwarp.warping.guided import GuidedAnimator, refers
from headwarp.warping.guides import GUIDE_KINDS, GuideConfig

SIZE = 64


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guides")
    return {kind: guide_file(folder, kind) for kind in ("depth", "keypoints")}


@pytest.fixture(scope="module")
def scene():
    """A portrait of a synthetic person with the truth as its fit, and the true depth and camera."""
    head = load_head("builtin")
    clip = synthesise(head, Recipe(seed=3, number=1, frames=2, size=SIZE, occluders=0.0))
    fit, truth = true_fit(clip).select([0]), truth_of(clip.view(0))
    mask = truth.person[None, None].float()
    portrait = Portrait(head, to_image(clip.picture(0)), fit, mask, field_of(head, fit))
    return portrait, truth.depth[None, None], true_intrinsics(clip, 0)


def options(kind, files):
    return GuidanceOptions(kind, **{f"{kind}_checkpoint": files[kind]} if kind in files else {})


def test_every_command_has_the_same_options(files):
    for config in (
        Animate((Path("a"),), Path("b"), Path("c"), guidance="depth", depth_checkpoint=files["depth"]),
        Edit(Path("a"), Path("b"), guidance="depth", depth_checkpoint=files["depth"]),
    ):
        assert guide_of(guidance_of(config)) == GuideConfig("depth", files["depth"], 256)
    assert guide_of(guidance_of(Edit(Path("a"), Path("b")))) is None
    marked = Edit(Path("a"), Path("b"), guidance="landmarks")
    assert guide_of(guidance_of(marked)) == GuideConfig("landmarks", None, None)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            GuidanceOptions("depth"),
            "--guidance depth: expected --depth-checkpoint FILE, got none; `headwarp tr",
        ),
        (
            GuidanceOptions("keypoints"),
            "expected --keypoints-checkpoint FILE, got none; `headwarp train fomm`",
        ),
        (GuidanceOptions(None, Path("a")), "--depth-checkpoint: belongs to --guidance depth; add that"),
        (
            GuidanceOptions("depth", Path("a"), Path("b")),
            "--keypoints-checkpoint: belongs to --guidance keyp",
        ),
        (GuidanceOptions("mesh", side=128), "--guide-side: belongs to --guidance depth or keypoints"),
        (GuidanceOptions("landmarks", side=128), "--guide-side: belongs to --guidance depth or keypoints"),
        (GuidanceOptions("landmarks", Path("a")), "--depth-checkpoint: belongs to --guidance depth"),
    ],
)
def test_what_does_not_go_together_is_refused(chosen, message):
    with pytest.raises(HeadwarpError, match=message):
        guide_of(chosen)


def test_an_animator_is_guided_or_refuses(files):
    for kind in GUIDE_KINDS:
        made = guide_animator(load_animator("geometry"), options(kind, files), name="geometry")
        assert isinstance(made, GuidedAnimator)
        assert refers(made) == (kind in files)
        assert made.needs_driving == (("image",) if kind in files else ("landmarks",))
        assert has_weights(made) == (kind in files)
        with pytest.raises(
            HeadwarpError, match=f"--guidance {kind}: copy takes none; expected geometry or pwm"
        ):
            guide_animator(load_animator("copy"), options(kind, files), name="copy")
    plain = load_animator("geometry")
    assert guide_animator(plain, GuidanceOptions(), name="geometry") is plain
    assert guide_animator(plain, GuidanceOptions("mesh"), name="geometry") is plain
    with pytest.raises(HeadwarpError, match="--guidance codes: geometry is guided by mesh; leave it out"):
        guide_animator(plain, GuidanceOptions("codes"), name="geometry")
    with pytest.raises(HeadwarpError, match="--guidance mesh: tps takes none; leave it out"):
        guide_animator(load_animator("tps"), GuidanceOptions("mesh"), name="tps")


def test_an_evaluation_measures_each_source_beside_the_others(files):
    config = Evaluate(
        guidance=("mesh", "depth", "keypoints", "landmarks"),
        depth_checkpoint=files["depth"],
        keypoints_checkpoint=files["keypoints"],
    )
    animators = {"copy": load_animator("copy"), "geometry": load_animator("geometry")}
    made = guided_each(animators, config)
    assert list(made) == ["copy", *(f"geometry{end}" for end in ("", "+depth", "+keypoints", "+landmarks"))]
    assert made["geometry"] is animators["geometry"]
    assert guided_each(animators, Evaluate()) == animators
    with pytest.raises(HeadwarpError, match="--guidance: expected an animator that takes it"):
        guided_each({"copy": animators["copy"]}, config)
    with pytest.raises(HeadwarpError, match="--depth-checkpoint: belongs to --guidance depth"):
        guided_each(animators, Evaluate(depth_checkpoint=files["depth"]))


# A pose that nobody filmed


def test_a_fits_turn_is_the_relative_pose_of_its_depth(scene):
    portrait, depth, camera = scene
    asked = [Pose(), Pose(yaw=20), Pose(pitch=-10, roll=5)]
    fit = apply_pose(portrait.head, portrait.fit, asked)
    source = dataclasses.replace(portrait.source(), depth=depth)
    poses = relative_poses(source, camera, portrait, fit)
    torch.testing.assert_close(poses[0], torch.eye(3, 4), rtol=0, atol=1e-5)
    angles = torch.tensor([[p.yaw, p.pitch, p.roll] for p in asked])
    torch.testing.assert_close(angles_of(poses[:, :, :3]), angles, rtol=0, atol=1e-2)
    back = angles_of(poses[:, :, :3] @ poses[:1, :, :3].mT)
    torch.testing.assert_close(back, head_pose(fit.params) * 0 + angles, rtol=0, atol=1e-2)
    middle = float(portrait.fit.params.translation[0, 2].abs())  # metres, as the depth is
    pivot = torch.linalg.solve(torch.eye(3) - poses[1, :, :3] + 1e-6 * torch.eye(3), poses[1, :, 3])
    assert abs(float(pivot[2]) - middle) < 0.08  # within the head


@pytest.mark.parametrize("kind", GUIDE_KINDS)
def test_an_edit_turns_the_head_without_a_driving_picture(scene, files, kind):
    portrait = scene[0]
    animator = guide_animator(load_animator("geometry"), options(kind, files), name="geometry")
    fit = apply_pose(portrait.head, portrait.fit, [Pose(), Pose(yaw=15)])
    still, turned = perform([portrait], fit, animator)
    assert (still.image - portrait.image).abs().mean() < 0.02
    assert (turned.image - portrait.image).abs().mean() > 0.02


def test_keypoints_of_any_network_are_carried_by_the_posed_mesh(scene, files):
    portrait = scene[0]
    animator = load_animator("fomm", files["keypoints"])
    cache = animator.encode([portrait.source()])
    fit = apply_pose(portrait.head, portrait.fit, [Pose(), Pose(yaw=15)])
    drivings = [portrait.driving(fit.select([frame])) for frame in range(2)]
    still, turned = posed_drivings(animator, cache, portrait, fit, drivings)
    own = animator.keypoints(cache, still).points
    torch.testing.assert_close(own, cache.features.keypoints.points, rtol=0, atol=1e-3)
    assert (turned.keypoints - still.keypoints).abs().max() > 0.5
    assert animator.animate(cache, turned).image.shape == portrait.image.shape
    plain = list(posed_drivings(load_animator("geometry"), None, portrait, fit, [Driving()]))
    assert plain == [Driving()]


@needs_mediapipe
def test_landmarks_turn_a_photo_and_open_its_mouth(tmp_path):
    photo = write_photo(tmp_path / "a.png", picture())
    config = Edit(photo, tmp_path / "b.png", yaw=15, jaw=0.5, size=SIZE, guidance="landmarks")
    report = run_edit(config)
    assert report["provenance"] == ENHANCED.rsplit("/", 1)[-1]  # its own pixels, nothing that was trained
    turned = read_photo(tmp_path / "b.png").astype(int)
    run_edit(dataclasses.replace(config, yaw=0, jaw=0))
    rest = read_photo(tmp_path / "b.png").astype(int)
    assert abs(turned - rest).mean() > 3
    trained = run_edit(dataclasses.replace(config, guidance=None, animator="pwm"))
    assert trained["provenance"] == COMPOSITE_WITH_TRAINED.rsplit("/", 1)[-1]


@needs_mediapipe
def test_the_command_turns_a_photo_by_depth(tmp_path, files):
    photo = write_photo(tmp_path / "a.png", picture())
    config = Edit(
        photo, tmp_path / "b.png", yaw=15, size=SIZE, guidance="depth", depth_checkpoint=files["depth"]
    )
    report = run_edit(config)
    assert report["guidance"] == "depth"
    assert report["head_pose"]["last"][0] - report["head_pose"]["photo"][0] == pytest.approx(15, abs=1)
    assert read_photo(tmp_path / "b.png").shape == (SIZE, SIZE, 3)
    assert report["provenance"] == COMPOSITE_WITH_TRAINED.rsplit("/", 1)[-1]


@needs_mediapipe
@pytest.mark.slow
def test_the_command_animates_by_each(tmp_path, files):
    photo, clip = write_photo(tmp_path / "a.png", picture()), write_clip(tmp_path / "d.mp4", sway(3), fps=25)
    for kind in GUIDE_KINDS:
        chosen = {"guidance": kind, **({f"{kind}_checkpoint": files[kind]} if kind in files else {})}
        report = run_animate(Animate((photo,), clip, tmp_path / f"{kind}.mp4", size=SIZE, **chosen))
        assert (report["frames"], report["guidance"], report["relative"]) == (3, kind, True)


def test_depth_opens_no_mouth(tmp_path, files):
    config = Edit(
        tmp_path / "a.png", tmp_path / "b.png", jaw=0.5, guidance="depth", depth_checkpoint=files["depth"]
    )
    with pytest.raises(HeadwarpError, match="--jaw: depth turns the head as one piece"):
        run_edit(config)
