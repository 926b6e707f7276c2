"""The One Euro filter: the paper's numbers, rotations without flips, streams as clips."""

from __future__ import annotations

import math

import torch

from headwarp.geom.one_euro import filter_rotation, filter_value, first_rotation, first_value
from headwarp.geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle, rotation_angle


def test_the_papers_numbers():
    """One coordinate by hand, as the paper's appendix goes."""
    fps, cutoff, beta = 10.0, 1.5, 0.3
    share = lambda hz: 1 / (1 + fps / (2 * math.pi * hz))  # noqa: E731
    value, speed, state = 0.0, 0.0, first_value(torch.tensor([0.0]))
    for new in (1.0, 3.0, -2.0):
        speed += share(1.0) * ((new - value) * fps - speed)
        value += share(cutoff + beta * abs(speed)) * (new - value)
        state = filter_value(state, torch.tensor([new]), fps=fps, min_cutoff=cutoff, beta=beta)
    torch.testing.assert_close(state.value, torch.tensor([value]))
    torch.testing.assert_close(state.speed, torch.tensor([speed]))


def turned(angles: torch.Tensor) -> list[torch.Tensor]:
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -0.5]), dim=0)
    return list(axis_angle_to_matrix(angles[:, None] * axis))


def test_turns_about_one_axis_are_filtered_as_their_angle():
    angles = torch.tensor([0.1, 0.3, 0.2, 0.9])
    number, state = first_value(angles[0]), first_rotation(turned(angles)[0])
    for angle, rotation in zip(angles[1:], turned(angles)[1:], strict=True):
        number = filter_value(number, angle, fps=25, min_cutoff=1.0, beta=2.0)
        state = filter_rotation(state, rotation, fps=25, min_cutoff=1.0, beta=2.0)
    torch.testing.assert_close(matrix_to_axis_angle(state.value).norm(), number.value, atol=1e-5, rtol=0)


def test_a_turn_through_180_degrees_goes_on():
    """Where axis-angle and quaternions change sign nothing turns back."""
    steps = turned(torch.linspace(2.6, 3.8, 40))
    state, before = first_rotation(steps[0]), steps[0]
    for rotation in steps[1:]:
        state = filter_rotation(state, rotation, fps=25, min_cutoff=2.0, beta=1.0)
        assert rotation_angle(before, state.value) < 0.06
        before = state.value
    assert rotation_angle(steps[-1], before) < 0.1


def test_rest_is_kept_and_jitter_goes():
    draw = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(200, 3, generator=draw)
    state, made = first_rotation(torch.eye(3)), []
    for rotation in axis_angle_to_matrix(noise):
        state = filter_rotation(state, rotation, fps=25, min_cutoff=1.0, beta=0.1)
        made.append(matrix_to_axis_angle(state.value))
    quiet = torch.stack(made)
    assert quiet.diff(dim=0).norm(dim=1).mean() < 0.3 * noise.diff(dim=0).norm(dim=1).mean()
    still = first_rotation(torch.eye(3))
    assert torch.equal(
        filter_rotation(still, torch.eye(3), fps=25, min_cutoff=1.0, beta=0.1).value, torch.eye(3)
    )
