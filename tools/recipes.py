"""Recipes as the command line asks for them: a mode, a size, weights, and any field of its config by name."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..geom.nets.weights import known_weights, located
from ..training.data.portrait import face_points
from ..training.recipes import Recipe, RecipeEntry, load_recipe, recipe_entry
from ..warping._config_json import config_from_json, config_to_json
from ..warping.guides import GuideConfig
from ..warping.pwm import CodesConfig

if TYPE_CHECKING:
    from ..training.recipes.pwm import TextureLayout

ModelSize = Literal["tiny", "small", "paper"]
Guides = Literal["displacement", "mesh", "codes", "both", "depth", "keypoints", "landmarks"]
CodesKind = Literal["vertex", "texel"]
AUTO = Path("auto")


@dataclass(frozen=True)
class RecipeOptions:
    """What the command line says of a recipe.

    Attributes:
        name: ``FILE/MODE``, or ``FILE`` for its first mode.
        model_size: of the networks; None: ``tiny`` for ``pwm/residual`` and ``pwm/personal``, else
            the recipe's own, the paper's.
        guidance: what guides the network; ``mesh`` is another word for its displacement, ``depth``,
            ``keypoints`` and ``landmarks`` are computed in the batch.
        vgg: file of VGG-19's weights; ``auto``: the one in the folders of weights.
        weights_dir: folder of weights to look in before those of ``$HEADWARP_WEIGHTS``.
        codes: where they guide: one a vertex of the head, or one a texel of its texture; None: a vertex.
        guide: what is behind ``depth``, ``keypoints`` or ``landmarks``, see `guidance.guide_of`.
        side: of the frames in pixels, which a network that makes pictures of one size follows; None: its own.
    """

    name: str
    model_size: ModelSize | None = None
    guidance: Guides = "displacement"
    vgg: Path | None = None
    weights_dir: Path | None = None
    codes: CodesKind | None = None
    guide: GuideConfig | None = None
    side: int | None = None

    @property
    def network_guidance(self) -> Literal["displacement", "codes", "both"]:
        """What the network itself is guided by: depth, keypoints and landmarks are displacements too."""
        return self.guidance if self.guidance in ("codes", "both") else "displacement"


def recipe_of(
    options: RecipeOptions,
    head: HeadModel | None,
    *,
    changes: Sequence[str] = (),
    learning_rate: float | None = None,
) -> Recipe:
    """The recipe.

    Args:
        options: which.
        head: that the neural codes lie on, where codes guide; None for a recipe that needs no geometry.
        changes: fields of its config as ``KEY=VALUE``, see `with_changes`.
        learning_rate: in place of the recipe's.

    Raises:
        HeadwarpError: no such recipe, field or file, or a learning rate that makes no sense.
    """
    from ..training.recipes.pwm import PwmRecipe, PwmRecipeConfig, sized
    from ..training.recipes.sparse2dense import Sparse2DenseRecipe, Sparse2DenseRecipeConfig

    entry = recipe_entry(options.name)
    config = entry.config
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise HeadwarpError(f"--learning-rate: expected a number above 0, got {learning_rate:g}")
    if isinstance(config, PwmRecipeConfig):
        size = options.model_size or ("tiny" if entry.name in ("pwm/residual", "pwm/personal") else "paper")
        codes = None if head is None else codes_of(options, head)
        config = sized(config, size, guidance=options.network_guidance, codes=codes)
        config = dataclasses.replace(config, guide=options.guide)
    elif options.model_size is not None:
        config = _resized(entry, options.model_size)
    framed = getattr(sys.modules[entry.build.__module__], "framed", None)
    if framed is not None and options.side is not None:
        config = framed(config, options.side)
    config = _with_options(config, entry, vgg=vgg_of(options), learning_rate=learning_rate)
    config = with_changes(config, changes)
    if isinstance(config, Sparse2DenseRecipeConfig):
        _check_unguided(options, entry)
        count = config.network.landmarks
        return Sparse2DenseRecipe(config, None if head is None else landmarks_of(head, count))
    if not isinstance(config, PwmRecipeConfig) or head is None:
        return load_recipe(entry.name, config=config)
    points_of = landmarks_of(head)
    codes = config.network.codes
    if codes is None or codes.kind == "vertex":
        return PwmRecipe(config, None, points_of)
    texture = texture_of(head)
    laid = dataclasses.replace(codes, count=len(texture.faces))  # codes.kind may have been set by name
    network = dataclasses.replace(config.network, codes=laid)
    return PwmRecipe(dataclasses.replace(config, network=network), texture, points_of)


def _check_unguided(options: RecipeOptions, entry: RecipeEntry) -> None:
    """Raise HeadwarpError where guidance or codes are asked of a recipe that landmarks alone drive."""
    for option, chosen in (("guidance", options.guidance != "displacement"), ("codes", options.codes)):
        if chosen:
            raise HeadwarpError(
                f"--{option}: belongs to pwm; {entry.name} is driven by the head's landmarks: leave it out"
            )


def landmarks_of(head: HeadModel, count: int = 68) -> Callable[[Tensor], Tensor | None]:
    """What tells the landmarks of a batch's posed vertices, see `training.recipes._guides`."""
    return functools.partial(_points_of, head, count)


def _points_of(head: HeadModel, count: int, verts: Tensor) -> Tensor | None:
    """Those of the mouth's strips behind the head's vertices left out."""
    return face_points(head, verts[:, : len(head.template)], count)


def _resized(entry: RecipeEntry, size: ModelSize) -> Any:
    """A mode's config in another size, by its file's function ``sized``."""
    resize = getattr(sys.modules[entry.build.__module__], "sized", None)
    if resize is None:
        raise HeadwarpError(
            f"--model-size {size}: {entry.name} comes in one size; leave it out, or change its networks with "
            "--set"
        )
    return resize(entry.config, size)


def _with_options(config: Any, entry: RecipeEntry, **chosen: Any) -> Any:
    """The config with what the command line says of fields that most recipes have."""
    named = {name: value for name, value in chosen.items() if value is not None}
    for name in named:
        if not hasattr(config, name):
            option = name.replace("_", "-")
            raise HeadwarpError(f"--{option}: {entry.name} has no use for it; leave it out")
    return dataclasses.replace(config, **named)


def codes_of(options: RecipeOptions, head: HeadModel) -> CodesConfig | None:
    """Neural codes that a head carries; None where none guide.

    Raises:
        HeadwarpError: a kind of codes without guidance by them, or texels for a head that has none.
    """
    if options.network_guidance == "displacement":
        if options.codes is not None:
            raise HeadwarpError(f"--codes {options.codes}: belongs to --guidance codes or both; add one")
        return None
    if options.codes == "texel":
        return CodesConfig("texel", len(texture_of(head).faces))
    return CodesConfig(count=len(head.template))


def texture_of(head: HeadModel) -> TextureLayout:
    """The layout of a head's texture.

    Raises:
        HeadwarpError: it has none.
    """
    from ..training.recipes.pwm import TextureLayout

    if head.uv is None or head.uv_faces is None:
        raise HeadwarpError(
            f"--codes texel: head {head.model_id} has no texture coordinates; take --codes vertex, or a head "
            "that has them, as builtin has"
        )
    return TextureLayout(head.uv, head.uv_faces, head.faces)


def vgg_of(options: RecipeOptions) -> Path | None:
    """The file of VGG-19's weights. What is not asked for is not looked for: it would be another recipe.

    Raises:
        HeadwarpError: no such file, or a folder to look in that nothing is sought in.
        ModelFileError: ``auto``, and it is in no folder.
    """
    if options.vgg == AUTO:
        return located(known_weights("vgg19"), weights_dir=options.weights_dir)
    if options.weights_dir is not None:
        raise HeadwarpError("--weights-dir: belongs to --vgg auto; leave it out, or add that")
    if options.vgg is not None and not options.vgg.is_file():
        raise HeadwarpError(
            f"--vgg {options.vgg}: no such file; `headwarp weights list` says where the weights are to be "
            "had, --vgg auto takes them from --weights-dir or $HEADWARP_WEIGHTS"
        )
    return options.vgg


def with_changes(config: Any, changes: Sequence[str]) -> Any:
    """A config with fields set: ``network.network.stem=8``, ``warped="last"``; values are JSON, or text.

    Raises:
        HeadwarpError: no such field, or a value of another type; the text names the place.

    Example:
        >>> from headwarp.training.engine.config import EngineConfig
        >>> with_changes(EngineConfig(), ["steps=5", "schedule=cosine"]).schedule
        'cosine'
    """
    plain = config_to_json(config)
    for change in changes:
        key, equals, text = change.partition("=")
        *path, last = key.split(".")
        place: Any = plain
        for step in path:
            place = place.get(step) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or last not in place:
            fields = ", ".join(place) if isinstance(place, dict) else "none there"
            raise HeadwarpError(f"--set {change}: expected KEY=VALUE with a field of the recipe: {fields}")
        place[last] = _value(text)
    try:
        return config_from_json(type(config), plain)
    except HeadwarpError as error:
        raise HeadwarpError(f"--set: {error}") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
