"""How a person moves before the camera: smooth, and every frame by itself, so that clips may be resumed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ....flame.model import HeadModel
from ....flame.params import HeadParams
from ....geom.cameras import MODEL_TO_CAMERA, Perspective
from ....geom.transforms import euler_to_matrix, matrix_to_axis_angle
from .anatomy import Anatomy
from .traits import Traits, stream

MOTION, BLINKS = 3, 8  # streams of random numbers: how many blinks are drawn depends on the clip's length
MOST_YAW_DEG, MOST_PITCH_DEG, MOST_ROLL_DEG = 55.0, 25.0, 20.0
TORSO_SHARE = (0.25, 0.15, 0.2)  # of the head's yaw, pitch and roll that the shoulders make
FACE_LENGTH = 0.148  # metres, longer side of the box of the 68 points on an adult
DISTANCES = (0.7, 2.6)  # metres, times the head's scale
LEAST_DISTANCE = 0.3  # the same, where a focal length is asked for: an arm's length


@dataclass(frozen=True)
class Motion:
    """T frames.

    Attributes:
        params: of the head; the root turns the shoulders, the neck joint the rest.
        camera: in pixels of the frame.
        window: what the camera does beside: pixels of a still camera to those of the frame, ``(T, 2, 3)``,
            a scale and a shift; the background moves by it alone.
    """

    params: HeadParams
    camera: Perspective
    window: Float[Tensor, "T 2 3"]


class Waves:
    """Smooth random signals of about unit size: sums of sines with frequencies in a band."""

    def __init__(self, rng: np.random.Generator, seconds: Float[np.ndarray, " T"]) -> None:
        self.rng, self.seconds = rng, seconds

    def __call__(self, low: float, high: float, count: int = 1) -> Float[np.ndarray, "T C"]:
        """``count`` signals with frequencies from ``low`` to ``high`` in hertz."""
        shape = (count, 3)
        rate = np.exp(self.rng.uniform(np.log(low), np.log(high), shape))
        phase = self.rng.uniform(0, 2 * np.pi, shape)
        size = self.rng.uniform(0.5, 1.0, shape)
        size *= np.sqrt(2 / (size**2).sum(1, keepdims=True))
        angle = 2 * np.pi * rate * self.seconds[:, None, None] + phase
        return (size * np.sin(angle)).sum(2)


def clip_motion(
    head: HeadModel,
    anatomy: Anatomy,
    *,
    traits: Traits,
    seed: int,
    frames: int,
    fps: float,
    size: int,
    focal: tuple[float, float] | None = None,
) -> Motion:
    """The motion of a person's clip; frame t depends on t alone, not on how many there are.

    ``focal``: bounds of the focal length in frame widths; None draws the distance instead.

    Args:
        head: the head model.
        anatomy: of it.
        traits: of the person.
        seed: of the data set.
        frames: how many.
        fps: frames a second.
        size: side of the frames in pixels.
        focal: bounds of the focal length in frame widths; None: the distance is drawn instead.
    """
    rng = stream(seed, traits.number, MOTION)
    waves = Waves(rng, np.arange(frames) / fps)
    rotation, neck, angles = _turns(rng, waves)
    named = {k: v.cpu().numpy() for k, v in head.named_expressions.items()}
    params = HeadParams(
        shape=torch.from_numpy(traits.shape),
        expression=_float(_expression(head.expression_basis.shape[2], named, rng, waves)),
        rotation=rotation,
        translation=torch.zeros(frames, 3),
        neck=neck,
        jaw=_float(np.pad(_talking(rng, waves), ((0, 0), (0, 2)))),
        eyes=_float(_gaze(rng, waves, angles)),
        eyelids=_float(_blinks(stream(seed, traits.number, BLINKS), waves.seconds)),
    )
    return _filmed(params, head, anatomy, size=size, focal=focal, rng=rng, waves=waves)


def _turns(rng: np.random.Generator, waves: Waves) -> tuple[Tensor, Tensor, np.ndarray]:
    """Root and neck rotations, and the head's angles in radians."""
    most = np.radians((MOST_YAW_DEG, MOST_PITCH_DEG, MOST_ROLL_DEG))
    middle = rng.normal(size=3) * (12, 4, 3)
    swing = rng.uniform((6, 2, 2), (22, 8, 6))
    slow = waves(0.08, 0.45, 3)
    quick = waves(0.6, 1.6, 3)
    angles = np.radians(middle + swing * slow + (0.9, 0.8, 0.5) * quick)
    angles = most * np.tanh(angles / most)
    torso = angles * TORSO_SHARE + np.radians(1.5) * waves(0.1, 0.4, 3)
    flip = MODEL_TO_CAMERA.double()
    whole, root = (flip @ euler_to_matrix(*torch.from_numpy(a).unbind(-1)) @ flip for a in (angles, torso))
    return (
        matrix_to_axis_angle(root).float(),
        matrix_to_axis_angle(root.mT @ whole).float(),
        angles,
    )


def _expression(
    count: int, named: dict[str, np.ndarray], rng: np.random.Generator, waves: Waves
) -> np.ndarray:
    values = 0.35 * waves(0.1, 0.9, count)
    for name, most in (("smile", 0.9), ("brows_up", 0.6), ("frown", 0.4), ("pucker", 0.35)):
        amount = (
            rng.uniform(0.2, 1.0) * most * np.clip(waves(0.06, 0.3)[:, 0] + rng.uniform(-0.6, 0.4), 0, 1.3)
        )
        if name in named:
            values = values + amount[:, None] * named[name]
    return values


def _talking(rng: np.random.Generator, waves: Waves) -> np.ndarray:
    """Opening of the jaw in radians."""
    speaks = np.clip(waves(0.1, 0.4) + rng.uniform(-0.4, 0.9), 0, 1)
    return rng.uniform(0.05, 0.15) * speaks * np.clip(0.5 + waves(1.5, 4.0), 0, 1.8)


def _gaze(rng: np.random.Generator, waves: Waves, angles: np.ndarray) -> np.ndarray:
    """Both eyes; they stay with the camera by a share of the head's own turning."""
    stay = rng.uniform(0.2, 0.8)
    yaw = stay * angles[:, :1] + np.radians(rng.uniform(1, 7)) * waves(0.2, 1.0)
    pitch = -stay * angles[:, 1:2] + np.radians(rng.uniform(1, 4)) * waves(0.2, 1.0)
    most = np.radians((14.0, 24.0))
    pitch, yaw = most[0] * np.tanh(pitch / most[0]), most[1] * np.tanh(yaw / most[1])
    eye = np.concatenate([pitch, yaw, np.zeros_like(yaw)], axis=1)
    return np.concatenate([eye, eye], axis=1)


def _blinks(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Lids shut for a quarter of a second every few seconds; both alike."""
    closed = np.zeros(len(seconds))
    time = float(rng.uniform(0.3, 3.0))
    end = float(seconds[-1]) + 1 if len(seconds) else 0.0
    while time < end:
        closed = np.maximum(closed, np.clip(1.15 - np.abs(seconds - time) / 0.11, 0, 1))
        time += float(rng.uniform(1.4, 5.0))
    smooth = closed**2 * (3 - 2 * closed)
    return np.repeat(smooth[:, None], 2, axis=1)


def _filmed(
    params: HeadParams,
    head: HeadModel,
    anatomy: Anatomy,
    *,
    size: int,
    focal: tuple[float, float] | None,
    rng: np.random.Generator,
    waves: Waves,
) -> Motion:
    """Where the head is and how the camera sees it: distance, focal length, framing, a moving window."""
    scale = anatomy.scale
    distance, length = _lens(rng, focal)
    distance, length = distance * scale, length * size
    aim = size * np.array([0.5 + rng.uniform(-0.05, 0.05), 0.54 + rng.uniform(-0.04, 0.04)])
    face = np.array([0.0, (anatomy.point(10)[1] + anatomy.point(152)[1]) / 2, anatomy.point(234)[2]])
    place = np.array([(aim[0] - size / 2) / length, -(aim[1] - size / 2) / length, -1.0]) * distance - face
    sway = np.concatenate([waves(0.08, 0.4, 2) * 0.006, waves(0.08, 0.3) * 0.012], axis=1) * scale
    translation = _float(place + sway)
    window = _window(rng, waves, size)
    camera = Perspective(
        focal=_float(length * window[:, 0, :1].repeat(2, axis=1)),
        principal=_float(size / 2 * window[:, 0, :1] + window[:, :, 2]),
    )
    return Motion(dataclasses.replace(params, translation=translation), camera, _float(window))


def _lens(rng: np.random.Generator, focal: tuple[float, float] | None) -> tuple[float, float]:
    """Distance in metres of an adult, and focal length in frame widths.

    A short lens at a face that fills the frame would stand closer than an arm is long: there the face gets
    smaller instead.
    """
    drawn = rng.uniform()
    share = float(rng.uniform(0.38, 0.60))
    low, high = np.log(DISTANCES if focal is None else focal)
    if focal is None:
        distance = float(np.exp(low + (high - low) * drawn))
        return distance, share * distance / FACE_LENGTH
    length = float(np.exp(low + (high - low) * drawn))
    return max(length * FACE_LENGTH / share, LEAST_DISTANCE), length


def _window(rng: np.random.Generator, waves: Waves, size: int) -> np.ndarray:
    """A still camera for most, for some one that is held in hands."""
    shake = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.35 else 0.0
    scale = 1 + 0.025 * shake * waves(0.05, 0.25)[:, 0]
    shift = 0.014 * size * shake * waves(0.1, 0.6, 2) + size / 2 * (1 - scale[:, None])
    window = np.zeros((len(scale), 2, 3))
    window[:, 0, 0], window[:, 1, 1], window[:, :, 2] = scale, scale, shift
    return window


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
