"""Parts of the face on a posed head: where they lie, whose side, in other poses and on other heads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from posed_fits import posed_fit

from headwarp.flame.face_parts import face_parts, render_parts
from headwarp.flame.io import load_head
from headwarp.flame.landmarks import LEFT_EYE_RIM, LIPS_INNER_LOWER, LIPS_OUTER_LOWER, RIGHT_EYE_RIM
from headwarp.flame.model import with_landmarks
from headwarp.flame.posing import posed_vertices
from headwarp.geom.errors import ModelFileError, ShapeError
from headwarp.geom.face_regions import FaceRegion

SIZE = (160, 160)


@pytest.fixture(scope="module")
def builtin():
    return load_head("builtin")


@pytest.fixture(scope="module")
def parts(builtin):
    return face_parts(builtin)


def shown(parts, fit):
    return render_parts(parts, posed_vertices(parts.head, fit), fit.size)


def centre(labels, region):
    rows, columns = np.nonzero(labels == region)
    assert len(rows), f"no {region.name}"
    return np.array([columns.mean(), rows.mean()]) + 0.5


def test_a_frontal_head_shows_every_part_where_it_belongs(parts):
    fit = posed_fit(parts.head, size=SIZE)
    labels = shown(parts, fit).labels
    points = fit.landmarks[0].numpy()
    order = fit.landmark_indices.tolist()

    def landmarks(*loop):
        return points[[order.index(index) for index in loop]]

    eye = landmarks(*RIGHT_EYE_RIM).mean(0)  # the subject's right is the picture's left
    np.testing.assert_allclose(centre(labels, FaceRegion.LEFT_EYE), eye, atol=1.5)
    np.testing.assert_allclose(
        centre(labels, FaceRegion.RIGHT_EYE), landmarks(*LEFT_EYE_RIM).mean(0), atol=1.5
    )
    lower = landmarks(*LIPS_INNER_LOWER[3:8], *LIPS_OUTER_LOWER[3:8]).mean(0)
    np.testing.assert_allclose(centre(labels, FaceRegion.LOWER_LIP), lower, atol=2)
    left, right = centre(labels, FaceRegion.LEFT_EAR), centre(labels, FaceRegion.RIGHT_EAR)
    assert left[0] < eye[0] < centre(labels, FaceRegion.NOSE)[0] < right[0]
    assert centre(labels, FaceRegion.LEFT_BROW)[1] < eye[1] < centre(labels, FaceRegion.UPPER_LIP)[1]
    assert centre(labels, FaceRegion.NECK)[1] > landmarks(152)[0, 1]


def test_scalp_is_skin_outside_the_face(parts):
    out = shown(parts, posed_fit(parts.head, size=SIZE))
    assert (out.labels[out.scalp] == FaceRegion.SKIN).all()
    face = (out.labels == FaceRegion.SKIN) & ~out.scalp
    assert 0.2 < out.scalp.sum() / face.sum() < 2
    assert np.nonzero(out.scalp)[0].min() < np.nonzero(face)[0].min()


def test_a_profile_hides_the_far_side(parts):
    """Yaw > 0 turns the nose to the picture's left: the picture's right eye and ear are near."""
    labels = shown(parts, posed_fit(parts.head, (80.0,), size=SIZE)).labels
    near, far = (int((labels == region).sum()) for region in (FaceRegion.RIGHT_EAR, FaceRegion.LEFT_EAR))
    assert near > 50
    assert far < near / 10
    back = shown(parts, posed_fit(parts.head, (180.0,), size=SIZE))
    features = np.isin(back.labels, [*range(2, 7), *range(10, 14)])
    assert not features.any()
    assert back.scalp.any()


def test_an_open_mouth_shows_its_inside(parts):
    fit = posed_fit(parts.head, size=SIZE)
    jaw = torch.tensor([[0.3, 0.0, 0.0]])
    opened = dataclasses.replace(fit, params=dataclasses.replace(fit.params, jaw=jaw))
    inside = [(shown(parts, one).labels == FaceRegion.MOUTH_INTERIOR).sum() for one in (fit, opened)]
    assert inside[1] > max(40, 3 * inside[0])


def test_a_frame_without_a_head_is_empty(parts):
    verts = torch.full((1, len(parts.head.template), 3), torch.nan)
    out = render_parts(parts, verts, (5, 7))
    assert out.labels.shape == (5, 7)
    assert not out.labels.any()
    with pytest.raises(ShapeError, match="expected"):
        render_parts(parts, verts[:, :9], (5, 7))


def test_a_head_without_the_oval_takes_the_hull_of_its_landmarks(builtin):
    """As FLAME's own 105 face-mesh points."""
    embedding = builtin.landmarks["mediapipe"]
    oval = torch.isin(embedding.indices, torch.tensor([10, 152, 234, 454]))
    fewer = type(embedding)(*(getattr(embedding, name)[~oval] for name in ("indices", "faces", "bary")))
    labels = shown(
        face_parts(with_landmarks(builtin, {"mediapipe": fewer})), posed_fit(builtin, size=SIZE)
    ).labels
    for region in (FaceRegion.NOSE, FaceRegion.LEFT_BROW, FaceRegion.UPPER_LIP, FaceRegion.NECK):
        assert (labels == region).any()


def test_a_head_without_landmarks_is_refused(builtin):
    ibug = {"ibug68": builtin.landmarks["ibug68"]}
    bare = with_landmarks(builtin, ibug)
    bare.landmarks = ibug
    with pytest.raises(ModelFileError, match="expected face-mesh landmarks of brows, nose and lips"):
        face_parts(bare)


def test_the_neck_of_a_head_without_masks_begins_under_the_jaw(builtin):
    bare = with_landmarks(builtin, dict(builtin.landmarks))
    bare.region_masks = {}
    fit = posed_fit(builtin, size=SIZE)
    labels = shown(face_parts(bare), fit).labels
    chin = fit.landmarks[0, fit.landmark_indices.tolist().index(152)].numpy()
    below = labels[int(chin[1]) + 3 :]
    assert (below[below > 0] == FaceRegion.NECK).all()
    assert not (labels[: int(chin[1]) - 20] == FaceRegion.NECK).any()
