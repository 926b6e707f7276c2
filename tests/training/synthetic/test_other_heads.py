"""People on heads that name no parts, and on heads that cannot be people."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from headwarp.flame.io import load_head
from headwarp.flame.landmarks import FACE_OVAL
from headwarp.flame.model import HeadModel, LandmarkEmbedding
from headwarp.geom.errors import ModelFileError
from headwarp.training.data.synthetic import Material, Recipe, synthesise, truth_of
from headwarp.training.data.synthetic.traits import draw_traits


def without(head: HeadModel, *, masks: bool = True, points: tuple[int, ...] = ()) -> HeadModel:
    """The head without region masks, or without some of its face-mesh points."""
    twin = copy.copy(head)
    if masks:
        twin.region_masks = {}
    own = head.landmarks["mediapipe"]
    keep = ~torch.isin(own.indices, torch.tensor(points))
    twin.landmarks = {"mediapipe": LandmarkEmbedding(own.indices[keep], own.faces[keep], own.bary[keep])}
    return twin


def test_a_head_without_region_masks_has_eyes_hair_and_teeth():
    number = next(n for n in range(40) if draw_traits(87, seed=4, number=n).hair_style == "short")
    clip = synthesise(without(load_head("builtin")), Recipe(seed=4, number=number, frames=1, size=96))
    picture, label = clip.picture(0), truth_of(clip.view(0)).label
    assert picture.std() > 20
    assert {int(Material.SKIN), int(Material.EYE), int(Material.CLOTH)} <= set(label.unique().tolist())
    assert {int(Material.HAIR), int(Material.TEETH)} <= set(clip.person.material.unique().tolist())
    assert np.isfinite(clip.view(0).verts.numpy()).all()


def test_a_head_without_the_points_of_the_face_is_refused_with_a_remedy():
    head = without(load_head("builtin"), points=FACE_OVAL)
    with pytest.raises(
        ModelFileError, match=r"face-mesh points of eyes, lips and face oval.*convert landmarks"
    ):
        synthesise(head, Recipe(seed=0, number=0))
