"""What other trackers make of their own files: FLAME posed and projected as their code says, in plain numpy.

Nothing of the package is used, so that a mistake in a converter and in its inverse cannot cancel. FLAME's
arrays are those of a file (`flame_schema.flame_arrays`); every function takes one frame, float64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

PARENTS = (-1, 0, 1, 1, 1)
Arrays = Mapping[str, np.ndarray]


def rodrigues(turn: np.ndarray) -> np.ndarray:
    """Rotation matrix of an axis times an angle."""
    angle = np.linalg.norm(turn)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = turn / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def from_two_rows(six: np.ndarray) -> np.ndarray:
    """PyTorch3D's ``rotation_6d_to_matrix``: stacked along ``dim=-2``."""
    first = six[:3] / np.linalg.norm(six[:3])
    second = six[3:] - first @ six[3:] * first
    second = second / np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])


def flame(
    arrays: Arrays, shape: np.ndarray, expression: np.ndarray, turns: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """``lbs`` of smplx: vertices, and each joint's rest-to-posed 4 x 4 map.

    ``turns``: five rotation matrices, root, neck, jaw, left eye, right eye. Coefficients may be fewer than
    the file's 300 and 100: the first of each are used.
    """
    dirs = np.concatenate(
        [
            arrays["shapedirs"][:, :, : len(shape)],
            arrays["shapedirs"][:, :, 300 : 300 + len(expression)],
        ],
        2,
    )
    shaped = arrays["v_template"] + dirs @ np.concatenate([shape, expression])
    joints = arrays["J_regressor"] @ shaped
    features = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    posed = shaped + arrays["posedirs"] @ features
    world: list[np.ndarray] = []
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    maps = []
    for joint, matrix in enumerate(world):
        relative = matrix.copy()
        relative[:3, 3] -= matrix[:3, :3] @ joints[joint]
        maps.append(relative)
    stacked = np.stack(maps)
    blended = np.einsum("vj,jab->vab", arrays["weights"], stacked)
    return np.einsum("vab,vb->va", blended, np.c_[posed, np.ones(len(posed))])[:, :3], stacked


def rotations(*turns: np.ndarray) -> list[np.ndarray]:
    """Matrices of axis-angle vectors, joined or apart."""
    return [rodrigues(part) for turn in turns for part in np.reshape(turn, (-1, 3))]


def vhap_points(arrays: Arrays, frame: Arrays) -> np.ndarray:
    """``FlameHead.forward`` of one frame of VHAP's arrays, its own offsets added before posing."""
    names = ("rotation", "neck_pose", "jaw_pose", "eyes_pose")
    turns = rotations(*(frame[name].ravel() for name in names))
    offset = frame["static_offset"].reshape(-1, 3)[: len(arrays["v_template"])]
    moved = {**arrays, "v_template": arrays["v_template"] + offset}
    points, _ = flame(moved, frame["shape"].ravel(), frame["expr"].ravel(), turns)
    return points + frame["translation"].ravel()


def opengl_pixels(
    points: np.ndarray, camera_to_world: np.ndarray, focal: tuple[float, float], middle: tuple[float, float]
) -> np.ndarray:
    """``world_to_ndc`` of VHAP's renderer in pixels: x right, y up, looking along -z."""
    seen = (np.linalg.inv(camera_to_world) @ np.c_[points, np.ones(len(points))].T).T[:, :3]
    return np.stack(
        [
            middle[0] + focal[0] * seen[:, 0] / -seen[:, 2],
            middle[1] - focal[1] * seen[:, 1] / -seen[:, 2],
        ],
        1,
    )


def vhap_pixels(arrays: Arrays, tracked: Arrays, frame: int) -> np.ndarray:
    """A frame of ``tracked_flame_params_N.npz`` (`fill_cam_params_into_sample`)."""
    per_frame = ("rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation", "expr")
    one = {name: tracked[name][frame] if name in per_frame else tracked[name] for name in tracked}
    height, width = tracked["image_size"]
    focal = float(tracked["focal_length"][0]) * max(height, width)
    camera = np.eye(4)
    camera[2, 3] = 1
    return opengl_pixels(vhap_points(arrays, one), camera, (focal, focal), (width / 2, height / 2))


def gaussian_avatars_pixels(arrays: Arrays, entry: Mapping, flame_param: Arrays) -> np.ndarray:
    """``readCamerasFromTransforms``: OpenGL's axes made COLMAP's, field of view, centred axis."""
    camera = np.array(entry["transform_matrix"], dtype=np.float64)
    camera[:3, 1:3] *= -1
    world_to_camera = np.linalg.inv(camera)
    points = vhap_points(arrays, flame_param)
    seen = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    width, height = entry["w"], entry["h"]
    focal = width / (2 * np.tan(entry["camera_angle_x"] / 2))
    return seen[:, :2] / seen[:, 2:] * focal + np.array([width, height]) / 2


def deca_points(arrays: Arrays, shape: np.ndarray, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """DECA's ``FLAME.forward``: the neck and the eyes at rest."""
    still = np.zeros(3)
    return flame(arrays, shape, expression, rotations(pose[:3], still, pose[3:], still, still))[0]


def orthographic(points: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """``batch_orth_proj``, then y and z flipped: -1..1 over the crop."""
    across = cam[0] * (points[:, :2] + cam[1:])
    return across * np.array([1.0, -1.0])


def deca_pixels(points: np.ndarray, cam: np.ndarray, tform: np.ndarray) -> np.ndarray:
    """``transform_points(trans_verts, inverse(tform)^T, [224, 224])``: pixels of the original image."""
    crop = (orthographic(points, cam) * 0.5 + 0.5) * 224
    back = np.linalg.inv(tform).T
    return (np.c_[crop, np.ones(len(crop))] @ back)[:, :2]


def smirk_points(arrays: Arrays, codes: Arrays, lids: np.ndarray) -> np.ndarray:
    """SMIRK's ``FLAME.forward``: four rotations, then the eyelids' shapes (V, 3, 2) on top."""
    still = {"neck_pose_params": np.zeros(3), "eye_pose_params": np.zeros(6), **codes}
    names = ("pose_params", "neck_pose_params", "jaw_params", "eye_pose_params")
    turns = rotations(*(still[name] for name in names))
    points, _ = flame(arrays, codes["shape_params"], codes["expression_params"], turns)
    return points + lids @ codes["eyelid_params"]


def smirk_pixels(points: np.ndarray, cam: np.ndarray, tform: np.ndarray) -> np.ndarray:
    """The rendered crop warped with scikit-image: pixel i of the crop is at ``inverse(tform) i``, middles of
    pixels being whole numbers; returned as places counted from the frame's outer edge.
    """
    index = (orthographic(points, cam) * 0.5 + 0.5) * 224 - 0.5
    return (np.c_[index, np.ones(len(index))] @ np.linalg.inv(tform).T)[:, :2] + 0.5


def metrical_points(arrays: Arrays, inner: Arrays, lids: np.ndarray) -> np.ndarray:
    """metrical-tracker's ``FLAME.forward``: no root, no neck, six-number jaw and eyes, lids last."""
    eyes = inner["eyes"].ravel()
    turns = [np.eye(3), np.eye(3), *map(from_two_rows, (inner["jaw"].ravel(), eyes[:6], eyes[6:]))]
    points, _ = flame(arrays, inner["shape"].ravel(), inner["exp"].ravel(), turns)
    return points + lids @ inner["eyelids"].ravel()


def pytorch3d_pixels(points: np.ndarray, camera: Arrays, size: tuple[int, int]) -> np.ndarray:
    """``PerspectiveCameras.transform_points_screen`` with ``in_ndc=True``: x left, y up, row vectors."""
    seen = points @ from_two_rows(camera["R"].ravel()) + camera["t"].ravel()
    focal = np.broadcast_to(camera["fl"].ravel(), 2)
    ndc = focal * seen[:, :2] / seen[:, 2:] + camera["pp"].ravel()
    height, width = size
    return np.array([width, height]) / 2 - ndc * min(height, width) / 2


def opencv_pixels(points: np.ndarray, block: Arrays) -> np.ndarray:
    """``cv2.projectPoints`` without distortion."""
    seen = points @ block["R"][0].T + block["t"][0]
    shown = seen @ block["K"][0].T
    return shown[:, :2] / shown[:, 2:]


def pixel3dmm_points(arrays: Arrays, inner: Arrays, lids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """pixel3dmm: posed with neck, jaw and eyes, lids added, then ``R v + t``; and the joints' maps."""
    eyes = inner["eyes"].ravel()
    six = (inner["neck"].ravel(), inner["jaw"].ravel(), eyes[:6], eyes[6:])
    points, maps = flame(
        arrays, inner["shape"].ravel(), inner["exp"].ravel(), [np.eye(3), *map(from_two_rows, six)]
    )
    points = points + lids @ inner["eyelids"].ravel()
    return points @ from_two_rows(inner["R"].ravel()).T + inner["t"].ravel(), maps


def pixel3dmm_render_pixels(points: np.ndarray, camera: Arrays, size: int) -> np.ndarray:
    """Its renderer: ``get_intrinsics(use_hack=False)``, ``intrinsics2projection``, rows from the top."""
    seen = points @ camera["R_base_0"][0].T + camera["t_base_0"][0]
    focal = float(camera["fl"][0, 0]) * size
    cx, cy = size / 2 + 0.5 + camera["pp"][0] * (size / 2 + 0.5)
    clip_x = 2 * focal / size * seen[:, 0] + (size - 2 * cx) / size * seen[:, 2]
    clip_y = -2 * focal / size * seen[:, 1] + (size - 2 * cy) / size * seen[:, 2]
    ndc = np.stack([clip_x, clip_y], 1) / -seen[:, 2:]
    return (ndc + 1) / 2 * size


def pixel3dmm_landmark_pixels(points: np.ndarray, camera: Arrays, size: int) -> np.ndarray:
    """``project_points_screen_space``, with its hack."""
    seen = points @ camera["R_base_0"][0].T + camera["t_base_0"][0]
    focal = float(camera["fl"][0, 0]) * size
    middle = size / 2 + 0.5 + camera["pp"][0] * (size / 2 + 0.5)
    matrix = np.array([[focal, 0, size - middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    screen = -(seen / -seen[:, 2:] @ matrix.T)[:, :2]
    return np.stack([size - 1 - screen[:, 0], screen[:, 1]], 1)
