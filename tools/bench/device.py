"""The suite of a CUDA device: the same work as on the CPU, which is the named rival of every case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...geom.errors import HeadwarpError

if TYPE_CHECKING:
    from .suites import Case

_PIXELS_PER_METRE = 256 / 0.41


def device_cases() -> Sequence[Case]:
    """Posing, drawing and photometric refinement of the built-in head on the CUDA device.

    Raises:
        HeadwarpError: there is no such device.
    """
    from .suites import Case

    if not torch.cuda.is_available():
        raise HeadwarpError(
            "--suite device: expected a CUDA device, torch sees none; `headwarp doctor` says more"
        )
    return [Case(name, size, batch, on("cuda"), ("cpu", on("cpu"))) for name, size, batch, on in _work()]


def cases_on(device: str) -> Sequence[Case]:
    """The same work on one device, such as ``cpu``, without a rival."""
    from .suites import Case

    return [Case(name, size, batch, on(device)) for name, size, batch, on in _work()]


_Work = tuple[str, int, int, Callable[[str], Callable[[], object]]]
"""A case's name, size and batch, and what makes its function for a device."""


def _work() -> list[_Work]:
    work = [make(batch) for batch in (1, 8, 64) for make in (_posing, _drawing)]
    return [*work, _gradients(8), _refinement(1), _refinement(8)]


def _posing(batch: int) -> _Work:
    from ...flame.builtin.load import load_builtin
    from ...flame.model import pose_vertices

    def on(device: str) -> Callable[[], object]:
        head = load_builtin().to(device)
        shape = torch.zeros(head.shape_basis.shape[2], device=device)
        expression = torch.zeros(batch, head.expression_basis.shape[2], device=device)
        turn = torch.full((batch, 3), 0.1, device=device)
        return lambda: pose_vertices(head, shape, expression, rotation=turn, jaw=turn, neck=turn)

    return "device/posing", 5413, batch, on


def _verts(batch: int, device: str) -> tuple[Tensor, Tensor]:
    from ...flame.builtin.load import load_builtin
    from ...geom.cameras import MODEL_TO_CAMERA, WeakPerspective, project

    head = load_builtin()
    camera = WeakPerspective(torch.full((batch,), _PIXELS_PER_METRE), torch.full((batch, 2), 128.0))
    points = (head.template @ MODEL_TO_CAMERA.T).expand(batch, -1, -1)
    return project(points, camera).to(device), head.faces.to(device)


def _drawing(batch: int) -> _Work:
    from ...geom.rasterizer import rasterize

    def on(device: str) -> Callable[[], object]:
        verts, faces = _verts(batch, device)
        return lambda: rasterize(verts, faces, (256, 256))

    return "device/rasterizer", 256, batch, on


def _gradients(batch: int) -> _Work:
    from ...geom.rasterizer import interpolate, rasterize

    def on(device: str) -> Callable[[], object]:
        verts, faces = _verts(batch, device)
        moving = verts.clone().requires_grad_(True)
        painted = torch.rand(batch, verts.shape[1], 16, device=device, requires_grad=True)

        def step() -> None:
            drawn = rasterize(moving, faces, (256, 256))
            picture = interpolate(drawn, painted, faces, verts=moving)
            torch.autograd.grad(picture.sum(), (moving, painted))

        return step

    return "device/rasterizer_gradients_16", 256, batch, on


def _refinement(frames: int) -> _Work:
    from ...flame.builtin.load import load_builtin
    from ...flame.fitting import fit_landmarks
    from ...flame.fitting.photometric import PhotometricConfig, refine_photometric
    from ...flame.posing import posed_vertices
    from ...geom.rasterizer import interpolate, rasterize
    from .synthetic_faces import SIDE, head_track

    config = PhotometricConfig(albedo="low_rank" if frames == 1 else "free", steps=4)

    def on(device: str) -> Callable[[], object]:
        head = load_builtin()
        fit = fit_landmarks(head, head_track(head, frames), (SIDE, SIDE))
        waves = 0.5 + 0.2 * torch.sin(250 * head.template).expand(frames, -1, -1)
        verts = posed_vertices(head, fit)
        drawn = rasterize(verts, head.faces, (SIDE, SIDE), cull=True)
        pictures = interpolate(drawn, waves, head.faces).to(device)
        model = head.to(device)
        return lambda: refine_photometric(model, fit, pictures, config=config)

    return "device/photometric", 256, frames, on
