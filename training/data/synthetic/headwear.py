"""Caps and headscarves: shells over the head's own surface."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from ....flame.landmarks import FACE_OVAL
from ....flame.model import HeadModel
from .anatomy import Anatomy, in_polygon
from .parts import Material, Part, grid_faces, joint_weights, mesh_normals
from .traits import Traits

COVERED = 1.0  # coordinate of cloth far from any hem, metres
_PEAK = (9, 25)  # rows and columns of a cap's peak


def headwear_parts(
    head: HeadModel, verts: Float[np.ndarray, "V 3"], *, anatomy: Anatomy, traits: Traits
) -> list[Part]:
    """A cap or a headscarf, where the person wears one; coords as those of the torso, the last 1.

    Args:
        head: the head model.
        verts: the person's vertices at rest, metres.
        anatomy: measures of the head.
        traits: of the person.
    """
    if traits.hair_style == "cap":
        lift = np.full(len(verts), 0.009 * anatomy.scale)
        line = _cap_line(verts, anatomy)
        return [_shell(head, verts, anatomy, verts[:, 1] > line, lift, hem=line), _peak(head, verts, anatomy)]
    if traits.hair_style == "scarf":
        opening = anatomy.points[list(FACE_OVAL), :2] * (0.99, 1.0) + (0.0, 0.001)
        front = head.template[:, 2].numpy() > anatomy.point(234)[2]
        outside = ~(in_polygon(head.template[:, :2].numpy(), opening) & front)
        return [_shell(head, verts, anatomy, outside, _draped(head, anatomy))]
    return []


def _cap_line(verts: Float[np.ndarray, "V 3"], anatomy: Anatomy) -> Float[np.ndarray, " V"]:
    """Height of a cap's hem: over the brows in front, lower at the back."""
    back = np.clip((verts[:, 2] - anatomy.skull[2]) / (0.10 * anatomy.scale), -1, 1)
    return anatomy.point(33)[1] + anatomy.scale * (0.026 + 0.012 * back)


def _draped(head: HeadModel, anatomy: Anatomy) -> Float[np.ndarray, " V"]:
    """How far a headscarf stands off: close at the forehead, loose at the back and around the neck."""
    template, scale = head.template.double().numpy(), anatomy.scale
    low = np.clip((anatomy.point(152)[1] + 0.03 * scale - template[:, 1]) / (0.06 * scale), 0, 1)
    back = np.clip((anatomy.point(234)[2] - template[:, 2]) / (0.06 * scale), 0, 1)
    ears = head.region_masks.get("ears")
    flat = 0.0 if ears is None else 0.004 * ears.numpy()
    return scale * (0.005 + 0.009 * back + 0.008 * low) - flat


def _shell(
    head: HeadModel,
    verts: Float[np.ndarray, "V 3"],
    anatomy: Anatomy,
    inside: Bool[np.ndarray, " V"],
    lift: Float[np.ndarray, " V"],
    *,
    hem: Float[np.ndarray, " V"] | None = None,
) -> Part:
    """The skin's triangles whose corners are all inside, lifted along their normals.

    With a hem, those with any corner inside, and corners below that height are moved up to it.
    """
    skin = head.faces.numpy()[anatomy.parts.skin]
    normals = mesh_normals(verts, skin)
    faces = skin[inside[skin].all(1)] if hem is None else skin[inside[skin].any(1)]
    used, flat = np.unique(faces, return_inverse=True)
    faces = flat.reshape(-1, 3)
    points = verts[used] + lift[used, None] * normals[used]
    if hem is not None:
        points[:, 1] = np.maximum(points[:, 1], hem[used])
    coords = np.full((len(used), 4), COVERED)
    coords[:, 2] = points[:, 1]
    return Part(
        points,
        mesh_normals(points, faces),
        faces,
        head.weights.numpy()[used],
        coords,
        Material.CLOTH,
        follow=used,
    )


def _peak(head: HeadModel, verts: Float[np.ndarray, "V 3"], anatomy: Anatomy) -> Part:
    """The peak before a cap's front, bent down at its sides."""
    scale, skull = anatomy.scale, anatomy.skull
    rows, columns = _PEAK
    turn = np.radians(np.linspace(-52, 52, columns))
    height = anatomy.point(33)[1] + 0.038 * scale
    ring = verts[(np.abs(verts[:, 1] - height) < 0.01 * scale) & (verts[:, 2] > skull[2] - 0.01)]
    around = np.arctan2(ring[:, 0], ring[:, 2] - skull[2])
    reach = np.hypot(ring[:, 0], ring[:, 2] - skull[2])
    base = (
        np.array([reach[np.abs(around - t) < 0.25].max(initial=0.06 * scale) for t in turn]) + 0.006 * scale
    )
    share = np.linspace(0, 1, rows)[:, None]
    out = base + 0.066 * scale * share * np.cos(turn * (0.5 * np.pi / turn[-1])).clip(0) ** 0.6
    net = np.empty((rows, columns, 3))
    net[..., 0], net[..., 2] = out * np.sin(turn), skull[2] + out * np.cos(turn)
    net[..., 1] = height - scale * (0.012 * share + 0.016 * share * np.sin(turn) ** 2)
    points = net.reshape(-1, 3)
    faces = grid_faces(rows, columns)
    coords = np.full((len(points), 4), COVERED)
    coords[:, 2] = points[:, 1]
    return Part(
        points,
        np.abs(mesh_normals(points, faces)) * (0.0, 1.0, 0.0) + np.array([0.0, 0.0, 0.2]),
        faces,
        joint_weights(head.joint_names, len(points), joint="neck"),
        coords,
        Material.CLOTH,
    )
