"""The face of a package: names that others may use, each loaded from its module on first use."""

import importlib
from collections.abc import Callable, Mapping


def lazy_face(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and a sorted ``__all__`` of a package that imports lazily.

    Args:
        package: its ``__name__``.
        modules: module below it → names that are taken from there.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    names = sorted(module_of)
    return load, lambda: names, names
