"""What surfaces look like before light falls on them, from where on the person a pixel lies."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .anatomy import as_tensor
from .hair import FULL_BEARD
from .noise import lattice, smoothstep, solid_noise
from .parts import Material
from .person import Person
from .traits import Colour, stream

TEXTURE = 4  # stream of random numbers
# an odd turn: two lattices that do not line up have no planes of their own
_TURN = torch.linalg.qr(torch.tensor([[1.0, 2.0, 3.0], [-2.0, 1.0, 1.0], [0.5, -1.0, 2.0]]))[0]
IRIS_RADIUS = 0.0059


@dataclass(frozen=True)
class Look:
    """Colours and answers to light of P points: linear albedo (P, 3); gloss, sharp, wrap (P,)."""

    albedo: Float[Tensor, "P 3"]
    gloss: Float[Tensor, " P"]
    sharp: Float[Tensor, " P"]
    wrap: Float[Tensor, " P"]


def to_linear(display: Tensor) -> Tensor:
    """sRGB's display values to light."""
    return torch.where(display <= 0.04045, display / 12.92, ((display.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def to_display(linear: Tensor) -> Tensor:
    """Light to sRGB's display values."""
    return torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    )


class Painter:
    """Paints one person; holds the random fields of its skin, cloth and hair."""

    def __init__(self, person: Person, *, seed: int) -> None:
        self.person = person
        self.field = lattice(stream(seed, person.traits.number, TEXTURE), 4)
        self.strands = torch.from_numpy(
            stream(seed, person.traits.number, TEXTURE + 100).standard_normal((4096, 4)).astype(np.float32)
        )

    @property
    def _eye_height(self) -> float:
        return float(self.person.anatomy.point(33)[1])

    def look(
        self,
        material: Int[Tensor, " P"],
        place: Float[Tensor, "P 3"],
        coords: Float[Tensor, "P 4"],
    ) -> Look:
        """Looks of points by their material.

        Args:
            material: of each point.
            place: of each at rest, metres.
            coords: of each within its part.
        """
        count = len(material)
        result = Look(place.new_zeros(count, 3), *(place.new_zeros(count) for _ in range(3)))
        paint = {
            Material.SKIN: self._skin,
            Material.EYE: self._eye,
            Material.MOUTH: self._mouth,
            Material.TEETH: self._teeth,
            Material.HAIR: self._hair,
            Material.CLOTH: self._cloth,
            Material.FRAME: self._frame,
            Material.OBJECT: self._frame,
            Material.HAND: self._hand,
        }
        for kind, painted in paint.items():
            rows = (material == int(kind)).nonzero()[:, 0]
            if len(rows):
                own = painted(place[rows], coords[rows])
                for name in ("albedo", "gloss", "sharp", "wrap"):
                    getattr(result, name)[rows] = getattr(own, name)
        return result

    def _skin(self, place: Tensor, coords: Tensor) -> Look:
        traits, scale = self.person.traits, self.person.anatomy.scale
        lips, lids, beard, scalp = coords.unbind(1)
        broad, fine, pores, _ = self._noises(place)
        colour = self._bare_skin(place, broad, fine, pores)
        hair = _linear(traits.hair)
        colour = _mix(colour, hair * 0.6, self._stubble(beard, lips, pores, fine))
        lip = smoothstep(lips + 0.0006 * scale * fine, -0.0012 * scale, 0.0014 * scale)
        colour = _mix(colour, _linear(traits.lips) * (1 + 0.08 * pores)[:, None], 0.85 * lip)
        crease = (
            0.16
            * torch.exp(-(((lids - 0.0055 * scale) / (0.0012 * scale)) ** 2))
            * (place[:, 1] > self._eye_height)
        )
        colour = (
            colour * (1 - 0.62 * torch.exp(-((lids / (0.0017 * scale)) ** 2)) - crease)[:, None]
        )  # lashes
        if traits.makeup:
            shade = torch.exp(-((lids / (0.006 * scale)) ** 2)) * 0.35 * traits.makeup
            colour = _mix(colour, _linear((0.25, 0.16, 0.17)), shade)
        brow = 0.8 * hair + (1.2 * hair.mean()).clamp(max=0.6) * (_linear((0.32, 0.26, 0.22)) - hair)
        colour = _mix(colour, brow.clamp(min=0.004), self._brows(place, fine))
        under = torch.zeros_like(scalp)
        if traits.hair_style not in ("bald", "scarf"):
            under = smoothstep(scalp + 0.004 * scale * fine, -0.004 * scale, 0.006 * scale)
            colour = _mix(colour, hair * 0.55, 0.97 * under)
        gloss = (
            0.055 * (1 - 0.8 * under)
            + 0.05 * lip * (1 + traits.makeup)
            + 0.02 * smoothstep(place[:, 2], 0.03, 0.07)
        )
        return Look(colour, gloss, torch.full_like(gloss, 14.0) + 20 * lip, torch.ones_like(gloss))

    def _noises(self, place: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unevenness of 25 mm, 5 mm and 1.3 mm, and spots of 2.2 mm."""
        scale = self.person.anatomy.scale
        broad = solid_noise(place, self.field, wavelength=0.025 * scale)
        fine = solid_noise(place, self.field, wavelength=0.005 * scale)
        pores = solid_noise(place, self.field, wavelength=0.0013 * scale)[:, 2]
        pores = pores + solid_noise(place @ _TURN, self.field, wavelength=0.0017 * scale)[:, 3]
        return broad[:, 0], fine[:, 1], 0.8 * pores, fine[:, 3]

    def _bare_skin(self, place: Tensor, broad: Tensor, fine: Tensor, pores: Tensor) -> Tensor:
        traits, anatomy = self.person.traits, self.person.anatomy
        tone = 1 + traits.uneven * (0.06 * broad + 0.03 * fine + 0.025 * pores)
        colour = _linear(traits.skin) * tone[:, None]
        flush = torch.zeros_like(broad)
        for index, width in ((205, 0.018), (425, 0.018), (1, 0.014), (17, 0.016)):
            centre = as_tensor(anatomy.point(index))
            flush += torch.exp(-(place - centre).square().sum(1) / (width * anatomy.scale) ** 2)
        red = place.new_tensor([1.08, 0.80, 0.80])
        colour = colour * (
            1 + (0.75 * traits.ruddy * flush.clamp(max=1) + 0.1 * broad.clamp(min=0))[:, None] * (red - 1)
        )
        if traits.age > 38:
            colour = colour * (1 - min(1.0, (traits.age - 38) / 30) * self._wrinkles(place))[:, None]
        if traits.freckles:
            near = torch.exp(-((place[:, 1] - anatomy.point(1)[1] - 0.012) / 0.03).square()) * (
                place[:, 2] > 0
            )
            spots = smoothstep(fine + 0.6 * pores, 0.9, 1.6) * near * traits.freckles
            colour = _mix(colour, _linear(traits.skin) * place.new_tensor([0.55, 0.40, 0.32]), 0.6 * spots)
        return colour

    def _wrinkles(self, place: Tensor) -> Tensor:
        """How dark the lines of age are: across the forehead, beside nose and mouth, under the eyes."""
        anatomy = self.person.anatomy
        scale, front = anatomy.scale, (place[:, 2] > 0.0).float()
        up = (place[:, 1] - anatomy.point(9)[1]) / scale
        wave = torch.sin(up * (2 * torch.pi / 0.0085) + 40 * place[:, 0].square() / scale + 1.5)
        brow = smoothstep(up, 0.008, 0.016) * smoothstep(up, 0.038, 0.028)
        dark = (
            0.10 * brow * wave.clamp(min=0) ** 4 * smoothstep(place[:, 0].abs(), 0.045 * scale, 0.02 * scale)
        )
        for points, width, depth in _FOLDS:
            line = np.stack([anatomy.point(index) for index in points])
            stroke = as_tensor(np.column_stack([line[:, :2], np.full(len(line), width * scale)]))
            dark = dark + depth * torch.exp(-_along_stroke(place[:, :2], stroke).square())
        return dark * front

    def _stubble(self, beard: Tensor, lips: Tensor, pores: Tensor, fine: Tensor) -> Tensor:
        traits, scale = self.person.traits, self.person.anatomy.scale
        inside = smoothstep(beard + 0.003 * scale * fine, -0.004 * scale, 0.010 * scale)
        inside = inside * smoothstep(-lips, 0.0005 * scale, 0.003 * scale)
        grain = (0.75 + 0.3 * pores).clamp(0, 1)
        return (
            inside
            * (0.22 * traits.stubble + (0.62 if traits.beard < FULL_BEARD else 0.85) * traits.beard)
            * grain
        )

    def _brows(self, place: Tensor, fine: Tensor) -> Tensor:
        traits, anatomy = self.person.traits, self.person.anatomy
        strength = torch.zeros(len(place))
        for stroke in anatomy.brows:
            line = as_tensor(stroke)
            margin = 3 * float(line[:, 2].max())
            low, high = line[:, :2].amin(0) - margin, line[:, :2].amax(0) + margin
            near = ((place[:, :2] > low) & (place[:, :2] < high)).all(1) & (place[:, 2] > 0.0)
            rows = near.nonzero()[:, 0]
            spot = place[rows]
            slant = spot.new_tensor([0.35, 1.0, 0.35]) * (spot + 0.35 * spot[:, 1:2].abs())
            hairs = solid_noise(slant, self.field, wavelength=0.0011 * anatomy.scale)[:, 0]
            ragged = spot[:, :2] + 0.0005 * anatomy.scale * (fine[rows] + hairs)[:, None]
            share = _along_stroke(ragged, line)  # distance over half width
            soft = smoothstep(share / traits.brow, 1.45, 0.45)
            strength[rows] = torch.maximum(strength[rows], soft * (0.80 + 0.22 * hairs).clamp(0.3, 1))
        return strength

    def _eye(self, place: Tensor, coords: Tensor) -> Look:
        traits, anatomy = self.person.traits, self.person.anatomy
        radius, turn = self._from_pupil(place)
        radius = radius / anatomy.scale
        fibres = solid_noise(
            torch.stack([turn.cos() * 0.01, turn.sin() * 0.01, radius * 0.35], 1),
            self.field,
            wavelength=0.0011,
        )
        iris = _linear(traits.iris) * (1.25 + 0.28 * fibres[:, 0])[:, None]
        iris = iris * (1 - 0.65 * smoothstep(radius, 0.0047, 0.0060))[:, None]
        veins = solid_noise(place, self.field, wavelength=0.002)[:, 1].clamp(min=0)
        white = _linear((0.90, 0.88, 0.86)) * (1 - 0.06 * veins[:, None] * place.new_tensor([0.2, 1.0, 1.0]))
        white = white * (1 - 0.35 * smoothstep(radius, 0.009, 0.014))[:, None]
        colour = _mix(white, iris, smoothstep(radius, IRIS_RADIUS + 0.0004, IRIS_RADIUS - 0.0004))
        colour = _mix(
            colour, torch.full((3,), 0.004), smoothstep(radius, traits.pupil + 3e-4, traits.pupil - 3e-4)
        )
        bright = torch.full_like(radius, 1.1)
        return Look(colour, bright, torch.full_like(radius, 700.0), 0.3 * torch.ones_like(radius))

    def _from_pupil(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Distance across the line of sight from the nearer eye's middle, and the angle about it."""
        centres = [as_tensor(c) for c in self.person.anatomy.parts.irises]
        if not centres:
            return torch.full((len(place),), 0.02), torch.zeros(len(place))
        off = torch.stack([place - c for c in centres])  # (K, P, 3)
        near = off.square().sum(2).argmin(0)
        own = off[near, torch.arange(len(place))]
        return own[:, :2].norm(dim=1) + (own[:, 2] < -0.006) * 0.02, torch.atan2(own[:, 1], own[:, 0])

    def _mouth(self, place: Tensor, coords: Tensor) -> Look:
        deep = smoothstep(place[:, 2], 0.02, 0.055)
        colour = _linear((0.42, 0.16, 0.15)) * (0.25 + 0.75 * deep)[:, None]
        return Look(
            colour, 0.03 * torch.ones_like(deep), 20 * torch.ones_like(deep), 0.5 * torch.ones_like(deep)
        )

    def _teeth(self, place: Tensor, coords: Tensor) -> Look:
        across, up = coords[:, 0] / self.person.anatomy.scale, coords[:, 1] / self.person.anatomy.scale
        width = 0.0072
        between = torch.remainder(across + 0.0 * up, width) / width
        gap = smoothstep((between - 0.5).abs(), 0.44, 0.5)
        gum = smoothstep(up + 0.0012 * (between - 0.5).square() * 4, 0.0085, 0.0098)
        age = min(1.0, max(0.0, (self.person.traits.age - 20) / 60))
        enamel = _linear((0.91, 0.88 - 0.04 * age, 0.82 - 0.12 * age)) * (1 - 0.6 * gap)[:, None]
        enamel = enamel * (1 - 0.55 * smoothstep(across.abs(), 0.012, 0.026))[:, None]
        colour = _mix(enamel, _linear((0.62, 0.30, 0.30)), gum)
        return Look(colour, 0.12 * torch.ones_like(up), 60 * torch.ones_like(up), 0.4 * torch.ones_like(up))

    def _hair(self, place: Tensor, coords: Tensor) -> Look:
        across, along, number, dark = coords.unbind(1)
        row = number.round().long() % len(self.strands)
        waves = self.strands[row]
        fibre = torch.sin(9 * across + 6.3 * waves[:, 0] + 2.0 * along) * 0.5
        fibre = fibre + torch.sin(23 * across + 6.3 * waves[:, 1] - 3.0 * along) * 0.35
        tone = 1 + 0.16 * dark + 0.20 * fibre + 0.25 * (along - 0.5)
        base = _linear(self.person.traits.hair)
        tint = 1 + 0.10 * waves[:, 2:3] * place.new_tensor([0.5, 0.0, -0.5])
        colour = base * tint * tone.clamp(0.35, 2.0)[:, None]
        gloss = (0.10 + 0.12 * base.mean()) * (0.7 + 0.6 * fibre.clamp(-0.5, 1))
        return Look(colour, gloss, torch.full_like(gloss, 40.0), torch.full_like(gloss, 0.8))

    def _cloth(self, place: Tensor, coords: Tensor) -> Look:
        traits, scale = self.person.traits, self.person.anatomy.scale
        below, _, height, accent = coords.unbind(1)
        broad, fine, pores, _ = self._noises(place)
        cloth = _linear(traits.cloth) * (1 + 0.05 * broad + 0.06 * pores)[:, None]
        if traits.stripes:
            band = (torch.remainder(height, 0.05 * scale) < 0.02 * scale).float()
            if traits.stripes == 2:
                band = 0.5 * band + 0.5 * (torch.remainder(place[:, 0], 0.05 * scale) < 0.02 * scale).float()
            cloth = _mix(cloth, _linear(traits.cloth_accent), band)
        cloth = _mix(cloth, _linear(traits.cloth_accent) * (1 + 0.05 * broad + 0.06 * pores)[:, None], accent)
        hem = smoothstep(below, 0.012 * scale, 0.010 * scale)
        cloth = cloth * (1 - 0.25 * hem - 0.35 * smoothstep(below, 0.002 * scale, 0.0) * hem)[:, None]
        covered = smoothstep(below, -0.0004 * scale, 0.0006 * scale)
        colour = _mix(self._bare_skin(place, broad, fine, pores), cloth, covered)
        gloss = 0.045 * (1 - covered) + 0.008
        return Look(colour, gloss, torch.full_like(gloss, 12.0), 1 - 0.8 * covered)

    def _hand(self, place: Tensor, coords: Tensor) -> Look:
        broad, fine, pores, _ = self._noises(place)
        one = torch.ones_like(broad)
        tone = 1 + self.person.traits.uneven * (0.07 * broad + 0.04 * fine + 0.03 * pores)
        return Look(_linear(self.person.traits.skin) * tone[:, None], 0.05 * one, 14 * one, one)

    def _frame(self, place: Tensor, coords: Tensor) -> Look:
        dark = torch.full((len(place), 3), 0.012)
        one = torch.ones(len(place))
        return Look(dark, 0.3 * one, 50 * one, 0 * one)


# lines of age: face-mesh points, width in metres, darkness
_FOLDS = (
    ((129, 203, 206, 216, 212), 0.0016, 0.22),
    ((358, 423, 426, 436, 432), 0.0016, 0.22),
    ((243, 112, 231, 230, 229), 0.0020, 0.12),
    ((463, 341, 451, 450, 449), 0.0020, 0.12),
)


def _linear(colour: Colour) -> Tensor:
    return to_linear(torch.tensor(colour))


def _mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return first + share[:, None] * (second - first)


def _along_stroke(xy: Float[Tensor, "P 2"], stroke: Float[Tensor, "5 3"]) -> Float[Tensor, " P"]:
    """Distance to a polyline over its half width there, the least over its pieces."""
    nearest = torch.full((len(xy),), 99.0)
    for start, end in itertools.pairwise(stroke):
        way = (end - start)[:2]
        offset = xy - start[:2]
        share = ((offset @ way) / way.square().sum().clamp(min=1e-12)).clamp(0, 1)
        half = start[2] + share * (end[2] - start[2])
        nearest = torch.minimum(nearest, (offset - share[:, None] * way).norm(dim=1) / half)
    return nearest
