"""Names of a folder's files, and what these register: the registry behind animators and swap engines."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..geom.errors import HeadwarpError

Made = TypeVar("Made")
Built = TypeVar("Built", bound=type)


@dataclass(frozen=True)
class Registration(Generic[Made]):
    """A registered class: its config class and how to build it from a config."""

    config: type
    build: Callable[[Any], Made]

    def made(self, config: Any, *, what: str) -> Made:
        """Built from a config, its defaults where that is None.

        Raises:
            HeadwarpError: a config of another class; ``what`` is said first.
        """
        chosen = self.config() if config is None else config
        if not isinstance(chosen, self.config):
            raise HeadwarpError(
                f"{what}: expected a config of class {self.config.__name__}, got {type(chosen).__name__}"
            )
        return self.build(chosen)


@dataclass(frozen=True)
class Registry(Generic[Made]):
    """What the files of one package register, each under its own name.

    Attributes:
        package: full name of the package.
        found: by name; only files that were imported are in it.
    """

    package: str
    found: dict[str, Registration[Made]] = field(default_factory=dict)

    def register(self, config: type) -> Callable[[Built], Built]:
        """Class decorator: register under the file's name with a frozen config dataclass."""
        if not dataclasses.is_dataclass(config):
            raise TypeError(f"register: expected a config dataclass, got {config!r}")

        def decorate(cls: Built) -> Built:
            self.found[cls.__module__.rpartition(".")[2]] = Registration(config, cls)
            return cls

        return decorate

    def registration(self, name: str) -> Registration[Made]:
        """The registration of a file; imports it."""
        importlib.import_module(f"{self.package}.{name}")
        return self.found[name]


def file_names(folders: Iterable[str]) -> tuple[str, ...]:
    """Modules in a package's folders (its ``__path__``) but for private ones, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folders) if not m.name.startswith("_")))
