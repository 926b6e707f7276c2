"""Who a synthetic person is: everything that is drawn by lot once, from the seed and the person's number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

# display colours (sRGB), from light to dark
SKINS: tuple[Colour, ...] = (
    (0.95, 0.81, 0.73),
    (0.91, 0.74, 0.63),
    (0.83, 0.64, 0.51),
    (0.71, 0.50, 0.37),
    (0.53, 0.35, 0.25),
    (0.37, 0.24, 0.17),
)
HAIRS: dict[str, Colour] = {
    "black": (0.09, 0.075, 0.07),
    "dark": (0.20, 0.13, 0.09),
    "brown": (0.36, 0.24, 0.15),
    "auburn": (0.42, 0.20, 0.11),
    "blond": (0.72, 0.56, 0.36),
    "grey": (0.55, 0.53, 0.51),
    "white": (0.82, 0.80, 0.77),
}
EYES: tuple[Colour, ...] = (
    (0.20, 0.12, 0.07),
    (0.32, 0.20, 0.11),
    (0.38, 0.34, 0.18),
    (0.35, 0.44, 0.36),
    (0.36, 0.48, 0.58),
    (0.46, 0.52, 0.55),
)
STYLES = ("bald", "buzz", "short", "parted", "curly", "bob", "long", "tied", "cap", "scarf")
NECKLINES = ("crew", "vee", "high", "shirt")
OCCLUDERS = ("hand", "microphone")


@dataclass(frozen=True)
class Traits:
    """A person, colours as display RGB in [0, 1], shares in 0 .. 1.

    Attributes:
        number: which person of the seed.
        shape: identity coefficients of the head, ``(S,)``.
        age: years.
        skin, lips, iris, hair, cloth, cloth_accent: colours.
        ruddy: how red cheeks and nose are.
        uneven: how far the skin's tone varies.
        freckles, makeup, stubble, beard: how much of it.
        hair_style: of `STYLES`.
        hair_length: against the style's own, about 1.
        parting: where hair is parted, from the right (-1) to the left (1).
        hairline: metres that the front of the hair lies higher than usual.
        brow: thickness against the usual.
        pupil: radius in metres.
        neckline: of `NECKLINES`.
        stripes: of the cloth: 0 none, 1 across, 2 checked.
        build: width of the shoulders against the usual.
        glasses: "", "clear" or "dark".
        occluder: "" or of `OCCLUDERS`.
    """

    number: int
    shape: np.ndarray
    age: float
    skin: Colour
    lips: Colour
    iris: Colour
    hair: Colour
    cloth: Colour
    cloth_accent: Colour
    ruddy: float
    uneven: float
    freckles: float
    makeup: float
    stubble: float
    beard: float
    hair_style: str
    hair_length: float
    parting: float
    hairline: float
    brow: float
    pupil: float
    neckline: str
    stripes: int
    build: float
    glasses: str
    occluder: str


def stream(seed: int, number: int, purpose: int, frame: int = 0) -> np.random.Generator:
    """Random numbers of a person for one purpose; none depends on how many others were drawn.

    Args:
        seed: of the data set.
        number: of the person.
        purpose: a number a use.
        frame: for what is drawn anew in every frame.

    Example:
        >>> first, second = stream(1, 2, 3).random(), stream(1, 2, 3).random()
        >>> first == second, first == stream(1, 3, 3).random()
        (True, False)
    """
    return np.random.default_rng([seed, number, purpose, frame])


def draw_traits(shape_count: int, *, seed: int, number: int, occluders: float = 0.15) -> Traits:
    """The person of a seed and number; ``occluders`` is the share of persons with something before them.

    Args:
        shape_count: of the head's shape coefficients.
        seed: of the data set.
        number: of the person.
        occluders: share of persons with something before them.
    """
    rng = stream(seed, number, 0)
    tone = float(rng.random())
    age = float(rng.uniform(18, 78))
    masculine = bool(rng.random() < 0.5)
    skin = _between(SKINS, tone + 0.06 * rng.standard_normal())
    hair = _hair_colour(rng, tone, age)
    young = age < 60
    bearded = masculine and rng.random() < 0.25
    makeup = 0.0 if masculine or rng.random() < 0.35 else float(rng.uniform(0.3, 1.0))
    return Traits(
        number=number,
        shape=np.clip(0.8 * rng.standard_normal(shape_count), -1.8, 1.8).astype(np.float32),
        age=age,
        skin=skin,
        lips=_lips(rng, skin, makeup),
        iris=_between(EYES, float(rng.beta(1, 2.5) if tone < 0.45 else rng.uniform(0, 0.2))),
        hair=hair,
        cloth=_cloth(rng),
        cloth_accent=_cloth(rng),
        ruddy=float(rng.uniform(0.2, 1.0) * (1 - 0.5 * tone)),
        uneven=float(rng.uniform(0.3, 1.0) * (0.7 + age / 150)),
        freckles=float(rng.uniform(0.3, 1.0)) if tone < 0.4 and rng.random() < 0.3 else 0.0,
        makeup=makeup,
        stubble=float(rng.uniform(0.0, 0.9)) if masculine else 0.0,
        beard=float(rng.uniform(0.3, 1.0)) if bearded else 0.0,
        hair_style=_style(rng, masculine, age),
        hair_length=float(rng.uniform(0.75, 1.3)),
        parting=float(rng.uniform(-0.8, 0.8)),
        hairline=float(rng.uniform(-0.004, 0.008) + (0.012 * rng.random() if not young else 0)),
        brow=float(rng.uniform(0.9, 1.35) if masculine else rng.uniform(0.65, 1.05)),
        pupil=float(rng.uniform(0.0016, 0.0028)),
        neckline=str(rng.choice(NECKLINES, p=(0.4, 0.25, 0.15, 0.2))),
        stripes=int(rng.choice((0, 1, 2), p=(0.7, 0.18, 0.12))),
        build=float(rng.uniform(0.95, 1.15) if masculine else rng.uniform(0.82, 0.98)),
        glasses=str(rng.choice(("", "clear", "dark"), p=(0.78, 0.19, 0.03))),
        occluder=str(rng.choice(OCCLUDERS)) if rng.random() < occluders else "",
    )


def _between(colours: tuple[Colour, ...], share: float) -> Colour:
    """A colour of the list, 0 its first and 1 its last, mixed of two neighbours."""
    place = float(np.clip(share, 0, 1)) * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    first, second = np.array(colours[low]), np.array(colours[low + 1])
    return _rgb(first + (place - low) * (second - first))


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> Colour:
    names = ("black", "dark", "brown", "auburn", "blond")
    shares = (0.15, 0.25, 0.3, 0.1, 0.2) if tone < 0.45 else (0.65, 0.25, 0.08, 0.01, 0.01)
    own = np.array(HAIRS[str(rng.choice(names, p=shares))]) * rng.uniform(0.85, 1.15)
    old = np.array(HAIRS["grey"] if rng.random() < 0.5 else HAIRS["white"])
    grey = float(np.clip((age - rng.uniform(42, 75)) / 15, 0, 0.95))
    return _rgb(own + grey * (old - own))


def _lips(rng: np.random.Generator, skin: Colour, makeup: float) -> Colour:
    natural = np.array(skin) * (0.87, 0.64, 0.64) + (0.03, 0.0, 0.01)
    painted = np.array(((0.62, 0.10, 0.14), (0.70, 0.30, 0.32), (0.48, 0.12, 0.20))[rng.integers(3)])
    return _rgb(natural + 0.75 * makeup * (painted - natural))


def _cloth(rng: np.random.Generator) -> Colour:
    """Mostly muted colours, some white and black."""
    import colorsys

    if rng.random() < 0.35:
        return _rgb(np.full(3, rng.choice((0.08, 0.15, 0.35, 0.8, 0.9))))
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.15, 0.7), rng.uniform(0.2, 0.8))


def _style(rng: np.random.Generator, masculine: bool, age: float) -> str:
    bald = 0.04 + (0.14 if age > 50 else 0.0)
    shares = (
        (bald, 0.14, 0.34, 0.2, 0.14, 0.0, 0.03, 0.03, 0.08, 0.0)
        if masculine
        else (0.01, 0.02, 0.08, 0.06, 0.17, 0.2, 0.26, 0.12, 0.03, 0.05)
    )
    weights = np.array(shares)
    return str(rng.choice(STYLES, p=weights / weights.sum()))


def _rgb(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(values, 0.0, 1.0).tolist()
    return red, green, blue
