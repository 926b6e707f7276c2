"""First-order motion about keypoints, and keypoints as a source of guidance."""

import pytest
import torch

from headwarp.geom.displacement import border
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.first_order import first_order_flows, keypoint_spacing
from headwarp.geom.flow import pixel_grid
from headwarp.geom.guidance import PRODUCERS, Driving, Source
from headwarp.geom.sources.keypoints import DenseMotionMaps, KeypointsSource, KeypointsSourceConfig

SIZE = (24, 32)
POINTS = torch.tensor([[[10.0, 8], [20, 8], [15, 12], [11, 17], [21, 17]]])
AFFINE = torch.tensor([[1.1, -0.2], [0.15, 0.9]])  # driving to source
SHIFT = torch.tensor([1.5, -2.0])
EYES = torch.eye(2).expand(1, 5, 2, 2)


def photo(**fields):
    return Source(image=torch.zeros(1, 3, *SIZE), keypoints=POINTS, **fields)


def moved(points=None, **fields):
    points = (POINTS - SHIFT) @ torch.linalg.inv(AFFINE).T if points is None else points
    return Driving(keypoints=points, **fields)


def guided(source, driving, config=None):
    maker = KeypointsSource(config)
    return maker.guide(maker.prepare(source), driving)


def affine_truth():
    grid = pixel_grid(SIZE)
    return torch.einsum("ij,bjhw->bihw", AFFINE, grid) + SHIFT[:, None, None] - grid


def test_one_affine_motion_of_all_keypoints_is_exact_where_known():
    jacobians = {"jacobians": AFFINE.expand(1, 5, 2, 2)}
    made = guided(photo(**jacobians), moved(jacobians=EYES))
    known = (made.known > 0.5).expand(-1, 2, -1, -1)
    assert known.float().mean() > 0.2
    torch.testing.assert_close(made.flow[known], affine_truth()[known], rtol=0, atol=1e-4)


def test_at_a_keypoint_its_own_motion_holds_without_jacobians():
    points = POINTS + torch.tensor([[3.0, 1], [0, 0], [-2, 0], [0, 2], [1, 1]])
    made = guided(photo(), moved(points), KeypointsSourceConfig(spread=0.1))
    for here, there in zip(points[0], POINTS[0], strict=True):
        x, y = here.long().tolist()
        torch.testing.assert_close(made.flow[0, :, y, x], there - here, rtol=0, atol=2e-2)


def test_at_rest_nothing_moves_and_the_border_rests_or_follows_the_camera():
    assert not guided(photo(jacobians=EYES), moved(POINTS, jacobians=EYES)).flow.any()
    edge = border(SIZE, "tblr", POINTS).expand(1, 2, -1, -1)
    near = KeypointsSourceConfig(reach=0.5)
    assert not guided(photo(), moved(), near).flow[edge].any()
    pan = torch.tensor([[[1.0, 0, -4], [0, 1, 2]]])
    panned = guided(photo(), moved(camera_motion=pan), near).flow
    assert panned[0, 0][edge[0, 0]].eq(-4).all()


def test_known_is_near_keypoints_within_the_frame_and_on_the_person():
    wide, narrow = (
        guided(photo(), moved(POINTS), KeypointsSourceConfig(reach=reach)).known for reach in (1.5, 0.5)
    )
    assert 0 < narrow.sum() < wide.sum()
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :16] = 1
    masked = guided(photo(mask=mask), moved(POINTS)).known
    assert masked[..., :15].any()
    assert not masked[..., 17:].any()
    away = guided(photo(), moved(POINTS - torch.tensor([40.0, 0.0])))
    assert not away.known.any()


def test_a_batch_of_drivers_and_of_pairs_is_its_frames():
    drives = torch.cat([POINTS, POINTS + 2, POINTS * 1.1])
    together = guided(photo(), moved(drives))
    pairs = guided(Source(image=torch.zeros(3, 3, *SIZE), keypoints=POINTS.expand(3, -1, -1)), moved(drives))
    for n in range(3):
        alone = guided(photo(), moved(drives[[n]]))
        torch.testing.assert_close(together.flow[[n]], alone.flow, rtol=0, atol=1e-5)
        torch.testing.assert_close(pairs.flow[[n]], alone.flow, rtol=0, atol=1e-5)


def test_missing_keypoints_have_no_say():
    holes = POINTS + 2.0
    holes[:, 0] = torch.nan
    made = guided(photo(), moved(holes))
    rest = Source(image=torch.zeros(1, 3, *SIZE), keypoints=POINTS[:, 1:])
    maker = KeypointsSource()
    state = maker.prepare(rest)
    state = type(state)(rest, keypoint_spacing(POINTS))
    torch.testing.assert_close(made.flow, maker.guide(state, moved(holes[:, 1:])).flow, rtol=0, atol=1e-5)
    nothing = guided(photo(), moved(torch.full_like(POINTS, torch.nan)))
    assert not nothing.known.any()
    assert not nothing.flow.any()


def test_a_networks_motion_is_the_guidance():
    flow, occlusion = torch.full((1, 2, *SIZE), 3.0), torch.full((1, 1, *SIZE), 0.25)
    seen = []

    def network(source, driving):
        seen.append((source, driving))
        return DenseMotionMaps(flow, occlusion)

    maker, source, driving = KeypointsSource(dense_motion=network), photo(), moved()
    made = maker.guide(maker.prepare(source), driving)
    assert seen == [(source, driving)]
    assert torch.equal(made.flow, flow)
    assert torch.equal(made.known[..., :-3, :-3], occlusion[..., :-3, :-3])
    assert not made.known[..., -3:].any()  # from beyond the frame


def test_a_jacobian_that_is_not_finite_counts_as_none():
    broken = EYES.clone()
    broken[:, 2] = torch.nan
    made, plain = (guided(photo(jacobians=EYES), moved(POINTS + 2, jacobians=j)) for j in (broken, EYES))
    assert torch.equal(made.flow, plain.flow)


def test_flows_are_taylors_first_two_terms():
    jacobians = AFFINE.expand(1, 5, 2, 2)
    made = first_order_flows(POINTS, POINTS + 1, jacobians, SIZE)
    at = torch.tensor([3.5, 7.5])
    expected = POINTS[0] + (at - POINTS[0] - 1) @ AFFINE.T - at
    torch.testing.assert_close(made[0, :, :, 7, 3], expected)
    with pytest.raises(
        ShapeError, match=r"expected \(5, 2\) in the driving frame as in the source, got \(4, 2\)"
    ):
        first_order_flows(POINTS, POINTS[:, 1:], None, SIZE)


def test_spacing_is_that_of_an_even_disc():
    angle = torch.linspace(0, 2 * torch.pi, 101)[:100]
    rings = [
        r * torch.stack([angle.cos(), angle.sin()], -1) for r in torch.linspace(0.005, 0.995, 100).sqrt()
    ]
    points = torch.cat(rings)[None] * 10  # 10,000 points evenly over a disc of radius 10
    torch.testing.assert_close(
        keypoint_spacing(points), torch.tensor([(torch.pi * 100 / 10000) ** 0.5]), rtol=1e-2, atol=0
    )
    torch.testing.assert_close(keypoint_spacing(points + 5), keypoint_spacing(points))


def test_missing_needs_name_their_producers():
    with pytest.raises(HeadwarpError) as caught:
        guided(photo(), Driving())
    assert str(caught.value) == (
        "keypoints source: Driving.keypoints: expected a tensor, got None; it is made by "
        + PRODUCERS["keypoints"]
    )
    with pytest.raises(HeadwarpError, match=r"keypoints source: Source\.keypoints"):
        KeypointsSource().prepare(Source(image=torch.zeros(1, 3, *SIZE)))
    with pytest.raises(ShapeError, match=r"keypoints: expected at least one, got \(1, 0, 2\)"):
        KeypointsSource().prepare(Source(image=torch.zeros(1, 3, *SIZE), keypoints=torch.zeros(1, 0, 2)))
