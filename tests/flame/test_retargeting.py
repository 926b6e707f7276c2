"""Strength by region: 1 changes nothing, 0 is the source's own, and each part moves alone."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from posed_fits import posed_fit

from headwarp.flame.expression_regions import expression_regions
from headwarp.flame.io import load_head
from headwarp.flame.landmarks import LEFT_EYE_RIM, LIPS
from headwarp.flame.model import landmark_points
from headwarp.flame.params import HeadFit, Pose
from headwarp.flame.posing import apply_pose, head_pose, neck_pixels, pixels_per_metre, posed_vertices
from headwarp.flame.residual import corrected, field_of
from headwarp.flame.retargeting import Retargeting, retargeted
from headwarp.geom.cameras import Perspective, WeakPerspective
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.transforms import axis_angle_to_matrix, rotation_angle

MODEL = load_head("builtin")
REGIONS = expression_regions(MODEL)
NONE = {field.name: 0.0 for field in dataclasses.fields(Retargeting)}
POSES = [
    Pose(
        yaw=30,
        pitch=-10,
        roll=8,
        jaw=0.5,
        gaze=(10, 5),
        blink=0.7,
        expressions={"smile": 0.8, "brows_up": 0.6},
    ),
    Pose(yaw=-20, pitch=15, roll=-30, jaw=0.1, gaze=(-10, 0), blink=0.2, expressions={"frown": 0.5}),
]


def fits() -> tuple[HeadFit, HeadFit]:
    """A source, and its head driven through two poses, larger and elsewhere, with a residual of its own."""
    source = posed_fit(MODEL, size=(256, 256))
    source = apply_pose(MODEL, source, Pose(yaw=12, pitch=4, roll=-5, jaw=0.2, expressions={"pucker": 0.4}))
    draw = torch.Generator().manual_seed(1)
    source = dataclasses.replace(source, residual=torch.randn(source.residual.shape, generator=draw))
    driven = apply_pose(MODEL, source, POSES)
    assert isinstance(driven.camera, WeakPerspective)
    camera = WeakPerspective(driven.camera.scale * 1.2, driven.camera.center + torch.tensor([7.0, -3.0]))
    residual = driven.residual + torch.randn(driven.residual.shape, generator=draw)
    return source, dataclasses.replace(driven, camera=camera, residual=residual)


SOURCE, DRIVEN = fits()
FIELD = field_of(MODEL, SOURCE)


def scaled(**strengths: float) -> HeadFit:
    return retargeted(MODEL, SOURCE, DRIVEN, Retargeting(**strengths), regions=REGIONS)


def test_full_strength_is_the_driven_head_itself():
    assert scaled() is DRIVEN


def test_no_strength_is_the_source_itself():
    still = scaled(**NONE)
    for name in ("expression", "jaw", "eyes", "eyelids", "neck", "rotation"):
        own = getattr(SOURCE.params, name).expand(2, -1)
        torch.testing.assert_close(getattr(still.params, name), own, atol=2e-5, rtol=0, msg=name)
    own = posed_vertices(MODEL, SOURCE).expand(2, -1, -1)
    torch.testing.assert_close(posed_vertices(MODEL, still), own, atol=5e-3, rtol=0)
    torch.testing.assert_close(still.residual, SOURCE.residual.expand(2, -1, -1), atol=5e-3, rtol=0)


def test_every_angle_by_itself():
    own, there = head_pose(SOURCE.params), head_pose(DRIVEN.params)
    made = head_pose(scaled(yaw=0.5, pitch=0.0, roll=1.5).params)
    expected = own + torch.tensor([0.5, 0.0, 1.5]) * (there - own)
    torch.testing.assert_close(made, expected, atol=1e-2, rtol=0)


def test_a_turned_neck_takes_its_share():
    neck = DRIVEN.params.neck + torch.tensor([[0.1, 0.3, 0.0]])
    driven = dataclasses.replace(DRIVEN, params=dataclasses.replace(DRIVEN.params, neck=neck))
    own, there = head_pose(SOURCE.params), head_pose(driven.params)
    made = retargeted(MODEL, SOURCE, driven, Retargeting(yaw=0.5, pitch=0.5, roll=0.5)).params
    torch.testing.assert_close(head_pose(made), (own + there) / 2, atol=1e-2, rtol=0)
    half = rotation_angle(
        axis_angle_to_matrix(made.neck), axis_angle_to_matrix(SOURCE.params.neck.expand(2, -1))
    )
    whole = rotation_angle(axis_angle_to_matrix(neck), axis_angle_to_matrix(SOURCE.params.neck.expand(2, -1)))
    torch.testing.assert_close(half, whole / 2, atol=1e-4, rtol=0)


def test_the_shorter_way_round():
    """Beyond 180 degrees of roll the head goes on, it does not turn back."""
    source = apply_pose(MODEL, SOURCE, Pose(roll=170, relative=False))
    driven = apply_pose(MODEL, SOURCE, Pose(roll=-170, relative=False))
    made = retargeted(MODEL, source, driven, Retargeting(roll=0.5))
    assert abs(float(head_pose(made.params)[0, 2])) > 179.9


def test_place_and_size_by_themselves():
    made = scaled(position=0.0)
    own = neck_pixels(MODEL, SOURCE.params, SOURCE.camera)
    torch.testing.assert_close(
        neck_pixels(MODEL, made.params, made.camera), own.expand(2, -1), atol=1e-2, rtol=0
    )
    torch.testing.assert_close(made.camera.scale, SOURCE.camera.scale.expand(2))
    torch.testing.assert_close(made.params.rotation, DRIVEN.params.rotation)
    half = scaled(position=0.5)
    torch.testing.assert_close(half.camera.scale, (SOURCE.camera.scale * DRIVEN.camera.scale).sqrt())
    turned = scaled(yaw=0.0)  # the neck stays where the driver's was while the head turns about it
    there = neck_pixels(MODEL, DRIVEN.params, DRIVEN.camera)
    torch.testing.assert_close(neck_pixels(MODEL, turned.params, turned.camera), there, atol=1e-2, rtol=0)


def at_landmarks(fit: HeadFit, points: tuple[int, ...]) -> torch.Tensor:
    """Corrected landmarks in pixels of a head as large as the source."""
    verts = corrected(posed_vertices(MODEL, fit), fit, FIELD)
    rows = [MODEL.landmarks["mediapipe"].indices.tolist().index(point) for point in points]
    return landmark_points(MODEL, verts, "mediapipe")[:, rows, :2]


def test_the_mouth_follows_and_the_eyes_stay():
    """With the residual, to a tenth of a pixel where landmarks are."""
    still = scaled(**{**NONE, "yaw": 1.0, "pitch": 1.0, "roll": 1.0, "position": 1.0})
    whole = dataclasses.replace(
        DRIVEN, params=dataclasses.replace(DRIVEN.params, eyelids=still.params.eyelids)
    )
    made = scaled(eyes=0.0, gaze=0.0, brows=0.0, rest=0.0)
    eyes, lips = (tuple(sorted(set(points))) for points in (LEFT_EYE_RIM, LIPS))
    assert (at_landmarks(whole, lips) - at_landmarks(still, lips)).norm(dim=-1).mean() > 2
    assert (at_landmarks(made, eyes) - at_landmarks(still, eyes)).norm(dim=-1).max() < 0.3
    assert (at_landmarks(made, lips) - at_landmarks(whole, lips)).norm(dim=-1).max() < 0.3


def test_lids_gaze_and_jaw_are_parts():
    made = scaled(eyes=0.5, mouth=0.0, gaze=2.0).params
    own, there = SOURCE.params, DRIVEN.params
    torch.testing.assert_close(made.eyelids, (own.eyelids + there.eyelids) / 2)
    torch.testing.assert_close(made.jaw, own.jaw.expand(2, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(made.eyes, 2 * there.eyes - own.eyes, atol=1e-2, rtol=0)
    assert scaled(eyes=2.0).params.eyelids.max() <= 1.1


def test_perspective_cameras():
    def seen(fit: HeadFit) -> HeadFit:
        camera = Perspective(torch.full((fit.frames, 2), 800.0), torch.full((fit.frames, 2), 128.0))
        depth = torch.tensor([[0.0, 0.0, -1.0]]).expand(fit.frames, 3) + 0.01 * fit.params.rotation
        return dataclasses.replace(
            fit, camera=camera, params=dataclasses.replace(fit.params, translation=depth)
        )

    source, driven = seen(SOURCE), seen(DRIVEN)
    still = retargeted(MODEL, source, driven, Retargeting(**NONE), regions=REGIONS)
    own = posed_vertices(MODEL, source).expand(2, -1, -1)
    torch.testing.assert_close(posed_vertices(MODEL, still), own, atol=2e-2, rtol=0)
    there = pixels_per_metre(driven.params, driven.camera)
    turned = retargeted(MODEL, source, driven, Retargeting(yaw=0.5), regions=REGIONS)
    torch.testing.assert_close(pixels_per_metre(turned.params, turned.camera), there, rtol=0.1, atol=0)
    with pytest.raises(HeadwarpError, match="one kind of camera"):
        retargeted(MODEL, SOURCE, driven, Retargeting(yaw=0.5))


def as_double(fit: HeadFit) -> HeadFit:
    def wide(item):
        values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
        return dataclasses.replace(
            item,
            **{
                name: v.double() for name, v in values.items() if torch.is_tensor(v) and v.is_floating_point()
            },
        )

    return dataclasses.replace(wide(fit), params=wide(fit.params), camera=wide(fit.camera))


def test_gradients_reach_the_driver():
    """Against finite differences, in the parts that are smooth."""
    turn = torch.tensor([[0.2, -0.3, 0.1]], dtype=torch.float64)
    model = copy.deepcopy(MODEL).double()
    source, driven = as_double(SOURCE), as_double(DRIVEN.select([0]))

    def moved(rotation: torch.Tensor, jaw: torch.Tensor) -> torch.Tensor:
        params = dataclasses.replace(driven.params, rotation=rotation, jaw=jaw)
        made = retargeted(
            model,
            source,
            dataclasses.replace(driven, params=params),
            Retargeting(yaw=0.5, mouth=0.5),
            regions=REGIONS,
        )
        return torch.cat([made.params.rotation, made.params.jaw])

    assert torch.autograd.gradcheck(moved, (turn.requires_grad_(), turn.detach().clone().requires_grad_()))


def test_errors_say_what_to_do():
    with pytest.raises(HeadwarpError, match="strength of mouth: expected 0 to 2, got 3"):
        Retargeting(mouth=3)
    with pytest.raises(HeadwarpError, match="strength of yaw"):
        Retargeting(yaw=float("nan"))
    half = Retargeting(mouth=0.5)
    with pytest.raises(HeadwarpError, match="expected a fit of one frame"):
        retargeted(MODEL, DRIVEN, DRIVEN, half)
    other = dataclasses.replace(DRIVEN, landmark_indices=DRIVEN.landmark_indices.flip(0))
    with pytest.raises(HeadwarpError, match="same landmarks"):
        retargeted(MODEL, SOURCE, other, half)
    with pytest.raises(ModelFileError):
        retargeted(MODEL, SOURCE, dataclasses.replace(DRIVEN, model_id="other"), half)
