"""The pose of a swapped head, mended by what its picture shows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from face_pictures import needs_mediapipe, portrait

from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import swap_pose
from headwarp.tools.swap_pose import MOST_TURN, nearest_turn
from headwarp.tools.swap_scene import SceneOptions, open_scene
from headwarp.warping.swap_engines import load_engine

WANTED = torch.tensor([0.02, 0.06, -0.01])


def test_the_turn_is_found_though_half_of_it_is_seen():
    turn = nearest_turn(lambda turn: (WANTED - 0.5 * turn)[None], 12)
    assert torch.allclose(0.5 * turn, WANTED, atol=2e-3)


def test_one_frame_that_is_far_off_does_not_matter():
    def missing(turn):
        return torch.stack([WANTED - turn, WANTED - turn, torch.full((3,), 2.0)])

    assert torch.allclose(nearest_turn(missing, 6), WANTED, atol=1e-3)


def test_what_makes_it_worse_is_not_taken():
    assert not nearest_turn(lambda turn: (WANTED + turn)[None], 3).any()
    assert not nearest_turn(lambda turn: torch.zeros(0, 3), 3).any()


def test_a_turn_has_a_limit():
    far = torch.tensor([0.0, 1.0, 0.0])
    assert float(nearest_turn(lambda turn: (far - turn)[None], 5).norm()) == pytest.approx(MOST_TURN)
    assert math.degrees(MOST_TURN) < 10


@needs_mediapipe
def test_a_head_that_was_turned_is_turned_back():
    """The swap is told a target whose fit is 4 degrees off: the picture is mended to what the fit says."""
    options = SceneOptions(size=128, pose_rounds=0)
    model = load_head("builtin")
    scene = open_scene(portrait(), portrait(), load_engine(), model, options)
    assert scene.turn is None
    off = torch.tensor([[0.0, math.radians(4), 0.0]])
    params = replace(scene.fit.params, rotation=scene.fit.params.rotation + off)
    moved = replace(scene, fit=replace(scene.fit, params=params))
    samples = swap_pose._samples(moved)
    before, after = (
        float(swap_pose._missing(moved, samples, turn, "mediapipe").norm())
        for turn in (torch.zeros(3), swap_pose.seen_turn(moved, landmarks="mediapipe"))
    )
    assert after < max(0.7 * before, math.radians(0.4))


def test_a_number_of_rounds_below_none_is_told():
    with pytest.raises(HeadwarpError, match=r"--pose-rounds: expected 0 or more, got -1"):
        open_scene(portrait(), portrait(), load_engine(), load_head("builtin"), SceneOptions(pose_rounds=-1))
