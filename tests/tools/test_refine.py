"""Refining a fit by its pictures: chunks joined, one albedo for a clip, what is refused."""

import numpy as np
import pytest
import torch
from lit_heads import biased_landmarks, lit_head

from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.fitting.photometric import PhotometricConfig
from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import refine as module
from headwarp.tools.refine import refine
from headwarp.training.data.portrait import to_frame

QUICK = PhotometricConfig(albedo="free", steps=2, size=96)


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def clip(head):
    lit = lit_head(head, (-15.0, -5.0, 4.0, 9.0, 16.0), size=96)
    found = biased_landmarks(head, lit.truth, percent=2.0)
    found[3] = np.nan
    return fit_landmarks(head, found, lit.truth.size), [to_frame(image) for image in lit.images]


def test_a_clip_in_chunks(head, clip, monkeypatch):
    fit, frames = clip
    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(module, "KEY_FRAMES", 3)
    result = refine(fit, frames, head=head, config=QUICK)
    report = result.report["photometric"]
    assert report["error_after"] <= report["error_before"]
    assert report["reprojection_px_after"] <= report["reprojection_px_before"] + 1e-5
    assert torch.equal(result.status, fit.status)
    assert result.params.rotation.shape == fit.params.rotation.shape
    assert not torch.equal(result.params.expression[4], fit.params.expression[4])  # the last chunk too


def test_a_photo(head, clip):
    fit, frames = clip
    result = refine(fit.select([0]), frames[0], head=head, config=PhotometricConfig(steps=1, size=96))
    assert result.report["photometric"]["frames"] == 1


def test_refusals(head, clip):
    fit, frames = clip
    with pytest.raises(HeadwarpError, match="expected a file or a list of frames, got an iterator"):
        refine(fit, iter(frames), head=head)
    with pytest.raises(HeadwarpError, match="expected the 5 frames of the fit, the input has fewer"):
        refine(fit, frames[:2], head=head, config=QUICK)
    with pytest.raises(HeadwarpError, match=r"expected frames of \(H, W\) \(96, 96\)"):
        refine(fit, [np.zeros((8, 9, 3), np.uint8)] * 5, head=head, config=QUICK)
