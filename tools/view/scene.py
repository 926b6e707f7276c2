"""The head in 3D: lit clay that is dragged to turn the portrait; the background turns the view instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...flame.model import HeadModel

CLAY = (214, 188, 170)
EYE = (244, 244, 240)
YAW_PER_WIDTH, PITCH_PER_HEIGHT = 240.0, 160.0  # degrees a drag across the whole view turns
DISTANCE, OPENING = 0.62, 0.75  # metres from the camera to the head; its vertical field of view, radians
Turn = Callable[[str, float, float, bool], None]


def face_the_camera(server: Any) -> None:
    """Every tab begins with the head from the front; nothing but the head is seen."""
    server.scene.set_up_direction("+y")
    server.scene.world_axes.visible = False
    camera = server.initial_camera
    camera.up = (0.0, 1.0, 0.0)
    camera.position = (0.0, -0.02, DISTANCE)
    camera.look_at = (0.0, -0.02, 0.0)
    camera.fov = OPENING


class HeadScene:
    """A head in a client's scene."""

    def __init__(self, client: Any, head: HeadModel, turn: Turn) -> None:
        """Build it.

        Args:
            client: viser's handle.
            turn: called with the phase of a drag (start, update, end), how far it went to the right and down
                in degrees, and whether the shift key is held.
        """
        self._client = client
        self._faces = _parts(head)
        self._meshes: dict[str, Any] = {}
        self._turn, self._from = turn, (0.0, 0.0)
        scene = client.scene
        scene.configure_environment_map(hdri=None)
        scene.configure_default_lights(False)
        scene.add_light_ambient("/light/all", intensity=0.7)
        scene.add_light_directional("/light/front", intensity=2.2, position=(0.25, 0.35, 1.0))

    def show(self, points: NDArray[np.float32]) -> None:
        """Posed vertices in the head's axes, metres."""
        if not self._meshes:
            self._build(points)
            return
        with self._client.atomic():
            for name, (rows, _) in self._faces.items():
                self._meshes[name].vertices = points[rows]

    def _build(self, points: NDArray[np.float32]) -> None:
        for name, (rows, faces) in self._faces.items():
            colour = EYE if name == "eyes" else CLAY
            mesh = self._client.scene.add_mesh_simple(
                f"/head/{name}", points[rows], faces, color=colour, side="double", cast_shadow=False
            )
            mesh.on_drag("left")(self._dragged)
            mesh.on_drag("left", modifier="shift")(self._dragged)
            self._meshes[name] = mesh

    async def _dragged(self, event: Any) -> None:
        x, y = event.end_screen_pos
        if event.phase == "start":
            self._from = (x, y)
        right = YAW_PER_WIDTH * (x - self._from[0])
        down = PITCH_PER_HEIGHT * (y - self._from[1])
        self._turn(event.phase, right, down, "shift" in (event.modifier or ""))


def _parts(head: HeadModel) -> dict[str, tuple[NDArray[np.int64], NDArray[np.uint32]]]:
    """Skin and eyeballs: rows of the head's vertices, and faces among these."""
    faces = head.faces.numpy()
    names = [head.joint_names.index(name) for name in ("left_eye", "right_eye")]
    ball = (head.weights[:, names].sum(1) > 0.5).numpy()
    found = {}
    for name, of_it in (("skin", ~ball), ("eyes", ball)):
        rows = np.flatnonzero(of_it)
        if len(rows):
            place = np.full(len(of_it), -1)
            place[rows] = np.arange(len(rows))
            kept = place[faces[of_it[faces].all(1)]]
            found[name] = (rows, kept.astype(np.uint32))
    return found
