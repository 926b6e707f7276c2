"""The scene of a glTF file: joints, the skinned mesh, the camera, and the keys that move them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from ...geom.cameras import MODEL_TO_CAMERA, Perspective, weak_to_perspective
from ..model import HeadModel
from ..params import STATUS_NAMES, HeadFit
from ._frames import frame_times
from ._gltf_buffers import Buffers
from ._gltf_rig import Rig

FAR_FOCAL = 20.0  # focal length, in longer sides of the frame, that stands for a weak-perspective camera
NEAR = 0.01  # metres
_STILL = 1e-9  # what changes less than this in a clip has no keys


@dataclass(frozen=True)
class SceneCamera:
    """A fit's camera as glTF has it: an upright pinhole with its axis in the middle of the frame.

    Attributes:
        entry: JSON of the camera.
        places: where it stands in every frame, ``(T, 3)`` metres, head-model axes.
        facts: how exact that is.
    """

    entry: dict[str, Any]
    places: np.ndarray
    facts: dict[str, Any]


def scene_camera(fit: HeadFit) -> SceneCamera:
    """The camera of a fit.

    A perspective one stands at the origin; of its frames' focal lengths the median is taken, an axis off the
    middle of the frame is left out, and ``facts`` say how much either was. A weak-perspective one becomes a
    distant pinhole; its ``facts`` say how far away.
    """
    height, width = fit.size
    middle = torch.tensor([width / 2, height / 2])
    if isinstance(fit.camera, Perspective):
        focal = fit.camera.focal.double().median(0).values
        facts = {
            "kind": "perspective",
            "focal_px": focal.tolist(),
            "focal_spread_percent": float(100 * ((fit.camera.focal - focal) / focal).abs().max()),
            "axis_offset_px": float((fit.camera.principal - middle).norm(dim=-1).max()),
        }
        places = np.zeros((fit.frames, 3))
    else:
        length = FAR_FOCAL * max(fit.size)
        pinhole, move = weak_to_perspective(fit.camera, focal=length, principal=(width / 2, height / 2))
        focal = pinhole.focal[0].double()
        places = -(move.double() @ MODEL_TO_CAMERA.double()).numpy()  # model axes
        facts = {
            "kind": "weak perspective as a distant pinhole",
            "focal_px": focal.tolist(),
            "distance_m": float(np.median(places[:, 2])),
        }
    field = 2 * np.arctan(height / 2 / float(focal[1]))
    aspect = (width / float(focal[0])) / (height / float(focal[1]))
    lens = {"yfov": field, "aspectRatio": aspect, "znear": NEAR}
    return SceneCamera({"name": "camera", "type": "perspective", "perspective": lens}, places, facts)


def nodes(model: HeadModel, rig: Rig, camera: SceneCamera, *, still: bool) -> list[dict[str, Any]]:
    """Joints in the model's order, then the mesh, then the camera.

    ``still``: posed as in the only frame; otherwise at rest, for the animation to move.
    """
    made: list[dict[str, Any]] = []
    for joint, name in enumerate(model.joint_names):
        parent = model.parents[joint]
        rest = rig.joints[joint] - (rig.joints[parent] if parent >= 0 else 0)
        place = rig.translations[0, joint] if still else rest
        node: dict[str, Any] = {"name": name, "translation": place.tolist()}
        if still:
            node["rotation"] = rig.rotations[0, joint].tolist()
        children = [child for child, of in enumerate(model.parents) if of == joint]
        made.append({**node, "children": children} if children else node)
    mesh: dict[str, Any] = {"name": model.name, "mesh": 0, "skin": 0}
    if still and rig.morph_names:
        mesh["weights"] = rig.morph_weights[0].tolist()
    return [*made, mesh, {"name": "camera", "camera": 0, "translation": camera.places[0].tolist()}]


def top_nodes(model: HeadModel) -> list[int]:
    """Nodes without a parent."""
    count = len(model.parents)
    return [*(j for j, parent in enumerate(model.parents) if parent < 0), count, count + 1]


def animation(
    model: HeadModel, fit: HeadFit, rig: Rig, camera: SceneCamera, *, rate: Fraction, buffers: Buffers
) -> dict[str, Any]:
    """Keys of everything that moves, one a frame, linear between."""
    clock = buffers.accessor(np.array(frame_times(fit, rate)), bounds=True)
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []

    def add(node: int, path: str, values: np.ndarray) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        output = buffers.accessor(values)
        samplers.append({"input": clock, "output": output, "interpolation": "LINEAR"})

    made = nodes(model, rig, camera, still=False)
    for joint in range(len(rig.joints)):
        if np.abs(rig.rotations[:, joint, :3]).max() > _STILL:
            add(joint, "rotation", rig.rotations[:, joint])
        if np.abs(rig.translations[:, joint] - made[joint]["translation"]).max() > _STILL:
            add(joint, "translation", rig.translations[:, joint])
    if rig.morph_names:
        add(len(rig.joints), "weights", rig.morph_weights.ravel())
    if np.abs(camera.places - camera.places[0]).max() > _STILL:
        add(len(rig.joints) + 1, "translation", camera.places)
    if not channels:  # glTF has no empty animations: the clip's length must still be in the file
        add(0, "translation", rig.translations[:, 0])
    counted = {name: int((fit.status == number).sum()) for number, name in enumerate(STATUS_NAMES)}
    extras = {"frames": fit.frames, "fps": str(rate), **counted}
    return {"name": "fit", "channels": channels, "samplers": samplers, "extras": extras}
