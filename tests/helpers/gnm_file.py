"""A file in GNM Head's schema with the built-in head's surface, and GNM's forward restated in plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headwarp.flame.model import HeadModel

REGIONS = ("left_eye_region", "right_eye_region", "lower_face_region", "tongue", "pupils")
COUNTS = (7, 7, 12, 3, 1)
IDENTITIES = (("head", 9), ("eyes", 2), ("teeth", 3))


def gnm_arrays(head: HeadModel, *, seed: int = 0, correctives: bool = True) -> dict[str, np.ndarray]:
    """The 20-odd arrays of a GNM Head file.

    Vertices, triangles and texture are the head's; its neck joint is GNM's head joint, and what its jaw moved
    turns with the head. Bases are the head's own columns spread over GNM's component names, by region.
    """
    rng = np.random.default_rng(seed)
    template = head.template.double().numpy()
    count, own = len(template), head.weights.double().numpy()
    weights = np.round(np.stack([own[:, 0], own[:, 1], own[:, 3], own[:, 4]]) * 1024) / 1024  # (4, V)
    weights[1] = 1 - weights[0] - weights[2] - weights[3]  # sums to 1 in float32 too
    joints = head.joint_template.double().numpy()[[0, 1, 3, 4]]
    persons = sum(n for _, n in IDENTITIES)
    shapes = head.shape_basis[..., :persons].double().numpy().transpose(2, 0, 1)
    expressions = head.expression_basis[..., : sum(COUNTS)].double().numpy().transpose(2, 0, 1)
    regressor = np.zeros((36, 3 * count))
    if correctives:
        regressor[9:] = rng.normal(0, 1e-3, (27, 3 * count))  # none of the first joint, as released
    assert head.uv is not None
    assert head.uv_faces is not None
    masks = {
        "skin": ~_union(head, "left_eyeball", "right_eyeball"),
        "hockey_mask": head.region_masks["face"].numpy(),
        "left_eye": head.region_masks["left_eyeball"].numpy(),
        "right_eye": head.region_masks["right_eyeball"].numpy(),
        "upper_lip": head.region_masks["lips"].numpy() & (own[:, 2] < 0.5),
        "lower_lip": head.region_masks["lips"].numpy() & (own[:, 2] >= 0.5),
        "mouth_sock": head.region_masks["mouth_interior"].numpy(),
        "ears": head.region_masks["ears"].numpy(),
    }
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": template.astype(np.float32),
        "template_joint_positions": joints.astype(np.float32),
        "vertex_identity_basis": shapes.astype(np.float32),
        "joint_identity_basis": rng.normal(0, 1e-3, (persons, 4, 3)).astype(np.float32),
        "expression_basis": expressions.astype(np.float32),
        "identity_names": np.array([f"{name}_{k:03d}" for name, n in IDENTITIES for k in range(n)]),
        "expression_names": np.array(
            [f"{name}_{k:03d}" for name, n in zip(REGIONS, COUNTS, strict=True) for k in range(n)]
        ),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "joint_parent_indices": np.array([0, 0, 1, 1], np.int32),
        "skinning_weights": weights.astype(np.float32),
        "joint_regressor": (head.joint_regressor.numpy()[[0, 1, 3, 4]]).astype(np.float32),
        "pose_correctives_regressor": regressor.astype(np.float32),
        "bone_aligned_template_joint_orientations": np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)),
        "triangles": head.faces.numpy().astype(np.int32),
        "triangle_uvs": head.uv.numpy()[head.uv_faces.numpy()].astype(np.float32),
        "mirror_indices": np.arange(count, dtype=np.int32),
        "mesh_component_names": np.array(["skin", "left_eye", "right_eye"]),
        "vertex_groups": np.stack(list(masks.values())).astype(np.float32),
        "vertex_group_names": np.array(list(masks)),
    }


def _union(head: HeadModel, *names: str) -> np.ndarray:
    return np.logical_or.reduce([head.region_masks[name].numpy() for name in names])


def gnm_vertices(
    arrays: dict[str, np.ndarray],
    identity: np.ndarray,
    expression: np.ndarray,
    rotations: np.ndarray,
    translation: np.ndarray,
) -> np.ndarray:
    """GNM's posed vertices (V, 3), float64: identity and expression added, joints moved by the identity,
    correctives of R - I of all four joints, skinning along the chain.
    """
    from scipy.spatial.transform import Rotation

    wide = {key: np.asarray(arrays[key], np.float64) for key in arrays if arrays[key].dtype.kind == "f"}
    bound = (
        wide["template_vertex_positions"]
        + np.tensordot(identity, wide["vertex_identity_basis"], 1)
        + np.tensordot(expression, wide["expression_basis"], 1)
    )
    joints = wide["template_joint_positions"] + np.tensordot(identity, wide["joint_identity_basis"], 1)
    turns = Rotation.from_rotvec(rotations).as_matrix()  # (4, 3, 3)
    features = (turns - np.eye(3)).reshape(-1)
    bound = bound + (features @ wide["pose_correctives_regressor"]).reshape(-1, 3)
    world = [(turns[0], joints[0] + translation)]
    for joint in (1, 2, 3):
        parent = int(arrays["joint_parent_indices"][joint])
        turn, place = world[parent]
        world.append((turn @ turns[joint], place + turn @ (joints[joint] - joints[parent])))
    posed = np.zeros_like(bound)
    for (turn, place), joint, weight in zip(world, joints, wide["skinning_weights"], strict=True):
        posed += weight[:, None] * ((bound - joint) @ turn.T + place)
    return posed


def sparse_rows(head: HeadModel, *, reverse: bool = False) -> str:
    """The text of ``head_sparse_68.txt``: the head's 68 points; ``reverse`` as one release had 2 to 6."""
    embedding = head.landmarks["ibug68"]
    corners = head.faces[embedding.faces].numpy()
    order = list(range(68))
    if reverse:
        order[2:7] = order[2:7][::-1]
    rows = [
        " ".join(f"{int(i)} {float(w):.6f}" for i, w in zip(corners[k], embedding.bary[k], strict=True))
        for k in order
    ]
    return "\n".join(rows) + "\n"


def write_gnm_file(folder: Path, arrays: dict[str, np.ndarray], landmarks: str | None = None) -> Path:
    """Writes ``gnm_head.npz`` and, if given, the landmark text beside it; keys set to None are left out."""
    path = folder / "gnm_head.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    if landmarks is not None:
        (folder / "head_sparse_68.txt").write_text(landmarks)
    return path
