"""Checks every annotated shape of headwarp while the tests run (jaxtyping with beartype).

Functions and methods are wrapped as their module is imported, so that the
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
import re
import sys
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, jaxtyped

_checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
_SHAPE = re.compile(r"\b(Float|Int|UInt|Integer|Bool|Num|Real|Shaped|Inexact|Complex)\d*\[")


def install(package: str) -> None:
    """Check what is imported from a package from now on.

    Raises:
        RuntimeError: something of the package was imported before; it would go unchecked.
    """
    early = [name for name in sys.modules if name == package or name.startswith(f"{package}.")]
    if early:
        raise RuntimeError(f"install the hook before {package} is imported; found {', '.join(early)}")
    sys.meta_path.insert(0, _Finder(package))


def checked(function: FunctionType) -> Callable[..., Any]:
    """The function with its shapes checked; its own exceptions go before the checker's."""
    shapes = {name: hint for name, hint in function.__annotations__.items() if _SHAPE.search(str(hint))}
    if not shapes:
        return function
    guarded = jaxtyped(_annotated(function, shapes), typechecker=_checker)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return guarded(*args, **kwargs)
        except TypeCheckError as violation:
            try:
                function(*args, **kwargs)
            except Exception as error:  # whatever else it is, the violation is the news
                if any(kind.__name__ == "HeadwarpError" for kind in type(error).__mro__):
                    raise
            raise violation

    return call


def _annotated(function: FunctionType, annotations: dict[str, Any]) -> FunctionType:
    """The same function with these annotations only: other types may be ducks."""
    code, names = function.__code__, function.__globals__
    twin = FunctionType(code, names, function.__name__, function.__defaults__, function.__closure__)
    twin.__kwdefaults__, twin.__annotations__ = function.__kwdefaults__, annotations
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    return twin


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
