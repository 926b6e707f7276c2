"""What gets between the camera and a face: a hand at the cheek or chin, a microphone."""

from __future__ import annotations

import numpy as np

from ....flame.model import HeadModel
from .anatomy import Anatomy
from .parts import Material, Part, joint_weights, tube
from .traits import Traits

# a right hand, palm at the origin, fingers along y, its back towards z; metres
_FINGERS = (
    (-0.030, 0.036, 0.062, 0.0072),
    (-0.010, 0.042, 0.074, 0.0078),
    (0.011, 0.041, 0.070, 0.0077),
    (0.030, 0.034, 0.056, 0.0068),
)
_CURL = 0.25
_SIDES = 12


def occluder_parts(
    head: HeadModel, anatomy: Anatomy, *, traits: Traits, rng: np.random.Generator
) -> list[Part]:
    """The things before a person, carried along by the shoulders.

    Args:
        head: the head model.
        anatomy: measures of the head.
        traits: of the person.
        rng: random numbers of the person.
    """
    if traits.occluder == "hand":
        return [_as_part(head, bar, Material.HAND) for bar in _hand(anatomy, rng)]
    if traits.occluder == "microphone":
        return [_as_part(head, bar, Material.OBJECT) for bar in _microphone(anatomy, rng)]
    return []


def _as_part(head: HeadModel, bar: tuple[np.ndarray, np.ndarray], material: Material) -> Part:
    points, normals, faces = tube(*bar, sides=_SIDES)
    weights = joint_weights(head.joint_names, len(points), joint="root")
    return Part(points, normals, faces, weights, np.zeros((len(points), 4)), material)


def _bar(points: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A bar with round ends through points."""
    share = np.linspace(0, 1, 5 * (len(points) - 1) + 1)
    knots = np.linspace(0, 1, len(points))
    line = np.stack([np.interp(share, knots, points[:, k]) for k in range(3)], axis=1)
    radius = np.interp(share, knots, radii)
    first, last = line[0] - line[1], line[-1] - line[-2]
    first, last = first / np.linalg.norm(first), last / np.linalg.norm(last)
    angles = np.radians((85, 65, 40, 20))
    start = line[0] + radius[0] * np.sin(angles)[:, None] * first
    end = line[-1] + radius[-1] * np.sin(angles[::-1])[:, None] * last
    caps = np.cos(angles) * radius[0], np.cos(angles[::-1]) * radius[-1]
    return np.concatenate([start, line, end]), np.concatenate([caps[0], radius, caps[1]])


def _hand(anatomy: Anatomy, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    bars = []
    for x, base, length, radius in _FINGERS:
        spread = 0.12 * x
        curl = _CURL * rng.uniform(0.6, 1.4)
        joints = np.array(
            [
                [x * 0.8, base - 0.035, 0.0],
                [x, base, 0.002],
                [x + spread * 0.5, base + 0.5 * length, -0.2 * curl * length],
                [x + spread, base + 0.95 * length * np.cos(curl), -0.75 * curl * length],
            ]
        )
        bars.append(_bar(joints, radius * np.array([1.35, 1.1, 1.0, 0.82])))
    thumb = np.array([[-0.026, -0.034, -0.004], [-0.047, -0.008, -0.010], [-0.056, 0.026, -0.014]])
    bars.append(_bar(thumb, np.array([0.014, 0.0105, 0.0085])))
    for x in (-0.022, -0.007, 0.008, 0.022):
        bars.append(
            _bar(np.array([[x, -0.036, -0.003], [x * 1.15, 0.036, -0.002]]), np.array([0.0145, 0.0125]))
        )
    bars.append(
        _bar(
            np.array([[0.0, -0.035, -0.004], [0.0, -0.09, -0.004], [0.02, -0.3, -0.02]]),
            np.array([0.024, 0.026, 0.04]),
        )
    )
    side = 1.0 if rng.random() < 0.5 else -1.0
    tilt = np.radians(rng.uniform(5, 30))
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    jaw, chin = anatomy.point(172), anatomy.point(152)
    rest = anatomy.scale * np.array([rng.uniform(0.0, 0.02), rng.uniform(-0.015, 0.01), 0.034])
    place = np.array([abs(jaw[0]), (jaw[1] + chin[1]) / 2, jaw[2] + 0.012]) + rest
    mirror = np.array([side, 1.0, 1.0])
    return [
        ((anatomy.scale * line @ turn.T + place) * mirror, anatomy.scale * radius) for line, radius in bars
    ]


def _microphone(anatomy: Anatomy, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    scale = anatomy.scale
    chin = anatomy.point(152) + scale * np.array([rng.uniform(-0.03, 0.03), rng.uniform(-0.012, 0.02), 0.045])
    down = chin + scale * np.array([rng.uniform(-0.02, 0.02), -0.2, 0.02])
    ball = np.array([chin - (0, 0.001, 0), chin + (0, 0.001, 0)])
    return [
        _bar(np.array([chin, down]), scale * np.array([0.013, 0.010])),
        _bar(ball, scale * np.full(2, 0.024)),
    ]
