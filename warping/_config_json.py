"""A config dataclass as JSON and back, every field named and typed: nothing unknown, missing or run."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..geom.errors import HeadwarpError

Config = TypeVar("Config")
_SCALARS = (bool, int, float, str)


def config_to_json(config: Any) -> dict[str, Any]:
    """Fields of a config dataclass in JSON's types, nested dataclasses as objects.

    Raises:
        HeadwarpError: not a dataclass instance, or a value that would not come back as it was.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise HeadwarpError(f"config: expected a config dataclass, got {type(config).__name__}")
    try:
        plain = json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False, default=_path_text))
    except (TypeError, ValueError) as error:
        raise HeadwarpError(f"config: expected what JSON can hold ({error})") from error
    if config_from_json(type(config), plain) != config:
        raise HeadwarpError(
            f"config: {type(config).__name__} does not come back from JSON as it was; use plain types"
        )
    return plain


def config_from_json(cls: type[Config], plain: Mapping[str, Any]) -> Config:
    """A config dataclass from what `config_to_json` made.

    Raises:
        HeadwarpError: unknown or missing fields, or a value of another type; the text names the place.
    """
    return _dataclass(cls, plain, "config")


def _path_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _dataclass(cls: type, plain: Any, place: str) -> Any:
    if not isinstance(plain, Mapping):
        raise HeadwarpError(f"{place}: expected the fields of {cls.__name__}, got {plain!r}")
    names = {field.name for field in dataclasses.fields(cls)}
    unknown, missing = sorted(set(plain) - names), sorted(names - set(plain))
    if unknown or missing:
        said = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"missing {', '.join(missing)}"] * bool(
            missing
        )
        raise HeadwarpError(f"{place}: expected the fields of {cls.__name__}; {'; '.join(said)}")
    hints = get_type_hints(cls)
    return cls(**{name: _value(hints[name], plain[name], f"{place}.{name}") for name in sorted(names)})


def _value(hint: Any, plain: Any, place: str) -> Any:
    if hint is Any:
        return plain
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, plain, place)
    origin, choices = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _checked(plain, plain in choices, f"one of {', '.join(map(repr, choices))}", place)
    if origin in (Union, types.UnionType):
        return _one_of(choices, plain, place)
    if origin in (tuple, list):
        return origin(_items(hint, choices, plain, place))
    if origin in (dict, Mapping):
        pairs = _checked(plain, isinstance(plain, Mapping), "an object", place)
        return {key: _value(choices[1], value, f"{place}.{key}") for key, value in pairs.items()}
    return _scalar(hint, plain, place)


def _one_of(choices: tuple[Any, ...], plain: Any, place: str) -> Any:
    if plain is None and type(None) in choices:
        return None
    problems = []
    for choice in choices:
        try:
            return _value(choice, plain, place)
        except HeadwarpError as error:
            problems.append(error)
    raise problems[0]


def _items(hint: Any, choices: tuple[Any, ...], plain: Any, place: str) -> list[Any]:
    _checked(plain, isinstance(plain, list), "a list", place)
    repeated = get_origin(hint) is list or (len(choices) == 2 and choices[1] is ...)
    hints = [choices[0]] * len(plain) if repeated else list(choices)
    _checked(plain, len(hints) == len(plain), f"{len(hints)} values", place)
    return [
        _value(one, item, f"{place}[{index}]")
        for index, (one, item) in enumerate(zip(hints, plain, strict=True))
    ]


def _scalar(hint: Any, plain: Any, place: str) -> Any:
    if hint is type(None):
        return _checked(plain, plain is None, "null", place)
    if isinstance(hint, type) and issubclass(hint, Path):
        return Path(_checked(plain, isinstance(plain, str), "a path", place))
    if hint not in _SCALARS:
        raise HeadwarpError(
            f"{place}: a config cannot hold {hint!r}; use numbers, texts, tuples and dataclasses"
        )
    fits = type(plain) is hint or (hint is float and type(plain) is int)
    return hint(_checked(plain, fits, hint.__name__, place))


def _checked(plain: Any, fits: bool, expected: str, place: str) -> Any:
    if not fits:
        raise HeadwarpError(f"{place}: expected {expected}, got {plain!r}")
    return plain
