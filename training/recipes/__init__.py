"""Recipes: one file a paper, one frozen dataclass a mode; what a training does, but not how it is run.

A file registers its class with `register` and a config for each of its modes; the recipe's name is
``FILE/MODE``. `load_recipe` builds one, `training.engine` runs it. docs/training.md shows how one is written.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from ...geom.errors import HeadwarpError

GENERATED = "generated"
Needs = Literal["geometry", "frames", "regions"]


class Recipe(Protocol):
    """What `training.engine` runs.

    A network of ``turns`` is called through its ``forward`` alone: that runs in the precision of the run and
    gives single precision back; all else in a recipe, losses above all, runs in single precision.

    Attributes:
        name: such as ``pwm/residual``; with what stands in for a missing pretrained network, such as
            ``pwm/paper+structure``.
        config: the frozen dataclass that the recipe was built from; a run is resumed only with an equal one.
        stand_ins: a sentence for each such thing; empty where nothing stands in.
        turns: the networks that are stepped, in order, such as ``("generator", "discriminator")``. Of the
            first an exponential moving average is kept.
        needs: what its batches are: ``geometry``, a `PairBatch` with posed meshes and layers; ``frames``, a
            `FrameBatch` of clips without faces or fits; or ``regions``, a `BlendBatch` of recoloured heads
            with the regions of their fits.
        frames: of a sample: 2, source and driving; or 3, the previous, the target and the next.

    A recipe that trains no animator says of what kind its checkpoint is, such as ``kind = "depth"``; the
    file has that name. One whose pictures a geometry source guides says what does, in ``guided_by``, a
    `warping.guide_record.GuideRecord`; the animator's file keeps it.
    """

    name: str
    config: Any
    stand_ins: tuple[str, ...]
    turns: tuple[str, ...]
    needs: Needs
    frames: int

    def networks(self) -> Mapping[str, nn.Module]:
        """Fresh trainable networks by name, among them every name in ``turns``; seeded by the caller."""

    def optimizer(self, turn: str, network: nn.Module) -> Optimizer:
        """The optimizer of one network; the engine multiplies its learning rates by the schedule.

        Args:
            turn: a name among ``turns``.
            network: of this turn.
        """

    def generate(self, networks: Mapping[str, nn.Module], batch: Any) -> Any:
        """The forward pass, once a batch, with gradients of the first turn's network.

        Args:
            networks: all of them.
            batch: on the device.
        """

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: Any, made: Any
    ) -> Mapping[str, Tensor]:
        """Named, weighted, scalar terms of one turn, means over the batch; their sum is descended.

        Args:
            turn: a name among ``turns``.
            networks: all of them; only the turn's own gets gradients.
            batch: on the device.
            made: what `generate` returned; later turns detach it.
        """

    def pictures(self, networks: Mapping[str, nn.Module], batch: Any) -> Mapping[str, Tensor]:
        """Named pictures ``(B, 3, H, W)`` in [0, 1]: the columns of the sheet, a row a sample; among them
        ``generated``, which held-out samples are measured on, against ``driving``, with ``source`` as the
        copy to be better than (the batch's, where the recipe shows none). Called in evaluation mode, without
        gradients, with the moving average where there is one.

        Args:
            networks: all of them, in evaluation mode.
            batch: on the device.
        """

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """Registered name (an animator's), its config and the module whose weights are its checkpoint."""


@dataclass(frozen=True)
class RecipeEntry:
    """A registered recipe.

    Attributes:
        name: ``FILE/MODE``.
        config: of this mode.
        build: makes the recipe from a config of the same class.
    """

    name: str
    config: Any
    build: Callable[[Any], Recipe]

    @property
    def needs(self) -> Needs:
        """What its batches are, see `Recipe`."""
        needs: Needs = getattr(self.build, "needs", "geometry")
        return needs


_REGISTERED: dict[str, RecipeEntry] = {}
Built = TypeVar("Built", bound=type)


def register(modes: Mapping[str, Any]) -> Callable[[Built], Built]:
    """Class decorator: register a recipe class as ``FILE/MODE`` with a frozen config dataclass a mode.

    Raises:
        TypeError: a config is no instance of a dataclass.
    """
    for mode, config in modes.items():
        if not dataclasses.is_dataclass(config) or isinstance(config, type):
            raise TypeError(f"register: {mode}: expected an instance of a config dataclass, got {config!r}")

    def decorate(cls: Built) -> Built:
        file = cls.__module__.rpartition(".")[2]
        for mode, config in modes.items():
            _REGISTERED[f"{file}/{mode}"] = RecipeEntry(f"{file}/{mode}", config, cls)
        return cls

    return decorate


def recipe_names() -> tuple[str, ...]:
    """Names that `load_recipe` knows in full: every mode that the files of this folder register."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return tuple(sorted(_REGISTERED))


def recipe_entry(name: str) -> RecipeEntry:
    """The registration behind a name; a file's name alone means the first mode that it registers.

    Raises:
        HeadwarpError: an unknown name.

    Example:
        >>> recipe_entry("pwm").name
        'pwm/residual'
    """
    known = recipe_names()
    chosen = next((full for full in _REGISTERED if full.startswith(f"{name}/")), name)
    if chosen not in known:
        raise HeadwarpError(f"recipe: expected one of {', '.join(known) or 'none'}, got {name!r}")
    return _REGISTERED[chosen]


def load_recipe(name: str, *, config: Any = None) -> Recipe:
    """A recipe by name, ready for `training.engine`.

    Args:
        name: one of `recipe_names`, or the name of a file alone, for its first mode.
        config: an instance of the recipe's config class; that of its mode otherwise.

    Raises:
        HeadwarpError: an unknown name or a foreign config.
    """
    entry = recipe_entry(name)
    chosen = entry.config if config is None else config
    if not isinstance(chosen, type(entry.config)):
        raise HeadwarpError(
            f"recipe {name!r}: expected a config of class {type(entry.config).__name__}, "
            f"got {type(chosen).__name__}"
        )
    return entry.build(chosen)
