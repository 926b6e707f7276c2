"""Pictures of a synthetic person: rasterised at twice the size, painted, lit, averaged, through a lens."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ....geom.cameras import MODEL_TO_CAMERA, Perspective, project
from ....geom.rasterizer import Fragments, interpolate, rasterize
from .albedo import Painter, to_display, to_linear
from .background import blurred, draw_background, through_window
from .light import Light, ShadowMap, Surface, draw_light, lit, reached, shadow_map
from .motion import Motion
from .noise import dot, unit
from .person import Person, PosedPerson, pose_person
from .traits import stream

LIGHT, SETTING, SENSOR = 5, 6, 7  # streams of random numbers
SAMPLES = 2  # a side of a pixel
SHADOW_REACH = 0.24


@dataclass(frozen=True)
class Sensor:
    """What a camera does to a picture.

    Attributes:
        exposure: factor on the light.
        blur: standard deviation in pixels of the frame.
        noise: standard deviation of the display values.
        quality: of the JPEG that the picture went through; 0 for none.
    """

    exposure: float
    blur: float
    noise: float
    quality: int


@dataclass(frozen=True)
class Studio:
    """Everything fixed about a person's clip but the pose: person, paint, light, background, sensor."""

    person: Person
    painter: Painter
    light: Light
    background: Float[Tensor, "3 N N"]
    sensor: Sensor
    seed: int
    size: int


def make_studio(person: Person, *, seed: int, size: int) -> Studio:
    """Light, background and camera of a person's clip.

    Args:
        person: who is filmed.
        seed: of the data set.
        size: side of the frames in pixels.
    """
    number = person.traits.number
    rng = stream(seed, number, SETTING)
    background = draw_background(rng, size)
    sensor = Sensor(
        exposure=float(np.exp(rng.uniform(-0.22, 0.14))),
        blur=float(rng.uniform(0.25, 0.75)) * size / 256,
        noise=float(rng.uniform(0.002, 0.018)),
        quality=int(rng.integers(60, 96)),
    )
    return Studio(
        person,
        Painter(person, seed=seed),
        draw_light(stream(seed, number, LIGHT)),
        background,
        sensor,
        seed,
        size,
    )


@dataclass(frozen=True)
class Seen:
    """A posed person before a camera: camera axes and pixels of one frame.

    Attributes:
        posed: one frame, camera axes, metres.
        pixels: x, y in pixels of the frame and depth in pixel units, ``(1, N, 3)``.
    """

    posed: PosedPerson
    pixels: Float[Tensor, "1 N 3"]


def see(person: Person, motion: Motion, frame: int) -> Seen:
    """The person as the camera of a frame sees it.

    Args:
        person: who is filmed.
        motion: of the clip.
        frame: its number.
    """
    posed = pose_person(person, motion.params.select([frame]))
    flip = MODEL_TO_CAMERA.to(posed.points)
    turned = PosedPerson(posed.points @ flip, posed.normals @ flip, posed.tangents @ flip)
    camera = Perspective(motion.camera.focal[[frame]], motion.camera.principal[[frame]])
    head = turned.points[:, : len(person.head.template)]
    return Seen(turned, project(turned.points, camera, mean_depth=head[..., 2].mean(1)))


def render(studio: Studio, motion: Motion, frame: int) -> NDArray[np.uint8]:
    """The picture of a frame, (H, W, 3); equal arguments make equal bits.

    Args:
        studio: light, background and camera.
        motion: of the clip.
        frame: its number.
    """
    light = light_of_frame(studio, see(studio.person, motion, frame), motion, frame)
    rng = stream(studio.seed, studio.person.traits.number, SENSOR, frame + 1)
    return through_sensor(light, studio.sensor, rng)


def light_of_frame(studio: Studio, seen: Seen, motion: Motion, frame: int) -> Float[Tensor, "3 H W"]:
    """Linear RGB of a frame.

    Args:
        studio: light, background and camera.
        seen: from `see`, of this frame.
        motion: of the clip.
        frame: its number.
    """
    size, fine = studio.size, studio.size * SAMPLES
    behind = to_linear(through_window(studio.background, motion.window[frame], size, factor=SAMPLES))
    pixels = seen.pixels * SAMPLES
    fragments = rasterize(pixels, studio.person.faces, (fine, fine))
    covered = (fragments.face[0] >= 0).reshape(-1).nonzero()[:, 0]
    colour = _lit_pixels(studio, seen, fragments, covered)
    image = behind.reshape(3, -1)
    image[:, covered] = colour.T
    return F.avg_pool2d(image.reshape(1, 3, fine, fine), SAMPLES)[0]


def _lit_pixels(studio: Studio, seen: Seen, fragments: Fragments, covered: Tensor) -> Float[Tensor, "P 3"]:
    person, posed = studio.person, seen.posed
    attributes = torch.cat(
        [
            posed.points[0],
            posed.normals[0],
            posed.tangents[0],
            person.place,
            person.coords,
            person.ambient[:, None],
        ],
        dim=1,
    )
    carried = interpolate(fragments, attributes[None], person.faces)[0].flatten(1)[:, covered].T
    points, normals, tangents, place, coords, ambient = carried.split([3, 3, 3, 3, 4, 1], dim=1)
    material = person.material[fragments.face[0].reshape(-1)[covered].long()]
    view, normals = unit(-points), unit(normals)
    normals = normals * torch.where(dot(normals, view) < 0, -1.0, 1.0)[:, None]
    look = studio.painter.look(material, place, coords)
    near = _shadow_of(studio, posed.points[0])
    shadow = reached(points, near)
    surface = Surface(
        points=points,
        normals=normals,
        tangents=unit(tangents),
        view=view,
        albedo=look.albedo,
        ambient=ambient[:, 0],
        gloss=look.gloss,
        sharp=look.sharp,
        wrap=look.wrap,
    )
    return lit(surface, studio.light, shadow)


def _shadow_of(studio: Studio, points: Float[Tensor, "N 3"]) -> ShadowMap:
    reach = SHADOW_REACH * studio.person.anatomy.scale
    centre = points[: len(studio.person.head.template)].mean(0)
    return shadow_map(points, studio.person.faces, studio.light, centre=centre, reach=reach)


def through_sensor(
    light: Float[Tensor, "3 H W"], sensor: Sensor, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Exposure, a soft shoulder for highlights, blur, noise, and the JPEG it was kept as.

    Args:
        light: linear RGB.
        sensor: of the camera.
        rng: random numbers of this frame.

    Returns:
        uint8 (H, W, 3).
    """
    bright = light * sensor.exposure
    bright = torch.where(bright > 0.7, 0.7 + 0.3 * torch.tanh((bright - 0.7) / 0.5), bright)
    image = to_display(blurred(bright[None], sensor.blur)[0])
    grain = rng.standard_normal((3, *image.shape[1:]), dtype=np.float32)
    image = image + sensor.noise * torch.from_numpy(grain)
    frame = image.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return _through_jpeg(frame, sensor.quality) if sensor.quality else frame


def _through_jpeg(frame: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image

    kept = io.BytesIO()
    Image.fromarray(frame).save(kept, "JPEG", quality=quality)
    return np.asarray(Image.open(kept).convert("RGB")).copy()
