"""The helpers that draw checkpoints of [FOMM] and [DaGAN] know the published names and shapes."""

from __future__ import annotations

import hashlib

import pytest
from dagan_file import dagan_detector_shapes, dagan_discriminator_shapes, depth_aware_shapes, spade_shapes
from depth_file import decoder_shapes, encoder_channels, pose_shapes, resnet_shapes
from fomm_file import detector_shapes, discriminator_shapes, generator_shapes

PUBLISHED = {  # entries, and the hash of the sorted "name shape" lines of the published networks
    "vox generator": (196, "f2ee6a68a2b1d4c498516a61cff2691bcba9ba4cb1094a5f3afa873dc96b98fe"),
    "vox detector": (75, "2a7e4d743c4950a3afe093f34fc74cd6be4540b4f2fdb77a56507d57535d6bc1"),
    "vox discriminator": (26, "c3aa069f8ccd8128e52fe3b1891312f414419441f141606c1aea1edf14275269"),
    "vox-adv discriminator": (16, "64673dac831e7427a33ca8c4d27cce4bf743438301a9c006d8ebc7963ae70d68"),
    "depth-aware generator": (224, "0142dd3d19c547e80c0c8dc7ebd23bcec86e54cb726d48972d58ad60829a3f68"),
    "spade generator": (248, "fae28a9a2bf33199775005c3600497dd5dcc57e0685c8ba1044514ee4c34813e"),
    "dagan detector": (75, "7ecd6603eb8b3bd6bbb2f0b95391f3e58063395eb3781a3ba59a9c8640134a2a"),
    "dagan discriminator": (16, "a94d5f2d53bbc4ee21f6f0f6076720265d1c3f93cd7ce1072883d5a309121c7a"),
    "depth encoder 18": (122, "11640ed6f86601fac52a82c2235d50fe13a3c82427ae2a92ebe89231f4bcfab9"),
    "depth encoder 50": (320, "9f317868504b33b12e4bbfca5b2b75a8b96075c0f2337bbd4269b55a473b3dbc"),
    "depth decoder 18": (28, "3f660aa673b0c938f7d6230b90a631f72228fcb0d8a12703dcacfabb8579386d"),
    "depth decoder 50": (28, "fa7895225d9330b6e2273c4f8a3cb80a05fef7a34841201bbe82cb2fb4350487"),
    "pose decoder": (12, "44a14e3fb86e672f65cb8be606c992c08044deafe3d6b4f6587a300655a57dae"),
}
DRAWN = {
    "vox generator": generator_shapes,
    "vox detector": detector_shapes,
    "vox discriminator": discriminator_shapes,
    "vox-adv discriminator": lambda: discriminator_shapes(heatmaps=10, spectral=False),
    "depth-aware generator": depth_aware_shapes,
    "spade generator": spade_shapes,
    "dagan detector": dagan_detector_shapes,
    "dagan discriminator": dagan_discriminator_shapes,
    "depth encoder 18": resnet_shapes,
    "depth encoder 50": lambda: resnet_shapes(50),
    "depth decoder 18": decoder_shapes,
    "depth decoder 50": lambda: decoder_shapes(encoder_channels(50)),
    "pose decoder": pose_shapes,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_helper_knows_the_published_names_and_shapes(name):
    shapes = DRAWN[name]()
    lines = "\n".join(f"{key} {shape}" for key, shape in sorted(shapes.items()))
    assert (len(shapes), hashlib.sha256(lines.encode()).hexdigest()) == PUBLISHED[name]
