"""What a run consists of, and the same as tensors and plain numbers that a checkpoint holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...geom.errors import HeadwarpError, ModelFileError
from ...warping.checkpoints import load_weights
from ..recipes import Recipe
from .average import average_of
from .config import EngineConfig
from .parallel import seed_step
from .precision import InPrecision

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Machinery:
    """The parts of a run that hold tensors.

    Attributes:
        recipe: what is done.
        fabric: where it is done.
        networks: as the recipe made them, on the device.
        called: the same as the recipe calls them: in the precision of the run, compiled if asked for.
        trained: parameters that are stepped, by turn.
        optimizers: by turn.
        average: moving average of the first turn's network; None without one.
    """

    recipe: Recipe
    fabric: Fabric
    networks: Mapping[str, nn.Module]
    called: Mapping[str, nn.Module]
    trained: Mapping[str, list[nn.Parameter]]
    optimizers: Mapping[str, Optimizer]
    average: nn.Module | None

    @property
    def shown(self) -> dict[str, nn.Module]:
        """The networks to look at: the average in place of what it averages."""
        first = self.recipe.turns[0]
        return {**self.networks, **({} if self.average is None else {first: self.average})}

    @property
    def scaler(self) -> Any:
        """The loss scaler of half precision, or None."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def only(self, turn: str) -> None:
        """From now on gradients reach the weights of this turn's network alone."""
        for name, parameters in self.trained.items():
            for parameter in parameters:
                parameter.requires_grad_(name == turn)


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: steps done, skipped ones among them.
        minutes: time spent, over all sessions.
        skipped: updates left out because something was not finite.
    """

    step: int = 0
    minutes: float = 0.0
    skipped: int = 0


@dataclass(frozen=True)
class RunRecord:
    """The plain part of a training checkpoint.

    Attributes:
        identity: what the run is: recipe, its config, settings, data; see `identity_of`.
        minutes: see `Progress`.
        skipped: see `Progress`.
        optimizers: parameter groups and plain state of every optimizer, by turn.
        scaler: state of the loss scaler.
    """

    identity: dict[str, Any]
    minutes: float
    skipped: int
    optimizers: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def build(fabric: Fabric, recipe: Recipe, config: EngineConfig) -> Machinery:
    """Fresh networks from the seed, the same on every rank.

    Args:
        fabric: where and in which precision it runs.
        recipe: what is trained.
        config: of the engine.

    Raises:
        HeadwarpError: the recipe's turns name no network of it.
    """
    seed_step(config.seed, 0, 0)
    networks = dict(recipe.networks())
    missing = [turn for turn in recipe.turns if turn not in networks]
    if missing or not recipe.turns:
        raise HeadwarpError(
            f"recipe {recipe.name}: expected turns among its networks {', '.join(networks)}, "
            f"got {', '.join(recipe.turns) or 'none'}"
        )
    layout = torch.channels_last if config.channels_last else torch.preserve_format
    for network in networks.values():
        network.to(device=fabric.device, memory_format=layout).train()  # type: ignore[call-overload]
    trained = {t: [p for p in networks[t].parameters() if p.requires_grad] for t in recipe.turns}
    average = None if config.ema is None else average_of(networks[recipe.turns[0]])
    optimizers = {turn: recipe.optimizer(turn, networks[turn]) for turn in recipe.turns}
    if config.compile:
        for turn in recipe.turns:
            networks[turn].compile()
    called = {name: InPrecision(network, fabric.autocast) for name, network in networks.items()}
    return Machinery(recipe, fabric, networks, called, trained, optimizers, average)


def captured(machinery: Machinery, identity: dict[str, Any], done: Progress) -> tuple[dict, RunRecord]:
    """Everything that the next step depends on: tensors by key, and the plain rest.

    Args:
        machinery: of the run.
        identity: from `identity_of`.
        done: how far the run is.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, network in machinery.networks.items():
        tensors |= {f"network/{name}/{key}": value for key, value in network.state_dict().items()}
    if machinery.average is not None:
        tensors |= {f"average/{key}": value for key, value in machinery.average.state_dict().items()}
    for turn, optimizer in machinery.optimizers.items():
        values, plain[turn] = optimizer_to_plain(optimizer)
        tensors |= {f"optimizer/{turn}/{key}": value for key, value in values.items()}
    scaler = {} if machinery.scaler is None else machinery.scaler.state_dict()
    record = RunRecord(identity, done.minutes, done.skipped, plain, scaler)
    return tensors, record


def restore(
    machinery: Machinery, tensors: Mapping[str, Tensor], record: RunRecord, *, step: int, name: str
) -> Progress:
    """Put a captured state into freshly built machinery.

    Args:
        machinery: fresh, of the same recipe.
        tensors: by key.
        record: the plain rest.
        step: that was made last.
        name: of the file, for messages.

    Raises:
        ModelFileError: a weight or an optimizer's state does not fit.
    """
    for network_name, network in machinery.networks.items():
        load_weights(network, _below(tensors, f"network/{network_name}/"), name=f"{name}: {network_name}")
    if machinery.average is not None:
        load_weights(machinery.average, _below(tensors, "average/"), name=f"{name}: average")
    for turn, optimizer in machinery.optimizers.items():
        try:
            optimizer_from_plain(optimizer, _below(tensors, f"optimizer/{turn}/"), record.optimizers[turn])
        except (KeyError, ValueError, TypeError) as error:
            raise ModelFileError(
                f"{name}: the state of the optimizer of {turn} does not fit ({error})"
            ) from error
    if machinery.scaler is not None:
        machinery.scaler.load_state_dict(dict(record.scaler))
    return Progress(step, record.minutes, record.skipped)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def optimizer_to_plain(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors ``INDEX/NAME`` and what JSON holds; no pickle."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    rest: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        tensors |= {f"{index}/{key}": value for key, value in values.items() if isinstance(value, Tensor)}
        rest[str(index)] = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
    return tensors, {"state": rest, "groups": [_listed(group) for group in state["param_groups"]]}


def optimizer_from_plain(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """The reverse of `optimizer_to_plain`, into an optimizer of the same parameters.

    Args:
        optimizer: changed in place.
        tensors: its tensors by key.
        plain: the rest of it.
    """
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in plain["state"].items()}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        state[int(index)][name] = value
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in group.items()}
        for group in plain["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _listed(group: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter group with its tuples as lists and scalar tensors as numbers."""
    return {
        key: list(value) if isinstance(value, tuple) else value.item() if isinstance(value, Tensor) else value
        for key, value in group.items()
    }


def identity_of(recipe: Recipe, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run must have in common with a checkpoint to go on from it: see `run_differences`.

    Args:
        recipe: what is trained.
        facts: of the data.
        settings: of the engine.
    """
    from ..data.atomic import plain

    config = dataclasses.asdict(recipe.config)
    guide = getattr(recipe, "guided_by", None)
    parts = {"recipe": recipe.name, "config": config, "engine": settings, "data": facts}
    return plain({**parts, **({} if guide is None else {"guide": dataclasses.asdict(guide)})})


def run_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`differences` of two identities. The file of a guide is known by its content, not by where it lies; of
    runs that do not record that, by where it lies.
    """
    if "guide" not in old or "guide" not in new:
        plain_old, plain_new = ({k: v for k, v in each.items() if k != "guide"} for each in (old, new))
        return differences(plain_old, plain_new)
    return differences(_by_content(old), _by_content(new))


def _by_content(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without the names of its guide's file."""
    config, guide = dict(identity["config"]), dict(identity["guide"])
    guide.pop("file", None)
    if config.get("guide"):
        config["guide"] = {key: value for key, value in config["guide"].items() if key != "checkpoint"}
    return {**identity, "config": config, "guide": guide}


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Fields in which two identities differ, as ``config.size: was 'tiny', now 'small'``.

    Args:
        old: of the checkpoint.
        new: of this run.
        place: where in the whole these stand.

    Example:
        >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
        ['a.c: was 2, now 3']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = list(dict.fromkeys([*old, *new]))
        found = (differences(old.get(k), new.get(k), f"{place}.{k}" if place else k) for k in keys)
        return [text for texts in found for text in texts]
    return [] if old == new else [f"{place}: was {old!r}, now {new!r}"]
