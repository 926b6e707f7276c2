"""Whose weights a file holds, by its names."""

from __future__ import annotations

import pytest
import torch
from dagan_file import dagan_detector_shapes, depth_aware_shapes, spade_shapes
from depth_file import decoder_shapes, pose_shapes, resnet_shapes
from fomm_file import detector_shapes, generator_shapes, unwritten
from gdpw_file import generator_shapes as gdpw_shapes

from headwarp.warping.importers.kinds import TITLES, described, kind_of, tensors_of

ONE = torch.ones(1)


def both(detector, generator, **others):
    return {"kp_detector": unwritten(detector), "generator": unwritten(generator), **others}


FILES = {
    "FOMM": lambda: both(detector_shapes(), generator_shapes(), epoch=99),
    "DaGAN": lambda: both(dagan_detector_shapes(), depth_aware_shapes()),
    "DaGAN, SPADE": lambda: both(dagan_detector_shapes(), spade_shapes()),
    "DaGAN, keypoints of colours": lambda: both(detector_shapes(count=15), depth_aware_shapes()),
    "DaGAN, keypoints of depth": lambda: both(detector_shapes(channels=1), generator_shapes()),
    "PWM": lambda: {"generator": unwritten(gdpw_shapes("geom_disp")), "global_step": 3},
    "PWM, alone": lambda: unwritten(gdpw_shapes("geom_disp")),
    "depth encoder": lambda: unwritten(resnet_shapes()) | {"height": 256, "use_stereo": False},
    "depth decoder": lambda: unwritten(decoder_shapes()),
    "pose encoder": lambda: unwritten(resnet_shapes(channels=6)),
    "pose decoder": lambda: unwritten(pose_shapes()),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_is_told(name):
    content = FILES[name]()
    kind = name.split(",")[0]
    assert kind_of(content) == kind
    assert described(content) == TITLES[kind]
    parallel = {
        key: {f"module.{k}": v for k, v in value.items()} if isinstance(value, dict) else value
        for key, value in content.items()
    }
    assert kind_of(parallel) == kind


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            {"kp_detector": {}, "generator": {}},
            "a keypoint animator of another project (it holds generator, kp",
        ),
        ({"inpainting_network": {}, "kp_detector": {}}, "a checkpoint of TPSMM"),
        ({"he_estimator": {}, "kp_detector": {}, "generator": {}}, "a checkpoint of one-shot free-view"),
        ({"Epor": {}}, "a checkpoint of HeSer's aligner without Eid, Epose, Eexp, G (it holds Epor)"),
        (
            {"G": {"affine_params_projector.0.weight_orig": ONE}},
            "a checkpoint of HeSer's aligner without Epor",
        ),
        (
            {"G": {"phi.weight": ONE, "decoder.conv10_ab.weight": ONE}},
            "a checkpoint of HeSer's blender without feature_ext.conv1_1.weight, theta.weight in its G",
        ),
        ({}, "something else (it holds nothing)"),
        ({"kp_detector": 3, "generator": [1]}, "a keypoint animator of another project"),
    ],
)
def test_other_files_are_described(content, text):
    assert kind_of(content) is None
    assert described(content).startswith(text)


def test_tensors_beside_numbers_and_texts():
    weights = unwritten(pose_shapes())
    assert tensors_of(weights | {"height": 3, "name": "x"}).keys() == weights.keys()
    assert tensors_of(weights | {"more": {}}) == {}
    assert tensors_of(None) == {}
