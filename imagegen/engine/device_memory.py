"""Gives the memory of a checkpoint's device back and takes it again: the weights move to the host and come back."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

from imagegen.engine.adapters.adapter_store import AdapterStore
from imagegen.engine.adapters.row_updates import free_slots
from imagegen.engine.cached_encoders import Caches
from imagegen.engine.compiled.compiled_denoisers import CompiledDenoisers
from imagegen.engine.module_proxy import unwrapped
from imagegen.pipelines.checkpoint import Pipelines


class DeviceMemory:
    """What an engine holds on its device while nothing is generated. To be used on the device's thread.

    Args:
        pipelines: the loaded checkpoint.
        caches: what is remembered between requests.
        adapters: those of requests.
        compiled: code that reads the weights where they are; None for none.
    """

    def __init__(
        self,
        pipelines: Pipelines,
        caches: Caches,
        adapters: AdapterStore,
        compiled: CompiledDenoisers | None = None,
    ) -> None:
        self._compiled = compiled
        self._pipelines = pipelines
        self._caches = caches
        self._adapters = adapters

    def give_back(self) -> None:
        """Move all weights to the host, and forget what is remembered between requests.

        What torch itself keeps on a GPU, its context and its kernels' code, stays until the process ends. On a CPU the
        weights stay where they are.

        Raises:
            MemoryError: the host has no room for them.
        """
        for cache in self._caches.by_name().values():
            cache.clear()
        self._adapters.leave_device()
        if self._compiled is not None:
            self._compiled.release()
        for module in _modules(self._pipelines):
            free_slots(module)
        self._move("cpu")
        gc.collect()  # else an error's traceback may hold the tensors of its request for long
        empty_cache = getattr(torch.get_device_module(self._pipelines.device), "empty_cache", None)
        if empty_cache is not None:
            empty_cache()

    def take_again(self) -> None:
        """Move all weights back.

        Raises:
            torch.OutOfMemoryError: something else has the device's memory now.
        """
        self._move(self._pipelines.device)

    def _move(self, device: torch.device | str) -> None:
        if self._pipelines.device.type == "cpu":
            return
        for module in _modules(self._pipelines):
            module.to(device)
        if self._pipelines.projection is not None:
            self._pipelines.projection.to(device)


def _modules(pipelines: Pipelines) -> Iterator[Any]:
    """Every network of every task once, and those of all control types; tasks share most of them."""
    of_pipelines = chain.from_iterable(vars(pipeline).values() for pipeline in pipelines.all_pipelines())
    of_types = (each.network for each in pipelines.controls.types.values())  # a pipeline holds one of a kind
    seen: set[int] = set()
    for component in map(unwrapped, chain(of_pipelines, of_types)):
        if isinstance(component, torch.nn.Module) and id(component) not in seen:
            seen.add(id(component))
            yield component
