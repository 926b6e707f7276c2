"""Region maps: rendered from a fit on a painted person, from a parser's weights, from the user's own maps."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from painted_persons import SKIN, painted_person
from PIL import Image
from posed_fits import posed_fit

from headwarp.flame.detect.parsers import ParsingSegmenter
from headwarp.flame.detect.regions import RegionMap, load_segmenter, soft_head
from headwarp.flame.face_parts import face_parts
from headwarp.flame.io import load_head
from headwarp.flame.params import MISSING
from headwarp.geom.errors import HeadwarpError, MediaError, ModelFileError, ShapeError
from headwarp.geom.face_regions import HEAD, FaceRegion
from headwarp.geom.nets.bisenet import BiSeNet
from headwarp.geom.nets.weights import Backbone

SIZE = (128, 112)


@pytest.fixture(scope="module")
def builtin():
    return load_head("builtin")


@pytest.fixture(scope="module")
def rendered(builtin):
    return load_segmenter("rendered", head=builtin)


@pytest.fixture(scope="module")
def fit(builtin):
    return posed_fit(builtin, size=SIZE)


@pytest.fixture(scope="module")
def painted(builtin, fit):
    return painted_person(face_parts(builtin), fit)


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


# rendered


def test_hair_cloth_and_head_are_found_on_a_painted_person(rendered, fit, painted):
    out = rendered.segment(painted.image, fit=fit, person=painted.person)
    assert overlap(out.labels == FaceRegion.HAIR, painted.hair) > 0.9
    assert overlap(out.labels == FaceRegion.CLOTH, painted.cloth) > 0.9
    for region in (FaceRegion.LEFT_EYE, FaceRegion.NOSE, FaceRegion.LOWER_LIP, FaceRegion.NECK):
        assert (out.labels == region).any()
    assert not out.labels[painted.person == 0].any()
    assert out.origin.startswith("rendered from builtin")


def test_the_head_is_soft_at_its_outline_and_sure_inside(rendered, fit, painted):
    out = rendered.segment(painted.image, fit=fit, person=painted.person)
    inside = np.isin(out.labels, [int(region) for region in HEAD])
    assert out.head.dtype == np.float32
    assert 0 <= out.head.min() <= out.head.max() <= 1
    assert out.head[inside].mean() > 0.9
    assert out.head[~inside].mean() < 0.05
    assert ((out.head > 0.1) & (out.head < 0.9)).any()


def test_a_bald_scalp_is_skin(rendered, fit, builtin):
    bald = painted_person(face_parts(builtin), fit, hair=None)
    out = rendered.segment(bald.image, fit=fit, person=bald.person)
    assert (out.labels == FaceRegion.HAIR).sum() < 0.01 * (out.labels == FaceRegion.SKIN).sum()


def test_hair_of_another_colour_or_in_grey(rendered, fit, builtin):
    blond = painted_person(face_parts(builtin), fit, hair=(225, 200, 140))
    grey = painted_person(face_parts(builtin), fit)
    luma = np.repeat(grey.image.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    for image, truth in ((blond.image, blond), (luma, grey)):
        out = rendered.segment(image, fit=fit, person=truth.person)
        assert overlap(out.labels == FaceRegion.HAIR, truth.hair) > 0.8


def test_a_hand_of_skin_beside_the_head_is_not_of_the_head(rendered, fit, painted):
    image, person = painted.image.copy(), painted.person.copy()
    image[100:113, :17], person[100:113, :17] = SKIN, 1
    out = rendered.segment(image, fit=fit, person=person)
    assert out.head[101:112, :14].max() < 0.1


def test_another_person_s_hair_is_not_taken(rendered, builtin):
    """A dark patch of the mask that does not hang on the head, in a wide picture."""
    fit = posed_fit(builtin, size=(160, 400))
    one = painted_person(face_parts(builtin), fit)
    image, person = one.image.copy(), one.person.copy()
    image[20:70, 330:380], person[20:70, 330:380] = (60, 40, 25), 1
    out = rendered.segment(image, fit=fit, person=person)
    assert out.head[20:70, 330:380].max() < 0.2
    assert overlap(out.labels == FaceRegion.HAIR, one.hair) > 0.85


def test_frames_without_a_head_are_background(rendered, fit, painted):
    lost = dataclasses.replace(fit, status=torch.full((1,), MISSING, dtype=torch.int8))
    out = rendered.segment(painted.image, fit=lost, person=painted.person)
    assert not out.labels.any()
    assert not out.head.any()


def test_heads_that_leave_the_picture(rendered, builtin):
    for shift in ((-35.0, 0.0), (0.0, -28.0), (28.0, 40.0)):
        fit = posed_fit(builtin, size=SIZE, shift=[shift])
        one = painted_person(face_parts(builtin), fit)
        out = rendered.segment(one.image, fit=fit, person=one.person)
        assert overlap(out.labels == FaceRegion.HAIR, one.hair) > 0.7
    gone = posed_fit(builtin, size=SIZE, shift=[(4000.0, 0.0)])
    assert not rendered.segment(one.image, fit=gone, person=one.person).labels.any()


def test_the_frame_of_a_clip_is_chosen(rendered, builtin):
    clip = posed_fit(builtin, (0.0, 0.0), size=SIZE, shift=[(0.0, 0.0), (20.0, 0.0)])
    one = painted_person(face_parts(builtin), clip.select([1]))
    labels = [rendered.segment(one.image, fit=clip, frame=k, person=one.person).labels for k in (0, 1)]
    noses = [np.nonzero(one == FaceRegion.NOSE)[1].mean() for one in labels]
    assert noses[1] - noses[0] == pytest.approx(20, abs=0.5)
    with pytest.raises(ShapeError, match="frame: expected 0 to 1"):
        rendered.segment(one.image, fit=clip, frame=2, person=one.person)


def test_nothing_is_detected_where_the_mask_is_given(rendered, fit, painted, monkeypatch):
    """As on a machine without mediapipe."""
    for name in ("mediapipe", "headwarp.flame.detect._graphs", "headwarp.flame.detect.segmentation"):
        monkeypatch.setitem(sys.modules, name, None)
    assert rendered.segment(painted.image, fit=fit, person=painted.person).labels.any()
    with pytest.raises(ImportError):
        rendered.segment(painted.image, fit=fit)


def test_inputs_that_do_not_belong_together(rendered, fit, painted, builtin):
    with pytest.raises(HeadwarpError, match="expected a fit"):
        rendered.segment(painted.image)
    with pytest.raises(ShapeError, match="expected the size of the picture"):
        rendered.segment(painted.image[:-1], fit=fit)
    with pytest.raises(ShapeError, match="person: expected"):
        rendered.segment(painted.image, fit=fit, person=painted.person[:-1])
    with pytest.raises(HeadwarpError, match="expected the head"):
        load_segmenter("rendered")
    with pytest.raises(ModelFileError):
        rendered.segment(painted.image, fit=dataclasses.replace(fit, model_id="other"), person=painted.person)


# a parser's weights


class Halves(torch.nn.Module):
    """Says hair above the middle and skin below."""

    def forward(self, image):
        scores = torch.zeros(1, 19, *image.shape[2:])
        middle = image.shape[2] // 2
        scores[:, FaceRegion.HAIR, :middle] = 9
        scores[:, FaceRegion.SKIN, middle:] = 9
        return scores


def test_a_parser_looks_at_the_face_s_window_and_answers_for_the_picture(fit, tmp_path):
    parser = ParsingSegmenter(
        Backbone("bisenet", Halves(), tmp_path / "w.pth", "0" * 64), torch.device("cpu")
    )
    out = parser.segment(np.zeros((*SIZE, 3), np.uint8))
    assert (out.labels[: SIZE[0] // 2] == FaceRegion.HAIR).all()
    assert (out.labels[SIZE[0] // 2 :] == FaceRegion.SKIN).all()
    near = parser.segment(np.zeros((*SIZE, 3), np.uint8), fit=fit)
    rows = np.nonzero(near.labels.any(1))[0]
    middle = float(fit.landmarks[0, :, 1].min() + fit.landmarks[0, :, 1].max()) / 2
    edge = np.nonzero(near.labels[:, SIZE[1] // 2] == FaceRegion.SKIN)[0].min()
    assert rows.min() >= 0
    assert abs(edge - middle) < 0.15 * SIZE[0]
    assert near.head[near.labels > 0].min() > 0.9
    assert near.origin == "bisenet 00000000"


def test_bisenet_loads_by_name_and_by_file_and_refuses_chance(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWARP_WEIGHTS", str(tmp_path))
    with pytest.raises(ModelFileError, match=r"no 79999_iter\.pth; sought in"):
        load_segmenter("bisenet")
    path = tmp_path / "own.safetensors"
    with pytest.raises(ModelFileError, match="no such file"):
        load_segmenter(path)
    with pytest.raises(HeadwarpError, match="random"):
        ParsingSegmenter(Backbone("bisenet", BiSeNet(width=8), None, None), torch.device("cpu"))


# class maps


def saved_map(path, labels, mode="L"):
    Image.fromarray(labels, mode="L").convert(mode).save(path)


def test_class_maps_of_a_photo_and_of_a_clip(tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    labels[2:, 3:] = FaceRegion.HAIR
    image = np.zeros((6, 8, 3), np.uint8)
    saved_map(tmp_path / "one.png", labels)
    out = load_segmenter(tmp_path / "one.png").segment(image, frame=7)
    assert (out.labels == labels).all()
    assert out.head[5, 7] > 0.9
    folder = tmp_path / "maps"
    folder.mkdir()
    for number in (9, 10, 11):
        saved_map(folder / f"f{number}.png", np.full((6, 8), number, np.uint8))
    maps = load_segmenter(folder)
    assert [int(maps.segment(image, frame=k).labels[0, 0]) for k in range(3)] == [9, 10, 11]
    with pytest.raises(HeadwarpError, match="frame 3, got 3 files"):
        maps.segment(image, frame=3)
    (folder / "f10.png").unlink()
    with pytest.raises(MediaError, match=r"got none of \[10\]"):
        load_segmenter(folder)


def test_a_palette_counts_by_its_numbers(tmp_path):
    labels = np.array([[0, 17], [1, 14]], np.uint8)
    picture = Image.fromarray(labels, mode="L")
    picture.putpalette([200, 10, 10] * 256)
    picture.save(tmp_path / "p.png")
    out = load_segmenter(tmp_path / "p.png").segment(np.zeros((2, 2, 3), np.uint8))
    assert (out.labels == labels).all()


def test_class_maps_that_are_none(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    path = tmp_path / "m.png"
    for values, mode, kind, text in (
        (np.full((4, 4), 255, np.uint8), "L", MediaError, "0 to 18 of the 19 face regions, got 255"),
        (np.zeros((4, 5), np.uint8), "L", ShapeError, "expected the picture's size, 4 x 4, got 5 x 4"),
        (np.zeros((4, 4), np.uint8), "RGB", MediaError, "one channel"),
    ):
        saved_map(path, values, mode)
        with pytest.raises(kind, match=text):
            load_segmenter(path).segment(image)
    path.write_bytes(b"no picture")
    with pytest.raises(MediaError, match="cannot be read as a class map"):
        load_segmenter(path).segment(image)
    with pytest.raises(MediaError, match="no such class map"):
        load_segmenter(tmp_path / "absent.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="got none"):
        load_segmenter(tmp_path / "empty")


def test_names_that_nobody_knows():
    with pytest.raises(HeadwarpError, match="expected rendered, bisenet, a file"):
        load_segmenter("segformer")


# the result


def test_a_region_map_is_checked():
    labels = np.zeros((2, 3), np.uint8)
    with pytest.raises(ShapeError, match="head: expected"):
        RegionMap(labels, np.zeros((2, 2), np.float32), "")
    labels[0, 0] = FaceRegion.SKIN
    assert soft_head(np.ones((5, 5), np.uint8), sigma=1.0) == pytest.approx(1, abs=1e-5)
