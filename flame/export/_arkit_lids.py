"""eyeBlink and eyeWide from how far the lids are apart, against the same person's open eyes.

Lids move faster than a smoothed fit, and no shape basis knows how wide a person's eyes are: so the
detected lids are measured (the fit's mesh plus what it left over, head pose removed), and a clip says
itself what open means.
"""

from __future__ import annotations

import numpy as np
import torch

from ..landmarks import LEFT_EYE_RIM, RIGHT_EYE_RIM
from ..model import LandmarkModel
from ..params import DETECTED, HeadFit
from ..posing import camera_rotation, pixels_per_metre

LID_PAIRS = {
    "Left": ((385, 380), (386, 374), (387, 373)),
    "Right": ((158, 153), (159, 145), (160, 144)),
}
"""Upper and lower lid in the middle of each eye."""
OPEN_PERCENTILE = 75  # of a clip's frames: eyes are open most of the time
FEWEST_FRAMES = 25  # that tell what open means; a shorter clip takes the model's own lids
CLOSED_SHARE = 0.12  # of the open aperture that detectors leave between shut lids
WIDE_SHARE = 0.35  # wider than open at eyeWide = 1


def lid_weights(face: LandmarkModel, fit: HeadFit, moved: np.ndarray) -> dict[str, np.ndarray]:
    """eyeBlink and eyeWide of either eye, ``(T,)`` each in 0..1; none for a head without these landmarks.

    Args:
        face: the head at its landmarks.
        fit: T frames, with the detected landmarks' residual.
        moved: displacement of the landmarks from rest, ``(T, L, 3)`` metres.
    """
    rows = {int(index): row for row, index in enumerate(face.indices.tolist())}
    rest = (face.mean + face.shape_basis[..., : len(fit.params.shape)] @ fit.params.shape).double().numpy()
    points = rest + moved + left_over(face, fit)
    weights = {}
    for side, pairs in LID_PAIRS.items():
        known = [(rows[u], rows[v]) for u, v in pairs if u in rows and v in rows]
        if not known:
            continue
        opening = _aperture(points, rest, known)
        at_rest = float(_aperture(rest[None], rest, known)[0])
        share = opening / max(_open(opening, fit, at_rest), 1e-6)
        weights[f"eyeBlink{side}"] = np.clip((1 - share) / (1 - CLOSED_SHARE), 0, 1)
        weights[f"eyeWide{side}"] = np.clip((share - 1) / WIDE_SHARE, 0, 1)
    return weights


def without_resting_lids(face: LandmarkModel, fit: HeadFit, moved: np.ndarray) -> np.ndarray:
    """Displacements ``(T, L, 3)`` with the lids' taken against the clip's median, where a clip is long
    enough.
    """
    seen = (fit.status == DETECTED).numpy()
    rims = {*LEFT_EYE_RIM, *RIGHT_EYE_RIM}
    rows = [row for row, index in enumerate(face.indices.tolist()) if int(index) in rims]
    if seen.sum() < FEWEST_FRAMES or not rows:
        return moved
    moved = moved.copy()
    moved[:, rows] -= np.median(moved[seen][:, rows], axis=0)
    return moved


def _aperture(points: np.ndarray, rest: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Mean distance (T,) of upper from lower lid along the way they close; below 0 where they overlap."""
    upper, lower = (list(ids) for ids in zip(*pairs, strict=True))
    way = (rest[upper] - rest[lower]).mean(0)
    way = way / max(float(np.linalg.norm(way)), 1e-9)
    return ((points[:, upper] - points[:, lower]) @ way).mean(1)


def _open(opening: np.ndarray, fit: HeadFit, at_rest: float) -> float:
    seen = opening[(fit.status == DETECTED).numpy()]
    return float(np.percentile(seen, OPEN_PERCENTILE)) if len(seen) >= FEWEST_FRAMES else at_rest


def left_over(face: LandmarkModel, fit: HeadFit) -> np.ndarray:
    """The fit's 2D residual as displacements (T, L, 3) in model axes; unseen frames take the clip's
    median.
    """
    place = {int(index): column for column, index in enumerate(fit.landmark_indices.tolist())}
    columns = [place.get(int(index), -1) for index in face.indices.tolist()]
    known = np.array(columns) >= 0
    pixels = np.zeros((fit.frames, len(columns), 2))
    pixels[:, known] = fit.residual.double().numpy()[:, [c for c in columns if c >= 0]]
    seen = (fit.status == DETECTED).numpy()
    if seen.any():
        pixels[~seen] = np.median(pixels[seen], axis=0)
    metres = pixels / pixels_per_metre(fit.params, fit.camera).double().numpy()[:, None, None]
    flat = np.concatenate([metres, np.zeros_like(metres[..., :1])], axis=-1)  # (T, L, 3), camera axes
    turn = camera_rotation(fit.params).double()  # model -> camera
    return torch.einsum("tij,tli->tlj", turn, torch.from_numpy(flat)).numpy()
