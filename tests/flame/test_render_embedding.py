"""Face-mesh points found on a head by drawing it: against the built-in head's own; what is refused."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe
from toy_head import toy_head

from headwarp.flame._embedding_median import combined
from headwarp.flame._embedding_views import REACH, Hits, Stand, cast, draw_view, to_view
from headwarp.flame._face_paint import BROW, IRIS, SKIN, albedo, brow_strokes, head_parts
from headwarp.flame.io import load_head
from headwarp.flame.landmarks import (
    FACE_OVAL,
    INNER_LIP_LOOP,
    LEFT_IRIS,
    LIPS_INNER_LOWER,
    LIPS_INNER_UPPER,
    MEDIAPIPE_68,
    RIGHT_IRIS,
)
from headwarp.flame.model import HeadData, HeadModel, landmark_points, with_landmarks
from headwarp.flame.render_embedding import (
    EmbeddingConfig,
    distances_mm,
    embedding_pictures,
    render_embedding,
)
from headwarp.geom.errors import NoFaceError, ShapeError


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def bare(head):
    """The built-in head as a FLAME file is: no landmarks, no regions; its origin a metre and a half lower."""
    return HeadModel(
        HeadData(
            name="bare",
            template=head.template + torch.tensor([0.0, 1.5, 0.0]),
            faces=head.faces,
            shape_basis=head.shape_basis[..., :2],
            expression_basis=head.expression_basis[..., :2],
            joint_regressor=head.joint_regressor,
            weights=head.weights,
        )
    )


@pytest.fixture(scope="module")
def found(bare):
    return render_embedding(bare)


def on(values, embedding, faces):
    """Vertex values at the points of an embedding."""
    return torch.einsum("lk...,lk->l...", values[faces[embedding.faces]], embedding.bary.to(values))


# the whole way


@needs_mediapipe
def test_points_lie_where_the_head_has_them(head, bare, found):
    own = landmark_points(head, head.template[None], "mediapipe")[0].numpy() + [0, 1.5, 0]
    error = 1000 * np.linalg.norm(on(bare.template, found.mediapipe, bare.faces).numpy() - own, axis=1)
    rim = np.isin(np.arange(478), FACE_OVAL)
    assert np.median(error) < 1.5
    assert np.median(error[rim]) < 6
    assert error[~rim].max() < 10
    assert np.median(error[[*LEFT_IRIS, *RIGHT_IRIS]]) < 1.2


@needs_mediapipe
def test_irises_lie_on_the_eyeballs_and_the_face_on_the_skin(head, found):
    eyeball = {side: head.region_masks[f"{side}_eyeball"] for side in ("left", "right")}
    corners = head.faces[found.mediapipe.faces]
    for side, iris in (("left", LEFT_IRIS), ("right", RIGHT_IRIS)):
        assert eyeball[side][corners[list(iris)]].all()
    assert not (eyeball["left"] | eyeball["right"])[corners[:468]].any()


@needs_mediapipe
def test_upper_and_lower_lips_are_told_apart_though_they_touch(head, found):
    jaw = on(head.weights[:, 2], found.mediapipe, head.faces)
    middle = slice(3, -3)  # the corners belong to both
    assert jaw[list(LIPS_INNER_UPPER[middle])].max() < 0.2
    assert jaw[list(LIPS_INNER_LOWER[middle])].min() > 0.8


@needs_mediapipe
def test_what_is_said_of_the_views(found):
    numbers = found.numbers()
    assert (numbers["views"], numbers["views_with_face"]) == (15, 15)
    assert found.seen[[1, 4, 5]].tolist() == [15, 15, 15]  # the nose is seen from everywhere
    assert set(found.seen[list(INNER_LIP_LOOP)]) <= {1, 2, 3, 4, 5}  # by the views with an open mouth alone
    assert 0.5 < numbers["spread_mm_inner_median"] < 4 < numbers["spread_mm_90_percent"]


@needs_mediapipe
def test_the_68_are_rows_of_the_478(found):
    rows = list(MEDIAPIPE_68)
    assert torch.equal(found.ibug68.faces, found.mediapipe.faces[rows])
    assert torch.equal(found.ibug68.bary, found.mediapipe.bary[rows])
    assert found.ibug68.indices.tolist() == list(range(68))


@needs_mediapipe
def test_distances_are_against_the_heads_own_embeddings(head, bare, found):
    assert distances_mm(bare, found) == {}
    against = distances_mm(head, found)
    assert {family: len(mm) for family, mm in against.items()} == {"mediapipe": 478, "ibug68": 68}
    own = with_landmarks(bare, {"mediapipe": found.mediapipe})
    assert distances_mm(own, found)["mediapipe"].max() < 1e-3


@needs_mediapipe
def test_pictures_carry_the_points_inside(bare, found):
    pictures = embedding_pictures(bare, found, size=128)
    assert len(pictures) == 4
    for image, points in pictures:
        assert image.shape == (128, 128, 3)
        assert points.min() > 0
        assert points.max() < 128


@needs_mediapipe
def test_a_head_without_a_face_is_refused(bare):
    away = HeadModel(_data(bare, template=bare.template * torch.tensor([-1.0, 1.0, -1.0])))
    with pytest.raises(NoFaceError, match=r"expected a face on the head bare-.* seen from \+z with \+y up"):
        render_embedding(away)
    with pytest.raises(NoFaceError, match="a mesh of no size"):
        render_embedding(HeadModel(_data(bare, template=torch.zeros_like(bare.template))))


@needs_mediapipe
def test_too_few_views_are_refused(bare):
    with pytest.raises(NoFaceError, match="in at least 3 of 1 views of the head, found 1"):
        render_embedding(bare, EmbeddingConfig(yaws_deg=(0.0,), pitches_deg=(0.0,)))


def _data(model, **changed):
    arrays = {key: value for key, value in model.state_dict().items() if not key.startswith("joint_t")}
    return dataclasses.replace(
        HeadData(
            name=model.name,
            **{
                key: arrays[key]
                for key in (
                    *("template", "faces", "shape_basis", "expression_basis"),
                    *("joint_regressor", "weights"),
                )
            },
        ),
        **changed,
    )


@needs_mediapipe
def test_a_head_in_float64_is_drawn_the_same_and_left_as_it_is(bare, found):
    wide = copy.deepcopy(bare).double()
    again = render_embedding(wide)
    assert torch.equal(again.mediapipe.faces, found.mediapipe.faces)
    assert torch.allclose(again.mediapipe.bary, found.mediapipe.bary, atol=1e-6)
    assert wide.template.dtype == torch.float64
    assert len(embedding_pictures(wide, again, size=64)) == 4


# its parts


def test_eyeballs_without_masks_are_the_round_pieces(head, bare):
    named, shaped = head_parts(head), head_parts(bare)
    for own, by_shape in zip(named.eyeballs, shaped.eyeballs, strict=True):
        assert own.any()
        assert np.array_equal(own, by_shape)
    assert np.allclose(named.irises + [0, 1.5, 0], shaped.irises, atol=1e-6)


def test_a_head_in_one_piece_has_no_eyeballs():
    parts = head_parts(toy_head())
    assert not any(ball.any() for ball in parts.eyeballs)
    assert parts.skin.all()
    assert parts.irises.shape == (0, 3)


def test_brows_run_between_their_lines():
    points = np.zeros((478, 3))
    points[[70, 63, 105, 66, 107]] = [[x, 1.0, 0] for x in range(5)]
    points[[46, 53, 52, 65, 55]] = [[x, 0.5, 0] for x in range(5)]
    right = brow_strokes(points)[0]
    assert np.allclose(right, [[x, 0.75, 0.25] for x in range(5)])


def test_paint_goes_by_triangle_and_place(head):
    parts = head_parts(head)
    ball, skin = int(np.flatnonzero(parts.eyeballs[0])[0]), int(np.flatnonzero(parts.skin & ~parts.lips)[0])
    left = torch.from_numpy(parts.irises[0]).float()
    face = torch.tensor([[ball, ball, skin, skin]], dtype=torch.int32)
    brow = np.array([[-0.01, 0.03, 0.004]] * 4 + [[0.01, 0.03, 0.004]])
    place = torch.stack(
        [left + torch.tensor([0.004, 0, 0]), left + torch.tensor([0.007, 0, 0]), left * 0, left * 0], 1
    )
    place[:, 3] = torch.tensor([0.0, 0.033, float(left[2])])
    colours = albedo(parts, face, place[:, None].clone(), brows=[brow])[:, 0].T
    assert np.allclose(colours[0], IRIS)
    assert not np.allclose(colours[1], IRIS)
    assert np.allclose(colours[2], SKIN)
    assert np.allclose(colours[3], BROW)


@pytest.fixture
def square():
    """A wall of two triangles 10 cm wide at z = 0, facing +z, and a copy behind it that faces away."""
    corners = torch.tensor([[-0.05, -0.05, 0.0], [0.05, -0.05, 0], [0.05, 0.05, 0], [-0.05, 0.05, 0]])
    template = torch.cat([corners, corners + torch.tensor([0.2, 0, 0])])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 6, 5], [4, 7, 6]])
    return HeadModel(
        HeadData(
            name="wall",
            template=template,
            faces=faces,
            shape_basis=torch.zeros(8, 3, 1),
            expression_basis=torch.zeros(8, 3, 1),
            joint_regressor=torch.full((5, 8), 1 / 8),
            weights=torch.eye(5)[torch.zeros(8, dtype=torch.long)],
        )
    )


def _look(model, **angles):
    stand = Stand(torch.tensor([0.0, 0.0, 0.0]), 1000.0, 200)  # a millimetre a pixel
    return draw_view(model, model.template, head_parts(model), stand, **angles), stand


def test_a_cast_returns_the_point_that_was_projected(square):
    place = torch.tensor([[0.013, -0.021, 0.0], [-0.031, 0.007, 0.0]])
    for angles in ({"yaw_deg": 0.0, "pitch_deg": 0.0}, {"yaw_deg": 20.0, "pitch_deg": -10.0}):
        view, stand = _look(square, **angles)
        points = to_view(place, stand, **angles)[:, :2].double().numpy()
        hits = cast(view, square.faces.numpy(), points, np.ones(4, bool))
        assert hits.hit.all()
        found = hits.points(square.template.double().numpy(), square.faces.numpy())
        assert np.allclose(found, place, atol=1e-6)


def test_yaw_above_zero_turns_to_the_pictures_left(square):
    _, stand = _look(square)
    nose = to_view(torch.tensor([[0.0, 0.0, 0.05]]), stand, yaw_deg=20.0, pitch_deg=0.0)[0]
    assert nose[0] < 100
    assert to_view(torch.tensor([[0.0, 0.0, 0.05]]), stand, yaw_deg=0.0, pitch_deg=20.0)[0, 1] > 100


def test_a_point_beside_the_mesh_takes_its_edge_or_nothing(square):
    view, _ = _look(square)
    edge = 150.0  # the wall ends here, the picture's middle is 100
    points = np.array([[edge + REACH - 2, 100.0], [edge + REACH + 2, 100.0], [np.nan, 100.0], [-5.0, 3.0]])
    hits = cast(view, square.faces.numpy(), points, np.ones(4, bool))
    assert hits.hit.tolist() == [True, False, False, False]
    place = hits.points(square.template.double().numpy(), square.faces.numpy())
    assert place[0, 0] == pytest.approx(0.0495, abs=1e-4)  # the centre of its last pixel
    assert np.isnan(place[1:]).all()


def test_only_allowed_triangles_that_face_the_camera_are_hit(square):
    view, _ = _look(square)
    points = np.array([[90.0, 60.0], [110.0, 140.0]])  # upper left triangle, lower right one
    both = cast(view, square.faces.numpy(), points, np.ones(4, bool))
    assert both.faces.tolist() == [1, 0]
    one = cast(view, square.faces.numpy(), points, np.array([True, False, True, True]))
    assert one.hit.tolist() == [False, True]
    away = HeadModel(_data(square, faces=square.faces.flip(1)))
    assert not cast(_look(away)[0], away.faces.numpy(), points, np.ones(4, bool)).hit.any()


def test_the_median_is_taken_over_the_views_that_hit(square):
    def seen(x: float, hit: bool = True) -> Hits:
        bary = np.tile([0.5 - x, x, 0.5], (478, 1))
        return Hits(np.zeros(478, np.int64), bary, np.full(478, hit))

    prior = np.tile([-0.04, 0.04, 0.01], (478, 1))
    parts = head_parts(square)
    shut = [seen(0.1), seen(0.2), seen(0.45), seen(0.0, hit=False)]
    made = combined(square, parts, prior, shut=shut, wide=[], views=9)
    assert made.views == (9, 4)
    assert set(made.seen) == {3}
    assert np.allclose(made.mediapipe.bary, [[0.3, 0.2, 0.5]], atol=1e-6)
    assert made.spread_mm == pytest.approx(np.full(478, np.sqrt((10**2 + 25**2) / 3)), rel=1e-6)
    nowhere = combined(square, parts, prior, shut=[seen(0.1, hit=False)], wide=[], views=1)
    assert np.isnan(nowhere.spread_mm).all()
    corner = on(square.template, nowhere.mediapipe, square.faces)
    assert np.allclose(corner, [[-0.04, 0.04, 0.0]], atol=1e-6)  # an average face's place, on the surface


def test_landmarks_are_exchanged_without_touching_the_head(head, found):
    twin = with_landmarks(head, {"mediapipe": found.mediapipe}).double()
    assert sorted(head.landmarks) == ["ibug68", "mediapipe"]
    assert head.template.dtype == torch.float32
    assert twin.template.dtype == twin.landmarks["mediapipe"].bary.dtype == torch.float64
    assert twin.model_id == head.model_id
    beyond = dataclasses.replace(found.mediapipe, faces=found.mediapipe.faces + 10**6)
    with pytest.raises(ShapeError, match="indices below"):
        with_landmarks(head, {"mediapipe": beyond})
