"""Hair as a thousand tapered ribbons that grow from the scalp over the head's own surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from ....flame.model import HeadModel
from .anatomy import Anatomy
from .parts import Material, Part, grid_faces
from .torso import Torso
from .traits import Traits

FULL_BEARD = 0.55  # `Traits.beard` from which ribbons grow
BEARD_COUNT = 2400
HANGS_AFTER = 0.10  # metres of hair from the root


@dataclass(frozen=True)
class HairStyle:
    """How ribbons grow; lengths in metres of an adult's head.

    Attributes:
        count: ribbons.
        length: of the longest.
        steps: points along a ribbon.
        width: of a ribbon at its root.
        lift: how far ribbons stand off the head in their middle.
        comb: direction away from the parting, backwards and down, any length.
        weight: how far ribbons hang in the end, after `HANGS_AFTER` metres, 0 .. 1.
        curl: how far they wind about their way.
        turns: how often.
        curtain: degrees from the front that hair below the hairline keeps clear.
        stand: share of the skin's normal in the direction at the root.
    """

    count: int
    length: float
    steps: int
    width: float
    lift: float
    comb: tuple[float, float, float]
    weight: float
    curl: float = 0.0
    turns: float = 0.0
    curtain: float = 75.0
    stand: float = 0.3


STYLES: dict[str, HairStyle] = {
    "buzz": HairStyle(1500, 0.009, 3, 0.003, 0.002, (0.1, 0.6, 0.3), 0.0, stand=0.5),
    "short": HairStyle(1900, 0.045, 6, 0.005, 0.011, (0.35, 0.8, 0.35), 0.1, stand=0.6),
    "parted": HairStyle(1800, 0.075, 8, 0.0055, 0.013, (0.9, 0.45, 0.3), 0.2, stand=0.5),
    "curly": HairStyle(2100, 0.085, 16, 0.0045, 0.03, (0.2, 0.25, 0.1), 0.1, curl=0.01, turns=2.0, stand=1.0),
    "bob": HairStyle(1700, 0.21, 14, 0.0065, 0.014, (0.8, 0.3, 0.3), 0.93, curtain=64.0),
    "long": HairStyle(
        1800, 0.34, 18, 0.007, 0.013, (0.8, 0.3, 0.3), 0.93, curl=2e-3, turns=1.5, curtain=64.0
    ),
    "tied": HairStyle(1700, 0.12, 12, 0.006, 0.004, (0.15, 1.0, -0.05), 0.0, stand=0.1),
}


@dataclass(frozen=True)
class Surface:
    """How far the head reaches from the middle of the skull in every direction."""

    centre: Float[np.ndarray, " 3"]
    directions: cKDTree
    reach: Float[np.ndarray, " V"]

    def radius(self, direction: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
        """Mean over the three nearest vertices, weighted by nearness."""
        distance, index = self.directions.query(direction, k=3)
        nearness = 1 / (distance + 1e-3)
        return (nearness * self.reach[index]).sum(1) / nearness.sum(1)

    def pushed(self, points: Float[np.ndarray, "N 3"], clear: np.ndarray | float) -> Float[np.ndarray, "N 3"]:
        """Points at least ``clear`` metres outside."""
        outward = points - self.centre
        length = np.linalg.norm(outward, axis=1)
        direction = outward / np.maximum(length, 1e-9)[:, None]
        least = self.radius(direction) + clear
        return self.centre + direction * np.maximum(length, least)[:, None]


def surface_of(verts: Float[np.ndarray, "V 3"], skin: Bool[np.ndarray, " V"], centre: np.ndarray) -> Surface:
    """The outside of a head at rest.

    Args:
        verts: the person's vertices at rest, metres.
        skin: True for vertices of the skin.
        centre: inside the head.
    """
    outward = verts[skin] - centre
    reach = np.linalg.norm(outward, axis=1)
    return Surface(centre, cKDTree(outward / reach[:, None]), reach)


def hair_part(
    head: HeadModel,
    verts: Float[np.ndarray, "V 3"],
    *,
    anatomy: Anatomy,
    torso: Torso,
    traits: Traits,
    rng: np.random.Generator,
) -> Part | None:
    """The ribbons of a person; None for the bald.

    coords: across the ribbon (-1 .. 1), along it (0 .. 1), its number, how dark it is.

    Args:
        head: the head model.
        verts: the person's vertices at rest, metres.
        anatomy: measures of the head.
        torso: that long hair lies on.
        traits: of the person.
        rng: random numbers of the person.
    """
    style = STYLES.get(traits.hair_style)
    if style is None:
        return None
    faces = head.faces.cpu().numpy()[anatomy.parts.skin]
    skin = np.zeros(len(verts), bool)
    skin[faces.ravel()] = True
    skin &= verts[:, 1] > anatomy.point(152)[1]  # below the jaw hair hangs free of it
    surface = surface_of(verts, skin, anatomy.skull)
    chosen, roots, normals = _roots(verts, faces, anatomy.scalp - traits.hairline, style.count, rng)
    strands = _grown(
        roots, normals, surface=surface, torso=torso, style=style, traits=traits, anatomy=anatomy, rng=rng
    )
    make = _Ribbons(style.width * anatomy.scale, chosen, surface.centre)
    return make.part(strands, lambda points: _hair_weights(head, points, anatomy), rng)


def beard_part(
    head: HeadModel,
    verts: Float[np.ndarray, "V 3"],
    *,
    anatomy: Anatomy,
    traits: Traits,
    rng: np.random.Generator,
) -> Part | None:
    """Short ribbons that hang from cheeks, lip and chin of those with a full beard.

    Args:
        head: the head model.
        verts: the person's vertices at rest, metres.
        anatomy: measures of the head.
        traits: of the person.
        rng: random numbers of the person.
    """
    if traits.beard < FULL_BEARD:
        return None
    scale = anatomy.scale
    faces = head.faces.cpu().numpy()[anatomy.parts.skin]
    inside = np.minimum(anatomy.beard - 0.002 * scale, -anatomy.lips - 0.0015 * scale)
    chosen, roots, normals = _roots(verts, faces, inside, BEARD_COUNT, rng)
    length = scale * (0.006 + 0.02 * (traits.beard - FULL_BEARD)) * rng.uniform(0.6, 1.0, (BEARD_COUNT, 1))
    low = np.clip((anatomy.point(2)[1] - roots[:, 1:2]) / (0.07 * scale), 0.35, 1.2)
    down = np.array([0.0, -1.0, 0.0]) + 0.35 * rng.standard_normal((BEARD_COUNT, 3))
    steps = [roots - 0.0008 * scale * normals]
    for share in (0.9, 0.5, 0.25):
        steps.append(steps[-1] + length * low / 3 * _unit(down + share * normals))
    make = _Ribbons(0.0022 * scale, chosen, anatomy.skull)
    weights = head.weights.cpu().numpy()[np.repeat(chosen, 2 * len(steps))]
    return make.part(np.stack(steps, axis=1), lambda points: weights, rng)


def _roots(
    verts: np.ndarray, faces: np.ndarray, scalp: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " R"], Float[np.ndarray, "R 3"], Float[np.ndarray, "R 3"]]:
    """Points strewn evenly over the scalp: a near vertex, place, normal."""
    inside = faces[(scalp[faces] > -0.002).all(1)]
    a, b, c = (verts[inside[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    place = (np.arange(count) + rng.random(count)) / count
    face = np.searchsorted(np.cumsum(area) / area.sum(), place).clip(max=len(inside) - 1)
    u, v = rng.random((2, count))
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u)[:, None], np.where(fold, 1 - v, v)[:, None]
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    return inside[face, 0], points, (normal / np.maximum(area, 1e-12)[:, None])[face]


def _grown(
    roots: np.ndarray,
    normals: np.ndarray,
    *,
    surface: Surface,
    torso: Torso,
    style: HairStyle,
    traits: Traits,
    anatomy: Anatomy,
    rng: np.random.Generator,
) -> Float[np.ndarray, "R K 3"]:
    """Ribbons step by step: combed at the root, hanging at the end, never inside the head."""
    scale, count = anatomy.scale, len(roots)
    length = style.length * traits.hair_length * scale * rng.uniform(0.75, 1.0, count)
    step = (length / (style.steps - 1))[:, None]
    clear = scale * style.lift * rng.uniform(0.25, 1.0, count)
    comb = _combed(roots, style, traits, anatomy) + 0.25 * rng.standard_normal((count, 3))
    keep = np.radians(style.curtain) * rng.uniform(0.9, 1.1, count)
    points = [roots - 0.001 * scale * normals]
    for k in range(1, style.steps):
        share = k / (style.steps - 1)
        here = points[-1]
        outward = _unit(here - surface.centre)
        along = _unit(comb - (comb * outward).sum(1, keepdims=True) * outward)
        hang = style.weight * np.clip(share * length / (HANGS_AFTER * scale), 0, 1)[:, None]
        way = (1 - hang) * along + hang * np.array([0.0, -1.5, 0.0])
        way = way + style.stand * (1 - share) ** 2 * normals
        moved = here + step * _unit(way)
        rise = clear * np.sin(np.pi * min(1.0, 0.25 + 0.65 * share)) + 0.0015 * scale
        moved = surface.pushed(moved, rise)
        moved = _clear_of_face(moved, here, keep, anatomy)
        points.append(_clear_of_torso(moved, here, torso, scale))
    strands = _without_kinks(np.stack(points, axis=1), surface, 0.001 * scale)
    return strands + _curls(strands, style, scale, rng) if style.curl else strands


def _without_kinks(strands: np.ndarray, surface: Surface, clear: float) -> np.ndarray:
    """Each ribbon smoothed along itself, twice, and pushed out of the head again."""
    for _ in range(2):
        middle = 0.25 * strands[:, :-2] + 0.5 * strands[:, 1:-1] + 0.25 * strands[:, 2:]
        outside = surface.pushed(middle.reshape(-1, 3), clear).reshape(middle.shape)
        strands = np.concatenate([strands[:, :1], outside, strands[:, -1:]], axis=1)
    return strands


def _combed(roots: np.ndarray, style: HairStyle, traits: Traits, anatomy: Anatomy) -> np.ndarray:
    """Away from the parting, backwards and down, as the style says."""
    aside, back, down = style.comb
    parting = 0.035 * anatomy.scale * traits.parting
    away = np.tanh((roots[:, 0] - parting) / (0.012 * anatomy.scale))
    comb = np.empty_like(roots)
    front = np.clip((roots[:, 2] - anatomy.skull[2]) / (0.05 * anatomy.scale) + 0.6, 0.15, 1)
    comb[:, 0], comb[:, 1], comb[:, 2] = aside * away * front, -down - 0.5 * (1 - front), -back * front
    return comb


def _clear_of_face(moved: np.ndarray, before: np.ndarray, keep: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Hair that falls before the face is turned aside, about the vertical; ``keep`` radians stay free."""
    scale, skull = anatomy.scale, anatomy.skull
    flat = moved - skull
    turn = np.arctan2(flat[:, 0], flat[:, 2])
    drop = np.clip((anatomy.point(10)[1] - 0.004 * scale - moved[:, 1]) / (0.035 * scale), 0, 1)
    least = keep * drop
    side = np.where(before[:, 0] >= 0, 1.0, -1.0)
    wanted = np.where(np.abs(turn) < least, side * least, turn)
    reach = np.hypot(flat[:, 0], flat[:, 2])
    result = moved.copy()
    result[:, 0] = skull[0] + reach * np.sin(wanted)
    result[:, 2] = skull[2] + reach * np.cos(wanted)
    return result


def _clear_of_torso(moved: np.ndarray, before: np.ndarray, torso: Torso, scale: float) -> np.ndarray:
    """Hair falls before or behind the shoulders; what would have to go far out of them stops."""
    across, deep = torso.axes(moved[:, 1])
    across, deep = across + 0.006 * scale, deep + 0.008 * scale
    share = np.clip(np.abs(moved[:, 0]) / across, 0, 1)
    least = deep * np.sqrt(1 - share**2)
    ahead = np.where(before[:, 2] >= torso.middle, 1.0, -1.0)
    off = (moved[:, 2] - torso.middle) * ahead
    pushed = moved.copy()
    pushed[:, 2] = torso.middle + ahead * np.maximum(off, least)
    far = (least - off > 0.022 * scale) & (share < 1)
    return np.where(far[:, None], before, pushed)


def _curls(strands: np.ndarray, style: HairStyle, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A winding about the way of every ribbon, none at the root."""
    count, steps = strands.shape[:2]
    share = np.linspace(0, 1, steps)
    phase = (
        2 * np.pi * (style.turns * share[None] * rng.uniform(0.7, 1.3, (count, 1)) + rng.random((count, 1)))
    )
    size = style.curl * scale * np.sqrt(share)
    axes = _unit(rng.standard_normal((2, count, 3)))
    return size[None, :, None] * (
        np.cos(phase)[..., None] * axes[0][:, None] + np.sin(phase)[..., None] * axes[1][:, None]
    )


@dataclass(frozen=True)
class _Ribbons:
    """Strands made into ribbons: width at the root, the vertex each follows, the middle of the head."""

    width: float
    chosen: Int[np.ndarray, " R"]
    centre: Float[np.ndarray, " 3"]

    def part(
        self,
        strands: Float[np.ndarray, "R K 3"],
        weights: Callable[[np.ndarray], np.ndarray],
        rng: np.random.Generator,
    ) -> Part:
        """The mesh; ``weights`` gives joint weights of its points."""
        count, steps = strands.shape[:2]
        share = np.linspace(0, 1, steps)
        tangent = _unit(np.gradient(strands, axis=1))
        outward = _unit(strands - self.centre)
        side = _unit(np.cross(tangent, outward))
        roll = rng.uniform(-0.5, 0.5, (count, 1, 1))
        side = np.cos(roll) * side + np.sin(roll) * np.cross(side, tangent)
        normal = _unit(np.cross(side, tangent))
        normal *= np.sign((normal * outward).sum(2, keepdims=True) + 1e-9)
        half = 0.5 * self.width * (1 - 0.85 * share**2.5) * rng.uniform(0.7, 1.2, (count, 1))
        net = np.stack([strands - half[..., None] * side, strands + half[..., None] * side], axis=2)
        normals = np.stack([_unit(normal - 0.5 * side), _unit(normal + 0.5 * side)], axis=2)
        coords = np.empty((count, steps, 2, 4))
        coords[..., 0] = (-1.0, 1.0)
        coords[..., 1], coords[..., 2] = share[None, :, None], np.arange(count)[:, None, None]
        coords[..., 3] = rng.standard_normal((count, 1, 1))
        faces = grid_faces(steps, 2)[None] + 2 * steps * np.arange(count)[:, None, None]
        points = net.reshape(-1, 3)
        return Part(
            points,
            normals.reshape(-1, 3),
            faces.reshape(-1, 3),
            weights(points),
            coords.reshape(-1, 4),
            Material.HAIR,
            tangents=np.repeat(tangent, 2, axis=1).reshape(-1, 3),
            follow=np.repeat(self.chosen, 2 * steps),
        )


def _hair_weights(head: HeadModel, points: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Hair turns with the head; what hangs below the chin stays more and more with the shoulders."""
    chin = anatomy.point(152)[1]
    low = np.clip((chin + 0.02 * anatomy.scale - points[:, 1]) / (0.10 * anatomy.scale), 0, 0.85)
    weights = np.zeros((len(points), len(head.joint_names)), np.float32)
    weights[:, head.joint_names.index("root")] = low
    weights[:, head.joint_names.index("neck")] = 1 - low
    return weights


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
