"""How a synthetic head moves between two frames, told as the geometry sources tell it: exactly."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....flame.posing import head_pose, skull_vertices
from ....geom.transforms import umeyama
from ....geom.view_synthesis import intrinsics_matrix
from .clip import SyntheticClip
from .render import see
from .truth import visible_vertices

LEAST_NEIGHBOURS = 12


def true_pose(clip: SyntheticClip, frame: int) -> Float[Tensor, "1 3"]:
    """Yaw, pitch, roll of the head in degrees.

    Args:
        clip: the synthetic clip.
        frame: its number.
    """
    return head_pose(clip.motion.params.select([frame]))


def true_intrinsics(clip: SyntheticClip, frame: int) -> Float[Tensor, "1 3 3"]:
    """Of the camera of a frame, in pixels.

    Args:
        clip: the synthetic clip.
        frame: its number.
    """
    camera = clip.motion.camera
    return intrinsics_matrix(camera.focal[[frame]], camera.principal[[frame]])


def true_relative_pose(clip: SyntheticClip, source: int, driving: int) -> Float[Tensor, "1 3 4"]:
    """The rigid map of the skull from the source camera's axes to the driving camera's, metres.

    That of the vertices above the jaw, which expressions hardly move, by least squares.

    Args:
        clip: the synthetic clip.
        source, driving: numbers of two frames.
    """
    head = clip.person.head
    rows = skull_vertices(head)
    one, two = (
        see(clip.person, clip.motion, frame).posed.points[0, : len(rows)][rows] for frame in (source, driving)
    )
    found = umeyama(one, two, with_scale=False)
    return torch.cat([found.rotation, found.translation[:, None]], 1)[None]


def spread_vertices(points: Float[Tensor, "V 2"], seen: Tensor, count: int) -> Int[Tensor, "K"]:
    """So many of the vertices that are seen, as far apart in the picture as they go.

    Args:
        points: of all vertices in pixels.
        seen: which may be taken, ``(V,)`` booleans.
        count: how many.
    """
    rows = seen.nonzero()[:, 0]
    places = points[rows]
    chosen = [int((places - places.mean(0)).norm(dim=1).argmin())]
    nearest = (places - places[chosen[0]]).norm(dim=1)
    while len(chosen) < min(count, len(rows)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (places - places[chosen[-1]]).norm(dim=1))
    return rows[chosen]


def true_keypoints(
    clip: SyntheticClip, source: int, driving: int, vertices: Int[Tensor, "K"]
) -> tuple[Float[Tensor, "1 K 2"], Float[Tensor, "1 K 2"], Float[Tensor, "1 K 2 2"]]:
    """Vertices of the head as keypoints: where both frames show them, hidden ones too, and how the source's
    neighbourhood of each follows from the driving frame's.

    Args:
        clip: the synthetic clip.
        source, driving: numbers of two frames.
        vertices: of the head, that are the keypoints.

    Returns:
        Keypoints of source and driving frame in pixels; the affine map ``J_S J_D^-1`` about each, by
        least squares over its share of the vertices that the source shows, nearest in the driving frame.
    """
    count = len(clip.person.head.template)
    seen = visible_vertices(clip.view(source), count)
    one, two = (clip.view(frame).verts[0, :count, :2] for frame in (source, driving))
    share = min(int(seen.sum()), max(LEAST_NEIGHBOURS, int(seen.sum()) // len(vertices)))
    near = torch.cdist(two[vertices], two[seen]).topk(share, largest=False).indices  # (K, N)
    there, here = (points[seen][near] - points[seen][near].mean(1, keepdim=True) for points in (one, two))
    affine = (torch.linalg.pinv(here, rtol=1e-3) @ there).mT  # (K, 2, 2)
    return one[vertices][None], two[vertices][None], affine[None]
