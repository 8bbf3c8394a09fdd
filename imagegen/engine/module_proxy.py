"""The base of everything that stands in for a torch module in a pipeline."""

from __future__ import annotations

from typing import Any


class ModuleProxy:
    """Stands in for a module: everything that a subclass does not define goes to the module itself.

    Attributes, methods and `isinstance` are those of the real module. What a subclass names in `__slots__` is its
    own; setting anything else sets it on the real module.
    """

    __slots__ = ("__weakref__", "_module")

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_module"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):  # a slot
            object.__setattr__(self, name, value)
        else:
            setattr(self._module, name, value)

    @property
    def __class__(self) -> type:  # pipelines ask isinstance, for instance for MultiControlNetModel
        return self._module.__class__  # type: ignore[no-any-return]  # maybe a proxy's, of a module

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("a proxy's class follows its module")


def unwrapped(module: Any) -> Any:
    """The real module behind any number of proxies."""
    while issubclass(type(module), ModuleProxy):
        module = module._module
    return module
