"""The LoRA adapters that an engine offers, and how an administrator changes them while it runs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from imagegen.api.errors import InvalidArgument
from imagegen.api.values import shown
from imagegen.pipelines.lora_catalog import LoraCatalog


class LoraOffer(ABC):
    """What `Engine` and `EngineProcess` have in common about adapters. Safe from any thread.

    Args:
        catalog: of the adapters that are configured.
    """

    def __init__(self, catalog: LoraCatalog) -> None:
        self._catalog = catalog
        self._catalog_turn = threading.Lock()

    @property
    def catalog(self) -> LoraCatalog:
        """The LoRA adapters that requests may name."""
        return self._catalog

    def load_lora(self, name: str, where: str) -> None:
        """Offer a LoRA adapter, once it has been read and found to fit.

        Args:
            name: by which requests name it.
            where: a file, a folder or a hub id; in a folder the only `*.safetensors`, or `pytorch_lora_weights`.

        Raises:
            InvalidArgument: another one is on offer by this name, or it cannot be read, or does not fit the model.
            Unavailable: the engine is closed, or has no process at the moment.
        """
        with self._catalog_turn:
            if where != self._catalog.modules.get(name):
                if name in self._catalog.names():
                    raise InvalidArgument("lora_name", f"{shown(name)} is taken by another adapter; unload that first")
                self._check_lora(name, where)
                self._catalog = self._catalog.with_module(name, where)

    def unload_lora(self, name: str) -> None:
        """Offer a LoRA adapter no more; requests that have begun keep it.

        Raises:
            InvalidArgument: there is none by this name, or it comes from the folder.
        """
        with self._catalog_turn:
            if name not in self._catalog.modules:
                in_folder = name in self._catalog.names()
                why = "comes from lora_folder; remove its file" if in_folder else "is not loaded"
                raise InvalidArgument("lora_name", f"{shown(name)} {why}")
            where = self._catalog.modules[name]
            self._catalog = self._catalog.without_module(name)
            self._forget_lora(name, where)

    @abstractmethod
    def _check_lora(self, name: str, where: str) -> None:
        """Read an adapter and see whether it fits; raises as `load_lora`."""

    @abstractmethod
    def _forget_lora(self, name: str, where: str) -> None:
        """Let the memory of an adapter go that is no longer on offer."""
