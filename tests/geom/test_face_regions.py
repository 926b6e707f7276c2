"""The regions of a face picture: numbers of the public parsers, partitions of the head, mirroring."""

import numpy as np
import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.geom.face_regions import (
    COARSE_CORRESPONDENCE_REGIONS,
    CORRESPONDENCE_REGIONS,
    HEAD,
    MIRRORED,
    REGION_NAMES,
    FaceRegion,
    check_labels,
    flip_labels,
    regions_mask,
)

PARSER_ORDER = (
    *("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r"),
    *("nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat"),
)
"""As the public parsers write them."""


def test_numbers_are_those_of_the_public_parsers():
    spelled = {
        "background": "background",
        "eye_g": "glasses",
        "ear_r": "earring",
        "mouth": "mouth interior",
        "neck_l": "necklace",
        "u_lip": "upper lip",
        "l_lip": "lower lip",
    }
    sides = {"l": "left", "r": "right"}
    expected = [
        spelled.get(name) or " ".join(sides.get(word, word) for word in name.split("_"))
        for name in PARSER_ORDER
    ]
    assert list(REGION_NAMES) == expected
    assert sorted(HEAD) == [*range(1, 14), 17, 18]


@pytest.mark.parametrize("groups", [CORRESPONDENCE_REGIONS, COARSE_CORRESPONDENCE_REGIONS])
def test_groups_are_a_partition_of_the_head(groups):
    members = [region for group in groups.values() for region in group]
    assert len(members) == len(set(members))
    assert set(members) == HEAD


def test_each_group_lies_in_one_coarse_group():
    for name, regions in CORRESPONDENCE_REGIONS.items():
        around = [coarse for coarse in COARSE_CORRESPONDENCE_REGIONS.values() if regions <= coarse]
        assert len(around) == 1, name


def test_mirror_exchanges_sides_and_is_its_own_inverse():
    assert MIRRORED[FaceRegion.LEFT_EAR] is FaceRegion.RIGHT_EAR
    assert MIRRORED[FaceRegion.UPPER_LIP] is FaceRegion.UPPER_LIP
    assert sum(MIRRORED[region] != region for region in FaceRegion) == 6
    labels = torch.arange(19).repeat(2, 3, 1)
    flipped = flip_labels(labels)
    assert torch.equal(flip_labels(flipped), labels)
    assert flipped[0, 0, -1 - FaceRegion.LEFT_EYE] == FaceRegion.RIGHT_EYE


def test_mask_of_regions_in_every_shape_and_type():
    labels = torch.tensor([[1, 14], [17, 0]])
    for dtype in (torch.uint8, torch.int64):
        mask = regions_mask(labels.to(dtype)[None], HEAD)
        assert mask.tolist() == [[[True, False], [True, False]]]
    with pytest.raises(ShapeError, match="0 to 18, got 0 to 19"):
        regions_mask(torch.tensor([0, 19]), HEAD)
    with pytest.raises(ShapeError, match="got -1 to 0"):
        flip_labels(torch.tensor([[0, -1]]))


def test_label_maps_are_checked():
    good = np.zeros((2, 3), np.uint8)
    assert check_labels(good) is good
    for bad, text in (
        (np.zeros((2, 3), np.int64), "uint8, got"),
        (np.zeros((2, 3, 1), np.uint8), "expected"),
        (np.full((2, 3), 19, np.uint8), "got 19"),
    ):
        with pytest.raises(ShapeError, match=text):
            check_labels(bad)
