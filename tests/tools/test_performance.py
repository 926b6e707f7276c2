"""Portraits performed: tensors reach the device, windows go back, names are checked early."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from face_pictures import noise
from toy_fit import toy_fit
from toy_head import toy_head

from headwarp.flame.params import Pose
from headwarp.flame.posing import apply_pose, window_fit
from headwarp.flame.residual import residual_field
from headwarp.geom.crops import Crop, crop_image
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Driving, Guidance
from headwarp.tools.performance import (
    check_output,
    full_frames,
    has_weights,
    on_device,
    perform,
    progress,
    provenance_facts,
    provenance_of,
    windows,
)
from headwarp.training.data.portrait import Portrait, to_image
from headwarp.training.data.provenance import COMPOSITE_WITH_TRAINED, ENHANCED
from headwarp.warping.animators import Animation, load_animator
from headwarp.warping.inference import prepare_animator_
from headwarp.warping.progressive import official
from headwarp.warping.pwm import PwmConfig

HEAD = toy_head()
CROP = Crop(60.0, 40.0, 128.0)
PHOTO = noise(240, 256)
SIZE = 64


@pytest.fixture(scope="module")
def portrait():
    fit = window_fit(toy_fit(HEAD), CROP, SIZE)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 16:48, 20:44] = 1
    image = crop_image(to_image(PHOTO), CROP, SIZE)
    return Portrait(HEAD, image, fit, mask, residual_field(HEAD, fit.landmark_indices), CROP)


class Blank(torch.nn.Module):
    """Paints the given grey; remembers what it saw."""

    needs_source, needs_driving = ("image",), ("posed_vertices",)

    def __init__(self, level=0.0, occlusion=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(level))
        self.occlusion, self.seen = occlusion, []

    def encode(self, sources):
        self.sources = sources
        return sources[0].image

    def animate(self, cache, driving):
        self.seen.append(driving)
        return Animation(image=self.weight.expand_as(cache), occlusion=self.occlusion)

    def explain(self, cache, driving):
        return {}


@pytest.mark.parametrize("count", [1, 3])
def test_frames_are_made_as_they_are_asked_for(portrait, count):
    fit = apply_pose(HEAD, portrait.fit, [Pose(yaw=5.0 * i) for i in range(count)])
    animator = Blank(0.5)
    frames = windows(perform([portrait], fit, animator))
    assert animator.seen == []
    assert next(frames).tolist() == np.full((SIZE, SIZE, 3), 128).tolist()
    assert len(animator.seen) == 1
    assert len(list(frames)) == count - 1
    assert len(animator.sources) == 1


def test_driving_pictures_are_handed_over_in_step(portrait):
    fit = apply_pose(HEAD, portrait.fit, [Pose()] * 2)
    pictures = [torch.full((1, 3, SIZE, SIZE), float(index)) for index in range(2)]
    animator = Blank()
    assert len(list(perform([portrait], fit, animator, images=iter(pictures)))) == 2
    assert [float(driving.image.mean()) for driving in animator.seen] == [0.0, 1.0]


def test_tensors_go_to_the_device_nested_ones_too(portrait):
    guidance = Guidance(*(torch.zeros(1, channels, 2, 2) for channels in (2, 1, 1)))
    moved = on_device(Driving(landmarks=torch.zeros(1, 3, 2), guidance=guidance), torch.device("meta"))
    assert moved.landmarks.is_meta
    assert moved.guidance.flow.is_meta
    assert moved.image is None
    animator = Blank()
    animations = perform([portrait], portrait.fit, animator, device="meta")
    assert animator.weight.is_meta
    assert next(iter(animations)).image.is_meta
    assert animator.seen[0].posed_vertices.is_meta


def test_the_photo_keeps_its_bits_where_nobody_is(portrait):
    occlusion = torch.zeros(1, 1, SIZE, SIZE)
    occlusion[..., 30:40, 40:56] = 1  # moved to the right of the mask
    animations = perform([portrait], portrait.fit, Blank(0.0, occlusion))
    (made,) = full_frames(PHOTO, portrait, animations)
    assert (made.shape, made.dtype) == (PHOTO.shape, np.uint8)
    scale = int(CROP.side) // SIZE
    was = made[40 + 20 * scale : 40 + 44 * scale, 60 + 24 * scale : 60 + 40 * scale]
    now = made[40 + 32 * scale : 40 + 38 * scale, 60 + 46 * scale : 60 + 52 * scale]
    assert was.max() == now.max() == 0
    far = np.ones(PHOTO.shape[:2], bool)
    far[40 + 10 * scale : 40 + 54 * scale, 60 + 14 * scale : 60 + 62 * scale] = False
    assert (made[far] == PHOTO[far]).all()


def test_without_occlusion_the_whole_window_is_pasted(portrait):
    (made,) = full_frames(PHOTO, portrait, perform([portrait], portrait.fit, Blank(0.0)))
    assert made[60:148, 80:168].max() == 0
    assert (made[:40] == PHOTO[:40]).all()


def test_a_portrait_of_the_whole_photo_is_its_own_frame(portrait):
    import dataclasses

    whole = dataclasses.replace(portrait, crop=None)
    (made,) = full_frames(PHOTO, whole, perform([whole], whole.fit, load_animator("copy")))
    assert made.shape == (SIZE, SIZE, 3)


def test_provenance_names_files_by_their_content_and_the_kind_of_work(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    record = provenance_of("geometry", inputs=[tmp_path / "a.png", tmp_path, None], moved_pixels_only=True)
    assert (len(record.inputs), record.digital_source_type) == (1, ENHANCED)
    assert provenance_of("pwm").digital_source_type == COMPOSITE_WITH_TRAINED
    assert provenance_facts(record) == "algorithmicallyEnhanced"
    assert provenance_facts(None) == "none, as asked"


def test_outputs_are_checked_by_name(tmp_path):
    assert check_output(tmp_path / "A.PNG", (".png",), what="x") == tmp_path / "A.PNG"
    with pytest.raises(HeadwarpError, match=r"a name in \.png, \.jpg for one picture, got a"):
        check_output(tmp_path / "a", (".png", ".jpg"), what="one picture")


def test_progress_passes_everything_on_and_is_quiet_where_nobody_watches(capsys):
    frames = [noise(4, 4, seed=index) for index in range(3)]
    assert all(a is b for a, b in zip(progress(iter(frames), 3, "count"), frames, strict=True))
    assert capsys.readouterr().err == ""


def test_a_network_has_weights_when_all_of_them_are_packed_too():
    """Else the edit of a trained network would be recorded as one that only moved the photo's pixels."""
    network = dataclasses.replace(official(), width=8, max_channels=80, min_channels=8)
    animator = load_animator("pwm", config=PwmConfig(network=network))
    assert has_weights(animator)
    assert has_weights(prepare_animator_(animator))
    for name in ("geometry", "tps", "copy"):
        assert not has_weights(load_animator(name))
