"""Measured face statistics from landmark tracks: the mean face, and a learned identity and expression basis.

A track is one person's (or one clip's) face-mesh landmarks (T, 478, 3) as the detector gives them: x right,
y down in pixels, z away from the camera in the same unit. Everything comes back in FLAME's axes, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...geom.errors import ShapeError
from ..landmarks import (
    FACE_MESH_COUNT,
    LIPS_INNER_LOWER,
    LIPS_INNER_UPPER,
    MEDIAPIPE_COUNT,
    mirror_map,
)
from .bases import (
    EXPRESSION_LAST_RING,
    SHAPE_LAST_RING,
    control_points,
    extended,
    orthogonal_modes,
    project_out,
    similarity_fields,
)

if TYPE_CHECKING:
    from ..model import HeadModel
    from .topology import HeadTopology

OUTER_CANTHAL_DISTANCE = 0.0926
PIXEL_TO_MODEL = np.array([1.0, -1.0, -1.0])
MIRROR_X = np.array([-1.0, 1.0, 1.0])
# Where the head frame lies in a face, metres: origin between the ears at the height of the nose, z out.
FRAME_ANCHORS = {
    33: (-0.0445, 0.0266, 0.0317),
    263: (0.0445, 0.0266, 0.0317),
    133: (-0.0186, 0.0259, 0.0376),
    362: (0.0186, 0.0259, 0.0376),
    10: (0.0, 0.0826, 0.0448),
    9: (0.0, 0.0489, 0.0539),
    6: (0.0, 0.0247, 0.0579),
    4: (0.0, -0.0046, 0.0759),
    2: (0.0, -0.0209, 0.0606),
    0: (0.0, -0.0341, 0.0598),
}
SHUT_MOUTH_GAP = 0.0004
LIP_GAP = (13, 14)
MIN_FRAMES = 5
MIN_PERSONS = 2
JAW_LOW = np.array([-0.1, -0.15, -0.15])
JAW_HIGH = np.array([0.7, 0.15, 0.15])


@dataclass(frozen=True)
class MeanFace:
    """The aggregate of many persons: ``landmarks (478, 3)`` float64 metres, and how much it was made of."""

    landmarks: np.ndarray
    persons: int
    frames: int


def align(
    points: np.ndarray, target: np.ndarray, *, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Each set of points carried onto a target by the best similarity (scale, turn, shift) [Umeyama 1991].

    Args:
        points: (T, N, 3).
        target: (N, 3).
        weights: (N,) of the points in the fit; equal if None.

    Returns:
        The moved points (T, N, 3) and the rotations (T, 3, 3) that moved them.
    """
    share = np.full(len(target), 1.0 / len(target)) if weights is None else weights / weights.sum()
    centre = np.einsum("n,tnc->tc", share, points)[:, None]  # (T, 1, 3)
    aim = share @ target
    loose = points - centre
    covariance = np.einsum("n,nc,tnd->tcd", share, target - aim, loose)
    left, values, right = np.linalg.svd(covariance)
    sign = np.ones((len(points), 3))
    sign[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * sign[:, None]) @ right
    scale = (values * sign).sum(1) / np.einsum("n,tnc->t", share, loose**2)
    moved = scale[:, None, None] * loose @ rotation.transpose(0, 2, 1) + aim
    return moved, rotation


def mean_face(tracks: Sequence[np.ndarray], *, max_yaw_deg: float = 40.0, rounds: int = 6) -> MeanFace:
    """The mean neutral face over persons, symmetric, mouth shut, with the pose and the size removed.

    Iterated Procrustes: every frame is aligned to the current mean, a person is the median of the frames, the
    mean weighs persons equally and is averaged with its mirror image. The frames' own spread gives how the
    face moves with the lip gap; each person is carried along it to a shut mouth.

    Args:
        tracks: one (T, 478, 3) array a person, in pixels (module docstring); rows with NaN are left out.
        max_yaw_deg: frames turned further are left out.
        rounds: of the alignment.

    Returns:
        Landmarks in the head frame of :data:`FRAME_ANCHORS`, outer canthi 0.0926 m apart.

    Raises:
        ShapeError: a track has another shape, or no frame is usable.
    """
    people = [usable_frames(track, max_yaw_deg=max_yaw_deg) for track in tracks]
    people = [frames for frames in people if len(frames)]
    if not people:
        raise ShapeError(
            f"tracks: expected frames with a face turned less than {max_yaw_deg} degrees, got none"
        )
    mean = np.mean([np.median(frames, axis=0) for frames in people], axis=0)
    for _ in range(rounds):
        mean = in_head_frame(symmetric(mean))
        people = [align(frames, mean)[0] for frames in people]
        opening = mouth_opening(people)
        persons = np.stack([shut_median(frames, opening) for frames in people])
        mean = align(persons, mean)[0].mean(0)
    mean = parted_lips(in_head_frame(symmetric(mean)))
    return MeanFace(mean, len(people), sum(map(len, people)))


def usable_frames(track: np.ndarray, *, max_yaw_deg: float) -> np.ndarray:
    """The frontal frames of a track, aligned to the head frame; (T', 478, 3) float64 metres.

    Raises:
        ShapeError: the track is not (T, 478, 3).
    """
    track = np.asarray(track, np.float64)
    if track.ndim != 3 or track.shape[1:] != (MEDIAPIPE_COUNT, 3):
        raise ShapeError(f"tracks: expected (T, {MEDIAPIPE_COUNT}, 3), got {track.shape}; one array a person")
    frames = track[np.isfinite(track).all((1, 2))] * PIXEL_TO_MODEL
    if len(frames) == 0:
        return frames
    _, rotation = align(frames[:, list(FRAME_ANCHORS)], np.array(list(FRAME_ANCHORS.values())))
    yaw = np.degrees(np.arcsin(np.clip(rotation[:, 2, 0], -1, 1)))
    frames = frames[np.abs(yaw) < max_yaw_deg]
    if len(frames) == 0:
        return frames
    first = in_head_frame(frames[0])
    return align(frames, first)[0]


def mouth_opening(people: Sequence[np.ndarray]) -> np.ndarray:
    """How the face moves within persons for each metre of lip gap, (478, 3): by least squares."""
    moves = [frames - frames.mean(0) for frames in people]
    gaps = [_lip_gap(frames) for frames in people]
    gaps = [gap - gap.mean() for gap in gaps]
    product = sum(np.einsum("t,tnc->nc", gap, move) for gap, move in zip(gaps, moves, strict=True))
    return product / max(sum(float(gap @ gap) for gap in gaps), 1e-12)


def shut_median(frames: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """The median of a person's frames, each carried along ``opening`` until the mouth is shut."""
    excess = _lip_gap(frames) - SHUT_MOUTH_GAP
    return np.median(frames - excess[:, None, None] * opening, axis=0)


def parted_lips(face: np.ndarray, gap: float = 2e-4) -> np.ndarray:
    """The face with every pair of inner lip points at least ``gap`` metres apart vertically, moved evenly."""
    parted = face.copy()
    for upper, lower in zip(LIPS_INNER_UPPER[1:-1], LIPS_INNER_LOWER[1:-1], strict=True):
        missing = max(0.0, gap - float(face[upper, 1] - face[lower, 1]))
        parted[upper, 1] += missing / 2
        parted[lower, 1] -= missing / 2
    return parted


def symmetric(face: np.ndarray) -> np.ndarray:
    """The mean of a face and its mirror image, first laid on it; exact under the mirror map."""
    twin = (face * MIRROR_X)[mirror_map()[: len(face)]]
    half = (face + align(twin[None], face)[0][0]) / 2
    across = half[263] - half[33]
    across = across / np.linalg.norm(across)
    up = half[10] - half[152]
    up = up - (up @ across) * across
    up = up / np.linalg.norm(up)
    frame = np.stack([across, up, np.cross(across, up)], axis=1)
    upright = (half - (half[33] + half[263]) / 2) @ frame
    return (upright + (upright * MIRROR_X)[mirror_map()[: len(face)]]) / 2


def in_head_frame(face: np.ndarray) -> np.ndarray:
    """A face turned and shifted into the head frame and scaled to the nominal outer-canthal distance."""
    anchors = np.array(list(FRAME_ANCHORS.values()))
    ids = list(FRAME_ANCHORS)
    moved, rotation = align(face[None, ids], anchors)
    scale = np.linalg.norm(moved[0, 0] - moved[0, 1]) / np.linalg.norm(face[33] - face[263])
    placed = scale * (face - face[ids].mean(0)) @ rotation[0].T + moved[0].mean(0)
    return placed * (OUTER_CANTHAL_DISTANCE / np.linalg.norm(placed[33] - placed[263]))


def _lip_gap(frames: np.ndarray) -> np.ndarray:
    return frames[:, LIP_GAP[0], 1] - frames[:, LIP_GAP[1], 1]


def learn_basis(
    tracks: Sequence[np.ndarray],
    head: HeadModel,
    *,
    shape_count: int = 40,
    expression_count: int = 40,
    max_yaw_deg: float = 40.0,
) -> HeadModel:
    """The built-in head with identity and expression bases measured on tracks instead of its harmonics.

    Identity: principal components of the persons' medians about the head's face. Expression: those of the
    frames about their person's median, after the jaw's turn has been fitted and undone. Mirrored copies are
    added to both, similarity motions taken out, and the modes carried over the head as the harmonics are.

    Args:
        tracks: one (T, 478, 3) array a person, as for :func:`mean_face`.
        head: the built-in head, which gives template, weights and joints.
        shape_count: identity components; at most twice the number of persons.
        expression_count: expression components.
        max_yaw_deg: frames turned further are left out.

    Returns:
        A new head, coefficients N(0, 1); its bases describe the persons measured: treat it as theirs.

    Raises:
        ShapeError: ``head`` is not the built-in head, or a track has another shape or too few frames in all.
    """
    from .topology import head_topology

    topology = head_topology()
    if len(head.template) != topology.vertex_count or head.faces.tolist() != topology.faces.tolist():
        raise ShapeError(
            f"head: expected the built-in head ({topology.vertex_count} vertices), got {head.model_id} with "
            f"{len(head.template)}; pass load_head('builtin')"
        )
    people = [usable_frames(track, max_yaw_deg=max_yaw_deg)[:, :FACE_MESH_COUNT] for track in tracks]
    people = [frames for frames in people if len(frames) >= MIN_FRAMES]
    if len(people) < MIN_PERSONS:
        raise ShapeError(
            f"tracks: expected at least {MIN_PERSONS} persons with {MIN_FRAMES} frames under "
            f"{max_yaw_deg} degrees of yaw, got {len(people)}; add footage"
        )
    hinge = Hinge.of(head)
    identities, motions = _samples(people, hinge)
    bases = {
        "shape_basis": (identities, shape_count, SHAPE_LAST_RING),
        "expression_basis": (motions, expression_count, EXPRESSION_LAST_RING),
    }
    return _with_bases(
        head,
        {
            name: _carried(topology, _modes(samples, hinge.face, count), last)
            for name, (samples, count, last) in bases.items()
        },
    )


@dataclass(frozen=True)
class Hinge:
    """The jaw at the landmarks: ``face (468, 3)`` at rest, ``weights (468,)``, ``pivot (3,)``."""

    face: np.ndarray
    weights: np.ndarray
    pivot: np.ndarray

    @staticmethod
    def of(head: HeadModel) -> Hinge:
        """The built-in head's jaw."""
        jaw = head.joint_names.index("jaw")
        return Hinge(
            head.template[:FACE_MESH_COUNT].double().numpy(),
            head.weights[:FACE_MESH_COUNT, jaw].double().numpy(),
            head.joint_template[jaw].double().numpy(),
        )

    def turns(self, angles: np.ndarray) -> np.ndarray:
        """The blended rotations (T, 468, 3, 3) of axis-angles (T, 3)."""
        from scipy.spatial.transform import Rotation

        turned = Rotation.from_rotvec(angles).as_matrix() - np.eye(3)
        return np.eye(3) + self.weights[:, None, None] * turned[:, None]  # (T, 468, 3, 3)


def without_jaw(frames: np.ndarray, face: np.ndarray, hinge: Hinge) -> tuple[np.ndarray, np.ndarray]:
    """What moves in aligned frames (T, 468, 3) of a person besides the jaw, and the jaw's axis-angles (T, 3).

    The jaw and a similarity are fitted together by Gauss-Newton; opening between -0.1 and 0.7 rad, the other
    two axes within 0.15. The rest is turned back into the shut position, its similarity part removed.

    Args:
        frames: aligned points, metres.
        face: the same points at rest.
        hinge: pivot and weights of the jaw.
    """
    arm = face - hinge.pivot
    swing = np.stack([np.cross(axis, arm) for axis in np.eye(3)], axis=-1) * hinge.weights[:, None, None]
    fields = similarity_fields(face)
    system = np.concatenate([swing, fields], axis=-1).reshape(-1, 10)
    angles = np.zeros((len(frames), 3))
    for _ in range(3):
        rest = frames - hinge.pivot - np.einsum("tnij,nj->tni", hinge.turns(angles), arm)
        step = np.linalg.lstsq(system, rest.reshape(len(frames), -1).T, rcond=None)[0]
        angles = np.clip(angles + step[:3].T, JAW_LOW, JAW_HIGH)
    turns = hinge.turns(angles)
    rest = frames - hinge.pivot - np.einsum("tnij,nj->tni", turns, arm)
    rest = project_out(rest.transpose(1, 2, 0), fields).transpose(2, 0, 1)
    return np.linalg.solve(turns, rest[..., None])[..., 0], angles


def _samples(people: Sequence[np.ndarray], hinge: Hinge) -> tuple[np.ndarray, np.ndarray]:
    """Identity deviations (P, 468, 3) and jaw-free motions (T, 468, 3), metres."""
    opening = mouth_opening([align(frames, hinge.face)[0] for frames in people])
    identities, motions = [], []
    for frames in people:
        upright = align(frames, hinge.face)[0]
        person = align(shut_median(upright, opening)[None], hinge.face)[0][0]
        identities.append(person - hinge.face)
        motions.append(without_jaw(align(frames, person)[0], person, hinge)[0])
    return np.stack(identities), np.concatenate(motions)


def _modes(samples: np.ndarray, face: np.ndarray, count: int) -> np.ndarray:
    """Principal modes (468, 3, K) of samples and their mirror images, one standard deviation long."""
    twins = (samples * MIRROR_X)[:, mirror_map()[:FACE_MESH_COUNT]]
    both = np.concatenate([samples, twins]).transpose(1, 2, 0)  # (468, 3, 2 n)
    free = project_out(both, similarity_fields(face)) / np.sqrt(both.shape[2])
    flat = free.reshape(-1, free.shape[2])
    variance, directions = np.linalg.eigh(flat @ flat.T)  # far smaller than the samples
    spread = directions[:, -count:] * np.sqrt(np.clip(variance[-count:], 0, None))
    return orthogonal_modes(spread.reshape(FACE_MESH_COUNT, 3, -1))


def _carried(topology: HeadTopology, modes: np.ndarray, last_ring: int) -> np.ndarray:
    """Modes of the face mesh on every vertex of the head, (V, 3, K)."""
    control = control_points(topology, extended(modes, zero_from_ring=last_ring))
    return (topology.moves @ control.reshape(len(control), -1)).reshape(topology.vertex_count, 3, -1)


def _with_bases(head: HeadModel, bases: dict[str, np.ndarray]) -> HeadModel:
    from ..model import HeadData, HeadModel

    kept: tuple[str, ...] = (
        "template",
        "faces",
        "joint_regressor",
        "weights",
        "pose_basis",
        "eyelid_basis",
        "parents",
    )
    kept += ("joint_names", "landmarks", "region_masks", "uv", "uv_faces")
    licence = "learned from the user's own footage"
    fields: dict[str, Any] = {key: getattr(head, key) for key in kept} | bases
    return HeadModel(HeadData(name="learned", licence=licence, **fields))
