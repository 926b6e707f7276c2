"""`depth`: guidance from the source's depth and how the camera saw the head move: one rigid turn and shift.

The depth map is a surface (`geom.depth_surface`); posed and rasterised it gives every pixel its exact
backward flow and tells by its z-buffer what is hidden ([DaGAN] Eq. 3 goes the same way without the z-buffer:
it projects the *driving* frame's depth). What the source never showed is filled as the mesh's displacement
is. With a person mask the person moves, else all of the picture. Depth knows nothing of jaws and eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..alignment import affine_flow
from ..depth_surface import DepthSurface, depth_surface, seen_from, turned_away
from ..displacement import border, erode, fill_between
from ..errors import ShapeError
from ..flow import pixel_grid
from ..guidance import Driving, Guidance, Source, take
from ..rasterizer import interpolate, rasterize


@dataclass(frozen=True)
class DepthSourceConfig:
    """Settings of the depth source.

    Attributes:
        normal_threshold: least cosine between the source's surface and the ray to its camera of what counts
            as known; grazing surfaces smear, though their flow still holds.
        tear: the same under which neighbouring depths are no one surface and what lies between is a fill.
        mask_threshold: least person probability of what moves.
        neck: with a mask and landmarks the motion fades out below the chin, over this share of the height of
            the landmarks: shoulders rest. 0: the whole person is rigid.
    """

    normal_threshold: float = 0.2
    tear: float = 0.08
    mask_threshold: float = 0.5
    neck: float = 0.6


@dataclass(frozen=True)
class DepthState:
    """What depends on the source alone.

    Attributes:
        depth: of the source, ``(1, 1, H, W)``.
        mask: person probability in the source, or None.
        surface: the depth as a surface; None while the camera is not known before the driving frame is.
        share: how far each row of the frame, its edges included, follows the head, ``(H + 2,)``; None: all.
    """

    depth: Float[Tensor, "1 1 H W"]
    mask: Float[Tensor, "1 1 H W"] | None
    surface: DepthSurface | None
    share: Float[Tensor, "R"] | None


class DepthSource:
    """See the module. ``Source.mask``, ``landmarks`` and ``intrinsics``, and ``Driving.camera_motion`` and
    ``body_motion`` are used where given.
    """

    needs_source: tuple[str, ...] = ("image", "depth")
    needs_driving: tuple[str, ...] = ("relative_pose", "intrinsics")

    def __init__(self, config: DepthSourceConfig | None = None) -> None:
        self.config = config or DepthSourceConfig()

    def prepare(self, source: Source) -> DepthState:
        """The surface of the source; once per source, where its camera is known.

        Raises:
            ShapeError: a depth of another size than the picture's.
        """
        image, depth = take(source, self.needs_source, by="depth source")
        if depth.shape != (1, 1, *image.shape[2:]):
            raise ShapeError(
                f"depth: expected {(1, 1, *image.shape[2:])} as the picture, got {tuple(depth.shape)}; "
                "resize it"
            )
        mask, camera = source.mask, source.intrinsics
        surface = None if camera is None else self._surface(depth, camera, mask)
        share = None if mask is None else self._share(source.landmarks, depth)
        return DepthState(depth, mask, surface, share)

    def guide(self, state: DepthState, driving: Driving) -> Guidance:
        """Filled rigid flow with the frame border at rest (or moved by ``driving.camera_motion``)."""
        _, camera = take(driving, self.needs_driving, by="depth source")
        if state.surface is not None or len(camera) == 1:
            surface = state.surface or self._surface(state.depth, camera, state.mask)
            flow, given, known = self._rigid(state, surface, driving)
        else:  # a camera of its own for every pair
            parts = [
                self._rigid(state, self._surface(state.depth, camera[[n]], state.mask), driving, row=n)
                for n in range(len(camera))
            ]
            flow, given, known = (torch.cat(part) for part in zip(*parts, strict=True))
        size = (state.depth.shape[2], state.depth.shape[3])
        motion = driving.camera_motion
        anchored = None if motion is None else affine_flow(motion.to(flow), size)
        whole = fill_between(flow, given, anchors=border(size, "tblr", flow), anchor_flow=anchored)
        return Guidance(flow=whole, known=known, visible=known)

    def _surface(self, depth: Tensor, camera: Tensor, mask: Tensor | None) -> DepthSurface:
        config = self.config
        return depth_surface(depth, camera, mask=mask, mask_threshold=config.mask_threshold, tear=config.tear)

    def _rigid(
        self, state: DepthState, surface: DepthSurface, driving: Driving, row: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Flow of the pixels, where the posed surface gives it, and where the source shows it well."""
        pose, camera = take(driving, self.needs_driving, by="depth source")
        if row is not None:
            pose, camera = pose[[row]], camera[[row]]
        size = (state.depth.shape[2], state.depth.shape[3])
        verts = seen_from(surface.points, pose.to(surface.points), camera)
        if state.share is not None:
            rest = driving.body_motion if driving.body_motion is not None else driving.camera_motion
            rest = rest if rest is None or row is None or len(rest) == 1 else rest[[row]]
            verts = _held(verts, surface, state.share, rest)
        fragments = rasterize(verts, surface.faces, size)
        attributes = torch.cat([surface.pixels, surface.facing[:, None]], 1)[None]
        drawn = interpolate(fragments, attributes.expand(len(verts), -1, -1), surface.faces)
        covered = (fragments.face >= 0)[:, None].to(drawn)  # (B, 1, H, W)
        front = ~turned_away(verts, surface.faces, fragments.face)
        flow = drawn[:, :2] - pixel_grid(size, device=drawn.device, dtype=drawn.dtype)
        return flow, covered * front, erode(covered) * front * (drawn[:, 2:] > self.config.normal_threshold)

    def _share(self, landmarks: Tensor | None, depth: Tensor) -> Tensor | None:
        if landmarks is None or not self.config.neck:
            return None
        top, chin = landmarks[0, :, 1].min(), landmarks[0, :, 1].max()
        rows = torch.arange(depth.shape[2] + 2, dtype=depth.dtype, device=depth.device) - 0.5
        down = ((rows - chin) / (self.config.neck * (chin - top)).clamp(min=1e-6)).clamp(0, 1)
        return 1 - down * down * (3 - 2 * down)


def _held(
    verts: Float[Tensor, "B V 3"],
    surface: DepthSurface,
    share: Float[Tensor, "R"],
    motion: Float[Tensor, "#B 2 3"] | None,
) -> Float[Tensor, "B V 3"]:
    """Posed points drawn back to where they rest, or where the torso carries them, row by row."""
    rest = torch.cat([surface.pixels, surface.points[:, 2:]], 1)[None]  # (1, V, 3)
    if motion is not None:
        back = torch.linalg.inv(motion[:, :, :2].to(rest))  # the motion leads from this frame to the source
        moved = (rest[..., :2] - motion[:, None, :, 2].to(rest)) @ back.mT
        rest = torch.cat([moved, rest[..., 2:].expand(len(moved), -1, -1)], -1)
    weight = share.repeat_interleave(len(surface.pixels) // len(share))[:, None]  # (V, 1)
    return rest + weight * (verts - rest)
