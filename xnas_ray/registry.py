"""Names to plug-ins: one small registry class behind ``@register_space``, ``@register_controller`` and the others."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from xnas_ray.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes by name; built-in ones are imported when first asked for.

    Args:
        noun: what is registered, for messages (``"space"``).
        builtin: built-in names and the modules that register them.
    """

    def __init__(self, noun: str, builtin: dict[str, str]) -> None:
        """Remember the built-in names without importing them."""
        self.noun = noun
        self._builtin = dict(builtin)
        self._found: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Decorator: make a class known under ``name``; a module that is loaded again replaces its own.

        Raises:
            UnknownNameError: another module has taken the name.
        """

        def add(kind: type[T]) -> type[T]:
            owner = self._found[name].__module__ if name in self._found else self._builtin.get(name, kind.__module__)
            if owner != kind.__module__:
                raise UnknownNameError(f"{self.noun} {name!r} is already registered by {owner}.", fix="Take another.")
            self._found[name] = kind
            return kind

        return add

    def names(self, pattern: str = "*") -> list[str]:
        """Registered names that match a shell pattern such as ``"nas*"``, sorted."""
        return sorted(fnmatch.filter({*self._builtin, *self._found}, pattern))

    def get(self, name: str, *, field: str | None = None) -> type[T]:
        """The class registered as ``name``, or the one at ``"package.module:Class"``.

        Raises:
            UnknownNameError: with the valid names and the nearest spelling.
        """
        if name not in self._found and name in self._builtin:
            importlib.import_module(self._builtin[name])
        if name not in self._found and ":" in name:
            return self._import(name, field)
        if name not in self._found:
            raise UnknownNameError(
                f"there is no {self.noun} {name!r}.",
                field=field,
                got=name,
                valid=self.names(),
                fix=f"A {self.noun} of your own is named 'package.module:Class'.",
            )
        return self._found[name]

    def create(self, name: str, params: Mapping[str, Any], /, *args: Any, field: str | None = None, **given: Any) -> T:
        """Construct the plug-in registered as ``name``.

        Args:
            name: registered name.
            params: the user's keyword arguments.
            *args: arguments that every such plug-in takes.
            field: the setting to name in errors.
            **given: keyword arguments that every such plug-in takes.

        Raises:
            UnknownNameError: no such name, or parameters that its constructor does not take.
        """
        kind = self.get(name, field=field)
        return build(kind, params, *args, what=f"{self.noun} {name!r}", field=field, **given)

    def _import(self, name: str, field: str | None) -> type[T]:
        module, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plug-in's module may raise anything while it is imported
            problem = f"{type(error).__name__}: {error}"
            raise UnknownNameError(f"cannot import {self.noun} {name!r} ({problem}).", field=field) from error
        if not isinstance(found, type):
            raise UnknownNameError(f"{name!r} is not a class.", field=field)
        return found


def build(
    kind: Callable[..., T], params: Mapping[str, Any], /, *args: Any, what: str, field: str | None, **given: Any
) -> T:
    """Call ``kind`` with a user's parameters; ones that it does not take become an error that lists those it does.

    Raises:
        UnknownNameError: the parameters do not fit its signature.
    """
    signature = inspect.signature(kind)
    taken = [n for n, p in signature.parameters.items() if p.kind == p.KEYWORD_ONLY and n not in given]
    try:
        signature.bind(*args, **{**params, **given})
    except TypeError as error:
        unknown = next((p for p in params if p not in signature.parameters), None)
        raise UnknownNameError(
            f"{what} does not take these parameters: {error}.",
            field=f"{field}.params" if field else None,
            got=unknown,
            valid=taken,
        ) from None
    return kind(*args, **params, **given)
