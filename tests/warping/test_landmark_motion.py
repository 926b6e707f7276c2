"""Tracks of landmarks: relative motion after alignment, and smoothing."""

from __future__ import annotations

import math

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.warping.landmark_motion import (
    SmoothingConfig,
    TrackConfig,
    driving_landmarks,
    landmarks_of,
    relative_landmarks,
    smoothed,
)


def face(seed=0):
    return torch.rand(68, 2, generator=torch.Generator().manual_seed(seed)) * 60 + 90


def track(frames=5, seed=1):
    """A face that moves as one and in its parts."""
    draw = torch.Generator().manual_seed(seed)
    steps = torch.randn(frames, 1, 2, generator=draw) * 5 + torch.randn(frames, 68, 2, generator=draw)
    return face(seed) + steps.cumsum(0)


def turned(points, degrees, scale, shift):
    angle = math.radians(degrees)
    matrix = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return points @ matrix.T + torch.tensor(shift)


def test_the_reference_frame_is_the_source_exactly():
    source, driver = face()[None], track()
    for number in range(len(driver)):
        made = driving_landmarks(source, driver, TrackConfig(reference=number))
        assert torch.equal(made[number], source[0])


def test_a_driver_that_is_the_source_drives_as_it_moves():
    driver = track()
    made = relative_landmarks(driver[:1], driver, driver[0])
    torch.testing.assert_close(made, driver, rtol=0, atol=1e-3)


@pytest.mark.parametrize("degrees", [0, 30, 180])
def test_the_drivers_frame_does_not_matter(degrees):
    """Another size, place and turn of the same clip: the same motion of the source."""
    source, driver = face()[None], track()
    other = turned(driver, degrees, 3.7, [500.0, -20.0])
    expected, made = (driving_landmarks(source, each) for each in (driver, other))
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-3)


def test_a_shift_is_as_large_as_the_source_is():
    driver = torch.stack([face(), face() + torch.tensor([6.0, 0.0])])
    source = 0.5 * face()[None]
    made = driving_landmarks(source, driver)
    torch.testing.assert_close(made[1], source[0] + torch.tensor([3.0, 0.0]), rtol=0, atol=1e-3)


def test_absolute_motion_is_the_track():
    assert torch.equal(driving_landmarks(face()[None], track(), TrackConfig(relative=False)), track())


def test_vectors_are_points_in_order():
    vectors = track().flatten(1)
    assert vectors.shape == (5, 136)
    assert torch.equal(landmarks_of(vectors), track())
    for wrong in (torch.zeros(3, 5), torch.zeros(4), torch.zeros(2, 0)):
        with pytest.raises(ShapeError, match=r"vectors: expected \(T, 2 L\)"):
            landmarks_of(wrong)


# Smoothing


def test_a_track_at_rest_stays_and_the_first_frame_is_as_it_is():
    still = face().expand(6, -1, -1)
    assert all(torch.equal(points, face()) for points in smoothed(still))
    assert torch.equal(next(smoothed(track())), track()[0])


def test_jitter_goes_and_motion_stays():
    draw = torch.Generator().manual_seed(0)
    noise = 0.5 * torch.randn(60, 68, 2, generator=draw)
    still = face() + noise
    quiet = torch.stack(list(smoothed(still)))
    jitter = [(each[11:] - each[10:-1]).square().mean().sqrt() for each in (still, quiet)]
    assert jitter[1] < 0.5 * jitter[0]
    away = torch.linspace(0, 200, 25)[:, None, None] * torch.tensor([1.0, 0.0])
    quick = torch.stack(list(smoothed(face() + away)))
    slow = torch.stack(list(smoothed(face() + away, SmoothingConfig(beta=0))))
    behind = [(face() + away - each)[-1, :, 0].mean() for each in (quick, slow)]
    assert 0 < behind[0] < 0.5 * behind[1]


def test_the_filter_is_the_papers_on_one_coordinate():
    """Step by step as [Casiez 2012] writes it."""
    config = SmoothingConfig(fps=30, min_cutoff=1.5, beta=3.0)
    driver = track(8)
    size = float((driver[0] - driver[0].mean(0)).square().sum(-1).mean().sqrt())

    def alpha(cutoff):
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau * config.fps)

    values = [float(points[7, 1]) for points in driver]
    expected, last, speed = [values[0]], values[0], 0.0
    for value in values[1:]:
        change = (value - last) * config.fps / size
        speed += alpha(1.0) * (change - speed)
        last += alpha(config.min_cutoff + config.beta * abs(speed)) * (value - last)
        expected.append(last)
    made = [float(points[7, 1]) for points in smoothed(driver, config)]
    assert made == pytest.approx(expected, rel=1e-5)


def test_smoothing_does_not_hang_on_the_size_of_the_picture():
    small, large = (torch.stack(list(smoothed(scale * track()))) for scale in (1.0, 8.0))
    torch.testing.assert_close(large, 8 * small, rtol=1e-4, atol=1e-2)


def test_a_frame_knows_nothing_of_later_ones():
    driver = track(6)
    whole, part = list(smoothed(driver)), list(smoothed(driver[:4]))
    assert all(torch.equal(a, b) for a, b in zip(whole, part, strict=False))


def test_the_reference_is_of_the_smoothed_track():
    source = face()[None]
    made = driving_landmarks(source, track(), TrackConfig(reference=3, smoothing=SmoothingConfig()))
    assert torch.equal(made[3], source[0])


# What is refused


@pytest.mark.parametrize(
    ("driver", "config", "told"),
    [
        (track()[:, :5], None, r"track: expected \(T, 68, 2\) as the source has, got \(5, 5, 2\)"),
        (track()[:0], None, "track: expected"),
        (track() / 0, None, "expected finite landmarks"),
        (track(), TrackConfig(reference=5), "reference: expected 0 to 4, got 5"),
        (torch.ones(3, 68, 2), None, "two different points"),
    ],
)
def test_tracks_that_make_no_sense(driver, config, told):
    with pytest.raises(HeadwarpError, match=told):
        driving_landmarks(face()[None], driver, config)


@pytest.mark.parametrize("wrong", [{"fps": 0.0}, {"min_cutoff": -1.0}, {"beta": -1.0}, {"beta": math.nan}])
def test_filters_that_make_no_sense(wrong):
    with pytest.raises(HeadwarpError, match="smoothing: expected fps"):
        SmoothingConfig(**wrong)
