"""The camera's motion through a clip: followed where enough background shows, None while it stands."""

import pytest
import torch
from toy_mesh import texture
from toy_scene import VERTS, person

from headwarp.geom.alignment import affine_flow
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.flow import warp
from headwarp.geom.guidance import Source
from headwarp.training.data.camera_motion import CameraMotion

SIZE = (64, 72)


def photo(**fields):
    return Source(**{"image": texture(SIZE, cell=9), "mask": person(), "posed_vertices": VERTS, **fields})


def panned(image, x, y):
    """What a camera sees whose pixel p shows the picture at p + (x, y)."""
    return warp(image, affine_flow(torch.tensor([[[1.0, 0, x], [0, 1, y]]]), SIZE))


def test_a_pan_is_followed_frame_by_frame():
    source = photo()
    camera = CameraMotion(source)
    for x, y in ((0.8, -0.5), (1.6, -1.0), (2.4, -1.5), (3.2, -2.0)):
        found = camera.follow(panned(source.image, x, y))
        assert found.shape == (1, 2, 3)
        torch.testing.assert_close(found[0, :, 2], torch.tensor([x, y]), rtol=0, atol=0.35)
        torch.testing.assert_close(found[0, :, :2], torch.eye(2), rtol=0, atol=0.02)


def test_a_camera_that_stands_gives_none_also_after_it_moved():
    source = photo()
    camera = CameraMotion(source)
    assert camera.follow(source.image) is None
    assert camera.follow(panned(source.image, 2.0, 0.0)) is not None
    assert camera.follow(source.image) is None


def test_without_background_there_is_nothing_to_follow():
    camera = CameraMotion(photo(mask=torch.ones(1, 1, *SIZE)))
    assert not camera.enough
    assert camera.follow(panned(photo().image, 3.0, 0.0)) is None


@pytest.mark.parametrize("need", ["image", "mask", "posed_vertices"])
def test_a_missing_field_names_its_producer(need):
    with pytest.raises(HeadwarpError, match=rf"camera motion: Source\.{need}: expected a tensor, got None"):
        CameraMotion(photo(**{need: None}))


def test_a_frame_by_itself_neither_remembers_nor_is_remembered():
    source = photo()
    camera = CameraMotion(source)
    alone = camera.of_frame(panned(source.image, 1.6, -1.0))
    assert camera.motion is None
    camera.follow(panned(source.image, -3.0, 2.0))
    again = camera.of_frame(panned(source.image, 1.6, -1.0))
    torch.testing.assert_close(again, alone, rtol=0, atol=0)
    assert CameraMotion(source).of_frame(source.image) is None
    assert CameraMotion(photo(mask=torch.ones(1, 1, *SIZE))).of_frame(source.image) is None
