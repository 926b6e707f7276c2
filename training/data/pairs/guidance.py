"""Pairs of packed frames as what networks are trained on: pictures, posed meshes, geometry's layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from ....flame.model import HeadModel
from ....flame.params import HeadFit
from ....flame.residual import ResidualField, field_of
from ....geom.errors import HeadwarpError
from ....geom.guidance import Source, take
from ....warping.animators.geometry import GeometryAnimator, GeometryCache, GeometryConfig
from ..camera_motion import CameraMotion
from ..portrait import Portrait, to_image
from .batch import PairBatch
from .pack import Pack, check_alike
from .sampler import PairIndex

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The last few values by key, made when they are not there. Another process begins with none."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.made = 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self.capacity,)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; the one asked for least recently gives way."""
        if key not in self._values:
            self._values[key] = make()
            self.made += 1
            if len(self._values) > self.capacity:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


@dataclass(frozen=True)
class PreparedSource:
    """What depends on the source frame alone; all of the `geometry` animator's and the pose's part.

    Attributes:
        portrait: picture, mask and fit.
        source: its tensors.
        cache: of the animator.
        camera: measures the background's motion.
    """

    portrait: Portrait
    source: Source
    cache: GeometryCache
    camera: CameraMotion


@dataclass(frozen=True)
class MakerConfig:
    """How pairs are made.

    Attributes:
        geometry: the animator whose layers are made.
        still_camera: do not measure the background's motion.
        sources: how many prepared sources are kept in memory (3 MB each at 256 pixels).
        fits: how many clips' fits are kept in memory.
    """

    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    still_camera: bool = False
    sources: int = 32
    fits: int = 16


class PairMaker:
    """Makes pairs of packed frames, one by one.

    A pair is the same whatever was made before it: the camera's motion is measured for each by itself.

    Args:
        packs: of one head and size.
        head: their model.
        config: see `MakerConfig`.

    Raises:
        ModelFileError: packs of another head, or of several sizes.
    """

    def __init__(self, packs: Sequence[Pack], head: HeadModel, *, config: MakerConfig | None = None) -> None:
        if not packs:
            raise HeadwarpError("pairs: expected packs of clips, got none")
        check_alike(packs, head)
        self.packs, self.head = tuple(packs), head
        self.config = config or MakerConfig()
        self.animator = GeometryAnimator(self.config.geometry)
        self._fits: Recent[HeadFit] = Recent(self.config.fits)
        self._fields: Recent[ResidualField] = Recent(4)
        self._sources: Recent[PreparedSource] = Recent(self.config.sources)

    def make(self, pair: PairIndex) -> PairBatch:
        """A batch of one.

        Raises:
            ModelFileError: a pack's files are damaged.
        """
        prepared = self._sources.get(
            (pair.source_pack, pair.source), lambda: self.prepare(pair.source_pack, pair.source)
        )
        pack = self.packs[pair.driving_pack]
        fit = self.fit(pair.driving_pack).select([pair.driving])
        image, mask = to_image(pack.frame(pair.driving)), to_mask(pack.mask(pair.driving))
        still = self.config.still_camera or pair.source_pack != pair.driving_pack
        motion = None if still else prepared.camera.of_frame(image)
        driving = prepared.portrait.driving(fit, image=image, camera_motion=motion)
        (verts,) = take(driving, ("posed_vertices",), by="pairs")
        own, faces = take(prepared.source, ("posed_vertices", "faces"), by="pairs")
        return PairBatch(
            source=prepared.portrait.image,
            driving=image,
            driving_mask=mask,
            layers=self.animator.layers(prepared.cache, driving),
            source_verts=own,
            driving_verts=verts,
            faces=faces,
            names=(self.name(pair),),
        )

    def prepare(self, number: int, position: int) -> PreparedSource:
        """A frame of a pack as a source."""
        pack, fit = self.packs[number], self.fit(number).select([position])
        image, mask = to_image(pack.frame(position)), to_mask(pack.mask(position))
        portrait = Portrait(self.head, image, fit, mask, self._field(fit))
        source = portrait.source()
        return PreparedSource(portrait, source, self.animator.encode([source]), CameraMotion(source))

    def fit(self, number: int) -> HeadFit:
        """The fit of a pack's frames."""
        return self._fits.get(number, self.packs[number].fit)

    def name(self, pair: PairIndex) -> str:
        """``PERSON/CLIP/SOURCE>DRIVING``; in front of ``DRIVING`` its clip where that is another one."""
        here, there = self.packs[pair.source_pack].index, self.packs[pair.driving_pack].index
        other = "" if here is there else f"{there.clip}/"
        first, second = here.frames[pair.source], there.frames[pair.driving]
        return f"{here.person}/{here.clip}/{first}>{other}{second}"

    def _field(self, fit: HeadFit) -> ResidualField:
        """One for each set of landmarks: it takes a third of a second."""
        moving = tuple(fit.report.get("moving_landmarks", ()))
        family = fit.report.get("family", "mediapipe")
        key = (family, moving, tuple(fit.landmark_indices.tolist()))
        return self._fields.get(key, lambda: field_of(self.head, fit))


def to_mask(mask: UInt8[ndarray, "H W"]) -> Float[Tensor, "1 1 H W"]:
    """255 to 1."""
    return torch.from_numpy(mask)[None, None].float() / 255
