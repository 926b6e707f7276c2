"""A fit without its jitter: rest, streams, blinks, and frames that are not there."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_head import toy_head

from headwarp.flame.params import DETECTED, MISSING, HeadFit, HeadParams
from headwarp.flame.posing import posed_vertices
from headwarp.flame.smoothing import Cutoff, FitSmoothing, smoothed_fit
from headwarp.geom.cameras import Perspective, WeakPerspective
from headwarp.geom.errors import HeadwarpError

MODEL = toy_head()


def a_fit(frames: int = 40, *, jitter: float = 1.0, seed: int = 0) -> HeadFit:
    """A head at rest but for jitter and one blink."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: jitter * torch.randn(*shape, generator=rng)  # noqa: E731
    blink = torch.zeros(frames, 2)
    blink[20:24] = torch.tensor([0.5, 0.9, 0.9, 0.4])[:, None]
    params = dataclasses.replace(
        HeadParams.neutral(6, 5, frames),
        rotation=torch.tensor([0.1, 0.2, 0.0]) + 0.01 * draw(frames, 3),
        expression=0.05 * draw(frames, 5),
        eyelids=blink,
    )
    camera = WeakPerspective(
        400 * (1 + 0.002 * draw(frames)), torch.tensor([64.0, 60.0]) + 0.5 * draw(frames, 2)
    )
    count = len(MODEL.landmarks["mediapipe"].indices)
    return HeadFit(
        params=params,
        camera=camera,
        size=(128, 128),
        model_id=MODEL.model_id,
        landmark_indices=MODEL.landmarks["mediapipe"].indices.clone(),
        landmarks=torch.zeros(frames, count, 2),
        residual=0.3 * draw(frames, count, 2),
        status=torch.full((frames,), DETECTED, dtype=torch.int8),
        confidence=torch.ones(frames),
        covariance=torch.zeros(frames, 6, 6),
    )


def in_perspective(fit: HeadFit) -> HeadFit:
    far = torch.tensor([0.0, 0.0, -1.0]) + 0.01 * fit.params.rotation
    camera = Perspective(torch.full((fit.frames, 2), 500.0), torch.full((fit.frames, 2), 64.0))
    return dataclasses.replace(fit, camera=camera, params=dataclasses.replace(fit.params, translation=far))


@pytest.mark.parametrize("seen", [lambda fit: fit, in_perspective], ids=["weak", "perspective"])
def test_jitter_goes_and_rest_stays(seen):
    fit = seen(a_fit())
    moving = lambda each: posed_vertices(MODEL, each).diff(dim=0).norm(dim=-1).mean()  # noqa: E731
    made = smoothed_fit(MODEL, fit).fit
    assert moving(made) < 0.6 * moving(fit)
    still = seen(a_fit(jitter=0.0))
    kept = posed_vertices(MODEL, smoothed_fit(MODEL, still).fit)
    torch.testing.assert_close(
        kept, posed_vertices(MODEL, still), atol=0.2, rtol=0
    )  # lids close later by less
    first = posed_vertices(MODEL, made.select([0]))
    torch.testing.assert_close(first, posed_vertices(MODEL, fit.select([0])), atol=1e-3, rtol=0)


def test_a_blink_keeps_its_depth():
    made = smoothed_fit(MODEL, a_fit()).fit.params.eyelids
    assert made.max() >= 0.95 * 0.9
    slow = smoothed_fit(MODEL, a_fit(), FitSmoothing(eyelids=Cutoff(1.0, 0.0))).fit.params.eyelids
    assert slow.max() < 0.6  # a filter that is not for blinks


def test_a_stream_is_filtered_as_the_clip():
    fit = a_fit()
    whole = smoothed_fit(MODEL, fit).fit
    state, parts = None, []
    for part in torch.arange(fit.frames).split(7):
        made = smoothed_fit(MODEL, fit.select(part), state=state)
        parts.append(made.fit)
        state = made.state
    for name in ("rotation", "expression", "eyelids", "jaw"):
        together = torch.cat([getattr(part.params, name) for part in parts])
        assert torch.equal(together, getattr(whole.params, name)), name
    assert torch.equal(torch.cat([part.residual for part in parts]), whole.residual)


def test_one_frame_stays_and_missing_frames_stay_missing():
    fit = a_fit()
    assert smoothed_fit(MODEL, fit.select([3])).fit.frames == 1
    status = fit.status.clone()
    status[10:13] = MISSING
    rotation = fit.params.rotation.clone()
    rotation[11] = torch.nan
    landmarks, residual = fit.landmarks.clone(), fit.residual.clone()
    landmarks[10:13], residual[10:13] = torch.nan, 0.0
    gap = dataclasses.replace(
        fit,
        status=status,
        landmarks=landmarks,
        residual=residual,
        params=dataclasses.replace(fit.params, rotation=rotation),
    )
    made = smoothed_fit(MODEL, gap).fit
    assert torch.equal(made.status, status)
    assert torch.isnan(made.landmarks[10:13]).all()
    assert torch.isnan(made.params.rotation[11]).all()
    assert torch.isfinite(made.params.rotation[12:]).all()
    assert (made.residual[[10, 12]] == 0).all()
    assert made.residual[13].abs().max() > 0.1  # goes on from what was seen


def test_cutoffs_that_make_no_sense():
    with pytest.raises(HeadwarpError, match="rest above 0"):
        Cutoff(0.0, 1.0)
    with pytest.raises(HeadwarpError, match="fps above 0"):
        FitSmoothing(fps=0)
