"""Attributes of a package that are imported when they are first used, so that importing the package stays instant."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_attributes(
    package: str, names: Mapping[str, tuple[str, ...]], modules: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the functions `__getattr__` and `__dir__` of a package.

    `dir()` lists what the package's `__all__` does, and not what the package itself imports.

    Args:
        package: The package's `__name__`.
        names: Module of the package -> the names that it defines.
        modules: Name -> the module of the package that it stands for.

    Returns:
        Both functions, to be assigned in the package's `__init__.py`.
    """
    homes = {name: module for module, defined in names.items() for name in defined}
    modules = modules or {}

    def get(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"{package}.{modules[name]}")
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def list_names() -> list[str]:
        own = vars(sys.modules[package])
        return sorted({*own["__all__"], *(name for name in own if name.startswith("__"))})

    return get, list_names
