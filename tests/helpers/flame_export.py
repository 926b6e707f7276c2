"""The built-in head as a FLAME-schema file with the landmark files of the field beside it, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from flame_schema import flame_arrays_of, write_flame_pickle

from headwarp.flame.landmarks import (
    LEFT_BROW,
    LEFT_EYE_RIM,
    LIPS,
    RIGHT_BROW,
    RIGHT_EYE_RIM,
)
from headwarp.flame.model import HeadModel
from headwarp.geom.sections import plane_sections

NOSE = (1, 2, 4, 5, 6, 19, 94, 97, 98, 168, 195, 197, 326)
FLAME_105 = (*RIGHT_BROW, *LEFT_BROW, *RIGHT_EYE_RIM, *LEFT_EYE_RIM, *NOSE, *LIPS[:40])
"""As FLAME's own file: 20 brow, 32 eye, 13 nose and 40 lip points."""
Beside = Literal["", "mediapipe", "deca"]


def write_head_as_flame(folder: Path, head: HeadModel, *, beside: Beside = "mediapipe") -> Path:
    """A folder with ``generic_model.pkl``, the eyelids, one embedding file or none; returns the pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    write_flame_pickle(folder / "generic_model.pkl", flame_arrays_of(head))
    for side, name in enumerate(("l_eyelid", "r_eyelid")):
        np.save(folder / f"{name}.npy", head.eyelid_basis[..., side].double().numpy())
    if beside == "mediapipe":
        embedding = head.landmarks["mediapipe"]
        np.savez(
            folder / "mediapipe_landmark_embedding.npz",
            lmk_face_idx=embedding.faces[list(FLAME_105)].numpy().astype(np.uint32),
            lmk_b_coords=embedding.bary[list(FLAME_105)].double().numpy(),
            landmark_indices=np.array(FLAME_105),
        )
    if beside == "deca":
        write_deca_file(folder / "landmark_embedding.npy", head)
    return folder / "generic_model.pkl"


def write_deca_file(path: Path, head: HeadModel, *, sign: int = 1) -> dict[str, np.ndarray]:
    """DECA's embedding of a head whose 68 points are known; ``sign`` turns the table's yaw around."""
    import torch

    embedding = head.landmarks["ibug68"]
    faces, bary = embedding.faces.numpy(), embedding.bary.double().numpy()
    table = contour_table(head, sign=sign)
    content = {
        "static_lmk_faces_idx": faces[17:],
        "static_lmk_bary_coords": bary[17:],
        "dynamic_lmk_faces_idx": torch.from_numpy(table[0]),
        "dynamic_lmk_bary_coords": torch.from_numpy(table[1]),
        "full_lmk_faces_idx": faces[None],
        "full_lmk_bary_coords": bary[None],
    }
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return content


def contour_table(head: HeadModel, *, sign: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """79 bins of 17 contour points: on the side turned away, the point of a level line farthest outside.

    Made without any test of visibility: a level line's outline is where its horizontal extent ends. Bin b of
    1 .. 39 is for a turn by ``sign * b`` degrees about the model's y axis, bin 39 + b for the other way.
    """
    verts, mesh = head.template.double().numpy(), head.faces.numpy()
    embedding = head.landmarks["ibug68"]
    rest_faces, rest_bary = embedding.faces[:17].numpy(), embedding.bary[:17].double().numpy()
    faces, bary = np.tile(rest_faces, (79, 1)), np.tile(rest_bary, (79, 1, 1))
    for k in range(17):
        place = rest_bary[k] @ verts[mesh[rest_faces[k]]]
        side = np.sign(place[0])
        if abs(place[0]) < 0.02:
            continue
        ways = plane_sections(verts, mesh, point=place, normal=np.array([0.0, 1.0, 0.0]))
        way = max(ways, key=lambda w: w.points[min(8, len(w.points) - 1), 2])
        row_faces, row_bary = way.at(np.arange(0, 0.08, 0.0005))
        row = np.einsum("nk,nkc->nc", row_bary, verts[mesh[row_faces]])
        for degrees in range(1, 40):
            angle = np.radians(degrees) * side  # this side turns away
            outward = (row[:, 0] * np.cos(angle) + row[:, 2] * np.sin(angle)) * side
            best = int(outward.argmax())
            if outward[best] > ((place[0] * np.cos(angle) + place[2] * np.sin(angle)) * side) + 1e-5:
                bin_number = degrees if side * sign > 0 else 39 + degrees
                faces[bin_number, k], bary[bin_number, k] = row_faces[best], row_bary[best]
    return faces, bary.astype(np.float32)
