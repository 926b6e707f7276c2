"""Cameras: weak perspective and perspective in pixels, and converters to three other conventions.

Camera frame: x right, y down, z forward, metres. Pixels: centres at +0.5, (0, 0) the outer top-left corner.
Projected points keep a depth in pixel units as their third coordinate, so that a projected mesh is a mesh:
smaller is nearer. A camera holds T frames; T = 1 serves any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError

MODEL_TO_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
"""(3, 3): head-model axes (y up, z out of the face) to camera axes (y down, z forward); its own inverse."""


@dataclass(frozen=True)
class WeakPerspective:
    """Scaled orthographic: ``pixel = scale (x, y) + center``, depth ``scale z``.

    Attributes:
        scale: (T,) pixels a metre.
        center: (T, 2) pixel that the camera axis meets.
    """

    scale: Float[Tensor, " T"]
    center: Float[Tensor, "T 2"]

    def __post_init__(self) -> None:
        _check_fields(self.scale, "scale", self.center, "center", scalar=True)


@dataclass(frozen=True)
class Perspective:
    """Pinhole: ``pixel = focal (x, y) / z + principal``.

    Attributes:
        focal: (T, 2) focal lengths in pixels, x then y.
        principal: (T, 2) pixel that the camera axis meets.
    """

    focal: Float[Tensor, "T 2"]
    principal: Float[Tensor, "T 2"]

    def __post_init__(self) -> None:
        _check_fields(self.focal, "focal", self.principal, "principal", scalar=False)


@dataclass(frozen=True)
class PyTorch3DCamera:
    """The arguments of PyTorch3D's ``PerspectiveCameras`` / ``OrthographicCameras`` with ``in_ndc=True``.

    Its view frame is x left, y up, z forward; rotations act on row vectors (``x_view = x_world R + T``); one
    NDC unit is half the shorter side of the image.

    Attributes:
        rotation: (T, 3, 3), its ``R``.
        translation: (T, 3), its ``T``.
        focal_length: (T, 2) in NDC.
        principal_point: (T, 2) in NDC.
    """

    rotation: Float[Tensor, "T 3 3"]
    translation: Float[Tensor, "T 3"]
    focal_length: Float[Tensor, "T 2"]
    principal_point: Float[Tensor, "T 2"]


def project(
    points: Float[Tensor, "#T N 3"],
    camera: WeakPerspective | Perspective,
    *,
    mean_depth: Float[Tensor, "#T"] | None = None,
) -> Float[Tensor, "#T N 3"]:
    """Pixels and depth in pixel units of points in camera axes.

    The depth is ``z scale`` (weak) or ``z focal_x / mean_depth`` (perspective): at the mean depth one unit
    of it is as long as one pixel across.

    Args:
        points: metres, camera axes.
        camera: with T frames or one.
        mean_depth: metres, (T,); perspective only, the mean z of ``points`` by default. Give it where several
            sets of points share a frame, and to :func:`unproject`.

    Returns:
        x, y in pixels and the depth; differentiable in the points and the camera.

    Raises:
        ShapeError: shapes disagree, or a point lies behind a perspective camera.

    Example:
        >>> camera = WeakPerspective(torch.tensor([1000.0]), torch.tensor([[128.0, 128.0]]))
        >>> project(torch.tensor([[[0.01, -0.02, 0.05]]]), camera).tolist()
        [[[138.0, 108.0, 50.0]]]
    """
    _check_points(points, camera)
    if isinstance(camera, WeakPerspective):
        scaled = points * camera.scale[:, None, None]
        return torch.cat([scaled[..., :2] + camera.center[:, None], scaled[..., 2:]], dim=-1)
    depth = points[..., 2:]
    _check_in_front(depth)
    pixels = points[..., :2] / depth * camera.focal[:, None] + camera.principal[:, None]
    mean = depth.mean(1) if mean_depth is None else _column(mean_depth, points, "mean_depth")  # (T, 1)
    return torch.cat([pixels, depth * (camera.focal[:, :1] / mean)[:, None]], dim=-1)


def unproject(
    pixels: Float[Tensor, "#T N 3"],
    camera: WeakPerspective | Perspective,
    *,
    mean_depth: Float[Tensor, "#T"] | None = None,
) -> Float[Tensor, "#T N 3"]:
    """Points in camera axes of pixels with depth; inverse of :func:`project`.

    Args:
        pixels: x, y in pixels and the depth in pixel units.
        camera: with T frames or one.
        mean_depth: metres, (T,); the value :func:`project` used. A perspective camera cannot do without.

    Returns:
        Metres, camera axes; differentiable.

    Raises:
        ShapeError: shapes disagree, or a perspective camera comes without ``mean_depth``.

    Example:
        >>> camera = Perspective(torch.tensor([[800.0, 800.0]]), torch.tensor([[128.0, 128.0]]))
        >>> points = torch.tensor([[[0.01, -0.02, 0.5], [0.0, 0.03, 0.7]]])
        >>> again = unproject(project(points, camera), camera, mean_depth=points[..., 2].mean(1))
        >>> bool(torch.allclose(again, points))
        True
    """
    _check_points(pixels, camera)
    if isinstance(camera, WeakPerspective):
        shifted = torch.cat([pixels[..., :2] - camera.center[:, None], pixels[..., 2:]], dim=-1)
        return shifted / camera.scale[:, None, None]
    if mean_depth is None:
        raise ShapeError(
            "mean_depth: expected the metres (T,) that one pixel unit of depth was measured at, got None; "
            "pass what project used (points[..., 2].mean(1) by default)"
        )
    depth = pixels[..., 2:] * (_column(mean_depth, pixels, "mean_depth") / camera.focal[:, :1])[:, None]
    across = (pixels[..., :2] - camera.principal[:, None]) / camera.focal[:, None] * depth
    return torch.cat([across, depth], dim=-1)


def weak_to_perspective(
    camera: WeakPerspective, *, focal: float, principal: tuple[float, float]
) -> tuple[Perspective, Float[Tensor, "T 3"]]:
    """A pinhole camera that shows the plane z = 0 as the weak one does, and the translation it needs.

    Add the returned translation (T, 3), metres, to points in camera axes; its z is ``focal / scale``.

    Args:
        camera: scales must be positive.
        focal: pixels.
        principal: pixel the new camera's axis meets, usually the middle of the frame.

    Raises:
        ShapeError: ``focal`` is not positive.

    Example:
        >>> weak = WeakPerspective(torch.tensor([1000.0]), torch.tensor([[128.0, 148.0]]))
        >>> camera, translation = weak_to_perspective(weak, focal=500.0, principal=(128.0, 128.0))
        >>> [round(value, 4) for value in translation[0].tolist()]
        [0.0, 0.02, 0.5]
    """
    if not focal > 0:
        raise ShapeError(f"focal: expected pixels > 0, got {focal}; 1 to 4 times the image width is usual")
    axis = camera.center.new_tensor(principal).expand_as(camera.center)
    across = (camera.center - axis) / camera.scale[:, None]
    translation = torch.cat([across, focal / camera.scale[:, None]], dim=-1)  # (T, 3)
    return Perspective(torch.full_like(camera.center, focal), axis), translation


def perspective_to_weak(camera: Perspective, translation: Float[Tensor, "T 3"]) -> WeakPerspective:
    """The weak camera that shows the plane through ``translation`` as the pinhole does.

    For points without the translation; inverse of :func:`weak_to_perspective`. Takes the x focal length.

    Args:
        camera: T frames.
        translation: metres, camera axes: the plane whose size is kept.

    Raises:
        ShapeError: ``translation`` is not (T, 3) or not in front of the camera.
    """
    if translation.ndim != 2 or translation.shape[-1] != 3:
        raise ShapeError(f"translation: expected (T, 3), got {tuple(translation.shape)}; one a frame")
    _check_in_front(translation[:, None, 2:])
    scale = camera.focal[:, 0] / translation[:, 2]
    return WeakPerspective(scale, camera.principal + scale[:, None] * translation[:, :2])


def to_opengl(
    camera: WeakPerspective | Perspective, size: tuple[int, int], *, near: float, far: float
) -> Float[Tensor, "T 4 4"]:
    """OpenGL projection matrices, for points in OpenGL's camera axes (x right, y up, z backward).

    Those are camera axes times ``diag(1, -1, -1)``, that is, the axes of a head model that was rotated and
    moved. Clip space is x right, y up, z from -1 (near) to 1 (far); the matrix acts on column vectors.

    Args:
        camera: T frames.
        size: (H, W) of the frame.
        near: metres; may be negative for the weak camera, whose points lie around z = 0.
        far: metres, beyond ``near``.

    Raises:
        ShapeError: ``near`` and ``far`` are no range in front of the camera.

    Example:
        >>> camera = Perspective(torch.tensor([[256.0, 256.0]]), torch.tensor([[128.0, 128.0]]))
        >>> to_opengl(camera, (256, 256), near=1.0, far=3.0)[0].round().int().tolist()
        [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, -2, -3], [0, 0, -1, 0]]
    """
    if not far > near or (isinstance(camera, Perspective) and not near > 0):
        raise ShapeError(f"near, far: expected near < far (and 0 < near with perspective), got {near}, {far}")
    height, width = size
    weak = isinstance(camera, WeakPerspective)
    lengths, offset = _intrinsics(camera)
    half = offset.new_tensor([width / 2, height / 2])
    middle = (offset / half - 1) * offset.new_tensor([1.0, -1.0])  # (T, 2) of the axis in clip space
    matrix = offset.new_zeros(len(offset), 4, 4)
    matrix[:, 0, 0], matrix[:, 1, 1] = (lengths / half).unbind(-1)
    if weak:
        matrix[:, :2, 3] = middle
        matrix[:, 2, 2] = -2 / (far - near)
        matrix[:, 2, 3] = -(far + near) / (far - near)
        matrix[:, 3, 3] = 1
    else:
        matrix[:, :2, 2] = -middle
        matrix[:, 2, 2] = -(far + near) / (far - near)
        matrix[:, 2, 3] = -2 * far * near / (far - near)
        matrix[:, 3, 2] = -1
    return matrix


def perspective_from_opengl(matrix: Float[Tensor, "T 4 4"], size: tuple[int, int]) -> Perspective:
    """The pinhole camera of OpenGL projection matrices; inverse of :func:`to_opengl`.

    Args:
        matrix: on column vectors.
        size: (H, W) of the frame.

    Raises:
        ShapeError: not (T, 4, 4), orthographic, or with skew.
    """
    _check_opengl(matrix, last_row=(0.0, 0.0, -1.0, 0.0), other="weak_from_opengl")
    half = matrix.new_tensor([size[1] / 2, size[0] / 2])
    focal = torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], dim=-1) * half
    middle = -matrix[:, :2, 2] * matrix.new_tensor([1.0, -1.0])
    return Perspective(focal, (middle + 1) * half)


def weak_from_opengl(matrix: Float[Tensor, "T 4 4"], size: tuple[int, int]) -> WeakPerspective:
    """The weak camera of OpenGL orthographic matrices with square pixels; inverse of :func:`to_opengl`.

    Args:
        matrix: on column vectors.
        size: (H, W) of the frame.

    Raises:
        ShapeError: not (T, 4, 4), perspective, with skew, or with pixels that are not square.
    """
    _check_opengl(matrix, last_row=(0.0, 0.0, 0.0, 1.0), other="perspective_from_opengl")
    half = matrix.new_tensor([size[1] / 2, size[0] / 2])
    scale = torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], dim=-1) * half
    middle = matrix[:, :2, 3] * matrix.new_tensor([1.0, -1.0])
    return WeakPerspective(_square(scale, "matrix"), (middle + 1) * half)


def to_pytorch3d(
    camera: WeakPerspective | Perspective,
    size: tuple[int, int],
    *,
    rotation: Float[Tensor, "T 3 3"] | None = None,
    translation: Float[Tensor, "T 3"] | None = None,
) -> PyTorch3DCamera:
    """PyTorch3D's camera; for a weak one use its fields with ``OrthographicCameras``.

    Args:
        camera: T frames.
        size: (H, W) of the frame.
        rotation: world to camera axes, on column vectors; none by default.
        translation: metres, in camera axes; none by default.
    """
    lengths, offset = _intrinsics(camera)
    frames = len(offset)
    unit = min(size) / 2
    flip = offset.new_tensor([-1.0, -1.0, 1.0])
    turn = torch.eye(3).to(offset).expand(frames, 3, 3) if rotation is None else rotation
    move = offset.new_zeros(frames, 3) if translation is None else translation
    return PyTorch3DCamera(
        rotation=(flip[:, None] * turn).transpose(-1, -2),
        translation=flip * move,
        focal_length=lengths / unit,
        principal_point=(offset.new_tensor([size[1] / 2, size[0] / 2]) - offset) / unit,
    )


def perspective_from_pytorch3d(camera: PyTorch3DCamera, size: tuple[int, int]) -> Perspective:
    """The pinhole of a ``PerspectiveCameras`` in NDC, without the extrinsics.

    Args:
        camera: with ``in_ndc=True``.
        size: (H, W) of the frame.
    """
    unit = min(size) / 2
    return Perspective(camera.focal_length * unit, _principal_from_pytorch3d(camera, size))


def weak_from_pytorch3d(camera: PyTorch3DCamera, size: tuple[int, int]) -> WeakPerspective:
    """The weak camera of an ``OrthographicCameras`` in NDC, without the extrinsics.

    Args:
        camera: with ``in_ndc=True``.
        size: (H, W) of the frame.

    Raises:
        ShapeError: the two focal lengths differ.
    """
    scale = _square(camera.focal_length * (min(size) / 2), "focal_length")
    return WeakPerspective(scale, _principal_from_pytorch3d(camera, size))


def extrinsics_from_pytorch3d(
    camera: PyTorch3DCamera,
) -> tuple[Float[Tensor, "T 3 3"], Float[Tensor, "T 3"]]:
    """World-to-camera rotation on column vectors and translation in camera axes."""
    flip = camera.translation.new_tensor([-1.0, -1.0, 1.0])
    return flip[:, None] * camera.rotation.transpose(-1, -2), flip * camera.translation


def to_deca(
    camera: WeakPerspective, *, crop_origin: Float[Tensor, "T 2"], crop_size: Float[Tensor, " T"]
) -> Float[Tensor, "T 3"]:
    """DECA's ``cam`` (s, tx, ty): a crop spans [-1, 1]; ``xy = s (xy_model + t)``, then y flipped.

    Points are in head-model axes there (y up). The crop's edges, not its outer pixel centres, are -1 and 1,
    as in DECA's renderer.

    Args:
        camera: T frames of the full image.
        crop_origin: (T, 2) pixel of the square crop's outer top-left corner.
        crop_size: (T,) its side in pixels.
    """
    half = crop_size / 2
    s = camera.scale / half
    middle = (camera.center - crop_origin) / half[:, None] - 1  # (T, 2) in [-1, 1], y down
    return torch.stack([s, middle[:, 0] / s, -middle[:, 1] / s], dim=-1)


def from_deca(
    cam: Float[Tensor, "T 3"], *, crop_origin: Float[Tensor, "T 2"], crop_size: Float[Tensor, " T"]
) -> WeakPerspective:
    """The weak camera, in the full image, of DECA's ``cam``; inverse of :func:`to_deca`.

    Args:
        cam: s, tx, ty of the crop, a row a frame.
        crop_origin: (T, 2) pixel of the square crop's outer top-left corner.
        crop_size: (T,) its side in pixels.

    Raises:
        ShapeError: ``cam`` is not (T, 3).

    Example:
        >>> corner, side = torch.tensor([[32.0, 32.0]]), torch.tensor([224.0])
        >>> camera = from_deca(torch.tensor([[8.0, 0.0, 0.0]]), crop_origin=corner, crop_size=side)
        >>> camera.scale.tolist(), camera.center.tolist()
        ([896.0], [[144.0, 144.0]])
    """
    if cam.ndim != 2 or cam.shape[-1] != 3:
        raise ShapeError(f"cam: expected (T, 3) of s, tx, ty, got {tuple(cam.shape)}; one row a frame")
    s, tx, ty = cam.unbind(-1)
    half = crop_size / 2
    middle = torch.stack([s * tx, -s * ty], dim=-1)  # (T, 2)
    return WeakPerspective(s * half, crop_origin + (middle + 1) * half[:, None])


def _intrinsics(camera: WeakPerspective | Perspective) -> tuple[Tensor, Tensor]:
    """Factors from metres (at z = 1) to pixels and the axis' pixel, both (T, 2)."""
    if isinstance(camera, WeakPerspective):
        return camera.scale[:, None].expand(-1, 2), camera.center
    return camera.focal, camera.principal


def _principal_from_pytorch3d(camera: PyTorch3DCamera, size: tuple[int, int]) -> Tensor:
    middle = camera.principal_point.new_tensor([size[1] / 2, size[0] / 2])
    return middle - camera.principal_point * (min(size) / 2)


def _square(lengths: Tensor, name: str) -> Tensor:
    if not torch.allclose(lengths[:, 0], lengths[:, 1], rtol=1e-4):
        raise ShapeError(
            f"{name}: expected square pixels (one scale), got {lengths[0].tolist()} px a metre in frame 0; "
            "resize the frame so that both agree"
        )
    return lengths[:, 0]


def _column(values: Tensor, points: Tensor, name: str) -> Tensor:
    if values.ndim != 1 or len(values) not in (1, len(points)):
        raise ShapeError(f"{name}: expected ({len(points)},) or (1,), got {tuple(values.shape)}; one a frame")
    return values[:, None]


def _check_fields(first: Tensor, name: str, second: Tensor, second_name: str, *, scalar: bool) -> None:
    shape = (len(second),) if scalar else (len(second), 2)
    if second.ndim != 2 or second.shape[1] != 2 or tuple(first.shape) != shape:
        letters = "(T,)" if scalar else "(T, 2)"
        raise ShapeError(
            f"{name}, {second_name}: expected {letters} and (T, 2), got {tuple(first.shape)} and "
            f"{tuple(second.shape)}; add a frame axis, also to a single camera"
        )


def _check_points(points: Tensor, camera: WeakPerspective | Perspective) -> None:
    frames = len(camera.center if isinstance(camera, WeakPerspective) else camera.principal)
    if points.ndim != 3 or points.shape[-1] != 3:
        hint = "; add a frame axis with points[None]" if points.ndim == 2 else ""
        raise ShapeError(f"points: expected (T, N, 3), got {tuple(points.shape)}{hint}")
    if frames != 1 and len(points) not in (1, frames):
        raise ShapeError(f"points: expected {frames} frames (the camera's) or 1, got {len(points)}")


def _check_in_front(depth: Tensor) -> None:
    behind = depth.detach() <= 0
    if bool(behind.any()):
        frame = int(behind.flatten(1).any(1).int().argmax())
        raise ShapeError(
            f"points: expected z > 0 (in front of the camera), got {float(depth[frame].min()):.4g} in frame "
            f"{frame}; move the head away along +z first (a translation of focal / scale metres)"
        )


def _check_opengl(matrix: Tensor, *, last_row: tuple[float, ...], other: str) -> None:
    if matrix.ndim != 3 or matrix.shape[1:] != (4, 4):
        raise ShapeError(f"matrix: expected (T, 4, 4), got {tuple(matrix.shape)}; add a frame axis")
    if not torch.allclose(matrix[:, 3], matrix.new_tensor(last_row).expand(len(matrix), 4)):
        raise ShapeError(
            f"matrix: expected the last row {last_row}, got {matrix[0, 3].tolist()}; "
            f"for the other kind of camera use {other}, for row vectors transpose it"
        )
    if bool((matrix[:, 0, 1] != 0).any() or (matrix[:, 1, 0] != 0).any()):
        raise ShapeError("matrix: expected no skew, got x depending on y; undo the rotation first")
