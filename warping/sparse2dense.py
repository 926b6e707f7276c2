"""Face landmarks that move a picture: the networks of [S2D] as one, `encode` a source and `decode` a frame.

Sparse landmarks become dense motion by a network that sees the whole face and by one each for the two eyes
with their brows and the mouth (`sparse2dense_motion`). A softmax a pixel merges them with the background,
which stands still; the generator of first-order motion models warps the source's features by the merged
flow and fades what the source does not show. Of a driver it sees 2 L numbers a frame, 136 with 68 landmarks,
and no picture; all encoders run once a source.

[S2D]'s supplement gives blocks and channels. What it leaves open is a field here, with what we chose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.grids import GridConvention, pixel_flow
from ..geom.keypoints import check_picture, to_pixels
from ..geom.spline import SplineConfig, spline_flows
from .generators import EncodedSource, Generator, GeneratorConfig
from .sparse2dense_motion import PART, WHOLE, MotionNetwork, MotionNetworkConfig, Patch, patch_about

_LOCAL_MAPS = 3  # flow and a logit
_CONVENTION = GridConvention()
_SPLINE = SplineConfig(step=4)
_AHEAD = 4.0
"""Logit of what moves above the background's, where motion begins with a spline."""
_SHOWN = 2.0
"""Logit that the source shows what is needed, where the warped source is part of the picture."""

REGIONS = {
    68: (
        (*range(17, 22), *range(36, 42)),
        (*range(22, 27), *range(42, 48)),
        tuple(range(48, 68)),
    ),
    478: (
        (70, 63, 105, 66, 107, 33, 160, 158, 133, 153, 144),
        (336, 296, 334, 293, 300, 362, 385, 387, 263, 373, 380),
        (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
    ),
}
"""Eye with brow on the picture's left, the same on its right, and mouth: among 68 landmarks in iBUG's order,
and among the face mesh's 478."""


@dataclass(frozen=True)
class Sparse2DenseConfig:
    """Everything that makes a `Sparse2DenseNetwork`; the defaults are [S2D]'s.

    Attributes:
        landmarks: how many; [S2D] does not say. Coordinates are shares of the frame, -1 and 1 its edges.
        regions: landmarks of each local network, three in [S2D] sec. 1; None: those of `regions_of`, which
            knows them for 68 and 478. Empty: no local networks.
        whole: of the network that sees the whole face ([S2D] sec. 1).
        part: of a local network ([S2D] sec. 1).
        patch: pixels a side that a local network sees: 64 ([S2D] sec. 1).
        patch_share: the patch's side as a share of the frame's shorter one. [S2D] cuts 64 px of 256 px.
        feather: width of a patch's soft edge in half sides; [S2D] does not say how parts are merged.
        generator: [S2D] sec. 1 takes that of [FOMM].
        initial_flow: what the motions of face and regions begin from: ``zero``, the paper's (a region's from
            the shift of its landmarks' mean), or ``thin_plate``: the spline through the landmarks
            (`geom.spline`), so that an untrained network moves the picture as the animator `tps` does.
        blended: the picture is the source warped by the flow where that shows what is needed, by the
            occlusion, and the generator's elsewhere; False, the paper's: the generator's everywhere.
    """

    landmarks: int = 68
    regions: tuple[tuple[int, ...], ...] | None = None
    whole: MotionNetworkConfig = WHOLE
    part: MotionNetworkConfig = PART
    patch: int = 64
    patch_share: float = 0.25
    feather: float = 0.25
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    initial_flow: Literal["zero", "thin_plate"] = "zero"
    blended: bool = False

    def __post_init__(self) -> None:
        parts = self.parts
        rows = [row for region in parts for row in region]
        if self.landmarks < 1 or not all(parts) or not all(0 <= r < self.landmarks for r in rows):
            raise HeadwarpError(
                f"landmarks, regions: expected at least 1 landmark and regions of rows 0 to "
                f"{self.landmarks - 1}, got {self.landmarks} and {parts}; regions_of has those of "
                f"{' and '.join(map(str, REGIONS))} landmarks"
            )
        if self.initial_flow not in ("zero", "thin_plate"):
            raise HeadwarpError(f"initial_flow: expected 'zero' or 'thin_plate', got {self.initial_flow!r}")
        if self.patch < 1 or self.patch % self.part.multiple:
            raise HeadwarpError(
                f"patch: expected a multiple of {self.part.multiple}, which the local networks' blocks halve "
                f"away, got {self.patch}"
            )
        if not 0 < self.patch_share <= 1 or not 0 < self.feather <= 1:
            raise HeadwarpError(
                "patch_share, feather: expected above 0 and at most 1, got "
                f"{(self.patch_share, self.feather)}"
            )

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """Landmarks of each local network, ``regions`` or those that `regions_of` has."""
        return regions_of(self.landmarks) if self.regions is None else self.regions

    @property
    def multiple(self) -> int:
        """Both sides of a picture are multiples of this."""
        return math.lcm(self.whole.multiple, self.generator.multiple)


def regions_of(count: int) -> tuple[tuple[int, ...], ...]:
    """Landmarks of the eyes with their brows and of the mouth.

    Raises:
        HeadwarpError: of another number of landmarks nobody knows which is which.

    Example:
        >>> [len(region) for region in regions_of(478)]
        [11, 11, 20]
    """
    if count not in REGIONS:
        raise HeadwarpError(
            f"landmarks: expected {' or '.join(map(str, REGIONS))}, got {count}; name the regions of others"
        )
    return REGIONS[count]


def with_landmarks(
    config: Sparse2DenseConfig, count: int, regions: tuple[tuple[int, ...], ...] | None = None
) -> Sparse2DenseConfig:
    """The same network for another number of landmarks.

    Args:
        config: any.
        count: of landmarks.
        regions: of the local networks; those of `regions_of` if None.
    """
    return replace(config, landmarks=count, regions=regions)


def paper() -> Sparse2DenseConfig:
    """[S2D] as written; frames of multiples of 128 px."""
    return Sparse2DenseConfig()


def small(config: Sparse2DenseConfig | None = None) -> Sparse2DenseConfig:
    """The same with half the channels, at most 256, and a block less each way: multiples of 64 px."""
    return replace(
        config or paper(),
        whole=MotionNetworkConfig((16, 32, 64, 128, 256, 256), (256, 256, 128, 64, 32, 16), 4, 128),
        part=MotionNetworkConfig((8, 16, 32, 64), (64, 32, 16, 8), 3, 64),
        patch=32,
        generator=GeneratorConfig(width=32, max_channels=256, bottleneck=4),
    )


def tiny(config: Sparse2DenseConfig | None = None, *, width: int = 8) -> Sparse2DenseConfig:
    """The same with few channels, for tests and short trainings: multiples of 32 px."""
    most = 4 * width
    return replace(
        config or paper(),
        whole=MotionNetworkConfig(
            (width, 2 * width, most, most, most), (most, most, most, 2 * width, width), 3, 32
        ),
        part=MotionNetworkConfig((width, 2 * width, 2 * width), (2 * width, 2 * width, width), 2, 32),
        patch=16,
        generator=GeneratorConfig(width=width, max_channels=most, bottleneck=2),
    )


@dataclass(frozen=True)
class LandmarkMotion:
    """Dense motion of a frame; 2 + R motions: the background's, the whole face's, one a region.

    Attributes:
        displacement: the merged motion, normalised, added to the lattice (`geom.grids`), ``(B, 2, H, W)``.
        occlusion: 1 where the source shows what is needed, ``(B, 1, H, W)``.
        masks: share of each motion, their sum 1, ``(B, 2 + R, H, W)``.
        sparse: each motion alone, as ``displacement``, ``(B, 2 + R, 2, H, W)``.
        convention: of all of these.
    """

    displacement: Float[Tensor, "B 2 H W"]
    occlusion: Float[Tensor, "B 1 H W"]
    masks: Float[Tensor, "B M H W"]
    sparse: Float[Tensor, "B M 2 H W"]
    convention: GridConvention = _CONVENTION


@dataclass(frozen=True)
class SourceParts:
    """What depends on the source alone.

    Attributes:
        encoded: of the generator.
        landmarks: normalised, ``(B, L, 2)``.
        whole: hidden features of the whole face.
        parts: hidden features of each region.
    """

    encoded: EncodedSource
    landmarks: Float[Tensor, "B L 2"]
    whole: Float[Tensor, "B C h w"]
    parts: tuple[Tensor, ...]


@dataclass(frozen=True)
class Sparse2DenseOutput:
    """What the network makes.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        deformed: the source picture warped by the flow.
        flow: backward flow in pixels (`geom.flow`), ``(B, 2, H, W)``.
        motion: how it came about.
    """

    image: Float[Tensor, "B 3 H W"]
    deformed: Float[Tensor, "B 3 H W"]
    flow: Float[Tensor, "B 2 H W"]
    motion: LandmarkMotion


class Sparse2DenseNetwork(nn.Module):
    """`encode` once a source, `decode` once a frame; `forward` is both.

    Untrained, background and whole face stand still and a region is drawn along by its mean landmark; with
    ``initial_flow="thin_plate"`` face and regions follow the spline through the landmarks.

    Args:
        config: of all parts.
    """

    def __init__(self, config: Sparse2DenseConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or Sparse2DenseConfig()
        # flow, the foreground's logit and the occlusion's
        self.whole = MotionNetwork(config.whole, told=2 * config.landmarks, outputs=4)
        self.parts = nn.ModuleList(
            MotionNetwork(config.part, told=2 * len(region), outputs=_LOCAL_MAPS) for region in config.parts
        )
        self.generator = Generator(config.generator)

    def encode(self, source: Float[Tensor, "B 3 H W"], landmarks: Float[Tensor, "B L 2"]) -> SourceParts:
        """Everything that depends on the source alone.

        Args:
            source: RGB in [0, 1]; sides are multiples of ``config.multiple``.
            landmarks: of it, normalised: -1 and 1 at the frame's edges.

        Raises:
            ShapeError: a picture or landmarks that do not fit.
        """
        self.check(source)
        self._check_landmarks(landmarks, len(source), "landmarks")
        landmarks = landmarks.to(source)
        whole = self.whole.encode(source, landmarks.flatten(1))
        parts = []
        for region, network in self._parts():
            patch = self._patch(landmarks, region, source)
            seen = patch.cut(source, self.config.patch)
            parts.append(network.encode(seen, _vector(patch, landmarks, region)))
        return SourceParts(self.generator.encode(source), landmarks, whole, tuple(parts))

    def decode(
        self,
        source: SourceParts,
        landmarks: Float[Tensor, "B L 2"],
        *,
        spline: Float[Tensor, "B 2 H W"] | None = None,
    ) -> Sparse2DenseOutput:
        """The picture at the driver's landmarks, or a batch of them; a source of batch 1 serves all.

        Args:
            source: of `encode`.
            landmarks: of the driver, normalised.
            spline: backward flow in pixels that motion begins with, where the config begins with a spline;
                computed if None.

        Raises:
            ShapeError: landmarks that do not fit.
        """
        motion = self.motion(source, landmarks, spline=spline)
        made = self.generator.decode(source.encoded, motion)
        image, shown = made.image, motion.occlusion
        if self.config.blended:
            image = torch.lerp(image, made.deformed.to(image), shown.to(image))
        flow = pixel_flow(motion.displacement, motion.convention)
        return Sparse2DenseOutput(image, made.deformed, flow, motion)

    def forward(
        self,
        source: Float[Tensor, "B 3 H W"],
        landmarks: Float[Tensor, "B L 2"],
        driving: Float[Tensor, "B L 2"],
    ) -> Sparse2DenseOutput:
        """A source of its own for every driving frame.

        Args:
            source: RGB in [0, 1].
            landmarks: the source's, normalised.
            driving: the driver's, normalised.
        """
        return self.decode(self.encode(source, landmarks), driving)

    def motion(
        self,
        source: SourceParts,
        landmarks: Float[Tensor, "B L 2"],
        *,
        spline: Float[Tensor, "B 2 H W"] | None = None,
    ) -> LandmarkMotion:
        """Dense motion: where every pixel comes from, and what is hidden.

        Args:
            source, landmarks, spline: as in `decode`.
        """
        own = source.landmarks
        self._check_landmarks(landmarks, len(own), "driving landmarks")
        landmarks = landmarks.to(own)
        maps = self.whole.decode(source.whole, own.flatten(1), landmarks.flatten(1))  # (B, 4, H, W)
        still = torch.zeros_like(maps[:, :2])
        begun = self._begun(source, landmarks, spline).to(maps)  # (B, 2, H, W), or 0
        ahead = 0.0 if self.config.initial_flow == "zero" else _AHEAD
        flows, logits = [still, begun + maps[:, :2]], [still[:, :1], maps[:, 2:3] + ahead]
        for (region, network), hidden in zip(self._parts(), source.parts, strict=True):
            flow, logit = self._part(network, hidden, region, own, landmarks, source.encoded.image)
            flows.append(begun + flow)
            logits.append(logit + ahead)
        masks = torch.cat(logits, dim=1).softmax(dim=1)  # (B, 2 + R, H, W)
        sparse = torch.stack(flows, dim=1)  # (B, 2 + R, 2, H, W)
        merged = (masks[:, :, None] * sparse).sum(dim=1)
        shown = torch.sigmoid(maps[:, 3:] + (_SHOWN if self.config.blended else 0.0))
        return LandmarkMotion(merged, shown, masks, sparse)

    def check(self, image: Tensor) -> None:
        """Raises ShapeError for a picture that is none, or of sides that are no multiples."""
        check_picture(image, 3, self.config.multiple, "image")

    def _parts(self) -> Iterator[tuple[tuple[int, ...], MotionNetwork]]:
        for region, network in zip(self.config.parts, self.parts, strict=True):
            yield region, cast(MotionNetwork, network)

    def spline(
        self, source: SourceParts, landmarks: Float[Tensor, "B L 2"]
    ) -> Float[Tensor, "B 2 H W"] | None:
        """Backward flow in pixels through the landmarks, which motion begins with; None: it begins at 0.

        Args:
            source: what `encode` returned.
            landmarks: the driver's, normalised.
        """
        if self.config.initial_flow == "zero":
            return None
        size = (source.encoded.image.shape[2], source.encoded.image.shape[3])
        own, driving = (to_pixels(points, size) for points in (source.landmarks, landmarks))
        return spline_flows(own, driving, size, config=_SPLINE)

    def _begun(self, source: SourceParts, landmarks: Float[Tensor, "B L 2"], flow: Tensor | None) -> Tensor:
        """What motions begin with, normalised: the spline's flow, or 0."""
        flow = self.spline(source, landmarks) if flow is None else flow
        if flow is None or self.config.initial_flow == "zero":
            return landmarks.new_zeros(())
        size = (source.encoded.image.shape[2], source.encoded.image.shape[3])
        return flow * 2 / flow.new_tensor([size[1], size[0]])[:, None, None]

    def _part(
        self,
        network: MotionNetwork,
        hidden: Tensor,
        region: tuple[int, ...],
        own: Tensor,
        driving: Tensor,
        image: Tensor,
    ) -> tuple[Float[Tensor, "B 2 H W"], Float[Tensor, "B 1 H W"]]:
        """Flow of a region, beyond the spline if there is one, and its logit: minus infinity outside its
        patch.
        """
        before, after = (self._patch(points, region, image) for points in (own, driving))
        maps = network.decode(hidden, _vector(before, own, region), _vector(after, driving, region))
        placed, window = after.placed(maps, (image.shape[2], image.shape[3]), feather=self.config.feather)
        flow = placed[:, :2] * placed.new_tensor(after.half)[:, None, None]
        if self.config.initial_flow == "zero":
            flow = flow + (before.centre - after.centre)[:, :, None, None]  # the patch's own motion
        return flow, placed[:, 2:] + window.log()

    def _patch(self, points: Tensor, region: tuple[int, ...], image: Tensor) -> Patch:
        return patch_about(points, region, (image.shape[2], image.shape[3]), share=self.config.patch_share)

    def _check_landmarks(self, points: Tensor, batch: int, name: str) -> None:
        expected = (self.config.landmarks, 2)
        if points.ndim != 3 or points.shape[1:] != expected or (batch != 1 and len(points) != batch):
            raise ShapeError(
                f"{name}: expected ({'B' if batch == 1 else batch}, {expected[0]}, 2), got "
                f"{tuple(points.shape)}"
            )


def _vector(patch: Patch, points: Tensor, region: tuple[int, ...]) -> Float[Tensor, "B N"]:
    """Landmarks of a region in the units of its patch: where the patch lies is no part of it."""
    return patch.of_frame(points[:, list(region)]).flatten(1)
