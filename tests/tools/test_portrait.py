"""Pictures as callers have them: every kind is read as the same frames."""

import numpy as np
import pytest
import torch
from face_pictures import portrait
from PIL import Image

from headwarp.geom.errors import ShapeError
from headwarp.tools.portrait import as_frames

FRAME = portrait()
BYTES = torch.from_numpy(FRAME).permute(2, 0, 1)
KINDS = {
    "numpy bytes": FRAME,
    "numpy floats": FRAME / 255,
    "numpy clip": FRAME[None],
    "torch bytes": BYTES,
    "torch floats": BYTES.float() / 255,
    "torch clip": BYTES[None],
    "PIL": Image.fromarray(FRAME),
    "list": [FRAME],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_alike(kind):
    (read,) = as_frames(KINDS[kind])
    assert read.dtype == np.uint8
    assert np.array_equal(read, FRAME)


def test_a_path_is_read(tmp_path):
    Image.fromarray(FRAME).save(tmp_path / "a.png")
    (read,) = as_frames(tmp_path / "a.png")
    assert np.array_equal(read, FRAME)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), torch.zeros(4, 4, 3), np.zeros((4, 4, 3), int), 7])
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ShapeError, match="frames: expected"):
        list(as_frames(wrong))
