"""What is measured: suites of cases, each with a named rival that computes the same in the same run.

A suite is a function that returns its cases; `SUITES` names them, and ``public`` is all of them together but
those of `_NOT_PUBLIC`: nothing but synthetic data and what ships with the dependencies, so that anybody can
repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geom.errors import HeadwarpError
from .animation import animator_cases, detection_cases, fill_cases
from .attention import attention_cases
from .clips import clip_cases
from .device import device_cases
from .fitting import fit_cases, pose_cases
from .keypoint_networks import keypoint_network_cases
from .losses import loss_cases
from .networks import network_cases
from .pairs import pair_cases
from .region_correlation import blender_cases
from .regions import region_cases
from .swap import swap_cases
from .view import view_cases

_VERTICES = 5000
_CHANNELS = 16
_WINDOW_METRES = 0.41  # side of a portrait window at the head
_RADIUS = 0.874  # of half the frame: 60 % of it is covered


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        name: ``suite/what``, the same in every version.
        size: side of the frame in pixels, or another measure of the work that the name explains.
        batch: how many are done in one call.
        function: the work; everything that can be prepared was.
        rival: ``(name, function)`` of another way to the same result, timed in the same run, or None.
        facts: numbers about the result, such as its accuracy, by name; they join the case's report.
    """

    name: str
    size: int
    batch: int
    function: Callable[[], object]
    rival: tuple[str, Callable[[], object]] | None = None
    facts: Callable[[], Mapping[str, float]] | None = None


def rasterizer_cases() -> list[Case]:
    """The rasteriser on a sphere of 5,000 vertices that covers 60 % of the frame, against its reference."""
    return [case for size in (256, 512) for case in (_head_at(size), *_rasterizer_at(size))]


def _head_at(size: int) -> Case:
    """The built-in head at rest as a portrait's window frames it."""
    from ...flame.builtin.load import load_builtin
    from ...geom.cameras import MODEL_TO_CAMERA, WeakPerspective, project
    from ...geom.rasterizer import rasterize

    head = load_builtin()
    camera = WeakPerspective(torch.tensor([size / _WINDOW_METRES]), torch.full((1, 2), size / 2))
    verts = project((head.template @ MODEL_TO_CAMERA.T)[None], camera)

    def draw(backend: str) -> Callable[[], object]:
        return lambda: rasterize(verts, head.faces, (size, size), backend=backend)

    return Case("rasterizer/head", size, 1, draw("auto"), ("reference", draw("reference")))


def _rasterizer_at(size: int) -> list[Case]:
    from ...geom.rasterizer import interpolate, rasterize

    verts, faces = sphere(_VERTICES, size)
    moving = verts.clone().requires_grad_(True)
    attributes = torch.rand(1, len(verts[0]), _CHANNELS, requires_grad=True)
    incoming = torch.rand(1, _CHANNELS, size, size)

    def forward(backend: str) -> Callable[[], object]:
        return lambda: rasterize(verts, faces, (size, size), backend=backend)

    def forward_backward(backend: str) -> Callable[[], object]:
        def step() -> None:
            fragments = rasterize(moving, faces, (size, size), backend=backend)
            drawn = interpolate(fragments, attributes, faces, verts=moving, backend=backend)
            torch.autograd.grad(drawn, (attributes, moving), grad_outputs=incoming)

        return step

    def accuracy() -> Mapping[str, float]:
        """Against the float64 reference, over the pixels that it covers."""
        exact = rasterize(verts.double(), faces, (size, size), backend="reference")
        drawn = rasterize(verts, faces, (size, size))
        covered = exact.face >= 0
        same = covered & (drawn.face == exact.face)
        error = (drawn.bary.double() - exact.bary)[same].abs().max()
        return {"ids_equal": float(same.sum() / covered.sum()), "bary_error": float(error)}

    reference = "reference"
    return [
        Case("rasterizer/forward", size, 1, forward("auto"), (reference, forward(reference)), accuracy),
        Case(
            f"rasterizer/forward_backward_{_CHANNELS}",
            size,
            1,
            forward_backward("auto"),
            (reference, forward_backward(reference)),
        ),
    ]


def sphere(count: int, size: int) -> tuple[Tensor, Tensor]:
    """A triangulated sphere that covers 60 % of a square frame, as a head does in a portrait.

    Args:
        count: vertices, spread on a Fibonacci spiral.
        size: side of the frame in pixels.

    Returns:
        Posed vertices in pixels ``(1, count, 3)`` and faces ``(2 count - 4, 3)``, counter-clockwise seen from
        outside.

    Example:
        >>> verts, faces = sphere(100, 64)
        >>> tuple(verts.shape), tuple(faces.shape)
        ((1, 100, 3), (196, 3))
    """
    from scipy.spatial import ConvexHull

    index = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * index / count
    angle = torch.pi * (1 + 5**0.5) * index
    radius = (1 - height**2).sqrt()
    points = torch.stack([radius * angle.cos(), height, radius * angle.sin()], dim=1)  # (V, 3)
    faces = torch.from_numpy(ConvexHull(points.numpy()).simplices).long()  # (F, 3)
    corners = points[faces]  # (F, 3, 3)
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = (normal * corners[:, 0]).sum(dim=1) < 0
    faces[inward] = faces[inward].flip(1)
    return ((_RADIUS * points + 1) * size / 2).float()[None], faces


SUITES: dict[str, Callable[[], Sequence[Case]]] = {
    "rasterizer": rasterizer_cases,
    "fill": fill_cases,
    "detect": detection_cases,
    "animator": animator_cases,
    "attention": attention_cases,
    "fit": fit_cases,
    "pose": pose_cases,
    "pairs": pair_cases,
    "losses": loss_cases,
    "networks": network_cases,
    "blender": blender_cases,
    "regions": region_cases,
    "keypoints": keypoint_network_cases,
    "clips": clip_cases,
    "swap": swap_cases,
    "device": device_cases,
    "view": view_cases,
}
"""Name -> what makes its cases."""

_NOT_PUBLIC = ("device", "clips", "swap", "view")  # not anybody has a device, the private clips, a browser


def cases_of(suite: str) -> list[Case]:
    """The cases of a suite, or of all for ``public``.

    Raises:
        HeadwarpError: no suite of that name.
    """
    if suite == "public":
        return [case for name, make in SUITES.items() if name not in _NOT_PUBLIC for case in make()]
    if suite not in SUITES:
        raise HeadwarpError(f"--suite: expected public, heser, {', '.join(SUITES)}; got {suite!r}")
    return list(SUITES[suite]())
