"""Pairs of packed frames as what networks are trained on: pictures, posed meshes, geometry's layers."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from ....flame.model import HeadModel
from ....flame.mouth import strip_vertices
from ....flame.params import HeadFit
from ....flame.residual import field_of
from ....geom.errors import HeadwarpError
from ....geom.guidance import Source, take
from ....warping.animators.geometry import GeometryAnimator, GeometryCache, GeometryConfig
from ....warping.layers import Layers
from ....warping.posed_layers import PosedLayers
from ..camera_motion import CameraMotion
from ..portrait import Portrait, to_image
from . import records
from .batch import PairBatch
from .compact import CompactPairs
from .pack import Pack, check_alike
from .sampler import PairIndex
from .shards import ShardStore
from .stored import StoredPose, StoredSource

Value = TypeVar("Value")
Keep = Literal["nothing", "sources", "pairs"]
KEEPS = ("nothing", "sources", "pairs")
STORES = 4096  # packs whose kept blocks are known by heart
_SOURCE = 2**32 - 1  # in place of a driving frame in the key of a source


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
class PosedPair:
    """A source in one driving pose, computed.

    Attributes:
        prepared: the source.
        layers: of the pair.
        verts: posed mesh of the driving frame.
        motion: of the camera, see `geom.guidance.Driving`; None while it stands.
    """

    prepared: PreparedSource
    layers: PosedLayers
    verts: Float[Tensor, "1 V 3"]
    motion: Float[Tensor, "1 2 3"] | None

    @property
    def own(self) -> Float[Tensor, "1 V 3"]:
        """Posed mesh of the source frame."""
        (verts,) = take(self.prepared.source, ("posed_vertices",), by="pairs")
        return verts

    def kept(self) -> records.KeptPose:
        """What is kept of it."""
        return records.pose_of(self.layers, self.verts, self.motion)

    def stored(self) -> StoredPose:
        """The same in floats."""
        return records.computed_pose(self.kept())


@dataclass(frozen=True)
class MakerConfig:
    """How pairs are made.

    Attributes:
        geometry: the animator whose layers are made.
        still_camera: do not measure the background's motion.
        keep: what is kept on disk and read the next time, see `records` for its precision: ``nothing``; the
            layers of ``sources``; or ``pairs``, which pays where they come again: with the mode ``first`` or
            a pool of the sampler. Pairs across clips are never kept. At 256 pixels 0.5 MB a source, 0.4 MB a
            pair.
        kept_in: folder for what is kept, where the packs' own cannot be written; None: theirs.
        sources: how many prepared sources are kept in memory (3 MB each at 256 pixels).
        fits: how many clips' fits are kept in memory.
    """

    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    still_camera: bool = False
    keep: Keep = "nothing"
    kept_in: Path | None = None
    sources: int = 32
    fits: int = 16

    def __post_init__(self) -> None:
        if self.keep not in KEEPS:
            raise HeadwarpError(f"keep: expected one of {', '.join(KEEPS)}, got {self.keep!r}")

    def fingerprint(self) -> str:
        """Tells what was computed with these settings from what was with others."""
        text = repr((records.VERSION, self.geometry, self.still_camera))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class PairMaker:
    """Makes pairs of packed frames, one by one.

    A pair is the same whatever was made before it, and whether it is read or computed: the camera's motion is
    measured for each by itself, and what will be kept is used as it will be read.

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
        self._sources: Recent[PreparedSource] = Recent(self.config.sources)
        self._kept: Recent[records.KeptSource] = Recent(self.config.sources)
        self._halves: Recent[StoredSource] = Recent(self.config.sources)
        self._stores: Recent[ShardStore] = Recent(STORES)
        self._faces: Recent[Tensor] = Recent(1)

    def make(self, pair: PairIndex) -> PairBatch:
        """A batch of one.

        Raises:
            ModelFileError: a pack's files are damaged.
            HeadwarpError: what is to be kept cannot be written.
        """
        pack, other = self.packs[pair.source_pack], self.packs[pair.driving_pack]
        source, image = to_image(pack.frame(pair.source)), to_image(other.frame(pair.driving))
        own, layers, verts = self._parts(pair, source, image)
        return PairBatch(
            source=source,
            driving=image,
            driving_mask=to_mask(other.mask(pair.driving)),
            layers=layers,
            source_verts=own,
            driving_verts=verts,
            faces=self.faces(),
            names=(self.name(pair),),
        )

    def compact(self, pair: PairIndex) -> CompactPairs:
        """What `make` makes, before it is made: `compact.expanded` gives the same values.

        What is kept is handed on as it is stored, what is computed in floats.

        Raises:
            ModelFileError, HeadwarpError: as `make`.
        """
        pack, other = self.packs[pair.source_pack], self.packs[pair.driving_pack]
        source, image = pack.frame(pair.source), other.frame(pair.driving)
        own, pose = self._stored_parts(pair, source, image)
        return CompactPairs(
            source=torch.from_numpy(source)[None],
            driving=torch.from_numpy(image)[None],
            driving_mask=torch.from_numpy(other.mask(pair.driving))[None],
            own=own,
            pose=pose,
            faces=self.faces(),
            names=(self.name(pair),),
        )

    def _parts(self, pair: PairIndex, source: Tensor, image: Tensor) -> tuple[Tensor, PosedLayers, Tensor]:
        """Source mesh, layers, driving mesh."""
        if self.config.keep == "nothing":
            posed = self._posed(pair, image, lambda: None)
            return posed.own, posed.layers, posed.verts
        kept = self._kept.get(
            (pair.source_pack, pair.source), lambda: records.read_source(self._kept_source(pair), source)
        )
        if not self._keeps(pair):
            posed = self._posed(pair, image, lambda: kept.layers)
            return kept.verts, posed.layers, posed.verts
        pose = records.read_pose(self._kept_pose(pair, lambda: image, lambda: kept.layers))
        return kept.verts, records.assembled(kept, pose), pose.verts

    def _stored_parts(
        self, pair: PairIndex, source: UInt8[ndarray, "S S 3"], image: UInt8[ndarray, "S S 3"]
    ) -> tuple[StoredSource, StoredPose]:
        """The same as it is stored, or in floats."""
        if self.config.keep == "nothing":
            posed = self._posed(pair, to_image(image), lambda: None)
            cache = posed.prepared.cache
            kept = _kept_of(posed.prepared.source, cache, self.animator.reach(cache))
            return records.computed_source(kept), posed.stored()
        own = self._halves.get((pair.source_pack, pair.source), lambda: self._kept_source(pair))

        def layers() -> Layers:
            return records.read_source(own, to_image(source)).layers

        if self._keeps(pair):
            return own, self._kept_pose(pair, lambda: to_image(image), layers)
        return own, self._posed(pair, to_image(image), layers).stored()

    def _keeps(self, pair: PairIndex) -> bool:
        return self.config.keep == "pairs" and pair.source_pack == pair.driving_pack

    def _kept_source(self, pair: PairIndex) -> StoredSource:
        number, position = pair.source_pack, pair.source
        store, key = self._store(number), (position, _SOURCE)
        block = store.get(key)
        if block is None:
            source = self._portrait(number, position).source()
            cache = self.animator.encode([source])
            block = records.write_source(_kept_of(source, cache, self.animator.reach(cache)))
            store.put(key, block)
        return records.stored_source(block)

    def _kept_pose(
        self, pair: PairIndex, image: Callable[[], Tensor], layers: Callable[[], Layers]
    ) -> StoredPose:
        store, key = self._store(pair.source_pack), (pair.source, pair.driving)
        block = store.get(key)
        if block is None:
            block = records.write_pose(self._posed(pair, image(), layers).kept())
            store.put(key, block)
        return records.stored_pose(block)

    def _posed(self, pair: PairIndex, image: Tensor, layers: Callable[[], Layers | None]) -> PosedPair:
        """Computed; ``layers`` of the source are asked for when it is not at hand."""
        number, position = pair.source_pack, pair.source
        prepared = self._sources.get((number, position), lambda: self.prepare(number, position, layers()))
        fit = self.fit(pair.driving_pack).select([pair.driving])
        still = self.config.still_camera or pair.source_pack != pair.driving_pack
        motion = None if still else prepared.camera.of_frame(image)
        driving = prepared.portrait.driving(fit, image=image, camera_motion=motion)
        (verts,) = take(driving, ("posed_vertices",), by="pairs")
        return PosedPair(prepared, self.animator.layers(prepared.cache, driving), verts, motion)

    def prepare(self, number: int, position: int, layers: Layers | None = None) -> PreparedSource:
        """A frame of a pack as a source; ``layers`` where they are known already.

        Args:
            number: of the pack.
            position: of the frame in it.
            layers: person and background; None: made here.
        """
        portrait = self._portrait(number, position)
        source = portrait.source()
        cache = self.animator.encode_split(source, layers or self.animator.split(source))
        return PreparedSource(portrait, source, cache, CameraMotion(source))

    def _portrait(self, number: int, position: int) -> Portrait:
        pack, fit = self.packs[number], self.fit(number).select([position])
        image, mask = to_image(pack.frame(position)), to_mask(pack.mask(position))
        return Portrait(self.head, image, fit, mask, field_of(self.head, fit))

    def fit(self, number: int) -> HeadFit:
        """The fit of a pack's frames."""
        return self._fits.get(number, self.packs[number].fit)

    def faces(self) -> Int[Tensor, "F 3"]:
        """Triangles of every posed mesh, the mouth's strips among them."""
        return self._faces.get(0, lambda: take(self._portrait(0, 0).source(), ("faces",), by="pairs")[0])

    def vertices(self) -> int:
        """How many vertices a posed mesh has, the mouth's strips among them."""
        return len(self.head.template) + strip_vertices(self.head)

    def name(self, pair: PairIndex) -> str:
        """``PERSON/CLIP/SOURCE>DRIVING``; in front of ``DRIVING`` its clip where that is another one."""
        here, there = self.packs[pair.source_pack].index, self.packs[pair.driving_pack].index
        other = "" if here is there else f"{there.clip}/"
        first, second = here.frames[pair.source], there.frames[pair.driving]
        return f"{here.person}/{here.clip}/{first}>{other}{second}"

    def _store(self, number: int) -> ShardStore:
        return self._stores.get(number, lambda: ShardStore(kept_folder(self.packs[number], self.config)))


def _kept_of(source: Source, cache: GeometryCache, reach: Float[Tensor, "1 1 1 1"]) -> records.KeptSource:
    (verts,) = take(source, ("posed_vertices",), by="pairs")
    if cache.layers is None:
        raise HeadwarpError("pairs: expected a source with a person mask, got none")
    line = reach.new_full((1, 1, 1, 1), cache.torso_line)
    return records.KeptSource(cache.layers, verts, cache.dark, reach, line)


def kept_folder(pack: Pack, config: MakerConfig) -> Path:
    """Beside the frames, so that what was made of an older pack goes with it; elsewhere its name tells."""
    if config.kept_in is None:
        return pack.folder / f"guidance-{config.fingerprint()}"
    told = f"{pack.folder.name} {pack.file.stat().st_mtime_ns} {pack.file.read_text()}"
    made = hashlib.sha256(told.encode()).hexdigest()[:12]
    return config.kept_in / f"{pack.index.clip}-{made}" / f"guidance-{config.fingerprint()}"


def to_mask(mask: UInt8[ndarray, "H W"]) -> Float[Tensor, "1 1 H W"]:
    """255 to 1."""
    return torch.from_numpy(mask)[None, None].float() / 255
