"""Weights that come with the package."""

import hashlib
import json

import pytest
import torch
from toy_scene import driving, source

from headwarp.warping.animators import animator_names, load_animator, registration, shipped_weights

SHIPPED = [name for name in animator_names() if shipped_weights(name)]


def test_a_trained_pwm_is_shipped():
    assert "pwm" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_the_record_beside_the_weights_is_theirs(name):
    file = shipped_weights(name)
    record = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["animator"] == name
    assert file.stat().st_size < 10e6


def test_the_shipped_pwm_is_loaded_and_keeps_most_of_a_picture_in_its_own_pose():
    """Noise is no portrait: what a trained network adds to it is bounded, not small."""
    animator, untrained = load_animator("pwm"), load_animator("pwm", config=registration("pwm").config())
    assert animator.config == untrained.config
    learned = dict(animator.network.named_parameters())
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in learned.values())
    assert any(not torch.equal(learned[name], value) for name, value in untrained.network.named_parameters())
    scene = source()
    change = (animator.animate(animator.encode([scene]), driving()).image - scene.image).abs().mean()
    assert 0 < change < 0.05
