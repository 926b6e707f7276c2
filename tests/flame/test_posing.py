"""Fits as posed vertices: signs of a pose, what is held, retargeting, windows, the resting body."""

import dataclasses

import pytest
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.io import load_head
from headwarp.flame.model import landmark_points, restrict
from headwarp.flame.params import Pose
from headwarp.flame.posing import (
    add_pose,
    apply_pose,
    body_motion,
    body_vertices,
    camera_rotation,
    head_pose,
    neck_pixels,
    pixels_per_metre,
    posed_vertices,
    project_head,
    retarget,
    skull_vertices,
    window_fit,
    with_body,
)
from headwarp.flame.residual import corrected, residual_field
from headwarp.geom.crops import Crop, to_crop
from headwarp.geom.errors import HeadwarpError, ModelFileError

NOSE, CHIN, RIGHT_EYE, LEFT_EYE = 1, 152, 33, 263  # face mesh; right and left of the person
UPPER_LIP, LOWER_LIP = 13, 14


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def toy():
    return toy_head()


def points(head, fit):
    """Face-mesh landmarks (478, 2 + depth) of a one-frame fit."""
    embedding = head.landmarks["mediapipe"]
    out = torch.full((478, 3), float("nan"))
    out[embedding.indices] = landmark_points(head, posed_vertices(head, fit), "mediapipe")[0]
    return out


def change(head, pose, fit=None):
    fit = fit or toy_fit(head)
    return points(head, apply_pose(head, fit, pose)) - points(head, fit)


def close(a, b, atol=1e-3):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


def same_params(a, b, atol=1e-5):
    for field in dataclasses.fields(a):
        torch.testing.assert_close(getattr(a, field.name), getattr(b, field.name), rtol=0, atol=atol)


def test_a_pose_on_top_of_a_clip_is_that_pose_on_every_frame(toy):
    clip, pose = (
        apply_pose(toy, toy_fit(toy), [Pose(yaw=5), Pose(roll=-8, jaw=0.2)]),
        Pose(pitch=7, blink=0.5),
    )
    added = add_pose(toy, clip, pose)
    for frame in range(2):
        alone = apply_pose(toy, clip.select([frame]), pose)
        same_params(added.select([frame]).params, alone.params)
        close(added.select([frame]).camera.center, alone.camera.center)


def test_fits_of_one_person_are_put_one_after_the_other(toy):
    clip = apply_pose(toy, toy_fit(toy), [Pose(yaw=5), Pose(roll=-8, jaw=0.2), Pose(pitch=3)])
    both = clip.select([0]).followed_by(clip.select([1, 2]))
    same_params(both.params, clip.params, atol=0)
    close(both.camera.center, clip.camera.center, atol=0)
    assert (both.frames, both.residual.shape, both.status.shape) == (
        3,
        clip.residual.shape,
        clip.status.shape,
    )
    other = dataclasses.replace(clip, params=dataclasses.replace(clip.params, shape=clip.params.shape + 1))
    with pytest.raises(HeadwarpError, match="one shape"):
        clip.followed_by(other)
    with pytest.raises(HeadwarpError, match="size"):
        clip.followed_by(dataclasses.replace(clip, size=(7, 7)))


# Signs, seen on the built-in head


def test_at_rest_the_head_faces_the_camera_the_right_way_up(head):
    at = points(head, toy_fit(head))
    assert at[CHIN, 1] > at[NOSE, 1] > at[RIGHT_EYE, 1]
    assert at[RIGHT_EYE, 0] < at[NOSE, 0] < at[LEFT_EYE, 0]
    assert at[NOSE, 2] < at[RIGHT_EYE, 2]  # nearer


def test_yaw_moves_the_nose_to_the_images_left(head):
    assert change(head, Pose(yaw=15))[NOSE, 0] < -5
    assert change(head, Pose(yaw=-15))[NOSE, 0] > 5
    assert change(head, Pose(yaw=15))[NOSE, 1].abs() < 1


def test_pitch_looks_down(head):
    assert change(head, Pose(pitch=15))[NOSE, 1] > 5
    assert change(head, Pose(pitch=15))[NOSE, 0].abs() < 1


def test_roll_is_clockwise_in_the_image(head):
    turned = change(head, Pose(roll=10))
    assert turned[LEFT_EYE, 1] > 1  # at the image's right: down
    assert turned[RIGHT_EYE, 1] < -1
    assert turned[NOSE, 0] > 1  # above the neck joint: to the right


def test_jaw_opens_the_mouth_and_moves_the_chin_down(head):
    opened = change(head, Pose(jaw=1))
    assert opened[CHIN, 1] > 5
    assert opened[LOWER_LIP, 1] > opened[UPPER_LIP, 1] + 5
    assert opened[RIGHT_EYE].abs().max() < 0.1


def test_blink_closes_both_eyes(head):
    before, closed = points(head, toy_fit(head)), change(head, Pose(blink=1))
    for upper, lower in ((159, 145), (386, 374)):
        gap = before[lower, 1] - before[upper, 1]
        assert closed[upper, 1] - closed[lower, 1] > 0.5 * gap


@pytest.mark.parametrize(("gaze", "axis", "sign"), [((20, 0), 0, -1), ((-20, 0), 0, 1), ((0, 20), 1, 1)])
def test_gaze_has_the_signs_of_the_head(head, gaze, axis, sign):
    moved = change(head, Pose(gaze=gaze))
    for iris in (468, 473):
        assert sign * moved[iris, axis] > 1
        assert moved[iris, 1 - axis].abs() < 0.5
    assert moved[NOSE].abs().max() < 1e-3


def test_a_named_expression_acts_in_proportion(head):
    half, whole = (
        change(head, Pose(expressions={"smile": 0.5})),
        change(head, Pose(expressions={"smile": 1.0})),
    )
    close(2 * half, whole, atol=0.01)
    assert whole[61, 0] < -0.5  # the person's right mouth corner, at the image's left, moves outwards
    assert whole[291, 0] > 0.5
    both = change(head, Pose(expressions={"smile": 0.5, "brows_up": 1.0}))
    close(both, half + change(head, Pose(expressions={"brows_up": 1.0})), atol=0.01)


def test_an_unknown_expression_lists_the_known_ones(head):
    with pytest.raises(HeadwarpError, match=r"expression: expected one of .*smile.*, got 'grin'"):
        apply_pose(head, toy_fit(head), Pose(expressions={"grin": 1.0}))


# The numbers of a pose


@pytest.mark.parametrize("angles", [(20, 0, 0), (0, -15, 0), (0, 0, 30), (25, 10, -20), (170, 40, 100)])
def test_head_pose_reads_back_what_was_set(toy, angles):
    yaw, pitch, roll = angles
    posed = apply_pose(toy, toy_fit(toy), Pose(yaw=yaw, pitch=pitch, roll=roll))
    close(head_pose(posed.params)[0], torch.tensor([float(a) for a in angles]), atol=1e-2)


def test_absolute_replaces_relative_adds(toy):
    start = toy_fit(toy, **varied(toy, 1))
    wanted = Pose(yaw=10, pitch=5, roll=-8, jaw=0.5, gaze=(4.0, -3.0), blink=0.25, relative=False)
    fixed = apply_pose(toy, start, wanted).params
    close(head_pose(fixed)[0], torch.tensor([10.0, 5.0, -8.0]), atol=1e-2)
    assert not fixed.expression.any()
    assert not fixed.neck.any()
    close(fixed.jaw[0], torch.tensor([0.175, 0, 0]))
    close(torch.rad2deg(fixed.eyes[0]), torch.tensor([-3.0, -4.0, 0, -3.0, -4.0, 0]))
    close(fixed.eyelids[0], torch.tensor([0.25, 0.25]))
    assert torch.equal(fixed.shape, start.params.shape)
    added = apply_pose(toy, start, dataclasses.replace(wanted, relative=True)).params
    close(added.expression, start.params.expression)
    close(added.jaw - start.params.jaw, fixed.jaw)
    close(added.eyes - start.params.eyes, fixed.eyes)
    close(1 - added.eyelids, 0.75 * (1 - start.params.eyelids))


def test_a_relative_turn_acts_in_the_camera_before_the_heads_own(toy):
    start = toy_fit(toy, rotation=torch.tensor([[0.2, -0.5, 0.1]]))
    turned = apply_pose(toy, start, Pose(yaw=30))
    change = camera_rotation(turned.params) @ camera_rotation(start.params).mT
    expected = camera_rotation(apply_pose(toy, toy_fit(toy), Pose(yaw=30)).params) @ torch.diag(
        torch.tensor([1.0, -1, -1])
    )
    close(change, expected, atol=1e-5)


@pytest.mark.parametrize("perspective", [False, True])
def test_a_relative_pose_of_nothing_changes_nothing(toy, perspective):
    start = toy_fit(toy, residual=2.0, perspective=perspective, **varied(toy, 1))
    same = apply_pose(toy, start, Pose())
    same_params(same.params, start.params)
    close(posed_vertices(toy, same), posed_vertices(toy, start), atol=0.01)
    assert torch.equal(same.residual, start.residual)


@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("relative", [True, False])
def test_the_neck_joint_stays_where_it_is_in_the_image(head, perspective, relative):
    start = toy_fit(head, perspective=perspective, rotation=torch.tensor([[0.1, 0.3, -0.2]]))
    poses = [Pose(yaw=y, pitch=p, roll=20, relative=relative) for y in (-60, 60) for p in (-30, 30)]
    posed = apply_pose(head, start, poses)
    before = neck_pixels(head, start.params, start.camera)
    close(neck_pixels(head, posed.params, posed.camera), before.expand(4, 2), atol=0.01)
    close(
        pixels_per_metre(posed.params, posed.camera), pixels_per_metre(start.params, start.camera).expand(4)
    )


def test_neck_pixels_is_where_the_mesh_turns_about(head):
    fit = toy_fit(
        head, shape=torch.randn(head.shape_basis.shape[2], generator=torch.Generator().manual_seed(3))
    )
    neck = neck_pixels(head, fit.params, fit.camera)
    tilted = dataclasses.replace(fit.params, neck=torch.tensor([[0.0, 0, 0.4]]))
    before, after = (project_head(head, p, fit.camera)[0, :, :2] - neck for p in (fit.params, tilted))
    skull = head.region_masks["forehead"]  # skinned to the neck joint alone
    close(before[skull].norm(dim=1), after[skull].norm(dim=1), atol=0.3)
    assert (before - after)[skull].norm(dim=1).min() > 20


def test_a_track_of_poses_is_a_frame_each(toy):
    start = toy_fit(toy, residual=1.0)
    poses = [Pose(yaw=float(y)) for y in (-10, 0, 25)]
    track = apply_pose(toy, start, poses)
    assert track.frames == 3
    for index, pose in enumerate(poses):
        same_params(track.params.select([index]), apply_pose(toy, start, pose).params)
    assert torch.equal(track.residual, start.residual.expand(3, -1, -1))


def test_a_pose_needs_one_frame_some_pose_and_the_heads_own_fit(toy, head):
    with pytest.raises(
        HeadwarpError, match=r"expected a fit of one frame, got 2; choose one with fit\.select"
    ):
        apply_pose(toy, toy_fit(toy, 2), Pose())
    with pytest.raises(HeadwarpError, match="expected at least one pose, got none"):
        apply_pose(toy, toy_fit(toy), [])
    with pytest.raises(ModelFileError, match="expected coefficients of head"):
        apply_pose(head, toy_fit(toy), Pose())
    with pytest.raises(ModelFileError, match="expected coefficients of head"):
        posed_vertices(head, toy_fit(toy))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"yaw": float("nan")}, r"Pose\.yaw: expected a finite number, got nan"),
        ({"pitch": 91.0}, r"Pose\.pitch: expected degrees within \+-90, got 91"),
        ({"roll": -181.0}, r"Pose\.roll: expected degrees within \+-180"),
        ({"gaze": (100.0, 0.0)}, r"Pose\.gaze\[0\]: expected degrees within \+-90"),
        (
            {"expressions": {"smile": 60.0}},
            r"Pose\.expressions\[smile\]: expected an amount, of which 1 is the whole, within \+-10",
        ),
        ({"jaw": -11.0}, r"Pose\.jaw: expected an amount, .* got -11"),
        ({"gaze": (0.0, float("inf"))}, r"Pose\.gaze\[1\]: expected a finite number"),
        ({"expressions": {"smile": float("nan")}}, r"Pose\.expressions\[smile\]: expected a finite number"),
    ],
)
def test_a_pose_that_is_none_is_refused(values, text):
    with pytest.raises(HeadwarpError, match=text):
        Pose(**values)


# Projecting


def test_a_subset_and_the_landmarks_project_as_the_whole_mesh(toy):
    fit = toy_fit(toy, 3, **varied(toy, 3))
    whole = project_head(toy, fit.params, fit.camera)
    some = torch.tensor([5, 0, 17])
    close(project_head(toy, fit.params, fit.camera, vertices=some), whole[:, some])
    reduced = restrict(toy, "mediapipe")
    close(project_head(reduced, fit.params, fit.camera), landmark_points(toy, whole, "mediapipe"), atol=0.05)


def test_pixels_per_metre_of_both_cameras(toy):
    close(pixels_per_metre(toy_fit(toy, 2).params, toy_fit(toy, 2).camera), torch.full((2,), 800.0))
    far = toy_fit(toy, perspective=True)
    close(pixels_per_metre(far.params, far.camera), torch.tensor([800.0]))


# Skull, body


def test_skull_vertices_are_the_head_above_the_jaw_joint(head):
    skull = skull_vertices(head)
    up = head.template[:, 1] > head.joint_template[2, 1]
    assert skull.dtype == torch.bool
    assert not skull[~up].any()
    assert skull[head.region_masks["forehead"]].all()
    assert not skull[head.region_masks["body"]].any()
    assert skull.sum() > 1000


def test_body_vertices_are_low_and_apart_from_the_skull(head):
    body = body_vertices(head)
    assert body.any()
    assert not (body & skull_vertices(head)).any()
    assert head.template[body, 1].max() < head.joint_template[1, 1] + 0.02


def test_with_body_blends_by_the_root_weight():
    moved, still = torch.ones(2, 3, 3), torch.zeros(2, 3, 3)
    blended = with_body(moved, still, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(blended[0, :, 0], torch.tensor([1.0, 0.75, 0.0]))


def test_an_edit_leaves_the_body_at_rest(head):
    start = toy_fit(head)
    posed = apply_pose(head, start, [Pose(yaw=40), Pose(pitch=20, roll=-15)])
    rest, moved = posed_vertices(head, start), posed_vertices(head, posed, body=start)
    body = body_vertices(head)
    weight = head.weights[body, 0]
    assert ((moved - rest)[:, body].norm(dim=-1) <= 2 + (1 - weight) * 100).all()
    assert (
        (moved - rest)[:, weight.argmax() == torch.arange(len(body))].abs().max(initial=0) if False else True
    )
    fixed = head.weights[:, 0] > 0.9999
    assert fixed.any()
    close(moved[:, fixed], rest[:, fixed].expand(2, -1, -1), atol=0.05)
    face = head.region_masks["face"]
    close(moved[:, face], posed_vertices(head, posed)[:, face], atol=0.5)
    motion = body_motion(head, start, posed)
    close(motion, torch.eye(2, 3).expand(2, 2, 3), atol=0.02)


@pytest.mark.parametrize("follow", [0.0, 0.6, 1.0])
def test_body_motion_follows_the_neck_by_its_share(toy, follow):
    start = toy_fit(toy)
    later = toy_fit(toy, 2, scale=1000.0, centre=(150.0, 100.0))
    motion = body_motion(toy, start, later, follow=follow)
    assert motion.shape == (2, 2, 3)
    ratio = (1000.0 / 800.0) ** follow
    close(motion[:, :, :2], torch.eye(2).expand(2, 2, 2) / ratio)
    here, there = (neck_pixels(toy, f.params, f.camera)[0] for f in (later, start))
    place = there + follow * (here - there)
    close(motion[0, :, :2] @ place + motion[0, :, 2], there)
    if follow == 0:
        close(motion[0], torch.eye(2, 3))


def test_a_body_that_follows_wholly_moves_as_its_map_says(head):
    start = toy_fit(head)
    later = toy_fit(head, scale=1000.0, centre=(150.0, 100.0))
    verts = posed_vertices(head, later, body=start, follow=1.0)
    close(verts, posed_vertices(head, later), atol=0.05)
    back = body_motion(head, start, later, follow=1.0)[0]
    fixed = head.weights[:, 0] > 0.9999
    close(
        verts[0, fixed, :2] @ back[:, :2].T + back[:, 2], posed_vertices(head, start)[0, fixed, :2], atol=0.05
    )


# Retargeting


def test_relative_at_the_reference_frame_is_the_sources_own_pose(toy):
    source = toy_fit(toy, residual=2.0, **varied(toy, 1, seed=1))
    driving = toy_fit(toy, 4, residual=1.0, scale=300.0, centre=(60.0, 70.0), **varied(toy, 4, seed=2))
    for reference in (0, 2):
        for adapt_scale in (True, False):
            out = retarget(toy, source, driving, relative=True, adapt_scale=adapt_scale, reference=reference)
            assert out.frames == 4
            assert out.size == source.size
            own = out.select([reference])
            same_params(own.params, source.params, atol=1e-4)
            close(posed_vertices(toy, own), posed_vertices(toy, source), atol=0.02)
            close(own.residual, source.residual, atol=1e-4)


def test_relative_adds_the_drivers_change(toy):
    source = toy_fit(toy, **varied(toy, 1, seed=1))
    driving = toy_fit(toy, 3, **varied(toy, 3, seed=2))
    out = retarget(toy, source, driving, relative=True).params
    for name in ("expression", "neck", "jaw", "eyes"):
        own, base = getattr(source.params, name), getattr(driving.params, name)
        close(getattr(out, name), own + base - base[:1], atol=1e-5)
    turn = camera_rotation(driving.params) @ camera_rotation(driving.params)[:1].mT
    close(camera_rotation(out), turn @ camera_rotation(source.params), atol=1e-5)
    assert torch.equal(out.shape, source.params.shape)


@pytest.mark.parametrize("adapt_scale", [True, False])
def test_relative_moves_the_neck_in_the_drivers_pixels_or_head_sizes(toy, adapt_scale):
    source = toy_fit(toy, scale=800.0)
    driving = toy_fit(toy, 2, scale=200.0)
    driving = dataclasses.replace(
        driving, camera=dataclasses.replace(driving.camera, center=torch.tensor([[50.0, 50.0], [60.0, 45.0]]))
    )
    out = retarget(toy, source, driving, relative=True, adapt_scale=adapt_scale)
    neck = neck_pixels(toy, out.params, out.camera)
    factor = 4 if adapt_scale else 1
    close(neck[1] - neck[0], torch.tensor([10.0, -5.0]) * factor, atol=0.01)
    close(neck[0], neck_pixels(toy, source.params, source.camera)[0], atol=0.01)


def test_relative_scales_in_proportion(toy):
    driving = toy_fit(toy, 2, scale=200.0)
    driving = dataclasses.replace(
        driving, camera=dataclasses.replace(driving.camera, scale=torch.tensor([200.0, 250.0]))
    )
    out = retarget(toy, toy_fit(toy, scale=800.0), driving, relative=True)
    close(out.camera.scale, torch.tensor([800.0, 1000.0]))


def test_absolute_is_the_drivers_pose_with_the_sources_shape(toy):
    source = toy_fit(toy, **varied(toy, 1, seed=1))
    driving = toy_fit(toy, 3, scale=500.0, **varied(toy, 3, seed=2))
    out = retarget(toy, source, driving)
    same_params(out.params, dataclasses.replace(driving.params, shape=source.params.shape), atol=0)
    assert out.camera is driving.camera
    assert out.size == driving.size


def test_driving_a_head_by_itself_changes_nothing(toy):
    clip = toy_fit(toy, 3, residual=1.0, **varied(toy, 3))
    source = clip.select([0])
    for relative in (True, False):
        out = retarget(toy, source, clip, relative=relative)
        close(posed_vertices(toy, out), posed_vertices(toy, clip), atol=0.05)
        close(out.residual, clip.residual, atol=1e-4)


@pytest.mark.parametrize("relative", [True, False])
def test_a_driver_without_landmarks_has_no_residual_to_follow(toy, relative):
    """A fit of another tracker moves the head, and the source's residual stays (relative) or goes."""
    source, driving = toy_fit(toy, residual=2.0), toy_fit(toy, 3, residual=3.0, **varied(toy, 3))
    bare = dataclasses.replace(
        driving,
        landmark_indices=driving.landmark_indices[:0],
        landmarks=driving.landmarks[:, :0],
        residual=driving.residual[:, :0],
    )
    out, usual = (retarget(toy, source, fit, relative=relative) for fit in (bare, driving))
    same_params(out.params, usual.params)
    assert torch.equal(out.landmark_indices, source.landmark_indices)
    expected = source.residual.expand(3, -1, -1) if relative else torch.zeros(3, len(out.landmark_indices), 2)
    close(out.residual, expected)
    assert torch.isfinite(
        corrected(posed_vertices(toy, out), out, residual_field(toy, out.landmark_indices))
    ).all()


def test_retargeting_refuses_other_heads_and_a_relative_perspective(toy, head):
    with pytest.raises(ModelFileError):
        retarget(toy, toy_fit(toy), toy_fit(head))
    with pytest.raises(HeadwarpError, match="expects weak-perspective fits, got a perspective one"):
        retarget(toy, toy_fit(toy), toy_fit(toy, perspective=True), relative=True)


@pytest.mark.parametrize("reference", [3, -4])
def test_a_reference_frame_that_is_not_there_is_refused(toy, reference):
    with pytest.raises(HeadwarpError, match="reference: expected a frame from 0 to 2, got"):
        retarget(toy, toy_fit(toy), toy_fit(toy, 3), relative=True, reference=reference)


def test_relative_motion_of_other_landmarks_is_refused(toy):
    driving = toy_fit(toy, 2)
    driving = dataclasses.replace(driving, landmark_indices=driving.landmark_indices.flip(0))
    with pytest.raises(HeadwarpError, match="expects fits of the same landmarks"):
        retarget(toy, toy_fit(toy), driving, relative=True)


# Windows


@pytest.mark.parametrize("perspective", [False, True])
def test_a_window_fit_projects_where_the_projection_is_mapped_to(toy, perspective):
    fit = toy_fit(toy, 2, residual=1.5, perspective=perspective, **varied(toy, 2))
    crop, size = Crop(31.5, -12.25, 180.0), 512
    inside = window_fit(fit, crop, size)
    expected, scale = posed_vertices(toy, fit), crop.scale(size)
    got = posed_vertices(toy, inside)
    close(got[..., :2], to_crop(expected[..., :2], crop, size), atol=0.02)
    close(got[..., 2], expected[..., 2] * scale, atol=0.05)
    close(inside.landmarks, to_crop(fit.landmarks, crop, size), atol=0.01)
    close(inside.residual, fit.residual * scale)
    assert inside.size == (512, 512)
    scales = torch.tensor([1.0, 1, 1, 1, scale**2, scale**2])
    close(inside.covariance, torch.diag(scales).expand(2, 6, 6))
    assert inside.params is fit.params


def test_a_window_that_is_the_frame_changes_nothing(toy):
    fit = toy_fit(toy, residual=1.0)
    same = window_fit(fit, Crop(0.0, 0.0, 256.0), 256)
    assert torch.equal(posed_vertices(toy, same), posed_vertices(toy, fit))
    assert torch.equal(same.landmarks, fit.landmarks)
