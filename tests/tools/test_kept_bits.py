"""Whole frames before they are encoded: where nothing of the head changed, every bit is the source's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from face_pictures import needs_mediapipe, sway

from headwarp.flame.driving import Transfer
from headwarp.flame.io import load_head
from headwarp.flame.params import Pose
from headwarp.tools import head_motion
from headwarp.tools.drivers import Driver
from headwarp.tools.faces import fit_frames
from headwarp.tools.filmed_head import film, with_head_driven
from headwarp.tools.motion_options import Motion
from headwarp.warping.animators import load_animator
from headwarp.warping.composite import CHANGE

POSES = (Pose(yaw=12.0), Pose(jaw=0.6))
DRIVER = Driver(None, POSES, None, 25)
SOFT = 0.1  # of the window's side: further than that from what changed, no mask reaches


class Recorder:
    """The geometry animator, whose windows are remembered."""

    def __init__(self):
        self.inner, self.made = load_animator("geometry", None), []
        self.needs_driving, self.needs_source = self.inner.needs_driving, self.inner.needs_source

    def encode(self, sources):
        return self.inner.encode(sources)

    def animate(self, cache, driving):
        self.made.append(self.inner.animate(cache, driving))
        return self.made[-1]


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


def may_change(shape, crop, before, after):
    """(H, W): within reach of a pixel of the window that changed."""
    side = int(crop.side)
    times, rest = divmod(before.shape[-1], side)
    assert (crop.x, crop.y, crop.side, rest) == (int(crop.x), int(crop.y), side, 0)  # pixels lie on pixels
    changed = ((after - before).abs().amax(1, keepdim=True) > CHANGE).float()
    reach = round(SOFT * side)
    near = F.max_pool2d(F.max_pool2d(changed, times), 2 * reach + 1, stride=1, padding=reach)
    whole = np.zeros((shape[0] + 2 * side, shape[1] + 2 * side), bool)  # the window may leave the picture
    whole[int(crop.y) + side :, int(crop.x) + side :][:side, :side] = near[0, 0].bool().numpy()
    return whole[side : side + shape[0], side : side + shape[1]]


def as_photo(head, frames, recorder):
    """(source, made, crop, window before) of a photo in each pose."""
    performance = head_motion.prepare(frames[0], DRIVER, head, size=None)
    stage = head_motion.stage(head_motion.resting(performance), recorder)
    portrait = performance.portraits[0]
    made = stage.pasted(recorder.animate(stage.cache, each) for each in stage.drivings())
    return [(frames[0], each, portrait.crop, portrait.image) for each in made]


def as_clip(head, frames, recorder):
    """The same of a clip of which every frame takes another pose."""
    filmed = film(head, fit_frames(iter(frames), head), DRIVER, Transfer(), motion=Motion())
    made = with_head_driven(frames, [(0, 0), (1, 1)], filmed, recorder)
    portraits = [filmed.portrait(frame, number) for number, frame in enumerate(frames)]
    return [
        (frame, each, portrait.crop, portrait.image)
        for frame, each, portrait in zip(frames, made, portraits, strict=True)
    ]


@needs_mediapipe
@pytest.mark.parametrize("source", [as_photo, as_clip])
def test_what_is_not_near_a_change_keeps_every_bit(source, head):
    recorder = Recorder()
    shown = source(head, sway(2), recorder)
    assert len(shown) == len(recorder.made) == 2
    for (frame, made, crop, before), animation in zip(shown, recorder.made, strict=True):
        allowed = may_change(frame.shape, crop, before, torch.as_tensor(animation.image))
        differs = (frame != made).any(2)
        assert differs.sum() > 500  # the head moved
        assert (~allowed).mean() > 0.2  # and there is a background to keep
        assert not (differs & ~allowed).any()
