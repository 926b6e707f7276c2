"""`heser`: [HeSer]'s aligner: every pixel anew, of what a person looks like and how a driver holds the head.

Driver and sources are pictures with the head in the middle. Several sources are fused: where their meshes
and the driver's are known, by what each of them shows of what the pose needs (`warping.source_fusion`), else
their mean. It has no weights of its own: train them (`training.recipes.heser_aligner`) or convert published
ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...geom.displacement import source_visibility
from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, Source, take
from ..heser_aligner import HeserAligner, HeserAlignerConfig, fused, resized
from ..inference import InferenceConfig, prepare_
from ..source_fusion import fusion_weights, visibilities
from . import Animation, register


@dataclass(frozen=True)
class HeserCache:
    """Computed once for all sources.

    Attributes:
        codes: of each source, portrait and identity.
        size: (H, W) of the first source's picture, which those that are made have.
        shown: how far each source shows each vertex of its mesh; None without meshes.
        faces: of the mesh.
    """

    codes: Float[Tensor, "K D"]
    size: tuple[int, int]
    shown: Float[Tensor, "K V"] | None
    faces: Int[Tensor, "F 3"] | None


@register(HeserAlignerConfig)
class HeserAnimator(nn.Module):
    """See the module; its weights are those of `heser_aligner.HeserAligner`.

    A picture that is no square is continued to one by its border and brought to the network's size; what is
    made is brought to the first source's size and cut.

    Attributes:
        needs_weights: an untrained one shows nothing.
        trained_by: the recipe that trains it.
    """

    needs_source: ClassVar[tuple[str, ...]] = ("image",)
    needs_driving: ClassVar[tuple[str, ...]] = ("image",)
    needs_weights: ClassVar[bool] = True
    trained_by: ClassVar[str] = "heser_aligner"

    def __init__(self, config: HeserAlignerConfig) -> None:
        super().__init__()
        self.config = config
        self.network = HeserAligner(config)
        self.eval().requires_grad_(False)

    def prepare_(self, config: InferenceConfig) -> None:
        """See `inference.prepare_animator_`. Weights are not packed: frames would take a fifth longer
        (docs/benchmarks.md).

        Raises:
            HeadwarpError: it is to be compiled.
        """
        if config.compile or config.bfloat16:
            raise HeadwarpError(
                "heser: is not compiled: with frozen weights its pictures differed by up to 3 in 255; leave "
                "compile and bfloat16 out"
            )
        prepare_(self.network, pack=False)
        self.network.register_state_dict_pre_hook(_refuse_to_save)

    def encode(self, sources: Sequence[Source]) -> HeserCache:
        """Codes of one source or of several of the same person.

        Raises:
            HeadwarpError: no source, or one without a picture.
        """
        if not sources:
            raise HeadwarpError("heser: expected one source picture or more, got 0")
        images = [take(source, ("image",), by="heser")[0] for source in sources]
        codes = torch.cat(
            [self.network.encode(_squared(image, self.config.generator.size)) for image in images]
        )
        shown = visibilities(sources)
        faces = None if shown is None else sources[0].faces
        return HeserCache(codes, (images[0].shape[2], images[0].shape[3]), shown, faces)

    def animate(self, cache: HeserCache, driving: Driving) -> Animation:
        """The person as the driver holds the head. All of the picture counts: it is made anew."""
        (image,) = take(driving, self.needs_driving, by="heser")
        code = self.network.encode_driving(_squared(image, self.config.generator.size))
        source = fused(cache.codes[None], self._weights(cache, driving))
        return Animation(image=_cut(self.network.decode(source, code), cache.size))

    def explain(self, cache: HeserCache, driving: Driving) -> Mapping[str, Tensor]:
        """The picture, and of several sources what each would make alone (3 K) and their weights (K)."""
        made = {"animated": self.animate(cache, driving).image}
        if len(cache.codes) == 1:
            return made
        (image,) = take(driving, self.needs_driving, by="heser")
        code = self.network.encode_driving(_squared(image, self.config.generator.size))
        alone = [_cut(self.network.decode(one[None], code), cache.size) for one in cache.codes]
        weights = self._weights(cache, driving)
        if weights is None:
            weights = cache.codes.new_full((1, len(alone)), 1 / len(alone))
        return {**made, "alone": torch.cat(alone, 1), "weights": weights[:, :, None, None]}

    def _weights(self, cache: HeserCache, driving: Driving) -> Float[Tensor, "B K"] | None:
        if cache.shown is None or len(cache.codes) == 1:
            return None
        verts, needed = driving.posed_vertices, None
        if verts is not None and cache.faces is not None and verts.shape[1] == cache.shown.shape[1]:
            needed = source_visibility(verts, cache.faces, cache.size)
        return fusion_weights(cache.shown, needed)


def _squared(image: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B 3 S S"]:
    """A picture continued by its border to a square about its middle, at the size that the network makes and
    was trained on: encoders that see other sizes than in training tell no pose.
    """
    height, width = image.shape[2:]
    missing = [max(height - width, 0), max(width - height, 0)]
    if any(missing):
        sides = [part for total in missing for part in (total // 2, total - total // 2)]
        image = F.pad(image, sides, mode="replicate")
    return resized(image, side)


def _cut(image: Float[Tensor, "B 3 S S"], size: tuple[int, int]) -> Float[Tensor, "B 3 H W"]:
    """What `_squared` added is taken off again, at another size."""
    side = max(size)
    image = resized(image, side)
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    return image[:, :, top : top + size[0], left : left + size[1]].clamp(0, 1)


def _refuse_to_save(*_: object) -> None:
    raise HeadwarpError(
        "heser: this animator was prepared to animate and cannot be saved or trained; load its checkpoint "
        "again"
    )
