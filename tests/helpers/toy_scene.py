"""A small scene with every field that a source or an animator may ask for: picture, mask, mesh, landmarks."""

from __future__ import annotations

import torch
from torch import Tensor
from toy_mesh import bulge, sheet, sheet_faces, texture

from headwarp.geom.flow import pixel_grid
from headwarp.geom.guidance import Driving, Guidance, Source

SIZE = (64, 72)
GRID = 9
FACES = sheet_faces(GRID, GRID)
VERTS = bulge(sheet((24, 16, 50, 44), rows=GRID, columns=GRID), 8.0)
LANDMARKS = VERTS[:, torch.arange(68), :2]  # 68 of the 81 vertices
KEYPOINTS = LANDMARKS[:, ::7]  # 10, all over the mesh
SKULL = torch.arange(GRID * GRID) < GRID * 6  # the upper rows
FOCAL = 80.0
CAMERA = torch.tensor([[[FOCAL, 0.0, 36.0], [0.0, FOCAL, 32.0], [0.0, 0.0, 1.0]]])
BODY = torch.arange(GRID * GRID) >= GRID * 8  # the lowest row


def person() -> Tensor:
    """Soft mask of an ellipse around the mesh and of what is below it, ``(1, 1, H, W)``."""
    grid = pixel_grid(SIZE)
    x, y = grid[:, :1] - 37.0, grid[:, 1:] - 30.0
    head = torch.sigmoid(8 * (1 - ((x / 20) ** 2 + (y / 22) ** 2)))
    body = torch.sigmoid((y - 16) / 2) * torch.sigmoid((26 - x.abs()) / 2)
    return torch.maximum(head, body)


def source(**fields: object) -> Source:
    """The scene with every field given."""
    rest = torch.zeros(1, 2, *SIZE)
    known = torch.ones(1, 1, *SIZE)
    everything = {
        "image": texture(SIZE),
        "mask": person(),
        "landmarks": LANDMARKS,
        "keypoints": KEYPOINTS,
        "jacobians": torch.eye(2).expand(1, 10, 2, 2),
        "depth": torch.ones(1, 1, *SIZE),
        "intrinsics": CAMERA,
        "posed_vertices": VERTS,
        "region_map": torch.zeros(1, *SIZE, dtype=torch.int64),
        "guidance": Guidance(rest, known, known),
        "faces": FACES,
        "skull": SKULL,
        "body": BODY,
        "cavity": torch.zeros(GRID * GRID, dtype=torch.bool),
    }
    return Source(**{**everything, **fields})


def driving(shift: Tensor | None = None, **fields: object) -> Driving:
    """The scene as a driver, head moved by ``shift (B, 2)`` pixels; at rest by default."""
    shift = torch.zeros(1, 2) if shift is None else shift
    count = len(shift)
    move = torch.cat([shift, torch.zeros(count, 1)], 1)[:, None]
    still = torch.eye(2, 3).expand(count, 2, 3)
    rest, known = torch.zeros(count, 2, *SIZE), torch.ones(count, 1, *SIZE)
    everything = {
        "image": texture(SIZE).expand(count, -1, -1, -1),
        "mask": person().expand(count, -1, -1, -1),
        "landmarks": LANDMARKS + shift[:, None],
        "keypoints": KEYPOINTS + shift[:, None],
        "jacobians": torch.eye(2).expand(count, 10, 2, 2),
        "depth": torch.ones(count, 1, *SIZE),
        "intrinsics": CAMERA.expand(count, -1, -1),
        "relative_pose": torch.cat([torch.eye(3).expand(count, 3, 3), move.mT / FOCAL], 2),
        "posed_vertices": VERTS + move,
        "region_map": torch.zeros(count, *SIZE, dtype=torch.int64),
        "guidance": Guidance(rest - shift[:, :, None, None], known, known),
        "camera_motion": still,
        "body_motion": still,
    }
    return Driving(**{**everything, **fields})
