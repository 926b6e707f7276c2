"""Skin, hair, cloth or none of the person: what a picture shows about a fitted head, pixel by pixel.

Where the head lies says what is likely (hair above and round the skull, cloth below the neck, skin on the
face); colours of this picture, learned where that is sure, say what is there. Nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import binary_dilation, binary_erosion, binary_opening, gaussian_filter, label

from ...geom.colour_models import colour_bins, colour_histogram, log_likelihood
from ...geom.face_regions import FaceRegion
from ..face_parts import PartMap

SKIN, HAIR, CLOTH, NONE = range(4)
ROUNDS = 2
_BALD = 0.9  # overlap of colours above the face with those of the face, from which there is no hair
_FEW = 10  # pixels
_LEAST = 1e-3
_REACH = 2.0
_MOST = 4.0  # nats by which colours may speak for or against the person's mask
_CLAMP = 8.0  # nats between materials of the person


@dataclass(frozen=True)
class HeadPlace:
    """Where pixels lie to a head.

    Attributes:
        up: height above the chin in head heights, along the head's own axis: the crown is at about 1,
            ``(H, W)``.
        side: distance from that axis in head heights, ``(H, W)``.
        height: of the head, in px.
    """

    up: Float[np.ndarray, "H W"]
    side: Float[np.ndarray, "H W"]
    height: float


def materials(
    image: UInt8[np.ndarray, "H W 3"],
    person: Float[np.ndarray, "H W"],
    parts: PartMap,
    place: HeadPlace,
) -> Float[np.ndarray, "4 H W"]:
    """How likely each pixel is skin, hair (or what covers it), cloth, or not the person's; sums to 1.

    Args:
        image: RGB; a few hundred pixels of a side are enough.
        person: mask in [0, 1]; colours may move its outline a little.
        parts: of the head.
        place: of the pixels.
    """
    prior = _prior(person, parts, place)
    seeds = _seeds(person, parts, place)
    bins = colour_bins(image)
    if _is_bald(bins, seeds):
        prior[HAIR], seeds[HAIR] = _LEAST, 0.0
    smooth = max(0.8, place.height / 100)
    above = place.up > 0.15  # what lies beside the neck teaches cloth alone, what lies higher hair alone
    teaches = np.stack([np.ones_like(above), above, ~above, np.ones_like(above)])
    shares = seeds
    for _ in range(ROUNDS):
        evidence = np.stack([log_likelihood(bins, colour_histogram(bins, weights)) for weights in shares])
        best = evidence[:NONE].max(0)
        evidence[:NONE] = np.maximum(evidence[:NONE], best - _CLAMP)
        evidence[NONE] = evidence[NONE].clip(best - _MOST, best + _MOST)
        evidence = gaussian_filter(evidence, (0, smooth, smooth), mode="nearest")
        found = _normalised(evidence + np.log(prior))
        shares = 0.5 * found * teaches + seeds
    return _connected(found, parts, place)


def _prior(person: Float[np.ndarray, "H W"], parts: PartMap, place: HeadPlace) -> Float[np.ndarray, "4 H W"]:
    """What is likely where, before any colour is looked at."""
    up = place.up
    labels, scalp, neck = parts.labels, parts.scalp, parts.labels == FaceRegion.NECK
    ear = (labels == FaceRegion.LEFT_EAR) | (labels == FaceRegion.RIGHT_EAR)
    grown = scalp & (up > 0.25)
    far = _distance(place)
    rooted = np.clip((up - 0.45) / 0.5, 0.35, 0.8)
    where = [neck, grown, scalp, ear, labels > 0]
    skin = np.select(where, [0.7, 1 - rooted, 1.0, 0.6, 1.0], np.where(up > 0.1, 0.06, 0.12))
    hair = np.select(
        where,
        [0.15, rooted, 0.04, 0.4, np.where(up > 0.5, 0.08, 0.004)],
        np.where(up > 0.1, 0.85, 0.5) * np.exp(-far),
    )
    cloth = np.select(
        where,
        [np.where(up < -0.15, 0.25, 0.03), _LEAST, _LEAST, _LEAST, _LEAST],
        np.where(up > 0.25, 0.01, np.where(up > -0.25, 0.25, 0.6)),
    )
    there = np.maximum(np.stack([skin, hair, cloth]), _LEAST)
    there /= there.sum(0)
    face = (labels > 0) & ~scalp & ~ear & ~neck
    inside = np.where(face, 1.0, np.clip(person, 0.03, 0.97))
    return np.maximum(np.concatenate([there * inside, (1 - inside)[None]]), 1e-9)


def _distance(place: HeadPlace) -> Float[np.ndarray, "H W"]:
    """Squared distance from where hair is usual, in a unit of its own; hair ends at `_REACH`."""
    aside = np.maximum(place.side - 0.5, 0) / 0.32
    above, below = np.maximum(place.up - 1.15, 0) / 0.3, np.maximum(-place.up, 0) / 1.35
    return aside**2 + above**2 + below**2


def _seeds(person: Float[np.ndarray, "H W"], parts: PartMap, place: HeadPlace) -> Float[np.ndarray, "4 H W"]:
    """Where each material surely lies: 1 there."""
    up, side = place.up, place.side
    plain = ((parts.labels == FaceRegion.SKIN) & ~parts.scalp) | (parts.labels == FaceRegion.NOSE)
    inner = binary_erosion(plain, iterations=max(1, round(place.height / 40))) & (up > 0.1) & (up < 0.6)
    sure = person > 0.8
    off = parts.labels == 0
    hair = sure & (up > 0.55) & (side < 0.6) & (off | (parts.scalp & (up > 0.92)))
    cloth = sure & off & (up < -0.35)
    none = off & (person < 0.05)
    return np.stack([inner, hair, cloth, none]).astype(np.float64)


def _is_bald(bins: Int[np.ndarray, "H W"], seeds: Float[np.ndarray, "4 H W"]) -> bool:
    """Whether what is above the face has the face's colours: Bhattacharyya's overlap of both histograms."""
    if min(seeds[HAIR].sum(), seeds[SKIN].sum()) < _FEW:
        return False
    skin, hair = (colour_histogram(bins, seeds[material]) for material in (SKIN, HAIR))
    return float(np.sqrt(skin * hair).sum()) > _BALD


def _normalised(logs: Float[np.ndarray, "4 H W"]) -> Float[np.ndarray, "4 H W"]:
    shares = np.exp(logs - logs.max(0))
    return shares / shares.sum(0)


def _connected(
    shares: Float[np.ndarray, "4 H W"], parts: PartMap, place: HeadPlace
) -> Float[np.ndarray, "4 H W"]:
    """The same with hair that does not hang on the head given to the others; threads of it do not hold."""
    radius = max(1, round(place.height / 60))
    hair = largest(shares) == HAIR
    thick = binary_opening(np.pad(hair, radius, mode="edge"), _disc(radius))
    thick = thick[radius:-radius, radius:-radius]
    components, count = label(thick)
    grows = parts.scalp | ((parts.labels == 0) & (place.up > 0.15) & (place.up < 1.3) & (place.side < 0.5))
    kept = np.zeros(count + 1, bool)
    kept[np.unique(components[grows & thick])] = True
    kept[0] = False
    body = binary_dilation(kept[components], _disc(radius + 1))
    distance = _distance(place)
    loose = hair & ((~body & ~grows) | (distance > _REACH))
    out = shares.copy()
    out[NONE] += 1e-3 * (place.up > 0)  # another's head is none of this person
    rest = np.maximum(1 - out[HAIR], 1e-9)
    out = np.where(loose, out / rest, out)
    out[HAIR] = np.where(loose, 0.0, out[HAIR])
    return out


def largest(shares: Float[np.ndarray, "C H W"]) -> UInt8[np.ndarray, "H W"]:
    """``shares.argmax(0)``, which numpy takes ten times as long for."""
    best, top = np.zeros(shares.shape[1:], np.uint8), shares[0]
    for number, share in enumerate(shares[1:], start=1):
        best[share > top] = number
        top = np.maximum(top, share)
    return best


def _disc(radius: int) -> Bool[np.ndarray, "N N"]:
    reach = np.arange(-radius, radius + 1)
    return reach[:, None] ** 2 + reach**2 <= radius**2
