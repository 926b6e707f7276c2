"""Checks every annotated shape and type of headwarp while the tests run (jaxtyping with beartype).

On with HEADWARP_CHECK_SHAPES=1. Functions and methods are wrapped as their module is imported, so that the
package itself carries no run-time check. A call that breaks its annotations fails, unless the function
refuses it with an error of its own: tests of error texts pass wrong shapes on purpose. A dimension that may
also be 1 is written ``#B``. Modules that compile with numba are left alone.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, get_type_hints

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeException
from jaxtyping import TypeCheckError, jaxtyped

_checker = beartype(conf=BeartypeConf(is_pep484_tower=True))


def install(package: str) -> None:
    """Check what is imported from a package from now on.

    Raises:
        RuntimeError: something of the package was imported before; it would go unchecked.
    """
    early = [name for name in sys.modules if name == package or name.startswith(f"{package}.")]
    if early:
        raise RuntimeError(f"install the hook before {package} is imported; found {', '.join(early)}")
    sys.meta_path.insert(0, _Finder(package))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its annotations checked; its own exceptions go before the checker's."""
    try:
        get_type_hints(function, include_extras=True)
        guarded = jaxtyped(function, typechecker=_checker)
    except (NameError, BeartypeException):  # a type for type checkers alone, or one that cannot be checked
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return guarded(*args, **kwargs)
        except TypeCheckError as violation:
            function(*args, **kwargs)
            raise violation

    return call


def check_module(module: ModuleType) -> None:
    """Replace the functions and methods that a module defines by checked ones."""
    for name, value in list(vars(module).items()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            setattr(module, name, checked(value))
        elif inspect.isclass(value):
            _check_class(value)


def _check_class(cls: type) -> None:
    for name, value in list(vars(cls).items()):
        if inspect.isfunction(value) and value.__module__ == cls.__module__ and value.__annotations__:
            setattr(cls, name, checked(value))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, package: str) -> None:
        self.package = package
        self.searching = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if self.searching or not (name == self.package or name.startswith(f"{self.package}.")):
            return None
        self.searching = True
        try:
            spec = importlib.util.find_spec(name) if path is None else _spec_on(path, name, target)
        finally:
            self.searching = False
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _spec_on(
    path: Sequence[str], name: str, target: ModuleType | None
) -> importlib.machinery.ModuleSpec | None:
    return importlib.machinery.PathFinder.find_spec(name, path, target)


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if "njit" not in self.get_data(self.path).decode("utf-8"):
            check_module(module)
